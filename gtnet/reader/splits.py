"""The data of a run: which they are, and their parts for training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from gtnet.reader.alphabet import Alphabet
from gtnet.reader.check import Findings, examine
from gtnet.reader.data import Characters, Dataset, FolderDataset, load
from gtnet.reader.glyphs import (
    Glyph,
    glyphs_of,
    idx_glyphs,
    penned_glyphs,
    sample_glyphs,
    written_lines,
)
from gtnet.reader.inputs import StrokesDataset, kind_of, wrong_kind
from gtnet.reader.reader import PRESETS, ReaderConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.recompose import RecomposeConfig, Recomposed
from gtnet.reader.stream import KINDS, Held, Shards
from gtnet.reader.tables import Faults, read_text
from gtnet.reader.unlabelled import SURE

LINES = ("sliding", "segmental")
"""Front ends that see whole lines."""

SEQUENCES = ("strokes", "sound")
"""Front ends of data of one's own that are no images."""


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
    characters of a folder's labels, `lexicon`: a file of the words that they may be, one a line;
    `parts`: of shards, one of which an epoch reads. `unlabelled`: files and folders without labels,
    `teacher`: a trained reader whose answers to them, with a confidence of at least `sure`, are
    labels too.
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
    parts: int = 1
    unlabelled: tuple[str, ...] = ()
    teacher: str | None = None
    sure: float = SURE


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

    train: Dataset | Shards
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
        raise ValueError("your own data are read from a folder: say which with --root")
    if config.name == "shards":
        return _of_shards(replace(config, grammar=grammar), characters, front_end)
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


HELD = 2000
"""Samples of shards that are read to validate with after every epoch, and to test with, at most."""


def _of_shards(config: DataConfig, characters: int, front_end: str) -> Splits:
    """Shards for training; some samples of those called valid and test, or of the last two."""
    root = Path(config.root or "")
    found = sorted(p for p in root.glob("*") if p.suffix in KINDS)
    kinds = {path.suffix for path in found}
    if len(kinds) != 1:
        raise ValueError(
            f"{root} holds {'both tar and Parquet files: keep one kind' if kinds else 'no shards'}"
            f" ({' or '.join(KINDS)})"
        )

    def called(*names: str) -> list[Path]:
        return [path for path in found if path.name.lower().startswith(names)]

    valid, test = called("valid", "val-", "val_", "dev"), called("test")
    named = {*valid, *test}
    train = [path for path in found if path not in named]
    valid, test = (
        valid or [train.pop()] if train else valid,
        test or [train.pop()] if train else test,
    )
    if not (train and valid and test):
        raise ValueError(
            f"{root} holds {len(found)} shards; needed is one at least to train on, to validate and"
            " to test with (the last two, or those whose names begin with valid and test)"
        )
    shards, *held = (
        Shards(tuple(map(str, part)), config.grammar, config.parts) for part in (train, valid, test)
    )
    parts = Splits(shards, Held(held[0], HELD), Held(held[1], HELD), [])
    if config.alphabet or config.lexicon or front_end in SEQUENCES:
        return parts
    if front_end == "segments":
        return replace(parts, characters=[_synthesised(config, characters)])
    return replace(parts, strings=_made_up(config))


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
        what = "different items; at least 10" if data.writers is None else "writers; at least 3"
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
