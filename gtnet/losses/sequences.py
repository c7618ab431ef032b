"""Losses of sequence recognizers: a network's frames against targets without alignment."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import MAX_ARCS
from gtnet._memory import named
from gtnet._ordinary import without_wrappers
from gtnet.alignments import asg_batch, bigram_scores, ctc_batch, without_repeats
from gtnet.compose import compose
from gtnet.distance import _is_one, forward_score
from gtnet.emissions import Emissions
from gtnet.free_alignments import bigram_graph
from gtnet.graph import Graph, built
from gtnet.lattice import Lattice
from gtnet.losses.batches import (
    Lengths,
    Reduction,
    flat_targets,
    frames_first,
    frames_of,
    integers_of,
    known_reduction,
    padded_targets,
    plain_integers,
    reduced,
)
from gtnet.losses.elementwise import gap
from gtnet.padded_alignments import padded_asg, padded_ctc


@named
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

    As `torch.nn.functional.ctc_loss`, but differentiable any number of times: emissions composed
    with `ctc_graph`, summed without building the product.

    Arguments:
        log_probs: float32 or float64 [frames, batch, labels], or [frames, labels] for one item;
            float16 and bfloat16 give a loss of float32 and get their gradient in their dtype.
            Beyond the length of an item nothing is read, and the gradient is 0.
        targets: integers [batch, longest], padded, or all targets concatenated.
        input_lengths, target_lengths: integers [batch] (or one integer for one item). With
            `log_probs` on a GPU, targets and lengths may be on that GPU or on the CPU. Padded
            targets on the GPU are never waited for: wrong ones give NaN instead of an error, and
            lengths that are too long are clipped.
        blank: the label that writes nothing, one of those of `log_probs`; no target may hold it.
        reduction: "none" gives [batch]; "sum"; "mean" divides each loss by the length of its
            target (at least 1) and averages over the batch.
        zero_infinity: losses of targets that do not fit into their frames become 0.
        beta: inverse temperature, as in `forward_score`.
    Result: [] or, for "none", [batch]; +inf where no labelling exists.
    Raises: ValueError or TypeError for wrong shapes, dtypes, lengths, labels, for a blank in a
    target, and for NaN or +inf among the scores of a target's labels.
    Complexity: O(frames · labels of the target). On the CPU and at a beta of 1 the posteriors are
    computed with the loss if `log_probs` requires grad, and kept for the labels of the target only.
    Gradient: minus the posterior of each label in each frame, with respect to `log_probs` as they
    are (torch assumes that a log_softmax made them; after one both give the same).
    Source: Graves et al. 2006, section 4.
    """
    log_probs, single = frames_first("ctc_loss", "log_probs", log_probs)
    known_reduction("ctc_loss", reduction)
    blank = _checks.one_of("ctc_loss", "blank", blank, log_probs.shape[2])
    given = (input_lengths, targets, target_lengths, blank)
    loss = _ctc_loss_in_one(log_probs, *given) if _is_one(beta) else None
    if loss is None:
        loss = -_ctc_lattice(log_probs, *given).forward_score(beta)
    lengths = integers_of("ctc_loss", "target_lengths", target_lengths)
    loss = reduced(loss, reduction, zero_infinity, lengths)
    return loss.squeeze(0) if single and reduction == "none" else loss


def _ctc_lattice(
    log_probs: Tensor, input_lengths: Lengths, targets: Tensor, target_lengths: Lengths, blank: int
) -> Lattice:
    """Emissions [frames, batch, labels] composed with the CTC topologies of the targets."""
    scores, frames, _ = frames_of("ctc_loss", "log_probs", log_probs, input_lengths)
    dtype = torch.float32 if scores.dtype in _checks.SHORT else scores.dtype
    given = ("ctc_loss", targets, target_lengths, len(scores), scores.shape[2])
    if scores.is_cuda:
        rows, lengths = padded_targets(*given, blank, scores.device)
        graph = padded_ctc(rows, lengths, blank, scores.shape[2], dtype)
    else:
        flat, lengths = flat_targets(*given)
        graph = ctc_batch("ctc_loss", flat, lengths, blank, dtype)
    return Lattice(Emissions.unchecked(scores, frames), graph, max_arcs=MAX_ARCS)


def _ctc_loss_in_one(
    log_probs: Tensor, input_lengths: Lengths, targets: Tensor, target_lengths: Lengths, blank: int
) -> Tensor | None:
    """Minus the forward scores of that lattice by one operator, which builds no more than it needs;
    None where only the lattice works, or can say what is wrong.
    """
    given = (input_lengths, targets, target_lengths)
    frames, labels, lengths = (plain_integers(values) for values in given)
    if _ops.transformed() and frames is not None and labels is not None and lengths is not None:
        frames, labels, lengths = without_wrappers(frames, labels, lengths)
        given = (frames, labels, lengths)
    if log_probs.device.type != "cpu" or frames is None or labels is None or lengths is None:
        return None
    if labels.ndim > 2:
        return None

    def multiplied_out(log_probs: Tensor) -> Tensor:
        return -forward_score(_ctc_lattice(log_probs, *given, blank).graph())

    return _ops.ctc_loss(log_probs, frames, labels, lengths, blank, multiplied_out)


@named
def asg_loss(
    scores: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    transitions: Tensor,
    start: Tensor | None = None,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """The automatic segmentation criterion: minus the log-probability of the target.

    The forward score of all label sequences under bigram scores (`bigram_graph`) minus that of the
    alignments of the target (`asg_graph`): globally normalized, without blanks and without a
    softmax. Runs of a label are packed with `pack_repetitions`.

    Arguments: `scores`, `targets`, the lengths, `reduction` ("mean" divides by the length of the
    target), `zero_infinity` and `beta` as in `ctc_loss`, but scores need not be normalized;
    `transitions` [labels, labels] (from, to) and `start` [labels], by default 0, may be learnt.
    Result: [] or, for "none", [batch]; never negative; +inf for a target longer than its frames,
    and for an empty one with frames.
    Raises: ValueError or TypeError for wrong shapes, dtypes, lengths and labels, and for a label
    that follows itself: it could be told from a long one only with `pack_repetitions`. For padded
    targets on a GPU, NaN instead.
    Complexity: O(frames · labels^2). Gradient: posteriors under all sequences minus posteriors
    under the target, any number of times differentiable.
    Source: Collobert, Puhrsch & Synnaeve 2016, section 3.
    """
    rows, frames, single = frames_of("asg_loss", "scores", scores, input_lengths)
    known_reduction("asg_loss", reduction)
    transitions, start = bigram_scores("asg_loss", transitions, start)
    if len(start) != rows.shape[2]:
        raise ValueError(
            f"asg_loss: scores have {rows.shape[2]} labels, transitions have {len(start)}"
        )
    if rows.dtype not in _checks.SHORT or transitions.dtype != torch.float32:
        _checks.same_dtype("asg_loss", scores=rows, transitions=transitions)
    _checks.same_device("asg_loss", scores=rows, transitions=transitions)
    given = ("asg_loss", targets, target_lengths, len(rows), rows.shape[2])
    if rows.is_cuda:
        labels, lengths = padded_targets(*given, None, rows.device)
        numerator = padded_asg(labels, lengths, transitions, start)
    else:
        flat, lengths = flat_targets(*given)
        without_repeats("asg_loss", flat, lengths)
        numerator = asg_batch("asg_loss", flat, lengths, transitions, start, transitions.dtype)
    emissions = Emissions.unchecked(rows, frames)
    loss = _normalized(emissions, numerator, bigram_graph(None, transitions, start), beta)
    loss = reduced(loss.clamp(min=0), reduction, zero_infinity, lengths)
    return loss.squeeze(0) if single and reduction == "none" else loss


@named
def lf_mmi_loss(
    emissions: Emissions,
    numerator: Graph | Lattice,
    denominator: Graph | Lattice,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
    *,
    beta: float | Tensor = 1.0,
) -> Tensor:
    """Lattice-free maximum mutual information: the denominator's forward score minus the
    numerator's, over the same emissions.

    Arguments:
        emissions: frames or segments of a network, any scores.
        numerator: the right paths, a graph per item (alignments of the target, with the weights
            that they have in the denominator), or one for all.
        denominator: all possible paths, usually one graph for all items: a phone n-gram.
        reduction: "none" gives [batch]; "sum"; "mean" over the batch.
        zero_infinity, beta: as in `ctc_loss`.
    Result: [] or, for "none", [batch]; +inf where no right path is possible; negative only where
    the numerator has weight that the denominator lacks.
    Raises: ValueError or TypeError for wrong types, batches and dtypes.
    Complexity: O(frames · arcs of both). Gradient: posteriors under the denominator minus
    posteriors under the numerator, to the emissions and the weights of both graphs; any number of
    times differentiable. Source: Povey et al. 2016; Hadian et al. 2018 for end-to-end training.
    """
    if not isinstance(emissions, Emissions):
        raise TypeError(f"lf_mmi_loss: emissions must be Emissions, got {type(emissions).__name__}")
    known_reduction("lf_mmi_loss", reduction)
    numerator, denominator = (
        built("lf_mmi_loss", name, graph)
        for name, graph in (("numerator", numerator), ("denominator", denominator))
    )
    for name, graph in (("numerator", numerator), ("denominator", denominator)):
        if len(graph) not in (1, len(emissions)):
            raise ValueError(
                f"lf_mmi_loss: emissions have {len(emissions)} items, {name} has {len(graph)} "
                f"graphs (as many, or one, are needed)"
            )
    loss = _normalized(emissions, numerator, denominator, beta)
    return reduced(loss, reduction, zero_infinity, None)


def _normalized(
    emissions: Emissions, numerator: Graph, denominator: Graph, beta: float | Tensor
) -> Tensor:
    """Minus the log-probability of the numerator's paths among those of the denominator."""
    right, possible = (
        -forward_score(compose(emissions, graph), beta) for graph in (numerator, denominator)
    )
    return gap(right, possible)
