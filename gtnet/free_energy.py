"""Free energies of the paths of a graph, and their bound by any other distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import LARGEST, MAX_ARCS, NEG_INF
from gtnet._memory import named
from gtnet._ops import take
from gtnet.distance import _per, _scaled, finite_temperature, forward_score, scaled_to_accept
from gtnet.distributions import kl_divergence, same_paths
from gtnet.graph import Graph, lazy
from gtnet.paths import _drawn

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def free_energy(graph: Graph | Lattice, beta: float | Tensor = 1.0) -> Tensor:
    """F = -1/beta · log Σ exp(-beta · E) over the accepting paths, whose energies are E = -score.

    Minus `forward_score`. beta → ∞ gives the energy of the best path (beta=math.inf takes it).
    beta → 0 has no limit unless there is one path: of n paths, F + log(n) / beta tends to the
    mean of their energies, so F itself goes to -∞.

    Arguments, errors and complexity: as `forward_score`. Result: [batch]; +inf for an empty
    language. Gradient: to the scores, minus `posteriors`; any number of derivatives.
    Source: LeCun, Chopra, Hadsell, Ranzato & Huang 2006, section 7.2 ("free energy").
    """
    if not isinstance(graph, Graph):
        graph = lazy("free_energy", "graph", graph)
    return -forward_score(graph, beta)


@named
def variational_bound(
    graph: Graph | Lattice,
    q: Graph | Lattice,
    beta: float | Tensor = 1.0,
    *,
    samples: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """<E>_q - H(q) / beta >= F: an upper bound of the free energy of `graph` by another graph.

    q draws paths in proportion to exp(its score). The bound is F + KL(q ‖ p) / beta where p is
    proportional to exp(beta · score of `graph`): equal to F for q = p, whose scores are beta times
    those of `graph`. Minimizing it over the scores of q is variational inference.

    Arguments: `graph` and `q`, the same states and arcs under two sets of scores (make q with
    `graph.with_weights`); `beta` as in `forward_score`, finite; `samples`: estimate the bound,
    without bias, from this number of paths drawn from q with `generator`, as in `sample`; by
    default it is exact.
    Result: [batch]; +inf if q takes a path that is impossible in `graph`, or for an empty language.
    Raises ValueError as `kl_divergence` and `sample`, and for samples=0.
    Complexity: that of `kl_divergence`, or of `sample`. Gradient: to both graphs and beta; with
    `samples` an unbiased estimate of it, by the log-derivative of the draw, less the mean of the
    other samples.
    Source: Jordan, Ghahramani, Jaakkola & Saul 1999; Williams 1992 for the gradient of samples.
    """
    finite_temperature("variational_bound", beta)
    graph, q = same_paths("variational_bound", graph, q, "graph")
    if samples is not None:
        count = _checks.count("variational_bound", "samples", samples)
        if count == 0:
            raise ValueError("variational_bound: samples must be positive, got 0")
        return _estimate(graph, q, beta, count, generator)
    heated = _scaled("variational_bound", graph, beta).to(q.dtype)
    return free_energy(graph, beta) + kl_divergence(q, heated) / beta


def _estimate(
    graph: Graph, q: Graph, beta: float | Tensor, count: int, generator: torch.Generator | None
) -> Tensor:
    """The bound, estimated from paths drawn from q."""
    drawn_from, to_accept = scaled_to_accept("variational_bound", q.detach(), 1.0)
    scores = [t.contiguous() for t in (drawn_from.weights, drawn_from.start, drawn_from.accept)]
    found, *paths = _drawn(
        "variational_bound", q, to_accept, scores, count, generator, LARGEST, MAX_ARCS
    )
    owner = torch.repeat_interleave(torch.arange(len(q)), found)
    log_q = _scores(q, *paths) - forward_score(q)[owner]
    energy = -_scores(graph, *paths)
    endless = energy == -NEG_INF
    values = energy.masked_fill(endless, 0) + log_q / _per(owner, beta)

    def mean(each: Tensor) -> Tensor:
        return each.new_zeros(len(q)).index_add(0, owner, each) / count

    kept = values.detach()
    others = (mean(kept)[owner] * count - kept) / max(1, count - 1)
    draw = (kept - others) * (log_q - log_q.detach())  # 0, with the gradient of drawing
    none = (found == 0).index_fill(0, owner[endless], True)
    return mean(values + draw).masked_fill(none, -NEG_INF)


def _scores(graph: Graph, lengths: Tensor, arcs: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The scores of paths, one after another, under the scores of a graph."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    ends = take(graph.start.contiguous(), first) + take(graph.accept.contiguous(), last)
    return ends.index_add(0, owner, take(graph.weights.contiguous(), arcs))
