from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtnet.reader import runs
from gtnet.reader.cli import main
from gtnet.reader.data import FolderDataset, load
from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.train import PhaseConfig, TrainConfig

TINY = TrainConfig(
    isolated=PhaseConfig(epochs=1, rate=5e-3, batch_size=64),
    whole=PhaseConfig(epochs=1, rate=3e-3, batch_size=8),
    characters=300,
    reader=ReaderConfig(network=NetworkConfig(channels=(4, 8, 8), hidden=24)),
)
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is missing")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `gtnet train` made, in a second."""
    out = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runs.USUAL, "digits", TINY)
        patch.setattr(runs, "DEMO", replace(runs.DEMO, size=16, test_size=8))
        assert main(["train", "--demo", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("images") / "amount.png"
    Image.fromarray(load("digits", split="test", size=1)[0][0]).save(path)
    return str(path)


@pytest.mark.parametrize("arguments", [[], ["train"], ["check"], ["read"], ["draw"], ["serve"]])
def test_help_teaches(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert f"gtnet {arguments[0] if arguments else 'train'}" in shown
    if arguments:
        assert "examples:" in shown


def test_training_leaves_its_files(trained: Path) -> None:
    for name in ("model.safetensors", "isolated.safetensors", "config.json", "data.json"):
        assert (trained / name).is_file()
    results = json.loads((trained / "results.json").read_text())
    assert results["amounts"] == 8
    for name in ("isolated characters", "global training"):
        assert 0 <= results[name]["accuracy"] <= 1 and 0 <= results[name]["read"] <= 1
    assert "<html" in (trained / "report.html").read_text()
    assert "How it learnt to read" in (trained / "report.html").read_text()
    assert (trained / "learning.gif").read_bytes().startswith(b"GIF89a")
    samples = trained / "samples"
    assert main(["check", str(samples)]) == 2  # eight are too few to train on, and all in order
    data = FolderDataset(samples)
    assert len(data) == 8 and data[0][0].ndim == 2


def test_a_finished_run_is_not_replaced_unasked(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "model.safetensors").read_bytes()
    assert main(["train", "--demo", "--out", str(trained)]) == 2
    assert "--overwrite" in one_sentence(capsys)
    assert (trained / "model.safetensors").read_bytes() == before


def test_resume_of_a_finished_run_judges_again(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", "--out", str(trained)]) == 0
    assert "amounts read exactly" in capsys.readouterr().out


def test_read_prints_answers(
    trained: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", picture, "--model", str(trained), "--best", "2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"{picture}: ") and "(confidence " in shown[0]
    assert len(shown) <= 2
    assert main(["read", picture, "--model", str(trained), "--min-confidence", "1"]) == 0
    assert "rejected" in capsys.readouterr().out


def test_read_says_when_nothing_is_drawn(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((40, 60), 250, np.uint8)).save(blank)
    assert main(["read", str(blank), "--model", str(trained)]) == 0
    assert "no reading: nothing drawn" in capsys.readouterr().out


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert error.startswith("gtnet ") and "\n" not in error and "Traceback" not in error
    return error


def test_unreadable_images_are_named_and_the_others_read(
    trained: Path, picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    for bad in (str(text), str(tmp_path), str(tmp_path / "missing.png")):
        assert main(["read", bad, picture, "--model", str(trained)]) == 2
        captured = capsys.readouterr()
        assert bad in captured.err and "Traceback" not in captured.err
        assert picture in captured.out


def test_a_missing_model_is_one_sentence(
    picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", picture, "--model", str(tmp_path / "none")]) == 2
    assert "gtnet train" in one_sentence(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "car_a"], "root"),
        (["--data", "car_a", "--root", "/nowhere"], "/nowhere"),
        (["--data", "folder", "--root", "/nowhere"], "/nowhere"),
        (["--demo", "--data", "car_a"], "digits"),
        (["--epochs", "0"], "at least 1"),
        (["--resume", "--epochs", "3"], "--resume"),
        (["--resume", "--out", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_training_arguments_are_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    assert words in one_sentence(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("graph", ["segmentation", "recognition", "interpretation"])
def test_draw_writes_each_graph(graph: str, trained: Path, picture: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.dot"
    options = ["--model", str(trained), "--graph", graph, "--out", str(path)]
    assert main(["draw", picture, *options]) == 0
    assert path.read_text().startswith("digraph")


@needs_graphviz
def test_read_draws_a_page(trained: Path, picture: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["read", picture, "--model", str(trained), "--draw", str(page)]) == 0
    assert page.read_text().count("class=gtnet-view-here") == 2


def test_draw_reads_graphs_in_text_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, picture = tmp_path / "graph.txt", tmp_path / "graph.dot"
    text.write_text("0 1 5 6 0.5\n1 1 0 7\n1 0.25\n")
    assert main(["draw", str(text), "--out", str(picture)]) == 0
    assert "5:6" in picture.read_text()
    capsys.readouterr()
    text.write_text("0 1 five\n")
    assert main(["draw", str(text), "--out", str(picture)]) == 2
    assert "line 1" in one_sentence(capsys)
