"""What a beam search asks of that which it goes through, and a graph that is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gtnet import _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._rewrite import arcs_on_cycles, with_arcs
from gtnet.distance import useful_part
from gtnet.graph import Graph
from gtnet.topology import Topology


class Limits(NamedTuple):
    """What survives a frame, and what is kept of it."""

    beam: float
    max_active: int
    lattice_beam: float


class Survivors(NamedTuple):
    """Where a search goes on: states and scores, and the offsets of each item's."""

    states: Tensor | None
    scores: Tensor | None
    offsets: Tensor | None


class Read(NamedTuple):
    """Arcs and states of the graphs as they are in a lattice; scores are differentiable."""

    ilabels: Tensor
    olabels: Tensor
    weights: Tensor
    start: Tensor
    accept: Tensor
    arc_maps: tuple[Tensor, ...]
    state_maps: tuple[Tensor, ...]


class Searched(Protocol):
    """What `BeamSearch` asks: `BuiltGraph`, or `Product` (_searched_product.py)."""

    graphs: list[Graph]

    def __len__(self) -> int:
        """Items of the batch that it is made for, 1 for any."""

    def again(self) -> Searched:
        """What another search asks, which may go on beside this one."""

    def steps(self, scores: Tensor, lengths: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """The parts of a chunk of frames that are searched one after another."""

    def search(
        self, scores: Tensor, lengths: Tensor, survivors: Survivors, limits: Limits
    ) -> tuple[Tensor, ...]:
        """The fields of a chunk behind scores and lengths: states and arcs in rows."""

    def accept(self, states: Tensor) -> Tensor:
        """The scores of ending in these states, without a gradient."""

    def places(self, column: Sequence[Tensor]) -> list[Tensor]:
        """The states or arcs of each chunk as numbers that `read` takes."""

    def read(
        self,
        topology: Topology,
        arcs: Tensor,
        states: Tensor,
        chunks: Sequence[tuple[Tensor, Tensor]],
    ) -> Read:
        """Of the arcs and states of a lattice, whose ends are those of `topology`."""


class BuiltGraph:
    """One graph that is there."""

    def __init__(self, graph: Graph) -> None:
        self.graphs = [graph]
        by_label = graph.topology.leaving_by_ilabel
        assert by_label.labels is not None
        weights = graph.weights.detach()
        epsilons = by_label.labels == EPSILON
        self._epsilon_order: Tensor | None = None
        if bool(epsilons.any()):
            order, useless = epsilon_order(graph.detach().to("cpu"), "graph")
            self._epsilon_order = order.to(graph.device)
            if useless is not None:
                weights = weights.masked_fill(useless.to(graph.device), NEG_INF)
        weights = weights[by_label.arcs]
        self._foresee = not bool((weights[epsilons] > 0).any())
        self._positions = (by_label.offsets, by_label.arcs, by_label.states, by_label.labels)
        self._scores = (weights, graph.start.detach().contiguous())

    def __len__(self) -> int:
        return len(self.graphs[0])

    def again(self) -> BuiltGraph:
        return self

    def steps(self, scores: Tensor, lengths: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        return ((scores, lengths),)

    def search(
        self, scores: Tensor, lengths: Tensor, survivors: Survivors, limits: Limits
    ) -> tuple[Tensor, ...]:
        return _ops.beam_search(
            scores,
            lengths,
            self.graphs[0].state_offsets,
            *self._positions,
            *self._scores,
            self._epsilon_order,
            *survivors,
            *limits,
            self._foresee,
        )

    def accept(self, states: Tensor) -> Tensor:
        return self.graphs[0].accept.detach()[states]

    def places(self, column: Sequence[Tensor]) -> list[Tensor]:
        return list(column)

    def read(
        self,
        topology: Topology,
        arcs: Tensor,
        states: Tensor,
        chunks: Sequence[tuple[Tensor, Tensor]],
    ) -> Read:
        (graph,) = self.graphs
        ilabels = graph.ilabels[arcs]
        return Read(
            ilabels,
            ilabels if graph.is_acceptor else graph.olabels[arcs],
            _ops.take(graph.weights.contiguous(), arcs),
            _ops.take(graph.start.contiguous(), states),
            _ops.take(graph.accept.contiguous(), states),
            (arcs,),
            (states,),
        )


def epsilon_order(graph: Graph, name: str) -> tuple[Tensor, Tensor | None]:
    """The position of each state in a topological order of the epsilon arcs, int32 [states].

    And the arcs that have no part in it, bool [arcs], if there are any: those on cycles of epsilons
    that no accepting path takes.
    """
    silent = (graph.ilabels == EPSILON) & (graph.weights > NEG_INF)
    some = with_arcs(graph, silent)
    useless = None
    if some.topology.is_cyclic:
        assert some.arc_maps is not None
        around = some.arc_maps[0][arcs_on_cycles(some)].long()
        useless = torch.zeros_like(silent).index_fill(0, around, True)
        useless &= useful_part(graph).weights == NEG_INF
        some = with_arcs(graph, silent & ~useless)
    order, on_cycle = some.topology.order_and_cycles
    if (cyclic := on_cycle >= 0).any():
        number = int(cyclic.nonzero()[0])
        state = int(on_cycle[number] - graph.state_offsets[number])
        raise ValueError(
            f"beam_search: {name} {number} has a cycle of epsilons through state {state}, on which "
            f"no order of its states is right: use remove_epsilon first"
        )
    place = torch.empty_like(order)
    place[order.long()] = torch.arange(len(order), dtype=order.dtype)
    return place, useless
