"""Where graphs live: the CPU or a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch


class DeviceType(Enum):
    """The kinds of devices."""

    CPU = 0
    CUDA = 1


CPU, CUDA = DeviceType.CPU, DeviceType.CUDA


@dataclass(frozen=True)
class Device:
    """A device: `Device(CPU)`, `Device(CUDA)` for the current GPU, or `Device(CUDA, index)`."""

    type: DeviceType
    index: int = -1

    def __post_init__(self) -> None:
        if self.index < 0:
            current = torch.cuda.current_device() if self.type is CUDA else 0
            object.__setattr__(self, "index", current)

    @property
    def name(self) -> str:
        """The device as torch names it."""
        return "cpu" if self.type is CPU else f"cuda:{self.index}"


def place(device: Device | bool | None, calc_grad: bool) -> tuple[Device, bool]:
    """The last arguments of gtn's creations: `device, calc_grad`, or `calc_grad` alone."""
    if isinstance(device, Device):
        return device, calc_grad
    return Device(CPU), calc_grad if device is None else bool(device)
