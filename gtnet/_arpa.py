"""N-gram models in the ARPA format: whole blocks of lines, single ones where one is odd."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np

from gtnet import _files
from gtnet._files import PathLike, Text
from gtnet._ngram_trie import BOS, EOS, MOST, Ints, ListedTwiceError, Rows, Trie
from gtnet.lexicon import SymbolTable, table_of

_LN10 = math.log(10)
_MOST = MOST / _LN10
_BLOCK = 1 << 20  # bytes
_UNKNOWN, _REFUSED = -9, -10  # no labels


def read_arpa(
    function: str,
    path: PathLike,
    symbols: SymbolTable | None,
    skip: bool,
    bos: str,
    eos: str,
) -> tuple[Trie, SymbolTable]:
    """The n-grams of a file and the names of their labels, as `NGramModel.read` says."""
    words = _Words(symbols, skip, bos, eos)
    reader = _Reader(function, path, words)
    reader.read()
    rows = [_joined(parts, i) for i, parts in enumerate(reader.parts, 1)]
    try:
        return Trie.build(rows), words.table()
    except ListedTwiceError as error:
        lines = np.concatenate([part.lines for part in reader.parts[error.order - 1]])
        raise reader.wrong(int(lines[error.rows].max(1).min()), error) from None


class _Part(NamedTuple):
    """N-grams of one order that stood in a block of lines, and the numbers of the lines."""

    rows: Rows
    lines: Ints


def _joined(parts: list[_Part], order: int) -> Rows:
    none = Rows(np.empty((0, order), np.int32), np.empty(0), np.empty(0))
    columns = zip(none, *(part.rows for part in parts), strict=True)
    return Rows(*(np.concatenate(column) for column in columns))


class _Words:
    """Labels of the words of a model."""

    def __init__(self, table: SymbolTable | None, skip: bool, bos: str, eos: str) -> None:
        self._given = table
        self._skip = skip
        self._label_of: dict[bytes, int] = {}
        self._names: list[str] = []
        if table is not None:
            self._label_of = {name.encode(): label for label, name in table.items()}
            self._label_of[table.epsilon.encode()] = _REFUSED
        self._label_of |= {bos.encode(): BOS, eos.encode(): EOS}

    def number(self, names: Iterable[bytes]) -> None:
        """Give the words of 1-grams their labels, where no table does."""
        for name in names if self._given is None else ():
            if name not in self._label_of:
                self._label_of[name] = len(self._names)
                self._names.append(name.decode())

    def of(self, columns: Sequence[Iterable[bytes]]) -> Ints | None:
        """The labels [n, order] of whole columns, _UNKNOWN those to skip; None if one is wrong."""
        each = [map(self._label_of.get, column, repeat(_UNKNOWN)) for column in columns]
        labels = np.stack([np.fromiter(column, np.int32) for column in each], 1)
        least = _UNKNOWN if self._given is not None and self._skip else EOS
        wrong = (labels < least).any() or (labels[:, :-1] == EOS).any()
        return None if wrong or (labels[:, 1:] == BOS).any() else labels

    def why(self, names: list[str], order: int) -> str:
        """What is wrong with the words of an n-gram that `of` refuses."""
        for name in names:
            label = self._label_of.get(name.encode(), _UNKNOWN)
            if label == _REFUSED:
                return f"{name!r} is the name of EPSILON"
            if label == _UNKNOWN and self._given is None:
                return f"{name!r} is not among the 1-grams"
            if label == _UNKNOWN and not self._skip:
                return (
                    f'{name!r} is not among the symbols: pass missing="skip", or leave symbols out'
                )
        return "a sentence begins or ends within the n-gram"

    def table(self) -> SymbolTable:
        return table_of(self._names) if self._given is None else self._given


class _Reader:
    r"""Goes through the sections of a file. `parts`: what it found of each order."""

    def __init__(self, function: str, path: PathLike, words: _Words) -> None:
        self._function, self._name = function, _files.name_of(function, path)
        self._words = words
        self._data = _files.read_text_bytes(function, path, stacklevel=5)
        self._sizes: dict[int, int] = {}
        self._order, self._seen, self._ended = -1, 0, False  # -1 before \data\, 0 in it
        self.parts: list[list[_Part]] = []

    def read(self) -> None:
        """Raises ValueError where sections and counts disagree or the end is missing."""
        line = 1
        for block in _blocks(self._data):
            if self._order < 1 or self._ended or not self._quick(block, line):
                for number, columns in self._text(block, line).rows():
                    self._take(number, columns)
            line += block.count(b"\n")
        if not self._ended:
            begun = self._order >= 0
            raise self._text(b"", 1).failed(
                "\\end\\ is missing, the rest of the file" if begun else "no \\data\\"
            )

    def wrong(self, line: int, why: object) -> ValueError:
        """The error to raise for a line."""
        return self._text(self._data.split(b"\n", line)[line - 1], line).wrong(line, why)

    def _text(self, block: bytes, line: int) -> Text:
        return Text(self._function, block.decode(), self._name, first=line)

    def _quick(self, block: bytes, line: int) -> bool:
        """Take a block of n-grams. False, and nothing taken, if it must be looked at by line."""
        order, sizes = self._order, _columns(block)
        if sizes is None:
            return False
        kinds = np.unique(sizes[sizes > 0]).tolist()
        if any(not 0 <= size - order - 1 <= (order < len(self._sizes)) for size in kinds):
            return False
        columns = np.array(block.split(), object)
        if len(columns) != sizes.sum():  # bytes.split() knows more separators
            return False
        first = np.cumsum(sizes) - sizes
        if order == 1:
            self._words.number(columns[first[sizes > 0] + 1])
        parts = []
        for size in kinds:
            numbers = np.flatnonzero(sizes == size)
            each = [columns[first[numbers] + i] for i in range(size)]
            part = self._part(each, (numbers + line).astype(np.int32))
            if part is None:
                return False
            parts.append(part)
        self.parts[order - 1] += parts
        self._seen += int((sizes > 0).sum())
        return True

    def _part(self, columns: Sequence[Iterable[bytes]], lines: Ints) -> _Part | None:
        """N-grams by column; None if something is wrong with one."""
        order = self._order
        texts = [columns[0], *columns[order + 1 :]]
        if any(b"_" in b"".join(text) for text in texts):
            return None
        try:
            numbers = [np.fromiter(map(float, text), np.float64, len(lines)) for text in texts]
        except ValueError:
            return None
        if len(numbers) == 1:
            numbers.append(np.zeros(len(lines)))
        if not (numbers[0] <= 0).all() or not (numbers[1] <= _MOST).all():  # NaN is neither
            return None
        labels = self._words.of(columns[1 : order + 1])
        if labels is None:
            return None
        with np.errstate(over="ignore"):
            rows = Rows(labels, *(number * _LN10 for number in numbers))
        kept = (labels != _UNKNOWN).all(1)
        if not kept.all():
            rows, lines = Rows(*(column[kept] for column in rows)), lines[kept]
        return _Part(rows, lines)

    def _take(self, line: int, columns: list[str]) -> None:
        """One line."""
        word = columns[0]
        if self._order < 0:
            self._order = 0 if columns == ["\\data\\"] else -1
        elif self._ended:
            raise self.wrong(line, "a line follows \\end\\")
        elif word == "\\end\\":
            self._section_ends(line)
            if self._order != len(self._sizes) or self._order == 0:
                raise self.wrong(
                    line, f"\\end\\ after {self._order} of {len(self._sizes)} sections"
                )
            self._ended = True
        elif word.startswith("\\") and word.endswith("-grams:") and len(columns) == 1:
            self._section_ends(line)
            self._order, self._seen = self._order + 1, 0
            if word != f"\\{self._order}-grams:" or self._order not in self._sizes:
                raise self.wrong(line, f"\\data\\ names no such section of {self._order}-grams")
            self.parts.append([])
        elif self._order == 0:
            self._size(line, columns)
        else:
            self._gram(line, columns)
            self._seen += 1

    def _section_ends(self, line: int) -> None:
        if self._order >= 1 and self._seen != self._sizes[self._order]:
            raise self.wrong(
                line,
                f"the section of {self._order}-grams has {self._seen}, \\data\\ says "
                f"{self._sizes[self._order]}",
            )

    def _size(self, line: int, columns: list[str]) -> None:
        """Reads a line `ngram 2=17`."""
        head, _, tail = " ".join(columns).partition("=")
        try:
            if head.split()[:1] != ["ngram"] or len(head.split()) != 2:
                raise ValueError("a line `ngram order=count` is expected")
            order = _files.count(head.split()[1], "an order")
            if order != len(self._sizes) + 1:
                raise ValueError(f"order {len(self._sizes) + 1} is expected")
            self._sizes[order] = _files.count(tail.strip(), "a count")
        except ValueError as error:
            raise self.wrong(line, error) from None

    def _gram(self, line: int, columns: list[str]) -> None:
        """Reads a line of an n-gram."""
        order = self._order
        most = order + 1 + (order < len(self._sizes))
        try:
            if not order + 1 <= len(columns) <= most:
                raise ValueError(
                    f"a {order}-gram has {order + 1} to {most} columns, got {len(columns)}"
                )
            if _files.score(columns[0], "a log-probability") > 0:
                raise ValueError(f"a log-probability must be 0 or less, got {columns[0]}")
            for weight in columns[order + 1 :]:
                if _files.score(weight, "a back-off weight") > _MOST:
                    raise ValueError(f"a back-off weight must be at most {_MOST:.3g}, got {weight}")
            names = columns[1 : order + 1]
            encoded = [(column.encode(),) for column in columns]
            if order == 1:
                self._words.number(encoded[1])
            part = self._part(encoded, np.array([line], np.int32))
            if part is None:
                raise ValueError(self._words.why(names, order))
        except ValueError as error:
            raise self.wrong(line, error) from None
        self.parts[order - 1].append(part)


def _columns(block: bytes) -> Ints | None:
    """How many columns each line has; None unless single blanks and tabs are between them."""
    data = np.frombuffer(block + b"\n" * (not block.endswith(b"\n")), np.uint8)
    ends = data == ord("\n")
    blank = (data == ord(" ")) | (data == ord("\t"))
    white = ends | blank
    apart = not (blank[1:] & white[:-1]).any() and not (blank[:-1] & white[1:]).any()
    if blank[0] or not apart or b"\r" in block:
        return None
    last = np.flatnonzero(ends)
    blanks = np.diff(np.cumsum(blank, dtype=np.int32)[last], prepend=0)
    return (blanks + (np.diff(last, prepend=-1) > 1)).astype(np.int32)


def _blocks(data: bytes) -> Iterator[bytes]:
    r"""Whole lines, some at a time; a line that begins with a backslash alone."""
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin) + 1
        if data[begin] != ord("\\") and end:
            end = max(end, data.rfind(b"\n", begin, begin + _BLOCK) + 1)
            section = data.find(b"\n\\", begin, end) + 1
            end = section or end
        yield data[begin : end or len(data)]
        begin = end or len(data)
