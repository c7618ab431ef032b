"""The command `gtnet`: what it does is in `commands`, its options and help in `gtnet_command`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial

from gtnet import GraphvizMissingError
from gtnet.reader.commands import check, doubts, draw, explore, label, read, serve, train
from gtnet.reader.commands.common import plain
from gtnet_command import parser

_RUN = {
    "check": check.run,
    "doubts": doubts.run,
    "draw": draw.run,
    "explore": explore.run,
    "label": label.run,
    "read": read.run,
    "serve": serve.run,
    "train": train.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is written there, by default in the arguments of the process."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run one command; returns 0, 2 after an error message, 130 if interrupted.

    141, as for other programs, if what standard output goes to was closed, by `head` for example.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_warn, options.command)
            code = _RUN[options.command](options)
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


if __name__ == "__main__":
    sys.exit(main())
