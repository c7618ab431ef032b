"""The label sequences with the highest sums over all their paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._memory import choosing
from gtnet.build import linear
from gtnet.compose import compose
from gtnet.distance import (
    _scaled,
    finite_temperature,
    forward_score,
    shortest_distance,
    useful_part,
)
from gtnet.graph import Graph, built
from gtnet.rational import project
from gtnet.remove_epsilon import remove_epsilon

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

MAX_PREFIXES = 100_000  # seconds of search for one graph


class TooFlatError(ValueError):
    """Too many answers have about the best sum to say which are the best."""


@choosing
def best_answers(
    graph: Graph | Lattice,
    k: int = 1,
    *,
    beta: float | Tensor = 1.0,
    max_prefixes: int = MAX_PREFIXES,
) -> list[Graph]:
    """The k label sequences that `graph` writes with the highest forward scores, best first.

    All paths that write a sequence count together, whereas `k_best` with `unique` counts only the
    best of them. These are exactly the most probable answers of a graph with latent alignments.

    Arguments: `graph` an acceptor or transducer; `k` >= 0; `beta` as in `forward_score`, finite;
    `max_prefixes` the most prefixes of sequences that the search may expand, for each graph; one
    with many labels and states to go on with counts several times, so each takes 2.5 kB at most.
    Result: for every graph of the batch a batch of at most k linear acceptors, epsilons dropped,
    whose start score is the forward score of the sequence; the order of ties is reproducible.
    Raises ValueError as `forward_score`, and if `max_prefixes` is not enough.
    Complexity: the problem is NP-hard in general (Casacuberta & de la Higuera 2000). A* expands
    only prefixes that may beat the k-th answer: no more than (length + 1) / p of them,
    where p is the share of the k-th answer in the sum over all paths, and far fewer where the
    bound is tight; each costs the arcs that leave its states. A `Lattice` is built.
    Gradient: to the scores of `graph`, those of `forward_score`, not through the choice.
    Source: Hart, Nilsson & Raphael 1968 on the lazily determinized graph; Graves et al. 2006,
    section 3.2 ("prefix search decoding"), with a bound that takes the best label at each state.
    """
    given, graph = graph, built("best_answers", "graph", graph)
    k = _checks.count("best_answers", "k", k)
    _checks.on_cpu("best_answers", "graph", graph.weights, "move it with .to('cpu')")
    counts, answers = _search("best_answers", graph, k, beta, max_prefixes)
    owners = [i for i, count in enumerate(counts) for _ in range(count)]
    if not owners:
        return [linear([], dtype=graph.dtype)[:0] for _ in counts]
    own = given if counts == [1] * len(graph) else graph[owners]
    found = linear(answers, dtype=graph.dtype)
    scores = forward_score(restricted(own, found), beta)
    first = found.state_offsets[:-1]
    found = found.with_weights(start=found.start.index_put((first,), scores))
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [found[end - count : end] for count, end in zip(counts, ends)]


def best_labels(
    function: str, graph: Graph | Lattice, k: int, beta: float | Tensor, max_prefixes: int
) -> list[list[list[int]]]:
    """The labels of the k best answers of each graph, best first."""
    counts, answers = _search(function, built(function, "graph", graph), k, beta, max_prefixes)
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [answers[end - count : end] for count, end in zip(counts, ends)]


def restricted(graph: Graph | Lattice, acceptor: Graph) -> Graph | Lattice:
    """The paths of `graph` that write what `acceptor` accepts; of a `Lattice` a `Lattice`.

    Emissions are composed last, with the restricted operand, which is small.
    """
    if isinstance(graph, Graph):
        return compose(graph, acceptor)
    operand = compose(graph.operand, acceptor)
    return compose(graph.emissions, operand, max_arcs=graph.max_arcs)


def _search(
    function: str, graph: Graph, k: int, beta: float | Tensor, max_prefixes: int
) -> tuple[list[int], list[list[int]]]:
    """How many answers each graph has, at most k, and the labels of all of them."""
    finite_temperature(function, beta)
    max_prefixes = _checks.count(function, "max_prefixes", max_prefixes)
    with torch.no_grad():
        written = project(graph, "output")
        written = _scaled(function, written.detach(), beta).to(torch.float64)
        rest = None
        if written.topology.is_cyclic:
            written = remove_epsilon(useful_part(written))
            rest = shortest_distance(written, to_accept=True)
        topology = written.topology
        order = topology.components[0] if topology.is_cyclic else topology.order_and_cycles[0]
        too_many, counts, lengths, labels = _ops.best_answers(
            *(t.contiguous() for t in (written.weights, written.start, written.accept)),
            order,
            rest,
            topology.state_offsets,
            *topology.leaving_by(topology.ilabels),
            k,
            max_prefixes,
        )
    if bool(too_many.any()):
        raise TooFlatError(
            f"{function}: the best answers of graph {int(too_many.nonzero()[0])} were not found "
            f"within max_prefixes={max_prefixes} prefixes; its scores are too flat: "
            f"raise max_prefixes, prune the graph, or count the best path of each answer alone, "
            f'by k_best(graph, k, unique="olabels") or in losses by latent="viterbi"'
        )
    return counts.tolist(), [part.tolist() for part in labels.split(lengths.tolist())]
