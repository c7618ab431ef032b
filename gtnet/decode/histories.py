"""What a language model says of many histories at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

_MOST_KEPT = 1 << 24  # log-probabilities
State = Any  # of several histories: a tensor [n, ...], or a tuple of states


class LanguageModel(Protocol):
    """What `fuse` and `ctc_decoder(lm=)` ask of a language model, many histories at once.

    A recurrent or any other module with these three methods; an empty history has no label yet.
    """

    def start(self) -> State:
        """The state of the empty history, as the only one of its batch: tensors [1, ...]."""

    def step(self, state: State, labels: Tensor) -> State:
        """The states of histories that are each one label longer; `labels` int64 [n]."""

    def scores(self, state: State) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the label that follows [n, labels], and of the end [n]."""


def sentence_score(lm: LanguageModel, labels: Sequence[int]) -> float:
    """The log-probability of a sentence, its end included."""
    with torch.no_grad():
        state, total = lm.start(), 0.0
        for label in labels:
            follows, _ = scores_of(lm, state)
            check_labels(np.array([label]), follows.shape[1])
            total += float(follows[0, label])
            state = after(lm, state, [label])
        return total + float(scores_of(lm, state)[1][0])


class Prefixes:
    """Label sequences as a tree, the empty one 0: each has the number that it got when it came."""

    def __init__(self) -> None:
        self.parent, self.label = [-1], [-1]
        self._known: dict[tuple[int, int], int] = {}

    def longer(self, history: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The sequences that are each one label longer."""
        pairs, place = np.unique(np.stack([history, labels], 1), axis=0, return_inverse=True)
        found = np.empty(len(pairs), np.int64)
        for i, (before, label) in enumerate(pairs.tolist()):
            new = self._known.setdefault((before, label), len(self.parent))
            if new == len(self.parent):
                self.parent.append(before)
                self.label.append(label)
            found[i] = new
        return found[place.reshape(-1)]


class Histories(Prefixes):
    """Histories and what the model says of those that it was asked for."""

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__()
        self._lm = lm
        self._states = [lm.start()]
        self._place = {0: (0, 0)}  # among the states, by history
        self._rows: dict[int, Tensor] = {}  # the last ones
        self._ends: dict[int, float] = {}

    def follows(self, history: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The log-probability of each label after a history."""
        wanted, place = np.unique(history, return_inverse=True)
        self._ask(wanted.tolist())
        rows = [self._rows[h] for h in wanted.tolist()]
        check_labels(labels, len(rows[0]))
        own = torch.stack(rows)[torch.from_numpy(place.reshape(-1)), torch.from_numpy(labels)]
        while len(self._rows) > max(len(wanted), _MOST_KEPT // max(1, len(rows[0]))):
            del self._rows[next(iter(self._rows))]
        return own.double().cpu().numpy()

    def ends(self, history: np.ndarray) -> np.ndarray:
        """The log-probability of the end after each history."""
        wanted, place = np.unique(history, return_inverse=True)
        self._ask([h for h in wanted.tolist() if h not in self._ends])
        ends = np.array([self._ends[h] for h in wanted.tolist()], np.float64)
        return ends[place.reshape(-1)]

    def _ask(self, histories: list[int]) -> None:
        new = [h for h in histories if h not in self._rows]
        if not new:
            return
        lacking = [h for h in new if h not in self._place]
        if lacking:
            before = self._state([self.parent[h] for h in lacking])
            self._states.append(after(self._lm, before, [self.label[h] for h in lacking]))
            self._place |= {h: (len(self._states) - 1, row) for row, h in enumerate(lacking)}
        rows, ends = scores_of(self._lm, self._state(new))
        self._rows |= dict(zip(new, rows, strict=True))
        self._ends |= dict(zip(new, ends.tolist(), strict=True))

    def _state(self, histories: list[int]) -> State:
        """The states of histories that have one: their parents were asked for before them."""
        places = np.array([self._place[h] for h in histories]).reshape(-1, 2)
        order = np.argsort(places[:, 0], kind="stable")
        parts = [
            selected(self._states[batch], places[order[places[order, 0] == batch], 1])
            for batch in np.unique(places[:, 0]).tolist()
        ]
        return selected(joined(parts), np.argsort(order))


class Predictor(Protocol):
    """What makes the states of label sequences, many at once: `LanguageModel` without scores."""

    def start(self) -> State:
        """The state of the empty sequence, as the only one of its batch: tensors [1, ...]."""

    def step(self, state: State, labels: Tensor) -> State:
        """The states of sequences that are each one label longer; `labels` int64 [n]."""


def after(lm: Predictor, state: State, labels: list[int]) -> State:
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
            f"fuse: lm.scores must give [n, labels] and [n], got {list(follows.shape)} and "
            f"{list(ends.shape)}"
        )
    if not bool((follows < math.inf).all()) or not bool((ends < math.inf).all()):
        raise ValueError("fuse: lm.scores gave NaN or +inf, log-probabilities are needed")
    return follows, ends


def check_labels(labels: np.ndarray, size: int) -> None:
    """Raises ValueError for a label that the model has no column for."""
    if len(labels) and labels.max() >= size:
        raise ValueError(
            f"fuse: the lattice writes label {labels.max()}, lm scores labels 0 to {size - 1}"
        )


def survivors(total: np.ndarray, item: np.ndarray, beam: float, most: float) -> np.ndarray:
    """What goes on: within the beam of the best of its item, and among the best."""
    order = np.lexsort((-total, item))
    begins = np.searchsorted(item[order], item[order])  # where the item begins
    rank = np.arange(len(order)) - begins
    good = np.empty(len(total), bool)
    best = total[order][begins]
    good[order] = (rank < most) & (total[order] >= best - beam)
    return good


def selected(state: State, rows: np.ndarray) -> State:
    """Some of several states, in this order."""
    if isinstance(state, tuple):
        return tuple(selected(part, rows) for part in state)
    return state[torch.from_numpy(rows).to(state.device)]


def joined(states: Sequence[State]) -> State:
    if isinstance(states[0], tuple):
        return tuple(joined(parts) for parts in zip(*states, strict=True))
    return torch.cat(list(states))
