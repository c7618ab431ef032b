"""Composition of two graphs on demand: only what the best paths need is made."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import MAX_ARCS
from gtnet._lazy_states import LazyArc, LazyStates
from gtnet._maps import traced
from gtnet._ordinary import transformed
from gtnet.distance import best_to_accept, forward_score, viterbi_score
from gtnet.distributions import entropy
from gtnet.graph import Graph, Unbuilt, built
from gtnet.lattice import Lattice
from gtnet.paths import MAX_PREFIXES, k_best, sample, viterbi_path
from gtnet.product import Paired, product, small_product
from gtnet.prune import prune


class LazyComposition(Unbuilt):
    """The composition of two graphs, of which only what is asked for is made.

    `viterbi_path`, `viterbi_score`, `k_best` and `prune` with a beam take it as they take `a @ b`,
    with the result that they have for that, and make the states of the product as the search
    reaches them, best first; so the product may be far too large to be built. Every other function
    builds it. What is found has two `arc_maps` and `state_maps`, to `a` and `b`.

    A path of the product is a path of `a` and one of `b`. So the best that both can still gain,
    which is computed once for each graph and kept while it lives unchanged, bounds what the product
    can, and the search (A*) makes no state that lies on no path as good as the last one asked for,
    if paths were what this bound hopes. Where the graphs want very different paths that is most of
    the product. So when a search has made many arcs the product is tried, up to a few times as
    many, which takes as long; if it is larger, the search makes four times as many, and so on.

    States can also be read one by one: `start_states`, then `arcs` and `accept_score` of what they
    lead to. A state is an integer, the same in every call; its arcs are made when they are read,
    and those of the states read last are kept. They are those of `compose` before it is trimmed,
    so there may be some from which no path reaches an end.

    Arguments: `a`, `b` batches of equal size, or one of them of size 1, on the CPU; with any
    epsilons and cycles, each with a best path. `max_arcs` bounds the arcs that are made in one
    call, and so the memory, of about 60 bytes for each; nothing of them is kept afterwards.
    `kept_arcs`: how many arcs of states that were read one by one are kept, about 200 bytes each.
    Raises: TypeError or ValueError as `compose`; where they are read ValueError where more than
    `max_arcs` are made, and where a cycle of `a` or `b` has a positive score.
    Complexity: O(arcs made · log) for one path, times k for k at most; at first O(size of a + b).
    Gradient: that of the composition, to the scores of both.
    Source: Hart, Nilsson & Raphael 1968; Mohri, Pereira & Riley 2002 for composition on demand.
    """

    __slots__ = ("_states", "a", "b", "kept_arcs", "max_arcs")

    def __init__(
        self,
        a: Graph | Lattice,
        b: Graph | Lattice,
        *,
        max_arcs: int = MAX_ARCS,
        kept_arcs: int = 100_000,
    ) -> None:
        self.a = built("LazyComposition", "a", a)
        self.b = built("LazyComposition", "b", b)
        self.max_arcs = _checks.count("LazyComposition", "max_arcs", max_arcs)
        self.kept_arcs = _checks.count("LazyComposition", "kept_arcs", kept_arcs)
        self._states: tuple[_Scores, LazyStates] | None = None
        _checks.pair("LazyComposition", self.a, self.b)
        for name, graph in (("a", self.a), ("b", self.b)):
            why = "build the product for a GPU: compose(a, b)"
            _checks.on_cpu("LazyComposition", name, graph.weights, why)

    def __len__(self) -> int:
        """Items in the batch."""
        sizes = len(self.a), len(self.b)
        return 0 if 0 in sizes else max(sizes)

    def __repr__(self) -> str:
        return f"LazyComposition({self.a!r} @ {self.b!r})"

    @property
    def is_acceptor(self) -> bool:
        """Whether both are acceptors."""
        return self.a.is_acceptor and self.b.is_acceptor

    @property
    def device(self) -> torch.device:
        """Where the scores live."""
        return self.a.device

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.a.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether scores of `a` or `b` require grad."""
        return self.a.requires_grad or self.b.requires_grad

    def graph(self) -> Graph:
        """The product, built: `compose(a, b)`."""
        return product("compose", self.a, self.b, self.max_arcs)

    # One state at a time

    def start_states(self, item: int = 0) -> dict[int, float]:
        """The states in which paths of an item start, and their scores."""
        return self._one_by_one().start(item)

    def arcs(self, state: int) -> list[LazyArc]:
        """The arcs that leave a state, in the order of `compose`; scores are without gradient."""
        return self._one_by_one().arcs(state)

    def accept_score(self, state: int) -> float:
        """The score of ending in a state, -inf where no path ends there."""
        return self._one_by_one().accept(state)

    def is_accepting(self, state: int) -> bool:
        """Whether a path may end in a state."""
        return self.accept_score(state) > -math.inf

    def state_pair(self, state: int) -> tuple[int, int]:
        """The states of `a` and `b`, numbered through their batches."""
        return self._one_by_one().pair(state)[:2]

    def _one_by_one(self) -> LazyStates:
        now = _versions(self.a) + _versions(self.b)
        if self._states is None or not _same(self._states[0], now):
            self._states = now, LazyStates(self.a, self.b, self.kept_arcs)
        return self._states[1]

    # What makes a part of it

    def viterbi_path(self) -> Graph:
        """As `gtnet.viterbi_path`."""
        part = self._part("viterbi_path", 1, 0.0)
        return traced(viterbi_path(part), part)

    def viterbi_score(self) -> Tensor:
        """As `gtnet.viterbi_score`."""
        return viterbi_score(self._part("viterbi_score", 1, 0.0))

    def k_best(
        self,
        k: int,
        *,
        unique: Literal["ilabels", "olabels"] | None = None,
        max_prefixes: int = MAX_PREFIXES,
    ) -> list[Graph]:
        """As `gtnet.k_best`. With `unique` more and more is made, until k labels are certain."""
        least = max(1, k)
        part = self._part("k_best", least, 0.0)
        first = k_best(part, k, max_prefixes=max_prefixes)
        slack = 0.0
        found = first
        while unique is not None:
            found = k_best(part, k, unique=unique, max_prefixes=max_prefixes)
            if slack == math.inf or all(
                _certain(paths, own, k, slack) for paths, own in zip(found, first, strict=True)
            ):
                break
            slack = 2 * slack if 0 < slack < _MOST_SLACK else math.inf if slack else 1.0
            part = self._part("k_best", least, slack)
        return [traced(paths, part) for paths in found]

    def prune(self, beam: float) -> Graph:
        """As `gtnet.prune` with a beam."""
        part = self._part("prune", 1, beam)
        return traced(prune(part, beam=beam), part)

    # What needs all of it

    def forward_score(self, beta: float | Tensor = 1.0) -> Tensor:
        """As `gtnet.forward_score`, of the product built; of the best path at beta = inf."""
        if isinstance(beta, int | float) and beta == math.inf:
            return self.viterbi_score()
        return forward_score(self.graph(), beta)

    def entropy(self, beta: float | Tensor = 1.0) -> Tensor:
        """As `gtnet.entropy`, of the product built."""
        return entropy(self.graph(), beta)

    def sample(
        self,
        n: int,
        *,
        beta: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
        max_arcs: int = MAX_ARCS,
    ) -> list[Graph]:
        """As `gtnet.sample`, of the product built."""
        whole = self.graph()
        paths = sample(whole, n, beta=beta, generator=generator, max_arcs=max_arcs)
        return [traced(path, whole) for path in paths]

    def _part(self, function: str, paths: int, slack: float) -> Graph:
        """A part of the product with the best paths, and all up to `slack` worse than the last."""
        if transformed():  # scores have no order there
            return self.graph()
        most = _MANY
        while True:
            most = min(most, self.max_arcs)
            part = self._found(function, paths, slack, most)
            if part is not None:
                return part
            whole = small_product(self.a, self.b, min(_CHEAPER * most, self.max_arcs))
            if whole is not None:
                return whole
            if most == self.max_arcs:
                raise ValueError(
                    f"{function}: more than max_arcs={self.max_arcs} arcs of the product are "
                    f"needed: ask for fewer paths, prune the operands, or raise "
                    f"LazyComposition(max_arcs=)"
                )
            most *= _CHEAPER

    def _found(self, function: str, paths: int, slack: float, most: int) -> Graph | None:
        """The same, None where more than `most` arcs are made."""
        a, b = self.a, self.b
        left, right = a.topology, b.topology
        try:
            made = _ops.best_first(
                left.state_offsets,
                *left.leaving_by_olabel,
                list(_prospects(function, a)),
                left.ilabels,
                right.state_offsets,
                *right.leaving_by_ilabel,
                list(_prospects(function, b)),
                right.olabels,
                self.is_acceptor,
                len(self),
                paths,
                slack,
                most,
            )
        except _ops.OverBudgetError:
            return None
        return Paired.of(made).scored(a, b)


_MANY = 1 << 16  # arcs, after which the product is tried
_CHEAPER = 4  # arcs of the product are made in the time that one takes here
_MOST_SLACK = 16.0  # all of the product is made behind that


def _certain(paths: Graph, first: Graph, k: int, slack: float) -> bool:
    """Whether these are the k best distinct answers, where all paths are known that are at most
    `slack` worse than the worst of the k best ones.
    """
    if len(first) < k:  # there are no others
        return True
    if k == 0:
        return True
    worst = viterbi_score(first.detach())[-1].item() - slack
    return len(paths) == k and viterbi_score(paths.detach())[-1].item() >= worst


class _Prospects(NamedTuple):
    """Scores in float64, and the best that each state can still gain, its end included."""

    weights: Tensor
    start: Tensor
    accept: Tensor
    ahead: Tensor


_Scores = list[tuple[Tensor, int]]  # with their versions
_known: WeakKeyDictionary[Graph, tuple[_Scores, _Prospects]] = WeakKeyDictionary()


def _prospects(function: str, graph: Graph) -> _Prospects:
    """Of a graph as it is now; kept until its scores are others."""
    if any(scores.is_inference() for scores in graph.scores):
        return _found(function, graph)
    now = _versions(graph)
    kept = _known.get(graph)
    if kept is not None and _same(kept[0], now):
        return kept[1]
    found = _found(function, graph)
    _known[graph] = now, found
    return found


def _versions(graph: Graph) -> _Scores:
    return [(s, 0 if s.is_inference() else s._version) for s in graph.scores]


def _same(before: _Scores, now: _Scores) -> bool:
    return all(
        old is new and version == its
        for (old, version), (new, its) in zip(before, now, strict=True)
    )


def _found(function: str, graph: Graph) -> _Prospects:
    graph = graph.detach()
    ahead, _ = best_to_accept(function, graph)
    weights, start, accept = (scores.double().contiguous() for scores in graph.scores)
    return _Prospects(weights, start, accept, ahead)
