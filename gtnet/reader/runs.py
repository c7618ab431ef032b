"""A training run: its data, its settings, its folder, and its results."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

import gtnet
from gtnet import GraphvizMissingError
from gtnet.reader import checkpoint, judge
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.check import Findings, examine
from gtnet.reader.claim import claimed
from gtnet.reader.data import Characters, Dataset, FolderDataset, load
from gtnet.reader.film import FILM
from gtnet.reader.glyphs import (
    Glyph,
    glyphs_of,
    idx_glyphs,
    penned_glyphs,
    sample_glyphs,
    written_lines,
)
from gtnet.reader.inputs import StrokesDataset, kind_of, wrong_kind
from gtnet.reader.observed import Observed
from gtnet.reader.reader import PRESETS, CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.recompose import RecomposeConfig, Recomposed
from gtnet.reader.report import write_report
from gtnet.reader.tables import Faults, read_text
from gtnet.reader.train import (
    CHECKPOINT,
    HISTORY,
    ISOLATED,
    PhaseConfig,
    TrainConfig,
    Trainer,
    TrainingData,
)

DATA = "data.json"
RESULTS = "results.json"
REPORT = "report.html"
LEARNING = "learning.gif"
SAMPLES = "samples"
_WRITTEN = (
    *(DATA, RESULTS, REPORT, LEARNING, CHECKPOINT, HISTORY, ISOLATED, FILM),
    *(checkpoint.CONFIG, checkpoint.MODEL),
)
"""The files of a run."""


@dataclass(frozen=True)
class DataConfig:
    """Which data a run trains on and is tested on.

    `name`, `root`, `grammar`: as for `data.load`; `size`, `test_size`: amounts to train on and to
    test on (digits), None for the usual; `test_fold`: the fold of car_a that is the test; `seed`:
    of synthesis and of splits; `valid`: images of car_a kept from training to choose the
    temperature by; `corrected`: whether car_a is trained with the labels of corrections.tsv;
    `more_digits`: other digits to make strings from, each a folder in MNIST's format or a `.npz`
    file of pen strokes; `start`: a trained
    reader whose weights training begins with, in place of the first phase. `alphabet`: the
    characters of a folder's labels, `lexicon`: a file of the words that they may be, one a line.
    """

    name: str = "digits"
    root: str | None = None
    grammar: str = "amount"
    size: int | None = None
    test_size: int | None = None
    test_fold: int = 0
    seed: int = 0
    valid: int = 0
    corrected: bool = False
    more_digits: tuple[str, ...] = ()
    alphabet: str | None = None
    lexicon: str | None = None
    start: str | None = None


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

    def text(self, index: int) -> str:
        """The amount alone, where the data know it without the image."""
        return self.data.text(self.chosen[index])  # type: ignore[attr-defined]

    def name(self, index: int) -> str:
        """The file name of an image, where the data have one."""
        return self.data.name(self.chosen[index])  # type: ignore[attr-defined]

    def place(self, index: int) -> str:
        """Where the table speaks of an image, where the data have one."""
        return self.data.place(self.chosen[index])  # type: ignore[attr-defined]

    def layout(self, index: int) -> Any:
        """The characters and their boxes, where the data have them."""
        return self.data.layout(self.chosen[index])  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Splits:
    """The parts of a data set, isolated characters and made-up lines from its training part.

    `corrected`: what the test images truly say, where some of their labels are known to be wrong;
    `found`: what the check of one's own data found.
    """

    train: Dataset
    valid: Dataset | None
    test: Dataset
    characters: list[Characters]
    strings: Dataset | None = None
    mixed: Dataset | None = None
    corrected: list[str] | None = None
    found: Findings | None = None


def splits(
    config: DataConfig,
    characters: int,
    front_end: str = "segments",
    *,
    accepts: Callable[[str], object] | None = None,
    quiet: bool = True,
) -> Splits:
    """The data of a run; `characters` isolated characters are synthesised for segments.

    car_a has no validation part unless one is asked for: all other folds are trained on, as
    published results do. A folder of one's own is checked, every label by `accepts`; images that
    are there twice come into one part.
    """
    if config.name == "digits":
        made = _digits(config, characters)
        if front_end == "segments":
            return made
        return replace(made, characters=[], strings=_made_up(config))
    if config.name == "car_a":
        return _car_a(config, characters, front_end)
    faults = Faults()
    grammar = "" if config.alphabet or config.lexicon else config.grammar
    if config.root is None:
        raise ValueError("load: folder is read from a folder; say which with root=")
    data: FolderDataset | StrokesDataset
    if kind_of(config.root) == "strokes":
        data = StrokesDataset(config.root)
    else:
        data = FolderDataset(config.root, grammar=grammar, faults=faults)
    _check_kinds(data, front_end, faults)
    found = examine(data, accepts, faults, quiet=quiet)
    parts = _parts(data, _together(found.same, data.writers), config.seed)
    if config.alphabet or config.lexicon or front_end in SEQUENCES:
        return Splits(*parts, [], found=found)
    if front_end == "segments":
        return Splits(*parts, [_synthesised(config, characters)], found=found)
    strings = _made_up(config)
    return Splits(*parts, [], strings, strings, found=found)


def _check_kinds(data: FolderDataset | StrokesDataset, front_end: str, faults: Faults) -> None:
    """Files that the front end cannot read are faults: images for one that reads sound."""
    for index in range(len(data)):
        wrong = wrong_kind(data.name(index), front_end)
        if wrong:
            place = data.place(index)
            line = int(place.rpartition(" ")[2])
            faults.add(line, f"{place}, {data.name(index)}: {wrong}; see --front-end")


def _together(same: list[int], writers: Sequence[str] | None) -> list[int]:
    """The group of each item, where those of one writer and those that are the same share one."""
    if writers is None:
        return same
    first: dict[str, int] = {}
    links = [first.setdefault(w or f" {index}", index) for index, w in enumerate(writers)]
    count, items = len(same), range(len(same))
    pairs = ([1] * (2 * count), ([*items, *items], [*same, *links]))
    return connected_components(csr_array(pairs, shape=(count, count)), directed=False)[1].tolist()


def _parts(
    data: FolderDataset | StrokesDataset, same: list[int], seed: int
) -> tuple[Subset, Subset, Subset]:
    """Eight tenths for training, one for validation, one for the test, of groups that stay whole.

    Groups are images that are the same, or all that one writer wrote; of a few writers, one is for
    validation and one for the test.
    """
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(same):
        groups.setdefault(group, []).append(index)
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    tenth = len(groups) // 10
    if data.writers is not None and len(groups) > 2:
        tenth = max(1, tenth)
    if not tenth:
        what = "amounts; at least 10" if data.writers is None else "writers; at least 3"
        raise ValueError(f"{data.root} holds {len(groups)} {what} are needed")
    shuffled = [list(groups.values())[number] for number in order]
    test, valid, train = shuffled[:tenth], shuffled[tenth : 2 * tenth], shuffled[2 * tenth :]
    one, two, three = (
        Subset(data, [i for group in part for i in group]) for part in (train, valid, test)
    )
    return one, two, three


def recognizer_of(config: DataConfig, reader: ReaderConfig) -> Recognizer | None:
    """The untrained recognizer of an alphabet or lexicon; None where the data have neither.

    Without an alphabet, the characters are those of the words; without words, any string is read.
    Raises ValueError for a lexicon that is missing, empty, or has other characters.
    """
    if not config.alphabet and not config.lexicon:
        return None
    words: list[str] | None = None
    if config.lexicon:
        try:
            text = read_text(Path(config.lexicon))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read the lexicon {config.lexicon}: {error}") from error
        words = [line.strip() for line in text.split("\n") if line.strip()]
        if not words:
            raise ValueError(f"the lexicon {config.lexicon} holds no word; it has one a line")
    alphabet = Alphabet(config.alphabet or sorted(set("".join(words or []))))
    sized = replace(reader, network=replace(reader.network, classes=alphabet.num_labels))
    return Recognizer(alphabet, words, PRESETS[reader.front_end](sized))


def _made_up(config: DataConfig) -> Dataset:
    """Lines that nobody wrote, in the language of the data, for data without boxes."""
    if config.grammar == "amount":
        made: Dataset = load("digits", split="train", size=MADE_UP, seed=config.seed)
        return made
    more = _more_glyphs(config) or [sample_glyphs()]
    return Recomposed((), foreign=more, config=STRINGS, size=MADE_UP, seed=config.seed)


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


def parts_of_car_a(config: DataConfig) -> Splits:
    """The images of car_a for training, validation and test, without anything made of them."""
    folds = [fold for fold in range(5) if fold != config.test_fold]
    if len(folds) == 5:
        raise ValueError(f"car_a has the folds 0 .. 4, there is no fold {config.test_fold}")
    whole = load("car_a", config.root, folds=folds, corrected=config.corrected)
    test = load("car_a", config.root, folds=[config.test_fold])
    right = test.corrections()
    corrected = [right.get(name, label) for name, label in test.items] if right else None
    # One block at the end: neighbours are often of one hand, which a random part would share.
    first = max(0, len(whole) - config.valid)
    train = Subset(whole, range(first))
    valid = Subset(whole, range(first, len(whole))) if config.valid else None
    return Splits(train, valid, test, [], corrected=corrected)


def _car_a(config: DataConfig, characters: int, front_end: str) -> Splits:
    parts = parts_of_car_a(config)
    train = parts.train
    assert isinstance(train, Subset)
    if front_end == "segments":
        own = train.data.characters(train.chosen)  # type: ignore[attr-defined]
        return replace(parts, characters=[own, _synthesised(config, characters)])
    lines = written_lines(train)
    glyphs = glyphs_of(lines)
    more = _more_glyphs(config)
    lengths = [len(line.layout) for line in lines]
    strings, mixed = (
        Recomposed(glyphs, lines, more, lengths=lengths, config=manner, size=MADE_UP, seed=seed)
        for seed, manner in enumerate((STRINGS, MIXED), start=2 * config.seed)
    )
    return replace(parts, strings=strings, mixed=mixed)


def _more_glyphs(config: DataConfig) -> list[list[Glyph]]:
    return [
        penned_glyphs(source) if Path(source).suffix == ".npz" else idx_glyphs(source)
        for source in config.more_digits
    ]


MADE_UP = 8000
"""Different made-up lines of each kind; they are observed once and distorted anew each time."""

STRINGS = RecomposeConfig(spliced=0.0, foreign=0.35)
MIXED = RecomposeConfig(spliced=0.35, foreign=0.2)
"""How lines are recomposed for the first phase, without whole lines, and for the second."""


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
        front_end: str = "segments",
        **chosen: Any,
    ) -> Run:
        """A run with the usual settings of a data set and front end, but for those given."""
        if front_end not in PRESETS:
            raise ValueError(f"front end {front_end!r} is not one of {', '.join(PRESETS)}")
        if demo and data != "digits":
            raise ValueError(f"--demo trains on digits, not on {data}")
        _no_ignored_options(data, front_end, chosen)
        for name in ("root", "lexicon", "start"):
            if chosen.get(name) is not None:
                chosen[name] = _absolute(chosen[name])
        chosen["more_digits"] = tuple(map(_absolute, chosen.get("more_digits", ())))
        source = replace(DEMO if demo else DataConfig(data), **chosen)
        if data == "car_a":
            source = replace(source, grammar="digit_string")
        usual = USUAL[data]
        if front_end in LINES:
            usual = replace(SLIDING[data], reader=ReaderConfig(front_end=front_end))
        if front_end in SEQUENCES:
            usual = replace(_OVER_TIME, reader=ReaderConfig(front_end=front_end))
        if data == "car_a" and front_end in LINES:
            source = replace(source, valid=chosen.get("valid", 80))
        training = replace(usual, seed=source.seed)
        training = replace(training, reader=replace(training.reader, grammar=source.grammar))
        if source.lexicon is not None:
            training = replace(training, prior=0.0)  # of characters; the words are known
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
        data, training = (checkpoint.load_json(out / name) for name in (DATA, checkpoint.CONFIG))
        return cls(
            out,
            checkpoint.from_dict(DataConfig, data, str(out / DATA)),
            checkpoint.from_dict(TrainConfig, training, str(out / checkpoint.CONFIG)),
        )

    def splits(self, characters: int = 0, *, quiet: bool = True) -> Splits:
        """The data, checked against the language of the reader before anything is learnt."""
        config = self.training.reader
        own = recognizer_of(self.data, config)
        accepts = (own or CheckReader(config)).acceptor
        return splits(self.data, characters, config.front_end, accepts=accepts, quiet=quiet)

    def check(self, *, quiet: bool = False) -> str:
        """What a person should know of the data before training; raises ValueError for faults."""
        parts = self.splits(quiet=quiet)
        notes = [] if parts.found is None else parts.found.notes
        return "\n".join([f"the data are in order: {_sizes(parts)}", *notes])

    def parts(self, which: str = "all") -> list[Any]:
        """The parts of its data that have names: "train", "valid", "test" or "all".

        Raises ValueError for data without files.
        """
        if self.data.name == "digits":
            raise ValueError(f"{self.out} was trained on digits, which are made up: none is wrong")
        found = parts_of_car_a(self.data) if self.data.name == "car_a" else self.splits()
        by_name = {"train": found.train, "valid": found.valid, "test": found.test}
        chosen = by_name.values() if which == "all" else [by_name[which]]
        return [part for part in chosen if part is not None]

    def train(
        self, *, resume: bool = False, overwrite: bool = False, quiet: bool = False
    ) -> judge.Comparison:
        """Train, judge on the test amounts, write results.json, report.html, learning.gif.

        Raises ValueError for data with faults, a folder in which another training runs, or one
        that holds a training, unless that is to be resumed or overwritten.
        """
        began = time.perf_counter()
        self._check_folder(resume, overwrite)
        parts = self.splits(self.training.characters, quiet=quiet)
        with claimed(self.out):
            self._check_folder(resume, overwrite)
            if not resume:
                self._clear()
            return self._train(parts, resume, quiet, began)

    def _check_folder(self, resume: bool, overwrite: bool) -> None:
        if resume or overwrite:
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
        torch.manual_seed(self.training.seed)
        trainer = Trainer(
            self.training,
            TrainingData(parts.train, parts.valid, parts.characters, parts.strings, parts.mixed),
            self.out,
            reader=recognizer_of(self.data, self.training.reader),
            start=None if self.data.start is None else checkpoint.load_reader(self.data.start),
            fingerprint=None if parts.found is None else parts.found.fingerprint,
            quiet=quiet,
        )
        after = trainer.run(resume=resume and (self.out / CHECKPOINT).is_file())
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


_OPTIONS = {
    "root": ("car_a", "folder"),
    "grammar": ("folder",),
    "size": ("digits",),
    "test_fold": ("car_a",),
    "valid": ("car_a",),
    "corrected": ("car_a",),
    "alphabet": ("folder",),
    "lexicon": ("folder",),
    "more_digits": ("car_a", "folder"),
}
"""The data sets that each option is of."""


def _no_ignored_options(data: str, front_end: str, chosen: dict[str, Any]) -> None:
    """Raises ValueError for options that would change nothing."""
    given = [name for name in chosen if chosen[name] not in (None, ()) and name in _OPTIONS]
    ignored = [name for name in given if data not in _OPTIONS[name]]
    if data != "folder" and {"alphabet", "lexicon"} & {*ignored}:
        raise ValueError(f"--alphabet and --lexicon are of your own folder; {data} has its own")
    if ignored:
        option = f"--{ignored[0].replace('_', '-')}"
        kinds = " and ".join(_OPTIONS[ignored[0]])
        raise ValueError(f"{option} is an option of --data {kinds}; with {data} it does nothing")
    if front_end in SEQUENCES and data != "folder":
        raise ValueError(f"--front-end {front_end} is for data of your own; {data} holds images")
    words = chosen.get("alphabet") or chosen.get("lexicon")
    if words and chosen.get("grammar"):
        raise ValueError("--grammar is of amounts: give it, or --alphabet and --lexicon")
    strings = data == "car_a" or (chosen.get("grammar") == "digit_string" and not words)
    if "more_digits" in given and not (front_end in LINES and strings):
        raise ValueError(
            f"--more-digits makes digit strings for --front-end {' or '.join(LINES)} only"
        )
    for name, least in (("size", 1), ("valid", 0), ("seed", 0)):
        value = chosen.get(name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")


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
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


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

_SLIDING = TrainConfig(
    isolated=PhaseConfig(epochs=8, rate=3e-3, batch_size=32, distort=0.8, made_up=3200),
    whole=PhaseConfig(epochs=60, rate=2e-3, batch_size=32, distort=0.9, made_up=784),
    average=0.998,
    prior=0.5,
    calibrate=True,
    reader=ReaderConfig(front_end="sliding"),
)
_SHORT = replace(
    _SLIDING,
    isolated=replace(_SLIDING.isolated, epochs=3),
    whole=replace(_SLIDING.whole, epochs=6),
    average=0.99,
)
SLIDING = {"digits": _SHORT, "folder": _SLIDING, "car_a": _SLIDING}
"""The same for a network swept over lines."""

LINES = ("sliding", "segmental")
"""Front ends that see whole lines."""

SEQUENCES = ("strokes", "sound")
"""Front ends of data of one's own that are no images."""

_OVER_TIME = TrainConfig(
    whole=PhaseConfig(epochs=40, rate=3e-3, batch_size=32, distort=0.8),
    average=0.998,
    calibrate=True,
)
