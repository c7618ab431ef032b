"""Smaller automata of the same weighted language, whatever the graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import LARGEST
from gtnet._memory import choosing
from gtnet._rewrite import (
    Merge,
    Semiring,
    arcs_on_cycles,
    items_with,
    merges_identical,
    only,
    prepared,
    segment_sums,
)
from gtnet.connect import connect
from gtnet.determinize import DELTA, most_states, subsets
from gtnet.graph import Graph, stack
from gtnet.minimize import flaws, label_keys, minimized
from gtnet.remove_epsilon import remove_epsilon
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_TRIAL = 10  # times the states of the largest item


@choosing
def optimize(
    graph: Graph | Lattice,
    *,
    semiring: Semiring = "log",
    merge: Merge = "auto",
    max_states: int | None = None,
    delta: float = DELTA,
) -> Graph:
    """A small automaton of the same weighted language: no epsilons, deterministic, minimal.

    It is `minimize(determinize(remove_epsilon(graph), on="pairs"))` for items that have a
    deterministic equivalent for certain: acyclic ones, those that are deterministic already and,
    with "tropical", those whose arcs on cycles score 0. A transducer is taken as an acceptor of its
    (input, output) pairs, so it need not be functional, and one input may go on along several arcs.

    Of another item the smallest of these is taken: what `remove_epsilon` leaves, with equal arcs
    between two states summed; the minimal deterministic automaton, if one is found within 10 times
    the states; and, with "tropical" and unless it learns, the one that is deterministic and minimal
    when scores are a part of the labels.

    Arguments: `semiring`, `merge`, `max_states` and `delta` as in `determinize`. Scores are pushed
    as in `minimize`; by best paths in cyclic items, whose sums may be infinite, and not at all
    where a cycle has a positive score.
    Result: trimmed; each string keeps its score, to within `delta` for each merged state.
    Raises ValueError as `remove_epsilon`, and where an item needs more than `max_states` (an
    acyclic one may need exponentially many), naming it.
    Complexity: that of the parts. Gradient: that of the parts; first derivatives only.
    Source: Mohri 2009, section 7; Pynini's `optimize` (Gorman 2016) for what is encoded when.
    """
    graph = prepared("optimize", graph, semiring)
    identical = merges_identical("optimize", graph, merge)
    delta = _checks.tolerance("optimize", "delta", delta)
    if max_states is not None:
        max_states = _checks.count("optimize", "max_states", max_states)
    plain = remove_epsilon(graph, semiring=semiring)
    most = most_states(plain) if max_states is None else max_states
    search = _Search(semiring, identical, delta)
    sure = _sure(plain, semiring)
    rows, ends = search.rows(only(plain, sure), most)
    if len(failed := ends.nonzero().flatten()):
        raise ValueError(
            f"optimize: graph {int(failed[0])} needs more than max_states={most} states: raise "
            f"max_states, or take remove_epsilon alone"
        )
    made = search.smallest(rows)
    if not bool(sure.all()):
        rest = connect(only(plain, ~sure))
        trial = min(most, _TRIAL * (1 + int(rest.state_offsets.diff().max())))
        made = _smallest([(sure, made), *_attempts(rest, ~sure, search, trial, most)])
    return Graph.from_topology(made.topology, made.weights, made.start, made.accept)


def _attempts(
    rest: Graph, unsure: Tensor, search: _Search, trial: int, most: int
) -> Iterator[tuple[Tensor, Graph]]:
    """Automata of the same language, and for which items they are."""
    rows, ends = search.rows(rest, trial)
    yield unsure & (ends == 0), search.smallest(rows)
    if search.semiring == "tropical" and not search.identical:
        coded, arcs = _encoded(rest)
        rows, ends = search.rows(coded, most)
        small = _decoded(search.smallest(rows), rest, arcs)
        yield unsure & (ends == 0), _summed(small, search.semiring)
    yield unsure, _summed(rest, search.semiring)


class _Search(NamedTuple):
    """How small automata are made."""

    semiring: Semiring
    identical: bool
    delta: float

    def rows(self, graph: Graph, most: int) -> tuple[Graph, Tensor]:
        """Deterministic items, and which failed to become so, int32 [batch]."""
        made, ends = subsets(connect(graph), self.semiring, False, self.identical, self.delta, most)
        return made, ends[0]

    def smallest(self, rows: Graph) -> Graph:
        """The fewest states."""
        return minimized("optimize", rows, *self, leniently=True)


def _sure(graph: Graph, semiring: Semiring) -> Tensor:
    """Which items have a deterministic equivalent for certain, bool [batch]."""
    on_cycle = arcs_on_cycles(graph)
    if semiring == "tropical":
        on_cycle = on_cycle & (graph.weights.detach() != 0)
    unsure = items_with(graph, on_cycle)
    flawed = torch.zeros(len(graph), dtype=torch.bool)
    for states, _ in flaws(graph):
        flawed = flawed.index_fill(0, graph.topology.graph_of_state[states], True)
    return ~(unsure & flawed)


def _encoded(graph: Graph) -> tuple[Graph, Tensor]:
    """An acceptor whose labels stand for labels and score; an arc of each label, int64."""
    scores, of_score = graph.weights.detach().unique(return_inverse=True)
    key = label_keys(graph).long() * max(len(scores), 1) + of_score
    codes, label = key.unique(return_inverse=True)
    arcs = torch.full_like(codes, graph.num_arcs)
    arcs = arcs.scatter_reduce(0, label, torch.arange(graph.num_arcs), "amin")
    t = graph.topology
    label = label.to(torch.int32)
    ends = (t.state_offsets, t.arc_offsets, t.source, t.target)
    coded = Topology(*ends, label, label, t.num_states)
    weights = torch.zeros_like(graph.weights)
    return Graph.from_topology(coded, weights, graph.start, graph.accept), arcs


def _decoded(coded: Graph, graph: Graph, arcs: Tensor) -> Graph:
    """The labels and scores that the labels stand for."""
    arc = arcs[coded.ilabels.long()]
    t = coded.topology
    ilabels = graph.ilabels[arc]
    olabels = ilabels if graph.is_acceptor else graph.olabels[arc]
    ends = (t.state_offsets, t.arc_offsets, t.source, t.target)
    return Graph.from_topology(
        Topology(*ends, ilabels, olabels, t.num_states),
        coded.weights + _ops.take(graph.weights, arc.to(torch.int32)),
        coded.start,
        coded.accept,
    )


def _summed(graph: Graph, semiring: Semiring) -> Graph:
    """One arc for all those between two states that have the same labels."""
    t = graph.topology
    keys = torch.stack([t.global_source, t.global_target, label_keys(graph).long()], 1)
    _, group = keys.unique(dim=0, return_inverse=True)
    size = int(group.max()) + 1 if len(group) else 0
    first = torch.full((size,), graph.num_arcs)
    first = first.scatter_reduce(0, group, torch.arange(graph.num_arcs), "amin")
    weights = segment_sums(graph.weights.double(), group, size, semiring).to(graph.dtype)
    arcs, order = first.sort()
    ilabels = t.ilabels[arcs]
    topology = Topology(
        t.state_offsets,
        torch.searchsorted(arcs, t.arc_offsets),
        t.source[arcs],
        t.target[arcs],
        ilabels,
        ilabels if graph.is_acceptor else t.olabels[arcs],
        t.num_states,
    )
    return Graph.from_topology(topology, weights[order], graph.start, graph.accept)


def _smallest(attempts: list[tuple[Tensor, Graph]]) -> Graph:
    """Of each item the smallest of the graphs that are for it, the first of equals."""
    sizes = [
        (graph.state_offsets.diff() + graph.arc_offsets.diff()).masked_fill(~items, LARGEST)
        for items, graph in attempts
    ]
    place = torch.stack(sizes).argmin(0) * len(sizes[0]) + torch.arange(len(sizes[0]))
    return stack([graph for _, graph in attempts])[place]
