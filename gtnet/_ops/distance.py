"""Path sums and best paths, with gradients of any order."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._ops import library
from gtnet._ops.far import are_far, near_the_best
from gtnet._ops.functional import (
    Differentiable,
    alive,
    forward_mode,
    in_front,
    learning,
    one_by_one,
    transformed,
)
from gtnet._ops.library import FarFromZeroError, fake, interruptible, operators, vector

best_end = interruptible(operators.best_end.default)
trace = interruptible(operators.trace.default)
_best_distance = interruptible(operators.best_distance.default)
_forward_score_of = interruptible(operators.forward_score.default)
_log_distance_of = interruptible(operators.log_distance.default)
_log_distance_gradient = interruptible(operators.log_distance_backward.default)
_recursion = interruptible(operators.recursion.default)
_closed_best_distance = interruptible(operators.closed_best_distance.default)
_closed_log_distance = interruptible(operators.closed_log_distance.default)
_closed_recursion = interruptible(operators.closed_recursion.default)


@fake("log_distance")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *walk: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return torch.empty_like(start, dtype=torch.float64), vector(start, graphs, torch.float64)


@fake("forward_score")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *walk: Any
) -> list[Tensor]:
    graphs = state_offsets.shape[0] - 1
    score = vector(weights, graphs, weights.dtype)
    if not walk[-1]:
        return [score]
    alpha = torch.empty_like(start, dtype=torch.float64)
    return [score, alpha, vector(start, graphs, torch.float64)]


@fake("log_distance_backward")
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


@fake("recursion")
def _(p: Tensor, b: Tensor, *walk: Any) -> Tensor:
    return torch.empty_like(b)


@fake("best_distance")
def _(weights: Tensor, start: Tensor, *walk: Any) -> tuple[Tensor, ...]:
    return (
        torch.empty_like(start, dtype=torch.float64),
        torch.empty_like(start, dtype=torch.int32),
    )


@fake("best_end")
def _(
    alpha: Tensor, came_by: Tensor, accept: Tensor, state_offsets: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    lengths = vector(accept, graphs if rest[-1] else 0, torch.int64)
    return vector(accept, graphs, torch.float64), vector(accept, graphs, torch.int32), lengths


@fake("trace")
def _(came_by: Tensor, last: Tensor, path_offsets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return last.new_empty(rest[-1]), torch.empty_like(last)


@fake("closed_log_distance")
def _(
    weights: Tensor, start: Tensor, accept: Tensor, state_offsets: Tensor, *walk: Any
) -> tuple[Tensor, ...]:
    graphs = state_offsets.shape[0] - 1
    return (
        torch.empty_like(start, dtype=torch.float64),
        vector(start, graphs, torch.float64),
        vector(start, graphs, torch.int32),
    )


@fake("closed_recursion")
def _(p: Tensor, b: Tensor, state_offsets: Tensor, *walk: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(b), vector(b, state_offsets.shape[0] - 1, torch.int32)


@fake("closed_best_distance")
def _(weights: Tensor, start: Tensor, state_offsets: Tensor, *walk: Any) -> tuple[Tensor, ...]:
    return (
        torch.empty_like(start, dtype=torch.float64),
        torch.empty_like(start, dtype=torch.int32),
        vector(start, state_offsets.shape[0] - 1, torch.int32),
    )


class Cycles(NamedTuple):
    """What a walk through cyclic graphs needs besides the order of its components.

    `offsets` int64 [graphs + 1] and `bounds` int32 [components, 2]: the positions of each component
    that has a cycle; `pattern`: how to eliminate its states, where sums
    are needed and elimination is fast.
    """

    function: str
    offsets: Tensor
    bounds: Tensor
    pattern: tuple[Tensor, ...]


class Walk(NamedTuple):
    """How to reach every state after those it depends on: arcs by state, in a direction.

    `order` int32 [states]; `forth` and `back` are the arcs that enter and that leave a state:
    offsets, arcs, states. `plan` and `back_plan` say which states to take together along them: on
    a GPU int32 [2, states], the layer of each position; on the CPU what `slices` lays out.
    """

    state_offsets: Tensor
    order: Tensor
    plan: Tensor | None
    forth: tuple[Tensor, Tensor, Tensor]
    back: tuple[Tensor, Tensor, Tensor] | None
    reverse: bool
    cycles: Cycles | None = None
    back_plan: Tensor | None = None

    def arguments(self) -> tuple[Any, ...]:
        """As the operators take them."""
        if self.cycles is None:
            return self.in_order()
        _, offsets, bounds, pattern = self.cycles
        ends = (self.state_offsets, self.order, *self.forth, self.reverse)
        return (*ends, offsets, bounds, *pattern)

    def in_order(self) -> tuple[Any, ...]:
        """As the operators take what goes through the states once, whatever cycles there are."""
        return (self.state_offsets, self.order, self.plan, *self.forth, self.reverse)

    def arguments_back(self) -> tuple[Any, ...]:
        """`reversed().arguments()` of an acyclic walk, without the walk."""
        assert self.back is not None
        return (self.state_offsets, self.order, self.back_plan, *self.back, not self.reverse)

    def reversed(self) -> Walk:
        """The same arcs walked from the other end; needs `back`."""
        assert self.back is not None
        return self._replace(
            forth=self.back,
            back=self.forth,
            plan=self.back_plan,
            back_plan=self.plan,
            reverse=not self.reverse,
        )

    @property
    def can_repeat(self) -> bool:
        """Whether `repeated` serves: an acyclic walk on the CPU."""
        return self.cycles is None and not self.order.is_cuda

    def repeated(self, times: int) -> Walk:
        """The same graphs so many times, one batch after another."""
        states, arcs = len(self.order), len(self.forth[1])

        def shifted(tensor: Tensor, by: int) -> Tensor:
            first = by * torch.arange(times, dtype=tensor.dtype, device=tensor.device)
            return (tensor + first.unsqueeze(1)).reshape(-1)

        def offsets(of: Tensor, by: int) -> Tensor:
            return torch.cat([of[:1], shifted(of[1:], by)])

        def incidence(of: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            return offsets(of[0], arcs), shifted(of[1], arcs), shifted(of[2], states)

        return self._replace(
            state_offsets=offsets(self.state_offsets, states),
            order=shifted(self.order, states),
            plan=None,
            forth=incidence(self.forth),
            back=None if self.back is None else incidence(self.back),
            back_plan=None,
        )

    def ends(self) -> tuple[Tensor, Tensor]:
        """The state that each arc leads to and the state it comes from, int64."""
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
        return _best_distance(weights, start, *walk.arguments())
    alpha, came_by, divergent = _closed_best_distance(weights, start, *walk.arguments())
    what = "of positive score, so no path is best: lower the scores of its arcs"
    _checks.bounded(walk.cycles.function, divergent, walk.state_offsets, what)
    return alpha, came_by


INFINITE = (
    "and its paths sum to infinity (a spectral radius of 1 or more in the component): "
    "lower the scores of its arcs"
)


def best_exists(weights: Tensor, start: Tensor, walk: Walk) -> Tensor:
    """Which graphs of a cyclic walk reach no cycle of positive score, bool [batch]."""
    *_, divergent = _closed_best_distance(weights, start, *walk.arguments())
    return divergent < 0


def _log_distance(
    weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> tuple[Tensor, Tensor]:
    if walk.cycles is None:
        return _log_distance_of(weights, start, accept, *walk.arguments())
    alpha, score, divergent = _closed_log_distance(weights, start, accept, *walk.arguments())
    _checks.bounded(walk.cycles.function, divergent, walk.state_offsets, INFINITE)
    return alpha, score


class _LogDistance(Differentiable):
    @staticmethod
    def forward(
        weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
    ) -> tuple[Tensor, Tensor]:
        return _log_distance(weights, start, accept, walk)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        weights, start, accept, walk = inputs
        ctx.walk = walk
        ctx.save_for_backward(weights, start, accept, *output)
        ctx.save_for_forward(weights, start, accept, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, grad_alpha: Tensor | None, grad_score: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        weights, start, accept, alpha, score = ctx.saved_tensors
        if grad_score is None:
            grad_score = torch.zeros_like(score)
        scores = (weights, start, accept)
        return (*_gradient(grad_score, grad_alpha, alpha, score, *scores, ctx.walk), None)

    @staticmethod
    def along(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, Tensor]:
        weights, start, accept, alpha, score = ctx.saved_tensors
        walk = ctx.walk
        shares = _shares(alpha, score, weights, start, accept, walk)
        arcs, first, last = (
            share * 0 if tangent is None else share * tangent
            for share, tangent in zip(shares, tangents)
        )
        near, _ = walk.ends()
        alpha = recursion(shares.arcs, first.index_add(0, near, arcs), walk)
        score = torch.zeros_like(score).index_add(
            0, walk.graph_of_state(), last + shares.accept * alpha
        )
        return alpha, score

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        *scores, walk = args
        if not walk.can_repeat:
            dims = (*in_dims[:3], None)
            return one_by_one(_LogDistance.apply, info, dims, args)
        size = info.batch_size
        flat = (in_front(t, dim, size).reshape(-1) for t, dim in zip(scores, in_dims))
        alpha, score = _LogDistance.apply(*flat, walk.repeated(size))
        return (alpha.view(size, -1), score.view(size, -1)), (0, 0)


def log_distance(
    weights: Tensor, start: Tensor, accept: Tensor, walk: Walk
) -> tuple[Tensor, Tensor]:
    """The log-sum of all paths to each state and to the end, float64; any number of derivatives."""
    weights, start, accept = weights.contiguous(), start.contiguous(), accept.contiguous()
    if learning(weights, start, accept):
        return _LogDistance.apply(weights, start, accept, walk)
    return _log_distance(weights, start, accept, walk)


class _ForwardScore(torch.autograd.Function):
    """The scores of acyclic graphs on the CPU: one node, for reverse mode."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, start: Tensor, accept: Tensor, walk: Walk) -> Tensor:
        score, *kept = _forward_score_of(weights, start, accept, *walk.arguments(), True)
        ctx.walk = walk
        ctx.save_for_backward(weights, start, accept, *kept)
        return score

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, start, accept, alpha, total = ctx.saved_tensors
        if learning(grad, weights, start, accept):  # what is kept has no derivatives
            alpha, total = log_distance(weights, start, accept, ctx.walk)
        scores = (weights, start, accept)
        return (*_gradient(grad.double(), None, alpha, total, *scores, ctx.walk), None)


def forward_score(weights: Tensor, start: Tensor, accept: Tensor, walk: Walk) -> Tensor:
    """The log-sum of all paths to the end, in the dtype of the weights; any number of derivatives.

    A call of one operator for its value, and of another for its gradient, where that serves.
    """
    if (
        walk.cycles is not None
        or library.on_gpu(weights)
        or transformed()
        or forward_mode()
        or torch.compiler.is_compiling()
    ):
        return log_distance(weights, start, accept, walk)[1].to(weights.dtype)
    weights, start, accept = (alive(t).contiguous() for t in (weights, start, accept))
    if learning(weights, start, accept):
        return super(torch.autograd.Function, _ForwardScore).apply(weights, start, accept, walk)
    return _forward_score_of(weights, start, accept, *walk.arguments(), False)[0]


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
    """The gradient of log distances: fused if it is not differentiated and no graph is cyclic."""
    if walk.cycles is None and not learning(alpha):
        given = (alpha, score, weights, start, accept, *walk.arguments_back())
        ending = None if grad_alpha is None else grad_alpha.contiguous()
        try:
            return OnPaths(*_log_distance_gradient(grad_score.contiguous(), ending, *given))
        except FarFromZeroError:
            pass  # the shares below are right there
    back = walk.reversed()
    shares = _shares(alpha, score, weights, start, accept, walk)
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

    Likewise for starting in a state, and for ending there as a part of the total. With them a path
    is drawn backwards, from its end; -inf or NaN where there is no path. Where distances lie far
    from 0 they are those of the same paths relative to the best ones.
    """
    near, far = walk.ends()
    if are_far(alpha, score):
        weights, start, accept = _near(weights, start, accept, walk)
        alpha, score = log_distance(weights, start, accept, walk)
    return OnPaths(
        alpha[far] + weights.double() - alpha[near],
        start.double() - alpha,
        alpha + accept.double() - score[walk.graph_of_state()],
    )


def _near(weights: Tensor, start: Tensor, accept: Tensor, walk: Walk) -> list[Tensor]:
    """Scores of the same paths relative to the best one to each state."""
    best_walk = walk
    if walk.cycles is not None:
        best_walk = walk._replace(cycles=walk.cycles._replace(pattern=()))
    plain, seeds = (t.detach().double().contiguous() for t in (weights, start))
    best, _ = best_distance(plain, seeds, best_walk)
    near, far = walk.ends()
    return near_the_best((weights, start, accept), best, walk.graph_of_state(), far, near)


def _shares(*distances: Any) -> OnPaths:
    """As `log_shares`, the parts themselves: 0 where there is no path."""
    return OnPaths(*(exp_or_zero(x) for x in log_shares(*distances)))


class _Recursion(Differentiable):
    """A linear recursion; its gradient is another, along the same arcs from the other end."""

    @staticmethod
    def forward(p: Tensor, b: Tensor, walk: Walk) -> Tensor:
        p, b = p.contiguous(), b.contiguous()
        if walk.cycles is None:
            return _recursion(p, b, *walk.arguments())
        x, divergent = _closed_recursion(p, b, *walk.arguments())
        _checks.bounded(walk.cycles.function, divergent, walk.state_offsets, INFINITE)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        p, _, walk = inputs
        ctx.walk = walk
        ctx.save_for_backward(p, output)
        ctx.save_for_forward(p, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        p, x = ctx.saved_tensors
        grad_b = recursion(p, grad, ctx.walk.reversed())
        near, far = ctx.walk.ends()
        return grad_b[near] * x[far], grad_b, None

    @staticmethod
    def along(ctx: Any, tangent_p: Tensor, tangent_b: Tensor, _: None) -> Tensor:
        p, x = ctx.saved_tensors
        near, far = ctx.walk.ends()
        return recursion(p, tangent_b.index_add(0, near, tangent_p * x[far]), ctx.walk)

    @staticmethod
    def vmap(info: Any, in_dims: Any, p: Tensor, b: Tensor, walk: Walk) -> tuple[Tensor, int]:
        if not walk.can_repeat:
            return one_by_one(_Recursion.apply, info, (*in_dims[:2], None), (p, b, walk))
        size = info.batch_size
        flat = (in_front(t, dim, size).reshape(-1) for t, dim in zip((p, b), in_dims))
        return _Recursion.apply(*flat, walk.repeated(size)).view(size, -1), 0


def recursion(p: Tensor, b: Tensor, walk: Walk) -> Tensor:
    """x with x[s] = b[s] + Σ p[a] · x[the state that arc a comes from] over the arcs a reaching s.

    Float64 [states]; any number of derivatives. O(states + arcs), and a solve per component.
    """
    return _Recursion.apply(p, b, walk)


def exp_or_zero(x: Tensor) -> Tensor:
    """exp(x) with 0, and a gradient of 0, where x is -inf or NaN (a difference of zeros)."""
    return x.masked_fill(~torch.isfinite(x), float("-inf")).exp()
