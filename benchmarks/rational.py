"""What is timed of rational operations, difference and paths, beside OpenFst."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch

import gtnet
from benchmarks.openfst import to_openfst
from benchmarks.timing import Case, Work

TINY = 1000


def rational_cases() -> Iterator[Case]:
    """Small graphs, where the call counts, and large ones, where the arcs do."""
    yield from small()
    yield from large()
    yield from paths()
    yield from components()


def small() -> Iterator[Case]:
    """One 3-arc graph and a batch of 64 of them."""
    one = gtnet.linear([0, 1, 2])
    many = gtnet.stack([one] * 64)
    operations: dict[str, Callable[[gtnet.Graph], object]] = {
        "union": lambda g: g | g,
        "concat": lambda g: g + g,
        "star": lambda g: g.star,
        "invert": lambda g: ~g,
    }
    for name, operation in operations.items():
        for graph, size in ((one, "1 graph"), (many, "a batch of 64")):
            yield Case(
                f"1,000 calls on 3-arc graphs, {size}: {name}",
                lambda operation=operation, graph=graph: [operation(graph) for _ in range(TINY)],
                per=TINY,
                unit="call",
            )


def large() -> Iterator[Case]:
    """A random acyclic graph of 10,000 states and 100,000 arcs.

    Here its arcs by state and their order are known after the first run; OpenFst copies first
    where it works in place.
    """
    graph = gtnet.random_graph(10_000, 100_000, 100, jump=100)
    word = gtnet.linear(gtnet.label_sequences(gtnet.viterbi_path(graph))[0])
    rule = gtnet.linear(range(100, 110))
    works: dict[str, tuple[Work, Callable[[Any, Any], Work | None]]] = {
        "union": (lambda: graph | graph, lambda f, _: lambda: f.copy().union(f)),
        "concat": (lambda: graph + graph, lambda f, _: lambda: f.copy().concat(f)),
        "star": (lambda: graph.star, lambda f, _: lambda: f.copy().closure()),
        "reverse": (lambda: gtnet.reverse(graph), lambda f, p: lambda: p.reverse(f)),
        "top_sort": (lambda: gtnet.top_sort(graph), lambda f, _: lambda: f.copy().topsort()),
        "arc_sort": (
            lambda: gtnet.arc_sort(graph),
            lambda f, _: lambda: f.copy().arcsort("ilabel"),
        ),
        "difference to its best path": (
            lambda: gtnet.difference(graph, word),
            lambda f, p: _difference(f, word, p),
        ),
        "replace 1,000 arcs by 10 each": (lambda: gtnet.replace(graph, {3: rule}), _no_peer),
    }
    for name, (work, peer) in works.items():
        yield Case(
            f"graph of 100k arcs: {name}", work, _openfst(graph, peer), per=100_000, unit="arc"
        )


def paths() -> Iterator[Case]:
    """Paths drawn from a lattice of 100,000 arcs."""
    graph = gtnet.random_graph(10_000, 100_000, 100, jump=100)
    yield Case("sample 1,000 paths of 100k arcs", lambda: gtnet.sample(graph, 1000))


def components() -> Iterator[Case]:
    """One strongly connected component; OpenFst adds paths until they change nothing by 1e-6."""
    states, degree = 5_000, 10
    source = torch.arange(states).repeat_interleave(degree)
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(0, states, (len(source),), generator=draw)
    target[::degree] = (torch.arange(states) + 1) % states
    weights = torch.randn(len(source), generator=draw) - 4
    graph = gtnet.Graph(source, target, source % 7, weights=weights, accept=states - 1)
    leaf = graph.with_weights(weights.clone().requires_grad_())

    def shortest(fst: Any, pynini: Any) -> Work:
        log = to_openfst(graph, "log64")
        return lambda: pynini.shortestdistance(log, delta=1e-6)

    name = "component of 5,000 states and 50k arcs"
    yield Case(
        f"{name}: distances", lambda: gtnet.shortest_distance(graph), _openfst(graph, shortest)
    )
    yield Case(
        f"{name}: forward score and gradient", lambda: gtnet.forward_score(leaf).sum().backward()
    )


def _no_peer(fst: Any, pynini: Any) -> None:
    return None


def _difference(fst: Any, word: gtnet.Graph, pynini: Any) -> Work:
    right = to_openfst(word)
    left = fst.copy().arcsort("olabel")
    return lambda: pynini.difference(left, right)


def _openfst(graph: gtnet.Graph, peer: Callable[[Any, Any], Work | None]) -> dict[str, Work]:
    if importlib.util.find_spec("pynini") is None:
        return {}
    import pynini

    work = peer(to_openfst(graph), pynini)
    return {} if work is None else {"OpenFst": work}
