"""Lines of plain numbers, read all at once: what nearly every file holds, and large ones must."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

_BLANK, _TAB, _NEWLINE, _ZERO, _NINE = (ord(character) for character in " \t\n09")


_AT_ONCE = 1 << 14  # numbers whose arrays stay in the processor's cache
_DIGITS = 15  # as many as a float64 holds exactly


class Numbers(NamedTuple):
    """The numbers of a text: `values` float64 [numbers], one line after another.

    `whole` tells those that are written with digits only, at most 15; `lines`, `first`, `widths`
    are those of the lines that are not blank: their number in the text, from 1 on, the place of
    their first number, and how many they have.
    """

    values: np.ndarray
    whole: np.ndarray
    lines: np.ndarray
    first: np.ndarray
    widths: np.ndarray


def numbers(text: str) -> Numbers | None:
    """The numbers of a text, separated by blanks and tabs; None if there is anything else in it.

    Complexity: some passes over the bytes, about 0.3 us a number.
    """
    if not text.isascii() or any(mark in text for mark in "_\r\v\f"):
        return None
    data = np.frombuffer(text.encode() + b"\n", np.uint8)
    apart = (data == _BLANK) | (data == _TAB) | (data == _NEWLINE)
    edges = np.flatnonzero(np.diff(apart, prepend=True))
    begin, end = edges[::2], edges[1::2]
    if not len(begin):
        nothing = np.empty(0, np.int64)
        return Numbers(np.empty(0), np.empty(0, bool), nothing, nothing, nothing)
    other = ((data < _ZERO) | (data > _NINE)) & ~apart
    whole = ~np.logical_or.reduceat(other, begin) & (end - begin <= _DIGITS)
    values = np.empty(len(begin))
    values[whole] = _integers(data, begin[whole], end[whole])
    # The others, with blanks in place of those: what they may look like is for numpy to say.
    blank = np.repeat(
        np.column_stack([np.ones(len(begin), bool), whole]), np.diff(edges, prepend=0)
    )
    rest = np.where(blank, np.uint8(_BLANK), data[: len(blank)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # what is no number
            found = np.fromstring(rest.tobytes(), np.float64, sep=" ")
    except (DeprecationWarning, ValueError):
        return None
    if len(found) != len(begin) - np.count_nonzero(whole):
        return None
    values[~whole] = found
    until = np.searchsorted(begin, np.flatnonzero(data == _NEWLINE))
    widths = np.diff(until, prepend=0)
    drawn = widths > 0
    first = (until - widths)[drawn]
    return Numbers(values, whole, np.flatnonzero(drawn) + 1, first, widths[drawn])


def _integers(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Numbers of digits from their places in the text, digit by digit for many of them."""
    values = np.zeros(len(begin), np.int64)
    for some in range(0, len(begin), _AT_ONCE):
        first, behind = begin[some : some + _AT_ONCE], end[some : some + _AT_ONCE]
        number = np.zeros(len(first), np.int64)
        for place in range(int((behind - first).max())):
            at = first + place
            here = at < behind
            digit = data[np.where(here, at, first)] - np.int64(_ZERO)
            number = np.where(here, 10 * number + digit, number)
        values[some : some + _AT_ONCE] = number
    return values
