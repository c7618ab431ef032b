"""Difference: the paths whose label sequence another automaton does not accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtnet import _checks, _ops
from gtnet._checks import MAX_ARCS, NEG_INF
from gtnet._memory import named
from gtnet._ordinary import ordinary_tensors
from gtnet.connect import connect, gathered
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_MORE_STATES = 10_000_000


@named
def difference(
    a: Graph | Lattice,
    b: Graph | Lattice,
    *,
    max_arcs: int = MAX_ARCS,
    max_states: int | None = None,
) -> Graph:
    """The automaton of the paths of `a` that write no label sequence that `b` accepts.

    Only the language of `b` counts: its scores say which paths are possible and nothing else. It
    may be nondeterministic and have epsilons. Its sets of states are computed only where paths of
    `a` need them, so `b` is never determinized as a whole and no complement is built.

    Arguments: `a` an acceptor or transducer, `b` an acceptor; batches of equal size, or of size 1.
    `max_arcs` bounds the arcs of the batch that are explored; `max_states` the pairs of a state and
    a set, the members of the sets and the steps between them, by default 10,000,000 more than 8 for
    each state: 150 bytes each at most.
    Result: trimmed; `arc_maps[0]` and `state_maps[0]` name arcs and states of `a`.
    Raises ValueError for a transducer `b`, unequal batches, and beyond `max_arcs` or `max_states`;
    TypeError for mixed dtypes.
    Complexity: O(arcs of a · sets of b met with their sources), sets at most 2^states of b, one
    per state of b if b is deterministic. Gradient: to `a`, that of a gather.
    Source: Mohri 2009, section 5.3, with the subset construction of Rabin & Scott 1959.
    """
    a = built("difference", "a", a)
    b = built("difference", "b", b)
    _checks.pair("difference", a, b)
    _checks.on_cpu("difference", "a", a.weights, "work there, then move the result with .to()")
    if not b.is_acceptor:
        raise ValueError("difference: b must be an acceptor, got a transducer: use project")
    max_arcs = _checks.count("difference", "max_arcs", max_arcs)
    if max_states is None:
        max_states = min(_MORE_STATES + 8 * (a.num_states + b.num_states), _checks.LARGEST)
    max_states = _checks.count("difference", "max_states", max_states)
    by_label = b.topology.leaving_by_ilabel
    assert by_label.labels is not None
    leaving = a.topology.leaving
    too_large, state_offsets, arc_offsets, source, target, arcs, states, first, accepted = (
        _ops.difference(
            a.state_offsets,
            *leaving.by_state(),
            a.olabels[leaving.arcs],
            a.start.detach() > NEG_INF,
            b.state_offsets,
            *by_label,
            b.start.detach() > NEG_INF,
            b.accept.detach() > NEG_INF,
            (b.weights.detach() > NEG_INF)[by_label.arcs],
            0 if 0 in (len(a), len(b)) else max(len(a), len(b)),
            max_arcs,
            max_states,
        )
    )
    for exceeds, said in zip(
        too_large.tolist(),
        (
            f"max_arcs={max_arcs} arcs are explored; prune the operands, split the batch, or raise "
            f"max_arcs",
            f"max_states={max_states} states are met, in pairs or in sets of states of b; "
            f"determinize or prune b, split the batch, or raise max_states",
        ),
    ):
        if exceeds:
            raise ValueError(f"difference: more than {said}")
    ilabels = a.ilabels[arcs]
    olabels = ilabels if a.is_acceptor else a.olabels[arcs]
    topology = Topology(state_offsets, arc_offsets, source, target, ilabels, olabels, len(states))
    explored = gathered(topology, (a,), (arcs,), (states,))
    explored.start = explored.start.masked_fill(~first, NEG_INF)
    explored.accept = explored.accept.masked_fill(accepted, NEG_INF)
    trimmed = connect(explored)
    assert trimmed.arc_maps is not None
    assert trimmed.state_maps is not None
    trimmed.arc_maps = ordinary_tensors(arcs[trimmed.arc_maps[0]])
    trimmed.state_maps = ordinary_tensors(states[trimmed.state_maps[0]])
    return trimmed
