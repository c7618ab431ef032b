"""Plain energies [batch, answers], as an ordinary classifier gives them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gtnet import _checks
from gtnet.distance import _is_infinite

INF = float("inf")


class Classes:
    """E, Ē, min E(y) and F of plain energies; see `Energies`.

    `answers` [batch, answers]; `right` int64 [batch], the index of the correct answer.
    """

    def __init__(
        self, function: str, energies: Tensor, correct: Any, beta: float | Tensor = 1.0
    ) -> None:
        energies = _checks.floats(function, "energies", _checks.widened(energies))
        if energies.ndim != 2:
            raise ValueError(
                f"{function}: energies must be [batch, answers], got {list(energies.shape)}"
            )
        _checks.finite_or_zero(function, "minus the energies", -energies)
        right = _checks.integers(function, "correct", correct).long().to(energies.device)
        if len(right) != len(energies):
            raise ValueError(f"{function}: {len(energies)} rows of energies, {len(right)} correct")
        _checks.inside(function, "correct", right, energies.shape[1], "the answers")
        if isinstance(beta, Tensor) and beta.ndim == 1 and len(beta) != len(energies):
            raise ValueError(f"{function}: beta has {len(beta)} values, the batch {len(energies)}")
        self.answers, self.right, self._beta = energies, right, beta
        self._cold = _is_infinite(function, beta)

    @property
    def correct(self) -> Tensor:
        """E, [batch]."""
        return self.answers.gather(1, self.right[:, None]).squeeze(1)

    @cached_property
    def _others(self) -> tuple[Tensor, Tensor]:
        answers = torch.arange(self.answers.shape[1], device=self.right.device)
        others = self.answers.masked_fill(answers == self.right[:, None], INF)
        return (others.min(1).values, others.min(1).indices)

    @property
    def offending(self) -> Tensor:
        """Ē, [batch]: the first in a tie; +inf where no other answer is possible."""
        return self._others[0]

    @property
    def offending_answers(self) -> list[int | None]:
        """The index of the most offending answer of each item."""
        energy, index = self._others
        return [i if e < INF else None for i, e in zip(index.tolist(), energy.tolist())]

    @property
    def least(self) -> Tensor:
        """min E(y), [batch]."""
        return self.answers.min(1).values

    @property
    def free(self) -> Tensor:
        """F, [batch], summed in float64."""
        if self._cold:
            return self.least
        beta = self._beta
        if isinstance(beta, Tensor) and beta.ndim == 1:
            beta = beta[:, None]
        return free_energy_of(self.answers, beta)


def free_energy_of(energies: Tensor, beta: float | Tensor) -> Tensor:
    """-1/beta · log Σ exp(-beta · E) over the last dimension; +inf if nothing is possible."""
    impossible = energies == INF
    none = impossible.all(1)
    scores = energies.double().masked_fill(impossible, 0) * -beta
    scores = scores.masked_fill(impossible & ~none[:, None], -INF)
    total = torch.logsumexp(scores, 1, keepdim=True) / -beta
    return total.squeeze(1).masked_fill(none, INF).to(energies.dtype)
