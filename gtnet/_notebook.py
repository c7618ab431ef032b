"""What a notebook shows for an object; the package that draws stands above and says how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_shown: Callable[[Any], dict[str, str]] | None = None


def show_with(bundle: Callable[[Any], dict[str, str]]) -> None:
    """Let notebooks show what `bundle` makes of an object: MIME types and their content."""
    global _shown
    _shown = bundle


class Shown:
    """An object that a notebook shows by its picture."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The picture that a notebook shows."""
        return {"text/plain": repr(self)} if _shown is None else _shown(self)
