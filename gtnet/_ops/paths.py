"""Operators that take paths out of graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector

k_best = interruptible(operators.k_best.default)
acyclic_k_best = interruptible(operators.acyclic_k_best.default)
sample = interruptible(operators.sample.default)
enumerate_paths = interruptible(operators.enumerate_paths.default)


best_paths = interruptible(operators.best_paths.default)


@fake("best_paths")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, ilabels: Tensor, olabels: Any, *rest: Any
) -> list[Tensor]:
    _, _, state_offsets, *_, learning = rest
    states, arcs = unknown_size(), unknown_size()
    sizes = [] if olabels is None else [arcs]
    if learning:
        sizes += [states, states]
    return [
        *(torch.empty_like(state_offsets) for _ in range(2)),
        *(vector(weights, n, torch.int32) for n in (arcs, arcs, arcs, arcs)),
        *(weights.new_empty((n,)) for n in (arcs, states, states)),
        *(vector(weights, n, torch.int32) for n in sizes),
    ]


def _packed_paths(like: Tensor, graphs: Any) -> tuple[Tensor, ...]:
    paths, arcs = unknown_size(), unknown_size()
    sizes = ((graphs, torch.int64), (paths, torch.int64), (arcs, torch.int32))
    ends = ((paths, torch.int32), (paths, torch.int32))
    return tuple(vector(like, size, dtype) for size, dtype in (*sizes, *ends))


@fake("k_best")
def _(
    to_end: Tensor,
    following: Tensor,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    labels: Tensor | None,
    state_offsets: Tensor,
    *walk: Any,
) -> tuple[Tensor, ...]:
    return _packed_paths(start, state_offsets.shape[0] - 1)


@fake("acyclic_k_best")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *walk: Any
) -> tuple[Tensor, ...]:
    return _packed_paths(start, state_offsets.shape[0] - 1)


@fake("sample")
def _(
    to_end: Tensor,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    state_offsets: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    return _packed_paths(start, state_offsets.shape[0] - 1)


@fake("enumerate_paths")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return vector(start, graphs, torch.int8), *_packed_paths(start, graphs)
