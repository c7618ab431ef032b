"""gtnet check."""

from __future__ import annotations

import argparse

from gtnet.reader.runs import Run


def run(options: argparse.Namespace) -> int:
    """Look at the data of a folder; returns the exit code."""
    names = ("grammar", "alphabet", "lexicon", "front_end")
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    print(Run.start(data="folder", root=options.root, **given).check())
    return 0
