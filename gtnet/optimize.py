"""Smaller automata of the same weighted language, whatever the graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
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
)
from gtnet.connect import connect
from gtnet.determinize import DELTA, most_states, subsets
from gtnet.encode import decoded, encoded
from gtnet.graph import Graph, stack
from gtnet.merge_arcs import How, merged
from gtnet.minimize import flaws, minimized
from gtnet.remove_epsilon import remove_epsilon

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
        coded, code = encoded(rest, scores=True)
        rows, ends = search.rows(coded, most)
        small = decoded(search.smallest(rows), code)
        yield unsure & (ends == 0), merged(small, search.parallel)
    yield unsure, merged(rest, search.parallel)


class _Search(NamedTuple):
    """How small automata are made."""

    semiring: Semiring
    identical: bool
    delta: float

    @property
    def parallel(self) -> How:
        """What parallel arcs become."""
        return "sum" if self.semiring == "log" else "max"

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


def _smallest(attempts: list[tuple[Tensor, Graph]]) -> Graph:
    """Of each item the smallest of the graphs that are for it, the first of equals."""
    sizes = [
        (graph.state_offsets.diff() + graph.arc_offsets.diff()).masked_fill(~items, LARGEST)
        for items, graph in attempts
    ]
    place = torch.stack(sizes).argmin(0) * len(sizes[0]) + torch.arange(len(sizes[0]))
    return stack([graph for _, graph in attempts])[place]
