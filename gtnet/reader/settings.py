"""Configurations as JSON takes them, and back."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass, with those inside it, as JSON takes it."""
    return dataclasses.asdict(config)


def from_dict(kind: type[T], values: dict[str, Any]) -> T:
    """The configuration dataclass `kind` that `as_dict` wrote.

    Raises ValueError for a name that `kind` does not have.
    """
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"from_dict: {kind.__name__} has no {', '.join(unknown)}")
    given: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value)
        given[name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)
