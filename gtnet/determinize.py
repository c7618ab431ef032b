"""At most one arc per label and state: weighted determinization."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._ops import Determinized
from gtnet._rewrite import Merge, Semiring, epsilon_arcs, merges_identical, prepared, trimmed
from gtnet.graph import Graph
from gtnet.remove_epsilon import remove_epsilon
from gtnet.topology import Topology

MAX_STATES = 1_000_000
DELTA = 1e-6
_TOO_LARGE, _NOT_FUNCTIONAL = 1, 2  # ends of the operator, see csrc/determinize.h


def determinize(
    graph: Graph,
    *,
    semiring: Semiring = "log",
    on: Literal["ilabels", "pairs"] = "ilabels",
    merge: Merge = "auto",
    max_states: int = MAX_STATES,
    delta: float = DELTA,
) -> Graph:
    """A deterministic automaton that gives every string the score that `graph` gives it.

    Served are acceptors, after epsilon removal; functional transducers, which write one output
    for an input and read no EPSILON where they write; and, with `on="pairs"`, every transducer as
    an acceptor of its (input, output) pairs. A result has one start state at most and, in each
    state, one arc per label read (per pair, with `on="pairs"`). Outputs of a transducer are
    written as soon as they are certain; where an arc writes several labels, or the end of a path
    still owes some, arcs that read EPSILON follow, alone in their state or after all input is
    read.

    Arguments:
        semiring: "log" keeps the log-sum of the paths of every string, "tropical" the best.
        merge: states are merged where residual scores agree to within `delta`. "identical" asks in
            addition that they agree to first order when scores change, so that gradients are those
            of the strings' scores; "equal" does not and is smaller where scores happen to be
            equal; "auto" is "identical" where the graph requires grad, else "equal".
        max_states: of one graph of the result.
        delta: bounds the error of the score of a string, for each time it enters a merged state.

    Raises: ValueError beyond `max_states` (weighted automata without the twins property have no
    deterministic equivalent), for transducers that are not functional or that read EPSILON while
    writing, and as `remove_epsilon` does.
    Complexity: O(entries of the subsets · degree · log degree); exponential in the worst case.
    Gradient: to all scores, along a record of the sums; first derivatives. Tropical ties go to
    the first.
    Source: Mohri 1997, "Finite-state transducers in language and speech processing", sections 3
    and 4; Mohri 2009, section 7.2.
    """
    graph = prepared("determinize", graph, semiring)
    if on not in ("ilabels", "pairs"):
        raise ValueError(f'determinize: on must be "ilabels" or "pairs", got {on!r}')
    max_states = _checks.count("determinize", "max_states", max_states)
    identical = merges_identical("determinize", graph, merge)
    delta = _checks.tolerance("determinize", "delta", delta)
    if bool(epsilon_arcs(graph).any()):
        plain = remove_epsilon(graph, semiring=semiring)
    else:
        plain = trimmed(graph)
    as_pairs = on == "pairs" and not plain.is_acceptor
    outputs = None
    if not as_pairs and not plain.is_acceptor:
        _reads_something(graph, plain)
        outputs = plain.olabels.contiguous()
    keys, alphabet = plain.topology.pair_labels if as_pairs else (plain.ilabels, None)
    scores = (plain.weights.double(), plain.start.double(), plain.accept.double())
    made = _ops.determinize(
        scores,
        plain.state_offsets,
        *plain.topology.leaving_by(keys),
        outputs,
        tropical=semiring == "tropical",
        identical=identical,
        delta=delta,
        max_states=max_states,
    )
    _ended_well(graph, plain, made, max_states)
    if outputs is not None:
        return _transducer(made, graph.dtype)
    ilabels = made.label if alphabet is None else alphabet[0][made.label.long()]
    olabels = ilabels if alphabet is None else alphabet[1][made.label.long()]
    source = _source(made)
    graph_of_arc = _owner(made.arc_offsets)
    topology = Topology(
        made.state_offsets,
        made.arc_offsets,
        (source - made.state_offsets[graph_of_arc]).to(torch.int32),
        (made.target - made.state_offsets[graph_of_arc]).to(torch.int32),
        ilabels,
        olabels,
        len(made.accept),
    )
    return Graph.from_topology(
        topology,
        made.score.to(graph.dtype),
        _start(made, made.state_offsets).to(graph.dtype),
        made.accept.to(graph.dtype),
    )


def _reads_something(graph: Graph, plain: Graph) -> None:
    """Refuse arcs that write without reading."""
    silent = (plain.ilabels == EPSILON).nonzero().flatten()
    if not len(silent):
        return
    assert plain.arc_maps is not None
    arc = int(plain.arc_maps[0][silent[0]])
    item = int(graph.topology.graph_of_arc[arc])
    raise ValueError(
        f"determinize: graph {item} reads EPSILON and writes {int(graph.olabels[arc])} on arc "
        f'{arc - int(graph.arc_offsets[item])}; on="pairs" determinizes it as label pairs'
    )


def _ended_well(graph: Graph, plain: Graph, made: Determinized, max_states: int) -> None:
    """Refuse results that the operator gave up."""
    failed = made.ends[0].nonzero().flatten()
    if not len(failed):
        return
    item = int(failed[0])
    if int(made.ends[0, item]) == _TOO_LARGE:
        raise ValueError(
            f"determinize: graph {item} needs more than max_states={max_states} states; either it "
            f"has no deterministic equivalent (its cycles weigh one string differently) or "
            f"max_states must be raised"
        )
    assert plain.state_maps is not None
    state = int(plain.state_maps[0][int(made.ends[1, item])] - graph.state_offsets[item])
    raise ValueError(
        f"determinize: graph {item} is not functional: two paths with one input reach state "
        f'{state} with different outputs; on="pairs" determinizes it as label pairs'
    )


def _owner(offsets: Tensor) -> Tensor:
    return torch.repeat_interleave(offsets.diff())


def _source(made: Determinized) -> Tensor:
    return torch.repeat_interleave(made.arc_begin.diff(), output_size=len(made.target))


def _start(made: Determinized, state_offsets: Tensor) -> Tensor:
    """Start scores of the states, given where the states of each graph begin in the result."""
    there = made.state_offsets.diff() > 0
    scores = made.accept.new_full((int(state_offsets[-1]),), NEG_INF)
    return scores.index_put((state_offsets[:-1][there],), made.start_score[there])


def _transducer(made: Determinized, dtype: torch.dtype) -> Graph:
    """The arcs as chains that write one label each, and chains that write what is owed at the end.

    Unit u < arcs is the chain of arc u, unit arcs + s that of the end of state s. Every arc of a
    chain but the last of an arc's own leads to a state made for it.
    """
    num_arcs, num_states = len(made.target), len(made.accept)
    ends = (made.accept.detach() > NEG_INF) & (made.ending_begin.diff() > 0)
    lengths = torch.cat([made.output_begin.diff(), made.ending_begin.diff()])
    chain = torch.cat([made.output_begin.diff().clamp(min=1), made.ending_begin.diff() * ends])
    first_output = torch.cat([made.output_begin[:-1], made.ending_begin[:-1] + len(made.outputs)])
    outputs = torch.cat([made.outputs, made.endings, made.outputs.new_full((1,), EPSILON)])
    graph_of_unit = torch.cat([_owner(made.arc_offsets), _owner(made.state_offsets)])
    source = torch.cat([_source(made), torch.arange(num_states)])
    target = torch.cat([made.target.long(), torch.full((num_states,), -1)])
    ilabels = torch.cat([made.label, made.label.new_full((num_states,), EPSILON)])

    order = torch.argsort(graph_of_unit, stable=True)
    unit = torch.repeat_interleave(order, chain[order])
    step = torch.arange(len(unit)) - torch.repeat_interleave(
        chain[order].cumsum(0) - chain[order], chain[order]
    )
    graphs = graph_of_unit[unit]
    last = step + 1 == chain[unit]
    fresh = ~last | (unit >= num_arcs)
    written = torch.where(lengths[unit] > 0, first_output[unit] + step, -1)

    fresh_before = torch.cat([torch.zeros(1, dtype=torch.int64), fresh.cumsum(0)])
    arc_offsets = torch.searchsorted(graphs, torch.arange(len(made.state_offsets)))
    fresh_offsets = fresh_before[arc_offsets]
    state_offsets = made.state_offsets + fresh_offsets
    core = made.state_offsets.diff()
    own = core[graphs] + fresh_before[1:] - 1 - fresh_offsets[graphs]  # where `fresh`
    first_state = made.state_offsets[graphs]
    before = torch.cat([own.new_zeros(1), own[:-1]])[: len(own)]
    topology = Topology(
        state_offsets,
        arc_offsets,
        torch.where(step == 0, source[unit] - first_state, before).to(torch.int32),
        torch.where(fresh, own, target[unit] - first_state).to(torch.int32),
        torch.where(step == 0, ilabels[unit], EPSILON),
        outputs[written],
        int(state_offsets[-1]),
    )
    scores = torch.cat([made.score, made.accept])
    weights = _ops.take(scores, torch.where(step == 0, unit, -1).to(torch.int32))
    kept = torch.arange(num_states) + fresh_offsets[_owner(made.state_offsets)]
    accept = made.accept.new_full((topology.num_states,), NEG_INF)
    accept = accept.index_put((kept,), made.accept.masked_fill(ends, NEG_INF))
    final = (state_offsets[graphs] + own)[fresh & last]
    accept = accept.index_fill(0, final, 0)
    return Graph.from_topology(
        topology, weights.to(dtype), _start(made, state_offsets).to(dtype), accept.to(dtype)
    )
