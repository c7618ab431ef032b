"""Epsilons behind all that is read: the same language as before, and as OpenFst has it."""

from __future__ import annotations

import random

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import NEG_INF, automata, only, paths, string_scores
from test_distance import scored
from test_openfst import from_openfst, pynini, random_graph, to_openfst
from torch.autograd import gradcheck

import gtnet
from gtnet import EPSILON, Graph, connect, normalize_epsilon, prune, stack


def is_normal(automaton, side: str) -> bool:
    """Whether on every path nothing is read (or written) after an epsilon."""

    def label(arc):
        return arc.ilabel if side == "input" else arc.olabel

    for path in paths(automaton):
        labels = [label(automaton.arcs[arc - automaton.first_arc]) for arc in path.arcs]
        if labels != sorted(labels, key=lambda x: x == EPSILON):
            return False
    return True


def same_language(ours: Graph, old: Graph, semiring: str) -> bool:
    mine = [string_scores(paths(one), semiring) for one in automata(ours)]
    theirs = [string_scores(paths(one), semiring) for one in automata(old)]
    return all(a == pytest.approx(b, abs=1e-5) for a, b in zip(mine, theirs, strict=True))


@settings(max_examples=10)
@given(strategies.functional_transducers())
def test_functional_transducers(graph):
    possible = connect(prune(graph, posterior=0.0))
    for side in ("input", "output"):
        turned = graph if side == "input" else gtnet.invert(graph)
        made = normalize_epsilon(turned, side)
        assert is_normal(only(made), side)
        assert same_language(made, turned, "log")
    theirs = pynini.epsnormalize(to_openfst(possible, "log64"))
    mine = string_scores(paths(only(normalize_epsilon(graph))), "log")
    assert mine == pytest.approx(string_scores(paths(from_openfst(theirs)), "log"), abs=1e-4)


def agrees_with_openfst(graph: Graph) -> bool | None:
    """None where paths that read nothing disagree; OpenFst is asked about functional ones."""
    functional = bool(gtnet.properties(graph).is_functional)
    same = True
    for semiring, arc_type in (("log", "log64"), ("tropical", "standard")):
        try:
            ours = normalize_epsilon(graph, semiring=semiring)
        except ValueError as error:
            return False if functional or "different strings" not in str(error) else None
        same = same and is_normal(only(ours), "input") and same_language(ours, graph, semiring)
        if functional:
            fst = pynini.epsnormalize(to_openfst(connect(graph), arc_type))
            theirs = string_scores(paths(from_openfst(fst)), semiring)
            mine = string_scores(paths(only(ours)), semiring)
            same = same and mine == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    return same


def test_openfst_agrees():
    source = random.Random(73)
    found = [agrees_with_openfst(random_graph(source)) for _ in range(24)]
    assert False not in found
    assert found.count(True) > 9


def late() -> Graph:
    """Writes two labels before it reads the first."""
    return Graph(
        [0, 1, 2, 3, 3], [1, 2, 3, 3, 4], [EPSILON, EPSILON, 0, 1, 2], [5, 6, EPSILON, 7, EPSILON],
        torch.tensor([0.1, 0.2, 0.3, -0.4, 0.5], dtype=torch.float64), accept={4: 0.25},
    )  # fmt: skip


def test_labels_are_put_off_around_cycles_and_maps_lead_back():
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    graph = stack([late(), nothing, late()])
    made = normalize_epsilon(graph)
    assert [len(one) for one in made] == [1, 1, 1]
    for times in range(3):
        read = gtnet.linear([0, *[1] * times, 2], dtype=torch.float64)
        (best, none, other) = (gtnet.viterbi_path(read @ one) for one in made)
        wrote = [5, 6, *[7] * times]
        assert gtnet.label_sequences(best) == [wrote] == gtnet.label_sequences(other)
        assert none.num_states == 0
        score = 0.1 + 0.2 + 0.3 - 0.4 * times + 0.5 + 0.25
        assert gtnet.viterbi_score(best).item() == pytest.approx(score)
    arcs, states = made.arc_maps[0], made.state_maps[0]
    reading = made.ilabels != EPSILON
    assert torch.equal(arcs >= 0, reading)
    assert torch.equal(graph.ilabels[arcs[reading].long()], made.ilabels[reading])
    assert int(states.max()) < graph.num_states
    left = states[made.topology.global_source[reading]]
    assert (left >= 0).all()


def test_gradients():
    inputs, put = scored(late())

    def through(*scores):
        made = normalize_epsilon(put(*scores))
        return torch.cat([t[t > NEG_INF] for t in made.scores])

    assert gradcheck(through, inputs)


def test_what_is_refused():
    two = Graph([0, 0, 1], [1, 1, 2], [EPSILON, EPSILON, 0], [5, 6, 7], accept=2)
    with pytest.raises(ValueError, match=r"normalize_epsilon: graph 0 has paths that read nothing"):
        normalize_epsilon(two)
    ever = Graph([0, 1, 2], [1, 2, 1], [0, EPSILON, 0], [5, 6, 7], accept=1)
    with pytest.raises(ValueError, match=r"graph 0 needs more than max_states=50 states"):
        normalize_epsilon(ever, max_states=50)
    with pytest.raises(ValueError, match='normalize_epsilon: side must be "input" or "output"'):
        normalize_epsilon(two, "both")
    acceptor = gtnet.linear([0, EPSILON, 1])
    assert gtnet.label_sequences(normalize_epsilon(acceptor)) == [[0, 1]]
