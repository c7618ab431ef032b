"""gtn's text and binary formats, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gtnet
from gtnet.compat.gtn.graph import Graph
from gtnet.interop import gtn


def savetxt(file_name: str, graph: Graph) -> None:
    """`gtnet.interop.gtn.write`."""
    gtn.write(graph.core, file_name)


def loadtxt(file_name: str) -> Graph:
    """`gtnet.interop.gtn.read`; a file that does not exist is a ValueError too."""
    return _read("loadtxt", file_name, gtn.read)


def save(file_name: str, graph: Graph) -> None:
    """`gtnet.interop.gtn.write_binary`."""
    gtn.write_binary(graph.core, file_name)


def load(file_name: str) -> Graph:
    """`gtnet.interop.gtn.read_binary`; a file that does not exist is a ValueError too."""
    return _read("load", file_name, gtn.read_binary)


def _read(function: str, file_name: str, reader: Callable[[str], gtnet.Graph]) -> Graph:
    try:
        return Graph.of(reader(file_name))
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
