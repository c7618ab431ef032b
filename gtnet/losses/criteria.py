"""The criteria of graph transformer networks, as graph algebra on energies (energy = -score)."""

from __future__ import annotations

from torch import Tensor

from gtnet.distance import forward_score
from gtnet.graph import Graph


def discriminative_forward(
    interpretations: Graph, correct: Graph, beta: float | Tensor = 1.0
) -> Tensor:
    """The difference of two forward scores: all interpretations minus the correct ones.

    The negative log of the probability of the correct answer when paths are drawn in proportion
    to exp(beta · score), divided by beta: zero when only correct paths have weight, never
    negative when `correct` holds some of the paths of `interpretations`.

    Arguments: batches of graphs of equal size; `beta` as in `forward_score`.
    Result: [batch]; +inf where no path is correct, NaN nowhere: where both are empty, +inf.
    Gradient: posteriors under all paths minus posteriors under the correct ones; 0 where a
    graph is empty. Complexity: O(states + arcs).
    Source: LeCun, Bottou, Bengio & Haffner 1998, section VI-D ("discriminative forward").
    """
    if len(interpretations) != len(correct):
        raise ValueError(
            f"discriminative_forward: interpretations has {len(interpretations)} graphs, "
            f"correct {len(correct)}"
        )
    legal, right = forward_score(interpretations, beta), forward_score(correct, beta)
    impossible = right == float("-inf")
    return (legal - right.masked_fill(impossible, 0)).masked_fill(impossible, float("inf"))
