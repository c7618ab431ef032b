"""From a grey image of an amount to a segmentation graph, by heuristic over-segmentation.

The ink is cut wherever two characters might meet: between connected components, and inside
them along the cheapest slanted seams. What lies between two neighbouring cuts is a *piece*; a
*segment* is a run of neighbouring pieces that might be one character. States of the graph are
cuts, arcs are segments, so every path reads the image once from left to right
(LeCun, Bottou, Bengio & Haffner 1998, section V).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from gtnet.reader.ink import check_image, ink_of, marks_of, reduced, unframed
from gtnet.reader.page import Place, find_line, place_of_ink
from gtnet.reader.seams import SeamLimits, find_seams

if TYPE_CHECKING:
    from gtnet import Graph

GEOMETRY: tuple[str, ...] = (
    "height",
    "width",
    "top",
    "bottom",
    "aspect",
    "density",
    "ink",
)
"""What `Segmentation.geometry` holds, by column (see `geometry_of`)."""

MIN_BODY = 4.0
"""Least height of a line's body, pixels."""


@dataclass(frozen=True)
class SegmentConfig:
    """How an image is cut. Lengths are in heights of the line's body unless they say otherwise.

    Attributes:
        size: side of a normalised segment image, pixels.
        margin: empty border inside it, pixels.
        max_pieces: most pieces one segment merges.
        max_width: widest segment of several pieces.
        max_gap: widest empty gap inside a segment.
        ink_threshold: least darkness of ink, as a share of the image's typical ink.
        cut_cost: dearest cut taken on its own merit, in stroke widths of ink crossed.
        cut_distance: least distance between two cuts of one component.
        edge_distance: least distance of a cut from either end of its component.
        forced_width: a piece wider than this share of its component's height (at most the body's)
            is cut at its cheapest place whatever it costs.
        drift: how far a seam may stray from its straight slanted line.
        max_segments: most segments of one image; above it, dear cuts and small marks are dropped.
        max_height, max_length: larger images are reduced by a whole factor before cutting, pixels.
    """

    size: int = 24
    margin: int = 2
    max_pieces: int = 6
    max_width: float = 1.5
    max_gap: float = 0.35
    ink_threshold: float = 0.35
    cut_cost: float = 2.4
    cut_distance: float = 0.15
    edge_distance: float = 0.07
    forced_width: float = 0.85
    drift: float = 0.08
    max_segments: int = 320
    max_height: int = 120
    max_length: int = 4000


@dataclass(frozen=True)
class Segmentation:
    """The segmentation graph of one image, and what a recognizer needs to score its arcs.

    Attributes:
        images: float32 [segments, size, size], ink 1 on paper 0, aspect kept, centred.
        context: float32 [segments, size, size], all the ink in the window of each segment image.
        geometry: float32 [segments, len(GEOMETRY)], size and place relative to the line.
        boxes: int32 [segments, 4], (x0, y0, x1, y1) in image pixels, x1 and y1 exclusive.
        source: int32 [segments], the cut a segment starts from.
        target: int32 [segments], the cut it ends at; always greater than its source.
        num_cuts: number of cuts (states); pieces are numbered 0 .. num_cuts - 2.
        pieces: int16 [height, width], number of the piece a pixel belongs to, -1 for paper.
        cuts: float32 [num_cuts, 2, 2], a line (x, y) to (x, y) for drawing each cut.
        line: (top, bottom) rows of the line's body.
        clear: the share of what is on the image that this line of writing explains, see `page`.
    """

    images: np.ndarray
    context: np.ndarray
    geometry: np.ndarray
    boxes: np.ndarray
    source: np.ndarray
    target: np.ndarray
    num_cuts: int
    pieces: np.ndarray
    cuts: np.ndarray
    line: tuple[float, float]
    clear: float = 1.0

    def __len__(self) -> int:
        """Number of segments."""
        return len(self.source)

    def graph(self) -> Graph:
        """The acyclic acceptor whose arc i, labelled i, is segment i, from cut 0 to the last cut.

        Every arc lies on a path. An image without ink gives one state and no arcs: a graph that
        accepts only the empty sequence, which no grammar of amounts does.
        """
        from gtnet import Graph

        labels = np.arange(len(self), dtype=np.int32)
        return Graph(
            self.source,
            self.target,
            labels,
            start=0,
            accept=self.num_cuts - 1,
            num_states=self.num_cuts,
        )


def segment(image: np.ndarray, config: SegmentConfig | None = None) -> Segmentation:
    """Cuts an image of one line of writing into its segmentation graph.

    On a larger page the line with most ink is looked for; a printed box around it is left out.

    Args:
        image: uint8 [height, width], dark ink on light paper.
        config: how to cut; the default serves lines of 30 to 100 pixels.

    Returns:
        The segmentation; with no ink on the image it has zero segments and one cut.

    Raises:
        TypeError: the image is not a uint8 array.
        ValueError: the image is not two-dimensional or has no pixels.

    Complexity: linear in the pixels and in the segments, whose number `config` bounds.
    """
    config = config or SegmentConfig()
    if len(check_image(image, "segment")) <= config.max_height:
        return _segment(image, config)
    place = find_line(image, config.max_height)
    x0, y0, x1, y1 = place.box
    return _placed(_segment(image[y0:y1, x0:x1], config), place, image.shape)


def _segment(image: np.ndarray, config: SegmentConfig) -> Segmentation:
    """The segmentation of an image that is one line, of any size."""
    factor = _reduction(image, config)
    if factor > 1:
        return _enlarged(_segment(_reduced(image, factor), config), factor, image.shape)
    ink = unframed(ink_of(image))
    marks = _marks(ink, config)
    if marks is None:
        return _empty(image.shape, config)
    pieces = _pieces(marks, config)
    source, target = _arcs(pieces, marks.body, config)
    found = _segmentation(ink, marks, pieces, source, target, config)
    return replace(found, clear=place_of_ink(ink, image.shape, config.max_height).clear)


def _placed(found: Segmentation, place: Place, shape: tuple[int, ...]) -> Segmentation:
    """The segmentation of a part of an image in pixels of the whole."""
    x0, y0, x1, y1 = place.box
    pieces = np.full(shape, -1, np.int16)
    pieces[y0:y1, x0:x1] = found.pieces
    return replace(
        found,
        boxes=found.boxes + np.array([x0, y0, x0, y0], np.int32),
        pieces=pieces,
        cuts=found.cuts + np.array([x0, y0], np.float32),
        line=(found.line[0] + y0, found.line[1] + y0),
        clear=min(found.clear, place.clear),
    )


def normalize_character(
    image: np.ndarray,
    line: tuple[float, float] | None = None,
    config: SegmentConfig | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """An isolated character as a recognizer sees the same character inside an amount.

    Args:
        image: uint8 [height, width], one character, dark ink on light paper.
        line: (top, bottom) rows of the body of the line it was written on, in rows of this
            image; they may lie outside it. None: the character is as high as its line.
        config: as for `segment`.

    Returns:
        float32 [size, size] and float32 [len(GEOMETRY)]; zeros if there is no ink.

    Raises:
        TypeError: the image is not a uint8 array.
        ValueError: the image is not two-dimensional or has no pixels, or the line has no height.
    """
    config = config or SegmentConfig()
    check_image(image, "normalize_character")
    if line is not None and not line[1] > line[0]:
        raise ValueError(f"normalize_character: line {line} must have its top above its bottom")
    factor = _reduction(image, config)
    if factor > 1:
        line = line and (line[0] / factor, line[1] / factor)
        image = _reduced(image, factor)
    ink = ink_of(image)
    labels, count, _ = marks_of(ink, config.ink_threshold, _most_pieces(config))
    if count == 0:
        blank = np.zeros((config.size, config.size), np.float32)
        return blank, np.zeros(len(GEOMETRY), np.float32)
    y, x = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    body = max(line[1] - line[0] if line else y.stop - y.start, MIN_BODY)
    crop = _levels(ink)[y, x] * (ndimage.maximum_filter(labels, 3)[y, x] > 0)
    boxes = np.array([(x.start, y.start, x.stop, y.stop)], np.int32)
    amount = np.array([int(crop.sum()) / 255], np.float32)
    picture = _fit(crop, body, config).astype(np.float32) / 255
    return picture, geometry_of(boxes, amount, line or (float(y.start), float(y.stop)))[0]


def geometry_of(boxes: np.ndarray, ink: np.ndarray, line: tuple[float, float]) -> np.ndarray:
    """Size and place of segments relative to the line they stand on.

    Args:
        boxes: int [segments, 4], (x0, y0, x1, y1).
        ink: float [segments], the sum of ink over each segment, pixels.
        line: (top, bottom) rows of the line's body.

    Returns:
        float32 [segments, len(GEOMETRY)]: height and width in body heights; distance of the top
        below the body's top and of the bottom below the body's bottom, in body heights; log of
        width over height, halved; share of the box that is ink; ink in squared body heights,
        square root. All are clipped to [-3, 3].
    """
    top, bottom = line
    body = max(bottom - top, MIN_BODY)
    x0, y0, x1, y1 = boxes.astype(np.float32).T
    width, height = x1 - x0, y1 - y0
    columns = (
        height / body,
        width / body,
        (y0 - top) / body,
        (y1 - bottom) / body,
        0.5 * np.log(width / height),
        ink / (width * height),
        np.sqrt(ink) / body,
    )
    return np.clip(np.stack(columns, axis=1), -3, 3).astype(np.float32)


def _reduction(image: np.ndarray, config: SegmentConfig) -> int:
    height, width = image.shape
    return max(-(-height // config.max_height), -(-width // config.max_length))


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    return reduced(image, factor)


def _enlarged(small: Segmentation, factor: int, shape: tuple[int, ...]) -> Segmentation:
    """The segmentation of a reduced image in pixels of the original."""
    height, width = shape
    pieces = small.pieces.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    limit = np.array([width, height, width, height], np.int32)
    return replace(
        small,
        boxes=np.minimum(small.boxes * factor, limit),
        pieces=pieces,
        cuts=small.cuts * factor,
        line=(small.line[0] * factor, small.line[1] * factor),
    )


def _most_pieces(config: SegmentConfig) -> int:
    return max(1, config.max_segments // config.max_pieces)


@dataclass(frozen=True)
class _Marks:
    """Connected components of the ink, numbered 1 .. n on the image, and the hand they show.

    `crops` holds the ink of each component in its box; `slant` is columns per row upwards; `body`
    the height of the line, `stroke` the width of a stroke, pixels.
    """

    labels: np.ndarray
    places: list[tuple[slice, slice]]
    crops: list[np.ndarray]
    stroke: float
    slant: float
    line: tuple[float, float]
    body: float


def _marks(ink: np.ndarray, config: SegmentConfig) -> _Marks | None:
    labels, count, stroke = marks_of(ink, config.ink_threshold, _most_pieces(config))
    if count == 0:
        return None
    places = ndimage.find_objects(labels)
    crops = [ink[place] * (labels[place] == i) for i, place in enumerate(places, start=1)]
    rows = np.array([(y.start, y.stop) for y, _ in places])
    line = _line_of(rows, np.bincount(labels.ravel())[1:])
    body = max(line[1] - line[0], MIN_BODY)
    return _Marks(labels, places, crops, stroke, _slant_of(ink * (labels > 0)), line, body)


def _line_of(rows: np.ndarray, area: np.ndarray) -> tuple[float, float]:
    """Top and bottom of the line's body: medians over tall components, weighted by ink."""
    height = rows[:, 1] - rows[:, 0]
    tall = height >= 0.6 * _weighted_median(height, area)
    top = _weighted_median(rows[tall, 0], area[tall])
    return top, _weighted_median(rows[tall, 1], area[tall])


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _slant_of(ink: np.ndarray) -> float:
    """Columns a stroke moves right per row upwards: the mean over edges steeper than 45 degrees."""
    down, across = ink[2:, 1:-1] - ink[:-2, 1:-1], ink[1:-1, 2:] - ink[1:-1, :-2]
    steep = np.abs(down) < np.abs(across)
    down, across = down[steep], across[steep]
    square = float(across @ across)
    # Edges past 45 degrees are left out on one side first, which makes the plain mean too small.
    return 1.2 * float(across @ down) / square if square > 0 else 0.0


@dataclass(frozen=True)
class _Pieces:
    """Pieces in reading order: number of each pixel's piece (-1 paper), boxes, upright extents."""

    labels: np.ndarray
    boxes: list[tuple[int, int, int, int]]
    left: np.ndarray
    right: np.ndarray


def _pieces(marks: _Marks, config: SegmentConfig) -> _Pieces:
    """Cuts the components, and numbers the pieces from left to right along the slant."""
    limits = SeamLimits(
        body=marks.body,
        cost=config.cut_cost * marks.stroke,
        distance=config.cut_distance,
        edge=config.edge_distance,
        width=config.forced_width,
        reach=max(2, round(config.drift * marks.body)),
        most=_most_pieces(config) - len(marks.crops),
    )
    labels = np.full(marks.labels.shape, -1, np.int32)
    count = 0
    for i, seams in enumerate(find_seams(marks.crops, marks.slant, limits)):
        place = marks.places[i]
        own = marks.labels[place] == i + 1
        behind = np.arange(own.shape[1]) > seams[:, :, None]
        labels[place][own] = (behind.sum(axis=0) + count)[own]
        count += len(seams) + 1
    return _in_order(labels, count, marks)


def _in_order(labels: np.ndarray, count: int, marks: _Marks) -> _Pieces:
    """Renumbers pieces by the centre of their ink, measured along the slant; empty ones vanish."""
    rows, columns = np.nonzero(labels >= 0)
    piece = labels[rows, columns]
    upright = columns + marks.slant * (rows - sum(marks.line) / 2)
    size = np.bincount(piece, minlength=count)
    centre = np.bincount(piece, upright, count) / np.maximum(size, 1)
    centre[size == 0] = np.inf
    rank = np.empty(count, np.int32)
    rank[np.argsort(centre, kind="stable")] = np.arange(count)
    piece = rank[piece]
    labels[rows, columns] = piece
    total = np.count_nonzero(size)
    left, right = np.full(total, np.inf), np.full(total, -np.inf)
    np.minimum.at(left, piece, upright)
    np.maximum.at(right, piece, upright + 1)
    places = ndimage.find_objects(labels + 1)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in places]
    return _Pieces(labels, boxes, left, right)


def _arcs(pieces: _Pieces, body: float, config: SegmentConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cuts where segments start and end: single pieces, and runs that might be one character."""
    source: list[int] = []
    target: list[int] = []
    for first in range(len(pieces.boxes)):
        left, right = pieces.left[first], pieces.right[first]
        source.append(first)
        target.append(first + 1)
        for last in range(first + 1, min(first + config.max_pieces, len(pieces.boxes))):
            if pieces.left[last] - right > config.max_gap * body:
                break
            left, right = min(left, pieces.left[last]), max(right, pieces.right[last])
            if right - left > config.max_width * body:
                break
            source.append(first)
            target.append(last + 1)
    return np.array(source, np.int32), np.array(target, np.int32)


def _segmentation(
    ink: np.ndarray,
    marks: _Marks,
    pieces: _Pieces,
    source: np.ndarray,
    target: np.ndarray,
    config: SegmentConfig,
) -> Segmentation:
    """Draws every segment at its fixed size and measures it."""
    grown = np.where(pieces.labels >= 0, pieces.labels, ndimage.maximum_filter(pieces.labels, 3))
    levels = _levels(ink)
    images = np.empty((len(source), config.size, config.size), np.uint8)
    boxes = np.empty((len(source), 4), np.int32)
    amounts = np.empty(len(source), np.float32)
    for i, (first, end) in enumerate(zip(source.tolist(), target.tolist(), strict=True)):
        lefts, tops, rights, bottoms = zip(*pieces.boxes[first:end], strict=True)
        x0, y0, x1, y1 = boxes[i] = min(lefts), min(tops), max(rights), max(bottoms)
        number = grown[y0:y1, x0:x1]
        crop = levels[y0:y1, x0:x1] * ((number >= first) & (number < end))
        images[i] = _fit(crop, marks.body, config)
        amounts[i] = int(crop.sum()) / 255
    return Segmentation(
        images=images.astype(np.float32) / 255,
        context=_windows(levels, boxes, marks.body, config).astype(np.float32) / 255,
        geometry=geometry_of(boxes, amounts, marks.line),
        boxes=boxes,
        source=source,
        target=target,
        num_cuts=len(pieces.boxes) + 1,
        pieces=pieces.labels.astype(np.int16),
        cuts=_cut_lines(pieces, marks),
        line=marks.line,
    )


def _levels(ink: np.ndarray) -> np.ndarray:
    return (ink * 255).astype(np.uint8)


def _windows(
    levels: np.ndarray, boxes: np.ndarray, body: float, config: SegmentConfig
) -> np.ndarray:
    """All the ink in the window of each segment, uint8 [segments, size, size], as by `_fit`."""
    x0, y0, x1, y1 = boxes.T.astype(np.float64)
    largest = np.maximum(np.maximum(x1 - x0, y1 - y0), 0.4 * body)
    half = largest * config.size / (config.size - 2 * config.margin) / 2
    margin = int(half.max()) + 1
    x, y = (x0 + x1) / 2 + margin, (y0 + y1) / 2 + margin
    paper = Image.fromarray(np.pad(levels, margin))
    size = (config.size, config.size)
    windows = np.stack([x - half, y - half, x + half, y + half], axis=1).tolist()
    return np.stack(
        [np.asarray(paper.resize(size, Image.Resampling.BILINEAR, tuple(box))) for box in windows]
    )


def _fit(crop: np.ndarray, body: float, config: SegmentConfig) -> np.ndarray:
    """The ink of one segment, uint8, scaled to fit and centred; small marks stay small."""
    height, width = crop.shape
    room = config.size - 2 * config.margin
    scale = room / max(height, width, 0.4 * body)
    size = (min(room, max(1, round(width * scale))), min(room, max(1, round(height * scale))))
    small = Image.fromarray(crop).resize(size, Image.Resampling.BILINEAR)
    picture = np.zeros((config.size, config.size), np.uint8)
    x, y = (config.size - size[0]) // 2, (config.size - size[1]) // 2
    picture[y : y + size[1], x : x + size[0]] = np.asarray(small)
    return picture


def _cut_lines(pieces: _Pieces, marks: _Marks) -> np.ndarray:
    """A slanted line for each cut, halfway between the pieces it parts."""
    top, bottom = marks.line
    right = np.maximum.accumulate(pieces.right)
    middle = (right[:-1] + pieces.left[1:]) / 2
    upright = np.concatenate([pieces.left[:1] - 1, middle, right[-1:] + 1])
    lean = marks.slant * (bottom - top) / 2
    lines = np.empty((len(upright), 2, 2), np.float32)
    lines[:, 0, 0], lines[:, 0, 1] = upright + lean, top
    lines[:, 1, 0], lines[:, 1, 1] = upright - lean, bottom
    return lines


def _empty(shape: tuple[int, ...], config: SegmentConfig) -> Segmentation:
    return Segmentation(
        images=np.zeros((0, config.size, config.size), np.float32),
        context=np.zeros((0, config.size, config.size), np.float32),
        geometry=np.zeros((0, len(GEOMETRY)), np.float32),
        boxes=np.zeros((0, 4), np.int32),
        source=np.zeros(0, np.int32),
        target=np.zeros(0, np.int32),
        num_cuts=1,
        pieces=np.full(shape, -1, np.int16),
        cuts=np.zeros((1, 2, 2), np.float32),
        line=(0.0, float(shape[0])),
    )
