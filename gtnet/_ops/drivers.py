"""Which of several ways to the same result was taken on the CPU: what tests ask about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gtnet._ops.library import fake, operators, vector

# In the order of csrc/core/drivers.h, which says what is counted.
NAMES = (
    "fused CTC",
    "CTC again",
    "interleaved",
    "dense",
    "scaled rows",
    "scaled rows again",
    "extended rows",
    "float64",
    "lattice Viterbi",
    "slices",
    "state by state",
    "components",
)


@fake("drivers")
def _(like: Tensor) -> Tensor:
    return vector(like, len(NAMES), torch.int64)


@contextmanager
def drivers_used() -> Iterator[dict[str, int]]:
    """Afterwards the dictionary holds how often each driver was taken within, unless never."""
    used: dict[str, int] = {}
    before = _counts()
    try:
        yield used
    finally:
        taken = zip(NAMES, before, _counts(), strict=True)
        used.update({name: now - then for name, then, now in taken if now > then})


def _counts() -> list[int]:
    return operators.drivers.default(torch.empty(0)).tolist()
