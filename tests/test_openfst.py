"""OpenFst, through pynini, as a second oracle: it shares no code and no author with the first."""

from __future__ import annotations

import math
import random

import pytest
import torch
from oracle import Arc, Automaton, at_most, automata, only, paths, relation

from gtnet import (
    EPSILON,
    Graph,
    compose,
    connect,
    forward_score,
    intersect,
    k_best,
    shortest_distance,
    viterbi_score,
)

pynini = pytest.importorskip("pynini")
NEG_INF = float("-inf")
TRANSDUCERS = 400


def random_graph(source: random.Random, *, acceptor: bool = False, acyclic: bool = True) -> Graph:
    """A small automaton with epsilons, several ends and states in no order; scores are quarters."""
    size = source.randint(1, 6)
    rank = source.sample(range(size), size)
    arcs = []
    for _ in range(source.randint(0, 12)):
        s, t = source.randrange(size), source.randrange(size)
        if acyclic and s == t:
            continue
        if acyclic:
            s, t = sorted((s, t))
        labels = [source.choice([EPSILON, 0, 1, 2]) for _ in range(2)]
        arcs.append((rank[s], rank[t], *labels, source.randint(-8, 8) / 4))
    columns = list(zip(*arcs, strict=True)) or [()] * 5

    def ends(state: int) -> dict[int, float]:
        some = {source.randrange(size): source.randint(-8, 8) / 4 for _ in range(2)}
        return {state: 0.5} | some

    return Graph(
        *columns[:3],
        None if acceptor else columns[3],
        torch.tensor(columns[4], dtype=torch.float64),
        start=ends(rank[0]),
        accept=ends(rank[-1]),
        num_states=size,
    )


def to_openfst(graph: Graph, arc_type: str):
    """State 0 leads by epsilons to the start states s + 1; costs are minus scores, labels + 1."""
    one = only(graph)
    fst = pynini.Fst(arc_type=arc_type)
    fst.add_states(one.num_states + 1)
    fst.set_start(0)

    def cost(score: float):
        return pynini.Weight(fst.weight_type(), -score)

    for state, (start, accept) in enumerate(zip(one.start, one.accept, strict=True)):
        if start > NEG_INF:
            fst.add_arc(0, pynini.Arc(0, 0, cost(start), state + 1))
        if accept > NEG_INF:
            fst.set_final(state + 1, cost(accept))
    for arc in one.arcs:
        labels = arc.ilabel + 1, arc.olabel + 1
        fst.add_arc(arc.source + 1, pynini.Arc(*labels, cost(arc.weight), arc.target + 1))
    return fst


def from_openfst(fst) -> Automaton:
    states = list(fst.states())
    arcs = [
        (state, arc.nextstate, arc.ilabel - 1, arc.olabel - 1, -float(arc.weight))
        for state in states
        for arc in fst.arcs(state)
    ]
    accept = [-float(fst.final(state)) for state in states]
    start = [0.0 if state == fst.start() else NEG_INF for state in states]
    numbered = tuple(Arc(i, *arc) for i, arc in enumerate(arcs))
    return Automaton(numbered, tuple(start), tuple(accept), 0, 0)


def total(fst) -> float:
    """Minus the shortest distance from the start to the end, in the semiring of the arcs."""
    if fst.start() == -1:
        return NEG_INF
    distance = pynini.shortestdistance(fst, reverse=True, delta=1e-13)
    return -float(distance[fst.start()])


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Graph, Graph]]:
    source = random.Random(7)
    return [(random_graph(source), random_graph(source)) for _ in range(TRANSDUCERS)]


def test_composition_has_the_paths_of_openfst(pairs):
    several = 0
    for a, b in pairs:
        theirs = pynini.compose(
            to_openfst(a, "log64").arcsort("olabel"), to_openfst(b, "log64").arcsort("ilabel")
        )
        expected = relation(paths(from_openfst(theirs)))
        assert relation(paths(only(compose(a, b)))) == expected
        several += len(expected) > 1
    assert several > TRANSDUCERS / 3


def test_composition_has_the_total_weight_of_openfst(pairs):
    for a, b in pairs:
        product = compose(a, b)
        for arc_type, score in (("log64", forward_score), ("standard", viterbi_score)):
            theirs = pynini.compose(
                to_openfst(a, arc_type).arcsort("olabel"),
                to_openfst(b, arc_type).arcsort("ilabel"),
            )
            assert score(product).item() == pytest.approx(total(theirs), rel=1e-6, abs=1e-6)


def test_cyclic_composition_has_the_short_paths_of_openfst():
    source = random.Random(11)
    for _ in range(TRANSDUCERS // 4):
        a = random_graph(source, acyclic=False)
        b = random_graph(source)
        theirs = pynini.compose(
            to_openfst(a, "log64").arcsort("olabel"), to_openfst(b, "log64").arcsort("ilabel")
        )
        limit = 3
        ours = paths(only(compose(a, b)), at_most(limit))
        # One of our arcs may move both operands on epsilons, where OpenFst takes two; and there
        # are two more epsilons at the start.
        longer = paths(from_openfst(theirs), at_most(2 * limit + 2))
        assert not relation(ours) - relation(longer)


def test_intersection_has_the_paths_of_openfst():
    source = random.Random(13)
    for _ in range(TRANSDUCERS):
        a, b = random_graph(source, acceptor=True), random_graph(source, acceptor=True)
        theirs = pynini.intersect(
            to_openfst(a, "log64").arcsort("olabel"), to_openfst(b, "log64").arcsort("ilabel")
        )
        assert relation(paths(only(intersect(a, b)))) == relation(paths(from_openfst(theirs)))


def test_distances_are_those_of_openfst(pairs):
    for graph, _ in pairs:
        fst = to_openfst(graph, "log64")
        for to_accept in (False, True):
            theirs = pynini.shortestdistance(fst, reverse=to_accept, delta=1e-13)
            theirs = [-float(weight) for weight in theirs]
            theirs += [NEG_INF] * (graph.num_states + 1 - len(theirs))
            ours = shortest_distance(graph, to_accept=to_accept).tolist()
            assert ours == pytest.approx(theirs[1:], rel=1e-6, abs=1e-6)
        assert viterbi_score(graph).item() == total(to_openfst(graph, "standard"))
        assert forward_score(graph).item() == pytest.approx(total(fst), rel=1e-6, abs=1e-6)


def test_the_k_best_are_those_of_openfst(pairs):
    for graph, _ in pairs:
        ours = viterbi_score(k_best(graph, 4)[0]).tolist()
        theirs = pynini.shortestpath(to_openfst(graph, "standard"), nshortest=4)
        scores = sorted((p.score for p in paths(from_openfst(theirs))), reverse=True)
        assert ours == scores


def test_the_k_best_strings_are_those_of_openfst():
    source = random.Random(17)
    for _ in range(TRANSDUCERS):
        graph = random_graph(source, acceptor=True)
        ours = viterbi_score(k_best(graph, 3, unique="ilabels")[0]).tolist()
        plain = to_openfst(graph, "standard").rmepsilon()
        theirs = pynini.shortestpath(plain, nshortest=3, unique=True)
        scores = sorted((p.score for p in paths(from_openfst(theirs))), reverse=True)
        assert ours == scores


def test_connect_keeps_what_openfst_keeps(pairs):
    for graph, _ in pairs:
        theirs = to_openfst(graph, "log64").connect()
        ours = connect(graph)
        if theirs.num_states() == 0:
            assert ours.num_states == 0
            continue
        starts = theirs.num_arcs(theirs.start())
        arcs = sum(theirs.num_arcs(state) for state in theirs.states()) - starts
        assert (ours.num_states + 1, ours.num_arcs) == (theirs.num_states(), arcs)
        assert starts == sum(start > NEG_INF for start in automata(ours)[0].start)


def test_log_sums_of_openfst_and_of_a_formula_agree():
    graph = Graph([0, 0], [1, 1], [0, 1], weights=torch.tensor([1.0, 2.0]).double(), accept=1)
    assert total(to_openfst(graph, "log64")) == pytest.approx(math.log(math.exp(1) + math.exp(2)))


def test_distances_of_cyclic_graphs_are_those_of_openfst():
    source = random.Random(19)
    loops = 0
    for _ in range(TRANSDUCERS):
        graph = random_graph(source, acyclic=False)
        graph = graph.with_weights(graph.weights - 4)
        fst = to_openfst(graph, "log64")
        for to_accept in (False, True):
            theirs = pynini.shortestdistance(fst, reverse=to_accept, delta=1e-13)
            theirs = [-float(weight) for weight in theirs]
            theirs += [NEG_INF] * (graph.num_states + 1 - len(theirs))
            ours = shortest_distance(graph, to_accept=to_accept).tolist()
            assert ours == pytest.approx(theirs[1:], rel=1e-6, abs=1e-6)
        assert viterbi_score(graph).item() == total(to_openfst(graph, "standard"))
        assert forward_score(graph).item() == pytest.approx(total(fst), rel=1e-6, abs=1e-6)
        scores = [
            p.score
            for p in paths(
                from_openfst(pynini.shortestpath(to_openfst(graph, "standard"), nshortest=4))
            )
        ]
        assert viterbi_score(k_best(graph, 4)[0]).tolist() == sorted(scores, reverse=True)
        loops += graph.topology.is_cyclic
    assert loops > TRANSDUCERS / 2
