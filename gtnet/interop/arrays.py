"""A batch of graphs as a dictionary of numpy arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks
from gtnet.graph import Graph, built
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

OFFSETS = ("state_offsets", "arc_offsets")
ARCS = ("source", "target", "ilabels", "olabels")
SCORES = ("weights", "start", "accept")


def to_numpy(graph: Graph | Lattice) -> dict[str, np.ndarray]:
    """The arrays of a batch, by the names that `Graph` gives them; scores are detached.

    `state_offsets`, `arc_offsets` int64 [graphs + 1]; `source`, `target`, `ilabels`, `olabels`
    int32 [arcs]; `weights` [arcs], `start` and `accept` [states], float32 or float64. Copies.
    """
    graph = built("to_numpy", "graph", graph)
    tensors = ((name, getattr(graph, name)) for name in (*OFFSETS, *ARCS, *SCORES))
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors}


def from_numpy(arrays: Mapping[str, Any]) -> Graph:
    """The batch of arrays that `to_numpy` gave, everything checked; scores are leaf tensors.

    `olabels` may be left out (an acceptor), and so may both offsets (one graph).
    Raises ValueError for arrays that are missing or that do not fit each other, and TypeError for
    wrong dtypes. Complexity: O(states + arcs).
    """
    return checked("from_numpy", arrays)


def checked(function: str, arrays: Mapping[str, Any]) -> Graph:
    """The batch, or an error that names `function`."""
    known = {*OFFSETS, *ARCS, *SCORES}
    missing = sorted(known - {"olabels", *OFFSETS} - set(arrays))
    if missing or set(arrays) - known:
        what, names = ("missing", missing) if missing else ("unknown", sorted(set(arrays) - known))
        raise ValueError(f"{function}: {', '.join(names)}: {what} among the arrays of a graph")
    columns = {
        name: _checks.integers(function, name, _tensor(arrays[name]))
        for name in ARCS
        if name in arrays
    }
    num_arcs, num_states = len(columns["source"]), len(arrays["start"])
    weights, start, accept = (
        _checks.scores(function, name, _tensor(arrays[name]), size)
        for name, size in zip(SCORES, (num_arcs, num_states, num_states))
    )
    _checks.same_dtype(function, weights=weights, start=start, accept=accept)
    for name, column in columns.items():
        if len(column) != num_arcs:
            raise ValueError(f"{function}: source has {num_arcs} arcs, {name} has {len(column)}")
        if name in ("ilabels", "olabels"):
            _checks.labels(function, name, column)
    offsets = [
        _offsets(function, name, arrays, size)
        for name, size in zip(OFFSETS, (num_states, num_arcs))
    ]
    if len(offsets[0]) != len(offsets[1]):
        lengths = f"{len(offsets[0])} and {len(offsets[1])}"
        raise ValueError(f"{function}: offsets of states and arcs differ in length: {lengths}")
    sizes = offsets[0].diff().repeat_interleave(offsets[1].diff())
    for name in ("source", "target"):
        wrong = (columns[name] < 0) | (columns[name] >= sizes)
        if bool(wrong.any()):
            arc = int(wrong.nonzero()[0])
            raise ValueError(
                f"{function}: {name} of arc {arc} is {int(columns[name][arc])}, of a graph of "
                f"{int(sizes[arc])} states"
            )
    ilabels = columns["ilabels"]
    topology = Topology(
        offsets[0],
        offsets[1],
        columns["source"],
        columns["target"],
        ilabels,
        columns.get("olabels", ilabels),
        num_states,
    )
    return Graph.from_topology(topology, weights, start, accept)


def _tensor(values: Any) -> Tensor:
    """A copy as a tensor: later writes into the array do not reach the graph."""
    return values.detach().clone() if torch.is_tensor(values) else torch.tensor(np.asarray(values))


def _offsets(function: str, name: str, arrays: Mapping[str, Any], size: int) -> Tensor:
    """The offsets of a batch, which grow from 0 to `size`; of one graph where there are none."""
    if name not in arrays:
        return torch.tensor([0, size])
    offsets = _checks.integers(function, name, _tensor(arrays[name])).long()
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != size or (offsets.diff() < 0).any():
        raise ValueError(f"{function}: {name} must grow from 0 to {size}")
    return offsets
