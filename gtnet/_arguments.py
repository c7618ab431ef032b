"""What the constructor of Graph takes, in all its forms, checked and turned into tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._checks import NEG_INF
from gtnet.topology import Topology

_MANY_STATES = 2**22
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
        device = arrays["source"].device
        weights = torch.zeros(num_arcs, dtype=_numbers.float_dtype(), device=device)
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
        _plausible(num_states, num_arcs, ends)
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
    if isinstance(given, Mapping):
        return {
            _checks.count("Graph", name, state): _numbers.number(
                "Graph", f"scores of {name}", score
            )
            for state, score in given.items()
        }
    if given is None or isinstance(given, str | bytes):
        raise TypeError(f"Graph: {name} must be states or scores, got {given!r}")
    if not hasattr(given, "__len__") or (isinstance(given, Tensor) and given.ndim == 0):
        return {_checks.count("Graph", name, given): 0.0}
    tensor = _numbers.tensor_of("Graph", name, given)
    if tensor.ndim == 0:  # of numpy
        return {_checks.count("Graph", name, tensor): 0.0}
    if tensor.is_floating_point() and (tensor.numel() or isinstance(given, Tensor | np.ndarray)):
        return _checks.floats("Graph", name, given, dtype=like.dtype)
    if tensor.device.type != "cpu":
        return _checks.integral("Graph", name, tensor)
    if tensor.numel() == 0:
        tensor = tensor.to(torch.int32)
    return dict.fromkeys(_checks.integers("Graph", name, tensor).tolist(), 0.0)


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


def _plausible(num_states: int, num_arcs: int, ends: Mapping[str, Ends]) -> None:
    """Refuse far more states than anything names: a stray number would take all memory."""
    named = 2 * num_arcs + sum(len(end) for end in ends.values())
    if num_states > _MANY_STATES and num_states > 64 * named:
        raise ValueError(
            f"Graph: state {num_states - 1} makes {num_states} states of which arcs and ends name "
            f"at most {named}: number them from 0, or say num_states={num_states}"
        )


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
    _checks.inside("Graph", name, like, num_states, of, {name: (min(end), max(end))})
    only = next(iter(end.values()))
    if len(end) == 1 and not isinstance(only, Tensor) and only == 0:
        scores[next(iter(end))] = 0  # fills where it is, while an index would have to get there
        return scores
    given = [torch.as_tensor(score, dtype=like.dtype) for score in end.values()]
    values = torch.stack(given)
    _checks.finite_or_zero("Graph", name, values)
    states = torch.tensor(list(end), device=like.device)
    return scores.index_put((states,), values.to(like.device))
