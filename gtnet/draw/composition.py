"""A composition as textbooks draw it: both operands with their product below."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gtnet._memory import named
from gtnet.compose import compose
from gtnet.draw.dot import remarks, statements
from gtnet.draw.excerpt import Excerpt, GraphArrays, excerpt
from gtnet.draw.graphs import single
from gtnet.draw.pen import Pen, Show
from gtnet.draw.picture import GraphPicture
from gtnet.draw.style import INK, defaults
from gtnet.draw.text import Symbols
from gtnet.emissions import Emissions
from gtnet.graph import Graph, built

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def draw_composition(
    a: Graph | Lattice | Emissions,
    b: Graph | Lattice,
    path: str | Path | None = None,
    *,
    index: int | None = None,
    isymbols: Symbols = None,
    between: Symbols = None,
    osymbols: Symbols = None,
    show: Show = "score",
    digits: int = 2,
    highlight: Literal["best"] | None = "best",
    names: tuple[str, str, str] = ("a", "b", "a @ b"),
    max_states: int = 30,
    max_arcs: int = 80,
    max_labels: int = 6,
) -> GraphPicture:
    """Draw two graphs side by side, and below them their product.

    A state of the product is named by the pair of states it stands for. The best path of the
    product is coloured, and so are the arcs of both operands that it is made of.

    Args:
        a, b: the operands, batches of one, or batches and `index`; emissions are built as graphs.
        path: where to write it; .dot, .svg, .png or .pdf. None writes nothing.
        index: which item of the batch.
        isymbols, between, osymbols: names of the labels that a reads, of those that a writes and
            b reads, and of those that b writes. `between` and `osymbols` are by default those of
            an acceptor's other side.
        show, digits, max_labels: as for `draw`.
        highlight: "best", or None for no colour.
        names: the headings of the three graphs.
        max_states, max_arcs: the largest graph drawn whole, for each of the three.

    Returns:
        A picture, as `draw` does.

    Raises:
        ValueError: as `compose` and `draw`. GraphvizMissingError: as `draw`.

    Complexity: that of the composition, then that of Graphviz. No gradient.
    """
    a = a.graph() if isinstance(a, Emissions) else built("draw_composition", "a", a)
    a, b = _item(a, index), _item(built("draw_composition", "b", b), index)
    between = between if between is not None or not a.is_acceptor else isymbols
    osymbols = osymbols if osymbols is not None or not b.is_acceptor else between
    isymbols = isymbols if isymbols is not None or not a.is_acceptor else between
    product = compose(a, b)
    whole = GraphArrays.of(product, highlight=highlight)
    assert product.arc_maps is not None and product.state_maps is not None
    of_a, of_b = (
        {int(m[arc]) for arc in whole.highlighted if m[arc] >= 0} for m in product.arc_maps
    )
    pairs = zip(*(m.tolist() for m in product.state_maps), strict=True)
    named = {state: f"{s},{t}" for state, (s, t) in enumerate(pairs)}
    left, right = GraphArrays.of(a, highlight=of_a), GraphArrays.of(b, highlight=of_b)
    first, second, third = (
        excerpt(arrays, max_states, max_arcs, 0.0) for arrays in (left, right, whole)
    )
    pens = (
        Pen(left, isymbols, between, show, digits),
        Pen(right, between, osymbols, show, digits),
        Pen(whole, isymbols, osymbols, show, digits, named),
    )
    # Graphviz puts what comes first at the bottom.
    lines = [
        *_panel("c", names[2], third, pens[2], max_labels),
        *_panel("a", names[0], first, pens[0], max_labels),
        *_panel("b", names[1], second, pens[1], max_labels),
        _beside(left, first.states, right, second.states),
    ]
    picture = GraphPicture("\n".join(["digraph {", *defaults("LR"), *lines, "}"]) + "\n")
    if path is not None:
        picture.save(path)
    return picture


def _item(g: Graph, index: int | None) -> Graph:
    return single("draw_composition", g, index if len(g) > 1 else None)


def _panel(prefix: str, name: str, kept: Excerpt, pen: Pen, max_labels: int) -> Iterator[str]:
    a = pen.arrays
    heading = f'<FONT COLOR="{INK}" POINT-SIZE="12"><B>{name}</B></FONT>'
    text = "".join(f'{line}<BR ALIGN="LEFT"/>' for line in [heading, *remarks(a, kept)])
    yield f"  subgraph cluster_{prefix} {{"
    yield f"  graph [label=<{text}> labelloc=t labeljust=l pencolor=none margin=6]"
    yield from statements(a, kept, pen, max_labels=max_labels, prefix=prefix)
    if not kept.states:
        yield f'  {prefix}_empty [shape=plain label="∅" fontsize=20]'
    yield "  }"


def _beside(a: GraphArrays, states: list[int], b: GraphArrays, others: list[int]) -> str:
    """An invisible arc from the last state of one graph to the first of another, to align them."""
    if not states or not others:
        return ""
    depth = _depths(a)
    last = max(states, key=lambda state: depth[state])
    first = next((state for state in others if b.start[state] > -np.inf), others[0])
    return f"  a{last} -> b{first} [style=invis weight=50 minlen=2]"


def _depths(a: GraphArrays) -> list[int]:
    """The fewest arcs from a start state to each state, -1 if there is no path."""
    depth = np.where(a.start > -np.inf, 0, -1)
    for step in range(len(depth)):
        new = a.target[depth[a.source] == step]
        new = new[depth[new] < 0]
        if not len(new):
            break
        depth[new] = step + 1
    return depth.tolist()
