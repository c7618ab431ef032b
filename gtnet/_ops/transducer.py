"""Transducer losses: the scores that alignments read, and the sums over alignments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtnet._ops import library
from gtnet._ops.functional import forward_mode, transformed
from gtnet._ops.library import fake, interruptible, operators

NO_LABEL = -1  # nothing follows but the blank
UNREAD = -2

_run_steps = interruptible(operators.transducer_steps.default)
_run_steps_backward = interruptible(operators.transducer_steps_backward.default)
_run_score = interruptible(operators.transducer_score.default)


@fake("transducer_steps")
def _(outputs: Tensor, labels: Tensor, frames: Tensor, blank: int, normalize: bool) -> list[Tensor]:
    size = outputs.shape[0] * outputs.shape[1] * outputs.shape[2]
    return [outputs.new_empty(n) for n in (size, size, size if normalize else 0)]


@fake("transducer_steps_backward")
def _(grad_blank: Tensor, grad_label: Tensor, outputs: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(outputs)


@fake("transducer_score")
def _(blank: Tensor, label: Tensor, frames: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    size = blank.numel() if rest[-1] else 0
    score = blank.new_empty(blank.shape[0], dtype=torch.float64)
    return score, blank.new_empty(size), blank.new_empty(size)


Pair = tuple[Tensor, Tensor]


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, labels: Tensor, frames: Tensor, blank: int, normalize: bool
    ) -> Pair | None:
        outputs = outputs.contiguous()
        found = _run_steps(outputs, labels, frames, blank, normalize)
        if not found:
            return None
        blanks, following, norms = found
        ctx.save_for_backward(outputs, labels, frames, norms)
        ctx.blank, ctx.normalize = blank, normalize
        return blanks.view(outputs.shape[:3]), following.view(outputs.shape[:3])

    @staticmethod
    def backward(ctx: Any, grad_blank: Tensor, grad_label: Tensor) -> tuple[Tensor | None, ...]:
        outputs, labels, frames, norms = ctx.saved_tensors
        if torch.is_grad_enabled():
            made = steps_in_parts(outputs, labels, frames, ctx.blank, ctx.normalize)
            grads = (grad_blank, grad_label)
            (grad,) = torch.autograd.grad(made, outputs, grads, create_graph=True)
        else:
            grads = (grad_blank.contiguous(), grad_label.contiguous())
            grad = _run_steps_backward(
                *grads, outputs, norms, labels, frames, ctx.blank, ctx.normalize
            )
        return grad, None, None, None, None


def transducer_steps(
    outputs: Tensor, labels: Tensor, frames: Tensor, blank: int, normalize: bool
) -> Pair:
    """The scores of the blank and of the following label at each place, [batch, frames, places].

    `outputs` [batch, frames, places, labels] are log-probabilities, or made that with `normalize`;
    `labels` int32 [batch, 1 or frames, places] may be NO_LABEL or UNREAD; of each item `frames`
    int64 [batch] are read. Scores that do not exist are -inf. Differentiable any number of times.
    """
    given = (outputs, labels, frames, blank, normalize)
    found = _Steps.apply(*given) if _plain(outputs) else None
    return steps_in_parts(*given) if found is None else found


def steps_in_parts(
    outputs: Tensor, labels: Tensor, frames: Tensor, blank: int, normalize: bool
) -> Pair:
    """The same by torch."""
    batch, most, places, _ = outputs.shape
    within = torch.arange(most, device=outputs.device) < frames.unsqueeze(1)
    labels = labels.expand(batch, most, places)
    read = within.unsqueeze(2) & (labels != UNREAD)
    if normalize:
        outputs = outputs.masked_fill(~read.unsqueeze(3), 0).log_softmax(3)
    chosen = labels.long().clamp(0, outputs.shape[3] - 1).unsqueeze(3)
    following = outputs.gather(3, chosen).squeeze(3)
    none = float("-inf")
    return (
        outputs[..., blank].masked_fill(~read, none),
        following.masked_fill(~(read & (labels >= 0)), none),
    )


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        blank: Tensor,
        label: Tensor,
        frames: Tensor,
        lengths: Tensor,
        skew: int,
        in_parts: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        keep = any(ctx.needs_input_grad[:2])
        score, *parts = _run_score(
            blank.contiguous(), label.contiguous(), frames, lengths, skew, keep
        )
        ctx.save_for_backward(blank, label, *(part.view(blank.shape) for part in parts if keep))
        ctx.in_parts = in_parts
        return score.to(blank.dtype)

    @staticmethod
    def backward(ctx: Any, grad_score: Tensor) -> tuple[Tensor | None, ...]:
        blank, label, *parts = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        grads: list[Tensor | None] = [None, None]
        if torch.is_grad_enabled():
            asked = [t for t, need in zip((blank, label), needed, strict=True) if need]
            score = ctx.in_parts(blank, label)
            found = iter(torch.autograd.grad(score, asked, grad_score, create_graph=True))
            grads = [next(found) if need else None for need in needed]
        else:
            scale = grad_score.view(-1, 1, 1)
            grads = [
                scale * part if need else None for part, need in zip(parts, needed, strict=True)
            ]
        return (*grads, None, None, None, None)


def transducer_score(
    blank: Tensor,
    label: Tensor,
    frames: Tensor,
    lengths: Tensor,
    skew: int,
    in_parts: Callable[[Tensor, Tensor], Tensor],
) -> Tensor | None:
    """The log of the sum over the alignments of each item, [batch]; differentiable.

    `blank` and `label` [batch, frames, longest + 1] score the steps; with a `skew` of 1 a label
    stays in its frame, with 0 it leads to the next. None where the operator does not apply, or has
    found NaN, +inf or too large a score; on a GPU such an item has NaN. `in_parts` computes the
    same from the two, differentiable any number of times.
    """
    if not _plain(blank):
        return None
    score = _Score.apply(blank, label, frames, lengths, skew, in_parts)
    waits = not library.on_gpu(blank)  # a GPU is not asked: NaN stays
    return None if waits and bool(score.detach().isnan().any()) else score


def _plain(scores: Tensor) -> bool:
    """Whether the operators may be called: eagerly, and by autograd alone."""
    traced = torch.compiler.is_compiling() or transformed() or forward_mode()
    return scores.device.type in ("cpu", "cuda") and not traced
