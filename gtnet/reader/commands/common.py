"""What commands share: their model, their files, the words of their errors."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from gtnet.reader.checkpoint import load_reader
from gtnet.reader.recognizer import Recognizer
from gtnet_command.names import MODELS

PICTURES = (".svg", ".png", ".pdf", ".dot", ".gv")
"""Ends of names of pictures of one graph."""


def set_threads(options: argparse.Namespace) -> None:
    """Compute with as many CPU threads as were asked for."""
    if options.threads is not None:
        if options.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {options.threads}")
        torch.set_num_threads(options.threads)


def model_of(options: argparse.Namespace) -> Recognizer:
    """The reader that was asked for, or the one of the demo."""
    return load_reader(model_path(options))


def model_path(options: argparse.Namespace) -> Path:
    """Where the reader is that was asked for, or the one of the demo."""
    if options.model is not None:
        return Path(options.model)
    found = [name for name in MODELS if Path(name).is_dir()]
    if not found:
        raise ValueError(
            f"no trained reader at {' or '.join(MODELS)}: make one with {program()} train --demo,"
            " or name another with --model"
        )
    return Path(found[0])


def check_output(path: Path, kinds: Sequence[str]) -> None:
    """Raises ValueError for a picture that could not be written, before any work."""
    if path.suffix.lower() not in kinds:
        raise ValueError(f"{path} should end in {', '.join(kinds)}")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} to")


def program() -> str:
    """The command by which this program was started, for messages that name a next one."""
    called = Path(sys.argv[0])
    if called.name != "gtnet":
        return "gtnet"
    found = shutil.which("gtnet")
    same = found is not None and Path(found).resolve() == called.resolve()
    return "gtnet" if same else shlex.quote(sys.argv[0])


def plain(error: BaseException) -> str:
    """The message of an error, without the function of the library that raised it."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    head, colon, rest = str(error).partition(": ")
    internal = {
        name
        for module in list(sys.modules)
        if module.startswith("gtnet")
        for name in vars(sys.modules[module])
    }
    return rest if colon and (head in internal or head == "resume") else str(error)
