"""What is timed on emissions composed with a graph: losses and decoding, no lattice built."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import gtnet
from benchmarks.timing import Case, Work


def emission_cases(lexicon: gtnet.Graph) -> Iterator[Case]:
    """CTC beside torch's, a bigram beside a loop of logsumexp, a looping lexicon of 27 letters."""
    yield from ctc_losses()
    yield from bigrams()
    yield from decoding(lexicon)


def ctc_losses() -> Iterator[Case]:
    """Forward and backward to log-probabilities, the topologies built inside the timing."""
    sizes = ((8, 200, 32, 40), (32, 400, 100, 80), (16, 1000, 1000, 100))
    for batch, frames, classes, length in sizes:
        generator = torch.Generator().manual_seed(0)
        scores = torch.randn(batch, frames, classes, generator=generator).log_softmax(-1)
        targets = torch.randint(1, classes, (batch, length), generator=generator)
        lengths = torch.full((batch,), frames), torch.full((batch,), length)
        peers = {"torch": ctc(torch.nn.functional.ctc_loss, scores, targets, lengths)}
        yield Case(
            f"ctc_loss forward + backward, B{batch} T{frames} C{classes} L{length}",
            ctc(gtnet.losses.ctc_loss, scores, targets, lengths),
            peers,
            per=batch * frames * (2 * length + 1),
            unit="frame and state",
        )


def ctc(loss: object, scores: Tensor, targets: Tensor, lengths: tuple[Tensor, Tensor]) -> Work:
    """One call of a CTC loss and its gradient."""
    leaf = scores.clone().requires_grad_()

    def run() -> None:
        leaf.grad = None
        loss(leaf.transpose(0, 1), targets, *lengths, reduction="sum").backward()

    return run


def bigrams() -> Iterator[Case]:
    """The sum over a dense bigram (ASG's denominator, a linear-chain CRF), all gradients."""
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
            {"torch loop": loop},
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
    short = gtnet.Emissions(torch.randn(1, 100, 27))
    long = torch.randn(1, 200, 27, requires_grad=True)
    name = f"looping lexicon, {lexicon.num_states} states, {lexicon.num_arcs} arcs"
    works = {
        "T100 forward": lambda: gtnet.forward_score(short @ lexicon),
        "T100 Viterbi path": lambda: gtnet.viterbi_path(short @ lexicon),
    }
    for what, work in works.items():
        yield Case(f"{name}: {what}", work, per=100 * lexicon.num_arcs, unit="frame and arc")
    yield Case(
        f"{name}: T200 forward + backward",
        lambda: gtnet.forward_score(gtnet.Emissions(long) @ lexicon).sum().backward(),
        per=200 * lexicon.num_arcs,
        unit="frame and arc",
    )
