"""Trimming, and the scores of what was rewritten: gathers of the old ones, and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._memory import named
from gtnet._ops import library
from gtnet._ordinary import transformed
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def connect(graph: Graph | Lattice) -> Graph:
    """The same automaton without states and arcs that lie on no accepting path.

    Arcs of score -inf stay: only start and accept scores decide. Complexity: O(states + arcs); on a
    GPU it waits to learn how many states and arcs are kept.
    Gradient: that of a gather; `arc_maps` and `state_maps` name the arcs and states kept.
    """
    graph = built("connect", "graph", graph)
    topology = graph.topology
    offsets = topology.state_offsets
    reached = _ops.reach(offsets, *topology.leaving.by_state(), _checks.possible(graph.start))
    accepting = _checks.possible(graph.accept)
    useful = reached & _ops.reach(offsets, *topology.entering.by_state(), accepting)
    if bool(useful.all()):  # the topology, and what is known of it, serves again
        arcs, states = (
            torch.arange(size, dtype=torch.int32, device=graph.device)
            for size in (topology.num_arcs, topology.num_states)
        )
        return gathered(topology, (graph,), (arcs,), (states,))
    kept, arcs, states = restricted(topology, useful)
    return gathered(kept, (graph,), (arcs.to(torch.int32),), (states.to(torch.int32),))


def restricted(topology: Topology, useful: Tensor) -> tuple[Topology, Tensor, Tensor]:
    """The states that `useful` marks and the arcs between them, with the numbers of both, int64."""
    offsets = topology.state_offsets
    ends = (topology.global_source, topology.global_target)
    kept_at_source, kept_at_target = (useful.index_select(0, end) for end in ends)
    keep_arc = kept_at_source & kept_at_target
    states = useful.nonzero().flatten()
    arcs = keep_arc.nonzero().flatten()
    kept_before = torch.cat([offsets.new_zeros(1), useful.cumsum(0)])
    arcs_before = torch.cat([offsets.new_zeros(1), keep_arc.cumsum(0)])
    new_offsets = kept_before.index_select(0, offsets)
    first_state = new_offsets.index_select(0, topology.graph_of_arc.index_select(0, arcs))
    source, target = (
        (kept_before.index_select(0, end.index_select(0, arcs)) - first_state).to(torch.int32)
        for end in ends
    )
    ilabels = topology.ilabels.index_select(0, arcs)
    kept = Topology(
        new_offsets,
        arcs_before.index_select(0, topology.arc_offsets),
        source,
        target,
        ilabels,
        ilabels if topology.is_acceptor else topology.olabels.index_select(0, arcs),
        states.shape[0],
    )
    return kept, arcs, states


def gathered(
    topology: Topology,
    operands: tuple[Graph, ...],
    arc_maps: tuple[Tensor, ...],
    state_maps: tuple[Tensor, ...],
    filters: Tensor | None = None,
    scores: Sequence[Tensor] | None = None,
) -> Graph:
    """A rewritten topology with the sums of the scores that its arcs and states came from.

    Of the states of a product, `filters` int8 [states] marks those where no path starts. `scores`
    are these sums outside of autograd, where they are known.
    """
    maps = {"weights": arc_maps, "start": state_maps, "accept": state_maps}
    if transformed() or library.on_gpu(operands[0].weights):
        scores = [_total(name, operands, index) for name, index in maps.items()]
        if filters is not None:
            scores[1] = scores[1].masked_fill(filters != 0, NEG_INF)
    else:
        if scores is None:
            given = [_checks.plain_scores(operand) for operand in operands]
            pairs = [index for pair in zip(arc_maps, state_maps) for index in pair]
            scores = _ops.gather_scores([t for three in given for t in three], pairs, filters)
        if _ops.learning(*(t for operand in operands for t in operand.scores)):
            starts = state_maps
            if filters is not None and _ops.learning(*(operand.start for operand in operands)):
                impossible = operands[0].num_states
                starts = (starts[0].masked_fill(filters != 0, impossible), *starts[1:])
            maps["start"] = starts
            scores = [
                _ops.gathered(
                    score,
                    [((getattr(one, name),), index) for one, index in zip(operands, maps[name])],
                )
                for name, score in zip(maps, scores)
            ]
    return Graph.from_topology(topology, *scores, arc_maps=arc_maps, state_maps=state_maps)


def _total(name: str, operands: tuple[Graph, ...], maps: tuple[Tensor, ...]) -> Tensor:
    parts = [
        _ops.take(getattr(operand, name).contiguous(), index)
        for operand, index in zip(operands, maps)
    ]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
