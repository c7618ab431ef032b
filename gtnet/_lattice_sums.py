"""Sums over the paths of a lattice that is not built: over (frame or cut, state) instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops, distance, distributions
from gtnet._checks import NEG_INF
from gtnet._memory import choosing, named
from gtnet._ordinary import remembered
from gtnet.distance import _is_infinite, _unscaled, finite_temperature, posteriors

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def forward_score(lattice: Lattice, beta: float | Tensor) -> Tensor:
    """`Lattice.forward_score`."""
    if _is_infinite("forward_score", beta):
        return lattice.viterbi_score()
    scaled = lattice._scaled("forward_score", beta)
    arguments = scaled._arguments()
    if arguments is None:
        return distance.forward_score(lattice.graph(), beta)
    try:
        total = _ops.lattice_score(arguments, scaled._multiplied_out)
    except _ops.OutOfRangeError:
        _checks.finite_or_zero("forward_score", "emissions", arguments.scores)
        return distance.forward_score(lattice.graph(), beta)
    return _unscaled(total, beta).to(lattice.dtype)


@named
def label_posteriors(lattice: Lattice, beta: float | Tensor) -> Tensor:
    """`Lattice.label_posteriors`."""
    each = lattice._scaled("label_posteriors", 1.0)
    learning = _learnt(lattice)
    operand = (each.operand if learning else each.operand.detach())._with_each(remembered)
    scores, segmentation = remembered(each.emissions.scores), None
    if each.emissions.lengths is None:
        segmentation = each.emissions.segmentation._with_each(remembered)

    def total(scores: Tensor) -> Tensor:
        emissions = each.emissions.with_scores(scores, segmentation)
        return each._with(emissions, operand).forward_score(beta)

    return _ops.with_derivative(total, scores, again=learning)[1]


def _learnt(lattice: Lattice) -> bool:
    """Whether a derivative by any of the scores may be asked for."""
    emissions, operand = lattice.emissions, lattice.operand
    graphs = [operand] if emissions.lengths is not None else [operand, emissions.segmentation]
    return _ops.learnt(
        emissions.scores, *(t for g in graphs for t in (g.weights, g.start, g.accept))
    )


@choosing
def arc_posteriors(lattice: Lattice, beta: float | Tensor, per: str) -> list[Tensor]:
    """`Lattice.arc_posteriors`."""
    if per not in ("path", "frame"):
        raise ValueError(f'arc_posteriors: per must be "path" or "frame", got {per!r}')
    finite_temperature("arc_posteriors", beta)
    arcs = _arcs_of_items(lattice)
    cuts = _cuts_of_items(lattice) if per == "frame" else [1] * len(arcs)
    sizes = [a * c for a, c in zip(arcs, cuts)]
    _checks.fits_on_gpu("arc_posteriors", lattice.device, 12 * sum(sizes), "arcs by frame")
    with torch.no_grad():
        scaled = lattice._scaled("arc_posteriors", beta)
        arguments = scaled._arguments()
        if arguments is None:
            return _arc_posteriors_of_product(lattice, beta, per)
        try:
            shares = _ops.lattice_posteriors(arguments, by_cut=per == "frame")
        except _ops.OutOfRangeError:
            return _arc_posteriors_of_product(lattice, beta, per)
    found = shares.arcs.to(lattice.dtype).split(sizes)
    if per == "path":
        return list(found)
    return [row.reshape(c, a) for row, a, c in zip(found, arcs, cuts)]


def _arcs_of_items(lattice: Lattice) -> list[int]:
    if len(lattice.operand) == 1:
        return [lattice.operand.num_arcs] * len(lattice)
    return lattice.operand.arc_offsets.diff().tolist()


def _cuts_of_items(lattice: Lattice) -> list[int]:
    lengths, cuts = lattice.emissions.lengths, lattice.emissions
    sizes = cuts.segmentation.state_offsets.diff() if lengths is None else lengths + 1
    return sizes.tolist() * (len(lattice) if len(sizes) == 1 else 1)


def _arc_posteriors_of_product(lattice: Lattice, beta: float | Tensor, per: str) -> list[Tensor]:
    product = lattice.graph()
    assert product.arc_maps is not None and product.state_maps is not None
    chances = posteriors(product, beta)
    cut, arc = product.state_maps[0][product.topology.global_source], product.arc_maps[1]
    begin = 0, 0
    found = []
    for item, (arcs, cuts) in enumerate(zip(_arcs_of_items(lattice), _cuts_of_items(lattice))):
        here = (product.topology.graph_of_arc == item) & (arc >= 0)
        rows = (cut[here].long() - begin[0]) if per == "frame" else torch.zeros_like(arc[here])
        place = rows.long() * arcs + arc[here].long() - begin[1]
        total = chances.new_zeros((cuts if per == "frame" else 1) * arcs)
        total = total.index_add(0, place, chances[here])
        found.append(total.reshape(cuts, arcs) if per == "frame" else total)
        step = (cuts * (len(lattice.emissions) > 1), arcs * (len(lattice.operand) > 1))
        begin = begin[0] + step[0], begin[1] + step[1]
    return found


@named
def entropy(lattice: Lattice, beta: float | Tensor) -> Tensor:
    """`Lattice.entropy`."""
    finite_temperature("entropy", beta)
    given = isinstance(beta, Tensor) and _ops.learnt(beta)
    if _ops.transformed() or given or _learnt(lattice):
        return _entropy_by_derivative(lattice, beta)
    with torch.no_grad():
        scaled = lattice._in_float64()._scaled("entropy", beta)
        arguments = scaled._arguments()
        if arguments is None:
            return distributions.entropy(lattice.graph(), beta)
        try:
            shares = _ops.lattice_posteriors(arguments, by_cut=False)
        except _ops.OutOfRangeError:
            return distributions.entropy(lattice.graph(), beta)
        total = scaled.forward_score()
        if _ops.are_far(total):
            return distributions.entropy(lattice.graph(), beta)
        expected = _expected(scaled, arguments, shares)
        found = (total - expected).masked_fill(total == NEG_INF, 0)
    return found.clamp(min=0).to(lattice.dtype)


def _entropy_by_derivative(lattice: Lattice, beta: float | Tensor) -> Tensor:
    """log Z(s) - d log Z(s) / ds at s = 1, where s multiplies all scores."""
    exact = lattice._in_float64()
    one = torch.ones(len(lattice), dtype=torch.float64, device=lattice.device)

    def log_sum(scale: Tensor) -> Tensor:
        total = exact.forward_score(scale * beta)
        return total.masked_fill(total == NEG_INF, 0) * scale * beta

    total, expected = _ops.with_derivative(log_sum, one, again=True)
    if not _ops.transformed() and _ops.are_far(total):
        return distributions.entropy(lattice.graph(), beta)
    return (total - expected).to(lattice.dtype)


def _expected(lattice: Lattice, given: _ops.LatticeArguments, shares: _ops.Shares) -> Tensor:
    """The expected score of a path of each item."""
    size = len(lattice)
    items = torch.arange(size, device=lattice.device)

    def sums(chances: Tensor, scores: Tensor, counts: Tensor) -> Tensor:
        counted = scores.masked_fill(chances == 0, 0) * chances
        owner = torch.repeat_interleave(items, counts, output_size=len(counted))
        return _ops.total_by(owner.to(torch.int32), counted, size)

    def each(of_graph: Tensor) -> Tensor:
        return of_graph.repeat(size) if len(lattice.operand) == 1 else of_graph

    rows = (shares.labels * given.scores.masked_fill(shares.labels == 0, 0)).sum(-1)
    if rows.ndim == 2:
        total = rows.sum(1)
    else:
        segments = lattice.emissions.segmentation
        total = sums(torch.ones_like(rows), rows, segments.arc_offsets.diff())
        total = total + sums(shares.first, given.cuts[-2], segments.state_offsets.diff())
        total = total + sums(shares.last, given.cuts[-1], segments.state_offsets.diff())
    arcs, states = (
        each(lattice.operand.arc_offsets.diff()),
        each(lattice.operand.state_offsets.diff()),
    )
    total = total + sums(shares.arcs, each(given.weights), arcs)
    total = total + sums(shares.start, each(given.start), states)
    return total + sums(shares.accept, each(given.accept), states)
