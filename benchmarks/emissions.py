"""What is timed on emissions composed with a graph: losses and decoding, no lattice built.

`python -m benchmarks.emissions [--quick]` prints these cases alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import gtnet
from benchmarks.installed import (
    gtn_ctc,
    gtn_product,
    k2_ctc,
    k2_exact,
    optax_ctc,
    torch_struct_crf,
    torchaudio_align,
)
from benchmarks.lexicons import looping_lexicon
from benchmarks.tagging import tagging_cases
from benchmarks.timing import Case, Work, print_cases

ALIGNED = ((500, 100), (3_000, 600), (20_000, 4_000))  # (frames, length of the targets)
# (batch, frames, classes, length of the targets)
CTC_SIZES = ((8, 200, 32, 40), (32, 400, 100, 80), (16, 1000, 1000, 100))

PUBLISHED = """\
Published or measured elsewhere, not here: 100 frames with a looping lexicon of 10,000 words,
OpenFst 12 s for the sum and 5 s for the best path; LF-MMI denominator of 3,022 states and 50,984
arcs, B128 T700, 0.22 s on a 2080 Ti (Ondel et al. 2021)."""


def emission_cases(lexicon: gtnet.Graph, smaller: gtnet.Graph) -> Iterator[Case]:
    """CTC beside torch's, a bigram beside a loop of logsumexp, looping lexicons of 27 letters, a
    denominator graph beside index_add.
    """
    yield from ctc_losses()
    yield from alignments()
    yield from bigrams()
    yield from tagging_cases()
    yield from decoding(lexicon)
    yield training(smaller)
    yield denominator()


def alignments() -> Iterator[Case]:
    """The best path of a CTC graph, one item, beside torchaudio's."""
    for frames, length in ALIGNED:
        log_probs, targets, *_ = ctc_inputs((1, frames, 32, length))
        given = (log_probs.detach(), targets)
        yield Case(
            f"forced_align, T{frames} C32 L{length}",
            lambda given=given: gtnet.forced_align(*given),
            torchaudio_align(*given),
            per=frames * (2 * length + 1),
            unit="frame and state",
        )


def ctc_losses() -> Iterator[Case]:
    """Forward and backward to log-probabilities, the topologies built inside the timing."""
    for size in CTC_SIZES:
        batch, frames, classes, length = size
        inputs = ctc_inputs(size)
        yield Case(
            f"ctc_loss forward + backward, B{batch} T{frames} C{classes} L{length}",
            ctc(gtnet.losses.ctc_loss, *inputs),
            {"torch": ctc(torch.nn.functional.ctc_loss, *inputs)}
            | optax_ctc(*inputs[:2])
            | gtn_ctc(*inputs[:2])
            | k2_ctc(*inputs[:2]),
            per=batch * frames * (2 * length + 1),
            unit="frame and state",
        )


def ctc_inputs(size: tuple[int, ...]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Random log-probabilities [batch, frames, classes], targets and the lengths of both."""
    batch, frames, classes, length = size
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(batch, frames, classes, generator=generator).log_softmax(-1)
    targets = torch.randint(1, classes, (batch, length), generator=generator)
    return scores, targets, (torch.full((batch,), frames), torch.full((batch,), length))


def ctc(loss: object, scores: Tensor, targets: Tensor, lengths: tuple[Tensor, Tensor]) -> Work:
    """One call of a CTC loss and its gradient."""
    leaf = scores.clone().requires_grad_()

    def run() -> None:
        leaf.grad = None
        loss(leaf.transpose(0, 1), targets, *lengths, reduction="sum").backward()

    return run


def bigrams() -> Iterator[Case]:
    """The sum over a dense bigram (ASG's denominator, a linear-chain CRF), all gradients.

    The graph takes one transition more than its peers, into the first frame: as much work, not the
    same sum.
    """
    for batch, classes in ((8, 32), (8, 100), (16, 32)):
        scores = torch.randn(batch, 200, classes, requires_grad=True)
        weights = torch.randn(classes, classes, requires_grad=True)
        graph = bigram(classes)
        inputs = (scores, weights)

        def ours(graph: gtnet.Graph = graph, inputs: tuple[Tensor, Tensor] = inputs) -> None:
            operand = graph.with_weights(inputs[1].flatten())
            gtnet.forward_score(gtnet.Emissions(inputs[0]) @ operand).sum().backward()

        def loop(inputs: tuple[Tensor, Tensor] = inputs) -> None:
            first, *rest = inputs[0].unbind(1)
            for frame in rest:
                first = (first.unsqueeze(2) + inputs[1]).logsumexp(1) + frame
            first.logsumexp(1).sum().backward()

        yield Case(
            f"bigram forward + backward, B{batch} T200 C{classes}",
            ours,
            {"torch loop": loop} | torch_struct_crf(*inputs),
            per=batch * 200 * classes**2,
            unit="frame and arc",
        )


def bigram(classes: int) -> gtnet.Graph:
    """A state per label, entered by that label from every state."""
    states = torch.arange(classes)
    every = states.tolist()
    source, target = states.repeat_interleave(classes), states.repeat(classes)
    return gtnet.Graph(source, target, target, start=every, accept=every)


def decoding(lexicon: gtnet.Graph) -> Iterator[Case]:
    """A looping lexicon over frames of letters; one item, its layout known."""
    scores = torch.randn(1, 100, 27)
    short = gtnet.Emissions(scores)
    name = f"looping lexicon, {lexicon.num_states} states, {lexicon.num_arcs} arcs"
    works = {
        "T100 forward": lambda: gtnet.forward_score(short @ lexicon),
        "T100 Viterbi path": lambda: gtnet.viterbi_path(short @ lexicon),
    }
    for what, work in works.items():
        peers = k2_exact(scores, lexicon, best_path="path" in what)
        yield Case(f"{name}: {what}", work, peers, 100 * lexicon.num_arcs, "frame and arc")


def training(lexicon: gtnet.Graph) -> Case:
    """A looping lexicon of about 10,000 states under 200 frames, and the gradient."""
    scores = torch.randn(1, 200, 27, requires_grad=True)
    return Case(
        f"looping lexicon, {lexicon.num_states} states, {lexicon.num_arcs} arcs: "
        "T200 forward + backward",
        lambda: gtnet.forward_score(gtnet.Emissions(scores) @ lexicon).sum().backward(),
        gtn_product(scores, lexicon, learning=True),
        per=200 * lexicon.num_arcs,
        unit="frame and arc",
    )


def random_denominator(states: int, arcs: int, labels: int) -> gtnet.Graph:
    """Random arcs whose label their target decides, as in a phone language model."""
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randint(states, (2, arcs), generator=generator)
    read = torch.randint(labels, (states,), generator=generator)[target]
    weights = torch.randn(arcs, generator=generator) - 3
    return gtnet.Graph(
        source, target, read, weights=weights, accept=list(range(states)), num_states=states
    )


def denominator(batch: int = 16, frames: int = 700) -> Case:
    """LF-MMI: a graph of 3,000 states and 51,000 arcs for all items, beside gathers and index_add
    over probabilities that are scaled in every frame.
    """
    graph = random_denominator(3_000, 51_000, 100)
    scores = torch.randn(batch, frames, 100, requires_grad=True)
    source, target, read = (column.long() for column in (graph.source, graph.target, graph.ilabels))
    weights = graph.weights.exp()

    def index_add() -> None:
        alpha = torch.zeros(batch, graph.num_states).index_fill(1, torch.tensor([0]), 1.0)
        total = torch.zeros(batch)
        emissions = scores.exp()
        for frame in emissions.unbind(1):
            arcs = alpha[:, source] * weights * frame[:, read]
            alpha = torch.zeros_like(alpha).index_add(1, target, arcs)
            scale = alpha.sum(1, keepdim=True)
            total, alpha = total + scale.squeeze(1).log(), alpha / scale
        total.sum().backward()

    return Case(
        f"denominator of 3,000 states, 51,000 arcs: forward + backward, B{batch} T{frames}",
        lambda: gtnet.forward_score(gtnet.Emissions(scores) @ graph).sum().backward(),
        {"index_add": index_add},
        per=batch * frames * graph.num_arcs,
        unit="frame and arc",
    )


def main() -> None:
    """Print everything about emissions."""
    print_cases(
        "benchmarks.emissions",
        __doc__,
        lambda: emission_cases(looping_lexicon(10_000, 27), looping_lexicon(2_600, 27)),
    )
    print(f"\n{PUBLISHED}")


if __name__ == "__main__":
    main()
