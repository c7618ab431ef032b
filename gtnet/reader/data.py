"""Data for the reader: images of amounts with their texts, and isolated characters.

`load` gives one of the known data sets; your own is any object that satisfies `Dataset`, or a
folder of images with a table of labels (`FolderDataset`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gtnet.reader.alphabet import CLASSES, RUBBISH
from gtnet.reader.folder import FolderDataset as FolderDataset
from gtnet.reader.images import read_image as read_image
from gtnet.reader.synthesis import Box, Drawing, Mark, Writer, write_amount
from gtnet.reader.tables import table

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Characters:
    """Isolated characters for the first training phase.

    Attributes:
        images: grey uint8 arrays [height, width] of any size, dark ink on light paper.
        classes: int64 [characters], the label of each (an index into CLASSES, or RUBBISH).
        lines: (top, bottom) rows of the body of the line each was written on, in rows of its own
            image, as `normalize_character` wants them; None where that is not known.
    """

    images: list[np.ndarray]
    classes: np.ndarray
    lines: Sequence[tuple[float, float] | None]

    def __len__(self) -> int:
        """Number of characters."""
        return len(self.images)


@runtime_checkable
class Dataset(Protocol):
    """Images of amounts with their texts, or other inputs: all that a reader is trained on.

    A data set may also have a method `characters() -> Characters`; without it the first training
    phase, on isolated characters, is left out.
    """

    grammar: str
    """The language the amounts are written in: "amount" ("1234.50") or "digit_string"."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """An image, uint8 [height, width], dark ink on light paper, and its canonical amount.

        Or what else the front end reads (strokes, a recording), and what it says.
        """


def text_of(data: Dataset, index: int) -> str:
    """The text of an item; its image is not opened where the data have a method `text`."""
    known = getattr(data, "text", None)
    return data[index][1] if known is None else known(index)


class SynthesizedAmounts:
    """Amounts written at random with given digit samples; item i depends on (seed, split, i) only.

    Args:
        samples: for each digit 0 .. 9, its sample images, uint8 [height, width], ink bright.
        split: "train", "valid" or "test"; splits draw different amounts. Give each split samples
            of its own.
        size: number of amounts.
        seed: any integer >= 0.

    Raises:
        ValueError: an unknown split, a negative size or seed, or a digit without samples.
    """

    grammar = "amount"

    def __init__(
        self,
        samples: Sequence[Sequence[np.ndarray]],
        *,
        split: str = "train",
        size: int = 4000,
        seed: int = 0,
    ) -> None:
        _check_split("SynthesizedAmounts", split)
        if size < 0 or seed < 0:
            raise ValueError(
                f"SynthesizedAmounts: size {size} and seed {seed} must not be negative"
            )
        if len(samples) != 10 or not all(len(digit) for digit in samples):
            counts = [len(digit) for digit in samples]
            raise ValueError(
                f"SynthesizedAmounts: each of the ten digits needs a sample, counts are {counts}"
            )
        self.samples, self.split, self.size, self.seed = samples, split, size, seed
        self._writer = Writer(samples)

    def __len__(self) -> int:
        """Number of amounts."""
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        """The image and the canonical amount, such as "1234.50"."""
        drawing, amount = self._item(index)
        return drawing.image, amount

    def layout(self, index: int) -> list[tuple[str, Box]]:
        """The characters drawn and their boxes: for evaluation, never for training."""
        return self._item(index)[0].layout

    def written(self, index: int) -> str:
        """The characters as drawn, such as "**$1,234.50"."""
        marks, _ = write_amount(self._rng(self._checked(index)))
        return "".join(mark.character for mark in marks)

    def amount(self, index: int) -> str:
        """The canonical amount alone, without drawing it."""
        return write_amount(self._rng(self._checked(index)))[1]

    text = amount

    def characters(self, count: int = 6000) -> Characters:
        """Isolated characters written with this split's digit samples, a fifth of them rubbish.

        Args:
            count: how many; every digit appears about twice as often as every mark.

        Returns:
            Characters in random order. Rubbish is what wrong cuts give: parts of a character,
            two and more together, the end of one with the start of the next, and specks.
        """
        rng = self._rng(0, stream=1)
        shares = np.array([2.0] * 10 + [1.2] * (len(CLASSES) - 10) + [6.5])
        classes = rng.choice(len(shares), count, p=shares / shares.sum())
        images, lines = [], []
        for label in classes.tolist():
            drawing = self._rubbish(rng) if label == RUBBISH else self._single(label, rng)
            images.append(drawing.image)
            lines.append(drawing.line)
        return Characters(images, classes.astype(np.int64), lines)

    def _checked(self, index: int) -> int:
        if not -self.size <= index < self.size:
            raise IndexError(f"SynthesizedAmounts: item {index} of {self.size}")
        return index % self.size

    def _item(self, index: int) -> tuple[Drawing, str]:
        rng = self._rng(self._checked(index))
        marks, amount = write_amount(rng)
        return self._writer.draw(marks, rng), amount

    def _rng(self, index: int, stream: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, SPLITS.index(self.split), stream, index])

    def _single(self, label: int, rng: np.random.Generator) -> Drawing:
        size = rng.uniform(0.62, 0.85) if label < 10 and rng.random() < 0.1 else 1.0
        rise = float(rng.choice([1 - size, -0.06]))
        return self._writer.draw([Mark(CLASSES[label], size, rise)], rng)

    def _rubbish(self, rng: np.random.Generator) -> Drawing:
        """A piece of a line of one to three characters that is not one of them."""
        kind = rng.random()
        count = 0 if kind < 0.05 else 1 if kind < 0.4 else 2 if kind < 0.9 else 3
        weights = np.array([3.0] * 10 + [1.0] * (len(CLASSES) - 10))
        labels = rng.choice(len(CLASSES), count, p=weights / weights.sum())
        drawing = self._writer.draw([Mark(CLASSES[k]) for k in labels], rng)
        if count == 0 or (count > 1 and kind < 0.6):
            return drawing
        first, last = drawing.layout[0][1], drawing.layout[-1][1]
        if count == 1:
            cut = round(first[0] + rng.uniform(0.3, 0.7) * (first[2] - first[0]))
            return _crop(drawing, 0, cut) if rng.random() < 0.5 else _crop(drawing, cut, None)
        start = round(first[0] + rng.uniform(0.25, 0.75) * (first[2] - first[0]))
        stop = round(last[0] + rng.uniform(0.25, 0.75) * (last[2] - last[0]))
        return _crop(drawing, start, stop) if start < stop else drawing


def _crop(drawing: Drawing, start: int, stop: int | None) -> Drawing:
    image = np.ascontiguousarray(drawing.image[:, start:stop])
    return Drawing(image, [], drawing.line) if image.size else drawing


def _check_split(function: str, split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"{function}: split {split!r} is not one of {', '.join(SPLITS)}")


TURNS = {"train": range(7), "valid": range(7, 8), "test": range(8, 10)}
"""Each digit's samples are dealt out in turns of ten; these turns belong to each split."""


def digits(*, split: str = "train", size: int = 4000, seed: int = 0) -> SynthesizedAmounts:
    """Amounts written with the handwritten digits that come with scikit-learn.

    Each split writes with samples of its own: no digit image of one appears in another.
    """
    _check_split("digits", split)
    return SynthesizedAmounts(digit_samples(split), split=split, size=size, seed=seed)


@lru_cache(maxsize=3)
def digit_samples(split: str) -> list[list[np.ndarray]]:
    """For each digit, the scikit-learn samples a split writes with, uint8 [8, 8], ink bright."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Faint strokes of the 8x8 samples are lifted, or enlarged rings would break open.
    images = np.rint(255 * (bunch.images / 16) ** 0.85).astype(np.uint8)
    samples = []
    for digit in range(10):
        own = images[bunch.target == digit]
        samples.append([own[i] for i in range(len(own)) if i % 10 in TURNS[split]])
    return samples


class CarA:
    """Real bank-check amounts with digit boxes: a folder with images, labels, boxes and folds.

    Labels are the digits alone, as strings: separators are drawn but not labelled, so the
    grammar is "digit_string".

    Args:
        root: the folder that holds labels.tsv, boxes.tsv, folds.tsv and images/.
        folds: which of the folds 0 .. 4 to serve.
        corrected: serve what corrections.tsv (columns file, label, drawn) says is drawn.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a table has a malformed line, or no image lies in these folds.
    """

    grammar = "digit_string"

    def __init__(
        self,
        root: str | Path,
        folds: Sequence[int] = (0, 1, 2, 3, 4),
        *,
        corrected: bool = False,
    ) -> None:
        self.root, self.folds = Path(root), tuple(folds)
        if not self.root.is_dir():
            raise FileNotFoundError(f"CarA: no folder {self.root}; give the data's root")
        fold_of = {r["file"]: r.number("fold") for r in table(self.root / "folds.tsv", "file fold")}
        self.items: list[tuple[str, str]] = []
        self.places: dict[str, str] = {}
        for row in table(self.root / "labels.tsv", "file label"):
            name, label = row["file"], row["label"]
            if not (label.isascii() and label.isdigit()):
                raise row.error(f"label {label!r} is not a string of digits")
            if name not in fold_of:
                raise row.error(f"{name} has no fold in folds.tsv")
            if fold_of[name] in self.folds:
                self.items.append((name, label))
                self.places[name] = row.place
        if not self.items:
            raise ValueError(
                f"CarA: no image in folds {self.folds}; {self.root / 'folds.tsv'} has folds "
                f"{sorted(set(fold_of.values()))}"
            )
        self.boxes = self._read_boxes()
        if corrected:
            right = self.corrections()
            self.items = [(name, right.get(name, label)) for name, label in self.items]

    def corrections(self) -> dict[str, str]:
        """What is drawn on files whose label is wrong, by name; empty without corrections.tsv."""
        path = self.root / "corrections.tsv"
        if not path.is_file():
            return {}
        return {row["file"]: row["drawn"] for row in table(path, "file label drawn")}

    def _read_boxes(self) -> dict[str, list[tuple[str, Box]]]:
        boxes: dict[str, list[tuple[str, Box]]] = {name: [] for name, _ in self.items}
        for row in table(self.root / "boxes.tsv", "file digit x y w h"):
            digit = row["digit"]
            if len(digit) != 1 or digit not in CLASSES[:10]:
                raise row.error(f"digit {digit!r} is not one of 0 .. 9")
            x, y, w, h = (row.number(name) for name in "xywh")
            if w <= 0 or h <= 0:
                raise row.error(f"box of width {w} and height {h} is empty")
            if row["file"] in boxes:
                boxes[row["file"]].append((digit, (x, y, x + w, y + h)))
        return boxes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        """The image at its natural size, grey, and the digits it shows."""
        name, label = self.items[index]
        return read_image(self.root / "images" / name), label

    def name(self, index: int) -> str:
        """The file name of an image."""
        return self.items[index][0]

    def text(self, index: int) -> str:
        """The digits alone, without their image."""
        return self.items[index][1]

    def place(self, index: int) -> str:
        """Where labels.tsv speaks of an image: path and line."""
        return self.places[self.name(index)]

    def layout(self, index: int) -> list[tuple[str, Box]]:
        """The labelled digits and their boxes: for evaluation, never for global training."""
        return self.boxes[self.items[index][0]]

    def characters(self, chosen: Sequence[int] | None = None) -> Characters:
        """The digits in their boxes, and rubbish: halves of a box, and two neighbours together.

        The same every time; of the images `chosen`, by default all. Separators are not boxed, so
        the classes are digits and rubbish.
        """
        rng = np.random.default_rng([len(self.items), *self.folds])
        images: list[np.ndarray] = []
        classes: list[int] = []
        lines: list[tuple[float, float] | None] = []
        for index in range(len(self)) if chosen is None else chosen:
            image, _ = self[index]
            boxes = [box for _, box in self.layout(index)]
            if not boxes:
                continue
            line = np.median([(box[1], box[3]) for box in boxes], axis=0)
            labelled = [(box, int(digit)) for digit, box in self.layout(index)]
            for box, label in labelled + [(box, RUBBISH) for box in _wrong_boxes(boxes, rng)]:
                crop, top = _crop_box(image, box)
                if crop.shape[1] > 1:
                    images.append(crop)
                    classes.append(label)
                    lines.append((float(line[0] - top), float(line[1] - top)))
        return Characters(images, np.array(classes, np.int64), lines)


def _wrong_boxes(boxes: list[Box], rng: np.random.Generator) -> Iterator[Box]:
    """Boxes that hold no single character: half of one, two together, two halves."""
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        kind = rng.random()
        middle = round(x0 + rng.uniform(0.35, 0.65) * (x1 - x0))
        if kind < 0.12:
            yield x0, y0, middle, y1
        elif kind < 0.24:
            yield middle, y0, x1, y1
        elif i + 1 < len(boxes):
            a0, b0, a1, b1 = boxes[i + 1]
            other = round(a0 + rng.uniform(0.35, 0.65) * (a1 - a0))
            if kind < 0.36:
                yield x0, min(y0, b0), max(x1, a1), max(y1, b1)
            elif kind < 0.48 and other > middle:
                yield middle, min(y0, b0), other, max(y1, b1)


def _crop_box(image: np.ndarray, box: Box, margin: int = 2) -> tuple[np.ndarray, int]:
    """The pixels of a box and a margin around it, and the first row taken."""
    x0, y0, x1, y1 = box
    top = max(0, y0 - margin)
    return image[top : y1 + margin, max(0, x0 - margin) : x1 + margin].copy(), top


def load(
    name: str,
    root: str | Path | None = None,
    *,
    split: str = "train",
    folds: Sequence[int] | None = None,
    size: int | None = None,
    seed: int = 0,
    grammar: str = "amount",
    corrected: bool = False,
) -> Any:
    """One of the known data sets by name.

    Args:
        name: "digits" (made on the spot), "car_a" or "folder" (both read from `root`).
        root: the folder of the data; for "car_a" and "folder".
        split: "train", "valid" or "test"; for "digits".
        folds: for "car_a"; None is all of them.
        size: number of amounts for "digits" (default: 4000, 500 and 1000 by split); for the others
            at most the first so many.
        seed: for "digits".
        grammar: for "folder", as for `FolderDataset`.
        corrected: for "car_a", as for `CarA`.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: no such name, or a root is needed and not given.
    """
    sizes = {"train": 4000, "valid": 500, "test": 1000}
    if name == "digits":
        _check_split("load", split)
        return digits(split=split, size=sizes[split] if size is None else size, seed=seed)
    makers: dict[str, Callable[[str | Path], Any]] = {
        "car_a": lambda place: CarA(
            place, (0, 1, 2, 3, 4) if folds is None else folds, corrected=corrected
        ),
        "folder": lambda place: FolderDataset(place, grammar=grammar),
    }
    if name not in makers:
        raise ValueError(f"load: no data set {name!r}; there are digits, {', '.join(makers)}")
    if root is None:
        raise ValueError(f"load: {name} is read from a folder; say which with root= (--root)")
    data = makers[name](root)
    if size is not None:
        data.items = data.items[:size]
    return data
