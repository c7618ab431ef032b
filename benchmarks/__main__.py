"""`python -m benchmarks [--quick] [--write]`: CPU times beside the peers', memory, growth."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch
from tqdm import tqdm

import gtnet
from benchmarks import floor, scaling
from benchmarks.cases import all_cases
from benchmarks.emissions import PUBLISHED
from benchmarks.timing import Timing, begun, measure, processor

RESULTS = Path(__file__).parent / "RESULTS.md"


def table(timings: list[Timing]) -> str:
    """The results as Markdown."""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `python -m benchmarks --write`. Median CPU milliseconds on one thread,",
            "runs of gtnet and its peers interleaved, short ones each after one that is not timed;",
            "(2.0x): the peer takes twice gtnet's time. Trust ratios, not absolutes.",
            "",
            f"{processor()}, Python {platform.python_version()}, torch {torch.__version__}, "
            f"gtnet {gtnet.__version__}",
            "",
            "| work | gtnet ms | each | peers |",
            "|---|--:|--:|---|",
            *(timing.row() for timing in timings),
            "",
        ]
    )


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} as well")
    repeats, asked = begun(parser)
    cases = list(all_cases())
    timings = [measure(case, repeats) for case in tqdm(cases, unit="case", disable=None)]
    text = "\n".join(
        [table(timings), *floor.tables(timings), "", *scaling.tables(repeats), "", PUBLISHED, ""]
    )
    print(text)
    if asked.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
