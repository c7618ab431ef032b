"""Pictures of what a reader makes of one input: one graph, or a page with all of them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gtnet
from gtnet.reader import figures, report
from gtnet.reader.checkpoint import write_file
from gtnet.reader.inputs import picture
from gtnet.reader.recognizer import Recognizer


def draw_input(reader: Recognizer, given: Any, path: Path, which: str, name: str) -> None:
    """Draw one graph of an input, or with `.html` a page with its picture and all of them.

    Raises ValueError where there is no such graph, OSError that names the picture, where the disk
    is full for example.
    """
    try:
        _draw(reader, given, path, which, name)
    except OSError as error:  # it may be of a file on the way to the picture
        told = error.strerror or str(error)
        told = told if told.startswith("cannot write") else f"cannot write: {told}"
        raise OSError(error.errno, told, str(path)) from error


def _draw(reader: Recognizer, given: Any, path: Path, which: str, name: str) -> None:
    (seen,) = reader.observe([given])
    image = picture(given)
    if not len(seen):
        raise ValueError(f"{name}: no reading: nothing drawn, so there is no graph")
    segments = report.look_at_segments(reader, image, seen) if which != "interpretation" else None
    if which != "interpretation" and segments is None:
        raise ValueError(
            f"this reader looks at frames, not at segments: it has no {which} graph to draw; its"
            " interpretation graph holds the likely paths through the frames"
        )
    if which == "segmentation":
        assert segments is not None
        gtnet.draw(segments[0], path, images=segments[1], max_arcs=1000)
        return
    view = report.look(reader, image, seen)
    if path.suffix == ".html":
        page = _page(image, report.cuts_of(reader, seen), view, name, reader.alphabet.symbols)
        write_file(path, page.encode("utf-8"))
        return
    graph, pictures = (
        (view.recognition, view.recognition_images)
        if which == "recognition"
        else (view.interpretation, view.interpretation_images)
    )
    assert graph is not None
    gtnet.draw(
        graph,
        path,
        isymbols=reader.alphabet.symbols,
        osymbols=reader.alphabet.symbols,
        images=pictures,
        highlight="best",
        posteriors=True,
        min_posterior=0.01,
        max_labels=3,
        max_arcs=1000,
    )


def _page(
    image: np.ndarray,
    cuts: np.ndarray | None,
    view: report.View,
    name: str,
    symbols: Sequence[str],
) -> str:
    """One image with its cuts, its answer and its graphs, as one self-contained page."""
    graphs = [
        f"<h2>{title}</h2>{figures.graph_view(graph, pictures, labels, symbols, title)}"
        for title, graph, pictures, labels in (
            ("Recognition graph", view.recognition, view.recognition_images, 2),
            ("Interpretation graph", view.interpretation, view.interpretation_images, 4),
        )
        if graph is not None
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(name)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(view.answer or 'no reading')}</h1>"
        f"<p>{html.escape(name)}, confidence {view.confidence:.3f}</p>"
        f'<img src="{figures.image_with_cuts(image, cuts)}" alt="">{"".join(graphs)}'
        f"{gtnet.GraphView.assets()}"
    )


_STYLE = """:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 1.5rem; } img { max-width: 100%; }"""
