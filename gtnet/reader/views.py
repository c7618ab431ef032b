"""What a recognizer made of one input: its graphs, with the part that each of their arcs reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    Of frames, and of segments that may begin and end at any frame, only the likely paths are
    shown: `_LIKELY` behind the best one. Over frames there is no recognition graph to show.
    """
    emissions = reader.recognition([observation])
    lattice = reader.interpretation(emissions)
    (answer,) = reader.read_observations([observation])
    recognition: gtnet.Graph | None = None
    if isinstance(observation, Segmentation):
        recognition = emissions.graph()
        interpretation, segments = lattice.graph(), segment_images(image, observation)
    else:
        interpretation = gtnet.prune(lattice, beam=_LIKELY)
        segments = _spans(image, observation, emissions)
        if emissions.lengths is None:
            recognition = gtnet.prune(emissions.graph(), beam=_LIKELY)
    pictures = [
        {
            arc: segments[at]
            for arc, at in _owners(graph, emissions.num_labels).items()
            if at < len(segments)
        }
        for graph in (recognition, interpretation)
    ]
    return View(answer.amount, answer.confidence, recognition, interpretation, *pictures)


@torch.no_grad()
def look_at_segments(
    reader: Recognizer, image: np.ndarray, observation: Any, *, least: float = 0.01
) -> tuple[gtnet.Graph, dict[int, np.ndarray]] | None:
    """The segmentation graph of one input, and the picture of each of its arcs; None over frames.

    Where a segment may begin and end at any frame, the score of an arc is the log of how often it
    is read, and those are left out that are read less often than `least`, but for the best path.
    """
    if isinstance(observation, Segmentation):
        return observation.graph(), dict(enumerate(segment_images(image, observation)))
    emissions = reader.recognition([observation])
    if emissions.lengths is not None:
        return None
    lattice = reader.interpretation(emissions)
    chances = lattice.label_posteriors().sum(1)
    shown = chances >= least
    shown[list(_owners(gtnet.viterbi_path(lattice), emissions.num_labels).values())] = True
    graph, (kept,) = emissions.segmentation, shown.nonzero(as_tuple=True)
    likely = gtnet.connect(
        gtnet.Graph(
            graph.source[kept],
            graph.target[kept],
            kept.int(),
            weights=chances[kept].clamp(max=1).log(),
            start=0,
            accept=graph.num_states - 1,
            num_states=graph.num_states,
        )
    )
    pictures = _spans(image, observation, emissions)
    return likely, {arc: pictures[number] for arc, number in enumerate(likely.ilabels.tolist())}


@torch.no_grad()
def cuts_of(reader: Recognizer, observation: Any) -> np.ndarray | None:
    """Where one input is cut, float [cuts, 2, 2], lines (x, y) to (x, y); None over frames.

    All candidates of a segmentation by rules; those on the best path of a learnt one.
    """
    if isinstance(observation, Segmentation):
        return observation.cuts
    if not isinstance(observation, Line) or not len(observation):
        return None
    emissions = reader.recognition([observation])
    if emissions.lengths is not None:
        return None
    best, graph = gtnet.viterbi_path(reader.interpretation(emissions)), emissions.segmentation
    read = _owners(best, emissions.num_labels)
    labels = best.ilabels.tolist()
    own = [at for arc, at in read.items() if labels[arc] != reader.alphabet.nothing]
    ends = sorted({int(end[at]) for at in own for end in (graph.source, graph.target)})
    frames = graph.num_states - 1
    return np.array([_line_at(observation, end, frames) for end in ends]).reshape(-1, 2, 2)


_LIKELY = 4.0


def _owners(graph: gtnet.Graph | None, labels: int) -> dict[int, int]:
    """The frame or segment that each arc of a graph reads, of those that read one."""
    read = [] if graph is None or graph.arc_maps is None else graph.arc_maps[0].tolist()
    return {arc: row // labels for arc, row in enumerate(read) if row >= 0}


def _spans(image: np.ndarray, observation: Any, emissions: gtnet.Emissions) -> list[np.ndarray]:
    """The picture under each frame, or under each run of frames that is a segment.

    Empty for what a front end of one's own observes.
    """
    graph = emissions.segmentation
    return span_images(image, observation, graph.source.tolist(), graph.target.tolist())


def span_images(
    image: np.ndarray, observation: Any, first: Sequence[int], last: Sequence[int]
) -> list[np.ndarray]:
    """The columns of the picture between two frames each; a single frame shows some beside it.

    The last of all ends where the picture ends. Empty for what a front end of one's own observes.
    """
    frames = max([1, *last])
    beside = [int(b - a == 1) for a, b in zip(first, last, strict=True)]
    spans = list(zip(first, last, beside, strict=True))
    if isinstance(observation, Line):
        return [_strip_of_line(image, observation, *span, frames) for span in spans]
    if isinstance(observation, Spectrum):
        return [_columns(image, (a - e) / frames, (b + e) / frames) for a, b, e in spans]
    if isinstance(observation, Track):
        return _strips_of_track(image, observation, spans, frames)
    return []


def _columns(image: np.ndarray, first: float, last: float) -> np.ndarray:
    """The columns between two shares of the width."""
    width = image.shape[1]
    left = min(max(0, round(first * width)), width - 1)
    return image[:, left : max(left + 1, round(last * width))]


def _strips_of_track(
    image: np.ndarray, track: Track, spans: Sequence[tuple[int, int, int]], frames: int
) -> list[np.ndarray]:
    """What lies between the leftmost and the rightmost point of each run of frames."""
    x = track.points[:, 0] - track.points[:, 0].min()
    x = x / max(float(x.max()), 1e-9)
    ends = np.minimum(np.rint(np.arange(frames + 1) / frames * len(x)).astype(int), len(x) - 1)
    parts = [x[ends[a] : max(ends[a] + 1, ends[b])] for a, b, _ in spans]
    room = image.shape[0] / (4 * image.shape[1])
    found = []
    for part in parts:
        left, right = part.min() - room, part.max() + room
        found.append(_columns(image, left - (right - left), right + (right - left)))
    return found


def _strip_of_line(
    image: np.ndarray, line: Line, first: int, last: int, beside: int, frames: int
) -> np.ndarray:
    """The columns of the image between two frames of its line, and as many beside them."""
    x0, y0, x1, y1 = line.box
    left, right = _column(line, first - beside, frames), _column(line, last + beside, frames)
    begin = min(max(x0, round(left)), x1 - 1)
    return image[y0:y1, begin : max(begin + 1, min(x1, round(right)))]


def _column(line: Line, frame: float, frames: int) -> float:
    """The column of the image where a frame of its line begins."""
    x0, _, x1, _ = line.box
    scale = (x1 - x0) / max(1, len(line) - 2 * line.margin)
    return x0 + (frame * len(line) / max(1, frames) - line.margin) * scale


def _line_at(line: Line, frame: int, frames: int) -> list[tuple[float, float]]:
    x0, y0, x1, y1 = line.box
    x = min(max(_column(line, frame, frames), x0), x1)
    return [(x, float(y0)), (x, float(y1))]


def segment_images(image: np.ndarray, segmentation: Segmentation) -> list[np.ndarray]:
    """The part of the image under each segment; other ink inside its box is painted over."""
    crops, paper = [], np.median(image)
    ends = zip(segmentation.source.tolist(), segmentation.target.tolist(), strict=True)
    for (x0, y0, x1, y1), (first, last) in zip(segmentation.boxes.tolist(), ends, strict=True):
        piece = segmentation.pieces[y0:y1, x0:x1]
        others = (piece >= 0) & ((piece < first) | (piece >= last))
        crops.append(np.where(others, paper, image[y0:y1, x0:x1]).astype(np.uint8))
    return crops
