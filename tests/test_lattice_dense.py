"""Graphs of few states whose arcs are a matrix: what is found is what rows of arcs find."""

from __future__ import annotations

import pytest
import torch

import gtnet
from gtnet import Emissions, Graph, forward_score, viterbi_path, viterbi_score
from gtnet._ops.drivers import drivers_used

NEVER = -torch.inf


def dense_graph(states: int, *, seed: int, ties: bool, dtype=torch.float32, lacking=0.2) -> Graph:
    """A state is entered by its own label from every state, but for some arcs."""
    generator = torch.Generator().manual_seed(seed)

    def scores(*shape: int) -> torch.Tensor:
        drawn = 2 * torch.randn(*shape, generator=generator, dtype=dtype)
        drawn = drawn.round() if ties else drawn
        return drawn.masked_fill(torch.rand(shape, generator=generator) < 0.1, NEVER)

    pairs = torch.rand(states, states, generator=generator) >= lacking
    pairs[0] = True
    source, target = pairs.nonzero().unbind(1)
    order = torch.randperm(len(source), generator=generator)
    source, target = source[order], target[order]
    labels = torch.randperm(states, generator=generator)[target]
    ends = [scores(states), scores(states)]
    return Graph(source, target, labels, weights=scores(len(source)), start=ends[0], accept=ends[1])


def in_rows(graph: Graph) -> Graph:
    """The same paths, and a second arc beside one that none of them takes: no matrix holds both."""
    arcs = [graph.source, graph.target, graph.ilabels]
    doubled = [torch.cat([column, column[:1]]) for column in arcs]
    weights = torch.cat([graph.weights, graph.weights.new_full((1,), NEVER)])
    return Graph(*doubled, weights=weights, start=graph.start, accept=graph.accept)


def frames(states: int, lengths: list[int], *, seed: int, ties: bool, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths), states)
    scores = torch.randn(shape, generator=generator, dtype=dtype)
    scores = (2 * scores).round() if ties else scores
    never = torch.rand(shape, generator=generator) < 0.05
    return Emissions(scores.masked_fill(never, NEVER), lengths)


def read(paths: Graph) -> list[list]:
    columns = [paths.arc_offsets, paths.source, paths.ilabels, paths.weights, *paths.arc_maps]
    return [column.tolist() for column in (*columns, paths.start, paths.accept)]


SIZES = [1, 3, 4, 5, 8, 9, 16, 17, 33]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("states", SIZES)
def test_best_paths_are_those_of_rows(states, ties, dtype):
    options = {"ties": ties, "dtype": dtype}
    for seed in range(3):
        graph = dense_graph(states, seed=seed, **options)
        given = frames(states, [23, 0, 70, 1], seed=seed, **options)
        with drivers_used() as used:
            found = viterbi_path(given @ graph)
        assert used == {"lattice Viterbi": 4, "dense": 4}
        with drivers_used() as used:
            expected = viterbi_path(given @ in_rows(graph))
        assert "dense" not in used
        assert read(found) == read(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("states", SIZES)
def test_sums_are_those_of_the_product(states, dtype):
    graph = dense_graph(states, seed=states, ties=False, dtype=dtype)
    given = frames(states, [7, 0, 40, 1], seed=states, ties=False, dtype=dtype)
    with drivers_used() as used:
        found = forward_score(given @ graph)
    assert used["dense"] == 4
    exact = given.with_scores(given.scores.double()) @ graph.to(torch.float64)
    expected = forward_score(exact.graph())
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)


def test_scores_of_dense_graphs_by_enumeration():
    graph = dense_graph(3, seed=1, ties=False, dtype=torch.float64, lacking=0)
    given = frames(3, [4], seed=3, ties=False, dtype=torch.float64)
    every = gtnet.enumerate_paths((given @ graph).graph())[0]
    scores = viterbi_score(every)
    torch.testing.assert_close(forward_score(given @ graph), scores.logsumexp(0, keepdim=True))
    assert viterbi_score(given @ graph) == scores.max()


@pytest.mark.parametrize("states", [8, 20])
def test_an_item_of_a_dense_graph_does_not_depend_on_its_batch(states):
    graph = dense_graph(states, seed=5, ties=False)
    lengths = [40, 3, 11, 64, 65]
    given = frames(states, lengths, seed=2, ties=False)
    together = given @ graph
    totals, paths = forward_score(together), viterbi_path(together)
    several = given @ gtnet.stack([graph] * len(lengths))
    assert torch.equal(totals, forward_score(several))
    for item, length in enumerate(lengths):
        alone = Emissions(given.scores[item : item + 1, :length]) @ graph
        assert torch.equal(forward_score(alone), totals[item : item + 1])
        assert read(viterbi_path(alone))[2] == paths[item].ilabels.tolist()


def test_scores_too_far_apart_for_a_matrix_are_summed_otherwise():
    graph = dense_graph(6, seed=0, ties=False, lacking=0)
    given = frames(6, [9, 9, 9], seed=0, ties=False)
    scores = given.scores.clone()
    scores[1] *= 200
    scores[2, 4] -= 1e4
    wide = Emissions(scores) @ graph
    with drivers_used() as used:
        found = forward_score(wide)
    assert used["dense"] == 3 and used["scaled rows"] >= 1
    exact = Emissions(scores.double()) @ graph.to(torch.float64)
    torch.testing.assert_close(found, forward_score(exact.graph()).float())


def test_long_recordings_neither_underflow_nor_overflow():
    states, long = 5, 20_000
    graph = dense_graph(states, seed=3, ties=False, lacking=0)
    scores = torch.zeros(2, long, states)
    scores[0] += 30
    scores[1] -= 30
    found = forward_score(Emissions(scores) @ graph)
    exact = forward_score(Emissions(scores.double()) @ graph.to(torch.float64))
    plain = forward_score(
        Emissions(torch.zeros(1, long, states).double()) @ graph.to(torch.float64)
    )
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
    shift = 30 * torch.tensor([long, -long], dtype=torch.float64)
    torch.testing.assert_close(exact, plain + shift, rtol=1e-10, atol=0)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_wrong_scores_of_a_dense_graph_are_refused(wrong):
    scores = torch.zeros(1, 3, 4)
    scores[0, 1, 2] = wrong
    with pytest.raises(ValueError, match="NaN or"):
        forward_score(Emissions(scores) @ dense_graph(4, seed=0, ties=False, lacking=0))


def test_gradients_of_best_paths_of_transducers():
    graph = dense_graph(4, seed=2, ties=False, dtype=torch.float64, lacking=0)
    graph = Graph(
        graph.source, graph.target, graph.ilabels, graph.ilabels + 7,
        torch.randn(graph.num_arcs, dtype=torch.float64, requires_grad=True),
        start=torch.zeros(4, dtype=torch.float64, requires_grad=True),
        accept=torch.zeros(4, dtype=torch.float64, requires_grad=True),
    )  # fmt: skip
    scores = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    lattice = Emissions(scores, [6, 3]) @ graph
    assert viterbi_path(lattice).olabels.tolist() == [
        label + 7 for label in viterbi_path(lattice).ilabels.tolist()
    ]
    inputs = (scores, *graph.scores)
    found = torch.autograd.grad(viterbi_score(lattice).sum(), inputs)
    expected = torch.autograd.grad(viterbi_score(lattice.graph()).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
