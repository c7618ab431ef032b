"""Operations that name themselves: in every error, and where torch.vmap cannot map them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch import Tensor

from gtnet._ordinary import mapped, transformed

P = ParamSpec("P")
R = TypeVar("R")


_FUNCTION = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*(?=: )")


def named(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors name it, not what it calls; a MemoryError where it finds no
    memory.

    Torch's allocator raises RuntimeErrors, and those that come out of operators name operators.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (ValueError, TypeError) as error:
            said = error.args[0] if error.args else None
            if isinstance(said, str):
                error.args = (_said_by(function.__name__, said), *error.args[1:])
            raise
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "can't allocate memory" in str(error)):
                raise
            raise MemoryError(
                f"{function.__name__}: there is not enough memory: split the batch, or prune the "
                f"operands"
            ) from None

    return call


def _said_by(function: str, said: str) -> str:
    """A message that begins with the name of a function, with this name."""
    found = _FUNCTION.match(said)
    if found is None or found[0].split(".")[-1] == function:
        return said
    return function + said[found.end() :]


def choosing(function: Callable[P, R]) -> Callable[P, R]:
    """As `named`, of a function whose result has a size or kind that its scores decide.

    torch.vmap would need one of each place, and complains of an operator deep inside.
    """
    inner = named(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if transformed():
            unmapped(function.__name__, *args, *kwargs.values())
        return inner(*args, **kwargs)

    return call


def unmapped(function: str, *values: object) -> None:
    """Refuse graphs, emissions and lattices whose scores torch.vmap maps."""
    if transformed() and any(map(mapped, _scores(values))):
        raise ValueError(
            f"{function}: torch.vmap cannot map it, as scores decide what its result or its "
            f"gradient holds: call it once with a batch (gtnet.stack, Emissions of several items)"
        )


def _scores(values: Iterable[object]) -> list[Tensor]:
    """The scores of graphs, emissions and lattices among the arguments of a function."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _scores(value)
        elif isinstance(value, dict):
            found += _scores(value.values())
        else:
            names = ("weights", "start", "accept", "scores", "emissions", "operand", "_given")
            parts = [getattr(value, name, None) for name in names]
            found += _scores([part for part in parts if part is not None])
    return found
