"""Losses of sequence recognizers: a network's frames against targets without alignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gtnet import _checks
from gtnet.build import ctc_batch
from gtnet.compose import MAX_ARCS
from gtnet.emissions import Emissions
from gtnet.lattice import Lattice

Lengths = Tensor | Sequence[int]
Reduction = Literal["none", "mean", "sum"]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """Minus the log of the probability of all frame labellings that collapse to the target.

    As `torch.nn.functional.ctc_loss`, and any number of times differentiable: emissions composed
    with `ctc_graph`, summed without building the product.

    Arguments:
        log_probs: float32 or float64 [frames, batch, labels], or [frames, labels] for one item;
            on a GPU also float16 or bfloat16, and targets and lengths on the CPU all the same.
        targets: integers [batch, longest], padded, or all targets one after another.
        input_lengths, target_lengths: integers [batch] (or one integer for one item).
        blank: the label that writes nothing; no target may hold it.
        reduction: "none" gives [batch]; "sum"; "mean" divides each loss by the length of its
            target (at least 1) and averages over the batch.
        zero_infinity: losses of targets that do not fit into their frames become 0.
        beta: inverse temperature, as in `forward_score`.
    Result: [] or, for "none", [batch]; +inf where no labelling exists.
    Raises: ValueError or TypeError for wrong shapes, dtypes, lengths, labels, for a blank in a
    target, and for NaN or +inf among the scores of a target's labels.
    Complexity: O(frames · labels of the target).
    Gradient: minus the posterior of each label in each frame, with respect to `log_probs` as they
    are (torch assumes a log_softmax before; behind one both give the same).
    Source: Graves et al. 2006, section 4.
    """
    log_probs = _log_probs(log_probs)
    _checks.on_cpu("ctc_loss", "targets", targets, "graphs are built there: move it with .cpu()")
    single = log_probs.ndim == 2
    scores = log_probs.unsqueeze(0) if single else log_probs.transpose(0, 1)
    batch, frames, labels = scores.shape
    frames_of = _sizes("input_lengths", input_lengths, batch, frames, "the frames")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'ctc_loss: reduction must be "none", "mean" or "sum", got {reduction!r}')
    blank = _checks.count("ctc_loss", "blank", blank)
    flat, lengths = _flat_targets(targets, target_lengths, batch, labels)
    dtype = torch.float32 if scores.dtype in _checks.SHORT else scores.dtype
    graph = ctc_batch("ctc_loss", flat, lengths, blank, dtype).to(scores.device)
    emissions = Emissions.unchecked(scores, frames_of.to(scores.device))
    loss = -Lattice(emissions, graph, max_arcs=MAX_ARCS).forward_score(beta)
    if zero_infinity:
        loss = loss.masked_fill(loss == float("inf"), 0)
    if reduction == "mean":
        return (loss / lengths.clamp(min=1).to(loss.device)).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if single else loss


def _log_probs(log_probs: Tensor) -> Tensor:
    short = log_probs.is_cuda and log_probs.dtype in _checks.SHORT
    if not short and log_probs.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"ctc_loss: log_probs must be float32 or float64, got {log_probs.dtype}")
    if log_probs.ndim not in (2, 3):
        raise ValueError(
            f"ctc_loss: log_probs must be [frames, batch, labels] or [frames, labels], "
            f"got {list(log_probs.shape)}"
        )
    return log_probs


def _sizes(name: str, lengths: Lengths, batch: int, most: int, of: str) -> Tensor:
    """Lengths as int64 [batch], between 0 and `most`."""
    given = torch.as_tensor(lengths)
    _checks.on_cpu("ctc_loss", name, given, "graphs are built there: move it with .cpu()")
    checked = _checks.integers("ctc_loss", name, given.reshape(1) if given.ndim == 0 else given)
    if len(checked) != batch:
        raise ValueError(f"ctc_loss: log_probs has {batch} items, {name} {len(checked)}")
    _checks.inside("ctc_loss", name, checked, most + 1, of)
    return checked.long()


def _flat_targets(
    targets: Tensor, target_lengths: Lengths, batch: int, labels: int
) -> tuple[Tensor, Tensor]:
    """All targets one after another, int32, and their lengths."""
    if targets.ndim == 2:
        sizes = _sizes("target_lengths", target_lengths, batch, targets.shape[1], "the targets")
        if targets.shape[0] != batch:
            raise ValueError(f"ctc_loss: log_probs has {batch} items, targets {targets.shape[0]}")
        targets = targets[torch.arange(targets.shape[1]) < sizes.unsqueeze(1)]
    else:
        most = targets.numel()
        sizes = _sizes("target_lengths", target_lengths, batch, most, "the targets")
        if int(sizes.sum()) != most:
            raise ValueError(
                f"ctc_loss: targets hold {most} labels, target_lengths add up to {int(sizes.sum())}"
            )
    flat = _checks.integers("ctc_loss", "targets", targets)
    _checks.inside("ctc_loss", "targets", flat, labels, "the labels of log_probs")
    return flat, sizes
