"""Frames against labels: the scores of a network, and the best path through a graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gtnet._memory import named
from gtnet.distance import forward_score
from gtnet.draw.picture import PlotPicture
from gtnet.draw.style import FAINT, HIGHLIGHT, INK, QUIET, plot_style
from gtnet.draw.text import Symbols, symbol, visible
from gtnet.lattice import Lattice
from gtnet.paths import viterbi_path

_CELL, _MARGIN, _WIDEST = 0.19, 0.75, 11.0  # inches


@named
def draw_alignment(
    lattice: Lattice,
    path: str | Path | None = None,
    *,
    index: int | None = None,
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    show: Literal["probability", "posterior", "score"] = "probability",
    image: np.ndarray | None = None,
    title: str | None = None,
    max_labels: int = 30,
) -> PlotPicture:
    """Draw emissions as a heat map of frames and labels, with the Viterbi path through a graph.

    What the path writes is printed above the frame in which it writes it. Over a segmentation graph
    the columns are segments, of which the path visits some.

    Args:
        lattice: `emissions @ graph`, a batch of one or a batch and `index`.
        path: where to write it; .svg, .png or .pdf. None writes nothing.
        index: which item of the batch.
        isymbols, osymbols: names of the labels of the emissions and of what the graph writes.
        show: darkness of a cell: the "probability" of the label in its frame (a softmax of the
            scores), its "posterior" under all paths of the lattice, or its "score".
        image: the picture that the frames were taken from, drawn below over their full width:
        [height, width] or [height, width, 3], uint8 or float in [0, 1]. title: a line above the
        picture. max_labels: the most rows drawn: labels on the path, then the most probable ones.

    Returns:
        A picture. Notebooks display it; `.svg`, `.png` and `.save(path)` export it.

    Raises:
        TypeError: anything but a `Lattice`.
        ValueError: a batch without `index`, another `show`. IndexError: no such item.
        ImportError: matplotlib is missing.

    Complexity: O(frames · labels) and that of the Viterbi path. No gradient.
    """
    if not isinstance(lattice, Lattice):
        raise TypeError(
            f"draw_alignment: expected a Lattice, emissions @ graph, got {type(lattice).__name__}"
        )
    if show not in ("probability", "posterior", "score"):
        raise ValueError(
            f'draw_alignment: show is {show!r}, expected "probability", "posterior" or "score"'
        )
    if index is None and len(lattice) != 1:
        raise ValueError(
            f"draw_alignment: the batch has {len(lattice)} items, choose one with index="
        )
    item = 0 if index is None else index
    if not -len(lattice) <= item < len(lattice):
        raise IndexError(f"draw_alignment: index {index} in a batch of {len(lattice)} items")
    cells, best = _cells(lattice, show, item), _best(lattice, item)
    figure = _figure(cells, best, isymbols, osymbols, image, title, max_labels)
    segments = lattice.emissions.lengths is None
    figure.axes[-1].set_xlabel("segment" if segments else "frame", color=QUIET)
    picture = PlotPicture(figure)
    if path is not None:
        picture.save(path)
    return picture


@dataclass(frozen=True)
class _Best:
    """The Viterbi path: the labels that it reads and writes, and where."""

    columns: np.ndarray
    labels: np.ndarray
    written: list[tuple[float, int]]


def _rows_of(lattice: Lattice, item: int) -> slice:
    """The rows of the emissions that belong to an item, counted through the batch."""
    offsets = lattice.emissions.segmentation.arc_offsets.tolist()
    i = item if len(lattice.emissions) > 1 else 0
    return slice(offsets[i], offsets[i + 1])


def _cells(lattice: Lattice, show: str, item: int) -> np.ndarray:
    """The darkness of each cell, [columns, labels]."""
    emissions = lattice.emissions
    scores = emissions.scores.detach()
    if show == "posterior":
        scores = _posteriors(lattice, item)
    if scores.ndim == 3:
        frames = torch.arange(scores.shape[1], device=scores.device)
        inside = frames < emissions.segmentation.arc_offsets.diff()[:, None]
        scores = scores[inside]
    values = scores[_rows_of(lattice, item)].double()
    return (values.softmax(-1) if show == "probability" else values).cpu().numpy()


def _posteriors(lattice: Lattice, item: int) -> Tensor:
    """How probable each label is in each frame under all paths: the forward score's gradient."""
    scores = lattice.emissions.scores.detach().requires_grad_()
    operand = lattice.operand.detach()
    with torch.enable_grad():
        total = forward_score(lattice.emissions.with_scores(scores) @ operand)
        (chances,) = torch.autograd.grad(total[item], scores)
    return chances


def _best(lattice: Lattice, item: int) -> _Best:
    found = viterbi_path(lattice)[item]
    assert found.arc_maps is not None
    rows = found.arc_maps[0].detach().cpu().numpy()
    reads = rows >= 0
    columns = rows // lattice.emissions.num_labels - _rows_of(lattice, item).start
    at = np.where(reads, columns, -1)
    # A label written between two frames is shown with the frame before it.
    at = np.maximum.accumulate(at) if len(at) else at
    olabels = found.olabels.cpu().numpy()
    written = [(float(max(x, 0)), int(o)) for x, o in zip(at, olabels, strict=True) if o >= 0]
    labels = rows[reads] % lattice.emissions.num_labels
    return _Best(columns[reads], labels, written)


def _figure(
    cells: np.ndarray,
    best: _Best,
    isymbols: Symbols,
    osymbols: Symbols,
    image: np.ndarray | None,
    title: str | None,
    max_labels: int,
) -> Any:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = _shown(cells, best, max_labels)
    columns, count = len(cells), len(rows)
    wide = min(_WIDEST, max(4.0, _CELL * columns + _MARGIN))
    below = 0.0
    if image is not None:
        tall, broad = np.asarray(image).shape[:2]
        below = min(1.5, max(0.4, (wide - _MARGIN) * tall / broad))
    heights = [max(1.0, 0.2 * count), below] if below else [max(1.0, 0.2 * count)]
    with mpl.rc_context(plot_style()):
        figure = Figure(figsize=(wide, sum(heights) + 0.95), layout="constrained")
        axes = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)
        top = axes[0, 0]
        _heat(top, cells, rows)
        _names(top, [visible(symbol(isymbols, label)) for label in rows], cells.shape[1])
        _trace(top, best, rows)
        _write(top, best, osymbols, wide / max(1, columns))
        if image is not None:
            _under(axes[1, 0], np.asarray(image), columns)
        axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1, 0].tick_params(axis="x", length=3, color=FAINT, labelcolor=QUIET)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    return figure


def _shown(cells: np.ndarray, best: _Best, max_labels: int) -> list[int]:
    """The labels that get a row, in their order."""
    num_labels = cells.shape[1]
    if num_labels <= max_labels:
        return list(range(num_labels))
    peak = cells.max(0) if len(cells) else np.zeros(num_labels)
    peak = peak.copy()
    peak[best.labels] = np.inf
    return sorted(np.argsort(-peak, kind="stable")[:max_labels].tolist())


def _heat(axes: Any, cells: np.ndarray, rows: list[int]) -> None:
    values = cells[:, rows].T if len(cells) else np.zeros((len(rows), 1))
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if low >= 0 and high <= 1 + 1e-6:
        low, high = 0.0, 1.0
    # Not quite black: the path and its markers stay visible on the darkest cells.
    axes.imshow(
        np.where(np.isfinite(values), values, low),
        aspect="auto",
        cmap="Greys",
        vmin=low,
        vmax=low + 1.5 * max(high - low, 1e-9),
        interpolation="nearest",
    )
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(axis="y", which="minor", color="#ececec", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color(FAINT)


def _names(axes: Any, names: list[str], num_labels: int) -> None:
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=0)
    if len(names) < num_labels:
        axes.set_ylabel(f"{len(names)} of {num_labels:,} labels shown", color=QUIET)


def _trace(axes: Any, best: _Best, rows: list[int]) -> None:
    row_of = {label: row for row, label in enumerate(rows)}
    y = [row_of.get(int(label), np.nan) for label in best.labels]
    axes.plot(best.columns, y, color=HIGHLIGHT, linewidth=0.8, alpha=0.6)
    axes.plot(best.columns, y, "o", color=HIGHLIGHT, markersize=5, mec="white", mew=0.7)


def _write(axes: Any, best: _Best, symbols: Symbols, cell: float) -> None:
    """What the path writes, above its frames; on a second line where one is too crowded."""
    free = [-np.inf, -np.inf]
    for x, label in best.written:
        text = visible(symbol(symbols, label))
        half = (0.075 * len(text) + 0.06) / 2 / cell
        level = next((i for i in (0, 1) if x - half >= free[i]), None)
        if level is None:
            continue
        free[level] = x + half
        axes.annotate(
            text,
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4 + 11 * level),
            textcoords="offset points",
            ha="center",
            color=HIGHLIGHT,
            fontweight="bold",
            annotation_clip=False,
        )


def _under(axes: Any, image: np.ndarray, columns: int) -> None:
    limit = 255 if image.dtype == np.uint8 else 1
    tall = image.shape[0]
    axes.imshow(
        image,
        aspect="auto",
        cmap="gray",
        vmin=0,
        vmax=limit,
        extent=(-0.5, columns - 0.5, tall, 0),
        interpolation="antialiased",
    )
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
