"""What a code costs: L1, norms of groups, squares; with the steps that minimize them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gtnet.latent.items import total


def shrink(z: Tensor, threshold: float | Tensor) -> Tensor:
    """Each value nearer to 0 by `threshold`, and 0 where it would pass it (soft thresholding).

    Gradient: to both; 0 where the result is 0. Source: Donoho & Johnstone 1994.
    """
    return torch.relu(z - threshold) - torch.relu(-z - threshold)


@runtime_checkable
class Sparse(Protocol):
    """A regularizer that is a norm with corners, so that codes of least energy have exact zeros.

    Codes are [batch, atoms, ...]; results for each item are [batch].
    """

    def __call__(self, z: Tensor) -> Tensor:
        """R(z), [batch]."""

    def prox(self, z: Tensor, threshold: Tensor) -> Tensor:
        """The code v that minimizes ½‖v - z‖² + threshold · R(v)."""

    def dual(self, force: Tensor) -> Tensor:
        """The least λ at which λ R holds the code at 0 against a force, [batch]."""

    def active(self, z: Tensor) -> Tensor:
        """Where the code is free to move: bool as z."""

    def slope(self, z: Tensor) -> Tensor:
        """The gradient of R where the code is active."""

    def curvature(self, z: Tensor, along: Tensor) -> Tensor:
        """The second derivative of R at z, times a direction, where the code is active."""


class L1:
    """R(z) = Σ |z|: few atoms are used; `nonnegative`: and none is subtracted (then z < 0 is +inf).

    Source: Tibshirani 1996; Olshausen & Field 1997.
    """

    def __init__(self, *, nonnegative: bool = False) -> None:
        self.nonnegative = nonnegative

    def __call__(self, z: Tensor) -> Tensor:
        found = total(z.abs())
        if self.nonnegative:
            found = found.masked_fill((z < 0).flatten(1).any(1), torch.inf)
        return found

    def prox(self, z: Tensor, threshold: Tensor) -> Tensor:
        return torch.relu(z - threshold) if self.nonnegative else shrink(z, threshold)

    def dual(self, force: Tensor) -> Tensor:
        sizes = torch.relu(force) if self.nonnegative else force.abs()
        return sizes.flatten(1).amax(1)

    def active(self, z: Tensor) -> Tensor:
        return z != 0

    def slope(self, z: Tensor) -> Tensor:
        return z.sign()

    def curvature(self, z: Tensor, along: Tensor) -> Tensor:
        return torch.zeros_like(along)


class GroupL1:
    """R(z) = Σ of the lengths of groups of `size` neighbouring atoms: groups are used as a whole.

    In a convolutional code a group is that of one place. Raises ValueError for codes whose atoms
    are no multiple of `size`.
    Source: Yuan & Lin 2006; Kavukcuoglu, Ranzato, Fergus & LeCun 2009 for features.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"GroupL1: size must be at least 1, got {size}")
        self.size = size

    def __call__(self, z: Tensor) -> Tensor:
        return total(torch.linalg.vector_norm(self._grouped(z), dim=2))

    def prox(self, z: Tensor, threshold: Tensor) -> Tensor:
        lengths = self._lengths(z)
        kept = torch.relu(lengths - threshold) / lengths.clamp(min=torch.finfo(z.dtype).tiny)
        return z * kept

    def dual(self, force: Tensor) -> Tensor:
        return torch.linalg.vector_norm(self._grouped(force), dim=2).flatten(1).amax(1)

    def active(self, z: Tensor) -> Tensor:
        return self._lengths(z) > 0

    def slope(self, z: Tensor) -> Tensor:
        return z / self._lengths(z).clamp(min=torch.finfo(z.dtype).tiny)

    def curvature(self, z: Tensor, along: Tensor) -> Tensor:
        lengths = self._lengths(z)
        unit = self._grouped(self.slope(z))
        inward = (unit * self._grouped(along)).sum(2, keepdim=True) * unit
        across = along - inward.reshape(z.shape)
        return torch.where(lengths > 0, across / lengths, 0.0)

    def _grouped(self, z: Tensor) -> Tensor:
        """[batch, groups, size, ...]."""
        if z.shape[1] % self.size:
            raise ValueError(f"GroupL1: {z.shape[1]} atoms are no groups of {self.size}")
        return z.unflatten(1, (-1, self.size))

    def _lengths(self, z: Tensor) -> Tensor:
        """The length of the group that each value belongs to, as z."""
        grouped = self._grouped(z)
        # Written out: the gradient of a length at 0 is 0, not NaN.
        squares = grouped.square().sum(2, keepdim=True)
        lengths = torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)
        return lengths.expand_as(grouped).reshape(z.shape)


class Gaussian:
    """R(z) = ½‖z‖²: a spring that pulls every value to 0; smooth, so that codes have no zeros."""

    def __call__(self, z: Tensor) -> Tensor:
        return total(z.square()) / 2
