"""Losses by name, for configurations and command lines."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from gtnet.losses import costs, criteria, elementwise

Loss = Callable[..., Tensor]
"""loss(interpretations, correct, **options) -> [batch]."""

LOSSES: dict[str, Loss] = {
    function.__name__: function
    for function in (
        elementwise.energy,
        elementwise.perceptron,
        elementwise.hinge,
        elementwise.log,
        elementwise.lvq2,
        elementwise.mce,
        elementwise.square_square,
        elementwise.square_exp,
        elementwise.nll,
        elementwise.mee,
        costs.structured_hinge,
        costs.soft_margin,
        costs.generalized_margin,
        costs.generalized_margin_k_best,
        costs.minimum_risk,
        costs.minimum_risk_k_best,
        criteria.viterbi,
        criteria.discriminative_viterbi,
        criteria.forward,
        criteria.discriminative_forward,
    )
}
"""Every loss of (interpretations, correct) by its name; see `register`."""


def register(name: str, loss: Loss) -> None:
    """Give your own loss a name: loss(interpretations, correct, **options).

    Raises ValueError for a name that is taken by another loss.
    """
    if LOSSES.setdefault(name, loss) is not loss:
        raise ValueError(f"register: there is already a loss {name!r}")


def by_name(name: str, **options: Any) -> Loss:
    """The loss of that name with some options filled in.

    Raises ValueError for a name that is not registered, TypeError for an option it does not have.
    """
    if name not in LOSSES:
        raise ValueError(f"by_name: no loss {name!r}; there are {', '.join(sorted(LOSSES))}")
    loss = LOSSES[name]
    known = inspect.signature(loss).parameters
    for option in options:
        if option not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            has = ", ".join(n for n in known if n not in ("interpretations", "correct"))
            raise TypeError(f"by_name: the loss {name!r} has no option {option!r}; it has {has}")
    return partial(loss, **options) if options else loss
