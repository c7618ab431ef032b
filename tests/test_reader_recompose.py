"""Lines recomposed from real ones say what they are said to say; glyphs are what was boxed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from real_data import DATA, needs_car_a

from gtnet.reader.data import CarA, load
from gtnet.reader.glyphs import (
    Glyph,
    Written,
    glyphs_of,
    idx_glyphs,
    penned_glyphs,
    sample_glyphs,
    written_lines,
)
from gtnet.reader.line import LineConfig, line_of
from gtnet.reader.recompose import RecomposeConfig, Recomposed
from gtnet.reader.runs import DataConfig, parts_of_car_a, splits
from gtnet.reader.strokes import drawn, read_strokes

BARS = "0123456789"


class Bars:
    """Digits drawn as that many bars and one more, with their boxes."""

    grammar = "digit_string"

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        return self._drawn(index)[0], self.texts[index]

    def layout(self, index: int) -> list[tuple[str, tuple[int, int, int, int]]]:
        return self._drawn(index)[1]

    def _drawn(self, index: int):
        image = np.full((44, 60 * len(self.texts[index])), 240, np.uint8)
        boxes, x = [], 8
        for digit in self.texts[index]:
            first = x
            for _ in range(int(digit) + 1):
                image[8:36, x : x + 3] = 20
                x += 5
            image[20:23, first : x - 2] = 20
            boxes.append((digit, (first - 1, 7, x - 1, 37)))
            x += 10
        return image, boxes


def bars(ink: np.ndarray) -> int:
    """How many upright bars a piece of ink has, away from the stroke that joins them."""
    row = ink[: len(ink) // 3].max(axis=0) > 100
    return int(np.count_nonzero(row[1:] & ~row[:-1]) + row[0])


@pytest.fixture(scope="module")
def lines() -> list[Written]:
    return written_lines(Bars(["0123", "31", "2", "20"]))


def test_glyphs_are_what_was_boxed(lines: list[Written]) -> None:
    glyphs = glyphs_of(lines)
    assert "".join(g.character for g in glyphs) == "0123" + "31" + "2" + "20"
    for glyph in glyphs:
        assert bars(glyph.ink) == int(glyph.character) + 1
        assert glyph.size == pytest.approx(1, abs=0.15) and abs(glyph.rise) < 0.15


@pytest.mark.parametrize(("spliced", "least"), [(1.0, 36), (0.0, 16)])
def test_recomposed_lines_say_what_they_show(
    spliced: float, least: int, lines: list[Written]
) -> None:
    """The bars of all glyphs are counted on the ink; where glyphs overlap, one may hide another."""
    plain = RecomposeConfig(spliced=spliced, marked=0, trailed=0, ruled=0)
    made = Recomposed(glyphs_of(lines), lines, config=plain, lengths=[2, 3], seed=1)
    counted = 0
    for index in range(40):
        ink, text = made.ink(index)
        assert 1 <= len(text) <= plain.longest
        dark = ink > 100
        row = dark.sum(axis=0) > 0.3 * dark.any(axis=1).sum()
        found = int(np.count_nonzero(row[1:] & ~row[:-1]) + row[0])
        counted += found == sum(int(digit) + 1 for digit in text)
    assert counted >= least


def test_an_item_is_always_the_same(lines: list[Written]) -> None:
    first, second = (Recomposed(glyphs_of(lines), lines, size=50, seed=3) for _ in "12")
    for index in (0, 7, 49):
        (a, x), (b, y) = first[index], second[index]
        assert x == y and np.array_equal(a, b)
        assert a.dtype == np.uint8 and a.ndim == 2
    assert not np.array_equal(first[0][0], Recomposed(glyphs_of(lines), lines, seed=4)[0][0])
    with pytest.raises(IndexError, match="item 50 of 50"):
        first[50]
    with pytest.raises(ValueError, match="no glyphs"):
        Recomposed([])


def test_foreign_glyphs_alone_write_lines() -> None:
    made = Recomposed((), foreign=[sample_glyphs()], config=RecomposeConfig(spliced=1.0))
    image, text = made[5]
    assert set(text) <= set(BARS)
    assert len(line_of(image)) > 20


def test_idx_files(tmp_path: Path) -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    images[:, 4:24, 10:14] = 255
    head = (2051).to_bytes(4, "big") + (3).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    labels = (2049).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes([1, 7, 0])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
    with pytest.raises(ValueError, match=r"cannot read .*train-labels"):
        idx_glyphs(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    glyphs = idx_glyphs(tmp_path)
    assert [g.character for g in glyphs] == ["1", "7", "0"]
    assert all(isinstance(g, Glyph) and g.ink.shape == (20, 4) for g in glyphs)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\0\1" + labels[4:]))
    with pytest.raises(ValueError, match="no idx file"):
        idx_glyphs(tmp_path)


def test_every_source_of_foreign_glyphs_is_used() -> None:
    plain = RecomposeConfig(foreign=0.5, one_hand=0.5, spliced=0.0)
    sources = [[glyph for glyph in sample_glyphs() if glyph.character == c] for c in "012"]
    made = Recomposed(sources[0], foreign=[sources[1], [], sources[2]], config=plain, size=60)
    texts = [made[i][1] for i in range(60)]
    assert all(len(set(text)) == 1 for text in texts)  # a line is of one source
    counts = [sum(text[0] == c for text in texts) for c in "012"]
    assert counts[0] > counts[1] > 0 and counts[2] > 0


def stroke_file(path: Path, **changes: np.ndarray) -> Path:
    """Two samples: a bar in one stroke, and a cross of two."""
    arrays = {
        "points": np.array([[0, 0], [0, 90], [0, 30], [60, 30], [30, 0], [30, 60]], np.int16),
        "stroke_offsets": np.array([0, 2, 4, 6]),
        "sample_offsets": np.array([0, 1, 3]),
        "labels": np.array(["1", "plus"]),
        "writer": np.array(["w1", "w2"]),
    }
    np.savez(path, **(arrays | changes))
    return path


def test_strokes_are_read_and_drawn(tmp_path: Path) -> None:
    bar, cross = read_strokes(stroke_file(tmp_path / "strokes.npz"))
    assert (bar.label, bar.writer, len(bar.strokes)) == ("1", "w1", 1)
    assert (cross.label, cross.writer, len(cross.strokes)) == ("plus", "w2", 2)
    assert drawn(bar.strokes, height=30, pen=4).shape == (30, 4)
    ink = drawn(cross.strokes, height=31, pen=3)
    assert ink.shape == (31, 31)
    assert ink[15, 15] == ink[15, 5] == ink[5, 15] == 255 and ink[5, 5] == 0
    dot = drawn([np.array([[7, 7]])], height=30, pen=5)
    assert dot.shape == (5, 5) and dot[2, 2] == 255
    assert drawn([np.array([[0, 3], [100, 3]])], height=10, pen=2, widest=5).shape == (2, 50)


@pytest.mark.parametrize(
    "changes",
    [
        {"stroke_offsets": np.array([0, 2, 4, 7])},
        {"sample_offsets": np.array([0, 2, 1])},
        {"labels": np.array(["1"])},
        {"points": np.zeros((6, 3))},
        {"points": np.array([None] * 6)},
    ],
)
def test_files_of_strokes_that_do_not_fit_are_refused(tmp_path: Path, changes: dict) -> None:
    path = stroke_file(tmp_path / "strokes.npz", **changes)
    with pytest.raises(ValueError, match=r"strokes.npz"):
        read_strokes(path)


def test_penned_digits(tmp_path: Path) -> None:
    points = np.array([[0, y] for y in range(0, 90, 10)] + [[5, 5]] * 9, np.int16)
    path = stroke_file(
        tmp_path / "strokes.npz",
        points=points,
        stroke_offsets=np.array([0, 9, 18]),
        sample_offsets=np.array([0, 1, 2]),
    )
    (glyph,) = penned_glyphs(path)
    assert glyph.character == "1" and glyph.ink.shape[0] == 40 and glyph.ink.max() == 255
    with pytest.raises(ValueError, match="no single digit"):
        penned_glyphs(stroke_file(path, labels=np.array(["one", "plus"])))


def test_a_line_is_its_written_rows() -> None:
    image = np.full((60, 100), 255, np.uint8)
    image[20:40, 10:14] = 10
    image[55:57] = 10  # a printed rule
    line = line_of(image, LineConfig(height=16, margin=4))
    assert line.ink.shape[0] == 16 and line.ink[:, :4].max() == 0
    assert 16 <= line.box[1] <= 20 and 40 <= line.box[3] <= 44
    assert len(line_of(np.full((30, 50), 200, np.uint8))) == 0
    large = line_of(image.repeat(8, 0).repeat(8, 1), LineConfig(height=16, margin=4))
    left, top, right, bottom = large.box  # on a large page, what is around the writing goes too
    assert left <= 8 * 10 and 8 * 14 <= right < 8 * 100
    assert abs(top - 8 * line.box[1]) <= 16 and abs(bottom - 8 * line.box[3]) <= 16
    with pytest.raises(TypeError, match="uint8"):
        line_of(np.zeros((4, 4)))


def test_other_data_get_made_up_lines() -> None:
    found = splits(DataConfig("digits", size=4, test_size=4), 10, "sliding")
    assert not found.characters and found.mixed is None
    assert found.strings is not None and "." in found.strings[0][1]
    assert load("digits", size=1)[0][1] == found.train[0][1]


@needs_car_a
def test_nothing_of_the_test_fold_or_validation_part_is_trained_on() -> None:
    config = DataConfig("car_a", str(DATA / "car_a"), "digit_string", test_fold=1, valid=40)
    found = parts_of_car_a(config)
    folds = [CarA(DATA / "car_a", [fold]) for fold in range(5)]
    names = {
        part: [data.data.name(i) for i in data.chosen]
        for part, data in (("train", found.train), ("valid", found.valid))
    }
    tested = {name for name, _ in folds[1].items}
    assert not tested & {*names["train"], *names["valid"]}
    assert not {*names["train"]} & {*names["valid"]} and len(names["valid"]) == 40
    assert len(names["train"]) + len(names["valid"]) + len(tested) == 1080
    assert names["valid"] == [name for name, _ in folds[4].items[-40:]]
    right = CarA(DATA / "car_a", [1]).corrections()
    assert found.corrected == [right.get(n, label) for n, label in folds[1].items]
    assert len(right) == 13
    changed = CarA(DATA / "car_a", corrected=True)
    whole = CarA(DATA / "car_a")
    assert sum(a != b for a, b in zip(changed.items, whole.items, strict=True)) == 13
