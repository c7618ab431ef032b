"""The accepting paths as a probability distribution: entropy, expectations, divergences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import named
from gtnet._ops import OnPaths
from gtnet.distance import PathDistribution, finite_temperature, path_distribution
from gtnet.graph import Graph, built, lazy

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def entropy(graph: Graph | Lattice, beta: float | Tensor = 1.0) -> Tensor:
    """The entropy, in nats, of a path drawn in proportion to exp(beta · score).

    -Σ p log p over the accepting paths, summed step by step along the Markov chain that draws a
    path, so that large scores do not cancel. 0 for an empty language and for a single path.

    Arguments: as `posteriors`. Result: [batch] of the dtype of the weights, >= 0.
    Raises ValueError as `forward_score`, and for infinite beta. Complexity: one sweep through the
    graph and one back. Gradient: any number of derivatives, also in beta. Runs in float64.
    Source: Cover & Thomas 2006, section 4.2; Hernando, Crespi & Cybenko 2005.
    Of a `Lattice` it is `Lattice.entropy`, which builds the product only for a gradient.
    """
    if not isinstance(graph, Graph):
        return lazy("entropy", "graph", graph).entropy(beta)
    p = _distribution("entropy", graph, beta)
    steps = OnPaths(*(-x for x in p.log_shares))
    return _expected(p, p.posteriors, steps).to(graph.dtype)


@named
def expectation(graph: Graph | Lattice, features: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """The expected sum of arc features along a path drawn in proportion to exp(beta · score).

    Arguments: `features` [arcs] or [arcs, n], one value or vector for each arc, of the dtype of
    the graph; features of arcs that no accepting path takes do not count, even if they are -inf.
    Result: [batch] or [batch, n]; 0 for an empty language.
    Raises: ValueError as `posteriors`, and for features of another length or with NaN or +inf;
    TypeError for another dtype. Complexity: that of `posteriors` and O(arcs · n).
    Gradient: any number of derivatives in scores, beta and features: in the scores, covariances.
    Source: Li & Eisner 2009, "First- and second-order expectation semirings".
    """
    graph = built("expectation", "graph", graph)
    features = _features(graph, features)
    p = _distribution("expectation", graph, beta)
    graph_of_arc = graph.topology.graph_of_arc
    total = _sums(graph_of_arc, p.posteriors.arcs, features.double(), len(graph))
    return total.to(graph.dtype)


@named
def cross_entropy(p: Graph | Lattice, q: Graph | Lattice, beta: float | Tensor = 1.0) -> Tensor:
    """The expected -log q of a path drawn from p, where both are distributions over the same paths.

    Arguments: `p` and `q`, the same states and arcs under two sets of scores, the paths of each
    drawn in proportion to exp(beta · score). Result: [batch] of the dtype of the weights; +inf
    where p takes a path that is impossible under q, with a gradient of 0; 0 where p has no path.
    Raises: ValueError as `entropy`, and for different states or arcs; TypeError for different
    dtypes. Complexity: a sweep through each graph and one back through p.
    Gradient: any number of derivatives in the scores of both and in beta.
    Source: Cover & Thomas 2006, section 2.3.
    """
    p, q = same_paths("cross_entropy", p, q)
    of_p = _distribution("cross_entropy", p, beta)
    of_q = _distribution("cross_entropy", q, beta)
    steps = OnPaths(*(-x for x in of_q.log_shares))
    return _expected(of_p, of_p.posteriors, steps).to(p.dtype)


@named
def kl_divergence(p: Graph | Lattice, q: Graph | Lattice, beta: float | Tensor = 1.0) -> Tensor:
    """The expected log p - log q of a path drawn from p, for two sets of scores of the same paths.

    Arguments, errors, complexity, gradient and source: as `cross_entropy`. Result: [batch] of the
    dtype of the weights, >= 0 up to rounding; +inf if p takes a path that is impossible under q.
    """
    p, q = same_paths("kl_divergence", p, q)
    of_p = _distribution("kl_divergence", p, beta)
    of_q = _distribution("kl_divergence", q, beta)
    steps = OnPaths(*(x - y for x, y in zip(of_p.log_shares, of_q.log_shares)))
    return _expected(of_p, of_p.posteriors, steps).to(p.dtype)


def _distribution(function: str, graph: Graph, beta: float | Tensor) -> PathDistribution:
    finite_temperature(function, beta)
    return path_distribution(function, graph.to(torch.float64), beta)


def _expected(p: PathDistribution, posteriors: OnPaths, values: OnPaths) -> Tensor:
    """The expected sum of values along a path, [batch] float64; impossible steps do not count.

    +inf values that do count make the result +inf, without a gradient.
    """
    topology = p.graph.topology
    graph_of = OnPaths(topology.graph_of_arc, topology.graph_of_state, topology.graph_of_state)
    total = p.score.new_zeros(len(p.graph))
    infinite = torch.zeros_like(total, dtype=torch.bool)
    for graphs, chances, value in zip(graph_of, posteriors, values):
        endless = (chances > 0) & (value == float("inf"))
        infinite = infinite | (torch.zeros_like(total).index_add(0, graphs, endless.double()) > 0)
        total = total + _sums(graphs, chances, value.masked_fill(endless, 0), len(p.graph))
    return total.masked_fill(infinite, float("inf"))


def _sums(graph_of: Tensor, chances: Tensor, values: Tensor, num_graphs: int) -> Tensor:
    """Sums per graph of chances [n] times values [n, ...]; a chance of 0 cancels any value."""
    chances = chances.reshape(-1, *[1] * (values.ndim - 1))
    counted = values.masked_fill(chances == 0, 0) * chances
    return values.new_zeros(num_graphs, *values.shape[1:]).index_add(0, graph_of, counted)


def _features(graph: Graph, features: Tensor) -> Tensor:
    """Features of arcs, checked."""
    if not isinstance(features, Tensor):
        raise TypeError(f"expectation: features must be a tensor, got {type(features).__name__}")
    if features.ndim not in (1, 2) or len(features) != graph.num_arcs:
        raise ValueError(
            f"expectation: features must have shape [{graph.num_arcs}] or [{graph.num_arcs}, n], "
            f"got {list(features.shape)}"
        )
    _checks.same_device("expectation", graph=graph.weights, features=features)
    _checks.same_dtype("expectation", graph=graph.weights, features=features)
    _checks.finite_or_zero("expectation", "features", features)
    return features


def same_paths(
    function: str, p: Graph | Lattice, q: Graph | Lattice, called: str = "p"
) -> tuple[Graph, Graph]:
    """Both, built; refuses different states and arcs. Labels do not matter to a path."""
    p, q = built(function, called, p), built(function, "q", q)
    _checks.same_device(function, **{called: p.weights, "q": q.weights})
    _checks.same_dtype(function, **{called: p.weights, "q": q.weights})
    for name in ("states", "arcs"):
        a, b = (getattr(graph, f"num_{name}") for graph in (p, q))
        if a != b:
            raise ValueError(
                f"{function}: {called} has {a} {name}, q has {b}: "
                f"make q with {called}.with_weights()"
            )
    if p.topology is q.topology:
        return p, q
    for name in ("state_offsets", "arc_offsets", "source", "target"):
        if not torch.equal(getattr(p, name), getattr(q, name)):
            raise ValueError(
                f"{function}: {called} and q have different {name}: "
                f"make q with {called}.with_weights()"
            )
    return p, q
