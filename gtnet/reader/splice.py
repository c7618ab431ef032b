"""Words spliced from written ones: the front of one word and the rest of another, in pen strokes.

What words are spelled is what a recognizer of letters must learn not to depend on. Two words are
cut behind a letter that both have, and the end of that letter in one takes the place of that in the
other: neighbours of a letter are changed, the way into and out of it stays as it was written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

import gtnet
from gtnet.reader.pen import PenConfig, PenFrontEnd, Track, track_through
from gtnet.reader.recognizer import Recognizer

_BEHIND = 0.15  # a later stroke that ends so far right of a cut still belongs to what is left of it


@dataclass(frozen=True)
class Parted:
    """A word, its writer, and of each letter the number of its last point, in order of writing."""

    track: Track
    text: tuple[str, ...]
    writer: str
    ends: tuple[int, ...]


@torch.no_grad()
def parted(
    reader: Recognizer,
    tracks: Sequence[Track],
    texts: Sequence[str],
    writers: Sequence[str],
    *,
    sure: float = 0.5,
    batch_size: int = 64,
) -> list[Parted]:
    """Words, parted where a trained reader of pen strokes finds their letters.

    A letter ends where the pen was lifted between it and the next, or half way. Words whose best
    alignment is less probable than `sure` to the power of their letters are left out. Raises
    TypeError for a reader of something else. Complexity: that of reading.
    """
    if not isinstance(reader.front_end, PenFrontEnd):
        raise TypeError(f"parted: needs a reader of pen strokes, got {reader.front_end.name!r}")
    order = sorted((i for i in range(len(tracks)) if len(tracks[i])), key=lambda i: len(tracks[i]))
    found: dict[int, Parted] = {}
    was_training = reader.training
    reader.eval()
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        emissions = reader.recognition([tracks[i] for i in batch])
        assert emissions.lengths is not None
        labels = [reader.alphabet.labels_of(texts[i]) for i in batch]
        aligned = gtnet.forced_align(
            emissions.scores, labels, emissions.lengths, blank=reader.alphabet.nothing
        )
        for i, own, count, tokens, total in zip(
            batch, labels, emissions.lengths.tolist(), aligned.tokens, aligned.total.tolist()
        ):
            if own and total >= len(own) * math.log(sure):
                each = len(tracks[i]) / count
                spans = [(token.start * each, token.end * each) for token in tokens]
                text = tuple(reader.alphabet.characters[label] for label in own)
                found[i] = Parted(tracks[i], text, writers[i], _ends(tracks[i].points, spans))
    reader.train(was_training)
    return [found[i] for i in sorted(found)]


def _ends(points: np.ndarray, spans: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """The last point of each letter, given the points it was seen at."""
    pen, ends = points[:, 2] > 0, []
    for (start, stop), (after, _) in pairwise(spans):
        first = int((start + stop) / 2)
        lifted = [i for i in range(first, int(after) + 1) if not pen[i] and pen[i - 1] and i > 0]
        middle = (stop + after) / 2
        ends.append(min(lifted, key=lambda i: abs(i - middle)) - 1 if lifted else int(middle))
    return (*ends, len(points) - 1)


class Spliced:
    """Words that nobody wrote, spliced from parted ones.

    `alike`: share of them whose two parts are by one writer, where that is possible; `shortest`,
    `longest`: letters. Raises ValueError where no two words can be spliced.
    """

    def __init__(
        self,
        words: Sequence[Parted],
        config: PenConfig | None = None,
        *,
        alike: float = 0.8,
        shortest: int = 2,
        longest: int = 16,
    ) -> None:
        self.words, self.config, self.alike = words, config or PenConfig(), alike
        self.shortest, self.longest = shortest, longest
        self._all: dict[str, list[tuple[int, int]]] = {}
        self._own: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for number, word in enumerate(words):
            for at, letter in enumerate(word.text[:-1]):
                self._all.setdefault(letter, []).append((number, at))
                self._own.setdefault((word.writer, letter), []).append((number, at))
        if not self._all:
            raise ValueError("Spliced: give at least one word of two letters")

    def sample(self, rng: np.random.Generator, front: int | None = None) -> tuple[Track, str]:
        """A word: a track and what it says. `front`: the number of the word that begins it."""
        for _ in range(20):
            first = self.words[int(rng.integers(len(self.words))) if front is None else front]
            at = int(rng.integers(len(first.text)))
            letter = first.text[at]
            places = self._own.get((first.writer, letter), []) if rng.random() < self.alike else []
            places = places or self._all.get(letter, [])
            if not places:
                continue
            number, behind = places[rng.integers(len(places))]
            second = self.words[number]
            text = (*first.text[: at + 1], *second.text[behind + 1 :])
            if self.shortest <= len(text) <= self.longest:
                return self._joined(first, at, second, behind), "".join(text)
        word = self.words[int(rng.integers(len(self.words)))]
        return word.track, "".join(word.text)

    def _joined(self, first: Parted, at: int, second: Parted, behind: int) -> Track:
        """The track of the front of one word, behind a letter of which the rest of another goes."""
        here, there = first.ends[at], second.ends[behind]
        way, rest = first.track.points, second.track.points
        shift = way[here, :2] - rest[there, :2]
        strokes, later = strokes_of(way[: here + 1]), strokes_of(way[here + 1 :])
        if there + 1 < len(rest) and rest[there + 1, 2]:  # the pen goes on
            continued, *others = strokes_of(rest[there:])
            strokes[-1] = np.concatenate(
                [strokes[-1], continued[1:] + way[here, :2] - rest[there, :2]]
            )
        else:
            others = strokes_of(rest[there + 1 :])
        edge = rest[there, 0] + _BEHIND
        strokes += [stroke + shift for stroke in others if stroke[:, 0].max() > edge]
        # Dots and bars of the front that were written after its cut.
        cut = way[here, 0] + _BEHIND
        strokes += [
            stroke
            for stroke in (later[1:] if here + 1 < len(way) and way[here + 1, 2] else later)
            if stroke[:, 0].max() <= cut
        ]
        return track_through(strokes, self.config)


def strokes_of(points: np.ndarray) -> list[np.ndarray]:
    """The parts in which the pen writes of the points of a track, [points, 2] each."""
    pen = points[:, 2] > 0
    cuts = np.flatnonzero(np.diff(pen)) + 1
    return [part[:, :2] for part in np.split(points, cuts) if len(part) and part[0, 2] > 0]
