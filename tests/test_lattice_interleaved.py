"""Items that share a graph are interleaved: each has the sum that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gtnet import Emissions, Graph, forward_score
from gtnet._ops.drivers import drivers_used

INF = float("inf")


class Sums(NamedTuple):
    """Scores, and the gradients of a weighted sum of them."""

    scores: Tensor
    emissions: Tensor
    weights: Tensor
    start: Tensor
    accept: Tensor


def bigram(labels: int, size: float = 1.0) -> Graph:
    """A state per label, entered from all."""
    states = torch.arange(labels)
    every = states.tolist()
    source, target = states.repeat_interleave(labels), states.repeat(labels)
    weights = size * torch.randn(labels**2)
    return Graph(source, target, target, weights=weights, start=every, accept=every)


def random_graph(states: int, arcs: int, labels: int) -> Graph:
    """Random arcs, some of them epsilons that lead to later states."""
    source, target = torch.randint(states, (2, arcs))
    read = torch.randint(-1, labels, (arcs,))
    read = torch.where((read < 0) & (source >= target), 0, read)
    weights = torch.randn(arcs) - 2
    start, accept = [0, states // 2], {1: 0.5, states // 2: -1.0, states - 1: 2.0}
    return Graph(
        source, target, read, weights=weights, start=start, accept=accept, num_states=states
    )


def summed(graph: Graph, scores: Tensor, lengths: list[int], *, alone: bool) -> Sums:
    leaves = [t.detach().clone().requires_grad_() for t in (graph.weights, graph.start)]
    leaves += [graph.accept.detach().clone().requires_grad_()]
    scores = scores.detach().clone().requires_grad_()
    operand = graph.with_weights(leaves[0], start=leaves[1], accept=leaves[2])
    if alone:
        items = range(len(lengths))
        found = torch.cat(
            [forward_score(Emissions(scores[i : i + 1], lengths[i : i + 1]) @ operand)
             for i in items]
        )  # fmt: skip
    else:
        found = forward_score(Emissions(scores, lengths) @ operand)
    (found.double() * torch.linspace(0.5, 1.5, len(lengths)).double()).sum().backward()
    grads = [leaf.grad for leaf in (scores, *leaves)]
    return Sums(found.detach(), *(g for g in grads if g is not None))


def check(
    graph: Graph,
    scores: Tensor,
    lengths: list[int] | None = None,
    *,
    narrow: str = "all",
    wide: str = "all",
) -> None:
    """In float32 and float64, beside each item alone in float64.

    `narrow` and `wide`: whether all, some or none of the items are within the arithmetic of either
    and so interleaved, both ways.
    """
    lengths = [scores.shape[1]] * len(scores) if lengths is None else lengths
    exact = summed(graph.to(torch.float64), scores.double(), lengths, alone=True)
    for dtype, expected, tolerance in ((torch.float32, narrow, 1e-6), (torch.float64, wide, 1e-12)):
        with drivers_used() as used:
            found = summed(graph.to(dtype), scores.to(dtype), lengths, alone=False)
        interleaved = used.get("interleaved", 0)
        kind = {0: "none", 2 * len(lengths): "all"}.get(interleaved, "some")
        assert kind == expected, f"{interleaved} of {2 * len(lengths)} passes in {dtype}"
        torch.testing.assert_close(
            found.scores.double(), exact.scores, rtol=tolerance, atol=tolerance
        )
        for grad, reference in zip(found[1:], exact[1:]):
            torch.testing.assert_close(
                grad.double(), reference, rtol=tolerance, atol=100 * tolerance
            )


@pytest.mark.parametrize("items", [3, 8, 9, 19])
def test_any_number_of_items_of_unequal_lengths(items: int) -> None:
    torch.manual_seed(items)
    lengths = torch.randint(0, 14, (items,)).tolist()
    check(bigram(13), torch.randn(items, 13, 13), lengths)
    check(random_graph(12, 300, 5), 2 * torch.randn(items, 13, 5), lengths)


def test_short_chains_and_labels_without_scores() -> None:
    torch.manual_seed(0)
    scores = torch.randn(7, 4, 20)
    scores[..., 12:] = -torch.inf
    check(bigram(20), scores, [0, 1, 2, 3, 4, 0, 1])
    check(bigram(4), torch.randn(3, 0, 4))
    check(bigram(4), torch.randn(5, 6, 30))


def some_impossible(scores: Tensor) -> Tensor:
    scores = scores.masked_fill(torch.rand(scores.shape) < 0.3, -INF)
    scores[1, 3] = -INF  # no path at all
    return scores


@pytest.mark.parametrize(
    ("change", "narrow", "wide"),
    [
        (lambda x: 40 * x, "none", "all"),
        (lambda x: 1e4 * x, "none", "none"),
        (
            lambda x: torch.where(torch.arange(len(x))[:, None, None] == 2, 1e4 * x, x),
            "some",
            "some",
        ),
        (some_impossible, "some", "some"),
    ],
)
def test_emissions_of_any_range(change: Callable[[Tensor], Tensor], narrow: str, wide: str) -> None:
    torch.manual_seed(1)
    check(bigram(17), change(torch.randn(5, 20, 17)), narrow=narrow, wide=wide)
    check(random_graph(12, 300, 5), change(torch.randn(5, 20, 5)), narrow=narrow, wide=wide)


def test_arcs_of_any_range() -> None:
    torch.manual_seed(2)
    scores = torch.randn(6, 15, 8)
    graph = bigram(8)
    for weights, narrow, wide in (
        (graph.weights.masked_fill(torch.rand(64) < 0.6, -INF), "all", "all"),
        (30 * graph.weights, "none", "all"),
        (graph.weights + 1e4, "all", "all"),
        (torch.full((64,), -INF), "none", "none"),
    ):
        check(graph.with_weights(weights), scores, narrow=narrow, wide=wide)
    far = graph.with_weights(graph.weights, start=100 * torch.randn(8))
    check(far, scores, narrow="none", wide="all")
    closed = graph.with_weights(graph.weights, accept=torch.full((8,), -INF))
    check(closed, scores, narrow="none", wide="none")


def test_states_that_few_paths_leave_are_not_lost() -> None:
    """All but the last frame prefer states from which nothing accepts."""
    source, target = torch.arange(16).repeat_interleave(8), torch.arange(8).repeat(16)
    far = torch.where(source < 8, target, 8 + target)
    graph = Graph(source, far, far, start=list(range(16)), accept=list(range(8, 16)))
    scores = torch.zeros(4, 40, 16)
    scores[:, :, :8] = torch.tensor([0.0, 2.0, 4.0, 50.0])[:, None, None]
    check(graph, scores, narrow="some", wide="some")


def test_what_is_too_much_to_keep_is_computed_again() -> None:
    torch.manual_seed(3)
    graph = random_graph(200, 4000, 2)
    scores = torch.randn(3, 500, 2)
    check(graph, scores, [500, 497, 20])


def test_counts_of_long_chains_stay_exact() -> None:
    torch.manual_seed(4)
    scores, graph = torch.randn(3, 3000, 4), bigram(4)
    exact = summed(graph.to(torch.float64), scores.double(), [3000] * 3, alone=True)
    found = summed(graph, scores, [3000] * 3, alone=False)
    torch.testing.assert_close(found.weights.double(), exact.weights, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(found.emissions.double(), exact.emissions, rtol=0, atol=1e-5)


def test_threads_change_nothing() -> None:
    torch.manual_seed(5)
    graph, scores = bigram(24), torch.randn(20, 60, 24)
    lengths = torch.randint(30, 61, (20,)).tolist()
    threads = torch.get_num_threads()
    runs = []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        runs.append(summed(graph, scores, lengths, alone=False))
    torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0]))


def test_not_a_number_is_refused() -> None:
    scores = torch.zeros(4, 5, 6)
    scores[2, 3, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        forward_score(Emissions.unchecked(scores, torch.full((4,), 5)) @ bigram(6))
