"""Arrays, lists and scalars that callers give, made into tensors without losing or bending any."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHORT = (torch.float16, torch.bfloat16)
_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)

# Asked of every argument of small graphs, where building a union each time would be felt.
_BOOLS, _NUMBERS, _TEXT = (bool, np.bool_), (int, float), (str, bytes)
_ARRAYS, _LISTS = (np.ndarray, np.generic), (list, tuple)


def float_dtype(dtype: torch.dtype | None = None) -> torch.dtype:
    """The dtype given, else torch's default, or float32 where scores cannot have that."""
    if dtype is not None:
        return dtype
    default = torch.get_default_dtype()
    return default if default == torch.float64 else torch.float32


def tensor_of(function: str, name: str, values: object, dtype: torch.dtype | None = None) -> Tensor:
    """`values` as a tensor of their own dtype, in autograd if they hold tensors.

    Python numbers, which have no dtype, take `dtype`. Arrays of any byte order and stride,
    lists, ranges and sets of numbers, and scalars. Raises TypeError for what holds no numbers,
    ValueError for numbers that no dtype holds.
    """
    if isinstance(values, Tensor):
        return values.long() if values.dtype in _UNSIGNED else values
    if isinstance(values, _ARRAYS):
        return _of_array(function, name, np.asarray(values))
    if isinstance(values, _TEXT) or values is None:
        raise TypeError(f"{function}: {name} must be numbers, got {values!r}")
    if not isinstance(values, _LISTS) and isinstance(values, Set):
        values = sorted(values)
    if isinstance(values, range):
        return torch.arange(values.start, values.stop, values.step)
    if isinstance(values, _LISTS):
        kinds = set(map(type, values))
        if not kinds.issubset(_NUMBERS):
            if any(issubclass(kind, Tensor) for kind in kinds):
                return _stacked(function, name, values)
            if not kinds.isdisjoint(_BOOLS):
                if not kinds.issubset(_BOOLS):
                    raise TypeError(
                        f"{function}: {name} must be numbers or booleans, got both: {_odd(values)}"
                    )
                dtype = None
    try:
        return torch.as_tensor(values, dtype=dtype)
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        if _overflows(values):
            raise ValueError(
                f"{function}: {name} must fit in 64 bits, got {_largest(values)}"
            ) from None
        raise TypeError(f"{function}: {name} must be numbers, got {_odd(values)}") from error


def _of_array(function: str, name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{function}: {name} must be numbers, got an array of {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{function}: {name} must fit in 64 bits, got {int(array.max())}")
    plain = array.dtype.newbyteorder("=")
    if plain.kind == "u" and plain.itemsize > 1:
        plain = np.dtype(np.int64)
    # A copy where torch would refuse the strides or warn of memory that must not be written.
    if array.dtype != plain or not array.flags.writeable or any(s < 0 for s in array.strides):
        array = np.array(array, dtype=plain)
    return torch.as_tensor(array)


def _stacked(function: str, name: str, values: list | tuple) -> Tensor:
    """Scalar tensors and numbers as one tensor, in autograd."""
    given = [value for value in values if isinstance(value, Tensor)]
    for value in given:
        if value.ndim:
            raise ValueError(
                f"{function}: {name} must be numbers, got a tensor {list(value.shape)} among them"
            )
    dtype = given[0].dtype
    for value in given[1:]:
        dtype = torch.promote_types(dtype, value.dtype)
    device = next((v.device for v in given if v.device.type != "cpu"), given[0].device)
    parts = [
        value if isinstance(value, Tensor) else tensor_of(function, name, value) for value in values
    ]
    if any(part.is_floating_point() for part in parts) and not dtype.is_floating_point:
        dtype = float_dtype()
    return torch.stack([part.to(device=device, dtype=dtype) for part in parts])


def number(function: str, name: str, value: object) -> float | Tensor:
    """A score: a Python float, or a tensor [] in autograd. Booleans and strings are refused."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or not (value.is_floating_point() or value.dtype in _INTEGERS):
            raise TypeError(
                f"{function}: {name} must be a number, got a tensor {value.dtype} "
                f"{list(value.shape)}"
            )
        return value.reshape(())
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iuf":
        return float(value.reshape(()))
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{function}: {name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{function}: {name} must be a float, got {value}") from None


def flag(value: object) -> bool | None:
    """A boolean in any form; None for what is none."""
    if isinstance(value, _BOOLS):
        return bool(value)
    if isinstance(value, (Tensor, np.ndarray)):
        of_bools = value.dtype in (torch.bool, np.bool_)
        return bool(value) if of_bools and math.prod(value.shape) == 1 else None
    return None


def mask(value: object) -> Tensor | None:
    """Booleans, one for each of several things; None for what are none."""
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return torch.from_numpy(np.array(value))
    if isinstance(value, Tensor):
        return value if value.dtype == torch.bool else None
    if isinstance(value, list | tuple) and value and all(flag(one) is not None for one in value):
        return torch.tensor([bool(flag(one)) for one in value])
    return None


def _flat(values: Any) -> list[Any]:
    if isinstance(values, list | tuple):
        return [one for value in values for one in _flat(value)]
    return [values]


def _overflows(values: object) -> bool:
    return any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in _flat(values))


def _largest(values: object) -> int:
    return max((v for v in _flat(values) if isinstance(v, int)), key=abs)


def _odd(values: object) -> str:
    """The first thing among the values that is no number, or all where their shape is at fault."""
    for value in _flat(values):
        if not isinstance(value, int | float | np.generic):
            return f"{value!r} ({type(value).__name__})"
    text = repr(values)
    return text if len(text) <= 60 else text[:57] + "..."
