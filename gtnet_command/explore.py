"""gtnet explore."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command
from gtnet_command.names import MODELS

_ABOUT = """\
Look inside a reader while it thinks: a page in the browser to draw amounts on, with the cuts,
segments, graphs and answers of each, and to try graphs of your own."""

_MORE = """\
examples:
  gtnet explore                          (the reader of gtnet train --demo; without one it trains
                                          a small one first, once, and keeps it in the cache)
  gtnet explore --model runs/mine --data folder --root my_amounts
  gtnet explore --model runs/segments --model runs/sliding   (two readers side by side)
  gtnet explore --port 8765 --no-browser (to look at it over ssh -L 8765:127.0.0.1:8765)

The page is served on this machine alone, at an address with a token of its own, and fetches nothing
from elsewhere. Ctrl-C ends it. It needs: pip install 'gtnet-wfst[explore]'"""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "explore", _ABOUT, _MORE)
    add = parser.add_argument
    add(
        "--model",
        metavar="DIR",
        action="append",
        help=f"a training folder; two for readers side by side (default: {' or '.join(MODELS)})",
    )
    add("--data", choices=("digits", "car_a", "folder"), help="images to pick (default: digits)")
    add("--root", metavar="DIR", help="where car_a or your folder is")
    add("--port", type=int, default=0, metavar="N", help="port to serve at (default: a free one)")
    add("--no-browser", action="store_true", help="print the address and open nothing")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
