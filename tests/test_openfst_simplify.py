"""OpenFst as a second oracle for epsilon removal, determinization, minimization and pruning."""

from __future__ import annotations

import random

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import automata, only, paths, relation, string_scores
from test_openfst import TRANSDUCERS, from_openfst, pynini, random_graph, to_openfst

from gtnet import Graph, connect, determinize, minimize, prune, push, remove_epsilon

SEMIRINGS = (("log", "log64"), ("tropical", "standard"))


@pytest.fixture(scope="module")
def transducers() -> list[Graph]:
    source = random.Random(23)
    return [random_graph(source) for _ in range(TRANSDUCERS)]


@pytest.fixture(scope="module")
def acceptors() -> list[Graph]:
    source = random.Random(29)
    return [random_graph(source, acceptor=True) for _ in range(TRANSDUCERS)]


def assert_same(graph: Graph, fst, semiring: str) -> None:
    ours = string_scores(paths(only(graph)), semiring)
    theirs = string_scores(paths(from_openfst(fst)), semiring)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)


def sizes(fst) -> tuple[int, int]:
    return fst.num_states(), sum(fst.num_arcs(state) for state in fst.states())


def test_epsilon_removal(transducers):
    for graph in transducers:
        for semiring, arc_type in SEMIRINGS:
            theirs = to_openfst(graph, arc_type).rmepsilon()
            assert_same(remove_epsilon(graph, semiring=semiring), theirs, semiring)


def test_determinization_of_acceptors(acceptors):
    for graph in acceptors:
        for semiring, arc_type in SEMIRINGS:
            theirs = pynini.determinize(to_openfst(graph, arc_type).rmepsilon(), delta=1e-6)
            ours = determinize(graph, semiring=semiring)
            assert_same(ours, theirs, semiring)
            if semiring == "tropical":
                assert (ours.num_states, ours.num_arcs) == sizes(theirs.connect())


def test_determinization_of_label_pairs(transducers):
    for graph in transducers:
        for semiring, arc_type in SEMIRINGS:
            theirs = to_openfst(graph, arc_type).rmepsilon()
            mapper = pynini.EncodeMapper(arc_type, encode_labels=True)
            theirs = pynini.determinize(theirs.encode(mapper)).decode(mapper)
            assert_same(determinize(graph, semiring=semiring, on="pairs"), theirs, semiring)


@settings(max_examples=50)
@given(strategies.functional_transducers())
def test_determinization_of_functional_transducers(graph):
    possible = connect(prune(graph, posterior=0.0))
    for semiring, arc_type in SEMIRINGS:
        theirs = pynini.determinize(
            to_openfst(possible, arc_type).rmepsilon(), det_type="functional"
        )
        assert_same(determinize(graph, semiring=semiring), theirs, semiring)


def test_minimal_sizes_of_unweighted_acceptors(acceptors):
    for graph in acceptors:
        flat = graph.with_weights(
            graph.weights * 0,
            start=graph.start.clamp(min=0, max=0).where(graph.start.isfinite(), graph.start),
            accept=graph.accept.clamp(min=0, max=0).where(graph.accept.isfinite(), graph.accept),
        )
        theirs = pynini.determinize(to_openfst(flat, "standard").rmepsilon()).minimize()
        for semiring in ("log", "tropical"):
            # Counts of paths would be weights in the log semiring, so the best path decides first.
            made = determinize(flat, semiring="tropical")
            ours = minimize(made, semiring=semiring)
            assert (ours.num_states, ours.num_arcs) == sizes(theirs)


def test_minimization_of_weighted_acceptors(acceptors):
    for graph in acceptors:
        theirs = pynini.determinize(to_openfst(graph, "standard").rmepsilon()).minimize()
        ours = minimize(determinize(graph, semiring="tropical"), semiring="tropical")
        assert_same(ours, theirs, "tropical")
        assert (ours.num_states, ours.num_arcs) == sizes(theirs)


def test_pushing(transducers):
    for graph in transducers:
        useful = connect(graph)
        for semiring, arc_type in SEMIRINGS:
            theirs = pynini.push(to_openfst(useful, arc_type), push_weights=True, delta=1e-12)
            ours = push(useful, semiring=semiring)
            assert_same(ours, theirs, semiring)
            arcs = [a for a in from_openfst(theirs).arcs if a.source != 0]
            assert [a.weight for a in automata(ours)[0].arcs] == pytest.approx(
                matched(ours, arcs), abs=1e-6
            )


def matched(graph: Graph, arcs: list) -> list[float]:
    """The weights of OpenFst's arcs, which are grouped by state, in the order of ours."""
    by_source: dict[int, list[float]] = {}
    for arc in arcs:
        by_source.setdefault(arc.source - 1, []).append(arc.weight)
    rows = {state: iter(weights) for state, weights in by_source.items()}
    return [next(rows[state]) for state in graph.source.tolist()]


def test_pruning(transducers):
    for graph in transducers:
        fst = to_openfst(graph, "standard")
        for beam in (0.0, 0.5, 2.0):
            theirs = pynini.prune(fst, weight=pynini.Weight("tropical", beam))
            ours = prune(graph, beam=beam)
            assert relation(paths(only(ours))) == relation(paths(from_openfst(theirs)))


def test_words_of_a_trie_are_minimized_as_openfst_does():
    source = random.Random(31)
    words = {tuple(source.choices(range(4), k=source.randint(3, 6))) for _ in range(300)}
    starts, targets, labels, ends, states = [], [], [], [], 1
    for word in sorted(words):
        at = 0
        for label in word:
            starts.append(at)
            targets.append(states)
            labels.append(label)
            at, states = states, states + 1
        ends.append(at)
    graph = Graph(starts, targets, labels, accept=ends, num_states=states).to(torch.float64)
    theirs = pynini.determinize(to_openfst(graph, "standard").rmepsilon()).minimize()
    ours = minimize(determinize(graph))
    assert (ours.num_states, ours.num_arcs) == sizes(theirs)
