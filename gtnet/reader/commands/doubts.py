"""gtnet doubts."""

from __future__ import annotations

import argparse
from pathlib import Path

from gtnet.reader.checkpoint import load_reader
from gtnet.reader.commands.common import check_output, set_threads
from gtnet.reader.doubts import Doubt, doubts, least_likely
from gtnet.reader.labelling import corrections_page
from gtnet.reader.reading import printable
from gtnet.reader.runs import Run


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
