"""Reading many files: page by page, in batches, told as text, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from gtnet.reader.answers import Answer
from gtnet.reader.inputs import read_inputs, wrong_kind
from gtnet.reader.recognizer import Recognizer

FORMATS = ("text", "json", "jsonl", "csv")
BATCH = 32


@dataclass(frozen=True)
class Record:
    """What came of one image: its answer, or why the file could not be read.

    `file`: its path, and the page where there are several; `image`: None where there is no answer.
    """

    file: str
    answer: Answer | None
    image: Any = None
    error: str = ""

    def verdict(self, least: float) -> str:
        """One of "accepted", "rejected" (below `least`), "no reading" and "unreadable"."""
        if self.answer is None:
            return "unreadable"
        if self.answer.amount is None:
            return "no reading"
        return "accepted" if self.answer.confidence >= least else "rejected"


def records(
    reader: Recognizer, files: Iterable[str], *, best: int = 1, batch_size: int = BATCH
) -> Iterator[Record]:
    """The record of every image, sample or sound in some files, in their order, read in batches.

    Each gets `best` answers where its language and image allow so many. At most one batch of images
    is in memory.
    """
    waiting: list[Record] = []
    for record in _opened(files, reader.front_end.name):
        waiting.append(record)
        if sum(one.image is not None for one in waiting) == batch_size:
            yield from read_batch(reader, waiting, best)
            waiting = []
    yield from read_batch(reader, waiting, best)


def _opened(files: Iterable[str], front_end: str) -> Iterator[Record]:
    for file in files:
        try:
            wrong = wrong_kind(file, front_end)
            if wrong:
                raise ValueError(f"read_inputs: {file} is {wrong}")
            for name, given in read_inputs(file):
                yield Record(name, None, given)
        except ValueError as error:
            yield Record(file, None, error=str(error))


def read_batch(reader: Recognizer, waiting: Sequence[Record], best: int) -> Iterator[Record]:
    """The records with their answers, read together; those without an image stay as they are."""
    images = [record.image for record in waiting if record.image is not None]
    answers = iter(reader.read(images, best=best) if images else [])
    for record in waiting:
        if record.image is None:
            yield record
        else:
            yield Record(record.file, next(answers), record.image)


class Teller:
    """Prints records to a stream as they come, in one of `FORMATS`.

    `best`: answers shown; `least`: confidence from which an answer is accepted. Use it as a
    context: JSON is a list with a beginning and an end.
    """

    def __init__(self, kind: str, best: int, least: float, stream: TextIO | None = None) -> None:
        self.kind, self.best, self.least = kind, best, least
        self.stream = sys.stdout if stream is None else stream
        self._count = 0
        self._csv = csv.writer(self.stream, lineterminator="\n")

    def __enter__(self) -> Teller:
        if self.kind == "json":
            self._print("[")
        elif self.kind == "csv":
            others = [
                f"{word}{n}" for n in range(2, self.best + 1) for word in ("text", "confidence")
            ]
            self._csv.writerow(["file", "text", "confidence", "verdict", "reason", *others])
        return self

    def __exit__(self, *error: object) -> None:
        if self.kind == "json" and error[0] is None:
            self._print("\n]\n" if self._count else "]\n")

    def tell(self, record: Record) -> None:
        """Print one record."""
        if self.kind == "text":
            self._print("".join(f"{line}\n" for line in told(record, self.best, self.least)))
        elif self.kind == "csv":
            found = values_of(record, self.best, self.least)
            flat = [value for pair in found["alternatives"] for value in pair.values()]
            found["file"] = record.file.encode("utf-8", "backslashreplace").decode("utf-8")
            row = [found[k] for k in ("file", "text", "confidence", "verdict", "reason")]
            self._csv.writerow(["" if value is None else value for value in [*row, *flat]])
        else:
            text = json.dumps(values_of(record, self.best, self.least))
            before = "" if self.kind == "jsonl" else ",\n " if self._count else "\n "
            self._print(before + text + "\n" * (self.kind == "jsonl"))
        self._count += 1
        self.stream.flush()

    def _print(self, text: str) -> None:
        self.stream.write(text)


def values_of(record: Record, best: int, least: float) -> dict[str, Any]:
    """A record as JSON has it; `best` answers, accepted from the confidence `least`."""
    answer = record.answer or Answer(None, reason=record.error)
    return {
        "file": record.file,
        "text": answer.amount,
        "confidence": round(answer.confidence, 6),
        "verdict": record.verdict(least),
        "reason": answer.reason,
        "alternatives": [
            {"text": text, "confidence": round(share, 6)}
            for text, share in answer.alternatives[: best - 1]
        ],
    }


def told(record: Record, best: int, least: float) -> list[str]:
    """The lines for a person about one image."""
    name, answer = printable(record.file), record.answer
    if answer is None:
        return []
    if answer.amount is None:
        return [f"{name}: {answer.reason}"]
    verdict = "" if answer.confidence >= least else ", rejected"
    lines = [f"{name}: {answer.amount}  (confidence {answer.confidence:.3f}{verdict})"]
    others: Sequence[tuple[str, float]] = answer.alternatives[: max(0, best - 1)]
    return lines + [f"    or {amount}  ({confidence:.3f})" for amount, confidence in others]


def printable(name: str) -> str:
    """A file name on one line of a terminal: line ends and control characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name
    )
