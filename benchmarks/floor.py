"""How near the machine's limit the main rows are.

That is the work they cannot do without, at the rates that this machine reaches on nothing else.

`python -m benchmarks.floor [--quick]` times these rows alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.timing import Timing, Work, begun, measure, seconds

PICTURE = Path(__file__).parent / "floor.svg"
FLOAT = 4  # bytes
INDEX = 4


@dataclass(frozen=True)
class Floor:
    """What a row must do at least.

    For each of its pieces `steps` operations on floats in vectors (a multiplication with its
    addition, an addition, a maximum); in all so many exponentials, and bytes read and written.
    """

    row: str  # how its name begins
    steps: int
    exponentials: int
    size: int


def _ctc(batch: int, frames: int, classes: int, length: int) -> Floor:
    # Three ways into a state and three out of it, then the posterior and its sum.
    row = f"ctc_loss forward + backward, B{batch} T{frames} C{classes} L{length}"
    scores = batch * frames * classes
    return Floor(row, 8, batch * frames * (length + 1), 2 * FLOAT * scores)


def _bigram(batch: int, frames: int, classes: int) -> Floor:
    # Forward, backward, and the count of an arc.
    scores = batch * frames * classes
    row = f"bigram forward + backward, B{batch} T{frames} C{classes}"
    return Floor(row, 3, scores, 2 * FLOAT * scores)


FLOORS = (
    _ctc(8, 200, 32, 40),
    _ctc(32, 400, 100, 80),
    _ctc(16, 1000, 1000, 100),
    _bigram(8, 200, 32),
    _bigram(8, 200, 100),
    # One exponential an arc and three multiplications; each way the weight (or its gradient) and
    # which state is at the other end.
    Floor("DAG of 100k states, 1M arcs: forward + backward", 3, 10**6, 2 * 10**6 * (FLOAT + INDEX)),
    Floor("denominator of 3,000 states", 3, 16 * 700 * 100, 2 * FLOAT * 16 * 700 * 100),
    # An addition and a maximum for each frame and arc.
    Floor("HMM T10,000 C32: Viterbi path", 2, 0, FLOAT * 10_000 * 32),
    Floor("HMM T100,000 C8: Viterbi path", 2, 0, FLOAT * 100_000 * 8),
    Floor("exact best path, 10k-word CTC lexicon", 2, 0, FLOAT * 8 * 200 * 28),
)


@dataclass(frozen=True)
class Rates:
    """What one thread does in a second."""

    steps: float
    exponentials: float
    bytes: float

    def seconds(self, floor: Floor, pieces: int) -> float:
        """Arithmetic and memory overlap, so the longer of both."""
        arithmetic = floor.steps * pieces / self.steps + floor.exponentials / self.exponentials
        return max(arithmetic, floor.size / self.bytes)


def measured() -> Rates:
    """By torch: a product of matrices, exponentials in the cache, and a sum of long vectors."""
    size, near, far = 512, 1 << 14, 1 << 25
    square, product = torch.rand(2, size, size)
    row, made = torch.rand(2, near)
    one, other, total = torch.rand(3, far)
    return Rates(
        size**3 / _best(lambda: torch.mm(square, square, out=product)),
        near / _best(lambda: torch.exp(row, out=made)),
        3 * FLOAT * far / _best(lambda: torch.add(one, other, out=total)),
    )


def _best(work: Work) -> float:
    """Seconds of one run at its quickest: a rate that is a limit."""
    times = 1
    while seconds(repeated(work, times)) < 0.05:
        times *= 2
    return min(seconds(repeated(work, times)) for _ in range(9)) / times


def repeated(work: Work, times: int) -> Work:
    """The work done so often that it can be timed."""
    return lambda: [work() for _ in range(times)]


def tables(timings: list[Timing]) -> Iterator[str]:
    """The rows as Markdown, and a picture of them."""
    rates = measured()
    yield (
        f"One thread does, in torch, {rates.steps / 1e9:.3g}e9 multiply-adds of float32 (a product"
        f" of matrices) and\n{rates.exponentials / 1e9:.2g}e9 exponentials in a second, and moves"
        f" {rates.bytes / 1e9:.3g} GB. The floor is what a row\nmust compute or move at these"
        f" rates, whichever takes longer.\n"
    )
    yield "| work | floor ms | gtnet ms | fraction of the floor reached |\n|---|--:|--:|--:|"
    reached: dict[str, float] = {}
    for floor in FLOORS:
        for timing in timings:
            name = timing.case.name
            if not name.startswith(floor.row):
                continue
            least = rates.seconds(floor, timing.case.per) * 1e3
            reached[name] = least / timing.gtnet
            yield f"| {name} | {least:.3g} | {timing.gtnet:.4g} | {reached[name]:.2f} |"
    plot(reached)
    yield f"\n![The fraction of the floor that each row reaches]({PICTURE.name})"


def plot(reached: dict[str, float]) -> None:
    """A bar for each row, in the order of the table; a full one is the machine's limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 * len(reached) + 1), layout="constrained")
    axes = figure.subplots()
    names = [name.replace("forward + backward", "fwd + bwd") for name in reached]
    bars = axes.barh(names, list(reached.values()))
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="fraction of the floor reached")
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Time the rows and print the table."""
    from benchmarks.cases import all_cases

    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    repeats, _ = begun(parser)
    rows = tuple(floor.row for floor in FLOORS)
    alone = [case for case in all_cases() if case.name.startswith(rows)]
    for line in tables([measure(replace(case, peers={}), repeats) for case in alone]):
        print(line, flush=True)


if __name__ == "__main__":
    main()
