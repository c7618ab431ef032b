"""Encoding and decoding of labels and scores: inverses, and what OpenFst makes of them."""

from __future__ import annotations

import random

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, only, paths, relation, string_scores
from test_openfst import from_openfst, pynini, random_graph
from test_properties import as_openfst, one_start
from torch.autograd import gradcheck

import gtnet
from gtnet import EPSILON, Graph, connect, determinize, encode, minimize, remove_epsilon


@settings(max_examples=10)
@given(strategies.graphs(acyclic=False), st.booleans())
def test_decoding_is_the_inverse(graph, scores):
    coded, code = encode(graph, scores=scores)
    assert coded.is_acceptor
    assert code.decode(coded).equal(graph)
    if scores:
        assert (coded.weights == 0).all()
    else:
        silent = (graph.ilabels == EPSILON) & (graph.olabels == EPSILON)
        assert torch.equal(coded.ilabels == EPSILON, silent)
    rows = list(zip(graph.ilabels.tolist(), graph.olabels.tolist(), graph.weights.tolist()))
    kinds = {(*labels, weight if scores else 0) for *labels, weight in rows}
    assert len(code.ilabels) == len(kinds)
    assert code.scores.dtype == graph.dtype


def agrees_with_openfst(graph: Graph) -> bool:
    """Encode, determinize and minimize as an unweighted acceptor, decode; and label pairs alone."""
    plain = connect(one_start(remove_epsilon(graph, semiring="tropical")))
    if not plain.num_states:
        return True
    accept = torch.where(plain.accept.isfinite(), 0.0, plain.accept)
    free = plain.with_weights(accept=accept)  # OpenFst makes arcs of final scores
    coded, code = encode(free, scores=True)
    ours = code.decode(minimize(determinize(coded, semiring="tropical"), semiring="tropical"))
    mapper = pynini.EncodeMapper("standard", encode_labels=True, encode_weights=True)
    theirs = pynini.determinize(as_openfst(free).encode(mapper)).minimize().decode(mapper)
    same = relation(paths(only(ours))) == relation(paths(from_openfst(theirs)))
    for semiring, arc_type in (("log", "log64"), ("tropical", "standard")):
        kept, pairs = encode(free)
        back = pairs.decode(determinize(kept, semiring=semiring))
        mapper = pynini.EncodeMapper(arc_type, encode_labels=True)
        theirs = pynini.determinize(as_openfst(free, arc_type).encode(mapper)).decode(mapper)
        mine = string_scores(paths(only(back)), semiring)
        expected = string_scores(paths(from_openfst(theirs)), semiring)
        same = same and mine == pytest.approx(expected, rel=1e-4, abs=1e-4)
    return same


def test_openfst_agrees():
    source = random.Random(71)
    assert all(agrees_with_openfst(random_graph(source)) for _ in range(24))


def test_cycles_that_score_one_string_differently_become_deterministic():
    """Without the code no deterministic equivalent exists."""
    graph = Graph([0, 0, 1, 2], [1, 2, 1, 2], [0, 0, 1, 1], None, [0, 0, -1, -2], accept=[1, 2])
    with pytest.raises(ValueError, match="max_states"):
        determinize(graph, semiring="tropical", max_states=100)
    coded, code = encode(graph, scores=True)
    small = code.decode(minimize(determinize(coded, semiring="tropical"), semiring="tropical"))
    for times in range(4):
        word = gtnet.linear([0, *[1] * times])
        assert gtnet.viterbi_score(small @ word).item() == -times


def test_equal_scores_that_learn_are_not_one():
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    graph = Graph([0, 0], [1, 1], [0, 0], [1, 1], weights, accept=1)
    assert len(encode(graph.detach(), scores=True)[1].scores) == 1

    def through(w):
        coded, code = encode(graph.with_weights(w), scores=True)
        return gtnet.forward_score(code.decode(coded))

    assert gradcheck(through, (weights,))
    assert torch.autograd.grad(through(weights), weights)[0].tolist() == [0.5, 0.5]


def test_what_a_code_does_not_know_is_refused():
    coded, code = encode(gtnet.linear([[0, 1]]))
    with pytest.raises(ValueError, match=r"decode: graph has label 7, the code has 2, counted"):
        code.decode(gtnet.linear([7]))
    with pytest.raises(ValueError, match=r"decode: graph must be an acceptor, got a transducer"):
        code.decode(gtnet.relabel(coded, {0: 1}))
    with pytest.raises(TypeError, match=r"decode: all must have one dtype"):
        code.decode(coded.to(torch.float64))
    empty, none = encode(Graph([], [], [], start=[], accept=[]), scores=True)
    assert none.decode(empty).num_states == 0
    assert automata(none.decode(empty[:0])) == []
