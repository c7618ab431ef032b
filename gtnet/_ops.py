"""torch.ops.gtnet.*: the only module that touches them; their fakes, gradients and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks


def _load() -> bool:
    """Load the extensions beside this file, the CUDA one if torch has CUDA; whether it did."""
    here = Path(__file__).parent
    library = here / "_cpu.abi3.so"
    if not library.exists():
        raise ImportError(
            f"gtnet: {library} is missing, so the extension was never built here: run "
            f"`pip install .` in the checkout (it needs g++), or install a wheel"
        )
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        raise ImportError(
            f"gtnet: {library} does not load beside torch {torch.__version__} "
            f"(2.10 or newer is needed): {error}"
        ) from error
    cuda = here / "_cuda.abi3.so"
    if torch.version.cuda is None or not cuda.exists():
        return False
    torch.ops.load_library(str(cuda))
    return True


HAS_CUDA = _load()
_gtnet = torch.ops.gtnet

incidence = _gtnet.incidence.default
sort_by_label = _gtnet.sort_by_label.default
topological_order = _gtnet.topological_order.default
layers = _gtnet.layers.default
best_end = _gtnet.best_end.default
trace = _gtnet.trace.default
k_best = _gtnet.k_best.default
compose = _gtnet.compose.default
reach = _gtnet.reach.default
components = _gtnet.components.default
elimination = _gtnet.elimination.default

_library = torch.library.Library("gtnet", "FRAGMENT")


def _fake(name: str) -> Any:
    return torch.library.register_fake(f"gtnet::{name}", lib=_library)


def _unknown_size() -> Any:
    return torch.library.get_ctx().new_dynamic_size()


def _like(tensor: Tensor, size: Any, dtype: torch.dtype) -> Tensor:
    return tensor.new_empty((size,), dtype=dtype)


@_fake("incidence")
def _(
    state_offsets: Tensor, arc_offsets: Tensor, by: Tensor, other: Tensor, num_states: int
) -> tuple[Tensor, ...]:
    return by.new_empty(num_states + 1), torch.empty_like(by), torch.empty_like(by)


@_fake("sort_by_label")
def _(
    state_offsets: Tensor, offsets: Tensor, arcs: Tensor, states: Tensor, labels: Tensor
) -> tuple[Tensor, ...]:
    return torch.empty_like(arcs), torch.empty_like(arcs), torch.empty_like(arcs)


@_fake("topological_order")
def _(state_offsets: Tensor, offsets: Tensor, sources: Tensor) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return offsets.new_empty(offsets.shape[0] - 1), state_offsets.new_empty(graphs)


@_fake("layers")
def _(state_offsets: Tensor, order: Tensor, *entering: Tensor) -> tuple[Tensor, ...]:
    return torch.empty_like(order), order.new_empty(2, order.shape[0])


@_fake("log_distance")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *walk: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return torch.empty_like(start, dtype=torch.float64), _like(start, graphs, torch.float64)


@_fake("log_distance_backward")
def _(
    grad_score: Tensor,
    grad_alpha: Tensor | None,
    alpha: Tensor,
    score: Tensor,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    *walk: Any,
) -> tuple[Tensor, ...]:
    return torch.empty_like(weights), torch.empty_like(start), torch.empty_like(accept)


@_fake("recursion")
def _(p: Tensor, b: Tensor, *walk: Any) -> Tensor:
    return torch.empty_like(b)


@_fake("best_distance")
def _(weights: Tensor, start: Tensor, *walk: Any) -> tuple[Tensor, ...]:
    return (
        torch.empty_like(start, dtype=torch.float64),
        torch.empty_like(start, dtype=torch.int32),
    )


@_fake("best_end")
def _(
    alpha: Tensor, came_by: Tensor, accept: Tensor, state_offsets: Tensor, *entering: Tensor
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    dtypes = (torch.float64, torch.int32, torch.int64)
    return tuple(_like(accept, graphs, dtype) for dtype in dtypes)


@_fake("trace")
def _(came_by: Tensor, last: Tensor, path_offsets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return last.new_empty(rest[-1]), torch.empty_like(last)


@_fake("k_best")
def _(
    to_end: Tensor,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    labels: Tensor | None,
    state_offsets: Tensor,
    *walk: Any,
) -> tuple[Tensor, ...]:
    paths, arcs = _unknown_size(), _unknown_size()
    return (
        _like(start, state_offsets.shape[0] - 1, torch.int64),
        _like(start, paths, torch.int64),
        _like(start, arcs, torch.int32),
        _like(start, paths, torch.int32),
        _like(start, paths, torch.int32),
    )


@_fake("compose")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> list[Tensor]:
    acceptors, num_graphs, _ = rest[-3:]
    states, arcs = _unknown_size(), _unknown_size()
    offsets = _like(a_arcs, num_graphs + 1, torch.int64)
    sizes = [arcs, arcs, arcs, 0 if acceptors else arcs, arcs, arcs, states, states]
    return [
        _like(a_arcs, 1, torch.bool),
        offsets,
        torch.empty_like(offsets),
        *(_like(a_arcs, size, torch.int32) for size in sizes),
        _like(a_arcs, states, torch.int8),
    ]


@_fake("reach")
def _(
    state_offsets: Tensor,
    offsets: Tensor,
    arcs: Tensor,
    states: Tensor,
    seeds: Tensor,
    open: Tensor | None = None,
) -> Tensor:
    return torch.empty_like(seeds)


@_fake("take")
def _(values: Tensor, index: Tensor) -> Tensor:
    return values.new_empty(index.shape[0])


@_fake("take_backward")
def _(grad: Tensor, index: Tensor, by_index: Tensor | None, size: int) -> Tensor:
    return grad.new_empty(size)


@_fake("components")
def _(state_offsets: Tensor, offsets: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    bounds = offsets.new_empty((_unknown_size(), 2))
    return offsets.new_empty(offsets.shape[0] - 1), torch.empty_like(state_offsets), bounds


@_fake("elimination")
def _(
    state_offsets: Tensor, order: Tensor, component_offsets: Tensor, bounds: Tensor, *leaving: Any
) -> tuple[Tensor, ...]:
    states = order.shape[0]
    return (
        torch.empty_like(order),
        _like(order, states + 1, torch.int64),
        _like(order, _unknown_size(), torch.int32),
        _like(order, states, torch.int64),
        _like(order, leaving[1].shape[0], torch.int64),
        _like(order, 1, torch.int32),
    )


@_fake("closed_log_distance")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *walk: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return (
        torch.empty_like(start, dtype=torch.float64),
        _like(start, graphs, torch.float64),
        _like(start, graphs, torch.int32),
    )


@_fake("closed_recursion")
def _(p: Tensor, b: Tensor, *walk: Any) -> Tensor:
    return torch.empty_like(b)


@_fake("closed_best_distance")
def _(weights: Tensor, start: Tensor, state_offsets: Tensor, *walk: Any) -> tuple[Tensor, ...]:
    return (
        torch.empty_like(start, dtype=torch.float64),
        torch.empty_like(start, dtype=torch.int32),
        _like(start, state_offsets.shape[0] - 1, torch.int32),
    )


# Gradients. A torch.autograd.Function costs a third of what torch.library.register_autograd does
# per call (20 against 52 µs on a graph of three arcs), and torch.compile traces it as well.


class _Take(torch.autograd.Function):
    """take and its adjoint are each other's gradient, so they differentiate for ever."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor) -> Tensor:
        ctx.size = values.shape[0]
        ctx.save_for_backward(index)
        return _gtnet.take.default(values.contiguous(), index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _TakeAdjoint.apply(grad, *ctx.saved_tensors, ctx.size), None


class _TakeAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        by_index = torch.argsort(index, stable=True) if grad.is_cuda else None
        return _gtnet.take_backward.default(grad.contiguous(), index, by_index, size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Take.apply(grad, *ctx.saved_tensors), None, None


def total_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    """The sum of the values of each index, [size]; -1 counts nowhere. Any number of derivatives."""
    return _TakeAdjoint.apply(values, index, size)


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[index] with 0 where index is -1; differentiable any number of times. O(index)."""
    if torch.is_grad_enabled() and values.requires_grad:
        return _Take.apply(values, index)
    return _gtnet.take.default(values.contiguous(), index)


class Cycles(NamedTuple):
    """What a walk through cyclic graphs needs beside the order of its components.

    `offsets` int64 [graphs + 1] and `bounds` int32 [components, 2]: the positions of each component
    that has a cycle; `pattern`: how to eliminate its states, where sums are asked for.
    """

    function: str
    offsets: Tensor
    bounds: Tensor
    pattern: tuple[Tensor, ...]


class Walk(NamedTuple):
    """How to reach every state after those it depends on: arcs by state, in a direction.

    `order` int32 [states]; `bounds` int32 [2, states], the layer of each position, on a GPU;
    `forth` and `back` are the arcs a state is reached by and leaves by: offsets, arcs, states.
    """

    state_offsets: Tensor
    order: Tensor
    bounds: Tensor | None
    forth: tuple[Tensor, Tensor, Tensor]
    back: tuple[Tensor, Tensor, Tensor] | None
    reverse: bool
    cycles: Cycles | None = None

    def arguments(self) -> tuple[Any, ...]:
        """As the operators take them."""
        if self.cycles is None:
            return (self.state_offsets, self.order, self.bounds, *self.forth, self.reverse)
        _, offsets, bounds, pattern = self.cycles
        ends = (self.state_offsets, self.order, *self.forth, self.reverse)
        return (*ends, offsets, bounds, *pattern)

    def reversed(self) -> Walk:
        """The same arcs walked from the other end; needs `back`."""
        assert self.back is not None
        return self._replace(forth=self.back, back=self.forth, reverse=not self.reverse)

    def ends(self) -> tuple[Tensor, Tensor]:
        """Of every arc the state that is reached by it and the state it is reached from, int64."""
        offsets, arcs, states = self.forth
        numbers = torch.arange(len(offsets) - 1, device=arcs.device)
        near, far = (torch.empty_like(arcs, dtype=torch.int64) for _ in range(2))
        near[arcs.long()] = torch.repeat_interleave(numbers, offsets.diff(), output_size=len(arcs))
        far[arcs.long()] = states.long()
        return near, far

    def graph_of_state(self) -> Tensor:
        """The graph each state belongs to, int64 [states]."""
        graphs = torch.arange(len(self.state_offsets) - 1, device=self.order.device)
        sizes = self.state_offsets.diff()
        return torch.repeat_interleave(graphs, sizes, output_size=len(self.order))


def best_distance(weights: Tensor, start: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """The best score of a path to each state, float64, and the position of its last arc."""
    if walk.cycles is None:
        return _gtnet.best_distance.default(weights, start, *walk.arguments())
    alpha, came_by, divergent = _gtnet.closed_best_distance.default(
        weights, start, *walk.arguments()
    )
    what = "of positive score, so no path is best: lower the scores of its arcs"
    _checks.bounded(walk.cycles.function, divergent, walk.state_offsets, what)
    return alpha, came_by


def _log_distance(
    weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> tuple[Tensor, Tensor]:
    if walk.cycles is None:
        return _gtnet.log_distance.default(weights, start, accept, *walk.arguments())
    alpha, score, divergent = _gtnet.closed_log_distance.default(
        weights, start, accept, *walk.arguments()
    )
    what = (
        "and its paths sum to infinity (a spectral radius of 1 or more in the component): "
        "lower the scores of its arcs"
    )
    _checks.bounded(walk.cycles.function, divergent, walk.state_offsets, what)
    return alpha, score


class _LogDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
    ) -> tuple[Tensor, Tensor]:
        alpha, score = _log_distance(weights, start, accept, walk)
        ctx.walk = walk
        ctx.save_for_backward(weights, start, accept, alpha, score)
        ctx.set_materialize_grads(False)
        return alpha, score

    @staticmethod
    def backward(
        ctx: Any, grad_alpha: Tensor | None, grad_score: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        weights, start, accept, alpha, score = ctx.saved_tensors
        if grad_score is None:
            grad_score = torch.zeros_like(score)
        scores = (weights, start, accept)
        return (*_gradient(grad_score, grad_alpha, alpha, score, *scores, ctx.walk), None)


def log_distance(
    weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> tuple[Tensor, Tensor]:
    """The log-sum of all paths to each state and to the end, float64; differentiable at will."""
    weights, start, accept = weights.contiguous(), start.contiguous(), accept.contiguous()
    if torch.is_grad_enabled() and (
        weights.requires_grad or start.requires_grad or accept.requires_grad
    ):
        return _LogDistance.apply(weights, start, accept, walk)
    return _log_distance(weights, start, accept, walk)


class OnPaths(NamedTuple):
    """A number for every arc, for starting in a state and for ending in it."""

    arcs: Tensor
    start: Tensor
    accept: Tensor


def posteriors(
    alpha: Tensor, score: Tensor, weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> OnPaths:
    """The gradient of the total score, given the log distances; needs walk.back."""
    scores = (weights.contiguous(), start.contiguous(), accept.contiguous())
    return _gradient(torch.ones_like(score), None, alpha, score, *scores, walk)


def _gradient(
    grad_score: Tensor,
    grad_alpha: Tensor | None,
    alpha: Tensor,
    score: Tensor,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    walk: Walk,
) -> OnPaths:
    """The gradient of log distances: fused where nobody differentiates it and nothing is cyclic."""
    back = walk.reversed()
    if walk.cycles is None and not (torch.is_grad_enabled() and alpha.requires_grad):
        if grad_alpha is not None:
            grad_alpha = grad_alpha.contiguous()
        fused = _gtnet.log_distance_backward.default(
            grad_score.contiguous(),
            grad_alpha,
            alpha,
            score,
            weights,
            start,
            accept,
            *back.arguments(),
        )
        return OnPaths(*fused)
    shares = OnPaths(
        *(exp_or_zero(x) for x in log_shares(alpha, score, weights, start, accept, walk))
    )
    ending = shares.accept * grad_score[walk.graph_of_state()]
    flow = recursion(shares.arcs, ending if grad_alpha is None else ending + grad_alpha, back)
    _, far = back.ends()
    return OnPaths(
        (shares.arcs * flow[far]).to(weights.dtype),
        (shares.start * flow).to(start.dtype),
        ending.to(accept.dtype),
    )


def log_shares(
    alpha: Tensor, score: Tensor, weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> OnPaths:
    """The log of the part of its target's distance that came through each arc, float64.

    Likewise of starting in a state, and of the total score what ended there. With them a path is
    drawn backwards, from its end; -inf or NaN where there is no way.
    """
    near, far = walk.ends()
    return OnPaths(
        alpha[far] + weights.double() - alpha[near],
        start.double() - alpha,
        alpha + accept.double() - score[walk.graph_of_state()],
    )


class _Recursion(torch.autograd.Function):
    """A linear recursion; its gradient is another, along the same arcs from the other end."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, b: Tensor, walk: Walk) -> Tensor:
        operator = _gtnet.recursion if walk.cycles is None else _gtnet.closed_recursion
        x = operator.default(p.contiguous(), b.contiguous(), *walk.arguments())
        ctx.walk = walk
        ctx.save_for_backward(p, x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        p, x = ctx.saved_tensors
        grad_b = recursion(p, grad, ctx.walk.reversed())
        near, far = ctx.walk.ends()
        return grad_b[near] * x[far], grad_b, None


def recursion(p: Tensor, b: Tensor, walk: Walk) -> Tensor:
    """x with x[s] = b[s] + Σ p[a] · x[the state that arc a comes from] over the arcs a reaching s.

    Float64 [states]; any number of derivatives. O(states + arcs), and a solve per component.
    """
    return _Recursion.apply(p, b, walk)


def exp_or_zero(x: Tensor) -> Tensor:
    """exp(x) with 0, and a gradient of 0, where x is -inf or NaN (a difference of zeros)."""
    return x.masked_fill(~torch.isfinite(x), float("-inf")).exp()


# Rational operations, sampling, enumeration, difference, equivalence.

rational = _gtnet.rational.default
sample = _gtnet.sample.default
enumerate_paths = _gtnet.enumerate_paths.default
difference = _gtnet.difference.default
equivalent = _gtnet.equivalent.default


@_fake("rational")
def _(state_offsets: list[Tensor], *rest: Any) -> list[Tensor]:
    *_, olabels, _, _, num_graphs, _ = rest
    like, operands = state_offsets[0], len(state_offsets)
    states, arcs = _unknown_size(), _unknown_size()
    sizes = [arcs, arcs, arcs, arcs if olabels else 0, arcs, arcs, arcs, states, states]
    sizes += [arcs] * operands + [states] * operands
    offsets = [_like(like, num_graphs + 1, torch.int64) for _ in range(2)]
    return offsets + [_like(like, size, torch.int32) for size in sizes]


def _packed_paths(like: Tensor, graphs: Any) -> tuple[Tensor, ...]:
    paths, arcs = _unknown_size(), _unknown_size()
    sizes = ((graphs, torch.int64), (paths, torch.int64), (arcs, torch.int32))
    ends = ((paths, torch.int32), (paths, torch.int32))
    return tuple(_like(like, size, dtype) for size, dtype in (*sizes, *ends))


@_fake("sample")
def _(
    to_end: Tensor,
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    state_offsets: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    return _packed_paths(start, state_offsets.shape[0] - 1)


@_fake("enumerate_paths")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return _like(start, graphs, torch.int8), *_packed_paths(start, graphs)


@_fake("difference")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> list[Tensor]:
    num_graphs = rest[-2]
    states, arcs = _unknown_size(), _unknown_size()
    kinds = [
        (1, torch.bool),
        (num_graphs + 1, torch.int64),
        (num_graphs + 1, torch.int64),
        *((size, torch.int32) for size in (arcs, arcs, arcs, states)),
        (states, torch.bool),
        (states, torch.bool),
    ]
    return [_like(a_arcs, size, dtype) for size, dtype in kinds]


@_fake("equivalent")
def _(a_state_offsets: Tensor, a_offsets: Tensor, a_arcs: Tensor, *rest: Any) -> Tensor:
    return _like(a_arcs, rest[-2], torch.bool)


# Simplification: remove_epsilon, determinize, minimize, push. Scores are float64 here.

epsilon_pairs = _gtnet.epsilon_pairs.default
minimize = _gtnet.minimize.default
push_labels = _gtnet.push_labels.default


@_fake("epsilon_pairs")
def _(state_offsets: Tensor, offsets: Tensor, arcs: Tensor, *rest: Any) -> list[Tensor]:
    sources, pairs, copies = _unknown_size(), _unknown_size(), _unknown_size()
    return [
        _like(arcs, sources, torch.int32),
        *(_like(arcs, sources + 1, torch.int64) for _ in range(2)),
        _like(arcs, pairs, torch.int32),
        *(_like(arcs, copies, torch.int32) for _ in range(3)),
    ]


@_fake("determinize")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *rest: Any
) -> list[Tensor]:
    graphs = state_offsets.shape[0] - 1
    states, arcs, entries, terms = (_unknown_size() for _ in range(4))
    by_graph = _like(start, graphs + 1, torch.int64)
    return [
        start.new_empty((2, graphs), dtype=torch.int32),
        start.new_empty(graphs),
        start.new_empty(arcs),
        start.new_empty(states),
        by_graph,
        torch.empty_like(by_graph),
        _like(start, states + 1, torch.int64),
        _like(start, arcs, torch.int32),
        _like(start, arcs, torch.int32),
        _like(start, states + 1, torch.int64),
        _like(start, entries, torch.int32),
        start.new_empty(entries),
        _like(start, arcs + 1, torch.int64),
        *(_like(start, terms, torch.int32) for _ in range(3)),
        *(_like(start, _unknown_size(), dtype) for dtype in (torch.int64, torch.int32) * 2),
    ]


@_fake("determinize_backward")
def _(
    grad_start: Tensor,
    grad_score: Tensor,
    grad_new_accept: Tensor,
    weights: Tensor,
    accept: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    return torch.empty_like(weights), torch.empty_like(accept), torch.empty_like(accept)


@_fake("minimize")
def _(
    state_offsets: Tensor,
    arc_offsets: Tensor,
    source: Tensor,
    labels: Tensor,
    offsets: Tensor,
    *rest: Any,
) -> Tensor:
    return offsets.new_empty(offsets.shape[0] - 1)


@_fake("push_labels")
def _(state_offsets: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    outputs, is_accept = rest[-2:]
    return (
        _like(outputs, outputs.shape[0] + 1, torch.int64),
        _like(outputs, _unknown_size(), torch.int32),
        _like(outputs, is_accept.shape[0] + 1, torch.int64),
        _like(outputs, _unknown_size(), torch.int32),
    )


class Determinized(NamedTuple):
    """What the operator returns: scores, topology and the record of sums; see csrc/determinize.h.

    States and arcs are numbered through the batch; arcs are sorted by source, then by label.
    """

    ends: Tensor  # int32 [2, graphs]: how it ended (0: well), and a witness
    start_score: Tensor  # by graph: of its first state
    score: Tensor  # by arc
    accept: Tensor  # by state
    state_offsets: Tensor
    arc_offsets: Tensor
    arc_begin: Tensor  # by state
    target: Tensor
    label: Tensor
    entry_begin: Tensor  # by state
    entry_state: Tensor
    entry_score: Tensor
    term_begin: Tensor  # by arc
    term_entry: Tensor
    term_arc: Tensor
    term_into: Tensor
    output_begin: Tensor  # by arc
    outputs: Tensor
    ending_begin: Tensor  # by state
    endings: Tensor


class _RecordedSums(torch.autograd.Function):
    """The scores that determinization computed, with their gradient."""

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, start: Tensor, accept: Tensor, made: Determinized, tropical: bool
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(
            weights,
            accept,
            made.score,
            made.accept,
            made.state_offsets,
            made.arc_begin,
            made.target,
            *made[9:16],
        )
        ctx.tropical = tropical
        return made.start_score.clone(), made.score.clone(), made.accept.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise ValueError(
                "determinize: first derivatives only, and create_graph=True asks for second ones"
            )
        grads = tuple(grad.contiguous() for grad in grads)
        found = _gtnet.determinize_backward.default(*grads, *ctx.saved_tensors, ctx.tropical)
        return (*found, None, None)


def determinize(
    scores: tuple[Tensor, Tensor, Tensor], *topology: Any, tropical: bool, **options: Any
) -> Determinized:
    """Weighted subset construction; its start, arc and accept scores are differentiable."""
    weights, start, accept = (score.contiguous() for score in scores)
    detached = (weights.detach(), start.detach(), accept.detach())
    made = Determinized(
        *_gtnet.determinize.default(*detached, *topology, tropical=tropical, **options)
    )
    if not any(score.requires_grad for score in scores) or not torch.is_grad_enabled():
        return made
    first, score, last = _RecordedSums.apply(weights, start, accept, made, tropical)
    return made._replace(start_score=first, score=score, accept=last)
