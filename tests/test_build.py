"""GraphBuilder, linear, trie and ctc_graph: the languages they build."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import automata, only, paths, relation

from gtnet import EPSILON, Graph, GraphBuilder, ctc_graph, forward_score, linear, stack, trie

NEG_INF = float("-inf")
WORDS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), max_size=6)


def language(graph: Graph) -> Counter:
    return relation(paths(only(graph)))


# GraphBuilder


def test_a_builder_makes_what_the_arrays_make():
    builder = GraphBuilder()
    a = builder.add_state(start=True)
    b = builder.add_state()
    c = builder.add_state(start=-0.5, accept=True)
    assert (a, b, c, builder.num_states) == (0, 1, 2, 3)
    assert builder.add_arc(a, b, 1) == 0
    assert builder.add_arc(b, c, 2, 3, 0.5) == 1
    assert builder.add_arc(a, c, 1, olabel=EPSILON, weight=-1.0) == 2
    assert builder.num_arcs == 3
    expected = Graph(
        [0, 1, 0], [1, 2, 2], [1, 2, 1], [1, 3, EPSILON], [0.0, 0.5, -1.0],
        start={0: 0.0, 2: -0.5}, accept=2,
    )  # fmt: skip
    assert builder.build().equal(expected)
    assert builder.build(dtype=torch.float64).equal(expected.to(torch.float64))


def test_a_builder_may_go_on():
    builder = GraphBuilder()
    builder.add_state(start=True, accept=0.25)
    first = builder.build()
    assert (first.num_states, first.num_arcs) == (1, 0)
    builder.add_arc(0, builder.add_state(accept=True), 7)
    assert (first.num_states, builder.build().num_states) == (1, 2)
    assert builder.build().is_acceptor
    assert GraphBuilder().build().num_states == 0


def test_a_builder_refuses_states_it_does_not_know():
    builder = GraphBuilder()
    builder.add_state(start=True)
    with pytest.raises(ValueError, match=r"add_arc: target .*1 states, got 1"):
        builder.add_arc(0, 1, 0)
    with pytest.raises(ValueError, match=r"add_arc: source .*1 states, got -1"):
        builder.add_arc(-1, 0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_builder_refuses_bad_scores(bad):
    for fill in (
        lambda b: b.add_state(start=bad),
        lambda b: b.add_state(accept=bad),
        lambda b: b.add_arc(b.add_state(), 0, 0, weight=bad),
    ):
        builder = GraphBuilder()
        with pytest.raises(ValueError, match=str(bad)):  # noqa: PT012, when it notices is free
            fill(builder)
            builder.build()


# linear


@pytest.mark.parametrize(
    "labels", [[3, 1, 3], (3, 1, 3), np.array([3, 1, 3]), torch.tensor([3, 1, 3])]
)
def test_linear_accepts_its_sequence(labels):
    weights = torch.tensor([0.5, 0.25, -1.0])
    assert language(linear(labels, weights)) == {((3, 1, 3), (3, 1, 3), -0.25): 1}
    assert linear(labels).equal(Graph([0, 1, 2], [1, 2, 3], [3, 1, 3], accept=3))


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=4))
def test_linear_batches_are_stacks(rows):
    assert linear(rows).equal(stack([linear(row) for row in rows]))
    count = sum(map(len, rows))
    weights = torch.arange(count, dtype=torch.float64)
    assert torch.equal(linear(rows, weights).weights, weights)


def test_linear_of_a_matrix_is_a_batch():
    matrix = torch.tensor([[1, 2], [3, 4]])
    assert linear(matrix).equal(linear([[1, 2], [3, 4]]))
    assert len(linear(matrix[:0])) == 0


def test_linear_of_nothing_is_the_empty_string():
    assert language(linear([])) == {((), (), 0.0): 1}
    assert forward_score(linear([[], [1]])).tolist() == [0.0, 0.0]


def test_linear_passes_gradients_and_dtypes():
    weights = torch.ones(2, dtype=torch.float64, requires_grad=True)
    forward_score(linear([1, 2], weights)).sum().backward()
    assert weights.grad.tolist() == [1.0, 1.0]
    assert linear([1], dtype=torch.float64).dtype == torch.float64


def test_linear_refuses_what_is_no_sequence_of_labels():
    with pytest.raises(TypeError, match=r"linear: labels must be integers, got torch.float32"):
        linear([1.5])
    with pytest.raises(ValueError, match=r"linear: labels\[1\] .*-2"):
        linear([[1], [-2]])
    with pytest.raises(ValueError, match=r"linear: weights must have shape \[2\], got \[3\]"):
        linear([1, 2], torch.zeros(3))
    with pytest.raises(ValueError, match=r"linear: weights .*nan"):
        linear([1, 2], torch.tensor([0.0, float("nan")]))


# trie


@given(WORDS)
def test_a_trie_reads_tokens_and_writes_word_numbers(words):
    graph = trie(words)
    expected = Counter((tuple(tokens), (i,), 0.0) for i, tokens in enumerate(words))
    assert language(graph) == expected
    prefixes = {tuple(w[:n]) for w in words for n in range(1, len(w))}
    assert graph.num_states == 1 + len(prefixes) + len(words)
    assert graph.num_arcs == len(prefixes) + len(words)


@pytest.mark.parametrize("words", [3, None, [3], [1, 2], torch.tensor([1, 2])])
def test_words_that_are_no_sequences_are_refused(words):
    with pytest.raises(TypeError, match="trie: words must be sequences of integers, one for each"):
        trie(words)


@given(WORDS)
def test_a_trie_takes_tokens_of_any_kind(words):
    for make in (tuple, np.array, torch.tensor):
        assert trie([make(word) for word in words]).equal(trie(words))


def test_homophones_stay_apart():
    assert language(trie([[1, 2], [1, 2]])) == {((1, 2), (0,), 0.0): 1, ((1, 2), (1,), 0.0): 1}


def test_a_trie_refuses_words_that_cannot_be_read():
    with pytest.raises(ValueError, match="trie: word 1 has no tokens"):
        trie([[1], []])
    with pytest.raises(ValueError, match=r"trie: words\[1\].*-1"):
        trie([[1], [2, -1]])
    with pytest.raises(TypeError, match=r"trie: words\[0\].*1.5"):
        trie([[1.5]])


# ctc_graph


def collapse(labels: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(labels) if label != blank)


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 4])
def test_ctc_accepts_exactly_the_labellings_that_collapse(blank, frames):
    letters = [x for x in range(3) if x != blank]
    targets = [t for n in range(4) for t in itertools.product(letters, repeat=n)]
    labellings = list(itertools.product(range(3), repeat=frames))
    read: dict[tuple[int, ...], Counter] = {target: Counter() for target in targets}
    for labelling in labellings:
        target = collapse(labelling, blank)
        if target in read:
            read[target][(labelling, target)] += 1
    for target, one in zip(targets, automata(ctc_graph(targets, blank)), strict=True):
        found = [p for p in paths(one, lambda a: len(a) <= frames) if len(p.arcs) == frames]
        assert Counter((p.inputs, p.outputs) for p in found) == read[target]


def test_ctc_batches_are_stacks():
    targets = [[1, 1, 2], [], [3]]
    assert ctc_graph(targets).equal(stack([ctc_graph(target) for target in targets]))
    assert ctc_graph([1, 2]).equal(ctc_graph(torch.tensor([[1, 2]])))
    assert ctc_graph([1], dtype=torch.float64).dtype == torch.float64


def test_ctc_refuses_the_blank_in_a_target():
    with pytest.raises(ValueError, match=r"ctc_graph: .*blank 0.*\[1, 0\]"):
        ctc_graph([1, 0])
    with pytest.raises(ValueError, match=r"ctc_graph: blank .*-1"):
        ctc_graph([1], blank=-1)
    with pytest.raises(ValueError, match=r"ctc_graph: targets.*-3"):
        ctc_graph([[-3]])
    with pytest.raises(TypeError, match=r"ctc_graph: targets\[0\] must be integers"):
        ctc_graph([[1.5]])
