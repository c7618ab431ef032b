"""Operators on topologies: arcs by state, orders, components, what is reached."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtnet._ops.library import fake, operators, unknown_size, vector

incidence = operators.incidence.default
sort_by_label = operators.sort_by_label.default
topological_order = operators.topological_order.default
layers = operators.layers.default
slices = operators.slices.default
reach = operators.reach.default
components = operators.components.default
elimination = operators.elimination.default


@fake("incidence")
def _(
    state_offsets: Tensor, arc_offsets: Tensor, by: Tensor, other: Tensor, num_states: int
) -> tuple[Tensor, ...]:
    return by.new_empty(num_states + 1), torch.empty_like(by), torch.empty_like(by)


@fake("sort_by_label")
def _(
    state_offsets: Tensor, offsets: Tensor, arcs: Tensor, states: Tensor, labels: Tensor
) -> tuple[Tensor, ...]:
    return torch.empty_like(arcs), torch.empty_like(arcs), torch.empty_like(arcs)


@fake("topological_order")
def _(state_offsets: Tensor, offsets: Tensor, sources: Tensor) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return offsets.new_empty(offsets.shape[0] - 1), state_offsets.new_empty(graphs)


@fake("layers")
def _(state_offsets: Tensor, order: Tensor, *entering: Tensor) -> tuple[Tensor, ...]:
    return torch.empty_like(order), order.new_empty(2, order.shape[0])


@fake("slices")
def _(state_offsets: Tensor, order: Tensor, *incidence: Any) -> Tensor:
    return vector(order, unknown_size(), torch.int32)


@fake("reach")
def _(
    state_offsets: Tensor,
    offsets: Tensor,
    arcs: Tensor,
    states: Tensor,
    seeds: Tensor,
    open: Tensor | None = None,
) -> Tensor:
    return torch.empty_like(seeds)


@fake("components")
def _(state_offsets: Tensor, offsets: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    bounds = offsets.new_empty((unknown_size(), 2))
    return offsets.new_empty(offsets.shape[0] - 1), torch.empty_like(state_offsets), bounds


@fake("elimination")
def _(
    state_offsets: Tensor, order: Tensor, component_offsets: Tensor, bounds: Tensor, *leaving: Any
) -> tuple[Tensor, ...]:
    states = order.shape[0]
    return (
        torch.empty_like(order),
        vector(order, states + 1, torch.int64),
        vector(order, unknown_size(), torch.int32),
        vector(order, states, torch.int64),
        vector(order, leaving[1].shape[0], torch.int64),
        vector(order, 1, torch.int32),
    )
