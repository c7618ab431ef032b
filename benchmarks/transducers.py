"""Transducer losses and search: time beside torchaudio (where it is installed), memory.

    python -m benchmarks.transducers

One thread. torchaudio is the loss that takes logits, in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import Case, Work, measure
from gtnet import losses

SIZES = [(8, 200, 40, 32), (4, 200, 40, 500), (1, 100, 20, 1000)]
LARGE = (4, 400, 80, 500)  # of which the memory is compared
WIDTH = 5


def problem(batch: int, frames: int, length: int, labels: int) -> tuple[Tensor, Tensor]:
    """A network's logits with a gradient, and targets."""
    torch.manual_seed(0)
    targets = torch.randint(1, labels, (batch, length))
    return torch.randn(batch, frames, length + 1, labels).requires_grad_(), targets


def learning(loss: Work, *leaves: Tensor) -> Work:
    """One call of a loss and its gradient."""

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss().backward()  # type: ignore[attr-defined]

    return run


def peers(logits: Tensor, targets: Tensor) -> dict[str, Work]:
    """torchaudio's loss of the same logits."""
    if importlib.util.find_spec("torchaudio") is None:
        return {}
    from torchaudio.functional import rnnt_loss

    batch, frames, width, _ = logits.shape
    sizes = (targets.new_full((batch,), n, dtype=torch.int32) for n in (frames, width - 1))
    given = (targets.int(), *sizes)
    return {"torchaudio": learning(lambda: rnnt_loss(logits, *given, blank=0), logits)}


def cases() -> Iterator[Case]:
    """The full loss, the simple one, and the pruned one."""
    for batch, frames, length, labels in SIZES:
        logits, targets = problem(batch, frames, length, labels)
        size = f"B{batch} T{frames} U{length} C{labels}"
        beside = peers(logits, targets)
        yield Case(
            f"transducer_loss forward + backward, {size}",
            learning(
                lambda x=logits, y=targets: losses.transducer_loss(x, y, from_logits=True), logits
            ),
            beside,
            per=batch * frames * (length + 1),
            unit="frame and label",
        )
        am = torch.randn(batch, frames, labels).requires_grad_()
        lm = torch.randn(batch, length + 1, labels).requires_grad_()
        yield Case(
            f"prune_transducer forward + backward, {size}",
            learning(
                lambda a=am, b=lm, y=targets: losses.prune_transducer(a, b, y, width=WIDTH)[0],
                am,
                lm,
            ),
            beside,
        )
        _, ranges = losses.prune_transducer(am, lm, targets, width=WIDTH)
        few = torch.randn(batch, frames, WIDTH, labels).requires_grad_()
        yield Case(
            f"pruned transducer_loss forward + backward, {WIDTH} places, {size}",
            learning(
                lambda x=few, y=targets, r=ranges: losses.transducer_loss(
                    x, y, ranges=r, from_logits=True
                ),
                few,
            ),
            beside,
        )


def peak() -> int:
    """KiB of memory that this process has had at most; unlike ru_maxrss, not that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def memory(which: str) -> None:
    """Print by how many MiB a loss and its gradient, logits included, raise the peak."""
    batch, frames, length, labels = LARGE
    targets = torch.randint(1, labels, (batch, length))
    given = problem(1, 5, 3, 4)
    learning(lambda: losses.transducer_loss(*given, from_logits=True), given[0])()
    before = peak()
    if which == "pruned":
        am = torch.randn(batch, frames, labels).requires_grad_()
        lm = torch.randn(batch, length + 1, labels).requires_grad_()
        loss, ranges = losses.prune_transducer(am, lm, targets, width=WIDTH)
        item = torch.arange(batch)[:, None, None]
        logits = (am.unsqueeze(2) + lm[item, ranges]).tanh()
        (loss + losses.transducer_loss(logits, targets, ranges=ranges, from_logits=True)).backward()
    else:
        logits = torch.randn(batch, frames, length + 1, labels).requires_grad_()
        if which == "torchaudio":
            peers(logits, targets)["torchaudio"]()
        else:
            losses.transducer_loss(logits, targets, from_logits=True).backward()
    print((peak() - before) >> 10)


def main() -> None:
    """Time everything and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transducers", description=__doc__)
    parser.add_argument("--memory", choices=["full", "pruned", "torchaudio"])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        return memory(options.memory)
    print("| work | gtnet ms | each | peers |\n|---|--:|--:|---|")
    for case in cases():
        print(measure(case, options.repeats).row(), flush=True)
    print("\n| peak memory added, {} | |\n|---|--:|".format("B{} T{} U{} C{}".format(*LARGE)))
    kinds = ["full", "pruned"]
    kinds += ["torchaudio"] if importlib.util.find_spec("torchaudio") else []
    for kind in kinds:
        command = [sys.executable, "-m", "benchmarks.transducers", "--memory", kind]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"| {kind} | {found.stdout.strip()} MiB |", flush=True)
    return None


if __name__ == "__main__":
    main()
