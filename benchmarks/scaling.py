"""What timings alone do not show: peak memory, what a second thread brings, how the cost grows.

`python -m benchmarks.scaling [--quick]` prints these tables alone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import gtnet
from benchmarks.emissions import CTC_SIZES, ctc, ctc_inputs, denominator, random_denominator
from benchmarks.timing import Work, begun, seconds

PICTURE = Path(__file__).parent / "growth.svg"
SIZES = {"frames": 100, "arcs": 8_000, "batch": 4}  # the smallest; each grows alone
FACTORS = (1, 2, 4, 8, 16)


def tables(repeats: int) -> Iterator[str]:
    """All of them as Markdown, and a picture of the growth beside them."""
    yield "| peak memory added | |\n|---|--:|"
    yield from peak_memory()
    yield "\n| on the clock | 1 thread | 2 threads | |\n|---|--:|--:|--:|"
    yield from second_thread(repeats)
    grown = growth(repeats)
    head = " | ".join(f"x{factor}" for factor in FACTORS)
    yield f"\n| forward + backward, ns per frame, arc and item | {head} |"
    yield f"|---|{'--:|' * len(FACTORS)}"
    for what, line in grown.items():
        cells = (f"{size:,}: {median / work * 1e9:.2f}" for size, work, median in line)
        yield f"| {what} | {' | '.join(cells)} |"
    plot(grown)
    yield f"\n![Time against work, growing alone in frames, arcs and batch]({PICTURE.name})"


def peak_memory() -> Iterator[str]:
    """MiB that a CTC loss and its gradient add to the process, in processes of their own."""
    size = CTC_SIZES[-1]
    for name in ("gtnet.losses", "torch.nn.functional"):
        program = (
            "import torch, gtnet, benchmarks.scaling as b; torch.set_num_threads(1)\n"
            f"b.ctc({name}.ctc_loss, *b.ctc_inputs({CTC_SIZES[0]}))()\n"
            f"work = b.ctc({name}.ctc_loss, *b.ctc_inputs({size}))\n"
            "open('/proc/self/clear_refs', 'w').write('5')\n"  # the peak so far is forgotten
            "before = b.resident('VmRSS'); work(); print(b.resident('VmHWM') - before)"
        )
        added = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        yield f"| {name}.ctc_loss, {size} | {int(added.stdout) / 1024:.0f} MiB |"


def resident(what: str) -> int:
    """KiB of memory that Linux says this process has (VmRSS), or has had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def second_thread(repeats: int) -> Iterator[str]:
    """One thread beside two, on the clock; the best of several, for other programs run as well."""
    works = {
        f"ctc_loss forward + backward, {size}": ctc(gtnet.losses.ctc_loss, *ctc_inputs(size))
        for size in CTC_SIZES
    }
    case = denominator(8, 100)
    works["denominator forward + backward, B8 T100"] = case.gtnet
    for name, work in works.items():
        work()
        times = [[wall(work, threads) for threads in (1, 2)] for _ in range(repeats)]
        one, two = (min(column) for column in zip(*times, strict=True))
        yield f"| {name} | {one:.3g} ms | {two:.3g} ms | {one / two:.2f}x |"
    torch.set_num_threads(1)


def wall(work: Work, threads: int) -> float:
    """Milliseconds on the clock."""
    torch.set_num_threads(threads)
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def growth(repeats: int) -> dict[str, list[tuple[int, int, float]]]:
    """As one of frames, arcs and batch grows: its size, the work in all, and CPU seconds."""
    lines: dict[str, list[tuple[int, int, float]]] = {what: [] for what in SIZES}
    for what, line in lines.items():
        for factor in FACTORS:
            size = {**SIZES, what: SIZES[what] * factor}
            graph = random_denominator(size["arcs"] // 8, size["arcs"], 50)
            scores = torch.randn(size["batch"], size["frames"], 50, requires_grad=True)

            def work(scores: Tensor = scores, graph: gtnet.Graph = graph) -> None:
                gtnet.forward_score(gtnet.Emissions(scores) @ graph).sum().backward()

            work()
            median = statistics.median(seconds(work) for _ in range(repeats))
            line.append((size[what], size["frames"] * size["arcs"] * size["batch"], median))
    return lines


def plot(grown: dict[str, list[tuple[int, int, float]]]) -> None:
    """Both axes logarithmic, and the slope that linear growth has."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (what, line), marker in zip(grown.items(), "os^", strict=True):
        work, times = zip(*((work, median * 1e3) for _, work, median in line), strict=True)
        axes.loglog(work, times, marker=marker, label=f"more {what}")
    axes.loglog(work, [times[0] * w / work[0] for w in work], ":k", label="linear")
    axes.set(xlabel="frames · arcs · items", ylabel="CPU milliseconds, forward + backward")
    axes.legend()
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    repeats, _ = begun(parser)
    for line in tables(repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
