"""Reading a data set whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

from gtnet.reader.answers import Answer
from gtnet.reader.observed import Observed
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.team import Team

_AT_ONCE = 256


@dataclass(frozen=True)
class Evaluation:
    """What a reader makes of a data set: the answers, the truth, and which are right."""

    answers: list[Answer]
    truth: list[str]

    @property
    def correct(self) -> list[bool]:
        """For each image, whether the answer is the true amount."""
        return [a.amount == t for a, t in zip(self.answers, self.truth, strict=True)]

    @property
    def accuracy(self) -> float:
        """Share of amounts that are read right."""
        return sum(self.correct) / max(1, len(self.truth))

    @property
    def confidences(self) -> list[float]:
        """The confidence of each answer."""
        return [answer.confidence for answer in self.answers]


def evaluate(
    reader: Recognizer, data: Observed, *, workers: int = 0, team: Team | None = None
) -> Evaluation:
    """Read a whole data set; few observations are in memory at a time.

    `team`: the processes that share the work; each gets the evaluation of all, in another order.
    """
    if team is not None and team.size > 1:
        mine = range(team.rank, len(data), team.size)
        parts = team.of_all(_read(reader, data, mine, workers))
        return Evaluation(
            [answer for part in parts for answer in part.answers],
            [text for part in parts for text in part.truth],
        )
    return _read(reader, data, range(len(data)), workers)


def _read(reader: Recognizer, data: Observed, which: range, workers: int) -> Evaluation:
    answers: list[Answer] = []
    truth: list[str] = []
    for batch in data.batches(which, _AT_ONCE, workers=workers):
        answers += reader.read_observations([observation for observation, _ in batch])
        truth += [text for _, text in batch]
    return Evaluation(answers, truth)
