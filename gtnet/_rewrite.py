"""What the simplifying rewrites share: selecting arcs, trimming, path sums with cycles."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._maps import traced
from gtnet.connect import connect
from gtnet.distance import best_sums, useful_part
from gtnet.graph import Graph, built, learnt
from gtnet.topology import Topology

Semiring = Literal["log", "tropical"]
Merge = Literal["auto", "identical", "equal"]


def prepared(function: str, graph: object, semiring: str, *, on_gpu: bool = False) -> Graph:
    """The graph, after checks of the type, of the device and of the name of the semiring."""
    graph = built(function, "graph", graph)
    if on_gpu:
        _checks.served(function, "graph", graph.weights)
    else:
        why = "work there, then move the result with .to()"
        _checks.on_cpu(function, "graph", graph.weights, why)
    if semiring not in ("log", "tropical"):
        raise ValueError(f'{function}: semiring must be "log" or "tropical", got {semiring!r}')
    return graph


def merges_identical(function: str, graph: Graph, merge: str) -> bool:
    """Whether states are merged only where their scores also agree to first order."""
    if merge not in ("auto", "identical", "equal"):
        raise ValueError(f'{function}: merge must be "auto", "identical" or "equal", got {merge!r}')
    learning = learnt(graph)
    return merge == "identical" or (merge == "auto" and learning)


def epsilon_arcs(graph: Graph) -> Tensor:
    """Which arcs neither read nor write, bool [arcs]."""
    return (graph.ilabels == EPSILON) & (graph.olabels == EPSILON)


def label_keys(graph: Graph) -> Tensor:
    """A number for the pair of labels of each arc, int32 [arcs]."""
    return graph.ilabels if graph.is_acceptor else graph.topology.pair_labels[0]


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
    states = torch.arange(topology.num_states, dtype=torch.int32, device=arcs.device)
    return Graph.from_topology(
        kept,
        _ops.take(graph.weights, index),
        graph.start,
        graph.accept,
        arc_maps=(index,),
        state_maps=(states,),
    )


def only(graph: Graph, items: Tensor) -> Graph:
    """The batch with no paths in the items that are not marked, bool [batch]."""
    others = ~items[graph.topology.graph_of_state]
    return graph.with_weights(
        start=graph.start.masked_fill(others, NEG_INF),
        accept=graph.accept.masked_fill(others, NEG_INF),
    )


def items_with(graph: Graph, arcs: Tensor) -> Tensor:
    """Which items hold one of the arcs that are marked, bool [batch]."""
    found = torch.zeros(len(graph), dtype=torch.bool)
    return found.index_fill(0, graph.topology.graph_of_arc[arcs], True)


def arcs_on_cycles(graph: Graph) -> Tensor:
    """Which arcs lie on a cycle, bool [arcs]."""
    topology = graph.topology
    if not topology.is_cyclic:
        return torch.zeros(graph.num_arcs, dtype=torch.bool)
    order, _, bounds = topology.components
    sizes = (bounds[:, 1] - bounds[:, 0]).long()
    numbers = torch.repeat_interleave(sizes)
    place = torch.arange(len(numbers)) - (sizes.cumsum(0) - sizes)[numbers]
    component = torch.full((graph.num_states,), -1)
    component[order[bounds[:, 0].long()[numbers] + place].long()] = numbers
    source, target = component[topology.global_source], component[topology.global_target]
    return (source == target) & (source >= 0)


def trimmed(graph: Graph) -> Graph:
    """The graph without impossible arcs (score -inf) and whatever lies on no accepting path."""
    possible = graph.weights.detach() > NEG_INF
    if bool(possible.all()):
        return connect(graph)
    some = with_arcs(graph, possible)
    return traced(connect(some), some)


def path_sums(
    function: str,
    graph: Graph,
    semiring: Semiring,
    *,
    to_accept: bool = False,
    accepting: bool = False,
    instead: str = 'take semiring="tropical", which keeps the best path',
) -> Tensor:
    """The sum of all paths from the start to each state (or on to acceptance), float64 [states].

    `accepting` takes parts of accepting paths only, in cyclic graphs. Differentiable any number of
    times; a tropical tie goes to one of the best. Raises ValueError where the sum over a cycle
    diverges, naming the graph, a state of the component and, where paths have a best one, what to
    do `instead`.
    """
    exact = useful_part(
        graph.to(torch.float64),
        from_start=accepting or not to_accept,
        to_accept=accepting or to_accept,
    )
    seeds, ends = (exact.accept, exact.start) if to_accept else (exact.start, exact.accept)
    if semiring == "tropical":
        return best_sums(function, exact, to_accept=to_accept)
    walk = exact.topology.cyclic_walk(function, reverse=to_accept, both_ways=learnt(exact))
    try:
        return _ops.log_distance(exact.weights, seeds, ends, walk)[0]
    except _checks.DivergentError as error:
        if not with_best_paths(exact.detach(), to_accept=to_accept)[error.graph]:
            raise
        raise ValueError(f"{error}, or {instead}") from None


class Through(NamedTuple):
    """The sum of the accepting paths that take each arc [arcs], that visit, start and end in each
    state [states], and of all [batch]; float64.
    """

    arcs: Tensor
    states: Tensor
    start: Tensor
    accept: Tensor
    total: Tensor


def through(function: str, graph: Graph, semiring: Semiring, instead: str = "") -> Through:
    """What the accepting paths through each place sum to; raises as `path_sums`."""
    topology, here = graph.topology, useful_part(graph.to(torch.float64))
    before = path_sums(function, here, semiring, instead=instead)
    after = path_sums(function, here, semiring, to_accept=True, instead=instead)
    ending = before + here.accept
    return Through(
        before[topology.global_source] + here.weights + after[topology.global_target],
        before + after,
        here.start + after,
        ending,
        segment_sums(ending, topology.graph_of_state, len(graph), semiring),
    )


def with_best_paths(graph: Graph, *, to_accept: bool = False) -> Tensor:
    """Which items have no cycle of positive score where paths lead, bool [batch]."""
    if not graph.topology.is_cyclic:
        return torch.ones(len(graph), dtype=torch.bool)
    exact = graph.to(torch.float64)
    seeds = exact.accept if to_accept else exact.start
    walk = exact.topology.cyclic_walk("", reverse=to_accept, sums=False)
    return _ops.best_exists(exact.weights.detach().contiguous(), seeds.detach().contiguous(), walk)


def segment_sums(values: Tensor, segment: Tensor, size: int, semiring: Semiring) -> Tensor:
    """The sum of the values of each segment, [size]; -inf for an empty one. Differentiable."""
    largest = values.detach().new_full((size,), NEG_INF)
    largest = largest.scatter_reduce(0, segment, values.detach(), "amax")
    if semiring == "tropical":
        place = torch.arange(len(values), device=values.device)
        place = place.masked_fill(values.detach() != largest[segment], len(values))
        first = torch.full((size,), len(values), device=values.device)
        first = first.scatter_reduce(0, segment, place, "amin")
        there = first < len(values)
        index = torch.where(there, first, -1).to(torch.int32)
        return _ops.take(values, index).masked_fill(~there, NEG_INF)
    base = largest.masked_fill(largest == NEG_INF, 0)
    total = _ops.total_by(segment.to(torch.int32), (values - base[segment]).exp(), size)
    empty = total == 0
    return (total.masked_fill(empty, 1).log() + base).masked_fill(empty, NEG_INF)
