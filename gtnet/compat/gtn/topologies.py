"""Operations whose results have the very nodes and arcs that gtn gives them.

gtnet's own keep the language and take fewer epsilons. Programs for gtn see the difference: they
count nodes, and `removed` drops weights, so that it matters which epsilons there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

import gtnet
from gtnet._checks import NEG_INF
from gtnet.compat.gtn.growing import single


def joined(*graphs: gtnet.Graph) -> gtnet.Graph:
    """The concatenation: an epsilon from every accepting node to every start node of the next.

    Nodes and arcs stand in the order of the graphs; the epsilons into a graph follow its arcs.
    """
    parts: list[tuple[Tensor, ...]] = []
    before, first = None, 0
    for graph in graphs:
        parts.append(_arcs(graph, first))
        if before is not None:
            ends, starts = _nodes(before.accept), _nodes(graph.start)
            left = ends.repeat_interleave(len(starts))
            right = starts.repeat(len(ends))
            scores = before.accept[left] + graph.start[right]
            parts.append(_epsilons(left + first - before.num_states, right + first, scores))
        before, first = graph, first + graph.num_states
    no = [torch.full_like(graph.start, NEG_INF) for graph in graphs]
    start = torch.cat([graphs[0].start, *no[1:]])
    accept = torch.cat([*no[:-1], graphs[-1].accept])
    return _built(parts, [0, *range(1, len(parts), 2)], start, accept)


def closed(graph: gtnet.Graph) -> gtnet.Graph:
    """The closure: a new node 0 starts and accepts; epsilons lead to the old start nodes, and from
    the old accepting nodes back to it.
    """
    starts, ends = _nodes(graph.start), _nodes(graph.accept)
    zeros = torch.zeros_like
    parts = [
        _arcs(graph, 1),
        _epsilons(zeros(starts), starts + 1, graph.start[starts]),
        _epsilons(ends + 1, zeros(ends), graph.accept[ends]),
    ]
    scores = graph.start.new_full((graph.num_states + 1,), NEG_INF)
    scores[0] = 0
    return _built(parts, [0], scores, scores)


def removed(graph: gtnet.Graph, ilabel: int, olabel: int) -> gtnet.Graph:
    """The graph without the arcs that read `ilabel` and write `olabel`, and without weights.

    A node has, for all nodes that such arcs lead to from it, their other arcs, and accepts if one
    of these nodes accepts. Nodes go that only such arcs lead to, and that do not start.
    Complexity: O(arcs) and that of the pairs of a node and one that it reaches by such arcs.
    """
    source, target, reads, writes = (
        column.cpu().numpy()
        for column in (graph.source, graph.target, graph.ilabels, graph.olabels)
    )
    starts, accepts = (scores.cpu().numpy() > NEG_INF for scores in (graph.start, graph.accept))
    silent = (reads == ilabel) & (writes == olabel)
    kept = starts | (np.bincount(target[~silent], minlength=graph.num_states) > 0)
    origins, nodes = _reached(np.flatnonzero(kept), source[silent], target[silent])
    number = np.cumsum(kept) - 1

    arcs = np.flatnonzero(~silent)
    arcs = arcs[np.argsort(source[arcs], kind="stable")]
    first = np.searchsorted(source[arcs], np.arange(graph.num_states + 1))
    counts = np.diff(first)[nodes]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = arcs[np.repeat(first[nodes], counts) + within]

    def columns(*arrays: np.ndarray) -> list[Tensor]:
        return [torch.from_numpy(a.astype(np.int32)).to(graph.device) for a in arrays]

    from_, to, ilabels, olabels = columns(
        number[np.repeat(origins, counts)], number[target[chosen]], reads[chosen], writes[chosen]
    )
    topology = single(from_, to, ilabels, olabels, int(kept.sum()))
    accepting = np.zeros(graph.num_states, bool)
    np.logical_or.at(accepting, origins, accepts[nodes])
    start, accept = (
        graph.start.new_full((topology.num_states,), NEG_INF).masked_fill_(
            torch.from_numpy(flags[kept]).to(graph.device), 0
        )
        for flags in (starts, accepting)
    )
    weights = graph.weights.new_zeros(topology.num_arcs)
    return gtnet.Graph.from_topology(topology, weights, start, accept)


def _reached(
    origins: np.ndarray, source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each origin the nodes that arcs reach from it, itself first, breadth first: pairs."""
    following: dict[int, list[int]] = {}
    for node, after in zip(source.tolist(), target.tolist(), strict=True):
        following.setdefault(node, []).append(after)
    pairs: list[tuple[int, int]] = []
    for origin in origins.tolist():
        if origin not in following:
            pairs.append((origin, origin))
            continue
        seen, queue = {origin}, deque([origin])
        while queue:
            node = queue.popleft()
            pairs.append((origin, node))
            for after in following.get(node, ()):
                if after not in seen:
                    seen.add(after)
                    queue.append(after)
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _nodes(scores: Tensor) -> Tensor:
    return (scores > NEG_INF).nonzero().flatten()


def _arcs(graph: gtnet.Graph, first: int) -> tuple[Tensor, ...]:
    """The columns of a graph's arcs, its nodes numbered from `first`."""
    ends = graph.source + first, graph.target + first
    return *ends, graph.ilabels, graph.olabels, graph.weights


def _epsilons(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    labels = torch.full_like(source, gtnet.EPSILON, dtype=torch.int32)
    return source.to(torch.int32), target.to(torch.int32), labels, labels, weights


def _built(
    parts: Sequence[tuple[Tensor, ...]], given: Sequence[int], start: Tensor, accept: Tensor
) -> gtnet.Graph:
    """The graph of columns put end to end, with an arc map for each operand, whose arcs are the
    parts `given`.
    """
    source, target, ilabels, olabels, weights = map(torch.cat, zip(*parts, strict=True))
    topology = single(source, target, ilabels, olabels, len(start))
    firsts = [0, *accumulate(len(part[0]) for part in parts)]
    maps = []
    for number in given:
        first, end = firsts[number : number + 2]
        origin = torch.full_like(source, -1)
        origin[first:end] = torch.arange(end - first, dtype=origin.dtype, device=origin.device)
        maps.append(origin)
    return gtnet.Graph.from_topology(topology, weights, start, accept, arc_maps=maps)
