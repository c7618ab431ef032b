"""Tensors that outlive `torch.inference_mode()`: what is remembered must serve training later."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")


def ordinary(make: Callable[..., Made]) -> Callable[..., Made]:
    """A function whose result is kept: inside inference mode it works outside of it."""

    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> Made:
        if not torch.is_inference_mode_enabled():
            return make(*args, **kwargs)
        with torch.inference_mode(False):
            return make(*args, **kwargs)

    return made


def ordinary_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, those made in inference mode copied so that a gradient may remember them.

    One that stands twice stays one. Outside of inference mode they are as they are.
    """
    if not torch.is_inference_mode_enabled():
        return tensors
    with torch.inference_mode(False):
        copies = {id(t): t.clone() if t.is_inference() else t for t in tensors}
    return tuple(copies[id(t)] for t in tensors)
