"""The gradient of a code of least energy, from the equation that holds there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtnet.latent.items import beside, inner

Linear = Callable[[Tensor], Tensor]


def at_rest(code: Tensor, force: Tensor, hessian: Linear) -> Tensor:
    """A code at which a force is 0, with the gradient by which it follows what the force is of.

    `force`: the gradient of the energy by the code at that code, as a function of everything
    else; `hessian`: its derivative by the code, symmetric, times a direction. From force = 0,
    d code = -hessian⁻¹ d force. First derivatives only.
    Source: the implicit function theorem; Bai, Kolter & Koltun 2019 for such layers.
    """
    found: Tensor = _AtRest.apply(code, force, hessian)
    return found


class _AtRest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, code: Tensor, force: Tensor, hessian: Linear) -> Tensor:
        ctx.hessian = hessian
        ctx.save_for_backward(force)
        return code.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        with torch.no_grad():
            found = -conjugate_gradients(ctx.hessian, grad)
        if torch.is_grad_enabled():
            found = _Once.apply(found, *ctx.saved_tensors)
        return None, found, None


class _Once(torch.autograd.Function):
    """What is not differentiated again: the system depends on everything, and nothing says how."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, force: Tensor) -> Tensor:
        return found.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        raise RuntimeError(
            "sparse_code: implicit gradients have no second derivative; take gradient='unrolled'"
        )


def conjugate_gradients(hessian: Linear, right: Tensor, most: int = 1000) -> Tensor:
    """The x with hessian(x) = right for each item, of a symmetric positive definite map.

    Where the map has no inverse, of the solutions the one nearest to 0. Accurate to 100 times the
    rounding of the type, relative to `right`, or as far as `most` steps go.
    Source: Hestenes & Stiefel 1952.
    """
    x = torch.zeros_like(right)
    left = right
    direction = right
    size = inner(left, left)
    enough = size * (100 * torch.finfo(right.dtype).eps) ** 2
    for _ in range(most):
        running = size > enough
        if not bool(running.any()):
            break
        image = hessian(direction)
        curved = inner(direction, image)
        running &= curved > 0
        step = torch.where(running, size / torch.where(running, curved, 1.0), 0.0)
        x = x + beside(step, x) * direction
        left = left - beside(step, x) * image
        after = torch.where(running, inner(left, left), 0.0)
        turn = torch.where(running, after / torch.where(running, size, 1.0), 0.0)
        direction = left + beside(turn, x) * direction
        size = after
    return x
