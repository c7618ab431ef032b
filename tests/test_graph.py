"""Graph and stack: construction, batches, movement, comparison, text, gradients."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata

from gtnet import EPSILON, Graph, compose, connect, forward_score, linear, stack

NEG_INF = float("-inf")


def diamond(dtype: torch.dtype = torch.float32) -> Graph:
    weights = torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=dtype)
    return Graph([0, 0, 1, 2], [1, 2, 3, 3], [1, 2, 3, 4], [5, 6, EPSILON, 7], weights, accept=3)


def renumbered(graph: Graph, random) -> Graph:
    """One graph with its states renamed and its arcs in another order."""
    name = list(range(graph.num_states))
    order = list(range(graph.num_arcs))
    random.shuffle(name)
    random.shuffle(order)
    names = torch.tensor(name, dtype=torch.int64)
    arcs = torch.tensor(order, dtype=torch.int64)
    start, accept = torch.empty_like(graph.start), torch.empty_like(graph.accept)
    start[names], accept[names] = graph.start, graph.accept
    return Graph(
        names[graph.source[arcs].long()],
        names[graph.target[arcs].long()],
        graph.ilabels[arcs],
        graph.olabels[arcs],
        graph.weights[arcs],
        start=start,
        accept=accept,
    )


# Construction


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        lambda x: np.array(x, dtype=np.int64),
        lambda x: np.array(x, dtype=np.int32)[::1],
        lambda x: np.repeat(np.array(x, dtype=np.int32), 2)[::2],
        lambda x: torch.tensor(x, dtype=torch.int64),
        lambda x: torch.tensor(x, dtype=torch.int16),
        lambda x: torch.tensor(x, dtype=torch.int32).repeat_interleave(2)[::2],
    ],
)
def test_arrays_of_any_kind_make_the_same_graph(make):
    arrays = [make(x) for x in ([0, 0, 1, 2], [1, 2, 3, 3], [1, 2, 3, 4], [5, 6, -1, 7])]
    graph = Graph(*arrays, [0.5, -1.0, 2.0, 0.25], accept=3)
    assert graph.equal(diamond())
    for tensor in (graph.source, graph.target, graph.ilabels, graph.olabels):
        assert tensor.dtype == torch.int32


def test_the_parts_of_a_graph():
    graph = diamond()
    assert (len(graph), graph.num_states, graph.num_arcs) == (1, 4, 4)
    assert graph.source.tolist() == [0, 0, 1, 2]
    assert graph.target.tolist() == [1, 2, 3, 3]
    assert graph.ilabels.tolist() == [1, 2, 3, 4]
    assert graph.olabels.tolist() == [5, 6, EPSILON, 7]
    assert graph.weights.tolist() == [0.5, -1.0, 2.0, 0.25]
    assert graph.start.tolist() == [0.0, NEG_INF, NEG_INF, NEG_INF]
    assert graph.accept.tolist() == [NEG_INF, NEG_INF, NEG_INF, 0.0]
    assert graph.state_offsets.tolist() == [0, 4]
    assert graph.arc_offsets.tolist() == [0, 4]
    assert graph.state_offsets.dtype == graph.arc_offsets.dtype == torch.int64
    assert (graph.dtype, graph.device.type, graph.requires_grad) == (torch.float32, "cpu", False)
    assert graph.arc_maps is None
    assert graph.state_maps is None


def test_weights_default_to_zero_and_olabels_to_ilabels():
    graph = Graph([0], [1], [4], accept=1)
    assert graph.is_acceptor
    assert graph.weights.tolist() == [0.0]
    assert graph.weights.dtype == torch.float32
    assert graph.olabels.tolist() == [4]
    assert Graph([0], [1], [4], [4], accept=1).is_acceptor
    assert not Graph([0], [1], [4], [5], accept=1).is_acceptor


@pytest.mark.parametrize(
    "ends",
    [
        [1, 2],
        (1, 2),
        np.array([1, 2]),
        torch.tensor([2, 1]),
        {1: 0.0, 2: 0.0},
        {2: 0, 1: 0},
        torch.tensor([NEG_INF, 0.0, 0.0]),
        [NEG_INF, 0.0, 0.0],
        np.array([NEG_INF, 0.0, 0.0], dtype=np.float32),
    ],
)
def test_start_and_accept_take_states_or_scores(ends):
    graph = Graph([0], [1], [0], start=ends, accept=ends, num_states=3)
    assert graph.start.tolist() == graph.accept.tolist() == [NEG_INF, 0.0, 0.0]


@pytest.mark.parametrize("end", [1, np.int64(1), np.int32(1), torch.tensor(1)])
def test_start_and_accept_take_one_state(end):
    graph = Graph([0], [1], [0], start=end, accept=end)
    assert graph.start.tolist() == graph.accept.tolist() == [NEG_INF, 0.0]


def test_end_scores_of_lists_and_mappings_follow_the_weights():
    for ends in ([0.5, NEG_INF], {0: 0.5}, [0]):
        weights = torch.zeros(1, dtype=torch.float64)
        graph = Graph([0], [1], [0], weights=weights, start=ends, accept=1)
        assert graph.start.dtype == graph.accept.dtype == torch.float64


def test_no_start_and_no_accept_are_allowed():
    for none in ([], (), {}, torch.tensor([NEG_INF, NEG_INF])):
        graph = Graph([0], [1], [0], start=none, accept=none)
        assert graph.num_states == 2
        assert not (graph.start > NEG_INF).any()
        assert not (graph.accept > NEG_INF).any()


def test_states_are_counted_from_everything_named():
    assert Graph([0], [3], [0], accept=1).num_states == 4
    assert Graph([0], [1], [0], accept=7).num_states == 8
    assert Graph([0], [1], [0], start={5: 1.0}, accept=1).num_states == 6
    assert Graph([0], [1], [0], accept=torch.zeros(9)).num_states == 9
    assert Graph([], [], [], start=[], accept=[]).num_states == 0
    assert Graph([], [], [], start=[], accept=[], num_states=3).num_states == 3


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_the_topology_is_the_graphs_own(kind):
    arrays = [kind([0]), kind([1]), kind([2]), kind([3])]
    arrays = [
        torch.as_tensor(a).int() if kind is torch.tensor else a.astype("int32") for a in arrays
    ]
    graph = Graph(*arrays, accept=1)
    for array in arrays:
        array[0] = 77
    assert graph.equal(Graph([0], [1], [2], [3], accept=1))


def test_a_million_arcs_are_made_without_a_loop():
    n = 1_000_000
    source = torch.arange(n)
    graph = Graph(source, source + 1, source % 5, accept=n)
    assert (graph.num_states, graph.num_arcs) == (n + 1, n)


def test_scores_in_a_mapping_stay_in_autograd():
    score = torch.tensor(1.5, requires_grad=True)
    graph = Graph([0], [1], [0], start={0: score}, accept={0: -1.0, 1: 2 * score})
    assert graph.accept.tolist() == [-1.0, 3.0]
    (3 * graph.start[0] + graph.accept[1]).backward()
    assert score.grad.item() == 5


# Batches


@given(strategies.graphs(size=3), st.integers(-3, 2))
def test_indexing_takes_one_graph_of_the_batch(batch, index):
    one = batch[index]
    assert len(one) == 1
    whole, part = automata(batch)[index], automata(one)[0]
    assert (part.first_arc, part.first_state) == (0, 0)
    assert [a.__dict__ | {"index": 0} for a in part.arcs] == [
        a.__dict__ | {"index": 0} for a in whole.arcs
    ]
    assert (part.start, part.accept) == (whole.start, whole.accept)


@given(strategies.graphs())
def test_stacking_the_items_gives_the_batch(batch):
    assert stack(list(batch)).equal(batch)
    assert stack([batch]).equal(batch)
    assert stack([batch[i] for i in range(len(batch))]).equal(batch)
    assert stack([batch[:1], batch[1:]]).equal(batch)


@given(strategies.graphs(size=3))
def test_slices_and_choices_are_stacks_of_items(batch):
    a, b, c = batch
    assert batch[1:].equal(stack([b, c]))
    assert batch[::-1].equal(stack([c, b, a]))
    assert batch[::2].equal(stack([a, c]))
    assert batch[[2, 0, 0]].equal(stack([c, a, a]))
    assert batch[torch.tensor([1, -1])].equal(stack([b, c]))
    assert batch[np.int64(1)].equal(b)
    for nothing in (batch[3:], batch[2:1], batch[[]]):
        assert (len(nothing), nothing.num_states, nothing.num_arcs) == (0, 0, 0)
        assert list(nothing) == []


def test_an_index_outside_the_batch_is_named():
    for index in (2, -3, np.int64(2)):
        with pytest.raises(IndexError, match=f"{index}.*2 graphs"):
            linear([[1], [2]])[index]


def test_unequal_batches_keep_their_offsets():
    batch = stack([linear([1, 2, 3]), Graph([], [], [], start=[], accept=[]), linear([4])])
    assert batch.state_offsets.tolist() == [0, 4, 4, 6]
    assert batch.arc_offsets.tolist() == [0, 3, 3, 4]
    assert batch.source.tolist() == [0, 1, 2, 0]
    assert batch.target.tolist() == [1, 2, 3, 1]


def test_parts_of_a_product_keep_their_maps():
    a, b = linear([[1, 2], [3]]), linear([[1, 2], [3]])
    product = compose(a, b)
    for part in (product[1], product[1:], product[[1]]):
        assert [m.tolist() for m in part.arc_maps] == [[2], [2]]
        assert [m.tolist() for m in part.state_maps] == [[3, 4], [3, 4]]
    assert [m.tolist() for m in product[[1, 0]].arc_maps] == [[2, 0, 1], [2, 0, 1]]
    assert [m.tolist() for m in connect(a)[0].arc_maps] == [[0, 1]]


# Autograd


@settings(max_examples=15)
@given(strategies.graphs(size=3), st.integers(0, 99))
def test_gradcheck_through_batches(graph, seed):
    graph = strategies.with_random_scores(graph, seed)
    scores = [graph.weights, graph.start, graph.accept]
    inputs = [t.masked_fill(t == NEG_INF, 0).requires_grad_() for t in scores]

    def rearranged(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        batch = graph.with_weights(given[0], start=given[1], accept=given[2])
        a, b, c = batch
        mixed = stack([c, batch[0], batch[1:], batch[[2, 1]], b, a])
        return mixed.weights, mixed.start, mixed.accept

    if graph.num_arcs:
        assert torch.autograd.gradcheck(rearranged, inputs)


def test_weights_given_are_the_leaves():
    weights = torch.tensor([1.0, 2.0], requires_grad=True)
    start = torch.tensor([0.0, NEG_INF], requires_grad=True)
    graph = Graph([0, 0], [1, 1], [0, 1], weights=weights, start=start, accept=1)
    assert graph.requires_grad
    assert graph.weights is weights
    forward_score(graph).sum().backward()
    torch.testing.assert_close(weights.grad, torch.softmax(torch.tensor([1.0, 2.0]), 0))
    assert start.grad.tolist() == pytest.approx([1.0, 0.0])
    assert not graph.detach().requires_grad


def test_requires_grad_asks_for_all_scores():
    graph = linear([1, 2]).requires_grad_()
    assert graph.weights.requires_grad
    assert graph.start.requires_grad
    assert graph.accept.requires_grad
    assert not graph.requires_grad_(False).requires_grad


def test_with_weights_shares_the_topology():
    graph = diamond()
    other = graph.with_weights(torch.ones(4), start=torch.zeros(4))
    assert other.topology is graph.topology
    assert other.weights.tolist() == [1.0] * 4
    assert other.start.tolist() == [0.0] * 4
    assert torch.equal(other.accept, graph.accept)
    assert graph.weights.tolist() == [0.5, -1.0, 2.0, 0.25]


# Movement


def test_to_another_dtype_and_back():
    graph = diamond()
    double = graph.to(torch.float64)
    assert (double.dtype, double.start.dtype, double.accept.dtype) == (torch.float64,) * 3
    assert double.equal(diamond(torch.float64))
    assert double.to(torch.float32).equal(graph)
    assert graph.to("cpu", torch.float64).equal(double)
    assert graph.to(torch.device("cpu")).equal(graph)
    weights = torch.ones(4, requires_grad=True)
    graph.with_weights(weights).to(torch.float64).weights.sum().backward()
    assert weights.grad.tolist() == [1.0] * 4


def test_to_refuses_what_is_no_score():
    for dtype in (torch.float16, torch.bfloat16, torch.int32):
        with pytest.raises(TypeError, match=f"to: .*float32 or float64.*{dtype}"):
            diamond().to(dtype)
    with pytest.raises((TypeError, ValueError), match=r"to: .*'float64'"):
        diamond().to("float64")


def test_to_another_device_moves_everything():
    graph = compose(diamond(), Graph([0], [0], [5], accept=0)).to("meta")
    tensors = (graph.weights, graph.start, graph.accept, graph.source, graph.ilabels)
    assert {t.device.type for t in (*tensors, *graph.arc_maps, *graph.state_maps)} == {"meta"}


# Comparison


@given(strategies.graphs())
def test_a_graph_equals_its_copy_and_nothing_changed(graph):
    assert graph.equal(graph)
    assert graph.equal(graph.with_weights(graph.weights.clone()))
    if graph.num_arcs:
        changed = graph.weights.clone()
        changed[-1] = 77
        assert not graph.equal(graph.with_weights(changed))
    other = torch.float64 if graph.dtype == torch.float32 else torch.float32
    assert not graph.equal(graph.to(other))
    assert not graph.equal(stack([graph, graph]))


def test_equality_looks_at_every_part():
    base = {"source": [0, 1], "target": [1, 2], "ilabels": [1, 2], "olabels": [3, 4], "accept": 2}
    graph = Graph(**base)
    for change in (
        {"source": [0, 0]},
        {"target": [1, 1]},
        {"ilabels": [1, 1]},
        {"olabels": [3, 3]},
        {"weights": [0.0, 1.0]},
        {"start": 1},
        {"accept": 1, "num_states": 3},
        {"num_states": 4},
    ):
        assert not graph.equal(Graph(**base | change))
        assert not graph.isomorphic(Graph(**base | change))
    assert not graph.equal(graph.to("meta"))


@given(strategies.graphs(), st.randoms(use_true_random=False))
def test_renumbered_graphs_are_isomorphic(graph, random):
    other = stack([renumbered(one, random) for one in graph])
    assert graph.isomorphic(other)
    assert other.isomorphic(graph)


@given(strategies.graphs(size=1), st.randoms(use_true_random=False))
def test_a_changed_score_is_not_isomorphic(graph, random):
    other = renumbered(graph, random)
    for name in ("weights", "start", "accept"):
        values = getattr(other, name)
        if len(values):
            changed = values.clone()
            changed[random.randrange(len(values))] = 77
            scores = {"weights": other.weights, "start": other.start, "accept": other.accept}
            scores[name] = changed
            assert not graph.isomorphic(other.with_weights(**scores))


def test_isomorphism_counts_parallel_arcs():
    twice = Graph([0, 0, 0], [1, 1, 1], [1, 1, 2], accept=1)
    assert twice.isomorphic(Graph([0, 0, 0], [1, 1, 1], [1, 2, 1], accept=1))
    assert not twice.isomorphic(Graph([0, 0, 0], [1, 1, 1], [1, 2, 2], accept=1))
    assert not twice.isomorphic(Graph([0, 0, 1], [1, 1, 0], [1, 1, 2], accept=1))


def test_comparison_refuses_other_things():
    for method in ("equal", "isomorphic"):
        with pytest.raises(TypeError, match=f"{method}: other must be a Graph, got int"):
            getattr(diamond(), method)(3)


# Text


def test_repr_shows_the_graph():
    text = repr(diamond())
    head, *rows = text.splitlines()
    assert head == "Graph(transducer, 4 states, 4 arcs, float32, cpu)"
    assert "start 0" in rows[0]
    assert "accept 3" in rows[0]
    assert [row.split() for row in rows[1:]] == [
        ["0", "->", "1", "1:5", "0.5"],
        ["0", "->", "2", "2:6", "-1"],
        ["1", "->", "3", "3:ε", "2"],
        ["2", "->", "3", "4:7", "0.25"],
    ]


def test_repr_of_a_batch_is_cut_short():
    batch = stack([linear(list(range(50))).requires_grad_()] * 20)
    text = repr(batch)
    assert "20 graphs" in text
    assert "requires_grad" in text
    assert "more arcs" in text
    assert "more graphs" in text
    assert len(text.splitlines()) < 80
    assert "0 graphs" in repr(batch[:0])
    assert "none" in repr(Graph([], [], [], start=[], accept=[]))


def test_repr_shows_end_scores():
    text = repr(Graph([0], [1], [0], start={0: -0.5}, accept={1: 2.25}))
    assert "-0.5" in text
    assert "2.25" in text


@given(strategies.graphs())
def test_repr_tells_the_size_and_every_arc_of_a_small_graph(graph):
    head, *lines = repr(graph).splitlines()
    kind = "acceptor" if graph.is_acceptor else "transducer"
    count = "" if len(graph) == 1 else f"{len(graph)} graphs, "
    size = f"{graph.num_states} states, {graph.num_arcs} arcs"
    assert head == f"Graph({kind}, {count}{size}, {str(graph.dtype)[6:]}, cpu)"
    shown = automata(graph)[:3]
    arrows = [line.split()[:3] for line in lines if "->" in line]
    assert arrows == [[f"{a.source}", "->", f"{a.target}"] for one in shown for a in one.arcs]
    starts = [line for line in lines if "; accept " in line]
    for line, one in zip(starts, shown, strict=True):
        for name, ends in (("start", one.start), ("accept", one.accept)):
            named = re.search(rf"{name} ([^;]*)", line)[1]
            expected = [str(s) for s, end in enumerate(ends) if end > NEG_INF]
            assert re.sub(r" \([^)]*\)", "", named) == (", ".join(expected) or "none")


def test_copies_are_equal():
    graph = diamond()
    assert copy.copy(graph).equal(graph)
    assert copy.deepcopy(graph).equal(graph)


# stack


def test_stack_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="stack: at least one"):
        stack([])
    with pytest.raises(TypeError, match=r"stack: graphs\[1\] must be a Graph, got str"):
        stack([diamond(), "graph"])
    with pytest.raises(TypeError, match=r"stack: .*float32.*float64"):
        stack([diamond(), diamond(torch.float64)])
    with pytest.raises(ValueError, match=r"stack: .*cpu.*meta"):
        stack([diamond(), diamond().to("meta")])
