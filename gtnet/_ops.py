"""torch.ops.gtnet.*: the only module that touches them; their fakes, gradients and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


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
best_distance = _gtnet.best_distance.default
best_end = _gtnet.best_end.default
trace = _gtnet.trace.default
k_best = _gtnet.k_best.default
compose = _gtnet.compose.default
reach = _gtnet.reach.default

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
    state_offsets: Tensor, offsets: Tensor, arcs: Tensor, states: Tensor, seeds: Tensor
) -> Tensor:
    return torch.empty_like(seeds)


@_fake("take")
def _(values: Tensor, index: Tensor) -> Tensor:
    return values.new_empty(index.shape[0])


@_fake("take_backward")
def _(grad: Tensor, index: Tensor, by_index: Tensor | None, size: int) -> Tensor:
    return grad.new_empty(size)


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


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[index] with 0 where index is -1; differentiable any number of times. O(index)."""
    if torch.is_grad_enabled() and values.requires_grad:
        return _Take.apply(values, index)
    return _gtnet.take.default(values.contiguous(), index)


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

    def arguments(self) -> tuple[Any, ...]:
        """As the operators take them."""
        return (self.state_offsets, self.order, self.bounds, *self.forth, self.reverse)

    def reversed(self) -> Walk:
        """The same arcs walked from the other end; needs `back`."""
        assert self.back is not None
        return self._replace(forth=self.back, back=self.forth, reverse=not self.reverse)


class _LogDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
    ) -> tuple[Tensor, Tensor]:
        alpha, score = _gtnet.log_distance.default(weights, start, accept, *walk.arguments())
        ctx.walk = walk
        ctx.save_for_backward(weights, start, accept, alpha, score)
        ctx.set_materialize_grads(False)
        return alpha, score

    @staticmethod
    def backward(
        ctx: Any, grad_alpha: Tensor | None, grad_score: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        weights, start, accept, alpha, score = ctx.saved_tensors
        if torch.is_grad_enabled():
            if grad_alpha is not None:
                raise ValueError(
                    "shortest_distance: it has first derivatives only, and so have posteriors; "
                    "forward_score has second ones"
                )
            assert grad_score is not None
            scores = (weights, start, accept)
            return (*_differentiable_gradient(*scores, alpha, score, grad_score, ctx.walk), None)
        if grad_score is None:
            grad_score = torch.zeros_like(score)
        if grad_alpha is not None:
            grad_alpha = grad_alpha.contiguous()
        grads = _gtnet.log_distance_backward.default(
            grad_score.contiguous(),
            grad_alpha,
            alpha,
            score,
            weights,
            start,
            accept,
            *ctx.walk.reversed().arguments(),
        )
        return (*grads, None)


def log_distance(
    weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> tuple[Tensor, Tensor]:
    """The log-sum of all paths to each state and to the end, float64; differentiable."""
    weights, start, accept = weights.contiguous(), start.contiguous(), accept.contiguous()
    if walk.back is not None:
        return _LogDistance.apply(weights, start, accept, walk)
    return _gtnet.log_distance.default(weights, start, accept, *walk.arguments())


def arc_posteriors(weights: Tensor, start: Tensor, accept: Tensor, walk: Walk) -> Tensor:
    """The gradient of the total score in the weights, [arcs], outside autograd; needs walk.back."""
    scores = [t.detach().contiguous() for t in (weights, start, accept)]
    alpha, score = _gtnet.log_distance.default(*scores, *walk.arguments())
    grad_score, back = torch.ones_like(score), walk.reversed().arguments()
    return _gtnet.log_distance_backward.default(grad_score, None, alpha, score, *scores, *back)[0]


def _differentiable_gradient(
    weights: Tensor,
    start: Tensor,
    accept: Tensor,
    alpha: Tensor,
    score: Tensor,
    grad_score: Tensor,
    walk: Walk,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of the total score, which is the posteriors, written in differentiable parts."""
    assert walk.back is not None
    to_end, _ = log_distance(weights, accept, start, walk.reversed())
    states = torch.arange(len(start), device=start.device)
    graph = torch.searchsorted(walk.state_offsets, states, right=True) - 1
    offsets, arcs, far = walk.back
    near = torch.repeat_interleave(states, offsets.diff(), output_size=len(arcs))
    place = torch.empty_like(arcs, dtype=torch.int64)
    place[arcs.long()] = torch.arange(len(arcs), device=arcs.device)
    near, far = near[place], far.long()[place]
    grad, total = grad_score[graph], score[graph]
    through = alpha[near] + weights.double() + to_end[far] - total[near]
    return (
        (exp_or_zero(through) * grad[near]).to(weights.dtype),
        (exp_or_zero(start.double() + to_end - total) * grad).to(start.dtype),
        (exp_or_zero(alpha + accept.double() - total) * grad).to(accept.dtype),
    )


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
