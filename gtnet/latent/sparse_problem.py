"""The energy of sparse codes: its value, force, curvature, and how far from the least it is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gtnet.latent.dictionary import Synthesis
from gtnet.latent.items import beside, inner, squared_error, total
from gtnet.latent.regularizers import Sparse


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
        found = squared_error(self.y, self.synthesis.apply(z))
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
