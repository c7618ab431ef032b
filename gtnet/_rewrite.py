"""Parts that the simplifying rewrites share: choosing arcs, trimming, path sums with cycles."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet.compose import connect
from gtnet.graph import Graph
from gtnet.topology import Topology

Semiring = Literal["log", "tropical"]
Merge = Literal["auto", "identical", "equal"]


def prepared(function: str, graph: object, semiring: str) -> Graph:
    """The graph, after checks of the type, of the device and of the name of the semiring."""
    _checks.graph(function, "graph", graph)
    assert isinstance(graph, Graph)
    _checks.on_cpu(function, "graph", graph.weights, "work there, then move the result with .to()")
    if semiring not in ("log", "tropical"):
        raise ValueError(f'{function}: semiring must be "log" or "tropical", got {semiring!r}')
    return graph


def merges_identical(function: str, graph: Graph, merge: str) -> bool:
    """Whether states are merged only where their scores also agree to first order."""
    if merge not in ("auto", "identical", "equal"):
        raise ValueError(f'{function}: merge must be "auto", "identical" or "equal", got {merge!r}')
    learning = torch.is_grad_enabled() and graph.requires_grad
    return merge == "identical" or (merge == "auto" and learning)


def epsilon_arcs(graph: Graph) -> Tensor:
    """Which arcs neither read nor write, bool [arcs]."""
    return (graph.ilabels == EPSILON) & (graph.olabels == EPSILON)


def with_arcs(graph: Graph, keep: Tensor) -> Graph:
    """The same states with the arcs that `keep` marks; `arc_maps` names them."""
    topology = graph.topology
    arcs = keep.nonzero().flatten()
    before = torch.cat([keep.new_zeros(1, dtype=torch.int64), keep.cumsum(0)])
    ilabels = topology.ilabels[arcs]
    kept = Topology(
        topology.state_offsets,
        before[topology.arc_offsets],
        topology.source[arcs],
        topology.target[arcs],
        ilabels,
        ilabels if topology.ilabels is topology.olabels else topology.olabels[arcs],
        topology.num_states,
    )
    index = arcs.to(torch.int32)
    states = torch.arange(topology.num_states, dtype=torch.int32)
    return Graph.from_topology(
        kept,
        _ops.take(graph.weights, index),
        graph.start,
        graph.accept,
        arc_maps=(index,),
        state_maps=(states,),
    )


def traced(graph: Graph, before: Graph) -> Graph:
    """`graph`, which was made from `before`, with the maps back to what `before` was made from."""
    if before.arc_maps is not None and graph.arc_maps is not None:
        graph.arc_maps = tuple(_through(graph.arc_maps[0], old) for old in before.arc_maps)
    if before.state_maps is not None and graph.state_maps is not None:
        graph.state_maps = tuple(_through(graph.state_maps[0], old) for old in before.state_maps)
    return graph


def _through(new: Tensor, old: Tensor) -> Tensor:
    if not len(old):
        return new
    return torch.where(new >= 0, old[new.clamp(min=0).long()], new)


def trimmed(graph: Graph) -> Graph:
    """The graph without impossible arcs (score -inf) and without what lies on no accepting path."""
    possible = graph.weights.detach() > NEG_INF
    if bool(possible.all()):
        return connect(graph)
    some = with_arcs(graph, possible)
    return traced(connect(some), some)


def path_sums(
    function: str, graph: Graph, semiring: Semiring, *, to_accept: bool = False
) -> Tensor:
    """The sum of all paths from the start to each state (or on to acceptance), float64 [states].

    Raises ValueError where the sum over a cycle diverges, naming the graph and the component.
    """
    topology = graph.topology
    entering = topology.leaving if to_accept else topology.entering
    seeds = graph.accept if to_accept else graph.start
    sums, divergent = _ops.closed_distance(
        graph.weights.double(),
        seeds.double(),
        topology.state_offsets,
        entering.by_state(),
        tropical=semiring == "tropical",
    )
    if bool((divergent >= 0).any()):
        item = int((divergent >= 0).nonzero()[0])
        state = int(divergent[item] - topology.state_offsets[item])
        raise ValueError(f"{function}: graph {item} {divergence(semiring)} through state {state}")
    return sums


def divergence(semiring: Semiring) -> str:
    """What is wrong with a cycle whose paths have no finite sum."""
    if semiring == "tropical":
        return "has no best path: the score is positive around a cycle of the component"
    return "has paths without a finite sum: it diverges in the component of the cycles"


def segment_sums(values: Tensor, segment: Tensor, size: int, semiring: Semiring) -> Tensor:
    """The sum of the values of each segment, [size]; -inf for an empty one. Differentiable."""
    largest = values.detach().new_full((size,), NEG_INF)
    largest = largest.scatter_reduce(0, segment, values.detach(), "amax")
    if semiring == "tropical":
        first = torch.full((size,), len(values))
        best = (values.detach() == largest[segment]).nonzero().flatten()
        first = first.scatter_reduce(0, segment[best], best, "amin")
        there = first < len(values)
        index = torch.where(there, first, -1).to(torch.int32)
        return _ops.take(values, index).masked_fill(~there, NEG_INF)
    base = largest.masked_fill(largest == NEG_INF, 0)
    total = values.new_zeros(size).index_add(0, segment, (values - base[segment]).exp())
    empty = total == 0
    return (total.masked_fill(empty, 1).log() + base).masked_fill(empty, NEG_INF)
