"""The functions of gtn made of gtnet's, for what `gtnet._ops.packed` does not do in a call: graphs
with cycles, on GPUs, and of weights that cannot be summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

import gtnet
from gtnet._memory import named
from gtnet._ops import total_by
from gtnet.compat.gtn.tape import Made
from gtnet.distance import best_paths, path_distribution


def mapped(result: gtnet.Graph, operands: Sequence[gtnet.Graph]) -> Made:
    """A graph whose arcs have the sum of the weights of those that its arc maps name."""
    maps = result.arc_maps
    assert maps is not None
    sizes = [operand.num_arcs for operand in operands]
    return Made(result, lambda grad, number: total_by(maps[number], grad, sizes[number]))


@named
def forward_score_alone(core: gtnet.Graph) -> Made:
    """The score, without a gradient."""
    return Made(_one_arc(gtnet.forward_score(_passable(core))))


@named
def forward_score(core: gtnet.Graph) -> Made:
    """The score and the posteriors of the arcs."""
    passable = _passable(core)
    if passable is core:  # whose weights may be set before the gradient is asked for
        passable = _with_weights(core, core.weights.clone())
    paths = path_distribution("forward_score", passable, 1.0)
    return Made(_one_arc(paths.score), lambda grad, number: grad * paths.posteriors.arcs)


@named
def viterbi_score(core: gtnet.Graph) -> Made:
    """The score of the best path, and its arcs."""
    scores, best = best_paths("viterbi_score", _passable(core))
    arcs, size = best.arcs, core.num_arcs
    return Made(_one_arc(scores), lambda grad, _: total_by(arcs, grad.expand(len(arcs)), size))


def viterbi_path(core: gtnet.Graph) -> gtnet.Graph:
    """The best path."""
    return gtnet.viterbi_path(_passable(core))


def _with_weights(core: gtnet.Graph, weights: Tensor) -> gtnet.Graph:
    """The same topology, start and accept scores under other weights, unchecked."""
    return gtnet.Graph.from_topology(core.topology, weights, core.start, core.accept)


def _one_arc(score: Tensor) -> gtnet.Graph:
    """The scalar graph of a score; one that is endless is +inf, which `gtnet.linear` refuses."""
    if float(score) > _ENDLESS / 2:
        score = torch.full_like(score, math.inf)
    return _with_weights(_one(score.device), score.float())


@lru_cache
def _one(device: torch.device) -> gtnet.Graph:
    return gtnet.linear([0]).to(torch.float32).to(device)


_ENDLESS = 1e30  # in place of +inf, whose differences would be NaN


def _passable(core: gtnet.Graph) -> gtnet.Graph:
    """The graph under weights that can be summed: none is NaN or +inf."""
    weights = core.weights
    if not len(weights) or float(weights.max()) < math.inf:  # NaN is not
        return core
    return _with_weights(core, torch.where(weights.isnan(), -math.inf, weights).clamp(max=_ENDLESS))
