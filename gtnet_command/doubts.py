"""gtnet doubts."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command

_ABOUT = """\
Find labels that may be wrong: the items whose labels a trained reader finds least likely, as a
page of pictures on which they can be corrected."""

_MORE = """\
examples:
  gtnet doubts runs/mine                                 (writes runs/mine/doubts.html)
  gtnet doubts runs/fold* --part test --out doubts.html  (each fold by the reader that left it out)

The page saves corrections.tsv; put it beside labels.tsv, and train again. A reader that has learnt
a wrong label by heart no longer doubts it: the parts that it did not learn from show more."""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "doubts", _ABOUT, _MORE)
    add = parser.add_argument
    add("models", nargs="+", metavar="DIR", help="training folder, with its data as they were")
    add(
        "--part",
        choices=("all", "train", "valid", "test"),
        default="all",
        help="part of the data (default: all)",
    )
    add("--count", type=int, default=40, metavar="N", help="labels to show (default: 40)")
    add("--out", metavar="FILE", help="page to write (default: doubts.html in the first DIR)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
