"""The same automaton with its states or arcs in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._ops import library
from gtnet.connect import gathered
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


def top_sort(graph: Graph | Lattice) -> Graph:
    """The same automaton with states numbered so that arcs lead from lower to higher numbers.

    Arcs are ordered by source, and stay in order within a state. Where all arcs of a graph lead to
    higher numbers already, states keep their numbers; otherwise they are ordered by the longest
    path to them. Raises ValueError for a cyclic graph. Complexity: O(states log states + arcs).
    Gradient: that of a gather. Source: Kahn 1962.
    """
    graph = built("top_sort", "graph", graph)
    _checks.served("top_sort", "graph", graph.weights)
    topology = graph.topology
    topology.walk("top_sort")  # refuses cycles
    leaving = topology.leaving
    numbers = torch.arange(graph.num_states, dtype=torch.int32, device=graph.device)
    order = _forward(topology, numbers)
    counts = leaving.offsets.diff().index_select(0, order)
    source = torch.repeat_interleave(numbers, counts, output_size=graph.num_arcs)
    arcs, target = leaving.arcs, leaving.states
    if order is not numbers:
        place = torch.empty_like(order).index_copy_(0, order.long(), numbers)
        moved = leaving.offsets.index_select(0, order) - (counts.cumsum(0) - counts)
        at = torch.arange(graph.num_arcs, device=graph.device) + moved.index_select(0, source)
        arcs = arcs.index_select(0, at)
        target = place.index_select(0, target.index_select(0, at))
    if len(graph) > 1:
        first = topology.state_offsets.index_select(0, topology.graph_of_arc)
        source, target = ((ends - first).int() for ends in (source, target))
    return _arranged(graph, arcs, order, source, target)


def arc_sort(graph: Graph | Lattice, by: Literal["ilabels", "olabels"] = "ilabels") -> Graph:
    """The same automaton with arcs ordered by source, then by label.

    Arcs of equal labels stay in order, EPSILON comes first. No operation of gtnet requires sorted
    arcs. Raises ValueError for another key. Complexity: O(arcs log degree). Gradient: that of a
    gather.
    """
    graph = built("arc_sort", "graph", graph)
    _checks.served("arc_sort", "graph", graph.weights)
    if by not in ("ilabels", "olabels"):
        raise ValueError(f'arc_sort: by must be "ilabels" or "olabels", got {by!r}')
    topology = graph.topology
    sorted_ = topology.leaving_by_ilabel if by == "ilabels" else topology.leaving_by_olabel
    states = torch.arange(graph.num_states, dtype=torch.int32, device=graph.device)
    arcs = sorted_.arcs
    source, target = (t.index_select(0, arcs) for t in (topology.source, topology.target))
    return _arranged(graph, arcs, states, source, target)


def _forward(topology: Topology, numbers: Tensor) -> Tensor:
    """The states of each graph, unchanged if all arcs lead forward, else by the longest path to
    each; int32 [states], `numbers` itself where nothing moves, except on a GPU.
    """
    looks = not (library.on_gpu(numbers) or torch.compiler.is_compiling())
    if looks and torch.equal(topology.order_and_cycles[0], numbers):
        return numbers
    leaving = topology.leaving
    ends = (topology.state_offsets, topology.entering.offsets, leaving.offsets, leaving.states)
    back = (topology.target <= topology.source).int()
    backward = torch.zeros_like(topology.arc_offsets[1:], dtype=torch.int32)
    backward = backward.index_add(0, topology.graph_of_arc, back) > 0
    depth = torch.where(backward[topology.graph_of_state], _ops.depths(*ends), numbers)
    return _ops.by_depth(topology.state_offsets, depth)[0]


def _arranged(graph: Graph, arcs: Tensor, states: Tensor, source: Tensor, target: Tensor) -> Graph:
    topology = graph.topology
    ilabels = topology.ilabels.index_select(0, arcs)
    olabels = ilabels if graph.is_acceptor else topology.olabels.index_select(0, arcs)
    offsets = (topology.state_offsets, topology.arc_offsets)
    arranged = Topology(*offsets, source, target, ilabels, olabels, graph.num_states)
    return gathered(arranged, (graph,), (arcs,), (states,))
