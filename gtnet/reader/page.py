"""Where on an image the line of writing is, and how much of the ink there it explains.

Images are taken to be one line, cropped. On others, such as a page with a small amount on it or two
lines one below the other, the line with most ink is looked for; what ink it leaves is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gtnet.reader.ink import EIGHT, ink_of, reduced, unframed

_THRESHOLD = 0.35  # of typical ink
_SIDE = 1000  # pixels; larger images are reduced for the search
_ENOUGH = 0.8  # share of the ink that a line explains with some of it being noise and print
_LEGIBLE = (5.0, 11.0)  # heights of writing, pixels: below the first nothing can be read


@dataclass(frozen=True)
class Place:
    """The line of writing on an image.

    `box`: (x0, y0, x1, y1) of it with room around, the whole image where that is one line; `clear`:
    in [0, 1], 1 where all ink is of this line and large enough to be read.
    """

    box: tuple[int, int, int, int]
    clear: float


def clear_of(share: float) -> float:
    """How far a line is to be believed that explains this share of the ink, in [0, 1]."""
    return min(1.0, share / _ENOUGH) ** 4


def find_line(image: np.ndarray, max_height: int) -> Place:
    """The line with most ink on an image, uint8 [height, width], dark on light.

    `max_height`: images no higher are not cropped. Complexity: linear in the pixels.
    """
    height, width = image.shape
    factor = max(1, -(-max(height, width) // _SIDE))
    small = reduced(image, factor) if factor > 1 else image
    return place_of_ink(unframed(ink_of(small)), image.shape, max_height, factor)


def place_of_ink(
    ink: np.ndarray, shape: tuple[int, ...], max_height: int, factor: int = 1
) -> Place:
    """`find_line` for ink that is parted from its paper, reduced by a factor."""
    height, width = shape
    whole = (0, 0, width, height)
    labels, count = ndimage.label(ink > _THRESHOLD, EIGHT)
    if count == 0:
        return Place(whole, 1.0)
    boxes = np.array(
        [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)], float
    )
    area = np.bincount(labels.ravel())[1:].astype(float)
    kept = _writing(boxes, area, ink.shape)
    if not kept.any():
        return Place(whole, 1.0)
    boxes, area = boxes[kept], area[kept]
    lines = _lines(boxes, area)
    own = lines == np.argmax(np.bincount(lines, area))
    x0, y0 = boxes[own, :2].min(axis=0)
    x1, y1 = boxes[own, 2:].max(axis=0)
    share = float(area[own].sum() / area.sum())
    tall = factor * float(np.average(boxes[own, 3] - boxes[own, 1], weights=area[own]))
    legible = np.clip((tall - _LEGIBLE[0]) / (_LEGIBLE[1] - _LEGIBLE[0]), 0, 1)
    clear = clear_of(share) * float(legible)
    if height <= max_height or factor * (y1 - y0) > 0.5 * height:
        return Place(whole, clear)
    room = round(0.5 * (y1 - y0))
    found = (x0 - room) * factor, (y0 - room) * factor, (x1 + room) * factor, (y1 + room) * factor
    left, top = max(0, int(found[0])), max(0, int(found[1]))
    return Place((left, top, min(width, int(found[2])), min(height, int(found[3]))), clear)


def _writing(boxes: np.ndarray, area: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """bool [components]: neither rules and frames nor the grain of the paper."""
    wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    rule = (wide > 0.6 * shape[1]) & (tall < 0.1 * wide)
    frame = (wide > 0.6 * shape[1]) & (tall > 0.6 * shape[0]) & (area < 0.2 * wide * tall)
    left = area * ~(rule | frame)
    return left >= max(2.0, 0.01 * left.max(initial=0))


def _lines(boxes: np.ndarray, area: np.ndarray) -> np.ndarray:
    """int [components]: the line each stands on; lines grow from the largest component on.

    A component joins a line if it overlaps its body by half of the lesser height, and is not
    further away than four heights; small marks join the nearest.
    """
    y0, y1 = boxes[:, 1], boxes[:, 3]
    tall = y1 - y0
    line = np.full(len(boxes), -1)
    number = 0
    body = np.average(tall, weights=area)
    large = tall > 0.45 * body
    while (line[large] < 0).any():
        seed = int(np.argmax(area * large * (line < 0)))
        line[seed] = number
        while True:
            own = line == number
            top, bottom = (
                np.average(y0[own], weights=area[own]),
                np.average(y1[own], weights=area[own]),
            )
            shared = np.minimum(y1, bottom) - np.maximum(y0, top)
            near = _gap(boxes, boxes[own]) < 4 * (bottom - top)
            joins = large & (line < 0) & near & (shared > 0.5 * np.minimum(tall, bottom - top))
            if not joins.any():
                break
            line[joins] = number
        number += 1
    for i in np.flatnonzero(line < 0):
        distance = [np.min(_distances(boxes[i], boxes[large & (line == k)])) for k in range(number)]
        line[i] = int(np.argmin(distance))
    return line


def _gap(boxes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Empty columns between each box and the extent of some others."""
    left, right = own[:, 0].min(), own[:, 2].max()
    return np.maximum(np.maximum(boxes[:, 0] - right, left - boxes[:, 2]), 0)


def _distances(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    across = np.maximum(np.maximum(others[:, 0] - box[2], box[0] - others[:, 2]), 0)
    down = np.maximum(np.maximum(others[:, 1] - box[3], box[1] - others[:, 3]), 0)
    return across + 2 * down
