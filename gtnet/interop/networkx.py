"""Graphs of networkx: states are nodes, arcs are edges with labels and a score.

The score of an edge is its attribute `score`, not `weight`: to networkx a `weight` is a length,
which is better the smaller it is, and gtnet's scores are better the larger they are.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch

from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.interop import _shape

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


def to_networkx(graph: Graph | Lattice) -> Any:
    """One graph as a networkx.MultiDiGraph; scores are detached.

    Nodes are the states' numbers; start and accept states have the attributes `start` and
    `accept`, their scores. Edges have the arc's number as their key and the attributes `ilabel`,
    `olabel` and `score`. Raises ValueError for a batch. Complexity: O(states + arcs).
    """
    import networkx as nx

    graph = _shape.one("to_networkx", graph)
    result = nx.MultiDiGraph()
    result.add_nodes_from(range(graph.num_states))
    for name, scores in (("start", graph.start), ("accept", graph.accept)):
        for state, score in enumerate(scores.tolist()):
            if score > NEG_INF:
                result.nodes[state][name] = score
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
    for key, arc in enumerate(zip(*(column.tolist() for column in columns))):
        source, target, ilabel, olabel, score = arc
        result.add_edge(source, target, key=key, ilabel=ilabel, olabel=olabel, score=score)
    return result


def from_networkx(graph: Any, *, dtype: torch.dtype = torch.float32) -> Graph:
    """The graph of a networkx.DiGraph or MultiDiGraph; scores are leaf tensors.

    States are the nodes in their order, whatever they are called. Attributes of nodes: `start` and
    `accept`, scores (True: 0). Of edges: `ilabel`, `olabel` (default: `ilabel`), `score` (0); an
    edge without `ilabel` is an epsilon. Arcs come in the order of their keys where all keys are
    different integers, else in networkx' order.
    Raises TypeError for anything but a directed graph, ValueError or TypeError for attributes that
    are not labels or scores. Complexity: O(nodes + edges log edges).
    """
    is_directed = getattr(graph, "is_directed", None)
    if is_directed is None or not is_directed():
        raise TypeError(
            f"from_networkx: a directed networkx graph is needed, got {type(graph).__name__}"
        )
    _shape.numpy_type("from_networkx", dtype)
    number = {node: state for state, node in enumerate(graph.nodes)}
    edges = list(graph.edges(data=True))
    if graph.is_multigraph():
        keys = list(graph.edges(keys=True))
        order = [key for *_, key in keys]
        if all(isinstance(key, int) for key in order) and len(set(order)) == len(order):
            edges = [edges[i] for i in sorted(range(len(order)), key=order.__getitem__)]
    ilabels = [_label("ilabel", data.get("ilabel", EPSILON)) for *_, data in edges]
    olabels = [
        _label("olabel", data.get("olabel", label)) for (*_, data), label in zip(edges, ilabels)
    ]
    scores = [_score("score", data.get("score", 0.0)) for *_, data in edges]
    return Graph(
        [number[source] for source, *_ in edges],
        [number[target] for _, target, _ in edges],
        ilabels,
        None if olabels == ilabels else olabels,
        _shape.scores(scores, dtype),
        start=_shape.scores(_ends(graph, "start"), dtype),
        accept=_shape.scores(_ends(graph, "accept"), dtype),
        num_states=len(number),
    )


def _ends(graph: Any, name: str) -> list[float]:
    """The scores of all nodes, -inf where there is none."""
    return [_score(name, data.get(name, NEG_INF)) for _, data in graph.nodes(data=True)]


def _label(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"from_networkx: {name} must be an integer, got {value!r}")
    return operator.index(value)


def _score(name: str, value: Any) -> float:
    if isinstance(value, bool):
        return 0.0 if value else NEG_INF
    if not isinstance(value, (int, float)):
        raise TypeError(f"from_networkx: {name} must be a number, got {value!r}")
    return float(value)
