"""How far each arc is from lying on a best path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from gtnet._checks import NEG_INF
from gtnet._memory import named, unmapped
from gtnet._rewrite import prepared, through
from gtnet.graph import Graph

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def slack(graph: Graph | Lattice, *, of: Literal["arcs", "states"] = "arcs") -> Tensor:
    """The score of the best path through each arc or state, relative to the best path of all.

    0 on a best path and below elsewhere: what lowering the best path would need before this arc
    matters. `posteriors` of the tropical semiring, as a logarithm.

    Arguments: any graph; `of` arcs or states. Result: [arcs] or [states] of the dtype of the
    weights; -inf on what no accepting path takes.
    Raises ValueError where an accepting path takes a cycle of positive score, for a cycle on a GPU,
    and if `of` is anything else.
    Complexity: that of `viterbi_score`, twice.
    Gradient: 1 on the best path through the arc less 1 on the best of all, each the first in a tie;
    any number of derivatives.
    Source: Sixtus & Ortmanns 1999 ("forward-backward scores"); k2's `get_arc_post` without
    log_semiring.
    """
    if of not in ("arcs", "states"):
        raise ValueError(f'slack: of must be "arcs" or "states", got {of!r}')
    graph = prepared("slack", graph, "tropical", on_gpu=True)
    unmapped("slack", graph)
    topology = graph.topology
    sums = through("slack", graph, "tropical")
    best, owner = sums.arcs, topology.graph_of_arc
    if of == "states":
        best, owner = sums.states, topology.graph_of_state
    none = best.detach() == NEG_INF
    below = (best - sums.total[owner]).masked_fill(none, NEG_INF)
    return below.clamp(max=0).to(graph.dtype)  # rounding must not beat the best
