"""Timings that survive a shared machine: interleaved runs, CPU time, medians, ratios.

A short piece of work runs once more right before it is timed: a peer that goes through hundreds of
megabytes would otherwise leave cold caches to whoever comes next.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

Work = Callable[[], object]

SHORT = 0.1  # seconds


@dataclass(frozen=True)
class Case:
    """One piece of work, done by gtnet and by whichever peers are installed."""

    name: str
    gtnet: Work
    peers: dict[str, Work] = field(default_factory=dict)
    per: int = 1  # divide by this many pieces (arcs, graphs) ...
    unit: str = ""  # ... which are called this


@dataclass(frozen=True)
class Timing:
    """Median CPU milliseconds of gtnet and of each peer, from interleaved runs."""

    case: Case
    gtnet: float
    peers: dict[str, float]

    def row(self) -> str:
        """A line of the Markdown table."""
        beside = [f"{name} {ms:.3g} ms ({ms / self.gtnet:.1f}x)" for name, ms in self.peers.items()]
        each = (
            f"{self.gtnet / self.case.per * 1e6:.3g} ns/{self.case.unit}" if self.case.unit else ""
        )
        return f"| {self.case.name} | {self.gtnet:.4g} | {each} | {', '.join(beside)} |"


def seconds(work: Work) -> float:
    """CPU time of one run."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(case: Case, repeats: int, budget: float = 20.0) -> Timing:
    """Run gtnet and its peers in turn, `repeats` times after a warm-up or until time is up."""
    everyone = {"gtnet": case.gtnet, **case.peers}
    short = {name for name, work in everyone.items() if seconds(work) < SHORT}
    times: dict[str, list[float]] = {name: [] for name in everyone}
    begin = time.perf_counter()
    for _ in range(repeats):
        for name, work in everyone.items():
            if name in short:
                work()
            times[name].append(seconds(work))
        if time.perf_counter() - begin > budget:
            break
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    return Timing(case, medians.pop("gtnet"), medians)


def begun(parser: argparse.ArgumentParser) -> tuple[int, argparse.Namespace]:
    """How often a command runs each case, all of them on one thread, and what else was asked."""
    parser.add_argument("--quick", action="store_true", help="3 runs of each instead of 15")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    return 3 if asked.quick else 15, asked


def print_cases(program: str, about: str | None, cases: Callable[[], Iterable[Case]]) -> None:
    """A command that times some cases alone, on one thread, and prints each when it is done."""
    repeats = begun(argparse.ArgumentParser(prog=f"python -m {program}", description=about))[0]
    print("| work | gtnet ms | each | peers |\n|---|--:|--:|---|")
    for case in cases():
        print(measure(case, repeats).row(), flush=True)


def processor() -> str:
    """What the machine calls its processor, with the widest vectors it has."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    vectors = next((name for name in ("avx512f", "avx2") if name in text), "baseline")
    return f"{names[0] if names else platform.processor()} ({vectors})"
