"""gtnet label."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command

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
    parser = new_command(commands, "label", _ABOUT, _MORE)
    parser.add_argument("root", metavar="DIR", help="folder with images")
    parser.add_argument("--out", metavar="FILE", help="page to write (default: DIR/label.html)")
