"""`python -m benchmarks.beam_search [--quick]`: beam search beside exact search and k2.

Eight items of 200 frames of random letter scores through a looping lexicon of 10,000 random words,
with beam 20 and at most 1,000 active states; then the other recognizer topologies and losses.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import gtnet
from benchmarks.installed import k2_best_path, k2_pruned
from benchmarks.lexicons import looping_lexicon, spelled_lexicon
from benchmarks.timing import Case, Work, print_cases

OPTIONS = {"beam": 20.0, "max_active": 1000}


def letters(batch: int = 8, frames: int = 200) -> Tensor:
    """Scores of 27 letters, the same each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, frames, 27, generator=generator)


def beam_search_cases(lexicon: gtnet.Graph) -> Iterator[Case]:
    """Best paths and lattices of a beam search through a lexicon, whole and in chunks."""
    scores = letters()
    emissions = gtnet.Emissions(scores)

    def best() -> gtnet.Graph:
        return gtnet.viterbi_path(
            gtnet.beam_search(emissions, lexicon, **OPTIONS, lattice_beam=0.0)
        )

    def lattice() -> gtnet.Graph:
        return gtnet.beam_search(emissions, lexicon, **OPTIONS, lattice_beam=8.0)

    def stream() -> gtnet.Graph:
        search = gtnet.BeamSearch(lexicon, **OPTIONS, lattice_beam=0.0)
        for chunk in scores.split(10, 1):
            search.feed(chunk)
        return gtnet.viterbi_path(search.lattice())

    name = "beam search, 10k-word lexicon, B8 T200, 1,000 active"
    exact = {"exact": lambda: gtnet.viterbi_path(emissions @ lexicon)}
    per, unit = 8 * 200 * OPTIONS["max_active"], "frame and active state"
    peers = exact | k2_best_path(scores, lexicon, **OPTIONS)
    yield Case(f"{name}: best path", best, peers, per=per, unit=unit)
    yield Case(f"{name}: best path, chunks of 10", stream, per=per, unit=unit)
    peers = k2_pruned(scores, lexicon, **OPTIONS, output_beam=8.0)
    yield Case(f"{name}: lattice, beam 8", lattice, peers, per=per, unit=unit)


def exact_cases() -> Iterator[Case]:
    """The best path of a CTC lexicon without pruning, beside item by item."""
    words = spelled_lexicon(10_000, 30).graph(write="first").star
    lexicon = gtnet.compose(gtnet.ctc_topology(30), words)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(8, 200, 30, generator=generator).log_softmax(-1)
    alone = [gtnet.Emissions(item[None]) for item in scores]
    yield Case(
        f"exact best path, 10k-word CTC lexicon of {lexicon.num_arcs} arcs, B8 T200",
        lambda: gtnet.viterbi_path(gtnet.Emissions(scores) @ lexicon),
        {"item by item": lambda: [gtnet.viterbi_path(item @ lexicon) for item in alone]},
        per=8 * 200 * lexicon.num_arcs,
        unit="frame and arc",
    )


def agreement(lexicon: gtnet.Graph) -> str:
    """How many best paths of the beam search are the exact ones."""
    emissions = gtnet.Emissions(letters())
    lattice = gtnet.beam_search(emissions, lexicon, **OPTIONS)
    found, exact = gtnet.viterbi_score(lattice), gtnet.viterbi_score(emissions @ lexicon)
    same = int(torch.isclose(found, exact).sum())
    return f"best paths that are the exact ones: {same} of {len(exact)}"


def recognizer_cases() -> Iterator[Case]:
    """The compact CTC topology beside the quadratic one, and the losses beside torch."""
    labels = 500
    scores = gtnet.Emissions(torch.randn(8, 100, labels))
    compact, full = gtnet.ctc_topology(labels), quadratic_topology(labels)
    yield Case(
        f"CTC topology of {labels} labels, B8 T100: forward",
        lambda: gtnet.forward_score(scores @ compact),
        {"quadratic": lambda: gtnet.forward_score(scores @ full)},
        per=800 * compact.num_arcs,
        unit="frame and arc",
    )
    yield Case(f"ctc_topology({labels})", lambda: gtnet.ctc_topology(labels))
    batch, frames, length = 8, 200, 40
    grid = torch.randn(batch, frames, length + 1, 32).log_softmax(-1).requires_grad_()
    targets = torch.randint(1, 32, (batch, length))
    yield Case(
        f"transducer_loss forward + backward, B{batch} T{frames} U{length} C32",
        learning(grid, lambda: gtnet.losses.transducer_loss(grid, targets)),
        {"torch by diagonals": learning(grid, lambda: diagonals(grid, targets))},
        per=batch * frames * (length + 1),
        unit="frame and label",
    )
    rows = torch.randn(frames, batch, 32, requires_grad=True)
    transitions = torch.randn(32, 32, requires_grad=True)
    steps = torch.randint(1, 32, (batch, length))
    different = steps.cumsum(1) % 32  # no label twice in a row
    lengths = torch.full((batch,), frames), torch.full((batch,), length)
    yield Case(
        f"asg_loss forward + backward, B{batch} T{frames} C32 L{length}",
        learning(rows, lambda: gtnet.losses.asg_loss(rows, different, *lengths, transitions)),
        per=batch * frames * 32**2,
        unit="frame and arc",
    )


def learning(leaf: Tensor, loss: Work) -> Work:
    """One call of a loss and its gradient."""

    def run() -> None:
        leaf.grad = None
        loss().backward()

    return run


def quadratic_topology(labels: int) -> gtnet.Graph:
    """A state per label and an arc from each to each."""
    every = torch.arange(labels)
    source, target = every.repeat_interleave(labels), every.repeat(labels)
    writes = target.masked_fill((target == source) | (target == 0), gtnet.EPSILON)
    return gtnet.Graph(source, target, target, writes, accept=every.tolist())


def diagonals(log_probs: Tensor, targets: Tensor) -> Tensor:
    """The transducer loss in plain torch, one diagonal of (frame, label) at a time."""
    batch, frames, width, _ = log_probs.shape
    blank = log_probs[..., 0]
    chosen = targets.view(batch, 1, width - 1, 1).expand(-1, frames, -1, -1)
    label = log_probs[:, :, :-1].gather(3, chosen).squeeze(3)
    alpha = torch.full((batch, width), float("-inf"))
    alpha[:, 0] = 0
    place = torch.arange(width)
    for step in range(1, frames + width - 1):
        at = step - place
        stay = alpha + blank[:, (at - 1).clamp(0, frames - 1), place]
        come = alpha[:, :-1] + label[:, at[1:].clamp(0, frames - 1), place[:-1]]
        stay = stay.masked_fill((at < 1) | (at >= frames), -1e30)
        come = come.masked_fill((at[1:] < 0) | (at[1:] >= frames), -1e30)
        come = torch.nn.functional.pad(come, (1, 0), value=-1e30)
        alpha = torch.logaddexp(stay.clamp(min=-1e30), come.clamp(min=-1e30))
    return -(alpha[:, -1] + blank[:, -1, -1]).mean()


def main() -> None:
    """Time everything and print the table."""
    lexicon = looping_lexicon(10_000, 27)
    print_cases(
        "benchmarks.beam_search",
        __doc__,
        lambda: (*beam_search_cases(lexicon), *exact_cases(), *recognizer_cases()),
    )
    print(agreement(lexicon))


if __name__ == "__main__":
    main()
