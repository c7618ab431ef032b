"""Momentum of accelerated descent (Nesterov 1983), which starts anew where it leads uphill."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet.latent.items import beside, inner


class Momentum:
    """How far each item of a batch goes on beyond a step.

    Source: Beck & Teboulle 2009; O'Donoghue & Candès 2015 for restarts, by the gradient.
    """

    def __init__(self, z: Tensor) -> None:
        self._weight = z.new_ones(len(z))

    def ahead(self, tried: Tensor, found: Tensor, z: Tensor) -> Tensor:
        """Where the next step begins: beyond `found`, which the step from `tried` led to, as seen
        from `z`, which the step before had led to.
        """
        with torch.no_grad():
            uphill = inner(tried - found, found - z) > 0
            weight = torch.where(uphill, 1.0, self._weight)
            self._weight = (1 + torch.sqrt(1 + 4 * weight.square())) / 2
            beyond = torch.where(uphill, 0.0, (weight - 1) / self._weight)
        return found + beside(beyond, z) * (found - z)
