"""Graphs to begin with, as plain data: drawn at random, written as a program, made smaller."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import torch

from gtnet import EPSILON, Graph, stack

NEG_INF = -math.inf


@dataclass(frozen=True)
class Item:
    """One graph: arcs (source, target, ilabel, olabel, weight), and the scores of both ends."""

    arcs: tuple[tuple[int, int, int, int, float], ...]
    start: tuple[float, ...]
    accept: tuple[float, ...]


@dataclass(frozen=True)
class Leaf:
    """A batch."""

    items: tuple[Item, ...]
    acceptor: bool
    double: bool

    def graph(self) -> Graph:
        """The batch as the library has it; its scores require grad."""
        dtype = torch.float64 if self.double else torch.float32
        graphs = []
        for item in self.items:
            columns = list(zip(*item.arcs)) or [()] * 5
            graph = Graph(
                *columns[:3],
                None if self.acceptor else columns[3],
                torch.tensor(columns[4], dtype=dtype),
                start=torch.tensor(item.start, dtype=dtype),
                accept=torch.tensor(item.accept, dtype=dtype),
                num_states=len(item.start),
            )
            graphs.append(graph)
        return stack(graphs)

    def program(self) -> str:
        """An expression that makes the batch."""
        dtype = "float64" if self.double else "float32"

        def tensor(scores: tuple[float, ...]) -> str:
            listed = ", ".join("-inf" if s == NEG_INF else repr(s) for s in scores)
            return f"torch.tensor([{listed}], dtype=torch.{dtype})"

        made = []
        for item in self.items:
            columns = [list(column) for column in zip(*item.arcs)] or [[]] * 5
            olabels = "None" if self.acceptor else columns[3]
            made.append(
                f"gtnet.Graph({columns[0]}, {columns[1]}, {columns[2]}, {olabels}, "
                f"{tensor(tuple(columns[4]))}, start={tensor(item.start)}, "
                f"accept={tensor(item.accept)}, num_states={len(item.start)})"
            )
        return f"gtnet.stack([{', '.join(made)}])"

    def smaller(self) -> Iterator[Leaf]:
        """Batches with one thing less."""
        for i, item in enumerate(self.items):
            if len(self.items) > 1:
                yield replace(self, items=self.items[:i] + self.items[i + 1 :])
            for simpler in _smaller_items(item):
                yield replace(self, items=(*self.items[:i], simpler, *self.items[i + 1 :]))
        if not self.acceptor and all(a[2] == a[3] for item in self.items for a in item.arcs):
            yield replace(self, acceptor=True)


def _smaller_items(item: Item) -> Iterator[Item]:
    for k in range(len(item.arcs)):
        yield replace(item, arcs=item.arcs[:k] + item.arcs[k + 1 :])
    for state in range(len(item.start)):
        if all(state not in arc[:2] for arc in item.arcs):
            arcs = tuple(
                (s - (s > state), t - (t > state), i, o, weight) for s, t, i, o, weight in item.arcs
            )
            ends = [e[:state] + e[state + 1 :] for e in (item.start, item.accept)]
            yield Item(arcs, *ends)
    for k, (s, t, i, o, weight) in enumerate(item.arcs):
        for arc in ((s, t, i, o, 0.0), (s, t, 0, o, weight), (s, t, i, i, weight)):
            simpler = weight not in (0.0,) if arc[4] != weight else (i, o) != arc[2:4]
            if simpler and not (arc[2] == 0 and i == 0 and arc[4] == weight and arc[3] == o):
                yield replace(item, arcs=(*item.arcs[:k], arc, *item.arcs[k + 1 :]))
    for name in ("start", "accept"):
        ends = getattr(item, name)
        for state, score in enumerate(ends):
            for other in (NEG_INF, 0.0):
                if score not in (NEG_INF, other):
                    yield replace(item, **{name: (*ends[:state], other, *ends[state + 1 :])})


@dataclass(frozen=True)
class Style:
    """What the graphs of one run have in common."""

    acyclic: bool
    epsilons: float  # how often a label is one
    scores: str  # "ties", "quarters", "reals" or "wide"
    impossible: float  # how often a score is -inf
    starts: int

    def score(self, draw: Random) -> float:
        """A score; on cycles low enough that most sums converge."""
        if draw.random() < self.impossible:
            return NEG_INF
        if self.scores == "ties":
            number = draw.choice([0.0, 0.0, -1.0])
        elif self.scores == "quarters":
            number = draw.randint(-8, 8) / 4
        elif self.scores == "reals":
            number = draw.gauss(0, 1)
        else:
            number = draw.choice([-1, 1]) * 10 ** draw.uniform(-2, 4)
        return round(number if self.acyclic else -abs(number) - 1.5, 4)


def style(draw: Random) -> Style:
    return Style(
        acyclic=draw.random() < 0.7,
        epsilons=draw.choice([0.0, 0.0, 0.2, 0.5]),
        scores=draw.choice(["ties", "quarters", "reals", "wide"]),
        impossible=draw.choice([0.0, 0.0, 0.1]),
        starts=draw.choice([1, 1, 2, 3]),
    )


def leaf(draw: Random, like: Style, size: int, double: bool) -> Leaf:
    acceptor = draw.random() < 0.5
    return Leaf(tuple(_item(draw, like, acceptor) for _ in range(size)), acceptor, double)


def _item(draw: Random, like: Style, acceptor: bool) -> Item:
    size = draw.choice([0, 1, 2, 3, 3, 4, 4, 5])
    rank = draw.sample(range(size), size)
    arcs = []
    for _ in range(draw.randint(0, 2 * size) if size else 0):
        s, t = sorted((draw.randrange(size), draw.randrange(size)))
        if like.acyclic and s == t:
            continue
        if not like.acyclic and draw.random() < 0.3:
            s, t = t, s
        labels = [
            EPSILON if draw.random() < like.epsilons else draw.choice([0, 1, 2]) for _ in range(2)
        ]
        ilabel, olabel = labels[0], labels[0] if acceptor else labels[1]
        arcs.append((rank[s], rank[t], ilabel, olabel, like.score(draw)))
    ends = []
    for first, most in ((0, like.starts), (-1, draw.choice([1, 1, 2]))):
        scores = [NEG_INF] * size
        for _ in range(most if size and draw.random() < 0.95 else 0):
            state = rank[first] if draw.random() < 0.6 else draw.randrange(size)
            scores[state] = draw.choice([0.0, 0.0, like.score(draw)])
        ends.append(tuple(scores))
    return Item(tuple(arcs), *ends)
