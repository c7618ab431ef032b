"""The results of training: two readers side by side, as numbers, a table and a report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gtnet.reader import report
from gtnet.reader.amounts import SYMBOLS
from gtnet.reader.data import Dataset
from gtnet.reader.reader import CheckReader, rejection_threshold
from gtnet.reader.train import PHASES, Evaluation, Segmented, evaluate

NAMES = (PHASES["isolated"], PHASES["whole"])
"""What the readers before and after the second phase are called."""


@dataclass(frozen=True)
class Score:
    """How one reader did on the test amounts.

    `accuracy`: share read exactly; `read`: greatest share it can answer with at most
    `error_rate` wrong among its answers; `threshold`: confidence from which answers are
    accepted, chosen for that rate on validation amounts; `accepted`, `wrong`: share of test
    amounts accepted by it, and share of wrong answers among them.
    """

    accuracy: float
    read: float
    error_rate: float
    threshold: float | None = None
    accepted: float | None = None
    wrong: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two readers on the same test amounts: before and after global training."""

    before: Evaluation
    after: Evaluation
    scores: tuple[Score, Score]

    @property
    def reduction(self) -> float:
        """Share of the string errors of the first reader that the second does not make."""
        before, after = (1 - score.accuracy for score in self.scores)
        return (before - after) / before if before else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        named = {name: asdict(s) for name, s in zip(NAMES, self.scores, strict=True)}
        return {**named, "reduction": self.reduction, "amounts": len(self.after.truth)}

    def table(self) -> str:
        """The numbers side by side, for a terminal."""
        before, after = self.scores
        rate = f"{before.error_rate:.0%}"
        rows = [
            ("", *NAMES),
            ("amounts read exactly", f"{before.accuracy:.1%}", f"{after.accuracy:.1%}"),
            ("errors removed", "", f"{self.reduction:.0%}"),
            (f"read at {rate} error", f"{before.read:.1%}", f"{after.read:.1%}"),
        ]
        return "\n".join(f"{name:<24}{one:>22}{two:>18}" for name, one, two in rows)


def compare(
    before: CheckReader,
    after: CheckReader,
    test: Segmented,
    valid: Segmented | None,
    error_rate: float = 0.01,
) -> Comparison:
    """Judge two readers on test amounts; their rejection thresholds come from `valid`."""
    found = [evaluate(reader, test) for reader in (before, after)]
    scores = []
    for reader, own in zip((before, after), found, strict=True):
        chosen = None if valid is None else evaluate(reader, valid)
        scores.append(_score(own, chosen, error_rate))
    return Comparison(found[0], found[1], (scores[0], scores[1]))


def _score(found: Evaluation, chosen: Evaluation | None, error_rate: float) -> Score:
    _, read = rejection_threshold(found.confidences, found.correct, error_rate)
    if chosen is None:
        return Score(found.accuracy, read, error_rate)
    threshold, _ = rejection_threshold(chosen.confidences, chosen.correct, error_rate)
    pairs = zip(found.confidences, found.correct, strict=True)
    accepted = [right for confidence, right in pairs if confidence >= threshold]
    wrong = accepted.count(False) / max(1, len(accepted))
    share = len(accepted) / max(1, len(found.truth))
    return Score(found.accuracy, read, error_rate, threshold, share, wrong)


def report_data(
    comparison: Comparison,
    readers: tuple[CheckReader, CheckReader],
    test: Dataset,
    history: list[dict[str, Any]],
    facts: dict[str, Any],
    *,
    samples: int = 12,
    drawn: int = 2,
    mistakes: int = 24,
) -> report.ReportData:
    """What the report of a comparison shows: `samples` images, the graphs of `drawn` of them.

    Graphs are drawn for short amounts that only the second reader gets right.
    """
    outcomes = [
        report.Outcome(name, score.accuracy, score.read, own.confidences, own.correct)
        for name, score, own in zip(
            NAMES, comparison.scores, (comparison.before, comparison.after), strict=True
        )
    ]
    return report.ReportData(
        outcomes[0],
        outcomes[1],
        samples=_samples(comparison, readers, test, samples, drawn),
        curves=_curves(history),
        mistakes=_mistakes(comparison.after, test, mistakes),
        symbols=SYMBOLS,
        facts=facts,
        error_rate=comparison.scores[0].error_rate,
    )


def _samples(
    comparison: Comparison,
    readers: tuple[CheckReader, CheckReader],
    test: Dataset,
    samples: int,
    drawn: int,
) -> list[report.Sample]:
    before, after = comparison.before.correct, comparison.after.correct
    learnt = [i for i in range(len(after)) if after[i] and not before[i]]
    others = [i for i in range(len(after)) if i not in learnt]
    chosen = sorted(learnt, key=lambda i: len(comparison.after.truth[i]))[:drawn]
    shown = []
    for i in (chosen + others)[:samples]:
        image, truth = test[i]
        (cut,) = readers[1].segment([image])
        views = [report.look(r, image, cut) if i in chosen else None for r in readers]
        shown.append(report.Sample(image, truth, cut.cuts, views[0], views[1]))
    return shown


def _curves(history: list[dict[str, Any]]) -> list[report.Curve]:
    curves = []
    for title, y, percent in (
        ("Validation amounts read exactly", "valid_accuracy", True),
        ("Training loss", "loss", False),
    ):
        lines: dict[str, list[tuple[float, float]]] = {}
        for number, row in enumerate(history, start=1):
            if row[y] is not None:
                lines.setdefault(PHASES[row["phase"]], []).append((number, row[y]))
        if lines:
            curves.append(report.Curve(title, "epoch", title.lower(), lines, percent))
    return curves


def _mistakes(found: Evaluation, test: Dataset, most: int) -> list[report.Mistake]:
    wrong = [i for i, right in enumerate(found.correct) if not right]
    wrong.sort(key=lambda i: -found.confidences[i])
    return [
        report.Mistake(
            np.asarray(test[i][0]),
            found.truth[i],
            found.answers[i].amount,
            found.answers[i].confidence,
        )
        for i in wrong[:most]
    ]
