"""The command `gtnet`: its parts are in `commands`, one file each."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial

import gtnet
from gtnet import GraphvizMissingError
from gtnet.reader.commands import check, doubts, draw, explore, label, read, serve, train
from gtnet.reader.commands.common import plain

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
    """Run one command; returns 0, 2 after an error message, 130 if interrupted.

    141, as for other programs, if what standard output goes to was closed, by `head` for example.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_warn, options.command)
            code = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, GraphvizMissingError) as error:
        print(f"gtnet {options.command}: {plain(error)}", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"gtnet {options.command}: there is not enough memory", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"gtnet {options.command}: interrupted{_after(interrupt)}", file=sys.stderr)
        return 130


def _warn(command: str, message: Warning | str, *where: object, **more: object) -> None:
    """A warning as one line of the command, without the place in the library that it is from."""
    told = plain(message) if isinstance(message, Warning) else message
    print(f"gtnet {command}: {told}", file=sys.stderr)


def _after(interrupt: KeyboardInterrupt) -> str:
    return f"; {interrupt}" if str(interrupt) else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "gtnet", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"gtnet {gtnet.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, check, label, doubts, read, draw, explore, serve):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
