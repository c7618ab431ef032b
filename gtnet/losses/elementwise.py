"""Losses that compare the energy of the correct answer with those of the others.

The signs are those of LeCun, Chopra, Hadsell, Ranzato & Huang 2006, "A Tutorial on Energy-Based
Learning", table 1. Some lecture notes print square-square with a minus before its second term and
the negative log-likelihood with exp(+beta · E): both would push the wrong way.

Every loss takes what `gtnet.losses.energies` takes, graphs or plain energies [batch, answers], and
gives [batch]. E is the energy of the correct answer, Ē that of the most offending incorrect one,
F the free energy of all. Where the correct answer is impossible, a loss has the limit that it
has as E grows (+inf unless it is bounded); where no other answer is possible, the limit as Ē
grows; neither has a gradient. "Can collapse": a model that gives all answers the same energy has
the least loss, so nothing prevents the model from learning that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtnet._memory import named
from gtnet.graph import Graph
from gtnet.losses.answers import Latent
from gtnet.losses.energies import energies_of

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

INF = float("inf")
_STEEPEST = 60.0  # above it exponentials continue as their tangents, in the range of float32


@named
def energy(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E: pushes the correct answer down and nothing up.

    Margin: none. Can collapse, unless the model itself pulls others up when it pushes one down.
    Arguments and errors: as `energies`. Source: LeCun et al. 2006, section 2.2.1.
    """
    return energies_of("energy", interpretations, correct, latent, beta).correct


@named
def perceptron(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E - min E(y): pushes the correct answer down and the best answer up.

    Margin: 0. Can collapse: with equal energies the loss is 0.
    Arguments and errors: as `energies`. Source: LeCun et al. 2006, section 2.2.2; Collins 2002.
    """
    e = energies_of("perceptron", interpretations, correct, latent, beta)
    return gap(e.correct, e.least).clamp(min=0)


@named
def hinge(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    margin: float = 1.0,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """max(0, m + E - Ē): the correct answer should win by m.

    Margin: m. Cannot collapse: with equal energies the loss is m.
    Arguments: as `energies`; `margin` m >= 0. Source: LeCun et al. 2006, section 2.2.3.
    """
    e = energies_of("hinge", interpretations, correct, latent, beta)
    return (_positive("hinge", "margin", margin) + gap(e.correct, e.offending)).clamp(min=0)


@named
def log(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """log(1 + exp(E - Ē)): a soft hinge.

    Margin: any, the larger the better. Cannot collapse: with equal energies the loss is log 2.
    Arguments and errors: as `energies`. Source: LeCun et al. 2006, section 2.2.3.
    """
    e = energies_of("log", interpretations, correct, latent, beta)
    d = gap(e.correct, e.offending)
    return torch.logaddexp(d, torch.zeros_like(d))


@named
def lvq2(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    ceiling: float = 1.0,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """min(M, max(0, E - Ē)): the perceptron, which gives up on hopeless items.

    Margin: 0. Can collapse: with equal energies the loss is 0.
    Arguments: as `energies`; `ceiling` M >= 0, beyond which there is no gradient.
    Source: LeCun et al. 2006, section 2.2.3; Driancourt, Bottou & Gallinari 1991.
    """
    e = energies_of("lvq2", interpretations, correct, latent, beta)
    return gap(e.correct, e.offending).clamp(min=0, max=_positive("lvq2", "ceiling", ceiling))


@named
def mce(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """1 / (1 + exp(-(E - Ē))): a smooth count of the errors.

    Margin: any, the larger the better. Cannot collapse: with equal energies the loss is 1/2, with
    correct answers almost 0. But hopeless items send hardly any gradient.
    Arguments and errors: as `energies`. Source: Juang, Chou & Lee 1997; LeCun et al. 2006, 2.2.3.
    """
    e = energies_of("mce", interpretations, correct, latent, beta)
    return torch.sigmoid(gap(e.correct, e.offending))


@named
def square_square(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    margin: float = 1.0,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E² + max(0, m - Ē)²: pulls E to 0 and pushes Ē above m.

    Margin: m, if E reaches 0. Cannot collapse: with equal energies the loss is at least m² / 2. For
    energies that are bounded below by 0, such as distances.
    Arguments: as `energies`; `margin` m >= 0. Source: LeCun & Huang 2005; LeCun et al. 2006, 2.2.3.
    """
    e = energies_of("square_square", interpretations, correct, latent, beta)
    m = _positive("square_square", "margin", margin)
    return _squared(e.correct, (m - e.offending).clamp(min=0).square())


@named
def square_exp(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    scale: float = 1.0,
    gamma: float = 1.0,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E² + scale · exp(-gamma · Ē): pulls E to 0 and pushes Ē up without end.

    Margin: any, the larger the better. Cannot collapse: with equal energies e the loss is e² +
    scale · exp(-gamma · e) > 0, and a lower E is always better. For energies that are bounded below
    by 0. Where -gamma · Ē exceeds 60 the exponential continues as its tangent, to stay finite.
    Arguments: as `energies`; `scale` and `gamma` >= 0 (the tutorial's β and γ).
    Source: Osadchy, Miller & LeCun 2005; LeCun et al. 2006, section 2.2.3.
    """
    e = energies_of("square_exp", interpretations, correct, latent, beta)
    scale, gamma = (_positive("square_exp", n, x) for n, x in (("scale", scale), ("gamma", gamma)))
    alone = e.offending == INF
    exponent = -gamma * e.offending.masked_fill(alone, 0)
    over = (exponent - _STEEPEST).clamp(min=0)
    push = torch.exp(exponent.clamp(max=_STEEPEST)) * (1 + over)
    return _squared(e.correct, scale * push.masked_fill(alone, 0))


@named
def nll(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "forward",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E - F = E + 1/beta · log Σ exp(-beta · E(y)): -log of the probability of the answer / beta.

    Also known as maximum mutual information, and cross-entropy for plain energies. Margin: any,
    the larger the better. Cannot collapse: with n equal energies the loss is log(n) / beta.
    Arguments and errors: as `energies`; latent="viterbi" sums over the best path of every answer,
    and determinizes for it. Source: LeCun et al. 2006, section 2.2.4.
    """
    e = energies_of("nll", interpretations, correct, latent, beta)
    return gap(e.correct, e.free).clamp(min=0)


@named
def mee(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "forward",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """1 - exp(-beta · E) / Σ exp(-beta · E(y)): the expected error of drawing an answer.

    Margin: any, the larger the better. Cannot collapse: with n equal energies the loss is 1 - 1/n.
    But hopeless items send hardly any gradient.
    Arguments and errors: as `nll`. Source: LeCun et al. 2006, section 2.2.4 (minimum empirical
    error; Ljolje, Ephraim & Rabiner 1990).
    """
    e = energies_of("mee", interpretations, correct, latent, beta)
    if not isinstance(beta, Tensor) and beta == INF:
        return (gap(e.correct, e.least) > 0).to(e.correct.dtype)
    return -torch.expm1(-scaled_gap(gap(e.correct, e.free).clamp(min=0), beta))


def gap(correct: Tensor, other: Tensor) -> Tensor:
    """E - other: +inf where E is, else -inf where the other is; neither with a gradient."""
    impossible = correct == INF
    alone = (other == INF) & ~impossible
    either = impossible | alone
    difference = correct.masked_fill(either, 0) - other.masked_fill(either, 0)
    return difference.masked_fill(impossible, INF).masked_fill(alone, -INF)


def scaled_gap(difference: Tensor, beta: float | Tensor) -> Tensor:
    """beta times a gap; +inf stays without a NaN in the gradient of beta."""
    infinite = difference == INF
    return (difference.masked_fill(infinite, 0) * beta).masked_fill(infinite, INF)


def _squared(correct: Tensor, push: Tensor) -> Tensor:
    """E² + push; +inf where E is, without a gradient."""
    impossible = correct == INF
    return (correct.masked_fill(impossible, 0).square() + push).masked_fill(impossible, INF)


def _positive(function: str, name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{function}: {name} must be a number, got {value!r}")
    if not 0 <= value < INF:
        raise ValueError(f"{function}: {name} must lie in [0, inf), got {value}")
    return float(value)
