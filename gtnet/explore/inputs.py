"""What a page sends: drawings, files of images, samples of data sets; checked before it is used."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from PIL import Image

from gtnet.reader.upload import MOST_PIXELS as MOST_PIXELS
from gtnet.reader.upload import opened as opened

_WIDE, _TALL = 1600, 400


def drawing(text: str) -> np.ndarray:
    """The image in a data URI (or bare base64), grey uint8 [height, width].

    Raises ValueError for what is no image, and for one of more than `MOST_PIXELS`.
    """
    _, _, body = text.rpartition(",")
    try:
        data = base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError("the drawing is not in base64") from None
    return opened(data, "the drawing")


def reduced(image: np.ndarray) -> np.ndarray:
    """An image small enough to be drawn on: reduced to the size of a page's paper."""
    factor = max(image.shape[0] / _TALL, image.shape[1] / _WIDE, 1.0)
    if factor == 1:
        return image
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def strokes(rows: Any) -> list[np.ndarray]:
    """Pen strokes, float32 [points, 2] each. Raises ValueError for anything else."""
    try:
        found = [np.asarray(row, np.float32).reshape(-1, 2) for row in rows]
    except (TypeError, ValueError):
        raise ValueError("strokes are lists of points (x, y)") from None
    if sum(map(len, found)) > 20_000 or not all(np.isfinite(row).all() for row in found):
        raise ValueError("strokes have at most 20,000 points, all of them finite")
    return [row for row in found if len(row)]
