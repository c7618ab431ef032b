"""Data of the reader: what is written, what is promised about splits, and errors of files."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_data import DATA, needs_car_a

from gtnet.reader.alphabet import CLASSES, RUBBISH
from gtnet.reader.data import (
    CarA,
    Dataset,
    FolderDataset,
    SynthesizedAmounts,
    digit_samples,
    digits,
    load,
    read_image,
)

WHOLE = r"(?:\d+|\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3})+)"
WRITTEN = re.compile(rf"[*-]*\$?[*-]*({WHOLE})(?:([.,])(\d\d|-)|(\d\d)/100)?[*-]*")


def canonical(written: str) -> str:
    """The amount that a drawn string means, from the definition of the written forms."""
    match = WRITTEN.fullmatch(written)
    assert match, written
    whole, mark, cents, hundredths = match.groups()
    assert mark is None or mark not in whole, written
    found = hundredths or (cents if cents not in (None, "-") else "00")
    return f"{re.sub('[.,]', '', whole)}.{found}"


@pytest.fixture(scope="module")
def written() -> list[tuple[str, str]]:
    data = digits(size=800)
    return [(data.written(i), data.amount(i)) for i in range(len(data))]


def test_amounts_say_what_is_written(written):
    for text, amount in written:
        assert canonical(text) == amount
        assert re.fullmatch(r"(0|[1-9]\d*)\.\d\d", amount)


@pytest.mark.parametrize(
    "form",
    [
        r"\$",
        r"^[^$]*$",
        r"\d,\d{3}",
        r"\d\.\d{3}(?!\d)",
        r"\d{4}",
        r"\.\d\d(?!\d)",
        r",\d\d(?!\d)",
        r"\d-",
        r"[.,]-",
        r"\d\d/100",
        r"^\$?\d+$",
        r"^[*-]",
        r"[*-]$",
        r"(^|\D)0[.,]",
    ],
)
def test_every_written_form_occurs(written, form):
    assert any(re.search(form, text) for text, _ in written)


def test_every_character_is_drawn(written):
    assert {character for text, _ in written for character in text} == set(CLASSES)


def test_items_are_images_with_their_layout():
    data = digits(size=20, split="valid")
    assert isinstance(data, Dataset) and data.grammar == "amount" and len(data) == 20
    for i in range(20):
        image, amount = data[i]
        assert image.dtype == np.uint8 and 35 <= image.shape[0] <= 75 and amount == data.amount(i)
        layout = data.layout(i)
        assert "".join(character for character, _ in layout) == data.written(i)
        for _, (x0, y0, x1, y1) in layout:
            assert 0 <= x0 < x1 <= image.shape[1] and 0 <= y0 < y1 <= image.shape[0]


def test_items_depend_on_seed_split_and_index_only():
    one, again = digits(size=5, seed=3), digits(size=50, seed=3)
    _ = again[7]
    for i in (3, 0):
        assert np.array_equal(one[i][0], again[i][0]) and one[i][1] == again[i][1]
    assert np.array_equal(one[-1][0], one[4][0])
    others = [digits(size=5, seed=4), digits(size=5, seed=3, split="test")]
    assert all(other[0][0].tobytes() != one[0][0].tobytes() for other in others)
    with pytest.raises(IndexError, match="item 5 of 5"):
        one[5]


def test_splits_share_no_digit_sample():
    from sklearn.datasets import load_digits

    seen = [
        {sample.tobytes() for digit in digit_samples(split) for sample in digit}
        for split in ("train", "valid", "test")
    ]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert sum(map(len, seen)) == len(np.unique(load_digits().data, axis=0))


def test_neighbouring_digits_often_touch():
    data = digits(size=60)
    pairs = touching = 0
    for i in range(len(data)):
        layout = data.layout(i)
        for (a, box), (b, other) in pairwise(layout):
            if a.isdigit() and b.isdigit():
                pairs += 1
                touching += other[0] <= box[2]
    assert 0.2 < touching / pairs < 0.6


def test_characters_of_every_class():
    data = digits(size=1)
    found = data.characters(400)
    assert len(found) == len(found.images) == len(found.lines) == 400
    assert set(found.classes.tolist()) == set(range(RUBBISH + 1))
    assert all(image.dtype == np.uint8 and image.ndim == 2 for image in found.images)
    assert all(line is not None and line[0] < line[1] for line in found.lines)
    again = data.characters(400)
    assert all(np.array_equal(a, b) for a, b in zip(found.images, again.images, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split 'dev' is not one of train, valid, test"),
        ({"size": -1}, "size -1 and seed 0"),
        ({"seed": -2}, "size 4000 and seed -2"),
    ],
)
def test_synthesis_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        digits(**arguments)


def test_synthesis_needs_every_digit():
    sample = np.full((8, 8), 255, np.uint8)
    with pytest.raises(ValueError, match="each of the ten digits needs a sample"):
        SynthesizedAmounts([[sample]] * 9 + [[]])


def test_load():
    assert len(load("digits", split="test", size=3)) == 3
    with pytest.raises(ValueError, match="no data set 'mnist'; there are digits, car_a, folder"):
        load("mnist")
    with pytest.raises(ValueError, match="car_a is read from a folder; say which with root="):
        load("car_a")


def test_read_image(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), grey)
    Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png"), grey)
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "missing.png"):
        with pytest.raises(ValueError, match=f"cannot read an image from .*{name}"):
            read_image(tmp_path / name)


def test_folder(tmp_path):
    Image.new("L", (20, 10), 255).save(tmp_path / "a.png")
    (tmp_path / "labels.tsv").write_text("file\tamount\na.png\t1.50\n\nb.png\t2.00\n")
    data = FolderDataset(tmp_path)
    assert isinstance(data, Dataset) and len(data) == 2 and data.grammar == "amount"
    assert data[0][0].shape == (10, 20) and data[0][1] == "1.50"
    with pytest.raises(ValueError, match=r"b\.png"):
        data[1]
    assert len(load("folder", tmp_path, size=1)) == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name\tamount\n", "line 1: no column file in"),
        ("file\tamount\na.png\t1.50\na.png\n", "line 3: 1 cells, the header has 2"),
    ],
)
def test_folder_names_the_malformed_line(tmp_path, table, message):
    (tmp_path / "labels.tsv").write_text(table)
    with pytest.raises(ValueError, match=message):
        FolderDataset(tmp_path)


def test_folder_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table .*labels\.tsv"):
        FolderDataset(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        FolderDataset(tmp_path / "nowhere")


def small_car_a(root: Path, **tables: str) -> Path:
    """A made-up data set in the format of the bank-check amounts."""
    (root / "images").mkdir()
    picture = np.full((30, 40), 230, np.uint8)
    picture[5:25, 6:10] = picture[5:25, 20:24] = 30
    Image.fromarray(picture).save(root / "images" / "a.png")
    texts = {
        "labels": "file\tlabel\na.png\t011\n",
        "folds": "file\tfold\na.png\t2\n",
        "boxes": "file\tdigit\tx\ty\tw\th\na.png\t1\t6\t5\t4\t20\na.png\t1\t20\t5\t4\t20\n",
    }
    for name, text in (texts | tables).items():
        (root / f"{name}.tsv").write_text(text)
    return root


def test_car_a_format(tmp_path):
    data = CarA(small_car_a(tmp_path), folds=(2,))
    assert isinstance(data, Dataset) and data.grammar == "digit_string" and data.name(0) == "a.png"
    assert data[0][1] == "011" and data[0][0].shape == (30, 40)
    assert data.layout(0)[1] == ("1", (20, 5, 24, 25))
    found = data.characters()
    assert found.classes.tolist()[:2] == [1, 1] and found.lines[0] == (2.0, 22.0)
    with pytest.raises(ValueError, match=r"no image in folds \(0,\); .* has folds \[2\]"):
        CarA(tmp_path, folds=(0,))


def test_corrections_are_served_when_asked_for(tmp_path):
    root = small_car_a(tmp_path, corrections="file\tlabel\tdrawn\na.png\t011\t11\n")
    assert CarA(root)[0][1] == "011"
    assert CarA(root, corrected=True)[0][1] == load("car_a", root, corrected=True)[0][1] == "11"
    assert CarA(root).corrections() == {"a.png": "11"}
    (root / "corrections.tsv").unlink()
    assert CarA(root, corrected=True)[0][1] == "011"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"labels": "file\tlabel\na.png\t1a\n"}, "labels.tsv, line 2: label '1a' is not"),
        ({"labels": "file\tlabel\nb.png\t1\n"}, "labels.tsv, line 2: b.png has no fold"),
        ({"folds": "file\tfold\na.png\tx\n"}, "folds.tsv, line 2: fold 'x' is not a whole"),
        ({"boxes": "file\tdigit\tx\ty\tw\th\na.png\t1\t6\t5\t4\n"}, "boxes.tsv, line 2: 5 cells"),
        ({"boxes": "file\tdigit\tx\ty\tw\th\na.png\t12\t6\t5\t4\t2\n"}, "line 2: digit '12'"),
        ({"boxes": "file\tdigit\tx\ty\tw\th\na.png\t1\t6\t5\t0\t2\n"}, "line 2: box of width 0"),
    ],
)
def test_car_a_names_the_malformed_line(tmp_path, tables, message):
    with pytest.raises(ValueError, match=message):
        CarA(small_car_a(tmp_path, **tables))


def test_car_a_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        CarA(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no table .*folds\.tsv"):
        CarA(tmp_path)


@needs_car_a
def test_car_a():
    folds = [CarA(DATA / "car_a", folds=(fold,)) for fold in range(5)]
    assert [len(fold) for fold in folds] == [216, 216, 216, 221, 211]
    names = [{fold.name(i) for i in range(len(fold))} for fold in folds]
    assert len(set.union(*names)) == 1080
    image, label = folds[0][0]
    assert image.dtype == np.uint8 and label == "2250"
    assert "".join(digit for digit, _ in folds[0].layout(0)) == label
