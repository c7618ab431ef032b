"""Rational operations (union, concatenation, closure), reversal, and changes of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Topology, runs

Relabelling = Mapping[int, int] | Sequence[int] | Tensor


def union(*graphs: Graph) -> Graph:
    """The automaton that has every path of every operand.

    States and arcs lie side by side, those of the first operand first; many start states make
    epsilons needless. Arguments: batches of equal size, or of size 1, which broadcast.
    Result: one arc map and one state map per operand, -1 where it gave nothing.
    Raises ValueError without operands or where batches do not match; TypeError for mixed dtypes.
    Complexity: O(operands · (states + arcs)). Gradient: that of a gather.
    Source: Mohri 2009, section 2.3; there with an epsilon to each operand.
    """
    size = batch_size("union", _numbered(graphs))
    return _side_by_side("union", graphs, size)


def concat(*graphs: Graph) -> Graph:
    """The automaton whose paths are a path of each operand, one after another.

    From where an operand accepts, epsilons lead to where the next starts; their weight is the sum
    of both scores. Where that takes more arcs than going through one state between them (many
    ends meet many starts), they go through such a state.

    Arguments, result and errors: as `union`; epsilons come from no arc (-1).
    Complexity: O(operands · (states + arcs)). Gradient: gathers and sums of scores.
    Source: Mohri 2009, section 2.3.
    """
    size = batch_size("concat", _numbered(graphs))
    begins = _first_states(graphs, size)
    middle = begins[-1] + _sizes(graphs[-1].state_offsets, size)
    hubs, moves = [], []
    for left, right, begin, next_begin in zip(graphs, graphs[1:], begins, begins[1:]):
        exits = _ends(left, left.accept, size, begin)
        entries = _ends(right, right.start, size, next_begin)
        through, epsilons = _joined(exits, entries, middle)
        middle = middle + through
        hubs.append(_Extra(through, NEG_INF, NEG_INF))
        moves.append(epsilons)
    last = len(graphs) - 1
    return _side_by_side(
        "concat",
        graphs,
        size,
        starts=[g.start if k == 0 else _impossible(g.start) for k, g in enumerate(graphs)],
        accepts=[g.accept if k == last else _impossible(g.accept) for k, g in enumerate(graphs)],
        extras=hubs,
        moves=moves,
    )


def closure(graph: Graph, kind: Literal["star", "plus", "optional"] = "star") -> Graph:
    """The automaton that repeats: "plus" once or more, "star" any number of times, "optional" at
    most once.

    Epsilons lead from where a path is accepted to where the next begins, as in `concat`; the
    empty path of "star" and "optional" is one more state, start and accepting, of score 0. Every
    sequence of paths appears once.

    Raises ValueError for another kind. Result: `arc_maps[0]`, `state_maps[0]`, -1 for what is new.
    Complexity: O(states + arcs). Gradient: gathers and sums of scores.
    Source: Mohri 2009, section 2.3 (Kleene 1956).
    """
    if kind not in ("star", "plus", "optional"):
        raise ValueError(f'closure: kind must be "star", "plus" or "optional", got {kind!r}')
    size = batch_size("closure", {"graph": graph})
    states = _sizes(graph.state_offsets, size)
    extras, moves = [], []
    if kind != "optional":
        ends = (graph.accept, graph.start)
        exits, entries = (_ends(graph, scores, size, states.new_zeros(size)) for scores in ends)
        through, epsilons = _joined(exits, entries, states)
        extras.append(_Extra(through, NEG_INF, NEG_INF))
        moves.append(epsilons)
    if kind != "plus":
        extras.append(_Extra(torch.ones_like(states), 0.0, 0.0))
    return _side_by_side("closure", (graph,), size, extras=extras, moves=moves)


def reverse(graph: Graph) -> Graph:
    """The automaton whose paths are those of `graph` run backwards, with the same scores.

    Arcs keep their places and scores, start and accept scores change roles. Complexity: O(arcs).
    Gradient: the scores are those of `graph`. Source: Mohri 2009, section 2.3.
    """
    _checks.graph("reverse", "graph", graph)
    topology = graph.topology.reversed()
    return _same_places(graph, topology, graph.accept, graph.start)


def invert(graph: Graph) -> Graph:
    """The transducer that reads what `graph` writes and writes what it reads; also `~graph`.

    Complexity: O(arcs). Gradient: the scores are those of `graph`.
    """
    _checks.graph("invert", "graph", graph)
    topology = graph.topology
    return _relabelled(graph, topology.olabels, topology.ilabels)


def project(graph: Graph, side: Literal["input", "output"]) -> Graph:
    """The acceptor of what a transducer reads ("input") or writes ("output").

    Raises ValueError for another side. Complexity: O(arcs). Gradient: the scores are those of
    `graph`.
    """
    _checks.graph("project", "graph", graph)
    if side not in ("input", "output"):
        raise ValueError(f'project: side must be "input" or "output", got {side!r}')
    labels = graph.topology.ilabels if side == "input" else graph.topology.olabels
    return _relabelled(graph, labels, labels)


def relabel(
    graph: Graph, imap: Relabelling | None = None, omap: Relabelling | None = None
) -> Graph:
    """The same automaton with other labels on what it reads (`imap`) and writes (`omap`).

    Arguments: a mapping from label to label, where labels it does not name stay and EPSILON may
    be named on either side; or a sequence or integer tensor indexed by label, where EPSILON
    stays; None keeps a side. An acceptor stays one if both sides get the same map.
    Raises ValueError for a label outside the sequence or a new label below EPSILON, TypeError
    for labels that are no integers. Complexity: O(arcs log labels). Gradient: the scores are those
    of `graph`.
    """
    _checks.graph("relabel", "graph", graph)
    topology = graph.topology
    ilabels = _mapped("imap", topology.ilabels, imap)
    if graph.is_acceptor and omap is imap:
        return _relabelled(graph, ilabels, ilabels)
    return _relabelled(graph, ilabels, _mapped("omap", topology.olabels, omap))


def _mapped(name: str, labels: Tensor, mapping: Relabelling | None) -> Tensor:
    if mapping is None:
        return labels
    if isinstance(mapping, Mapping):
        known = _checks.integers("relabel", f"the keys of {name}", list(mapping))
        values = _checks.integers("relabel", f"the values of {name}", list(mapping.values()))
        _checks.labels("relabel", f"the values of {name}", values)
        if not len(known):
            return labels
        known, order = known.to(labels.device).sort()
        at = torch.searchsorted(known, labels).clamp(max=len(known) - 1)
        return torch.where(known[at] == labels, values.to(labels.device)[order][at], labels)
    values = _checks.integers("relabel", name, mapping).to(labels.device)
    _checks.labels("relabel", name, values)
    if labels.numel() and int(labels.max()) >= len(values):
        raise ValueError(
            f"relabel: {name} has {len(values)} labels, the graph has label {int(labels.max())}"
        )
    with_epsilon = torch.cat([values, values.new_full((1,), EPSILON)])  # [-1] is EPSILON's
    return with_epsilon[labels.long()]


def _relabelled(graph: Graph, ilabels: Tensor, olabels: Tensor) -> Graph:
    topology = graph.topology.with_labels(ilabels, olabels)
    return _same_places(graph, topology, graph.start, graph.accept)


def _same_places(graph: Graph, topology: Topology, start: Tensor, accept: Tensor) -> Graph:
    """A rewrite that leaves every state and arc where it was."""
    device = graph.device
    return Graph.from_topology(
        topology,
        graph.weights,
        start,
        accept,
        arc_maps=(torch.arange(graph.num_arcs, dtype=torch.int32, device=device),),
        state_maps=(torch.arange(graph.num_states, dtype=torch.int32, device=device),),
    )


class _Ends(NamedTuple):
    """States where paths end or begin, in order of the graphs of the result."""

    counts: Tensor  # int64 [graphs]
    states: Tensor  # int64 [ends], numbered within the graph of the result
    scores: Tensor  # [ends]


class _Moves(NamedTuple):
    """Epsilon arcs of the result; states are numbered within its graphs."""

    graph: Tensor
    source: Tensor
    target: Tensor
    weights: Tensor


class _Extra(NamedTuple):
    """New states, `counts` of them in each graph, all of one start and one accept score."""

    counts: Tensor
    start: float
    accept: float


def batch_size(function: str, graphs: Mapping[str, Graph]) -> int:
    """The size of the batch that named operands broadcast to; refuses what does not fit."""
    if not graphs:
        raise ValueError(f"{function}: at least one graph is needed, got none")
    for name, graph in graphs.items():
        _checks.graph(function, name, graph)
    weights = {name: graph.weights for name, graph in graphs.items()}
    _checks.same_device(function, **weights)
    _checks.same_dtype(function, **weights)
    for name, scores in weights.items():
        _checks.on_cpu(function, name, scores, "do it there, then move the result with .to()")
    sizes = {len(graph): name for name, graph in graphs.items() if len(graph) != 1}
    if len(sizes) > 1:
        (one, a), (two, b), *_ = sizes.items()
        raise ValueError(f"{function}: {a} has {one} graphs, {b} has {two} (equal or 1 is needed)")
    return next(iter(sizes), 1)


def _numbered(graphs: Sequence[Graph]) -> dict[str, Graph]:
    return {f"operand {k}": graph for k, graph in enumerate(graphs)}


def _sizes(offsets: Tensor, size: int) -> Tensor:
    """States (or arcs) that an operand gives to each graph of the result."""
    sizes = offsets.diff()
    return sizes.expand(size) if len(sizes) == 1 else sizes


def _first_states(graphs: Sequence[Graph], size: int) -> list[Tensor]:
    """The number of each operand's first state within the graphs of the result."""
    sizes = torch.stack([_sizes(graph.state_offsets, size) for graph in graphs])
    return list(sizes.cumsum(0) - sizes)


def _impossible(scores: Tensor) -> Tensor:
    return torch.full_like(scores, NEG_INF, requires_grad=False)


def _ends(graph: Graph, scores: Tensor, size: int, first_state: Tensor) -> _Ends:
    states = (scores.detach() > NEG_INF).nonzero().flatten()
    owner = graph.topology.graph_of_state[states]
    counts = torch.bincount(owner, minlength=len(graph))
    states_within = states - graph.state_offsets[owner]
    if len(graph) != size:
        counts, times = counts.expand(size), size
        owner = torch.arange(size).repeat_interleave(len(states))
        states, states_within = states.repeat(times), states_within.repeat(times)
    taken = _ops.take(scores, states.to(torch.int32))
    return _Ends(counts, states_within + first_state[owner], taken)


def _joined(exits: _Ends, entries: _Ends, hub: Tensor) -> tuple[Tensor, _Moves]:
    """Epsilons from all exits to all entries of each graph, and whether they go through `hub`."""
    through = (exits.counts * entries.counts > exits.counts + entries.counts).long()
    pairs = exits.counts * entries.counts * (1 - through)
    graphs = torch.arange(len(pairs))
    of_pair = torch.repeat_interleave(graphs, pairs)
    within = runs(torch.zeros_like(pairs), pairs)
    degree = entries.counts[of_pair]
    out = (exits.counts.cumsum(0) - exits.counts)[of_pair] + within // degree
    into = (entries.counts.cumsum(0) - entries.counts)[of_pair] + within % degree
    weights = _ops.take(exits.scores, out.int()) + _ops.take(entries.scores, into.int())
    direct = _Moves(of_pair, exits.states[out], entries.states[into], weights)
    if not through.any():
        return through, direct
    parts = [direct]
    for ends, leads_out in ((exits, True), (entries, False)):
        of_end = torch.repeat_interleave(graphs, ends.counts)
        chosen = through[of_end].nonzero().flatten()
        graph, states = of_end[chosen], ends.states[chosen]
        source, target = (states, hub[graph]) if leads_out else (hub[graph], states)
        parts.append(_Moves(graph, source, target, _ops.take(ends.scores, chosen.int())))
    return through, _Moves(*(torch.cat(column) for column in zip(*parts)))


def _side_by_side(
    function: str,
    graphs: Sequence[Graph],
    size: int,
    *,
    starts: Sequence[Tensor] | None = None,
    accepts: Sequence[Tensor] | None = None,
    extras: Sequence[_Extra] = (),
    moves: Sequence[_Moves] = (),
) -> Graph:
    """In every graph of the result: the states of each operand, the extra states; then the arcs
    of each operand, the epsilons.
    """
    like, K = graphs[0].weights, len(graphs)
    starts = [graph.start for graph in graphs] if starts is None else starts
    accepts = [graph.accept for graph in graphs] if accepts is None else accepts
    states = _Layout(
        [graph.state_offsets for graph in graphs], size, [extra.counts for extra in extras]
    )
    _checks.countable(function, "states", states.total)
    start, accept = (
        _ops.take(torch.cat([*scores, like.new_tensor(new)]), states.index)
        for scores, new in (
            (starts, [extra.start for extra in extras]),
            (accepts, [extra.accept for extra in extras]),
        )
    )
    source, target, ilabels, olabels, weights = (
        [getattr(graph, name) for graph in graphs]
        for name in ("source", "target", "ilabels", "olabels", "weights")
    )
    epsilons = []
    if moves:
        graph, *columns = (torch.cat(column) for column in zip(*moves))
        order = graph.argsort(stable=True) if size > 1 else torch.arange(len(graph))
        epsilons = [torch.bincount(graph, minlength=size)]
        label = torch.full((len(graph),), EPSILON, dtype=torch.int32)
        source.append(columns[0][order].int())
        target.append(columns[1][order].int())
        weights.append(_ops.take(columns[2], order.int()))
        ilabels.append(label)
        olabels.append(label)
    offsets = [graph.arc_offsets for graph in graphs]
    arcs = _Layout(offsets, size, epsilons, grouped=bool(moves))
    _checks.countable(function, "arcs", arcs.total)
    first_state = _first_states(graphs, size)
    none = [torch.zeros_like(count) for count in epsilons]
    shift = arcs.spread(torch.stack([*first_state, *none], 1)).int()
    index = arcs.index.long()
    acceptor = all(graph.is_acceptor for graph in graphs)
    read = torch.cat(ilabels)[index]
    topology = Topology(
        states.offsets,
        arcs.offsets,
        torch.cat(source)[index] + shift,
        torch.cat(target)[index] + shift,
        read,
        read if acceptor else torch.cat(olabels)[index],
        states.total,
    )
    return Graph.from_topology(
        topology,
        _ops.take(torch.cat(weights), arcs.index),
        start,
        accept,
        arc_maps=arcs.maps(K),
        state_maps=states.maps(K),
    )


class _Layout:
    """Where each state (or arc) of the result lies in the operands' arrays put end to end.

    Columns are the operands and then what is new: one value shared by all graphs for each column
    of new states, or, if `grouped`, one value per item, in order of the graphs.
    """

    def __init__(
        self, operands: list[Tensor], size: int, new: list[Tensor], *, grouped: bool = False
    ) -> None:
        firsts, counts, base = [], [], 0
        self.bases: list[int] = []
        for offsets in operands:
            first = offsets[:-1] + base
            firsts.append(first.expand(size) if len(first) == 1 else first)
            counts.append(_sizes(offsets, size))
            self.bases.append(base)
            base += int(offsets[-1])
        for column in new:
            firsts.append(column.cumsum(0) - column + base if grouped else column * 0 + base)
            counts.append(column)
            base += 1
        self.counts = torch.stack(counts, 1)
        self.offsets = torch.cat([self.counts.new_zeros(1), self.counts.sum(1).cumsum(0)])
        self.total = int(self.offsets[-1])
        self.index = runs(torch.stack(firsts, 1).flatten(), self.counts.flatten()).to(torch.int32)

    def spread(self, values: Tensor) -> Tensor:
        """One value per graph and column, for every item."""
        return torch.repeat_interleave(
            values.flatten(), self.counts.flatten(), output_size=self.total
        )

    def maps(self, operands: int) -> tuple[Tensor, ...]:
        """For each operand, the item of it that each item of the result is, -1 if none."""
        if self.counts.shape[1] == 1:
            return (self.index,)
        columns = torch.arange(self.counts.shape[1]).expand(self.counts.shape)
        column = self.spread(columns.reshape(-1))
        none = self.index.new_full((), -1)
        return tuple(
            torch.where(column == k, self.index - self.bases[k], none) for k in range(operands)
        )
