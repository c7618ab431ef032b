"""gtnet draw."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command
from gtnet_command.names import MODELS

_ABOUT = """\
Draw a graph: one that a reader makes of an image, or one in a text file."""

_MORE = """\
examples:
  gtnet draw check.png --model runs/digits --out check.svg
  gtnet draw check.png --model runs/digits --graph segmentation --out cuts.svg
  gtnet draw lexicon.fst.txt --out lexicon.svg

graphs of an image:
  segmentation    circles are cuts, arrows are pieces of the image that might be one character
  recognition     the same, with what each piece might be
  interpretation  what the grammar of amounts allows; the best path is blue (the default)

A text file holds one arc a line, "source target ilabel [olabel [cost]]", and one final state a
line, "state [cost]", as OpenFst prints them: label 0 reads nothing, scores are minus costs, the
first state named is the start. --out ends in .svg, .png, .pdf or .dot; all but .dot need
Graphviz."""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "draw", _ABOUT, _MORE)
    add = parser.add_argument
    add("file", metavar="FILE", help="an image of an amount, or a graph in text form")
    add(
        "--graph",
        choices=("segmentation", "recognition", "interpretation"),
        default="interpretation",
        help="which graph of an image (default: interpretation)",
    )
    add("--model", metavar="DIR", help=f"a training folder (default: {' or '.join(MODELS)})")
    add("--out", metavar="FILE", help="picture to write (default: FILE with .svg)")
