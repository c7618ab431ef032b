"""Paths taken out of a graph: the best one, the k best, and the labels along them."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet.distance import best_paths, best_to_accept
from gtnet.graph import Graph
from gtnet.topology import Topology


def viterbi_path(graph: Graph) -> Graph:
    """The best accepting path of each graph, as a batch of linear graphs.

    Result: item i keeps the labels and scores of the arcs of the best path of graph i (the first
    of equals), `arc_maps[0]` names those arcs; an empty language gives a graph without states.
    Raises ValueError where a cycle has a positive score. Complexity: as `viterbi_score`.
    Gradient: flows to the scores along the path.
    """
    _checks.graph("viterbi_path", "graph", graph)
    _, best = best_paths("viterbi_path", graph)
    return _linear(graph, *best)


def k_best(
    graph: Graph, k: int, *, unique: Literal["ilabels", "olabels"] | None = None
) -> list[Graph]:
    """The k best accepting paths of each graph, best first; they may go round cycles.

    Arguments: `k` >= 0; `unique` counts paths that read ("ilabels") or write ("olabels") the same
    labels, epsilons aside, as one, and keeps the best of them.
    Result: for every graph of the batch a batch of at most k linear graphs, with `arc_maps[0]`;
    equal paths come in an order that repeats. Raises ValueError for k < 0 or where a cycle has a
    positive score, TypeError if k is no integer.
    Complexity: O(states + arcs) and O(length · degree · log) per path; with `unique` a label
    prefix is expanded once per state, however many paths spell it.
    Gradient: flows to the scores along the paths.
    Source: A* with the exact distance to the end; Mohri & Riley 2002 for distinct strings.
    """
    _checks.graph("k_best", "graph", graph)
    k = _checks.count("k_best", "k", k)
    if unique not in (None, "ilabels", "olabels"):
        raise ValueError(f'k_best: unique must be None, "ilabels" or "olabels", got {unique!r}')
    _checks.on_cpu("k_best", "graph", graph.weights, "move it with .to('cpu')")
    topology = graph.topology
    labels = None if unique is None else getattr(topology, unique)
    scores = [t.detach().contiguous() for t in (graph.weights, graph.start, graph.accept)]
    counts, lengths, arcs, first, last = _ops.k_best(
        best_to_accept("k_best", graph),
        *scores,
        labels,
        topology.state_offsets,
        *topology.leaving.by_state(),
        k,
    )
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    paths = _linear(graph, offsets, arcs, first, last)
    ends = counts.cumsum(0).tolist()
    return [paths[end - count : end] for count, end in zip(counts.tolist(), ends)]


def label_sequences(
    graph: Graph, side: Literal["ilabels", "olabels"] = "olabels"
) -> list[list[int]]:
    """The labels along each linear graph of a batch, epsilons dropped.

    Raises ValueError for a graph whose arcs do not follow one another.
    """
    _checks.graph("label_sequences", "graph", graph)
    if side not in ("ilabels", "olabels"):
        raise ValueError(f'label_sequences: side must be "ilabels" or "olabels", got {side!r}')
    topology = graph.topology
    position = torch.arange(graph.num_arcs, device=graph.device)
    position = position - topology.arc_offsets[topology.graph_of_arc]
    if not (
        torch.equal(topology.source, position.int())
        and torch.equal(topology.target, position.int() + 1)
    ):
        raise ValueError("label_sequences: graphs must be linear, as viterbi_path returns them")
    labels = getattr(topology, side).tolist()
    ends = topology.arc_offsets.tolist()
    return [[label for label in labels[begin:end] if label >= 0] for begin, end in pairwise(ends)]


def _linear(graph: Graph, offsets: Tensor, arcs: Tensor, first: Tensor, last: Tensor) -> Graph:
    """One linear graph per path: arcs [offsets[i], offsets[i + 1]) from state first[i] to last[i].

    A path that does not exist has first[i] = -1 and becomes a graph without states.
    """
    exists = first >= 0
    lengths = offsets.diff()
    state_offsets = torch.cat([offsets.new_zeros(1), (lengths + exists).cumsum(0)])
    num_states = len(arcs) + int(exists.sum())
    source = torch.arange(len(arcs), device=arcs.device) - torch.repeat_interleave(
        offsets[:-1], lengths, output_size=len(arcs)
    )
    source = source.to(torch.int32)
    index = arcs.long()
    topology = graph.topology
    ilabels = topology.ilabels[index]
    olabels = ilabels if graph.is_acceptor else topology.olabels[index]
    start = graph.start.new_full((num_states,), NEG_INF)
    accept = start.clone()
    start = start.index_put((state_offsets[:-1][exists],), _ops.take(graph.start, first[exists]))
    accept = accept.index_put(
        (state_offsets[1:][exists] - 1,), _ops.take(graph.accept, last[exists])
    )
    return Graph.from_topology(
        Topology(state_offsets, offsets, source, source + 1, ilabels, olabels, num_states),
        _ops.take(graph.weights.contiguous(), arcs),
        start,
        accept,
        arc_maps=(arcs,),
    )
