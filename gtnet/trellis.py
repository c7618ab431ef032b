"""Potentials that vary with place as graphs: chains of tags, alignments of two sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import NEG_INF
from gtnet.graph import Graph
from gtnet.grids import Lengths, lengths_like
from gtnet.topology import Topology


def trellis_graph(
    potentials: Tensor, first: Tensor | None = None, lengths: Lengths | None = None
) -> Graph:
    """All sequences of tags under potentials of neighbours that may be others at every place.

    torch-struct's LinearChainCRF as a graph: a path reads n tags; its score is the sum of
    `potentials[:, t, tag t + 1, tag t]`, and of `first[:, tag 0]`.

    Arguments: `potentials` float [batch, n - 1, tags, tags]; `first` [batch, tags], by default 0;
    `lengths` the tags of each item, integers [batch] up to n. Result: acyclic graphs of
    1 + length · tags states. Raises TypeError or ValueError for wrong shapes and dtypes.
    Complexity: O(potentials). Gradient: that of a gather.
    Source: Lafferty, McCallum & Pereira 2001.
    """
    potentials = _checks.emissions("trellis_graph", "potentials", potentials)
    if potentials.ndim != 4 or potentials.shape[2] != potentials.shape[3]:
        raise ValueError(
            f"trellis_graph: potentials must be [batch, n - 1, tags, tags], got "
            f"{list(potentials.shape)}"
        )
    batch, steps, tags, _ = potentials.shape
    if first is None:
        first = potentials.new_zeros(batch, tags)
    if first.shape != (batch, tags) or first.dtype != potentials.dtype:
        raise ValueError(
            f"trellis_graph: first must be {potentials.dtype} [{batch}, {tags}], got "
            f"{first.dtype} {list(first.shape)}"
        )
    sizes = _sizes("trellis_graph", "lengths", lengths, batch, steps + 1, potentials)
    begin = first[:, None, None].expand(batch, 1, 1, tags)
    place, tag, before = _axes(potentials, steps, tags, tags)
    inner = torch.stack(
        torch.broadcast_tensors(1 + place * tags + before, 1 + (place + 1) * tags + tag, tag)
    )
    entry = torch.arange(tags, device=potentials.device)
    columns = torch.cat(
        [torch.stack([torch.zeros_like(entry), 1 + entry, entry]), inner.reshape(3, -1)], 1
    )
    weights = torch.cat([begin.reshape(batch, -1), potentials.reshape(batch, -1)], 1)
    inside = torch.cat(
        [
            (sizes > 0)[:, None].expand(batch, tags),
            (place + 1 < sizes[:, None, None, None])
            .expand(batch, steps, tags, tags)
            .reshape(batch, -1),
        ],
        1,
    )
    last = 1 + torch.arange(tags, device=potentials.device) + (sizes[:, None] - 1) * tags
    ends = torch.where(sizes[:, None] > 0, last, 0)
    return _graph(columns, weights, inside, 1 + sizes * tags, ends)


def alignment_graph(
    potentials: Tensor,
    lengths: Lengths | None = None,
    other_lengths: Lengths | None = None,
) -> Graph:
    """All monotonic alignments of two sequences under potentials of every pair of places.

    torch-struct's AlignmentCRF as a graph: a path goes through cells (i, j) from (0, 0) to the last
    one, and its score is the sum of `potentials[:, i, j, step]` over the cells that it enters: by
    step 0 from (i - 1, j), by 1 from (i - 1, j - 1), by 2 from (i, j - 1); the first by 1. It reads
    the steps.

    Arguments: `potentials` float [batch, n, m, 3]; `lengths` and `other_lengths` the places of both
    sequences of each item, integers [batch] up to n and m, at least 1. Result: acyclic graphs of
    1 + n · m states. Raises TypeError or ValueError for wrong shapes, dtypes and lengths.
    Complexity: O(potentials). Gradient: that of a gather. Source: Needleman & Wunsch 1970.
    """
    potentials = _checks.emissions("alignment_graph", "potentials", potentials)
    if potentials.ndim != 4 or potentials.shape[3] != 3 or 0 in potentials.shape[1:]:
        raise ValueError(
            f"alignment_graph: potentials must be [batch, n, m, 3] with n and m at least 1, got "
            f"{list(potentials.shape)}"
        )
    batch, n, m, _ = potentials.shape
    rows = _sizes("alignment_graph", "lengths", lengths, batch, n, potentials)
    columns = _sizes("alignment_graph", "other_lengths", other_lengths, batch, m, potentials)
    if bool((rows < 1).any() | (columns < 1).any()):
        raise ValueError("alignment_graph: lengths and other_lengths must be at least 1")
    i, j, step = _axes(potentials, n, m, 3)
    before_i, before_j = i - (step < 2).long(), j - (step > 0).long()
    opens = (i == 0) & (j == 0) & (step == 1)
    legal = opens | (before_i >= 0) & (before_j >= 0)
    source = torch.where(opens, 0, 1 + before_i * m + before_j)
    arcs = torch.stack(torch.broadcast_tensors(source, 1 + i * m + j, step)).reshape(3, -1)
    own_rows, own_columns = (size[:, None, None, None] for size in (rows, columns))
    inside = (legal & (i < own_rows) & (j < own_columns)).reshape(batch, -1)
    ends = (1 + (rows - 1) * m + columns - 1)[:, None]
    states = torch.full_like(rows, 1 + n * m)
    return _graph(arcs, potentials.reshape(batch, -1), inside, states, ends)


def _sizes(
    function: str, name: str, lengths: Lengths | None, batch: int, most: int, like: Tensor
) -> Tensor:
    sizes = lengths_like(function, name, lengths, batch, most, like.device)
    _checks.inside(function, name, sizes, most + 1, "the potentials")
    return sizes.long()


def _axes(like: Tensor, *sizes: int) -> list[Tensor]:
    """The indices along three axes, ready to be broadcast."""
    return [
        torch.arange(size, device=like.device).view([-1 if a == axis else 1 for a in range(3)])
        for axis, size in enumerate(sizes)
    ]


def _graph(arcs: Tensor, weights: Tensor, inside: Tensor, states: Tensor, ends: Tensor) -> Graph:
    """Of arcs [3, arcs] (source, target, label) those `inside` each item, bool [batch, arcs]."""
    item, arc = inside.nonzero(as_tuple=True)
    source, target, label = arcs[:, arc].to(torch.int32)
    zero = states.new_zeros(1)
    state_offsets = torch.cat([zero, states.cumsum(0)])
    arc_offsets = torch.cat([zero, inside.sum(1).cumsum(0)])
    topology = Topology(
        state_offsets, arc_offsets, source, target, label, label, int(state_offsets[-1])
    )
    start = weights.new_full((topology.num_states,), NEG_INF)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[(state_offsets[:-1, None] + ends).reshape(-1)] = 0
    return Graph.from_topology(topology, weights[item, arc], start, accept)
