"""The product of two batches of automata: the pairs of paths of which one reads what one writes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON
from gtnet._ops import library
from gtnet._ordinary import transformed
from gtnet.connect import gathered, restricted
from gtnet.graph import Graph
from gtnet.topology import Topology


def product(function: str, a: Graph, b: Graph, max_arcs: int) -> Graph:
    """The product under its scores; raises as `compose`."""
    return paired(function, a, b, max_arcs).scored(a, b)


def small_product(a: Graph, b: Graph, max_arcs: int) -> Graph | None:
    """The product of graphs on the CPU, None where more than `max_arcs` arcs are explored."""
    num_graphs = 0 if 0 in (len(a), len(b)) else max(len(a), len(b))
    found = _on_cpu(a, b, num_graphs, max_arcs)
    return None if found is None else found.scored(a, b)


def paired(function: str, a: Graph, b: Graph, max_arcs: int) -> Paired:
    """The product without scores. Of those of the operands only which starts and accepts are -inf
    matters to it.
    """
    _checks.pair(function, a, b)
    if a.device.type != "cuda":
        _checks.on_cpu(function, "a", a.weights, "or on a GPU: move it with .to()")
    max_arcs = _checks.count(function, "max_arcs", max_arcs)
    num_graphs = 0 if 0 in (len(a), len(b)) else max(len(a), len(b))
    pair = _on_gpu if library.on_gpu(a.weights) else _on_cpu
    found = pair(a, b, num_graphs, max_arcs)
    if found is None:
        raise ValueError(
            f"{function}: the product has more than max_arcs={max_arcs} arcs; {_advice(a)}prune "
            f"the operands, split the batch, or raise max_arcs (an arc takes about 40 bytes)"
        )
    return found


def _advice(a: Graph) -> str:
    """What to do where the left operand may write its labels too late."""
    if not bool((a.olabels == EPSILON).any()):
        return ""
    return (
        "a writes epsilons, and where labels come late paths are followed that b then refuses: let "
        'a write early (Lexicon.graph(write="first"), push(a, what="labels")), or compose while '
        "searching (beam_search(emissions, [a, b], ...)); or "
    )


class Paired(NamedTuple):
    """A product without scores; `filters` int8 [states]."""

    topology: Topology
    arc_maps: tuple[Tensor, Tensor]
    state_maps: tuple[Tensor, Tensor]
    filters: Tensor

    def scored(self, a: Graph, b: Graph) -> Graph:
        """The product under the scores that the operands have now."""
        return gathered(self.topology, (a, b), self.arc_maps, self.state_maps, self.filters)


def _on_cpu(a: Graph, b: Graph, num_graphs: int, max_arcs: int) -> Paired | None:
    """The product of the topologies, None where it has more than `max_arcs` arcs."""
    left, right = a.topology, b.topology
    acceptors = left.is_acceptor and right.is_acceptor
    too_large, state_offsets, arc_offsets, *arrays = _ops.compose(
        left.state_offsets,
        *left.leaving_by_olabel,
        _marks(a.start),
        _marks(a.accept),
        left.ilabels,
        right.state_offsets,
        *right.leaving_by_ilabel,
        _marks(b.start),
        _marks(b.accept),
        right.olabels,
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
    return Paired(topology, (arc_a, arc_b), (state_a, state_b), filters)


def _marks(scores: Tensor) -> Tensor:
    """Scores of which an operator sees which are -inf; those of a transform as marks."""
    if transformed():
        return _checks.possible(scores)
    return (scores.detach() if scores.requires_grad else scores).contiguous()


def _on_gpu(a: Graph, b: Graph, num_graphs: int, max_arcs: int) -> Paired | None:
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
    accepting = _checks.possible(a.accept)[state_a] & _checks.possible(b.accept)[state_b]
    useful = _ops.reach(state_offsets, *explored.entering.by_state(), accepting)
    topology, arcs, states = restricted(explored, useful)
    arc_maps, state_maps = (arc_a[arcs], arc_b[arcs]), (state_a[states], state_b[states])
    return Paired(topology, arc_maps, state_maps, filters[states])


def _labels_from(labels: Tensor, arcs: Tensor) -> Tensor:
    """The labels of the arcs, EPSILON where there is none (-1)."""
    return torch.cat([labels, labels.new_full((1,), EPSILON)])[arcs]


def _operand(graph: Graph, by_label: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    return [graph.state_offsets, *by_label, _checks.possible(graph.start)]
