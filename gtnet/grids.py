"""Lattices whose scores depend on more than a frame: RNN transducers and segments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtnet import _checks
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
        log_probs: float [batch, frames, longest target + 1, labels].
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
    """`transducer_graph` for a function of another name."""
    scores, labels, frames, written = transducer_scores(
        function, log_probs, targets, input_lengths, target_lengths, blank
    )
    batch, longest_frames, width, _ = scores.shape
    t = torch.arange(longest_frames).view(1, -1, 1, 1)
    u = torch.arange(width).view(1, 1, -1, 1)
    writes = torch.arange(2).view(1, 1, 1, 2)
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
    return Graph.from_topology(topology, scores[here], start, accept)


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
    log_probs = _checks.scores(function, "log_probs", log_probs)
    if log_probs.ndim != 4 or log_probs.shape[2] == 0:
        raise ValueError(
            f"{function}: log_probs must be [batch, frames, targets + 1, labels], "
            f"got {list(log_probs.shape)}"
        )
    _checks.on_cpu(function, "log_probs", log_probs, "lattices are built there")
    batch, frames, width, size = log_probs.shape
    blank = _checks.count(function, "blank", blank)
    if blank >= size:
        raise ValueError(f"{function}: blank must be one of the {size} labels, got {blank}")
    targets = torch.as_tensor(targets)
    if tuple(targets.shape) != (batch, width - 1):
        raise ValueError(
            f"{function}: targets must be [batch, longest] = [{batch}, {width - 1}] to match "
            f"log_probs {list(log_probs.shape)}, got {list(targets.shape)}"
        )
    labels = _checks.integers(function, "targets", targets.reshape(-1)).view(batch, width - 1)
    read = lengths_of(function, "input_lengths", input_lengths, batch, frames, "the frames")
    written = lengths_of(
        function, "target_lengths", target_lengths, batch, width - 1, "the targets"
    )
    used = labels[torch.arange(width - 1) < written.unsqueeze(1)]
    _checks.inside(function, "targets", used, size, "the labels of log_probs")
    if bool((used == blank).any()):
        raise ValueError(f"{function}: a target must not hold the blank {blank}")
    chosen = labels.long().clamp(0, size - 1).view(batch, 1, width - 1, 1)
    next_label = log_probs[:, :, :-1].gather(3, chosen.expand(-1, frames, -1, -1))
    last = torch.nn.functional.pad(next_label, (0, 0, 0, 1), value=NEG_INF)
    return torch.cat([log_probs[..., blank : blank + 1], last], 3), labels, read, written


def lengths_of(
    function: str, name: str, lengths: Lengths | None, batch: int, most: int, of: str
) -> Tensor:
    """Lengths as int64 [batch], between 0 and `most`, which they are by default."""
    if lengths is None:
        return torch.full((batch,), most)
    given = torch.as_tensor(lengths)
    _checks.on_cpu(function, name, given, "it is looked at there: move it with .cpu()")
    checked = _checks.integers(function, name, given.reshape(1) if given.ndim == 0 else given)
    if len(checked) != batch:
        raise ValueError(f"{function}: the batch has {batch} items, {name} {len(checked)}")
    _checks.inside(function, name, checked, most + 1, of)
    return checked.long()


def segment_graph(
    lengths: Lengths, max_duration: int, *, dtype: torch.dtype = torch.float32
) -> Graph:
    """All ways to cut frames into segments of at most `max_duration` frames: a segmentation graph.

    State t is the cut before frame t; the arc of the frames [t, t + d) has label d. Arcs come by
    cut, then by duration. `Emissions(scores, graph=...)` gives each a score per label.

    Arguments: `lengths` integers [batch], the frames of each item; `max_duration` at least 1.
    Complexity: O(frames · max_duration). Source: Sarawagi & Cohen 2004 (semi-Markov models).
    """
    frames = _checks.integers("segment_graph", "lengths", lengths).long()
    if len(frames) and int(frames.min()) < 0:
        raise ValueError(f"segment_graph: lengths must be at least 0, got {int(frames.min())}")
    inside = _durations("segment_graph", frames, int(frames.max()) if len(frames) else 0,
                        max_duration)  # fmt: skip
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
    start = torch.full((topology.num_states,), NEG_INF, dtype=dtype)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    return Graph.from_topology(topology, torch.zeros(len(item), dtype=dtype), start, accept)


def segment_emissions(scores: Tensor, lengths: Lengths | None = None) -> Emissions:
    """Emissions over all segments of each item, from the scores of every segment and label.

    Arguments: `scores` float [batch, frames, durations, labels]: of the segment of d + 1 frames
    that begins at frame t at [:, t, d]; `lengths` the frames of each item, integers [batch].
    Result: `Emissions` over `segment_graph(lengths, durations)`; what ends behind the last
    frame is left out. Raises TypeError or ValueError for wrong shapes and dtypes.
    Complexity: O(scores). Gradient: that of a gather.
    """
    scores = _checks.scores("segment_emissions", "scores", scores)
    if scores.ndim != 4:
        raise ValueError(
            f"segment_emissions: scores must be [batch, frames, durations, labels], "
            f"got {list(scores.shape)}"
        )
    batch, frames, durations, _ = scores.shape
    sizes = lengths_of("segment_emissions", "lengths", lengths, batch, frames, "the frames")
    graph = segment_graph(sizes, durations, dtype=scores.dtype)
    return Emissions(scores[_durations("segment_emissions", sizes, frames, durations)], graph=graph)


def _durations(function: str, lengths: Tensor, frames: int, max_duration: int) -> Tensor:
    """Whether the segment of d + 1 frames at frame t lies inside: bool [batch, frames, d]."""
    most = _checks.count(function, "max_duration", max_duration)
    if most == 0:
        raise ValueError(f"{function}: max_duration must be at least 1, got 0")
    ends = torch.arange(frames).unsqueeze(1) + torch.arange(most) + 1
    return ends <= lengths.view(-1, 1, 1)
