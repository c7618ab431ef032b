"""What a recognizer made of one image: its graphs, with the ink that each of their arcs reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

import gtnet
from gtnet.reader.line import Line

if TYPE_CHECKING:
    from gtnet.reader.recognizer import Recognizer
    from gtnet.reader.segment import Segmentation


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
def look(reader: Recognizer, image: np.ndarray, observation: Segmentation | Line) -> View:
    """What a reader makes of one image, with its graphs and the ink on each of their arcs.

    Args:
        reader: in evaluation mode.
        image: uint8 [height, width], dark ink on light paper.
        observation: of this image, its segmentation or line; something must be drawn on it.

    Of frames only the likely paths are shown: `_LIKELY` behind the best one.
    """
    emissions = reader.recognition([observation])
    interpretation = reader.interpretation(emissions)
    (answer,) = reader.read_observations([observation])
    if isinstance(observation, Line):
        likely = gtnet.prune(interpretation, beam=_LIKELY)
        frames = frame_images(image, observation, emissions.scores.shape[1])
        below = _first_map(likely)
        shown = {arc: frames[k // emissions.num_labels] for arc, k in enumerate(below) if k >= 0}
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


def frame_images(image: np.ndarray, line: Line, frames: int) -> list[np.ndarray]:
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
