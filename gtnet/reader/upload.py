"""Images that somebody sends: looked at before a pixel is decoded."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from gtnet.reader.images import read_image
from gtnet.reader.inputs import file_of

MOST_PIXELS = 12_000_000
"""Pixels of the largest image that is opened; a page of 300 dots per inch has 9 million."""


def opened(data: bytes, name: str, most: int = MOST_PIXELS) -> np.ndarray:
    """An image file as grey uint8 [height, width], dark ink on light paper.

    Raises ValueError for what is no image, has several pages, or more than `most` pixels; the size
    is looked at before a pixel is decoded.
    """
    if data.lstrip()[:5] != b"%PDF-":
        try:
            with Image.open(io.BytesIO(data)) as image:
                wide, high = image.size
        except Image.DecompressionBombError:
            raise ValueError(f"{name} is larger than any honest image: crop the amount") from None
        except Exception as error:  # Pillow's readers raise errors of many kinds
            raise ValueError(f"{name} is not an image that can be opened") from error
        if wide * high > most:
            raise ValueError(
                f"{name} has {wide} x {high} pixels, more than {most:,}: crop the amount"
            )
    with file_of(data) as path:
        try:
            return read_image(path)
        except ValueError as error:
            told = str(error).replace(str(path), "it").removeprefix("read_image: ")
            raise ValueError(f"{name}: {told}") from error
