"""A module for losses that are configured by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from gtnet.graph import Graph
from gtnet.losses.registry import by_name

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class EnergyLoss(nn.Module):
    """An energy-based loss by its name: `EnergyLoss("hinge", margin=2.0, latent="forward")`.

    `forward(interpretations, correct)`: as the function `gtnet.losses.<name>`. A classifier passes
    its energies [batch, answers] and the indices of the correct answers.

    Arguments:
        name: a key of `gtnet.losses.LOSSES`.
        reduction: "none" gives [batch]; "sum"; "mean".
        zero_infinity: items whose correct answer is impossible get loss 0; they count in the mean.
        options: those of the loss. A tensor `beta` becomes a buffer, an `nn.Parameter` is learnt.
    Raises: ValueError for an unknown name or reduction, TypeError for an option it does not have.
    """

    def __init__(
        self,
        name: str,
        *,
        reduction: Literal["none", "mean", "sum"] = "mean",
        zero_infinity: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        by_name(name, **options)
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(
                f'EnergyLoss: reduction must be "none", "mean" or "sum", got {reduction!r}'
            )
        self.name, self.reduction, self.zero_infinity = name, reduction, zero_infinity
        self.options = options
        beta = options.get("beta")
        if isinstance(beta, nn.Parameter):
            self.beta = options.pop("beta")
        elif isinstance(beta, Tensor):
            self.register_buffer("beta", options.pop("beta"))

    def forward(self, interpretations: Graph | Lattice | Tensor, correct: Any) -> Tensor:
        beta = {"beta": self.beta} if hasattr(self, "beta") else {}
        loss = by_name(self.name)(interpretations, correct, **self.options, **beta)
        if self.zero_infinity:
            loss = loss.masked_fill(loss == float("inf"), 0)
        if self.reduction == "mean":
            return loss.mean()
        return loss.sum() if self.reduction == "sum" else loss

    def extra_repr(self) -> str:
        """The name and the options."""
        given = [f"{name}={value!r}" for name, value in self.options.items()]
        return ", ".join([repr(self.name), *given, f"reduction={self.reduction!r}"])
