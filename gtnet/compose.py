"""Composition of transducers, intersection of acceptors, and trimming."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._ops import library
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
    match, and where a graph has labels that emissions have no scores of (on a GPU only if it came
    from the CPU: nothing waits, and such arcs count as -inf); TypeError for mixed dtypes.
    Complexity: O(pairs of states reached + arcs of the product), and O(log degree) to find a
    match where the labels of a state have gaps. What `a` writes late is followed in vain where `b`
    refuses it: `push(a, what="labels")` first spares a lexicon most of that before a grammar.
    On a GPU a block of threads explores a pair of graphs, and the result is that of the CPU, bit
    for bit. It waits there for sizes: of what is explored, of what is kept, and again each time
    that pairs of states outgrow their memory. `max_arcs` then bounds all that is explored at once.
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
    kept, arcs, states = _restricted(topology, useful)
    return _gathered(kept, (graph,), (arcs.to(torch.int32),), (states.to(torch.int32),))


def _restricted(topology: Topology, useful: Tensor) -> tuple[Topology, Tensor, Tensor]:
    """The states that `useful` marks and the arcs between them, with the numbers of both, int64."""
    offsets = topology.state_offsets
    ends = (topology.global_source, topology.global_target)
    kept_at_source, kept_at_target = (useful.index_select(0, end) for end in ends)
    keep_arc = kept_at_source & kept_at_target
    states = useful.nonzero().flatten()
    arcs = keep_arc.nonzero().flatten()
    kept_before = torch.cat([offsets.new_zeros(1), useful.cumsum(0)])
    arcs_before = torch.cat([offsets.new_zeros(1), keep_arc.cumsum(0)])
    new_offsets = kept_before.index_select(0, offsets)
    first_state = new_offsets.index_select(0, topology.graph_of_arc.index_select(0, arcs))
    source, target = (
        (kept_before.index_select(0, end.index_select(0, arcs)) - first_state).to(torch.int32)
        for end in ends
    )
    ilabels = topology.ilabels.index_select(0, arcs)
    kept = Topology(
        new_offsets,
        arcs_before.index_select(0, topology.arc_offsets),
        source,
        target,
        ilabels,
        ilabels if topology.is_acceptor else topology.olabels.index_select(0, arcs),
        states.shape[0],
    )
    return kept, arcs, states


def _composed(function: str, a: Graph | Emissions, b: Graph | Emissions, max_arcs: int) -> Graph:
    """The product, or the promise of it where emissions are on the left."""
    if isinstance(a, Emissions) and isinstance(b, Graph):
        _checks.known_labels(function, "b", b.topology.largest("ilabels"), a.num_labels)
    elif isinstance(a, Graph) and isinstance(b, Emissions):
        _checks.known_labels(function, "a", a.topology.largest("olabels"), b.num_labels)
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
    if a.device.type != "cuda":
        _checks.on_cpu(function, "a", a.weights, "or on a GPU: move it with .to()")
    max_arcs = _checks.count(function, "max_arcs", max_arcs)
    num_graphs = 0 if 0 in (len(a), len(b)) else max(len(a), len(b))
    pair = _paired_on_gpu if library.on_gpu(a.weights) else _paired
    paired = pair(a, b, num_graphs, max_arcs)
    if paired is None:
        raise ValueError(
            f"{function}: the product has more than max_arcs={max_arcs} arcs; prune the operands, "
            f"split the batch, or raise max_arcs (an arc takes about 40 bytes)"
        )
    product = _gathered(paired.topology, (a, b), paired.arc_maps, paired.state_maps)
    product.start = product.start.masked_fill(paired.filters != 0, NEG_INF)
    return product


class _Paired(NamedTuple):
    """A product without scores; `filters` int8 [states]."""

    topology: Topology
    arc_maps: tuple[Tensor, Tensor]
    state_maps: tuple[Tensor, Tensor]
    filters: Tensor


def _paired(a: Graph, b: Graph, num_graphs: int, max_arcs: int) -> _Paired | None:
    """The product of the topologies, None where it has more than `max_arcs` arcs."""
    acceptors = a.is_acceptor and b.is_acceptor
    too_large, state_offsets, arc_offsets, *arrays = _ops.compose(
        *_operand(a, a.topology.leaving_by_olabel),
        a.accept.detach() > NEG_INF,
        a.ilabels,
        *_operand(b, b.topology.leaving_by_ilabel),
        b.accept.detach() > NEG_INF,
        b.olabels,
        acceptors,
        num_graphs,
        max_arcs,
    )
    if too_large:
        return None
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
    return _Paired(topology, (arc_a, arc_b), (state_a, state_b), filters)


def _paired_on_gpu(a: Graph, b: Graph, num_graphs: int, max_arcs: int) -> _Paired | None:
    """The same by blocks of threads, which trim what is explored only when all of it is known."""
    too_large, state_offsets, arc_offsets, *arrays = _ops.explore(
        *_operand(a, a.topology.leaving_by_olabel),
        *_operand(b, b.topology.leaving_by_ilabel),
        num_graphs,
        max_arcs,
    )
    if too_large:
        return None
    source, target, arc_a, arc_b, state_a, state_b, filters = arrays
    ilabels = _labels_from(a.ilabels, arc_a)
    acceptors = a.is_acceptor and b.is_acceptor
    olabels = ilabels if acceptors else _labels_from(b.olabels, arc_b)
    explored = Topology(state_offsets, arc_offsets, source, target, ilabels, olabels, len(state_a))
    accepting = (a.accept.detach() > NEG_INF)[state_a] & (b.accept.detach() > NEG_INF)[state_b]
    useful = _ops.reach(state_offsets, *explored.entering.by_state(), accepting)
    topology, arcs, states = _restricted(explored, useful)
    arc_maps, state_maps = (arc_a[arcs], arc_b[arcs]), (state_a[states], state_b[states])
    return _Paired(topology, arc_maps, state_maps, filters[states])


def _labels_from(labels: Tensor, arcs: Tensor) -> Tensor:
    """The labels of the arcs, EPSILON where there is none (-1)."""
    return torch.cat([labels, labels.new_full((1,), EPSILON)])[arcs]


def _operand(graph: Graph, by_label: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    return [graph.state_offsets, *by_label, graph.start.detach() > NEG_INF]


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
