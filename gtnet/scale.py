"""scale: the scores of a graph times a factor, as language models are weighted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._memory import named
from gtnet.distance import _per, times
from gtnet.emissions import finite_inside
from gtnet.graph import Graph, built
from gtnet.lattice import Lattice


@named
def scale(graph: Graph | Lattice, alpha: float | Tensor) -> Graph | Lattice:
    """The automaton whose scores are `alpha` times those of `graph`; also `graph * alpha`.

    -inf stays what it is, under any factor: what was impossible stays impossible. A language model
    of weight alpha beside an acoustic one is `emissions @ (tokens @ (grammar * alpha))`.

    Arguments: `alpha` finite, a number, a tensor [], or a tensor [batch] with a factor for each
    graph. Result: the same states and arcs in the same order; of a `Lattice` under one factor a
    `Lattice`, of which nothing is built, else the product.
    Raises TypeError or ValueError for other factors, and where a score becomes too large to add.
    Complexity: O(states + arcs), of a lattice O(scores). Gradient: to the scores and to alpha, 0
    where a score is -inf.
    """
    factor = _factor(alpha)
    if isinstance(graph, Lattice) and not (isinstance(factor, Tensor) and factor.ndim):
        return _of_lattice(graph, factor)
    graph = built("scale", "graph", graph)
    if isinstance(factor, Tensor):
        _checks.same_device("scale", graph=graph.weights, alpha=factor)
        if factor.ndim and len(factor) != len(graph):
            raise ValueError(
                f"scale: alpha has {len(factor)} factors, the batch {len(graph)} graphs"
            )
    topology = graph.topology
    of_arcs, of_states = (
        _per(owner, factor) for owner in (topology.graph_of_arc, topology.graph_of_state)
    )
    scaled = Graph.from_topology(
        topology,
        times(graph.weights, of_arcs).to(graph.dtype),
        times(graph.start, of_states).to(graph.dtype),
        times(graph.accept, of_states).to(graph.dtype),
    )
    for name, scores in zip(("weights", "start", "accept"), scaled.scores):
        _checks.finite_or_zero("scale", f"alpha times {name}", scores)
    return scaled


def _of_lattice(lattice: Lattice, factor: float | Tensor) -> Lattice:
    emissions, operand = lattice.emissions, scale(lattice.operand, factor)
    assert isinstance(operand, Graph)
    segmentation = None
    if emissions.lengths is None:
        cut = scale(emissions.segmentation, factor)
        assert isinstance(cut, Graph)
        segmentation = cut
    scores = times(emissions.scores, factor).to(emissions.scores.dtype)
    if emissions.lengths is None:
        _checks.finite_or_zero("scale", "alpha times scores", scores)
    else:
        scores = finite_inside("scale", "alpha times scores", scores, emissions.lengths)
    scaled = emissions.with_scores(scores, segmentation)
    return lattice._with(scaled, operand)


def _factor(alpha: float | Tensor) -> float | Tensor:
    if not isinstance(alpha, Tensor):
        value = _numbers.number("scale", "alpha", alpha)
        if not math.isfinite(value):
            raise ValueError(f"scale: alpha must be finite, got {value}")
        return value
    if alpha.ndim > 1 or not alpha.is_floating_point():
        raise ValueError(
            f"scale: alpha must be a number, a float tensor [] or [batch], got {alpha.dtype}"
            f" {list(alpha.shape)}"
        )
    seen = alpha.device.type == "cpu" and not torch.compiler.is_compiling()
    if seen and not bool(torch.isfinite(_checks.plain(alpha)).all()):
        raise ValueError(f"scale: alpha must be finite, got {alpha}")
    return alpha
