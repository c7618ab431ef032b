"""Loads the extensions and declares the shapes and dtypes that their operators return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def _load() -> bool:
    """Load the extensions in the package; whether the CUDA one was among them."""
    here = Path(__file__).parents[1]
    library = here / "_cpu.abi3.so"
    if not library.exists():
        raise ImportError(
            f"gtnet: {library} is missing, so the extension was not built here: run "
            f"`pip install .` in the checkout (it needs g++), or install a wheel"
        )
    _load_library(library, "2.10 or newer is needed")
    cuda = here / "_cuda.abi3.so"
    if torch.version.cuda is None or not cuda.exists():
        return False
    _load_library(
        cuda,
        f"its CUDA is {torch.version.cuda}; the extension needs a driver for the CUDA that it was "
        f"compiled with: compile it again with `GTNET_CUDA=1 pip install --no-build-isolation .`, "
        f"or delete it to work without a GPU",
    )
    return True


def _load_library(library: Path, needed: str) -> None:
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        raise ImportError(
            f"gtnet: {library} does not load beside torch {torch.__version__} ({needed}): {error}"
        ) from error


HAS_CUDA = _load()
operators = torch.ops.gtnet
_INTERRUPTED = "gtnet: interrupted"  # what csrc/core/interrupt.h throws
_OVER_BUDGET = "gtnet: over budget"  # what csrc/core/budget.h throws
_UNCOMMON = "gtnet: not for packed graphs"  # what csrc/ops/cpu/packed.cpp throws
_FAR_FROM_ZERO = "no gradient of path scores"  # what csrc/paths/log_distance.h throws

_library = torch.library.Library("gtnet", "FRAGMENT")


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is worked on as on a GPU; tests say so of others to reach the emulation."""
    return tensor.is_cuda


def without_kernel(key: str) -> list[str]:
    """The operators that have no implementation for a dispatch key."""
    names = [n for n in torch._C._dispatch_get_all_op_names() if n.startswith("gtnet::")]
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return sorted(name for name in names if not has(name, key))


def refusal(name: str) -> Any:
    """The implementation on a GPU of an operator that has none: an error that says what to do."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError(
            f"{name.removeprefix('gtnet::')}: not supported on a GPU: move the operands with "
            f".cpu(), and the result back"
        )

    return refuse


if HAS_CUDA:
    for _name in without_kernel("CUDA"):
        _library.impl(_name, refusal(_name), "CUDA")


class OverBudgetError(Exception):
    """An operator found more than it was asked to keep."""


class FarFromZeroError(Exception):
    """An operator has no digits for the parts that paths have in a sum."""


class UncommonError(Exception):
    """An operator on packed graphs leaves this one to the general operators."""


def interruptible(operator: Any) -> Any:
    """An operator that may run long, and gives up when a signal raises something, such as Ctrl-C.

    What was raised arrives as soon as the operator is back. Where only a signal is known, as where
    the main thread waits for others, and nothing is raised, the operator starts again. One that
    has a budget raises OverBudgetError; that of gradients may raise FarFromZeroError, and those on
    packed graphs UncommonError.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return operator(*args, **kwargs)
        while True:
            try:
                return operator(*args, **kwargs)
            except RuntimeError as error:
                said = str(error)
                if _UNCOMMON in said:
                    raise UncommonError from None
                if _OVER_BUDGET in said:
                    raise OverBudgetError from None
                if _FAR_FROM_ZERO in said:
                    raise FarFromZeroError from None
                if _INTERRUPTED not in said:
                    raise

    return run


def fake(name: str) -> Any:
    """Registers the function below as the fake of an operator: shapes and dtypes only."""

    # torch notes the file that it is called from, and looks at all modules for each new one.
    def register(function: Any) -> Any:
        return torch.library.register_fake(f"gtnet::{name}", function, lib=_library)

    return register


def define(schema: str) -> Any:
    """Declares an operator that the function below makes of others, on any device."""
    _library.define(schema)

    def implement(function: Any) -> Any:
        _library.impl(schema.split("(")[0], function, "CompositeExplicitAutograd")
        return function

    return implement


def mapped(name: str, rule: Any) -> None:
    """Registers what an operator does under torch.vmap."""
    torch.library.register_vmap(f"gtnet::{name}", rule, lib=_library)


def unknown_size() -> Any:
    """A size that depends on the data."""
    return torch.library.get_ctx().new_dynamic_size()


def vector(tensor: Tensor, size: Any, dtype: torch.dtype) -> Tensor:
    """An empty tensor [size] on the device of another."""
    return tensor.new_empty((size,), dtype=dtype)
