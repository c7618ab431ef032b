"""Real handwritten digits taken out of their lines, to write other lines with."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from scipy import ndimage

from gtnet.reader.data import digit_samples
from gtnet.reader.ink import EIGHT, ink_of
from gtnet.reader.strokes import drawn, read_strokes
from gtnet.reader.synthesis import Box

_FAINT = 0.3  # less ink is the print of the paper, or a shadow


@dataclass(frozen=True)
class Glyph:
    """One written character: its ink, and how it stands in its line.

    `ink` uint8 [height, width], 255 full ink; `character`; `size` and `rise` its height, and how
    far its foot stands above the foot of the line, in heights of the line's body; `writer`: glyphs
    of one number are likely of one hand.
    """

    ink: np.ndarray
    character: str
    size: float
    rise: float
    writer: int


class Boxed(Protocol):
    """A data set that knows where characters stand."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]: ...

    def layout(self, index: int) -> list[tuple[str, Box]]:
        """The characters and their boxes, left to right."""


@dataclass(frozen=True)
class Written:
    """A line of writing with the boxes of its characters: `ink` uint8, the body's rows `line`."""

    ink: np.ndarray
    layout: list[tuple[str, Box]]
    line: tuple[float, float]

    @property
    def body(self) -> float:
        """Height of the line's body, pixels."""
        return max(4.0, self.line[1] - self.line[0])


def written_lines(data: Boxed) -> list[Written]:
    """The lines of a data set that have boxes, as ink."""
    lines = []
    for index in range(len(data)):
        layout = data.layout(index)
        if layout:
            ink = np.rint(255 * ink_of(data[index][0])).astype(np.uint8)
            rows = np.median([(box[1], box[3]) for _, box in layout], axis=0)
            lines.append(Written(ink, layout, (float(rows[0]), float(rows[1]))))
    return lines


def glyphs_of(lines: Sequence[Written]) -> list[Glyph]:
    """Each boxed character alone: ink of its neighbours, and faint ink, taken away."""
    glyphs = []
    for number, line in enumerate(lines):
        marks, count = ndimage.label(line.ink > 255 * _FAINT, EIGHT)
        total = np.bincount(marks.ravel(), minlength=count + 1)
        for character, (x0, y0, x1, y1) in line.layout:
            x0, y0 = max(0, x0), max(0, y0)
            inside = marks[y0:y1, x0:x1]
            if inside.size == 0:
                continue
            share = np.bincount(inside.ravel(), minlength=count + 1) / np.maximum(total, 1)
            own = share > 0.15
            own[0] = False
            # One pixel more than the marks: the soft edges of strokes.
            kept = ndimage.maximum_filter(own[inside], 3)
            ink = np.where(kept, line.ink[y0:y1, x0:x1], 0)
            rows, columns = (np.flatnonzero(ink.max(axis=a) > 255 * _FAINT) for a in (1, 0))
            if len(rows) < 5 or len(columns) < 2:
                continue
            top, bottom = int(rows[0]), int(rows[-1]) + 1
            ink = ink[top:bottom, columns[0] : columns[-1] + 1]
            rise = (line.line[1] - (y0 + bottom)) / line.body
            glyphs.append(Glyph(ink, character, (bottom - top) / line.body, rise, number))
    return glyphs


def sample_glyphs() -> list[Glyph]:
    """The training part of the handwritten digits that come with scikit-learn."""
    return [
        Glyph(np.asarray(Image.fromarray(sample).resize((24, 32))), str(digit), 1.0, 0.0, number)
        for digit, samples in enumerate(digit_samples("train"))
        for number, sample in enumerate(samples)
    ]


def idx_glyphs(root: str | Path, *, part: str = "train") -> list[Glyph]:
    """The digits of a folder in MNIST's format: `train-images-idx3-ubyte.gz` and its labels.

    Raises ValueError for a folder without them, or files of another format.
    """
    arrays = []
    for name, magic in (
        (f"{part}-images-idx3-ubyte.gz", 2051),
        (f"{part}-labels-idx1-ubyte.gz", 2049),
    ):
        path = Path(root) / name
        try:
            with gzip.open(path) as file:
                data = file.read()
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"idx_glyphs: cannot read {path}: {error}") from error
        found = int.from_bytes(data[:4], "big")
        count, skip = int.from_bytes(data[4:8], "big"), 16 if magic == 2051 else 8
        if found != magic or (len(data) - skip) % max(1, count):
            raise ValueError(f"idx_glyphs: {path} is no idx file of digits (begins with {found})")
        arrays.append(np.frombuffer(data, np.uint8, offset=skip).reshape(count, -1))
    images, labels = arrays
    if len(images) != len(labels):
        raise ValueError(f"idx_glyphs: {root} has {len(images)} images and {len(labels)} labels")
    side = round(images.shape[1] ** 0.5)
    glyphs = []
    for number, (image, label) in enumerate(
        zip(images.reshape(-1, side, side), labels[:, 0], strict=True)
    ):
        rows, columns = (np.flatnonzero(image.max(axis=a) > 64) for a in (1, 0))
        if len(rows) > 4 and len(columns) > 1 and label < 10:
            ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            glyphs.append(Glyph(ink, str(label), len(ink) / 20, 0.0, -1 - number // 64))
    return glyphs


def penned_glyphs(path: str | Path, *, seed: int = 0) -> list[Glyph]:
    """The single digits of a file of strokes, each drawn with a pen of random width."""
    rng = np.random.default_rng([seed, 11])
    writers: dict[str, int] = {}
    glyphs = []
    for item in read_strokes(path):
        pen = float(rng.uniform(2.0, 5.0))
        if len(item.label) == 1 and item.label.isdecimal() and sum(map(len, item.strokes)) > 4:
            # Numbers far apart: nobody is taken for the neighbour of anybody.
            writer = -1000 - 10 * writers.setdefault(item.writer, len(writers))
            ink = drawn(item.strokes, pen=pen, widest=2.0)
            glyphs.append(Glyph(ink, item.label, 1.0, 0.0, writer))
    if not glyphs:
        raise ValueError(f"penned_glyphs: {path} holds no single digit")
    return glyphs
