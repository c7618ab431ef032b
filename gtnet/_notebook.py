"""What a notebook shows for an object."""

from __future__ import annotations

from typing import Any


class Shown:
    """An object that a notebook shows by its picture."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The picture that a notebook shows."""
        from gtnet.draw import mimebundle  # which stands above all graphs

        return mimebundle(self)  # type: ignore[arg-type]
