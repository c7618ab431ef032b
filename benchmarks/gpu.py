"""`python -m benchmarks.gpu [--smoke]`: a table of times on a GPU, beside others on the same one.

Peers are torch, cuDNN, torchaudio where it can be loaded, and gtnet on the CPU. `--smoke` runs
everything once in small sizes on the CPU, to see that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

import gtnet
from benchmarks import transducers
from benchmarks.installed import torchaudio_align
from benchmarks.lexicons import looping_lexicon
from gtnet.losses import ctc_loss, transducer_loss

Work = Callable[[], object]


class GpuCase(NamedTuple):
    """Work of gtnet and its peers, and the bytes that any way to do it must move."""

    name: str
    works: dict[str, Work]
    floor_bytes: int
    repeats: int = 20


def where_it_runs(peer: Callable[[], dict[str, Work]]) -> dict[str, Work]:
    """A peer's work, run once; where it cannot be loaded or has no kernel here, stderr says why."""
    try:
        works = peer()
        for work in works.values():
            work()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"benchmarks.gpu: a peer is left out: {error}", file=sys.stderr)
        return {}
    return works


def ctc_cases(device: str, smoke: bool) -> Iterator[GpuCase]:
    """CTC forward and backward beside torch's own and cuDNN's."""
    sizes = ((2, 9, 5, 2),) if smoke else ((32, 400, 100, 80), (128, 1000, 1000, 100))
    for batch, frames, labels, length in sizes:
        scores = torch.randn(frames, batch, labels).log_softmax(-1).to(device).requires_grad_()
        targets = torch.randint(1, labels, (batch * length,), dtype=torch.int32)
        frames_of = torch.full((batch,), frames, dtype=torch.int32)
        lengths = torch.full((batch,), length, dtype=torch.int32)

        def step(
            loss: Callable[..., Tensor], cudnn: bool = True, scores: Tensor = scores,
            rest: tuple[Tensor, ...] = (targets, frames_of, lengths),
        ) -> None:  # fmt: skip
            scores.grad = None
            with torch.backends.cudnn.flags(enabled=cudnn):
                loss(scores, *rest, reduction="sum").backward()

        theirs = torch.nn.functional.ctc_loss
        yield GpuCase(
            f"ctc_loss forward + backward, B{batch} T{frames} C{labels} L{length}",
            {
                "gtnet": lambda step=step: step(ctc_loss),
                "cuDNN": lambda step=step, theirs=theirs: step(theirs),
                "torch": lambda step=step, theirs=theirs: step(theirs, cudnn=False),
            },
            2 * scores.numel() * 4,
        )


def transducer_case(device: str, smoke: bool) -> Iterator[GpuCase]:
    """The transducer loss of logits and its gradient, beside torchaudio's.

    The floor: logits are larger than a cache, so they are read for their sums, read again once
    these are known, and the gradient is written. Two exponentials of each take less time.
    Between the two the sums over the grid go a diagonal at a time, a block for each item: frames +
    labels steps both ways, which wait for one another.
    """
    batch, frames, length, labels = (2, 5, 3, 4) if smoke else (16, 200, 50, 500)
    targets = torch.randint(1, labels, (batch, length), device=device)
    logits = torch.randn(batch, frames, length + 1, labels, device=device).requires_grad_()

    def ours() -> Tensor:
        return transducer_loss(logits, targets, from_logits=True)

    yield GpuCase(
        f"transducer_loss forward + backward, B{batch} T{frames} U{length} C{labels}, logits",
        {
            "gtnet": transducers.learning(ours, logits),
            **where_it_runs(lambda: transducers.peers(logits, targets)),
        },
        3 * logits.numel() * 4,
    )


def align_case(device: str, smoke: bool) -> Iterator[GpuCase]:
    """The best alignment of a recording with its transcript, beside torchaudio's.

    The floor: scores are read, and for every frame and state two bits written that say where its
    best path came from. Nobody comes near it: frames wait for one another, and neither bytes nor
    arithmetic but the time of so many steps of one block is the limit.
    """
    frames, labels, length = (9, 5, 2) if smoke else (3000, 32, 300)
    scores = torch.randn(1, frames, labels).log_softmax(-1).to(device)
    targets = torch.randint(1, labels, (1, length))
    there = targets.to(device)
    yield GpuCase(
        f"forced_align, B1 T{frames} C{labels} L{length}",
        {
            "gtnet": lambda: gtnet.forced_align(scores, targets),
            **where_it_runs(lambda: torchaudio_align(scores, there)),
        },
        scores.numel() * 4 + frames * (2 * length + 1) // 4,
    )


def denominator_case(device: str, smoke: bool) -> Iterator[GpuCase]:
    """A denominator graph of random arcs, forward and backward, beside dense matrix products."""
    states, arcs, batch, frames, labels = (
        (9, 30, 2, 4, 5) if smoke else (3022, 50_984, 128, 700, 3280)
    )
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randint(0, states, (arcs,), generator=generator) for _ in range(2))
    label_of = torch.randint(0, labels, (states,), generator=generator)
    weights = -torch.rand(arcs, generator=generator) - 2
    graph = gtnet.Graph(
        source, target, label_of[target], weights=weights, accept=list(range(states)),
        num_states=states,
    ).to(device)  # fmt: skip
    scores = torch.randn(batch, frames, labels, generator=generator).to(device).requires_grad_()
    dense = torch.zeros(states, states).index_put((source, target), weights.exp(), accumulate=True)
    dense, label_of = dense.to(device), label_of.to(device)

    def ours() -> None:
        scores.grad = None
        gtnet.forward_score(gtnet.Emissions(scores) @ graph).sum().backward()

    def matrices() -> None:
        scores.grad = None
        alpha = torch.zeros(batch, states, device=device)
        alpha[:, 0] = 1
        total = torch.zeros(batch, device=device)
        for t in range(frames):
            alpha = (alpha @ dense) * scores[:, t, label_of].exp()
            size = alpha.sum(1, keepdim=True)
            alpha, total = alpha / size, total + size.squeeze(1).log()
        total.sum().backward()

    kept = batch * (frames + 1) * states * 8
    yield GpuCase(
        f"denominator of {states} states and {arcs} arcs, B{batch} T{frames}, loss and gradient",
        {"gtnet": ours, "dense torch": matrices},
        2 * scores.numel() * 4 + 2 * kept,
    )


def lexicon_cases(device: str, smoke: bool) -> Iterator[GpuCase]:
    """Lattices of emissions composed with a looping lexicon, and sums over the product.

    The goal for 32 lattices and 32,000 words is 30 times gtnet on the CPU.
    """
    sizes = ((20, 2, 4),) if smoke else ((32_000, 32, 16), (10_000, 1, 100))
    for words, batch, frames in sizes:
        lexicon = looping_lexicon(words, 27)
        lattices = gtnet.Emissions(torch.randn(batch, frames, 27)).graph()
        product = gtnet.compose(lattices, lexicon)
        arcs = product.num_arcs
        a, b = lattices.to(device), lexicon.to(device)
        size = f"{batch} lattices of {frames} x 27 and {words} words ({arcs / 1e6:.1f}M arcs)"
        yield GpuCase(
            f"compose {size}",
            {
                "gtnet": lambda a=a, b=b: gtnet.compose(a, b),
                f"gtnet on {torch.get_num_threads()} CPU threads": (
                    lambda a=lattices, b=lexicon: gtnet.compose(a, b)
                ),
            },
            arcs * 7 * 4,  # ends, labels, origins and scores written
            repeats=3,
        )

        def sums(graph: gtnet.Graph) -> None:
            graph.weights.grad = None
            gtnet.forward_score(graph).sum().backward()

        here = product.detach().requires_grad_()
        there = gtnet.compose(a, b).detach().requires_grad_()
        yield GpuCase(
            f"... forward and backward over the product, {arcs / 1e6:.1f}M arcs",
            {
                "gtnet": lambda graph=there, sums=sums: sums(graph),
                f"gtnet on {torch.get_num_threads()} CPU threads": (
                    lambda graph=here, sums=sums: sums(graph)
                ),
            },
            arcs * 2 * (3 * 4 + 8),  # both ways: where arcs lead, their scores, and sums
            repeats=3,
        )


def recording_case(device: str, smoke: bool) -> Iterator[GpuCase]:
    """One recording and a whole looping lexicon, loss and gradient: a chain for a team of blocks.

    The floor: alphas of all frames are written and read again.
    """
    words, frames = (20, 4) if smoke else (32_000, 200)
    lexicon = looping_lexicon(words, 27)
    scores = torch.randn(1, frames, 27)

    def step(scores: Tensor, graph: gtnet.Graph) -> None:
        scores.grad = None
        gtnet.forward_score(gtnet.Emissions(scores) @ graph).sum().backward()

    here = (scores.clone().requires_grad_(), lexicon)
    there = (scores.to(device).requires_grad_(), lexicon.to(device))
    arcs = f"{lexicon.num_arcs / 1e3:.0f},000" if not smoke else f"{lexicon.num_arcs}"
    yield GpuCase(
        f"one recording of {frames} x 27 and {words} words, {arcs} arcs, loss and gradient",
        {
            "gtnet": lambda: step(*there),
            f"gtnet on {torch.get_num_threads()} CPU threads": lambda: step(*here),
        },
        2 * (frames + 1) * lexicon.num_states * 8,
        repeats=5,
    )


def beam_cases(device: str, smoke: bool) -> Iterator[GpuCase]:
    """Best paths of a beam search through a looping lexicon of random words."""
    words, frames, sizes = (9, 5, (2,)) if smoke else (10_000, 200, (8, 128))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 9, (words,), generator=generator).tolist()
    spelled = [torch.randint(27, (n,), generator=generator).tolist() for n in lengths]
    lexicon = gtnet.closure(gtnet.trie(spelled)).to(device)
    for batch in sizes:
        scores = torch.randn(batch, frames, 27, generator=generator).to(device)

        def search(scores: Tensor = scores) -> None:
            gtnet.beam_search(
                gtnet.Emissions(scores), lexicon, beam=20.0, max_active=1000, lattice_beam=0.0
            )

        yield GpuCase(
            f"beam search, {words} words, 1,000 active, B{batch} T{frames}, best path",
            {"gtnet": search},
            scores.numel() * 4,
        )


def segments_case(device: str, smoke: bool) -> Iterator[GpuCase]:
    """Segments of up to four pieces of an image, and what may be written on it: loss, gradient."""
    batch, cuts, length = (2, 4, 2) if smoke else (256, 40, 20)
    pairs = [(c, d) for c in range(cuts) for d in range(c + 1, min(cuts, c + 5))]
    source, target = (list(column) for column in zip(*pairs))
    one = gtnet.Graph(source, target, [0] * len(pairs), accept=cuts - 1)
    segments = gtnet.stack([one] * batch).to(device)
    answers = gtnet.linear(torch.randint(10, (batch, length)).tolist()).to(device)
    scores = torch.randn(segments.num_arcs, 10).to(device).requires_grad_()

    def step() -> None:
        scores.grad = None
        gtnet.forward_score(gtnet.Emissions(scores, graph=segments) @ answers).sum().backward()

    yield GpuCase(
        f"segmentations of {cuts} cuts beside {length} labels, B{batch}, loss and gradient",
        {"gtnet": step},
        2 * scores.numel() * 4,
    )


def milliseconds(work: Work, device: str, repeats: int) -> float:
    """The median time on the device, after two runs to warm up."""
    if device == "cpu":
        work()
        return float("nan")
    for _ in range(2):
        work()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def bandwidth(device: str) -> float:
    """Bytes per second of a large copy on the device, reads and writes."""
    if device == "cpu":
        return float("nan")
    source = torch.empty(1 << 28, device=device)
    goal = torch.empty_like(source)
    seconds = milliseconds(lambda: goal.copy_(source), device, 10) / 1e3
    return 2 * source.numel() * source.element_size() / seconds


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, once, on the CPU")
    smoke = parser.parse_args().smoke
    if not smoke and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: there is no GPU here; --smoke runs small sizes on the CPU")
    device = "cpu" if smoke else "cuda"
    name = "CPU" if smoke else torch.cuda.get_device_name()
    speed = bandwidth(device)
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, gtnet", end=" ")
    print(f"{gtnet.__version__}, {speed / 1e9:.0f} GB/s copied\n")
    print("| work | ms | x of the strongest peer | of the floor by bandwidth |\n|---|---|--:|--:|")
    sources = (
        ctc_cases, transducer_case, align_case, denominator_case, lexicon_cases,
        recording_case, beam_cases, segments_case,
    )  # fmt: skip
    for case in (case for source in sources for case in source(device, smoke)):
        times = {who: milliseconds(work, device, case.repeats) for who, work in case.works.items()}
        listed = ", ".join(f"{who} {ms:.3f}" for who, ms in times.items())
        ours = times.pop("gtnet")
        faster = f"{min(times.values()) / ours:.1f}x" if times else "-"
        floor = case.floor_bytes / speed * 1e3 / ours
        print(f"| {case.name} | {listed} | {faster} | {floor:.0%} |", flush=True)


if __name__ == "__main__":
    main()
