"""Figures of the report: graphs, images and plots as text that an HTML page can carry."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import cycle
from typing import Any, ParamSpec

import numpy as np
from PIL import Image

import gtnet

Symbols = Sequence[str] | Mapping[int, str] | None
"""Names of labels: one for each label, or a mapping."""

P = ParamSpec("P")
BEFORE, AFTER = "#d55e00", "#0072b2"
_SCALE = 2
_MISSING = "No picture: Graphviz is missing (pip install pygraphviz contains it)."


def graph_view(
    graph: gtnet.Graph | gtnet.Lattice,
    images: Mapping[int, np.ndarray],
    max_labels: int,
    symbols: Symbols,
    title: str,
) -> str:
    """The useful part of a graph to touch, an element of a page with `gtnet.GraphView.assets`.

    A sentence where Graphviz is missing.
    """
    try:
        view = gtnet.draw_view(
            graph,
            isymbols=symbols,
            osymbols=symbols,
            show="energy",
            digits=1,
            images=images,
            min_posterior=0.01,
            max_states=30,
            max_arcs=150,
            max_labels=max_labels,
            title=title,
        )
    except gtnet.GraphvizMissingError:
        return f"<p class=missing>{_MISSING}</p>"
    return view.element


def image_uri(image: np.ndarray) -> str:
    """An image as a data URI: [height, width] or [height, width, 3], uint8 or float in [0, 1]."""
    pixels = np.asarray(image)
    if pixels.size == 0:
        raise ValueError(f"image_uri: image has shape {pixels.shape}, expected pixels")
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def image_with_cuts(image: np.ndarray, cuts: np.ndarray | None) -> str:
    """The image as SVG with a thin line for each candidate cut, as a data URI."""
    tall, wide = np.asarray(image).shape[:2]
    lines = "".join(
        f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" vector-effect="non-scaling-stroke"/>'
        for (x0, y0), (x1, y1) in ([] if cuts is None else np.asarray(cuts).tolist())
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" '
        f'width="{wide * _SCALE}" height="{tall * _SCALE}">'
        f'<image href="{image_uri(image)}" width="{wide}" height="{tall}"/>'
        f'<g stroke="{BEFORE}" stroke-width="1.2">{lines}</g></svg>'
    )
    return _svg_uri(svg)


def _svg_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


# At the least width of a page, 328 pixels, letters of this size have 11 pixels.
_LETTERS = 13.0  # points


def _legible(plot: Callable[P, str]) -> Callable[P, str]:
    """The same plot with letters that can be read on a small screen too."""

    @wraps(plot)
    def drawn(*given: P.args, **options: P.kwargs) -> str:
        from matplotlib import rc_context

        with rc_context({"font.size": _LETTERS}):
            return plot(*given, **options)

    return drawn


@_legible
def curve_plot(
    x_name: str, y_name: str, lines: Mapping[str, Sequence[tuple[float, float]]], percent: bool
) -> str:
    """Lines over the course of training as an SVG data URI; long lines are smoothed."""
    figure, axes = _figure(4.4, 3.3)
    colours = [AFTER] if len(lines) == 1 else [BEFORE, AFTER, "#009e73", "#555555"]
    for (name, points), colour in zip(lines.items(), cycle(colours), strict=False):
        x, y = np.asarray(points, dtype=float).reshape(-1, 2).T
        window = len(x) // 20
        if window > 1:
            axes.plot(x, y, color=colour, alpha=0.25, linewidth=1)
            x, y = (np.convolve(v, np.ones(window) / window, mode="valid") for v in (x, y))
        axes.plot(x, y, color=colour, label=name, marker="o" if len(x) < 2 else None)
    _finish(axes, x_name, y_name, percent=percent, legend=len(lines) > 1)
    return _figure_uri(figure)


@_legible
def reject_plot(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    error_rate: float,
    point: tuple[float, float] | None = None,
) -> str:
    """The share of wrong answers against the share of amounts read, as an SVG data URI.

    It shows what is near the error rate: five times as much and no more. `point`: (share read,
    share wrong) of a threshold, marked.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = _figure(5.2, 3.8)
    for (name, (read, wrong)), colour in zip(lines.items(), (BEFORE, AFTER), strict=False):
        axes.plot(read, wrong, color=colour, label=name, drawstyle="steps-post")
    axes.axhline(error_rate, color="#767676", linewidth=1, linestyle=":")
    axes.set_xlim(0, 1)
    most = max(float(wrong.max(initial=0)) for _, wrong in lines.values())
    axes.set_ylim(0, max(min(1.05 * most, 5 * error_rate), 1.5 * error_rate))
    if point is not None:
        shown = point[0], min(point[1], axes.get_ylim()[1])  # at the edge where it is beyond
        below = -18 if shown[1] > axes.get_ylim()[1] / 2 else 8
        axes.plot(*shown, "o", color=AFTER, clip_on=False, zorder=3)
        axes.annotate(
            f"{point[0]:.1%} read, {point[1]:.1%} wrong",
            shown,
            (8, below) if point[0] < 0.5 else (-8, below),
            textcoords="offset points",
            ha="left" if point[0] < 0.5 else "right",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _finish(axes, "amounts read", "of these wrong", percent=True, legend=True)
    return _figure_uri(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _finish(axes: Any, x: str, y: str, *, percent: bool, legend: bool) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if percent:
        low, high = axes.get_ylim()
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.05 else 1))
    if axes.get_xlim()[1] > 1:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    if legend:
        axes.figure.legend(frameon=False, loc="outside upper left")  # where no curve is


def _figure_uri(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return _svg_uri(buffer.getvalue())
