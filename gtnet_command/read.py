"""gtnet read."""

from __future__ import annotations

import argparse
from pathlib import Path

from gtnet_command.common import new_command
from gtnet_command.names import ENGINES, FORMATS, MODELS

_ABOUT = """\
Read images of amounts. Prints for each the best amount, its confidence and the next best ones.
Confidence is the share of an answer in the total score of all interpretations; it is lowered
where ink remains that no answer explains."""

_MORE = """\
examples:
  gtnet read check.png --model runs/digits
  gtnet read *.png --model runs/digits --best 1 --min-confidence 0.9
  gtnet read scans/*.tif letter.pdf --csv > amounts.csv
  gtnet read check.png --model runs/digits --draw check.html    (the image, its cuts, its graphs)
  gtnet read --in scans/ --out answers.parquet --model runs/digits        (a process for each core)
  gtnet read --in shard-*.tar --out answers.csv --resume                  (after an interruption)
  find scans -name '*.tif' | gtnet read --in - --out answers.jsonl

An image is one line of writing, cropped to the amount. Pages of TIFF and PDF files are read one
by one and named scan.tif#1, scan.tif#2. An answer below --min-confidence is marked "rejected";
results.json in the training folder has the confidence that keeps errors below 1%.

--json prints one list, --jsonl an object a line, --csv a table. Each has the file, the text
(null or empty for no reading), the confidence, the verdict ("accepted", "rejected",
"no reading", "unreadable"), the reason where there is no text, and the alternatives.

--in takes folders, tar files, Parquet files with a column of images, and images; - reads their
paths from standard input, one a line. Worker processes read them; --out gets a row for each image,
page or sample, in the order of the input, what cannot be read with the verdict "unreadable" and
the reason. While the job runs, its parts are in a folder beside --out; --resume continues a job
that was killed, and reads nothing twice that is written.

exit codes: 0 if every file could be opened, whatever is read in it; 2 if one could not (with --in:
0 even so), or after another error; 130 if interrupted; 141 if what the output goes to was closed"""


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command and its options."""
    parser = new_command(commands, "read", _ABOUT, _MORE)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE")
    add("--model", metavar="DIR", help=f"a training folder (default: {' or '.join(MODELS)})")
    add(
        "--best",
        type=int,
        metavar="N",
        help="answers to show (default: 3, without very unlikely ones)",
    )
    add("--min-confidence", type=float, default=0.0, metavar="P", help="reject answers below it")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    kinds = parser.add_mutually_exclusive_group()
    for kind in FORMATS[1:]:
        kinds.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=kind, help=f"print {kind}"
        )
    add(
        "--draw",
        metavar="FILE",
        help="picture of the interpretation graph (.svg, .png, .dot), or a"
        " page with the image and all its graphs (.html); several images get numbered files",
    )

    bulk = parser.add_argument_group("many images")
    add = bulk.add_argument
    add("--in", dest="inputs", nargs="+", metavar="PATH", help="what to read; - for paths on stdin")
    add("--out", type=Path, metavar="FILE", help="answers: .parquet, .csv or .jsonl")
    add("--workers", type=int, metavar="N", help="worker processes (default: one for each core)")
    add("--resume", action="store_true", help="continue the interrupted job of --out")
    add("--column", metavar="NAME", help="of Parquet files: the column that holds the images")
    add("--chunk", type=int, metavar="N", help="files of a part of the output (default: 128)")
    add("--engine", choices=ENGINES, help="who reads (default: processes)")
    add("--address", metavar="HOST:PORT", help="of a cluster of Ray (default: this machine)")
    add("--quiet", action="store_true", help="show no progress")
