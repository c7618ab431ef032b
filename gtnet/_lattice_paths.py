"""Paths and arcs that were found in a lattice without building it, made into graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _ops
from gtnet._checks import NEG_INF
from gtnet._ordinary import ordinary_tensors
from gtnet.emissions import Emissions
from gtnet.graph import Graph
from gtnet.topology import Topology


def paths_read(
    found: _ops.PathsFound, emissions: Emissions, *, operand: Graph, shared: bool
) -> Graph:
    """Paths through emissions and the operand as linear graphs; `arc_maps` names arcs of both.

    `emissions` has an item for each of the batch; where they are copies of one (`shared`), the maps
    name the arcs of that one.
    """
    item = torch.repeat_interleave(found.counts, output_size=len(found.first))
    item = torch.repeat_interleave(item, found.offsets.diff(), output_size=len(found.arcs))
    weights, read = _scores_of(emissions, operand, item, found.rows, found.arcs, shared)
    ends = (found.offsets, found.arcs, found.first, found.last)
    path = linear_paths(operand, *ends, weights)
    path.arc_maps = ordinary_tensors(read, found.arcs)
    if emissions.lengths is not None:
        return path
    cuts, exists = emissions.segmentation, found.first >= 0
    first, last = path.state_offsets[:-1][exists], path.state_offsets[1:][exists] - 1
    path.start = path.start.index_add(0, first, _ops.take(cuts.start, found.first_cut[exists]))
    path.accept = path.accept.index_add(0, last, _ops.take(cuts.accept, found.last_cut[exists]))
    return path


def kept_graph(kept: _ops.Kept, emissions: Emissions, *, operand: Graph, shared: bool) -> Graph:
    """The arcs kept of a lattice as a graph over the states that they touch."""
    size = len(kept.arc_offsets) - 1
    topology = operand.topology
    single = len(operand) == 1

    def owner(offsets: Tensor, of: Tensor) -> Tensor:
        return torch.repeat_interleave(offsets.diff(), output_size=len(of))

    item = owner(kept.arc_offsets, kept.arc)
    graph = torch.zeros_like(item) if single else item
    arc = (kept.arc + topology.arc_offsets[graph]).to(torch.int32)
    # A state is a cut and a state of the graph, numbered through the batch.
    states = topology.state_offsets.diff()
    states = states.expand(size) if single else states
    if emissions.lengths is None:
        cuts = emissions.segmentation.state_offsets.diff()
    else:
        cuts = emissions.lengths + 1
    begin = torch.cat([cuts.new_zeros(1), (states * cuts).cumsum(0)])

    def key(item: Tensor, cut: Tensor, state: Tensor) -> Tensor:
        return begin[item] + cut * states[item] + state

    starting = owner(kept.start_offsets, kept.start_state)
    accepting = owner(kept.accept_offsets, kept.accept_state)
    keys = (
        key(item, kept.cut, topology.source[arc.long()]),
        key(item, kept.next_cut, topology.target[arc.long()]),
        key(starting, kept.start_cut, kept.start_state),
        key(accepting, kept.accept_cut, kept.accept_state),
    )
    used, number = torch.unique(torch.cat(keys), return_inverse=True)
    source, target, first, last = number.split([len(k) for k in keys])
    state_offsets = torch.searchsorted(used, begin)
    local = state_offsets[item]
    weights, read = _scores_of(emissions, operand, item, kept.row, arc, shared)
    ilabels = topology.ilabels[arc.long()]
    olabels = ilabels if operand.is_acceptor else topology.olabels[arc.long()]
    pruned = Topology(
        state_offsets,
        kept.arc_offsets,
        (source - local).to(torch.int32),
        (target - local).to(torch.int32),
        ilabels,
        olabels,
        len(used),
    )
    of = owner(state_offsets, used)
    rest = used - begin[of]
    cut = torch.div(rest, states[of], rounding_mode="floor")
    state = rest - cut * states[of] + (0 if single else topology.state_offsets[of])
    own_cut = cut
    if size and not shared:
        cut = cut + (cuts.cumsum(0) - cuts)[of]
    maps = (cut.to(torch.int32), state.to(torch.int32))

    def ends(own: Tensor, of_cuts: Tensor | None, where: Tensor) -> Tensor:
        scores = _ops.take(own, maps[1][where])
        if of_cuts is not None:
            every = own_cut + (cuts.cumsum(0) - cuts)[of]
            scores = scores + _ops.take(of_cuts, every[where].to(torch.int32))
        return own.new_full((len(used),), NEG_INF).index_put((where,), scores)

    chain = emissions.lengths is not None
    return Graph.from_topology(
        pruned,
        weights,
        ends(operand.start, None if chain else emissions.segmentation.start, first),
        ends(operand.accept, None if chain else emissions.segmentation.accept, last),
        arc_maps=(read, arc),
        state_maps=maps,
    )


def mapped_on(part: Graph, whole: Graph) -> Graph:
    """`part`, whose maps name arcs (and states) of `whole`, with the maps of `whole` instead."""
    for name in ("arc_maps", "state_maps"):
        own, further = getattr(part, name), getattr(whole, name)
        if own is not None and further is not None:
            setattr(part, name, ordinary_tensors(*(origin[own[0].long()] for origin in further)))
    return part


def _scores_of(
    emissions: Emissions, operand: Graph, item: Tensor, row: Tensor, arc: Tensor, shared: bool
) -> tuple[Tensor, Tensor]:
    """Of steps of paths the scores and the arc of `emissions.graph()` that each reads, or -1.

    `item` [steps] of the batch, `row` within it or -1 for an epsilon, `arc` of the operand.
    """
    reads = row >= 0
    label, row = operand.ilabels[arc.long()].long(), row.long()
    scores, begin = emissions.rows(), emissions.first_rows()
    known = reads & (label < emissions.num_labels)
    place = (item[known], row[known]) if scores.ndim == 3 else ((begin[item] + row)[known],)
    weights = _ops.take(operand.weights.contiguous(), arc)
    found = scores[(*place, label[known])].to(weights.dtype)
    weights = weights.index_add(0, known.nonzero().flatten(), found)
    row = row + (0 if shared else begin[item])
    return weights, (row * emissions.num_labels + label).masked_fill(~reads, -1).to(torch.int32)


def path_scores(paths: Graph) -> Tensor:
    """The score of each linear graph, -inf for one without states; differentiable."""
    items = torch.arange(len(paths), device=paths.device, dtype=torch.int32)
    of_arc = torch.repeat_interleave(items, paths.arc_offsets.diff(), output_size=paths.num_arcs)
    exists = paths.state_offsets.diff() > 0
    first = torch.where(exists, paths.state_offsets[:-1], -1).to(torch.int32)
    last = torch.where(exists, paths.state_offsets[1:] - 1, -1).to(torch.int32)
    total = _ops.total_by(of_arc, paths.weights.double(), len(paths))
    total = total + _ops.take(paths.start, first) + _ops.take(paths.accept, last)
    return total.masked_fill(~exists, NEG_INF).to(paths.dtype)


def linear_paths(
    graph: Graph, offsets: Tensor, arcs: Tensor, first: Tensor, last: Tensor, weights: Tensor
) -> Graph:
    """One linear graph per path: arcs [offsets[i], offsets[i + 1]) from state first[i] to last[i].

    Arcs and states are those of `graph`, the arcs' scores are `weights`. A path that does not
    exist has first[i] = -1 and becomes a graph without states.
    """
    exists = first >= 0
    lengths = offsets.diff()
    state_offsets = torch.cat([offsets.new_zeros(1), (lengths + exists).cumsum(0)])
    num_states = len(arcs) + int(exists.sum())
    source = torch.arange(len(arcs), device=arcs.device) - torch.repeat_interleave(
        offsets[:-1], lengths, output_size=len(arcs)
    )
    source = source.to(torch.int32)
    index = arcs.long()
    topology = graph.topology
    ilabels = topology.ilabels[index]
    olabels = ilabels if graph.is_acceptor else topology.olabels[index]
    start = graph.start.new_full((num_states,), NEG_INF)
    accept = start.clone()
    start = start.index_put((state_offsets[:-1][exists],), _ops.take(graph.start, first[exists]))
    accept = accept.index_put(
        (state_offsets[1:][exists] - 1,), _ops.take(graph.accept, last[exists])
    )
    return Graph.from_topology(
        Topology(state_offsets, offsets, source, source + 1, ilabels, olabels, num_states),
        weights,
        start,
        accept,
        arc_maps=(arcs,),
    )
