"""scale: scores times a factor, and -inf what it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gtnet
from gtnet import Emissions, Graph, Lattice, linear, scale, stack

INF = math.inf


def two(dtype=torch.float64):
    weights = torch.tensor([1.0, -INF, -2.0, 4.0], dtype=dtype)
    ends = {"start": torch.tensor([0.5, -INF, 1.0, -INF], dtype=dtype)}
    ends["accept"] = torch.tensor([-INF, -3.0, -INF, 0.0], dtype=dtype)
    one, other = [0, 0], [1, 1]
    return stack(
        [
            Graph(one, other, [0, 1], weights=weights[i : i + 2], num_states=2,
                  start=ends["start"][i : i + 2], accept=ends["accept"][i : i + 2])
            for i in (0, 2)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.5, 0, -2, np.float32(3), torch.tensor(0.25)])
def test_every_score_but_minus_infinity(alpha, dtype):
    graph = two(dtype)
    result = scale(graph, alpha)
    assert result.dtype == dtype and result.topology is graph.topology
    for name in ("weights", "start", "accept"):
        before, after = getattr(graph, name), getattr(result, name)
        wanted = [x if x == -INF else x * float(alpha) for x in before.tolist()]
        assert after.tolist() == wanted
    assert (graph * alpha).equal(result)
    if not isinstance(alpha, (torch.Tensor, np.generic)):
        assert (alpha * graph).equal(result)


def test_a_factor_for_each_graph():
    result = scale(two(), torch.tensor([2.0, 0.0]))
    assert result.weights.tolist() == [2, -INF, 0, 0]
    assert result.start.tolist() == [1, -INF, 0, -INF]
    assert scale(Graph([], [], [], start=[], accept=[]), 2).num_states == 0


def test_gradients_flow_to_scores_and_factor():
    graph = two()
    scores = [getattr(graph, n).clone().requires_grad_() for n in ("weights", "start", "accept")]

    def work(alpha, *scores):
        weights, start, accept = scores
        return gtnet.forward_score(
            scale(graph.with_weights(weights, start=start, accept=accept), alpha)
        )

    for alpha in (torch.tensor(0.7), torch.tensor([0.7, -0.2])):
        leaf = alpha.double().requires_grad_()
        work(leaf, *scores).sum().backward()
        assert scores[0].grad[1] == 0  # of -inf
        eps = 1e-6
        for i in range(leaf.numel()):
            moved = torch.zeros(leaf.numel(), dtype=torch.float64)
            moved[i] = eps
            high, low = (
                work(leaf.detach() + s * moved.view_as(leaf), *scores).sum() for s in (1, -1)
            )
            assert leaf.grad.reshape(-1)[i].item() == pytest.approx(
                (high - low).item() / (2 * eps), abs=1e-6
            )


def test_a_lattice_stays_one():
    scores = torch.randn(2, 3, 4, dtype=torch.float64)
    scores[0, 1, 2] = -INF
    scores[1, 2] = math.nan  # beyond the length
    lattice = Emissions(scores, [3, 2]) @ gtnet.bigram_graph(transitions=torch.randn(4, 4).double())
    result = scale(lattice, torch.tensor(0.3))
    assert isinstance(result, Lattice)
    wanted = scale(lattice.graph(), 0.3)
    torch.testing.assert_close(result.forward_score(), gtnet.forward_score(wanted))
    each = scale(lattice, torch.tensor([0.3, 2.0]))
    torch.testing.assert_close(gtnet.forward_score(each)[0], result.forward_score()[0])
    parts = gtnet.segment_emissions(torch.randn(1, 3, 2, 4, dtype=torch.float64))
    parts = parts @ linear([1, 2], dtype=torch.float64)
    torch.testing.assert_close(
        scale(parts, 0.5).forward_score(), gtnet.forward_score(scale(parts.graph(), 0.5))
    )


@pytest.mark.parametrize(
    ("alpha", "error", "message"),
    [
        (INF, ValueError, "finite"),
        (math.nan, ValueError, "finite"),
        (torch.tensor(INF), ValueError, "finite"),
        (torch.tensor([1.0, 2.0, 3.0]), ValueError, "3 factors, the batch 2"),
        (torch.ones(2, 2), ValueError, r"\[batch\]"),
        (torch.tensor(2), ValueError, "float tensor"),
        ("2", TypeError, "alpha"),
        (True, TypeError, "alpha"),
    ],
)
def test_factors_that_are_none(alpha, error, message):
    with pytest.raises(error, match=message):
        scale(two(), alpha)
