"""What answers are like before anything is seen: how texts begin, go on and end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import gtnet
from gtnet.reader.alphabet import Alphabet

_SMOOTHING = 3.0  # characters of the whole alphabet counted besides those of the texts


@dataclass(frozen=True)
class Prior:
    """Scores of texts by their characters and length, to be added to those of their images.

    `first`, `rest`: the score of each character of an alphabet where it begins a text, and where it
    follows another one; `end`: that of the end.
    """

    first: tuple[float, ...]
    rest: tuple[float, ...]
    end: float

    @staticmethod
    def of(texts: Iterable[str], alphabet: Alphabet, strength: float = 1.0) -> Prior:
        """The log probabilities of characters in some texts, times `strength`.

        A text begins with a character drawn by how often texts begin with it; each further one is
        drawn from all that are not first, and there is one with the same probability wherever the
        text has got to. Counts are smoothed (Witten & Bell 1991, with a constant in place of the
        number of kinds), so that no character is impossible.

        Raises ValueError for no texts, a negative strength or a character outside the alphabet.
        Complexity: linear in the texts.
        """
        rows = [alphabet.labels_of(text) for text in texts]
        rows = [row for row in rows if len(row)]
        if not rows:
            raise ValueError("Prior.of: give at least one text that is not empty")
        if not 0 <= strength < math.inf:
            raise ValueError(f"Prior.of: strength must be at least 0 and finite, got {strength}")
        begins = Counter(int(row[0]) for row in rows)
        follows = Counter(int(label) for row in rows for label in row[1:])
        size, labels = len(alphabet), range(len(alphabet))
        anywhere = _shares(begins + follows, [1 / size] * size)
        first, rest = _shares(begins, anywhere), _shares(follows, anywhere)
        going_on = (follows.total() + 0.5) / (follows.total() + len(rows) + 1)
        return Prior(
            tuple(strength * math.log(first[label]) for label in labels),
            tuple(strength * math.log(rest[label] * going_on) for label in labels),
            strength * math.log(1 - going_on),
        )

    def graph(self) -> gtnet.Graph:
        """The acceptor of all texts with these scores: two states."""
        size = len(self.first)
        return gtnet.Graph(
            [0] * size + [1] * size,
            [1] * (2 * size),
            [*range(size), *range(size)],
            weights=[*self.first, *self.rest],
            start=0,
            accept={0: self.end, 1: self.end},
            num_states=2,
        )


def _shares(counts: Counter[int], before: list[float]) -> list[float]:
    """The probability of each label by its count, smoothed by what is known of it before."""
    total = counts.total() + _SMOOTHING
    return [(counts[label] + _SMOOTHING * share) / total for label, share in enumerate(before)]
