"""Energies with a continuous latent variable: minimized or marginalized, as paths of graphs are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gtnet.latent.descent import descend
from gtnet.latent.items import squared_error, total
from gtnet.latent.regularizers import L1, Sparse
from gtnet.latent.volume import importance, laplace


class LatentEnergy(nn.Module):
    """E(x, y, z) = C(y, Dec(Pred(x), z)) + ½ pull ‖z - Enc(y)‖² + λ R(z).

    y is what is seen, x what may be known beside it, and z a code that nobody told. As with the
    paths of a graph, z is minimized over (`infer`, as `viterbi_path`) or marginalized
    (`free_energy`, as `gtnet.free_energy`), and beta leads from one to the other.

    Arguments:
        cost: C(y, guess) -> [batch], by default `squared_error`.
        decoder: Dec: a module or function of codes, after Pred(x) where there is a predictor.
        regularizer: R(z) -> [batch], by default `L1`; a `Sparse` one (with corners) is met by its
            prox, any other by its gradient.
        encoder: Enc: guesses the code of y; without one that term is left out.
        predictor: Pred: what is known of x, for the decoder.
        lam, pull: λ and the strength of the encoder's term.
        shape: of the code of one item, for energies without an encoder.
    Signals and codes are [batch, ...]. One item must not change the energy of another: batch
    normalization belongs in evaluation mode.
    Source: LeCun, Chopra, Hadsell, Ranzato & Huang 2006, section 2; Ranzato, Boureau, Chopra &
    LeCun 2007 for the encoder's term.
    """

    def __init__(
        self,
        decoder: Callable[..., Tensor],
        regularizer: Callable[[Tensor], Tensor] | None = None,
        encoder: Callable[[Tensor], Tensor] | None = None,
        *,
        cost: Callable[[Tensor, Tensor], Tensor] = squared_error,
        predictor: Callable[[Any], Any] | None = None,
        lam: float = 1.0,
        pull: float = 1.0,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not lam >= 0 or not pull >= 0:
            raise ValueError(f"LatentEnergy: lam {lam} and pull {pull} must not be negative")
        self.decoder, self.encoder, self.predictor = decoder, encoder, predictor
        self.cost, self.regularizer = cost, regularizer or L1()
        self.lam, self.pull = lam, pull
        self.shape = None if shape is None else tuple(shape)

    def decode(self, z: Tensor, x: Any = None) -> Tensor:
        """The signals that codes stand for, given x."""
        if self.predictor is None:
            return self.decoder(z)
        return self.decoder(self.predictor(x), z)

    def encode(self, y: Tensor) -> Tensor:
        """A quick guess of the codes: what the encoder says. Raises ValueError without one."""
        if self.encoder is None:
            raise ValueError(f"{type(self).__name__}: encode needs an encoder; infer does not")
        return self.encoder(y)

    def energy(self, y: Tensor, z: Tensor, x: Any = None) -> Tensor:
        """E(x, y, z), [batch]; differentiable in all."""
        return self._smooth(y, z, x) + self._corners(z)

    def infer(
        self,
        y: Tensor,
        x: Any = None,
        *,
        start: Tensor | None = None,
        starts: int = 1,
        iterations: int = 500,
        tol: float = 1e-5,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The code of least energy of each signal: beta = inf. A constant, without a gradient.

        Arguments: `start`, where descent begins, by default what the encoder says, or 0;
        `starts`: from how many places, further ones drawn around it from a unit Gaussian, of which
        the best end counts: an energy with a network in it has several minima; `iterations` and
        `tol` of the descent, see the source. x must be None for several starts.
        Raises ValueError where the shape of codes is not known.
        """
        if starts < 1 or (starts > 1 and x is not None):
            raise ValueError(f"infer: starts must be 1 where there is an x, got {starts}")
        z = self._first(y) if start is None else start.detach()
        best, least = None, None
        for count in range(starts):
            if count:
                noise = torch.randn(z.shape, dtype=z.dtype, device=z.device, generator=generator)
            found = descend(
                partial(self._smooth_at, y, x),
                z + noise if count else z,
                self._prox,
                iterations=iterations,
                tol=tol,
            )
            with torch.no_grad():
                energy = self.energy(y, found, x)
            if best is None or least is None:
                best, least = found, energy
                continue
            better = (energy < least).reshape(-1, *[1] * (z.dim() - 1))
            best, least = torch.where(better, found, best), torch.minimum(energy, least)
        assert best is not None
        return best

    def free_energy(
        self,
        y: Tensor,
        x: Any = None,
        *,
        beta: float | Tensor = 1.0,
        method: Literal["laplace", "importance"] = "laplace",
        samples: int = 1000,
        generator: torch.Generator | None = None,
        **how: Any,
    ) -> Tensor:
        """F = -1/β · log ∫ exp(-β · E(x, y, z)) dz, [batch]: what `gtnet.free_energy` is for paths.

        beta = math.inf takes the least energy. Unlike a sum over paths, an integral has a unit of
        volume: F may be below the least energy or above it.

        Arguments: `method`: "laplace" puts the parabola at the minimum in the place of E, exact for
        Gaussians, for codes of some ten values whose energy is smooth; "importance" draws `samples`
        codes around the minimum and weighs them: right in the limit for any energy with one
        basin, too high on average before; `how`: as in `infer`.
        Raises ValueError for laplace with a regularizer that has corners or an energy that is flat,
        and for beta <= 0.
        Complexity: `infer`, and as many gradients as a code has values (or energies as samples).
        Gradient: to all parameters, y and x: of the least energy and of Laplace's F exact, of
        samples the weighted mean over them.
        Source: MacKay 2003, chapters 27 and 29.
        """
        heat = torch.as_tensor(beta, dtype=y.dtype, device=y.device)
        if not bool((heat > 0).all()) or method not in ("laplace", "importance") or samples < 1:
            raise ValueError(
                f"free_energy: beta {beta} must be positive, method {method!r} is laplace or"
                f" importance, samples {samples} at least 1"
            )
        sparse = isinstance(self.regularizer, Sparse) and self.lam > 0
        if method == "laplace" and sparse and not bool(heat.isinf().all()):
            raise ValueError(
                f"free_energy: {type(self.regularizer).__name__} has corners, and Laplace needs"
                " curvature; take method='importance'"
            )
        z = self.infer(y, x, **{"generator": generator, **how})
        if bool(heat.isinf().any()):
            if not bool(heat.isinf().all()):
                raise ValueError("free_energy: some beta are infinite and some are not")
            return self.energy(y, z, x)

        def energy(codes: Tensor) -> Tensor:
            return self.energy(y, codes, x)

        if method == "laplace":
            return laplace(energy, z, heat)
        corner = self.lam if sparse else 0.0
        smooth = partial(self._smooth_at, y, x)
        return importance(energy, smooth, z, heat, corner, samples, generator)

    def loss(self, y: Tensor, x: Any = None) -> Tensor:
        """The least energy of each signal, [batch]; its gradient leaves the code where it is."""
        return self.energy(y, self.infer(y, x), x)

    def _first(self, y: Tensor) -> Tensor:
        if self.encoder is not None:
            with torch.no_grad():
                return self.encode(y)
        if self.shape is None:
            raise ValueError(
                f"{type(self).__name__}: the shape of codes is not known: give shape, start or an"
                " encoder"
            )
        return y.new_zeros(len(y), *self.shape)

    def _smooth(self, y: Tensor, z: Tensor, x: Any = None) -> Tensor:
        """The energy without what has corners."""
        found = self.cost(y, self.decode(z, x))
        if self.encoder is not None and self.pull:
            found = found + self.pull / 2 * total((z - self.encode(y)).square())
        if not isinstance(self.regularizer, Sparse) and self.lam:
            found = found + self.lam * self.regularizer(z)
        return found

    def _smooth_at(self, y: Tensor, x: Any, z: Tensor) -> Tensor:
        return self._smooth(y, z, x)

    def _corners(self, z: Tensor) -> Tensor | float:
        sparse = isinstance(self.regularizer, Sparse) and self.lam
        return self.lam * self.regularizer(z) if sparse else 0.0

    @property
    def _prox(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        regularizer = self.regularizer
        if not isinstance(regularizer, Sparse) or not self.lam:
            return None

        def prox(z: Tensor, step: Tensor) -> Tensor:
            return regularizer.prox(z, (self.lam * step).reshape(-1, *[1] * (z.dim() - 1)))

        return prox
