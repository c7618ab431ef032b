"""The look of every picture: colours, fonts and Graphviz attributes in one place."""

from __future__ import annotations

from functools import cache
from typing import Any

FONT = "Arial"
FONT_FAMILY = "Arial,Helvetica,'Liberation Sans',sans-serif"
_PLOT_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
INK, QUIET, FAINT = "#333333", "#767676", "#c4c4c4"
HIGHLIGHT = "#0072b2"
UP, DOWN = "#0072b2", "#d55e00"
PATHS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours that colour-blind people can tell apart (Okabe & Ito 2008)."""


def grey(share: float) -> str:
    """The colour of a line that carries a share of the probability: 0 is faint, 1 nearly black."""
    level = round(0xC8 - min(1.0, share) * (0xC8 - 0x22))
    return f"#{level:02x}{level:02x}{level:02x}"


def width(share: float) -> str:
    """The width of such a line, points."""
    return f"{0.6 + 2.6 * min(1.0, share):.2f}"


def defaults(rankdir: str, caption: str = "") -> list[str]:
    """The attributes that all states and arcs of a DOT file start from."""
    graph = f'rankdir={rankdir} bgcolor=white pad="0.1" nodesep="0.26" ranksep="0.22"'
    circle = 'shape=circle width="0.3" height="0.3" margin="0.025"'
    small = f'fontname="{FONT}" fontsize=10 color="{INK}" fontcolor="{INK}"'
    text = f'fontname="{FONT}" fontsize=11'
    return [
        f'  graph [{graph} {text} fontcolor="{QUIET}"{caption}]',
        f"  node [{circle} {small} style=filled fillcolor=white]",
        f'  edge [{text} color="{INK}" fontcolor="{INK}" arrowsize="0.55" penwidth="0.9"]',
    ]


def caption(title: str | None, notes: list[str]) -> str:
    """Graph attributes that put a title (plain text, escaped) and lines of notes on a picture.

    Notes stand below the title, or below the picture where there is no title.
    """
    head = [f'<FONT COLOR="{INK}" POINT-SIZE="12"><B>{title}</B></FONT>'] if title else []
    if not head and not notes:
        return ""
    place = "t" if title else "b"
    lines = "".join(f'{line}<BR ALIGN="LEFT"/>' for line in [*head, *notes])
    return f" labelloc={place} labeljust=l label=<{lines}>"


@cache
def plot_style() -> dict[Any, Any]:
    """Settings of matplotlib that make plots look like graphs; DejaVu has the rarer characters."""
    from matplotlib.font_manager import get_font_names

    known = set(get_font_names())
    return {"font.family": [name for name in _PLOT_FONTS if name in known], "font.size": 9}
