"""What the constructor of Graph takes, in all its forms, checked and turned into tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import NEG_INF
from gtnet.topology import Topology

Ends = Tensor | dict[int, Any]  # scores of all states, states on a GPU, or states and their scores


class Parts(NamedTuple):
    """What a graph consists of."""

    topology: Topology
    weights: Tensor
    start: Tensor
    accept: Tensor


def graph_parts(
    columns: dict[str, Any], weights: Any, start: Any, accept: Any, num_states: int | None
) -> Parts:
    """One graph from columns of its arcs; for arcs on a GPU it waits once."""
    arrays = {name: _checks.integral("Graph", name, column) for name, column in columns.items()}
    num_arcs = len(arrays["source"])
    for name, array in arrays.items():
        if len(array) != num_arcs:
            raise ValueError(f"Graph: source has {num_arcs} arcs, {name} has {len(array)}")
    if weights is None:
        weights = torch.zeros(num_arcs, device=arrays["source"].device)
    weights = _checks.floats("Graph", "weights", weights, num_arcs)
    ends = {"start": _ends("start", start, weights), "accept": _ends("accept", accept, weights)}
    given = {name: end for name, end in ends.items() if isinstance(end, Tensor)}
    _checks.same_device("Graph", **arrays, weights=weights, **given)
    seen = _checks.extremes({**arrays, "weights": weights, **given})
    arrays = {name: _checks.narrowed("Graph", name, a, seen) for name, a in arrays.items()}
    _checks.finite_or_zero("Graph", "weights", weights, seen)
    if num_states is not None:
        num_states = _checks.count("Graph", "num_states", num_states)
    else:
        num_states = _smallest_size(ends, seen)
    for name in ("source", "target"):
        _checks.inside("Graph", name, arrays[name], num_states, "the states of the graph", seen)
    for name in arrays.keys() - {"source", "target"}:
        _checks.labels("Graph", name, arrays[name], seen)
    scores = {name: _state_scores(name, e, num_states, weights, seen) for name, e in ends.items()}
    _checks.same_device("Graph", weights=weights, **scores)
    _checks.same_dtype("Graph", weights=weights, **scores)
    none_and_all = torch.arange(2, device=weights.device)
    topology = Topology(
        none_and_all * num_states,
        none_and_all * num_arcs,
        arrays["source"],
        arrays["target"],
        arrays["ilabels"],
        arrays.get("olabels", arrays["ilabels"]),
        num_states,
    )
    return Parts(topology, weights, scores["start"], scores["accept"])


def _ends(name: str, given: Any, like: Tensor) -> Ends:
    """Start or accept states in one of three forms."""
    if _is_scores(given):
        return _checks.floats("Graph", name, given, dtype=like.dtype)
    if isinstance(given, Mapping):
        for score in given.values():
            if not isinstance(score, (int, float, Tensor)):
                raise TypeError(f"Graph: {name} must give scores as numbers, got {score!r}")
        return {int(state): score for state, score in given.items()}
    if isinstance(given, str):
        raise TypeError(f"Graph: {name} must be states or scores, got {given!r}")
    if (torch.is_tensor(given) and given.ndim == 0) or not hasattr(given, "__len__"):
        return {_checks.count("Graph", name, given): 0.0}
    if torch.is_tensor(given) and given.device.type != "cpu":
        return _checks.integral("Graph", name, given)
    return dict.fromkeys(_checks.integers("Graph", name, given).tolist(), 0.0)


def _is_scores(given: Any) -> bool:
    """Whether there is a score per state rather than the names of states."""
    if isinstance(given, Sequence):
        return any(isinstance(score, float) for score in given)
    if isinstance(given, Mapping) or not hasattr(given, "__len__"):
        return False
    tensor = torch.as_tensor(given)
    return tensor.ndim > 0 and tensor.is_floating_point()


def _smallest_size(ends: Mapping[str, Ends], seen: _checks.Extremes) -> int:
    """One more than the largest state named anywhere."""
    largest = [-1, *(int(seen[name][1]) for name in ("source", "target") if name in seen)]
    for name, end in ends.items():
        if isinstance(end, dict):
            largest += end
        elif end.is_floating_point():
            return len(end)
        elif name in seen:
            largest.append(int(seen[name][1]))
    return max(largest) + 1


def _state_scores(
    name: str, end: Ends, num_states: int, like: Tensor, seen: _checks.Extremes
) -> Tensor:
    """Start or accept scores [num_states]."""
    of = "the states of the graph"
    if isinstance(end, Tensor) and end.is_floating_point():
        scores = _checks.floats("Graph", name, end, num_states)
        _checks.finite_or_zero("Graph", name, scores, seen)
        return scores
    scores = torch.full((num_states,), NEG_INF, dtype=like.dtype, device=like.device)
    if isinstance(end, Tensor):
        _checks.inside("Graph", name, end, num_states, of, seen)
        return scores.index_fill(0, end.long(), 0)
    if not end:
        return scores
    _checks.inside("Graph", name, torch.tensor(list(end)), num_states, of)
    if list(end.values()) == [0.0]:
        scores[next(iter(end))] = 0  # fills in place, while an index would have to be copied there
        return scores
    given = [torch.as_tensor(score, dtype=like.dtype) for score in end.values()]
    values = torch.stack(given)
    _checks.finite_or_zero("Graph", name, values)
    states = torch.tensor(list(end), device=like.device)
    return scores.index_put((states,), values.to(like.device))
