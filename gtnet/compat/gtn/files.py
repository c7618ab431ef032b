"""gtn's text and binary formats, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import gtnet
from gtnet.compat.gtn.graph import Graph, arcs_only, to_text


def savetxt(file_name: str, graph: Graph) -> None:
    """Write a graph as text: start nodes, accept nodes, a line for each arc."""
    Path(file_name).write_text(to_text(graph.core), encoding="utf-8")


def loadtxt(file_name: str) -> Graph:
    """Read a graph as text.

    The first line holds the start nodes, the second the accept nodes, every other an arc:
    `source target ilabel [olabel=ilabel] [weight=0]`. Raises ValueError for anything else and
    for a file that does not exist.
    """
    lines = _read("loadtxt", file_name, Path.read_text).splitlines()
    if len(lines) < 2:
        raise ValueError(
            f"loadtxt: start and accept nodes take two lines, {file_name} has {len(lines)}"
        )
    start, accept = ([int(node) for node in line.split()] for line in lines[:2])
    for name, nodes in (("start", start), ("accept", accept)):
        if len(set(nodes)) < len(nodes):
            raise ValueError(f"loadtxt: a {name} node is repeated in {nodes}")
    arcs = [_arc(line, number) for number, line in enumerate(lines[2:], 3)]
    nodes = [*start, *accept, *(node for arc in arcs for node in arc[:2])]
    return _graph(start, accept, arcs, max(nodes, default=-1) + 1)


def _arc(line: str, number: int) -> tuple[int, int, int, int, float]:
    words = line.split()
    if not 3 <= len(words) <= 5:
        raise ValueError(f"loadtxt: an arc has 3 to 5 columns, line {number} is {line!r}")
    source, target, ilabel, *rest = words
    olabel = rest[0] if rest else ilabel
    weight = float(rest[1]) if len(rest) == 2 else 0.0
    return int(source), int(target), int(ilabel), int(olabel), weight


def save(file_name: str, graph: Graph) -> None:
    """Write a graph in gtn's binary format: 32-bit integers and floats in the machine's order.

    The numbers of nodes, arcs, start and accept nodes; those nodes; source, target, ilabel and
    olabel of every arc; the weights.
    """
    core = arcs_only(graph.core)
    ends = [np.flatnonzero(scores.cpu().numpy() > -np.inf) for scores in (core.start, core.accept)]
    columns = (core.source, core.target, core.ilabels, core.olabels)
    parts = [
        np.array([core.num_states, core.num_arcs, *map(len, ends)]),
        *ends,
        np.stack([column.cpu().numpy() for column in columns], 1).ravel(),
    ]
    integers = np.concatenate(parts).astype(np.int32)
    weights = core.weights.cpu().numpy().astype(np.float32)
    Path(file_name).write_bytes(integers.tobytes() + weights.tobytes())


def load(file_name: str) -> Graph:
    """Read a graph in gtn's binary format. Raises ValueError for what is not in that format."""
    data = _read("load", file_name, Path.read_bytes)
    numbers = np.frombuffer(data[: len(data) // 4 * 4], np.int32)
    num_nodes, num_arcs, *counts = numbers[:4].tolist() if len(numbers) >= 4 else (-1,) * 4
    size = 4 + sum(counts) + 5 * num_arcs
    if min(num_nodes, num_arcs, *counts) < 0 or 4 * size != len(data):
        raise ValueError(
            f"load: {file_name} has {len(data)} bytes and is no graph in gtn's binary format; "
            f"loadtxt reads text"
        )
    start, accept, arcs = np.split(numbers[4 : size - num_arcs], np.cumsum(counts))
    weights = np.frombuffer(data, np.float32, offset=4 * (size - num_arcs))
    rows = zip(*arcs.reshape(-1, 4).T.tolist(), weights.tolist())
    return _graph(start.tolist(), accept.tolist(), list(rows), num_nodes)


def _graph(
    start: list[int],
    accept: list[int],
    arcs: list[tuple[int, int, int, int, float]],
    num_nodes: int,
) -> Graph:
    source, target, ilabels, olabels, weights = zip(*arcs) if arcs else ((),) * 5
    core = gtnet.Graph(
        source,
        target,
        ilabels,
        olabels,
        np.array(weights, np.float32),
        start=start,
        accept=accept,
        num_states=num_nodes,
    )
    return Graph.of(core)


def _read(function: str, file_name: str, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(Path(file_name))
    except FileNotFoundError:
        raise ValueError(f"{function}: there is no file {file_name}") from None


def write_dot(
    g: Graph,
    file_name: str,
    isymbols: Mapping[int, str] | None = None,
    osymbols: Mapping[int, str] | None = None,
) -> None:
    """Write a graph in Graphviz' DOT format, drawn as `gtnet.draw` does."""
    Path(file_name).write_text(_picture(g, isymbols, osymbols).dot, encoding="utf-8")


def draw(
    graph: Graph,
    file_name: str,
    isymbols: Mapping[int, str] | None = None,
    osymbols: Mapping[int, str] | None = None,
) -> None:
    """Draw a graph with `gtnet.draw`; the suffix (.dot, .svg, .png, .pdf) chooses the format.

    Raises ValueError for another suffix, GraphvizMissingError where nothing can render.
    """
    _picture(graph, isymbols, osymbols).save(file_name)


def _picture(
    g: Graph, isymbols: Mapping[int, str] | None, osymbols: Mapping[int, str] | None
) -> Any:
    core = g.core
    return gtnet.draw(
        core,
        isymbols=isymbols,
        osymbols=osymbols,
        max_states=core.num_states,
        max_arcs=core.num_arcs,
        max_labels=core.num_arcs,
    )
