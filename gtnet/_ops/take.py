"""Gathers along arc maps, and their adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gtnet._ops.functional import (
    Differentiable,
    forward_mode,
    in_front,
    learning,
    one_by_one,
    transformed,
)
from gtnet._ops.library import fake, operators


@fake("take")
def _(values: Tensor, index: Tensor) -> Tensor:
    return values.new_empty(index.shape[0])


@fake("gathered")
def _(scores: list[Tensor], maps: list[Tensor], filters: Tensor | None) -> list[Tensor]:
    arcs, states = (index.shape[0] for index in maps[:2])
    return [like.new_empty(n) for like, n in zip(scores, (arcs, states, states))]


@fake("take_backward")
def _(grad: Tensor, index: Tensor, by_index: Tensor | None, size: int) -> Tensor:
    return grad.new_empty(size)


# Gradients. A call of a torch.autograd.Function takes a third of the time of torch.library's
# register_autograd (20 against 52 µs on a graph of three arcs), and torch.compile traces both.


class _Take(Differentiable):
    """take and its adjoint are each other's gradient: any number of derivatives."""

    @staticmethod
    def forward(values: Tensor, index: Tensor) -> Tensor:
        return operators.take.default(values.contiguous(), index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        values, index = inputs
        ctx.size = values.shape[0]
        ctx.save_for_backward(index)
        ctx.save_for_forward(index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _TakeAdjoint.apply(grad, *ctx.saved_tensors, ctx.size), None

    @staticmethod
    def along(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _Take.apply(tangent, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor, index: Tensor) -> tuple[Tensor, int]:
        if in_dims[1] is not None:
            return one_by_one(_Take.apply, info, in_dims, (values, index))
        rows = in_front(values, in_dims[0], info.batch_size)
        shift = values_shift(index, rows.shape[1], info.batch_size)
        found = _Take.apply(rows.reshape(-1), shift)
        return found.view(info.batch_size, len(index)), 0


class _TakeAdjoint(Differentiable):
    @staticmethod
    def forward(grad: Tensor, index: Tensor, size: int) -> Tensor:
        by_index = torch.argsort(index, stable=True) if grad.is_cuda else None
        return operators.take_backward.default(grad.contiguous(), index, by_index, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, index, ctx.size = inputs
        ctx.save_for_backward(index)
        ctx.save_for_forward(index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Take.apply(grad, *ctx.saved_tensors), None, None

    @staticmethod
    def along(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _TakeAdjoint.apply(tangent, *ctx.saved_tensors, ctx.size)

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad: Tensor, index: Tensor, size: int) -> tuple[Tensor, int]:
        if in_dims[1] is not None:
            return one_by_one(_TakeAdjoint.apply, info, in_dims, (grad, index, size))
        rows = in_front(grad, in_dims[0], info.batch_size)
        shift = values_shift(index, size, info.batch_size)
        found = _TakeAdjoint.apply(rows.reshape(-1), shift, size * info.batch_size)
        return found.view(info.batch_size, size), 0


def values_shift(index: Tensor, size: int, times: int) -> Tensor:
    """The index repeated for tables of a size put end to end; -1 stays."""
    first = size * torch.arange(times, device=index.device, dtype=index.dtype).unsqueeze(1)
    return torch.where(index < 0, index, index + first).reshape(-1)


def total_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    """The sum of the values of each index, [size]; -1 is left out. Any number of derivatives."""
    if not learning(values):  # as in most backward passes
        return _TakeAdjoint.forward(values, index, size)
    return _TakeAdjoint.apply(values, index, size)


class _Gathered(torch.autograd.Function):
    """Scores that an operator has gathered, as a sum of gathers: one node, for reverse mode."""

    @staticmethod
    def forward(ctx: Any, result: list[Tensor], sources: Sources, *values: Tensor) -> Tensor:
        ctx.save_for_backward(*(index for _, index in sources))
        ctx.sizes = [[len(part) for part in parts] for parts, _ in sources]
        return result.pop()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        grads: list[Tensor | None] = []
        for sizes, index in zip(ctx.sizes, ctx.saved_tensors):
            place = 2 + len(grads)
            if not any(ctx.needs_input_grad[place : place + len(sizes)]):
                grads += [None] * len(sizes)
                continue
            total = total_by(index, grad, sum(sizes) + 2)
            grads += [total[: sizes[0]]] if len(sizes) == 1 else total.split([*sizes, 2])[:-1]
        return None, None, *grads


Sources = Sequence[tuple[Sequence[Tensor], Tensor]]


gather_scores = operators.gathered.default


def gathered(result: Tensor, sources: Sources) -> Tensor:
    """`result`, which is the sum of what `sources` gather, with its derivatives.

    A source is tensors [n] in all, put end to end, and an index: what -1 and n + 1 name is 0, and
    what n names is -inf.
    """
    values = [part for parts, _ in sources for part in parts]
    if not learning(*values):
        return result
    if transformed() or forward_mode() or torch.compiler.is_compiling():
        return sum(take(_padded(parts), index) for parts, index in sources)  # type: ignore
    return _Gathered.apply([result], sources, *values)


def _padded(parts: Sequence[Tensor]) -> Tensor:
    ends = parts[0].new_tensor([float("-inf"), 0])
    return torch.cat([*parts, ends])


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[index] with 0 where index is -1; differentiable any number of times. O(index)."""
    if learning(values):
        return _Take.apply(values, index)
    return operators.take.default(values.contiguous(), index)
