"""The few paths whose mixture is nearest to the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import choosing
from gtnet.distance import best_paths
from gtnet.graph import Graph, built
from gtnet.paths import by_graph
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

MAX_ROUNDS = 10_000
_ENOUGH = 1e-9  # of the optimality gap, relative to the scores


class SparsePaths(NamedTuple):
    """A sparse distribution over paths, of every graph of a batch.

    `arcs` [arcs] how often a path takes each arc; `paths` for every graph the linear graphs of the
    paths that have a probability, the most probable first; `probabilities` of these.
    """

    arcs: Tensor
    paths: list[Graph]
    probabilities: list[Tensor]


@choosing
def sparse_map(
    graph: Graph | Lattice, *, temperature: float = 1.0, max_rounds: int = MAX_ROUNDS
) -> SparsePaths:
    """The mixture of paths with the highest mean score, less half its squared length.

    argmax over distributions p of Σ p · score − temperature / 2 · |μ|², where μ counts how often
    each arc, start and end is taken. Between the best path (temperature → 0) and `posteriors`: few
    paths have a probability, the others exactly 0. For a graph of parallel arcs it is sparsemax.

    Arguments: `graph` acyclic; `temperature` > 0; `max_rounds` the most paths that may be tried.
    Result: `SparsePaths`; nothing for an empty language. Runs in float64.
    Raises ValueError for cycles, for other temperatures, if `max_rounds` do not suffice, and on a
    GPU.
    Complexity: a round takes the best path and solves for the k paths that have a probability,
    O(states + arcs + k³); there are finitely many, most often a few times k. A `Lattice` is built.
    Gradient: of `arcs` and `probabilities` to all scores, as long as the same paths have a
    probability; the second derivative is 0.
    Source: Niculae, Martins, Blondel & Cardie 2018, "SparseMAP"; Wolfe 1976, "Finding the nearest
    point in a polytope", for the active set.
    """
    graph = built("sparse_map", "graph", graph)
    _checks.on_cpu("sparse_map", "graph", graph.weights, "move it with .to('cpu')")
    temperature = _checks.tolerance("sparse_map", "temperature", temperature)
    max_rounds = _checks.count("sparse_map", "max_rounds", max_rounds)
    graph.topology.walk("sparse_map")  # refuses cycles
    exact = graph.detach().to(torch.float64)
    given = [t / temperature for t in exact.scores]
    rooms = [_Room() for _ in range(len(graph))]
    for _ in range(max_rounds):
        if not _further(exact.topology, given, rooms):
            break
    else:
        raise ValueError(
            f"sparse_map: the paths are not found within max_rounds={max_rounds} rounds: raise it, "
            f"or lower the temperature"
        )
    return _mixed(graph, temperature, rooms)


class _Path(NamedTuple):
    """An accepting path; states and arcs are numbered through the batch."""

    arcs: tuple[int, ...]
    first: int
    last: int


class _Room:
    """The paths of one graph that have a probability (Wolfe's corral), and their probabilities."""

    def __init__(self) -> None:
        self.paths: list[_Path] = []
        self.scores: list[float] = []
        self.shared = torch.zeros(0, 0, dtype=torch.float64)  # places that two paths have in common
        self.chances = torch.zeros(0, dtype=torch.float64)
        self.done = False

    @property
    def solution(self) -> Tensor:
        """The inverse of the equations of the best mixture if chances may be negative: from scores
        to chances, less its last row and column, which make them sum to 1.
        """
        size = len(self.paths)
        equations = torch.ones(size + 1, size + 1, dtype=torch.float64)
        equations[:size, :size] = self.shared
        equations[size, size] = 0
        return torch.linalg.inv(equations)

    def add(self, path: _Path, score: float) -> None:
        """Take in a path that would better the mixture, and drop those that it makes useless."""
        own = set(path.arcs)
        row = [_common(path, own, other) for other in self.paths]
        size = len(self.paths)
        shared = torch.empty(size + 1, size + 1, dtype=torch.float64)
        shared[:size, :size] = self.shared
        shared[size, :size] = shared[:size, size] = torch.tensor(row, dtype=torch.float64)
        shared[size, size] = len(path.arcs) + 2
        self.shared, self.paths = shared, [*self.paths, path]
        self.scores = [*self.scores, score]
        self.chances = torch.cat([self.chances, self.chances.new_zeros(1)])
        while True:
            scores = torch.tensor([*self.scores, 1.0], dtype=torch.float64)
            best = (self.solution @ scores)[:-1]
            if bool((best > _NONE).all()):
                self.chances = best
                return
            falling = best <= _NONE
            fall = self.chances[falling] - best[falling]
            step = (self.chances[falling] / fall.clamp(min=_NONE)).min().clamp(max=1)
            self.chances = self.chances + step * (best - self.chances)
            self._keep(self.chances > _NONE)

    def _keep(self, kept: Tensor) -> None:
        index = kept.nonzero().flatten()
        self.paths = [self.paths[i] for i in index.tolist()]
        self.scores = [self.scores[i] for i in index.tolist()]
        self.shared = self.shared[index][:, index]
        self.chances = self.chances[index] / self.chances[index].sum()


_NONE = 1e-12  # a chance that is none


def _common(path: _Path, own: set[int], other: _Path) -> int:
    """Arcs and ends that two paths share."""
    ends = (path.first == other.first) + (path.last == other.last)
    return len(own.intersection(other.arcs)) + ends


def _further(topology: Topology, given: list[Tensor], rooms: list[_Room]) -> bool:
    """One round: the best path where the mixture so far is taken off the scores, of each graph.

    Whether any graph is bettered by it.
    """
    counts = [torch.zeros_like(t) for t in given]
    for room in rooms:
        for path, chance in zip(room.paths, room.chances.tolist()):
            for count, places in zip(counts, (path.arcs, (path.first,), (path.last,))):
                count[list(places)] += chance
    left = [scores - count for scores, count in zip(given, counts)]
    plain = Graph.from_topology(topology, *left)
    _, best = best_paths("sparse_map", plain)
    offsets, arcs = best.offsets.tolist(), best.arcs.tolist()
    bettered = False
    for i, (room, first, last) in enumerate(zip(rooms, best.first.tolist(), best.last.tolist())):
        if room.done or first < 0:
            continue
        path = _Path(tuple(arcs[offsets[i] : offsets[i + 1]]), first, last)
        gain = _along(left, path) - sum(
            chance * _along(left, p) for p, chance in zip(room.paths, room.chances.tolist())
        )
        score = _along(given, path)
        if room.paths and (gain <= _ENOUGH * (1 + abs(score)) or path in room.paths):
            room.done = True
            continue
        room.add(path, score)
        bettered = True
    return bettered


def _along(scores: list[Tensor], path: _Path) -> float:
    """The sum of the scores of a path."""
    weights, start, accept = scores
    return float(weights[list(path.arcs)].sum() + start[path.first] + accept[path.last])


def _mixed(graph: Graph, temperature: float, rooms: list[_Room]) -> SparsePaths:
    """The mixtures, which follow small changes of the scores."""
    rows, found, chances = [], [], []
    for room in rooms:
        order = room.chances.argsort(descending=True, stable=True)
        room.paths = [room.paths[i] for i in order.tolist()]
        room.shared, room.chances = room.shared[order][:, order], room.chances[order]
        rows += room.paths
    lengths = torch.tensor([len(path.arcs) for path in rows], dtype=torch.int64)
    arcs = torch.tensor([arc for path in rows for arc in path.arcs], dtype=torch.int64)
    first, last = (
        torch.tensor([getattr(path, end) for path in rows], dtype=torch.int64)
        for end in ("first", "last")
    )
    sizes = [len(room.paths) for room in rooms]
    found = by_graph(
        graph,
        torch.tensor(sizes, dtype=torch.int64),
        lengths,
        *(t.int() for t in (arcs, first, last)),
    )
    exact = graph.to(torch.float64)
    owner = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    scores = exact.start[first] + exact.accept[last]
    scores = scores.index_add(0, owner, exact.weights[arcs]) / temperature
    for room, own in zip(rooms, scores.split(sizes)):
        chances.append(room.chances)
        if room.paths:
            chances[-1] = room.chances + room.solution[:-1, :-1] @ (own - own.detach())
    every = torch.cat([*chances, scores[:0]])
    counts = scores.new_zeros(graph.num_arcs).index_add(0, arcs, every[owner])
    return SparsePaths(counts.to(graph.dtype), found, [row.to(graph.dtype) for row in chances])
