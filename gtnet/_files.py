"""Files: text split into columns, errors that name the line, and writing all or nothing."""

from __future__ import annotations

import gzip
import io
import os
import stat
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from gtnet._checks import HIGHEST, LARGEST

PathLike = str | os.PathLike[str]
_BOM = "\ufeff"
_GZIP = b"\x1f\x8b"


def name_of(function: str, path: PathLike) -> str:
    """A path as text. Raises TypeError for anything else."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{function}: a path must be a str or a Path, got {type(path).__name__}")
    return os.fspath(path)


class Text:
    """The lines of a text and where they came from, so that every error names its line.

    A byte order mark at the beginning is no part of it, a carriage return at the end of a line
    neither. `first`: the number of the first line, where the text is part of a longer one. Raises
    ValueError for a carriage return within a line.
    """

    def __init__(self, function: str, text: str, name: str = "text", *, first: int = 1) -> None:
        self.function = function
        self.name = name
        self.first = first
        text = text.removeprefix(_BOM) if first == 1 else text
        lines = text.split("\n")  # splitlines also cuts inside symbols
        self.lines = [line.rstrip("\r") for line in lines] if "\r" in text else lines
        for number, line in enumerate(self.lines if "\r" in text else (), first):
            if "\r" in line:
                raise self.wrong(
                    number, r"a line ends in \n or \r\n, and \r stands within this one"
                )

    @classmethod
    def read(cls, function: str, path: PathLike) -> Text:
        """The text of a file, which may be compressed by gzip.

        Raises ValueError if it is not UTF-8. Warns where its last line has no end, unless that
        says itself that it is the last.
        """
        data = read_text_bytes(function, path, stacklevel=4)
        return cls(function, data.decode("utf-8"), name_of(function, path))

    @property
    def whole(self) -> str:
        """All lines in one."""
        return "\n".join(self.lines)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The number of each line that is not blank and its columns, split at blanks and tabs.

        In a line with tabs a field of blanks alone is a column: what is named is a blank.
        """
        for number, line in enumerate(self.lines, self.first):
            if " \t" in line or "\t " in line:
                columns = _fields(line)
            else:
                words = line.replace("\t", " ").split(" ")  # no other separators
                columns = [word for word in words if word] if "" in words else words
            if columns:
                yield number, columns

    def wrong(self, number: int, why: object) -> ValueError:
        """The error to raise for a line."""
        line = "".join(self.lines[number - self.first :][:1])
        shown = line if len(line) <= 200 else line[:200] + "..."
        return ValueError(f"{self.function}: {self.name}:{number}: {why}: {shown!r}")

    def failed(self, why: object) -> ValueError:
        """The error to raise for the text as a whole."""
        return ValueError(f"{self.function}: {self.name}: {why}")


def _fields(line: str) -> list[str]:
    """The columns of a line in which blanks and tabs meet; none of a blank line."""
    if not line.strip(" \t"):
        return []
    columns: list[str] = []
    for field in line.split("\t"):
        words = [word for word in field.split(" ") if word]
        columns += words or ([field] if field else [])
    return columns


def read_text_bytes(function: str, path: PathLike, *, stacklevel: int = 3) -> bytes:
    """The bytes of a text file, which may be compressed by gzip.

    Raises ValueError if it is not UTF-8. Warns where its last line has no end, unless that says
    itself that it is the last.
    """
    name = name_of(function, path)
    data = read_bytes(function, path)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{function}: {name} is not UTF-8 text: {error}") from None
    if data and not data.endswith((b"\n", b"\\end\\", b"\\end\\\r")):
        warnings.warn(
            f"{function}: {name}:{data.count(10) + 1}: the last line does not end in a newline: "
            f"if the file was cut there, part of it is missing; else add one",
            stacklevel=stacklevel,
        )
    return data


def read_bytes(function: str, path: PathLike) -> bytes:
    """The bytes of a file, decompressed where it begins as gzip does.

    Raises ValueError for gzip that is damaged or cut, and for a name in .gz without gzip.
    """
    name = name_of(function, path)
    data = Path(name).read_bytes()
    if not data.startswith(_GZIP):
        if name.endswith(".gz"):
            raise ValueError(f"{function}: {name} is not compressed by gzip, as its name says")
        return data
    try:
        # Not gzip.decompress, which copies what is left of the file behind each of its members.
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{function}: {name} is damaged or cut: {error}") from None


def checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """The CRC-32 of arrays with their names, dtypes and shapes."""
    crc = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return crc


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

    A finite number beyond the range of `dtype` is an error too, and one whose sums would be.
    """
    try:
        number = sign * float(word) if word.isascii() and "_" not in word else None
    except ValueError:
        number = None
    if number is None or number != number or number == float("inf"):
        raise ValueError(f"{what} must be a number, got {word[:40]!r}")
    if abs(number) != float("inf") and abs(number) > float(np.finfo(dtype).max):
        raise ValueError(f"{what} {word[:40]!r} does not fit into {np.dtype(dtype).name}")
    if number > highest(dtype):
        raise ValueError(
            f"{what} {word[:40]!r} is out of range: scores must be at most {highest(dtype):.3g} "
            f"({np.dtype(dtype).name}), so that sums fit"
        )
    return number


def highest(dtype: type) -> float:
    """The highest score that graphs take, of np.float32 or np.float64."""
    return HIGHEST[torch.float32 if dtype is np.float32 else torch.float64]


def replace_file(path: PathLike, data: bytes | str) -> None:
    """Write a file so that it is, at every moment, the old one or the new one.

    A name that ends in .gz gets it compressed. Links are followed; what is no regular file, such
    as a pipe, is written to as it is. Raises OSError that names it, where the disk is full for
    example, and leaves nothing else behind.
    """
    if isinstance(data, str):  # of two marks readers take the first off
        data = (_BOM * data.startswith(_BOM) + data).encode("utf-8")
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    place = Path(os.path.realpath(path))
    if place.exists() and not stat.S_ISREG(place.stat().st_mode):
        place.write_bytes(data)
        return
    mine = f".{os.getpid()}.{threading.get_ident()}.new"
    beside = place.with_name(place.name[:100] + mine)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except OSError as error:
        told = f"cannot write: {error.strerror or error}"
        raise OSError(error.errno, told, os.fspath(path)) from error
    finally:
        beside.unlink(missing_ok=True)
