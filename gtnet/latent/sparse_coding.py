"""Sparse coding: a dictionary learnt from signals, and the encoder that predicts its codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gtnet.latent.dictionary import Dictionary
from gtnet.latent.energy import LatentEnergy
from gtnet.latent.regularizers import L1, Sparse
from gtnet.latent.sparse_code import sparse_code


class SparseCoding(LatentEnergy):
    """E(y, z) = ½‖y - D z‖² + λ R(z), and with an encoder + ½ pull ‖z - Enc(y)‖².

    With an encoder this is predictive sparse decomposition (PSD): it learns to say at once what
    `infer` finds by descent. The atoms of D keep length 1.

    Arguments: `dictionary`, a `Dictionary`, dense or convolutional; `lam`: λ; `regularizer`: a
    `Sparse` one, by default `L1`, or `GroupL1` for groups; `encoder`: see `PredictiveEncoder`, or
    any module from signals to codes; `pull`: of the encoder's term; `iterations` and `tol` of
    inference, see `sparse_code`.
    Source: Olshausen & Field 1997; Kavukcuoglu, Ranzato & LeCun 2008 (PSD); Kavukcuoglu,
    Sermanet, Boureau, Gregor, Mathieu & LeCun 2010 (convolutional).
    """

    def __init__(
        self,
        dictionary: Dictionary,
        lam: float,
        *,
        regularizer: Sparse | None = None,
        encoder: Callable[[Tensor], Tensor] | None = None,
        pull: float = 1.0,
        iterations: int = 100,
        tol: float = 1e-3,
    ) -> None:
        super().__init__(dictionary, regularizer or L1(), encoder, lam=lam, pull=pull)
        self.iterations, self.tol = iterations, tol

    @property
    def dictionary(self) -> Dictionary:
        """The decoder."""
        assert isinstance(self.decoder, Dictionary)
        return self.decoder

    def decode(self, z: Tensor, x: Any = None, extent: tuple[int, ...] | None = None) -> Tensor:
        """The signals that codes stand for; `extent` as in `gtnet.latent.decode`."""
        return self.dictionary(z, extent)

    def encode(self, y: Tensor) -> Tensor:
        """The codes, at once from the encoder; without one, by inference."""
        return self.infer(y) if self.encoder is None else self.encoder(y)

    def infer(self, y: Tensor, x: Any = None, **how: Any) -> Tensor:
        """The codes of least energy, by `sparse_code` with its options; a constant."""
        assert isinstance(self.regularizer, Sparse)
        with torch.no_grad():
            near = None if self.encoder is None else self.encoder(y)
            return sparse_code(
                y,
                self.dictionary.atoms,
                self.lam,
                regularizer=self.regularizer,
                near=near,
                pull=0.0 if near is None else self.pull,
                stride=self.dictionary.stride,
                padding=self.dictionary.padding,
                **{"iterations": self.iterations, "tol": self.tol, **how},
            )

    def _smooth(self, y: Tensor, z: Tensor, x: Any = None) -> Tensor:
        guess = self.decode(z, extent=tuple(y.shape[2:]))
        found = self.cost(y, guess)
        if self.encoder is not None and self.pull:
            found = found + self.pull / 2 * (z - self.encoder(y)).square().flatten(1).sum(1)
        return found


class PredictiveEncoder(nn.Module):
    """gain · tanh(filters(y)): an encoder of sparse codes, with a gain for each atom.

    `filters`: from signals to [batch, atoms, ...]: a linear layer, a convolution, or a deeper
    network, whose features are what is learnt; `gain`: what each atom begins with.
    Source: Kavukcuoglu, Ranzato & LeCun 2008, section 2.
    """

    def __init__(self, filters: nn.Module, num_atoms: int, gain: float = 1.0) -> None:
        super().__init__()
        self.filters = filters
        self.gain = nn.Parameter(torch.full((num_atoms,), gain))

    def forward(self, y: Tensor) -> Tensor:
        found = self.filters(y)
        if found.shape[1] != len(self.gain):
            raise ValueError(
                f"PredictiveEncoder: filters give {found.shape[1]} values for {len(self.gain)}"
                " atoms"
            )
        return self.gain.reshape(-1, *[1] * (found.dim() - 2)) * found.tanh()
