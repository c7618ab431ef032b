"""Determinization of transducers that write several outputs for one input.

A state of the result is a set of entries (state q, string that is still owed, residual score), of
which several may have one q. What all owe in common is written; where paths end, each string that
is owed is an end of its own. Arcs that read nothing are followed inside a state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet import _ops
from gtnet._chains import Units, chained
from gtnet._checks import EPSILON, NEG_INF
from gtnet._recorded import Dual, Duals, Subsets, TooLargeError, Ways, columns, plus
from gtnet._rewrite import Semiring, segment_sums
from gtnet.graph import Graph

Text = tuple[int, ...]
Place = tuple[int, Text]  # a state, and what is owed there


class _Record(Ways):
    """What is found: states and arcs of the result, and the sums that their scores are.

    A sum is over nodes: node n stands for an entry, or for what it reaches by reading nothing. The
    first arc to reach a state, and arcs that read nothing, are the only ways to its nodes, so that
    node scores are path sums along `ways`, and all others are sums of theirs and of arcs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[int, int]] = []  # node, state of the result
        self.arcs: list[tuple[int, int, int, Text]] = []  # source, target, label, output
        self.terms: list[tuple[int, int, int]] = []  # arc of the result, node, arc of the operand
        self.ends: list[tuple[int, Text]] = []  # state of the result, output
        self.last: list[tuple[int, int, int]] = []  # end, node, state of the operand
        self.state_offsets = [0]


class _Subsets:
    """The states of the result for one graph of the batch, from its start on."""

    def __init__(
        self, operand: _Operand, record: _Record, semiring: Semiring, delta: float
    ) -> None:
        self.operand, self.record, self.semiring = operand, record, semiring
        self.found = Subsets(delta)
        self.entries: list[list[tuple[Place, Dual, int]]] = []  # with its node

    def state(self, reached: dict[Place, Dual]) -> tuple[int, Text, bool]:
        """The state of these entries, what they owe in common, and whether it is new."""
        common = _common([text for _, text in reached])
        whole = plus(list(reached.values()), self.semiring)
        rows = sorted(
            ((q, text[len(common) :]), (score - whole[0], slope - whole[1]))
            for (q, text), (score, slope) in reached.items()
        )
        places = tuple(place for place, _ in rows)
        residuals = [residual for _, residual in rows]
        known = self.found.find(places, residuals)
        if known is not None:
            return known, common, False
        state = self.record.state_offsets[-1] + len(self.entries)
        self.found.keep(places, residuals, state)
        nodes = self.record.nodes(len(rows))
        self.record.entries += [(node, state) for node in nodes]
        self.entries.append([(*row, node) for row, node in zip(rows, nodes)])
        return state, common, True

    def closed(self, entries: list[tuple[Place, Dual, int]]) -> Iterator[tuple[Place, Dual, int]]:
        """The entries and what they reach by reading nothing, each once, in topological order."""
        operand = self.operand
        waiting: dict[int, dict[Text, tuple[list[Dual], list[tuple[int, int]]]]] = defaultdict(dict)
        own = {place: (dual, node) for place, dual, node in entries}
        for q, text in own:
            waiting[operand.rank[q]].setdefault(text, ([], []))
        while waiting:
            rank = min(waiting)
            q = operand.at_rank[rank]
            for text, (scores, ways) in waiting.pop(rank).items():
                mine = own.get((q, text))
                if mine is None or scores:
                    (node,) = self.record.nodes(1)
                    if mine is not None:  # reached from elsewhere too
                        scores, ways = [mine[0], *scores], [(mine[1], -1), *ways]
                    self.record.ways += [(before, node, arc) for before, arc in ways]
                    score = plus(scores, self.semiring)
                else:
                    score, node = mine
                yield (q, text), score, node
                for arc in operand.mute[q]:
                    more = waiting[operand.rank[operand.target[arc]]]
                    into = more.setdefault(text + operand.output[arc], ([], []))
                    into[0].append(operand.scores.after(score, arc))
                    into[1].append((node, arc))

    def run(self, graph: int, starts: list[int], max_states: int) -> None:
        """All states that can be reached."""
        operand, record = self.operand, self.record
        made = 0
        if starts:
            beginning: dict[Place, Dual] = {(q, ()): operand.scores.start[q] for q in starts}
            self.state(beginning)
            nodes = (node for _, _, node in self.entries[0])
            record.seeds += zip(nodes, sorted(starts))
        at = 0
        while at < len(self.entries):
            state = record.state_offsets[-1] + at
            by_label: dict[int, list[tuple[int, Place, Dual, int]]] = defaultdict(list)
            ends: dict[Text, list[tuple[int, int]]] = defaultdict(list)
            for (q, text), score, node in self.closed(self.entries[at]):
                if operand.accepts[q]:
                    ends[text].append((node, q))
                for arc in operand.loud[q]:
                    place = operand.target[arc], text + operand.output[arc]
                    by_label[operand.label[arc]].append(
                        (node, place, operand.scores.after(score, arc), arc)
                    )
            for text, rows in ends.items():
                record.last += [(len(record.ends), node, q) for node, q in rows]
                record.ends.append((state, text))
                made += len(text)
            for label, terms in sorted(by_label.items()):
                sums: dict[Place, list[Dual]] = defaultdict(list)
                for _, place, score, _ in terms:
                    sums[place].append(score)
                reached = {place: plus(scores, self.semiring) for place, scores in sums.items()}
                target, common, new = self.state(reached)
                record.terms += [(len(record.arcs), node, arc) for node, _, _, arc in terms]
                record.arcs.append((state, target, label, common))
                made += max(0, len(common) - 1)
                if new:
                    self._ways(target, len(common), terms)
            if len(self.entries) + made > max_states:
                raise TooLargeError(graph)
            at += 1
        record.state_offsets.append(record.state_offsets[-1] + len(self.entries))

    def _ways(self, target: int, written: int, terms: list[tuple[int, Place, Dual, int]]) -> None:
        """How the entries of a new state are reached."""
        rows = self.entries[target - self.record.state_offsets[-1]]
        node_of = {place: node for place, _, node in rows}
        for node, (q, text), _, arc in terms:
            self.record.ways.append((node, node_of[q, text[written:]], arc))


def _common(texts: list[Text]) -> Text:
    """The longest common prefix."""
    low, high = min(texts), max(texts)
    for i, label in enumerate(low):
        if label != high[i]:
            return low[:i]
    return low


class _Operand:
    """A trimmed graph without arcs that neither read nor write, in Python's numbers."""

    def __init__(self, graph: Graph, identical: bool) -> None:
        topology = graph.topology
        self.target = topology.global_target.tolist()
        self.label = graph.ilabels.tolist()
        self.output = [() if label == EPSILON else (label,) for label in graph.olabels.tolist()]
        self.scores = Duals(graph, identical)
        self.accepts = (graph.accept.detach() > NEG_INF).tolist()
        self.loud: list[list[int]] = [[] for _ in range(graph.num_states)]
        self.mute: list[list[int]] = [[] for _ in range(graph.num_states)]
        for arc, source in enumerate(topology.global_source.tolist()):
            (self.mute if self.label[arc] == EPSILON else self.loud)[source].append(arc)

    def ordered(self, order: list[int]) -> None:
        """Ranks of the states along the arcs that read nothing."""
        self.at_rank = order
        self.rank = {state: rank for rank, state in enumerate(order)}


class Sizes(NamedTuple):
    """Bounds and tolerances."""

    delta: float
    max_states: int
    identical: bool


def all_outputs(graph: Graph, mute_order: Tensor, semiring: Semiring, sizes: Sizes) -> Graph:
    """The deterministic transducer; `mute_order` orders states along arcs that read nothing.

    Raises TooLargeError.
    """
    record, operand = _Record(), _Operand(graph, sizes.identical)
    operand.ordered(mute_order.tolist())
    bounds = graph.state_offsets.tolist()
    starting = (graph.start.detach() > NEG_INF).tolist()
    for item in range(len(graph)):
        starts = [q for q in range(bounds[item], bounds[item + 1]) if starting[q]]
        _Subsets(operand, record, semiring, sizes.delta).run(item, starts, sizes.max_states)
    return _scored(graph, record, semiring)


def _scored(graph: Graph, record: _Record, semiring: Semiring) -> Graph:
    """The scores, as sums along the record, and chains for what is written."""
    node = record.sums("determinize", graph, semiring)
    weights, accept = graph.weights.double(), graph.accept.double()
    size = record.state_offsets[-1]
    entry, of_state = columns(record.entries, 2)
    level = segment_sums(_ops.take(node, entry.int()), of_state, size, semiring)

    def sums(
        rows: list[tuple[int, int, int]], of: Sequence[tuple[Any, ...]], more: Tensor
    ) -> Tensor:
        """Relative to the level of the state that each is at."""
        owner, at, given = columns(rows, 3)
        terms = _ops.take(node, at.int()) + _ops.take(more, given.int())
        source = torch.tensor([row[0] for row in of], dtype=torch.int32)
        return segment_sums(terms, owner, len(of), semiring) - _ops.take(level, source)

    arc_scores = sums(record.terms, record.arcs, weights)
    end_scores = sums(record.last, record.ends, accept)
    offsets = torch.tensor(record.state_offsets)
    silent = [i for i, (_, text) in enumerate(record.ends) if not text]
    owing = [i for i, (_, text) in enumerate(record.ends) if text]
    sources = torch.tensor(
        [row[0] for row in record.arcs] + [record.ends[i][0] for i in owing], dtype=torch.int64
    )
    texts = [row[3] for row in record.arcs] + [record.ends[i][1] for i in owing]
    length = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    units = Units(
        graph=torch.searchsorted(offsets, sources, right=True) - 1,
        source=sources,
        target=torch.tensor([row[1] for row in record.arcs] + [-1] * len(owing), dtype=torch.int64),
        ilabels=torch.tensor(
            [row[2] for row in record.arcs] + [EPSILON] * len(owing), dtype=torch.int32
        ),
        begin=length.cumsum(0) - length,
        length=length,
        outputs=torch.tensor([label for text in texts for label in text], dtype=torch.int32),
        weights=torch.cat([arc_scores, end_scores[owing]]),
    )
    nowhere = node.new_full((size,), NEG_INF)
    first = offsets[:-1][offsets.diff() > 0]
    start = nowhere.index_put((first,), level[first])
    here = torch.tensor([record.ends[i][0] for i in silent], dtype=torch.int64)
    ending = nowhere.index_put((here,), end_scores[silent])
    made = chained("determinize", units, offsets, start, ending)
    scores = (scores.to(graph.dtype) for scores in made.scores)
    return Graph.from_topology(made.topology, *scores)
