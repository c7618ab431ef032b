"""Runs of a label written as the label and a repetition count, as ASG needs them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtnet import _checks
from gtnet.build import Labels, flat_labels


def pack_repetitions(targets: Labels, repetitions: Sequence[int]) -> list[Tensor]:
    """The targets with each run of a label shortened to the label and a label for its repetitions.

    `repetitions[k]` means "and k + 1 times more"; longer runs start again with the label. ASG needs
    this, because there a label that follows itself is one that lasts. Result: a list of int32
    tensors.
    Complexity: O(labels). Source: Collobert, Puhrsch & Synnaeve 2016.
    """
    flat, lengths = flat_labels("pack_repetitions", targets)
    more = _checks.integers("pack_repetitions", "repetitions", repetitions).to(flat.device)
    most = len(more) + 1
    if len(flat) == 0:
        return [flat] * len(lengths)
    item = torch.repeat_interleave(lengths, output_size=len(flat))
    runs, counts = torch.unique_consecutive(
        torch.stack([item, flat.long()]), dim=1, return_counts=True
    )
    pieces = -(-counts // most)
    run = torch.repeat_interleave(pieces)
    first = torch.cat([run.new_ones(1), run.diff()])[: len(run)] > 0
    size = torch.where(first, counts[run] - (pieces[run] - 1) * most, most)
    last = torch.stack([runs[1, run], torch.cat([more, more.new_zeros(1)])[size - 2].long()], 1)
    kept = torch.stack([torch.ones_like(first), size > 1], 1)
    packed = last[kept].to(torch.int32)
    new_lengths = torch.zeros_like(lengths).index_add(0, runs[0, run], kept.sum(1))
    return list(packed.split(new_lengths.tolist()))


def unpack_repetitions(targets: Labels, repetitions: Sequence[int]) -> list[Tensor]:
    """The inverse of `pack_repetitions`; a repetition label that follows no label is dropped.

    Result: a list of int32 tensors. Complexity: O(labels).
    """
    flat, lengths = flat_labels("unpack_repetitions", targets)
    more = _checks.integers("unpack_repetitions", "repetitions", repetitions)
    times = torch.zeros_like(flat, dtype=torch.int64)
    for k, label in enumerate(more.tolist()):
        times[flat == label] = k + 1
    after = torch.cat([times, times.new_zeros(1)])[1:]
    ends = lengths.cumsum(0)
    after[ends[lengths > 0] - 1] = 0
    copies = (1 + after).masked_fill(times > 0, 0)
    item = torch.repeat_interleave(lengths, output_size=len(flat))
    new_lengths = torch.zeros_like(lengths).index_add(0, item, copies)
    return list(flat.repeat_interleave(copies).split(new_lengths.tolist()))
