"""Random paths of which each minds the others: distinct ones, and stratified ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import MAX_ARCS, NEG_INF
from gtnet._memory import choosing
from gtnet._path_chain import PathChain, Trail, gumbel, uniform
from gtnet.distance import _per, forward_score
from gtnet.graph import Graph, built
from gtnet.paths import by_graph, too_many_arcs

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class DistinctPaths(NamedTuple):
    """Different paths of one graph, in the order in which they were drawn.

    `paths` linear graphs; `log_probability` [paths] of each by itself, float64; `perturbed` [paths]
    the same with the Gumbel noise whose largest were drawn, falling; `threshold` [] the largest of
    what was not drawn, -inf where all paths are here.
    """

    paths: Graph
    log_probability: Tensor
    perturbed: Tensor
    threshold: Tensor

    @property
    def weights(self) -> Tensor:
        """What to weigh a function of the paths with, float64 [paths]: the sum is an unbiased
        estimate of its expectation under one draw, and so is the gradient of the sum.

        The probability of a path over that of being drawn, given the threshold (Kool 2020).
        """
        above = self.log_probability.detach() - self.threshold
        return self.log_probability.exp() / -torch.expm1(-above.exp())


@choosing
def sample_distinct(
    graph: Graph | Lattice,
    n: int,
    *,
    beta: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
    max_arcs: int = MAX_ARCS,
) -> list[DistinctPaths]:
    """n different accepting paths of each graph, drawn one after another without replacement.

    Each is drawn in proportion to exp(beta · score) among those that are left. Gumbel noise is
    added to the log-probabilities of all paths, from the start on: what leads to a state carries
    the largest noise of the paths that go on from there. The n largest are the draw.

    Arguments: `n`, `beta` and `generator` as in `sample`; `max_arcs` the most states that prefixes
    may have together. Cycles are allowed.
    Result: for every graph `DistinctPaths`, fewer than n where there are no more; their `paths`
    have `arc_maps[0]`. Raises ValueError as `sample`.
    Complexity: O(states + arcs), and O(n · (degree + log n)) for each arc of the longest path,
    where a GPU waits. A `Lattice` is built.
    Gradient: to the scores along the paths and to their log-probabilities, any number of times; not
    through the draw, for whose expectation `DistinctPaths.weights` are made.
    Source: Kool, van Hoof & Welling 2019, "Stochastic beams and where to find them"; 2020,
    "Estimating gradients for discrete random variables by sampling without replacement".
    """
    graph = built("sample_distinct", "graph", graph)
    n = _checks.count("sample_distinct", "n", n)
    max_arcs = _checks.count("sample_distinct", "max_arcs", max_arcs)
    chain = PathChain("sample_distinct", graph, beta)
    trail = Trail(chain)
    item, node = chain.roots - chain.first_root, chain.roots
    chance = torch.zeros_like(item, dtype=torch.float64)
    noisy = gumbel(len(item), generator, graph.device)
    while bool((node != chain.end).any()):
        owner, place, *_ = chain.choices(node)
        chance, item = chance[owner] + chain.log_probability[place], item[owner]
        noisy = _at_most(noisy, chance + gumbel(len(place), generator, graph.device), owner)
        best = noisy.argsort(descending=True)
        best = best[item[best].argsort(stable=True)]
        best = best[_rank(item[best], len(graph)) <= n]  # one more, for the threshold
        trail.add(owner[best], place[best])
        node, item = chain.target[place[best]], item[best]
        chance, noisy = chance[best], noisy[best]
        if trail.size > max_arcs:
            raise too_many_arcs("sample_distinct", f"the prefixes of {n} paths", max_arcs)
    rank = _rank(item, len(graph))
    threshold = noisy.new_full((len(graph),), NEG_INF).index_put(
        (item[rank == n],), noisy[rank == n]
    )
    drawn = (rank < n).nonzero().flatten()
    counts = torch.bincount(item[drawn], minlength=len(graph))
    lengths, *ends = trail.paths(drawn)
    paths = by_graph(graph, counts, lengths, *ends)
    probabilities = _log_probabilities(graph, beta, item[drawn], lengths, *ends)
    sizes = counts.tolist()
    rows = (t.split(sizes) for t in (probabilities, noisy[drawn]))
    return [DistinctPaths(*parts) for parts in zip(paths, *rows, threshold)]


def _at_most(limit: Tensor, noisy: Tensor, owner: Tensor) -> Tensor:
    """Noisy log-probabilities, given that the largest of each owner is its limit."""
    largest = torch.full_like(limit, NEG_INF).scatter_reduce(0, owner, noisy, "amax")
    below = noisy - largest[owner]
    near = below > -0.7
    rest = torch.where(near, (-torch.expm1(below)).log(), torch.log1p(-below.exp()))
    v = limit[owner] - noisy + rest
    return limit[owner] - v.clamp(min=0) - torch.log1p((-v.abs()).exp())


def _rank(item: Tensor, size: int) -> Tensor:
    """The place of each among those of its item, which lie beside each other."""
    counts = torch.bincount(item, minlength=size)
    return torch.arange(len(item), device=item.device) - (counts.cumsum(0) - counts)[item]


def _log_probabilities(
    graph: Graph,
    beta: float | Tensor,
    item: Tensor,
    lengths: Tensor,
    arcs: Tensor,
    first: Tensor,
    last: Tensor,
) -> Tensor:
    """Those of paths, float64, with their gradient."""
    exact = graph.to(torch.float64)
    owner = torch.repeat_interleave(torch.arange(len(item), device=item.device), lengths)
    scores = exact.start[first.long()] + exact.accept[last.long()]
    scores = scores.index_add(0, owner, exact.weights[arcs.long()])
    return (scores - forward_score(exact, beta)[item]) * _per(item, beta)


@choosing
def sample_stratified(
    graph: Graph | Lattice,
    n: int,
    *,
    beta: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
    max_arcs: int = MAX_ARCS,
) -> list[Graph]:
    """n accepting paths of each graph, drawn together so that they cover the graph evenly.

    All paths share out [0, 1) in proportion to exp(beta · score), those that begin alike beside
    each other, and the i-th path is the one at a random place in [i / n, (i + 1) / n). A path of
    probability p is drawn n · p times, to within 2, so that means vary less than with `sample`.

    Arguments, errors and gradient: as `sample`. Result: as `sample`, by place.
    Complexity: O(states + arcs), and O(n · degree) for each arc of the longest path, where a GPU
    waits. A `Lattice` is built.
    Source: Vilnis et al. 2023, "Arithmetic sampling"; Owen 2013, section 8.4, for strata.
    """
    graph = built("sample_stratified", "graph", graph)
    n = _checks.count("sample_stratified", "n", n)
    max_arcs = _checks.count("sample_stratified", "max_arcs", max_arcs)
    chain = PathChain("sample_stratified", graph, beta)
    trail = Trail(chain)
    if len(chain.roots) * n > max_arcs:
        raise too_many_arcs("sample_stratified", f"{n} paths", max_arcs)
    node = torch.repeat_interleave(chain.roots, n)
    item, walkers = node - chain.first_root, torch.arange(len(node), device=node.device)
    at = (walkers % max(n, 1) + uniform(len(node), generator, graph.device)) / max(n, 1)
    width = torch.full_like(at, _DIGITS)
    while bool((node != chain.end).any()):
        owner, place, begin, degree = chain.choices(node)
        share = chain.log_probability[place].exp()
        upper = share.cumsum(0)
        lower = upper - share
        before = lower[begin]
        whole = upper[begin + degree - 1] - before
        target = at * whole
        passed = torch.zeros_like(begin).index_add(
            0, owner, (upper - before[owner] <= target[owner]).long()
        )
        taken = begin + torch.minimum(passed, degree - 1)
        at = ((target - (lower[taken] - before)) / share[taken].clamp(min=1e-300)).clamp(0, 1)
        # A place is known to some digits, which steps use up; others are drawn.
        width = width * whole / share[taken].clamp(min=1e-300)
        short = width > _COARSE
        more = width * uniform(len(node), generator, graph.device)
        at = torch.where(short, at + more, at).clamp(max=1 - _DIGITS)
        width = width.masked_fill(short, _DIGITS)
        trail.add(walkers, place[taken])
        node = chain.target[place[taken]]
        if trail.size > max_arcs:
            raise too_many_arcs("sample_stratified", f"{n} paths", max_arcs)
    return by_graph(graph, torch.bincount(item, minlength=len(graph)), *trail.paths(walkers))


_DIGITS, _COARSE = 2.0**-53, 2.0**-30
