"""What a language model says of many histories at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gtnet.language_model import (
    HistoryTree,
    LanguageModel,
    State,
    after,
    check_labels,
    joined,
    scores_of,
    selected,
)

_MOST_KEPT = 1 << 24  # log-probabilities


class Histories:
    """What a model says of the histories that it was asked for, all of which are kept."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self.tree = HistoryTree()
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
            before = self._state([int(self.tree.parent[h]) for h in lacking])
            self._states.append(after(self._lm, before, [int(self.tree.label[h]) for h in lacking]))
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


def survivors(total: np.ndarray, item: np.ndarray, beam: float, most: float) -> np.ndarray:
    """What goes on: within the beam of the best of its item, and among the best."""
    order = np.lexsort((-total, item))
    begins = np.searchsorted(item[order], item[order])  # where the item begins
    rank = np.arange(len(order)) - begins
    good = np.empty(len(total), bool)
    best = total[order][begins]
    good[order] = (rank < most) & (total[order] >= best - beam)
    return good
