"""Graphs as a few lines of readable text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gtnet._checks import EPSILON, NEG_INF
from gtnet._ordinary import mapped

if TYPE_CHECKING:
    from gtnet.graph import Graph

_ARCS, _GRAPHS = 12, 3  # how many are shown


def headline(graph: Graph) -> str:
    """The kind and size of a batch."""
    what = "acceptor" if graph.is_acceptor else "transducer"
    count = f"{len(graph)} graphs, " if len(graph) != 1 else ""
    grad = ", requires_grad" if graph.requires_grad else ""
    return (
        f"Graph({what}, {count}{graph.num_states} states, {graph.num_arcs} arcs, "
        f"{str(graph.dtype).removeprefix('torch.')}, {graph.device}{grad})"
    )


def describe(graph: Graph) -> str:
    """The kind and size of a batch, then the first arcs of its first graphs; none under vmap."""
    if any(map(mapped, graph.scores)):
        return headline(graph)
    shown = min(len(graph), _GRAPHS)
    bodies = [_describe(graph[i], i if len(graph) > 1 else None) for i in range(shown)]
    rest = [f"  ... {len(graph) - shown} more graphs"] if len(graph) > shown else []
    return "\n".join([headline(graph), *bodies, *rest])


def _describe(graph: Graph, index: int | None) -> str:
    title = "" if index is None else f"[{index}] {graph.num_states} states, {graph.num_arcs} arcs; "
    lines = [f"  {title}start {_named(graph.start)}; accept {_named(graph.accept)}"]
    shown = graph.num_arcs if graph.num_arcs <= _ARCS + 1 else _ARCS
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
    for source, target, ilabel, olabel, weight in zip(*(c[:shown].tolist() for c in columns)):
        label = _label(ilabel) if ilabel == olabel else f"{_label(ilabel)}:{_label(olabel)}"
        lines.append(f"  {source} -> {target}  {label}  {weight:.6g}")
    if shown < graph.num_arcs:
        lines.append(f"  ... {graph.num_arcs - shown} more arcs")
    return "\n".join(lines)


def _label(label: int) -> str:
    return "ε" if label == EPSILON else str(label)


def _named(scores: Tensor) -> str:
    states = (scores != NEG_INF).nonzero().flatten().tolist()
    values = scores.tolist()
    shown = [f"{s}" if values[s] == 0 else f"{s} ({values[s]:.6g})" for s in states[:_ARCS]]
    more = [f"... {len(states) - _ARCS} more"] if len(states) > _ARCS else []
    return ", ".join([*shown, *more]) or "none"
