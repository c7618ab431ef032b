"""CTC topologies of padded targets, made and laid out where the targets are: nothing waits."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from gtnet import _ops
from gtnet._checks import LARGEST, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Topology

_ROUND = 8  # targets are padded to a multiple of this, so that few layouts serve all lengths
# Of the words of block_steps.h: how wide a slice is, its flag for a row of its own, and entries.
_LANES, _TOGETHER, _PADDING, _UNIT_ARC = 16, 1, -1, -2
_NO_LABEL, _BLANK, _FIRST = 0, 1, 2  # local labels; distinct labels of a target follow in order


def padded_ctc(
    targets: Tensor, lengths: Tensor, blank: int, num_labels: int, dtype: torch.dtype
) -> Graph:
    """`ctc_graph` of each row of targets on a GPU, with room for the longest.

    States and arcs are numbered as for targets as long as the rows: state s has the arcs 3s from
    itself, 3s + 1 from the state before and 3s + 2 from the one before that; those that a target
    lacks have the score -inf. A target that holds the blank or no label of a frame, or whose length
    is not one, has a start score of NaN, and so has its loss: errors would wait.

    Arguments: `targets` integers [batch, longest], `lengths` integers [batch], on a GPU.
    Complexity: O(batch · longest), and a sort of each target.
    """
    most = targets.shape[1]
    targets = pad(targets.long(), (0, max(-most % _ROUND, _ROUND - most)))
    batch, longest = targets.shape
    device = targets.device
    inside = torch.arange(longest, device=device) < lengths.unsqueeze(1)
    known = (targets >= 0) & (targets < num_labels) & (targets != blank)
    wrong = (inside & ~known).any(1) | (lengths < 0) | (lengths > most)
    targets = targets.masked_fill(~(inside & known), LARGEST)

    states = 2 * longest + 1
    state = torch.arange(states, device=device)
    reads = torch.full((batch, states), blank, device=device)
    reads[:, 1::2] = torch.where(targets < LARGEST, targets, blank)
    here = state <= 2 * lengths.unsqueeze(1)
    skips = torch.zeros_like(here)
    skips[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    arcs = torch.stack([here, here & (state >= 1), here & skips], 2)
    back = torch.arange(3, device=device)
    source = (state.unsqueeze(1) - back).clamp(min=0).to(torch.int32)
    ilabels = reads.to(torch.int32).repeat_interleave(3, 1)
    writes = (back > 0) & (state % 2 == 1).unsqueeze(1)
    graphs = torch.arange(batch + 1, device=device)
    topology = Topology(
        graphs * states,
        graphs * (3 * states),
        source.flatten().repeat(batch),
        state.to(torch.int32).repeat_interleave(3).repeat(batch),
        ilabels.flatten(),
        ilabels.masked_fill(~writes.flatten(), -1).flatten(),
        batch * states,
    )
    topology.__dict__["steps"] = _laid_out(topology, targets, blank)
    left = 2 * lengths.unsqueeze(1) - state
    ends = (left == 0) | ((left == 1) & (state > 0))
    start = torch.where(wrong, torch.nan, 0.0).to(dtype).unsqueeze(1)
    start = start.masked_fill(state > 0, NEG_INF)
    return Graph.from_topology(topology, _score(arcs, dtype), start.flatten(), _score(ends, dtype))


def _score(possible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where it is true, -inf elsewhere, flat."""
    scores = torch.zeros(possible.shape, dtype=dtype, device=possible.device)
    return scores.masked_fill(~possible, NEG_INF).flatten()


class _Layout(NamedTuple):
    """The words of a graph whose target has distinct labels, and where those are that differ."""

    words: Tensor  # int32 [words of a graph]
    names: int  # where the labels begin that local labels stand for
    label: int  # where the local labels of positions begin
    forth: int  # where programs begin
    back: int
    slice_begin: int  # of the program that sums by label; slice 0 is the blank's
    other: int
    arc: int
    forth_entries: int
    back_entries: int
    blank_entries: int
    sizes: tuple[int, ...]


@lru_cache(maxsize=64)
def _layout(longest: int, device: torch.device) -> _Layout:
    """What does not depend on the labels of a target: a step forth and back, by the CPU's layout
    of an example, and a program that sums by label with room for every target.
    """
    states = 2 * longest + 1
    state = torch.arange(states).repeat_interleave(3)
    source = (state - torch.arange(3).repeat(states)).clamp(min=0)
    reads = torch.where(state % 2 == 1, state // 2 + 1, 0)
    ends = (torch.tensor([0, states]), torch.tensor([0, 3 * states]))
    words, begin, _ = _ops.steps(*ends, *(t.to(torch.int32) for t in (source, state, reads)))
    words, sizes = _ops.block_steps(words, begin)
    words = words[int(words[0]) * _LANES :]
    positions, slots, labels, _, forth, back, by_label = words[:7].tolist()
    names = _LANES
    label = names + _aligned(labels)
    assert (positions >= states, labels) == (True, longest + _FIRST)

    # Slice 0 is the blank's, whose lanes share its positions; then come rows of the other labels,
    # the first of them without any: the one for nothing.
    slices = 1 + -(-(longest + 1) // _LANES)
    blank_entries = -(-(longest + 1) // _LANES)
    entries = blank_entries + longest + 1  # one more, for what is in no row
    writes = torch.full((slices * _LANES,), -1)
    writes[0] = _BLANK
    writes[_LANES] = _NO_LABEL
    writes[_LANES + 1 : _LANES + 1 + longest] = torch.arange(longest) + _FIRST
    other = torch.zeros(entries * _LANES, dtype=torch.int64)
    arc = torch.full((entries * _LANES,), _PADDING)
    other[: longest + 1] = 2 * torch.arange(longest + 1)
    arc[: longest + 1] = _UNIT_ARC
    flags = torch.zeros(slices, dtype=torch.int64)
    flags[0] = _TOGETHER
    parts = [torch.tensor([1, 1, slices, entries]), torch.tensor([0, slices])]
    parts += [torch.zeros(slices + 1, dtype=torch.int64), flags, writes, writes.clamp(min=0)]
    parts = [pad(part, (0, -len(part) % _LANES)).to(torch.int32) for part in (*parts, other, arc)]
    place = [by_label]
    for part in parts:
        place.append(place[-1] + len(part))
    forth_entries, back_entries = int(words[forth + 3]), int(words[back + 3])
    most_slices = max(int(words[program + 2]) for program in (forth, back))
    words = torch.cat([words[:by_label], *parts])
    words[3] = labels
    most = (slots, labels, labels, max(most_slices, slices), int(sizes[4]))
    spots = (names, label, forth, back, place[2], place[6], place[7])
    return _Layout(words.to(device), *spots, forth_entries, back_entries, blank_entries, most)


def _aligned(count: int) -> int:
    return -(-count // _LANES) * _LANES


def _laid_out(topology: Topology, targets: Tensor, blank: int) -> _ops.Steps:
    """The steps of the graphs; `targets` hold a number above all labels where there is none."""
    batch, longest = targets.shape
    device = targets.device
    layout = _layout(longest, device)
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
    local = torch.where(real, rank + _FIRST, _NO_LABEL)
    spare = longest + _FIRST
    names = torch.full((batch, spare + 1), LARGEST, device=device)
    names = names.scatter(1, torch.where(new, local, spare), torch.where(new, ordered, LARGEST))
    names[:, _NO_LABEL], names[:, _BLANK] = -1, blank
    words[:, layout.names : layout.names + spare] = names[:, :spare].to(torch.int32)
    by_position = torch.zeros_like(local).scatter(1, place, local)
    words[:, layout.label + 1 : layout.label + 2 * longest : 2] = by_position.to(torch.int32)

    row = torch.where(real, rank + 1, 0)
    rows = _aligned(longest + 1)
    counts = torch.zeros(batch, rows, dtype=torch.int64, device=device)
    counts = counts.scatter_add(1, row, real.long())
    widest = counts.view(batch, -1, _LANES).amax(2)
    ends = layout.blank_entries + widest.cumsum(1)
    slice_begin = layout.slice_begin + 1
    words[:, slice_begin] = layout.blank_entries
    words[:, slice_begin + 1 : slice_begin + 1 + ends.shape[1]] = ends.to(torch.int32)
    entry = (ends - widest).gather(1, row // _LANES) + nth
    at = torch.where(real, entry * _LANES + row % _LANES, layout.arc - layout.other - _LANES)
    links = torch.where(real, 2 * place + 1, 0).to(torch.int32)
    arcs = torch.where(real, _UNIT_ARC, _PADDING).to(torch.int32)
    words = words.scatter(1, layout.other + at, links).scatter(1, layout.arc + at, arcs)

    heads = _aligned(batch)
    first = (heads + item * words.shape[1]) // _LANES
    flat = torch.cat([pad(first, (0, heads - batch)), words.flatten()])
    sizes = (*layout.sizes, batch * both, batch * layout.back_entries)
    offsets = (topology.state_offsets, topology.arc_offsets)
    return _ops.Steps(flat, torch.tensor(sizes), *offsets)
