"""Transducers with several outputs for one input, determinized: all that they write is kept."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
import torch
from oracle import NEG_INF, automata, only, paths, string_scores
from test_distance import scored
from test_openfst import from_openfst, pynini, random_graph, to_openfst
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import EPSILON, Graph, determinize, remove_epsilon, stack


def is_deterministic(automaton) -> bool:
    """One start; a label leads on once; beside others, what reads nothing only leads to an end."""
    leaving = defaultdict(list)
    for arc in automaton.arcs:
        leaving[arc.source].append(arc)

    def ends(state: int) -> bool:
        return all(arc.ilabel == EPSILON and ends(arc.target) for arc in leaving[state]) and (
            len(leaving[state]) <= 1
        )

    for arcs in list(leaving.values()):
        labels = [arc.ilabel for arc in arcs if arc.ilabel != EPSILON]
        silent = [arc for arc in arcs if arc.ilabel == EPSILON]
        if len(set(labels)) < len(labels):
            return False
        if len(arcs) > 1 and not all(ends(arc.target) for arc in silent):
            return False
    return sum(score > NEG_INF for score in automaton.start) <= 1


def agrees_with_openfst(graph: Graph) -> bool:
    """Every (input, output) keeps its score, which OpenFst's result has too."""
    same = True
    for semiring, arc_type in (("log", "log64"), ("tropical", "standard")):
        ours = determinize(graph, semiring=semiring, outputs="all")
        mine = string_scores(paths(only(ours)), semiring)
        fst = to_openfst(remove_epsilon(graph, semiring=semiring), arc_type).rmepsilon()
        fst = pynini.determinize(fst, det_type="nonfunctional")
        for theirs in (only(graph), from_openfst(fst)):
            expected = string_scores(paths(theirs), semiring)
            same = same and mine == pytest.approx(expected, rel=1e-4, abs=1e-4)
        same = same and (is_deterministic(only(ours)) or graph.is_acceptor)
    return same


def test_openfst_agrees():
    source = random.Random(79)
    assert all(agrees_with_openfst(random_graph(source)) for _ in range(24))


def homophones() -> Graph:
    """Reads 0 1, writes 5, 6 7 or 5 8; before that, 3 writes 9 again and again."""
    weights = torch.tensor([0.1, 0.2, -0.3, 0.4, 0.5, -0.6, -0.7, 0.3], dtype=torch.float64)
    return Graph(
        [0, 0, 0, 1, 2, 3, 0, 3], [1, 2, 3, 4, 4, 4, 0, 3], [0, 0, 0, 1, 1, 1, 3, 2],
        [5, 6, 5, EPSILON, 7, 8, 9, 5], weights, accept={4: 0.25}, num_states=5,
    )  # fmt: skip


def test_cycles_and_batches():
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    batch = stack([homophones(), nothing, homophones()])
    made = determinize(batch, outputs="all")
    first, none, _ = automata(made)
    assert is_deterministic(first) and none.num_states == 0
    assert made[0].equal(made[2])
    for times in range(3):
        word = gtnet.linear([*[3] * times, 0, 1], dtype=torch.float64)
        ours, theirs = (
            string_scores(paths(only(word @ graph)), "log") for graph in (made[0], homophones())
        )
        assert len(ours) == 3
        assert ours == pytest.approx(theirs)


def test_arcs_that_read_nothing_write_several_strings():
    graph = Graph(
        [0, 0, 1, 2, 1], [1, 1, 2, 3, 3], [EPSILON, EPSILON, 0, EPSILON, 0], [5, 6, 7, 8, 7],
        torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64), accept=3,
    )  # fmt: skip
    for semiring in ("log", "tropical"):
        made = determinize(graph, semiring=semiring, outputs="all")
        assert is_deterministic(only(made))
        expected = string_scores(paths(only(graph)), semiring)
        assert len(expected) == 4
        assert string_scores(paths(only(made)), semiring) == pytest.approx(expected)


def test_derivatives():
    inputs, put = scored(homophones())
    word = gtnet.linear([0, 1], dtype=torch.float64)

    def before(*scores):
        return gtnet.forward_score(word @ put(*scores))

    def after(*scores):
        return gtnet.forward_score(word @ determinize(put(*scores), outputs="all"))

    ours, theirs = (torch.autograd.grad(work(*inputs), inputs) for work in (after, before))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)
    assert gradcheck(after, inputs)
    assert gradgradcheck(after, inputs, fast_mode=True)


def test_what_has_no_bound_is_refused():
    ever = Graph([0, 0, 1], [1, 0, 1], [0, EPSILON, 1], [5, 6, 7], accept=1)
    with pytest.raises(ValueError, match=r"determinize: graph 0 writes endless strings for one"):
        determinize(ever, outputs="all")
    apart = Graph([0, 0, 1, 2], [1, 2, 1, 2], [0, 0, 1, 1], [5, 6, 5, 6], accept=[1, 2])
    with pytest.raises(ValueError, match=r"determinize: graph 0 needs more than max_states=30"):
        determinize(apart, outputs="all", max_states=30)
    with pytest.raises(ValueError, match='determinize: outputs must be "one" or "all", got'):
        determinize(apart, outputs="some")
    with pytest.raises(ValueError, match=r'is not functional.*outputs="all" keeps both'):
        determinize(Graph([0, 0], [1, 1], [0, 0], [5, 6], accept=1))
