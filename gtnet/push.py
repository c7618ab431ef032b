"""Weights moved along the paths of an automaton, towards its start or its end."""

from __future__ import annotations

from typing import Literal

import torch

from gtnet._checks import NEG_INF
from gtnet._rewrite import Semiring, path_sums, prepared
from gtnet.graph import Graph


def push(
    graph: Graph, *, to: Literal["start", "accept"] = "start", semiring: Semiring = "log"
) -> Graph:
    """The same automaton with its scores moved towards the start or towards the end of paths.

    With d(s) the sum of the paths from s to acceptance, an arc s → t gets weight + d(t) - d(s),
    so that all that may follow a state sums to 0 (in the log semiring: a probability
    distribution) and start scores hold the rest. `to="accept"` does the same from the other side.
    The score of every path from start to accept stays.

    Arguments: any graph, cycles included. Result: the same states and arcs, new scores.
    Raises ValueError where the paths around a cycle have no finite sum.
    Complexity: O(states + arcs), k³ more for a component of k states on cycles.
    Gradient: to all scores, through the sums; first derivatives.
    Source: Mohri 2009, "Weighted Automata Algorithms", section 7.1.
    """
    graph = prepared("push", graph, semiring)
    if to not in ("start", "accept"):
        raise ValueError(f'push: to must be "start" or "accept", got {to!r}')
    return pushed("push", graph, semiring, to)


def pushed(
    function: str, graph: Graph, semiring: Semiring, to: Literal["start", "accept"] = "start"
) -> Graph:
    """`push` after its checks, with errors in the name of `function`."""
    sums = path_sums(function, graph, semiring, to_accept=to == "start")
    # On states that no path passes any finite potential is right.
    potential = sums.masked_fill(sums == NEG_INF, 0)
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
    pushed_graph.arc_maps = (torch.arange(graph.num_arcs, dtype=torch.int32),)
    pushed_graph.state_maps = (torch.arange(graph.num_states, dtype=torch.int32),)
    return pushed_graph
