"""The commands of the guide's page on one's own forms, as they stand there."""

from __future__ import annotations

import glob
import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gtnet.reader import runs
from gtnet.reader.cli import main
from gtnet.reader.data import load
from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.train import PhaseConfig, TrainConfig

GUIDE = Path(__file__).parent.parent / "notebooks" / "guide" / "your-own-forms.md"
TINY = TrainConfig(
    isolated=PhaseConfig(epochs=1, rate=5e-3, batch_size=64),
    whole=PhaseConfig(epochs=1, rate=3e-3, batch_size=8),
    characters=200,
    reader=ReaderConfig(network=NetworkConfig(channels=(4, 4, 4), hidden=16)),
)


def commands() -> list[str]:
    """The commands of the page, in their order."""
    blocks = re.findall(r"^```\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def expanded(command: str) -> list[str]:
    """What a shell makes of a command, without its program."""
    program, *words = shlex.split(command)
    assert program == "gtnet"
    return [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not here")
def test_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(runs.USUAL, "folder", TINY)
    forms, data = tmp_path / "my-forms", load("digits", split="test", size=12)
    forms.mkdir()
    rows = ["file\tamount"]
    for number in range(len(data)):
        image, amount = data[number]
        Image.fromarray(image).save(forms / f"{number + 1}.png")
        rows.append(f"{number + 1}.png\t{amount}")
    graphviz = shutil.which("dot") or importlib.util.find_spec("pygraphviz")
    done = []
    for command in commands():
        words = expanded(command)
        if words[0] == "draw" and not graphviz:
            continue
        assert main(words) == 0, command
        if words[0] == "label":  # what somebody types on the page
            (forms / "labels.tsv").write_text("\n".join(rows) + "\n")
        done.append(words[0])
    assert done[:5] == ["label", "check", "train", "doubts", "read"]
    out = capsys.readouterr().out
    assert len(re.findall(r"^my-forms/\d+\.png,", out, re.MULTILINE)) == 12
    for made in ("my-forms/label.html", "runs/forms/report.html", "runs/forms/doubts.html"):
        assert (tmp_path / made).is_file(), made
