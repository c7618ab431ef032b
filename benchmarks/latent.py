"""`python -m benchmarks.latent [--write]`: what ink without labels buys where labels are few.

A small reader learns to read amounts from N labelled ones alone: no isolated characters, no made-up
lines. A thousand images are there without labels. Its convolutions begin as drawn by chance, or as
the ink of all images taught them (`gtnet train --pretrain`); or a second reader, begun by chance,
learns also from what the first reads surely of the others (`--unlabelled`, `--teacher`). All
readers of a seed take the same number of steps.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import processor
from gtnet.reader.data import Dataset, load
from gtnet.reader.observed import Observed
from gtnet.reader.pretrain import METHODS as BEGINNINGS
from gtnet.reader.pretrain import pretrain
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.sliding import SlidingConfig
from gtnet.reader.train import PhaseConfig, TrainConfig, Trainer, TrainingData, evaluate
from gtnet.reader.unlabelled import SURE, taught

RESULTS = Path(__file__).parent / "LATENT.md"
METHODS = (*BEGINNINGS, "taught")
COUNTS = (30, 100, 300)
IMAGES = 1000
TEST = 200
BATCH = 8


@dataclass(frozen=True)
class Setting:
    """How the readers of one front end are trained: all of them alike."""

    reader: ReaderConfig
    steps: int
    rate: float
    jitter: float = 0.0
    distort: float = 0.0


SETTINGS = {
    "segments": Setting(
        ReaderConfig(network=NetworkConfig(channels=(8, 16, 32), hidden=64)), 800, 6e-3, jitter=0.5
    ),
    "sliding": Setting(
        ReaderConfig(
            front_end="sliding",
            sliding=SlidingConfig(channels=(12, 24, 32, 36, 52, 64), context=40),
        ),
        2400,
        4e-3,
    ),
}


class Looked:
    """The first amounts of a data set as a front end sees them, once for all trainings."""

    grammar = "amount"

    def __init__(self, seen: Observed, count: int) -> None:
        self.seen, self.count = seen, count

    def __len__(self) -> int:
        """Number of amounts."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """What is seen of an image, and its amount."""
        return self.seen[0, index]


class Begun(Trainer):
    """A training whose pre-training was done already, once for all numbers of labels."""

    state: dict[str, Tensor]

    def _pretrain(self) -> None:
        self.reader.load_state_dict(self.state)
        self.average = {name: tensor.clone() for name, tensor in self.state.items()}


def reader_of(setting: Setting, seed: int) -> CheckReader:
    """A reader drawn by chance, which is given observations in the place of images."""
    torch.manual_seed(seed)
    reader = CheckReader(setting.reader)
    reader.front_end.observe = lambda seen: seen  # type: ignore[method-assign]
    return reader


def train(
    setting: Setting, seed: int, method: str, seen: Dataset, state: dict[str, Tensor]
) -> Recognizer:
    """A reader that knows the labels of what is seen."""
    whole = PhaseConfig(
        epochs=math.ceil(setting.steps / math.ceil(len(seen) / BATCH)),
        rate=setting.rate,
        batch_size=BATCH,
        jitter=setting.jitter,
        distort=setting.distort,
    )
    config = TrainConfig(
        seed=seed, whole=whole, average=0.95, reader=setting.reader, pretrain=method
    )
    with tempfile.TemporaryDirectory() as folder:
        reader = reader_of(setting, seed)
        trainer = Begun(config, TrainingData(seen), folder, reader=reader, quiet=True)
        trainer.state = state
        return trainer.run()


Found = dict[tuple[str, int], list[float]]


def run_seed(
    front_end: str,
    seed: int,
    counts: Sequence[int],
    found: Found,
    methods: Sequence[str] = METHODS,
) -> None:
    """Adds the accuracy of every method with every number of labels."""
    setting = SETTINGS[front_end]
    look = CheckReader(setting.reader).front_end.observe
    seen = Observed(load("digits", size=max(IMAGES, *counts), seed=seed), look)
    test = Looked(Observed(load("digits", split="test", size=TEST), look), TEST)
    ink = [seen[0, index][0] for index in range(len(seen))]
    teachers: dict[int, Recognizer] = {}
    for method in methods:
        reader = reader_of(setting, seed)
        first = "none" if method == "taught" else method
        began = time.process_time()
        pretrain(reader.network, ink, first, seed=seed)
        state = reader.state_dict()
        print(
            f"{front_end}, seed {seed}, {method}: {time.process_time() - began:.0f} s", flush=True
        )
        for count in counts:
            began = time.process_time()
            data: Dataset = Looked(seen, count)
            if method == "taught":
                if count not in teachers:
                    teachers[count] = train(setting, seed, first, data, state)
                with suppress(ValueError):  # a teacher that is sure of nothing
                    data = taught(data, ink[count:], teachers[count], SURE)
            trained = train(setting, seed, first, data, state)
            if method == "none":
                teachers[count] = trained
            read = evaluate(trained, Observed(test, trained.front_end.observe)).accuracy
            found.setdefault((method, count), []).append(read)
            spent = time.process_time() - began
            print(f"  {count} labels: {read:.1%} ({spent:.0f} s)", flush=True)


def table(found: Found, counts: Sequence[int]) -> str:
    """Means over seeds with their range, as Markdown."""
    rows = [
        f"| labelled amounts | {' | '.join(METHODS)} | errors removed by "
        f"{' | by '.join(METHODS[1:])} |"
    ]
    rows.append("|--:" * (2 * len(METHODS)) + "|")
    for count in counts:
        if not all((method, count) in found for method in METHODS):
            continue
        means = {method: statistics.mean(found[method, count]) for method in METHODS}
        cells = [
            f"{means[m]:.1%} ({min(found[m, count]):.1%}-{max(found[m, count]):.1%})"
            for m in METHODS
        ]
        gains = [f"{1 - (1 - means[m]) / max(1e-9, 1 - means['none']):.0%}" for m in METHODS[1:]]
        rows.append("| " + " | ".join([str(count), *cells, *gains]) + " |")
    return "\n".join(rows)


def main() -> None:
    """Train all readers and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent", description=__doc__)
    parser.add_argument("--front-end", choices=sorted(SETTINGS), default="segments")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=METHODS)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--write", action="store_true", help=f"add the table to {RESULTS.name}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: Found = {}
    for seed in given.seeds:
        run_seed(given.front_end, seed, given.counts, found, given.methods)
        made = table(found, given.counts)
        print(made, flush=True)
    title = f"## {given.front_end}, {len(given.seeds)} seeds, {TEST} test amounts"
    text = f"\n{title}\n\n{made}\n\n{processor()}, torch {torch.__version__}\n"
    if given.write:
        with RESULTS.open("a") as file:
            file.write(text)


if __name__ == "__main__":
    main()
