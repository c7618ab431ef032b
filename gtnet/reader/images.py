"""Image files as grey arrays: cameras, scanners, deep pixels, files of several pages."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

_DOTS = 200  # per inch, of a page of a PDF
_REDUCED = 254  # the TIFF tag that says what a page is; bit 0: a smaller copy of another

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_image(path: str | Path) -> np.ndarray:
    """An image file as grey uint8 [height, width]: dark writing on light paper.

    Turned as the camera says, transparent parts on white, deep pixels at full range, light writing
    on dark paper inverted. `path` may name a page: `scan.tif#2`, `letter.pdf#1`.

    Raises:
        ValueError: the file is missing, is not a readable image, or holds several pages and none
            is named.
    """
    with _named(path):
        file, page = _parted(Path(path))
        pages = list(_pages(file, page))
    if len(pages) > 1:
        raise ValueError(
            f"read_image: {path} holds {len(pages)} pages; name one, such as {path}#1, or use"
            " read_images"
        )
    return pages[0]


def read_images(path: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every page of an image file with its name: the path, and `#1`, `#2` where there are several.

    Raises ValueError as `read_image` does. A PDF is drawn by pypdfium2, which
    `pip install 'gtnet-wfst[pdf]'` brings.
    """
    with _named(path):
        file, page = _parted(Path(path))
        first = None
        for number, image in enumerate(_pages(file, page), start=1):
            if number == 1:
                first = image  # named when it is known whether another follows
                continue
            if first is not None:
                yield f"{path}#1", first
                first = None
            yield f"{path}#{number}", image
    if first is not None:
        yield str(path), first


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Errors of all the ways a file can be unreadable, as one that names it."""
    try:
        yield
    except _UNREADABLE as error:
        what = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            what = error.strerror  # without its number and the name again
        raise ValueError(f"read_image: cannot read an image from {path}: {what}") from error


def _parted(path: Path) -> tuple[Path, int | None]:
    """The file, and the page of it that is asked for, from 1."""
    stem, mark, number = path.name.rpartition("#")
    if mark and stem and number.isascii() and number.isdigit() and not path.exists():
        return path.with_name(stem), int(number)
    return path, None


def _pages(path: Path, page: int | None) -> Iterator[np.ndarray]:
    """The pages of a file, or the one asked for."""
    with path.open("rb") as file:
        pdf = file.read(1024).lstrip().startswith(b"%PDF")
    found = 0
    for number, image in enumerate((_pdf if pdf else _images)(path), start=1):
        found = number
        if page is None or page == number:
            yield image
    if found == 0:
        raise ValueError("it holds no page")
    if page is not None and not 1 <= page <= found:
        raise ValueError(f"it holds {found} pages, there is no page {page}")


def _pdf(path: Path) -> Iterator[np.ndarray]:
    try:
        import pypdfium2
    except ImportError:
        raise ValueError(
            "a PDF is read with pypdfium2, which is missing: pip install 'gtnet-wfst[pdf]'"
        ) from None
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        raise ValueError(str(error)) from None
    try:
        for page in document:
            tall, wide = (length / 72 * _DOTS for length in page.get_size())
            if tall * wide > (Image.MAX_IMAGE_PIXELS or np.inf):
                raise ValueError(f"a page of {wide:.0f} by {tall:.0f} pixels is too large")
            yield _upright(np.array(page.render(scale=_DOTS / 72).to_pil().convert("L")))
    finally:
        document.close()


def _images(path: Path) -> Iterator[np.ndarray]:
    with _strict():
        opened = Image.open(path)
    with opened as file:
        # Other formats of several frames are films, or photographs with their previews.
        count = getattr(file, "n_frames", 1) if file.format == "TIFF" else 1
        for number in range(count):
            with _strict():
                if count > 1:
                    file.seek(number)
                    if number and getattr(file, "tag_v2", {}).get(_REDUCED, 0) & 1:
                        continue
                page = _upright(_grey(ImageOps.exif_transpose(file)))
            yield page


@contextmanager
def _strict() -> Iterator[None]:
    """Images too large to be honest are errors; warnings of tags that nobody needs are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _grey(image: Any) -> np.ndarray:
    """The pixels of an image as grey uint8 [height, width]; a copy that may be written to."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _of_depth(np.asarray(image))
    return np.array(image.convert("L"))


def _of_depth(pixels: np.ndarray) -> np.ndarray:
    """Integer or float pixels of any depth as uint8.

    Integers are taken to have the fewest bits, from 8 on, that hold the brightest one: cameras of
    10, 12 or 14 bits write files of 16. Floats up to 1 are shares of white, up to 255 as they are.
    """
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise ValueError("it has pixels that are no finite numbers")
        low, high = float(pixels.min()), float(pixels.max())
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        elif low >= 0 and high <= 255:
            low, high = 0.0, 255.0
        return np.rint((pixels - low) * (255 / (high - low))).astype(np.uint8)
    whole = pixels.astype(np.int64)
    whole -= min(0, int(whole.min()))
    return (whole >> max(0, int(whole.max()).bit_length() - 8)).astype(np.uint8)


def _upright(grey: np.ndarray) -> np.ndarray:
    """Dark on light: inverted where what stands out of the paper is brighter than it.

    Paper is what there is more of, also along the border.
    """
    if grey.size == 0:
        raise ValueError("it has no pixels")
    counts = np.bincount(grey.ravel(), minlength=256)
    levels = np.arange(256)
    below, total = np.cumsum(counts)[:-1], grey.size
    sums = np.cumsum(counts * levels)
    above = total - below
    dark = sums[:-1] / np.maximum(below, 1)
    light = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (light - dark) ** 2.0  # Otsu 1979
    cut = int(np.argmax(between))
    if light[cut] - dark[cut] < _CONTRAST:
        return grey
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    mostly_dark = below[cut] > _MOST * total and np.mean(border <= cut) > _MOST
    return 255 - grey if mostly_dark else grey


_CONTRAST = 30.0  # least difference of paper and writing that says which is which
_MOST = 0.65  # of the pixels: writing covers less than the rest
