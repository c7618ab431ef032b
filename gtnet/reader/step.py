"""One step of training: gradients of micro-batches, added up over them and over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gtnet.reader.share import Share
from gtnet.reader.team import Team

PRECISIONS = ("float32", "bfloat16")
"""What networks may compute in while they are trained; weights and losses stay float32."""


@dataclass(frozen=True)
class Outcome:
    """What a step found: the mean `loss` of `used` items; `skipped` ones had no path."""

    loss: float
    used: int
    skipped: int


class Gradients:
    """The gradient of the mean loss of a batch, whoever works on its micro-batches.

    A micro-batch adds the gradient of the sum of its items' losses; the sums of all are divided by
    the items there were. Statistics of batch normalization are those that each micro-batch would
    leave behind, averaged. So the result is that of one process, but for the order of additions.
    """

    def __init__(
        self, network: nn.Module, share: Share, team: Team, *, precision: str = "float32"
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.share, self.team, self.half = share, team, precision == "bfloat16"
        self.weights = [weight for weight in network.parameters() if weight.requires_grad]
        self.statistics = list(network.buffers())

    def of(
        self,
        pieces: Sequence[Sequence[Any]],
        losses: Callable[[Sequence[Any]], Tensor],
        seed: Sequence[int],
    ) -> Outcome:
        """Leave the gradient in the weights; a process gives the micro-batches it works on.

        `losses`: the loss of each item, +inf where its truth has no path; `seed`: of this step,
        from which each of several micro-batches draws what is random in it.
        """
        for weight in self.weights:
            weight.grad = torch.zeros_like(weight)
        before = [statistic.clone() for statistic in self.statistics]
        change = [torch.zeros(old.shape, dtype=self.weights[0].dtype) for old in before]
        told = torch.zeros(4, dtype=torch.float64)
        for number, items in zip(self.share.own, pieces, strict=True):
            if not len(items):
                continue
            for statistic, old in zip(self.statistics, before):
                statistic.copy_(old)
            with (
                self._drawing([*seed, number]),
                torch.autocast(self.weights[0].device.type, torch.bfloat16, enabled=self.half),
            ):
                loss = losses(items)
            reachable = torch.isfinite(loss)
            used = int(reachable.sum())
            if used and loss.requires_grad:
                total = loss[reachable].sum()
                total.backward()
                told[0] += total.item()
            for summed, statistic, old in zip(change, self.statistics, before):
                summed += statistic - old
            told += torch.tensor([0, used, len(loss) - used, 1], dtype=torch.float64)
        self.team.add([told])
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        self.team.add([*gradients, *change])
        loss, used, skipped, worked = told.tolist()
        for gradient in gradients:
            gradient /= max(1, used)
        for statistic, old, summed in zip(self.statistics, before, change):
            mean = summed / max(1, worked)
            statistic.copy_(old + (mean if old.is_floating_point() else mean.round().to(old.dtype)))
        return Outcome(loss / max(1, used), int(used), int(skipped))

    @contextmanager
    def _drawing(self, seed: Sequence[int]) -> Iterator[None]:
        """Random numbers of one micro-batch; those of a whole batch go on from the step before."""
        if self.share.pieces == 1:
            yield
            return
        with torch.random.fork_rng(devices=[]):
            state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
            torch.manual_seed(int(state[0]))
            yield
