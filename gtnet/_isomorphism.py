"""Whether two graphs are the same up to the numbering of their states and arcs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtnet.graph import Graph


def isomorphic(a: Graph, b: Graph, tolerance: float = 0.0) -> bool:
    """Whether a renumbering of states makes two single graphs equal, scores to within `tolerance`.

    States of both are told apart by what they are and by the arcs that join them, class by class
    (colour refinement, Cardon & Crochemore 1982): O(arcs · log states). Only where classes keep
    several states of a graph, one of them is tried on each of its likes. Scores that a chain of
    small steps joins tell nothing apart; whether they are near each other is seen in the end.
    """
    if (a.num_states, a.num_arcs) != (b.num_states, b.num_arcs):
        return False
    pair = _Pair(a, b, tolerance)
    colours = pair.colours()
    if colours is None or not colours.refine(set(colours.members)):
        return False
    ways = [_guesses(colours)]
    while ways:
        guess = next(ways[-1], None)
        if guess is None:
            ways.pop()
        elif guess.is_discrete:
            if pair.agree(guess):
                return True
        else:
            ways.append(_guesses(guess))
    return False


class _Pair:
    """The states of two graphs, those of b behind those of a, and the arcs at each."""

    def __init__(self, a: Graph, b: Graph, tolerance: float) -> None:
        self.size, self.tolerance = a.num_states, tolerance
        self.ends = [
            *zip(a.start.tolist(), a.accept.tolist()),
            *zip(b.start.tolist(), b.accept.tolist()),
        ]
        scores = [score for pair in self.ends for score in pair]
        self.near = _Near([*scores, *a.weights.tolist(), *b.weights.tolist()], tolerance)
        self.arcs: list[list[tuple[int, int, tuple[Any, ...]]]] = []
        kinds: dict[tuple[Any, ...], int] = {}
        # Of each state the kind of every arc that touches it, from the other end, and that end.
        self.touching: list[list[tuple[int, int]]] = [[] for _ in self.ends]
        for graph, first in ((a, 0), (b, self.size)):
            columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            arcs = [(first + s, first + t, tuple(rest)) for s, t, *rest in rows]
            self.arcs.append(arcs)
            for source, target, (*labels, weight) in arcs:
                kind = kinds.setdefault((*labels, self.near[weight]), 2 * len(kinds))
                self.touching[target].append((kind, source))
                self.touching[source].append((kind + 1, target))

    def colours(self) -> _Colours | None:
        """States by their start and accept scores; None where the graphs differ in these."""
        members: dict[Any, set[int]] = defaultdict(set)
        for state, (start, accept) in enumerate(self.ends):
            members[self.near[start], self.near[accept]].add(state)
        colours = _Colours(self, dict(enumerate(members.values())))
        return colours if all(map(self.is_even, members.values())) else None

    def is_even(self, states: set[int]) -> bool:
        """Whether as many of the states belong to one graph as to the other."""
        return 2 * sum(state < self.size for state in states) == len(states)

    def agree(self, colours: _Colours) -> bool:
        """Whether to take states of one colour for each other makes the arcs the same."""
        of = colours.of

        def scores(graph: int) -> dict[Any, list[float]]:
            found: dict[Any, list[float]] = defaultdict(list)
            states = range(self.size) if graph == 0 else range(self.size, len(self.ends))
            for state in states:
                found[of[state]] = list(self.ends[state])
            rows: dict[Any, list[float]] = defaultdict(list)
            for source, target, (*labels, weight) in self.arcs[graph]:
                rows[(of[source], of[target], *labels)].append(weight)
            found.update((key, sorted(row)) for key, row in rows.items())
            return found

        ours, theirs = scores(0), scores(1)
        return ours.keys() == theirs.keys() and all(
            len(row) == len(theirs[key]) and all(map(self.agree_on, row, theirs[key]))
            for key, row in ours.items()
        )

    def agree_on(self, one: float, other: float) -> bool:
        """Whether two scores are equal to within the tolerance."""
        return one == other or abs(one - other) <= self.tolerance


class _Near:
    """Numbers of scores: those that steps of at most `tolerance` join have the same one."""

    def __init__(self, scores: list[float], tolerance: float) -> None:
        self._number: dict[float, int] = {}
        last, number = math.nan, 0
        for score in sorted({score for score in scores if score == score}):
            number += not score - last <= tolerance
            self._number[score] = number
            last = score

    def __getitem__(self, score: float) -> int:
        return self._number.get(score, 0)  # 0 of NaN, which is near nothing


class _Colours:
    """A partition of the states of both graphs; each class holds as many of one as of the other."""

    def __init__(self, pair: _Pair, members: dict[int, set[int]]) -> None:
        self.pair, self.members = pair, members
        self.of = [0] * len(pair.ends)
        for colour, states in members.items():
            for state in states:
                self.of[state] = colour

    @property
    def is_discrete(self) -> bool:
        """Whether each class holds one state of each graph."""
        return len(self.members) == self.pair.size

    def refine(self, splitters: set[int]) -> bool:
        """Split classes until all states of one see as much of every other; whether all are even.

        Of the parts of a class all but the largest split others in turn.
        """
        touching = self.pair.touching
        while splitters:
            seen: dict[int, list[int]] = defaultdict(list)
            for state in self.members[splitters.pop()]:
                for kind, other in touching[state]:
                    seen[other].append(kind)
            parts: dict[int, dict[tuple[int, ...], set[int]]] = defaultdict(dict)
            for state, kinds in seen.items():
                kinds.sort()
                parts[self.of[state]].setdefault(tuple(kinds), set()).add(state)
            for colour, by_kinds in parts.items():
                if not self._split(colour, list(by_kinds.values()), splitters):
                    return False
        return True

    def _split(self, colour: int, parts: list[set[int]], splitters: set[int]) -> bool:
        """Take parts out of a class; whether all are even."""
        if sum(map(len, parts)) == len(self.members[colour]):
            parts.sort(key=len)
            parts.pop()  # the largest part stays
        fresh = [colour]
        for part in parts:
            if not self.pair.is_even(part):
                return False
            number = len(self.members)
            self.members[colour] -= part
            self.members[number] = part
            fresh.append(number)
            for state in part:
                self.of[state] = number
        if colour not in splitters:
            fresh.remove(max(fresh, key=lambda each: len(self.members[each])))
        splitters.update(fresh)
        return True

    def told_apart(self, colour: int, ours: int, theirs: int) -> _Colours | None:
        """With two states of a class in one of their own; None where that cannot be."""
        copy = _Colours(self.pair, {c: set(states) for c, states in self.members.items()})
        splitters: set[int] = set()
        copy._split(colour, [{ours, theirs}], splitters)
        return copy if copy.refine(splitters) else None


def _guesses(colours: _Colours) -> Iterator[_Colours]:
    """The ways to match a state of the smallest class that holds several."""
    if colours.is_discrete:
        yield colours
        return
    several = (c for c, states in colours.members.items() if len(states) > 2)
    colour = min(several, key=lambda each: len(colours.members[each]))
    states = sorted(colours.members[colour])
    size = colours.pair.size
    ours = next(state for state in states if state < size)
    for theirs in states:
        if theirs >= size and (guess := colours.told_apart(colour, ours, theirs)) is not None:
            yield guess
