"""Operators of epsilon removal, determinization, minimization and pushing; float64 scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet._ops.functional import Differentiable, learnt, one_by_one
from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector

minimize = interruptible(operators.minimize.default)
push_labels = interruptible(operators.push_labels.default)
_determinize = interruptible(operators.determinize.default)
_determinize_gradient = interruptible(operators.determinize_backward.default)


@fake("epsilon_pairs")
def _(state_offsets: Tensor, offsets: Tensor, arcs: Tensor, *rest: Any) -> list[Tensor]:
    sources, pairs, copies = unknown_size(), unknown_size(), unknown_size()
    return [
        vector(arcs, 1, torch.bool),
        vector(arcs, sources, torch.int32),
        *(vector(arcs, sources + 1, torch.int64) for _ in range(2)),
        vector(arcs, pairs, torch.int32),
        *(vector(arcs, copies, torch.int32) for _ in range(3)),
    ]


@fake("determinize")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *rest: Any
) -> list[Tensor]:
    graphs = state_offsets.shape[0] - 1
    states, arcs, entries, terms = (unknown_size() for _ in range(4))
    by_graph = vector(start, graphs + 1, torch.int64)
    return [
        start.new_empty((2, graphs), dtype=torch.int32),
        start.new_empty(graphs),
        start.new_empty(arcs),
        start.new_empty(states),
        by_graph,
        torch.empty_like(by_graph),
        vector(start, states + 1, torch.int64),
        vector(start, arcs, torch.int32),
        vector(start, arcs, torch.int32),
        vector(start, states + 1, torch.int64),
        vector(start, entries, torch.int32),
        start.new_empty(entries),
        vector(start, arcs + 1, torch.int64),
        *(vector(start, terms, torch.int32) for _ in range(3)),
        *(vector(start, unknown_size(), dtype) for dtype in (torch.int64, torch.int32) * 2),
    ]


@fake("determinize_backward")
def _(
    grad_start: Tensor,
    grad_score: Tensor,
    grad_new_accept: Tensor,
    weights: Tensor,
    accept: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    return torch.empty_like(weights), torch.empty_like(accept), torch.empty_like(accept)


@fake("minimize")
def _(
    state_offsets: Tensor,
    arc_offsets: Tensor,
    source: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *rest: Any,
) -> Tensor:
    return offsets.new_empty(offsets.shape[0] - 1)


@fake("push_labels")
def _(state_offsets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    outputs, _, is_accept, _ = rest[-4:]
    return (
        vector(outputs, outputs.shape[0] + 1, torch.int64),
        vector(outputs, unknown_size(), torch.int32),
        vector(outputs, is_accept.shape[0] + 1, torch.int64),
        vector(outputs, unknown_size(), torch.int32),
    )


class Determinized(NamedTuple):
    """What the operator returns: scores, topology, record of sums (csrc/rewrite/cpu/determinize.h).

    States and arcs are numbered through the batch; arcs are sorted by source, then by label.
    """

    ends: Tensor  # int32 [2, graphs]: how it ended (0: well), and a witness
    start_score: Tensor  # by graph: of its first state
    score: Tensor  # by arc
    accept: Tensor  # by state
    state_offsets: Tensor
    arc_offsets: Tensor
    arc_begin: Tensor  # by state
    target: Tensor
    label: Tensor
    entry_begin: Tensor  # by state
    entry_state: Tensor
    entry_score: Tensor
    term_begin: Tensor  # by arc
    term_entry: Tensor
    term_arc: Tensor
    term_into: Tensor
    output_begin: Tensor  # by arc
    outputs: Tensor
    ending_begin: Tensor  # by state
    endings: Tensor


class _RecordedSums(Differentiable):
    """The scores that determinization computed, with their gradient."""

    @staticmethod
    def forward(
        weights: Tensor, start: Tensor, accept: Tensor, made: Determinized, tropical: bool
    ) -> tuple[Tensor, ...]:
        return made.start_score.clone(), made.score.clone(), made.accept.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        weights, _, accept, made, tropical = inputs
        ctx.save_for_backward(
            weights,
            accept,
            made.score,
            made.accept,
            made.state_offsets,
            made.arc_begin,
            made.target,
            *made[9:16],
        )
        ctx.tropical = tropical

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = _RecordedGradient.apply(*grads, *ctx.saved_tensors, ctx.tropical)
        return (*found, None, None)

    @staticmethod
    def along(*_: Any) -> Any:
        raise ValueError(
            "determinize: derivatives exist in reverse mode only: take torch.func.grad or jacrev "
            "instead of jvp, jacfwd and hessian"
        )

    vmap = along  # of tangents: scores that are mapped do not come so far


class _RecordedGradient(Differentiable):
    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        *tensors, tropical = args
        return tuple(_determinize_gradient(*map(_contiguous, tensors), tropical))

    @staticmethod
    def setup_context(*_: Any) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise ValueError(
            "determinize: only first derivatives exist: a second one, as by create_graph=True or "
            "torch.func.hessian, is not there"
        )

    @staticmethod
    def along(ctx: Any, *_: Any) -> Any:
        return _RecordedGradient.backward(ctx)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        dims = (*in_dims[:-1], None)
        return one_by_one(_RecordedGradient.apply, info, dims, args)


def _contiguous(tensor: Tensor) -> Tensor:
    return tensor.contiguous()


def determinize(
    scores: tuple[Tensor, Tensor, Tensor], *topology: Any, tropical: bool, **options: Any
) -> Determinized:
    """Weighted subset construction; its start, arc and accept scores are differentiable."""
    weights, start, accept = (score.contiguous() for score in scores)
    detached = (weights.detach(), start.detach(), accept.detach())
    made = Determinized(*_determinize(*detached, *topology, tropical=tropical, **options))
    if not learnt(*scores):
        return made
    first, score, last = _RecordedSums.apply(weights, start, accept, made, tropical)
    return made._replace(start_score=first, score=score, accept=last)
