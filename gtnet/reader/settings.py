"""Configurations as JSON takes them, and back."""

from __future__ import annotations

import dataclasses
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass, with those inside it, as JSON takes it."""
    return dataclasses.asdict(config)


def from_dict(kind: type[T], values: Any, where: str = "from_dict") -> T:
    """The configuration dataclass `kind` that `as_dict` wrote; `where` names its file in errors.

    Raises ValueError for what is no mapping, a name that `kind` does not have, or a value of
    another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {kind.__name__} should be a mapping, it is {values!r}")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"{where}: {kind.__name__} has no {', '.join(unknown)}; it may be of another version of"
            " gtnet"
        )
    given: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            given[name] = from_dict(hints[name], value, where)
            continue
        given[name] = tuple(value) if isinstance(value, list) else value
        if not _fits(given[name], hints[name]):
            wanted = getattr(hints[name], "__name__", str(hints[name]))
            raise ValueError(f"{where}: {kind.__name__}.{name} should be {wanted}, it is {value!r}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{where}: {kind.__name__} is not complete: {error}") from None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value that JSON gave is of a type; integers are floats, booleans no numbers."""
    parts = get_args(hint)
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        return any(_fits(value, part) for part in parts)
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(_fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, hint) if isinstance(hint, type) else True
