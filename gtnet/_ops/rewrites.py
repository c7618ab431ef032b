"""Operators that make new topologies: composition, rational operations, difference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector

compose = interruptible(operators.compose.default)
best_first = interruptible(operators.best_first.default)
explore = interruptible(operators.explore.default)
arrange = interruptible(operators.arrange.default)
rational = interruptible(operators.rational.default)
rational_sections = interruptible(operators.rational_sections.default)
difference = interruptible(operators.difference.default)
equivalent = interruptible(operators.equivalent.default)


@fake("best_first")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> list[Tensor]:
    return _product(a_arcs, *rest[-5:-3])


@fake("compose")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> list[Tensor]:
    *_, a_weights, b_weights, acceptors, num_graphs, _ = rest
    offsets, *product = _product(a_arcs, acceptors, num_graphs)
    if a_weights is None or b_weights is None:
        return [offsets, *product]
    arcs, states = product[1].shape[0], product[6].shape[0]
    return [*(a_weights.new_empty(size) for size in (arcs, states, states)), offsets, *product]


def _product(a_arcs: Tensor, acceptors: bool, num_graphs: Any) -> list[Tensor]:
    states, arcs = unknown_size(), unknown_size()
    offsets = vector(a_arcs, num_graphs + 1, torch.int64)
    sizes = [arcs, arcs, arcs, arcs, arcs, states, states]
    return [
        offsets,
        torch.empty_like(offsets),
        *(vector(a_arcs, size, torch.int32) for size in sizes),
        vector(a_arcs, states, torch.int8),
        *([] if acceptors else [vector(a_arcs, arcs, torch.int32)]),
    ]


@fake("explore")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> list[Tensor]:
    num_graphs, _ = rest[-2:]
    states, arcs = unknown_size(), unknown_size()
    offsets = vector(a_arcs, num_graphs + 1, torch.int64)
    return [
        vector(a_arcs, 1, torch.bool),
        offsets,
        torch.empty_like(offsets),
        *(vector(a_arcs, size, torch.int32) for size in [arcs] * 4 + [states] * 2),
        vector(a_arcs, states, torch.int8),
    ]


@fake("rational_sections")
def _(
    graph_of: Tensor, state_offsets: Tensor, arc_offsets: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    num_parts, kind = rest[-2:]
    joints = (0, num_parts - 1, 1, 1, 1)[kind]
    sections = graph_of.shape[0] // num_parts * (num_parts + joints)
    return tuple(vector(graph_of, sections + 1, torch.int64) for _ in range(2))


@fake("rational")
def _(graph_of: Tensor, *rest: Any) -> list[Tensor]:
    *_, olabels, _, states, arcs = rest
    sizes = [arcs, arcs, arcs, 0 if olabels is None else arcs, arcs, arcs, arcs]
    return [vector(graph_of, size, torch.int32) for size in (*sizes, states, states, states)]


@fake("arrange")
def _(
    operands: list[Tensor], size: Any, kind: int, acceptors: bool, learning: bool
) -> list[Tensor]:
    states, arcs = unknown_size(), unknown_size()
    like = operands[6]
    sizes = [] if acceptors else [arcs]
    if learning:
        sizes += [arcs, arcs, states, states]
    return [
        *(vector(like, size + 1, torch.int64) for _ in range(2)),
        *(vector(like, n, torch.int32) for n in (arcs, arcs, arcs, arcs, states)),
        *(vector(like, n, like.dtype) for n in (arcs, states, states)),
        *(vector(like, n, torch.int32) for n in sizes),
    ]


@fake("difference")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> list[Tensor]:
    num_graphs = rest[-3]
    states, arcs = unknown_size(), unknown_size()
    kinds = [
        (2, torch.bool),
        (num_graphs + 1, torch.int64),
        (num_graphs + 1, torch.int64),
        *((size, torch.int32) for size in (arcs, arcs, arcs, states)),
        (states, torch.bool),
        (states, torch.bool),
    ]
    return [vector(a_arcs, size, dtype) for size, dtype in kinds]


@fake("equivalent")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> Tensor:
    return vector(a_arcs, rest[-2], torch.bool)
