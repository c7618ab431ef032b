"""Pages to label on, labels in doubt, and corrections that come back from there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_reader_own_data import good, strokes
from test_reader_reading import untrained

from gtnet.reader import checkpoint, runs
from gtnet.reader.answers import Answer
from gtnet.reader.check import examine
from gtnet.reader.cli import main
from gtnet.reader.data import FolderDataset
from gtnet.reader.doubts import Doubt, doubts, least_likely
from gtnet.reader.labelling import Card, corrections_page, label_folder, write_page
from gtnet.reader.runs import DataConfig, Run
from gtnet.reader.train import TrainConfig


class Written:
    """Images with names, labels and nothing else."""

    def __init__(self, items: list[tuple[np.ndarray, str]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        return self.items[index]

    def text(self, index: int) -> str:
        return self.items[index][1]

    def name(self, index: int) -> str:
        return f"{index}.png"

    def place(self, index: int) -> str:
        return f"labels.tsv, line {index + 2}"


@pytest.mark.parametrize("front_end", ["segments", "segmental", "sliding"])
def test_the_least_likely_labels_come_first(front_end: str) -> None:
    reader = untrained(front_end)
    images = [strokes(n) for n in (21, 42, 63)]
    read = [answer.amount for answer in reader.read(images)]
    assert None not in read
    wrong = [str(text) for text in read]
    wrong[1] = "9" if wrong[1] != "9" else "8"
    items = [*zip(images, wrong, strict=True), (np.full((20, 40), 250, np.uint8), "1")]
    found = doubts(reader, Written(items), quiet=True)
    assert found[0].file == "3.png" and "nothing at all" in found[0].card.remark
    expected = reader.log_shares(reader.observe([images[1]]), [[wrong[1]]])[0][0]
    (own,) = [doubt for doubt in found if doubt.file == "1.png"]
    assert own.log_share == pytest.approx(expected, rel=1e-4) and own.text == wrong[1]
    assert [d.log_share for d in found] == sorted(d.log_share for d in found)
    assert len(doubts(reader, Written(items), 2, quiet=True)) == 2


def test_equal_doubts_keep_their_order() -> None:
    made = [
        Doubt(str(n), "1", Answer(None), share, strokes(1)) for n, share in enumerate([0, -1, 0])
    ]
    assert [doubt.file for doubt in least_likely(made, 3)] == ["1", "0", "2"]


def test_a_page_holds_everything_and_escapes_it(tmp_path: Path) -> None:
    names = ['a"<b>.png', "</script>.png"]
    cards = [Card(name, strokes(1), '1 "x" <2>', "<p>remark</p>") for name in names]
    write_page(tmp_path / "p.html", cards, title="<t>", lead="", saves="a.tsv", every=True)
    page = (tmp_path / "p.html").read_text("utf-8")
    assert page.count("<img src=") == 2 and page.count("data:image/png;base64,") == 2
    assert page.count("</script>") == 1 and "&lt;t&gt;" in page
    assert 'value="1 &quot;x&quot; &lt;2&gt;"' in page
    assert not re.search(r"https?://", page)


def test_labelling_fills_in_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = good(tmp_path / "own", images=3)
    (root / "images").mkdir()
    pages = [Image.fromarray(strokes(n)) for n in (30, 31)]
    pages[0].save(root / "images" / "scan.tif", save_all=True, append_images=pages[1:])
    (root / "bad.png").write_text("no image")
    assert main(["label", str(root)]) == 2
    captured = capsys.readouterr()
    assert "5 images" in captured.out and "bad.png" in captured.err
    page = (root / "label.html").read_text("utf-8")
    assert 'value="1.50"' in page and "scan.tif#2" in page
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image to label"):
        label_folder(tmp_path / "empty", tmp_path / "x.html")


def test_what_the_page_saves_corrects_the_labels(tmp_path: Path) -> None:
    root = good(tmp_path / "own")
    before = examine(FolderDataset(root), quiet=True).fingerprint
    (root / "corrections.tsv").write_text("file\tamount\n3.png\t7.25\n")
    data = FolderDataset(root)
    assert data.items[3] == ("3.png", "7.25") and data.items[4] == ("4.png", "4.50")
    assert data.place(3).endswith("corrections.tsv, line 2")
    assert examine(data, quiet=True).fingerprint != before
    (root / "corrections.tsv").write_text("file\tamount\nnone.png\t7.25\n3.png\tx\n")
    with pytest.raises(ValueError, match=r"(?s)none.png is not in labels.tsv.*'x'"):
        FolderDataset(root)


def test_earlier_corrections_are_kept_by_the_page(tmp_path: Path) -> None:
    root = good(tmp_path / "own")
    (root / "corrections.tsv").write_text("file\tamount\n3.png\t7.25\n")
    corrections_page(tmp_path / "p.html", [Card("4.png", strokes(4), "4.50")], "folder", str(root))
    assert '"earlier": {"3.png": ["3.png", "7.25"]}' in (tmp_path / "p.html").read_text("utf-8")
    corrections_page(tmp_path / "q.html", [Card("a", strokes(4), "4")], "car_a", None)
    assert '"columns": ["file", "label", "drawn"]' in (tmp_path / "q.html").read_text("utf-8")


def test_doubts_of_a_training_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = good(tmp_path / "own")
    rows = "".join(f"{n}.png\t{n}{n}\n" for n in range(12))
    (root / "labels.tsv").write_text("file\tamount\n" + rows)
    out = tmp_path / "mine"
    torch.manual_seed(0)
    reader = untrained()
    checkpoint.save_reader(out, reader)
    training = TrainConfig(reader=reader.config)
    checkpoint.save_json(out / checkpoint.CONFIG, checkpoint.as_dict(training))
    data = DataConfig("folder", str(root), grammar="digit_string")
    checkpoint.save_json(out / runs.DATA, checkpoint.as_dict(data))
    assert main(["doubts", str(out), "--count", "5"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("labelled") == 5 and "doubts.html" in printed
    assert (out / "doubts.html").read_text("utf-8").count("<li>") == 5
    assert main(["doubts", str(out), "--part", "test", "--out", str(tmp_path / "t.html")]) == 0
    assert (tmp_path / "t.html").read_text("utf-8").count("<li>") == 1
    assert main(["doubts", str(out), "--count", "0"]) == 2
    with pytest.raises(ValueError, match="made up"):
        Run(out, DataConfig(), training).parts()
