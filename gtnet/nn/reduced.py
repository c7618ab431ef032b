"""What all loss modules are configured with."""

from __future__ import annotations

from torch import Tensor, nn

from gtnet.losses.batches import Reduction, known_reduction


class ReducedLoss(nn.Module):
    """A loss with a reduction, what impossible items cost, and perhaps an inverse temperature.

    A tensor `beta` becomes a buffer, an `nn.Parameter` is learnt, None is no attribute.
    """

    def __init__(
        self,
        reduction: Reduction,
        zero_infinity: bool,
        beta: float | Tensor | nn.Parameter | None,
    ) -> None:
        super().__init__()
        known_reduction(type(self).__name__, reduction)
        self.reduction, self.zero_infinity = reduction, zero_infinity
        self.beta: float | Tensor
        if isinstance(beta, Tensor) and not isinstance(beta, nn.Parameter):
            self.register_buffer("beta", beta)
        elif beta is not None:
            self.beta = beta

    def extra_repr(self) -> str:
        """The options."""
        return f"reduction={self.reduction!r}, zero_infinity={self.zero_infinity}"
