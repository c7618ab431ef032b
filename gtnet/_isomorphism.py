"""Whether two graphs are the same up to the numbering of their states and arcs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtnet._checks import NEG_INF

if TYPE_CHECKING:
    from gtnet.graph import Graph


def isomorphic(a: Graph, b: Graph) -> bool:
    """Whether a renumbering of states makes two single graphs equal; VF2 of networkx."""
    import networkx as nx
    from networkx.algorithms.isomorphism import categorical_multiedge_match, categorical_node_match

    if (a.num_states, a.num_arcs) != (b.num_states, b.num_arcs):
        return False
    return nx.is_isomorphic(
        _to_networkx(a),
        _to_networkx(b),
        node_match=categorical_node_match(["start", "accept"], [NEG_INF, NEG_INF]),
        edge_match=categorical_multiedge_match("arcs", None),
    )


def _to_networkx(graph: Graph) -> Any:
    """A directed graph with one edge per pair of states, holding the sorted arcs between them."""
    import networkx as nx

    result = nx.MultiDiGraph()
    for state, (start, accept) in enumerate(zip(graph.start.tolist(), graph.accept.tolist())):
        result.add_node(state, start=start, accept=accept)
    arcs: dict[tuple[int, int], list[tuple[int, int, float]]] = {}
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
    for source, target, ilabel, olabel, weight in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        arcs.setdefault((source, target), []).append((ilabel, olabel, weight))
    for (source, target), between in arcs.items():
        result.add_edge(source, target, arcs=tuple(sorted(between)))
    return result
