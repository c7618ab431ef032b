"""Sums and maxima over all paths: shortest distances, forward and Viterbi scores, posteriors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet._memory import named, unmapped
from gtnet._temperatures import fits_times
from gtnet.graph import Graph, built, lazy, learnt

if TYPE_CHECKING:
    from gtnet.lattice import Lattice
    from gtnet.lazy_composition import LazyComposition


@named
def forward_score(graph: Graph | Lattice, beta: float | Tensor = 1.0) -> Tensor:
    """The log of the sum over all accepting paths of exp(score), at inverse temperature beta.

    1/beta · log Σ exp(beta · score of the path): beta → ∞ gives the Viterbi score.

    Arguments: `graph`, cycles allowed on the cpu; `beta` > 0, a number (math.inf included), a
    tensor [] or a tensor [batch]. Result: [batch] of the dtype of the weights; -inf for an empty
    language.
    Raises ValueError for beta <= 0, and where the sum over the paths through a cycle diverges: the
    spectral radius of exp(beta · weights) on a component is 1 or more, or closer to 1 than 1e-14.
    Complexity: O(states + arcs), one exponential per arc; graphs of a batch run on threads. A
    component with a cycle is closed exactly by eliminating its states where their fill is small,
    O(states) for a trie whose words lead back to the root. Beyond about four million steps, some
    300 states that all lead to each other, sums are iterated instead until rounding errors are
    left: some hundred times O(arcs). Bounds from both sides prove convergence or divergence and an
    error below 1e-5 (most often 1e-12); where neither is proved, ValueError.
    Gradient: `posteriors`; with respect to weights, start, accept and beta, any number of times;
    0 where the score is -inf. Sums run in float64 whatever the dtype.
    Source: Mohri 2009, "Weighted Automata Algorithms", section 3; Lehmann 1977 for cycles; Varga
    1962, section 3.5, for the proofs.
    """
    if not isinstance(graph, Graph):
        return lazy("forward_score", "graph", graph).forward_score(beta)
    if not _is_one(beta):
        if _is_infinite("forward_score", beta):
            return viterbi_score(graph)
        return _unscaled(_total(_scaled("forward_score", graph, beta)), beta).to(graph.dtype)
    return _total(graph)


def _total(graph: Graph) -> Tensor:
    """The log-sum of the scores of all accepting paths, in the dtype of the weights."""
    graph = useful_part(graph)
    weights, start, accept = graph.weights, graph.start, graph.accept
    differentiable = _ops.learning(weights, start, accept)
    walk = graph.topology.cyclic_walk("forward_score", both_ways=differentiable)
    return _ops.forward_score(weights, start, accept, walk)


@named
def shortest_distance(
    graph: Graph | Lattice, beta: float | Tensor = 1.0, *, to_accept: bool = False
) -> Tensor:
    """The log-sum of the scores of all paths from the start to each state (or from it to the end).

    Arguments: as `forward_score`: beta = math.inf gives the score of the best path to each state;
    `to_accept` sums the paths from each state to the end instead.
    Result: float64 [states], -inf where there is no path. Raises ValueError as `forward_score`
    (for infinite beta as `viterbi_score`), here also for cycles that no accepting path takes, since
    they lead to some state.
    Complexity and gradient: as `forward_score`; for infinite beta as `viterbi_score`, 1 on the arcs
    of one best path to each state. Source: Mohri 2009, section 3.
    """
    graph = built("shortest_distance", "graph", graph)
    infinite = _is_infinite("shortest_distance", beta)
    scaled = graph.to(torch.float64) if infinite else _scaled("shortest_distance", graph, beta)
    scaled = useful_part(scaled, from_start=not to_accept, to_accept=to_accept)
    if infinite:
        unmapped("shortest_distance", graph)
        return best_sums("shortest_distance", scaled, to_accept=to_accept)
    distance, _ = _log_distance("shortest_distance", scaled, to_accept=to_accept)
    return _unscaled(distance, _per(graph.topology.graph_of_state, beta))


@named
def posteriors(
    graph: Graph | Lattice, beta: float | Tensor = 1.0, *, of: Literal["arcs", "states"] = "arcs"
) -> Tensor:
    """The probability that a path drawn in proportion to exp(beta · score) takes each arc or state.

    Arguments: as `forward_score`, beta finite; `of` arcs or states. Result: [arcs] or [states] of
    the dtype of the weights; 0 on what no accepting path takes and throughout an empty language.
    In [0, 1], except on a cycle, where it is how often a path passes on average.
    Raises ValueError as `forward_score`, and if `of` is anything else. Complexity: as
    `forward_score`, twice. Gradient: any number of derivatives.
    Source: Rabiner 1989, section III; the gradient of `forward_score`.
    The arcs of a `Lattice` are those of the product, which is built; `Lattice.label_posteriors` and
    `Lattice.arc_posteriors` do without.
    """
    graph = built("posteriors", "graph", graph)
    if of not in ("arcs", "states"):
        raise ValueError(f'posteriors: of must be "arcs" or "states", got {of!r}')
    finite_temperature("posteriors", beta)
    chances = path_distribution("posteriors", graph, beta).posteriors
    if of == "arcs":
        return chances.arcs.to(graph.dtype)
    source = graph.topology.global_source.to(torch.int32)
    visits = chances.accept + _ops.total_by(source, chances.arcs, graph.num_states)
    return visits.to(graph.dtype)


class PathDistribution(NamedTuple):
    """Paths drawn in proportion to exp(beta · score): a Markov chain from the end to the start."""

    graph: Graph  # scores times beta
    alpha: Tensor
    score: Tensor
    walk: _ops.Walk

    @property
    def posteriors(self) -> _ops.OnPaths:
        """How often a path takes each arc, starts in and ends in each state, on average."""
        scores = (self.graph.weights, self.graph.start, self.graph.accept)
        return _ops.posteriors(self.alpha, self.score, *scores, self.walk)

    @property
    def log_shares(self) -> _ops.OnPaths:
        """The log-probabilities of the steps of the chain, float64; -inf for the impossible."""
        scores = (self.graph.weights, self.graph.start, self.graph.accept)
        steps = _ops.log_shares(self.alpha, self.score, *scores, self.walk)
        return _ops.OnPaths(*(x.masked_fill(~torch.isfinite(x), NEG_INF) for x in steps))


def path_distribution(function: str, graph: Graph, beta: float | Tensor) -> PathDistribution:
    """The distribution of the accepting paths; an empty language has all posteriors 0."""
    scaled = useful_part(_scaled(function, graph, beta))
    walk = scaled.topology.cyclic_walk(function, both_ways=True)
    alpha, score = _ops.log_distance(scaled.weights, scaled.start, scaled.accept, walk)
    return PathDistribution(scaled, alpha, score, walk)


@named
def viterbi_score(graph: Graph | Lattice | LazyComposition) -> Tensor:
    """The score of the best accepting path.

    Result: [batch] of the dtype of the weights; -inf for an empty language.
    Raises ValueError where an accepting path takes a cycle of positive score (by more than the
    rounding errors of its sum), or where a graph on a GPU has a cycle.
    Complexity: O(states + arcs); on a component with a cycle O(arcs) for each time that the best
    path goes against the order of its states (Bellman & Ford).
    Gradient: 1 on the arcs of the best path (the first in a tie); any number of derivatives.
    Source: Viterbi 1967; Mohri 2009, section 3.
    """
    if not isinstance(graph, Graph):
        return lazy("viterbi_score", "graph", graph).viterbi_score()
    if not learnt(graph):
        return _best_ends("viterbi_score", graph, with_lengths=False)[1].to(graph.dtype)
    unmapped("viterbi_score", graph)
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

    On a GPU the host waits once, for the size of the paths.
    """
    came_by, scores, last, lengths = _best_ends(function, graph)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    forth = graph.topology.entering.by_state()
    arcs, first = _ops.trace(came_by, last, offsets, *forth, int(offsets[-1]))
    return scores, BestPaths(offsets, arcs, first, last)


def _best_ends(
    function: str, graph: Graph, *, with_lengths: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How each state is best reached, and the score, last state and length of the best path."""
    walk = graph.topology.cyclic_walk(function, sums=False)
    alpha, came_by, _, _, accept = best_distances(function, graph, walk)
    ends = _ops.best_end(alpha, came_by, accept, walk.state_offsets, *walk.forth, with_lengths)
    return came_by, *ends


def best_distances(
    function: str, graph: Graph, walk: _ops.Walk | None = None
) -> tuple[Tensor, ...]:
    """The score of the best path to each state, float64 [states], how it is reached, and the plain
    scores of the useful part of the graph.
    """
    walk = walk or graph.topology.cyclic_walk(function, sums=False)
    weights, start, accept = _plain_scores(graph)
    return *_ops.best_distance(weights, start, walk), weights, start, accept


def best_to_accept(function: str, graph: Graph) -> tuple[Tensor, Tensor]:
    """The score of the best path from each state to the end, float64 [states], and its first arc.

    The arc is given by its position in `leaving`, -1 where the path ends at once. No gradient. On a
    cyclic graph only the parts of accepting paths count.
    """
    walk = graph.topology.cyclic_walk(function, reverse=True, sums=False)
    weights, _, accept = _plain_scores(graph)
    return _ops.best_distance(weights, accept, walk)


def best_sums(function: str, graph: Graph, *, to_accept: bool = False) -> Tensor:
    """The score of the best path to each state (or on to the end), float64 [states].

    `graph` holds float64 scores of the useful part. Any number of derivatives; those of a tie go to
    one of the best.
    """
    seeds = graph.accept if to_accept else graph.start
    walk = graph.topology.cyclic_walk(function, reverse=to_accept, sums=False)
    best, came_by = _ops.best_distance(
        graph.weights.detach().contiguous(), seeds.detach().contiguous(), walk
    )
    if not learnt(graph):
        return best
    # The best paths are a tree: a linear recursion whose coefficients are 0 and 1.
    reached, arrived = best > NEG_INF, came_by >= 0
    index = torch.full_like(came_by, -1)
    if graph.num_arcs:
        index = torch.where(arrived, walk.forth[1][came_by.clamp(min=0).long()], index)
    ends = torch.where(arrived, index, graph.num_arcs).long()
    on_tree = graph.weights.new_zeros(graph.num_arcs + 1).index_fill(0, ends, 1)[:-1]
    own = torch.where(arrived, _ops.take(graph.weights, index), seeds)
    walk = graph.topology.cyclic_walk(function, reverse=to_accept, both_ways=True)
    sums = _ops.recursion(on_tree, own.masked_fill(~reached, 0), walk)
    return sums.masked_fill(~reached, NEG_INF)


def _plain_scores(graph: Graph) -> list[Tensor]:
    """The scores of the useful part outside autograd."""
    return _checks.plain_scores(useful_part(graph))


def scaled_to_accept(function: str, graph: Graph, beta: float | Tensor) -> tuple[Graph, Tensor]:
    """The graph with its scores times beta, and the log-sum from each state on, float64.

    What lies on no accepting path has -inf, so that cycles there do not diverge.
    """
    if _is_infinite(function, beta):
        raise ValueError(f"{function}: beta must be finite, got inf: use viterbi_path")
    scaled = useful_part(_scaled(function, graph, beta))
    return scaled, _log_distance(function, scaled, to_accept=True)[0]


def _log_distance(function: str, graph: Graph, *, to_accept: bool = False) -> tuple[Tensor, Tensor]:
    """Distances [states] from the start, or on to acceptance, and the total [batch], float64."""
    weights, start, accept = graph.weights, graph.start, graph.accept
    differentiable = _ops.learning(weights, start, accept)
    walk = graph.topology.cyclic_walk(function, reverse=to_accept, both_ways=differentiable)
    ends = (accept, start) if to_accept else (start, accept)
    return _ops.log_distance(weights, *ends, walk)


def useful_part(graph: Graph, *, from_start: bool = True, to_accept: bool = True) -> Graph:
    """A cyclic graph with -inf on the arcs and ends that lie on no path, whose sums might diverge.

    Acyclic graphs stay as they are. O(states + arcs).
    """
    topology = graph.topology
    if not topology.is_cyclic or topology.device.type != "cpu":
        return graph
    offsets, open_arcs = topology.state_offsets, graph.weights > NEG_INF
    useful = torch.ones_like(graph.start, dtype=torch.bool)
    if from_start:
        leaving = topology.leaving.by_state()
        useful = useful & _ops.reach(offsets, *leaving, graph.start > NEG_INF, open_arcs)
    if to_accept:
        entering = topology.entering.by_state()
        useful = useful & _ops.reach(offsets, *entering, graph.accept > NEG_INF, open_arcs)
    useless_arcs = ~(useful[topology.global_source] & useful[topology.global_target])
    return Graph.from_topology(
        topology,
        graph.weights.masked_fill(useless_arcs, NEG_INF),
        graph.start.masked_fill(~useful, NEG_INF),
        graph.accept.masked_fill(~useful, NEG_INF),
    )


def _is_infinite(function: str, beta: float | Tensor) -> bool:
    """Whether beta is infinite (zero temperature); refuses what is not a temperature."""
    if isinstance(beta, Tensor):
        if not beta.is_floating_point():
            raise TypeError(f"{function}: a tensor beta must be floating point, got {beta.dtype}")
        if beta.ndim > 1:
            raise ValueError(
                f"{function}: beta must have shape [] or [batch], got {list(beta.shape)}"
            )
        value = _checks.plain(beta)
        seen = beta.device.type == "cpu" and not torch.compiler.is_compiling()
        if seen and not bool(((value > 0) & (value < math.inf)).all()):
            raise ValueError(f"{function}: a tensor beta must be positive and finite, got {beta}")
        return False
    if not isinstance(beta, (int, float)):
        raise TypeError(f"{function}: beta must be a number or a tensor, got {beta!r}")
    if not beta > 0:
        raise ValueError(f"{function}: beta must be positive, got {beta}")
    return beta == math.inf


def finite_temperature(function: str, beta: float | Tensor) -> None:
    """Refuse beta = inf and what is not a temperature."""
    if _is_infinite(function, beta):
        raise ValueError(f"{function}: beta must be finite, got inf: use viterbi_path")


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
    """All scores times beta, in float64 against overflow; -inf stays, with a gradient of 0."""
    if _is_one(beta):
        return graph
    if isinstance(beta, Tensor) and beta.ndim == 1 and beta.shape[0] != len(graph):
        raise ValueError(
            f"{function}: beta has {beta.shape[0]} values, the batch {len(graph)} graphs"
        )

    if isinstance(beta, Tensor):
        _checks.same_device(function, graph=graph.weights, beta=beta)

    topology = graph.topology
    of_arcs, of_states = (
        _per(owner, beta) for owner in (topology.graph_of_arc, topology.graph_of_state)
    )
    fits_times(function, dict(zip(("weights", "start", "accept"), graph.scores)), beta)
    return Graph.from_topology(
        topology,
        times(graph.weights.double(), of_arcs),
        times(graph.start.double(), of_states),
        times(graph.accept.double(), of_states),
    )


def times(scores: Tensor, factor: float | Tensor) -> Tensor:
    """Scores times a factor; -inf stays, with a gradient of 0."""
    impossible = scores == NEG_INF
    return (scores.masked_fill(impossible, 0) * factor).masked_fill(impossible, NEG_INF)
