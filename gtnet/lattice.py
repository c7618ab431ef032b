"""Lattice: emissions composed with a graph, multiplied out only when somebody looks at it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtnet import _ops
from gtnet._checks import NEG_INF
from gtnet.emissions import Emissions
from gtnet.graph import Graph
from gtnet.topology import Topology

_ARRAYS = ("topology", "weights", "start", "accept", "arc_maps", "state_maps")


class Lattice(Graph):
    """The composition of emissions with a graph: a Graph that is built on first look.

    `emissions @ graph` makes it. Path sums and best paths run over (frame or cut, state) without
    building it; whatever asks for its arcs (`.weights`, `.source`, `draw`, `k_best`, ...) builds
    it, once, and it is from then on the graph that `.graph()` returns. Its `arc_maps` and
    `state_maps` name the arcs and states of `emissions.graph()` and of `graph`.

    Attributes: `emissions` and `operand`, the graph on their right.
    """

    __slots__ = ("_built", "_max_arcs", "emissions", "operand")

    emissions: Emissions
    operand: Graph

    def __init__(self, emissions: Emissions, operand: Graph, *, max_arcs: int) -> None:
        self.emissions = emissions
        self.operand = operand
        self._max_arcs = max_arcs
        self._built: Graph | None = None

    def __getattr__(self, name: str) -> Any:
        """The arrays of a Graph, which are not there until they are asked for."""
        if name not in _ARRAYS:
            raise AttributeError(f"'Lattice' object has no attribute {name!r}")
        built = self.graph()
        for array in _ARRAYS:
            setattr(self, array, getattr(built, array))
        return getattr(built, name)

    def graph(self) -> Graph:
        """The product, built once: every pair of a path of the emissions and one of the operand.

        Raises ValueError where it has more than the `max_arcs` given to `compose`.
        Complexity: O(frames · labels + pairs of states reached + arcs of the product).
        """
        if self._built is None:
            from gtnet.compose import product

            emissions = self.emissions
            if emissions.scores.dtype != self.dtype:
                emissions = emissions.with_scores(emissions.scores.to(self.dtype))
            self._built = product("compose", emissions.graph(), self.operand, self._max_arcs)
        return self._built

    # What is known without building it

    def __len__(self) -> int:
        """Items in the batch."""
        sizes = len(self.emissions), len(self.operand)
        return 0 if 0 in sizes else max(sizes)

    @property
    def is_acceptor(self) -> bool:
        """Whether every arc writes what it reads, which the operand decides."""
        return self.operand.is_acceptor

    @property
    def device(self) -> torch.device:
        """Where the scores live."""
        return self.operand.device

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.operand.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether the scores of the emissions or of the operand require grad."""
        return self.emissions.requires_grad or self.operand.requires_grad

    # Sums over paths

    def forward_score(self, beta: float | Tensor = 1.0) -> Tensor:
        """The log of the sum over all paths of exp(score), as `gtnet.forward_score`.

        Arguments: `beta` > 0 as there. Result: [batch], -inf where there is no path.
        Raises ValueError where it is infinite, as `gtnet.forward_score` does.
        Complexity: O(frames · (labels + arcs of the operand)) without building the product, in
        memory O(frames · states) where a gradient is needed; over a segmentation O(cuts · arcs +
        segments · (labels + states)). Where the operand has a cycle of epsilons, or the
        segmentation one of any kind, the product is built. Items run on threads.
        Gradient: posteriors; to emissions, arc weights, start, accept and beta, first derivatives
        without building the product; further ones build it.
        Source: Baum 1972, with integer exponents instead of logarithms: no underflow, whatever
        the range of the scores. In float32 it is checked that what flows into every cut flows out
        of it within 1e-4, and an item that fails is done again in float64. On a GPU a score is NaN,
        with a gradient of 0, where the CPU would raise an error for NaN, +inf or scores beyond the
        exponents (about 1e7 per frame in float32), so that nothing waits for the device.
        """
        from gtnet.distance import _is_infinite, _unscaled, forward_score

        if _is_infinite("forward_score", beta):
            return self.viterbi_score()
        scaled = self._scaled("forward_score", beta)
        arguments = scaled._arguments()
        if arguments is None:
            return forward_score(self.graph(), beta)
        try:
            total = _ops.lattice_score(arguments, scaled._multiplied_out)
        except _ops.OutOfRangeError:
            return forward_score(self.graph(), beta)
        return _unscaled(total, beta).to(self.dtype)

    # Best paths

    def viterbi_score(self) -> Tensor:
        """The score of the best path of each item, as `gtnet.viterbi_score`.

        Result: [batch], -inf where there is no path. Complexity, errors: as `viterbi_path`.
        Gradient: 1 on the scores along the best path.
        """
        from gtnet.distance import viterbi_score

        if self._arguments() is None:
            return viterbi_score(self.graph())
        return _total(self.viterbi_path())

    def viterbi_path(self) -> Graph:
        """The best path of each item as a batch of linear graphs; no path gives an empty one.

        Its `arc_maps` are two: the arcs of `emissions.graph()` (frame or segment, counted through
        the batch, times the labels, plus the label; -1 for an epsilon) and the arcs of `operand`.
        The product is built where `forward_score` builds it.
        Complexity: O(frames · arcs of the operand), memory O(frames · states) for each item in
        work, in float64; segmentations as for `forward_score`. Gradient: flows to the scores along
        the path. Source: Viterbi 1967.
        """
        lattice = self._scaled("viterbi_path", 1.0)
        arguments = lattice._arguments()
        if arguments is None:
            return self._path_of_product()
        with torch.no_grad():
            found = _ops.lattice_best(arguments)
        return self._linear(lattice, found, torch.arange(len(self), device=self.device))

    def _linear(self, each: Lattice, found: _ops.PathsFound, item: Tensor) -> Graph:
        """Paths as linear graphs under the scores of `each`, which has emissions for each item.

        `item` [paths] names the item that each path belongs to.
        """
        emissions, operand, arcs = each.emissions, each.operand, found.arcs
        of_arc = torch.repeat_interleave(item, found.offsets.diff(), output_size=len(arcs))
        reads = found.rows >= 0
        label, row = operand.ilabels[arcs.long()].long(), found.rows.long()
        scores, begin = emissions.rows(), emissions.first_rows()
        place = (of_arc[reads], row[reads]) if scores.ndim == 3 else ((begin[of_arc] + row)[reads],)
        weights = _ops.take(operand.weights.contiguous(), arcs)
        read_scores = scores[(*place, label[reads])].to(weights.dtype)
        weights = weights.index_add(0, reads.nonzero().flatten(), read_scores)
        path = linear_paths(operand, found.offsets, arcs, found.first, found.last, weights)
        if emissions.lengths is None:
            path = _with_ends(path, found, emissions.segmentation)
        shared = len(self.emissions) == 1  # then all rows are those of the only item
        row = row + (0 if shared else begin[of_arc])
        read = (row * emissions.num_labels + label).masked_fill(~reads, -1)
        path.arc_maps = (read.to(torch.int32), arcs)
        return path

    def _arguments(self) -> _ops.LatticeArguments | None:
        """What the operators take, or None where only the product built serves."""
        cuts, operand = self.emissions.cuts(), self.operand
        steps = operand.topology.steps
        if cuts is None or steps is None:
            return None
        graph = (operand.weights, operand.start, operand.accept)
        return _ops.lattice_arguments(self.emissions.rows(), cuts, steps, *graph)

    def _path_of_product(self) -> Graph:
        from gtnet.paths import viterbi_path

        product = self.graph()
        path = viterbi_path(product)
        assert path.arc_maps is not None and product.arc_maps is not None
        (arcs,) = path.arc_maps
        path.arc_maps = tuple(origin[arcs.long()] for origin in product.arc_maps)
        return path

    def _multiplied_out(
        self,
        scores: Tensor,
        weights: Tensor,
        start: Tensor,
        accept: Tensor,
        first: Tensor | None,
        last: Tensor | None,
    ) -> Tensor:
        """The forward score of the product built from these scores, float64."""
        from gtnet.distance import _log_distance

        cuts = None
        if self.emissions.lengths is None:
            zero = torch.zeros_like(self.emissions.segmentation.weights)
            cuts = self.emissions.segmentation.with_weights(zero, start=first, accept=last)
        emissions = self.emissions.with_scores(scores, cuts)
        operand = self.operand.with_weights(weights, start=start, accept=accept)
        built = Lattice(emissions, operand, max_arcs=self._max_arcs).graph()
        return _log_distance("forward_score", built)[1]

    def _scaled(self, function: str, beta: float | Tensor) -> Lattice:
        """One item of emissions per item of the batch, all scores times beta in float64."""
        from gtnet.distance import _is_one, _scaled

        emissions, operand = self.emissions, self.operand
        if len(emissions) == 1 != len(operand):
            emissions = emissions.repeated(len(operand))
        if _is_one(beta):
            return Lattice(emissions, operand, max_arcs=self._max_arcs)
        segmentation = None
        per_row: float | Tensor = beta
        if isinstance(beta, Tensor) and beta.ndim == 1:
            if beta.shape[0] != len(self):
                raise ValueError(
                    f"{function}: beta has {beta.shape[0]} values, the batch {len(self)} graphs"
                )
            operand = operand[[0] * len(self)] if len(operand) == 1 else operand
            per_row = beta.reshape(-1, 1, 1)
            if emissions.lengths is None:
                per_row = beta[emissions.segmentation.topology.graph_of_arc].unsqueeze(1)
        scores = emissions.scores.double()
        impossible = scores == NEG_INF
        scores = (scores.masked_fill(impossible, 0) * per_row).masked_fill(impossible, NEG_INF)
        if emissions.lengths is None:
            segmentation = _scaled(function, emissions.segmentation, beta)
        operand = _scaled(function, operand, beta)
        scaled = emissions.with_scores(scores, segmentation)
        return Lattice(scaled, operand, max_arcs=self._max_arcs)


def _total(paths: Graph) -> Tensor:
    """The score of each linear graph, -inf for one without states; differentiable."""
    lengths = paths.arc_offsets.diff()
    item = torch.repeat_interleave(
        torch.arange(len(paths), device=paths.device, dtype=torch.int32),
        lengths,
        output_size=paths.num_arcs,
    )
    exists = paths.state_offsets.diff() > 0
    first = torch.where(exists, paths.state_offsets[:-1], -1).to(torch.int32)
    last = torch.where(exists, paths.state_offsets[1:] - 1, -1).to(torch.int32)
    total = _ops.total_by(item, paths.weights.double(), len(paths))
    total = total + _ops.take(paths.start, first) + _ops.take(paths.accept, last)
    return total.masked_fill(~exists, NEG_INF).to(paths.dtype)


def _with_ends(path: Graph, found: _ops.PathsFound, cuts: Graph) -> Graph:
    """The start and accept scores of the cuts in which paths begin and end, added."""
    exists = found.first >= 0
    first, last = path.state_offsets[:-1][exists], path.state_offsets[1:][exists] - 1
    start = path.start.index_add(0, first, _ops.take(cuts.start, found.first_cut[exists]))
    accept = path.accept.index_add(0, last, _ops.take(cuts.accept, found.last_cut[exists]))
    return path.with_weights(start=start, accept=accept)


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
