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

    `emissions @ graph` makes it. `forward_score` runs over (frame, state) without building it;
    whatever asks for its arcs (`.weights`, `.source`, `draw`, `k_best`, ...) builds it, once, and
    it is from then on the graph that `.graph()` returns. Its `arc_maps` and `state_maps` name the
    arcs and states of `emissions.graph()` and of `graph`.

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

            self._built = product("compose", self.emissions.graph(), self.operand, self._max_arcs)
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
        Complexity: O(frames · arcs of the operand) without building the product, in memory
        O(frames · states) where a gradient is needed. Over a segmentation graph, and where the
        operand has a cycle of epsilons, the product is built. Items run on threads.
        Gradient: posteriors; to emissions, arc weights, start, accept and beta, first derivatives
        without building the product; further ones build it.
        Source: Baum 1972, with integer exponents instead of logarithms: no underflow, whatever
        the range of the scores. In float32 each frame checks that its posteriors add up to 1
        within 1e-4, and an item that fails is done again in float64.
        """
        from gtnet.distance import _is_infinite, _unscaled, forward_score

        if _is_infinite("forward_score", beta):
            return self.viterbi_score()
        steps = self._steps()
        if steps is None:
            return forward_score(self.graph(), beta)
        scaled = self._scaled(beta)
        emissions, operand = scaled.emissions, scaled.operand
        assert emissions.lengths is not None
        if operand.topology is not self.operand.topology:
            steps = operand.topology.steps
        assert steps is not None
        try:
            total = _ops.chain_score(
                emissions.scores,
                emissions.lengths,
                steps,
                operand.weights,
                operand.start,
                operand.accept,
                scaled._multiplied_out,
            )
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

        if self._steps() is None:
            return viterbi_score(self.graph())
        return viterbi_score(self.viterbi_path())

    def viterbi_path(self) -> Graph:
        """The best path of each item as a batch of linear graphs; no path gives an empty one.

        Its `arc_maps` are two: the arcs of `emissions.graph()` (frame, counted through the batch,
        times the labels, plus the label; -1 for an epsilon) and the arcs of `operand`. Over a
        segmentation graph, or for an operand with a cycle of epsilons, the product is built.
        Complexity: O(frames · arcs of the operand), memory O(frames · states) for each item in
        work, in float64. Gradient: flows to the scores along the path. Source: Viterbi 1967.
        """
        steps = self._steps()
        if steps is None:
            return self._path_of_product()
        lattice = self._scaled(1.0)
        emissions, operand = lattice.emissions, lattice.operand
        assert emissions.lengths is not None
        scores = _ops.rows_of_labels(emissions.scores)
        _, offsets, arcs, frames, first, last = _ops.chain_best(
            scores.detach(),
            emissions.lengths,
            *steps,
            *(t.detach().contiguous() for t in (operand.weights, operand.start, operand.accept)),
        )
        item = torch.repeat_interleave(
            torch.arange(len(self)), offsets.diff(), output_size=len(arcs)
        )
        reads = frames >= 0
        label = operand.ilabels[arcs.long()].long()
        chosen = (item[reads], frames[reads].long(), label[reads])
        weights = _ops.take(operand.weights.contiguous(), arcs)
        weights = weights.index_add(0, reads.nonzero().flatten(), scores[chosen])
        path = linear_paths(operand, offsets, arcs, first, last, weights)
        items = torch.zeros_like(item) if len(self.emissions) == 1 else item
        assert self.emissions.lengths is not None
        begin = self.emissions.lengths.cumsum(0) - self.emissions.lengths
        row = (begin[items] + frames) * emissions.num_labels + label
        path.arc_maps = (row.masked_fill(~reads, -1).to(torch.int32), arcs)
        return path

    def _steps(self) -> _ops.Steps | None:
        """The operand laid out, or None where only the product built serves."""
        return None if self.emissions.lengths is None else self.operand.topology.steps

    def _path_of_product(self) -> Graph:
        from gtnet.paths import viterbi_path

        product = self.graph()
        path = viterbi_path(product)
        assert path.arc_maps is not None and product.arc_maps is not None
        (arcs,) = path.arc_maps
        path.arc_maps = tuple(origin[arcs.long()] for origin in product.arc_maps)
        return path

    def _multiplied_out(
        self, scores: Tensor, weights: Tensor, start: Tensor, accept: Tensor
    ) -> Tensor:
        """The forward score of the product built from these scores, float64."""
        from gtnet.distance import _log_distance

        emissions = self.emissions.with_scores(scores)
        operand = self.operand.with_weights(weights, start=start, accept=accept)
        built = Lattice(emissions, operand, max_arcs=self._max_arcs).graph()
        return _log_distance("forward_score", built)[1]

    def _scaled(self, beta: float | Tensor) -> Lattice:
        """One item of emissions per item of the batch, all scores times beta in float64."""
        from gtnet.distance import _is_one, _scaled

        emissions, operand = self.emissions, self.operand
        if len(emissions) == 1 != len(operand):
            emissions = emissions.repeated(len(operand))
        if _is_one(beta):
            return Lattice(emissions, operand, max_arcs=self._max_arcs)
        if isinstance(beta, Tensor) and beta.ndim == 1:
            if beta.shape[0] != len(self):
                raise ValueError(
                    f"forward_score: beta has {beta.shape[0]} values, the batch {len(self)} graphs"
                )
            operand = operand[[0] * len(self)] if len(operand) == 1 else operand
            per_item: float | Tensor = beta.reshape(-1, 1, 1)
        else:
            per_item = beta
        scores = emissions.scores.double()
        impossible = scores == NEG_INF
        scores = (scores.masked_fill(impossible, 0) * per_item).masked_fill(impossible, NEG_INF)
        operand = _scaled("forward_score", operand, beta)
        return Lattice(emissions.with_scores(scores), operand, max_arcs=self._max_arcs)


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
