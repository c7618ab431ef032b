"""gtnet doubts."""

from __future__ import annotations

import argparse
from pathlib import Path

from gtnet.reader.checkpoint import load_reader
from gtnet.reader.commands.common import check_output, new_command, set_threads
from gtnet.reader.doubts import Doubt, doubts, least_likely
from gtnet.reader.labelling import corrections_page
from gtnet.reader.reading import printable
from gtnet.reader.runs import Run

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
    parser = new_command(commands, "doubts", _ABOUT, _MORE, run)
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


def run(options: argparse.Namespace) -> int:
    """Write the page of labels in doubt; returns the exit code."""
    set_threads(options)
    if options.count < 1:
        raise ValueError(f"--count must be at least 1, got {options.count}")
    path = Path(options.out or Path(options.models[0]) / "doubts.html")
    check_output(path, (".html",))
    found: list[Doubt] = []
    for name in options.models:
        reader, run = load_reader(name), Run.load(name)
        for part in run.parts(options.part):
            found = least_likely([*found, *doubts(reader, part, options.count)], options.count)
    corrections_page(path, [doubt.card for doubt in found], run.data.name, run.data.root)
    for doubt in found[:10]:
        answer = "nothing" if doubt.answer.amount is None else doubt.answer.amount
        print(f"{printable(doubt.file)}: labelled {doubt.text}, read as {answer}")
    print(f"{len(found)} labels are in {path}: open it in a browser to correct them")
    return 0
