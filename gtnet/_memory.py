"""Operations that name themselves where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def named(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which raises a MemoryError with its name where it finds no memory.

    Torch's allocator raises RuntimeErrors, and those that come out of operators name operators.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "can't allocate memory" in str(error)):
                raise
            raise MemoryError(
                f"{function.__name__}: there is not enough memory: split the batch, or prune the "
                f"operands"
            ) from None

    return call
