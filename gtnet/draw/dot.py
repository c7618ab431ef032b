"""DOT text of one graph: a line for each state and one for each bundle of parallel arcs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from gtnet.draw.excerpt import Excerpt, GraphArrays
from gtnet.draw.pen import Pen
from gtnet.draw.render import png_bytes
from gtnet.draw.style import FAINT, QUIET
from gtnet.draw.text import SPACE


def statements(
    a: GraphArrays,
    kept: Excerpt,
    pen: Pen,
    *,
    cells: Mapping[int, str] | None = None,
    max_labels: int = 6,
    prefix: str = "",
) -> Iterator[str]:
    """The lines of the states and arcs that are kept.

    `cells`: images on arcs, as `name_images` gives them; `prefix`: before the names of states,
    where several graphs share a picture.
    """
    for state in kept.states:
        yield f"  {prefix}{state} {pen.state(state)}"
    for arcs in bundles(a, kept.arcs):
        arcs.sort(key=pen.rank)
        look = pen.look(arcs)
        label = _label(arcs, pen, cells or {}, max_labels, look.get("color", "").count(":"))
        told = "".join(f' {key}="{value}"' for key, value in look.items())
        ends = f"{prefix}{a.source[arcs[0]]} -> {prefix}{a.target[arcs[0]]}"
        yield f"  {ends} [label=<{label}>{told}]"


def remarks(a: GraphArrays, kept: Excerpt) -> list[str]:
    """The remarks below a picture: what the graph lacks, and what is left out."""
    if len(a.start) == 0:
        return ["no states"]
    notes = [] if (a.start > -np.inf).any() else ["no start state"]
    notes += [] if (a.accept > -np.inf).any() else ["no accept state"]
    if kept.rule:
        notes.append(
            f"{len(kept.states):,} of {len(a.start):,} states and {len(kept.arcs):,} of "
            f"{len(a.source):,} arcs shown: {kept.rule}"
        )
    return notes


def name_images(
    images: Mapping[int, np.ndarray], height: int
) -> tuple[dict[int, str], dict[str, bytes]]:
    """A table cell for each arc's image, and the image files; equal images share one file.

    The tallest image is `height` points high, the others are drawn to the same scale.
    """
    cells: dict[int, str] = {}
    files: dict[str, bytes] = {}
    names: dict[bytes, str] = {}
    scale = height / max([1, *(np.asarray(image).shape[0] for image in images.values())])
    for arc, image in images.items():
        # Of images a pixel wide or high, the library draws an empty picture.
        pixels = np.asarray(image)
        thin = pixels.ndim > 1 and 1 in pixels.shape[:2]
        data = png_bytes(pixels.repeat(2, axis=0).repeat(2, axis=1) if thin else pixels)
        name = names.setdefault(data, f"arc{arc}.png")
        files[name] = data
        tall, wide = np.asarray(image).shape[:2]
        high, broad = (max(4, round(scale * pixels)) for pixels in (tall, wide))
        cells[arc] = (
            f'<TD FIXEDSIZE="TRUE" WIDTH="{broad + 4}" HEIGHT="{high + 4}" BORDER="1" '
            f'CELLPADDING="1" COLOR="{FAINT}"><IMG SRC="{name}" SCALE="TRUE"/></TD>'
        )
    return cells, files


def bundles(a: GraphArrays, arcs: list[int]) -> Iterator[list[int]]:
    """Groups of parallel arcs, in the order of their first."""
    groups: dict[tuple[int, int], list[int]] = {}
    for arc in arcs:
        groups.setdefault((int(a.source[arc]), int(a.target[arc])), []).append(arc)
    yield from groups.values()


def _label(
    arcs: list[int], pen: Pen, images: Mapping[int, str], max_labels: int, strokes: int
) -> str:
    """Text and images of parallel arcs; `strokes`: how many lines are drawn beside the first."""
    shown = arcs if len(arcs) <= max_labels + 1 else arcs[:max_labels]
    lines = [pen.label(arc) for arc in shown]
    if len(shown) < len(arcs):
        lines.append(f'<FONT COLOR="{QUIET}">+ {len(arcs) - len(shown)} more</FONT>')
    if strokes:  # a bundle of strokes is high: a line of small print keeps the text off it
        lines.append(f'<FONT POINT-SIZE="{2 * strokes}">{SPACE}</FONT>')
    cells = list(dict.fromkeys(images[arc] for arc in arcs if arc in images))
    if cells:
        return _with_images(cells, lines)
    return "<BR/>".join(f"{SPACE}{line}{SPACE}" for line in lines)


def _with_images(cells: list[str], lines: list[str]) -> str:
    rows = "".join(f'<TR><TD BORDER="0">{line}</TD></TR>' for line in lines)
    pictures = "".join(cells)
    return (
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="0">'
        f'<TR><TD><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{pictures}</TR></TABLE>'
        f"</TD></TR>{rows}</TABLE>"
    )
