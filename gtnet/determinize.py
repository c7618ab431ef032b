"""At most one arc per label and state: weighted determinization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._all_outputs import Sizes, all_outputs
from gtnet._chains import Units, chained
from gtnet._checks import EPSILON, NEG_INF
from gtnet._folding import NotFunctionalError, folded
from gtnet._memory import choosing
from gtnet._ops import Determinized
from gtnet._recorded import TooLargeError
from gtnet._rewrite import (
    Merge,
    Semiring,
    arcs_on_cycles,
    epsilon_arcs,
    items_with,
    merges_identical,
    prepared,
    trimmed,
    with_arcs,
)
from gtnet.graph import Graph
from gtnet.remove_epsilon import most_arcs, remove_epsilon
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

MAX_STATES = 1_000_000
DELTA = 1e-6
_TOO_LARGE, _NOT_FUNCTIONAL = 1, 2  # ends of the operator, see csrc/rewrite/cpu/determinize.h


@choosing
def determinize(
    graph: Graph | Lattice,
    *,
    semiring: Semiring = "log",
    on: Literal["ilabels", "pairs"] = "ilabels",
    outputs: Literal["one", "all"] = "one",
    merge: Merge = "auto",
    max_states: int | None = None,
    delta: float = DELTA,
) -> Graph:
    """A deterministic automaton that gives every string the score that `graph` gives it.

    It takes acceptors, after removing their epsilons; functional transducers, which write one
    output for each input, also on arcs that read EPSILON; and, with `on="pairs"`, any transducer as
    an acceptor of its (input, output) pairs. The result is trimmed, and has at most
    one start state and, in each state, one arc per label read (with `on="pairs"`, per pair). A
    transducer writes its outputs as soon as they are certain; where an arc writes several labels,
    or some are left at the end of a path, a chain of arcs that read EPSILON follows. With
    `outputs="all"` a transducer may write several strings for one input: it is deterministic as far
    as it reads, and where a path ends, each string that is still owed is a chain of its own.

    Arguments:
        semiring: "log" keeps the log-sum of the paths of every string, "tropical" the best.
        merge: states are merged where residual scores agree to within `delta`. "identical" also
            requires that they agree to first order when scores change, so that gradients are those
            of the strings' scores; "equal" does not, and gives a smaller result where scores
            happen to be equal; "auto" is "identical" if the graph requires grad, else "equal".
        max_states: of one graph of the result, those of the chains among them; by default
            1,000,000 more than the largest graph has. What the states stand for takes at most 5 GB.
        delta: bounds the error of the score of a string, for each time it enters a merged state.

    Raises: ValueError beyond `max_states` (weighted automata without the twins property have no
    deterministic equivalent), for transducers that are not functional (with `outputs="all"`: that
    write endless strings for one input), and as `remove_epsilon`.
    Complexity: O(entries of the subsets · degree · log degree); exponential in the worst case. With
    `outputs="all"` in Python, some 40 µs for each arc of an entry.
    Gradient: to all scores, along a record of the sums; first derivatives only, with
    `outputs="all"` any number. A tropical tie goes to one of the best paths.
    Source: Mohri 1997, "Finite-state transducers in language and speech processing", sections 3
    and 4; Mohri 2009, section 7.2.
    """
    graph = prepared("determinize", graph, semiring)
    if on not in ("ilabels", "pairs"):
        raise ValueError(f'determinize: on must be "ilabels" or "pairs", got {on!r}')
    if outputs not in ("one", "all"):
        raise ValueError(f'determinize: outputs must be "one" or "all", got {outputs!r}')
    if max_states is not None:
        max_states = _checks.count("determinize", "max_states", max_states)
    identical = merges_identical("determinize", graph, merge)
    delta = _checks.tolerance("determinize", "delta", delta)
    if bool(epsilon_arcs(graph).any()):
        plain = remove_epsilon(graph, semiring=semiring)
    else:
        plain = trimmed(graph)
    most = most_states(plain) if max_states is None else max_states
    by_input = on == "ilabels" and not plain.is_acceptor
    if by_input and outputs == "all":
        return _with_all_outputs(graph, plain, semiring, Sizes(delta, most, identical))
    try:
        made, ends = subsets(plain, semiring, by_input, identical, delta, most)
    except NotFunctionalError as error:
        raise _not_functional(graph, plain, error.state) from None
    _ended_well(graph, plain, ends, most, semiring)
    return made


def _with_all_outputs(graph: Graph, plain: Graph, semiring: Semiring, sizes: Sizes) -> Graph:
    mute = with_arcs(plain, plain.ilabels == EPSILON).topology
    order, on_cycle = mute.order_and_cycles
    if bool((on_cycle >= 0).any()):
        assert plain.state_maps is not None
        item = int((on_cycle >= 0).nonzero()[0])
        state = int(plain.state_maps[0][on_cycle[item]] - graph.state_offsets[item])
        raise ValueError(
            f"determinize: graph {item} writes endless strings for one input: a cycle through "
            f"state {state} reads nothing; break it, or bound the strings by composition"
        )
    try:
        return all_outputs(plain, order, semiring, sizes)
    except TooLargeError as error:
        raise _too_large(plain, error.graph, sizes.max_states, semiring) from None


def subsets(
    plain: Graph, semiring: Semiring, by_input: bool, identical: bool, delta: float, most: int
) -> tuple[Graph, Tensor]:
    """`determinize` of what is trimmed and has no epsilons, and how that ended, int32 [2, batch].

    `by_input` takes outputs for what is written, otherwise for a part of the labels read.
    """
    nothing = plain.ilabels.new_empty(0)
    written: Sequence[Tensor | None] = (None, nothing, nothing.long(), nothing)
    alphabet, keys = None, plain.ilabels
    given = plain
    if by_input:
        plain, written = folded("determinize", plain, semiring, most_arcs(plain))
        keys = plain.ilabels
    elif not plain.is_acceptor:
        keys, alphabet = plain.topology.pair_labels
    scores = (plain.weights.double(), plain.start.double(), plain.accept.double())
    made = _ops.determinize(
        scores,
        plain.state_offsets,
        *plain.topology.leaving_by(keys),
        *written,
        tropical=semiring == "tropical",
        identical=identical,
        delta=delta,
        max_states=most,
    )
    if by_input:
        ends = made.ends
        if plain is not given:
            assert plain.state_maps is not None
            witness = ends[1].clamp(min=0).long()
            if plain.num_states:
                witness = plain.state_maps[0].long()[witness]
            ends = torch.stack([ends[0], witness.to(torch.int32)])
        return _transducer(made, plain.dtype), ends
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
    graph = Graph.from_topology(
        topology,
        made.score.to(plain.dtype),
        _start(made).to(plain.dtype),
        made.accept.to(plain.dtype),
    )
    return graph, made.ends


def most_states(graph: Graph) -> int:
    """How many states one graph of the result may have where nothing else is said."""
    sizes = graph.state_offsets.diff()
    return min(MAX_STATES + (int(sizes.max()) if len(sizes) else 0), _checks.LARGEST)


def _ended_well(
    graph: Graph, plain: Graph, ends: Tensor, max_states: int, semiring: Semiring
) -> None:
    """Raise where the operator gave up."""
    failed = ends[0].nonzero().flatten()
    if not len(failed):
        return
    item = int(failed[0])
    if int(ends[0, item]) == _TOO_LARGE:
        raise _too_large(plain, item, max_states, semiring)
    raise _not_functional(graph, plain, int(ends[1, item]))


def _too_large(plain: Graph, item: int, max_states: int, semiring: Semiring) -> ValueError:
    on_cycle = arcs_on_cycles(plain)
    weighted = on_cycle & (plain.weights.detach() != 0)
    hint = ""
    counts = items_with(plain, on_cycle) & ~items_with(plain, weighted)
    if semiring == "log" and bool(counts[item]):
        hint = ', or semiring="tropical" is meant, which counts no paths'
    return ValueError(
        f"determinize: graph {item} needs more than max_states={max_states} states; either it "
        f"has no deterministic equivalent (its cycles weigh one string differently) or "
        f"max_states must be raised{hint}"
    )


def _not_functional(graph: Graph, plain: Graph, state: int) -> ValueError:
    """What to raise where paths to a state of the trimmed graph write two strings."""
    assert plain.state_maps is not None
    item = int(plain.topology.graph_of_state[state])
    old = int(plain.state_maps[0][state] - graph.state_offsets[item])
    return ValueError(
        f"determinize: graph {item} is not functional: two paths with one input reach state "
        f'{old} with different outputs; outputs="all" keeps both, on="pairs" takes pairs of labels'
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
