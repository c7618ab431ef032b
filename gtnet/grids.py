"""Segments of frames: lattices whose scores depend on more than one frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._checks import NEG_INF
from gtnet.emissions import Emissions
from gtnet.graph import Graph
from gtnet.topology import Topology

Lengths = Tensor | Sequence[int]


def lengths_of(
    function: str, name: str, lengths: Lengths | None, batch: int, most: int, of: str
) -> Tensor:
    """Lengths as int64 [batch], between 0 and `most`, the default.

    They stay on their device; the host waits for those on a GPU.
    """
    given = lengths_like(function, name, lengths, batch, most)
    _checks.inside(function, name, given, most + 1, of)
    return given


def lengths_like(
    function: str,
    name: str,
    lengths: Lengths | None,
    batch: int,
    most: int,
    device: torch.device | None = None,
) -> Tensor:
    """Lengths as int64 [batch], unchecked; on `device`, or on their own."""
    if lengths is None:
        return torch.full((batch,), most, device=device)
    given: object = lengths
    if isinstance(lengths, int | np.integer) or (isinstance(lengths, Tensor) and lengths.ndim == 0):
        given = torch.as_tensor(lengths).reshape(1)
    given = _checks.integral(function, name, given)
    if len(given) != batch:
        raise ValueError(f"{function}: the batch has {batch} items, {name} {len(given)}")
    return given.long() if device is None else given.long().to(device)


def segment_graph(
    lengths: Lengths, max_duration: int, *, dtype: torch.dtype | None = None
) -> Graph:
    """All ways to cut frames into segments of at most `max_duration` frames: a segmentation graph.

    State t is the cut before frame t; the arc of the frames [t, t + d) has label d. Arcs are
    ordered by cut, then by duration. `Emissions(scores, graph=...)` gives each a score per label.

    Arguments: `lengths` integers [batch], the frames of each item; `max_duration` at least 1.
    Complexity: O(frames · max_duration). Source: Sarawagi & Cohen 2004 (semi-Markov models).
    """
    dtype = _numbers.float_dtype(dtype)
    given = _checks.integral("segment_graph", "lengths", lengths)
    least, longest = _checks.extremes({"lengths": given}).get("lengths", (0, 0))
    if least < 0:
        raise ValueError(f"segment_graph: lengths must be at least 0, got {int(least)}")
    frames = given.long()
    inside = _durations("segment_graph", frames, int(longest), max_duration)
    item, at, shorter = inside.nonzero(as_tuple=True)
    zero = frames.new_zeros(1)
    state_offsets = torch.cat([zero, (frames + 1).cumsum(0)])
    label = (shorter + 1).to(torch.int32)
    topology = Topology(
        state_offsets,
        torch.cat([zero, inside.sum((1, 2)).cumsum(0)]),
        at.to(torch.int32),
        (at + shorter + 1).to(torch.int32),
        label,
        label,
        int(state_offsets[-1]),
    )
    weights = torch.zeros(len(item), dtype=dtype, device=item.device)
    start = weights.new_full((topology.num_states,), NEG_INF)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    return Graph.from_topology(topology, weights, start, accept)


def segment_emissions(scores: Tensor, lengths: Lengths | None = None) -> Emissions:
    """Emissions over all segments of each item, from the scores of every segment and label.

    Arguments: `scores` float [batch, frames, durations, labels]: of the segment of d + 1 frames
    that begins at frame t at [:, t, d]; `lengths` the frames of each item, integers [batch].
    Result: `Emissions` over `segment_graph(lengths, durations)`; segments that would end after the
    last frame are left out. Raises TypeError or ValueError for wrong shapes and dtypes.
    Complexity: O(scores). Gradient: that of a gather.
    """
    scores = _checks.emissions("segment_emissions", "scores", scores)
    if scores.ndim != 4:
        raise ValueError(
            f"segment_emissions: scores must be [batch, frames, durations, labels], "
            f"got {list(scores.shape)}"
        )
    batch, frames, durations, _ = scores.shape
    sizes = lengths_like("segment_emissions", "lengths", lengths, batch, frames, scores.device)
    _checks.inside("segment_emissions", "lengths", sizes, frames + 1, "the frames")
    dtype = torch.float32 if scores.dtype in _checks.SHORT else scores.dtype
    graph = segment_graph(sizes, durations, dtype=dtype)
    return Emissions(scores[_durations("segment_emissions", sizes, frames, durations)], graph=graph)


def _durations(function: str, lengths: Tensor, frames: int, max_duration: int) -> Tensor:
    """Whether the segment of d + 1 frames at frame t lies inside: bool [batch, frames, d]."""
    most = _checks.count(function, "max_duration", max_duration)
    if most == 0:
        raise ValueError(f"{function}: max_duration must be at least 1, got 0")
    frame, shorter = (torch.arange(size, device=lengths.device) for size in (frames, most))
    ends = frame.unsqueeze(1) + shorter + 1
    return ends <= lengths.view(-1, 1, 1)
