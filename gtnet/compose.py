"""Composition of transducers, intersection of acceptors, and trimming."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet.emissions import Emissions
from gtnet.graph import Graph
from gtnet.lattice import Lattice
from gtnet.topology import Topology

MAX_ARCS = 100_000_000  # about 4 GB of result


def compose(a: Graph | Emissions, b: Graph | Emissions, *, max_arcs: int = MAX_ARCS) -> Graph:
    """The transducer that reads what `a` reads and writes what `b` makes of what `a` writes.

    Its paths are the pairs of a path of `a` and a path of `b` where a's output is b's input; the
    score is the sum. Epsilons go through the three-state filter, so each pair appears once. The
    result is trimmed to states on accepting paths.

    Arguments: batches of equal size, or one of them of size 1, which meets every graph of the
    other. No order of arcs is asked for. `max_arcs` bounds the arcs of the batch that
        are explored, and so the memory.
    Result: `arc_maps` and `state_maps` say which arc and state of `a` and of `b` each came from.
    Emissions on the left give a `Lattice`: a Graph that is built when its arcs are first asked
    for, and whose forward score and best path do without that.
    Raises: ValueError where the product has more than `max_arcs` arcs or the batches do not
    match; TypeError for mixed dtypes.
    Complexity: O(pairs of states reached + arcs of the product), and O(log degree) to find a
    match where the labels of a state have gaps. What `a` writes late is followed in vain where `b`
    refuses it: `push(a, what="labels")` first spares a lexicon most of that before a grammar.
    Gradient: sums of the scores of both arcs; any number of derivatives.
    Source: Mohri, Pereira & Riley 1996; Mohri 2009, section 5.1, for the filter.
    """
    return _composed("compose", a, b, max_arcs)


def intersect(a: Graph | Emissions, b: Graph | Emissions, *, max_arcs: int = MAX_ARCS) -> Graph:
    """The acceptor of the label sequences that both acceptors accept; scores add.

    As `compose` in everything else. Raises ValueError if `a` or `b` is a transducer.
    """
    for name, operand in (("a", a), ("b", b)):
        if isinstance(operand, Emissions):
            continue
        _checks.graph("intersect", name, operand)
        if not operand.is_acceptor:
            raise ValueError(
                f"intersect: {name} must be an acceptor, got a transducer: use compose"
            )
    return _composed("intersect", a, b, max_arcs)


def connect(graph: Graph) -> Graph:
    """The same automaton without states and arcs that lie on no accepting path.

    Arcs of score -inf stay: only start and accept scores decide. Complexity: O(states + arcs); on a
    GPU it waits to learn how many states and arcs are kept.
    Gradient: that of a gather; `arc_maps` and `state_maps` name the arcs and states kept.
    """
    _checks.graph("connect", "graph", graph)
    topology = graph.topology
    offsets = topology.state_offsets
    reached = _ops.reach(offsets, *topology.leaving.by_state(), graph.start > NEG_INF)
    useful = reached & _ops.reach(offsets, *topology.entering.by_state(), graph.accept > NEG_INF)
    keep_arc = useful[topology.global_source] & useful[topology.global_target]
    states = useful.nonzero().flatten()
    arcs = keep_arc.nonzero().flatten()
    kept_before = torch.cat([offsets.new_zeros(1), useful.cumsum(0)])
    new_offsets = kept_before[offsets]
    first_state = new_offsets[topology.graph_of_arc[arcs]]
    arcs_before = torch.cat([offsets.new_zeros(1), keep_arc.cumsum(0)])

    def renumbered(ends: Tensor) -> Tensor:
        return (kept_before[ends[arcs]] - first_state).to(torch.int32)

    ilabels = topology.ilabels[arcs]
    kept = Topology(
        new_offsets,
        arcs_before[topology.arc_offsets],
        renumbered(topology.global_source),
        renumbered(topology.global_target),
        ilabels,
        ilabels if graph.is_acceptor else topology.olabels[arcs],
        len(states),
    )
    return _gathered(kept, (graph,), (arcs.to(torch.int32),), (states.to(torch.int32),))


def _composed(function: str, a: Graph | Emissions, b: Graph | Emissions, max_arcs: int) -> Graph:
    """The product, or the promise of it where emissions are on the left."""
    if not isinstance(a, Emissions) or not isinstance(b, Graph):
        return product(function, _as_graph(a), _as_graph(b), max_arcs)
    _checks.batches(function, a, b)
    _checks.same_device(function, a=a.scores, b=b.weights)
    if a.scores.dtype not in _checks.SHORT or b.dtype != torch.float32:
        _checks.same_dtype(function, a=a.scores, b=b.weights)
    if a.scores.device.type not in ("cpu", "cuda"):
        _checks.on_cpu(function, "a", a.scores, "lattices are served there and on GPUs")
    return Lattice(a, b, max_arcs=_checks.count(function, "max_arcs", max_arcs))


def _as_graph(operand: Graph | Emissions) -> Graph:
    return operand.graph() if isinstance(operand, Emissions) else operand


def product(function: str, a: Graph, b: Graph, max_arcs: int) -> Graph:
    """The product, built."""
    _checks.graph(function, "a", a)
    _checks.graph(function, "b", b)
    _checks.pair(function, a, b)
    _checks.on_cpu(function, "a", a.weights, "compose there, then move the result with .to()")
    max_arcs = _checks.count(function, "max_arcs", max_arcs)
    num_graphs = 0 if 0 in (len(a), len(b)) else max(len(a), len(b))
    acceptors = a.is_acceptor and b.is_acceptor
    too_large, state_offsets, arc_offsets, *arrays = _ops.compose(
        *_operand(a, a.topology.leaving_by_olabel, a.ilabels),
        *_operand(b, b.topology.leaving_by_ilabel, b.olabels),
        acceptors,
        num_graphs,
        max_arcs,
    )
    if too_large:
        raise ValueError(
            f"{function}: the product has more than max_arcs={max_arcs} arcs; prune the operands, "
            f"split the batch, or raise max_arcs (an arc takes about 40 bytes)"
        )
    source, target, ilabels, olabels, arc_a, arc_b, state_a, state_b, filters = arrays
    topology = Topology(
        state_offsets,
        arc_offsets,
        source,
        target,
        ilabels,
        ilabels if acceptors else olabels,
        len(state_a),
    )
    product = _gathered(topology, (a, b), (arc_a, arc_b), (state_a, state_b))
    product.start = product.start.masked_fill(filters != 0, NEG_INF)
    return product


def _operand(graph: Graph, by_label: tuple[Tensor | None, ...], labels: Tensor) -> list[object]:
    ends = (graph.start.detach() > NEG_INF, graph.accept.detach() > NEG_INF)
    return [graph.state_offsets, *by_label, *ends, labels]


def _gathered(
    topology: Topology,
    operands: tuple[Graph, ...],
    arc_maps: tuple[Tensor, ...],
    state_maps: tuple[Tensor, ...],
) -> Graph:
    """A rewritten topology with the sums of the scores that its arcs and states came from."""

    def total(name: str, maps: tuple[Tensor, ...]) -> Tensor:
        parts = [
            _ops.take(getattr(operand, name).contiguous(), index)
            for operand, index in zip(operands, maps)
        ]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    return Graph.from_topology(
        topology,
        total("weights", arc_maps),
        total("start", state_maps),
        total("accept", state_maps),
        arc_maps=arc_maps,
        state_maps=state_maps,
    )
