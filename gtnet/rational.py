"""Rational operations (union, concatenation, closure), reversal, and changes of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON
from gtnet._maps import origins
from gtnet._memory import named
from gtnet._ops import library
from gtnet._ordinary import transformed
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Relabelling = Mapping[int, int] | Sequence[int] | Tensor


class _Kind(IntEnum):
    """As csrc/rewrite/rational.h numbers them."""

    UNION = 0
    CONCAT = 1
    PLUS = 2
    STAR = 3
    OPTIONAL = 4


_JOINING = (_Kind.CONCAT, _Kind.PLUS, _Kind.STAR)


@named
def union(*graphs: Graph | Lattice) -> Graph:
    """The automaton that has every path of every operand.

    States and arcs are placed side by side, those of the first operand first. A graph may have many
    start states, so no epsilons are needed. Arguments: batches of equal size, or of size 1, which
    broadcast.
    Result: one arc map and one state map per operand, -1 for what comes from another.
    Raises ValueError without operands or where batches do not match; TypeError for mixed dtypes.
    Complexity: O(operands · (states + arcs)). Gradient: that of a gather.
    Source: Mohri 2009, section 2.3, which uses an epsilon to each operand.
    """
    return _arranged("union", _Kind.UNION, *broadcast("union", graphs))


@named
def concat(*graphs: Graph | Lattice) -> Graph:
    """The automaton whose paths are a path of each operand, one after another.

    Epsilons lead from the accept states of an operand to the start states of the next; their weight
    is the sum of both scores. Where many ends meet many starts and it takes fewer arcs, they go
    through one state in between.

    Arguments, result and errors: as `union`; epsilons come from no arc (-1).
    Complexity: O(operands · (states + arcs)). Gradient: gathers and sums of scores.
    Source: Mohri 2009, section 2.3.
    """
    return _arranged("concat", _Kind.CONCAT, *broadcast("concat", graphs))


@named
def closure(graph: Graph | Lattice, kind: Literal["star", "plus", "optional"] = "star") -> Graph:
    """The automaton that repeats: "plus" once or more, "star" any number of times, "optional" at
    most once.

    Epsilons lead from accept states to start states, as in `concat`. The empty path of "star" and
    "optional" is one more state that starts and accepts with score 0. Every sequence of paths
    appears once.

    Raises ValueError for another kind. Result: `arc_maps[0]`, `state_maps[0]`, -1 for what is new.
    Complexity: O(states + arcs). Gradient: gathers and sums of scores.
    Source: Mohri 2009, section 2.3 (Kleene 1956).
    """
    kinds = {"star": _Kind.STAR, "plus": _Kind.PLUS, "optional": _Kind.OPTIONAL}
    if kind not in kinds:
        raise ValueError(f'closure: kind must be "star", "plus" or "optional", got {kind!r}')
    return _arranged("closure", kinds[kind], *broadcast("closure", (graph,), ("graph",)))


def reverse(graph: Graph | Lattice) -> Graph:
    """The automaton whose paths are those of `graph` run backwards, with the same scores.

    Arcs keep their places and scores, start and accept scores change roles. Complexity: O(arcs).
    Gradient: the scores are those of `graph`. Source: Mohri 2009, section 2.3.
    """
    graph = built("reverse", "graph", graph)
    topology = graph.topology.reversed()
    return _same_places(graph, topology, graph.accept, graph.start)


def invert(graph: Graph | Lattice) -> Graph:
    """The transducer that reads what `graph` writes and writes what it reads; also `~graph`.

    Complexity: O(arcs). Gradient: the scores are those of `graph`.
    """
    graph = built("invert", "graph", graph)
    topology = graph.topology
    return _relabelled(graph, topology.olabels, topology.ilabels)


def project(graph: Graph | Lattice, side: Literal["input", "output"]) -> Graph:
    """The acceptor of what a transducer reads ("input") or writes ("output").

    Raises ValueError for another side. Complexity: O(arcs). Gradient: the scores are those of
    `graph`.
    """
    graph = built("project", "graph", graph)
    if side not in ("input", "output"):
        raise ValueError(f'project: side must be "input" or "output", got {side!r}')
    labels = graph.topology.ilabels if side == "input" else graph.topology.olabels
    return _relabelled(graph, labels, labels)


def relabel(
    graph: Graph | Lattice, imap: Relabelling | None = None, omap: Relabelling | None = None
) -> Graph:
    """The same automaton with other labels on what it reads (`imap`) and writes (`omap`).

    Arguments: a mapping from label to label, where labels that it does not contain stay and EPSILON
    may be a key or a value; or a sequence or integer tensor indexed by label, where EPSILON
    stays; None keeps a side. An acceptor stays one if both sides get the same map.
    Raises ValueError for a label outside the sequence or a new label below EPSILON, TypeError
    for labels that are not integers. Complexity: O(arcs log labels). Gradient: the scores are those
    of `graph`.
    """
    graph = built("relabel", "graph", graph)
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


def broadcast(
    function: str, given: Sequence[Graph | Lattice], names: Sequence[str] = ()
) -> tuple[list[Graph], int]:
    """Operands, built, and the size of the batch that they broadcast to; refuses what does not fit.

    Without names errors number them.
    """
    if not given:
        raise ValueError(f"{function}: at least one graph is needed, got none")
    graphs = [
        one if isinstance(one, Graph) else built(function, _named(names, k), one)
        for k, one in enumerate(given)
    ]
    first, *others = (graph.weights for graph in graphs)
    device, dtype = first.device, first.dtype
    if any(other.device != device or other.dtype is not dtype for other in others):
        weights = {_named(names, k): graph.weights for k, graph in enumerate(graphs)}
        _checks.same_device(function, **weights)
        _checks.same_dtype(function, **weights)
    _checks.served(function, _named(names, 0), first)
    owners: dict[int, int] = {}
    for k, graph in enumerate(graphs):
        owners.setdefault(len(graph), k)
    owners.pop(1, None)
    if len(owners) > 1:
        (one, a), (two, b), *_ = owners.items()
        raise ValueError(
            f"{function}: {_named(names, a)} has {one} graphs, {_named(names, b)} has {two} "
            "(equal or 1 is needed)"
        )
    return graphs, next(iter(owners), 1)


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if names else f"operand {number}"


def _arranged(function: str, kind: _Kind, graphs: Sequence[Graph], size: int) -> Graph:
    """The operands side by side, joined by epsilons as the operation requires."""
    stepwise = library.on_gpu(graphs[0].weights) or transformed() or torch.compiler.is_compiling()
    arranged = _arranged_by_steps if stepwise else _arranged_at_once
    return arranged(function, kind, graphs, size)


def _arranged_at_once(function: str, kind: _Kind, graphs: Sequence[Graph], size: int) -> Graph:
    """By one operator, on the CPU."""
    topologies = [graph.topology for graph in graphs]
    acceptors, learning = True, False
    parts: list[Tensor] = []
    for graph, topology in zip(graphs, topologies):
        acceptors = acceptors and topology.is_acceptor
        learning = learning or _ops.learning(*graph.scores)
        parts += topology.arrays
        parts += _checks.plain_scores(graph)
    states, arcs, *made = _ops.arrange(parts, size, kind, acceptors, learning)
    if not made:
        _checks.countable(function, "states", int(states[-1]))
        _checks.countable(function, "arcs", int(arcs[-1]))
    source, target, ilabels, arc, origin, *scores = made[:8]
    if learning:
        weights, start, accept = zip(*(graph.scores for graph in graphs))
        left, entered, starts, accepts = made[-4:]
        joints = [(accept, left), (start, entered)]
        sources = [
            [(weights, arc), *(joints if kind in _JOINING else [])],
            [(start, starts)],
            [(accept, accepts)],
        ]
        scores = [_ops.gathered(score, of) for score, of in zip(scores, sources)]
    olabels = ilabels if acceptors else made[8]
    return Graph.from_topology(
        Topology(states, arcs, source, target, ilabels, olabels, origin.shape[0]),
        *scores,
        arc_maps=origins(arc, [topology.num_arcs for topology in topologies]),
        state_maps=origins(origin, [topology.num_states for topology in topologies]),
    )


def _arranged_by_steps(function: str, kind: _Kind, graphs: Sequence[Graph], size: int) -> Graph:
    """The same on a GPU, where the host waits once, for the sizes of the result."""
    acceptors = all(graph.is_acceptor for graph in graphs)
    starts, accepts = (_end_to_end([getattr(g, n) for g in graphs]) for n in ("start", "accept"))
    _checks.countable(function, "states", len(starts))
    _checks.countable(function, "arcs", sum(graph.num_arcs for graph in graphs))
    joined = kind in _JOINING
    offsets = [
        _offsets([getattr(graph, name) for graph in graphs])
        for name in ("state_offsets", "arc_offsets")
    ]
    ends = [offsets[0][:0]] * 2
    if joined:
        ends = [_checks.possible(scores).cumsum(0) for scores in (accepts, starts)]
    layout = (_graphs_of(graphs, size), *offsets, *ends, len(graphs), kind)
    state_begin, arc_begin = _ops.rational_sections(*layout)
    operand_states = len(starts)
    num_states, num_arcs = (int(n) for n in _last(state_begin, arc_begin))
    _checks.countable(function, "states", num_states)
    _checks.countable(function, "arcs", num_arcs)
    columns = [
        None if name == "olabels" and acceptors else _end_to_end([getattr(g, name) for g in graphs])
        for name in ("source", "target", "ilabels", "olabels")
    ]
    source, target, ilabels, olabels, arc, left, entered, origin, start, accept = _ops.rational(
        *layout, state_begin, arc_begin, *columns, operand_states, num_states, num_arcs
    )
    if kind != _Kind.UNION:  # there all scores are those of operands
        impossible_and_free = torch.arange(2, dtype=starts.dtype, device=starts.device).log()
        starts, accepts = (torch.cat([s, impossible_and_free]) for s in (starts, accepts))
    weights = _ops.take(_end_to_end([graph.weights for graph in graphs]), arc)
    if joined:
        weights = weights + _ops.take(accepts, left) + _ops.take(starts, entered)
    width = max((len(state_begin) - 1) // max(size, 1), 1)
    return Graph.from_topology(
        Topology(
            state_begin[::width].contiguous(),
            arc_begin[::width].contiguous(),
            source,
            target,
            ilabels,
            ilabels if acceptors else olabels,
            num_states,
        ),
        weights,
        _ops.take(starts, start),
        _ops.take(accepts, accept),
        arc_maps=origins(arc, [graph.num_arcs for graph in graphs]),
        state_maps=origins(origin, [graph.num_states for graph in graphs]),
    )


def _graphs_of(graphs: Sequence[Graph], size: int) -> Tensor:
    """For each graph of the result and each operand, its graph among all operands in a row."""
    device = graphs[0].device
    if all(len(graph) == size for graph in graphs):
        every = torch.arange(len(graphs) * size, device=device)
        return every.view(len(graphs), size).T.flatten()
    first = [0, *accumulate(len(graph) for graph in graphs)][:-1]
    table = torch.tensor([first, [len(graph) > 1 for graph in graphs]]).to(device)
    return (table[0] + table[1] * torch.arange(size, device=device).unsqueeze(1)).flatten()


def _end_to_end(tensors: list[Tensor]) -> Tensor:
    return tensors[0].contiguous() if len(tensors) == 1 else torch.cat(tensors)


def _offsets(tensors: list[Tensor]) -> Tensor:
    """The offsets of concatenated operands."""
    if len(tensors) == 1:
        return tensors[0].contiguous()
    sizes = torch.cat([offsets.diff() for offsets in tensors])
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _last(*tensors: Tensor) -> list[int]:
    """The last numbers of several tensors; for tensors on a GPU it waits once."""
    if tensors[0].device.type == "cpu":
        return [int(tensor[-1]) for tensor in tensors]
    return torch.stack([tensor[-1] for tensor in tensors]).tolist()
