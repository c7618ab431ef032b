"""gtnet explore."""

from __future__ import annotations

import argparse
from pathlib import Path

from gtnet.reader.commands.common import MODELS, new_command, set_threads

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
    parser = new_command(commands, "explore", _ABOUT, _MORE, run)
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


def run(options: argparse.Namespace) -> int:
    """Serve the page until it is interrupted; returns the exit code."""
    set_threads(options)
    if not 0 <= options.port < 65536:
        raise ValueError(f"--port must be in 0 .. 65535, got {options.port}")
    try:
        from gtnet.explore import models, serve
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'gtnet-wfst[explore]'") from error
    found = options.model or [name for name in MODELS if Path(name).is_dir()][:1]
    known = [models.Model.load(folder) for folder in found] or [models.Model.demo()]
    data = models.samples(options.data, options.root)
    serve(known, data, port=options.port, browser=not options.no_browser)
    return 0
