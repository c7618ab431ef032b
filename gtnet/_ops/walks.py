"""Operators on topologies: arcs by state, orders, components, reachability."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gtnet._ops import library
from gtnet._ops.functional import one_by_one
from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector

topological_order = interruptible(operators.topological_order.default)
depths = interruptible(operators.depths.default)
slices = interruptible(operators.slices.default)
reach = interruptible(operators.reach.default)
components = interruptible(operators.components.default)
_incidence = interruptible(operators.incidence.default)
_sort_by_label = interruptible(operators.sort_by_label.default)
elimination = interruptible(operators.elimination.default)


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


@fake("depths")
def _(state_offsets: Tensor, entering: Tensor, leaving: Tensor, targets: Tensor) -> Tensor:
    return vector(targets, entering.shape[0] - 1, torch.int32)


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


def _mapped_one_by_one(name: str) -> None:
    """Under torch.vmap the operator is called once for each place of the dimension."""
    operator = getattr(operators, name).default

    def rule(info: Any, in_dims: Any, *args: Any, **kwargs: Any) -> Any:
        return one_by_one(partial(operator, **kwargs), info, in_dims, args)

    library.mapped(name, rule)


for _name in ("reach", "best_distance", "best_end", "closed_best_distance"):
    _mapped_one_by_one(_name)


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
    )


# On a GPU, torch's stable sorts do the grouping: the same result bit for bit, without waiting.


def spread(offsets: Tensor, total: int) -> Tensor:
    """For each of `total` items the number of the part, as given by offsets, that it lies in."""
    parts = torch.arange(offsets.shape[0] - 1, device=offsets.device)
    return torch.repeat_interleave(parts, offsets.diff(), output_size=total)


def incidence(
    state_offsets: Tensor, arc_offsets: Tensor, by: Tensor, other: Tensor, num_states: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The arcs grouped by the states `by`: offsets, arcs, states at the other end, all int32."""
    if not library.on_gpu(by):
        return _incidence(state_offsets, arc_offsets, by, other, num_states)
    first = state_offsets.index_select(0, spread(arc_offsets, by.shape[0]))
    keys, arcs = torch.sort((by + first).to(torch.int32), stable=True)
    bounds = torch.arange(num_states + 1, dtype=torch.int32, device=by.device)
    offsets = torch.searchsorted(keys, bounds, out_int32=True)
    return offsets, arcs.to(torch.int32), (other + first).index_select(0, arcs).to(torch.int32)


def sort_by_label(
    state_offsets: Tensor, offsets: Tensor, arcs: Tensor, states: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The arcs of each state, their other ends and their labels, in order of these; all int32."""
    if not library.on_gpu(arcs):
        return _sort_by_label(state_offsets, offsets, arcs, states, labels)
    by_position = labels.index_select(0, arcs)
    owner = spread(offsets, arcs.shape[0])
    _, places = torch.sort((owner << 32) + (by_position.long() + 2**31), stable=True)
    sorted_arcs, sorted_states = (t.index_select(0, places) for t in (arcs, states))
    return sorted_arcs, sorted_states, by_position.index_select(0, places)


def by_depth(state_offsets: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """The states of each graph by depth, int32 [states], and what they are sorted by."""
    keys = (spread(state_offsets, depth.shape[0]) << 32) + depth
    keys, order = torch.sort(keys, stable=True)
    return order.to(torch.int32), keys


def in_layers(state_offsets: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """`by_depth`, and where the layer of each position begins and ends, int32 [2, states]."""
    order, keys = by_depth(state_offsets, depth)
    bounds = [
        torch.searchsorted(keys, keys, right=right, out_int32=True) for right in (False, True)
    ]
    return order, torch.stack(bounds)
