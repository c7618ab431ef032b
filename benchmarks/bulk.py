"""Reading many images: `gtnet read --in` beside a plain loop and a plain pool of processes.

    python -m benchmarks.bulk make --count 10000 --out shards
    python -m benchmarks.bulk read --in shards --model runs/digits --workers 2
    python -m benchmarks.bulk read --in shards --model runs/digits --together

Each way reads the same synthetic amounts. Speeds are images per second of CPU time, which other
jobs on the machine disturb less than wall time; memory is that of all processes of a way, sampled.
With --together all ways run at once, each in a session of its own: other jobs slow them alike, so
that their wall times can be compared. Long runs tell each minute how far they are.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from gtnet.reader.bulk.items import Item, as_file, listed
from gtnet.reader.checkpoint import load_reader
from gtnet.reader.data import load
from gtnet.reader.inputs import read_input
from gtnet.reader.recognizer import Recognizer

BATCH = 32


def make(count: int, out: Path, size: int = 1000) -> None:
    """Amounts as PNG files in tar shards of `size`, each beside a file of its text."""
    out.mkdir(parents=True, exist_ok=True)
    data = load("digits", split="test", size=count)
    for first in range(0, count, size):
        with tarfile.open(out / f"shard-{first // size:05d}.tar", "w") as shard:
            for index in range(first, min(first + size, count)):
                image, amount = data[index]
                file = io.BytesIO()
                Image.fromarray(image).save(file, "png")
                for kind, held in (("png", file.getvalue()), ("txt", amount.encode())):
                    member = tarfile.TarInfo(f"{index:07d}.{kind}")
                    member.size = len(held)
                    shard.addfile(member, io.BytesIO(held))


def loop(reader: Recognizer, items: list[Item]) -> Iterator[str | None]:
    """What somebody writes first: open, read in batches, in one process."""
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        images = []
        for item in batch:
            with as_file(item) as path:
                images.append(read_input(path))
        yield from (answer.amount for answer in reader.read(images))


_reader: Recognizer | None = None


def _begin(model: str) -> None:
    global _reader
    torch.set_num_threads(1)
    _reader = load_reader(model)


def _work(items: list[Item]) -> list[str | None]:
    assert _reader is not None
    return list(loop(_reader, items))


def plain(way: str, shards: list[str], model: str, workers: int, count: int | None) -> None:
    """One of the plain ways, to be run in a process of its own."""
    items = list(islice(listed(shards), count))
    if way == "loop":
        torch.set_num_threads(1)
        found = list(loop(load_reader(model), items))
    else:
        runs = [items[first : first + 128] for first in range(0, len(items), 128)]
        with multiprocessing.get_context("spawn").Pool(workers, _begin, (model,)) as pool:
            found = [amount for rows in pool.imap(_work, runs) for amount in rows]
    print(len(found))


def watched(command: list[str], way: str = "") -> tuple[float, float, list[int]]:
    """Wall and CPU seconds of a command with all its processes, and their memory, each second."""
    began, used, memory = time.perf_counter(), {}, []
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    job = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while job.poll() is None:
        now = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == job.pid:
                used[stat.parent.name] = (int(fields[11]) + int(fields[12])) / tick
                now += int(fields[21]) * page
        memory.append(now)
        if len(memory) % 60 == 0:
            seconds = time.perf_counter() - began
            told = f"{seconds:.0f} s, {sum(used.values()):.0f} s of CPU, {now / 2**20:.0f} MB"
            print(f"  {way} so far: {told}", file=sys.stderr, flush=True)
        time.sleep(1)
    if job.returncode:
        raise SystemExit(job.returncode)
    return time.perf_counter() - began, sum(used.values()), memory


def compare(
    shards: list[str],
    model: str,
    workers: int,
    count: int | None,
    ways: list[str],
    together: bool = False,
) -> None:
    """Print a row for each way, one after another or all at once."""
    known = sum(1 for _ in islice(listed(shards), count))
    own = [sys.executable, "-m", "benchmarks.bulk", "plain", "--in", *shards, "--model", model]
    own += ["--workers", str(workers), *(["--count", str(count)] if count else [])]
    with tempfile.TemporaryDirectory() as folder:
        given = shards
        if count is not None:  # the first ones, as a list of files
            for item in islice(listed(shards), count):
                with as_file(item) as path:
                    Path(folder, Path(item.name).name).write_bytes(Path(path).read_bytes())
            given = [folder]

        def measure(way: str) -> None:
            out = str(Path(folder, f"{way}.parquet"))
            bulk = [sys.executable, "-m", "gtnet.reader", "read", "--in", *given, "--out", out]
            bulk += ["--model", model, "--workers", str(workers), "--engine", way, "--quiet"]
            command = [*own, "--way", way] if way in ("loop", "pool") else bulk
            wall, cpu, memory = watched(command, way)
            quarter = len(memory) // 4
            first = max(memory[quarter : 2 * quarter], default=0) / 2**20
            last = max(memory[3 * quarter :], default=0) / 2**20
            print(
                f"{way:9} {known} images, {wall:.0f} s, {cpu:.0f} s of CPU:"
                f" {known / cpu:.1f} images a CPU second; memory {first:.0f} MB in the second"
                f" quarter, {last:.0f} MB in the last",
                flush=True,
            )

        with ThreadPoolExecutor(len(ways) if together else 1) as threads:
            list(threads.map(measure, ways))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("make", "read", "plain"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--in", dest="shards", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--way", default="loop")
    parser.add_argument("--ways", nargs="+", default=["loop", "pool", "processes"])
    parser.add_argument("--together", action="store_true", help="run all ways at once")
    given = parser.parse_args()
    if given.action == "make":
        make(given.count, given.out)
    elif given.action == "plain":
        plain(given.way, given.shards, given.model, given.workers, given.count)
    else:
        compare(given.shards, given.model, given.workers, given.count, given.ways, given.together)


if __name__ == "__main__":
    main()
