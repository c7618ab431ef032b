"""Acceptors in which each string has one path."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._memory import choosing
from gtnet._recorded import Dual, Duals, Subsets, TooLargeError, Ways, columns, plus
from gtnet._rewrite import Merge, Semiring, merges_identical, prepared, segment_sums
from gtnet.compose import compose
from gtnet.connect import connect
from gtnet.determinize import DELTA, MAX_STATES
from gtnet.graph import Graph
from gtnet.remove_epsilon import remove_epsilon
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@choosing
def disambiguate(
    graph: Graph | Lattice,
    *,
    semiring: Semiring = "log",
    merge: Merge = "auto",
    max_states: int = MAX_STATES,
    delta: float = DELTA,
) -> Graph:
    """An acceptor that gives every string the score that `graph` gives it, on a single path.

    Of the paths that accept a string the first is kept (by start state, then by arcs, in their
    order), and its end scores what all together score. Many automata that have no deterministic
    equivalent have one of this kind, and it can be exponentially smaller: it may still go on along
    several arcs of one label.

    Arguments: `graph` acceptors, cycles included; their epsilons are removed. `semiring`, `merge`
    and `delta` as in `determinize`; `max_states` of one graph of the result.
    Result: trimmed; its weights are those of arcs of `graph` without epsilons, which `arc_maps`
    names, as `state_maps` the states; accept scores are others.
    Raises ValueError for transducers (`encode` makes acceptors), beyond `max_states` (cycles that
    read one string, lead to a common future and score differently have no such equivalent), as
    `remove_epsilon`, and on a GPU.
    Complexity: that of the product with itself, and O(entries of the subsets · degree), in Python;
    exponential in the worst case.
    Gradient: to all scores, through the sums; any number of derivatives.
    Source: Mohri & Riley 2017, "A disambiguation algorithm for weighted automata": states with the
    subset of those that the same string reaches and that have a common future.
    """
    graph = prepared("disambiguate", graph, semiring)
    if not graph.is_acceptor:
        raise ValueError(
            "disambiguate: graph must be an acceptor, got a transducer: encode its pairs of labels"
        )
    identical = merges_identical("disambiguate", graph, merge)
    max_states = _checks.count("disambiguate", "max_states", max_states)
    delta = _checks.tolerance("disambiguate", "delta", delta)
    plain = remove_epsilon(graph, semiring=semiring)
    operand = _Operand(plain, identical)
    record = _Record()
    bounds = plain.state_offsets.tolist()
    for item in range(len(plain)):
        search = _Search(operand, record, semiring, delta)
        try:
            search.run(item, range(bounds[item], bounds[item + 1]), max_states)
        except TooLargeError:
            raise ValueError(
                f"disambiguate: graph {item} needs more than max_states={max_states} states; "
                f"either it has no unambiguous equivalent (cycles weigh one string differently) or "
                f"max_states must be raised"
            ) from None
    made = _scored(plain, record, semiring)
    return traced(traced(connect(made), made), plain)


class _Operand:
    """A trimmed acceptor without epsilons, in Python's numbers, and which states have a past and a
    future in common: strings that reach both, and that both accept.
    """

    def __init__(self, graph: Graph, identical: bool) -> None:
        topology = graph.topology
        self.scores = Duals(graph, identical)
        self.accepts = (graph.accept.detach() > NEG_INF).tolist()
        self.starts = (graph.start.detach() > NEG_INF).tolist()
        self.leaving: list[dict[int, list[tuple[int, int]]]] = [
            defaultdict(list) for _ in range(graph.num_states)
        ]
        rows = zip(topology.global_source.tolist(), topology.global_target.tolist())
        for arc, ((source, target), label) in enumerate(zip(rows, graph.ilabels.tolist())):
            self.leaving[source][label].append((arc, target))
        plain = [torch.where(t.detach() > NEG_INF, 0.0, t.detach()) for t in graph.scores]
        free = Graph.from_topology(topology, *plain)
        pairs = compose(free, free).state_maps
        assert pairs is not None
        self.common: list[set[int]] = [set() for _ in range(graph.num_states)]
        for one, other in zip(pairs[0].tolist(), pairs[1].tolist()):
            self.common[one].add(other)


class _Entry(NamedTuple):
    """A state that the same string reaches: the sum of its paths relative to the path that is
    kept, whether one of these comes before it, and the node of the sum.
    """

    score: Dual
    before: bool
    node: int


# Scores of the ways to a state, whether one of these comes before, and the node and arc of each.
_Reached = tuple[list[Dual], bool, list[tuple[int, int]]]


class _Record(Ways):
    """States of the result: what they stand for, and the sums that their end scores are.

    `own` are the ways of the path that is kept, whose node is the state itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: list[int] = []  # of the operand
        self.starts: list[int] = []  # states of the result
        self.arcs: list[tuple[int, int, int]] = []  # source, target, arc of the operand
        self.own = Ways()
        self.ends: list[tuple[int, int, int]] = []  # state, node, state of the operand
        self.state_offsets = [0]


class _Search:
    """The states for one graph, from its start on."""

    def __init__(
        self, operand: _Operand, record: _Record, semiring: Semiring, delta: float
    ) -> None:
        self.operand, self.record, self.semiring = operand, record, semiring
        self.found = Subsets(delta)
        self.subsets: list[dict[int, _Entry]] = []

    def run(self, graph: int, states: range, max_states: int) -> None:
        """All states that can be reached."""
        operand, record = self.operand, self.record
        first = [q for q in states if operand.starts[q]]
        for q in first:
            mine = operand.scores.start[q]
            reached: dict[int, _Reached] = {
                p: ([_less(operand.scores.start[p], mine)], p < q, [])
                for p in first
                if p in operand.common[q]
            }
            state = self._state(q, reached)
            record.starts.append(state)
            entries = self.subsets[state - record.state_offsets[-1]]
            record.seeds += [(entry.node, p) for p, entry in entries.items()]
            record.own.seeds.append((state, q))
        at = 0
        while at < len(self.subsets):
            if len(self.subsets) > max_states:
                raise TooLargeError(graph)
            self._expand(record.state_offsets[-1] + at)
            at += 1
        record.state_offsets.append(len(record.states))

    def _expand(self, state: int) -> None:
        operand, record = self.operand, self.record
        q, subset = record.states[state], self.subsets[state - record.state_offsets[-1]]
        if operand.accepts[q] and not any(
            entry.before and operand.accepts[p] for p, entry in subset.items()
        ):
            record.ends += [
                (state, entry.node, p) for p, entry in subset.items() if operand.accepts[p]
            ]
        for label, arcs in operand.leaving[q].items():
            onward = [
                (p, entry, arc, target)
                for p, entry in subset.items()
                for arc, target in operand.leaving[p].get(label, ())
            ]
            for arc, target in arcs:
                self._lead_on(state, arc, target, onward)

    def _lead_on(
        self, state: int, own: int, target: int, onward: list[tuple[int, _Entry, int, int]]
    ) -> None:
        """The arc `own` of the path that is kept, unless an earlier path leads to its target."""
        operand, record = self.operand, self.record
        q = record.states[state]
        weight = operand.scores.weights[own]
        reached: dict[int, _Reached] = {}
        for p, entry, arc, to in onward:
            if to not in operand.common[target]:
                continue
            before = entry.before or (p == q and arc < own)
            if before and to == target:
                return
            scores, known, ways = reached.get(to, ([], False, []))
            scores.append(_less(operand.scores.after(entry.score, arc), weight))
            ways.append((entry.node, arc))
            reached[to] = scores, known or before, ways
        size = len(record.states)
        into = self._state(target, reached)
        record.arcs.append((state, into, own))
        if into == size:
            record.own.ways.append((state, into, own))
            entries = self.subsets[into - record.state_offsets[-1]]
            for to, (_, _, ways) in reached.items():
                record.ways += [(node, entries[to].node, arc) for node, arc in ways]

    def _state(self, q: int, reached: dict[int, _Reached]) -> int:
        """The number of the state."""
        rows = [
            (p, plus(scores, self.semiring), before)
            for p, (scores, before, _) in sorted(reached.items())
        ]
        what = q, tuple((p, before) for p, _, before in rows)
        scores = [score for _, score, _ in rows]
        known = self.found.find(what, scores)
        if known is not None:
            return known
        state = len(self.record.states)
        self.found.keep(what, scores, state)
        self.record.states.append(q)
        self.record.own.num_nodes += 1
        nodes = self.record.nodes(len(rows))
        self.subsets.append(
            {p: _Entry(score, before, node) for (p, score, before), node in zip(rows, nodes)}
        )
        return state


def _less(one: Dual, other: Dual) -> Dual:
    return one[0] - other[0], one[1] - other[1]


def _scored(graph: Graph, record: _Record, semiring: Semiring) -> Graph:
    """The graph with its scores: of arcs as they were, of ends as sums."""
    size = len(record.states)
    together = record.sums("disambiguate", graph, semiring)
    alone = record.own.sums("disambiguate", graph, semiring)
    owner, node, q = columns(record.ends, 3)
    ends = _ops.take(together, node.int()) + _ops.take(graph.accept.double(), q.int())
    total = segment_sums(ends, owner, size, semiring)
    none = total.detach() == NEG_INF
    accept = (total.masked_fill(none, 0) - alone).masked_fill(none, NEG_INF)
    offsets = torch.tensor(record.state_offsets)
    source, target, arc = columns(record.arcs, 3)
    of_arc = torch.searchsorted(offsets, source, right=True) - 1
    states = torch.tensor(record.states, dtype=torch.int32)
    arcs = arc.to(torch.int32)
    starting = torch.zeros(size, dtype=torch.bool)
    starting[torch.tensor(record.starts, dtype=torch.int64)] = True
    start = _ops.take(graph.start, states).masked_fill(~starting, NEG_INF)
    labels = graph.ilabels[arc]

    def local(ends: Tensor) -> Tensor:
        return (ends - offsets[of_arc]).to(torch.int32)

    arc_offsets = torch.searchsorted(of_arc, torch.arange(len(graph) + 1))
    topology = Topology(offsets, arc_offsets, local(source), local(target), labels, labels, size)
    return Graph.from_topology(
        topology,
        _ops.take(graph.weights, arcs),
        start,
        accept.to(graph.dtype),
        arc_maps=(arcs,),
        state_maps=(states,),
    )
