"""Sums and maxima over all paths: shortest distances, forward and Viterbi scores, posteriors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet.graph import Graph


def forward_score(graph: Graph, beta: float | Tensor = 1.0) -> Tensor:
    """The log of the sum over all accepting paths of exp(score), at inverse temperature beta.

    1/beta · log Σ exp(beta · score of the path): beta → ∞ gives the Viterbi score.

    Arguments: `graph` acyclic; `beta` > 0, a number (math.inf included), a tensor [] or a tensor
    [batch]. Result: [batch] of the dtype of the weights; -inf for an empty language.
    Raises ValueError for a cyclic graph or beta <= 0.
    Complexity: O(states + arcs), one exponential per arc; graphs of a batch run on threads.
    Gradient: posteriors; with respect to weights, start, accept and beta, twice differentiable;
    0 where the score is -inf. Sums run in float64 whatever the dtype.
    Source: Mohri 2009, "Weighted Automata Algorithms", section 3.
    """
    _checks.graph("forward_score", "graph", graph)
    if _is_infinite("forward_score", beta):
        return viterbi_score(graph)
    scaled = _scaled("forward_score", graph, beta)
    _, score = _log_distance("forward_score", scaled)
    return _unscaled(score, beta).to(graph.dtype)


def shortest_distance(
    graph: Graph, beta: float | Tensor = 1.0, *, to_accept: bool = False
) -> Tensor:
    """The log-sum of the scores of all paths from the start to each state (or on to acceptance).

    Arguments: as `forward_score`; `to_accept` sums the paths from each state to the end instead.
    Result: float64 [states], -inf where there is no path. Raises ValueError for a cyclic graph.
    Complexity: O(states + arcs). Gradient: first derivatives.
    Source: Mohri 2009, section 3.
    """
    _checks.graph("shortest_distance", "graph", graph)
    if _is_infinite("shortest_distance", beta):
        raise ValueError("shortest_distance: beta must be finite, got inf")
    scaled = _scaled("shortest_distance", graph, beta)
    distance, _ = _log_distance("shortest_distance", scaled, to_accept=to_accept)
    return _unscaled(distance, _per(graph.topology.graph_of_state, beta))


def posteriors(graph: Graph, beta: float | Tensor = 1.0) -> Tensor:
    """The probability that a path drawn in proportion to exp(beta · score) takes each arc.

    Arguments: as `forward_score`, beta finite. Result: [arcs] of the dtype of the weights, in
    [0, 1]; 0 on arcs that no accepting path takes and throughout an empty language.
    Raises ValueError for a cyclic graph. Complexity: O(states + arcs). Gradient: first
    derivatives. Source: Rabiner 1989, section III; the gradient of `forward_score`.
    """
    _checks.graph("posteriors", "graph", graph)
    if _is_infinite("posteriors", beta):
        raise ValueError("posteriors: beta must be finite, got inf: use viterbi_path")
    scaled = _scaled("posteriors", graph, beta)
    topology = scaled.topology
    if not (torch.is_grad_enabled() and scaled.requires_grad):
        walk = topology.walk("posteriors", both_ways=True)
        ends = (scaled.start, scaled.accept)
        return _ops.arc_posteriors(scaled.weights, *ends, walk).to(graph.dtype)
    alpha, score = _log_distance("posteriors", scaled)
    to_end, _ = _log_distance("posteriors", scaled, to_accept=True)
    to_end = to_end[topology.global_target]
    through = alpha[topology.global_source] + scaled.weights.double() + to_end
    return _ops.exp_or_zero(through - score[topology.graph_of_arc]).to(graph.dtype)


def viterbi_score(graph: Graph) -> Tensor:
    """The score of the best accepting path.

    Result: [batch] of the dtype of the weights; -inf for an empty language.
    Raises ValueError for a cyclic graph. Complexity: O(states + arcs).
    Gradient: 1 on the arcs of the best path (the first of equals), differentiable at will.
    Source: Viterbi 1967; Mohri 2009, section 3.
    """
    _checks.graph("viterbi_score", "graph", graph)
    if not (torch.is_grad_enabled() and graph.requires_grad):
        return _best_ends("viterbi_score", graph)[1].to(graph.dtype)
    scores, best = best_paths("viterbi_score", graph)
    lengths = best.offsets.diff()
    owner = torch.repeat_interleave(torch.arange(len(graph), device=graph.device), lengths)
    total = torch.zeros_like(scores)
    total = total.index_add(0, owner, _ops.take(graph.weights, best.arcs).double())
    total = total + _ops.take(graph.start, best.first) + _ops.take(graph.accept, best.last)
    return total.masked_fill(scores == NEG_INF, NEG_INF).to(graph.dtype)


class BestPaths(NamedTuple):
    """The best path of each graph: its arcs [offsets[i], offsets[i + 1]) and its end states.

    Arcs and states are numbered through the batch; states are -1 in an empty language.
    """

    offsets: Tensor
    arcs: Tensor
    first: Tensor
    last: Tensor


def best_paths(function: str, graph: Graph) -> tuple[Tensor, BestPaths]:
    """The score of the best path of every graph and the paths, outside autograd. O(states + arcs).

    Knowing how much to allocate for the paths is one synchronisation on a GPU.
    """
    came_by, scores, last, lengths = _best_ends(function, graph)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    forth = graph.topology.walk(function).forth
    arcs, first = _ops.trace(came_by, last, offsets, *forth, int(offsets[-1]))
    return scores, BestPaths(offsets, arcs, first, last)


def _best_ends(function: str, graph: Graph) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How each state is best reached, and the score, last state and length of the best path."""
    walk = graph.topology.walk(function)
    weights, start, accept = (
        t.detach().contiguous() for t in (graph.weights, graph.start, graph.accept)
    )
    alpha, came_by = _ops.best_distance(weights, start, *walk.arguments())
    ends = _ops.best_end(alpha, came_by, accept, walk.state_offsets, *walk.forth)
    return came_by, *ends


def best_to_accept(function: str, graph: Graph) -> Tensor:
    """The score of the best way from each state to acceptance, float64 [states]. No gradient."""
    walk = graph.topology.walk(function, reverse=True)
    weights, accept = graph.weights.detach().contiguous(), graph.accept.detach().contiguous()
    return _ops.best_distance(weights, accept, *walk.arguments())[0]


def scaled_to_accept(function: str, graph: Graph, beta: float | Tensor) -> tuple[Graph, Tensor]:
    """The graph with its scores times beta, and the log-sum from each state on, float64."""
    if _is_infinite(function, beta):
        raise ValueError(f"{function}: beta must be finite, got inf: use viterbi_path")
    scaled = _scaled(function, graph, beta)
    return scaled, _log_distance(function, scaled, to_accept=True)[0]


def _log_distance(function: str, graph: Graph, *, to_accept: bool = False) -> tuple[Tensor, Tensor]:
    """Distances [states] from the start, or on to acceptance, and the total [batch], float64."""
    weights, start, accept = graph.weights, graph.start, graph.accept
    differentiable = torch.is_grad_enabled() and (
        weights.requires_grad or start.requires_grad or accept.requires_grad
    )
    walk = graph.topology.walk(function, reverse=to_accept, both_ways=differentiable)
    ends = (accept, start) if to_accept else (start, accept)
    return _ops.log_distance(weights, *ends, walk)


def _is_infinite(function: str, beta: float | Tensor) -> bool:
    """Whether beta asks for the limit of zero temperature; refuses what is no temperature."""
    if isinstance(beta, Tensor):
        if not beta.is_floating_point():
            raise TypeError(f"{function}: a tensor beta must be floating point, got {beta.dtype}")
        if beta.ndim > 1:
            raise ValueError(
                f"{function}: beta must have shape [] or [batch], got {list(beta.shape)}"
            )
        if beta.device.type == "cpu" and not bool(((beta > 0) & (beta < math.inf)).all()):
            raise ValueError(f"{function}: a tensor beta must be positive and finite, got {beta}")
        return False
    if not isinstance(beta, (int, float)):
        raise TypeError(f"{function}: beta must be a number or a tensor, got {beta!r}")
    if not beta > 0:
        raise ValueError(f"{function}: beta must be positive, got {beta}")
    return beta == math.inf


def _is_one(beta: float | Tensor) -> bool:
    return not isinstance(beta, Tensor) and beta == 1


def _per(graph_of: Tensor, beta: float | Tensor) -> float | Tensor:
    """beta for each arc or state, given the graph it belongs to."""
    return beta[graph_of] if isinstance(beta, Tensor) and beta.ndim == 1 else beta


def _unscaled(scores: Tensor, beta: float | Tensor) -> Tensor:
    """scores / beta; -inf stays -inf without a NaN in the gradient of beta."""
    if _is_one(beta):
        return scores
    impossible = scores == NEG_INF
    return (scores.masked_fill(impossible, 0) / beta).masked_fill(impossible, NEG_INF)


def _scaled(function: str, graph: Graph, beta: float | Tensor) -> Graph:
    """All scores times beta, in float64 lest they overflow; -inf stays, with a gradient of 0."""
    if _is_one(beta):
        return graph
    if isinstance(beta, Tensor) and beta.ndim == 1 and beta.shape[0] != len(graph):
        raise ValueError(
            f"{function}: beta has {beta.shape[0]} values, the batch {len(graph)} graphs"
        )

    if isinstance(beta, Tensor):
        _checks.same_device(function, graph=graph.weights, beta=beta)

    def times(scores: Tensor, graph_of: Tensor) -> Tensor:
        impossible = scores == NEG_INF
        scaled = scores.double().masked_fill(impossible, 0) * _per(graph_of, beta)
        return scaled.masked_fill(impossible, NEG_INF)

    topology = graph.topology
    return Graph.from_topology(
        topology,
        times(graph.weights, topology.graph_of_arc),
        times(graph.start, topology.graph_of_state),
        times(graph.accept, topology.graph_of_state),
    )
