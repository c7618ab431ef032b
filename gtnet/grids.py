"""Lattices whose scores depend on more than one frame: RNN transducers and segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON, NEG_INF
from gtnet.emissions import Emissions
from gtnet.graph import Graph
from gtnet.topology import Topology

Lengths = Tensor | Sequence[int]


def transducer_graph(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
) -> Graph:
    """The lattices of an RNN transducer: all ways to write the target while reading the frames.

    State t * (length + 1) + u is "t frames read, u labels written"; the blank leads to the next
    frame and writes nothing, target u to the next label within the frame.

    Arguments:
        log_probs: float [batch, frames, longest target + 1, labels]; half precision gives graphs
            of float32. Beyond the lengths of an item nothing is read, and the gradient is 0.
        targets: integers [batch, longest target], padded.
        input_lengths, target_lengths: integers [batch]; by default all frames, all targets.
        blank: the label that writes nothing; no target may hold it.
    Result: a batch of acyclic graphs; paths are distinct alignments.
    Raises TypeError or ValueError for wrong shapes, dtypes, lengths and labels.
    Complexity: O(frames · labels of the target). Gradient: that of a gather, to `log_probs`.
    Source: Graves 2012, section 2.
    """
    lengths = (input_lengths, target_lengths)
    return transducer_batch("transducer_graph", log_probs, targets, *lengths, blank)


def transducer_batch(
    function: str,
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None,
    target_lengths: Lengths | None,
    blank: int,
) -> Graph:
    """`transducer_graph` whose errors name another function."""
    scores, labels, frames, written = transducer_scores(
        function, log_probs, targets, input_lengths, target_lengths, blank
    )
    batch, longest_frames, width, _ = scores.shape
    t = torch.arange(longest_frames, device=scores.device).view(1, -1, 1, 1)
    u = torch.arange(width, device=scores.device).view(1, 1, -1, 1)
    writes = torch.arange(2, device=scores.device).view(1, 1, 1, 2)
    here = (t < frames.view(-1, 1, 1, 1)) & (u + writes <= written.view(-1, 1, 1, 1))
    item, at, wrote, kind = here.nonzero(as_tuple=True)
    zero = frames.new_zeros(1)
    sizes = written + 1
    state_offsets = torch.cat([zero, ((frames + 1) * sizes).cumsum(0)])
    source = at * sizes[item] + wrote
    target = torch.where(kind == 0, source + sizes[item], source + 1)
    label = torch.cat([labels, labels.new_zeros(batch, 1)], 1)[item, wrote]
    topology = Topology(
        state_offsets,
        torch.cat([zero, here.sum((1, 2, 3)).cumsum(0)]),
        source.to(torch.int32),
        target.to(torch.int32),
        label.masked_fill(kind == 0, blank).to(torch.int32),
        label.masked_fill(kind == 0, EPSILON).to(torch.int32),
        int(state_offsets[-1]),
    )
    start = scores.new_full((topology.num_states,), NEG_INF)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    weights = scores[here]
    _checks.finite_or_zero(function, "log_probs", weights)
    return Graph.from_topology(topology, weights, start, accept)


def transducer_scores(
    function: str,
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None,
    target_lengths: Lengths | None,
    blank: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a transducer lattice needs: scores of the blank and of the next target label.

    Result: scores [batch, frames, longest + 1, 2], targets [batch, longest], both lengths [batch].
    """
    if not isinstance(log_probs, Tensor) or log_probs.dtype not in _checks.SHORT:
        log_probs = _checks.floats(function, "log_probs", log_probs)
    if log_probs.ndim != 4 or log_probs.shape[2] == 0:
        raise ValueError(
            f"{function}: log_probs must be [batch, frames, targets + 1, labels], "
            f"got {list(log_probs.shape)}"
        )
    batch, frames, width, size = log_probs.shape
    blank = _checks.one_of(function, "blank", blank, size)
    targets = _numbers.tensor_of(function, "targets", targets)
    if tuple(targets.shape) != (batch, width - 1):
        raise ValueError(
            f"{function}: targets must be [batch, longest] = [{batch}, {width - 1}] to match "
            f"log_probs {list(log_probs.shape)}, got {list(targets.shape)}"
        )
    _checks.same_device(function, log_probs=log_probs, targets=targets)
    device = log_probs.device
    labels = _checks.integral(function, "targets", targets.reshape(-1)).view(batch, width - 1)
    read = lengths_like(function, "input_lengths", input_lengths, batch, frames, device)
    written = lengths_like(function, "target_lengths", target_lengths, batch, width - 1, device)
    outside = torch.arange(width - 1, device=device) >= written.unsqueeze(1)
    others = (labels != blank).masked_fill(outside, True).int()
    tensors = {
        "targets": labels.masked_fill(outside, 0),
        "input_lengths": read,
        "target_lengths": written,
        "others": others,
    }
    seen = _checks.extremes(tensors)
    _checks.inside(function, "input_lengths", read, frames + 1, "the frames", seen)
    _checks.inside(function, "target_lengths", written, width, "the targets", seen)
    _checks.inside(function, "targets", labels, size, "the labels of log_probs", seen)
    if seen.get("others", (1, 1))[0] == 0:
        raise ValueError(f"{function}: a target must not hold the blank {blank}")
    labels = labels.to(torch.int32)
    chosen = labels.long().clamp(0, size - 1).view(batch, 1, width - 1, 1)
    next_label = log_probs[:, :, :-1].gather(3, chosen.expand(-1, frames, -1, -1))
    last = torch.nn.functional.pad(next_label, (0, 0, 0, 1), value=NEG_INF)
    scores = torch.cat([log_probs[..., blank : blank + 1], last], 3)
    return scores.float() if scores.dtype in _checks.SHORT else scores, labels, read, written


def transducer_log_softmax(
    function: str, logits: Tensor, input_lengths: Lengths | None, target_lengths: Lengths | None
) -> Tensor:
    """The log-softmax of logits [batch, frames, longest target + 1, labels]; outside 0, unread."""
    if logits.ndim != 4 or logits.shape[2] == 0:
        return logits  # for the errors of transducer_scores
    batch, frames, width, _ = logits.shape
    where = (function, "input_lengths", input_lengths, batch, frames, logits.device)
    read = lengths_like(*where)
    where = (function, "target_lengths", target_lengths, batch, width - 1, logits.device)
    written = lengths_like(*where)
    t, u = (torch.arange(n, device=logits.device) for n in (frames, width))
    outside = (t >= read.unsqueeze(1)).unsqueeze(2) | (u > written.unsqueeze(1)).unsqueeze(1)
    if logits.dtype in _checks.SHORT:
        logits = logits.float()
    return logits.masked_fill(outside.unsqueeze(3), 0).log_softmax(3)


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
