"""Data looked at before training: every label, every image, what is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm

from gtnet.reader import inputs
from gtnet.reader.tables import Faults

_TOLD = 5


class Listed(Protocol):
    """A data set that knows where each of its items comes from."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, str]: ...

    def text(self, index: int) -> str:
        """The text alone."""

    def name(self, index: int) -> str:
        """The file name of the image."""

    def place(self, index: int) -> str:
        """Where the table speaks of it: path and line."""


@dataclass(frozen=True)
class Findings:
    """What there is to know about data that are in order.

    `same`: for each item a number, the same for items of one image, which must stay in one split;
    `notes`: what a person should look at; `fingerprint`: of all names, images and texts; `digests`:
    of each image, see `inputs.digest`.
    """

    same: list[int]
    notes: list[str]
    fingerprint: str
    digests: list[str]


def examine(
    data: Listed,
    accepts: Callable[[str], object] | None = None,
    faults: Faults | None = None,
    *,
    quiet: bool = False,
) -> Findings:
    """Try every label against the language and open every image, before any training.

    `accepts`: raises ValueError for a text outside the language, as `Recognizer.acceptor` does;
    `faults`: those found before, of the rows of the table. One image under two labels is a fault;
    under one label it is noted.

    Raises ValueError that lists all faults with file, line and reason. Complexity: linear in the
    pixels of all images.
    """
    faults = Faults() if faults is None else faults
    digests: list[str] = []
    blank: list[str] = []
    for index in tqdm(range(len(data)), "checking", disable=quiet or None, leave=False):
        line, where = _line(data, index), f"{data.place(index)}, {data.name(index)}"
        try:
            if accepts is not None:
                accepts(data.text(index))
        except ValueError as error:
            faults.add(line, f"{where}: {_reason(error)}")
        digest = f"missing {data.name(index)}"
        try:
            given, _ = data[index]
            digest = inputs.digest(given)
            if inputs.is_empty(given):
                blank.append(where)
                digest = f"blank {data.name(index)}"
        except ValueError as error:
            faults.add(line, f"{where}: {_unreadable(data, index, error)}")
        digests.append(digest)
    same, twice = _groups(data, digests, faults)
    faults.raise_any()
    notes = [*few("nothing is there in", blank), *few("there twice:", twice)]
    rewritten = [f"{place}: {a} as {b}" for place, a, b in getattr(data, "rewritten", ())]
    notes += few("taken as the grammar reads it:", rewritten)
    return Findings(same, notes, fingerprint_of(data, digests), digests)


def fingerprint_of(data: Listed, digests: Sequence[str]) -> str:
    """One number for the names, texts and images of a data set, whatever their order."""
    rows = sorted(f"{data.name(i)}\0{data.text(i)}\0{d}" for i, d in enumerate(digests))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _groups(data: Listed, digests: list[str], faults: Faults) -> tuple[list[int], list[str]]:
    """The group of each item; what is there twice, and as a fault, what contradicts itself."""
    first: dict[str, int] = {}
    same: list[int] = []
    twice: list[str] = []
    for index, digest in enumerate(digests):
        name = f"name {data.name(index)}"
        other = first.setdefault(name, first.get(digest, index))
        first.setdefault(digest, other)
        same.append(other if other == index else same[other])
        if other == index:
            continue
        here, there = (f"{data.place(i)}, {data.name(i)}" for i in (index, other))
        if data.text(index) == data.text(other):
            twice.append(f"{here} and {there}")
        else:
            faults.add(
                _line(data, index),
                f"{here} is {data.text(index)!r}, and the same image is {data.text(other)!r} in"
                f" {there}",
            )
    return same, twice


def _line(data: Listed, index: int) -> int:
    return int(data.place(index).rpartition(" ")[2])


def _reason(error: ValueError) -> str:
    """The message of an error without the name of the function that raised it."""
    head, colon, rest = str(error).partition(": ")
    return rest if colon and head.isidentifier() else str(error)


def _unreadable(data: Listed, index: int, error: ValueError) -> str:
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        near = getattr(data, "like", lambda name: "")(data.name(index))
        return "no such file" + (f"; did you mean {near}?" if near else "")
    return f"no readable image: {cause}" if cause is not None else _reason(error)


def few(what: str, rows: Sequence[str]) -> list[str]:
    """A note of what there is, with the first few of the places; none where there are no places."""
    if not rows:
        return []
    more = f" and {len(rows) - _TOLD} more" if len(rows) > _TOLD else ""
    return [f"{what} {'; '.join(rows[:_TOLD])}{more}"]
