"""Removal of arcs and states that matter little."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet._memory import choosing
from gtnet._rewrite import Semiring, prepared, through, with_arcs
from gtnet.connect import connect
from gtnet.graph import Graph, lazy

if TYPE_CHECKING:
    from gtnet.lattice import Lattice
    from gtnet.lazy_composition import LazyComposition


@choosing
def prune(
    graph: Graph | Lattice | LazyComposition,
    *,
    beam: float | None = None,
    posterior: float | None = None,
) -> Graph:
    """The automaton without arcs (and starts and ends of paths) that no good path takes.

    Arguments: exactly one of `beam` >= 0, which keeps what lies on a path whose score is at most
    `beam` below the best, and `posterior` in [0, 1], which keeps what a path drawn in proportion
    to exp(score) takes with at least this probability. Cycles are allowed.
    Result: the rest, trimmed; `arc_maps` and `state_maps` name the arcs and states kept.
    Raises ValueError for another choice of thresholds and where the paths have no finite sum (or
    no best one); cycles that no accepting path takes may diverge.
    Complexity: O(states + arcs), k³ more for a component of k states on cycles with `posterior`.
    Gradient: that of a gather; the choice of arcs has none.
    Source: Sixtus & Ortmanns 1999 for the beam around the best path ("forward-backward pruning").
    Of a `Lattice` a `beam` is `Lattice.prune`: what is outside is never built; `posterior` builds
    it. The maps are two.
    """
    given = graph if isinstance(graph, Graph) else lazy("prune", "graph", graph)
    if (beam is None) == (posterior is None):
        raise ValueError(
            f"prune: exactly one of beam and posterior is needed, got {beam} and {posterior}"
        )
    if beam is not None and not beam >= 0:
        raise ValueError(f"prune: beam must be at least 0, got {beam}")
    if posterior is not None and not 0 <= posterior <= 1:
        raise ValueError(f"prune: posterior must lie in [0, 1], got {posterior}")
    if not isinstance(given, Graph) and beam is not None:
        return given.prune(beam)
    graph = prepared("prune", given, "log", on_gpu=True)
    semiring: Semiring = "log" if beam is None else "tropical"
    topology = graph.topology
    instead = "prune with a beam, which compares with the best path"
    sums = through("prune", graph.detach(), semiring, instead)
    if beam is not None:
        slack = -float(beam)
    else:
        assert posterior is not None
        slack = math.log(posterior) if posterior > 0 else NEG_INF
    # Sums in another order round differently; that must not drop what equals the threshold. And a
    # score of float32 stands for any number that rounds to it.
    rounding = 1e-9 if graph.dtype == torch.float64 else 2e-6
    least = sums.total + slack - rounding * (1 + sums.total.abs())
    least = least.masked_fill(sums.total == NEG_INF, 0)
    good = (sums.arcs >= least[topology.graph_of_arc]) & (sums.arcs > NEG_INF)
    by_state = least[topology.graph_of_state]
    some = with_arcs(graph, good)
    some.start = some.start.masked_fill(sums.start < by_state, NEG_INF)
    some.accept = some.accept.masked_fill(sums.accept < by_state, NEG_INF)
    rest = traced(connect(some), some)
    return rest if graph is given else traced(rest, graph)
