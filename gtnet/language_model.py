"""Language models that are networks: what is asked of one, for many histories at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

State = Any  # of several histories: a tensor [n, ...], or a tuple of states
Ints = np.ndarray
_MOST_LABELS = 1 << 31


class LanguageModel(Protocol):
    """What `HistoryGraph`, `fuse` and `ctc_decoder(lm=)` ask, many histories at once.

    A recurrent or any other module with these three methods; an empty history has no label yet.
    States of several histories are put together and taken apart along their first dimension.
    """

    def start(self) -> State:
        """The state of the empty history, as the only one of its batch: tensors [1, ...]."""

    def step(self, state: State, labels: Tensor) -> State:
        """The states of histories that are each one label longer; `labels` int64 [n]."""

    def scores(self, state: State) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the label that follows [n, labels], and of the end [n]."""


class Predictor(Protocol):
    """What makes the states of label sequences, many at once: `LanguageModel` without scores."""

    def start(self) -> State:
        """The state of the empty sequence, as the only one of its batch: tensors [1, ...]."""

    def step(self, state: State, labels: Tensor) -> State:
        """The states of sequences that are each one label longer; `labels` int64 [n]."""


METHODS = ("start", "step", "scores")


class HistoryTree:
    """Histories by number, the empty one 0; each other is a parent and one label more."""

    def __init__(self) -> None:
        self._rows = np.full((2, 64), -1)
        self._known: dict[int, int] = {}

    def __len__(self) -> int:
        """Histories that are known."""
        return len(self._known) + 1

    @property
    def parent(self) -> Ints:
        """By history the one that is a label shorter, a smaller number; -1 of the empty one."""
        return self._rows[0, : len(self)]

    @property
    def label(self) -> Ints:
        """By history its last label; -1 of the empty one."""
        return self._rows[1, : len(self)]

    def longer(self, history: Ints, labels: Ints) -> Ints:
        """The histories that are each one label longer."""
        keys, place = np.unique(history * _MOST_LABELS + labels, return_inverse=True)
        first = len(self)
        found = np.array(
            [self._known.setdefault(key, len(self._known) + 1) for key in keys.tolist()], np.int64
        )
        if len(self) > self._rows.shape[1]:
            more = np.full((2, len(self)), -1)
            self._rows = np.concatenate([self._rows, more], 1)
        new = found >= first
        self._rows[:, found[new]] = np.divmod(keys[new], _MOST_LABELS)
        return found[place.reshape(-1)]


def after(lm: Predictor, state: State, labels: Sequence[int]) -> State:
    """The states of histories that are each one label longer."""
    some = state
    while isinstance(some, tuple):
        some = some[0]
    return lm.step(state, torch.tensor(labels, device=some.device))


def scores_of(lm: LanguageModel, state: State) -> tuple[Tensor, Tensor]:
    """What the model says, checked."""
    follows, ends = lm.scores(state)
    if follows.ndim != 2 or ends.shape != follows.shape[:1]:
        raise ValueError(
            f"lm.scores must give [n, labels] and [n], got {list(follows.shape)} and "
            f"{list(ends.shape)}"
        )
    if not bool((follows < math.inf).all()) or not bool((ends < math.inf).all()):
        raise ValueError("lm.scores gave NaN or +inf, log-probabilities are needed")
    return follows, ends


def check_labels(labels: Ints, size: int) -> None:
    """Raises ValueError for a label that the model has no column for."""
    if len(labels) and labels.max() >= size:
        raise ValueError(
            f"label {labels.max()} is written, lm.scores has labels 0 to {size - 1} only"
        )


def selected(state: State, rows: Ints) -> State:
    """Some of several states, in this order."""
    if isinstance(state, tuple):
        return tuple(selected(part, rows) for part in state)
    return state[torch.from_numpy(rows).to(state.device)]


def joined(states: Sequence[State]) -> State:
    """Several batches of states as one."""
    if isinstance(states[0], tuple):
        return tuple(joined(parts) for parts in zip(*states, strict=True))
    return torch.cat(list(states))


def scored_again(
    lm: LanguageModel, tree: HistoryTree, history: Ints, labels: Ints, ended: Ints
) -> tuple[Tensor, Tensor]:
    """With gradients: each label after its history, and the end after others; float64.

    The histories that lead there are gone through once more, those of a length in one batch.
    """
    parent, label = tree.parent, tree.label
    needed = np.zeros(len(parent), bool)
    needed[history] = needed[ended] = needed[0] = True
    length = np.zeros(len(parent), np.int64)
    for h in range(1, len(parent)):  # parents have smaller numbers
        length[h] = length[parent[h]] + 1
    for h in range(len(parent) - 1, 0, -1):
        needed[parent[h]] |= needed[h]
    row = np.zeros(len(parent), np.int64)
    state = lm.start()
    parts: list[list[Tensor]] = [[], []]
    places: list[list[Ints]] = [[], []]
    for n in range(int(length[needed].max()) + 1):
        own = np.flatnonzero(needed & (length == n))
        row[own] = np.arange(len(own))
        if n:
            state = after(lm, selected(state, row[parent[own]]), label[own].tolist())
        follows, ends = scores_of(lm, state)
        check_labels(labels, follows.shape[1])
        said = np.flatnonzero(length[history] == n)
        own_labels = torch.from_numpy(labels[said])
        parts[0].append(follows[torch.from_numpy(row[history[said]]), own_labels].cpu().double())
        places[0].append(said)
        here = np.flatnonzero(length[ended] == n)
        parts[1].append(ends[torch.from_numpy(row[ended[here]])].cpu().double())
        places[1].append(here)
    follows, ends = (
        torch.zeros(size, dtype=torch.float64).index_put(
            (torch.from_numpy(np.concatenate(place)),), torch.cat(part)
        )
        for size, place, part in zip((len(labels), len(ended)), places, parts, strict=True)
    )
    return follows, ends


def sentence_scores(lm: LanguageModel, sentences: Sequence[Sequence[int]]) -> list[float]:
    """The log-probabilities of sentences, their ends included; a batch for each length."""
    tree, at = HistoryTree(), np.zeros(len(sentences), np.int64)
    before, labels, of = ([np.empty(0, np.int64)] for _ in range(3))
    for n in range(max(map(len, sentences), default=0)):
        own = np.array([i for i, sentence in enumerate(sentences) if len(sentence) > n])
        said = np.array([sentences[i][n] for i in own])
        before.append(at[own])
        labels.append(said)
        of.append(own)
        at[own] = tree.longer(at[own], said)
    with torch.no_grad():
        follows, total = scored_again(lm, tree, np.concatenate(before), np.concatenate(labels), at)
        return total.index_add(0, torch.from_numpy(np.concatenate(of)), follows).tolist()
