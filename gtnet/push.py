"""Weights and outputs moved along the paths of an automaton, towards its start or its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._chains import Units, chained
from gtnet._checks import EPSILON, NEG_INF
from gtnet._maps import traced
from gtnet._memory import named, unmapped
from gtnet._ordinary import ordinary_tensors
from gtnet._rewrite import Semiring, only, path_sums, prepared, segment_sums, trimmed
from gtnet.graph import Graph
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_MORE_ARCS = 10_000_000


@named
def push(
    graph: Graph | Lattice,
    *,
    what: Literal["weights", "labels"] = "weights",
    to: Literal["start", "accept"] = "start",
    semiring: Semiring = "log",
    remove: bool = False,
    max_arcs: int | None = None,
) -> Graph:
    """The same automaton with its scores, or outputs, moved to the start or to the end of paths.

    Weights: with d(s) the sum of the paths from s to acceptance, an arc s → t gets
    weight + d(t) - d(s), so that the paths from each state sum to 0 (in the log semiring: a
    probability distribution) and start scores hold the rest. `to="accept"` does the same from the
    other side. The score of every accepting path stays; scores that lie on none have no meaning.

    Labels: a transducer writes each output as early (or late) as all paths through a state agree
    on it. Where an arc, or the start of a path, then writes several labels, arcs that read EPSILON
    are inserted. What each path reads, writes and scores stays.

    Arguments: any graph, cycles included; `semiring` matters to weights, `max_arcs` to labels: how
    many the chains may have, by default 10,000,000 more than the graph has. `remove` takes away
    what is pushed to the end of all paths: the sum of all of them, so that it becomes 0, or the
    output that all begin (to="accept": end) with.
    Result: for weights the same states and arcs with new scores; for labels a trimmed graph, whose
    `arc_maps` and `state_maps` are -1 on what was inserted.
    Raises ValueError where the paths around a cycle have no finite sum (a cycle that no accepting
    path takes does not count); beyond `max_arcs`; on a GPU, where weights of acyclic graphs are
    pushed, for labels and cycles.
    Complexity: weights O(states + arcs), k³ more for a component of k states on cycles; labels
    O(arcs · length of the common prefixes) on acyclic graphs.
    Gradient: to all scores, through the sums; of a gather for labels; any number of derivatives.
    Source: Mohri 2009, "Weighted Automata Algorithms", section 7.1; Mohri 2000, "Minimization
    algorithms for sequential transducers", for labels.
    """
    graph = prepared("push", graph, semiring, on_gpu=what == "weights")
    if to not in ("start", "accept"):
        raise ValueError(f'push: to must be "start" or "accept", got {to!r}')
    if what not in ("weights", "labels"):
        raise ValueError(f'push: what must be "weights" or "labels", got {what!r}')
    if what == "weights":
        result = pushed("push", graph, semiring, to)
        return _without_total(result, semiring, to) if remove else result
    unmapped("push", graph)
    useful = trimmed(graph)
    if max_arcs is None:
        max_arcs = min(_MORE_ARCS + useful.num_arcs, _checks.LARGEST)
    max_arcs = _checks.count("push", "max_arcs", max_arcs)
    if to == "start":
        return traced(_labels_to_start(useful, max_arcs, remove), useful)
    return traced(_turned(_labels_to_start(_turned(useful), max_arcs, remove)), useful)


def _without_total(graph: Graph, semiring: Semiring, to: Literal["start", "accept"]) -> Graph:
    """Pushed scores whose sum is 0 for each item that has a path."""
    owner = graph.topology.graph_of_state
    ends = graph.start if to == "start" else graph.accept
    total = segment_sums(ends.double(), owner, len(graph), semiring)
    total = total.masked_fill(total.detach() == NEG_INF, 0)
    ends = (ends.double() - total[owner]).to(graph.dtype)
    start, accept = (ends, graph.accept) if to == "start" else (graph.start, ends)
    return Graph.from_topology(
        graph.topology,
        graph.weights,
        start,
        accept,
        arc_maps=graph.arc_maps,
        state_maps=graph.state_maps,
    )


def _turned(graph: Graph) -> Graph:
    """The reversed graph."""
    t = graph.topology
    turned = Topology(
        t.state_offsets, t.arc_offsets, t.target, t.source, t.ilabels, t.olabels, t.num_states
    )
    return Graph.from_topology(
        turned,
        graph.weights,
        graph.accept,
        graph.start,
        arc_maps=graph.arc_maps,
        state_maps=graph.state_maps,
    )


def _labels_to_start(graph: Graph, max_arcs: int, remove: bool) -> Graph:
    """Outputs written as early as they are certain; `graph` is trimmed."""
    topology = graph.topology
    starting = graph.start.detach() > NEG_INF
    arc_begin, arc_labels, state_begin, state_labels = _ops.push_labels(
        topology.state_offsets,
        *topology.leaving.by_state(),
        *topology.entering.by_state(),
        topology.olabels.contiguous(),
        starting,
        graph.accept.detach() > NEG_INF,
        max_arcs,
    )
    certain = state_begin.diff()
    if remove:
        shared = _shared_by_starts(graph, starting, state_begin, state_labels)
        certain, state_begin = certain - shared, state_begin[:-1] + shared
    first = (starting & (certain > 0)).nonzero().flatten()
    chains = int(arc_begin.diff().clamp(min=1).sum()) + int(certain.sum())
    if chains > max_arcs:
        raise ValueError(
            f"push: the chains that write what is certain have {chains} arcs, more than "
            f"max_arcs={max_arcs}: push weights only, or raise max_arcs (about 200 bytes each)"
        )
    units = Units(
        graph=torch.cat([topology.graph_of_arc, topology.graph_of_state[first]]),
        source=torch.cat([topology.global_source, torch.full_like(first, -1)]),
        target=torch.cat([topology.global_target, first]),
        ilabels=torch.cat([topology.ilabels, topology.ilabels.new_full((len(first),), EPSILON)]),
        begin=torch.cat([arc_begin[:-1], state_begin[first] + len(arc_labels)]),
        length=torch.cat([arc_begin.diff(), certain[first]]),
        outputs=torch.cat([arc_labels, state_labels]),
        weights=torch.cat([graph.weights, graph.start[first]]),
    )
    start = graph.start.index_fill(0, first, NEG_INF)
    result = chained("push", units, topology.state_offsets, start, graph.accept)
    assert result.arc_maps is not None
    made = result.arc_maps[0] >= graph.num_arcs
    result.arc_maps = ordinary_tensors(result.arc_maps[0].masked_fill(made, -1))
    return result


def _shared_by_starts(graph: Graph, starting: Tensor, begin: Tensor, labels: Tensor) -> Tensor:
    """How many labels all paths of the item of each state begin with, int64 [states]."""
    owner = graph.topology.graph_of_state
    states = starting.nonzero().flatten()
    first: dict[int, Tensor] = {}
    shared: dict[int, int] = {}
    for state, item in zip(states.tolist(), owner[states].tolist()):
        string = labels[begin[state] : begin[state + 1]]
        front = first.setdefault(item, string)
        most = min(len(string), shared.get(item, len(string)))
        differs = (front[:most] != string[:most]).nonzero()
        shared[item] = int(differs[0]) if len(differs) else most
    of_item = torch.tensor([shared.get(item, 0) for item in range(len(graph))], dtype=torch.int64)
    return of_item[owner].masked_fill(~starting, 0)


def pushed(
    function: str,
    graph: Graph,
    semiring: Semiring,
    to: Literal["start", "accept"] = "start",
    by_best: Tensor | None = None,
    left: Tensor | None = None,
) -> Graph:
    """`push` after its checks; errors name `function`.

    `by_best` bool [batch] marks items whose paths are not summed: the best one counts there; `left`
    those that stay as they are.
    """
    moving = graph if left is None or not bool(left.any()) else only(graph, ~left)
    potential = _potential(function, moving, semiring, to, by_best)
    if to == "accept":
        potential = -potential
    topology = graph.topology
    weights = graph.weights.double()
    weights = weights + potential[topology.global_target] - potential[topology.global_source]
    pushed_graph = Graph.from_topology(
        topology,
        weights.to(graph.dtype),
        (graph.start.double() + potential).to(graph.dtype),
        (graph.accept.double() - potential).to(graph.dtype),
    )
    arcs, states = (
        torch.arange(count, dtype=torch.int32, device=graph.device)
        for count in (graph.num_arcs, graph.num_states)
    )
    pushed_graph.arc_maps = ordinary_tensors(arcs)
    pushed_graph.state_maps = ordinary_tensors(states)
    return pushed_graph


def _potential(
    function: str,
    graph: Graph,
    semiring: Semiring,
    to: Literal["start", "accept"],
    by_best: Tensor | None,
) -> Tensor:
    """The sum of the parts of accepting paths on one side of each state; any number elsewhere."""
    if by_best is not None and semiring == "log" and bool(by_best.any()):
        best = _potential(function, only(graph, by_best), "tropical", to, None)
        if bool(by_best.all()):
            return best
        return best + _potential(function, only(graph, ~by_best), "log", to, None)
    sums = path_sums(function, graph, semiring, to_accept=to == "start", accepting=True)
    return sums.masked_fill(sums == NEG_INF, 0)
