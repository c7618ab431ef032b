"""`python -m benchmarks.explore_latency [DIR]`: from a drawing to all that `gtnet explore` shows.

DIR is a training folder, by default that of a demo. Times are in milliseconds, medians over test
amounts: of the processor, Graphviz's process not counted, and by the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from benchmarks.timing import processor
from gtnet.explore.looking import look
from gtnet.explore.questions import Question
from gtnet.reader import load, load_reader
from gtnet.reader.figures import image_uri


def main() -> None:
    """Time the answers to some drawings and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explore_latency")
    parser.add_argument("model", nargs="?", metavar="DIR", help="default: runs/demo or demo")
    parser.add_argument("--images", type=int, default=40, metavar="N")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = [name for name in ("runs/demo", "demo") if Path(name).is_dir()]
    reader = load_reader(arguments.model or known[0])
    data = load("digits", split="test", size=arguments.images)
    times: list[tuple[float, float]] = []
    for number in range(-2, len(data)):  # two that are not timed
        image, _ = data[max(0, number)]
        asked = {"image": image_uri(image)}
        began = time.process_time(), time.perf_counter()
        json.dumps(look(reader, Question.of(asked, reader), 0.5))
        if number >= 0:
            times.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    own, clock = (1000 * statistics.median(column) for column in zip(*times))
    print(f"{processor()}, torch {torch.__version__}, one thread, {len(times)} amounts")
    print(f"processor {own:.0f} ms, clock {clock:.0f} ms")


if __name__ == "__main__":
    main()
