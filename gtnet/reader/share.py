"""How a batch is cut into micro-batches, and which of them a process works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The micro-batches of one process: every batch is cut into `pieces`, `size` processes share.

    What a training gives depends on `pieces` alone: one process that works on them in turn
    (gradient accumulation) and several that work side by side add up the same gradients.
    Raises ValueError where a process would have nothing to do.
    """

    pieces: int = 1
    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if self.pieces < 1:
            raise ValueError(f"micro_batches must be at least 1, got {self.pieces}")
        if self.size > self.pieces:
            raise ValueError(
                f"{self.size} processes, but the batches of this training are cut into"
                f" {self.pieces} micro-batches: start at most {self.pieces}, or begin a training"
                f" with --micro-batches {self.size}"
            )

    @property
    def own(self) -> range:
        """The numbers of the micro-batches that this process works on."""
        return range(self.rank, self.pieces, self.size)

    def cut(self, items: Sequence[T]) -> list[Sequence[T]]:
        """All micro-batches of a batch; sizes differ by one at most, the last may be empty."""
        small, larger = divmod(len(items), self.pieces)
        starts = [k * small + min(k, larger) for k in range(self.pieces + 1)]
        return [items[first:last] for first, last in pairwise(starts)]

    def mine(self, items: Sequence[T]) -> list[Sequence[T]]:
        """The micro-batches of a batch that this process works on."""
        pieces = self.cut(items)
        return [pieces[number] for number in self.own]
