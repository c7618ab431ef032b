"""Sums so far from 0 that float64 has no digits for the parts that paths have in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gtnet._checks import NEG_INF, plain
from gtnet._ops.library import fake, operators

_FAR = 2.0**30  # as kFar in csrc/paths/log_distance.h


def beyond(numbers: Iterable[Tensor], limit: float) -> bool:
    """Whether a finite number lies farther from 0 than a limit. On the CPU."""
    return operators.beyond.default([plain(t).contiguous() for t in numbers], limit)


@fake("beyond")
def _(numbers: Sequence[Tensor], limit: float) -> bool:
    return False  # what has no numbers has none that lie far


def are_far(*sums: Tensor) -> bool:
    """Whether finite sums lie so far from 0 that parts of them are not exact.

    Not on a GPU, where a look would wait, nor where torch.compile traces: there the operator of
    gradients gives NaN, and an error.
    """
    if sums[0].is_cuda or torch.compiler.is_compiling():
        return False
    return beyond(sums, _FAR)


def near_the_best(
    scores: Sequence[Tensor],
    best: Tensor,
    graph_of_state: Tensor,
    came: Tensor,
    went: Tensor,
) -> list[Tensor]:
    """Weights, start and accept scores of the same paths, relative to the best path to each state.

    `best` distances [states] are taken away, as constants, so that derivatives stay; arcs lead from
    states `came` to `went`. Weights on the best paths are about 0, and others below. float64.
    """
    weights, start, accept = (t.double() for t in scores)
    lost = best == NEG_INF
    level = best.masked_fill(lost, 0)
    reached = (accept.detach() + level).masked_fill(lost, NEG_INF)
    total = level.new_full((int(graph_of_state.max()) + 1,), NEG_INF)
    total = total.scatter_reduce(0, graph_of_state, reached, "amax")
    total = total.masked_fill(total == NEG_INF, 0)
    return [
        _moved(weights, level[came], level[went], lost[came] | lost[went]),
        _moved(start, torch.zeros_like(level), level, lost),
        _moved(accept, level, total[graph_of_state], lost),
    ]


def _moved(scores: Tensor, up: Tensor, down: Tensor, gone: Tensor) -> Tensor:
    """scores + up - down; -inf where `gone` or impossible. Only scores have a derivative."""
    plain = scores.detach()
    total = plain + up
    # What rounding took away (Knuth's TwoSum); of sums beyond all digits it is noise.
    part = total - up
    rest = (plain - part) + (up - (total - part))
    rest = rest.masked_fill(~(rest.abs() <= _FAR), 0)
    gone = gone | (plain == NEG_INF)
    moved = ((total - down) + rest).masked_fill(gone, NEG_INF)
    return moved + (scores - plain).masked_fill(gone, 0)
