"""Descent of any smooth energy of codes, with a regularizer that has corners or without."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gtnet.latent.items import beside, inner, total
from gtnet.latent.momentum import Momentum

Energy = Callable[[Tensor], Tensor]
"""Codes [batch, ...] to energies [batch]."""

_HALVINGS = 60


def slope_of(energy: Energy, z: Tensor) -> tuple[Tensor, Tensor]:
    """The energies of codes [batch] and their gradients, without what they depend on."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = energy(z)
        if not value.requires_grad:  # an energy that does not depend on the code
            return value.detach(), torch.zeros_like(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


@torch.no_grad()
def descend(
    smooth: Energy,
    z: Tensor,
    prox: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    iterations: int = 500,
    tol: float = 1e-5,
) -> Tensor:
    """A local minimum of smooth(z), plus the regularizer that `prox` is of, from z [batch, ...].

    Accelerated proximal gradient steps; each item halves its own step until the energy is below
    its parabola, and starts its momentum anew where that leads uphill. An item is done when a step
    moves it by at most tol of its length (or of 1, if that is more). `prox(z, step)`.
    Source: Beck & Teboulle 2009; O'Donoghue & Candès 2015 for restarts.
    """
    step = z.new_ones(len(z))
    momentum = Momentum(z)
    done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    ahead = z
    rounding = 10 * torch.finfo(z.dtype).eps
    for _ in range(iterations):
        value, slope = slope_of(smooth, ahead)
        for _ in range(_HALVINGS):
            found = ahead - beside(step, z) * slope
            if prox is not None:
                found = prox(found, step)
            move = found - ahead
            parabola = value + inner(slope, move) + total(move.square()) / (2 * step)
            fits = smooth(found) <= parabola + rounding * value.abs()
            if bool((fits | done).all()):
                break
            step = torch.where(fits | done, step, step / 2)
        moved = total(move.square()).sqrt() <= tol * total(found.square()).sqrt().clamp(min=1)
        found = torch.where(beside(done, z), z, found)
        ahead, z = momentum.ahead(ahead, found, z), found
        done |= moved
        if bool(done.all()):
            break
    return z


def hessian_of(energy: Energy, z: Tensor, *, differentiable: bool = False) -> Tensor:
    """The second derivatives of the energy of each code, [batch, values, values].

    One item must not change the energy of another. Complexity: as many gradients as values.
    """
    with torch.enable_grad():
        if not (differentiable and z.requires_grad):
            z = z.detach().requires_grad_()
        values = math.prod(z.shape[1:])
        (slope,) = torch.autograd.grad(energy(z).sum(), z, create_graph=True)
        slope = slope.flatten(1)
        rows = []
        for column in range(values):
            row = None
            if slope.requires_grad:
                (row,) = torch.autograd.grad(
                    slope[:, column].sum(),
                    z,
                    retain_graph=True,
                    create_graph=differentiable,
                    allow_unused=True,
                )
            rows.append(torch.zeros_like(z) if row is None else row)
        found = torch.stack([row.flatten(1) for row in rows], 1)
    return found if differentiable else found.detach()
