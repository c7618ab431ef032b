"""Arguments and results of losses of sequences: padded batches, lengths, reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._ordinary import remembered
from gtnet.alignments import without_blank
from gtnet.grids import lengths_like, lengths_of

Lengths = Tensor | Sequence[int]
Reduction = Literal["none", "mean", "sum"]


def frames_of(
    function: str, name: str, scores: Tensor, lengths: Lengths
) -> tuple[Tensor, Tensor, bool]:
    """Scores [frames, batch, labels] or [frames, labels] as [batch, frames, labels], the frames of
    each item, and whether it was one item without a batch.
    """
    scores, single = frames_first(function, name, scores)
    scores = scores.transpose(0, 1)
    batch, most, _ = scores.shape
    frames = lengths_like(function, "input_lengths", lengths, batch, most)
    if frames.device.type == "cpu":  # reading others would wait: they are clipped
        _checks.inside(function, "input_lengths", frames, most + 1, "the frames")
        frames = frames.to(scores.device)
    return scores, remembered(frames), single


def frames_first(function: str, name: str, scores: Tensor) -> tuple[Tensor, bool]:
    """Scores [frames, batch, labels], and whether they were those of one item without a batch."""
    _checks.tensor(function, name, scores)
    scores = _checks.emissions(function, name, scores)
    if scores.ndim not in (2, 3):
        raise ValueError(
            f"{function}: {name} must be [frames, batch, labels] or [frames, labels], "
            f"got {list(scores.shape)}"
        )
    single = scores.ndim == 2
    return scores.unsqueeze(1) if single else scores, single


def plain_integers(values: object) -> Tensor | None:
    """Integers as int64, unchecked; None for anything else and for tensors not on the CPU."""
    if not isinstance(values, Tensor):
        if not isinstance(values, list | tuple | int):
            return None
        try:
            values = torch.as_tensor(values)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return None  # `integers_of` says what is wrong
    if values.dtype not in (torch.int32, torch.int64) or values.device.type != "cpu":
        return None
    return remembered(values.long().contiguous())


def integers_of(function: str, name: str, values: object) -> Tensor:
    """Integers of any shape, unchecked but for an empty list, which is no list of floats."""
    tensor = _numbers.tensor_of(function, name, values)
    empty = not isinstance(values, Tensor) and not tensor.numel()
    return tensor.long() if empty else tensor


def flat_targets(
    function: str, targets: Tensor, target_lengths: Lengths, batch: int, labels: int
) -> tuple[Tensor, Tensor]:
    """Targets, padded or concatenated, as concatenated int32; and their lengths.

    The result is on the CPU, where sizes must be known; for tensors on a GPU it waits once.
    """
    targets, target_lengths = _on_cpu(
        integers_of(function, "targets", targets),
        integers_of(function, "target_lengths", target_lengths),
    )
    if targets.ndim == 2:
        most = targets.shape[1]
        sizes = lengths_of(function, "target_lengths", target_lengths, batch, most, "the targets")
        if targets.shape[0] != batch:
            raise ValueError(f"{function}: the batch has {batch} items, targets {targets.shape[0]}")
        targets = targets[torch.arange(most) < sizes.unsqueeze(1)]
    else:
        most = targets.numel()
        sizes = lengths_of(function, "target_lengths", target_lengths, batch, most, "the targets")
        _add_up(function, sizes, most)
    flat = _checks.integers(function, "targets", targets)
    _checks.inside(function, "targets", flat, labels, "the labels of a frame")
    return flat, sizes


def padded_targets(
    function: str,
    targets: Tensor,
    target_lengths: Lengths,
    batch: int,
    labels: int,
    blank: int | None,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Targets [batch, longest] on a GPU, and their lengths.

    Targets on the CPU are checked there. Padded targets on the GPU are not checked, so nothing
    waits; for concatenated ones it waits for lengths that are on the GPU too.
    """
    targets = integers_of(function, "targets", targets)
    if targets.device.type != "cpu" and targets.ndim == 2:
        most = targets.shape[1]
        if targets.shape[0] != batch:
            raise ValueError(f"{function}: the batch has {batch} items, targets {targets.shape[0]}")
        _checks.integral(function, "targets", targets.reshape(-1))
        sizes = lengths_like(function, "target_lengths", target_lengths, batch, most)
        if sizes.device.type == "cpu":
            _checks.inside(function, "target_lengths", sizes, most + 1, "the targets")
        return targets, sizes.to(device)
    if targets.device.type == "cpu":
        flat, sizes = flat_targets(function, targets, target_lengths, batch, labels)
        without_blank(function, flat, sizes, blank)
    else:
        flat = _checks.integral(function, "targets", targets)
        most = len(flat)
        lengths = integers_of(function, "target_lengths", target_lengths).cpu()
        sizes = lengths_of(function, "target_lengths", lengths, batch, most, "the targets")
        _add_up(function, sizes, most)
    longest = int(sizes.max()) if batch else 0
    places = torch.arange(longest) + (sizes.cumsum(0) - sizes).unsqueeze(1)
    room = torch.nn.functional.pad(flat, (0, longest + 1)).to(device)
    return room[places.clamp(max=len(room) - 1).to(device)], sizes.to(device)


def _add_up(function: str, sizes: Tensor, most: int) -> None:
    if int(sizes.sum()) != most:
        raise ValueError(
            f"{function}: targets hold {most} labels, target_lengths add up to {int(sizes.sum())}"
        )


def _on_cpu(*tensors: Tensor) -> list[Tensor]:
    """Integers on the CPU; those on a GPU are moved by a single copy."""
    away = [tensor for tensor in tensors if tensor.device.type != "cpu"]
    if not away:
        return list(tensors)
    come = torch.cat([tensor.reshape(-1).to(torch.int64) for tensor in away]).cpu()
    parts = iter(come.split([tensor.numel() for tensor in away]))
    return [
        tensor if tensor.device.type == "cpu" else next(parts).view(tensor.shape).to(tensor.dtype)
        for tensor in tensors
    ]


def reduced(loss: Tensor, reduction: Reduction, zero_infinity: bool, per: Tensor | None) -> Tensor:
    """The losses [batch], reduced; "mean" divides each by its count in `per`, if given."""
    if zero_infinity:
        loss = loss.masked_fill(loss == float("inf"), 0)
    if reduction == "mean":
        return (loss if per is None else loss / per.clamp(min=1).to(loss.device)).mean()
    return loss.sum() if reduction == "sum" else loss


def known_reduction(function: str, reduction: Reduction) -> None:
    """Refuse unknown reductions."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f'{function}: reduction must be "none", "mean" or "sum", got {reduction!r}'
        )
