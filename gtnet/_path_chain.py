"""The Markov chain that draws a path from its start, walked by many at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import NEG_INF
from gtnet._ordinary import ordinary
from gtnet._rewrite import segment_sums
from gtnet.distance import scaled_to_accept
from gtnet.graph import Graph
from gtnet.topology import runs


class Choices(NamedTuple):
    """How walkers may go on: each by one of `owner`'s, those of one walker beside each other."""

    owner: Tensor  # which walker, int64 [choices]
    place: Tensor  # in the tables of the chain, int64 [choices]
    begin: Tensor  # the first choice of each walker, int64 [walkers]
    degree: Tensor  # how many each has, int64 [walkers]


class PathChain:
    """How a path drawn in proportion to exp(beta · score) goes on, by tables of choices.

    Its nodes are the states, a root for each graph, from which a path begins, and one end that all
    paths reach and stay in. Choice c leads to node `target[c]` by `arc[c]` (-1 for none).
    """

    def __init__(self, function: str, graph: Graph, beta: float | Tensor) -> None:
        scaled, ahead = scaled_to_accept(function, graph.detach(), beta)
        weights, start, accept = (t.double() for t in _checks.plain_scores(scaled))
        ahead = _checks.plain(ahead)
        topology = graph.topology
        states = torch.arange(graph.num_states, device=graph.device)
        graphs = topology.graph_of_state
        self.total = segment_sums(start + ahead, graphs, len(graph), "log")
        self.end = graph.num_states + len(graph)
        end = torch.full((1,), self.end, device=graph.device)
        source, target = topology.global_source, topology.global_target
        none = torch.full((2 * graph.num_states + 1,), -1, device=graph.device)
        nodes = torch.cat([source, states, graph.num_states + graphs, end])
        targets = torch.cat([target, end.expand(graph.num_states), states, end])
        arcs = torch.cat([torch.arange(graph.num_arcs, device=graph.device), none])
        chances = torch.cat(
            [
                weights + ahead[target] - ahead[source],
                accept - ahead,
                start + ahead - self.total[graphs],
                ahead.new_zeros(1),
            ]
        )
        possible = torch.isfinite(chances).nonzero().flatten()
        order = possible[nodes[possible].argsort(stable=True)]
        self.target, self.arc, self.log_probability = targets[order], arcs[order], chances[order]
        degree = torch.bincount(nodes[order], minlength=self.end + 1)
        self.offsets = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        self.goes_to = target
        self.roots = graph.num_states + (self.total > NEG_INF).nonzero().flatten()
        self.first_root = graph.num_states

    def choices(self, node: Tensor) -> Choices:
        """What walkers in these nodes may do."""
        begin = self.offsets[node]
        degree = self.offsets[node + 1] - begin
        place = runs(begin, degree)
        walkers = torch.arange(len(node), device=node.device)
        owner = torch.repeat_interleave(walkers, degree, output_size=len(place))
        return Choices(owner, place, degree.cumsum(0) - degree, degree)


class Trail:
    """The steps of all walkers, so that the path of each can be followed back."""

    def __init__(self, chain: PathChain) -> None:
        self._chain = chain
        self._steps: list[tuple[Tensor, Tensor]] = []
        self.size = 0

    def add(self, parent: Tensor, place: Tensor) -> None:
        """Walker i of now came from walker `parent[i]` of before by the choice `place[i]`."""
        self._steps.append((parent, place))
        self.size += len(parent)

    def paths(self, walkers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The lengths of the walkers' paths, their arcs, one after another, and their end states;
        int64, int32 each.
        """
        chain, taken = self._chain, []
        for parent, place in reversed(self._steps):
            taken.append(place[walkers])
            walkers = parent[walkers]
        if not taken:
            none = walkers.new_zeros(0)
            return none, none.int(), none.int(), none.int()
        arcs = chain.arc[torch.stack(taken[::-1], 1)]
        there = arcs >= 0
        lengths = there.sum(1)
        arcs = arcs[there]
        first = chain.target[taken[-1]]
        padded = torch.cat([chain.goes_to[arcs], first.new_zeros(1)])
        last = torch.where(lengths > 0, padded[lengths.cumsum(0) - 1], first)
        return lengths, arcs.int(), first.int(), last.int()


@ordinary
def uniform(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Random numbers in [0, 1), float64; drawn on the CPU, so that devices agree."""
    return torch.rand(count, dtype=torch.float64, generator=generator).to(device)


@ordinary
def gumbel(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Gumbel noise, float64, as `uniform`."""
    waits = torch.empty(count, dtype=torch.float64).exponential_(generator=generator)
    return -waits.clamp(min=1e-300).log().to(device)
