"""Operators on emissions composed with a graph that is never multiplied out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet._ops import library
from gtnet._ops.functional import forward_mode, learnt, transformed
from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector
from gtnet._ops.totals import (
    CtcTotal,
    LatticeTotal,
    OutOfRangeError,
    RefusedError,
    backward_of_ctc_loss,
    backward_of_lattice_score,
    raise_trouble,
    run_ctc_loss,
    run_lattice_score,
)

steps = interruptible(operators.steps.default)
block_steps = interruptible(operators.block_steps.default)
ctc_arcs = interruptible(operators.ctc_arcs.default)
ctc_align = interruptible(operators.ctc_align.default)
_lattice_posteriors = interruptible(operators.lattice_posteriors.default)
_lattice_best = interruptible(operators.lattice_best.default)
_lattice_k_best = interruptible(operators.lattice_k_best.default)
_lattice_sample = interruptible(operators.lattice_sample.default)
_lattice_prune = interruptible(operators.lattice_prune.default)
lattice_path_graphs = operators.lattice_path_graphs.default


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


@fake("ctc_loss")
def _(
    scores: Tensor,
    lengths: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    blank: int,
    keep: bool,
) -> list[Tensor]:
    items = lengths.shape[0]
    return [
        vector(scores, items, scores.dtype),
        vector(scores, unknown_size() if keep else 0, scores.dtype),
        vector(lengths, unknown_size(), torch.int32),
        lengths.new_empty(items + 1),
    ]


@fake("ctc_align")
def _(scores: Tensor, lengths: Tensor, *rest: Any) -> Tensor:
    return vector(lengths, scores.shape[0] * scores.shape[1], torch.int32)


@fake("ctc_loss_backward")
def _(grad_loss: Tensor, shares: Tensor, scores: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(scores)


@fake("lattice_score")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    kinds = (scores.dtype, torch.int32 if scores.dtype == torch.float32 else torch.int64)
    return [
        vector(scores, _items(cuts), torch.float64),
        *(vector(scores, unknown_size() if rest[-1] else 0, kind) for kind in kinds),
        vector(scores, unknown_size() if rest[-1] else 0, torch.float64),
        vector(scores, 1, torch.int64),
    ]


@fake("lattice_score_backward")
def _(
    grad_score: Tensor,
    alpha_m: Tensor,
    alpha_e: Tensor,
    offset: Tensor,
    scores: Tensor,
    cuts: list[Tensor],
    *rest: Any,
) -> list[Tensor]:
    *_, weights, start, accept, counting = rest
    sizes = [len(weights), len(start), len(accept)] if counting else [0, 0, 0]
    ends = len(cuts[-1]) if counting and len(cuts) > 1 else 0
    found = [vector(scores, size, scores.dtype) for size in (*sizes, ends, ends)]
    return [torch.empty_like(scores), *found]


@fake("lattice_posteriors")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    ends = 0 if len(cuts) == 1 else len(cuts[-1])
    states = unknown_size()
    sizes = (unknown_size(), states, states, ends, ends)
    found = (vector(scores, size, scores.dtype) for size in sizes)
    return [torch.empty_like(scores), *found, vector(scores, 1, torch.int64)]


@fake("lattice_best")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    return _paths(scores, _items(cuts), _items(cuts))


@fake("lattice_k_best")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    return _paths(scores, _items(cuts), unknown_size())


@fake("lattice_sample")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    return _paths(scores, _items(cuts), unknown_size())


@fake("lattice_path_graphs")
def _(counts: Tensor, offsets: Tensor, arcs: Tensor, *rest: Any) -> list[Tensor]:
    *_, weights, _, _, _, olabels, learning = rest
    steps, states = arcs.shape[0], unknown_size()
    sizes = [steps, steps, steps, 0 if olabels is None else steps, steps]
    places = [n if learning else 0 for n in (steps, states, states)]
    return [
        torch.empty_like(offsets),
        *(vector(arcs, n, torch.int32) for n in sizes),
        *(weights.new_empty((n,)) for n in (steps, states, states)),
        *(vector(arcs, n, torch.int32) for n in places),
    ]


@fake("lattice_prune")
def _(scores: Tensor, cuts: list[Tensor], *rest: Any) -> list[Tensor]:
    columns = []
    for count in (4, 2, 2):
        kept = unknown_size()
        columns.append(vector(scores, _items(cuts) + 1, torch.int64))
        columns += [vector(scores, kept, torch.int32) for _ in range(count)]
    return columns


def _items(cuts: list[Tensor]) -> Any:
    """How many items the batch with these cuts has."""
    return cuts[0].shape[0] - (len(cuts) > 1)


def _paths(scores: Tensor, items: Any, count: Any) -> list[Tensor]:
    arcs = unknown_size()
    return [
        vector(scores, items, torch.int64),
        vector(scores, count, torch.float64),
        vector(scores, count + 1, torch.int64),
        *(vector(scores, arcs, torch.int32) for _ in range(2)),
        *(vector(scores, count, torch.int32) for _ in range(4)),
    ]


class Steps(NamedTuple):
    """One step through the graphs of a batch, laid out by `steps`, and the arcs it belongs to.

    On a GPU `words` are laid out by `block_steps`, and sizes on the CPU replace the offsets,
    because launches depend on them and must not wait.
    """

    words: Tensor
    word_offsets: Tensor
    state_offsets: Tensor
    arc_offsets: Tensor


class LatticeArguments(NamedTuple):
    """The first arguments of operators on lattices: rows of scores, cuts, and the operand.

    `scores` [batch, frames, labels] and `cuts` the lengths, or [segments, labels] and of the
    segmentation state_offsets, arc_offsets, order, source, target, start and accept. On a GPU
    `segments_of_cuts` and the most cuts of an item, on the CPU, come before the last two.
    """

    scores: Tensor
    cuts: list[Tensor]
    steps: Steps
    weights: Tensor
    start: Tensor
    accept: Tensor

    def flat(self) -> tuple[Any, ...]:
        """As the operators take them."""
        return self.scores, self.cuts, *self.steps, self.weights, self.start, self.accept


def lattice_arguments(
    scores: Tensor, cuts: list[Tensor], steps: Steps, weights: Tensor, start: Tensor, accept: Tensor
) -> LatticeArguments:
    """The arguments in the layout that the operators expect."""
    graph = (weights.contiguous(), start.contiguous(), accept.contiguous())
    return LatticeArguments(rows_of_labels(scores), [t.contiguous() for t in cuts], steps, *graph)


def segments_of_cuts(
    state_offsets: Tensor, arc_offsets: Tensor, order: Tensor, source: Tensor, target: Tensor
) -> list[Tensor]:
    """The segments that enter each cut, and those that leave it: offsets int32 [cuts + 1],
    segments and the cuts at their other end int32 [segments], numbered through the batch.

    Those that enter a cut are ordered by the cuts that they leave. O(segments log segments).
    """
    items = torch.arange(arc_offsets.shape[0] - 1, device=order.device)
    item = torch.repeat_interleave(items, arc_offsets.diff(), output_size=source.shape[0])
    begin = state_offsets.index_select(0, item)
    sources, targets = begin + source, begin + target
    place = torch.argsort(order)
    in_order = torch.argsort(place.index_select(0, sources), stable=True)
    cuts = torch.arange(order.shape[0] + 1, device=order.device)

    def grouped(first: Tensor, by: Tensor, other: Tensor) -> list[Tensor]:
        owner, at = torch.sort(by.index_select(0, first), stable=True)
        segments = first.index_select(0, at)
        found = (torch.searchsorted(owner, cuts), segments, other.index_select(0, segments))
        return [column.to(torch.int32) for column in found]

    every = torch.arange(source.shape[0], device=order.device)
    return [*grouped(in_order, targets, sources), *grouped(every, sources, targets)]


class PathsFound(NamedTuple):
    """Paths one after another: arcs [offsets[i], offsets[i + 1]) of the operand and the rows that
    they read (-1 for an epsilon), and the states and cuts in which they begin and end.

    `counts` says how many of them each item has.
    """

    counts: Tensor
    score: Tensor
    offsets: Tensor
    arcs: Tensor
    rows: Tensor
    first: Tensor
    first_cut: Tensor
    last: Tensor
    last_cut: Tensor


def lattice_best(arguments: LatticeArguments) -> PathsFound:
    """The best path of each item."""
    return PathsFound(*_lattice_best(*arguments.flat()))


def lattice_k_best(arguments: LatticeArguments, k: int, max_prefixes: int) -> PathsFound:
    """At most k best paths of each item, best first. Raises OverBudgetError."""
    return PathsFound(*_lattice_k_best(*arguments.flat(), k, max_prefixes))


def k_best_bytes(arguments: LatticeArguments, k: int) -> int:
    """The memory of the k best paths to every position, which a GPU keeps, in bytes."""
    if not library.on_gpu(arguments.scores) or arguments.scores.ndim == 2:
        return 0
    items, frames, _ = arguments.scores.shape
    slots = int(arguments.steps.word_offsets[0])  # a size, on the CPU
    return (8 * (frames + 1) + 16) * items * slots * k


def lattice_sample(arguments: LatticeArguments, seeds: Tensor, n: int, max_arcs: int) -> PathsFound:
    """n paths of each item drawn at random; scores in float64, `seeds` [items * n].

    Raises OverBudgetError where they have more states than `max_arcs`.
    """
    return PathsFound(*_lattice_sample(*arguments.flat(), seeds, n, max_arcs))


class Kept(NamedTuple):
    """Arcs and ends of paths near the best, of all items; all but operand arcs within the item.

    An arc reads a row and leads from one cut to another, or reads none (-1) and stays in a cut.
    """

    arc_offsets: Tensor
    cut: Tensor
    next_cut: Tensor
    row: Tensor
    arc: Tensor
    start_offsets: Tensor
    start_cut: Tensor
    start_state: Tensor
    accept_offsets: Tensor
    accept_cut: Tensor
    accept_state: Tensor


def lattice_prune(arguments: LatticeArguments, beam: float) -> Kept:
    """What lies on a path of each item whose score is at most `beam` below the best."""
    return Kept(*_lattice_prune(*arguments.flat(), beam))


class Shares(NamedTuple):
    """How often a path takes each label, arc and end, on average, given the sum over all paths.

    `labels` as the scores; `arcs`, `start` and `accept` of each item's graph, one item after
    another; `first` and `last` of the cuts of a segmentation.
    """

    labels: Tensor
    arcs: Tensor
    start: Tensor
    accept: Tensor
    first: Tensor
    last: Tensor


def lattice_posteriors(arguments: LatticeArguments, *, by_cut: bool) -> Shares:
    """Posteriors outside autograd; `by_cut` gives arcs for each cut in which they are taken.

    Raises OutOfRangeError; on a GPU the shares of arcs and ends are NaN instead.
    """
    *shares, trouble = _lattice_posteriors(*arguments.flat(), by_cut)
    if not trouble.is_cuda and int(trouble):
        raise OutOfRangeError
    return Shares(*shares)


class _LatticeScore(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        weights: Tensor,
        start: Tensor,
        accept: Tensor,
        first: Tensor | None,
        last: Tensor | None,
        cuts: list[Tensor],
        steps: Steps,
        multiplied_out: Callable[..., Tensor],
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        ends = [] if first is None else [first, last]
        score, *alpha, trouble = run_lattice_score(
            scores, [*cuts, *ends], *steps, weights, start, accept, keep
        )
        if not trouble.is_cuda:  # on a GPU the score is NaN instead, so that nothing waits
            raise_trouble(int(trouble))
        ctx.save_for_backward(scores, weights, start, accept, first, last, *alpha, *cuts)
        ctx.steps, ctx.multiplied_out = steps, multiplied_out
        return score

    @staticmethod
    def backward(ctx: Any, grad_score: Tensor) -> tuple[Tensor | None, ...]:
        scores, weights, start, accept, first, last, *rest = ctx.saved_tensors
        alpha, cuts = rest[:3], rest[3:]
        inputs = (scores, weights, start, accept, first, last)
        needed = ctx.needs_input_grad[:6]
        if torch.is_grad_enabled():
            asked = [tensor for tensor, need in zip(inputs, needed) if need]
            score = ctx.multiplied_out(*inputs)
            found = iter(torch.autograd.grad(score, asked, grad_score, create_graph=True))
            return (*(next(found) if need else None for need in needed), None, None, None)
        grads = backward_of_lattice_score(
            grad_score.contiguous(),
            *alpha,
            scores,
            [*cuts, *([] if first is None else [first, last])],
            *ctx.steps,
            weights,
            start,
            accept,
            any(needed[1:]),
        )
        return (*(grad if need else None for grad, need in zip(grads, needed)), None, None, None)


def lattice_score(arguments: LatticeArguments, multiplied_out: Callable[..., Tensor]) -> Tensor:
    """The forward score of each item, float64 [batch]; differentiable.

    `multiplied_out` computes the same from (scores, weights, start, accept, first, last), where the
    last two are the start and accept scores of a segmentation or None, in parts that are
    differentiable any number of times. Raises OutOfRangeError, ValueError for NaN or +inf.
    """
    scores, cuts, steps, *graph = arguments
    cuts, ends = (cuts, [None, None]) if len(cuts) == 1 else (cuts[:-2], cuts[-2:])
    if torch.compiler.is_compiling() or transformed() or forward_mode():
        counting = learnt(*graph, *(t for t in ends if t is not None))
        rest = (cuts, steps, counting, None if torch.compiler.is_compiling() else multiplied_out)
        return LatticeTotal.apply(scores, *graph, *ends, *rest)
    return _LatticeScore.apply(scores, *graph, *ends, cuts, steps, multiplied_out)


class _CtcLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        log_probs: Tensor,
        lengths: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
        blank: int,
        multiplied_out: Callable[[Tensor], Tensor],
    ) -> Tensor | None:
        scores = rows_of_labels(log_probs.transpose(0, 1))
        keep = ctx.needs_input_grad[0]
        found = run_ctc_loss(scores, lengths, targets, target_lengths, blank, keep)
        if not found:
            return None
        loss, *kept = found
        ctx.save_for_backward(log_probs, lengths, *kept)
        ctx.multiplied_out = multiplied_out
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        log_probs, lengths, shares, *columns = ctx.saved_tensors
        if torch.is_grad_enabled():
            loss = ctx.multiplied_out(log_probs)
            (grad,) = torch.autograd.grad(loss, log_probs, grad_loss, create_graph=True)
        else:
            scores = rows_of_labels(log_probs.transpose(0, 1))
            grad = backward_of_ctc_loss(
                grad_loss.contiguous(), shares, scores, lengths, *columns
            ).transpose(0, 1)
        return grad, None, None, None, None, None


def ctc_loss(
    log_probs: Tensor,
    lengths: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    blank: int,
    multiplied_out: Callable[[Tensor], Tensor],
) -> Tensor | None:
    """Minus the forward score of each item of log_probs [frames, batch, labels] composed with the
    CTC topology of its target, of their dtype; differentiable.

    All other tensors are int64 on the CPU: targets [batch, longest] or concatenated. Returns None
    where lengths, labels or scores are wrong or out of range. `multiplied_out` computes the same
    from `log_probs` in parts that are differentiable any number of times.
    """
    given = (log_probs, lengths, targets, target_lengths, blank)
    if torch.compiler.is_compiling():
        keep = torch.is_grad_enabled() and log_probs.requires_grad
        return CtcTotal.apply(*given, keep, None)[0]
    if transformed() or forward_mode():
        try:
            return CtcTotal.apply(*given, True, multiplied_out)[0]
        except RefusedError:
            return None
    return _CtcLoss.apply(*given, multiplied_out)


def rows_of_labels(scores: Tensor) -> Tensor:
    """The scores with contiguous labels in each frame; frames and items may have any strides."""
    return scores.contiguous() if scores.stride(-1) != 1 or 0 in scores.stride() else scores
