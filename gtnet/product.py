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
    return _found(function, a, b, max_arcs, scored=True).scored(a, b)


def small_product(a: Graph, b: Graph, max_arcs: int) -> Graph | None:
    """The product of graphs on the CPU, None where more than `max_arcs` arcs are explored."""
    found = _on_cpu(a, b, _size(a, b), max_arcs, scored=True)
    return None if found is None else found.scored(a, b)


def paired(function: str, a: Graph, b: Graph, max_arcs: int) -> Paired:
    """The product without scores. Of those of the operands only which starts and accepts are -inf
    matters to it.
    """
    return _found(function, a, b, max_arcs, scored=False)


def _found(function: str, a: Graph, b: Graph, max_arcs: int, *, scored: bool) -> Paired:
    _checks.pair(function, a, b)
    if a.device.type != "cuda":
        _checks.on_cpu(function, "a", a.weights, "or on a GPU: move it with .to()")
    max_arcs = _checks.count(function, "max_arcs", max_arcs)
    if library.on_gpu(a.weights):
        found = _on_gpu(a, b, _size(a, b), max_arcs)
    else:
        found = _on_cpu(a, b, _size(a, b), max_arcs, scored=scored)
    if found is None:
        raise ValueError(
            f"{function}: the product has more than max_arcs={max_arcs} arcs; {_advice(a)}prune "
            f"the operands, split the batch, or raise max_arcs (an arc takes about 40 bytes)"
        )
    return found


def _size(a: Graph, b: Graph) -> int:
    """How many graphs the product has."""
    left, right = len(a), len(b)
    return max(left, right) if left and right else 0


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
    """A product; `filters` int8 [states] marks states where no path starts.

    `scores` are those that the operands had when it was made, outside of autograd.
    """

    topology: Topology
    arc_maps: tuple[Tensor, Tensor]
    state_maps: tuple[Tensor, Tensor]
    filters: Tensor
    scores: tuple[Tensor, ...] | None = None

    @classmethod
    def of(cls, made: list[Tensor], scores: tuple[Tensor, ...] | None = None) -> Paired:
        """What an operator on the CPU made."""
        states, arcs, source, target, ilabels, arc_a, arc_b, state_a, state_b, filters = made[:10]
        olabels = made[10] if len(made) > 10 else ilabels
        topology = Topology(states, arcs, source, target, ilabels, olabels, state_a.shape[0])
        return cls(topology, (arc_a, arc_b), (state_a, state_b), filters, scores)

    def scored(self, a: Graph, b: Graph) -> Graph:
        """The product under the scores that the operands have now."""
        topology, arc_maps, state_maps, filters, scores = self
        return gathered(topology, (a, b), arc_maps, state_maps, filters, scores)


def _on_cpu(a: Graph, b: Graph, num_graphs: int, max_arcs: int, *, scored: bool) -> Paired | None:
    """The product, with scores if `scored`; None where it has more than `max_arcs` arcs."""
    left, right = a.topology, b.topology
    mapped = transformed()
    read = _checks.possible if mapped else _checks.plain_one
    scored = scored and not mapped
    try:
        made = _ops.compose(
            left.state_offsets,
            *left.leaving_by_olabel,
            read(a.start),
            read(a.accept),
            left.ilabels,
            right.state_offsets,
            *right.leaving_by_ilabel,
            read(b.start),
            read(b.accept),
            right.olabels,
            read(a.weights) if scored else None,
            read(b.weights) if scored else None,
            left.is_acceptor and right.is_acceptor,
            num_graphs,
            max_arcs,
        )
    except _ops.OverBudgetError:
        return None
    return Paired.of(made[3:], tuple(made[:3])) if scored else Paired.of(made)


def _on_gpu(a: Graph, b: Graph, num_graphs: int, max_arcs: int) -> Paired | None:
    """The same without scores, by blocks of threads, which trim only when all is explored."""
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
