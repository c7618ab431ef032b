"""A training run: its data, its settings, its folder, and its results."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import gtnet
from gtnet import GraphvizMissingError
from gtnet.reader import checkpoint, judge
from gtnet.reader.card import CARD, model_card
from gtnet.reader.claim import claimed
from gtnet.reader.data import Dataset
from gtnet.reader.film import FILM
from gtnet.reader.observed import Observed
from gtnet.reader.options import check_options, check_pretrained, check_unlabelled
from gtnet.reader.presets import DEMO as DEMO
from gtnet.reader.presets import OVER_TIME
from gtnet.reader.presets import SLIDING as SLIDING
from gtnet.reader.presets import USUAL as USUAL
from gtnet.reader.reader import PRESETS, CheckReader, ReaderConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.report import write_report
from gtnet.reader.splits import LINES
from gtnet.reader.splits import SEQUENCES as SEQUENCES
from gtnet.reader.splits import DataConfig as DataConfig
from gtnet.reader.splits import Splits as Splits
from gtnet.reader.splits import Subset as Subset
from gtnet.reader.splits import parts_of_car_a as parts_of_car_a
from gtnet.reader.splits import recognizer_of as recognizer_of
from gtnet.reader.splits import splits as splits
from gtnet.reader.step import PRECISIONS
from gtnet.reader.stream import Shards
from gtnet.reader.team import Team
from gtnet.reader.train import (
    CHECKPOINT,
    HISTORY,
    ISOLATED,
    SHARDS,
    TrainConfig,
    Trainer,
    TrainingData,
)
from gtnet.reader.unlabelled import Taught, Unlabelled, digests_of, taught

DATA = "data.json"
RESULTS = "results.json"
REPORT = "report.html"
LEARNING = "learning.gif"
SAMPLES = "samples"
_WRITTEN = (
    *(DATA, RESULTS, CARD, REPORT, LEARNING, CHECKPOINT, HISTORY, ISOLATED, FILM, SHARDS),
    *(checkpoint.CONFIG, checkpoint.MODEL),
)
"""The files of a run."""


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
        pretrain: str | None = None,
        micro_batches: int | None = None,
        precision: str | None = None,
        clip: float | None = None,
        workers: int | None = None,
        compile: str | None = None,
        data: str = "digits",
        front_end: str = "segments",
        **chosen: Any,
    ) -> Run:
        """A run with the usual settings of a data set and front end, but for those given."""
        if front_end not in PRESETS:
            raise ValueError(f"front end {front_end!r} is not one of {', '.join(PRESETS)}")
        if demo and data != "digits":
            raise ValueError(f"--demo trains on digits, not on {data}")
        check_options(data, front_end, chosen)
        check_unlabelled(chosen, pretrain)
        for name in ("root", "lexicon", "start", "teacher"):
            if chosen.get(name) is not None:
                chosen[name] = _absolute(chosen[name])
        for name in ("more_digits", "unlabelled"):
            chosen[name] = tuple(map(_absolute, chosen.get(name, ())))
        source = replace(DEMO if demo else DataConfig(data), **chosen)
        if data == "car_a":
            source = replace(source, grammar="digit_string")
        usual = USUAL[data]
        if front_end in LINES:
            usual = replace(SLIDING[data], reader=ReaderConfig(front_end=front_end))
        if front_end in SEQUENCES:
            usual = replace(OVER_TIME, reader=ReaderConfig(front_end=front_end))
        if data == "car_a" and front_end in LINES:
            source = replace(source, valid=chosen.get("valid", 80))
        training = replace(usual, seed=source.seed)
        training = replace(training, reader=replace(training.reader, grammar=source.grammar))
        if source.lexicon is not None:
            training = replace(training, prior=0.0)  # of characters; the words are known
        if loss is not None:
            gtnet.losses.by_name(loss)
            training = replace(training, loss=loss)
        if pretrain is not None:
            check_pretrained(pretrain, data, front_end, chosen)
            training = replace(training, pretrain=pretrain)
        training = _stepping(training, micro_batches, precision, clip)
        if compile is not None:
            known = torch.compiler.list_backends(exclude_tags=())
            if compile not in known:
                raise ValueError(f"--compile {compile!r} is not one of {', '.join(known)}")
            training = replace(training, compile=compile)
        if workers is not None:
            if workers < 0:
                raise ValueError(f"--workers must be at least 0, got {workers}")
            training = replace(training, workers=workers)
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
        data, training = (checkpoint.load_json(out / name) for name in (DATA, checkpoint.CONFIG))
        return cls(
            out,
            checkpoint.from_dict(DataConfig, data, str(out / DATA)),
            checkpoint.from_dict(TrainConfig, training, str(out / checkpoint.CONFIG)),
        )

    def splits(self, characters: int = 0, *, quiet: bool = True) -> Splits:
        """The data, checked against the language of the reader before anything is learnt."""
        front_end = self.training.reader.front_end
        return splits(self.data, characters, front_end, accepts=self._acceptor(), quiet=quiet)

    def _acceptor(self) -> Callable[[str], Any]:
        """What raises ValueError for a text outside the language of the reader."""
        reader = self.training.reader
        return (recognizer_of(self.data, reader) or CheckReader(reader)).acceptor

    def check(self, *, quiet: bool = False) -> str:
        """What a person should know of the data before training; raises ValueError for faults."""
        parts = self.splits(quiet=quiet)
        if isinstance(parts.train, Shards):
            shards = parts.train
            shards.counted(shards.examined(shards.paths, self._acceptor(), {}))
        notes = [] if parts.found is None else parts.found.notes
        if self.data.unlabelled:
            unlabelled = self._unlabelled(parts, quiet=quiet)
            notes = [*notes, f"{len(unlabelled)} without labels", *unlabelled.notes]
        return "\n".join([f"the data are in order: {_sizes(parts)}", *notes])

    def parts(self, which: str = "all") -> list[Any]:
        """The parts of its data that have names: "train", "valid", "test" or "all".

        Raises ValueError for data without files.
        """
        if self.data.name == "digits":
            raise ValueError(f"{self.out} was trained on digits, which are made up: none is wrong")
        if self.data.name == "shards" and which not in ("valid", "test"):
            raise ValueError("shards for training are not held in memory: ask for valid or test")
        found = parts_of_car_a(self.data) if self.data.name == "car_a" else self.splits()
        by_name = {"train": found.train, "valid": found.valid, "test": found.test}
        chosen = by_name.values() if which == "all" else [by_name[which]]
        return [part for part in chosen if part is not None]

    def train(
        self, *, resume: bool = False, overwrite: bool = False, quiet: bool = False
    ) -> judge.Comparison | None:
        """Train, judge on the test amounts, write results.json, MODEL_CARD.md, report.html
        and learning.gif. Of several processes only the first judges and returns; others get None.

        Raises ValueError for data with faults, a folder in which another training runs, or one
        that holds a training, unless that is to be resumed or overwritten.
        """
        began, team = time.perf_counter(), Team.current()
        team.together(lambda: self._check_folder(resume, overwrite))
        # A trained reader to begin with takes the place of the phase on isolated characters.
        first = self.data.start is None
        characters = self.training.characters if first else 0
        parts = team.together(lambda: self.splits(characters, quiet=quiet or not team.leads))
        parts = parts if first else replace(parts, characters=[])
        if not team.leads:
            trainer = team.together(lambda: self._trainer(parts, True))
            trainer.run(resume=team.of_lead(resume))
            return None
        with claimed(self.out):
            self._check_folder(resume, overwrite)
            if not resume:
                self._clear()
            return self._train(parts, resume, quiet, began)

    def _check_folder(self, resume: bool, overwrite: bool) -> None:
        if resume or overwrite or not Team.current().leads:
            return
        if (self.out / checkpoint.MODEL).is_file():
            raise ValueError(
                f"{self.out} holds a finished training: give --overwrite to replace it, or another"
                " folder with --out"
            )
        if (self.out / CHECKPOINT).is_file():
            raise ValueError(
                f"{self.out} holds an interrupted training: continue it with --resume, replace it"
                " with --overwrite, or give another folder with --out"
            )

    def _clear(self) -> None:
        """Take away what another training left: its files must not pass for those of this one."""
        for name in _WRITTEN:
            (self.out / name).unlink(missing_ok=True)

    def _train(self, parts: Splits, resume: bool, quiet: bool, began: float) -> judge.Comparison:
        checkpoint.save_json(self.out / checkpoint.CONFIG, checkpoint.as_dict(self.training))
        checkpoint.save_json(self.out / DATA, checkpoint.as_dict(self.data))
        trainer = Team.current().together(lambda: self._trainer(parts, quiet))
        resume = resume and (self.out / CHECKPOINT).is_file()
        after = trainer.run(resume=trainer.team.of_lead(resume))
        before = None
        if len(trainer.phases) > 1:
            before = checkpoint.load_reader(self.out / ISOLATED)
        test = Observed(parts.test, after.front_end.observe)
        comparison = judge.compare(before, after, test, trainer.valid, corrected=parts.corrected)
        checkpoint.save_json(self.out / RESULTS, comparison.as_dict())
        facts = {
            "data": " in ".join(filter(None, [self.data.name, self.data.root])),
            "amounts": _sizes(parts),
            "isolated characters": sum(len(part) for part in parts.characters),
            "parameters of the network": sum(p.numel() for p in after.parameters()),
            "training time": f"{time.perf_counter() - began:.0f} s",
            "seed": self.training.seed,
            "command": shlex.join(["gtnet", *sys.argv[1:]]),
            "versions": f"gtnet {gtnet.__version__}, torch {torch.__version__}, Python"
            f" {platform.python_version()}",
        }
        if isinstance(trainer.data.train, Taught):
            labels = f"{len(trainer.data.train.chosen)} of {len(trainer.data.train.images)}"
            facts["labelled by a teacher"] = f"{labels}, by {self.data.teacher}"
        if parts.found is not None:
            facts["fingerprint of the data"] = parts.found.fingerprint[:16]
        card = model_card(comparison, self.data, self.training, facts)
        checkpoint.write_file(self.out / CARD, card.encode("utf-8"))
        settings = {"data": self.data, "training": self.training}
        told = judge.report_data(
            comparison,
            (before, after),
            parts.test,
            trainer.history,
            facts,
            settings=json.dumps({k: checkpoint.as_dict(v) for k, v in settings.items()}, indent=1),
        )
        write_report(self.out / REPORT, replace(told, film=self._film(trainer, after)))
        if self.data.name == "digits":
            _write_samples(self.out / SAMPLES, parts.test)
        return comparison

    def _unlabelled(self, parts: Splits, *, quiet: bool) -> Unlabelled:
        """What nobody labelled, without what is in the data, where it may be a test."""
        assert not isinstance(parts.train, Shards)  # see check_options
        whole = parts.train, parts.valid, parts.test
        known = digests_of(*whole) if parts.found is None else parts.found.digests
        front_end = self.training.reader.front_end
        return Unlabelled(self.data.unlabelled, front_end, known, quiet=quiet)

    def _with_unlabelled(self, parts: Splits, quiet: bool) -> tuple[Splits, Unlabelled | None]:
        """What nobody labelled, and the parts with what a teacher reads there surely."""
        if not self.data.unlabelled:
            return parts, None
        unlabelled = self._unlabelled(parts, quiet=quiet)
        for note in [] if quiet else unlabelled.notes:
            print(note)
        if self.data.teacher is None:
            return parts, unlabelled
        assert not isinstance(parts.train, Shards)
        train = taught(
            parts.train,
            unlabelled,
            checkpoint.load_reader(self.data.teacher),
            self.data.sure,
            accepts=self._acceptor(),
            quiet=quiet,
        )
        if not quiet:
            print(f"{self.data.teacher} labels {len(train.chosen)} of {len(unlabelled)} images")
        return replace(parts, train=train), unlabelled

    def _trainer(self, parts: Splits, quiet: bool) -> Trainer:
        parts, unlabelled = self._with_unlabelled(parts, quiet)
        fingerprint = None if parts.found is None else parts.found.fingerprint
        if fingerprint is not None and unlabelled is not None:
            labels = "\n".join(getattr(parts.train, "texts", ()))
            whole = f"{fingerprint} {unlabelled.fingerprint} {labels}"
            fingerprint = hashlib.sha256(whole.encode()).hexdigest()
        torch.manual_seed(self.training.seed)
        return Trainer(
            self.training,
            TrainingData(
                parts.train,
                parts.valid,
                parts.characters,
                parts.strings,
                parts.mixed,
                unlabelled=unlabelled,
            ),
            self.out,
            reader=recognizer_of(self.data, self.training.reader),
            start=None if self.data.start is None else checkpoint.load_reader(self.data.start),
            fingerprint=fingerprint,
            quiet=quiet,
        )

    def _film(self, trainer: Trainer, reader: Recognizer) -> str | None:
        """The animation of learning for the report, and as a GIF beside it; None without one."""
        if trainer.film is None or not trainer.film.frames:
            return None
        try:
            animation = trainer.film.animation(reader)
            animation.save(self.out / LEARNING)
            return animation.html
        except (GraphvizMissingError, ValueError, OSError) as error:
            if not isinstance(error, GraphvizMissingError):
                warnings.warn(f"there is no film of learning: {error}", stacklevel=2)
            return None


def _stepping(
    training: TrainConfig, micro_batches: int | None, precision: str | None, clip: float | None
) -> TrainConfig:
    """How gradients are taken; without a number, as many micro-batches as there are processes."""
    if micro_batches is not None and micro_batches < 1:
        raise ValueError(f"--micro-batches must be at least 1, got {micro_batches}")
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"--precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if clip is not None and not 0 < clip < math.inf:
        raise ValueError(f"--clip must be a number above 0, got {clip}")
    return replace(
        training,
        micro_batches=Team.current().size if micro_batches is None else micro_batches,
        precision=training.precision if precision is None else precision,
        clip=training.clip if clip is None else clip,
    )


def _sizes(parts: Splits) -> str:
    sizes = {"training": parts.train, "validation": parts.valid, "test": parts.test}
    return ", ".join(f"{len(p)} for {name}" for name, p in sizes.items() if p is not None)


def _write_samples(folder: Path, test: Dataset, count: int = 8) -> None:
    """A few test images as files with their labels, to try `gtnet read` and `gtnet check` on."""
    folder.mkdir(exist_ok=True)
    rows = ["file\tamount"]
    for index in range(min(count, len(test))):
        image, amount = test[index]
        Image.fromarray(image).save(folder / f"{index + 1}.png")
        rows.append(f"{index + 1}.png\t{amount}")
    checkpoint.write_file(folder / "labels.tsv", ("\n".join(rows) + "\n").encode("utf-8"))


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
