"""`python -m benchmarks.losses [--write] [--only NAME ...]`: the check reader trained by each loss.

One small reader a seed learns isolated characters for a moment; every loss then trains a copy of
it on the same amounts, in the same order, for the same number of steps. No loss is tuned.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

import gtnet
from benchmarks.timing import processor
from gtnet.reader.data import load
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.train import (
    PhaseConfig,
    Segmented,
    TrainConfig,
    Trainer,
    TrainingData,
    evaluate,
)

RESULTS = Path(__file__).parent / "LOSSES.md"
SEEDS = (0, 1, 2)
TRAIN, TEST = 400, 300
EPOCHS, BATCH, RATE = 4, 16, 4e-3
FLAT = 0.1  # nats
CHARACTERS = PhaseConfig(epochs=4, rate=5e-3, batch_size=64, jitter=0.4)
SMALL = ReaderConfig(network=NetworkConfig(channels=(8, 16, 32), hidden=64))

WHICH = """\
## Which to choose

Start with `nll` (discriminative forward): it has no margin to tune, never collapses, costs one
sweep through two graphs, and exp(-loss) is a confidence you can threshold. Where answers have many
paths, sum over them: a hinge on the sums reads more amounts than one on best paths, at the price of
a search. Where some mistakes cost more than others, use a cost: `structured_hinge`, `soft_margin`,
or `minimum_risk`, which optimizes the expected cost itself. `minimum_risk`, and `mce` and `mee`,
which count errors smoothly, send little gradient from hopeless items, so start them from a model
that already reads most answers.

`perceptron` (discriminative Viterbi) and `lvq2` have no margin: they stop as soon as the right
answer wins by a hair, and go flat. `energy` (Viterbi and forward training without competition)
only makes sense where a model cannot lower one energy without raising others. `square_square` and
`square_exp` are for energies bounded below by 0, such as distances; the reader's scores are not
bounded, and both fail on it. The cost "edit" is exact, and too large for the lattices of the reader
(see `edit_costs`): use the k best answers, or the Hamming distance.
"""

LOSSES: dict[str, tuple[str, dict]] = {
    "energy": ("energy", {}),
    "energy, forward": ("energy", {"latent": "forward"}),
    "perceptron": ("perceptron", {}),
    "hinge": ("hinge", {}),
    "hinge, forward": ("hinge", {"latent": "forward"}),
    "log": ("log", {}),
    "lvq2": ("lvq2", {}),
    "mce": ("mce", {}),
    "square-square": ("square_square", {}),
    "square-exp": ("square_exp", {}),
    "nll": ("nll", {}),
    "mee": ("mee", {}),
    "structured hinge, Hamming": ("structured_hinge", {}),
    "soft margin, Hamming": ("soft_margin", {}),
    "generalized margin, 10 best": ("generalized_margin_k_best", {}),
    "minimum risk, Hamming": ("minimum_risk", {"cost": "hamming"}),
    "minimum risk, edit, 10 best": ("minimum_risk_k_best", {}),
}


@dataclass(frozen=True)
class Outcome:
    """What one loss made of one reader: the share of amounts read before and after, the median
    of Ē - E over the test amounts before and after, the CPU seconds of a step (median).
    """

    before: float
    after: float
    gap_before: float
    gap_after: float
    step: float

    @property
    def verdict(self) -> str:
        """ "flat" if right and wrong answers have one energy, "lost" if wrong ones win by more than
        they did, else "no".
        """
        if abs(self.gap_after) < FLAT:
            return "flat"
        return "lost" if self.gap_after < 0 and self.after < self.before else "no"


@cache
def data(seed: int) -> tuple[Segmented, Segmented]:
    """Training and test amounts, cut."""
    cut = SMALL.segment
    return (
        Segmented(load("digits", size=TRAIN, seed=seed), cut),
        Segmented(load("digits", split="test", size=TEST, seed=seed), cut),
    )


@cache
def beginner(seed: int) -> tuple[CheckReader, float, float]:
    """A reader that has seen a few isolated characters, its accuracy and its gap."""
    train, test = data(seed)
    config = TrainConfig(seed=seed, isolated=CHARACTERS, reader=SMALL, average=0.0)
    config = replace(config, whole=replace(config.whole, epochs=0))
    seen = TrainingData(train.data, None, [train.data.characters(2000)])
    with tempfile.TemporaryDirectory() as folder:
        reader = Trainer(config, seen, folder, quiet=True).run()
    reader.config = replace(reader.config, context=True)
    return reader, evaluate(reader, test).accuracy, gap(reader, test)


@torch.no_grad()
def gap(reader: CheckReader, test: Segmented) -> float:
    """The median of Ē - E over the test amounts, by best paths."""
    reader.eval()

    def difference(interpretations: gtnet.Graph, correct: gtnet.Graph) -> Tensor:
        e = gtnet.losses.energies(interpretations, correct)
        return e.offending - e.correct

    batches = test.batches(range(len(test)), 50)
    found = [reader.loss(*zip(*items, strict=True), criterion=difference) for items in batches]
    return torch.cat(found).nan_to_num(-math.inf).median().item()


def train(loss: str, seed: int) -> Outcome:
    """The beginner of a seed trained by a loss."""
    images, test = data(seed)
    start, before, gap_before = beginner(seed)
    reader = copy.deepcopy(start).train()
    for module in reader.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    name, options = LOSSES[loss]
    criterion = gtnet.losses.by_name(name, **options)
    optimizer = torch.optim.AdamW(reader.network.parameters(), RATE, weight_decay=0.02)
    steps = EPOCHS * math.ceil(TRAIN / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.15)
    torch.manual_seed(seed)
    times = []
    for _ in range(EPOCHS):
        for items in images.batches(torch.randperm(TRAIN).tolist(), BATCH):
            began = time.process_time()
            optimizer.zero_grad()
            each = reader.loss(*zip(*items, strict=True), criterion=criterion)
            each[torch.isfinite(each)].sum().div(BATCH).backward()
            nn.utils.clip_grad_norm_(reader.network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            times.append(time.process_time() - began)
    after = evaluate(reader.eval(), test).accuracy
    return Outcome(before, after, gap_before, gap(reader, test), statistics.median(times))


def row(loss: str, outcomes: list[Outcome]) -> str:
    """A line of the table."""
    shares = [outcome.after for outcome in outcomes]
    verdicts = [outcome.verdict for outcome in outcomes]
    told = verdicts[0] if len(set(verdicts)) == 1 else ", ".join(verdicts)
    return (
        f"| {loss} | {statistics.mean(shares):.1%} ({min(shares):.1%}-{max(shares):.1%}) | {told} "
        f"| {statistics.mean(outcome.gap_after for outcome in outcomes):.3g} "
        f"| {statistics.median(outcome.step for outcome in outcomes) * 1e3:.0f} |"
    )


def table(rows: list[str], seeds: tuple[int, ...]) -> str:
    """The results as Markdown."""
    before = [beginner(seed)[1] for seed in seeds]
    return "\n".join(
        [
            "# The check reader trained by each loss",
            "",
            "Written by `python -m benchmarks.losses --write`.",
            "",
            f"A small reader (`{SMALL.network}`) that has seen some isolated characters and reads "
            f"{statistics.mean(before):.1%} ({min(before):.1%}-{max(before):.1%}) of {TEST} unseen "
            f"amounts is trained by each loss on the same {TRAIN} amounts, {EPOCHS} times over in "
            f"batches of {BATCH}, with the same learning rates, for {len(seeds)} seeds: the mean "
            "and range of the amounts read exactly. Losses have their defaults (margin 1, beta 1) "
            "and paths are minimized over, or summed over where it says forward and for nll, mee, "
            "soft margin and minimum risk. No loss is tuned: the order within a few percent is "
            "chance.",
            "",
            f"Collapsed: *flat*, the median of Ē - E over the test amounts is within {FLAT} of 0; "
            "*lost*, it is below and fewer amounts are read than before. Time per step: median CPU "
            "milliseconds on one thread, network, graphs and gradient together.",
            "",
            f"{processor()}, torch {torch.__version__}, gtnet {gtnet.__version__}",
            "",
            "| loss | amounts read | collapsed | Ē - E | ms per step |",
            "|---|--:|---|--:|--:|",
            *rows,
            "",
            WHICH,
        ]
    )


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=list(LOSSES), metavar="LOSS")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for loss in tqdm(given.only, unit="loss", disable=None):
        rows.append(row(loss, [train(loss, seed) for seed in given.seeds]))
        tqdm.write(rows[-1])
    text = table(rows, tuple(given.seeds))
    print(text)
    if given.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
