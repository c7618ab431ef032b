"""Losses of gtn."""

from __future__ import annotations

from collections.abc import Sequence

import gtnet
from gtnet.compat.gtn.functions import forward_score, intersect, negate
from gtnet.compat.gtn.graph import Graph

__all__ = ["ctc_loss"]


def ctc_loss(log_probs: Graph, target: Sequence[int], blank_idx: int) -> Graph:
    """The CTC loss of one sequence: minus the forward score of all alignments of the target.

    Arguments: `log_probs` a linear graph whose weights are log-probabilities; `target` labels
    without the blank `blank_idx`. Result: a scalar graph, +inf where the target does not fit.
    Raises ValueError for a target that holds the blank. Complexity: O(frames · target).
    Source: Graves et al. 2006.
    """
    alignments = gtnet.project(gtnet.ctc_graph(list(target), blank_idx), "input")
    return negate(forward_score(intersect(Graph.of(alignments, calc_grad=False), log_probs)))
