"""What a recognizer made of one input: its graphs, with the part that each of their arcs reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import gtnet
from gtnet.reader.line import Line
from gtnet.reader.pen import Track
from gtnet.reader.segment import Segmentation
from gtnet.reader.sound import Spectrum

if TYPE_CHECKING:
    from gtnet.reader.recognizer import Recognizer


@dataclass(frozen=True)
class View:
    """What one recognizer made of one image.

    Attributes:
        answer: its reading; None for no reading.
        confidence: in [0, 1].
        recognition, interpretation: its graphs, batches of one; None omits the picture.
        recognition_images, interpretation_images: picture of an arc, by arc number.
    """

    answer: str | None
    confidence: float
    recognition: gtnet.Graph | None = None
    interpretation: gtnet.Graph | None = None
    recognition_images: Mapping[int, np.ndarray] = field(default_factory=dict)
    interpretation_images: Mapping[int, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def look(reader: Recognizer, image: np.ndarray, observation: Any) -> View:
    """What a reader makes of one input, with its graphs and the part on each of their arcs.

    Args:
        reader: in evaluation mode.
        image: uint8 [height, width], dark ink on light paper; of other inputs their `picture`.
        observation: what its front end observes of this input, where something is there.

    Of frames only the likely paths are shown: `_LIKELY` behind the best one.
    """
    emissions = reader.recognition([observation])
    interpretation = reader.interpretation(emissions)
    (answer,) = reader.read_observations([observation])
    if not isinstance(observation, Segmentation):
        likely = gtnet.prune(interpretation, beam=_LIKELY)
        length = emissions.scores.shape[1]
        if emissions.lengths is not None:
            length = int(emissions.lengths[0])
        frames = frame_images(image, observation, length)
        places = [k // emissions.num_labels for k in _first_map(likely)]
        shown = {arc: frames[at] for arc, at in enumerate(places) if 0 <= at < len(frames)}
        return View(answer.amount, answer.confidence, None, likely, {}, shown)
    recognition, built = emissions.graph(), interpretation.graph()
    segments = segment_images(image, observation)
    owner = _first_map(recognition)
    below = _first_map(built)
    return View(
        answer.amount,
        answer.confidence,
        recognition,
        built,
        {arc: segments[segment] for arc, segment in enumerate(owner)},
        {arc: segments[owner[k]] for arc, k in enumerate(below) if k >= 0},
    )


_LIKELY = 4.0


def frame_images(image: np.ndarray, observation: Any, frames: int) -> list[np.ndarray]:
    """The columns of the picture under each frame, and some beside them.

    Empty for what a front end of one's own observes.
    """
    if isinstance(observation, Line):
        return _strips_of_line(image, observation, frames)
    shares = np.arange(frames + 1) / max(1, frames)
    if isinstance(observation, Spectrum):
        return [_columns(image, a, b) for a, b in pairwise(shares)]
    if isinstance(observation, Track):
        return _strips_of_track(image, observation, shares)
    return []


def _columns(image: np.ndarray, first: float, last: float) -> np.ndarray:
    """The columns between two shares of the width, and as many beside them."""
    width, beside = image.shape[1], last - first
    left = min(max(0, round((first - beside) * width)), width - 1)
    return image[:, left : max(left + 1, round((last + beside) * width))]


def _strips_of_track(image: np.ndarray, track: Track, shares: np.ndarray) -> list[np.ndarray]:
    """What lies between the leftmost and the rightmost point of each frame."""
    x = track.points[:, 0] - track.points[:, 0].min()
    x = x / max(float(x.max()), 1e-9)
    ends = np.rint(shares * len(x)).astype(int)
    parts = [x[a : max(a + 1, b)] for a, b in pairwise(np.minimum(ends, len(x) - 1))]
    beside = image.shape[0] / (4 * image.shape[1])
    return [_columns(image, part.min() - beside, part.max() + beside) for part in parts]


def _strips_of_line(image: np.ndarray, line: Line, frames: int) -> list[np.ndarray]:
    """The columns of the image under each frame of its line, and as many beside them."""
    x0, y0, x1, y1 = line.box
    step = len(line) / max(1, frames)
    scale = (x1 - x0) / max(1, len(line) - 2 * line.margin)
    strips = []
    for frame in range(frames):
        left, right = ((frame + e) * step - line.margin for e in (-1, 2))
        first = min(max(x0, round(x0 + left * scale)), x1 - 1)
        last = max(first + 1, min(x1, round(x0 + right * scale)))
        strips.append(image[y0:y1, first:last])
    return strips


def segment_images(image: np.ndarray, segmentation: Segmentation) -> list[np.ndarray]:
    """The part of the image under each segment; other ink inside its box is painted over."""
    crops, paper = [], np.median(image)
    ends = zip(segmentation.source.tolist(), segmentation.target.tolist(), strict=True)
    for (x0, y0, x1, y1), (first, last) in zip(segmentation.boxes.tolist(), ends, strict=True):
        piece = segmentation.pieces[y0:y1, x0:x1]
        others = (piece >= 0) & ((piece < first) | (piece >= last))
        crops.append(np.where(others, paper, image[y0:y1, x0:x1]).astype(np.uint8))
    return crops


def _first_map(graph: gtnet.Graph) -> list[int]:
    return [] if graph.arc_maps is None else graph.arc_maps[0].tolist()
