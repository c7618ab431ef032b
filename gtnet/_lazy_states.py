"""States of a composition, made one by one as they are read, the arcs of the last ones kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gtnet import _checks
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Incidence

_FILTERS = 3


class LazyArc(NamedTuple):
    """An arc of a composition: labels, score, the state that it leads to, and the arcs of both
    operands that it is made of, -1 for one that stays where it is.
    """

    ilabel: int
    olabel: int
    weight: float
    target: int
    arc_a: int
    arc_b: int


class _Operand:
    """A graph as arrays, its arcs by state and by the label that is matched, epsilons first."""

    def __init__(self, graph: Graph, by_label: Incidence, other: str) -> None:
        assert by_label.labels is not None
        topology = graph.topology
        self.offsets, self.arcs = by_label.offsets.numpy(), by_label.arcs.numpy()
        self.targets, self.labels = by_label.states.numpy(), by_label.labels.numpy()
        self.others = getattr(topology, other).numpy()
        self.weights, self.start, self.accept = (s.detach().numpy() for s in graph.scores)
        begin = topology.state_offsets.tolist()
        self.states = list(pairwise(begin))
        self.silent = [
            bool((self.labels[self.offsets[low] : self.offsets[high]] == EPSILON).any())
            for low, high in self.states
        ]

    def of(self, state: int) -> tuple[range, np.ndarray, int]:
        """The positions of epsilons, the labels of the others, and where these begin."""
        first, last = int(self.offsets[state]), int(self.offsets[state + 1])
        label = first + int(np.searchsorted(self.labels[first:last], EPSILON, "right"))
        return range(first, label), self.labels[label:last], label


class LazyStates:
    """The states of a @ b. A state is a number, made of both states and that of the epsilon filter,
    so nothing has to be kept of it; the arcs of those read last are, up to `most` of them.
    """

    def __init__(self, a: Graph, b: Graph, most: int) -> None:
        self._a = _Operand(a, a.topology.leaving_by_olabel, "ilabels")
        self._b = _Operand(b, b.topology.leaving_by_ilabel, "olabels")
        self._width = max(1, b.num_states)
        self._most, self._count = most, 0
        self._kept: OrderedDict[int, list[LazyArc]] = OrderedDict()

    def start(self, item: int) -> dict[int, float]:
        """The states in which paths of an item start, and their scores."""
        (low, high), (first, last) = self._ranges(item)
        ours, theirs = self._a.start[low:high], self._b.start[first:last]
        return {
            self._number(low + s, first + t, 0): float(ours[s]) + float(theirs[t])
            for s in np.flatnonzero(ours > NEG_INF).tolist()
            for t in np.flatnonzero(theirs > NEG_INF).tolist()
        }

    def pair(self, state: int) -> tuple[int, int, int]:
        """The states of a and b, and that of the filter. Raises for what is no state."""
        pair, filtered = divmod(state, _FILTERS)
        s, t = divmod(pair, self._width)
        if not (0 <= s < len(self._a.accept) and t < len(self._b.accept)):
            raise ValueError(f"LazyComposition: {state} is no state of the composition")
        return s, t, filtered

    def accept(self, state: int) -> float:
        """The score of ending in a state; -inf: it does not accept."""
        s, t, _ = self.pair(state)
        return float(self._a.accept[s]) + float(self._b.accept[t])

    def arcs(self, state: int) -> list[LazyArc]:
        """The arcs that leave a state, in the order of `compose`."""
        if (known := self._kept.get(state)) is not None:
            self._kept.move_to_end(state)
            return known
        found = list(self._made(state))
        self._kept[state] = found
        self._count += len(found) + 1
        while self._count > self._most and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._count -= len(dropped) + 1
        return found

    @property
    def kept(self) -> int:
        """States whose arcs are kept."""
        return len(self._kept)

    def _ranges(self, item: int) -> tuple[tuple[int, int], tuple[int, int]]:
        size = max(len(self._a.states), len(self._b.states))
        item = _checks.one_of("LazyComposition", "item", item, size)
        return tuple(  # type: ignore[return-value]
            side.states[0 if len(side.states) == 1 else item] for side in (self._a, self._b)
        )

    def _number(self, s: int, t: int, filtered: int) -> int:
        return (int(s) * self._width + int(t)) * _FILTERS + filtered

    def _item(self, s: int, t: int) -> tuple[int, int]:
        """The graphs of two states."""
        return tuple(  # type: ignore[return-value]
            next(i for i, (low, high) in enumerate(side.states) if low <= state < high)
            for side, state in ((self._a, s), (self._b, t))
        )

    def _made(self, state: int) -> Iterator[LazyArc]:
        """As csrc/rewrite/matching.h says: epsilons of both, of a, of b, then equal labels."""
        s, t, filtered = self.pair(state)
        (ours, left, first_a), (theirs, right, first_b) = self._a.of(s), self._b.of(t)
        a_alone, b_alone = 0, 0  # one filter state is enough where not both have epsilons
        if ours or theirs:
            one, other = self._item(s, t)
            if self._a.silent[one] and self._b.silent[other]:
                a_alone, b_alone = 1, 2
        if filtered == 0:
            yield from (self._arc(s, t, k, m, 0) for k in ours for m in theirs)
        if filtered != 2:
            yield from (self._arc(s, t, k, -1, a_alone) for k in ours)
        if filtered != 1:
            yield from (self._arc(s, t, -1, m, b_alone) for m in theirs)
        turned = len(left) > len(right)
        few, many = (right, left) if turned else (left, right)
        low, high = np.searchsorted(many, few, "left"), np.searchsorted(many, few, "right")
        for i, (begin, end) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            for j in range(begin, end):
                k, m = (j, i) if turned else (i, j)
                yield self._arc(s, t, first_a + k, first_b + m, 0)

    def _arc(self, s: int, t: int, k: int, m: int, filtered: int) -> LazyArc:
        """By the positions of the arcs of both, -1 for one that stays."""
        ilabel = olabel = arc_a = arc_b = EPSILON
        weight = 0.0
        if k >= 0:
            s, arc_a = int(self._a.targets[k]), int(self._a.arcs[k])
            ilabel = int(self._a.others[arc_a])
            weight += float(self._a.weights[arc_a])
        if m >= 0:
            t, arc_b = int(self._b.targets[m]), int(self._b.arcs[m])
            olabel = int(self._b.others[arc_b])
            weight += float(self._b.weights[arc_b])
        return LazyArc(ilabel, olabel, weight, self._number(s, t, filtered), arc_a, arc_b)
