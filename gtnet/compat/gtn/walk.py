"""Random walks through a graph, as gtn's `sample` takes them."""

from __future__ import annotations

import torch

import gtnet
from gtnet._checks import NEG_INF
from gtnet.compat.gtn.growing import single


def walked(graph: gtnet.Graph, max_length: int) -> gtnet.Graph:
    """An accepting path as a chain, every choice uniform; one that gets longer than `max_length`
    arcs is cut back to the last accepting node, empty where there is none.

    Only arcs are taken from which the walk can still accept. Complexity: O(nodes + arcs).
    Gradient: flows to the scores along the path.
    """
    useful = gtnet.connect(graph)
    if not useful.num_states:
        return useful
    accepts = (useful.accept > NEG_INF).tolist()
    starts = (useful.start > NEG_INF).nonzero().flatten().tolist()
    leaving: list[list[int]] = [[] for _ in accepts]
    for arc, node in enumerate(useful.source.tolist()):
        leaving[node].append(arc)
    target = useful.target.tolist()
    choices = torch.rand(max_length + 2, dtype=torch.float64).tolist()

    node = first = starts[int(choices[0] * len(starts))]
    arcs: list[int] = []
    accepted: tuple[int, int] | None = None  # length of the path so far, and its last node
    for choice in choices[1:]:
        if accepts[node]:
            accepted = (len(arcs), node)
        chosen = int(choice * (len(leaving[node]) + accepts[node]))
        if chosen == len(leaving[node]):
            break
        arcs.append(leaving[node][chosen])
        node = target[arcs[-1]]
    if accepted is None:
        return _chain(useful, [], None)
    length, last = accepted
    return _chain(useful, arcs[:length], (first, last))


def _chain(graph: gtnet.Graph, arcs: list[int], ends: tuple[int, int] | None) -> gtnet.Graph:
    """Arcs of a connected graph as a path from one node to another; empty without these."""
    chosen = torch.tensor(arcs, dtype=torch.int64, device=graph.device)
    nodes = 0 if ends is None else len(arcs) + 1
    places = torch.arange(nodes, dtype=torch.int32, device=graph.device)
    start = graph.start.new_full((nodes,), NEG_INF)
    accept = start.clone()
    if ends is not None:
        start[0], accept[-1] = graph.start[ends[0]], graph.accept[ends[1]]
    labels = graph.ilabels[chosen], graph.olabels[chosen]
    topology = single(places[:-1], places[1:], *labels, nodes)
    assert graph.arc_maps is not None
    return gtnet.Graph.from_topology(
        topology, graph.weights[chosen], start, accept, arc_maps=(graph.arc_maps[0][chosen],)
    )
