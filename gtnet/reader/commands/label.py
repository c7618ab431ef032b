"""gtnet label."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gtnet.reader.commands.common import check_output, new_command, plain
from gtnet.reader.folder import LABELS
from gtnet.reader.labelling import label_folder

_ABOUT = """\
Write a page to label images on: open it in a browser, type what each image says, and save the
table of labels into the folder."""

_MORE = """\
examples:
  gtnet label my_amounts                 (writes my_amounts/label.html)

The page needs no network and no server, and keeps in the browser what you typed. Labels that the
folder has already are filled in. Pages of TIFF and PDF files are labelled one by one."""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "label", _ABOUT, _MORE, run)
    parser.add_argument("root", metavar="DIR", help="folder with images")
    parser.add_argument("--out", metavar="FILE", help="page to write (default: DIR/label.html)")


def run(options: argparse.Namespace) -> int:
    """Write the page to label on; returns the exit code."""
    root = Path(options.root)
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    path = Path(options.out or root / "label.html")
    check_output(path, (".html",))
    count, errors = label_folder(root, path)
    for error in errors:
        print(f"gtnet label: {plain(ValueError(error))}", file=sys.stderr)
    print(
        f"{count} images to label in {path}: open it in a browser, then save {LABELS[0]} in {root}"
    )
    return 2 if errors else 0
