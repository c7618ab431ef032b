"""Words spliced from parted ones: what is cut, what goes where, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gtnet.reader import PenConfig, PenFrontEnd, Recognizer, SequenceConfig, SlidingFrontEnd
from gtnet.reader.pen import Track, pen_features, track_through
from gtnet.reader.splice import Parted, Spliced, parted, strokes_of

FINE = PenConfig(spacing=0.1, lifted=0.2)


def stroke(x: float, y: float, wide: float) -> np.ndarray:
    return np.array([[x, y], [x + wide, y]])


def word(text: str, strokes: list[np.ndarray], ends_behind: list[int], writer: str = "w") -> Parted:
    """A word whose letters end behind the strokes of these numbers."""
    track = track_through(strokes, FINE)
    pen = track.points[:, 2] > 0
    stops = np.flatnonzero(pen & ~np.append(pen[1:], False))
    ends = [*stops[ends_behind[:-1]], len(track) - 1]
    return Parted(track, tuple(text), writer, tuple(int(end) for end in ends))


# "ib", the dot of the i written last; "ic", its dot written at once; "xid", x without a dot.
IB = word("ib", [stroke(0, 0, 0.5), stroke(1, 0.1, 0.4), stroke(0.2, -0.8, 0.1)], [0, 1])
IC = word("ic", [stroke(0, 0.2, 0.3), stroke(0.1, -0.6, 0.1), stroke(0.8, 0, 0.7)], [1, 2])


def ends_of(track: Track) -> np.ndarray:
    """Where the strokes of a track begin and end, [strokes, 4]."""
    strokes = strokes_of(track.points)
    return np.array([[*part[0], *part[-1]] for part in strokes])


def test_late_dots_stay_with_the_letters_they_are_above() -> None:
    spliced = Spliced([IB, IC], FINE)
    # The i of "ib" and the rest of "ic": its c as far behind the end of the dot as it was written
    # from the end of what is cut off there.
    joined = ends_of(spliced._joined(IB, 0, IC, 0))
    c = stroke(0.5 + 0.8 - 0.2, 0.6, 0.7)
    assert np.allclose(joined, [[0, 0, 0.5, 0], c.ravel(), [0.2, -0.8, 0.3, -0.8]], atol=1e-5)
    # The i of "ic" and the rest of "ib": the dot of the i of "ib" is left out.
    joined = ends_of(spliced._joined(IC, 0, IB, 0))
    b = stroke(0.2 + 1 - 0.5, 0.1 - 0.6, 0.4)
    assert np.allclose(joined, [[0, 0.2, 0.3, 0.2], [0.1, -0.6, 0.2, -0.6], b.ravel()], atol=1e-5)


def test_a_pen_that_stays_down_writes_on() -> None:
    long = track_through([stroke(0, 0, 2.0)], FINE)
    one = Parted(long, ("a", "b"), "w", (10, 20))
    joined = Spliced([one], FINE)._joined(one, 0, one, 0)
    assert np.allclose(ends_of(joined), [[0, 0, 2.0, 0]], atol=1e-5)


def test_samples_say_what_they_are_made_of() -> None:
    spliced = Spliced([IB, IC], FINE, alike=0.0, longest=3)
    rng = np.random.default_rng(0)
    found = {spliced.sample(rng)[1] for _ in range(60)}
    assert found == {"ib", "ic"}
    fronts = {spliced.sample(rng, 0)[1] for _ in range(20)}
    assert fronts <= {"ib", "ic"}
    single = Parted(IB.track, ("i",), "w", (5,))
    with pytest.raises(ValueError, match="at least one word of two letters"):
        Spliced([single])


class Heights(nn.Module):
    """A network that sees "a" above the middle, "b" below it, and nothing where the pen is up."""

    def __init__(self) -> None:
        super().__init__()
        self.sharp = nn.Parameter(torch.tensor(9.0))

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        height, pen = features[..., 5], features[..., 6]
        scores = torch.stack([-height.sign() * pen, height.sign() * pen, 1 - pen], 2)
        return (self.sharp * scores).log_softmax(2), lengths


def test_letters_end_where_the_pen_is_lifted() -> None:
    front_end = PenFrontEnd(FINE)
    reader = Recognizer("ab", None, front_end, Heights()).train()
    strokes = [stroke(0, -0.5, 1), stroke(1.5, -0.5, 1), stroke(3, 0.5, 1)]
    track = track_through(strokes, FINE)
    assert pen_features(*_batch(track), FINE).shape[2] == FINE.features
    found = parted(reader, [track, track, track], ["aab", "ba", "ab"], ["v", "v", "w"])
    assert [(one.text, one.writer) for one in found] == [(("a", "a", "b"), "v")]
    pen = track.points[:, 2] > 0
    stops = np.flatnonzero(pen & ~np.append(pen[1:], False))
    assert found[0].ends == tuple(stops) and reader.training
    with pytest.raises(TypeError, match="a reader of pen strokes, got 'sliding'"):
        parted(Recognizer("ab", None, SlidingFrontEnd()), [], [], [])


def _batch(track: Track) -> tuple[Any, Any]:
    return torch.from_numpy(track.points)[None], torch.tensor([len(track)])


def test_where_nothing_is_written_nothing_is_parted() -> None:
    small = SequenceConfig((4,), (3,), (2,), context=0)
    reader = Recognizer("ab", None, PenFrontEnd(PenConfig(network=small)))
    assert parted(reader, [Track(np.zeros((0, 3), np.float32))], ["ab"], ["w"]) == []
