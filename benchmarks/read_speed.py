"""`python -m benchmarks.read_speed [DIR ...]`: images a second that `gtnet read` reads, by batch.

Each DIR is a training folder, by default that of a demo. Files are opened, read and told as the
command does; times are those of the CPU, on one thread, the median of some runs.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.timing import processor
from gtnet.reader import Recognizer, load, load_reader
from gtnet.reader.reading import BATCH, Teller, records

SIZES = (1, 8, BATCH, 128)


def write_images(folder: Path, count: int) -> list[str]:
    """Test amounts as files; their names."""
    data = load("digits", split="test", size=count)
    names = [str(folder / f"{number}.png") for number in range(count)]
    for number, name in enumerate(names):
        Image.fromarray(data[number][0]).save(name)
    return names


def seconds(reader: Recognizer, names: list[str], batch_size: int, repeats: int) -> float:
    """CPU seconds an image, the median of some runs behind one that is not timed."""
    found = []
    for _ in range(repeats + 1):
        began = time.process_time()
        with Teller("jsonl", 1, 0.0, io.StringIO()) as teller:
            for record in records(reader, names, best=1, batch_size=batch_size):
                teller.tell(record)
        found.append((time.process_time() - began) / len(names))
    return statistics.median(found[1:])


def main() -> None:
    """Time each reader and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_speed", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="DIR")
    parser.add_argument("--images", type=int, default=128, metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = [name for name in ("runs/demo", "demo") if Path(name).is_dir()]
    print(f"{processor()}, torch {torch.__version__}\n")
    print("| reader | " + " | ".join(f"batches of {size}" for size in SIZES) + " |")
    print("|---|" + "--:|" * len(SIZES))
    with tempfile.TemporaryDirectory() as folder:
        names = write_images(Path(folder), arguments.images)
        for model in arguments.models or known[:1]:
            reader = load_reader(model)
            times = [seconds(reader, names, size, arguments.repeats) for size in SIZES]
            cells = [f"{1000 * t:.1f} ms, {1 / t:.0f} a second" for t in times]
            print(f"| {reader.front_end.name}, {model} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
