"""Strongly connected components as states."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet._memory import choosing
from gtnet._rewrite import Semiring, prepared, segment_sums, with_arcs
from gtnet.graph import Graph
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Condensed(NamedTuple):
    """An acyclic graph, and the state of it (numbered through the batch) that each state became."""

    graph: Graph
    state_of_state: Tensor


@choosing
def condense(graph: Graph | Lattice, *, semiring: Semiring = "log") -> Condensed:
    """The acyclic graph whose states are the strongly connected components, with the arcs between.

    Two states are in one component if paths lead from each to the other. Arcs inside a component
    are dropped, so the language changes; what stays is which part leads to which.

    Arguments: any graph; `semiring` sums the start and accept scores of a component, "tropical"
    takes the best.
    Result: `graph`, in topological order, whose `arc_maps` names the arcs kept and whose
    `state_maps` one state of each component; `state_of_state` int64 [states].
    Raises ValueError on a GPU. Complexity: O(states + arcs). Gradient: a gather, and sums of start
    and accept scores; any number of derivatives.
    Source: Tarjan 1972; OpenFst's Condense.
    """
    graph = prepared("condense", graph, semiring)
    topology = graph.topology
    order, _, bounds = topology.components
    opens = torch.ones(graph.num_states, dtype=torch.bool)
    sizes = (bounds[:, 1] - bounds[:, 0]).long() - 1
    inside = torch.repeat_interleave(bounds[:, 0].long() + 1 - (sizes.cumsum(0) - sizes), sizes)
    opens[inside + torch.arange(len(inside))] = False
    numbers = opens.cumsum(0)
    became = torch.empty(graph.num_states, dtype=torch.int64)
    became[order.long()] = numbers - 1
    first = order[opens]
    offsets = torch.cat([numbers.new_zeros(1), numbers])[topology.state_offsets]
    between = with_arcs(graph, became[topology.global_source] != became[topology.global_target])
    kept = between.topology
    origin = offsets[kept.graph_of_arc]
    start, accept = (
        segment_sums(scores.double(), became, len(first), semiring).to(graph.dtype)
        for scores in (graph.start, graph.accept)
    )
    condensed = Graph.from_topology(
        Topology(
            offsets,
            kept.arc_offsets,
            (became[kept.global_source] - origin).to(torch.int32),
            (became[kept.global_target] - origin).to(torch.int32),
            kept.ilabels,
            kept.olabels,
            len(first),
        ),
        between.weights,
        start,
        accept,
        arc_maps=between.arc_maps,
        state_maps=(first,),
    )
    return Condensed(condensed, became)
