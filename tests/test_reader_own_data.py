"""Data of one's own: tables as people write them, checked early and completely."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtnet.reader import checkpoint, runs
from gtnet.reader.amounts import canonical
from gtnet.reader.check import examine
from gtnet.reader.cli import main
from gtnet.reader.data import FolderDataset, load
from gtnet.reader.reader import CheckReader
from gtnet.reader.runs import DataConfig, Run, splits
from gtnet.reader.tables import Faults, table


def strokes(number: int) -> np.ndarray:
    """An image that no other number has."""
    image = np.full((30, 60), 235, np.uint8)
    for bit in range(6):
        image[5:25, 6 + 8 * bit : 9 + 8 * bit] = 30 if number >> bit & 1 else 120
    return image


def folder(root: Path, rows: list[str], name: str = "labels.tsv", images: int = 12) -> Path:
    """A folder of images 0.png, 1.png, ... and a table."""
    root.mkdir(exist_ok=True)
    for number in range(images):
        Image.fromarray(strokes(number)).save(root / f"{number}.png")
    (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def good(root: Path, images: int = 12) -> Path:
    rows = ["file\tamount", *(f"{n}.png\t{n}.50" for n in range(images))]
    return folder(root, rows, images=images)


# Tables


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.tsv", b"file\tamount\n0.png\t1.50\n1.png\t2.00\n"),
        ("labels.tsv", b"\xef\xbb\xbffile\tamount\r\n0.png\t1.50\r\n1.png\t2.00\r\n"),
        ("labels.tsv", b"file\tamount\r0.png\t1.50\r1.png\t2.00"),
        ("labels.tsv", b'"File"\t"Amount"\n"0.png"\t" 1.50 "\n 1.png \t"2.00"\t\n'),
        ("labels.csv", b"image,label\n0.png,1.50\n\n1.png,2.00\n"),
        ("labels.csv", b"FileName;Transcription\n0.png;1.50\n1.png;2.00;\n"),
        ("labels.csv", b'id,path,value\n1,"0.png","1.50"\n2, "1.png", "2.00"\n'),
        ("labels.csv", b"sep=;\r\nfile;amount\r\n0.png;1.50\r\n1.png;2.00\r\n"),
        ("Labels.CSV", b'"sep=,"\nfile,amount\n0.png,1.50\n1.png,2.00\n'),
        ("labels.txt", "file\tamount\n0.png\t1.50\n1.png\t2.00\n".encode("utf-16")),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert FolderDataset(tmp_path).items == [("0.png", "1.50"), ("1.png", "2.00")]


def test_labels_with_blanks_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text('file,text\na.png,"two words"\nb.png,"say ""yes"", 5"\n')
    found = FolderDataset(tmp_path, grammar="").items
    assert found == [("a.png", "two words"), ("b.png", 'say "yes", 5')]
    (tmp_path / "labels.csv").rename(tmp_path / "labels.tsv")
    (tmp_path / "labels.tsv").write_text('file\ttext\na.png\tsay "yes"\nb.png\t"say ""no"""\n')
    assert [t for _, t in FolderDataset(tmp_path, grammar="").items] == ['say "yes"', 'say "no"']


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file\tamount\na.png\t1\xff\n", ["labels.tsv, line 2", "UTF-8"]),
        (b"file\tamount\na.png\nb.png\t1.00\t2\n", ["line 2: 1 cells", "line 3: 3 cells"]),
        (b"file,amount\na.png,1,234.50\n", ["line 2: 3 cells", "double quotes"]),
        (b'file,amount\na.png,"1.50\nb.png,2.00\n', ["line 2", "unexpected end"]),
        (b"file\tamount\n\t1.00\na.png\t\n", ["line 2: no file name", "line 3: no label"]),
        (b"sep=;\nfile;amount\na.png;1.00\nb.png\n", ["line 4: 1 cells"]),
        (b"File\tamount\tfile\na.png\t1.00\tb.png\n", ["line 1: the column file is there twice"]),
        (b"", ["line 1: no column file"]),
        (b"picture of\tamount\na.png\t1.00\n", ["line 1: no column file", "filename"]),
    ],
)
def test_malformed_tables_name_file_and_line(
    tmp_path: Path, content: bytes, words: list[str]
) -> None:
    (tmp_path / "labels.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.tsv") as raised:
        FolderDataset(tmp_path)
    assert all(word in str(raised.value) for word in words)


def test_a_folder_without_a_table_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").mkdir()  # no file
    with pytest.raises(FileNotFoundError, match=r"no table of labels: labels.tsv.*gtnet label"):
        FolderDataset(tmp_path)


def test_copies_of_few_images_are_few(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", ["file\tamount", *["0.png\t1.50"] * 20])
    with pytest.raises(ValueError, match="holds 1 different items; at least 10 are needed"):
        splits(DataConfig("folder", str(root)), 0)


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    for name in ("labels.tsv", "labels.csv"):
        (tmp_path / name).write_text("file\tamount\n")
    with pytest.raises(ValueError, match=r"labels.tsv and labels.csv; keep one"):
        FolderDataset(tmp_path)


def test_collected_faults_keep_the_order_of_lines() -> None:
    faults = Faults()
    faults.add(3, "line 3: b")
    faults.add(2, "line 2: a")
    with pytest.raises(ValueError, match=r"2 faults:\n  line 2: a\n  line 3: b"):
        faults.raise_any()
    Faults().raise_any()


def test_a_table_collects_its_faults(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("file\tx\na\nb\t1\n")
    faults = Faults()
    rows = table(tmp_path / "a.tsv", "file x", faults)
    assert [row["file"] for row in rows] == ["b"] and len(faults) == 1


# Amounts


@pytest.mark.parametrize(
    ("label", "amount"),
    [
        ("1234.50", "1234.50"),
        ("1.234,56", "1234.56"),
        ("1,234.56", "1234.56"),
        ("$12.00", "12.00"),
        ("12.-", "12.00"),
        ("7-50/100", "7.50"),
        ("**3,00**", "3.00"),
    ],
)
def test_labels_are_taken_as_the_grammar_reads_them(label: str, amount: str) -> None:
    assert canonical(label, "amount") == amount
    CheckReader().acceptor(amount)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("1.234", "cents; write 1234.00"),
        ("12", "digit_string"),
        ("1 234.50", "' '"),
        ("€ 5.00", "'€'"),
        ("\u0663.50", "'\u0663'"),
        ("-5.00", "sign"),
        ("0012.50", "not in the grammar"),
        ("1,234.567", "not in the grammar"),
        ("12,5", "not in the grammar"),
    ],
)
def test_ambiguous_and_foreign_labels_are_refused(label: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("'", ".")):
        canonical(label, "amount")


def test_digit_strings_drop_what_is_not_labelled() -> None:
    assert canonical("13.254,00.-", "digit_string") == "1325400"
    with pytest.raises(ValueError, match="sign"):
        canonical("-5", "digit_string")


# The check


def test_all_faulty_rows_in_one_message(tmp_path: Path) -> None:
    rows = [f"{n}.png\t{n}.50" for n in range(12)]
    rows += ["12.png\t1.00", "0.png\t1.5o", "notes.png\t1.00", "3.png\t9.99", "Seven.png\t2.00"]
    root = folder(tmp_path / "own", ["file\tamount", *rows])
    (root / "notes.png").write_text("no image")
    Image.fromarray(strokes(40)).save(root / "seven.png")
    faults = Faults()
    data = FolderDataset(root, faults=faults)
    with pytest.raises(ValueError, match="faults") as raised:
        examine(data, CheckReader().acceptor, faults, quiet=True)
    told = str(raised.value).split("\n")
    assert told[0] == "5 faults:"
    for line, words in zip(
        told[1:],
        [
            ("line 14", "12.png", "no such file"),
            ("line 15", "0.png", "'o'"),
            ("line 16", "notes.png", "no readable image"),
            ("line 17", "3.png", "'9.99'", "'3.50'", "line 5"),
            ("line 18", "Seven.png", "did you mean seven.png"),
        ],
        strict=True,
    ):
        assert all(word in line for word in words), line


def test_one_image_under_two_names_and_labels_contradicts_itself(tmp_path: Path) -> None:
    root = good(tmp_path / "own")
    Image.fromarray(strokes(4)).save(root / "copy.bmp")  # the same pixels, other bytes
    with (root / "labels.tsv").open("a") as file:
        file.write("copy.bmp\t7.00\n")
    with pytest.raises(ValueError, match=r"copy.bmp is '7.00', and the same image is '4.50'"):
        examine(FolderDataset(root), quiet=True)


def test_what_is_there_twice_stays_in_one_split(tmp_path: Path) -> None:
    images = 40
    rows = [f"{n}.png\t{n}.50" for n in range(images)]
    rows += [f"again{n}.png\t{n}.50" for n in range(images)] + ["0.png\t0.50"]
    root = folder(tmp_path / "own", ["file\tamount", *rows], images=images)
    for n in range(images):
        Image.fromarray(strokes(n)).save(root / f"again{n}.png")
    found = splits(DataConfig("folder", str(root), alphabet="0123456789."), 0, "sliding")
    splitted = [found.train, found.valid, found.test]
    parts = [{part.text(i) for i in range(len(part))} for part in splitted]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert sum(map(len, parts)) == images and found.found is not None
    assert "there twice" in found.found.notes[0] and "36 more" in found.found.notes[0]


def test_blank_images_and_rewritten_labels_are_noted(tmp_path: Path) -> None:
    root = good(tmp_path / "own")
    for name in ("blank1.png", "blank2.png"):
        Image.new("L", (30, 20), 250).save(root / name)
    with (root / "labels.tsv").open("a") as file:
        file.write("blank1.png\t1.00\nblank2.png\t1.234,00\n")
    blank, rewritten = examine(FolderDataset(root), quiet=True).notes
    assert "blank1.png" in blank and "blank2.png" in blank
    assert "line 15: 1.234,00 as 1234.00" in rewritten


def test_the_fingerprint_is_of_images_and_labels(tmp_path: Path) -> None:
    root = good(tmp_path / "own")
    first = examine(FolderDataset(root), quiet=True).fingerprint
    assert examine(FolderDataset(root), quiet=True).fingerprint == first
    Image.fromarray(strokes(60)).save(root / "3.png")
    other = examine(FolderDataset(root), quiet=True).fingerprint
    assert other != first
    text = (root / "labels.tsv").read_text()
    (root / "labels.tsv").write_text(text.replace("3.50", "8.50"))
    assert examine(FolderDataset(root), quiet=True).fingerprint not in (first, other)


def test_check_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = good(tmp_path / "own")
    assert main(["check", "own"]) == 0
    assert "10 for training, 1 for validation, 1 for test" in capsys.readouterr().out
    assert main(["train", "--data", "folder", "--root", "own", "--check"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    (root / "labels.tsv").write_text(
        "file\tamount\n" + "".join(f"{n}.png\t{n}5\n" for n in range(12))
    )
    assert main(["check", "own"]) == 2
    error = capsys.readouterr().err
    assert error.count("labels.tsv, line") == 12 and "--grammar digit_string" in error
    assert main(["check", "own", "--grammar", "digit_string"]) == 0


def test_names_of_either_slash_and_pages(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", ["file\tamount"], images=0)
    (root / "images" / "a").mkdir(parents=True)
    Image.fromarray(strokes(1)).save(root / "images" / "a" / "1.png")
    pages = [Image.fromarray(strokes(n)) for n in (2, 3)]
    pages[0].save(root / "scan.tif", save_all=True, append_images=pages[1:])
    rows = "a\\1.png\t1.00\na/1.png\t1.00\nscan.tif#2\t3.00\n"
    (root / "labels.tsv").write_text("file\tamount\n" + rows)
    data = FolderDataset(root)
    assert all(np.array_equal(data[i][0], strokes(n)) for i, n in enumerate((1, 1, 3)))
    (root / "labels.tsv").write_text("file\tamount\nscan.tif\t3.00\nscan.tif#3\t3.00\n")
    with pytest.raises(ValueError, match=r"(?s)holds 2 pages; name one.*there is no page 3"):
        examine(FolderDataset(root), quiet=True)


def test_words_of_a_lexicon_may_have_blanks(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\xef\xbb\xbfnew york\r\nrome\r\n\r\n")
    config = DataConfig("folder", ".", lexicon=str(tmp_path / "words.txt"))
    recognizer = runs.recognizer_of(
        config, Run.start(data="folder", front_end="sliding", root=".").training.reader
    )
    assert recognizer is not None
    recognizer.acceptor("new york")
    with pytest.raises(ValueError, match="outside"):
        recognizer.acceptor("york")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "folder", "root": ".", "size": 5}, "--size is an option of --data digits"),
        ({"data": "digits", "grammar": "digit_string"}, "--grammar is an option of --data folder"),
        ({"data": "folder", "root": ".", "test_fold": 1}, "--test-fold"),
        ({"data": "folder", "root": ".", "corrected": True}, "--corrected"),
        ({"data": "digits", "root": "."}, "--root"),
        ({"data": "digits", "size": 0}, "--size must be at least 1, got 0"),
        ({"data": "car_a", "root": ".", "more_digits": ("a",)}, "--front-end sliding"),
        ({"data": "folder", "root": ".", "grammar": "amount", "alphabet": "ab"}, "give it, or"),
    ],
)
def test_options_that_would_change_nothing_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Run.start("out", **options)


def test_a_relative_root_works_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    run = Run.start(tmp_path / "out", data="folder", root="own")
    (tmp_path / "out").mkdir()
    checkpoint.save_json(tmp_path / "out" / runs.DATA, checkpoint.as_dict(run.data))
    checkpoint.save_json(tmp_path / "out" / "config.json", checkpoint.as_dict(run.training))
    monkeypatch.chdir("/")
    assert "10 for training" in Run.load(tmp_path / "out").check(quiet=True)
    assert json.loads((tmp_path / "out" / runs.DATA).read_text())["root"] == str(tmp_path / "own")


def test_load_still_gives_a_folder(tmp_path: Path) -> None:
    assert len(load("folder", good(tmp_path / "own"), size=3)) == 3
