"""Several processes that train one reader: who they are, and what they tell each other.

torchrun starts them; they speak through `torch.distributed`. A process alone is a team of one.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

import gtnet

T = TypeVar("T")


class LostError(OSError):
    """A process of the team ended, or cannot be reached any more."""


@dataclass(frozen=True)
class Team:
    """The processes that train together: this one is number `rank` of `size`.

    Each method is called by all of them at the same point. Raises LostError where one is gone.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Team:
        """The processes that `joined`, or a script of your own, brought together."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.rank == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their sums over all processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _heard():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def of_lead(self, value: T) -> T:
        """The value that the first process has."""
        if self.size == 1:
            return value
        box = [value]
        with _heard():
            dist.broadcast_object_list(box)
        return box[0]

    def of_all(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _heard():
            dist.all_gather_object(found, value)
        return found

    def together(self, work: Callable[[], T]) -> T:
        """Do the same in every process; where it fails in one, all end, and one says why.

        Raises what `work` raises (ValueError or OSError) in the first process that it fails in; the
        others exit with code 2.
        """
        error, result = None, None
        try:
            result = work()
        except (ValueError, OSError) as raised:
            error = raised
        failed = [rank for rank, fails in enumerate(self.of_all(error is not None)) if fails]
        if not failed:
            return result  # type: ignore[return-value]
        if error is not None and failed[0] == self.rank:
            raise error
        raise SystemExit(2)

    def agree(self, what: str, value: str) -> None:
        """Raises ValueError where processes differ in what must be the same."""

        def check() -> None:
            found = self.of_all(value)
            other = next((rank for rank, one in enumerate(found) if one != found[0]), None)
            if other is not None:
                raise ValueError(
                    f"the processes of a training need the same {what}: process 0 has {found[0]},"
                    f" process {other} has {found[other]}"
                )

        self.together(check)


@contextmanager
def joined() -> Iterator[Team]:
    """The team that torchrun started this process for, until the end of the block.

    Without torchrun (no RANK in the environment) a team of one. Raises ValueError where processes
    cannot meet (a port that is taken, an address that does not answer), or differ in versions.
    """
    if "RANK" not in os.environ or dist.is_initialized():
        yield Team.current()
        return
    try:
        store, rank, size = next(dist.rendezvous("env://"))
        if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":  # counts of several machines may differ
            # torchrun's store remembers where the processes of before its restart could be met.
            store = dist.PrefixStore(f"restart {restarts()}", store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise ValueError(
            f"the processes of this training could not meet at {place}: {_line(error)}; is the port"
            " taken by another job (choose one with torchrun --master-port), or are not all of"
            f" {os.environ.get('WORLD_SIZE', '?')} processes started?"
        ) from error
    try:
        team = Team.current()
        versions = f"gtnet {gtnet.__version__}, torch {torch.__version__}"
        team.agree("versions", f"{versions}, Python {platform.python_version()}")
        yield team
    finally:
        dist.destroy_process_group()


def restarts() -> int:
    """How often torchrun has started this team anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            f"another process of this training ended or cannot be reached ({_line(error)}); start"
            " it again with --resume, or let torchrun do so with --max-restarts"
        ) from error


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
