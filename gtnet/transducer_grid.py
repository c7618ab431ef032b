"""The alignments of a transducer with its target: a grid of frames read and labels written."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _numbers, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.grids import Lengths, lengths_like
from gtnet.topology import Topology

Alignments = Literal["regular", "modified", "constrained"]


def transducer_graph(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    *,
    topology: Alignments = "regular",
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
        topology: "regular"; "modified", where a label leads to the next frame as well, so that a
            frame writes at most one; "constrained", where moreover the blank of the same frame
            follows each label, and its score stands on the label's arc.
    Result: a batch of acyclic graphs; paths are distinct alignments.
    Raises TypeError or ValueError for wrong shapes, dtypes, lengths and labels.
    Complexity: O(frames · labels of the target). Gradient: that of a gather, to `log_probs`.
    Source: Graves 2012, section 2; Tripathi, Lu, Sak & Soltau 2019, "Monotonic recurrent neural
    network transducer", for labels that take a frame.
    """
    function = "transducer_graph"
    grid = grid_of(function, log_probs, targets, input_lengths, target_lengths, blank)
    return graph_of(function, shaped(function, grid, topology))


class Target(NamedTuple):
    """Checked targets of a batch."""

    labels: Tensor  # int32 [batch, longest]
    frames: Tensor  # int64 [batch]
    lengths: Tensor  # int64 [batch]
    blank: int

    def following(self) -> Tensor:
        """The label after u others, NO_LABEL at the end, UNREAD behind: int32 [batch, longest+1]"""
        end = self.labels.new_full((len(self.labels), 1), _ops.NO_LABEL)
        u = torch.arange(self.labels.shape[1] + 1, device=self.labels.device)
        length = self.lengths.unsqueeze(1)
        ended = torch.cat([self.labels, end], 1).masked_fill(u >= length, _ops.NO_LABEL)
        return ended.masked_fill(u > length, _ops.UNREAD)


class TransducerGrid(NamedTuple):
    """The scores of steps at each place, "t frames read, u labels written"."""

    blank: Tensor  # [batch, frames, longest + 1]
    label: Tensor  # the same; -inf at the end of the target
    target: Target
    takes_frame: bool  # whether a label leads to the next frame


def grid_of(
    function: str,
    outputs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None,
    target_lengths: Lengths | None,
    blank: int,
    *,
    ranges: Tensor | None = None,
    normalize: bool = False,
) -> TransducerGrid:
    """The grid of a network's outputs [batch, frames, places, labels].

    Places are all numbers of labels written, or for each frame those of `ranges`.
    """
    if not isinstance(outputs, Tensor) or outputs.dtype not in _checks.SHORT:
        outputs = _checks.floats(function, "log_probs", outputs)
    if outputs.ndim != 4 or outputs.shape[2] == 0:
        raise ValueError(
            f"{function}: log_probs must be [batch, frames, targets + 1, labels], "
            f"got {list(outputs.shape)}"
        )
    batch, frames, places, size = outputs.shape
    targets = _numbers.tensor_of(function, "targets", targets)
    if ranges is None and tuple(targets.shape) != (batch, places - 1):
        raise ValueError(
            f"{function}: targets must be [batch, longest] = [{batch}, {places - 1}] to match "
            f"log_probs {list(outputs.shape)}, got {list(targets.shape)}"
        )
    _checks.same_device(function, log_probs=outputs, targets=targets)
    sizes = (batch, frames, size)
    target = checked(function, targets, sizes, input_lengths, target_lengths, blank, "log_probs")
    if outputs.dtype in _checks.SHORT:
        outputs = outputs.float()
    following = target.following().unsqueeze(1)
    width = following.shape[2]
    if ranges is not None:
        ranges = _checked_ranges(function, ranges, (batch, frames, places), width)
        following = following.expand(-1, frames, -1).gather(2, ranges)
    steps = _ops.transducer_steps(
        outputs, following.contiguous(), target.frames, target.blank, normalize
    )
    if ranges is not None:
        outside = outputs.new_full((batch, frames, width), NEG_INF)
        steps = (outside.scatter(2, ranges, steps[0]), outside.scatter(2, ranges, steps[1]))
    return TransducerGrid(*steps, target, False)


def checked(
    function: str,
    targets: Tensor,
    sizes: tuple[int, int, int],
    input_lengths: Lengths | None,
    target_lengths: Lengths | None,
    blank: int,
    of: str,
) -> Target:
    """Targets [batch, longest] for outputs of so many items, frames and labels."""
    batch, frames, size = sizes
    blank = _checks.one_of(function, "blank", blank, size)
    if targets.ndim != 2 or len(targets) != batch:
        raise ValueError(
            f"{function}: targets must be [batch, longest] with a batch of {batch}, "
            f"got {list(targets.shape)}"
        )
    device, longest = targets.device, targets.shape[1]
    labels = _checks.integral(function, "targets", targets.reshape(-1)).view(batch, longest)
    read = lengths_like(function, "input_lengths", input_lengths, batch, frames, device)
    written = lengths_like(function, "target_lengths", target_lengths, batch, longest, device)
    outside = torch.arange(longest, device=device) >= written.unsqueeze(1)
    others = (labels != blank).masked_fill(outside, True).int()
    tensors = {
        "targets": labels.masked_fill(outside, 0),
        "input_lengths": read,
        "target_lengths": written,
        "others": others,
    }
    seen = _checks.extremes(tensors)
    _checks.inside(function, "input_lengths", read, frames + 1, "the frames", seen)
    _checks.inside(function, "target_lengths", written, longest + 1, "the targets", seen)
    _checks.inside(function, "targets", labels, size, f"the labels of {of}", seen)
    if seen.get("others", (1, 1))[0] == 0:
        raise ValueError(f"{function}: a target must not hold the blank {blank}")
    return Target(labels.to(torch.int32), read, written, blank)


def _checked_ranges(
    function: str, ranges: Tensor, shape: tuple[int, int, int], width: int
) -> Tensor:
    given = _numbers.tensor_of(function, "ranges", ranges)
    if tuple(given.shape) != shape:
        raise ValueError(
            f"{function}: ranges must be [batch, frames, places] = {list(shape)} to match "
            f"log_probs, got {list(given.shape)}"
        )
    flat = _checks.integral(function, "ranges", given.reshape(-1))
    seen = _checks.extremes({"ranges": flat, "gaps": given.diff(dim=2).reshape(-1)})
    _checks.inside(function, "ranges", flat, width, "numbers of labels written", seen)
    if seen.get("gaps", (1, 1)) != (1, 1):
        raise ValueError(f"{function}: ranges must hold consecutive numbers for each frame")
    return given.long()


def shaped(
    function: str,
    grid: TransducerGrid,
    topology: Alignments,
    delay_penalty: float = 0.0,
    fastemit_lambda: float = 0.0,
) -> TransducerGrid:
    """The grid with the scores and steps that these options ask for."""
    if topology not in ("regular", "modified", "constrained"):
        raise ValueError(
            f'{function}: topology must be "regular", "modified" or "constrained", got {topology!r}'
        )
    for name, value in (("delay_penalty", delay_penalty), ("fastemit_lambda", fastemit_lambda)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{function}: {name} must be at least 0 and finite, got {value}")
    label = grid.label
    if fastemit_lambda:
        possible = label.masked_fill(label == NEG_INF, 0)
        more = fastemit_lambda * possible
        label = label + (more - more.detach())  # 0, but for the gradient
    if delay_penalty:
        middle = (grid.target.frames.to(label.dtype) - 1) / 2
        early = middle.unsqueeze(1) - torch.arange(label.shape[1], device=label.device)
        label = label + delay_penalty * early.unsqueeze(2).to(label.dtype)
    if topology == "constrained":
        label = label + torch.nn.functional.pad(grid.blank[:, :, 1:], (0, 1))
    return grid._replace(label=label, takes_frame=topology != "regular")


def graph_of(function: str, grid: TransducerGrid, name: str = "log_probs") -> Graph:
    """The grid as a batch of graphs; refuses NaN and +inf in `name`."""
    labels, frames, written, blank = grid.target
    scores = torch.stack([grid.blank, grid.label], 3)
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
    reads = kind == 0 if not grid.takes_frame else torch.ones_like(kind, dtype=torch.bool)
    label = torch.cat([labels, labels.new_zeros(batch, 1)], 1)[item, wrote]
    topology = Topology(
        state_offsets,
        torch.cat([zero, here.sum((1, 2, 3)).cumsum(0)]),
        source.to(torch.int32),
        (source + kind + torch.where(reads, sizes[item], 0)).to(torch.int32),
        label.masked_fill(kind == 0, blank).to(torch.int32),
        label.masked_fill(kind == 0, EPSILON).to(torch.int32),
        int(state_offsets[-1]),
    )
    start = scores.new_full((topology.num_states,), NEG_INF)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    weights = scores[here]
    _checks.finite_or_zero(function, name, weights)
    return Graph.from_topology(topology, weights, start, accept)
