"""Emissions: the output of a network, one vector of label scores per frame or segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._operators import Composition
from gtnet._ordinary import ordinary, remembered, without_wrappers
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Emissions(Composition):
    """Label scores along a chain of frames, or along the arcs of a segmentation graph.

    Arguments:
        scores: float32 or float64; float16 and bfloat16 meet graphs of float32, on a GPU without a
            copy, and get their gradient in their dtype. For a chain, [batch, frames, labels]; over
            a segmentation graph, [arcs of the graph, labels]. -inf is allowed, NaN and +inf are
            not, but beyond the length of an item: there nothing is read, and the gradient is 0.
        lengths: frames of each item, integers [batch]; by default all of them. Chain only. For
            scores on a GPU they may be on the CPU; those on a GPU are clipped, not checked.
        graph: an acyclic Graph (a batch) whose arc i carries row i of `scores`; its own weights
            are added to all labels of the arc.

    Raises TypeError or ValueError for wrong dtypes, shapes, lengths or devices.
    Composing it (`emissions @ graph`) gives a `Lattice`, which `graph()` builds and nothing else.
    """

    _given: Graph | None = None  # the segmentation, of segments

    def __init__(
        self,
        scores: Tensor,
        lengths: Tensor | list[int] | None = None,
        *,
        graph: Graph | Lattice | None = None,
    ) -> None:
        self.scores = _checks.emissions("Emissions", "scores", scores)
        self.lengths: Tensor | None = None
        if graph is None:
            self.lengths = remembered(*without_wrappers(_lengths(self.scores, lengths)))
            self.scores = finite_inside("Emissions", "scores", self.scores, self.lengths)
        else:
            _checks.finite_or_zero("Emissions", "scores", self.scores)
            if lengths is not None:
                raise ValueError("Emissions: lengths belong to frames, graph to segments: give one")
            self._given = _segments(self.scores, graph)

    @property
    @ordinary
    def segmentation(self) -> Graph:
        """The graph whose arc i carries row i of the scores: the one given, or chains of frames."""
        if self._given is not None:
            return self._given
        assert self.lengths is not None
        return _frames(self.scores, self.lengths)

    def __len__(self) -> int:
        """Items in the batch."""
        return len(self.segmentation if self.lengths is None else self.lengths)

    @property
    def num_labels(self) -> int:
        """Labels that every frame or segment has a score for."""
        return self.scores.shape[-1]

    @property
    def requires_grad(self) -> bool:
        """Whether the scores, or those of the segmentation graph, require grad."""
        return self.scores.requires_grad or (
            self.lengths is None and self.segmentation.requires_grad
        )

    @classmethod
    def unchecked(cls, scores: Tensor, lengths: Tensor) -> Emissions:
        """Chains whose scores are not checked for NaN here: the lazy sums check what they read."""
        emissions = cls.__new__(cls)
        emissions.scores, emissions.lengths = scores, lengths
        return emissions

    def with_scores(self, scores: Tensor, segmentation: Graph | None = None) -> Emissions:
        """The same frames or segments with other scores, unchecked."""
        other = Emissions.__new__(Emissions)
        other.scores, other.lengths = scores, self.lengths
        if self.lengths is None:
            other._given = self._given if segmentation is None else segmentation
        return other

    def repeated(self, times: int) -> Emissions:
        """A batch of one repeated `times` times."""
        if self.lengths is None:
            return self.with_scores(self.scores.repeat(times, 1), self.segmentation[[0] * times])
        other = self.with_scores(self.scores.expand(times, -1, -1))
        other.lengths = self.lengths.expand(times).contiguous()
        return other

    def rows(self) -> Tensor:
        """The scores that a path adds up: that of a segment's arc is added to all its labels."""
        if self.lengths is not None:
            return self.scores
        own = self.segmentation.weights
        if not own.is_cuda and not own.requires_grad and not bool(_checks.plain(own).any()):
            return self.scores
        return self.scores + own.unsqueeze(1)

    def first_rows(self) -> Tensor:
        """The row of scores with which each item begins, counted through the batch, int64."""
        if self.lengths is None:
            return self.segmentation.arc_offsets[:-1]
        return self.lengths.cumsum(0) - self.lengths

    def cuts(self) -> list[Tensor] | None:
        """Where frames or segments begin and end; None for a segmentation with a cycle."""
        if self.lengths is not None:
            return [self.lengths]
        path = self.segmentation
        topology = path.topology
        if topology.is_cyclic:
            return None
        order, _ = topology.order_and_cycles
        cuts = [topology.state_offsets, topology.arc_offsets, order]
        cuts += [topology.source, topology.target]
        if path.weights.is_cuda:
            sizes = (topology._origin or topology).state_offsets.diff()
            most = torch.cat([sizes.new_zeros(1), sizes]).max().reshape(1)
            cuts += [*_ops.segments_of_cuts(*cuts), most.cpu()]
        return [*cuts, path.start, path.accept]

    def __repr__(self) -> str:
        rows = f"{self.segmentation.num_arcs} rows of {self.num_labels} scores"
        return f"Emissions({len(self)} items, {rows}, {self.scores.device})"

    def graph(self) -> Graph:
        """The acceptor with one arc per (frame or segment, label).

        Arc k of the segmentation and label c make arc k * labels + c. `arc_maps[0]` says which
        segmentation arc each arc came from: for a chain, frames are counted through the batch.
        Complexity: O(frames · labels). Gradients flow to `scores`.
        """
        path, labels = self.segmentation, self.num_labels
        _checks.countable("Emissions.graph", "arcs", path.num_arcs * labels)
        topology = path.topology
        arc = torch.arange(path.num_arcs, dtype=torch.int32, device=path.device)
        ilabels = torch.arange(labels, dtype=torch.int32, device=path.device).repeat(path.num_arcs)
        expanded = Topology(
            topology.state_offsets,
            topology.arc_offsets * labels,
            topology.source.repeat_interleave(labels),
            topology.target.repeat_interleave(labels),
            ilabels,
            ilabels,
            topology.num_states,
        )
        weights = (self._rows(path) + path.weights.unsqueeze(1)).flatten()
        return Graph.from_topology(
            expanded,
            weights,
            path.start,
            path.accept,
            arc_maps=(arc.repeat_interleave(labels),),
            state_maps=(torch.arange(path.num_states, dtype=torch.int32, device=path.device),),
        )

    def _rows(self, path: Graph) -> Tensor:
        """One row of scores per arc of the segmentation."""
        if self.scores.ndim == 2:
            return self.scores
        batch, frames, labels = self.scores.shape
        lengths = path.arc_offsets.diff()
        if path.num_arcs == batch * frames:
            return self.scores.reshape(batch * frames, labels)
        inside = torch.arange(frames, device=self.scores.device) < lengths.unsqueeze(1)
        return self.scores[inside]


def _lengths(scores: Tensor, lengths: Tensor | list[int] | None) -> Tensor:
    """The frames of each item, int64 [batch]."""
    if scores.ndim != 3:
        raise ValueError(
            f"Emissions: scores must be [batch, frames, labels], got {list(scores.shape)}"
        )
    batch, frames, _ = scores.shape
    if lengths is None:
        return torch.full((batch,), frames, device=scores.device)
    if isinstance(lengths, Tensor) and lengths.device.type != "cpu":  # reading them would wait
        _checks.same_device("Emissions", scores=scores, lengths=lengths)
        if lengths.shape != (batch,):
            raise ValueError(f"Emissions: lengths must be [{batch}], got {list(lengths.shape)}")
        return lengths.long().contiguous()
    lengths = _checks.integers("Emissions", "lengths", lengths).long()
    if lengths.shape[0] != batch:
        raise ValueError(f"Emissions: scores have {batch} items, lengths {lengths.shape[0]}")
    _checks.inside("Emissions", "lengths", lengths, frames + 1, "the frames of scores")
    return lengths.to(scores.device)


def finite_inside(function: str, name: str, scores: Tensor, lengths: Tensor) -> Tensor:
    """Scores [batch, frames, ...] of which those inside the lengths hold no NaN or +inf.

    Others become 0, with a gradient of 0. On a GPU, where a look would wait, scores stay unread.
    """
    if scores.device.type != "cpu" or scores.numel() == 0:
        return scores
    _, largest = _checks.extremes({name: scores}).get(name, (0.0, 0.0))
    if largest <= _checks.HIGHEST.get(scores.dtype, 0.0):
        return scores
    clean = scores.masked_fill(beyond(scores, lengths), 0)
    _checks.finite_or_zero(function, name, clean)
    return clean


def beyond(scores: Tensor, lengths: Tensor) -> Tensor:
    """Whether frames of scores lie beyond their item: [batch, frames, 1, ...]."""
    frame = torch.arange(scores.shape[1], device=scores.device)
    outside = frame >= lengths.unsqueeze(1)
    return outside.view(*outside.shape, *(1,) * (scores.ndim - 2))


def _frames(scores: Tensor, lengths: Tensor) -> Graph:
    """A chain of frames per item, as a segmentation graph with scores of 0."""
    batch, device = len(lengths), scores.device
    zero = lengths.new_zeros(1)
    state_offsets = torch.cat([zero, (lengths + 1).cumsum(0)])
    arc_offsets = torch.cat([zero, lengths.cumsum(0)])
    num_arcs = int(arc_offsets[-1])
    source = torch.arange(num_arcs, device=device) - torch.repeat_interleave(
        arc_offsets[:-1], lengths, output_size=num_arcs
    )
    source = source.to(torch.int32)
    start = torch.full((num_arcs + batch,), NEG_INF, dtype=scores.dtype, device=device)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    topology = Topology(
        state_offsets, arc_offsets, source, source + 1, source, source, num_arcs + batch
    )
    weights = torch.zeros(num_arcs, dtype=scores.dtype, device=device)
    return Graph.from_topology(topology, weights, start, accept)


def _segments(scores: Tensor, graph: Graph | Lattice) -> Graph:
    graph = built("Emissions", "graph", graph)
    if scores.ndim != 2 or scores.shape[0] != graph.num_arcs:
        raise ValueError(
            f"Emissions: scores must be [arcs of the graph ({graph.num_arcs}), labels], "
            f"got {list(scores.shape)}"
        )
    _checks.same_device("Emissions", scores=scores, graph=graph.weights)
    if scores.dtype not in _checks.SHORT or graph.dtype != torch.float32:
        _checks.same_dtype("Emissions", scores=scores, graph=graph.weights)
    return graph
