"""gtnet serve."""

from __future__ import annotations

import argparse

from gtnet_command.common import new_command
from gtnet_command.names import MODELS

_ABOUT = """\
Serve a reader over HTTP: POST an image, get its answer as JSON. Images that come at the same time
are read together."""

_MORE = """\
examples:
  gtnet serve --model runs/digits
  curl --data-binary @check.png http://127.0.0.1:8000/read

POST /read    the bytes of an image file; answers with text, confidence, verdict, reason,
              alternatives and model, or with an error and the status 400, 403, 408, 413, 422
              (no image), 503 (too many wait) or 504 (took too long)
GET /health   200 when it reads
GET /metrics  counts for Prometheus: answers by status, seconds, sizes of batches, memory

The service answers on this machine alone unless --host says otherwise. It knows no passwords: give
it to others through a proxy that does. SIGTERM and Ctrl-C end it after what has begun is answered.
It needs: pip install 'gtnet-wfst[serve]'"""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "serve", _ABOUT, _MORE)
    add = parser.add_argument
    add("--model", metavar="DIR", help=f"a training folder (default: {' or '.join(MODELS)})")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: here)")
    add("--port", type=int, default=8000, metavar="N", help="default: 8000; 0 for a free one")
    add("--best", type=int, default=3, metavar="N", help="answers to give (default: 3)")
    add("--min-confidence", type=float, default=0.0, metavar="P", help="reject answers below it")
    add("--max-bytes", type=int, metavar="N", help="of an image file (default: 10 MB)")
    add("--max-pixels", type=int, metavar="N", help="of an image (default: 12 million)")
    add("--timeout", type=float, metavar="SECONDS", help="for each image (default: 10)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
