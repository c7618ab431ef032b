"""Several graphs that a beam search composes while it goes through them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._searched import Limits, Read, Survivors, epsilon_order
from gtnet._searched_histories import Histories
from gtnet.failure_graph import FailureGraph
from gtnet.graph import Graph, built
from gtnet.history_graph import HistoryGraph
from gtnet.topology import Topology

_FAN = 32  # of csrc/beam/cpu/look_ahead.h, RangeMaximum
_MOST_GRAPHS = 8  # of csrc/beam/cpu/product.h


@dataclass
class _Operand:
    """A graph of a product, its arcs sorted by the label that is matched."""

    graph: Graph
    failures: FailureGraph | None
    labels: Tensor  # by arc, what is matched with the graph before; of the first, behind it
    others: Tensor  # by arc, the other side
    order: Tensor
    useless: Tensor | None

    def accept(self) -> Tensor:
        own = self.graph.accept if self.failures is None else self.failures.accept()
        return own.contiguous()


class Product:
    """Several graphs, each reading what the one before writes, composed by the search itself."""

    def __init__(
        self, function: str, graphs: Sequence[object], look_ahead: bool, name: str = "graph"
    ) -> None:
        if not 2 <= len(graphs) <= _MOST_GRAPHS:
            raise ValueError(
                f"{function}: 2 to {_MOST_GRAPHS} graphs are composed while searching, got "
                f"{len(graphs)}"
            )
        *before, last = graphs
        network = last if isinstance(last, HistoryGraph) else None
        if network is not None:
            graphs = before
        for i, graph in enumerate(graphs):
            if isinstance(graph, HistoryGraph):
                raise TypeError(
                    f"{function}: a HistoryGraph must be the last graph, not {name}[{i}]"
                )
        failing = [g if isinstance(g, FailureGraph) else None for g in graphs]
        if failing[0] is not None:
            raise TypeError(f"{function}: {name}[0] must be a Graph, got FailureGraph")
        self.graphs = [
            g.graph if isinstance(g, FailureGraph) else built(function, f"{name}[{i}]", g)
            for i, g in enumerate(graphs)
        ]
        for i, graph in enumerate(self.graphs):
            why = "graphs are composed while searching there: build the product for a GPU"
            _checks.on_cpu(function, f"{name}[{i}]", graph.weights, why)
            if len(graph) != 1 != len(self):
                _checks.pair(function, next(g for g in self.graphs if len(g) != 1), graph)
        _checks.same_dtype(
            function, **{f"{name}[{i}]": graph.weights for i, graph in enumerate(self.graphs)}
        )
        between = len(graphs) - (network is None)
        reaches = [self._reach(i, look_ahead) for i in range(between)]
        self._operands = [
            self._operand(i, failures, reaches, f"{name}[{i}]")
            for i, failures in enumerate(failing)
        ]
        self._arguments = self._laid_out(reaches)
        self._foresee = self._only_falls()
        self._histories: Histories | None = None
        if network is not None:
            self._network = network, reaches[-1]
            self._histories = self._of_network(*self._network)
            self._looked_at = len(reaches[-1][1]) > 0
            self._maxima = (0, self.graphs[0].weights.new_empty(0))
            self._silent_words = any(
                bool(((g.ilabels == EPSILON) & (g.olabels != EPSILON)).any()) for g in self.graphs
            )

    def __len__(self) -> int:
        return next((len(graph) for graph in self.graphs if len(graph) != 1), 1)

    def again(self) -> Product:
        """Itself, as a search changes nothing in it but what it knows of a network."""
        if self._histories is None:
            return self
        other = copy.copy(self)
        other._histories = self._of_network(*self._network)
        other._maxima = (0, self._maxima[1][:0])
        return other

    def _reach(self, i: int, look_ahead: bool) -> tuple[Tensor | None, Tensor, Tensor]:
        """Numbers for the labels between graphs i and i + 1, and what states of i can write next.

        Without look-ahead, and where every state can end or write anything, labels stay.
        """
        graph = self.graphs[i]
        none = torch.empty(0, dtype=torch.int32)
        topology = graph.topology
        if not look_ahead or topology.largest("olabels") == EPSILON:
            return None, none, none
        ranks, low, high = _ops.label_reach(
            *topology.leaving.by_state(),
            topology.olabels,
            _checks.possible(graph.start),
            _checks.possible(graph.accept),
            (topology.largest("olabels") or 0) + 1,
        )
        return (ranks, low, high) if bool((low >= 0).any()) else (None, none, none)

    def _operand(
        self,
        i: int,
        failures: FailureGraph | None,
        reaches: list[tuple[Tensor | None, Tensor, Tensor]],
        name: str,
    ) -> _Operand:
        graph = self.graphs[i]
        topology = graph.topology
        reads, writes = topology.ilabels, topology.olabels
        if i > 0:
            reads = _renumbered(reads, reaches[i - 1][0])
        if i < len(reaches):
            writes = _renumbered(writes, reaches[i][0])
        order, useless = torch.empty(0, dtype=torch.int32), None
        if failures is None and bool((topology.ilabels == EPSILON).any()):
            order, useless = epsilon_order(graph.detach(), name)
        labels, others = (reads, writes) if i > 0 else (writes, reads)
        return _Operand(graph, failures, labels, others, order, useless)

    def _of_network(
        self, network: HistoryGraph, reach: tuple[Tensor | None, Tensor, Tensor]
    ) -> Histories:
        """Its table, with a column for each number of a label."""
        columns, last = None, self.graphs[-1]
        if reach[0] is not None:
            ranks = reach[0].long()
            known = (ranks >= 0).nonzero().flatten()
            columns = torch.empty_like(known).scatter(0, ranks[known], known)
        return Histories(network, columns, last.topology.largest("olabels") or 0, last.dtype)

    def _laid_out(
        self, reaches: list[tuple[Tensor | None, Tensor, Tensor]]
    ) -> tuple[list[Tensor] | Tensor, ...]:
        """The tensors that the operator takes."""
        columns: list[list[Tensor]] = [[] for _ in range(12)]
        none = torch.empty(0, dtype=torch.int32)
        for i, operand in enumerate(self._operands):
            graph, topology = operand.graph, operand.graph.topology
            offsets, arcs, targets, labels = topology.leaving_by(operand.labels)
            weights = graph.weights.detach()
            if operand.useless is not None:
                weights = weights.masked_fill(operand.useless, NEG_INF)
            weights = weights[arcs]
            low, high = reaches[i][1:] if i < len(reaches) else (none, none)
            looked_at = i > 0 and len(reaches[i - 1][1]) > 0
            values = (
                graph.state_offsets,
                offsets,
                arcs,
                targets,
                labels,
                operand.others[arcs].contiguous(),
                weights,
                graph.start.detach().contiguous(),
                operand.order,
                low,
                high,
                _maxima(weights) if looked_at else weights.new_empty(0),
            )
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        first = self.graphs[0].topology
        silent = torch.zeros(first.num_states, dtype=torch.bool)
        silent[first.global_source[first.ilabels == EPSILON]] = True
        traits = [
            (operand.failures is not None, bool((operand.graph.olabels == EPSILON).any()))
            for operand in self._operands
        ]
        return (*columns, silent, torch.tensor(traits).reshape(-1))

    def _only_falls(self) -> bool:
        """Whether no epsilon of the product raises a score. Look-ahead falls where scores do."""
        first, *rest = self.graphs
        raises = (first.weights > 0) & (first.ilabels == EPSILON)
        return not bool(raises.any()) and not any(bool((g.weights > 0).any()) for g in rest)

    def steps(self, scores: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Frame by frame where a network is asked in between."""
        if self._histories is None or scores.shape[1] <= 1:
            yield scores, lengths
            return
        for frame in range(scores.shape[1]):
            yield scores[:, frame : frame + 1], (lengths > frame).to(lengths.dtype)

    def search(
        self, scores: Tensor, lengths: Tensor, survivors: Survivors, limits: Limits
    ) -> tuple[Tensor, ...]:
        if self._histories is None:
            return self._searched(scores, lengths, survivors, limits)
        histories, begun = self._histories, survivors.states
        own = np.zeros(1, np.int64) if begun is None else begun[:, -2].numpy()
        histories.tell(own, forget=True)
        while True:
            if begun is not None:
                states = begun.clone()
                states[:, -2] = torch.from_numpy(histories.named(own))
                survivors = survivors._replace(states=states)
            found = self._searched(scores, lengths, survivors, limits)
            reached, leads = histories.read(
                found[2][:, -2].long().numpy(), found[7][:, -1].long().numpy()
            )
            if not self._silent_words or histories.told(reached):
                break  # else words may follow in the same frame
            histories.tell(reached, forget=False)
        found[2][:, -2] = torch.from_numpy(reached)
        found[7][:, -1] = torch.from_numpy(leads)
        return found

    def _searched(
        self, scores: Tensor, lengths: Tensor, survivors: Survivors, limits: Limits
    ) -> tuple[Tensor, ...]:
        tuples = None if survivors.states is None else survivors.states.reshape(-1)
        arguments, foresee, size = self._arguments, self._foresee, len(self.graphs)
        if self._histories is not None:
            arguments = self._with_rows(self._histories)
            foresee, size = foresee and not self._histories.raises, size + 1
        cuts, arc_cuts, states, *columns = _ops.beam_search_product(
            scores, lengths, *arguments, tuples, *survivors[1:], *limits, foresee
        )
        columns[4] = columns[4].view(-1, size)
        return cuts, arc_cuts, states.view(-1, size + 1), *columns

    def _with_rows(self, histories: Histories) -> tuple[list[Tensor] | Tensor, ...]:
        """What the operator takes, with the table of a network as its last graph."""
        *columns, silent, traits = self._arguments
        none = torch.empty(0, dtype=torch.int32)
        scores = histories.scores.view(-1)
        if self._looked_at and self._maxima[0] != histories.version:
            self._maxima = (histories.version, _maxima(scores))
        values = (
            torch.tensor([0, histories.slots]),
            none,
            none,
            histories.children.view(-1),
            none,
            none,
            scores,
            histories.start(),
            none,
            none,
            none,
            self._maxima[1],
        )
        longer = [[*column, value] for column, value in zip(columns, values, strict=True)]
        assert isinstance(traits, Tensor)
        return (*longer, silent, torch.cat([traits, traits.new_zeros(2)]))

    def accept(self, states: Tensor) -> Tensor:
        ends = [operand.accept().detach() for operand in self._operands]
        total = sum(
            (_ops.take(end, states[:, i].contiguous()) for i, end in enumerate(ends)),
            ends[0].new_zeros(len(states)),
        )
        if self._histories is None:
            return total
        own = states[:, -2].long().numpy()
        self._histories.tell(own, forget=False)
        return total + self._histories.ends(own).to(total.dtype)

    def places(self, column: Sequence[Tensor]) -> list[Tensor]:
        """Rows numbered through the chunks."""
        first, numbers = 0, []
        for rows in column:
            numbers.append(torch.arange(first, first + len(rows), dtype=torch.int32))
            first += len(rows)
        return numbers

    def read(
        self,
        topology: Topology,
        arcs: Tensor,
        states: Tensor,
        chunks: Sequence[tuple[Tensor, Tensor]],
    ) -> Read:
        all_states, all_arcs = (torch.cat(rows) for rows in zip(*chunks, strict=True))
        tuples, taken = all_states[states], all_arcs[arcs]
        state_maps = tuple(column.contiguous() for column in tuples.unbind(1)[:-1])
        arc_maps = tuple(column.contiguous() for column in taken.unbind(1))
        dtype = self.graphs[0].dtype
        weights = torch.zeros(len(arcs), dtype=dtype)
        start, accept = (torch.zeros(len(states), dtype=dtype) for _ in range(2))
        for operand, arc, state in zip(self._operands, arc_maps, state_maps, strict=False):
            own = _ops.take(operand.graph.weights.contiguous(), arc)
            weights = weights + own.masked_fill(arc < 0, 0)
            if operand.failures is not None:
                sources = state.long()[topology.global_source]
                weights = weights + operand.failures.before(sources, arc.long())
            start = start + _ops.take(operand.graph.start.contiguous(), state)
            accept = accept + _ops.take(operand.accept(), state)
        if self._histories is None:
            olabels = _label(self.graphs[-1].olabels, arc_maps[-1])
        else:
            leads = arc_maps[-1].long().numpy()
            olabels = self._histories.labels(leads)
            own, ends = self._histories.weighted(leads, state_maps[-1].long().numpy())
            weights, accept = weights + own.to(dtype), accept + ends.to(dtype)
        return Read(
            _label(self.graphs[0].ilabels, arc_maps[0]),
            olabels,
            weights,
            start,
            accept,
            arc_maps,
            state_maps,
        )


def _renumbered(labels: Tensor, ranks: Tensor | None) -> Tensor:
    """Labels by their numbers; one behind all of them for what is never written."""
    if ranks is None:
        return labels
    table = torch.cat([ranks.masked_fill(ranks < 0, len(ranks)), ranks.new_full((1,), len(ranks))])
    found = table[labels.clamp(max=len(ranks)).long()]
    return torch.where(labels == EPSILON, EPSILON, found).to(torch.int32)


def _label(labels: Tensor, arcs: Tensor) -> Tensor:
    """The labels of the arcs, EPSILON where there is none."""
    return torch.cat([labels, labels.new_full((1,), EPSILON)])[arcs.long()]


def _maxima(weights: Tensor) -> Tensor:
    """The greatest of every _FAN weights, the greatest of _FAN of these, and so on."""
    levels, below = [weights.new_empty(0)], weights
    while len(below) > _FAN:
        padded = torch.nn.functional.pad(below, (0, -len(below) % _FAN), value=NEG_INF)
        below = padded.view(-1, _FAN).amax(1)
        levels.append(below)
    return torch.cat(levels)
