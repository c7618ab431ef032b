"""The deterministic automaton with the fewest states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._rewrite import Merge, Semiring, merges_identical, prepared, trimmed
from gtnet.graph import Graph
from gtnet.push import pushed
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

DELTA = 1e-6
_STEP = 1e-3  # of the difference quotients that tell identical scores from equal ones


def minimize(
    graph: Graph | Lattice,
    *,
    semiring: Semiring = "log",
    merge: Merge = "auto",
    delta: float = DELTA,
) -> Graph:
    """The smallest deterministic automaton that gives every string the same score.

    Scores are pushed towards the start, then states with the same future are merged. A transducer
    is treated as an acceptor of its (input, output) pairs.

    Arguments: `graph` deterministic: at most one start state, in each state at most one arc per
    label (pair) and none that is EPSILON on both sides; `semiring`, `merge` and `delta` as in
    `determinize`.
    Result: trimmed and pushed; `arc_maps` and `state_maps` name one of the arcs or states merged.
    Raises ValueError for a graph that is not deterministic (see `determinize`), naming the state,
    and where the paths around a cycle have no finite sum.
    Complexity: O(arcs log arcs), and that of `push`; cyclic or not.
    Gradient: that of the pushed scores; any number of derivatives.
    Source: Hopcroft 1971; Valmari 2012; Mohri 1997, section 3.7, for weights.
    """
    graph = prepared("minimize", graph, semiring)
    identical = merges_identical("minimize", graph, merge)
    delta = _checks.tolerance("minimize", "delta", delta)
    useful = trimmed(graph)
    _deterministic(graph, useful)
    exact = useful.to(torch.float64)
    light = pushed("minimize", exact, semiring)
    weights, accept = light.weights.detach(), light.accept.detach()
    arc_scores, accept_scores = [weights], [accept]
    if identical:
        moved = _moved(exact, semiring)
        arc_scores.append((moved.weights - weights) / _STEP)
        accept_scores.append(_quotient(moved.accept, accept))
    block = _ops.minimize(
        useful.state_offsets,
        useful.arc_offsets,
        useful.source.contiguous(),
        _keys(useful).contiguous(),
        *useful.topology.entering.by_state(),
        torch.stack(arc_scores),
        torch.stack(accept_scores),
        delta,
    )
    return traced(_merged(light, block, graph.dtype), useful)


def _moved(graph: Graph, semiring: Semiring) -> Graph:
    """The pushed graph after a small step of all scores in a random direction."""
    source = torch.Generator().manual_seed(0)

    def step(scores: Tensor) -> Tensor:
        direction = torch.rand(scores.shape, generator=source, dtype=torch.float64) - 0.5
        return scores.detach() + _STEP * direction

    moved = graph.with_weights(step(graph.weights), accept=step(graph.accept))
    return pushed("minimize", moved.detach(), semiring)


def _quotient(moved: Tensor, scores: Tensor) -> Tensor:
    """The difference quotient, 0 where both are -inf."""
    return torch.where(scores == NEG_INF, 0, (moved - scores) / _STEP)


def _keys(graph: Graph) -> Tensor:
    """A number for the pair of labels of each arc, int32 [arcs]."""
    return graph.ilabels if graph.is_acceptor else graph.topology.pair_labels[0]


def _deterministic(graph: Graph, useful: Graph) -> None:
    """Refuse what is not deterministic."""
    topology = useful.topology
    assert useful.state_maps is not None
    starts = (useful.start.detach() > NEG_INF).nonzero().flatten()
    owner = topology.graph_of_state[starts]
    again = (owner[1:] == owner[:-1]).nonzero().flatten()
    if len(again):
        raise ValueError(
            f"minimize: graph {int(owner[again[0]])} has several start states: determinize it first"
        )
    keys = _keys(useful)
    _, arcs, *_ = topology.leaving_by(keys)
    labels, owner = keys[arcs.long()], topology.global_source[arcs.long()]
    same = (labels[1:] == labels[:-1]) & (owner[1:] == owner[:-1])
    silent = (useful.ilabels == -1) & (useful.olabels == -1)
    for wrong, states, what in (
        (same, owner[1:], "two arcs with one label"),
        (silent, topology.global_source, "an arc that is EPSILON on both sides"),
    ):
        if bool(wrong.any()):
            state = int(states[wrong][0])
            item = int(topology.graph_of_state[state])
            old = int(useful.state_maps[0][state] - graph.state_offsets[item])
            raise ValueError(
                f"minimize: graph {item} has {what} in state {old}: determinize it first"
            )


def _merged(graph: Graph, block: Tensor, dtype: torch.dtype) -> Graph:
    """One state for every block: its start state, or else its first one, with its arcs."""
    topology = graph.topology
    size = graph.num_states
    block = block + topology.state_offsets[topology.graph_of_state]
    chosen = torch.full((size,), size).scatter_reduce(0, block, torch.arange(size), "amin")
    starts = (graph.start.detach() > NEG_INF).nonzero().flatten()
    chosen[block[starts]] = starts
    states = chosen[chosen < size].sort().values
    number = torch.searchsorted(states, chosen[block])
    is_chosen = torch.zeros(size, dtype=torch.bool)
    is_chosen[states] = True
    keep = is_chosen[topology.global_source]
    arcs = keep.nonzero().flatten()
    before = torch.cat([keep.new_zeros(1, dtype=torch.int64), keep.cumsum(0)])
    state_offsets = torch.searchsorted(states, topology.state_offsets)
    first_state = state_offsets[topology.graph_of_arc[arcs]]

    def renumbered(ends: Tensor) -> Tensor:
        return (number[ends[arcs]] - first_state).to(torch.int32)

    ilabels = topology.ilabels[arcs]
    merged = Topology(
        state_offsets,
        before[topology.arc_offsets],
        renumbered(topology.global_source),
        renumbered(topology.global_target),
        ilabels,
        ilabels if topology.ilabels is topology.olabels else topology.olabels[arcs],
        len(states),
    )
    arc_map, state_map = arcs.to(torch.int32), states.to(torch.int32)
    return Graph.from_topology(
        merged,
        _ops.take(graph.weights, arc_map).to(dtype),
        _ops.take(graph.start, state_map).to(dtype),
        _ops.take(graph.accept, state_map).to(dtype),
        arc_maps=(arc_map,),
        state_maps=(state_map,),
    )
