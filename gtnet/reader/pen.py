"""The front end of pen strokes: the way of the pen, point by point, to frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

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
    the sides and up and down the ink around a point is seen, in `places` beside and above each
    other, odd numbers; `longest`: points, longer writing is resampled more coarsely.
    """

    spacing: float = 0.08
    lifted: float = 0.25
    reach: tuple[float, float] = (0.45, 0.9)
    places: tuple[int, int] = (5, 7)
    longest: int = 4096
    network: SequenceConfig = field(default_factory=lambda: SequenceConfig(layers=2, dropout=0.35))

    @property
    def features(self) -> int:
        """Numbers for each point, see `pen_features`."""
        return 7 + self.places[0] * self.places[1]


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
    return track_through([(way - middle) / size for way in ways], config)


def track_through(ways: Sequence[np.ndarray], config: PenConfig) -> Track:
    """The way through strokes that are in sizes of the writing already: [points, 2] each."""
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


@torch.no_grad()
def pen_features(points: Tensor, lengths: Tensor, config: PenConfig | None = None) -> Tensor:
    """What a network sees of each point: float [batch, points, config.features].

    The direction and the curvature of the way as cosine and sine, how far its neighbours are
    apart, its height, whether the pen writes, and the ink around it: in `places`, as far as
    `reach` to the sides and up and down, so that a point knows of the dot above it that is
    written later.

    `points` float [batch, points, 3], `lengths` int64 [batch]. Raises ValueError for numbers of
    places that are even or 1. Complexity: linear in the points and in the paper they lie on.
    Source: Jaeger, Manke, Reichert & Waibel 2001 (direction, curvature, context bitmaps).
    """
    config = config or PenConfig()
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
    inside = at < lengths[:, None]
    around = _ink_around(points, inside, config)
    own = torch.stack([*bend, near, points[..., 1], points[..., 2]], dim=2)
    return torch.cat([direction, own, around], dim=2) * inside[..., None]


def _at(points: Tensor, index: Tensor) -> Tensor:
    return points.gather(1, index.expand(len(points), -1)[..., None].expand(-1, -1, 3))


_FARTHEST = 40.0  # sizes of the writing: ink farther from the left end or the middle is moved there


def _ink_around(points: Tensor, inside: Tensor, config: PenConfig) -> Tensor:
    """The ink near some places around each point, float [batch, points, places].

    Ink is counted on squared paper, whose squares lie as far apart as the places, and both
    counting and looking share it among the four squares around.
    """
    batch, (across, along) = len(points), config.places
    if min(across, along) < 3 or across % 2 == 0 or along % 2 == 0:
        raise ValueError(f"pen_features: places must be odd and at least 3, got {config.places}")
    step = points.new_tensor(
        [2 * far / (count - 1) for far, count in zip(config.reach, config.places, strict=True)]
    )
    at = points[..., :2].masked_fill(~inside[..., None], torch.inf)
    at = (points[..., :2] - at.amin(1, keepdim=True)).clamp(max=_FARTHEST) / step
    at = torch.where(inside[..., None], at, 0.0)
    corner = at.floor()
    share = at - corner
    corner = corner.long()
    columns, rows = (int(n) + 2 for n in corner.flatten(0, 1).amax(0))
    half = across // 2, along // 2
    columns, rows = columns + 2 * half[0], rows + 2 * half[1]
    # Corners of the squares around each point, and the share of each.
    first = (corner[..., 1] + half[1]) * columns + corner[..., 0] + half[0]
    shares = [
        (dx * share[..., 0] + (1 - dx) * (1 - share[..., 0]))
        * (dy * share[..., 1] + (1 - dy) * (1 - share[..., 1]))
        for dy in (0, 1)
        for dx in (0, 1)
    ]
    paper = points.new_zeros(batch, rows * columns)
    ink = points[..., 2] * inside
    for part, ahead in zip(shares, (0, 1, columns, columns + 1), strict=True):
        paper.scatter_add_(1, first + ahead, ink * part)
    look = (torch.arange(-half[1], half[1] + 2) * columns)[:, None] + torch.arange(
        -half[0], half[0] + 2
    )
    squares = (first[..., None] + look.flatten().to(first)).flatten(1)
    seen = paper.gather(1, squares).view(*first.shape, along + 1, across + 1)
    left, right, up, down = slice(None, -1), slice(1, None), slice(None, -1), slice(1, None)
    parts = ((up, left), (up, right), (down, left), (down, right))
    counts = sum(
        part[..., None, None] * seen[..., row, column]
        for part, (row, column) in zip(shares, parts, strict=True)
    )
    assert isinstance(counts, Tensor)
    return counts.flatten(2).add(1).log() / 2


def distort_tracks(
    points: Tensor, lengths: Tensor, strength: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A batch of tracks as other hands might have made them, each in its way.

    Slant, stretch, size and turn of the whole; long or short letters above and below the middle; a
    smooth bending along the way, in waves of about 10 and of about 50 points. `points` float
    [batch, points, 3]; `strength` 1 slants by about 10 degrees. The lengths stay.
    """
    batch, count, _ = points.shape

    def normal(*shape: int) -> Tensor:
        return (torch.randn(batch, *shape, generator=generator) * strength).to(points)

    def waves(every: int) -> Tensor:
        knots = normal(2, max(2, count // every))
        return functional.interpolate(knots, size=count, mode="linear", align_corners=True)

    slant, turn = 0.18 * normal(1), 0.06 * normal(1)
    stretch, size = (0.15 * normal(1)).exp(), (0.12 * normal(1)).exp()
    above, below = (0.15 * normal(1)).exp(), (0.15 * normal(1)).exp()
    bend = 0.05 * waves(10) + 0.06 * waves(50)
    x, y, pen = points.unbind(2)
    y = torch.where(y < 0, above * y, below * y)
    moved_x = (stretch * x - slant * y) * size + bend[:, 0]
    moved_y = (y + turn * x) * size + bend[:, 1]
    return torch.stack([moved_x, moved_y, pen], dim=2), lengths


@dataclass(frozen=True)
class Hand:
    """One way to see writing again: wider by `stretch`, larger by `size`, and slanted."""

    stretch: float
    size: float
    slant: float

    def __call__(self, points: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of tracks, float [batch, points, 3], in that hand; the lengths stay."""
        x, y, pen = points.unbind(2)
        x = (self.stretch * x - self.slant * y) * self.size
        return torch.stack([x, self.size * y, pen], dim=2), lengths


HANDS = (
    Hand(0.93, 0.95, 0.1),
    Hand(1.07, 0.95, -0.1),
    Hand(1.07, 1.05, 0.1),
    Hand(0.93, 1.05, -0.1),
)
"""Four hands, each change in two of them one way and in two the other."""


Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A random change of a batch of tracks and their lengths, as `distort_tracks`."""


class PenFrontEnd(Configured[PenConfig]):
    """Pen strokes to frames: a `FrontEnd` whose recognition graphs are chains of frames.

    An input is a sequence of strokes, arrays [points, 2]; see `track_of`.
    """

    name = "strokes"
    kind = PenConfig
    looks: Sequence[Any] = HANDS

    def observe(self, strokes: Sequence[np.ndarray]) -> Track:
        """The way of the pen through the strokes of one line of writing."""
        return track_of(strokes, self.config)

    def network(self, alphabet: Alphabet) -> SequenceNetwork:
        """A network that scores the labels of an alphabet for every frame."""
        return SequenceNetwork(alphabet.num_labels, self.config.features, self.config.network)

    def recognition(
        self, network: nn.Module, tracks: Sequence[Track], change: Change | None = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs: a chain of frames for each track."""
        points, lengths = padded([track.points for track in tracks])
        if change is not None:
            points, lengths = change(points, lengths)
        weights = next(network.parameters(), points)
        points, lengths = points.to(weights), lengths.to(weights.device)
        scores, frames = network(pen_features(points, lengths, self.config), lengths)
        return gtnet.Emissions(scores, frames)

    def change(self, strength: float) -> Change | None:
        """Another hand for each line; None at strength 0."""
        return partial(distort_tracks, strength=strength) if strength else None
