"""Walks that take states side by side give what walks state by state give, bit for bit."""

from __future__ import annotations

import oracle
import pytest
import strategies
import torch
from hypothesis import given
from oracle import assert_close, automata

import gtnet
from gtnet import Graph, stack, topology

NEG_INF = float("-inf")


@pytest.fixture
def side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans for graphs of any size."""
    monkeypatch.setattr(topology, "_WORTH_SLICING", 1)


def layered(layers: int, width: int, arcs: int, dtype: torch.dtype, seed: int) -> Graph:
    """Layers of states, numbered at random, and arcs of random degree from each to the next two."""
    generator = torch.Generator().manual_seed(seed)
    states = layers * width
    target = torch.randint(width, states, (arcs,), generator=generator)
    jump = torch.randint(1, 3, (arcs,), generator=generator)
    layer = (target // width - jump).clamp(min=0)
    source = layer * width + torch.randint(0, width, (arcs,), generator=generator)
    target[: arcs // 10] = states - 1  # a long row
    source[: arcs // 20] = torch.randint(0, states - width, (arcs // 20,), generator=generator)
    weights = torch.randn(arcs, generator=generator, dtype=dtype)
    weights[torch.rand(arcs, generator=generator) < 0.1] = NEG_INF
    start, accept = torch.full((2, states), NEG_INF, dtype=dtype)
    start[: 2 * width] = torch.randn(2 * width, generator=generator, dtype=dtype)
    accept[-width:] = torch.randn(width, generator=generator, dtype=dtype)
    number = torch.randperm(states, generator=generator)
    ends = (scores[number.argsort()] for scores in (start, accept))
    labels = torch.zeros(arcs, dtype=torch.int32)
    return Graph(
        number[source], number[target], labels, None, weights, start=next(ends), accept=next(ends)
    )


def wide(frames: int, labels: int, dtype: torch.dtype) -> Graph:
    """A linear graph with parallel arcs, and one more between two of its states."""
    scores = torch.randn(1, frames, labels, generator=torch.Generator().manual_seed(0))
    graph = gtnet.Emissions(scores).graph().to(dtype)
    source = torch.cat([graph.source, torch.tensor([1])])
    target = torch.cat([graph.target, torch.tensor([3])])
    weights = torch.cat([graph.weights, torch.tensor([0.5], dtype=dtype)])
    return Graph(source, target, torch.zeros_like(source), None, weights, accept=frames)


def batches(dtype: torch.dtype) -> dict[str, Graph]:
    several = [layered(6, 40, 900, dtype, seed) for seed in range(3)]
    return {
        "layers": layered(9, 30, 2000, dtype, 7),
        "runs": wide(8, 61, dtype),
        "both, in a batch with an empty graph": stack(
            [wide(4, 30, dtype), *several, Graph([], [], [], start=[], accept=[]).to(dtype)]
        ),
    }


def results(graph: Graph) -> list[torch.Tensor]:
    """All that is walked for, with gradients."""
    learning = graph.detach().requires_grad_()
    for scores in (learning.weights, learning.start, learning.accept):
        scores.grad = None
    score = gtnet.forward_score(learning)
    factors = torch.linspace(-2, 3, len(graph), dtype=graph.dtype)
    (score.masked_fill(score == NEG_INF, 0) * factors).sum().backward()
    path = gtnet.viterbi_path(graph)
    return [
        score.detach(),
        learning.weights.grad,
        learning.start.grad,
        learning.accept.grad,
        gtnet.posteriors(graph),
        gtnet.shortest_distance(graph),
        gtnet.shortest_distance(graph, to_accept=True),
        gtnet.viterbi_score(graph),
        path.arc_maps[0],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["layers", "runs", "both, in a batch with an empty graph"])
def test_results_are_the_same_bit_for_bit(kind, dtype, monkeypatch):
    graph = batches(dtype)[kind]
    monkeypatch.setattr(topology, "_WORTH_SLICING", 2**31)
    alone = results(graph)
    monkeypatch.setattr(topology, "_WORTH_SLICING", 1)
    assert graph.topology.walk("test", both_ways=True).plan is None
    walk = graph.topology.walk("test", both_ways=True)
    assert walk.plan is not None and (walk.back_plan is not None or kind == "layers")
    for one, other in zip(alone, results(graph), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("side_by_side")
@given(strategies.graphs())
def test_path_sums_agree_with_enumeration(graph):
    for _ in range(2):
        assert_close(gtnet.forward_score(graph), [oracle.forward_score(g) for g in automata(graph)])
        expected = [p for one in automata(graph) for p in oracle.posteriors(one).arcs]
        assert_close(gtnet.posteriors(graph), expected)
        assert gtnet.viterbi_score(graph).tolist() == [
            oracle.viterbi_score(g) for g in automata(graph)
        ]


@pytest.mark.usefixtures("side_by_side")
def test_distances_of_slices_have_gradients():
    graph = layered(3, 20, 120, torch.float64, 1)
    graph.topology.walk("test")
    kept = graph.weights > NEG_INF

    def distances(weights: torch.Tensor) -> torch.Tensor:
        weights = weights.masked_fill(~kept, NEG_INF)
        distance = gtnet.shortest_distance(graph.with_weights(weights))
        return distance[distance > NEG_INF]

    inputs = graph.weights.masked_fill(~kept, 0).requires_grad_()
    assert torch.autograd.gradcheck(distances, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(distances, inputs, fast_mode=True)


def test_narrow_graphs_are_walked_state_by_state():
    chain = gtnet.linear(list(range(5000)))
    for _ in range(3):
        assert chain.topology.walk("test").plan is None


def test_a_run_is_won_by_its_first_best_arc():
    weights = torch.zeros(5000)
    weights[[70, 71, 4999]] = 1.0
    graph = Graph([0] * 5000, [1] * 5000, [0] * 5000, None, weights, accept=1)
    for _ in range(2):
        assert gtnet.viterbi_path(graph).arc_maps[0].tolist() == [70]


def test_relabelled_and_reversed_graphs_keep_their_plans():
    graph = layered(9, 30, 5000, torch.float32, 0)
    for _ in range(2):
        gtnet.posteriors(graph)
    there = graph.topology
    relabelled = there.with_labels(there.ilabels + 1, there.olabels + 1)
    assert relabelled._entering_slices is there._entering_slices
    assert gtnet.forward_score(gtnet.reverse(graph)).item() == pytest.approx(
        gtnet.forward_score(graph).item(), rel=1e-6
    )
