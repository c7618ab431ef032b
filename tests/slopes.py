"""Gradients of a network's loss against small steps of all its weights at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


def assert_slope(network: nn.Module, loss: Callable[[], Tensor], generator: torch.Generator):
    """The gradient along a random direction is a difference quotient; in float64; moves weights."""
    loss().backward()
    weights = list(network.parameters())
    moved = [torch.randn(p.shape, generator=generator).to(p) for p in weights]
    slope = sum(float((p.grad * m).sum()) for p, m in zip(weights, moved, strict=True))
    ends = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for p, m in zip(weights, moved, strict=True):
                p.add_(m, alpha=step)
            ends.append(float(loss()))
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-3)
