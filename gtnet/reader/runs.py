"""A training run: its data, its settings, its folder, and its results."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import gtnet
from gtnet import GraphvizMissingError
from gtnet.reader import checkpoint, judge
from gtnet.reader.data import Characters, Dataset, load
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.report import write_report
from gtnet.reader.train import ISOLATED, PhaseConfig, Segmented, TrainConfig, Trainer, TrainingData

DATA = "data.json"
RESULTS = "results.json"
REPORT = "report.html"
LEARNING = "learning.gif"


@dataclass(frozen=True)
class DataConfig:
    """Which data a run trains on and is tested on.

    `name`, `root`, `grammar`: as for `data.load`; `size`, `test_size`: amounts to train on and to
    test on (digits), None for the usual; `test_fold`: the fold of car_a that is the test; `seed`:
    of synthesis and of splits.
    """

    name: str = "digits"
    root: str | None = None
    grammar: str = "amount"
    size: int | None = None
    test_size: int | None = None
    test_fold: int = 0
    seed: int = 0


class Subset:
    """Some of the items of a data set."""

    def __init__(self, data: Dataset, chosen: Sequence[int]) -> None:
        self.data, self.chosen, self.grammar = data, list(chosen), data.grammar

    def __len__(self) -> int:
        """Number of images."""
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        """The image and its amount."""
        return self.data[self.chosen[index]]


@dataclass(frozen=True)
class Splits:
    """The parts of a data set, and isolated characters from its training part."""

    train: Dataset
    valid: Dataset | None
    test: Dataset
    characters: list[Characters]


def splits(config: DataConfig, characters: int) -> Splits:
    """The data of a run; `characters` isolated characters are synthesised.

    car_a has no validation part: all other folds are trained on, as published results do.
    """
    if config.name == "digits":
        return _digits(config, characters)
    if config.name == "car_a":
        folds = [fold for fold in range(5) if fold != config.test_fold]
        if len(folds) == 5:
            raise ValueError(f"car_a has the folds 0 .. 4, there is no fold {config.test_fold}")
        train = load("car_a", config.root, folds=folds)
        test = load("car_a", config.root, folds=[config.test_fold])
        return Splits(train, None, test, [train.characters(), _synthesised(config, characters)])
    data = load(config.name, config.root, grammar=config.grammar)
    order = np.random.default_rng(config.seed).permutation(len(data)).tolist()
    tenth = len(data) // 10
    if not tenth:
        raise ValueError(f"{config.root} holds {len(data)} amounts; at least 10 are needed")
    test, valid, train = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]
    return Splits(
        Subset(data, train),
        Subset(data, valid),
        Subset(data, test),
        [_synthesised(config, characters)],
    )


def _digits(config: DataConfig, characters: int) -> Splits:
    train = load("digits", split="train", size=config.size, seed=config.seed)
    test_size = config.test_size
    valid_size = None if test_size is None else test_size // 2
    return Splits(
        train,
        load("digits", split="valid", size=valid_size, seed=config.seed),
        load("digits", split="test", size=test_size, seed=config.seed),
        [train.characters(characters)],
    )


def _synthesised(config: DataConfig, characters: int) -> Characters:
    return load("digits", split="train", seed=config.seed).characters(characters)


@dataclass(frozen=True)
class Run:
    """One run in its folder: `data` and `training` are all that it depends on."""

    out: Path
    data: DataConfig
    training: TrainConfig

    @classmethod
    def start(
        cls,
        out: Path | str | None = None,
        *,
        demo: bool = False,
        epochs: int | None = None,
        isolated_epochs: int | None = None,
        loss: str | None = None,
        data: str = "digits",
        **chosen: Any,
    ) -> Run:
        """A run with the usual settings of a data set, except for those given."""
        if demo and data != "digits":
            raise ValueError(f"--demo trains on digits, not on {data}")
        source = replace(DEMO if demo else DataConfig(data), **chosen)
        if data == "car_a":
            source = replace(source, grammar="digit_string")
        training = replace(USUAL[data], seed=source.seed)
        training = replace(training, reader=replace(training.reader, grammar=source.grammar))
        if loss is not None:
            gtnet.losses.by_name(loss)
            training = replace(training, loss=loss)
        for name, count in (("isolated", isolated_epochs), ("whole", epochs)):
            if count is not None and count < 1:
                raise ValueError(f"{name} phase: epochs must be at least 1, got {count}")
            if count is not None:
                phase = replace(getattr(training, name), epochs=count)
                training = replace(training, **{name: phase})
        return cls(Path(out or f"runs/{'demo' if demo else data}"), source, training)

    @classmethod
    def load(cls, out: Path | str) -> Run:
        """The run that was started in a folder. Raises ValueError if there is none."""
        out = Path(out)
        try:
            data, training = (
                json.loads((out / name).read_text(encoding="utf-8"))
                for name in (DATA, checkpoint.CONFIG)
            )
        except FileNotFoundError as error:
            raise ValueError(f"there is no run to resume in {out}: {error}") from error
        return cls(
            out,
            checkpoint.from_dict(DataConfig, data),
            checkpoint.from_dict(TrainConfig, training),
        )

    def train(self, *, resume: bool = False, quiet: bool = False) -> judge.Comparison:
        """Train, judge on the test amounts, write results.json, report.html, learning.gif."""
        began = time.perf_counter()
        parts = splits(self.data, self.training.characters)
        self.out.mkdir(parents=True, exist_ok=True)
        checkpoint.save_json(self.out / DATA, checkpoint.as_dict(self.data))
        trainer = Trainer(
            self.training,
            TrainingData(parts.train, parts.valid, parts.characters),
            self.out,
            quiet=quiet,
        )
        after = trainer.run(resume=resume)
        before = checkpoint.load_reader(self.out / ISOLATED)
        cut = self.training.reader.segment
        test = Segmented(parts.test, cut)
        comparison = judge.compare(before, after, test, trainer.valid)
        checkpoint.save_json(self.out / RESULTS, comparison.as_dict())
        facts = {
            "data": self.data.name,
            "amounts": f"{len(parts.train)} for training, {len(test)} for test",
            "isolated characters": sum(len(part) for part in parts.characters),
            "parameters of the network": sum(p.numel() for p in after.parameters()),
            "training time": f"{time.perf_counter() - began:.0f} s",
            "seed": self.training.seed,
        }
        told = judge.report_data(comparison, (before, after), parts.test, trainer.history, facts)
        write_report(self.out / REPORT, replace(told, film=self._film(trainer, after)))
        return comparison

    def _film(self, trainer: Trainer, reader: CheckReader) -> str | None:
        """The animation of learning for the report, and as a GIF beside it; None without one."""
        if trainer.film is None or not trainer.film.frames:
            return None
        try:
            animation = trainer.film.animation(reader)
            animation.save(self.out / LEARNING)
            return animation.html
        except GraphvizMissingError:
            return None


DEMO = DataConfig(size=2500, test_size=1000)
USUAL = {
    "digits": TrainConfig(),
    "folder": TrainConfig(),
    "car_a": TrainConfig(
        isolated=PhaseConfig(epochs=8, rate=4e-3, batch_size=128, jitter=0.6),
        whole=PhaseConfig(epochs=50, rate=2e-3, batch_size=16, jitter=0.3, distort=0.5),
        average=0.99,
        workers=1,
        reader=ReaderConfig(network=NetworkConfig(channels=(16, 32, 64), hidden=128, dropout=0.3)),
    ),
}
"""The settings a run starts with, by data set."""
