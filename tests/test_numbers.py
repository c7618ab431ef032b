"""Numbers in every form that callers have them: arrays, scalars, masks, tensors in autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gtnet
from gtnet import Graph, GraphBuilder, linear

NEG_INF = float("-inf")
BATCH = linear([[0], [1], [2], [3]])


def first_labels(graph: Graph) -> list[int]:
    return [labels[0] for labels in gtnet.label_sequences(graph)]


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# Choosing graphs of a batch


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([False, False, True, True]),
        np.array([False, False, True, True]),
        [False, False, True, True],
        [np.False_, np.False_, np.True_, np.True_],
        (False, False, True, True),
    ],
)
def test_a_mask_chooses_the_graphs_it_marks(mask):
    assert first_labels(BATCH[mask]) == [2, 3]


def test_a_mask_that_marks_nothing_gives_an_empty_batch():
    assert len(BATCH[torch.zeros(4, dtype=torch.bool)]) == 0
    assert len(BATCH[[]]) == 0
    assert len(BATCH[torch.zeros(0, dtype=torch.int64)]) == 0


@pytest.mark.parametrize("size", [0, 1, 3, 5])
def test_a_mask_of_another_length_is_refused(size):
    with pytest.raises(IndexError, match=rf"mask must have shape \[4\].*got \[{size}\]"):
        BATCH[torch.ones(size, dtype=torch.bool)]
    with pytest.raises(IndexError, match=r"mask must have shape \[4\].*got \[2, 2\]"):
        BATCH[np.ones((2, 2), dtype=bool)]


@pytest.mark.parametrize("index", [2, -2, np.int64(2), np.uint8(2), torch.tensor(2), np.array(2)])
def test_an_integer_of_any_kind_takes_one_graph(index):
    assert first_labels(BATCH[index]) == [2]


@pytest.mark.parametrize(
    "index",
    [
        [3, -3],
        (3, 1),
        range(3, 0, -2),
        np.array([3, -3], dtype=np.int16),
        np.array([1, 3])[::-1],
        np.array([3, 1], dtype=">i4"),
        np.array([3, 1], dtype=np.uint32),
        torch.tensor([3, -3], dtype=torch.int8),
        torch.tensor([3, 1], dtype=torch.uint16),
        [torch.tensor(3), 1],
        [np.int32(3), 1],
        (i for i in (3, 1)),
    ],
)
def test_several_integers_of_any_kind_take_several_graphs(index):
    assert first_labels(BATCH[index]) == [3, 1]


@pytest.mark.parametrize(
    "index",
    [
        1.0,
        torch.tensor(1.0),
        torch.tensor([1.7]),
        np.array([1.0]),
        [1.5, 2.0],
        True,
        np.True_,
        torch.tensor(True),
        "0",
        None,
        ...,
        {"a": 1},
    ],
)
def test_what_is_no_index_is_refused(index):
    with pytest.raises(TypeError, match="Graph"):
        BATCH[index]


@pytest.mark.parametrize("index", [4, -5, [0, 4], np.array([4]), torch.tensor([-5])])
def test_an_index_outside_of_the_batch_is_refused(index):
    with pytest.raises(IndexError, match=r"index (4|-5) in a batch of 4 graphs"):
        BATCH[index]


def test_booleans_among_numbers_are_refused():
    for index in ([True, 0, 1], [0, False], [np.True_, 2]):
        with pytest.raises(TypeError, match="index must be numbers or booleans, got both"):
            BATCH[index]
    with pytest.raises(TypeError, match="labels must be numbers or booleans, got both"):
        gtnet.linear([True, 2])
    with pytest.raises(TypeError, match="weights must be numbers or booleans, got both"):
        gtnet.Graph([0, 0], [1, 1], [0, 1], weights=[True, 1.0], accept=1)


def test_a_mask_keeps_gradients_and_maps():
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    batch = gtnet.connect(linear([[0], [1], [2], [3]], weights))
    chosen = batch[torch.tensor([False, True, False, True])]
    assert chosen.arc_maps[0].tolist() == [1, 3]
    gtnet.forward_score(chosen).sum().backward()
    assert weights.grad.tolist() == [0, 1, 0, 1]


# Builders and constructors


@pytest.mark.parametrize("yes", [True, np.True_, torch.tensor(True), np.array(True)])
@pytest.mark.parametrize("no", [False, np.False_, torch.tensor(False), np.array(False)])
def test_a_builder_takes_booleans_of_any_kind(yes, no):
    builder = GraphBuilder()
    builder.add_state(start=yes, accept=no)
    builder.add_state(start=no, accept=yes)
    graph = builder.build()
    assert graph.start.tolist() == [0, NEG_INF]
    assert graph.accept.tolist() == [NEG_INF, 0]


@pytest.mark.parametrize("score", [0, 1, np.int64(0), torch.tensor(1), "yes", None, [0.0]])
def test_a_builder_refuses_what_is_neither_a_boolean_nor_a_score(score):
    with pytest.raises(TypeError, match=r"add_state: accept must be"):
        GraphBuilder().add_state(accept=score)


def test_a_builder_keeps_its_state_after_an_error():
    builder = GraphBuilder()
    builder.add_state(start=True, accept=True)
    for wrong in ({"accept": 1}, {"start": "x"}):
        with pytest.raises(TypeError):
            builder.add_state(**wrong)
    for wrong in ({"weight": "x"}, {"ilabel": 0.5}, {"ilabel": -2}, {"olabel": 2**40}):
        with pytest.raises((TypeError, ValueError), match=r"add_arc: "):
            builder.add_arc(**{"source": 0, "target": 0, "ilabel": 0, **wrong})
    assert (builder.num_states, builder.num_arcs) == (1, 0)
    assert builder.build().num_states == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_builder_keeps_gradients_of_all_its_scores(dtype):
    weight, start, accept = (torch.tensor(x, requires_grad=True) for x in (1.0, 2.0, 3.0))
    builder = GraphBuilder()
    builder.add_state(start=start)
    builder.add_state(accept=accept)
    builder.add_arc(0, 1, 5, weight=weight)
    builder.add_arc(np.int64(0), torch.tensor(1), np.int32(6), weight=np.float32(-1))
    graph = builder.build(dtype)
    assert graph.dtype == dtype
    assert graph.weights.tolist() == [1, -1]
    gtnet.viterbi_score(graph).sum().backward()
    assert (weight.grad, start.grad, accept.grad) == (1, 1, 1)


def test_scores_in_lists_keep_their_gradients():
    a, b = torch.tensor(1.0, requires_grad=True), torch.tensor(0.0, requires_grad=True)
    graph = Graph([0, 0], [1, 1], [0, 1], weights=[a, 2.0], start={0: b}, accept={1: b})
    gtnet.forward_score(graph).sum().backward()
    share = torch.tensor([1.0, 2.0]).softmax(0)[0]
    torch.testing.assert_close(a.grad, share)
    assert b.grad == 2
    again = graph.with_weights([a, a.detach()])
    assert again.weights.requires_grad
    double = Graph([0], [1], [0], weights=[a.double()], accept=1)
    assert double.dtype == torch.float64
    assert double.weights.requires_grad


def test_accept_states_in_every_form():
    def accept(given):
        return Graph([0, 1], [1, 2], [0, 0], accept=given).accept.tolist()

    both = [NEG_INF, 0, 0]
    for given in ([1, 2], (2, 1), {1, 2}, frozenset({1, 2}), range(1, 3), np.array([2, 1])):
        assert accept(given) == both
    assert accept(np.array([1, 2], dtype=">u2")) == both
    assert accept(np.array([2, 1])[::-1]) == both
    assert accept(np.int64(2)) == accept(torch.tensor(2)) == accept(np.array(2))
    assert accept({1: np.float32(-2), np.int64(2): torch.tensor(-1.0)}) == [NEG_INF, -2, -1]
    assert accept({2: 3}) == [NEG_INF, NEG_INF, 3]
    assert accept([]) == [NEG_INF] * 3
    assert accept(np.array([NEG_INF, 0, -1], dtype=">f4")) == [NEG_INF, 0, -1]


@pytest.mark.parametrize(
    "accept",
    [
        {1.5: 0.0},
        {"1": 0.0},
        {True: 0.0},
        {1: True},
        {1: np.False_},
        {1: "0"},
        {1: None},
        {1: torch.zeros(2)},
        "1",
        None,
        [True, False],
        np.array([True, False]),
        ["a"],
        1.0,
    ],
)
def test_accept_states_that_are_none(accept):
    with pytest.raises(TypeError, match=r"Graph: .*accept"):
        Graph([0], [1], [0], accept=accept)


@pytest.mark.parametrize(
    "column",
    [
        np.array([0, 1], dtype=">i8"),
        np.array([1, 0])[::-1],
        np.array([0, 1], dtype=np.uint16),
        np.array([0, 1], dtype=np.uint32),
        np.array([0, 1], dtype=np.uint64),
        torch.tensor([0, 1], dtype=torch.uint32),
        [np.int64(0), 1],
        [torch.tensor(0), 1],
        range(2),
    ],
)
def test_columns_of_any_kind(column):
    graph = Graph(column, column, column, column, accept=1)
    assert graph.source.tolist() == graph.target.tolist() == graph.ilabels.tolist() == [0, 1]
    assert linear(column).ilabels.tolist() == [0, 1]


def test_arrays_that_must_not_be_written_are_copied(recwarn):
    weights, labels = np.array([1.0, 2.0]), np.array([0, 1])
    weights.flags.writeable = labels.flags.writeable = False
    graph = Graph(labels, labels, labels, weights=weights, accept=1)
    assert graph.weights.tolist() == [1, 2]
    assert not recwarn.list


@pytest.mark.parametrize("huge", [2**70, -(2**70), 2**40])
def test_numbers_too_large_are_named(huge):
    for make in (
        lambda: Graph([0], [1], [huge], accept=1),
        lambda: linear([huge]),
        lambda: linear([[0], [huge]]),
        lambda: gtnet.ctc_graph([huge]),
        lambda: gtnet.trie([[huge]]),
    ):
        with pytest.raises(ValueError, match=rf"(fit in|must lie in|labels >= 0).*{huge}"):
            make()
    with pytest.raises(ValueError, match=f"Graph: ilabels must fit in 64 bits, got {2**64 - 1}"):
        Graph([0], [1], np.array([2**64 - 1], dtype=np.uint64), accept=1)


@pytest.mark.parametrize("labels", ["abc", 3, None, ["a"], [["a"], ["b"]], [0.5], torch.tensor(3)])
@pytest.mark.parametrize("make", [linear, gtnet.ctc_graph, gtnet.asg_graph])
def test_labels_that_are_none(make, labels):
    with pytest.raises(TypeError, match=make.__name__):
        make(labels)


def test_a_stray_state_number_does_not_take_all_memory():
    for given in (
        {"source": [0], "target": [2**31 - 2], "accept": 1},
        {"source": [0], "target": [1], "accept": 2**31 - 2},
        {"source": [0], "target": [1], "accept": {2**30: 0.0}},
        {"source": [], "target": [], "accept": [2**30]},
    ):
        with pytest.raises(ValueError, match=r"Graph: state \d+ makes \d+ states"):
            Graph(ilabels=[0] * len(given["source"]), **given)
    assert Graph([0], [100_000], [0], accept=100_000).num_states == 100_001
    asked = Graph([0], [1], [0], accept=1, num_states=2**22 + 2)
    assert asked.num_states == 2**22 + 2


# The default dtype


def constructors():
    builder = GraphBuilder()
    builder.add_state(start=True, accept=True)
    yield from (
        Graph([0], [1], [0], accept=1),
        Graph([0], [1], [0], weights=[0.1], start={0: -0.1}, accept=[NEG_INF, -0.1]),
        builder.build(),
        linear([0, 1]),
        linear([]),
        gtnet.trie([[0], [0, 1]]),
        gtnet.ctc_graph([1, 1, 2]),
        gtnet.ctc_graph([1, 2], blank=None),
        gtnet.ctc_graph([1, 2], optional_blank=True),
        gtnet.ctc_topology(3),
        gtnet.ctc_topology(3, repeats=False),
        gtnet.asg_graph([1, 2]),
        gtnet.bigram_graph(3),
        gtnet.hmm_graph([0, 1], skip=-1.0),
        gtnet.star_graph([0, 1], 3, substitution=-1.0),
        gtnet.segment_graph([3], 2),
        gtnet.random_graph(3, 5),
        gtnet.edit_transducer(3),
        gtnet.mismatch_costs([0, 1], 3),
    )


def test_every_constructor_follows_the_default_dtype(float64_by_default):
    assert [graph.dtype for graph in constructors()] == [torch.float64] * 19
    assert gtnet.nn.ASGLoss(3).transitions.dtype == torch.float64
    assert {graph.weights.dtype for graph in constructors()} == {torch.float64}
    assert {graph.accept.dtype for graph in constructors()} == {torch.float64}


def test_graphs_of_another_default_are_float32():
    assert {graph.dtype for graph in constructors()} == {torch.float32}
    for default in (torch.float16, torch.bfloat16):
        torch.set_default_dtype(default)
        try:
            assert {graph.dtype for graph in constructors()} == {torch.float32}
        finally:
            torch.set_default_dtype(torch.float32)


def test_python_floats_keep_their_digits_in_float64():
    graph = Graph([0], [1], [0], accept=1).to(torch.float64)
    assert graph.with_weights(torch.tensor([0.1], dtype=torch.float64)).weights.item() == 0.1
    assert Graph([0], [1], [0], weights=np.array([0.1]), accept={1: 0.1}).accept[1].item() == 0.1
    builder = GraphBuilder()
    builder.add_state(start=0.1, accept=0.2)
    assert builder.build(torch.float64).start.item() == 0.1
