"""Whether two automata give the same score to every label sequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._memory import choosing
from gtnet.compose import compose
from gtnet.connect import connect, gathered
from gtnet.distance import forward_score
from gtnet.graph import Graph, built, stack
from gtnet.paths import random_walks
from gtnet.rational import project
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

TOLERANCE = 1e-4  # of a score; float32 rounding along a path stays below


@choosing
def equivalent(a: Graph | Lattice, b: Graph | Lattice, *, tolerance: float = TOLERANCE) -> Tensor:
    """Whether two deterministic acceptors give the same score to every label sequence.

    Arguments: batches of equal size, or of size 1; acceptors with at most one start state, no
    epsilon and no two arcs of one label out of a state, once arcs of score -inf and what lies on
    no accepting path are removed; they may be cyclic. Scores may differ by `tolerance`.
    Result: bool [batch], exact up to the tolerance. No gradient.
    Raises ValueError for anything but deterministic acceptors, saying where (`determinize` makes
    one, `randomly_equivalent` needs none).
    Complexity: O(states + arcs) up to the logarithm in merging states.
    Source: Hopcroft & Karp 1971, with scores as offsets of a union-find.
    """
    pair = {"a": _possible("equivalent", "a", a), "b": _possible("equivalent", "b", b)}
    _checks.pair("equivalent", **pair)
    for name, graph in pair.items():
        _require_deterministic(name, graph)
    size = 0 if 0 in (len(a), len(b)) else max(len(a), len(b))
    return _ops.equivalent(*_scored(pair["a"]), *_scored(pair["b"]), size, float(tolerance))


@choosing
def randomly_equivalent(
    a: Graph | Lattice,
    b: Graph | Lattice,
    *,
    num_paths: int = 50,
    max_length: int = 200,
    beta: float = 1.0,
    tolerance: float = TOLERANCE,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Whether two automata agree on the label sequences of random paths of both.

    False is certain, True is not: sequences that were not drawn may differ.

    Arguments: any acceptors or transducers whose products with a single sequence have path sums;
    `num_paths` walks through each graph, of at most `max_length` arcs (longer ones are dropped),
    each choice uniform; scores of a sequence are log-sums over its paths at `beta` (math.inf
    compares best paths) and may differ by `tolerance`, relative to scores above 1.
    Result: bool [batch]. No gradient. Raises ValueError where batches do not match.
    Complexity: that of composing every walk with both graphs.
    Source: Mohri 2009, section 5; the test that OpenFst calls RandEquivalent.
    """
    ours = _possible("randomly_equivalent", "a", a)
    theirs = _possible("randomly_equivalent", "b", b)
    _checks.pair("randomly_equivalent", ours, theirs)
    num_paths = _checks.count("randomly_equivalent", "num_paths", num_paths)
    max_length = _checks.count("randomly_equivalent", "max_length", max_length)
    given = (num_paths, max_length, generator)
    walks = [random_walks("randomly_equivalent", graph, *given) for graph in (ours, theirs)]
    size = 0 if 0 in (len(a), len(b)) else max(len(a), len(b))
    answers = torch.empty(size, dtype=torch.bool)
    for i in range(size):
        at = [0 if len(graph) == 1 else i for graph in (ours, theirs)]
        paths = stack([walk[k] for walk, k in zip(walks, at)])
        one = _scores_of_sequences(paths, ours[at[0]], beta)
        other = _scores_of_sequences(paths, theirs[at[1]], beta)
        answers[i] = _near(one, other, tolerance)
    return answers


def _possible(function: str, name: str, given: Graph | Lattice) -> Graph:
    """The graph without arcs of score -inf and without what lies on no accepting path."""
    graph = built(function, name, given)
    _checks.on_cpu(function, name, graph.weights, "compare there")
    graph = graph.detach()
    keep = graph.weights > NEG_INF
    if not keep.all():
        topology = graph.topology
        arcs = keep.nonzero().flatten()
        before = torch.cat([arcs.new_zeros(1), keep.cumsum(0)])
        ilabels = topology.ilabels[arcs]
        possible = Topology(
            topology.state_offsets,
            before[topology.arc_offsets],
            topology.source[arcs],
            topology.target[arcs],
            ilabels,
            ilabels if graph.is_acceptor else topology.olabels[arcs],
            graph.num_states,
        )
        states = torch.arange(graph.num_states, dtype=torch.int32)
        graph = gathered(possible, (graph,), (arcs.int(),), (states,))
    return connect(graph)


def _require_deterministic(name: str, graph: Graph) -> None:
    topology = graph.topology

    def refuse(graph_number: Tensor, what: str) -> None:
        raise ValueError(
            f"equivalent: {name} must be a deterministic acceptor, graph {int(graph_number)} "
            f"{what}; use determinize first, or randomly_equivalent"
        )

    if not graph.is_acceptor:
        different = (topology.ilabels != topology.olabels).nonzero()[0]
        refuse(topology.graph_of_arc[different], "writes other labels than it reads")
    silent = (topology.ilabels == EPSILON).nonzero().flatten()
    if len(silent):
        refuse(topology.graph_of_arc[silent[0]], "has epsilons")
    starts = topology.graph_of_state[graph.start > NEG_INF]
    again = (starts.diff() == 0).nonzero().flatten()
    if len(again):
        refuse(starts[again[0]], "has several start states")
    arcs, labels = topology.leaving_by_ilabel.arcs, topology.leaving_by_ilabel.labels
    assert labels is not None
    sources = topology.global_source[arcs]
    twice = ((labels.diff() == 0) & (sources.diff() == 0)).nonzero().flatten()
    if len(twice):
        arc = arcs[twice[0]]
        state, label = int(topology.source[arc]), int(topology.ilabels[arc])
        refuse(topology.graph_of_arc[arc], f"has several arcs of label {label} in state {state}")


def _scored(graph: Graph) -> list[Tensor]:
    scores = [t.double().contiguous() for t in (graph.weights, graph.start, graph.accept)]
    by_label = graph.topology.leaving_by_ilabel
    assert by_label.labels is not None
    return [graph.state_offsets, *by_label.by_state(), by_label.labels, *scores]


def _scores_of_sequences(paths: Graph, graph: Graph, beta: float) -> Tensor:
    """The score that a graph gives to the label sequences of each path, float [paths]."""
    free = paths.with_weights(
        torch.zeros_like(paths.weights),
        start=paths.start.masked_fill(paths.start > NEG_INF, 0),
        accept=paths.accept.masked_fill(paths.accept > NEG_INF, 0),
    )
    product = compose(project(free, "input"), graph)
    if not (graph.is_acceptor and paths.is_acceptor):
        product = compose(product, project(free, "output"))
    return forward_score(product, beta).double()


def _near(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    impossible = (ours == NEG_INF) & (theirs == NEG_INF)
    largest = torch.maximum(ours.abs(), theirs.abs()).clamp(min=1)
    gap = torch.where(impossible, 0, (ours - theirs).abs())
    one_sided = largest == math.inf
    return bool((impossible | (~one_sided & (gap <= tolerance * largest))).all())
