"""What losses of sequences take and give: padded batches, lengths, reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gtnet import _checks
from gtnet.grids import lengths_of

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
    frames = lengths_of(function, "input_lengths", lengths, batch, most, "the frames")
    return scores, frames.to(scores.device), single


def frames_first(function: str, name: str, scores: Tensor) -> tuple[Tensor, bool]:
    """Scores [frames, batch, labels], and whether they were those of one item without a batch."""
    short = isinstance(scores, Tensor) and scores.is_cuda and scores.dtype in _checks.SHORT
    wide = isinstance(scores, Tensor) and scores.dtype in (torch.float32, torch.float64)
    if not short and not wide:
        kind = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"{function}: {name} must be float32 or float64, got {kind}")
    if scores.ndim not in (2, 3):
        raise ValueError(
            f"{function}: {name} must be [frames, batch, labels] or [frames, labels], "
            f"got {list(scores.shape)}"
        )
    single = scores.ndim == 2
    return scores.unsqueeze(1) if single else scores, single


def plain_integers(values: object) -> Tensor | None:
    """Integers as int64, None where they are something else or not on the CPU: unchecked."""
    tensor = torch.as_tensor(values)
    if tensor.dtype not in (torch.int32, torch.int64) or tensor.device.type != "cpu":
        return None
    return tensor.long().contiguous()


def flat_targets(
    function: str, targets: Tensor, target_lengths: Lengths, batch: int, labels: int
) -> tuple[Tensor, Tensor]:
    """Targets, padded or one after another, as the latter, int32; and their lengths."""
    targets = torch.as_tensor(targets)
    _checks.on_cpu(function, "targets", targets, "graphs are built there: move it with .cpu()")
    if targets.ndim == 2:
        most = targets.shape[1]
        sizes = lengths_of(function, "target_lengths", target_lengths, batch, most, "the targets")
        if targets.shape[0] != batch:
            raise ValueError(f"{function}: the batch has {batch} items, targets {targets.shape[0]}")
        targets = targets[torch.arange(most) < sizes.unsqueeze(1)]
    else:
        most = targets.numel()
        sizes = lengths_of(function, "target_lengths", target_lengths, batch, most, "the targets")
        if int(sizes.sum()) != most:
            raise ValueError(
                f"{function}: targets hold {most} labels, target_lengths add up to "
                f"{int(sizes.sum())}"
            )
    flat = _checks.integers(function, "targets", targets)
    _checks.inside(function, "targets", flat, labels, "the labels of a frame")
    return flat, sizes


def reduced(loss: Tensor, reduction: Reduction, zero_infinity: bool, per: Tensor | None) -> Tensor:
    """The losses [batch] as they are wanted; "mean" divides each by what `per` counts, if given."""
    if zero_infinity:
        loss = loss.masked_fill(loss == float("inf"), 0)
    if reduction == "mean":
        return (loss if per is None else loss / per.clamp(min=1).to(loss.device)).mean()
    return loss.sum() if reduction == "sum" else loss


def known_reduction(function: str, reduction: Reduction) -> None:
    """Refuse other reductions."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f'{function}: reduction must be "none", "mean" or "sum", got {reduction!r}'
        )
