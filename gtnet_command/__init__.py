"""The words of the command `gtnet`: its options and help, one file a command.

They stand beside gtnet and import nothing of it, since that imports torch, which takes seconds:
help and mistyped options are answered at once. What a command does is in `gtnet.reader.commands`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from gtnet_command import check, doubts, draw, explore, label, read, serve, train

_ABOUT = """\
Read amounts on checks with a graph transformer network: train a reader, read images, and look
at the graphs.

  gtnet train --demo                     train a reader and write a report, in four minutes
  gtnet read runs/demo/samples/*.png     read images with it
  gtnet draw runs/demo/samples/1.png --out amount.svg
  gtnet explore                          draw amounts, and see the reader and its graphs at work
  gtnet serve                            answer programs that send images

With images of your own:

  gtnet label my_amounts                 a page in the browser to type their labels on
  gtnet check my_amounts                 look for mistakes in images and labels
  gtnet train --data folder --root my_amounts --out runs/mine
  gtnet doubts runs/mine                 a page of labels that the reader doubts

Each command has a --help of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns what `gtnet.reader.cli.run` does."""
    options = parser().parse_args(arguments)
    from gtnet.reader.cli import run

    return run(options)


def parser() -> argparse.ArgumentParser:
    """The options of all commands."""
    parser = argparse.ArgumentParser(
        "gtnet", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, check, label, doubts, read, draw, explore, serve):
        command.add(commands)
    return parser


class _Version(argparse.Action):
    """Only gtnet knows its version."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        import gtnet

        print(f"gtnet {gtnet.__version__}")
        parser.exit()
