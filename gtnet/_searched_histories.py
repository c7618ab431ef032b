"""The histories of a language model among the survivors of a search, and what it says of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gtnet._checks import EPSILON, NEG_INF
from gtnet.history_graph import HistoryGraph
from gtnet.language_model import (
    HistoryTree,
    Ints,
    State,
    after,
    check_labels,
    joined,
    scored_again,
    scores_of,
    selected,
)

# What a search calls the history behind a position of the table: this + position.
_UNKNOWN = 1 << 30


class Histories:
    """A table of scores with a row for each history that a search needs, `slots` of them.

    A search names a history by its slot; one without a row that it reaches, by `_UNKNOWN` and the
    position in the table of its last label.
    """

    def __init__(
        self, graph: HistoryGraph, columns: Tensor | None, largest: int, dtype: torch.dtype
    ) -> None:
        self.graph, self.tree = graph, HistoryTree()
        with torch.no_grad():
            state = graph.lm.start()
            follows, ends = scores_of(graph.lm, state)
        check_labels(np.array([largest]), follows.shape[1])
        self.columns = torch.arange(follows.shape[1]) if columns is None else columns
        self._labels = self.columns.numpy()
        self._column = np.full(follows.shape[1], -1)
        self._column[self._labels] = np.arange(len(self._labels))
        self.scores = torch.empty(0, self.width, dtype=dtype)
        self.children = torch.empty(0, self.width, dtype=torch.int32)
        self.raises = False
        """Whether a score has been above 0."""
        self.version = 0
        """Counts changes of the scores."""
        self._state: State = None
        self._held = np.empty(0, np.int64)  # by slot the history, or -1
        self._slot = np.full(1, -1)  # by history
        self._weights, self._ends = np.zeros(1), np.full(1, np.nan)  # by history
        self._links = np.empty(0, np.int64)  # positions
        self._put(np.zeros(1, np.int64), state, follows, ends)

    @property
    def width(self) -> int:
        """Labels that can follow."""
        return len(self.columns)

    @property
    def slots(self) -> int:
        """Rows of the table."""
        return len(self._held)

    def start(self) -> Tensor:
        """By slot, whether it is that of the empty history, as a score."""
        scores = self.scores.new_full((self.slots,), NEG_INF)
        scores[self._slot[0]] = 0
        return scores

    def tell(self, histories: Ints, *, forget: bool) -> None:
        """Have rows for these; `forget` drops the others.

        Their parents are histories that were told last, or are told now.
        """
        self._know()
        wanted = np.unique(histories)
        lacks = wanted[self._slot[wanted] < 0]
        found = None
        if len(lacks):
            before = selected(self._state, self._slot[self.tree.parent[lacks]])
            with torch.no_grad():
                state = after(self.graph.lm, before, self.tree.label[lacks].tolist())
                found = (lacks, state, *scores_of(self.graph.lm, state))
        if forget:
            held = np.flatnonzero(self._held >= 0)
            gone = held[~np.isin(self._held[held], wanted, assume_unique=True)]
            self._slot[self._held[gone]] = -1
            self._held[gone] = -1
        if found is not None:
            self._put(*found)
        self._link()

    def told(self, histories: Ints) -> bool:
        """Whether all of them have rows."""
        self._know()
        return bool((self._slot[histories] >= 0).all())

    def named(self, histories: Ints) -> Ints:
        """What the search is to call histories that have rows."""
        return self._slot[histories]

    def read(self, names: Ints, arcs: Ints) -> tuple[Ints, Ints]:
        """The histories that the search calls so, and those to which arcs lead: -1 for -1."""
        beyond, taken = names >= _UNKNOWN, arcs >= 0
        reached, leads = names.copy(), arcs.copy()
        reached[~beyond] = self._held[names[~beyond]]
        places = np.concatenate([names[beyond] - _UNKNOWN, arcs[taken]])
        if len(places):
            reached[beyond], leads[taken] = np.split(self._behind(places), [beyond.sum()])
        return reached, leads

    def _behind(self, positions: Ints) -> Ints:
        """The histories behind the labels at these positions of the table."""
        places, again = np.unique(positions, return_inverse=True)
        found = self.children.view(-1).numpy()[places].astype(np.int64)
        new = found >= _UNKNOWN
        found[~new] = self._held[found[~new]]
        slots, columns = np.divmod(places[new], self.width)
        found[new] = self.tree.longer(self._held[slots], self._labels[columns])
        self._know()
        self._weights[found[new]] = self.scores.view(-1).numpy()[places[new]]
        return found[again.reshape(-1)]

    def ends(self, histories: Ints) -> Tensor:
        """The weighted scores of ending after histories that have had rows; float64."""
        ends = self._ends[histories]
        never = ends == NEG_INF
        return torch.from_numpy(
            np.where(never, NEG_INF, self.graph.weight * np.where(never, 0, ends))
        )

    def weighted(self, arcs: Ints, states: Ints) -> tuple[Tensor, Tensor]:
        """The weights of arcs, by where they lead, and of ending in states; float64.

        Differentiable where gradients are wanted: the network is asked once more.
        """
        taken = np.flatnonzero(arcs >= 0)
        if not torch.is_grad_enabled():
            known = np.zeros(len(arcs))
            known[taken] = self._weights[arcs[taken]]
            return torch.from_numpy(known), self.ends(states)
        before, label = self.tree.parent[arcs[taken]], self.tree.label[arcs[taken]]
        follows, ends = scored_again(self.graph.lm, self.tree, before, label, states)
        weights = torch.zeros(len(arcs), dtype=torch.float64)
        weights = weights.index_put((torch.from_numpy(taken),), self.graph.weight * follows)
        never = ends == NEG_INF
        ended = (self.graph.weight * ends.masked_fill(never, 0)).masked_fill(never, NEG_INF)
        return weights, ended

    def labels(self, arcs: Ints) -> Tensor:
        """What arcs read and write, by where they lead; EPSILON for -1."""
        labels = np.where(arcs >= 0, self.tree.label[np.maximum(arcs, 0)], EPSILON)
        return torch.from_numpy(labels).to(torch.int32)

    def _know(self) -> None:
        """Have a place for each history that is known."""
        more = len(self.tree) - len(self._slot)
        if more > 0:
            more = max(more, len(self._slot))
            self._slot = np.concatenate([self._slot, np.full(more, -1)])
            self._weights = np.concatenate([self._weights, np.zeros(more)])
            self._ends = np.concatenate([self._ends, np.full(more, np.nan)])

    def _put(self, histories: Ints, state: State, follows: Tensor, ends: Tensor) -> None:
        """Write what the model says into free slots."""
        self._ends[histories] = ends.detach().double().cpu().numpy()
        free = np.flatnonzero(self._held < 0)
        if len(free) < len(histories):
            self._grow(len(histories) - len(free), state)
            free = np.flatnonzero(self._held < 0)
        slots = free[: len(histories)]
        self._held[slots], self._slot[histories] = histories, slots
        said = follows.detach()[:, self.columns.to(follows.device)].to("cpu", self.scores.dtype)
        said = torch.where(said == NEG_INF, NEG_INF, self.graph.weight * said)
        self.raises = self.raises or bool((said > 0).any())
        at = torch.from_numpy(slots)
        self.scores[at] = said
        self.version += 1
        _write(self._state, at, state)

    def _grow(self, least: int, like: State) -> None:
        more = max(least, self.slots)
        if (self.slots + more) * self.width > _UNKNOWN:
            raise ValueError(
                f"beam_search: {self.slots + more} histories of {self.width} labels survive a "
                f"frame, which is too large a table: lower max_active"
            )
        first = self.slots
        self._held = np.concatenate([self._held, np.full(more, -1)])
        self.scores = torch.cat([self.scores, self.scores.new_full((more, self.width), NEG_INF)])
        fresh = torch.arange(first * self.width, (first + more) * self.width, dtype=torch.int32)
        self.children = torch.cat([self.children, _UNKNOWN + fresh.view(more, self.width)])
        empty = _empty(like, more)
        self._state = empty if self._state is None else joined([self._state, empty])

    def _link(self) -> None:
        """Arcs between histories that both have rows lead there."""
        table = self.children.view(-1).numpy()
        table[self._links] = _UNKNOWN + self._links
        held = np.flatnonzero(self._held > 0)
        histories = self._held[held]
        before = self._slot[self.tree.parent[histories]]
        known = before >= 0
        columns = self._column[self.tree.label[histories[known]]]
        places = before[known] * self.width + columns
        table[places] = held[known]
        self._links = places


def _empty(like: State, count: int) -> State:
    if isinstance(like, tuple):
        return tuple(_empty(part, count) for part in like)
    return like.new_zeros((count, *like.shape[1:]))


def _write(state: State, at: Tensor, rows: State) -> None:
    if isinstance(state, tuple):
        for own, part in zip(state, rows, strict=True):
            _write(own, at, part)
    else:
        state[at.to(state.device)] = rows.detach()
