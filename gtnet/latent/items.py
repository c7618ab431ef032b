"""Batches of items of any shape: a number for each."""

from __future__ import annotations

from torch import Tensor


def total(values: Tensor) -> Tensor:
    """The sum over everything but the batch, [batch]."""
    return values.flatten(1).sum(1)


def inner(left: Tensor, right: Tensor) -> Tensor:
    """The inner product of each pair of items, [batch]."""
    return total(left * right)


def beside(numbers: Tensor, items: Tensor) -> Tensor:
    """Numbers [batch], or one, in a shape that meets items [batch, ...]."""
    return numbers.reshape(-1, *[1] * (items.dim() - 1)) if numbers.dim() else numbers


def squared_error(y: Tensor, guess: Tensor) -> Tensor:
    """½‖y - guess‖² of each item, [batch]: the cost of a Gaussian of variance 1."""
    return total((y - guess).square()) / 2
