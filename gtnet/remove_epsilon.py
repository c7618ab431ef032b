"""Removal of arcs that neither read nor write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._memory import choosing
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

_MORE_ARCS = 20_000_000


@choosing
def remove_epsilon(
    graph: Graph | Lattice, *, semiring: Semiring = "log", max_arcs: int | None = None
) -> Graph:
    """An automaton of the same weighted language without arcs that both read and write EPSILON.

    An arc with EPSILON on one side only is an ordinary arc of a transducer and stays. If the
    epsilon paths from p to q sum to E, then p gets the arcs of q with E added to their scores, and
    E + accept score of q is added to the accept score of p. Epsilon cycles are summed exactly. The
    result is trimmed and has no arc of score -inf.

    Arguments: any graph, cycles included; `semiring` "log" keeps the log-sum of the paths of
    every string, "tropical" the best of them; `max_arcs` bounds the arcs of the batch, and the
    pairs of states that epsilons connect with the epsilons between them: about 180 bytes each. By
    default it is 20,000,000 more than the arcs that the batch has.
    Result: `arc_maps` names for every arc the ordinary arc it ends with, `state_maps` its state.
    Raises ValueError where the sum over an epsilon cycle diverges (log: its spectral radius is 1
    or more; tropical: its score is positive), naming the graph and a state of the component; for
    any epsilon cycle on a GPU; beyond `max_arcs`. Cycles that no accepting path takes do not count.
    A GPU follows epsilons from all states at once, and the host waits twice per step of the longest
    epsilon path.
    Complexity: with n(p) states and m(p) epsilon arcs reached from p by epsilons, the sum over p
    of n(p) + m(p) + the arcs of those states; k³ more for a component of k states on cycles.
    Gradient: to all scores, through the sums of epsilon paths; any number of derivatives.
    Source: Mohri 2002, "Generic epsilon-removal and input epsilon-normalization"; the solve per
    component as Lehmann 1977.
    """
    graph = prepared("remove_epsilon", graph, semiring, on_gpu=True)
    if max_arcs is None:
        max_arcs = most_arcs(graph)
    max_arcs = _checks.count("remove_epsilon", "max_arcs", max_arcs)
    if not bool(epsilon_arcs(graph).any()):
        return trimmed(graph)
    loud, silent = _parted(graph)
    if silent.topology.is_cyclic:  # perhaps on no accepting path
        useful = trimmed(graph)
        loud, silent = (traced(part, useful) for part in _parted(useful))
    pairs = Pairs("remove_epsilon", loud, silent, max_arcs)
    sums = closure("remove_epsilon", silent, pairs, semiring)
    closed, _ = attached("remove_epsilon", loud, pairs, sums, semiring, max_arcs)
    closed = traced(closed, loud)
    return traced(connect(closed), closed)


def most_arcs(graph: Graph) -> int:
    """How many arcs the result may have where nothing else is said."""
    return min(_MORE_ARCS + graph.num_arcs, _checks.LARGEST)


def _parted(graph: Graph) -> tuple[Graph, Graph]:
    """The graph with its ordinary arcs and with its epsilons, without arcs of score -inf."""
    silent, possible = epsilon_arcs(graph), graph.weights.detach() > NEG_INF
    return with_arcs(graph, possible & ~silent), with_arcs(graph, possible & silent)


class Pairs:
    """Which states are reached by epsilons from the states in which a path may arrive.

    Pair i leads from state source[i] to state[i], both numbered through the batch; copies of the
    epsilon arcs lead from pair to pair of one source.
    """

    def __init__(self, function: str, loud: Graph, silent: Graph, max_arcs: int) -> None:
        arrived = loud.start.detach() > NEG_INF
        arrived = arrived.index_fill(0, loud.topology.global_target, True)
        found = _ops.epsilon_pairs(
            silent.state_offsets, *silent.topology.leaving.by_state(), arrived, max_arcs
        )
        if found is None:
            raise _too_many(function, "pairs of states that epsilons connect, with these", max_arcs)
        sources, offsets, arc_offsets, states, begin, end, arcs = found
        self.source = sources.long()[_ops.spread(offsets, len(states))]
        self.state = states.long()
        self.arcs = arcs
        # One graph per source, so that path sums of the copies are the closure.
        self.copies = Topology(offsets, arc_offsets, begin, end, begin, begin, len(states))


def _too_many(function: str, what: str, max_arcs: int) -> ValueError:
    return ValueError(
        f"{function}: there are more than max_arcs={max_arcs} {what}; prune the graph, split the "
        f"batch, or raise max_arcs (about 180 bytes each)"
    )


def closure(function: str, silent: Graph, pairs: Pairs, semiring: Semiring) -> Tensor:
    """The sum of the epsilon paths of every pair, float64 [pairs]."""
    nowhere = torch.full_like(silent.start.detach(), NEG_INF)
    arriving = nowhere.index_fill(0, pairs.source, 0)
    everywhere = silent.detach().with_weights(start=arriving, accept=nowhere)
    path_sums(function, everywhere, semiring)  # raises in the graph's own numbers
    seeds = nowhere.new_full((pairs.copies.num_states,), NEG_INF, dtype=torch.float64)
    seeds = seeds.index_fill(0, pairs.copies.state_offsets[:-1], 0)
    weights = _ops.take(silent.weights.double(), pairs.arcs)
    copies = Graph.from_topology(pairs.copies, weights, seeds, torch.full_like(seeds, NEG_INF))
    return path_sums(function, copies, semiring)


def attached(
    function: str,
    loud: Graph,
    pairs: Pairs,
    closure: Tensor,
    semiring: Semiring,
    max_arcs: int,
) -> tuple[Graph, Tensor]:
    """Every state with the ordinary arcs and accept scores of what it reaches by epsilons.

    And the pair that each arc comes through, int64 [arcs].
    """
    topology = loud.topology
    offsets, arcs, _ = topology.leaving.by_state()
    degree = offsets.diff().long()[pairs.state]
    num_arcs = int(degree.sum())
    if num_arcs > max_arcs:
        raise _too_many(function, "arcs", max_arcs)
    pair = torch.repeat_interleave(degree, output_size=num_arcs)
    ahead = torch.arange(num_arcs, device=pair.device) - (degree.cumsum(0) - degree)[pair]
    old = arcs[offsets[pairs.state[pair]] + ahead].long()
    source = pairs.source[pair]
    graphs = topology.graph_of_state[source]
    ilabels = topology.ilabels[old]
    ends = segment_sums(
        closure + loud.accept.double()[pairs.state], pairs.source, loud.num_states, semiring
    )
    whole = Graph.from_topology(
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
    return whole, pair
