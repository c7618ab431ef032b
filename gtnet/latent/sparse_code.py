"""Sparse codes: the least energy over continuous codes, by ISTA and FISTA."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gtnet.latent.dictionary import Synthesis
from gtnet.latent.implicit import at_rest
from gtnet.latent.items import beside, inner, total
from gtnet.latent.regularizers import L1, Sparse

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


class Problem:
    """An energy of codes: its value, force, curvature and duality gap."""

    def __init__(
        self,
        synthesis: Synthesis,
        y: Tensor,
        lam: float | Tensor,
        regularizer: Sparse,
        near: Tensor | None,
        pull: float,
    ) -> None:
        function = synthesis.function
        if not isinstance(regularizer, Sparse):
            raise ValueError(
                f"{function}: {type(regularizer).__name__} has no corners; LatentEnergy takes it"
            )
        synthesis.check(y)
        self.shape = synthesis.codes(len(y))
        lam = torch.as_tensor(lam, dtype=y.dtype, device=y.device)
        if lam.dim() > 1 or (lam.dim() and len(lam) != len(y)):
            raise ValueError(f"{function}: {list(lam.shape)} values of λ for {len(y)} items")
        if not bool((lam > 0).all()) or not 0 <= pull < math.inf:
            raise ValueError(
                f"{function}: λ must be positive, pull not negative; got {lam}, {pull}"
            )
        if near is not None and tuple(near.shape) != self.shape:
            raise ValueError(f"{function}: near is {list(near.shape)}, codes {list(self.shape)}")
        self.synthesis, self.y, self.lam, self.regularizer = synthesis, y, lam, regularizer
        self.near, self.pull = near, pull
        self._fits = synthesis.transpose(y)
        # The products of all pairs of atoms save a step its way through a larger space.
        atoms = synthesis.atoms
        small = synthesis.dense and atoms.shape[1] <= 2 * atoms.shape[0]
        self._pairs = atoms.T @ atoms if small else None

    @property
    def requires_grad(self) -> bool:
        """Whether somebody asks how the code depends on what it is made from."""
        sources = (self.y, self.synthesis.atoms, self.lam, self.near)
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in sources)

    def first(self, start: Tensor | None) -> Tensor:
        """The code to begin with. Raises ValueError for one of another shape."""
        if start is None:
            start = self.near if self.near is not None else self.y.new_zeros(self.shape)
            return self.regularizer.prox(start, start.new_zeros(()))
        if tuple(start.shape) != self.shape:
            raise ValueError(
                f"{self.synthesis.function}: codes are {list(self.shape)}, got {list(start.shape)}"
            )
        return start

    def energy(self, z: Tensor) -> Tensor:
        """E(y, z), [batch]."""
        found = total((self.y - self.synthesis.apply(z)).square()) / 2
        found = found + self.lam * self.regularizer(z)
        return found + self.pull / 2 * total(self._away(z).square()) if self.pull else found

    def smooth_force(self, z: Tensor) -> Tensor:
        """The gradient of the energy without R."""
        force = self._normal(z) - self._fits
        return force + self.pull * self._away(z) if self.pull else force

    def force(self, z: Tensor) -> Tensor:
        """The gradient of the energy where the code is active, 0 elsewhere."""
        slope = beside(self.lam, z) * self.regularizer.slope(z)
        return torch.where(self.regularizer.active(z), self.smooth_force(z) + slope, 0.0)

    def hessian(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """The second derivative of the energy on the active values, as a map of directions."""
        active, regularizer = self.regularizer.active(z), self.regularizer

        def along(direction: Tensor) -> Tensor:
            direction = torch.where(active, direction, 0.0)
            bent = beside(self.lam, z) * regularizer.curvature(z, direction)
            image = self._normal(direction) + self.pull * direction + bent
            return torch.where(active, image, 0.0)

        return along

    def curvature(self) -> Tensor:
        """The greatest second derivative of the energy without R."""
        return self.synthesis.norm() + self.pull

    def gap(self, z: Tensor) -> Tensor:
        """E(y, z) minus a value that no code is below, [batch].

        The dual point is what is left of y, scaled until no atom fits it better than λ allows;
        a pull is as many more features, which D copies.
        """
        left = self.y - self.synthesis.apply(z)
        fits, length = self.synthesis.transpose(left), total(left.square())
        meets, whole = inner(self.y, left), total(self.y.square())
        if self.pull:
            away = -self._away(z)
            fits = fits + self.pull * away
            length = length + self.pull * total(away.square())
            if self.near is not None:
                meets = meets + self.pull * inner(self.near, away)
                whole = whole + self.pull * total(self.near.square())
        tiny = torch.finfo(z.dtype).tiny
        most = self.lam / self.regularizer.dual(fits).clamp(min=tiny)
        scale = torch.minimum(most, meets / length.clamp(min=tiny)).clamp(min=0)
        bound = scale * meets - scale.square() * length / 2
        return self.energy(z) - bound

    def scale(self) -> Tensor:
        """The energy at 0, [batch], which gaps are measured by."""
        size = total(self.y.square()) / 2
        return size if self.near is None else size + self.pull / 2 * total(self.near.square())

    def _away(self, z: Tensor) -> Tensor:
        return z if self.near is None else z - self.near

    def _normal(self, z: Tensor) -> Tensor:
        """Dᵀ D z."""
        if self._pairs is not None:
            return z @ self._pairs
        return self.synthesis.transpose(self.synthesis.apply(z))


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
    momentum = torch.ones(len(z), dtype=z.dtype, device=z.device)
    ahead = z
    for count in range(iterations):
        if tol and count % _EVERY == 0:
            with torch.no_grad():
                done = done | (problem.gap(z) <= tol * problem.scale())
            if bool(done.all()):
                break
        found = problem.regularizer.prox(ahead - step * problem.smooth_force(ahead), threshold)
        found = torch.where(beside(done, z), z, found)
        before, ahead = ahead, found
        if method == "fista":
            with torch.no_grad():
                uphill = inner(before - found, found - z) > 0
                momentum = torch.where(uphill, 1.0, momentum)
                after = (1 + torch.sqrt(1 + 4 * momentum.square())) / 2
                beyond = torch.where(uphill, 0.0, (momentum - 1) / after)
                momentum = after
            ahead = found + beside(beyond, z) * (found - z)
        z = found
        if watch is not None:
            watch(count + 1, z)
    return z
