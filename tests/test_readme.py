"""The README's programs run as they stand, and its commands exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import gtnet
import gtnet.reader
from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.train import PhaseConfig, TrainConfig
from gtnet_command import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, text in BLOCKS
    if not language
    for line in text.splitlines()
]
TINY = TrainConfig(
    isolated=PhaseConfig(epochs=1, rate=5e-3, batch_size=64),
    whole=PhaseConfig(epochs=1, rate=3e-3, batch_size=8),
    reader=ReaderConfig(network=NetworkConfig(channels=(4, 8, 8), hidden=24)),
)
can_render = pytest.mark.skipif(
    not (shutil.which("dot") and importlib.util.find_spec("graphviz"))
    and not importlib.util.find_spec("pygraphviz"),
    reason="needs Graphviz: pip install pygraphviz",
)


def run(program: str) -> dict[str, object]:
    """Runs a program with a seed; what it defines."""
    names: dict[str, object] = {}
    torch.manual_seed(0)
    exec(compile(program, "README.md", "exec"), names)
    return names


def test_there_are_three_starts_of_at_most_fifteen_lines():
    assert len(PROGRAMS) == 3
    assert all(len([line for line in p.splitlines() if line]) <= 15 for p in PROGRAMS)


def test_the_recognizer_learns_to_read(capsys):
    run(PROGRAMS[0])
    assert capsys.readouterr().out == "['cat', 'cut', 'cap']\n"


@can_render
def test_the_picture_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readings = run(PROGRAMS[1])["readings"]
    assert isinstance(readings, gtnet.Graph)
    assert sorted(gtnet.label_sequences(gtnet.enumerate_paths(readings)[0])) == [[0], [1], [2]]
    picture = (tmp_path / "readings.svg").read_text()
    assert picture.startswith("<svg") and all(word in picture for word in ("cat", "cut", "cap"))


def test_the_reader_trains_on_data_of_ones_own(tmp_path, monkeypatch):
    load = gtnet.reader.load
    monkeypatch.setattr(gtnet.reader, "load", lambda name, size=8: Few(load(name, size=8)))
    monkeypatch.setattr(gtnet.reader, "TrainConfig", lambda: TINY)
    monkeypatch.chdir(tmp_path)
    reader = run(PROGRAMS[2])["reader"]
    assert isinstance(reader, gtnet.reader.CheckReader) and not reader.training
    assert (tmp_path / "runs" / "checks" / "model.safetensors").is_file()
    assert gtnet.reader.load_reader(tmp_path / "runs" / "checks").config == reader.config


class Few:
    """A data set with few isolated characters, for speed."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index]

    def characters(self):
        return self.data.characters(200)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("gtnet ")])
def test_commands_are_understood(command):
    assert parser().parse_args(shlex.split(command)[1:]).command
