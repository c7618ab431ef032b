"""gtnet check."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command
from gtnet_command.names import FRONT_ENDS, GRAMMARS

_ABOUT = """\
Look at images and labels of your own before training: every image is opened, every label tried
against the grammar."""

_MORE = """\
examples:
  gtnet check my_amounts
  gtnet check my_amounts --grammar digit_string
  gtnet check my_words --lexicon words.txt

Names every faulty row with its file, line and reason: labels outside the grammar, missing and
unreadable images, one image under two labels. Says what is there twice, what is blank, and which
labels are taken otherwise than they are written. Exit code: 0, or 2 where something is wrong."""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "check", _ABOUT, _MORE)
    add = parser.add_argument
    add("root", metavar="DIR", help="folder with images and labels.tsv")
    add("--grammar", choices=GRAMMARS, help="of amounts (default: amount)")
    add("--front-end", choices=FRONT_ENDS, help="what will read them (default: segments)")
    add("--alphabet", metavar="CHARS", help="the characters of labels that are no amounts")
    add("--lexicon", metavar="FILE", help="the words that labels may be, one a line")
