"""Best paths through many frames, of which only some distances are kept on the way."""

from __future__ import annotations

import pytest
import torch

from gtnet import Emissions, Graph, ctc_graph, k_best, viterbi_path, viterbi_score


def left_to_right(states: int, jumps: list[int], accept: list[int], dtype: torch.dtype) -> Graph:
    """Arcs that lead so many states on, with random weights, from the states 3 and 40."""
    source, target = [], []
    for jump in jumps:
        for state in range(max(0, -jump), min(states, states - jump)):
            source.append(state)
            target.append(state + jump)
    labels = torch.randint(0, 5, (states,))[torch.tensor(target)]
    weights = torch.randn(len(source), dtype=dtype)
    starts = {3: 0.0, 40: -0.5}
    ends = {state: float(-i) for i, state in enumerate(accept)}
    return Graph(source, target, labels, weights=weights, start=starts, accept=ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("frames", "states", "jumps", "accept"),
    [
        (401, 400, [0, 1, 2], [399]),
        (400, 400, [0, 1], [5, 200, 399]),
        (600, 200, [-1, 0, 3], [0, 150]),
        (1300, 120, [1, -1], [60, 61]),
        (300, 900, [0, 2, 7], [899, 700]),
    ],
)
def test_the_path_is_the_one_of_all_distances(
    frames: int, states: int, jumps: list[int], accept: list[int], dtype: torch.dtype
) -> None:
    torch.manual_seed(frames)
    graph = left_to_right(states, jumps, accept, dtype)
    scores = torch.randn(2, frames, 5, dtype=dtype)
    lattice = Emissions(scores, [frames, frames - 37]) @ graph
    path = viterbi_path(lattice)
    best = [found[0] for found in k_best(lattice, 1)]  # that keeps all
    for item, wanted in enumerate(best):
        one = path[item]
        assert torch.equal(one.arc_maps[1], wanted.arc_maps[1])
        assert torch.equal(one.weights, wanted.weights)
        assert torch.equal(viterbi_score(one), viterbi_score(wanted))
    assert path.num_arcs == 2 * frames - 37


def test_items_without_a_path_are_empty_graphs_beside_others() -> None:
    torch.manual_seed(0)
    targets = [[1, 2] * 75, [1, 2] * 300, [3] * 250]  # the second and the third do not fit
    scores = torch.randn(3, 499, 5).log_softmax(2)
    path = viterbi_path(Emissions(scores, [499, 499, 498]) @ ctc_graph(targets))
    assert path.arc_offsets.diff().tolist() == [499, 0, 0]
    assert path.state_offsets.diff().tolist() == [500, 0, 0]


def test_equal_scores_give_the_path_that_keeping_all_gives() -> None:
    lattice = Emissions(torch.zeros(1, 700, 4)) @ ctc_graph([[1, 2, 3] * 40])
    path, [[wanted]] = viterbi_path(lattice), k_best(lattice, 1)
    assert torch.equal(path.arc_maps[1], wanted.arc_maps[1])
    assert viterbi_score(path).tolist() == [0.0]
    assert path.olabels[path.olabels >= 0].tolist() == [1, 2, 3] * 40
    assert viterbi_score(wanted).tolist() == [0.0]


def test_impossible_frames_leave_one_way() -> None:
    scores = torch.full((1, 600, 3), -torch.inf)
    wanted = ([1] * 3 + [2] * 3) * 100
    scores[0, torch.arange(600), torch.tensor(wanted)] = -1.0
    path = viterbi_path(Emissions(scores) @ ctc_graph([[1, 2] * 100]))
    assert path.ilabels.tolist() == wanted
    assert viterbi_score(path).tolist() == [-600.0]
