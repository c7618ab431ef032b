"""What the benchmarks of readers share: data in memory, a training loop, shares with intervals."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gtnet.reader import Recognizer

SHARED = Path(os.environ.get("GTNET_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Where the data are: the folder that GTNET_DATA names."""


class Items:
    """A `Dataset` of inputs and what they say, in memory."""

    def __init__(self, items: Sequence[tuple[Any, str]], grammar: str = "strings") -> None:
        self.items, self.grammar = items, grammar

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        return self.items[index]


def learn(
    reader: nn.Module, losses: Iterable[Tensor], steps: int, rate: float, average: float = 0.99
) -> None:
    """So many steps of AdamW over one cycle; the weights become their moving average."""
    reader.train()
    optimizer = torch.optim.AdamW(reader.parameters(), rate, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.15)
    mean = AveragedModel(reader, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True)
    for _, loss in zip(range(steps), losses):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 5.0)
        optimizer.step()
        cycle.step()
        mean.update_parameters(reader)
    reader.load_state_dict(mean.module.state_dict())
    reader.eval()


def texts(reader: Recognizer, seen: Sequence[Any]) -> list[str | None]:
    """What a reader makes of observations."""
    return [answer.text for answer in reader.read_observations(seen)]


def count_right(found: Sequence[str | None], truth: Sequence[str]) -> int:
    """How many answers are the truth."""
    return sum(a == t for a, t in zip(found, truth, strict=True))


def share(count: int, total: int) -> str:
    """A share in percent with its interval of 95% (Wilson 1927) and the number of items."""
    z, n = 1.96, max(1, total)
    p = count / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return f"{p:.1%} ({max(0, middle - half):.1%} to {min(1, middle + half):.1%}) of {total}"
