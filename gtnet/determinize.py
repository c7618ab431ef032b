"""At most one arc per label and state: weighted determinization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._chains import Units, chained
from gtnet._checks import EPSILON, NEG_INF
from gtnet._ops import Determinized
from gtnet._rewrite import Merge, Semiring, epsilon_arcs, merges_identical, prepared, trimmed
from gtnet.graph import Graph
from gtnet.remove_epsilon import remove_epsilon
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

MAX_STATES = 1_000_000
DELTA = 1e-6
_TOO_LARGE, _NOT_FUNCTIONAL = 1, 2  # ends of the operator, see csrc/rewrite/cpu/determinize.h


def determinize(
    graph: Graph | Lattice,
    *,
    semiring: Semiring = "log",
    on: Literal["ilabels", "pairs"] = "ilabels",
    merge: Merge = "auto",
    max_states: int = MAX_STATES,
    delta: float = DELTA,
) -> Graph:
    """A deterministic automaton that gives every string the score that `graph` gives it.

    It takes acceptors, after removing their epsilons; functional transducers, which write one
    output for each input and never write while reading EPSILON; and, with `on="pairs"`, any
    transducer as an acceptor of its (input, output) pairs. The result is trimmed, and has at most
    one start state and, in each state, one arc per label read (with `on="pairs"`, per pair). A
    transducer writes its outputs as soon as they are certain; where an arc writes several labels,
    or some are left at the end of a path, a chain of arcs that read EPSILON follows.

    Arguments:
        semiring: "log" keeps the log-sum of the paths of every string, "tropical" the best.
        merge: states are merged where residual scores agree to within `delta`. "identical" also
            requires that they agree to first order when scores change, so that gradients are those
            of the strings' scores; "equal" does not, and gives a smaller result where scores
            happen to be equal; "auto" is "identical" if the graph requires grad, else "equal".
        max_states: of one graph of the result.
        delta: bounds the error of the score of a string, for each time it enters a merged state.

    Raises: ValueError beyond `max_states` (weighted automata without the twins property have no
    deterministic equivalent), for transducers that are not functional or that read EPSILON while
    writing, and as `remove_epsilon` does.
    Complexity: O(entries of the subsets · degree · log degree); exponential in the worst case.
    Gradient: to all scores, along a record of the sums; first derivatives only. A tropical tie goes
    to the first path.
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
        _start(made).to(graph.dtype),
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
        f'{arc - int(graph.arc_offsets[item])}; on="pairs" determinizes it as pairs of labels'
    )


def _ended_well(graph: Graph, plain: Graph, made: Determinized, max_states: int) -> None:
    """Raise where the operator gave up."""
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
        f'{state} with different outputs; on="pairs" determinizes it as pairs of labels'
    )


def _owner(offsets: Tensor) -> Tensor:
    return torch.repeat_interleave(offsets.diff())


def _source(made: Determinized) -> Tensor:
    return torch.repeat_interleave(made.arc_begin.diff(), output_size=len(made.target))


def _start(made: Determinized) -> Tensor:
    """Start scores of the states: paths begin in the first of each graph."""
    there = made.state_offsets.diff() > 0
    scores = torch.full_like(made.accept, NEG_INF)
    return scores.index_put((made.state_offsets[:-1][there],), made.start_score[there])


def _transducer(made: Determinized, dtype: torch.dtype) -> Graph:
    """The arcs and the ends of paths, which may write strings, as chains."""
    owing = ((made.accept.detach() > NEG_INF) & (made.ending_begin.diff() > 0)).nonzero().flatten()
    units = Units(
        graph=torch.cat([_owner(made.arc_offsets), _owner(made.state_offsets)[owing]]),
        source=torch.cat([_source(made), owing]),
        target=torch.cat([made.target.long(), torch.full_like(owing, -1)]),
        ilabels=torch.cat([made.label, made.label.new_full((len(owing),), EPSILON)]),
        begin=torch.cat([made.output_begin[:-1], made.ending_begin[owing] + len(made.outputs)]),
        length=torch.cat([made.output_begin.diff(), made.ending_begin.diff()[owing]]),
        outputs=torch.cat([made.outputs, made.endings]),
        weights=torch.cat([made.score, made.accept[owing]]),
    )
    accept = made.accept.index_fill(0, owing, NEG_INF)
    graph = chained("determinize", units, made.state_offsets, _start(made), accept)
    return Graph.from_topology(
        graph.topology, graph.weights.to(dtype), graph.start.to(dtype), graph.accept.to(dtype)
    )
