"""Arcs that write strings, expanded into chains of arcs that write one label each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Topology


class Units(NamedTuple):
    """Arcs that write any number of labels: unit u writes outputs[begin[u]] ... length[u] of them.

    States are numbered through the batch; a source or a target of -1 is a state made for the
    unit, in which paths begin or end with score 0.
    """

    graph: Tensor  # int64 [units]
    source: Tensor  # int64 [units]
    target: Tensor  # int64 [units]
    ilabels: Tensor  # int32 [units]
    begin: Tensor  # int64 [units]
    length: Tensor  # int64 [units]
    outputs: Tensor  # int32
    weights: Tensor  # [units]


def chained(
    function: str, units: Units, state_offsets: Tensor, start: Tensor, accept: Tensor
) -> Graph:
    """The given states and a chain of arcs for each unit, whose first arc reads and has the weight.

    Result: `arc_maps` names the unit of the first arc of each chain, `state_maps` the given state;
    both are -1 for what is new. Complexity: O(states + new arcs).
    """
    order = torch.argsort(units.graph, stable=True)
    arcs = units.length.clamp(min=1)[order]
    unit = torch.repeat_interleave(order, arcs)
    _checks.countable(function, "arcs", len(unit))
    step = torch.arange(len(unit)) - torch.repeat_interleave(arcs.cumsum(0) - arcs, arcs)
    first = step == 0
    last = step + 1 == units.length.clamp(min=1)[unit]
    graph = units.graph[unit]

    # The states made for an arc: the one it leads to, then the one it leaves.
    ahead = ~last | (units.target[unit] < 0)
    behind = first & (units.source[unit] < 0)
    made_before = torch.cat([step.new_zeros(1), (ahead.long() + behind).cumsum(0)])
    arc_offsets = torch.searchsorted(graph, torch.arange(len(state_offsets)))
    shift = made_before[arc_offsets]
    new_offsets = state_offsets + shift
    made = (state_offsets.diff() - shift[:-1])[graph] + made_before[:-1]
    origin = state_offsets[graph]
    source = torch.where(behind, made + ahead, units.source[unit] - origin)
    previous = torch.cat([made.new_zeros(1), made])[: len(made)]
    source = torch.where(first, source, previous)
    target = torch.where(ahead, made, units.target[unit] - origin)
    writes = units.length[unit] > 0
    silent = units.outputs.new_full((1,), EPSILON)
    place = torch.where(writes, units.begin[unit] + step, len(units.outputs))
    topology = Topology(
        new_offsets,
        arc_offsets,
        source.to(torch.int32),
        target.to(torch.int32),
        torch.where(first, units.ilabels[unit], EPSILON),
        torch.cat([units.outputs, silent])[place],
        int(new_offsets[-1]),
    )
    graph_of_state = torch.repeat_interleave(state_offsets.diff())
    kept = torch.arange(len(start)) + shift[graph_of_state]
    beginning = (new_offsets[graph] + made + ahead)[behind]
    ending = (new_offsets[graph] + made)[last & ahead]

    def scores(given: Tensor, of_made: Tensor) -> Tensor:
        fresh = given.new_full((topology.num_states,), NEG_INF)
        return fresh.index_fill(0, of_made, 0).index_put((kept,), given)

    arc_map = torch.where(first, unit, -1).to(torch.int32)
    state_map = torch.full((topology.num_states,), -1, dtype=torch.int32)
    state_map[kept] = torch.arange(len(start), dtype=torch.int32)
    return Graph.from_topology(
        topology,
        _ops.take(units.weights, arc_map),
        scores(start, beginning),
        scores(accept, ending),
        arc_maps=(arc_map,),
        state_maps=(state_map,),
    )
