"""Files: text split into columns, errors that name the line, and writing all or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gtnet._checks import LARGEST

PathLike = str | os.PathLike[str]


class Text:
    """The lines of a text and where they came from, so that every error names its line."""

    def __init__(self, function: str, text: str, name: str = "text") -> None:
        self.function = function
        self.name = name
        self.lines = text.split("\n")  # splitlines also cuts at separators inside symbols

    @classmethod
    def read(cls, function: str, path: PathLike) -> Text:
        """The text of a file. Raises ValueError if it is not UTF-8 or lacks its last newline."""
        name = os.fspath(path)
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{function}: {name} is not UTF-8 text: {error}") from None
        if text and not text.endswith("\n"):
            last = text[text.rfind("\n") + 1 :]
            raise ValueError(
                f"{function}: {name}:{text.count(chr(10)) + 1}: the file ends within a line: "
                f"{last!r}; if it is complete, add a newline"
            )
        return cls(function, text, name)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The number of each non-blank line and its columns, split at blanks and tabs."""
        for number, line in enumerate(self.lines, 1):
            words = line.rstrip("\r").replace("\t", " ").split(" ")  # no other separators
            columns = [word for word in words if word] if "" in words else words
            if columns:
                yield number, columns

    def wrong(self, number: int, why: object) -> ValueError:
        """The error to raise for a line."""
        line = self.lines[number - 1].rstrip("\r") if number <= len(self.lines) else ""
        shown = line if len(line) <= 200 else line[:200] + "..."
        return ValueError(f"{self.function}: {self.name}:{number}: {why}: {shown!r}")

    def failed(self, why: object) -> ValueError:
        """The error to raise for the text as a whole."""
        return ValueError(f"{self.function}: {self.name}: {why}")


def integer(word: str, what: str) -> int:
    """A 32-bit integer as formats write it. Raises ValueError."""
    try:
        number = int(word) if word.isascii() and "_" not in word else None
    except ValueError:
        number = None
    if number is None or abs(number) > LARGEST:
        raise ValueError(f"{what} must be an integer of 32 bits, got {word[:40]!r}")
    return number


def count(word: str, what: str) -> int:
    """A number from 0 on. Raises ValueError."""
    if len(word) < 10 and word.isascii() and word.isdigit():  # almost always
        return int(word)
    number = integer(word, what)
    if number < 0:
        raise ValueError(f"{what} must be 0 or more, got {number}")
    return number


def score(word: str, what: str, sign: float = 1.0, dtype: type = np.float64) -> float:
    """`sign` times a number, as a score: -inf allowed, NaN and +inf not. Raises ValueError.

    A finite number beyond the range of `dtype` is an error too.
    """
    try:
        number = sign * float(word) if word.isascii() and "_" not in word else None
    except ValueError:
        number = None
    if number is None or number != number or number == float("inf"):
        raise ValueError(f"{what} must be a number, got {word[:40]!r}")
    if abs(number) != float("inf") and abs(number) > float(np.finfo(dtype).max):
        raise ValueError(f"{what} {word[:40]!r} does not fit into {np.dtype(dtype).name}")
    return number


def replace_file(path: PathLike, data: bytes | str) -> None:
    """Write a file so that it is, at every moment, the old one or the new one."""
    path = Path(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
