"""Tensors that outlive inference mode and transforms of torch.func, because they are kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

Made = TypeVar("Made")


def in_inference_mode() -> bool:
    """Whether tensors made now are of no use to a gradient; torch.compile cannot ask."""
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()


# Whether a transform of torch.func is at work, which wraps all that is computed.
transformed: Callable[[], bool] = torch._C._are_functorch_transforms_active


def ordinary(make: Callable[..., Made]) -> Callable[..., Made]:
    """A function whose result is kept: it works outside of inference mode and transforms."""

    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> Made:
        plain = torch.compiler.is_compiling() or not (in_inference_mode() or transformed())
        if plain:
            return make(*args, **kwargs)
        with ExitStack() as modes:
            if in_inference_mode():
                modes.enter_context(torch.inference_mode(False))
            if transformed():
                modes.enter_context(temporarily_clear_interpreter_stack())
            return make(*args, **kwargs)

    return made


def ordinary_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, those made in inference mode copied so that a gradient may remember them.

    One that stands twice stays one. Outside of inference mode they are as they are.
    """
    if not in_inference_mode():
        return tensors
    with torch.inference_mode(False):
        copies = {id(t): t.clone() if t.is_inference() else t for t in tensors}
    return tuple(copies[id(t)] for t in tensors)


def remembered(tensor: Tensor) -> Tensor:
    """A tensor that a gradient may remember: a copy of one made in inference mode."""
    if torch.compiler.is_compiling() or transformed() or not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def mapped(tensor: Tensor) -> bool:
    """Whether torch.vmap maps a tensor, under whatever differentiates it."""
    while transformed() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def without_wrappers(*integers: Tensor) -> tuple[Tensor, ...]:
    """Integers without what torch.func.grad wraps around them: nothing differentiates them."""
    return tuple(map(_unwrapped, integers)) if transformed() else integers


def _unwrapped(tensor: Tensor) -> Tensor:
    while torch._C._functorch.is_gradtrackingtensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
