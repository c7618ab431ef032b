"""Reading many files: what is printed, in which form, and what does not disturb the others."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gtnet
from gtnet.reader.checkpoint import load_reader, save_reader
from gtnet.reader.cli import main
from gtnet.reader.commands import common, read
from gtnet.reader.data import load
from gtnet.reader.images import read_image
from gtnet.reader.line import LineConfig
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.reading import Record, printable, records, told
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.segmental import SegmentalConfig
from gtnet.reader.sliding import SlidingConfig

SLIDING = SlidingConfig(LineConfig(height=16), channels=(4, 4, 6, 6, 8, 8), context=6, dropout=0.0)

SEGMENTAL = SegmentalConfig(SLIDING.line, (4, 4, 6, 6), widest=6, hidden=6, dropout=0.0)


def untrained(front_end: str = "segments") -> CheckReader:
    torch.manual_seed(0)
    network = NetworkConfig((2, 4, 4), hidden=8)
    return CheckReader(
        ReaderConfig(
            grammar="digit_string",
            front_end=front_end,
            network=network,
            sliding=SLIDING,
            segmental=SEGMENTAL,
        )
    ).eval()


@pytest.fixture(scope="module", params=["segments", "segmental", "sliding"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("model")
    save_reader(out, untrained(request.param))
    return str(out)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three images, a file that is none, and a blank one; a name has a line end in it."""
    root = tmp_path_factory.mktemp("images")
    data = load("digits", split="test", size=3)
    names = [str(root / name) for name in ("a.png", "b\nc.png", "d.png")]
    for number, name in enumerate(names):
        Image.fromarray(data[number][0]).save(name)
    (root / "notes.png").write_text("no image")
    Image.new("L", (40, 30), 250).save(root / "blank.png")
    return [names[0], str(root / "notes.png"), names[1], str(root / "blank.png"), names[2]]


def test_reading_in_batches_is_reading_one_by_one(model: str, images: list[str]) -> None:
    reader = load_reader(model)
    whole = list(records(reader, images))
    single = list(records(reader, images, batch_size=1))
    assert [r.file for r in whole] == images
    for one, other in zip(whole, single, strict=True):
        assert one.error == other.error
        if one.answer is not None and one.answer.amount is not None:
            assert one.answer.amount == other.answer.amount
            assert one.answer.confidence == pytest.approx(other.answer.confidence, abs=1e-4)
    verdicts = [record.verdict(0.0) for record in whole]
    assert verdicts == ["accepted", "unreadable", "accepted", "no reading", "accepted"]


def test_text_names_each_file_on_one_line(
    model: str, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", *images, "--model", model, "--best", "1"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4 and "b\\nc.png: " in captured.out
    assert "no reading: nothing drawn" in captured.out
    assert captured.err.count("\n") == 1 and "notes.png" in captured.err


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_machines_read_the_same(
    kind: str, model: str, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", model, "--best", "2", "--min-confidence", "1"]
    assert main(["read", *images, f"--{kind}", *options]) == 2
    out = capsys.readouterr().out
    if kind == "json":
        found = json.loads(out)
    elif kind == "jsonl":
        found = [json.loads(line) for line in out.splitlines()]
    else:
        found = list(csv.DictReader(io.StringIO(out, newline="")))
        assert found[0]["text2"] and float(found[0]["confidence2"]) <= float(found[0]["confidence"])
        assert found[3]["text"] == ""
    assert [row["file"] for row in found] == images
    assert [row["verdict"] for row in found] == [
        *("rejected", "unreadable", "rejected", "no reading", "rejected")
    ]
    assert all(0 <= float(row["confidence"]) <= 1 for row in found)
    assert "notes.png" in found[1]["reason"]
    if kind != "csv":
        assert found[3]["text"] is None and len(found[0]["alternatives"]) == 1


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_without_an_answer_the_form_is_whole(
    kind: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", str(tmp_path / "none.png"), f"--{kind}", "--model", model]) == 2
    out = capsys.readouterr().out
    rows = json.loads(out) if kind == "json" else list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 1 and rows[0]["verdict"] == "unreadable"


@pytest.mark.parametrize("count", [1, 4, 12])
def test_best_n_are_n(
    count: int, model: str, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", images[0], "--model", model, "--json", "--best", str(count)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    texts = [row["text"], *(other["text"] for other in row["alternatives"])]
    assert len(texts) == len(set(texts)) == count
    assert main(["read", images[0], "--model", model, "--best", str(count)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == count


def test_more_answers_do_not_change_the_first(images: list[str]) -> None:
    reader = untrained()
    image = read_image(images[0])
    (few,), (many,) = reader.read([image]), reader.read([image], best=20)
    assert few.amount == many.amount and few.confidence == pytest.approx(many.confidence)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--best", "0"], "--best must be at least 1"),
        (["--min-confidence", "1.5"], r"--min-confidence must be in [0, 1]"),
        (["--min-confidence", "nan"], "--min-confidence"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--draw", "graph.jpeg"], "graph.jpeg should end in .html"),
        (["--draw", "/nowhere/graph.svg"], "no folder /nowhere"),
    ],
)
def test_options_are_checked_before_work(
    options: list[str],
    words: str,
    images: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(common, "load_reader", None)  # would fail if it were called
    assert main(["read", images[0], *options]) == 2
    assert words in capsys.readouterr().err


def test_the_model_of_either_demo_is_found(
    model: str,
    images: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["read", images[0]]) == 2
    assert "gtnet train --demo" in capsys.readouterr().err
    save_reader("demo", load_reader(model))
    assert main(["read", images[0]]) == 0


def test_messages_are_without_functions(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", str(tmp_path / "none.png"), "--model", model]) == 2
    assert capsys.readouterr().err.startswith("gtnet read: cannot read an image from")
    assert main(["read", "x.png", "--model", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("gtnet read: no trained reader at")


def test_every_page_is_read(
    model: str, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [Image.open(name) for name in (images[0], images[2], images[4])]
    scan = str(tmp_path / "scan.tif")
    pages[0].save(scan, save_all=True, append_images=pages[1:])
    picture = tmp_path / "graph.dot"
    assert main(["read", scan, "--model", model, "--jsonl", "--draw", str(picture)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [f"{scan}#{n}" for n in (1, 2, 3)]
    assert all((tmp_path / f"graph-{n}.dot").is_file() for n in (1, 2, 3))


def test_a_blank_image_does_not_stop_drawing(
    model: str, images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "graph.dot"
    files = [images[3], images[0]]
    assert main(["read", *files, "--model", model, "--draw", str(picture)]) == 0
    assert "nothing drawn" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("*.dot")] == ["graph-2.dot"]


def test_a_closed_pipe_is_quiet(segments: str, images: list[str]) -> None:
    command = [sys.executable, "-m", "gtnet.reader.cli", "read", *[images[0]] * 3]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*command, "--model", segments, "--threads", "1"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_printable_names() -> None:
    assert printable("a\n\tb\x1b\udc80é.png") == "a\\n\\tb\\x1b\\udc80é.png"
    assert told(Record("x", None, error="e"), 1, 0.0) == []


@pytest.mark.parametrize("front_end", ["segments", "sliding"])
def test_unexplained_ink_lowers_confidence(front_end: str, images: list[str]) -> None:
    class Unclear:
        """An observation of which half is explained."""

        def __init__(self, seen: object) -> None:
            self.__dict__ |= vars(seen) | {"seen": seen, "clear": 0.5}

        def __len__(self) -> int:
            return len(self.seen)

        def graph(self) -> gtnet.Graph:
            return self.seen.graph()

    reader = untrained(front_end)
    (seen,) = reader.observe([np.asarray(Image.open(images[0]))])
    (clear,), (unclear,) = (reader.read_observations([one]) for one in (seen, Unclear(seen)))
    assert unclear.amount == clear.amount
    assert unclear.confidence == pytest.approx(0.5 * clear.confidence)
    assert unclear.alternatives[0][1] == pytest.approx(0.5 * clear.alternatives[0][1])


# What is on standard error, and the target of the Makefile


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("looked_at", "count", "shown"),
    [
        (("stderr",), 101, True),
        (("stderr",), 3, False),  # soon over
        (("stderr", "stdout"), 101, False),  # the answers show how far it is
        ((), 101, False),
    ],
)
def test_a_bar_is_on_standard_error_where_somebody_looks(
    looked_at: tuple[str, ...], count: int, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = {
        name: Terminal() if name in looked_at else io.StringIO() for name in ("stdout", "stderr")
    }
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    names = [f"{n}.png" for n in range(count)]
    assert list(read.shown(names)) == names
    assert streams["stdout"].getvalue() == ""
    bar = streams["stderr"].getvalue()
    assert ("reading" in bar and f"/{count}" in bar) if shown else bar == ""


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of one kind: what is tested by programs of their own is the same for others."""
    folder = tmp_path_factory.mktemp("segments")
    save_reader(folder, untrained())
    return str(folder)


def test_output_into_a_pipe_is_answers_only(segments: str, images: list[str]) -> None:
    command = [sys.executable, "-m", "gtnet.reader.cli", "read", *[images[0]] * 102, "--jsonl"]
    done = subprocess.run(
        [*command, "--model", segments, "--threads", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 102 and {row["file"] for row in rows} == {images[0]}
    assert done.stderr == ""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_make_read_takes_an_image(segments: str, images: list[str], tmp_path: Path) -> None:
    """`make read IMAGE=...` in a checkout, whose program is that of the tests."""
    root = Path(__file__).parents[1]
    shutil.copy(root / "Makefile", tmp_path)
    program = tmp_path / ".venv" / "bin" / "gtnet"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gtnet.reader.cli "$@"\n')
    program.chmod(0o755)
    shutil.copytree(segments, tmp_path / "demo")
    scan = tmp_path / "a scan.png"
    shutil.copy(images[0], scan)
    # What the target needs is there: nothing is built.
    command = ["make", "-o", ".venv/has-reader", "read", f"IMAGE='{scan}'"]
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{scan}: " in done.stdout and "confidence" in done.stdout
