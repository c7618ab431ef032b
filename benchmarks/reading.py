"""What the benchmarks of readers share: data in memory, a training loop, shares with intervals."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    reader: nn.Module,
    losses: Iterable[Tensor],
    steps: int,
    rate: float,
    average: float = 0.99,
    *,
    seconds: float = math.inf,
    every: int = 0,
    report: Callable[[int, float, nn.Module], None] | None = None,
) -> int:
    """So many steps of AdamW over one cycle; the weights become their moving average.

    Where the clock says that `seconds` will not do for so many, the cycle follows the clock.
    `report` is given the step, the mean loss since the last report and the averaged model, `every`
    so many steps. Returns the steps made.
    """
    reader.train()
    optimizer = torch.optim.AdamW(reader.parameters(), rate, weight_decay=0.02)
    began = time.monotonic()
    mean = AveragedModel(reader, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True)
    since, step, done = 0.0, 0, 0.0
    for step, loss in zip(range(1, steps + 1), losses):
        done = max(done, (step - 1) / steps, (time.monotonic() - began) / seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * one_cycle(done)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 5.0)
        optimizer.step()
        mean.update_parameters(reader)
        since += float(loss.detach())
        if report is not None and every and step % every == 0:
            report(step, since / every, mean.module.eval())
            since = 0.0
    reader.load_state_dict(mean.module.state_dict())
    reader.eval()
    return step


def continued(
    reader: nn.Module,
    ways: Mapping[str, Callable[[], Iterable[Tensor]] | None],
    steps: int,
    rate: float,
    average: float = 0.99,
    *,
    seed: int,
) -> Iterator[str]:
    """The names of several ways to go on from where a reader is, which stands at the end of each.

    None is to stay there. Each way begins with the same weights and the same seed.
    """
    start = copy.deepcopy(reader.state_dict())
    for name, losses in ways.items():
        reader.load_state_dict(start)
        if losses is not None:
            torch.manual_seed(seed)
            learn(reader, losses(), steps, rate, average)
        yield name


def one_cycle(done: float) -> float:
    """The rate, as a share of the highest, when a share of the steps is done."""
    warm = 0.1
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm) / (1 - warm))


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
