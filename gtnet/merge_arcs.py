"""One arc in place of all those between two states that have the same labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._memory import choosing
from gtnet._rewrite import label_keys, segment_sums
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

How = Literal["sum", "max", "unique"]


@choosing
def merge_arcs(graph: Graph | Lattice, how: How = "sum") -> Graph:
    """The same states with one arc for all that have the same source, target and labels.

    Arguments: `how`: "sum" gives it the log-sum of their scores, so that every string keeps its
    forward score; "max" the best, so that every string keeps its best path; "unique" merges only
    arcs whose scores are equal too, which then count once.
    Result: arcs in the order of the first of each; `arc_maps` names one of those merged (for "max"
    the best), `state_maps` the states. Arcs of score -inf are arcs.
    Raises ValueError if `how` is anything else.
    Complexity: O(arcs log arcs). Gradient: of a log-sum, or to the arc that is named; any number of
    derivatives.
    Source: OpenFst's ArcSumMapper and ArcUniqueMapper.
    """
    graph = built("merge_arcs", "graph", graph)
    _checks.served("merge_arcs", "graph", graph.weights)
    if how not in ("sum", "max", "unique"):
        raise ValueError(f'merge_arcs: how must be "sum", "max" or "unique", got {how!r}')
    return merged(graph, how)


def merged(graph: Graph, how: How) -> Graph:
    """`merge_arcs` of what is checked."""
    topology, device = graph.topology, graph.device
    columns = [topology.global_source, topology.global_target, label_keys(graph).long()]
    scores = graph.weights.detach().double()
    if how == "unique":
        columns.append(scores)
    group, size = _groups(columns)
    arcs = torch.arange(graph.num_arcs, device=device)
    first = _smallest(arcs, group, size)
    if how == "max":
        best = segment_sums(scores, group, size, "tropical")
        named = _smallest(arcs.masked_fill(scores != best[group], graph.num_arcs), group, size)
    else:
        named = first
    first, order = first.sort()
    named = named[order].to(torch.int32)
    if how == "sum":
        weights = segment_sums(graph.weights.double(), group, size, "log")[order].to(graph.dtype)
    else:
        weights = _ops.take(graph.weights, named)
    ilabels = topology.ilabels[first]
    return Graph.from_topology(
        Topology(
            topology.state_offsets,
            torch.searchsorted(first, topology.arc_offsets),
            topology.source[first],
            topology.target[first],
            ilabels,
            ilabels if graph.is_acceptor else topology.olabels[first],
            topology.num_states,
        ),
        weights,
        graph.start,
        graph.accept,
        arc_maps=(named,),
        state_maps=(torch.arange(graph.num_states, dtype=torch.int32, device=device),),
    )


def _groups(columns: list[Tensor]) -> tuple[Tensor, int]:
    """The number of each row among the distinct ones, int64, and how many there are.

    Column by column: several sorts of numbers are faster than one of rows.
    """
    group, size = torch.zeros_like(columns[0]), 1
    for column in columns:
        distinct, number = column.unique(return_inverse=True)
        kinds, group = (group * len(distinct) + number).unique(return_inverse=True)
        size = len(kinds)
    return group, size


def _smallest(numbers: Tensor, group: Tensor, size: int) -> Tensor:
    """The smallest number of each group, int64 [size]."""
    return numbers.new_full((size,), len(numbers)).scatter_reduce(0, group, numbers, "amin")
