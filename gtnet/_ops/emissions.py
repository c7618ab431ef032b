"""Operators on emissions composed with a graph that is never multiplied out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet._ops.library import fake, operators, unknown_size, vector

steps = operators.steps.default
block_steps = operators.block_steps.default
ctc_arcs = operators.ctc_arcs.default
chain_best = operators.chain_best.default


@fake("steps")
def _(
    state_offsets: Tensor, arc_offsets: Tensor, source: Tensor, target: Tensor, labels: Tensor
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    words = vector(source, unknown_size(), torch.int32)
    return words, torch.empty_like(state_offsets), state_offsets.new_empty(graphs)


@fake("block_steps")
def _(words: Tensor, word_offsets: Tensor) -> tuple[Tensor, ...]:
    return vector(words, unknown_size(), torch.int32), vector(words, 7, torch.int64)


@fake("ctc_arcs")
def _(targets: Tensor, lengths: Tensor, blank: int) -> tuple[Tensor, ...]:
    offsets = lengths.new_empty(lengths.shape[0] + 1)
    arcs = unknown_size()
    ends = (torch.empty_like(offsets), torch.empty_like(offsets))
    return *ends, *(vector(targets, arcs, torch.int32) for _ in range(4))


@fake("chain_score")
def _(scores: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    kept = unknown_size() if rest[-1] else 0
    exponent = torch.int32 if scores.dtype == torch.float32 else torch.int64
    return (
        vector(scores, scores.shape[0], torch.float64),
        vector(scores, kept, scores.dtype),
        vector(scores, kept, exponent),
        vector(scores, 1, torch.int64),
    )


@fake("chain_score_backward")
def _(
    grad_score: Tensor, alpha_m: Tensor, alpha_e: Tensor, scores: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    *_, weights, start, accept, counting = rest
    sizes = [like.shape[0] if counting else 0 for like in (weights, start, accept)]
    return torch.empty_like(scores), *(vector(scores, size, scores.dtype) for size in sizes)


@fake("chain_best")
def _(scores: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    batch, arcs = scores.shape[0], unknown_size()
    return (
        vector(scores, batch, torch.float64),
        vector(scores, batch + 1, torch.int64),
        vector(scores, arcs, torch.int32),
        vector(scores, arcs, torch.int32),
        vector(scores, batch, torch.int32),
        vector(scores, batch, torch.int32),
    )


class Steps(NamedTuple):
    """One step through the graphs of a batch, laid out by `steps`, and whose arcs they are."""

    words: Tensor
    word_offsets: Tensor
    state_offsets: Tensor
    arc_offsets: Tensor


class OutOfRangeError(ArithmeticError):
    """The scores of a path may add up to more than any exponent holds."""


class _ChainScore(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        weights: Tensor,
        start: Tensor,
        accept: Tensor,
        lengths: Tensor,
        steps: Steps,
        multiplied_out: Callable[..., Tensor],
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        score, *alpha, trouble = operators.chain_score.default(
            scores, lengths, *steps, weights, start, accept, keep
        )
        if (code := int(trouble)) == 1:
            raise OutOfRangeError
        if code == 2:
            raise ValueError("forward_score: emissions must not hold NaN or +inf")
        ctx.save_for_backward(scores, weights, start, accept, lengths, *alpha)
        ctx.steps, ctx.multiplied_out = steps, multiplied_out
        return score

    @staticmethod
    def backward(ctx: Any, grad_score: Tensor) -> tuple[Tensor | None, ...]:
        scores, weights, start, accept, lengths, *alpha = ctx.saved_tensors
        inputs = (scores, weights, start, accept)
        needed = ctx.needs_input_grad[:4]
        if torch.is_grad_enabled():
            asked = [tensor for tensor, need in zip(inputs, needed) if need]
            score = ctx.multiplied_out(*inputs)
            found = iter(torch.autograd.grad(score, asked, grad_score, create_graph=True))
            return (*(next(found) if need else None for need in needed), None, None, None)
        grads = operators.chain_score_backward.default(
            grad_score.contiguous(),
            *alpha,
            scores,
            lengths,
            *ctx.steps,
            weights,
            start,
            accept,
            any(needed[1:]),
        )
        return (*(grad if need else None for grad, need in zip(grads, needed)), None, None, None)


def chain_score(
    scores: Tensor,
    lengths: Tensor,
    steps: Steps,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    multiplied_out: Callable[..., Tensor],
) -> Tensor:
    """The forward score of each chain composed with its graph, float64 [batch]; differentiable.

    `multiplied_out` computes the same from (scores, weights, start, accept) in parts that are
    differentiable any number of times. Raises OutOfRangeError, ValueError for NaN or +inf.
    """
    graph = (weights.contiguous(), start.contiguous(), accept.contiguous())
    scores = rows_of_labels(scores)
    return _ChainScore.apply(scores, *graph, lengths, steps, multiplied_out)


def rows_of_labels(scores: Tensor) -> Tensor:
    """The scores with the labels of a frame side by side; frames and items may lie anywhere."""
    return scores.contiguous() if scores.stride(-1) != 1 or 0 in scores.stride() else scores
