"""Random automata for hypothesis: small enough that all their paths can be written out.

Scores are multiples of 1/4 below 4, so sums of them are exact in float32 and paths compare with
`==`. States are numbered at random, arcs lie in any order, and every irregularity that a batch
may have is drawn: no states, no start, no accept, unreachable parts, parallel arcs, -inf scores.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from hypothesis import strategies as st

from gtnet import EPSILON, Graph, stack

NEG_INF = -math.inf
DTYPES = st.sampled_from([torch.float32, torch.float64])
BETAS = st.sampled_from([0.5, 1.0, 2.0, 10.0])

_SCORES = [quarter / 4 for quarter in range(-8, 9)]
_WEIGHTS = st.sampled_from([*_SCORES, NEG_INF])
_END_SCORES = st.sampled_from([NEG_INF, NEG_INF, NEG_INF, 0.0, 0.5, -1.25])


class Parts(NamedTuple):
    """What a graph is made of, before the library sees it."""

    source: list[int]
    target: list[int]
    ilabels: list[int]
    olabels: list[int]
    weights: list[float]
    start: list[float]
    accept: list[float]

    def graph(self, dtype: torch.dtype, *, acceptor: bool) -> Graph:
        return Graph(
            self.source,
            self.target,
            self.ilabels,
            None if acceptor else self.olabels,
            torch.tensor(self.weights, dtype=dtype),
            start=torch.tensor(self.start, dtype=dtype),
            accept=torch.tensor(self.accept, dtype=dtype),
            num_states=len(self.start),
        )


def _labels(epsilons: bool) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, EPSILON, EPSILON]) if epsilons else st.sampled_from([0, 1, 2])


@st.composite
def parts(
    draw: st.DrawFn, *, acyclic: bool, read_epsilon: bool, write_epsilon: bool, max_arcs: int = 8
) -> Parts:
    """One automaton; acyclic ones lead from lower to higher ranks of a random state order."""
    size = draw(st.integers(0, 5))
    number = draw(st.permutations(range(size)))
    few = size if not acyclic else size - 1
    arcs = draw(
        st.lists(
            st.tuples(
                st.integers(0, max(0, few - 1)),
                st.integers(0, 3),
                _labels(read_epsilon),
                _labels(write_epsilon),
                _WEIGHTS,
            ),
            max_size=max_arcs if few > 0 else 0,
        )
    )
    ranks = [
        (rank, min(rank + 1 + step // 2, size - 1) if acyclic else (rank + step) % size)
        for rank, step, *_ in arcs
    ]
    start = draw(st.lists(_END_SCORES, min_size=size, max_size=size))
    accept = draw(st.lists(_END_SCORES, min_size=size, max_size=size))
    if size and draw(st.sampled_from([True, True, True, False])):
        start[number[0]] = accept[number[-1]] = 0.25
    return Parts(
        [number[source] for source, _ in ranks],
        [number[target] for _, target in ranks],
        [arc[2] for arc in arcs],
        [arc[3] for arc in arcs],
        [arc[4] for arc in arcs],
        start,
        accept,
    )


@st.composite
def graphs(
    draw: st.DrawFn,
    *,
    size: int | None = None,
    dtype: torch.dtype | None = None,
    acyclic: bool = True,
    acceptor: bool | None = None,
    max_arcs: int = 8,
) -> Graph:
    """A batch of `size` automata (1 to 3 of them by default), epsilons on any side."""
    size = draw(st.integers(1, 3)) if size is None else size
    dtype = draw(DTYPES) if dtype is None else dtype
    acceptor = draw(st.booleans()) if acceptor is None else acceptor
    read, write = draw(st.booleans()), draw(st.booleans())
    one = parts(acyclic=acyclic, read_epsilon=read, write_epsilon=write, max_arcs=max_arcs)
    return stack([draw(one).graph(dtype, acceptor=acceptor) for _ in range(size)])


@st.composite
def operands(
    draw: st.DrawFn, *, count: int = 2, acyclic: bool = True, acceptor: bool | None = None
) -> tuple[Graph, ...]:
    """Batches of one dtype that broadcast: all of one size, some of size 1."""
    dtype = draw(DTYPES)
    size = draw(st.integers(1, 3))
    sizes = [size if draw(st.booleans()) else 1 for _ in range(count)]
    each = 8 if acyclic else 5
    return tuple(
        draw(graphs(size=n, dtype=dtype, acyclic=acyclic, acceptor=acceptor, max_arcs=each))
        for n in sizes
    )


@st.composite
def cyclic_graphs(draw: st.DrawFn) -> tuple[Graph, int]:
    """A batch in which graph i is the first with a cycle, and that i."""
    acceptor = draw(st.booleans())
    before = draw(st.integers(0, 2))
    forward = parts(acyclic=True, read_epsilon=True, write_epsilon=True)
    batch = [draw(forward).graph(torch.float32, acceptor=acceptor) for _ in range(before)]
    shape = draw(forward.filter(lambda p: len(p.start) > 0))
    loop = draw(st.permutations(range(len(shape.start))))[: draw(st.integers(1, 5))]
    for source, target in zip(loop, [*loop[1:], loop[0]], strict=True):
        at = draw(st.integers(0, len(shape.source)))
        for column, value in zip(shape, (source, target, 0, 0, 0.0), strict=False):
            column.insert(at, value)
    batch.append(shape.graph(torch.float32, acceptor=acceptor))
    return stack(batch), before


def with_random_scores(graph: Graph, seed: int) -> Graph:
    """Float64 scores without ties on the same topology; what is impossible stays so."""
    source = torch.Generator().manual_seed(seed)

    def drawn(scores: torch.Tensor) -> torch.Tensor:
        fresh = torch.randn(scores.shape, generator=source, dtype=torch.float64)
        return fresh.masked_fill(scores == NEG_INF, NEG_INF)

    return graph.to(torch.float64).with_weights(
        drawn(graph.weights), start=drawn(graph.start), accept=drawn(graph.accept)
    )


@st.composite
def functional_transducers(draw: st.DrawFn, *, dtype: torch.dtype = torch.float64) -> Graph:
    """A transducer with one output for each input, which several paths write at other places."""
    words = st.lists(st.integers(0, 1), min_size=1, max_size=3).map(tuple)
    lexicon = draw(st.dictionaries(words, st.lists(st.integers(0, 2), max_size=3), max_size=4))
    columns: list[list] = [[], [], [], [], []]
    states, ends = 1, {}
    for word, meaning in lexicon.items():
        meaning = meaning[: len(word)]  # an arc writes one label at most
        for _ in range(draw(st.integers(1, 2))):
            places = draw(st.permutations(range(len(word))))[: len(meaning)]
            outputs = dict(zip(sorted(places), meaning, strict=True))
            at = 0
            for place, letter in enumerate(word):
                arc = (at, states, letter, outputs.get(place, EPSILON), draw(_WEIGHTS))
                for column, value in zip(columns, arc, strict=True):
                    column.append(value)
                at, states = states, states + 1
            ends[at] = draw(st.sampled_from(_SCORES))
    weights = torch.tensor(columns[4], dtype=dtype)
    return Graph(*columns[:4], weights, accept=ends, num_states=states)
