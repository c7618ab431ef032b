"""Paths and arcs found in a lattice that is not built, made into graphs."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops, distance, paths
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._memory import choosing
from gtnet._ops import library
from gtnet._ordinary import ordinary_tensors
from gtnet.connect import connect
from gtnet.distance import finite_temperature
from gtnet.emissions import Emissions
from gtnet.graph import Graph
from gtnet.paths import linear_paths
from gtnet.prune import prune as pruned
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@choosing
def viterbi_score(lattice: Lattice) -> Tensor:
    """`Lattice.viterbi_score`."""
    if lattice._arguments() is None:
        return distance.viterbi_score(lattice.graph())
    return _path_scores(lattice.viterbi_path())


@choosing
def viterbi_path(lattice: Lattice) -> Graph:
    """`Lattice.viterbi_path`."""
    each = lattice._scaled("viterbi_path", 1.0)
    arguments = each._arguments()
    if arguments is None:
        product = lattice.graph()
        return traced(paths.viterbi_path(product), product)
    with torch.no_grad():
        found = _ops.lattice_best(arguments)
    return _paths_read(found, each.emissions, lattice.operand, lattice._is_shared)


@choosing
def best_labels(lattice: Lattice) -> list[list[int]]:
    """`label_sequences(lattice.viterbi_path())` without the graph of the paths."""
    arguments = lattice._scaled("viterbi_path", 1.0)._arguments()
    if arguments is None:
        return paths.label_sequences(viterbi_path(lattice))
    with torch.no_grad():
        found = _ops.lattice_best(arguments)
    return paths.sequences_of(lattice.operand.olabels.index_select(0, found.arcs), found.offsets)


@choosing
def k_best(
    lattice: Lattice, k: int, unique: Literal["ilabels", "olabels"] | None, max_prefixes: int
) -> list[Graph]:
    """`Lattice.k_best`."""
    k = _checks.count("k_best", "k", k)
    max_prefixes = _checks.count("k_best", "max_prefixes", max_prefixes)
    each = lattice._scaled("k_best", 1.0)
    arguments = None if unique is not None else _arguments(each)
    if arguments is None:
        product = lattice.graph()
        ranked = paths.k_best(product, k, unique=unique, max_prefixes=max_prefixes)
        return [traced(found, product) for found in ranked]
    size = _ops.k_best_bytes(arguments, k)
    _checks.fits_on_gpu("k_best", lattice.device, size, f"the {k} best paths to every position")
    try:
        with torch.no_grad():
            found = _ops.lattice_k_best(arguments, k, max_prefixes)
    except _ops.OverBudgetError:
        raise paths.too_many_prefixes(k, "an item", max_prefixes) from None
    return _by_item(found, lattice, each.emissions)


@choosing
def sample(
    lattice: Lattice,
    n: int,
    beta: float | Tensor,
    generator: torch.Generator | None,
    max_arcs: int,
) -> list[Graph]:
    """`Lattice.sample`."""
    n = _checks.count("sample", "n", n)
    max_arcs = _checks.count("sample", "max_arcs", max_arcs)
    finite_temperature("sample", beta)
    each = lattice._scaled("sample", 1.0)
    with torch.no_grad():
        arguments = _arguments(lattice._in_float64()._scaled("sample", beta))
    if arguments is None:
        product = lattice.graph()
        drawn = paths.sample(product, n, beta=beta, generator=generator, max_arcs=max_arcs)
        return [traced(found, product) for found in drawn]
    if len(lattice) * n > max_arcs:
        raise paths.too_many_arcs("sample", f"{n} paths", max_arcs)
    try:
        with torch.no_grad():
            seeds = paths.drawn_seeds(len(lattice) * n, generator)
            found = _ops.lattice_sample(arguments, seeds.to(lattice.device), n, max_arcs)
    except _ops.OverBudgetError:
        raise paths.too_many_arcs("sample", f"{n} paths", max_arcs) from None
    return _by_item(found, lattice, each.emissions)


@choosing
def prune(lattice: Lattice, beam: float) -> Graph:
    """`Lattice.prune`."""
    if not beam >= 0:
        raise ValueError(f"prune: beam must be at least 0, got {beam}")
    each = lattice._scaled("prune", 1.0)
    arguments = _arguments(each)
    if arguments is None:
        product = lattice.graph()
        return traced(pruned(product, beam=beam), product)
    with torch.no_grad():
        kept = _ops.lattice_prune(arguments, float(beam))
    graph = _kept_graph(kept, each.emissions, lattice.operand, lattice._is_shared)
    return traced(connect(graph), graph)


def _arguments(lattice: Lattice) -> _ops.LatticeArguments | None:
    """What the operators of these three take, None where only the product built serves.

    That is where sums build it, and over segments on a GPU, whose kernels follow frames only.
    """
    if lattice.emissions.lengths is None and library.on_gpu(lattice.emissions.scores):
        return None
    return lattice._arguments()


def _by_item(found: _ops.PathsFound, lattice: Lattice, emissions: Emissions) -> list[Graph]:
    whole = _paths_read(found, emissions, lattice.operand, lattice._is_shared)
    counts = found.counts.tolist()
    return [whole[end - n : end] for end, n in zip(accumulate(counts), counts)]


def _paths_read(
    found: _ops.PathsFound, emissions: Emissions, operand: Graph, shared: bool
) -> Graph:
    """Paths through emissions and the operand as linear graphs; `arc_maps` names arcs of both.

    `emissions` has an item for each of the batch; where they are copies of one (`shared`), the maps
    name the arcs of that one.
    """
    path = _in_one_call(found, emissions, operand, shared)
    if path is None:
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
    start = path.start.index_add(0, first, _ops.take(cuts.start, found.first_cut[exists]))
    accept = path.accept.index_add(0, last, _ops.take(cuts.accept, found.last_cut[exists]))
    path.start, path.accept = ordinary_tensors(start, accept)
    return path


def _in_one_call(
    found: _ops.PathsFound, emissions: Emissions, operand: Graph, shared: bool
) -> Graph | None:
    """The linear graphs of paths, or None where torch has to make them step by step: on a GPU,
    under transforms, in several dtypes.
    """
    scores, topology = emissions.rows(), operand.topology
    learning = _ops.learning(scores, *operand.scores)
    strided = scores.ndim > 0 and scores.stride(-1) == 1
    if library.on_gpu(scores) or _ops.transformed() or _ops.forward_mode():
        return None
    if scores.dtype != operand.dtype or not strided or (learning and shared):
        return None
    if scores.numel() >= 2**31:  # which an int32 cannot name
        return None
    _checks.countable("paths", "states", len(found.arcs) + len(found.first))
    states, source, target, ilabels, olabels, read, weights, start, accept, place, *ends = (
        _ops.lattice_path_graphs(
            *found[:1],
            *found[2:5],
            found.first,
            found.last,
            scores.detach(),
            None if shared else emissions.first_rows(),
            *(t.detach().contiguous() for t in operand.scores),
            topology.ilabels,
            None if operand.is_acceptor else topology.olabels,
            learning,
        )
    )
    if learning:
        given = ((operand.weights,), found.arcs), ((scores.reshape(-1),), place)
        weights = _ops.gathered(weights, given)
        start = _ops.gathered(start, [((operand.start,), ends[0])])
        accept = _ops.gathered(accept, [((operand.accept,), ends[1])])
    written = ilabels if operand.is_acceptor else olabels
    return Graph.from_topology(
        Topology(states, found.offsets, source, target, ilabels, written, len(start)),
        weights,
        start,
        accept,
        arc_maps=ordinary_tensors(read, found.arcs),
    )


def _kept_graph(kept: _ops.Kept, emissions: Emissions, operand: Graph, shared: bool) -> Graph:
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


def _scores_of(
    emissions: Emissions, operand: Graph, item: Tensor, row: Tensor, arc: Tensor, shared: bool
) -> tuple[Tensor, Tensor]:
    """For each step of a path its score and the arc of `emissions.graph()` that it reads, or -1.

    `item` [steps] of the batch, `row` within it or -1 for an epsilon, `arc` of the operand.
    """
    label, row = operand.ilabels[arc.long()].long(), row.long()
    scores, begin = emissions.rows(), emissions.first_rows()
    of_item = begin[item]
    place = (item, row, label) if scores.ndim == 3 else (of_item + row, label)
    weights = _ops.take(operand.weights.contiguous(), arc)
    read = (row if shared else of_item + row) * emissions.num_labels + label
    known = (row >= 0) & (label < emissions.num_labels)
    if bool(known.all()):
        return weights + scores[place].to(weights.dtype), read.to(torch.int32)
    found = scores[tuple(index[known] for index in place)].to(weights.dtype)
    weights = weights.index_add(0, known.nonzero().flatten(), found)
    return weights, read.masked_fill(row < 0, -1).to(torch.int32)


def _path_scores(paths: Graph) -> Tensor:
    """The score of each linear graph, -inf for one without states; differentiable."""
    items = torch.arange(len(paths), device=paths.device, dtype=torch.int32)
    of_arc = torch.repeat_interleave(items, paths.arc_offsets.diff(), output_size=paths.num_arcs)
    exists = paths.state_offsets.diff() > 0
    first = torch.where(exists, paths.state_offsets[:-1], -1).to(torch.int32)
    last = torch.where(exists, paths.state_offsets[1:] - 1, -1).to(torch.int32)
    total = _ops.total_by(of_arc, paths.weights.double(), len(paths))
    total = total + _ops.take(paths.start, first) + _ops.take(paths.accept, last)
    return total.masked_fill(~exists, NEG_INF).to(paths.dtype)
