"""Temperatures at which scores leave float64."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gtnet import _checks, _ops


def fits_times(function: str, named: Mapping[str, Tensor], beta: float | Tensor) -> None:
    """Refuse a temperature at which scores leave float64.

    Times 16 a million of the largest scores still add up, so that only larger ones are looked at.
    """
    first = next(iter(named.values()))
    if first.is_cuda or torch.compiler.is_compiling():
        return
    if isinstance(beta, Tensor) and (
        not beta.numel() or torch.float64 not in (beta.dtype, first.dtype)
    ):
        return  # a batch of none; float32 times float32 is within float64
    largest = float(_checks.plain(beta).max()) if isinstance(beta, Tensor) else beta
    if largest <= (16 if first.dtype == torch.float64 else 1e260):
        return
    highest = _checks.HIGHEST[torch.float64]
    if not _ops.beyond(named.values(), highest / largest):
        return
    for name, scores in named.items():
        if _ops.beyond([scores], highest / largest):
            most = _checks.plain(scores).double().nan_to_num(0, 0, 0).abs().max().item()
            raise ValueError(
                f"{function}: beta times {name} must be at most {highest:.3g}, got {largest:g} "
                f"times {most:g}: lower beta or scale the scores down"
            )
