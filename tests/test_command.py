"""The words of the command `gtnet` stand apart from its work: help is there before torch is."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gtnet
import gtnet_command
from gtnet import losses
from gtnet.reader import amounts, cli, pretrain, reader, reading, step
from gtnet.reader.bulk import job
from gtnet_command import names

COMMANDS = ("check", "doubts", "draw", "explore", "label", "read", "serve", "train")

# Ends before torch is imported: with help, or with the mistake in what was typed.
WORDS = """
import sys, gtnet_command
for arguments in map(str.split, sys.argv[1:]):
    try:
        gtnet_command.main(arguments)
    except SystemExit as left:
        print(left.code)
print(sorted({"torch", "numpy", "gtnet"} & {*sys.modules}))
"""


def test_words_need_no_torch() -> None:
    asked = ["--help", *(f"{name} --help" for name in COMMANDS), "train --sise 3"]
    told = subprocess.run([sys.executable, "-c", WORDS, *asked], capture_output=True, text=True)
    *text, modules = told.stdout.splitlines()
    assert modules == "[]"
    assert sum("usage: gtnet" in line for line in text) == 1 + len(COMMANDS)
    assert [line for line in text if line.isdigit()] == ["0"] * (1 + len(COMMANDS)) + ["2"]
    assert "unrecognized arguments: --sise 3" in told.stderr


def test_every_command_is_described_and_done() -> None:
    assert sorted(cli._RUN) == list(COMMANDS)
    (commands,) = (a for a in gtnet_command.parser()._actions if a.dest == "command")
    assert sorted(commands.choices or ()) == list(COMMANDS)


def test_the_version_is_that_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gtnet_command.main(["--version"])
    assert capsys.readouterr().out.strip() == f"gtnet {gtnet.__version__}"


@pytest.mark.parametrize(
    ("named", "defined"),
    [
        (names.GRAMMARS, sorted(amounts.GRAMMARS)),
        (names.FRONT_ENDS, sorted(reader.PRESETS)),
        (names.LOSSES, sorted(losses.LOSSES)),
        (names.METHODS, pretrain.METHODS),
        (names.PRECISIONS, step.PRECISIONS),
        (names.FORMATS, reading.FORMATS),
        (names.ENGINES, job.ENGINES),
    ],
)
def test_options_name_what_there_is(named: tuple[str, ...], defined: object) -> None:
    assert list(named) == list(defined)
