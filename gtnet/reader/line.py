"""A line of writing as networks swept over it see it: its ink, at one height."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from gtnet.reader.ink import check_image, ink_of, reduced, unframed
from gtnet.reader.page import find_line, place_of_ink

STRONG = 128
"""Ink that is writing rather than the print of the paper, of 255."""


@dataclass(frozen=True)
class LineConfig:
    """How an image becomes a line. Lengths are pixels of the line.

    `height`: rows of every line; `margin`: paper left and right of it; `max_width`: wider lines
    are squeezed to it; `room`: paper above and below the writing, as a share of its height;
    `max_height`: higher images are reduced by a whole factor first, pixels of the image.
    """

    height: int = 32
    margin: int = 4
    max_width: int = 4096
    room: float = 0.06
    max_height: int = 160


@dataclass(frozen=True)
class Line:
    """A line of writing: `ink` uint8 [height, width], 0 is paper, 255 full ink.

    `box` is the part (x0, y0, x1, y1) of the image that it shows, without the margins, and
    `margin` the columns of each; `clear` the share of what is on the image that this line of
    writing explains, see `page`. A line on which nothing is drawn has a width of 0.
    """

    ink: np.ndarray
    box: tuple[int, int, int, int]
    margin: int
    clear: float = 1.0

    def __len__(self) -> int:
        """Columns."""
        return self.ink.shape[1]


def line_of(image: np.ndarray, config: LineConfig | None = None) -> Line:
    """The line of writing on an image, cropped to the rows that are written on.

    On a larger page the line with most ink is looked for; a printed box around it is left out.

    Arguments: `image` uint8 [height, width], dark ink on light paper. Raises TypeError or
    ValueError for what is no grey image. Complexity: linear in the pixels.
    """
    config = config or LineConfig()
    height, width = check_image(image, "line_of").shape
    left, top, right, bottom = 0, 0, width, height
    clear = 1.0
    if height > config.max_height:
        place = find_line(image, config.max_height)
        (left, top, right, bottom), clear = place.box, place.clear
        image = image[top:bottom, left:right]
    factor = -(-len(image) // config.max_height)
    if factor > 1:
        image = reduced(image, factor)
    ink = unframed(ink_of(image))
    line = line_of_ink(np.rint(ink * 255).astype(np.uint8), config)
    clear = min(clear, place_of_ink(ink, image.shape, config.max_height).clear)
    x0, y0, x1, y1 = (factor * edge for edge in line.box)
    box = (left + x0, top + y0, min(left + x1, right), min(top + y1, bottom))
    return replace(line, box=box, clear=clear)


def line_of_ink(ink: np.ndarray, config: LineConfig | None = None) -> Line:
    """`line_of` for ink that is parted from its paper already, uint8 [height, width]."""
    config = config or LineConfig()
    top, bottom = _written_rows(ink, config.room)
    if top == bottom:
        return Line(np.zeros((config.height, 0), np.uint8), (0, 0, 0, 0), config.margin)
    tall, wide = bottom - top, ink.shape[1]
    width = min(config.max_width, max(4, round(wide * config.height / tall)))
    crop = Image.fromarray(ink[top:bottom])
    small = crop.resize((width, config.height), Image.Resampling.BILINEAR)
    lined = np.pad(np.asarray(small), ((0, 0), (config.margin, config.margin)))
    return Line(lined, (0, top, wide, bottom), config.margin)


def _written_rows(ink: np.ndarray, room: float) -> tuple[int, int]:
    """First row of the writing and the row behind its last; printed rules do not count."""
    strong = np.count_nonzero(ink > STRONG, axis=1)
    written = np.where(strong > 0.6 * ink.shape[1], 0, strong)
    if not written.any():
        written = strong
    total = np.cumsum(written)
    if total[-1] == 0:
        return 0, 0
    top = int(np.searchsorted(total, 0.005 * total[-1], side="right"))
    bottom = int(np.searchsorted(total, 0.995 * total[-1])) + 1
    extra = room * (bottom - top)
    return max(0, round(top - extra)), min(len(ink), round(bottom + extra))
