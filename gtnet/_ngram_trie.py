"""N-grams of all lengths in sorted arrays: the n-grams that a history begins stand side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtnet._checks import EPSILON, LARGEST, NEG_INF

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

BOS, EOS = -2, -3  # stand for the beginning and the end of a sentence in n-grams


class Rows(NamedTuple):
    """N-grams of one length: labels [n, length], log-probabilities and back-off weights [n]."""

    labels: Ints
    scores: Floats
    backoffs: Floats


class ListedTwiceError(ValueError):
    """Rows of the n-grams of length `order` are the same in pairs, `rows` [n, 2]."""

    def __init__(self, order: int, rows: NDArray[np.int64]) -> None:
        super().__init__("this n-gram is listed twice")
        self.order, self.rows = order, rows


@dataclass(frozen=True)
class Trie:
    """A node for each n-gram, and for the empty history, shorter ones first, then by their labels.

    So the n-grams h w of a history h are the nodes from `first[h]` up to `first[h + 1]`, sorted by
    w, and every array may be read from a file as it is.

    levels [order + 2]: the nodes of length n begin at levels[n]. words [nodes]: last labels. scores
    [nodes]: NaN where a word is not listed and only begins longer n-grams. backoffs [nodes]. first:
    for nodes below the highest order, and the end.
    """

    levels: NDArray[np.int64]
    words: Ints
    scores: Floats
    backoffs: Floats
    first: Ints

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.levels) - 2

    def __len__(self) -> int:
        """N-grams that are listed."""
        return len(self.words) - int(np.isnan(self.scores).sum())

    @classmethod
    def of(cls, grams: Mapping[tuple[int, ...], tuple[float, float]]) -> Trie:
        """From scores and back-off weights by n-gram."""
        rows = []
        for length in range(1, max(map(len, grams), default=0) + 1):
            own = [(gram, *values) for gram, values in grams.items() if len(gram) == length]
            labels, scores, backoffs = zip(*own, strict=True) if own else ((), (), ())
            rows.append(
                Rows(
                    np.array(labels, np.int32).reshape(-1, length),
                    np.array(scores, np.float64),
                    np.array(backoffs, np.float64),
                )
            )
        return cls.build(rows)

    @classmethod
    def build(cls, rows: Sequence[Rows]) -> Trie:
        """From the n-grams of each length. Those that begin longer ones and are left out are added.

        Raises ListedTwiceError.
        """
        trie = _EMPTY
        while rows and len(rows[-1].labels) == 0:
            rows = rows[:-1]
        for level, own in enumerate(rows):
            histories = trie.walk(own.labels[:, :-1])
            left_out = own.labels[histories < 0, :-1]
            if len(left_out):
                return cls.build(
                    [*rows[: level - 1], _with(rows[level - 1], left_out), *rows[level:]]
                )
            trie = trie._longer(own, histories)
        for level in range(2, trie.order):  # words that are left out stay so
            for node in trie.nodes(level)[np.isnan(trie.scores[trie.nodes(level)])]:
                *history, word = trie.gram(int(node))
                trie.scores[node] = trie.score(history, word)
        return trie

    def _longer(self, rows: Rows, histories: Ints) -> Trie:
        """With the n-grams that are one longer than those that are here."""
        words = rows.labels[:, -1]
        keys = _keys(histories, words)
        order = np.argsort(keys, kind="stable")
        twice = np.flatnonzero(np.diff(keys[order]) == 0)
        if len(twice):
            raise ListedTwiceError(self.order + 1, np.stack([order[twice], order[twice + 1]], 1))
        begin, end = self.levels[-2:]
        counts = np.bincount(histories - begin, minlength=end - begin)
        return Trie(
            np.append(self.levels, end + len(order)),
            np.concatenate([self.words, words[order]]),
            np.concatenate([self.scores, rows.scores[order]]),
            np.concatenate([self.backoffs, rows.backoffs[order]]),
            np.concatenate([self.first, (end + np.cumsum(counts)).astype(np.int32)]),
        )

    def nodes(self, level: int) -> NDArray[np.int64]:
        """The nodes of a length."""
        return np.arange(self.levels[level], self.levels[level + 1])

    @cached_property
    def parents(self) -> Ints:
        """The history of each node; that of the empty history is itself."""
        counts = np.diff(self.first)
        parents = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return np.concatenate([np.zeros(1, np.int32), parents])

    def children(self, nodes: NDArray[np.integer], words: Ints) -> Ints:
        """The node of each history and word, -1 where there is none, or no history."""
        keys = _keys(nodes, words)
        found = np.searchsorted(self._keys, keys)
        there = self._keys[np.minimum(found, len(self._keys) - 1)] == keys
        return np.where(there & (nodes >= 0), found, -1).astype(np.int32)

    def walk(self, labels: Ints) -> Ints:
        """The node of each row of labels [n, length], -1 where there is none."""
        nodes = np.zeros(len(labels), np.int32)
        for column in range(labels.shape[1]):
            nodes = self.children(nodes, labels[:, column])
        return nodes

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        keys = _keys(self.parents, self.words)
        keys[0] = -1  # no child of itself
        return keys

    @cached_property
    def links(self) -> Ints:
        """The longest n-gram that each one ends with, itself excepted; that of words is 0."""
        links = np.zeros(len(self.words), np.int32)
        for level in range(2, self.order + 1):
            nodes = self.nodes(level)
            shorter = links[self.parents[nodes]]
            open_ = np.arange(len(nodes))
            while len(open_):
                found = self.children(shorter[open_], self.words[nodes[open_]])
                links[nodes[open_]] = np.maximum(found, 0)
                open_ = open_[(found < 0) & (shorter[open_] > 0)]
                shorter[open_] = links[shorter[open_]]
        return links

    def gram(self, node: int) -> tuple[int, ...]:
        """The labels of a node."""
        labels = []
        while node:
            labels.append(int(self.words[node]))
            node = int(np.searchsorted(self.first, node, "right")) - 1
        return tuple(reversed(labels))

    def find(self, gram: Sequence[int]) -> int:
        """The node of an n-gram, -1 if there is none."""
        node = 0
        for word in gram:
            if node >= len(self.first) - 1 or abs(word) > LARGEST:
                return -1
            begin, end = int(self.first[node]), int(self.first[node + 1])
            node = begin + int(np.searchsorted(self.words[begin:end], np.int32(word)))
            if node == end or self.words[node] != word:
                return -1
        return node

    def listed(self, gram: Sequence[int]) -> float | None:
        """The log-probability of an n-gram that is listed."""
        node = self.find(gram)
        score = float(self.scores[node]) if node > 0 else math.nan
        return None if score != score else score

    def backoff(self, history: Sequence[int]) -> float:
        """The back-off weight of a history, 0 where it is not listed."""
        node = self.find(history)
        return float(self.backoffs[node]) if node >= 0 else 0.0

    def score(self, history: Sequence[int], word: int) -> float:
        """The log-probability of a word after a history, by the definition."""
        total = 0.0
        history = tuple(history)[max(0, len(history) - self.order + 1) :]
        while (listed := self.listed((*history, word))) is None:
            if not history:
                return NEG_INF
            total += self.backoff(history)
            history = history[1:]
        return total + listed

    def check(self, names: Ints) -> None:
        """Raises ValueError unless the arrays, read from a file, are a trie of such labels."""
        levels, size, first = self.levels, len(self.words), self.first
        sizes = {len(self.scores), len(self.backoffs)}
        if (
            len(levels) < 2
            or (*levels[:2], levels[-1]) != (0, 1, size)
            or bool((np.diff(levels) < 0).any())
            or sizes != {size}
            or len(first) != levels[-2] + 1
        ):
            raise ValueError("its arrays do not fit together")
        if bool((np.diff(first) < 0).any()) or not np.array_equal(first[levels[:-1]], levels[1:]):
            raise ValueError("its histories do not fit its n-grams")
        if bool((np.diff(self._keys) <= 0).any()):
            raise ValueError("its n-grams are not sorted")
        unlisted = np.isnan(self.scores)
        if (
            not unlisted[0]
            or bool(unlisted[levels[min(2, len(levels) - 1)] :].any())
            or bool((self.scores > 0).any())
            or not bool((self.backoffs <= MOST).all())
        ):
            raise ValueError("a score is none")
        if not bool(np.isin(self.words[1:], [*names, BOS, EOS]).all()):
            raise ValueError("a label has no name")


MOST = 2.0**100
"""A back-off score: those of all orders add up to one that graphs take."""

_EMPTY = Trie(
    np.array([0, 1]),
    np.array([EPSILON], np.int32),
    np.array([np.nan]),
    np.zeros(1),
    np.ones(1, np.int32),
)


def _keys(nodes: NDArray[np.integer], words: Ints) -> NDArray[np.int64]:
    return (nodes.astype(np.int64) << 32) + (words.astype(np.int64) - EOS)


def _with(rows: Rows, more: Ints) -> Rows:
    """With n-grams that are not listed."""
    more = np.unique(more, axis=0)
    return Rows(
        np.concatenate([rows.labels, more]),
        np.concatenate([rows.scores, np.full(len(more), np.nan)]),
        np.concatenate([rows.backoffs, np.zeros(len(more))]),
    )
