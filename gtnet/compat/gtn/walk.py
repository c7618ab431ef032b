"""Random walks through a graph, as gtn's `sample` takes them."""

from __future__ import annotations

import torch

import gtnet
from gtnet._checks import NEG_INF


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
        return gtnet.Graph([], [], [], start=[], accept=[], num_states=0).to(useful.dtype)
    length, last = accepted
    return _chain(useful, arcs[:length], first, last)


def _chain(graph: gtnet.Graph, arcs: list[int], first: int, last: int) -> gtnet.Graph:
    chosen = torch.tensor(arcs, dtype=torch.int64, device=graph.device)
    places = torch.arange(len(arcs) + 1, dtype=torch.int32, device=graph.device)
    start = graph.start.new_full((len(places),), NEG_INF)
    accept = start.clone()
    start[0], accept[-1] = graph.start[first], graph.accept[last]
    return gtnet.Graph(
        places[:-1],
        places[1:],
        graph.ilabels[chosen],
        graph.olabels[chosen],
        graph.weights[chosen],
        start=start,
        accept=accept,
        num_states=len(places),
    )
