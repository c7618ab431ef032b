"""Removal of arcs that neither read nor write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._rewrite import (
    Semiring,
    epsilon_arcs,
    path_sums,
    prepared,
    segment_sums,
    trimmed,
    with_arcs,
)
from gtnet.connect import connect
from gtnet.graph import Graph
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


def remove_epsilon(graph: Graph | Lattice, *, semiring: Semiring = "log") -> Graph:
    """An automaton of the same weighted language without arcs that both read and write EPSILON.

    An arc with EPSILON on one side only is an ordinary arc of a transducer and stays. If the
    epsilon paths from p to q sum to E, then p gets the arcs of q with E added to their scores, and
    E + accept score of q is added to the accept score of p. Epsilon cycles are summed exactly. The
    result is trimmed and has no arc of score -inf.

    Arguments: any graph, cycles included; `semiring` "log" keeps the log-sum of the paths of
    every string, "tropical" the best of them.
    Result: `arc_maps` names for every arc the ordinary arc it ends with, `state_maps` its state.
    Raises ValueError where the sum over an epsilon cycle diverges (log: its spectral radius is 1
    or more; tropical: its score is positive), naming the graph and a state of the component; for
    any epsilon cycle on a GPU. Cycles that no accepting path takes do not count. A GPU follows
    epsilons from all states at once, and the host waits twice per step of the longest epsilon path.
    Complexity: with n(p) states and m(p) epsilon arcs reached from p by epsilons, the sum over p
    of n(p) + m(p) + the arcs of those states; k³ more for a component of k states on cycles.
    Gradient: to all scores, through the sums of epsilon paths; any number of derivatives.
    Source: Mohri 2002, "Generic epsilon-removal and input epsilon-normalization"; the solve per
    component as Lehmann 1977.
    """
    graph = prepared("remove_epsilon", graph, semiring, on_gpu=True)
    if not bool(epsilon_arcs(graph).any()):
        return trimmed(graph)
    loud, silent = _parted(graph)
    if silent.topology.is_cyclic:  # perhaps on no accepting path
        useful = trimmed(graph)
        loud, silent = (traced(part, useful) for part in _parted(useful))
    pairs = _Pairs(loud, silent)
    closure = _closure(silent, pairs, semiring)
    closed = traced(_attached(loud, pairs, closure, semiring), loud)
    return traced(connect(closed), closed)


def _parted(graph: Graph) -> tuple[Graph, Graph]:
    """The graph with its ordinary arcs and with its epsilons, without arcs of score -inf."""
    silent, possible = epsilon_arcs(graph), graph.weights.detach() > NEG_INF
    return with_arcs(graph, possible & ~silent), with_arcs(graph, possible & silent)


class _Pairs:
    """Which states are reached by epsilons from the states in which a path may arrive.

    Pair i leads from state source[i] to state[i], both numbered through the batch; copies of the
    epsilon arcs lead from pair to pair of one source.
    """

    def __init__(self, loud: Graph, silent: Graph) -> None:
        arrived = loud.start.detach() > NEG_INF
        arrived = arrived.index_fill(0, loud.topology.global_target, True)
        sources, offsets, arc_offsets, states, begin, end, arcs = _ops.epsilon_pairs(
            silent.state_offsets, *silent.topology.leaving.by_state(), arrived
        )
        _checks.countable("remove_epsilon", "pairs of states", len(states))
        _checks.countable("remove_epsilon", "epsilon arcs between pairs", len(arcs))
        self.source = sources.long()[_ops.spread(offsets, len(states))]
        self.state = states.long()
        self.arcs = arcs
        # One graph per source, so that path sums of the copies are the closure.
        self.copies = Topology(offsets, arc_offsets, begin, end, begin, begin, len(states))


def _closure(silent: Graph, pairs: _Pairs, semiring: Semiring) -> Tensor:
    """The sum of the epsilon paths of every pair, float64 [pairs]."""
    nowhere = torch.full_like(silent.start.detach(), NEG_INF)
    arriving = nowhere.index_fill(0, pairs.source, 0)
    everywhere = silent.detach().with_weights(start=arriving, accept=nowhere)
    path_sums("remove_epsilon", everywhere, semiring)  # raises in the graph's own numbers
    seeds = nowhere.new_full((pairs.copies.num_states,), NEG_INF, dtype=torch.float64)
    seeds = seeds.index_fill(0, pairs.copies.state_offsets[:-1], 0)
    weights = _ops.take(silent.weights.double(), pairs.arcs)
    copies = Graph.from_topology(pairs.copies, weights, seeds, torch.full_like(seeds, NEG_INF))
    return path_sums("remove_epsilon", copies, semiring)


def _attached(loud: Graph, pairs: _Pairs, closure: Tensor, semiring: Semiring) -> Graph:
    """Every state with the ordinary arcs and accept scores of what it reaches by epsilons."""
    topology = loud.topology
    offsets, arcs, _ = topology.leaving.by_state()
    degree = offsets.diff().long()[pairs.state]
    num_arcs = int(degree.sum())
    _checks.countable("remove_epsilon", "arcs", num_arcs)
    pair = torch.repeat_interleave(degree, output_size=num_arcs)
    ahead = torch.arange(num_arcs, device=pair.device) - (degree.cumsum(0) - degree)[pair]
    old = arcs[offsets[pairs.state[pair]] + ahead].long()
    source = pairs.source[pair]
    graphs = topology.graph_of_state[source]
    ilabels = topology.ilabels[old]
    ends = segment_sums(
        closure + loud.accept.double()[pairs.state], pairs.source, loud.num_states, semiring
    )
    return Graph.from_topology(
        Topology(
            topology.state_offsets,
            torch.searchsorted(graphs, torch.arange(len(loud) + 1, device=graphs.device)),
            (source - topology.state_offsets[graphs]).to(torch.int32),
            topology.target[old],
            ilabels,
            ilabels if topology.ilabels is topology.olabels else topology.olabels[old],
            loud.num_states,
        ),
        (_ops.take(closure, pair.to(torch.int32)) + _ops.take(loud.weights.double(), old.int())).to(
            loud.dtype
        ),
        loud.start,
        ends.to(loud.dtype),
        arc_maps=(old.to(torch.int32),),
        state_maps=(torch.arange(loud.num_states, dtype=torch.int32, device=loud.device),),
    )
