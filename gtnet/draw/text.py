"""Symbols, numbers and texts in the form of Graphviz's HTML-like labels."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gtnet._checks import EPSILON

Symbols = Sequence[str] | Mapping[int, str] | None
"""Names of labels: a sequence indexed by label, a mapping, or None for plain numbers."""

SPACE = "\u00a0"  # SVG would drop a plain space between texts


def symbol(symbols: Symbols, label: int) -> str:
    """The name of a label as plain text: its symbol, its number where it has none, or ε."""
    if label == EPSILON:
        return "ε"
    if isinstance(symbols, Mapping):
        return symbols.get(label, str(label))
    if symbols is not None and label < len(symbols):
        return symbols[label]
    return str(label)


def visible(text: str) -> str:
    """Plain text in which empty strings, spaces and control characters can be seen."""
    if not text:
        return '""'
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown.replace(" ", "␣") if text.isspace() else shown


def escape(text: str) -> str:
    """Text for an HTML-like label; characters that cannot be seen are spelled out."""
    return html.escape(visible(text), quote=False)


class Numbers:
    """Writes scores with as few decimals as all of them need, and at most `digits`."""

    def __init__(self, values: Iterable[np.ndarray], digits: int) -> None:
        values = np.concatenate([np.asarray(v, dtype=float) for v in values])
        finite = values[np.isfinite(values)]
        self.digits = next(
            (d for d in range(digits) if np.allclose(finite, finite.round(d), 0, 1e-6)), digits
        )

    def __call__(self, value: float) -> str:
        """The number with a real minus sign."""
        if abs(value) == np.inf:
            return "∞" if value > 0 else "−∞"
        text = f"{value:.{self.digits}f}" if abs(value) < 1e5 else f"{value:.3g}"
        return text.replace("-", "−") if float(text) else text.lstrip("-")
