"""Sparse codes: the least energy over continuous codes, by ISTA and FISTA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gtnet.latent.dictionary import Synthesis
from gtnet.latent.implicit import at_rest
from gtnet.latent.items import beside
from gtnet.latent.momentum import Momentum
from gtnet.latent.regularizers import L1, Sparse
from gtnet.latent.sparse_problem import Problem

_EVERY = 10  # steps between two looks at the duality gap

Method = Literal["fista", "ista"]
Through = Literal["implicit", "unrolled"]


def sparse_code(
    y: Tensor,
    dictionary: Tensor,
    lam: float | Tensor,
    *,
    regularizer: Sparse | None = None,
    near: Tensor | None = None,
    pull: float = 0.0,
    start: Tensor | None = None,
    method: Method = "fista",
    iterations: int = 1000,
    tol: float = 1e-4,
    stride: int = 1,
    padding: int = 0,
    gradient: Through = "implicit",
    watch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """The code z of least energy E(y, z) = ½‖y - D z‖² + λ R(z) + ½ pull ‖z - near‖².

    Arguments:
        y: signals, float32 or float64 [..., features] for a dictionary [features, atoms]; or
            [batch, channels, *extent] for a convolutional one, [atoms, channels, *sizes], in one to
            three dimensions, with `stride` and `padding` those of the transposed convolution.
        lam: λ, positive: one number, or one for each item, [batch].
        regularizer: R, by default `L1`; see `GroupL1`.
        near, pull: a code that the answer is pulled to, in the shape of the result, as the
            prediction of an encoder; with near=None it is 0, and pull > 0 an elastic net.
        start: where to begin, by default at `near`, or at 0.
        method: "fista", whose momentum starts anew in an item where it leads uphill, or "ista",
            without momentum.
        iterations, tol: an item is done when its duality gap, which bounds how much energy is left
            to lose, is at most tol times the energy of the code 0 (looked at every 10 steps), or
            after so many steps. See `duality_gap` for what was reached.
        gradient: "implicit" differentiates the equation that holds at the minimum, with a linear
            system over the active atoms: exact where that minimum is reached (small `tol`), first
            derivatives only. "unrolled" differentiates the steps themselves, as often as wanted,
            and keeps them all in memory.
        watch: called with the step and the codes after each step, to draw curves.
    Result: codes [..., atoms], or [batch, atoms, *places] with
    places = (extent + 2 padding - size) // stride + 1. Most values are exactly 0.
    Raises: ValueError for shapes and types that do not fit together, λ <= 0, unknown names.
    Complexity: two products with D a step; energy falls as 1/k with ISTA, 1/k² with FISTA.
    Gradient: to y, dictionary, λ and near. Where a value is 0 its gradient is 0; where active atoms
    depend on each other, of all codes of least energy one is followed.
    Source: Beck & Teboulle 2009; Daubechies, Defrise & De Mol 2004 for ISTA; O'Donoghue & Candès
    2015 for restarts.
    """
    if method not in ("fista", "ista") or gradient not in ("implicit", "unrolled"):
        raise ValueError(
            f"sparse_code: method {method!r} is fista or ista, gradient {gradient!r} is implicit or"
            " unrolled"
        )
    if iterations < 0 or not tol >= 0:
        raise ValueError(f"sparse_code: iterations {iterations} and tol {tol} must not be negative")
    synthesis = Synthesis("sparse_code", dictionary, stride, padding)
    lead = y.shape[:-1]
    if synthesis.dense:
        y = y.reshape(-1, y.shape[-1])
        near, start = (None if t is None else t.reshape(-1, t.shape[-1]) for t in (near, start))
    problem = Problem(synthesis, y, lam, regularizer or L1(), near, pull)
    z = problem.first(start)
    if z.numel():
        if gradient == "unrolled" or not problem.requires_grad:
            z = _descend(problem, z, method, iterations, tol, watch)
        else:
            with torch.no_grad():
                z = _descend(problem, z.detach(), method, iterations, tol, watch)
            z = at_rest(z, problem.force(z), problem.hessian(z))
    return z.reshape(*lead, z.shape[1]) if synthesis.dense else z


def sparse_energy(
    y: Tensor,
    z: Tensor,
    dictionary: Tensor,
    lam: float | Tensor,
    *,
    regularizer: Sparse | None = None,
    near: Tensor | None = None,
    pull: float = 0.0,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """The energy that `sparse_code` minimizes, at any codes, [batch]; differentiable in all.

    Here signals and codes have one dimension for the batch.
    """
    synthesis = Synthesis("sparse_energy", dictionary, stride, padding)
    problem = Problem(synthesis, y, lam, regularizer or L1(), near, pull)
    return problem.energy(problem.first(z))


def duality_gap(
    y: Tensor,
    z: Tensor,
    dictionary: Tensor,
    lam: float | Tensor,
    *,
    regularizer: Sparse | None = None,
    near: Tensor | None = None,
    pull: float = 0.0,
    stride: int = 1,
    padding: int = 0,
) -> Tensor:
    """How far the energy of codes is from the least at most, [batch]; arguments of `sparse_energy`.

    Source: Boyd & Vandenberghe 2004, section 5.5; Kim, Koh, Lustig, Boyd & Gorinevsky 2007.
    """
    synthesis = Synthesis("duality_gap", dictionary, stride, padding)
    problem = Problem(synthesis, y, lam, regularizer or L1(), near, pull)
    with torch.no_grad():
        return problem.gap(problem.first(z))


def _descend(
    problem: Problem,
    z: Tensor,
    method: Method,
    iterations: int,
    tol: float,
    watch: Callable[[int, Tensor], None] | None,
) -> Tensor:
    """Steps of a proximal gradient method, until every item is done."""
    step = 1 / problem.curvature()
    threshold = beside(step * problem.lam, z)
    done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    momentum = Momentum(z)
    ahead = z
    for count in range(iterations):
        if tol and count % _EVERY == 0:
            with torch.no_grad():
                done = done | (problem.gap(z) <= tol * problem.scale())
            if bool(done.all()):
                break
        found = problem.regularizer.prox(ahead - step * problem.smooth_force(ahead), threshold)
        found = torch.where(beside(done, z), z, found)
        ahead = momentum.ahead(ahead, found, z) if method == "fista" else found
        z = found
        if watch is not None:
            watch(count + 1, z)
    return z
