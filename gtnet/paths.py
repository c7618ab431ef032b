"""Paths taken out of a graph: the best, the k best, all of them, random ones; and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import LARGEST, MAX_ARCS, NEG_INF
from gtnet._maps import traced
from gtnet._memory import choosing
from gtnet._ops import library
from gtnet._ordinary import ordinary, transformed
from gtnet.distance import best_distances, best_paths, best_to_accept, scaled_to_accept
from gtnet.graph import Graph, built, lazy
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice
    from gtnet.lazy_composition import LazyComposition


MAX_PREFIXES = 10_000_000  # of k_best, for one graph: 2 GB at most


@choosing
def viterbi_path(graph: Graph | Lattice | LazyComposition) -> Graph:
    """The best accepting path of each graph, as a batch of linear graphs.

    Result: item i keeps the labels and scores of the arcs of the best path of graph i (the first
    in a tie), `arc_maps[0]` names those arcs; an empty language gives a graph without states.
    Raises ValueError where a cycle has a positive score. Complexity: as `viterbi_score`.
    Gradient: flows to the scores along the path.
    Of a `Lattice` it is `Lattice.viterbi_path`: nothing is built, and the maps are two.
    """
    if not isinstance(graph, Graph):
        return lazy("viterbi_path", "graph", graph).viterbi_path()
    if library.on_gpu(graph.weights) or transformed():
        _, best = best_paths("viterbi_path", graph)
        return _linear(graph, *best)
    topology = graph.topology
    walk = topology.cyclic_walk("viterbi_path", sums=False)
    known: Sequence[Tensor | None] = (None, None)
    if walk.cycles is None:
        scores = _checks.plain_scores(graph)
    else:
        *known, weights, start, accept = best_distances("viterbi_path", graph, walk)
        scores = [weights, start, accept]
    olabels = None if topology.is_acceptor else topology.olabels
    learning = _ops.learning(*graph.scores)
    made = _ops.best_paths(*scores, topology.ilabels, olabels, *known, *walk.in_order(), learning)
    states, arcs, source, target, ilabels, taken, *scores = made[:9]
    if learning:
        scores = [
            _ops.gathered(score, [((given,), index)])
            for score, given, index in zip(scores, graph.scores, (taken, *made[-2:]))
        ]
    written = ilabels if olabels is None else made[9]
    return Graph.from_topology(
        Topology(states, arcs, source, target, ilabels, written, made[7].shape[0]),
        *scores,
        arc_maps=(taken,),
    )


@choosing
def k_best(
    graph: Graph | Lattice | LazyComposition,
    k: int,
    *,
    unique: Literal["ilabels", "olabels"] | None = None,
    max_prefixes: int = MAX_PREFIXES,
) -> list[Graph]:
    """The k best accepting paths of each graph, best first; they may go around cycles.

    Arguments: `k` >= 0; `unique` counts paths that read ("ilabels") or write ("olabels") the same
    labels, epsilons aside, as one, and keeps the best of them; `max_prefixes` the most prefixes of
    paths that the search may take up, arcs that enter states of these, and arcs and states of
    paths that it may find, for each graph: 200 bytes each at most, in all 2 GB by default. On a
    GPU 16 · k bytes per state must be free instead.
    Result: for every graph of the batch a batch of at most k linear graphs, with `arc_maps[0]`;
    in acyclic graphs without `unique`, ties are ordered as `viterbi_path` prefers them; otherwise
    any of the paths that tie with the k-th may be left out (a cycle of score 0 has infinitely
    many), and scores tie if they differ by rounding only. Raises ValueError for k < 0, where a
    cycle has a positive score and where `max_prefixes` do not suffice, TypeError if k is not an
    integer.
    Complexity: O(states + arcs) and O(length · (degree + log)) per path; with `unique` a label
    prefix is expanded once per state, however many paths spell it: at most
    k · (length + 1) · states in all, also where all scores are equal. On a GPU, for acyclic graphs
    without `unique`, at most O(arcs · k · d · log k), d <= 32 the arcs that enter a state,
    in 16 · k bytes per state, with the same paths; raises ValueError where these do not fit.
    Gradient: flows to the scores along the paths.
    Source: Huang & Chiang 2005, algorithm 3; for cyclic graphs and distinct strings A* with the
    exact distance to the end, Mohri & Riley 2002, along a tree of best ways, Eppstein 1998.
    Of a `Lattice` it is `Lattice.k_best`: without `unique` nothing is built, and the maps are two.
    """
    if not isinstance(graph, Graph):
        graph = lazy("k_best", "graph", graph)
    k = _checks.count("k_best", "k", k)
    max_prefixes = _checks.count("k_best", "max_prefixes", max_prefixes)
    if unique not in (None, "ilabels", "olabels"):
        raise ValueError(f'k_best: unique must be None, "ilabels" or "olabels", got {unique!r}')
    if not isinstance(graph, Graph):
        return graph.k_best(k, unique=unique, max_prefixes=max_prefixes)
    _check_device("k_best", graph)
    walk = graph.topology.cyclic_walk("k_best", sums=False)
    scores = [t.detach().contiguous() for t in (graph.weights, graph.start, graph.accept)]
    if unique is None and walk.cycles is None:
        size = 16 * k * (graph.num_states + graph.num_arcs // 32 + len(graph))
        _checks.fits_on_gpu("k_best", graph.device, size, f"the {k} best paths to every state")
        counts, *found = _ops.acyclic_k_best(*scores, *walk.arguments(), k, max_prefixes)
        return by_graph(graph, _within(counts, k, max_prefixes), *found)
    why = "distinct labels are looked for one path after another: move it with .to('cpu')"
    _checks.on_cpu("k_best", "graph", graph.weights, why)
    topology = graph.topology
    labels = None if unique is None else getattr(topology, unique)
    counts, *found = _ops.k_best(
        *best_to_accept("k_best", graph),
        *scores,
        labels,
        topology.state_offsets,
        *topology.leaving.by_state(),
        k,
        max_prefixes,
    )
    return by_graph(graph, _within(counts, k, max_prefixes), *found)


def too_many_prefixes(k: int, graph: str, max_prefixes: int) -> ValueError:
    """The error of a search for the k best paths that takes more than it may."""
    return ValueError(
        f"k_best: the {k} best paths of {graph} are not found within max_prefixes={max_prefixes} "
        f"prefixes and arcs: ask for a smaller k, prune the graph, or raise max_prefixes (up to "
        f"200 bytes each)"
    )


def _within(counts: Tensor, k: int, max_prefixes: int) -> Tensor:
    """How many paths were found of each graph; raises where a search was given up."""
    if -1 in (found := counts.tolist()):
        raise too_many_prefixes(k, f"graph {found.index(-1)}", max_prefixes)
    return counts


@choosing
def sample(
    graph: Graph | Lattice,
    n: int,
    *,
    beta: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
    max_arcs: int = MAX_ARCS,
) -> list[Graph]:
    """n accepting paths of each graph, drawn with probability proportional to exp(beta · score).

    Arguments: `n` >= 0; `beta` as in `forward_score`, finite; `generator` a CPU generator, by
    default torch's own: the same seed draws the same paths, however many threads there are;
    `max_arcs` the most states that the paths of all graphs may have together, 50 bytes each.
    Result: for every graph of the batch a batch of n linear graphs, with `arc_maps[0]`, as
    `k_best` returns them; none for an empty language. A GPU draws the same paths as the CPU, except
    where a random number falls within a rounding error. Raises ValueError where the sum over the
    accepting paths diverges (as `forward_score`; cycles that none of them takes do not count), for
    n < 0, for infinite beta, and where `max_arcs` do not suffice.
    Complexity: O(states + arcs) and O(length · log degree) per path.
    Gradient: flows to the scores along the paths, not through the draw (use `viterbi_score` of the
    paths minus `forward_score` for the log-probability that REINFORCE needs).
    Source: forward filtering, backward sampling of hidden Markov models; Rabiner 1989.
    Of a `Lattice` it is `Lattice.sample`: nothing is built, and the maps are two.
    """
    if not isinstance(graph, Graph):
        graph = lazy("sample", "graph", graph)
        return graph.sample(n, beta=beta, generator=generator, max_arcs=max_arcs)
    n = _checks.count("sample", "n", n)
    max_arcs = _checks.count("sample", "max_arcs", max_arcs)
    _check_device("sample", graph)
    scaled, to_accept = scaled_to_accept("sample", graph.detach(), beta)
    scores = _checks.plain_scores(scaled)
    return by_graph(
        graph, *_drawn("sample", graph, to_accept, scores, n, generator, LARGEST, max_arcs)
    )


def random_walks(
    function: str,
    graph: Graph,
    n: int,
    max_length: int,
    generator: torch.Generator | None = None,
) -> list[Graph]:
    """n accepting paths of each trimmed graph, cyclic or not, where every choice is uniform.

    A walk of more than `max_length` arcs is given up and becomes a graph without states.
    """
    zeros = torch.zeros(graph.num_states, dtype=torch.float64, device=graph.device)
    scores = [t.masked_fill(t > NEG_INF, 0) for t in _checks.plain_scores(graph)]
    drawn = _drawn(function, graph, zeros, scores, n, generator, max_length, MAX_ARCS)
    return by_graph(graph, *drawn)


@ordinary
def drawn_seeds(count: int, generator: torch.Generator | None) -> Tensor:
    """Seeds of that many paths, one draw also where torch.func maps tangents: int64 [count]."""
    return torch.randint(2**63 - 1, (count,), generator=generator)


def _drawn(
    function: str,
    graph: Graph,
    to_accept: Tensor,
    scores: list[Tensor],
    n: int,
    generator: torch.Generator | None,
    max_length: int,
    max_arcs: int,
) -> tuple[Tensor, ...]:
    if len(graph) * n > max_arcs:
        raise too_many_arcs(function, f"{n} paths", max_arcs)
    seeds = drawn_seeds(len(graph) * n, generator).to(graph.device)
    topology = graph.topology
    given = (to_accept, *scores, topology.state_offsets, *topology.leaving.by_state())
    try:
        return _ops.sample(*given, seeds, n, max_length, max_arcs)
    except _ops.OverBudgetError:
        raise too_many_arcs(function, f"{n} paths", max_arcs) from None


def too_many_arcs(function: str, what: str, max_arcs: int) -> ValueError:
    """The error of paths that are together longer than they may be."""
    return ValueError(
        f"{function}: {what} of each graph have more than max_arcs={max_arcs} states in all, of 50 "
        f"bytes each: ask for fewer, split the batch, or raise max_arcs"
    )


@choosing
def enumerate_paths(
    graph: Graph | Lattice,
    limit: int = 10_000,
    *,
    max_length: int | None = None,
    max_arcs: int = MAX_ARCS,
) -> list[Graph]:
    """All accepting paths of each graph whose score is not -inf, provided there are few enough.

    Arguments: `limit` the most paths a graph may have; `max_length` the most arcs of a path, so
    that a cyclic graph has finitely many; `max_arcs` as in `sample`.
    Result: for every graph of the batch a batch of linear graphs, with `arc_maps[0]`, as `k_best`
    returns them: depth first, from the lowest start state, along arcs in their order.
    Raises ValueError where a graph has more than `limit` paths, or without `max_length` a cycle
    on an accepting path, and where `max_arcs` do not suffice.
    Complexity: O(states + arcs) and O(length · degree) per path.
    Gradient: flows to the scores along the paths.
    Of a `Lattice`, which is built, the maps are two.
    """
    given, graph = graph, built("enumerate_paths", "graph", graph)
    limit = _checks.count("enumerate_paths", "limit", limit)
    if max_length is not None:
        max_length = _checks.count("enumerate_paths", "max_length", max_length)
    max_arcs = _checks.count("enumerate_paths", "max_arcs", max_arcs)
    _checks.on_cpu("enumerate_paths", "graph", graph.weights, "move it with .to('cpu')")
    topology = graph.topology
    try:
        outcome, *found = _ops.enumerate_paths(
            *(t.detach().contiguous() for t in (graph.weights, graph.start, graph.accept)),
            topology.state_offsets,
            *topology.leaving.by_state(),
            *topology.entering.by_state(),
            limit,
            -1 if max_length is None else max_length,
            max_arcs,
        )
    except _ops.OverBudgetError:
        raise too_many_arcs("enumerate_paths", "the paths", max_arcs) from None
    if outcome.any():
        bad = int(outcome.nonzero()[0])
        if int(outcome[bad]) == 1:
            raise ValueError(
                f"enumerate_paths: graph {bad} has more than limit={limit} paths: raise it, give "
                f"a max_length, or use k_best or sample"
            )
        raise ValueError(
            f"enumerate_paths: graph {bad} has a cycle, so its paths never end: give a max_length"
        )
    paths = by_graph(graph, *found)
    return paths if graph is given else [traced(part, graph) for part in paths]


def label_sequences(
    graph: Graph | Lattice, side: Literal["ilabels", "olabels"] = "olabels"
) -> list[list[int]]:
    """The labels along each linear graph of a batch, epsilons dropped.

    Raises ValueError for a graph whose arcs do not follow one another.
    """
    graph = built("label_sequences", "graph", graph)
    if side not in ("ilabels", "olabels"):
        raise ValueError(f'label_sequences: side must be "ilabels" or "olabels", got {side!r}')
    topology = graph.topology
    if not arcs_follow_each_other(topology):
        raise ValueError("label_sequences: graphs must be linear, as viterbi_path returns them")
    return sequences_of(getattr(topology, side), topology.arc_offsets)


def sequences_of(labels: Tensor, offsets: Tensor) -> list[list[int]]:
    """The labels between each two offsets, epsilons dropped."""
    every, ends = labels.tolist(), offsets.tolist()
    found = [every[begin:end] for begin, end in pairwise(ends)]
    if min(every, default=0) < 0:
        return [[label for label in own if label >= 0] for own in found]
    return found


def arcs_follow_each_other(topology: Topology) -> bool:
    """Whether arc i of each graph leads from state i to state i + 1."""
    position = torch.arange(topology.num_arcs, device=topology.device)
    position = (position - topology.arc_offsets[topology.graph_of_arc]).int()
    return torch.equal(topology.source, position) and torch.equal(topology.target, position + 1)


def _check_device(function: str, graph: Graph) -> None:
    if graph.device.type != "cuda":
        why = "or on a GPU: move it with .to()"
        _checks.on_cpu(function, "graph", graph.weights, why)


def by_graph(
    graph: Graph, counts: Tensor, lengths: Tensor, arcs: Tensor, first: Tensor, last: Tensor
) -> list[Graph]:
    """Paths of all graphs, one after another, as a batch of linear graphs for each graph."""
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    paths = _linear(graph, offsets, arcs, first, last)
    sizes = counts.tolist()
    return [paths[end - size : end] for end, size in zip(accumulate(sizes), sizes)]


def _linear(graph: Graph, offsets: Tensor, arcs: Tensor, first: Tensor, last: Tensor) -> Graph:
    """Paths of the graph under its own scores."""
    weights = _ops.take(graph.weights.contiguous(), arcs)
    return linear_paths(graph, offsets, arcs, first, last, weights)


def linear_paths(
    graph: Graph, offsets: Tensor, arcs: Tensor, first: Tensor, last: Tensor, weights: Tensor
) -> Graph:
    """One linear graph per path: arcs [offsets[i], offsets[i + 1]) from state first[i] to last[i].

    Arcs and states are those of `graph`, the arcs' scores are `weights`. A path that does not
    exist has first[i] = -1 and becomes a graph without states.
    """
    exists = first >= 0
    lengths = offsets.diff()
    _checks.countable("paths", "states", len(arcs) + len(lengths))
    state_offsets = torch.cat([offsets.new_zeros(1), (lengths + exists).cumsum(0)])
    num_states = len(arcs) + int(exists.sum())
    source = torch.arange(len(arcs), device=arcs.device) - torch.repeat_interleave(
        offsets[:-1], lengths, output_size=len(arcs)
    )
    source = source.to(torch.int32)
    index = arcs.long()
    topology = graph.topology
    ilabels = topology.ilabels[index]
    olabels = ilabels if graph.is_acceptor else topology.olabels[index]
    start = graph.start.new_full((num_states,), NEG_INF)
    accept = start.clone()
    start = start.index_put((state_offsets[:-1][exists],), _ops.take(graph.start, first[exists]))
    accept = accept.index_put(
        (state_offsets[1:][exists] - 1,), _ops.take(graph.accept, last[exists])
    )
    return Graph.from_topology(
        Topology(state_offsets, offsets, source, source + 1, ilabels, olabels, num_states),
        weights,
        start,
        accept,
        arc_maps=(arcs,),
    )
