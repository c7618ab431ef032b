"""From a grey image to ink: paper and illumination removed, printed rules and specks dropped."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

EIGHT = np.ones((3, 3), int)
"""Neighbourhood of a connected component: diagonal neighbours count."""


def check_image(image: np.ndarray, function: str) -> np.ndarray:
    """The image itself, if it is a grey uint8 image with pixels; `function` names the caller.

    Raises:
        TypeError: not a uint8 array.
        ValueError: not two-dimensional, or without pixels.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"{function}: image must be a uint8 array, it is {kind}; see read_image")
    if image.ndim != 2 or image.size == 0:
        raise ValueError(
            f"{function}: image must be grey, [height, width] with at least one pixel, "
            f"its shape is {image.shape}; see read_image"
        )
    return image


def ink_of(image: np.ndarray) -> np.ndarray:
    """How much ink each pixel holds, free of illumination: 0 is paper, 1 the image's typical ink.

    Args:
        image: uint8 [height, width], dark on light.

    Returns:
        float32 [height, width] in [0, 1]; all zeros where nothing stands out from the paper.
    """
    grey = image.astype(np.float32)
    dark = _paper(grey) - grey
    dark -= np.median(dark[::2, ::2])
    np.maximum(dark, 0, out=dark)
    dark = ndimage.gaussian_filter(dark, 0.6, truncate=2.0)
    level = _ink_level(dark)
    return np.minimum(dark / level, 1) if level > 0 else np.zeros_like(dark)


def reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """An image, uint8 [height, width], reduced by a whole factor; what a thin pen drew stays.

    Strokes that would be thinner than a pixel and a half are thickened first.
    """
    stroke = stroke_width(image < _between(image))
    thicker = int(np.ceil(1.5 * factor - stroke))
    if thicker > 0:
        image = ndimage.minimum_filter(image, 1 + thicker)
    return np.asarray(Image.fromarray(image).reduce(factor))


def _between(image: np.ndarray) -> float:
    """The brightness halfway between paper and writing."""
    return float(255 - _otsu((255 - image).astype(np.float32)))


def unframed(ink: np.ndarray) -> np.ndarray:
    """The ink without a printed box around the writing: two long rules and what joins them.

    Upright lines that join the rules at both ends go with them: the sides, and partitions between
    digits. Without a box, the ink itself. `ink` float32 [height, width], from `ink_of`.
    """
    mask = ink > _RULED
    height, width = mask.shape
    length = max(40, width // 2)
    if width <= length or height < 12:
        return ink
    joined = ndimage.maximum_filter1d(mask, 3, axis=0)
    rule = ndimage.minimum_filter1d(joined, length, axis=1, mode="constant")
    rows = np.flatnonzero(rule.any(axis=1))
    gaps = np.flatnonzero(np.diff(rows) > 0.4 * height)
    if not len(gaps):
        return ink
    top, bottom = int(rows[gaps[0]]) + 1, int(rows[gaps[0] + 1])
    cover = ndimage.maximum_filter1d(mask[top:bottom], 3, axis=1).mean(axis=0)
    sides = np.flatnonzero(cover > 0.9)
    ruled = ndimage.maximum_filter1d(rule, length, axis=1, mode="constant")
    columns = np.flatnonzero(ruled.any(axis=0))
    # The sides of a box stand at the ends of its rules; digits that touch two rules do not.
    near = max(3, 0.02 * (columns[-1] - columns[0]))
    if not len(sides) or sides[0] > columns[0] + near or sides[-1] < columns[-1] - near:
        return ink
    ruled[:, sides] = True
    ruled = ndimage.maximum_filter(ruled, 3)  # the soft edges of lines
    ruled[: rows[0]] = ruled[rows[-1] + 1 :] = True  # what is printed outside of the box
    ruled[:, : sides[0]] = ruled[:, sides[-1] + 1 :] = True
    return np.where(ruled, 0, ink).astype(ink.dtype)


_RULED = 0.35
_THIN = 2.6  # width of strokes as `stroke_width` measures them, pixels


def marks_of(ink: np.ndarray, threshold: float, most: int) -> tuple[np.ndarray, int, float]:
    """The connected components of the writing.

    Args:
        ink: float32 [height, width], from `ink_of`.
        threshold: least ink of a written pixel.
        most: how many components to keep at most; the smallest go first.

    Returns:
        int32 [height, width], the number 1 .. n of the component each pixel belongs to, 0 for
        paper; n; and the typical width of a stroke, pixels.
    """
    mask = _without_rules(ink > threshold)
    stroke = stroke_width(mask)
    labels, count = ndimage.label(mask, EIGHT)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    area[0] = 0
    least, dark = float(np.clip(0.25 * stroke**2, 5, 10)), 0.65
    if stroke < _THIN:
        least, dark = 2.5, 0.6  # the dot of a thin pen is a pixel or two
    strong = np.bincount(labels.ravel(), (ink > dark).ravel(), count + 1)
    keep = (area >= least) & (strong >= 0.4 * least) & ~_flat_at_border(labels, count, stroke)
    if np.count_nonzero(keep) > most:
        keep[np.argsort(-area * keep, kind="stable")[most:]] = False
    number = (np.cumsum(keep) * keep).astype(np.int32)
    return number[labels], int(keep.sum()), stroke


def stroke_width(mask: np.ndarray) -> float:
    """Typical width of a stroke, pixels, from the mean lengths of horizontal and vertical runs."""
    area = np.count_nonzero(mask)
    if area == 0:
        return 1.0
    across = np.count_nonzero(mask[:, 1:] & ~mask[:, :-1]) + np.count_nonzero(mask[:, 0])
    down = np.count_nonzero(mask[1:] & ~mask[:-1]) + np.count_nonzero(mask[0])
    return max(1.0, area / float(np.hypot(across, down)))


def _paper(grey: np.ndarray) -> np.ndarray:
    """The brightness of the paper under every pixel: a wide mean over what is not ink.

    Where paper is darker than around, in a printed band or a shadow with an edge, it is what
    strokes are drawn on: the closing, which fills what is thinner than its window and keeps edges.
    """
    size = 2 * max(grey.shape[0] // 3, 8) + 1
    paper = ndimage.uniform_filter(grey, size, mode="nearest")
    for _ in range(2):
        weight = (grey > paper - 6).astype(np.float32) + 1e-3
        mean = ndimage.uniform_filter(grey * weight, size, mode="nearest")
        paper = mean / ndimage.uniform_filter(weight, size, mode="nearest")
    wide = max(grey.shape[0] // 4, 12)  # of every other pixel: strokes are less than half a line
    closed = ndimage.grey_closing(grey[::2, ::2], (wide, wide), mode="nearest")
    closed = closed.repeat(2, axis=0).repeat(2, axis=1)[: grey.shape[0], : grey.shape[1]]
    return np.minimum(paper, closed)


def _ink_level(dark: np.ndarray) -> float:
    """Darkness of typical ink, 0 if nothing stands out of the grain of the paper."""
    above = dark > _otsu(dark)
    count = np.count_nonzero(above)
    if count < 4 or count == dark.size:
        return 0.0
    level = float(np.percentile(dark[above], 60))
    grain = float(np.sqrt(np.mean(np.square(dark[~above]))))
    return level if level > max(14.0, 3 * grain) else 0.0


def _otsu(values: np.ndarray) -> float:
    """The threshold that best parts values >= 0 in two classes (Otsu 1979), on 64 bins."""
    step = max(float(values.max()), 1e-6) / 63
    counts = np.bincount((values.ravel() / step).astype(np.int32), minlength=64)[:64]
    low = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * np.arange(64))
    high = np.maximum(values.size - low, 1)
    between = low * high * (sums[:-1] / np.maximum(low, 1) - (sums[-1] - sums[:-1]) / high) ** 2
    return (int(np.argmax(between)) + 1) * step


def _without_rules(mask: np.ndarray) -> np.ndarray:
    """The mask without long horizontal rules; strokes that cross a rule are kept whole."""
    length = max(40, mask.shape[1] // 3)
    if mask.shape[1] <= length:
        return mask
    joined = ndimage.maximum_filter1d(mask, 3, axis=0)
    rule = ndimage.minimum_filter1d(joined, length, axis=1, mode="constant")
    if not rule.any():
        return mask
    rule = ndimage.maximum_filter1d(rule, length, axis=1, mode="constant") & mask
    bare = mask & ~rule
    above = ndimage.maximum_filter1d(bare, 9, axis=0, origin=4, mode="constant")
    below = ndimage.maximum_filter1d(bare, 9, axis=0, origin=-4, mode="constant")
    return bare | (rule & above & below)


def _flat_at_border(labels: np.ndarray, count: int, stroke: float) -> np.ndarray:
    """bool [count + 1]: which labels are flat remains of a rule along the top or bottom edge."""
    flat = np.zeros(count + 1, bool)
    for label in np.unique(labels[[0, -1]]).tolist():
        rows, columns = np.nonzero(labels == label)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        flat[label] = height <= max(4.0, stroke) and width > 2 * height
    return flat
