"""Losses of RNN transducers: full, simple and pruned, all sums over one grid of alignments."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from gtnet import _checks, _numbers, _ops
from gtnet._memory import named
from gtnet._ordinary import ordinary_tensors
from gtnet.distance import _is_one, forward_score
from gtnet.losses.batches import Lengths, Reduction, known_reduction, reduced
from gtnet.transducer_grid import Alignments, TransducerGrid, checked, graph_of, grid_of, shaped


@named
def transducer_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    beta: float | Tensor = 1.0,
    from_logits: bool = False,
    ranges: Tensor | None = None,
    topology: Alignments = "regular",
    delay_penalty: float = 0.0,
    fastemit_lambda: float = 0.0,
) -> Tensor:
    """The RNN transducer loss: minus the log of the probability of all alignments of the target.

    The forward score of `transducer_graph`, which holds only the scores of blanks and target
    labels, so that only reading them depends on the number of labels. At a beta of 1 it
    sums over the grid without building the graph, and normalizes logits without keeping them.

    Arguments:
        log_probs: float [batch, frames, longest target + 1, labels]: after u labels of the target
            were written, at frame t, normalized over the labels (log_softmax). Half precision gives
            a loss of float32. Beyond the lengths of an item nothing is read; the gradient is 0.
        targets: integers [batch, longest target], padded.
        input_lengths, target_lengths: integers [batch]; by default all frames, all of the targets.
        blank: the label that leads to the next frame; no target may hold it.
        reduction: "none" gives [batch]; "sum"; "mean" over the batch.
        zero_infinity, beta: as in `ctc_loss`.
        from_logits: `log_probs` are the network's raw outputs, normalized here.
        ranges: the pruned loss: integers [batch, frames, places], consecutive for each frame, as
            `prune_transducer` gives them. `log_probs` are [batch, frames, places, labels], after
            so many labels were written; all other alignments are left out.
        topology: "regular"; "modified", where a label leads to the next frame as well; or
            "constrained", where moreover the blank of its frame follows each label.
        delay_penalty: what a label at frame t gains is this times ((frames - 1) / 2 - t); no
            longer a log-probability then.
        fastemit_lambda: the gradients of labels are multiplied by 1 plus this; the loss is not
            changed.
    Result: [] or, for "none", [batch]; +inf where no alignment exists: labels without a frame.
    Raises: ValueError or TypeError for wrong shapes, dtypes, lengths, labels, ranges, options, and
    a blank in a target. ValueError also for probabilities above 1 among the scores read, and where
    those of the first step of an item add up to more than 1; a UserWarning where to less. A GPU is
    not asked, and gives NaN for an item with NaN or +inf in what is read, nor are scores that
    torch.func maps.
    Complexity: O(frames · labels of the target), and O(log_probs) for reading logits and for the
    gradient.
    Gradient: minus the posterior of each step; any number of times differentiable.
    Source: Graves 2012, section 2.4; Kuang et al. 2022, "Pruned RNN-T", for ranges; Tripathi et al.
    2019 for "modified"; Kang et al. 2023, "Delay-penalized transducer"; Yu et al. 2021, "FastEmit",
    section 3.
    """
    function = "transducer_loss"
    known_reduction(function, reduction)
    _checks.tensor(function, "log_probs", log_probs)
    given = (log_probs, targets, input_lengths, target_lengths, blank)
    grid = grid_of(function, *given, ranges=ranges, normalize=from_logits)
    if not from_logits:
        _require_log_probs(log_probs, grid)
    grid = shaped(function, grid, topology, delay_penalty, fastemit_lambda)
    score = grid_score(function, grid, beta)
    return reduced(-score, reduction, zero_infinity, None)


@named
def simple_transducer_loss(
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    lm_only_scale: float = 0.0,
    am_only_scale: float = 0.0,
    topology: Alignments = "regular",
    delay_penalty: float = 0.0,
    fastemit_lambda: float = 0.0,
) -> Tensor:
    """The transducer loss of a network that only adds: its logits are am at t plus lm after u.

    Their table [batch, frames, longest + 1, labels] never stands in memory: the normalizers are a
    product of matrices of exponentials.

    With scales it is the smoothed loss: of log-probabilities of which `lm_only_scale` parts are
    those of `lm` alone, and `am_only_scale` parts those of `am` with the average of the softmax of
    `lm` over the batch.

    Arguments: `am` float [batch, frames, labels], `lm` float [batch, longest target + 1, labels],
    logits of one dtype, half precision gives a loss of float32; the scales >= 0, together at most
    1. The others as in `transducer_loss`.
    Result: [] or, for "none", [batch]; +inf where no alignment exists.
    Raises: ValueError or TypeError for wrong shapes, dtypes, lengths, labels and options, for a
    blank in a target, and for NaN or +inf in what is read.
    Complexity: O(frames · labels of the target · labels) multiplications. Where all exponentials of
    a place underflow, its logits are formed. Gradient: to both, any number of times differentiable.
    Source: Kuang et al. 2022, "Pruned RNN-T for fast, memory-efficient ASR training", section 2.
    """
    function = "simple_transducer_loss"
    known_reduction(function, reduction)
    given = (am, lm, targets, (input_lengths, target_lengths), blank)
    grid = _simple_grid(function, *given, (lm_only_scale, am_only_scale))
    grid = shaped(function, grid, topology, delay_penalty, fastemit_lambda)
    score = grid_score(function, grid, 1.0, "am + lm")
    return reduced(-score, reduction, zero_infinity, None)


@named
def prune_transducer(
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    width: int,
    lm_only_scale: float = 0.0,
    am_only_scale: float = 0.0,
    topology: Alignments = "regular",
    delay_penalty: float = 0.0,
    fastemit_lambda: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The simple loss, and which numbers of labels written it finds probable at each frame.

    The second are the `ranges` for `transducer_loss`. The network joins its encoder `[batch,
    frames, dims]` and predictor `[batch, longest + 1, dims]` at those places only:

        item = torch.arange(len(ranges))[:, None, None]
        logits = joiner(encoder.unsqueeze(2), predictor[item, ranges])

    Arguments: as `simple_transducer_loss`; `width` >= 2 (1 unless "regular") places for each frame.
    Result: the loss, and integers [batch, frames, min(width, longest + 1)]: consecutive numbers
    that never decrease from frame to frame, begin at 0, never leave out a number, and reach the
    end of the target, if there are frames enough: if not, the pruned loss is +inf.
    Raises: as `simple_transducer_loss`; ValueError for a width that is too small.
    Complexity: that of `simple_transducer_loss`. Gradient: to the loss, as there; ranges have none.
    Source: Kuang et al. 2022, section 2.2.
    """
    function = "prune_transducer"
    known_reduction(function, reduction)
    given = (am, lm, targets, (input_lengths, target_lengths), blank)
    grid = _simple_grid(function, *given, (lm_only_scale, am_only_scale))
    grid = shaped(function, grid, topology, delay_penalty, fastemit_lambda)
    least = 2 if topology == "regular" else 1
    if _checks.count(function, "width", width) < least:
        raise ValueError(
            f"{function}: width must be at least {least} for the {topology} topology, got {width}"
        )
    score = grid_score(function, grid, 1.0, "am + lm")
    (steps,) = ordinary_tensors(torch.stack([grid.blank, grid.label]).detach())

    def score_of(steps: Tensor) -> Tensor:
        return grid_score(function, grid._replace(blank=steps[0], label=steps[1]), 1.0, "am + lm")

    _, posteriors = _ops.with_derivative(score_of, steps, again=False)
    ranges = _ranges(grid, posteriors[0].detach(), posteriors[1].detach(), width)
    return reduced(-score, reduction, zero_infinity, None), ranges


def grid_score(
    function: str, grid: TransducerGrid, beta: float | Tensor, name: str = "log_probs"
) -> Tensor:
    """The forward score of each item's grid."""

    def through_graph(blank: Tensor, label: Tensor) -> Tensor:
        made = grid._replace(blank=blank, label=label)
        return forward_score(graph_of(function, made, name), beta)

    blank, label, (_, frames, lengths, _), takes_frame = grid
    if _is_one(beta):
        skew = 0 if takes_frame else 1
        score = _ops.transducer_score(blank, label, frames, lengths, skew, through_graph)
        if score is not None:
            return score
    return through_graph(blank, label)


def _simple_grid(
    function: str,
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    lengths: tuple[Lengths | None, Lengths | None],
    blank: int,
    scales: tuple[float, float],
) -> TransducerGrid:
    """The grid of logits am[:, t] + lm[:, u], normalized and smoothed."""
    by_lm, by_am = scales
    if not (by_lm >= 0 and by_am >= 0 and by_lm + by_am <= 1):
        raise ValueError(
            f"{function}: lm_only_scale and am_only_scale must be at least 0 and together at most "
            f"1, got {by_lm} and {by_am}"
        )
    for name, scores in (("am", am), ("lm", lm)):
        _checks.tensor(function, name, scores)
    am, lm = (
        scores.float() if scores.dtype in _checks.SHORT else _checks.floats(function, name, scores)
        for name, scores in (("am", am), ("lm", lm))
    )
    targets = _numbers.tensor_of(function, "targets", targets)
    _checks.same_dtype(function, am=am, lm=lm)
    _checks.same_device(function, am=am, lm=lm, targets=targets)
    places = targets.shape[1] + 1 if targets.ndim == 2 else -1
    if am.ndim != 3 or am.shape[2] == 0 or tuple(lm.shape) != (len(am), places, am.shape[2]):
        raise ValueError(
            f"{function}: am must be [batch, frames, labels] and lm [batch, longest target + 1, "
            f"labels] for targets [batch, longest target], got {list(am.shape)}, {list(lm.shape)} "
            f"and {list(targets.shape)}"
        )
    sizes = (am.shape[0], am.shape[1], am.shape[2])
    target = checked(function, targets, sizes, *lengths, blank, "am")
    blank = target.blank
    frame, place = (torch.arange(n, device=am.device) for n in (sizes[1], places))
    heard = (frame < target.frames.unsqueeze(1)).unsqueeze(2)
    said = (place <= target.lengths.unsqueeze(1)).unsqueeze(2)
    am, lm = am.masked_fill(~heard, 0), lm.masked_fill(~said, 0)
    # One label behind the last target: what follows there is made impossible below.
    labels = target.following().long().clamp(0, sizes[2] - 1)
    steps = torch.stack([labels, torch.full_like(labels, blank)])  # of labels, of blanks
    heard_of = am.expand(2, *am.shape).gather(3, steps.unsqueeze(2).expand(-1, -1, sizes[1], -1))
    said_of = lm.expand(2, *lm.shape).gather(3, steps.unsqueeze(3)).transpose(2, 3)
    scores = heard_of + said_of - _log_sums(am, lm)
    if by_lm or by_am:
        scores = scores * (1 - by_lm - by_am)
    if by_lm:
        scores = scores + by_lm * (said_of - lm.logsumexp(2).unsqueeze(1))
    if by_am:
        total = said.sum().clamp(min=1)
        average = (lm.softmax(2) * said).sum((0, 1)) / total
        unigram = (average + torch.finfo(lm.dtype).tiny).log()
        sums = (am + unigram).logsumexp(2, keepdim=True)
        scores = scores + by_am * (heard_of + unigram[steps].unsqueeze(2) - sums)
    ended = (place >= target.lengths.unsqueeze(1)).unsqueeze(1)
    label = scores[0].masked_fill(ended, _checks.NEG_INF)
    return TransducerGrid(scores[1], label, target, False)


def _log_sums(am: Tensor, lm: Tensor) -> Tensor:
    """log Σ exp(am[:, t] + lm[:, u]) over the labels, [batch, frames, places]."""
    if _ops.transformed():  # which map nothing that depends on values
        return (am.unsqueeze(2) + lm.unsqueeze(1)).logsumexp(3)
    lowest = torch.finfo(am.dtype).min
    tops = [scores.detach().amax(2, keepdim=True).clamp(min=lowest) for scores in (am, lm)]
    loud, likely = ((scores - top).exp() for scores, top in zip((am, lm), tops, strict=True))
    sums = loud @ likely.transpose(1, 2)
    least = torch.finfo(am.dtype).tiny ** 0.75  # what lies far above all that has underflowed
    logs = sums.clamp(min=least).log() + tops[0] + tops[1].transpose(1, 2)
    small = (sums.detach() < least).nonzero(as_tuple=True)
    if not len(small[0]):
        return logs
    item, frame, place = small
    return logs.index_put(small, (am[item, frame] + lm[item, place]).logsumexp(1))


def _ranges(grid: TransducerGrid, blank: Tensor, label: Tensor, width: int) -> Tensor:
    """The windows that hold most of the posteriors [batch, frames, longest + 1] of steps."""
    _, frames, places = blank.shape
    width = min(width, places)
    # Blanks taken inside, less what enters from below, so that no alignment is cut (Kuang, eq. 11).
    enters = torch.nn.functional.pad(label[:, :, :-1], (1, 0))
    inside = torch.nn.functional.pad(blank.cumsum(2), (1, 0))
    gain = inside[:, :, width:] - inside[:, :, :-width] - enters[:, :, : places - width + 1]
    last = (grid.target.lengths + 1 - width).clamp(min=0).unsqueeze(1)
    t = torch.arange(frames, device=blank.device)
    ends = t >= grid.target.frames.unsqueeze(1) - 1
    begin = torch.where(ends, last, torch.minimum(gain.argmax(2), last))
    # Never down, and never by more than a frame can write between two windows that overlap.
    most = t * (1 if grid.takes_frame else width - 1)
    begin = most - _never_down(most - _never_down(begin)).clamp(min=0)
    return begin.unsqueeze(2) + torch.arange(width, device=blank.device)


def _never_down(rows: Tensor) -> Tensor:
    """Each entry lowered to the least that follows it."""
    return rows.flip(1).cummin(1).values.flip(1) if rows.shape[1] else rows


def _require_log_probs(scores: Tensor, grid: TransducerGrid) -> None:
    """Refuse scores of a transducer that are no log-probabilities, by what is cheap to look at."""
    read = grid.target.frames > 0
    if scores.device.type != "cpu" or _ops.transformed() or not bool(read.any()):
        return
    slack = 0.1 if scores.dtype in _checks.SHORT else 1e-3
    how = "apply log_softmax over the labels, or pass from_logits=True"
    largest = float(torch.maximum(grid.blank.detach(), grid.label.detach()).max())
    if largest > slack and largest < math.inf:
        raise ValueError(f"transducer_loss: log_probs must be at most 0, got {largest:.4g}: {how}")
    mass = scores.detach()[:, 0, 0][read].float().logsumexp(-1)
    most, least = float(mass.max()), float(mass.min())
    if most > slack:
        raise ValueError(
            f"transducer_loss: probabilities must add up to 1 over the labels, got "
            f"{math.exp(min(most, 700)):.4g}: {how}"
        )
    if least < -slack:
        warnings.warn(
            f"transducer_loss: probabilities add up to {math.exp(least):.4g} over the labels, not "
            f"to 1: {how}",
            stacklevel=4,  # over the frame that names errors
        )
