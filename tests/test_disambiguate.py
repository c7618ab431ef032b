"""One path for each string, with the score of all: against enumeration and OpenFst."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import NEG_INF, automata, only, paths, string_scores
from test_distance import scored
from test_openfst import from_openfst, pynini, random_graph, to_openfst
from torch.autograd import gradcheck

import gtnet
from gtnet import EPSILON, Graph, determinize, disambiguate, properties, stack


def has_one_path_for_each_string(automaton) -> bool:
    return max(Counter(path.inputs for path in paths(automaton)).values(), default=1) == 1


@settings(max_examples=12)
@given(strategies.graphs(acceptor=True))
def test_every_string_has_one_path_with_its_score(graph):
    for semiring in ("log", "tropical"):
        made = disambiguate(graph, semiring=semiring)
        for ours, old in zip(automata(made), automata(graph), strict=True):
            assert has_one_path_for_each_string(ours)
            expected = string_scores(paths(old), semiring)
            assert string_scores(paths(ours), semiring) == pytest.approx(expected, abs=1e-5)
        assert properties(made).is_unambiguous.all()


def agrees_with_openfst(graph: Graph) -> bool:
    """Of OpenFst the tropical semiring: its weights must have an order."""
    ours = disambiguate(graph, semiring="tropical")
    fst = pynini.disambiguate(to_openfst(graph, "standard").rmepsilon())
    theirs = from_openfst(fst)
    mine = string_scores(paths(only(ours)), "tropical")
    expected = string_scores(paths(theirs), "tropical")
    log = disambiguate(graph)
    sums = string_scores(paths(only(log)), "log")
    return (
        mine == pytest.approx(expected, rel=1e-4, abs=1e-4)
        and sums == pytest.approx(string_scores(paths(only(graph)), "log"), rel=1e-6, abs=1e-6)
        and has_one_path_for_each_string(only(ours))
        and has_one_path_for_each_string(only(log))
    )


def test_openfst_agrees():
    source = random.Random(83)
    assert all(agrees_with_openfst(random_graph(source, acceptor=True)) for _ in range(24))


def apart() -> Graph:
    """Two cycles that read one string and score it differently, told apart by the last label; and
    a second way into the first, so that one string has two paths.
    """
    weights = torch.tensor([0.1, 0.2, -0.5, -1.0, 0.3, 0.4, -0.2], dtype=torch.float64)
    return Graph(
        [0, 0, 1, 2, 1, 2, 0], [1, 2, 1, 2, 3, 3, 1], [0, 0, 1, 1, 2, 3, 0], None, weights, accept=3
    )


def test_what_has_no_deterministic_equivalent():
    with pytest.raises(ValueError, match="max_states"):
        determinize(apart(), max_states=100)
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    made = disambiguate(stack([apart(), nothing, apart()]))
    assert properties(made).is_unambiguous.all()
    assert made[0].equal(made[2]) and made[1].num_states == 0
    for times in range(3):
        for last in (2, 3):
            word = gtnet.linear([0, *[1] * times, last], dtype=torch.float64)
            scores = [gtnet.forward_score(word @ graph).item() for graph in (made[0], apart())]
            assert scores[0] == pytest.approx(scores[1])
    arcs = made.arc_maps[0][: made.arc_offsets[1]].long()
    assert torch.equal(made[0].weights, apart().weights[arcs])


def test_gradients():
    graph = apart()
    inputs, put = scored(graph)
    word = gtnet.linear([0, 1, 2], dtype=torch.float64)

    def after(*scores):
        return gtnet.forward_score(word @ disambiguate(put(*scores)))

    ours = torch.autograd.grad(after(*inputs), inputs)
    theirs = torch.autograd.grad(gtnet.forward_score(word @ put(*inputs)), inputs)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)
    assert gradcheck(after, inputs)


def test_what_is_refused():
    both = Graph([0, 0, 1, 2], [1, 2, 1, 2], [0, 0, 1, 1], None, [0, 0, -1, -2], accept=[1, 2])
    with pytest.raises(ValueError, match=r"disambiguate: graph 0 needs more than max_states=40"):
        disambiguate(both, semiring="tropical", max_states=40)
    with pytest.raises(ValueError, match="disambiguate: graph must be an acceptor, got a transd"):
        disambiguate(Graph([0], [1], [0], [1], accept=1))
    silent = Graph([0, 0, 1], [1, 1, 2], [0, EPSILON, 0], accept=2)
    assert gtnet.forward_score(disambiguate(silent)).item() > NEG_INF
