"""How other formats number labels: their 0 is epsilon, gtnet's 0 is an ordinary label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from gtnet._checks import EPSILON, LARGEST

LabelRule = Literal["shifted", "kept", "raw"]
Labels = LabelRule | tuple[LabelRule, LabelRule]

# From a format's label n, an array or a number, to gtnet's.
_OWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shifted": lambda n: n - 1,
    "kept": lambda n: np.where(n == 0, EPSILON, n),
    "raw": lambda n: n,
}


def rules(function: str, labels: Labels) -> tuple[LabelRule, LabelRule]:
    """The rules of the input and the output side. Raises ValueError for anything else."""
    pair = (labels, labels) if isinstance(labels, str) else tuple(labels)
    if len(pair) != 2 or any(rule not in get_args(LabelRule) for rule in pair):
        raise ValueError(
            f'{function}: labels must be "shifted", "kept" or "raw", or a pair of them for input '
            f"and output, got {labels!r}"
        )
    return pair


def own(labels: np.ndarray, rule: LabelRule) -> np.ndarray:
    """gtnet's labels for a format's, which are 0 or more."""
    return _OWN[rule](np.asarray(labels, np.int64))


def foreign(function: str, name: str, labels: np.ndarray, rule: LabelRule) -> np.ndarray:
    """A format's labels for gtnet's, int64. Raises ValueError where the rule has none."""
    labels = np.asarray(labels, np.int64)
    if rule == "shifted":
        if labels.size and labels.max() >= LARGEST:
            raise ValueError(f'{function}: {name} {LARGEST} has no successor: pass labels="kept"')
        return labels + 1
    if rule == "kept":
        if (labels == 0).any():
            raise ValueError(
                f"{function}: {name} hold label 0, which the format reads as an epsilon: pass "
                f'labels="shifted"'
            )
        return np.where(labels == EPSILON, 0, labels)
    if (labels == EPSILON).any():
        raise ValueError(
            f'{function}: {name} hold EPSILON, for which labels="raw" has no number: pass '
            f'labels="shifted"'
        )
    return labels
