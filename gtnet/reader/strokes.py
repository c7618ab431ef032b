"""Writing as the strokes of a pen: read from a file, and drawn as ink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_ARRAYS = ("points", "stroke_offsets", "sample_offsets", "labels", "writer")


@dataclass(frozen=True)
class Penned:
    """Something written with a pen.

    `strokes`: arrays [points, 2] of x and y, y downwards, in the order of writing; `label`: what it
    says; `writer`: the name of who wrote it.
    """

    strokes: list[np.ndarray]
    label: str
    writer: str


def read_strokes(path: str | Path) -> list[Penned]:
    """The writing in a `.npz` file of strokes.

    The file holds `points` [points, 2]; `stroke_offsets` [strokes + 1] into them;
    `sample_offsets` [samples + 1] into the strokes; `labels` and `writer` [samples], strings.
    Raises ValueError for a file that cannot be read, lacks an array, or whose offsets do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"read_strokes: cannot read strokes from {path}: {error}") from error
    points, strokes, samples = (arrays[name] for name in _ARRAYS[:3])
    count = len(samples) - 1
    fits = (
        points.ndim == 2
        and points.shape[1] == 2
        and _partition(strokes, len(points))
        and _partition(samples, len(strokes) - 1)
        and len(arrays["labels"]) == len(arrays["writer"]) == count
    )
    if not fits:
        raise ValueError(
            f"read_strokes: the arrays of {path} do not fit: points {points.shape}, "
            f"{len(strokes)} stroke offsets, {len(samples)} sample offsets, "
            f"{len(arrays['labels'])} labels, {len(arrays['writer'])} writers"
        )
    return [
        Penned(
            [points[strokes[s] : strokes[s + 1]] for s in range(samples[i], samples[i + 1])],
            str(arrays["labels"][i]),
            str(arrays["writer"][i]),
        )
        for i in range(count)
    ]


def _partition(offsets: np.ndarray, total: int) -> bool:
    """Whether offsets rise from 0 to a total."""
    if offsets.ndim != 1 or not len(offsets) or not np.issubdtype(offsets.dtype, np.integer):
        return False
    return bool(offsets[0] == 0 and offsets[-1] == total and (np.diff(offsets) >= 0).all())


def drawn(
    strokes: Sequence[np.ndarray], *, height: int = 40, pen: float = 3.0, widest: float = 40.0
) -> np.ndarray:
    """The ink of strokes, uint8 [height, width], 255 full ink.

    Scaled to `height` pixels, pen included, in the proportions of the writing; what is wider than
    `widest` heights, or has no height at all, is scaled to that width instead. `pen`: width of the
    pen, pixels.
    """
    fine = 3  # drawn so many times as large, then made smaller: soft edges
    every = np.concatenate([np.asarray(s, np.float64) for s in strokes])
    low, size = every.min(axis=0), np.ptp(every, axis=0)
    room = max(1.0, height - pen)
    scale = min(room / max(size[1], 1e-9), (widest * height - pen) / max(size[0], 1e-9))
    if not size.any():
        scale = 1.0
    width, tall = (int(np.ceil(v)) for v in size * scale + pen)
    canvas = Image.new("L", (fine * max(width, 1), fine * max(tall, 1)))
    brush, line = ImageDraw.Draw(canvas), fine * pen
    for stroke in strokes:
        places = ((np.asarray(stroke) - low) * scale + pen / 2) * fine
        track = [(float(x), float(y)) for x, y in places]
        if len(track) > 1:
            brush.line(track, fill=255, width=max(1, round(line)))
        for x, y in track:  # round joints and ends
            brush.ellipse([x - line / 2, y - line / 2, x + line / 2, y + line / 2], fill=255)
    return np.asarray(canvas.resize((max(width, 1), max(tall, 1)), Image.Resampling.BOX))
