"""The front end of pen strokes: the way of the pen, point by point, to frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.configured import Configured
from gtnet.reader.sequence import SequenceConfig, SequenceNetwork, padded


@dataclass(frozen=True)
class PenConfig:
    """How strokes become features, and the size of the network over them.

    Lengths are shares of the size of the writing, see `track_of`. `spacing`: between two points
    along a stroke; `lifted`: the same where the pen moves above the paper; `reach`: how far to
    the sides and up and down the ink around a point is seen; `longest`: points, longer writing is
    resampled more coarsely.
    """

    spacing: float = 0.08
    lifted: float = 0.25
    reach: tuple[float, float] = (0.45, 0.6)
    longest: int = 4096
    network: SequenceConfig = field(default_factory=SequenceConfig)


@dataclass(frozen=True)
class Track:
    """The way of a pen: `points` float32 [points, 3], x, y downwards, and 1 where it wrote.

    x and y are in sizes of the writing, y from its middle; between two strokes the pen goes
    straight. Where nothing is written there is no point.
    """

    points: np.ndarray

    def __len__(self) -> int:
        """Points."""
        return len(self.points)


def track_of(strokes: Sequence[np.ndarray], config: PenConfig | None = None) -> Track:
    """The way of the pen through strokes, in points that lie equally far apart.

    The size of the writing is four times the standard deviation of y along the strokes: about the
    height of small letters and half of what stands out of them, whatever the tablet's units.

    Arguments: `strokes` arrays [points, 2] of x and y, y downwards, in the order of writing.
    Raises TypeError or ValueError, with the number of the stroke, for what is none. Complexity:
    linear in the points.
    """
    config = config or PenConfig()
    ways = [_checked(stroke, number) for number, stroke in enumerate(strokes)]
    ways = [way for way in ways if len(way)]
    if not ways:
        return Track(np.zeros((0, 3), np.float32))
    size, middle = _measured(ways)
    ways = [(way - middle) / size for way in ways]
    ink, air = (
        sum(_length(way) for way in group)
        for group in (ways, [np.stack([a[-1], b[0]]) for a, b in pairwise(ways)])
    )
    coarser = max(1.0, (ink / config.spacing + air / config.lifted) / config.longest)
    points = []
    for way, after in zip(ways, [*ways[1:], None], strict=True):
        points.append(_resampled(way, coarser * config.spacing, 2, pen=1.0))
        if after is not None:
            move = np.stack([way[-1], after[0]])
            points.append(_resampled(move, coarser * config.lifted, 3, pen=0.0)[1:-1])
    return Track(np.concatenate(points).astype(np.float32))


def _checked(stroke: np.ndarray, number: int) -> np.ndarray:
    way = np.asarray(stroke)
    if way.ndim != 2 or way.shape[1] != 2 or way.dtype.kind not in "fiu":
        raise TypeError(
            f"track_of: stroke {number} must be an array of numbers [points, 2], got"
            f" {way.dtype} {list(way.shape)}"
        )
    way = way.astype(np.float64)
    if not np.isfinite(way).all():
        raise ValueError(f"track_of: stroke {number} has a coordinate that is not finite")
    return way


def _measured(ways: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """The size of writing and its origin: the left end, and the mean of y along the strokes."""
    starts, ends = (np.concatenate([way[part] for way in ways]) for part in (_FIRST, _LAST))
    long = np.hypot(*(ends - starts).T)
    every = np.concatenate(ways)
    wide, high = np.ptp(every, axis=0)
    left = every[:, 0].min()
    if not long.any():  # dots
        return float(max(wide, high)) or 1.0, np.array([left, every[:, 1].mean()])
    low, rise = (starts[:, 1] + ends[:, 1]) / 2, ends[:, 1] - starts[:, 1]
    mean = np.average(low, weights=long)
    deviation = np.sqrt(np.average((low - mean) ** 2 + rise**2 / 12, weights=long))
    # A dash has no height; it is no larger than it would be between words.
    return float(max(4 * deviation, wide / 25)), np.array([left, mean])


_FIRST, _LAST = slice(None, -1), slice(1, None)


def _length(way: np.ndarray) -> float:
    return float(np.hypot(*np.diff(way, axis=0).T).sum())


def _resampled(way: np.ndarray, spacing: float, least: int, *, pen: float) -> np.ndarray:
    """Points about so far apart along a way, both its ends among them, at least so many."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(way, axis=0).T))])
    at = np.linspace(0, along[-1], max(least, round(along[-1] / spacing) + 1))
    x, y = (np.interp(at, along, way[:, axis]) for axis in (0, 1))
    return np.stack([x, y, np.full(len(at), pen)], axis=1)


FEATURES = 16
"""Numbers for each point: see `pen_features`."""


@torch.no_grad()
def pen_features(points: Tensor, lengths: Tensor, reach: tuple[float, float]) -> Tensor:
    """What a network sees of each point: float [batch, points, FEATURES].

    The direction and the curvature of the way as cosine and sine, how far its neighbours are
    apart, its height, whether the pen writes, and the ink around it: in 9 places, `reach` to the
    sides and up and down, so that a point knows of the dot above it that is written later.

    `points` float [batch, points, 3], `lengths` int64 [batch]. Complexity: quadratic in the points.
    Source: Jaeger, Manke, Reichert & Waibel 2001 (direction, curvature, context bitmaps).
    """
    last = (lengths - 1).clamp(min=0)[:, None]
    at = torch.arange(points.shape[1], device=points.device)[None]
    before = _at(points, (at - 1).clamp(min=0).minimum(last))
    after = _at(points, (at + 1).minimum(last))
    come, go = (points - before)[..., :2], (after - points)[..., :2]
    there = (after - before)[..., :2]
    direction = functional.normalize(there, dim=2, eps=1e-6)
    come, go = (functional.normalize(step, dim=2, eps=1e-6) for step in (come, go))
    bend = (come * go).sum(2), come[..., 0] * go[..., 1] - come[..., 1] * go[..., 0]
    near = there.norm(dim=2).clamp(max=2.0)
    inside = (at < lengths[:, None]).to(points.dtype)
    around = _ink_around(points, inside * points[..., 2], reach)
    own = torch.stack([*bend, near, points[..., 1], points[..., 2]], dim=2)
    return torch.cat([direction, own, around], dim=2) * inside[..., None]


def _at(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(1, index.expand(len(points), -1)[..., None].expand(-1, -1, 3))


def _ink_around(points: Tensor, ink: Tensor, reach: tuple[float, float]) -> Tensor:
    """The ink near 9 places around each point, float [batch, points, 9]."""
    near = []
    for axis, far in enumerate(reach):
        own = points[..., axis]
        apart = own[:, None, :] - own[:, :, None]
        near.append([(1 - (apart / far - place).abs()).clamp(min=0) for place in (-1, 0, 1)])
    counts = [
        torch.einsum("bij,bij,bj->bi", across, along, ink)
        for along in near[1]
        for across in near[0]
    ]
    return torch.stack(counts, dim=2).add(1).log() / 2


def distort_tracks(
    points: Tensor, lengths: Tensor, strength: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A batch of tracks as other hands might have made them, each in its way.

    Slant, stretch, size and turn of the whole, and a smooth bending along the way. `points` float
    [batch, points, 3]; `strength` 1 slants by about 10 degrees. The lengths stay.
    """
    batch, count, _ = points.shape

    def normal(*shape: int) -> Tensor:
        return (torch.randn(batch, *shape, generator=generator) * strength).to(points)

    slant, turn = 0.18 * normal(1), 0.06 * normal(1)
    stretch, size = (0.15 * normal(1)).exp(), (0.12 * normal(1)).exp()
    bend = functional.interpolate(
        0.06 * normal(2, max(2, count // 10)), size=count, mode="linear", align_corners=True
    )
    x, y, pen = points.unbind(2)
    moved_x = (stretch * x - slant * y) * size + bend[:, 0]
    moved_y = (y + turn * x) * size + bend[:, 1]
    return torch.stack([moved_x, moved_y, pen], dim=2), lengths


Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A random change of a batch of tracks and their lengths, as `distort_tracks`."""


class PenFrontEnd(Configured[PenConfig]):
    """Pen strokes to frames: a `FrontEnd` whose recognition graphs are chains of frames.

    An input is a sequence of strokes, arrays [points, 2]; see `track_of`.
    """

    name = "strokes"
    kind = PenConfig

    def observe(self, strokes: Sequence[np.ndarray]) -> Track:
        """The way of the pen through the strokes of one line of writing."""
        return track_of(strokes, self.config)

    def network(self, alphabet: Alphabet) -> SequenceNetwork:
        """A network that scores the labels of an alphabet for every frame."""
        return SequenceNetwork(alphabet.num_labels, FEATURES, self.config.network)

    def recognition(
        self, network: nn.Module, tracks: Sequence[Track], change: Change | None = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs: a chain of frames for each track."""
        points, lengths = padded([track.points for track in tracks])
        if change is not None:
            points, lengths = change(points, lengths)
        weights = next(network.parameters(), points)
        points, lengths = points.to(weights), lengths.to(weights.device)
        scores, frames = network(pen_features(points, lengths, self.config.reach), lengths)
        return gtnet.Emissions(scores, frames)

    def change(self, strength: float) -> Change | None:
        """Another hand for each line; None at strength 0."""
        return partial(distort_tracks, strength=strength) if strength else None
