"""The deterministic automaton with the fewest states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._memory import choosing
from gtnet._rewrite import (
    Merge,
    Semiring,
    arcs_on_cycles,
    epsilon_arcs,
    items_with,
    label_keys,
    merges_identical,
    only,
    prepared,
    trimmed,
    with_best_paths,
)
from gtnet.graph import Graph
from gtnet.push import pushed
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

DELTA = 1e-6
_STEP = 1e-3  # of the difference quotients that tell identical scores from equal ones


@choosing
def minimize(
    graph: Graph | Lattice,
    *,
    semiring: Semiring = "log",
    merge: Merge = "auto",
    delta: float = DELTA,
) -> Graph:
    """The smallest deterministic automaton that gives every string the same score.

    Scores are pushed towards the start, then states with the same future are merged. A transducer
    is treated as an acceptor of its (input, output) pairs. A graph that gives all its strings one
    score needs no sums for that, which would be infinite around its cycles: its arcs score 0.

    Arguments: `graph` deterministic: at most one start state, in each state at most one arc per
    label (pair) and none that is EPSILON on both sides; `semiring`, `merge` and `delta` as in
    `determinize`.
    Result: trimmed and pushed; `arc_maps` and `state_maps` name one of the arcs or states merged.
    Raises ValueError for a graph that is not deterministic (see `determinize`), naming the state,
    and where the paths around a cycle have no finite sum (`semiring="tropical"` needs none).
    Complexity: O(arcs log arcs), and that of `push`; cyclic or not.
    Gradient: that of the pushed scores; any number of derivatives.
    Source: Hopcroft 1971; Valmari 2012; Mohri 1997, section 3.7, for weights.
    """
    graph = prepared("minimize", graph, semiring)
    identical = merges_identical("minimize", graph, merge)
    delta = _checks.tolerance("minimize", "delta", delta)
    useful = trimmed(graph)
    _refuse(graph, useful)
    return minimized("minimize", useful, semiring, identical, delta)


def minimized(
    function: str,
    useful: Graph,
    semiring: Semiring,
    identical: bool,
    delta: float,
    leniently: bool = False,
) -> Graph:
    """`minimize` of what is trimmed and deterministic.

    `leniently` pushes cyclic items by their best paths, and those that have none not at all.
    """
    exact = useful.to(torch.float64)
    by_best = _unweighted(exact.detach(), delta) if semiring == "log" else None
    left = None
    if leniently:
        cyclic = items_with(useful, arcs_on_cycles(useful))
        by_best = cyclic if by_best is None else cyclic | by_best
        left = ~with_best_paths(exact.detach())
    light = pushed(function, exact, semiring, by_best=by_best, left=left)
    weights, accept = light.weights.detach(), light.accept.detach()
    arc_scores, accept_scores = [weights], [accept]
    if identical:
        moved = pushed(function, _moved(exact), semiring, by_best=by_best, left=left)
        arc_scores.append((moved.weights - weights) / _STEP)
        accept_scores.append(_quotient(moved.accept, accept))
    block = _ops.minimize(
        useful.state_offsets,
        useful.arc_offsets,
        useful.source.contiguous(),
        label_keys(useful).contiguous(),
        *useful.topology.entering.by_state(),
        torch.stack(arc_scores),
        torch.stack(accept_scores),
        delta,
    )
    return traced(_merged(light, block, useful.dtype), useful)


def _unweighted(graph: Graph, delta: float) -> Tensor:
    """Which items give all their strings one score, bool [batch].

    Their cycles have no finite sum, and need none: best paths tell their states apart. Of acyclic
    items, whose sums are finite, only those are marked that show it, by arcs that score 0.
    """
    plain = ~items_with(graph, graph.weights != 0)
    if not bool(plain.any()) and not graph.topology.is_cyclic:
        return plain
    plain = plain & ~_differing(graph, graph.accept, 0)
    cyclic = items_with(graph, arcs_on_cycles(graph)) & ~plain
    if not bool(cyclic.any()):
        return plain
    cyclic = cyclic & with_best_paths(only(graph, cyclic))
    light = pushed("minimize", only(graph, cyclic), "tropical")
    weighted = items_with(graph, light.weights.abs() > delta)
    return plain | (cyclic & ~weighted & ~_differing(graph, light.accept, delta))


def _differing(graph: Graph, accept: Tensor, delta: float) -> Tensor:
    """Which items have ends whose scores differ by more than delta, bool [batch]."""
    ends = accept > NEG_INF
    owner, scores = graph.topology.graph_of_state[ends], accept[ends]
    extremes = [
        scores.new_zeros(len(graph)).scatter_reduce(0, owner, scores, which, include_self=False)
        for which in ("amin", "amax")
    ]
    return extremes[1] - extremes[0] > delta


def _moved(graph: Graph) -> Graph:
    """The graph after a small step of all scores in a random direction.

    Downwards, so that the sums around cycles stay finite.
    """
    source = torch.Generator().manual_seed(0)

    def step(scores: Tensor) -> Tensor:
        direction = torch.rand(scores.shape, generator=source, dtype=torch.float64) - 1
        return scores.detach() + _STEP * direction

    return graph.detach().with_weights(step(graph.weights), accept=step(graph.accept))


def _quotient(moved: Tensor, scores: Tensor) -> Tensor:
    """The difference quotient, 0 where both are -inf."""
    return torch.where(scores == NEG_INF, 0, (moved - scores) / _STEP)


def flaws(graph: Graph) -> list[tuple[Tensor, str]]:
    """What keeps a trimmed graph from being deterministic: states, and what is wrong there."""
    topology = graph.topology
    starts = (graph.start.detach() > NEG_INF).nonzero().flatten()
    owner = topology.graph_of_state[starts]
    keys = label_keys(graph)
    _, arcs, *_ = topology.leaving_by(keys)
    labels, sources = keys[arcs.long()], topology.global_source[arcs.long()]
    same = (labels[1:] == labels[:-1]) & (sources[1:] == sources[:-1])
    silent = epsilon_arcs(graph)
    return [
        (starts[1:][owner[1:] == owner[:-1]], "several start states"),
        (sources[1:][same], "two arcs with one label"),
        (topology.global_source[silent], "an arc that is EPSILON on both sides"),
    ]


def _refuse(graph: Graph, useful: Graph) -> None:
    """Refuse what is not deterministic."""
    assert useful.state_maps is not None
    for states, what in flaws(useful):
        if len(states):
            item = int(useful.topology.graph_of_state[states[0]])
            where = ""
            if what != "several start states":
                old = int(useful.state_maps[0][states[0]] - graph.state_offsets[item])
                where = f" in state {old}"
            raise ValueError(
                f"minimize: graph {item} has {what}{where}: determinize it first, or use optimize"
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
