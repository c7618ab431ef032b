"""What constructions of subsets in Python share: scores that tell subsets apart, and the record of
their sums, along which they are computed again with all their derivatives.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from gtnet import _ops
from gtnet._checks import NEG_INF
from gtnet._rewrite import Semiring, path_sums
from gtnet.graph import Graph
from gtnet.topology import Topology

Dual = tuple[float, float]  # a score, and its derivative along a random direction of all scores


class TooLargeError(ValueError):
    """More states than allowed are needed of `graph`."""

    def __init__(self, graph: int) -> None:
        super().__init__(graph)
        self.graph = graph


class Duals:
    """The scores of a graph; derivatives are 0 unless subsets must agree to first order."""

    def __init__(self, graph: Graph, identical: bool) -> None:
        draw = random.Random(0)

        def duals(scores: Tensor) -> list[Dual]:
            values = scores.detach().double().tolist()
            return [(x, 2 * draw.random() - 1 if identical else 0.0) for x in values]

        self.weights, self.start = duals(graph.weights), duals(graph.start)

    def after(self, score: Dual, arc: int) -> Dual:
        """The score of a path that goes on by an arc."""
        weight = self.weights[arc]
        return score[0] + weight[0], score[1] + weight[1]


def plus(scores: Sequence[Dual], semiring: Semiring) -> Dual:
    """The sum; the first of the best in a tie."""
    best = max(scores, key=lambda dual: dual[0])
    if semiring == "tropical" or len(scores) == 1:
        return best
    shares = [math.exp(score - best[0]) for score, _ in scores]
    total = sum(shares)
    slope = sum(share * slope for share, (_, slope) in zip(shares, scores)) / total
    return best[0] + math.log(total), slope


class Subsets:
    """Numbers of subsets: of what they hold, and of the scores relative to each other."""

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self._known: dict[Hashable, list[tuple[int, list[Dual]]]] = defaultdict(list)

    def find(self, what: Hashable, scores: list[Dual]) -> int | None:
        """The subset that holds the same, with scores that differ by `delta` at most."""
        for number, known in self._known[what]:
            pairs = zip(known, scores)
            if all(abs(a - b) <= self._delta for one, two in pairs for a, b in zip(one, two)):
                return number
        return None

    def keep(self, what: Hashable, scores: list[Dual], number: int) -> None:
        """A subset that was not found."""
        self._known[what].append((number, scores))


class Ways:
    """Nodes, and the arcs along which the sums of a construction run from the starts to them."""

    def __init__(self) -> None:
        self.seeds: list[tuple[int, int]] = []  # node, start state of the operand
        self.ways: list[tuple[int, int, int]] = []  # node, node, arc of the operand or -1
        self.num_nodes = 0

    def nodes(self, count: int) -> range:
        """New ones."""
        self.num_nodes += count
        return range(self.num_nodes - count, self.num_nodes)

    def sums(self, function: str, graph: Graph, semiring: Semiring) -> Tensor:
        """The path sum to each node, float64 [nodes]; any number of derivatives."""
        source, target, arc = columns(self.ways, 3)
        seed, state = columns(self.seeds, 2)
        order = source.argsort(stable=True)
        source, target, arc = (t[order].to(torch.int32) for t in (source, target, arc))
        sizes = torch.tensor([0, self.num_nodes]), torch.tensor([0, len(arc)])
        topology = Topology(*sizes, source, target, arc, arc, self.num_nodes)
        nowhere = graph.start.new_full((self.num_nodes,), NEG_INF, dtype=torch.float64)
        start = nowhere.index_put((seed,), _ops.take(graph.start.double(), state.int()))
        ways = Graph.from_topology(topology, _ops.take(graph.weights.double(), arc), start, nowhere)
        return path_sums(function, ways, semiring)


def columns(rows: Sequence[tuple[int, ...]], count: int) -> tuple[Tensor, ...]:
    """The columns of a table of integers, int64."""
    table = torch.tensor(rows, dtype=torch.int64).reshape(-1, count)
    return tuple(column.contiguous() for column in table.unbind(1))
