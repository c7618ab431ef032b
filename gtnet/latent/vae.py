"""Variational autoencoders: codes with noise, kept from lying far apart by springs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtnet.latent.energy import LatentEnergy
from gtnet.latent.items import squared_error, total
from gtnet.latent.regularizers import Gaussian


class VAE(LatentEnergy):
    """E(y, z) = C(y, Dec(z)) + λ ½‖z‖², with an encoder that says where z is and how surely.

    The encoder's Gaussian is a fuzzy ball for each signal; noise keeps the balls apart, and the
    spring ½‖z‖² holds them together. `loss` is an upper bound of the free energy at β = 1, as
    `gtnet.variational_bound` is for graphs. (With λ = 1 the volume of the prior is counted as 1:
    loss >= F - ½ values · log 2π.)

    Arguments: `encoder`: signals to [batch, 2 · values, ...], means and logs of variances;
    `decoder`: codes [batch, values, ...] to signals; `cost`: by default `squared_error`, divided by
    noise²; for pixels in 0 .. 1 a noise of 0.2 or so; `lam`: the strength of the springs.
    Source: Kingma & Welling 2014; Higgins et al. 2017 for λ other than 1.
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        decoder: Callable[[Tensor], Tensor],
        *,
        cost: Callable[[Tensor, Tensor], Tensor] = squared_error,
        noise: float = 1.0,
        lam: float = 1.0,
    ) -> None:
        if not noise > 0:
            raise ValueError(f"VAE: noise must be positive, got {noise}")
        super().__init__(decoder, Gaussian(), encoder, cost=cost, lam=lam, pull=0.0)
        self.noise = noise

    def ball(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where the code of each signal is, and the logs of its variances, [batch, values, ...]."""
        assert self.encoder is not None
        found = self.encoder(y)
        if found.dim() < 2 or found.shape[1] % 2:
            raise ValueError(
                f"VAE: the encoder gives {list(found.shape)}; it should be means and logs of"
                " variances side by side, [batch, 2 · values, ...]"
            )
        mean, log_variance = found.chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 20)

    def encode(self, y: Tensor) -> Tensor:
        """The middle of each ball."""
        return self.ball(y)[0]

    def loss(self, y: Tensor, x: Any = None, *, generator: torch.Generator | None = None) -> Tensor:
        """<C>_q + λ KL(q ‖ N(0, 1)) with one draw of each code from its ball q, [batch].

        Gradient: through the draw, which is mean + deviation · noise; unbiased.
        """
        mean, log_variance = self.ball(y)
        noise = torch.randn(mean.shape, dtype=y.dtype, device=y.device, generator=generator)
        z = mean + (log_variance / 2).exp() * noise
        springs = total(mean.square() + log_variance.exp() - 1 - log_variance) / 2
        return self._smooth_cost(y, z, x) + self.lam * springs

    def _smooth(self, y: Tensor, z: Tensor, x: Any = None) -> Tensor:
        return self._smooth_cost(y, z, x) + self.lam * self.regularizer(z)

    def _smooth_cost(self, y: Tensor, z: Tensor, x: Any) -> Tensor:
        return self.cost(y, self.decode(z, x)) / self.noise**2
