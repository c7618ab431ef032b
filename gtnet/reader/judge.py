"""The results of training: two readers side by side, as numbers, a table and a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gtnet.reader import report
from gtnet.reader.answers import rejection_threshold
from gtnet.reader.data import Dataset
from gtnet.reader.inputs import picture
from gtnet.reader.observed import Observed
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.train import PHASES, Evaluation, evaluate

NAMES = (PHASES["isolated"], PHASES["whole"])
"""What the readers before and after the second phase are called, of segments."""

_FIRST = {
    "segments": PHASES["isolated"],
    "segmental": PHASES["strings"],
    "sliding": PHASES["strings"],
}


@dataclass(frozen=True)
class Score:
    """How one reader did on the test amounts.

    `accuracy`: share read exactly; `read`: greatest share it can answer with at most
    `error_rate` wrong among its answers; `threshold`: confidence from which answers are
    accepted, chosen for that rate on so many validation amounts as `chosen_on` says; `accepted`,
    `wrong`: share of test amounts accepted by it, and share of wrong answers among them.
    """

    accuracy: float
    read: float
    error_rate: float
    threshold: float | None = None
    accepted: float | None = None
    wrong: float | None = None
    chosen_on: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Two readers on the same test amounts: before global training, if there was one, and after.

    `corrected`: the scores by what the images truly say, where some labels are known to be wrong.
    """

    before: Evaluation | None
    after: Evaluation
    scores: tuple[Score | None, Score]
    corrected: tuple[Score | None, Score] | None = None
    names: tuple[str, str] = NAMES

    @property
    def reduction(self) -> float:
        """Share of the string errors of the first reader that the second does not make."""
        first, second = self.scores
        if first is None or first.accuracy == 1:
            return 0.0
        return (second.accuracy - first.accuracy) / (1 - first.accuracy)

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        found = self._named(self.scores)
        if self.corrected is not None:
            found["with corrected labels"] = self._named(self.corrected)
        return {**found, "reduction": self.reduction, "amounts": len(self.after.truth)}

    def _named(self, scores: tuple[Score | None, Score]) -> dict[str, Any]:
        pairs = zip(self.names, scores, strict=True)
        return {name: asdict(score) for name, score in pairs if score is not None}

    def table(self) -> str:
        """The numbers side by side, for a terminal."""
        rate = f"{self.scores[1].error_rate:.0%}"
        removed = "" if self.before is None else f"{self.reduction:.0%}"
        rows = [
            ("", *self.names),
            ("amounts read exactly", *_shares(self.scores, "accuracy")),
            ("errors removed", "", removed),
            (f"read at {rate} error", *_shares(self.scores, "read")),
        ]
        if self.corrected is not None:
            rows.insert(2, ("  by corrected labels", *_shares(self.corrected, "accuracy")))
        if self.before is None:
            return "\n".join(f"{name:<24}{two:>18}" for name, _, two in rows if two)
        return "\n".join(f"{name:<24}{one:>22}{two:>18}" for name, one, two in rows)


def _shares(scores: tuple[Score | None, Score], name: str) -> tuple[str, str]:
    one, two = ("" if score is None else f"{getattr(score, name):.1%}" for score in scores)
    return one, two


def compare(
    before: Recognizer | None,
    after: Recognizer,
    test: Observed,
    valid: Observed | None,
    error_rate: float = 0.01,
    corrected: Sequence[str] | None = None,
) -> Comparison:
    """Judge two readers on test amounts; their rejection thresholds come from `valid`.

    `corrected`: what the test images truly say, to be judged by that too.
    """

    def judged(reader: Recognizer) -> tuple[Evaluation, Score, Score | None]:
        found = evaluate(reader, test)
        chosen = None if valid is None else evaluate(reader, valid)
        score, truly = _score(found, chosen, error_rate), None
        if corrected is not None:
            truly = _score(replace(found, truth=list(corrected)), chosen, error_rate)
        return found, score, truly

    first = (None, None, None) if before is None else judged(before)
    second = judged(after)
    right = None if second[2] is None else (first[2], second[2])
    names = (_FIRST.get(after.front_end.name, NAMES[0]), PHASES["whole"])
    return Comparison(first[0], second[0], (first[1], second[1]), right, names)


def _score(found: Evaluation, chosen: Evaluation | None, error_rate: float) -> Score:
    _, read = rejection_threshold(found.confidences, found.correct, error_rate)
    if chosen is None:
        return Score(found.accuracy, read, error_rate)
    threshold, _ = rejection_threshold(chosen.confidences, chosen.correct, error_rate)
    pairs = zip(found.confidences, found.correct, strict=True)
    accepted = [right for confidence, right in pairs if confidence >= threshold]
    wrong = accepted.count(False) / max(1, len(accepted))
    share = len(accepted) / max(1, len(found.truth))
    return Score(found.accuracy, read, error_rate, threshold, share, wrong, len(chosen.truth))


def report_data(
    comparison: Comparison,
    readers: tuple[Recognizer | None, Recognizer],
    test: Dataset,
    history: list[dict[str, Any]],
    facts: dict[str, Any],
    *,
    samples: int = 12,
    drawn: int = 2,
    mistakes: int = 24,
    settings: str = "",
) -> report.ReportData:
    """What the report of a comparison shows: `samples` images, the graphs of `drawn` of them.

    Graphs are drawn for short amounts that only the second reader gets right.
    """
    names, before = comparison.names, None
    if comparison.before is not None and comparison.scores[0] is not None:
        before = _outcome(names[0], comparison.scores[0], comparison.before)
    return report.ReportData(
        before,
        _outcome(names[1], comparison.scores[1], comparison.after),
        samples=_samples(comparison, readers, test, samples, drawn),
        curves=_curves(history),
        mistakes=_mistakes(comparison.after, test, mistakes),
        symbols=readers[1].alphabet.symbols,
        facts=facts,
        error_rate=comparison.scores[1].error_rate,
        settings=settings,
        about=report.ABOUT.get(readers[1].front_end.name, report.SEGMENTS),
    )


def _outcome(name: str, score: Score, own: Evaluation) -> report.Outcome:
    threshold = score.threshold
    if threshold is not None and not math.isfinite(threshold):
        threshold = None
    return report.Outcome(
        name,
        score.accuracy,
        score.read,
        own.confidences,
        own.correct,
        threshold,
        score.accepted,
        score.wrong,
        score.chosen_on,
    )


def _samples(
    comparison: Comparison,
    readers: tuple[Recognizer | None, Recognizer],
    test: Dataset,
    samples: int,
    drawn: int,
) -> list[report.Sample]:
    after = comparison.after.correct
    before = [False] * len(after) if comparison.before is None else comparison.before.correct
    learnt = [i for i in range(len(after)) if after[i] and not before[i]]
    others = [i for i in range(len(after)) if i not in learnt]
    chosen = sorted(learnt, key=lambda i: len(comparison.after.truth[i]))[:drawn]
    shown = []
    for i in (chosen + others)[:samples]:
        image, truth = test[i]
        (seen,) = readers[1].observe([image])
        cuts, shape = report.cuts_of(readers[1], seen), picture(image)
        views = [
            _view(reader, shape, seen) if i in chosen and reader is not None else None
            for reader in readers
        ]
        shown.append(report.Sample(shape, truth, cuts, views[0], views[1]))
    return shown


def _view(reader: Recognizer, image: Any, seen: Any) -> report.View | None:
    """What a reader makes of an image; None where that cannot be shown."""
    try:
        return report.look(reader, image, seen)
    except (ValueError, IndexError, RuntimeError):
        return None


def _curves(history: list[dict[str, Any]]) -> list[report.Curve]:
    curves: list[report.Curve] = []
    accuracy: dict[str, list[tuple[float, float]]] = {}
    loss: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(history, start=1):
        name = PHASES[row["phase"]]
        if row["valid_accuracy"] is not None:
            accuracy.setdefault(name, []).append((number, row["valid_accuracy"]))
        if row["loss"] is not None:
            loss.setdefault(name, []).append((number, row["loss"]))
    if accuracy:
        title = "Validation amounts read exactly"
        curves.append(report.Curve(title, "epoch", "amounts read", accuracy, True))
    for name, points in loss.items():  # of each phase alone: they are not of one scale
        curves.append(report.Curve(f"Loss, {name}", "epoch", "training loss", {name: points}))
    return curves


def _mistakes(found: Evaluation, test: Dataset, most: int) -> list[report.Mistake]:
    wrong = [i for i, right in enumerate(found.correct) if not right]
    wrong.sort(key=lambda i: -found.confidences[i])
    return [
        report.Mistake(
            picture(test[i][0]),
            found.truth[i],
            found.answers[i].amount,
            found.answers[i].confidence,
            _name(test, i),
        )
        for i in wrong[:most]
    ]


def _name(data: Dataset, index: int) -> str:
    """The file of an item, of data that have files."""
    try:
        return str(data.name(index)) if hasattr(data, "name") else ""
    except AttributeError:  # some items of data without files
        return ""
