"""gtnet read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from gtnet.reader.bulk import Job
from gtnet.reader.bulk.job import ENGINES
from gtnet.reader.commands.common import (
    PICTURES,
    check_output,
    model_of,
    model_path,
    plain,
    set_threads,
)
from gtnet.reader.commands.drawing import draw_input
from gtnet.reader.reading import Record, Teller, printable, records
from gtnet.reader.recognizer import Recognizer


def run(options: argparse.Namespace) -> int:
    """Read files and print what they say; returns the exit code."""
    if options.inputs or options.out or options.resume:
        return _bulk(options)
    if not options.images:
        raise ValueError("give the images to read, or --in and --out for many")
    set_threads(options)
    if options.best is not None and options.best < 1:
        raise ValueError(f"--best must be at least 1, got {options.best}")
    if not 0 <= options.min_confidence <= 1:
        raise ValueError(f"--min-confidence must be in [0, 1], got {options.min_confidence}")
    if options.draw:
        check_output(Path(options.draw), (".html", *PICTURES))
    reader, code, kind = model_of(options), 0, options.kind or "text"
    found = records(reader, shown(options.images), best=options.best or 0)
    with Teller(kind, options.best or 3, options.min_confidence) as teller:
        for number, record in enumerate(found):
            if record.answer is None:
                print(f"gtnet read: {printable(plain(ValueError(record.error)))}", file=sys.stderr)
                code = 2
            teller.tell(record)
            if options.draw and record.image is not None:
                alone = options.images == [record.file]
                path = _numbered(Path(options.draw), number, 1 if alone else 2)
                code = max(code, _drawn(reader, record, path, sys.stderr if options.kind else None))
    return code


def _bulk(options: argparse.Namespace) -> int:
    """Read many files into one table."""
    if options.out is None or not (options.inputs or options.resume):
        raise ValueError("--in says what to read, and --out where answers go: give both")
    for name in ("images", "draw", "kind", "threads"):
        if getattr(options, name):
            raise ValueError("--in and --out take no images beside them, and no option for a few")
    if not 0 <= options.min_confidence <= 1:
        raise ValueError(f"--min-confidence must be in [0, 1], got {options.min_confidence}")
    job = Job(
        options.out,
        model_path(options),
        len(os.sched_getaffinity(0)) if options.workers is None else options.workers,
        best=3 if options.best is None else options.best,
        least=options.min_confidence,
        chunk=128 if options.chunk is None else options.chunk,
        column=options.column,
        engine=options.engine or ENGINES[0],
        address=options.address,
    )
    try:
        print(job.run(_named(options.inputs or []), resume=options.resume, quiet=options.quiet))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("continue with --resume and the same --out") from None
    return 0


def _named(inputs: list[str]) -> Iterator[str]:
    """The inputs, and in the place of - the lines of standard input."""
    for given in inputs:
        if given == "-":
            yield from (line for line in map(str.rstrip, sys.stdin) if line)
        else:
            yield given


def shown(names: list[str]) -> Iterator[str]:
    """The names, with a bar on standard error where somebody looks at it and it is not soon over.

    None where the answers go to the same terminal: they show how far it is.
    """
    busy = len(names) > 100 and sys.stderr.isatty() and not sys.stdout.isatty()
    yield from tqdm(names, "reading", unit="file", disable=not busy)


def _drawn(reader: Recognizer, record: Record, path: Path, stream: TextIO | None) -> int:
    """Draw an image that was read; 2 after an error, which concerns no other image."""
    assert record.image is not None
    try:
        draw_input(reader, record.image, path, "interpretation", record.file)
    except OSError as error:  # a full disk
        print(f"gtnet read: {plain(error)}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"gtnet read: {plain(error)}", file=sys.stderr)
        return 2 if record.answer is not None and record.answer.amount is not None else 0
    print(f"    drawn in {path}", file=stream)
    return 0


def _numbered(path: Path, number: int, count: int) -> Path:
    return path if count == 1 else path.with_name(f"{path.stem}-{number + 1}{path.suffix}")
