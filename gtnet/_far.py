"""Scores so large that float64 has no digits for the differences between paths, or no room."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import NEG_INF
from gtnet.graph import Graph

_FAR = 2.0**30  # beyond this, float64 has no digits for the parts that paths have in a sum


def are_far(*distances: Tensor) -> bool:
    """Whether finite distances lie so far from 0 that parts of them are not exact.

    Not on a GPU, where a look would wait, nor where torch.compile traces: the gradients of such
    distances are NaN there, and an error.
    """
    if distances[0].is_cuda or torch.compiler.is_compiling():
        return False
    return _ops.beyond(map(_checks.plain, distances), _FAR)


def near_the_best(
    function: str, graph: Graph, *, to_accept: bool = False
) -> tuple[Graph, Tensor, Tensor]:
    """The same paths with all scores relative to the best path to each state (or on to acceptance).

    What was taken away, float64 [states] and [batch], is constant, so that derivatives stay; 0
    stands for -inf. Weights on the best paths are about 0, and others below.
    """
    topology = graph.topology
    exact = graph.to(torch.float64)
    plain = exact.detach()
    walk = topology.cyclic_walk(function, reverse=to_accept, sums=False)
    weights, start, accept = _checks.plain_scores(plain)
    seeds, ends = (accept, start) if to_accept else (start, accept)
    best, _ = _ops.best_distance(weights, seeds, walk)
    lost = best == NEG_INF
    level = best.masked_fill(lost, 0)
    reached = (ends + level).masked_fill(lost, NEG_INF)
    total = level.new_full((len(graph),), NEG_INF)
    total = total.scatter_reduce(0, topology.graph_of_state.long(), reached, "amax")
    total = total.masked_fill(total == NEG_INF, 0)
    came, went = topology.global_source, topology.global_target
    came, went = (went, came) if to_accept else (came, went)
    gone = lost[came] | lost[went]
    of_graph = total[topology.graph_of_state]
    seeds, ends = (exact.accept, exact.start) if to_accept else (exact.start, exact.accept)
    seeds, ends = (
        _moved(seeds, torch.zeros_like(level), level, lost),
        _moved(ends, level, of_graph, lost),
    )
    near = Graph.from_topology(
        topology,
        _moved(exact.weights, level[came], level[went], gone),
        *((ends, seeds) if to_accept else (seeds, ends)),
    )
    return near, level, total


def _moved(scores: Tensor, up: Tensor, down: Tensor, gone: Tensor) -> Tensor:
    """scores + up - down; -inf where `gone` or impossible. Only scores have a derivative."""
    plain = scores.detach()
    total = plain + up
    # What rounding took away (Knuth's TwoSum); of sums beyond all digits it is noise.
    part = total - up
    rest = (plain - part) + (up - (total - part))
    rest = rest.masked_fill(~(rest.abs() <= _FAR), 0)
    gone = gone | (plain == NEG_INF)
    moved = ((total - down) + rest).masked_fill(gone, NEG_INF)
    return moved + (scores - plain).masked_fill(gone, 0)


def fits_times(function: str, name: str, scores: Tensor, beta: float | Tensor) -> None:
    """Refuse a temperature at which scores leave float64."""
    if scores.is_cuda or torch.compiler.is_compiling():
        return
    largest = float(_checks.plain(beta).max()) if isinstance(beta, Tensor) else beta
    highest = _checks.HIGHEST[torch.float64]
    if largest < 1e260 and scores.dtype != torch.float64:
        return
    if _ops.beyond([_checks.plain(scores)], highest / largest):
        raise ValueError(
            f"{function}: beta times {name} must be at most {highest:.3g}, got {largest:g} times "
            f"{_largest(scores):g}: lower beta or scale the scores down"
        )


def _largest(scores: Tensor) -> float:
    """How far a finite score lies from 0 at most."""
    return _checks.plain(scores).double().nan_to_num(0, 0, 0).abs().max().item()
