"""CTC and ASG topologies of padded targets, made on the GPU of the targets without waiting."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from gtnet import _ops
from gtnet._checks import EPSILON, LARGEST, NEG_INF
from gtnet._ordinary import ordinary
from gtnet.graph import Graph
from gtnet.topology import Topology

_ROUND = 8  # targets are padded to a multiple of this, so that few layouts serve all lengths
# As in csrc/layout/transition_program.h: lanes of a slice, its flag for one row, and entries.
_LANES, _TOGETHER, _PADDING, _UNIT_ARC = 16, 1, -1, -2
_NO_LABEL, _BLANK = 0, 1  # local labels; the distinct labels of a target follow in order


class _Targets(NamedTuple):
    """Targets [batch, longest], LARGEST where there is none, and their lengths."""

    labels: Tensor
    lengths: Tensor
    wrong: Tensor  # bool [batch]

    def graph(self, topology: Topology, weights: Tensor, accepting: Tensor) -> Graph:
        """Scores on a topology; `accepting` bool [batch, states]."""
        start = torch.where(self.wrong, torch.nan, 0.0).to(weights.dtype).unsqueeze(1)
        place = torch.arange(accepting.shape[1], device=accepting.device)
        ends = _score(accepting, weights.dtype).flatten()
        return Graph.from_topology(
            topology, weights.flatten(), start.masked_fill(place > 0, NEG_INF).flatten(), ends
        )


def padded_ctc(
    targets: Tensor, lengths: Tensor, blank: int, num_labels: int, dtype: torch.dtype
) -> Graph:
    """`ctc_graph` of each row of targets on a GPU, with room for the longest.

    States are numbered as for targets that fill their rows: state s has the arcs 3s from itself,
    3s + 1 from the state before and 3s + 2 from the one before that; arcs that a target lacks have
    the score -inf. A target that holds the blank or an unknown label, or has an impossible length,
    gets a start score of NaN, and so a loss of NaN: raising an error would have to wait.

    Arguments: `targets` integers [batch, longest], `lengths` integers [batch], on a GPU.
    Complexity: O(batch · longest), and a sort of each target.
    """
    given = _padded(targets, lengths, blank, num_labels)
    batch, longest = given.labels.shape
    state = torch.arange(2 * longest + 1, device=targets.device)
    back = torch.arange(3, device=targets.device)
    reads = torch.full((batch, len(state)), blank, device=targets.device)
    reads[:, 1::2] = torch.where(given.labels < LARGEST, given.labels, blank)
    here = state <= 2 * lengths.unsqueeze(1)
    skips = torch.zeros_like(here)
    skips[:, 3::2] = given.labels[:, 1:] != given.labels[:, :-1]
    arcs = torch.stack([here, here & (state >= 1), here & skips], 2)
    entered = state.repeat_interleave(3)
    writes = (entered % 2 == 1) & (back.repeat(len(state)) > 0)
    source = (entered - back.repeat(len(state))).clamp(min=0)
    ilabels = reads.repeat_interleave(3, 1)
    topology = _topology(source, entered, ilabels, writes, len(state))
    topology.__dict__["steps"] = _laid_out(topology, given.labels, blank)
    left = 2 * lengths.unsqueeze(1) - state
    return given.graph(topology, _score(arcs, dtype), (left == 0) | ((left == 1) & (state > 0)))


def padded_asg(targets: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor) -> Graph:
    """`asg_graph` of each row of targets on a GPU, with room for the longest.

    As `padded_ctc`, and a target in which a label follows itself is wrong; state s > 0, the target
    s - 1, has the arcs 2s - 2 from itself and 2s - 1 from the state before. Gradient: that of a
    gather.
    """
    size = len(start)
    given = _padded(targets, lengths, None, size, repeats=False)
    batch, longest = given.labels.shape
    there = given.labels < LARGEST
    label = torch.where(there, given.labels, 0)
    before = pad(label, (1, 0))[:, :-1] * size
    before[:, 0] = size * size
    scores = torch.cat([transitions.flatten(), start])
    index = torch.stack([label * (size + 1), before + label], 2).flatten().to(torch.int32)
    weights = _ops.take(scores, index).view(batch, longest, 2)
    weights = weights.masked_fill(~there.unsqueeze(2), NEG_INF)
    state = torch.arange(longest + 1, device=targets.device)
    back = torch.arange(2, device=targets.device).repeat(longest)
    entered = state[1:].repeat_interleave(2)
    ilabels = label.repeat_interleave(2, 1)
    topology = _topology(entered - back, entered, ilabels, back > 0, longest + 1)
    topology.__dict__["steps"] = _laid_out(topology, given.labels, None)
    return given.graph(topology, weights, state == lengths.unsqueeze(1))


def _padded(
    targets: Tensor, lengths: Tensor, blank: int | None, num_labels: int, *, repeats: bool = True
) -> _Targets:
    """Targets padded further, and which of them are wrong."""
    most = targets.shape[1]
    targets = pad(targets.long(), (0, max(-most % _ROUND, _ROUND - most)))
    inside = torch.arange(targets.shape[1], device=targets.device) < lengths.unsqueeze(1)
    known = (targets >= 0) & (targets < num_labels)
    if blank is not None:
        known &= targets != blank
    wrong = (inside & ~known).any(1) | (lengths < 0) | (lengths > most)
    if not repeats:
        wrong = wrong | (inside[:, 1:] & (targets[:, 1:] == targets[:, :-1])).any(1)
    return _Targets(targets.masked_fill(~(inside & known), LARGEST), lengths, wrong)


def _score(possible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where it is true, -inf elsewhere."""
    scores = torch.zeros(possible.shape, dtype=dtype, device=possible.device)
    return scores.masked_fill(~possible, NEG_INF)


def _topology(
    source: Tensor, target: Tensor, ilabels: Tensor, writes: Tensor, num_states: int
) -> Topology:
    """The same arcs [arcs] in every graph, their labels [batch, arcs]; not all write."""
    batch, num_arcs = ilabels.shape
    graphs = torch.arange(batch + 1, device=source.device)
    labels = ilabels.to(torch.int32)
    return Topology(
        graphs * num_states,
        graphs * num_arcs,
        source.to(torch.int32).repeat(batch),
        target.to(torch.int32).repeat(batch),
        labels.flatten(),
        labels.masked_fill(~writes, EPSILON).flatten(),
        batch * num_states,
    )


class _Layout(NamedTuple):
    """The words of a graph whose target has distinct labels, and where those are that differ."""

    words: Tensor  # int32 [words of a graph]
    names: int  # where the labels begin that local labels stand for
    label: int  # where the local labels of positions begin
    forth: int  # where programs begin
    back: int
    slice_begin: int  # of the program that sums by label: of its first slice for target labels
    other: int
    arc: int
    forth_entries: int
    back_entries: int
    blank_entries: int
    sizes: tuple[int, ...]


@lru_cache(maxsize=64)
@ordinary
def _layout(longest: int, blanks: bool, device: torch.device) -> _Layout:
    """What does not depend on the labels of a target: a step forth and back, taken from the CPU's
    layout of an example, and a program that sums by label with room for every target.
    """
    words, sizes = _example(longest, blanks)
    positions, slots, labels, _, forth, back, by_label = words[:7].tolist()
    first = 1 + blanks
    assert (positions > longest, labels) == (True, longest + first)

    # The first slice is the blank's, whose lanes share its positions; then come rows of the other
    # labels, the first of them without any: the one for nothing.
    slices = blanks - (-(longest + 1) // _LANES)
    blank_entries = blanks * -(-(longest + 1) // _LANES)
    entries = blank_entries + longest + 1  # one more, for what is in no row
    writes = torch.full((slices * _LANES,), -1)
    flags = torch.zeros(slices, dtype=torch.int64)
    other = torch.zeros(entries * _LANES, dtype=torch.int64)
    arc = torch.full((entries * _LANES,), _PADDING)
    if blanks:
        writes[0], flags[0] = _BLANK, _TOGETHER
        other[: longest + 1] = 2 * torch.arange(longest + 1)
        arc[: longest + 1] = _UNIT_ARC
    rows = writes[blanks * _LANES :]
    rows[0] = _NO_LABEL
    rows[1 : 1 + longest] = torch.arange(longest) + first
    parts = [torch.tensor([1, 1, slices, entries]), torch.tensor([0, slices])]
    parts += [torch.zeros(slices + 1, dtype=torch.int64), flags, writes, writes.clamp(min=0)]
    parts = [pad(part, (0, -len(part) % _LANES)).to(torch.int32) for part in (*parts, other, arc)]
    place = [by_label]
    for part in parts:
        place.append(place[-1] + len(part))
    forth_entries, back_entries = int(words[forth + 3]), int(words[back + 3])
    most_slices = max(slices, *(int(words[program + 2]) for program in (forth, back)))
    words = torch.cat([words[:by_label], *parts])
    words[3] = labels
    most = (slots, labels, labels, most_slices, int(sizes[4]))
    label = _LANES + _aligned(labels)
    spots = (_LANES, label, forth, back, place[2] + blanks, place[6], place[7])
    return _Layout(words.to(device), *spots, forth_entries, back_entries, blank_entries, most)


def _example(longest: int, blanks: bool) -> tuple[Tensor, Tensor]:
    """The layout of the graph of the target 1, 2, 3, ... on the CPU, and its sizes."""
    states = (1 + blanks) * longest + 1
    width = 3 if blanks else 2
    state = torch.arange(0 if blanks else 1, states).repeat_interleave(width)
    source = (state - torch.arange(width).repeat(len(state) // width)).clamp(min=0)
    reads = torch.where(state % 2 == 1, state // 2 + 1, 0) if blanks else state
    ends = (torch.tensor([0, states]), torch.tensor([0, len(state)]))
    words, begin, _ = _ops.steps(*ends, *(t.to(torch.int32) for t in (source, state, reads)))
    words, sizes = _ops.block_steps(words, begin)
    return words[int(words[0]) * _LANES :], sizes


def _aligned(count: int) -> int:
    return -(-count // _LANES) * _LANES


def _laid_out(topology: Topology, targets: Tensor, blank: int | None) -> _ops.Steps:
    """The steps of the graphs; `targets` are padded by a number above all labels."""
    batch, longest = targets.shape
    device = targets.device
    layout = _layout(longest, blank is not None, device)
    spacing = first = 1 if blank is None else 2
    words = layout.words.repeat(batch, 1)
    item = torch.arange(batch, device=device, dtype=torch.int32)
    both = layout.forth_entries + layout.back_entries
    words[:, layout.forth + 4] = item * both
    words[:, layout.back + 4] = item * both + layout.forth_entries
    words[:, layout.back + 5] = item * layout.back_entries

    # Labels in order of size: each distinct one gets a local label and a row for its positions.
    ordered, place = torch.sort(targets, dim=1, stable=True)
    real = ordered < LARGEST
    new = real & (ordered != pad(ordered, (1, 0), value=-1)[:, :-1])
    rank = (new.cumsum(1) - 1).clamp(min=0)
    step = torch.arange(longest, device=device)
    nth = step - torch.where(new, step, 0).cummax(1).values
    local = torch.where(real, rank + first, _NO_LABEL)
    spare = longest + first
    names = torch.full((batch, spare + 1), LARGEST, device=device)
    names = names.scatter(1, torch.where(new, local, spare), torch.where(new, ordered, LARGEST))
    names[:, _NO_LABEL] = -1
    if blank is not None:
        names[:, _BLANK] = blank
    words[:, layout.names : layout.names + spare] = names[:, :spare].to(torch.int32)
    by_position = torch.zeros_like(local).scatter(1, place, local)
    begin = layout.label + 1
    words[:, begin : begin + spacing * longest : spacing] = by_position.to(torch.int32)

    row = torch.where(real, rank + 1, 0)
    counts = torch.zeros(batch, _aligned(longest + 1), dtype=torch.int64, device=device)
    counts = counts.scatter_add(1, row, real.long())
    widest = counts.view(batch, -1, _LANES).amax(2)
    ends = layout.blank_entries + widest.cumsum(1)
    words[:, layout.slice_begin] = layout.blank_entries
    begin = layout.slice_begin + 1
    words[:, begin : begin + ends.shape[1]] = ends.to(torch.int32)
    entry = (ends - widest).gather(1, row // _LANES) + nth
    nowhere = layout.arc - layout.other - _LANES
    at = torch.where(real, entry * _LANES + row % _LANES, nowhere)
    links = torch.where(real, spacing * place + 1, 0).to(torch.int32)
    arcs = torch.where(real, _UNIT_ARC, _PADDING).to(torch.int32)
    words = words.scatter(1, layout.other + at, links).scatter(1, layout.arc + at, arcs)

    heads = _aligned(batch)
    places = (heads + item * words.shape[1]) // _LANES
    flat = torch.cat([pad(places, (0, heads - batch)), words.flatten()])
    sizes = (*layout.sizes, batch * both, batch * layout.back_entries)
    offsets = (topology.state_offsets, topology.arc_offsets)
    return _ops.Steps(flat, torch.tensor(sizes), *offsets)
