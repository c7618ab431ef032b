"""Graphs made on a GPU: their arcs by state, orders and what is reached, as on the CPU."""

from __future__ import annotations

import emulated
import pytest
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st

from gtnet import (
    Graph,
    _ops,
    forward_score,
    linear,
    posteriors,
    shortest_distance,
    stack,
    viterbi_score,
)
from gtnet._ops import library
from gtnet.topology import Topology

NEG_INF = float("-inf")


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def remade(graph: Graph) -> Topology:
    """The same arcs, about which nothing is known yet."""
    return graph.topology.with_labels(graph.ilabels, graph.olabels)


@given(strategies.graphs(acyclic=False))
def test_sorts_of_torch_group_arcs_as_the_operators_do(graph):
    topology = remade(graph)
    offsets = (topology.state_offsets, topology.arc_offsets)
    for by, other in ((graph.source, graph.target), (graph.target, graph.source)):
        expected = library.operators.incidence.default(*offsets, by, other, graph.num_states)
        found = _ops.incidence(*offsets, by, other, graph.num_states)
        assert all(map(emulated.same_bits, found, expected))
    by_state = (topology.state_offsets, *topology.leaving.by_state())
    expected = library.operators.sort_by_label.default(*by_state, graph.olabels)
    assert all(map(emulated.same_bits, _ops.sort_by_label(*by_state, graph.olabels), expected))


@given(strategies.graphs())
def test_layers_hold_states_that_do_not_depend_on_one_another(graph):
    topology = remade(graph)
    with emulated.OnGpu() as gpu:
        walk = topology.walk("test")
    assert gpu.ran == {"depths"}
    place = torch.empty(graph.num_states, dtype=torch.int64)
    place[walk.order.long()] = torch.arange(graph.num_states)
    begin, end = walk.plan.long()
    source, target = topology.global_source, topology.global_target
    assert bool((end[place[source]] <= begin[place[target]]).all())
    assert torch.equal(topology.order_and_cycles[0], walk.order)
    assert topology.order_and_cycles[1].tolist() == [-1] * len(graph)


@given(strategies.cyclic_graphs())
def test_cycles_are_found_and_named_as_on_the_cpu(cyclic):
    graph, _ = cyclic
    topology = remade(graph)
    with emulated.OnGpu(), pytest.raises(ValueError, match="cycle through") as found:
        topology.walk("test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "on_gpu", lambda tensor: False)
        with pytest.raises(ValueError, match="cycle through") as expected:
            remade(graph).walk("test")
    assert str(found.value) == str(expected.value)


def hub(states: int) -> Graph:
    """One state leads to all others, and they to the last."""
    others = torch.arange(1, states - 1)
    zeros = torch.zeros_like(others)
    source, target = torch.cat([zeros, others]), torch.cat([others, zeros + states - 1])
    return Graph(source, target, torch.cat([others, others]), accept=states - 1)


def test_a_state_with_more_arcs_than_threads():
    graph = stack([linear([1, 2]), hub(1500)])
    with emulated.OnGpu() as gpu:
        reached = _ops.reach(
            graph.state_offsets, *graph.topology.leaving.by_state(), graph.start > NEG_INF
        )
        score = forward_score(graph)
    assert {"reach", "depths", "log_distance"} <= gpu.ran
    assert bool(reached.all())
    torch.testing.assert_close(score, torch.tensor([0.0, 1498.0]).log().clamp(min=0))


@given(strategies.graphs(acyclic=False), st.booleans())
def test_what_is_reached(graph, closed):
    open_arcs = (graph.weights > NEG_INF,) if closed else ()
    ends = (graph.state_offsets, *graph.topology.leaving.by_state(), graph.start > NEG_INF)
    expected = _ops.reach(*ends, *open_arcs)
    with emulated.OnGpu() as gpu:
        assert torch.equal(_ops.reach(*ends, *open_arcs), expected)
    assert gpu.ran == {"reach"}


def wide(layers: int, width: int, seed: int) -> Graph:
    """Layers of many states and of one in turn, arcs between random states of neighbours."""
    sizes = [1 if i % 3 == 2 else width for i in range(layers)]
    first = torch.tensor([0, *sizes]).cumsum(0)
    random = torch.Generator().manual_seed(seed)
    ends = []
    for i in range(layers - 1):
        target = torch.arange(first[i + 1], first[i + 2]).repeat(2)
        ends.append(
            (
                torch.randint(int(first[i]), int(first[i + 1]), (len(target),), generator=random),
                target,
            )
        )
    source, target = (torch.cat(e) for e in zip(*ends))
    weights = torch.randn(len(source), generator=random)
    return Graph(
        source, target, source * 0, weights=weights, num_states=int(first[-1]),
        start=list(range(sizes[0])), accept=list(range(int(first[-2]), int(first[-1]))),
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [[(5, 700)], [(6, 600), (2, 300), (3, 900)]])
def test_several_blocks_walk_through_a_graph(sizes):
    """The sums of states are those of one block; one block alone takes what is narrow."""
    graph = stack([wide(layers, width, layers) for layers, width in sizes])
    given = graph.weights.requires_grad_()

    def results():
        score, best = forward_score(graph), viterbi_score(graph)
        found = [score, best, shortest_distance(graph), shortest_distance(graph, to_accept=True)]
        grads = [torch.autograd.grad(s.sum(), given)[0] for s in (score, best)]
        return [t.detach() for t in (*found, *grads, posteriors(graph))]

    with emulated.OnGpu():
        ours = results()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "on_gpu", lambda tensor: False)
        graph = graph.with_weights(given)
        expected = results()
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)
