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
    given = torch.cat(exact.scores) / temperature
    rooms = [_Room() for _ in range(len(graph))]
    marks = torch.zeros_like(given)
    for _ in range(max_rounds):
        if not _further(exact.topology, given, rooms, marks):
            break
    else:
        raise ValueError(
            f"sparse_map: the paths are not found within max_rounds={max_rounds} rounds: raise it, "
            f"or lower the temperature"
        )
    return _mixed(graph, temperature, rooms)


class _Room:
    """The paths of one graph that have a probability (Wolfe's corral), and their probabilities.

    A path is its places among the weights, start and accept scores of the batch, end to end.
    """

    def __init__(self) -> None:
        self.places = torch.zeros(0, dtype=torch.int64)  # of all paths
        self.lengths = torch.zeros(0, dtype=torch.int64)
        self.scores = torch.zeros(0, dtype=torch.float64)
        self.shared = torch.zeros(0, 0, dtype=torch.float64)  # places that two paths have in common
        self.chances = torch.zeros(0, dtype=torch.float64)
        self.done = False

    @property
    def owner(self) -> Tensor:
        """The path that each place belongs to."""
        return torch.repeat_interleave(self.lengths)

    @property
    def solution(self) -> Tensor:
        """The inverse of the equations of the best mixture if chances may be negative: from scores
        to chances, less its last row and column, which make them sum to 1.
        """
        return torch.linalg.inv(self._equations())

    def _equations(self) -> Tensor:
        size = len(self.lengths)
        equations = torch.ones(size + 1, size + 1, dtype=torch.float64)
        equations[:size, :size] = self.shared
        equations[size, size] = 0
        return equations

    def common(self, path: Tensor, marks: Tensor) -> Tensor:
        """How many places a path shares with each of the others; `marks` are zeros, and stay so."""
        marks[path] = 1
        row = torch.zeros_like(self.chances).index_add_(0, self.owner, marks[self.places])
        marks[path] = 0
        return row

    def add(self, path: Tensor, score: Tensor, row: Tensor) -> None:
        """Take in a path that would better the mixture, and drop those that it makes useless."""
        size = len(self.lengths)
        shared = torch.empty(size + 1, size + 1, dtype=torch.float64)
        shared[:size, :size] = self.shared
        shared[size, :size] = shared[:size, size] = row
        shared[size, size] = len(path)
        self.shared, self.places = shared, torch.cat([self.places, path])
        self.lengths = torch.cat([self.lengths, self.lengths.new_tensor([len(path)])])
        self.scores = torch.cat([self.scores, score.reshape(1)])
        self.chances = torch.cat([self.chances, self.chances.new_zeros(1)])
        while True:
            scores = torch.cat([self.scores, self.scores.new_ones(1)])
            best = torch.linalg.solve(self._equations(), scores)[:-1]
            if bool((best > _NONE).all()):
                self.chances = best
                return
            falling = best <= _NONE
            fall = self.chances[falling] - best[falling]
            step = (self.chances[falling] / fall.clamp(min=_NONE)).min().clamp(max=1)
            self.chances = self.chances + step * (best - self.chances)
            self._keep(self.chances > _NONE)

    def _keep(self, kept: Tensor) -> None:
        self.places = self.places[kept[self.owner]]
        self.lengths, self.scores = self.lengths[kept], self.scores[kept]
        self.shared = self.shared[kept][:, kept]
        self.chances = self.chances[kept] / self.chances[kept].sum()

    def sort(self) -> None:
        """The most probable path first."""
        order = self.chances.argsort(descending=True, stable=True)
        paths = self.places.split(self.lengths.tolist())
        self.places = torch.cat([self.places[:0], *(paths[i] for i in order.tolist())])
        self.lengths, self.chances = self.lengths[order], self.chances[order]
        self.shared = self.shared[order][:, order]


_NONE = 1e-12  # a chance that is none


def _further(topology: Topology, given: Tensor, rooms: list[_Room], marks: Tensor) -> bool:
    """One round: the best path where the mixture so far is taken off the scores, of each graph.

    Whether any graph is bettered by it.
    """
    counts = torch.zeros_like(given)
    for room in rooms:
        counts.index_add_(0, room.places, room.chances[room.owner])
    left = given - counts
    arcs, states = topology.num_arcs, topology.num_states
    plain = Graph.from_topology(topology, *left.split([arcs, states, states]))
    _, best = best_paths("sparse_map", plain)
    paths = best.arcs.long().split(best.offsets.diff().tolist())
    ends = torch.stack([best.first.long() + arcs, best.last.long() + arcs + states], 1)
    bettered = False
    for room, taken, end, possible in zip(rooms, paths, ends, (best.first >= 0).tolist()):
        if room.done or not possible:
            continue
        path = torch.cat([taken, end])
        gain = left[path].sum() - left[room.places] @ room.chances[room.owner]
        score, row = given[path].sum(), room.common(path, marks)
        known = bool(((row == len(path)) & (room.lengths == len(path))).any())
        if known or (len(row) and bool(gain <= _ENOUGH * (1 + score.abs()))):
            room.done = True
            continue
        room.add(path, score, row)
        bettered = True
    return bettered


def _mixed(graph: Graph, temperature: float, rooms: list[_Room]) -> SparsePaths:
    """The mixtures, which follow small changes of the scores."""
    for room in rooms:
        room.sort()
    places = torch.cat([torch.zeros(0, dtype=torch.int64), *(room.places for room in rooms)])
    lengths = torch.cat([torch.zeros(0, dtype=torch.int64), *(room.lengths for room in rooms)])
    last = lengths.cumsum(0) - 1
    inner = torch.ones(len(places), dtype=torch.bool)
    inner[last] = inner[last - 1] = False
    sizes = torch.tensor([len(room.lengths) for room in rooms], dtype=torch.int64)
    ends = places[last - 1] - graph.num_arcs, places[last] - graph.num_arcs - graph.num_states
    arcs = places[inner]
    found = by_graph(graph, sizes, lengths - 2, *(t.int() for t in (arcs, *ends)))
    owner = torch.repeat_interleave(lengths)
    given = torch.cat(graph.to(torch.float64).scores) / temperature
    scores = given.new_zeros(len(lengths)).index_add(0, owner, given[places])
    chances = []
    for room, own in zip(rooms, scores.split(sizes.tolist())):
        chances.append(room.chances)
        if len(room.chances):
            chances[-1] = room.chances + room.solution[:-1, :-1] @ (own - own.detach())
    every = torch.cat([*chances, scores[:0]])
    counts = scores.new_zeros(graph.num_arcs).index_add(0, arcs, every[owner[inner]])
    return SparsePaths(counts.to(graph.dtype), found, [row.to(graph.dtype) for row in chances])
