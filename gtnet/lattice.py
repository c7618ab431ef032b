"""Lattice: emissions composed with a graph, and not built before that is asked for."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor

from gtnet import _lattice_paths, _lattice_sums, _ops
from gtnet._checks import MAX_ARCS, NEG_INF
from gtnet._ordinary import ordinary, transformed
from gtnet._temperatures import fits_times
from gtnet._text import headline
from gtnet.distance import _is_one, _log_distance, _scaled, times
from gtnet.emissions import Emissions, beyond
from gtnet.graph import Graph, Unbuilt
from gtnet.paths import MAX_PREFIXES
from gtnet.product import Paired, paired


class Lattice(Unbuilt):
    """The composition of emissions with a graph, of which `graph()` makes a Graph.

    `emissions @ graph` makes it. Path sums and paths run over (frame or cut, state) without
    building the product. Every function of gtnet takes a lattice where it takes a graph, with the
    result that it has for `graph()`, and those that need the arcs build it. The paths that are
    taken out of a lattice, and what `prune` keeps of it, have two `arc_maps` and `state_maps`: to
    `emissions.graph()` and to the operand.

    A lattice holds no arrays and cannot be written to: it is at any time the product of what its
    emissions and its operand hold then. Copies and pickles hold these two.

    Attributes: `emissions`; `operand`, the graph on their right; `max_arcs`, as in `compose`.
    """

    __slots__ = ("__weakref__", "_known", "emissions", "max_arcs", "operand")

    emissions: Emissions
    operand: Graph
    max_arcs: int
    _known: _Structure | None

    def __init__(self, emissions: Emissions, operand: Graph, *, max_arcs: int) -> None:
        fill = object.__setattr__
        fill(self, "emissions", emissions)
        fill(self, "operand", operand)
        fill(self, "max_arcs", max_arcs)
        fill(self, "_known", None)

    def graph(self) -> Graph:
        """The product: every pair of a path of the emissions and one of the operand.

        Its `arc_maps` and `state_maps` name the arcs and states of `emissions.graph()` and of the
        operand. Its scores are sums of those that both have now; writing into them does not reach
        the lattice. States and arcs are found once and kept, scores are gathered in each call.
        Raises ValueError where it has more than the `max_arcs` given to `compose`.
        Complexity: O(frames · labels + pairs of states reached + arcs of the product); again,
        O(frames · labels + states + arcs). Gradient: sums of the scores of both.
        """
        emissions, operand = self.emissions, self.operand
        if emissions.scores.dtype != self.dtype:
            emissions = emissions.with_scores(emissions.scores.to(self.dtype))
        read = emissions.graph()
        if transformed():  # what is found there holds for the transform only
            return paired("compose", read, operand, self.max_arcs).scored(read, operand)
        known = self._known
        if known is None or not known.holds_for(emissions, operand):
            known = _structure(emissions, operand, read, self.max_arcs)
            object.__setattr__(self, "_known", known)
        return known.product.scored(read, operand)

    # It holds no arrays

    def __getattr__(self, name: str) -> NoReturn:
        ask = ": build it with .graph()" if hasattr(Graph, name) else ""
        raise AttributeError(f"'Lattice' object has no attribute {name!r}{ask}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"'Lattice' object cannot be written to, got {name!r}: write into the scores of its "
            f"emissions or its operand, or into the graph that .graph() builds"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.emissions, self.operand, self.max_arcs)

    def __repr__(self) -> str:
        return f"Lattice({self.emissions!r} @ {headline(self.operand)})"

    # What is known without building it

    def __len__(self) -> int:
        """Items in the batch."""
        sizes = len(self.emissions), len(self.operand)
        return 0 if 0 in sizes else max(sizes)

    @property
    def is_acceptor(self) -> bool:
        """Whether the operand is an acceptor, and with it the product."""
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

    # As a batch of graphs, built

    def equal(self, other: Graph | Lattice) -> bool:
        """`Graph.equal` of the product, built."""
        return self.graph().equal(other)

    def isomorphic(self, other: Graph | Lattice, *, tolerance: float = 0.0) -> bool:
        """`Graph.isomorphic` of the product, built."""
        return self.graph().isomorphic(other, tolerance=tolerance)

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
        return _lattice_sums.forward_score(self, beta)

    def viterbi_score(self) -> Tensor:
        """The score of the best path of each item, as `gtnet.viterbi_score`.

        Result: [batch], -inf where there is no path. Complexity, errors: as `viterbi_path`.
        Gradient: 1 on the scores along the best path.
        """
        return _lattice_paths.viterbi_score(self)

    def label_posteriors(self, beta: float | Tensor = 1.0) -> Tensor:
        """The probability that a path drawn in proportion to exp(beta · score) reads each label.

        Result: [batch, frames, labels], 0 beyond the length of an item and where it has no path;
        over a segmentation [segments, labels], where a row adds up to the probability of the
        segment; of the dtype of the scores. One item of emissions that meets several graphs counts
        once for each. Raises, complexity: as `forward_score`, forward and backward.
        Gradient: where asked for, of the product built. Source: the gradient of `forward_score`.
        """
        return _lattice_sums.label_posteriors(self, beta)

    def arc_posteriors(
        self, beta: float | Tensor = 1.0, *, per: Literal["path", "frame"] = "path"
    ) -> list[Tensor]:
        """How often a path drawn in proportion to exp(beta · score) takes each arc of the operand.

        Arguments: `per` "path" adds up all frames; "frame" tells them apart.
        Result: for every item [arcs of its graph], or [frames + 1, arcs]: row t holds the arcs that
        read frame t, and the epsilon arcs between the frames t - 1 and t. Over a segmentation rows
        are its states, and hold the arcs that leave them. Of the dtype of the scores.
        Raises, complexity: as `label_posteriors`, and the size of the result. Gradient: none; that
        of `posteriors` of the product built (`.graph()`) has any number of derivatives.
        On a GPU it waits to learn the sizes of the results; they are NaN where `forward_score` is.
        """
        return _lattice_sums.arc_posteriors(self, beta, per)

    def entropy(self, beta: float | Tensor = 1.0) -> Tensor:
        """The entropy, in nats, of a path drawn in proportion to exp(beta · score).

        The log of the sum of all paths minus the expected score, both in float64. Result: [batch],
        0 where there is no path. Raises ValueError as `gtnet.entropy`. Complexity: as
        `label_posteriors`. Gradient: any number of derivatives, also in beta; where grad mode is on
        and something requires grad, the product is built. On a GPU it is NaN where `forward_score`
        is. Source: Cover & Thomas 2006, 4.2.
        """
        return _lattice_sums.entropy(self, beta)

    # Paths

    def viterbi_path(self) -> Graph:
        """The best path of each item as a batch of linear graphs; no path gives an empty one.

        Its `arc_maps` are two: the arcs of `emissions.graph()` (frame or segment, counted through
        the batch, times the labels, plus the label; -1 for an epsilon) and the arcs of `operand`.
        The product is built where `forward_score` builds it.
        Complexity: O(frames · arcs of the operand), memory O(frames · states) for each item in
        work, in float64; segmentations as for `forward_score`. Gradient: flows to the scores along
        the path. Source: Viterbi 1967.
        """
        return _lattice_paths.viterbi_path(self)

    def k_best(
        self,
        k: int,
        *,
        unique: Literal["ilabels", "olabels"] | None = None,
        max_prefixes: int = MAX_PREFIXES,
    ) -> list[Graph]:
        """The k best paths of each item, best first, as `gtnet.k_best`.

        Result: for every item a batch of at most k linear graphs, with `arc_maps` as in
        `viterbi_path`. Complexity: that of `viterbi_path`, and O(frames · (arcs that enter a state
        + log)) per path; with `unique` the product is built. `max_prefixes` holds on the CPU. A GPU
        finds the same paths in at most O(frames · arcs · k · d · log k), d <= 512 the arcs that
        enter a state, in 8 · k bytes per frame and position; none where scores are NaN or +inf.
        Over a segmentation it builds the product, waits for its size, and takes what `gtnet.k_best`
        takes there: paths that tie come in another order than on the CPU, which goes by cuts.
        Gradient: flows to the scores along the paths. Source: Huang & Chiang 2005, algorithm 3.
        """
        return _lattice_paths.k_best(self, k, unique, max_prefixes)

    def sample(
        self,
        n: int,
        *,
        beta: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
        max_arcs: int = MAX_ARCS,
    ) -> list[Graph]:
        """n paths of each item, drawn in proportion to exp(beta · score), as `gtnet.sample`.

        Result: for every item a batch of n linear graphs (none where there is no path), with
        `arc_maps` as in `viterbi_path`. Complexity: that of `forward_score` in float64, keeping all
        frames, and O(frames · arcs that enter a state) per path; the product is built only where
        `forward_score` builds it. A GPU draws the same paths, but where a number drawn falls on a
        rounding error; none where `forward_score` is NaN. Over a segmentation it builds the
        product, waits for its size, and draws what `gtnet.sample` of `.graph()` draws on the CPU
        with the same seed; without the product the CPU draws others, from their ends back.
        Gradient: flows to the scores along the paths.
        """
        return _lattice_paths.sample(self, n, beta, generator, max_arcs)

    def prune(self, beam: float) -> Graph:
        """The product without what lies on no path within `beam` of the best, which is not built.

        Arguments: `beam` >= 0, as in `gtnet.prune`. Result: a Graph; its `arc_maps` and
        `state_maps` name the arcs and states of `emissions.graph()` and of `operand`.
        Complexity: that of `viterbi_path` forth and back, in memory O(frames · states + arcs kept).
        The product is built where `forward_score` builds it. A GPU keeps the same, and waits to
        learn how much that is; nothing where scores are NaN or +inf. Over a segmentation it builds
        the product, waits for its size too, and leaves states and arcs in its order.
        Gradient: that of a gather.
        """
        return _lattice_paths.prune(self, beam)

    # What the sums and paths work on

    def _with(self, emissions: Emissions, operand: Graph) -> Lattice:
        return Lattice(emissions, operand, max_arcs=self.max_arcs)

    def _arguments(self) -> _ops.LatticeArguments | None:
        """What the operators take, or None where only the product built serves."""
        cuts, operand = self.emissions.cuts(), self.operand
        steps = operand.topology.steps
        if cuts is None or steps is None:
            return None
        graph = (operand.weights, operand.start, operand.accept)
        return _ops.lattice_arguments(self.emissions.rows(), cuts, steps, *graph)

    @property
    def _is_shared(self) -> bool:
        """Whether one item of emissions meets several graphs."""
        return len(self.emissions) == 1 != len(self.operand)

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
        cuts = None
        if self.emissions.lengths is None:
            zero = torch.zeros_like(self.emissions.segmentation.weights)
            cuts = self.emissions.segmentation.with_weights(zero, start=first, accept=last)
        emissions = self.emissions.with_scores(scores, cuts)
        operand = self.operand.with_weights(weights, start=start, accept=accept)
        product = self._with(emissions, operand).graph()
        return _log_distance("forward_score", product)[1]

    def _in_float64(self) -> Lattice:
        cuts, emissions = None, self.emissions
        if emissions.lengths is None:
            cuts = emissions.segmentation.to(torch.float64)
        emissions = emissions.with_scores(emissions.scores.double(), cuts)
        return self._with(emissions, self.operand.to(torch.float64))

    def _scaled(self, function: str, beta: float | Tensor) -> Lattice:
        """One item of emissions per item of the batch, all scores times beta in float64."""
        emissions, operand = self.emissions, self.operand
        if len(emissions) == 1 != len(operand):
            emissions = emissions.repeated(len(operand))
        if _is_one(beta):
            return self if emissions is self.emissions else self._with(emissions, operand)
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
        if emissions.lengths is not None:  # what is never read may be NaN
            scores = scores.masked_fill(beyond(scores, emissions.lengths), NEG_INF)
        fits_times(function, {"scores": scores}, beta)
        scores = times(scores, per_row)
        if emissions.lengths is None:
            segmentation = _scaled(function, emissions.segmentation, beta)
        operand = _scaled(function, operand, beta)
        scaled = emissions.with_scores(scores, segmentation)
        return self._with(scaled, operand)


class _Structure(NamedTuple):
    """A product without scores, and what it follows from."""

    product: Paired
    num_labels: int
    topologies: tuple[object, ...]  # which never change
    arrays: list[Tensor]  # which may be written into: these are copies

    @classmethod
    def of(cls, emissions: Emissions, operand: Graph, product: Paired) -> _Structure:
        return cls(product, emissions.num_labels, *_origins(emissions, operand))

    def holds_for(self, emissions: Emissions, operand: Graph) -> bool:
        """Whether the product of these has the same states and arcs."""
        topologies, arrays = _origins(emissions, operand)
        return (
            self.num_labels == emissions.num_labels
            and len(topologies) == len(self.topologies)
            and all(a is b for a, b in zip(topologies, self.topologies))
            and all(torch.equal(a, b) for a, b in zip(arrays, self.arrays))
        )


@ordinary
def _structure(emissions: Emissions, operand: Graph, read: Graph, max_arcs: int) -> _Structure:
    product = paired("compose", read, operand, max_arcs)
    return _Structure.of(emissions, operand, product)


def _origins(emissions: Emissions, operand: Graph) -> tuple[tuple[object, ...], list[Tensor]]:
    """Topologies, and where paths may start and end (or how long they are)."""
    possible = [scores.detach() > NEG_INF for scores in (operand.start, operand.accept)]
    if emissions.lengths is not None:
        return (operand.topology,), [*possible, emissions.lengths.clone()]
    cuts = emissions.segmentation
    possible += [scores.detach() > NEG_INF for scores in (cuts.start, cuts.accept)]
    return (operand.topology, cuts.topology), possible


def _restored(emissions: Emissions, operand: Graph, max_arcs: int) -> Lattice:
    return Lattice(emissions, operand, max_arcs=max_arcs)
