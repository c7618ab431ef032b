"""The best paths of items that share a graph are found together: each is the one found alone."""

from __future__ import annotations

import pytest
import torch
from test_lattice_interleaved import random_graph

from gtnet import Emissions, Graph, viterbi_path
from gtnet._ops.drivers import drivers_used

INF = float("inf")


def check(graph: Graph, scores: torch.Tensor, lengths: list[int]) -> None:
    """Arcs, rows and scores of all items, where several paths are best too."""
    with drivers_used() as used:
        together = viterbi_path(Emissions(scores, lengths) @ graph)
    assert used["interleaved"] == len(lengths)
    assert together.arc_maps is not None
    for i, length in enumerate(lengths):
        with drivers_used() as used:
            alone = viterbi_path(Emissions(scores[i : i + 1], [length]) @ graph)
        assert "interleaved" not in used
        assert alone.arc_maps is not None
        begin, end = together.arc_offsets[i : i + 2].tolist()
        rows = together.arc_maps[0][begin:end]
        taken = rows - sum(lengths[:i]) * scores.shape[2]
        assert torch.equal(taken[rows >= 0], alone.arc_maps[0][alone.arc_maps[0] >= 0])
        assert torch.equal(together.arc_maps[1][begin:end], alone.arc_maps[1])
        assert torch.equal(together.weights[begin:end], alone.weights)
        first, last = together.state_offsets[i : i + 2].tolist()
        for ends, others in ((together.start, alone.start), (together.accept, alone.accept)):
            assert torch.equal(ends[first:last], others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("items", [3, 4, 7, 11])
def test_the_path_of_each_item_is_the_one_alone(items, dtype):
    for seed in range(4):
        torch.manual_seed(seed)
        graph = random_graph(40, 150 + 100 * seed, 5).to(dtype)
        lengths = torch.randint(0, 12, (items,)).tolist()
        check(graph, torch.randn(items, 12, 5, dtype=dtype), lengths)


def test_of_several_best_paths_it_is_the_same_one():
    for seed in range(6):
        torch.manual_seed(seed)
        graph = random_graph(40, 400, 5)
        weights = graph.weights.round().clamp(-1, 0)
        start, accept = graph.start.round(), graph.accept.round()
        graph = graph.with_weights(weights, start=start, accept=accept)
        check(graph, torch.randint(-1, 1, (5, 9, 5)).float(), [9, 7, 9, 1, 0])


def test_rounding_makes_no_difference():
    torch.manual_seed(0)
    scores = 1e15 * torch.randint(1, 3, (4, 9, 5)).double() + torch.rand(4, 9, 5).double()
    check(random_graph(40, 400, 5).to(torch.float64), scores, [9] * 4)


@pytest.mark.parametrize("arcs", [10, 60, 3000])
def test_rows_of_many_arcs(arcs):
    """The last state is entered by so many, a sixth of them epsilons."""
    torch.manual_seed(0)
    some = random_graph(50, 4000, 5)
    target = some.target.clone()
    target[:arcs] = 49
    reads = torch.where((some.ilabels < 0) & (some.source >= target), 0, some.ilabels)
    graph = Graph(
        some.source, target, reads, None, some.weights, start=some.start, accept=some.accept
    )
    check(graph, torch.randn(9, 12, 5), [12, 11, 10, 4, 3, 2, 1, 0, 12])


def test_impossible_scores():
    torch.manual_seed(0)
    graph = random_graph(40, 400, 5)
    scores = torch.randn(5, 9, 5)
    scores[torch.rand(5, 9, 5) < 0.4] = -INF
    scores[1] = -INF
    check(graph, scores, [9, 9, 8, 7, 0])


def test_graphs_that_vectors_can_follow_are_taken_alone():
    states = torch.arange(40)
    chain = Graph(torch.cat([states, states]), torch.cat([states, states + 1]), [0] * 80, accept=40)
    with drivers_used() as used:
        viterbi_path(Emissions(torch.randn(5, 60, 1)) @ chain)
    assert used == {"lattice Viterbi": 5}
