"""Where Graphviz puts states and arcs, as numbers: for pictures that something else draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gtnet.draw.render import lay_out

Point = tuple[float, float]
Box = tuple[float, float]

_POINTS = 72.0  # per inch, Graphviz's unit


class Layout(NamedTuple):
    """A layout in points, y down: `size` of all, centres of `states`, and the lines of `edges`.

    A line is the points of a chain of cubic Bézier curves, [3 n + 1], and the centre of its label.
    """

    size: Box
    states: list[Point]
    edges: list[tuple[list[Point], Point]]


def layered(
    states: Sequence[Box], edges: Sequence[tuple[int, int, Box]], rankdir: str = "LR"
) -> Layout:
    """States in layers, as few crossings as Graphviz finds, and room for the label of every edge.

    Arguments: the width and height of each state, and for each edge source, target, and the width
    and height of its label, points. At most one edge from one state to another.
    Raises: GraphvizMissingError; ValueError where Graphviz gives no layout.
    """
    lines = [
        f'digraph {{ graph [rankdir={rankdir} nodesep="0.22" ranksep="0.18"]',
        '  node [shape=ellipse fixedsize=true label=""]',
        "  edge [arrowhead=none]",
    ]
    for number, (wide, high) in enumerate(states):
        lines.append(f'  {number} [width="{wide / _POINTS:.3f}" height="{high / _POINTS:.3f}"]')
    for source, target, (wide, high) in edges:
        room = f'FIXEDSIZE="TRUE" WIDTH="{wide:.0f}" HEIGHT="{high:.0f}"'
        label = f'<<TABLE BORDER="0" {room}><TR><TD></TD></TR></TABLE>>'
        lines.append(f"  {source} -> {target} [label={label}]")
    return _parsed(lay_out("\n".join([*lines, "}"]), "plain").decode(), len(states), edges)


def _parsed(text: str, states: int, edges: Sequence[tuple[int, int, Box]]) -> Layout:
    """The layout in Graphviz's plain form, whose origin is below on the left."""
    size, centres = (0.0, 0.0), [(0.0, 0.0)] * states
    found: dict[tuple[int, int], tuple[list[Point], Point]] = {}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["graph"]:
            size = (float(words[2]) * _POINTS, float(words[3]) * _POINTS)
        elif words[:1] == ["node"]:
            centres[int(words[1])] = _point(words[2:4], size)
        elif words[:1] == ["edge"]:
            end = 4 + 2 * int(words[3])
            curve = [_point(words[at : at + 2], size) for at in range(4, end, 2)]
            label = _point(words[-4:-2], size)  # behind the text of the label
            found[int(words[1]), int(words[2])] = (curve, label)
    missing = [edge[:2] for edge in edges if edge[:2] not in found]
    if missing:
        raise ValueError(f"layered: Graphviz gives no line for {missing[0][0]} -> {missing[0][1]}")
    return Layout(size, centres, [found[source, target] for source, target, _ in edges])


def _point(words: Sequence[str], size: Box) -> Point:
    return float(words[0]) * _POINTS, size[1] - float(words[1]) * _POINTS
