"""One graph as a picture, and what a notebook shows for a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from gtnet import _checks
from gtnet._memory import named
from gtnet.draw.dot import name_images, remarks, statements
from gtnet.draw.excerpt import GraphArrays, excerpt
from gtnet.draw.pen import PathsPen, Pen, Show
from gtnet.draw.picture import GraphPicture
from gtnet.draw.render import GraphvizMissingError
from gtnet.draw.style import caption, defaults
from gtnet.draw.text import Symbols, escape
from gtnet.graph import Graph, built
from gtnet.lattice import Lattice

_NOTEBOOK_ARCS, _NOTEBOOK_GRAPHS = 100_000, 4


@named
def draw(
    g: Graph | Lattice,
    path: str | Path | None = None,
    *,
    index: int | None = None,
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    show: Show = "score",
    digits: int = 2,
    highlight: Literal["best"] | Iterable[int] | None = None,
    k_best: int | None = None,
    posteriors: bool | Tensor = False,
    images: Mapping[int, np.ndarray] | None = None,
    image_height: int = 28,
    title: str | None = None,
    min_posterior: float = 0.0,
    max_states: int = 60,
    max_arcs: int = 200,
    max_labels: int = 6,
    rankdir: Literal["LR", "TB"] = "LR",
) -> GraphPicture:
    """Draw one graph: states as circles (start bold, accept double), arcs with their labels.

    Parallel arcs become one edge with their labels stacked, best first. A graph above
    `max_states` or `max_arcs` is reduced to its most probable arcs and the best path (where paths
    have no finite sum, to the part nearest the start), and the picture says how much is left out.
    An arc of score -inf is dashed. Numbers are omitted if every score is 0.

    Args:
        g: a batch of one, or a batch and `index`. Arc numbers below are those of the graph drawn.
        path: where to write it; .dot, .svg, .png or .pdf. None writes nothing.
        index: which graph of the batch.
        isymbols, osymbols: names of the labels, a sequence or a mapping; other labels print as
            numbers, EPSILON as ε. A transducer's arc reads `input:output`.
        show: the number on an arc: its "score", its "energy" (minus score), its "posterior", or
            "none".
        digits: decimals of these numbers, at most.
        highlight: arcs drawn in colour: "best" for the Viterbi path, or arc numbers.
        k_best: draw only the k best paths, each in its own colour, with a legend of their outputs
            and scores.
        posteriors: True, or a tensor [arcs] of probabilities in [0, 1]: drawn as the width and
            the darkness of the arcs.
        images: picture of an arc, [height, width] or [height, width, 3], uint8 or float in
            [0, 1] (1 is white), such as the image segment that the arc reads.
        image_height: height of the tallest picture, points; the others are drawn to its scale.
        title: a line above the picture.
        min_posterior: arcs less probable than this are left out, except those of the best path.
        max_states, max_arcs: the largest graph drawn whole.
        max_labels: labels stacked on one edge before "+ n more".
        rankdir: "LR" draws from left to right, "TB" from top to bottom.

    Returns:
        A picture. Notebooks display it; `.svg`, `.png`, `.dot` and `.save(path)` export it.

    Raises:
        ValueError: a batch without `index`, arcs or options that do not exist, posteriors or best
            paths of a cyclic graph that has none.
        IndexError: no such graph in the batch.
        GraphvizMissingError: `path` needs Graphviz, which is missing; DOT text was written instead.

    Complexity: O(arcs log arcs) to choose what is drawn, then that of Graphviz. No gradient.
    """
    if show not in ("score", "energy", "posterior", "none"):
        raise ValueError(
            f'draw: show is {show!r}, expected "score", "energy", "posterior" or "none"'
        )
    if k_best is not None:
        k_best = _checks.count("draw", "k_best", k_best)
        if highlight is not None:
            raise ValueError("draw: k_best colours the paths: give k_best or highlight, not both")
    known = min_posterior > 0 or show == "posterior"
    arrays = GraphArrays.of(single("draw", g, index), posteriors, highlight, known, k_best)
    kept = excerpt(arrays, max_states, max_arcs, min_posterior)
    pen = (Pen if k_best is None else PathsPen)(arrays, isymbols, osymbols, show, digits)
    drawn = set(kept.arcs)
    used = {arc: image for arc, image in (images or {}).items() if arc in drawn}
    cells, files = name_images(used, image_height)
    notes = [*pen.notes(), *remarks(arrays, kept)]
    head = defaults(rankdir, caption(title and escape(title), notes))
    body = statements(arrays, kept, pen, cells=cells, max_labels=max_labels)
    picture = GraphPicture("\n".join(["digraph {", *head, *body, "}"]) + "\n", files)
    if path is not None:
        picture.save(path)
    return picture


@named
def to_dot(g: Graph | Lattice, **options: Any) -> str:
    """The DOT text of one graph. Takes the options of `draw`; needs no Graphviz."""
    return draw(g, **options).dot


def mimebundle(g: Graph | Lattice) -> dict[str, str]:
    """What a notebook shows for a graph: its text, and its picture.

    Returns: MIME types and their content: text always; SVG for one graph, cut as `draw` cuts it;
    HTML with the first few of a batch, and how many more there are. Text alone above 100,000 arcs,
    and for a `Lattice` that might have so many or that may not be built: a picture is the graph's.
    """
    bundle = {"text/plain": repr(g)}
    graph = _small(g)
    if graph is None or not len(graph):
        return bundle
    first = min(len(graph), _NOTEBOOK_GRAPHS)
    try:
        if len(graph) == 1:
            bundle["image/svg+xml"] = draw(graph).svg
        else:
            pictures = [draw(graph, index=i, title=f"graph {i}").svg for i in range(first)]
            more = [f"and {len(graph) - first:,} more graphs"] if first < len(graph) else []
            bundle["text/html"] = "".join(f"<div>{part}</div>" for part in [*pictures, *more])
    except GraphvizMissingError as error:
        bundle["text/plain"] += f"\n(no picture: {error})"
    return bundle


def _small(g: Graph | Lattice) -> Graph | None:
    """The graph, built; None for one of too many arcs."""
    if isinstance(g, Lattice):
        if g.emissions.segmentation.num_arcs * g.operand.num_arcs > _NOTEBOOK_ARCS:
            return None  # a bound that is known without building it
        try:
            return g.graph()
        except ValueError:  # more than its max_arcs
            return None
    return g if g.num_arcs <= _NOTEBOOK_ARCS else None


def single(function: str, g: Graph | Lattice, index: int | None) -> Graph:
    """One graph of a batch, built, outside autograd."""
    g = built(function, "g", g)
    if index is None and len(g) != 1:
        raise ValueError(f"{function}: the batch has {len(g)} graphs, choose one with index=")
    return g.detach() if index is None else g[index].detach()
