"""Functions that torch.func differentiates and maps: torch.func.grad, vmap, jacrev and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtnet._ordinary import transformed as transformed


class Differentiable(torch.autograd.Function):
    """An autograd function with `setup_context`, at the price of one without.

    torch binds the arguments of such a function by name, which takes longer than a small operator
    runs. Here they are positional.
    """

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if transformed():
            return super().apply(*args)
        return super(torch.autograd.Function, cls).apply(*map(alive, args))  # type: ignore[misc]


def alive(arg: Any) -> Any:
    """A tensor without the wrappers of transforms that have ended."""
    return torch._C._functorch.unwrap_if_dead(arg) if isinstance(arg, Tensor) else arg


def learning(*tensors: Tensor | None) -> bool:
    """Whether a gradient may be asked for, by autograd or by a transform."""
    if transformed():
        return True
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator would cost more than small operators do
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def learnt(tensor: Tensor) -> bool:
    """Whether a gradient of this tensor may be asked for."""
    if tensor.requires_grad or not transformed():
        return tensor.requires_grad
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def one_by_one(function: Callable[..., Any], info: Any, in_dims: Any, args: Any) -> Any:
    """The rule of vmap that holds for every function: one call for each place of the dimension."""
    results = [
        function(*(_at(arg, dim, place) for arg, dim in zip(args, in_dims, strict=True)))
        for place in range(info.batch_size)
    ]
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    columns = [
        None if column[0] is None else torch.stack(column) for column in zip(*results, strict=True)
    ]
    return tuple(columns), tuple(None if column is None else 0 for column in columns)


def _at(arg: Any, dim: Any, place: int) -> Any:
    return arg.select(dim, place) if isinstance(arg, Tensor) and isinstance(dim, int) else arg


def in_front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """A tensor with the mapped dimension in front, repeated where it has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
