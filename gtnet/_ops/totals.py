"""Sums over lattices whose results have known shapes: what torch.func and torch.compile take.

What eager code keeps from a sum for its gradient has a size that only the data tell. Here the
gradient is computed with the loss (CTC) or by a second sum (lattices).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtnet._ops.functional import Differentiable, alive, in_front, one_by_one
from gtnet._ops.library import define, fake, interruptible, operators

run_lattice_score = interruptible(operators.lattice_score.default)
backward_of_lattice_score = interruptible(operators.lattice_score_backward.default)
run_ctc_loss = interruptible(operators.ctc_loss.default)
backward_of_ctc_loss = interruptible(operators.ctc_loss_backward.default)

_LATTICE = (
    "Tensor scores, Tensor[] cuts, Tensor words, Tensor word_offsets, Tensor state_offsets, "
    "Tensor arc_offsets, Tensor weights, Tensor start, Tensor accept"
)


class OutOfRangeError(ArithmeticError):
    """The scores of a path may add up to more than any exponent holds."""


class RefusedError(ValueError):
    """Lengths, labels or scores are not what they should be, or beyond the arithmetic."""


def raise_trouble(code: int) -> None:
    """What a sum over a lattice reports instead of a score."""
    if code == 1:
        raise OutOfRangeError("forward_score: scores beyond the exponents: scale them down")
    if code == 2:
        raise ValueError("forward_score: emissions must not hold NaN or +inf")


@define(f"lattice_total({_LATTICE}) -> Tensor")
def _(*given: Any) -> Tensor:
    score, *_, trouble = run_lattice_score(*given, False)
    if not trouble.is_cuda:
        raise_trouble(int(trouble))
    return score


@define(f"lattice_total_backward(Tensor grad_score, {_LATTICE}, bool counting) -> Tensor[]")
def _(grad_score: Tensor, scores: Tensor, *rest: Any) -> list[Tensor]:
    *given, counting = rest
    _, *alpha, _ = run_lattice_score(scores, *given, True)
    found = backward_of_lattice_score(grad_score.contiguous(), *alpha, scores, *given, counting)
    return list(found)


@define(
    "ctc_total(Tensor scores, Tensor lengths, Tensor targets, Tensor target_lengths, int blank, "
    "bool keep) -> (Tensor, Tensor)"
)
def _(scores: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    found = run_ctc_loss(scores, lengths, *rest)
    if not found:
        raise RefusedError(
            "ctc_loss: lengths, labels or scores are not what they should be: outside of "
            "torch.compile the error says which"
        )
    loss, shares, *columns = found
    if not rest[-1]:
        return loss, scores.new_empty(0)
    ones = torch.ones_like(loss)
    return loss, backward_of_ctc_loss(ones, shares, scores, lengths, *columns)


@fake("lattice_total")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> Tensor:
    items = cuts[0].shape[0] - (len(cuts) > 1)
    return scores.new_empty(items, dtype=torch.float64)


@fake("lattice_total_backward")
def _(grad_score: Tensor, scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    *_, weights, start, accept, counting = rest
    sizes = [t.shape[0] if counting else 0 for t in (weights, start, accept)]
    ends = cuts[-1].shape[0] if counting and len(cuts) > 1 else 0
    return [torch.empty_like(scores), *(scores.new_empty(size) for size in (*sizes, ends, ends))]


@fake("ctc_total")
def _(scores: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    kept = torch.empty_like(scores) if rest[-1] else scores.new_empty(0)
    return scores.new_empty(lengths.shape[0]), kept


Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]


def _second(multiplied_out: Callable[..., Tensor], inputs: Any, grad: Tensor, grads: Any) -> Any:
    """The gradient of a gradient: to that of the result, and to each input that is there."""
    inputs, grads, grad = [alive(t) for t in inputs], [alive(t) for t in grads], alive(grad)
    places = [i for i, tensor in enumerate(inputs) if tensor is not None]

    def first(grad: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        def result(*given: Tensor) -> Tensor:
            every = list(inputs)
            for place, tensor in zip(places, given, strict=True):
                every[place] = tensor
            return multiplied_out(*every)

        return torch.func.vjp(result, *given)[1](grad)

    pull = torch.func.vjp(first, grad, *(inputs[place] for place in places))[1]
    to_grad, *found = pull(tuple(grads[place] for place in places))
    spread = [None] * len(inputs)
    for place, tensor in zip(places, found, strict=True):
        spread[place] = tensor
    return to_grad, spread


def _along(multiplied_out: Callable[..., Tensor], inputs: Any, score: Tensor, tangents: Any) -> Any:
    """The derivative of the scores along tangents of the inputs: the adjoint of their gradient."""
    tangents = [
        torch.zeros_like(tensor) if tangent is None and tensor is not None else tangent
        for tensor, tangent in zip(inputs, tangents, strict=True)
    ]
    return _second(multiplied_out, inputs, torch.zeros_like(score), tangents)[0]


class LatticeTotal(Differentiable):
    """The forward scores of scores, weights, start, accept, first, last, cuts, steps, counting."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return operators.lattice_total.default(*_flat(args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.save_for_forward(*inputs[:6], output)
        ctx.rest = inputs[6:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, rest = ctx.saved_tensors, ctx.rest
        if torch.compiler.is_compiling():
            found = operators.lattice_total_backward.default(
                grad, *_flat((*inputs, *rest)), rest[2]
            )
        else:
            found = _LatticeGradient.apply(grad, *inputs, *rest)
        needed = ctx.needs_input_grad[:6]
        grads = [g if need else None for g, need in zip(found, needed)]
        return (*grads, None, None, None, None)

    @staticmethod
    def along(ctx: Any, *tangents: Any) -> Tensor:
        *inputs, score = ctx.saved_tensors
        return _along(ctx.rest[-1], inputs, score, tangents[:6])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        folded = _folded(info.batch_size, in_dims, args)
        if folded is None:
            return one_by_one(LatticeTotal.apply, info, _dims(in_dims, args), args)
        return LatticeTotal.apply(*folded).view(info.batch_size, -1), 0


class _LatticeGradient(Differentiable):
    @staticmethod
    def forward(grad: Tensor, *args: Any) -> tuple[Tensor, ...]:
        found = operators.lattice_total_backward.default(grad, *_flat(args), args[8])
        return tuple(
            torch.zeros_like(t) if t is not None and not g.numel() else g
            for g, t in zip(found, args[:6])
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:7])
        ctx.save_for_forward(*inputs[:7])
        ctx.rest = inputs[7:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad, *inputs = ctx.saved_tensors
        to_grad, found = _second(ctx.rest[-1], inputs, grad, grads)
        return (to_grad, *found, None, None, None, None)

    @staticmethod
    def along(ctx: Any, tangent: Tensor, *tangents: Any) -> tuple[Tensor | None, ...]:
        grad, *inputs = ctx.saved_tensors
        own = _LatticeGradient.apply(tangent, *inputs, *ctx.rest)
        # Second derivatives are symmetric, so their adjoint serves.
        found = _second(ctx.rest[-1], inputs, grad, tangents[:6])[1]
        return tuple(a if b is None else a + b for a, b in zip(own, found))

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad: Tensor, *args: Any) -> Any:
        size = info.batch_size
        folded = _folded(size, in_dims[1:], args)
        if folded is None:
            dims = (in_dims[0], *_dims(in_dims[1:], args))
            return one_by_one(_LatticeGradient.apply, info, dims, (grad, *args))
        flat = in_front(grad, in_dims[0], size).reshape(-1)
        scores, *graph, first, last = _LatticeGradient.apply(flat, *folded)
        counting = args[8]
        graph = [g.view(size, -1) if counting else g[None].expand(size, -1) for g in graph]
        found = (scores.view(size, -1, *scores.shape[1:]), *graph, first, last)
        return found, (0, 0, 0, 0, None, None)


def _flat(args: Any) -> tuple[Any, ...]:
    """As the operators take them."""
    scores, weights, start, accept, first, last, cuts, steps = args[:8]
    ends = [] if first is None else [first, last]
    return (scores, [*cuts, *ends], *steps, weights, start, accept)


def _dims(in_dims: Any, args: Any) -> tuple[Any, ...]:
    """Which dimension of each argument is mapped; none of cuts and layouts."""
    return (*in_dims[:6], *(None for _ in args[6:]))


def _folded(size: int, in_dims: Any, args: Any) -> tuple[Any, ...] | None:
    """The items of all places as one batch of frames on the CPU; None where that does not serve."""
    scores, *graph, first, _, cuts, steps, counting, multiplied_out = args
    words, begin, states, arcs = steps
    shared = counting is False and all(dim is None for dim in in_dims[1:4])
    items, graphs = cuts[0].shape[0], states.shape[0] - 1
    if first is not None or scores.is_cuda or graphs not in ((1, items) if shared else (items,)):
        return None
    rows = in_front(scores, in_dims[0], size)
    rows = rows.reshape(-1, *rows.shape[2:]).contiguous()
    every = [cuts[0].repeat(size)]
    own_graphs = not shared or graphs != 1
    if own_graphs:  # layouts are read where each begins, so copies of a graph may share one
        graph = [in_front(t, dim, size).reshape(-1) for t, dim in zip(graph, in_dims[1:4])]
        begin = torch.cat([begin[:-1].repeat(size), begin[-1:]])
        steps = type(steps)(words, begin, _repeated(states, size), _repeated(arcs, size))

    def multiplied(scores: Tensor, *of_graph: Any) -> Tensor:
        parts = []
        for place, part in enumerate(scores.split(items)):
            own = of_graph[:3]
            if own_graphs:
                own = tuple(t.view(size, -1)[place] for t in own)
            parts.append(multiplied_out(part, *own, None, None))
        return torch.cat(parts)

    return (rows, *graph, None, None, every, steps, counting, multiplied)


def _repeated(offsets: Tensor, times: int) -> Tensor:
    first = offsets[-1] * torch.arange(times, device=offsets.device).unsqueeze(1)
    return torch.cat([offsets[:1], (offsets[1:] + first).reshape(-1)])


class CtcTotal(Differentiable):
    """The CTC losses of log_probs [frames, batch, labels], and how they change with these."""

    @staticmethod
    def forward(
        log_probs: Tensor,
        lengths: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
        blank: int,
        keep: bool,
        multiplied_out: Callable[[Tensor], Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        scores = log_probs.transpose(0, 1).contiguous()
        given = (scores, lengths, targets, target_lengths, blank, keep)
        loss, unit = operators.ctc_total.default(*given)
        return loss, unit.transpose(0, 1).contiguous() if keep else unit

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])
        ctx.save_for_forward(inputs[0], *output)
        ctx.multiplied_out = inputs[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        log_probs, unit = ctx.saved_tensors
        if torch.compiler.is_compiling():
            found = unit * grad.unsqueeze(1)
        else:
            found = _CtcGradient.apply(grad, log_probs, unit, ctx.multiplied_out)
        return found, None, None, None, None, None, None

    @staticmethod
    def along(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        log_probs, loss, unit = ctx.saved_tensors
        gradient = _CtcGradient.apply(torch.ones_like(loss), log_probs, unit, ctx.multiplied_out)
        return (gradient * tangent).sum((0, 2)), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        log_probs, lengths, targets, sizes, blank, keep, multiplied_out = args
        times = info.batch_size
        if in_dims[0] is None or any(dim is not None for dim in in_dims[1:4]):
            dims = (*in_dims[:4], None, None, None)
            return one_by_one(CtcTotal.apply, info, dims, args)
        rows = log_probs.movedim(in_dims[0], 1)
        flat = rows.reshape(rows.shape[0], -1, rows.shape[3])
        items = rows.shape[2]

        def multiplied(log_probs: Tensor) -> Tensor:
            return torch.cat([multiplied_out(part) for part in log_probs.split(items, 1)])

        more = targets.repeat(*(times if d == 0 else 1 for d in range(targets.ndim)))
        given = (flat, lengths.repeat(times), more, sizes.repeat(times), blank, keep, multiplied)
        loss, unit = CtcTotal.apply(*given)
        if keep:
            return (loss.view(times, -1), unit.view(rows.shape)), (0, 1)
        return (loss.view(times, -1), unit), (0, None)


class _CtcGradient(Differentiable):
    @staticmethod
    def forward(grad: Tensor, log_probs: Tensor, unit: Tensor, multiplied_out: Any) -> Tensor:
        return unit * grad.unsqueeze(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:3])
        ctx.multiplied_out = inputs[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        first, log_probs = ctx.saved_tensors
        to_grad, (found,) = _second(ctx.multiplied_out, (log_probs,), first, (grad,))
        return to_grad, found, None, None

    @staticmethod
    def along(ctx: Any, tangent: Tensor, along: Tensor, *_: Any) -> Tensor:
        grad, log_probs, unit = ctx.saved_tensors
        # Second derivatives are symmetric, so their adjoint serves.
        _, (found,) = _second(ctx.multiplied_out, (log_probs,), grad, (along,))
        return _CtcGradient.apply(tangent, log_probs, unit, ctx.multiplied_out) + found

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return one_by_one(_CtcGradient.apply, info, (*in_dims[:3], None), args)
