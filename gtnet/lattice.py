"""Lattice: emissions composed with a graph, multiplied out only when somebody looks at it."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._lattice_paths import kept_graph, mapped_on, path_scores, paths_read
from gtnet.emissions import Emissions, beyond
from gtnet.graph import Graph

_ARRAYS = ("topology", "weights", "start", "accept", "arc_maps", "state_maps")


class Lattice(Graph):
    """The composition of emissions with a graph: a Graph that is built on first look.

    `emissions @ graph` makes it. Path sums and paths run over (frame or cut, state) without
    building it; whatever asks for its arcs (`.weights`, `.source`, `draw`, ...) builds it, once,
    and it is from then on the graph that `.graph()` returns. Its `arc_maps` and `state_maps` name
    the arcs and states of `emissions.graph()` and of `graph`.

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
            # Kept, so in autograd whatever the mode of the first who looks.
            with torch.inference_mode(False), torch.enable_grad():
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

    # Posteriors

    def label_posteriors(self, beta: float | Tensor = 1.0) -> Tensor:
        """The probability that a path drawn in proportion to exp(beta · score) reads each label.

        Result: [batch, frames, labels], 0 beyond the length of an item and where it has no path;
        over a segmentation [segments, labels], where a row adds up to the probability of the
        segment; of the dtype of the scores. One item of emissions that meets several graphs counts
        once for each. Raises, complexity: as `forward_score`, forward and backward.
        Gradient: where asked for, of the product built. Source: the gradient of `forward_score`.
        """
        each = self._scaled("label_posteriors", 1.0)
        learning = torch.is_grad_enabled() and self.requires_grad
        with torch.enable_grad():
            scores = each.emissions.scores
            scores = scores if learning and scores.requires_grad else scores.detach()
            scores = scores if scores.requires_grad else scores.requires_grad_()
            operand = each.operand if learning else each.operand.detach()
            emissions = each.emissions.with_scores(scores)
            total = Lattice(emissions, operand, max_arcs=self._max_arcs).forward_score(beta)
            (found,) = torch.autograd.grad(total.sum(), scores, create_graph=learning)
        return found

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
        from gtnet.distance import finite_temperature

        if per not in ("path", "frame"):
            raise ValueError(f'arc_posteriors: per must be "path" or "frame", got {per!r}')
        finite_temperature("arc_posteriors", beta)
        arcs = self._arcs_of_items()
        cuts = self._cuts_of_items() if per == "frame" else [1] * len(arcs)
        sizes = [a * c for a, c in zip(arcs, cuts)]
        _checks.fits_on_gpu("arc_posteriors", self.device, 12 * sum(sizes), "arcs by frame")
        with torch.no_grad():
            scaled = self._scaled("arc_posteriors", beta)
            arguments = scaled._arguments()
            if arguments is None:
                return self._arc_posteriors_of_product(beta, per)
            try:
                shares = _ops.lattice_posteriors(arguments, by_cut=per == "frame")
            except _ops.OutOfRangeError:
                return self._arc_posteriors_of_product(beta, per)
        found = shares.arcs.to(self.dtype).split(sizes)
        if per == "path":
            return list(found)
        return [row.reshape(c, a) for row, a, c in zip(found, arcs, cuts)]

    def _arcs_of_items(self) -> list[int]:
        if len(self.operand) == 1:
            return [self.operand.num_arcs] * len(self)
        return self.operand.arc_offsets.diff().tolist()

    def _cuts_of_items(self) -> list[int]:
        lengths, cuts = self.emissions.lengths, self.emissions
        sizes = cuts.segmentation.state_offsets.diff() if lengths is None else lengths + 1
        return sizes.tolist() * (len(self) if len(sizes) == 1 else 1)

    def _arc_posteriors_of_product(self, beta: float | Tensor, per: str) -> list[Tensor]:
        from gtnet.distance import posteriors

        product = self.graph()
        assert product.arc_maps is not None and product.state_maps is not None
        chances = posteriors(product, beta)
        cut, arc = product.state_maps[0][product.topology.global_source], product.arc_maps[1]
        begin = 0, 0
        found = []
        for item, (arcs, cuts) in enumerate(zip(self._arcs_of_items(), self._cuts_of_items())):
            here = (product.topology.graph_of_arc == item) & (arc >= 0)
            rows = (cut[here].long() - begin[0]) if per == "frame" else torch.zeros_like(arc[here])
            place = rows.long() * arcs + arc[here].long() - begin[1]
            total = chances.new_zeros((cuts if per == "frame" else 1) * arcs)
            total = total.index_add(0, place, chances[here])
            found.append(total.reshape(cuts, arcs) if per == "frame" else total)
            step = (cuts * (len(self.emissions) > 1), arcs * (len(self.operand) > 1))
            begin = begin[0] + step[0], begin[1] + step[1]
        return found

    def entropy(self, beta: float | Tensor = 1.0) -> Tensor:
        """The entropy, in nats, of a path drawn in proportion to exp(beta · score).

        The log of the sum of all paths minus the expected score, both in float64. Result: [batch],
        0 where there is no path. Raises ValueError as `gtnet.entropy`. Complexity: as
        `label_posteriors`. Gradient: any number of derivatives, also in beta; where grad mode is on
        and something requires grad, the product is built. On a GPU it is NaN where `forward_score`
        is. Source: Cover & Thomas 2006, 4.2.
        """
        from gtnet.distance import finite_temperature
        from gtnet.distributions import entropy

        finite_temperature("entropy", beta)
        given = isinstance(beta, Tensor) and beta.requires_grad
        if torch.is_grad_enabled() and (self.requires_grad or given):
            return self._entropy_by_derivative(beta)
        with torch.no_grad():
            exact = self._in_float64()
            scaled = exact._scaled("entropy", beta)
            arguments = scaled._arguments()
            if arguments is None:
                return entropy(self.graph(), beta)
            try:
                shares = _ops.lattice_posteriors(arguments, by_cut=False)
            except _ops.OutOfRangeError:
                return entropy(self.graph(), beta)
            total = scaled.forward_score()
            found = (total - scaled._expected(arguments, shares)).masked_fill(total == NEG_INF, 0)
        return found.clamp(min=0).to(self.dtype)

    def _entropy_by_derivative(self, beta: float | Tensor) -> Tensor:
        """log Z(s) - d log Z(s) / ds at s = 1, where s multiplies all scores."""
        exact = self._in_float64()
        one = torch.ones(len(self), dtype=torch.float64, device=self.device, requires_grad=True)
        scaled = one * beta
        total = exact.forward_score(scaled)
        total = total.masked_fill(total == NEG_INF, 0) * scaled
        (expected,) = torch.autograd.grad(total.sum(), one, create_graph=True)
        return (total - expected).to(self.dtype)

    def _in_float64(self) -> Lattice:
        cuts, emissions = None, self.emissions
        if emissions.lengths is None:
            cuts = emissions.segmentation.to(torch.float64)
        emissions = emissions.with_scores(emissions.scores.double(), cuts)
        return Lattice(emissions, self.operand.to(torch.float64), max_arcs=self._max_arcs)

    def _expected(self, given: _ops.LatticeArguments, shares: _ops.Shares) -> Tensor:
        """The expected score of a path of each item."""
        size = len(self)
        items = torch.arange(size, device=self.device)

        def sums(chances: Tensor, scores: Tensor, counts: Tensor) -> Tensor:
            counted = scores.masked_fill(chances == 0, 0) * chances
            owner = torch.repeat_interleave(items, counts, output_size=len(counted))
            return _ops.total_by(owner.to(torch.int32), counted, size)

        def each(of_graph: Tensor) -> Tensor:
            return of_graph.repeat(size) if len(self.operand) == 1 else of_graph

        rows = (shares.labels * given.scores.masked_fill(shares.labels == 0, 0)).sum(-1)
        if rows.ndim == 2:
            total = rows.sum(1)
        else:
            segments = self.emissions.segmentation
            total = sums(torch.ones_like(rows), rows, segments.arc_offsets.diff())
            total = total + sums(shares.first, given.cuts[-2], segments.state_offsets.diff())
            total = total + sums(shares.last, given.cuts[-1], segments.state_offsets.diff())
        arcs, states = (
            each(self.operand.arc_offsets.diff()),
            each(self.operand.state_offsets.diff()),
        )
        total = total + sums(shares.arcs, each(given.weights), arcs)
        total = total + sums(shares.start, each(given.start), states)
        return total + sums(shares.accept, each(given.accept), states)

    # Paths

    def sample(
        self,
        n: int,
        *,
        beta: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
    ) -> list[Graph]:
        """n paths of each item, drawn in proportion to exp(beta · score), as `gtnet.sample`.

        Result: for every item a batch of n linear graphs (none where there is no path), with
        `arc_maps` as in `viterbi_path`. Complexity: that of `forward_score` in float64, keeping all
        frames, and O(frames · arcs that enter a state) per path; the product is built only where
        `forward_score` builds it. A GPU draws the same paths, but where a number drawn falls on a
        rounding error; none where `forward_score` is NaN. Gradient: flows to the scores along the
        paths.
        """
        from gtnet.distance import finite_temperature
        from gtnet.paths import sample

        n = _checks.count("sample", "n", n)
        finite_temperature("sample", beta)
        self._check_device("sample")
        each = self._scaled("sample", 1.0)
        with torch.no_grad():
            arguments = self._in_float64()._scaled("sample", beta)._arguments()
            if arguments is None:
                found = sample(self.graph(), n, beta=beta, generator=generator)
                return [self._traced(paths) for paths in found]
            seeds = torch.randint(2**63 - 1, (len(self) * n,), generator=generator)
            drawn = _ops.lattice_sample(arguments, seeds.to(self.device), n)
        return self._by_item(drawn, each)

    def k_best(self, k: int, *, unique: Literal["ilabels", "olabels"] | None = None) -> list[Graph]:
        """The k best paths of each item, best first, as `gtnet.k_best`.

        Result: for every item a batch of at most k linear graphs, with `arc_maps` as in
        `viterbi_path`. Complexity: that of `viterbi_path`, and O(frames · (arcs that enter a state
        + log)) per path; with `unique` the product is built. A GPU finds the same paths in at most
        O(frames · arcs · k · d · log k), d <= 512 the arcs that enter a state, in 8 · k bytes per
        frame and position; none where scores are NaN or +inf. Gradient: flows to the scores along
        the paths. Source: Huang & Chiang 2005, algorithm 3.
        """
        from gtnet.paths import k_best

        k = _checks.count("k_best", "k", k)
        self._check_device("k_best")
        each = self._scaled("k_best", 1.0)
        arguments = None if unique is not None else each._arguments()
        if arguments is None:
            return [self._traced(paths) for paths in k_best(self.graph(), k, unique=unique)]
        size = _ops.k_best_bytes(arguments, k)
        _checks.fits_on_gpu("k_best", self.device, size, f"the {k} best paths to every position")
        with torch.no_grad():
            found = _ops.lattice_k_best(arguments, k)
        return self._by_item(found, each)

    def _by_item(self, found: _ops.PathsFound, each: Lattice) -> list[Graph]:
        paths = paths_read(found, each.emissions, operand=self.operand, shared=self._is_shared)
        counts = found.counts.tolist()
        return [paths[end - n : end] for end, n in zip(accumulate(counts), counts)]

    def prune(self, beam: float) -> Graph:
        """The product without what lies on no path within `beam` of the best, which is not built.

        Arguments: `beam` >= 0, as in `gtnet.prune`. Result: a Graph; its `arc_maps` and
        `state_maps` name the arcs and states of `emissions.graph()` and of `operand`.
        Complexity: that of `viterbi_path` forth and back, in memory O(frames · states + arcs kept).
        The product is built where `forward_score` builds it. A GPU keeps the same, and waits to
        learn how much that is; nothing where scores are NaN or +inf. Gradient: that of a gather.
        """
        from gtnet.compose import connect
        from gtnet.prune import prune

        if not beam >= 0:
            raise ValueError(f"prune: beam must be at least 0, got {beam}")
        self._check_device("prune")
        each = self._scaled("prune", 1.0)
        arguments = each._arguments()
        if arguments is None:
            return self._traced(prune(self.graph(), beam=beam))
        with torch.no_grad():
            kept = _ops.lattice_prune(arguments, float(beam))
        graph = kept_graph(kept, each.emissions, operand=self.operand, shared=self._is_shared)
        return mapped_on(connect(graph), graph)

    # Best paths

    def viterbi_score(self) -> Tensor:
        """The score of the best path of each item, as `gtnet.viterbi_score`.

        Result: [batch], -inf where there is no path. Complexity, errors: as `viterbi_path`.
        Gradient: 1 on the scores along the best path.
        """
        from gtnet.distance import viterbi_score

        if self._arguments() is None:
            return viterbi_score(self.graph())
        return path_scores(self.viterbi_path())

    def viterbi_path(self) -> Graph:
        """The best path of each item as a batch of linear graphs; no path gives an empty one.

        Its `arc_maps` are two: the arcs of `emissions.graph()` (frame or segment, counted through
        the batch, times the labels, plus the label; -1 for an epsilon) and the arcs of `operand`.
        The product is built where `forward_score` builds it.
        Complexity: O(frames · arcs of the operand), memory O(frames · states) for each item in
        work, in float64; segmentations as for `forward_score`. Gradient: flows to the scores along
        the path. Source: Viterbi 1967.
        """
        from gtnet.paths import viterbi_path

        lattice = self._scaled("viterbi_path", 1.0)
        arguments = lattice._arguments()
        if arguments is None:
            return self._traced(viterbi_path(self.graph()))
        with torch.no_grad():
            found = _ops.lattice_best(arguments)
        return paths_read(found, lattice.emissions, operand=self.operand, shared=self._is_shared)

    def _arguments(self) -> _ops.LatticeArguments | None:
        """What the operators take, or None where only the product built serves."""
        cuts, operand = self.emissions.cuts(), self.operand
        steps = operand.topology.steps
        if cuts is None or steps is None:
            return None
        graph = (operand.weights, operand.start, operand.accept)
        return _ops.lattice_arguments(self.emissions.rows(), cuts, steps, *graph)

    def _check_device(self, function: str) -> None:
        """Of what GPUs do over frames only."""
        if self.emissions.lengths is None:
            why = "over segments it is done there: move them with .cpu()"
            _checks.on_cpu(function, "the emissions", self.emissions.scores, why)

    @property
    def _is_shared(self) -> bool:
        """Whether one item of emissions meets several graphs."""
        return len(self.emissions) == 1 != len(self.operand)

    def _traced(self, part: Graph) -> Graph:
        """A part of the product built, with maps to the operands."""
        return mapped_on(part, self.graph())

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
        if emissions.lengths is not None:  # what is never read may be NaN
            impossible = impossible | beyond(scores, emissions.lengths)
        scores = (scores.masked_fill(impossible, 0) * per_row).masked_fill(impossible, NEG_INF)
        if emissions.lengths is None:
            segmentation = _scaled(function, emissions.segmentation, beta)
        operand = _scaled(function, operand, beta)
        scaled = emissions.with_scores(scores, segmentation)
        return Lattice(scaled, operand, max_arcs=self._max_arcs)
