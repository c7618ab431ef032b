"""GPUs, under gtn's names for what torch knows about them."""

from __future__ import annotations

import torch

__all__ = ["device_count", "get_device", "is_available", "set_device", "synchronize"]


def is_available() -> bool:
    """Whether torch has a GPU."""
    return torch.cuda.is_available()


def device_count() -> int:
    """GPUs of this machine. Raises ValueError without one."""
    _require("device_count")
    return torch.cuda.device_count()


def get_device() -> int:
    """The number of the current GPU. Raises ValueError without one."""
    _require("get_device")
    return torch.cuda.current_device()


def set_device(device: int) -> None:
    """Make a GPU the current one. Raises ValueError without one."""
    _require("set_device")
    torch.cuda.set_device(device)


def synchronize(device: int | None = None) -> None:
    """Wait for all work of a GPU, by default the current one. Raises ValueError without one."""
    _require("synchronize")
    torch.cuda.synchronize(device)


def _require(function: str) -> None:
    if not torch.cuda.is_available():
        raise ValueError(f"{function}: torch finds no GPU")
