"""LISTA: a few steps of ISTA as layers of a network that learns to arrive sooner."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gtnet.latent.dictionary import Synthesis
from gtnet.latent.items import squared_error
from gtnet.latent.regularizers import shrink
from gtnet.latent.sparse_code import sparse_code


class LISTA(nn.Module):
    """z ← h_θ(W_e y + S z), a number of times: ISTA with matrices and thresholds that are learnt.

    Begins as ISTA itself: W_e = Dᵀ / L, S = 1 - Dᵀ D / L, θ = λ / L with L = ‖D‖². Every step
    shares them, and back-propagation goes through all steps.

    Arguments: a dense dictionary [features, atoms], λ, and the number of steps (layers) after the
    first, which is h_θ(W_e y). `forward(y)`: signals [batch, features] to codes [batch, atoms].
    Raises ValueError for a convolutional dictionary or λ <= 0.
    Source: Gregor & LeCun 2010.
    """

    def __init__(self, dictionary: Tensor, lam: float, steps: int = 5) -> None:
        super().__init__()
        synthesis = Synthesis("LISTA", dictionary.detach(), 1, 0)
        if not synthesis.dense or not lam > 0 or steps < 0:
            raise ValueError(
                f"LISTA: takes a dense dictionary, λ > 0 and steps >= 0, got"
                f" {list(dictionary.shape)}, {lam} and {steps}"
            )
        atoms, top = synthesis.atoms, synthesis.norm()
        self.steps, self.lam = steps, lam
        self.register_buffer("dictionary", atoms.clone())
        self.encoder = nn.Parameter(atoms / top)  # y W is (W_e y) for rows
        ones = torch.eye(atoms.shape[1], dtype=atoms.dtype, device=atoms.device)
        self.inhibition = nn.Parameter(ones - atoms.T @ atoms / top)
        self.threshold = nn.Parameter((lam / top).repeat(atoms.shape[1]))

    def forward(self, y: Tensor) -> Tensor:
        driven = y @ self.encoder
        z = shrink(driven, self.threshold)
        for _ in range(self.steps):
            z = shrink(driven + z @ self.inhibition, self.threshold)
        return z

    def loss(self, y: Tensor, code: Tensor | None = None) -> Tensor:
        """½‖LISTA(y) - z*‖², [batch], where z* is `code`, or that of `sparse_code`."""
        if code is None:
            assert isinstance(self.dictionary, Tensor)
            with torch.no_grad():
                code = sparse_code(y, self.dictionary, self.lam)
        return squared_error(self(y), code)
