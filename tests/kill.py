"""kill -9 at random moments of writing: `python -m tests.kill --times 200`.

A process writes graphs, one after another, over the same file, and says after each that it is
there; another trains a reader, which keeps a checkpoint. Both are killed without warning. What is
found then must be a whole file, no older than what was last said; and the training, taken up again
until it ends, must give what one that nobody killed gives, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))  # the tests import each other by plain names

import torch

import gtnet
from gtnet import Graph
from gtnet.interop import gtn, openfst

STATES = 20_000  # of a chain: a file of some hundred kilobytes takes a while to write

Write = Callable[[Graph, Path], None]
FILES: dict[str, tuple[Write, Callable[[Path], Graph]]] = {
    "graph.npz": (gtnet.save, gtnet.load),
    "graph.safetensors": (gtnet.save, gtnet.load),
    "graph.fst.gz": (openfst.write_binary, openfst.read_binary),
    "graph.bin": (gtn.write_binary, gtn.read_binary),
}


def numbered(number: int) -> Graph:
    """A graph that says everywhere which one it is."""
    label = torch.full((STATES,), number, dtype=torch.int32)
    at = torch.arange(STATES, dtype=torch.int32)
    return Graph(at, at + 1, label, weights=label.float(), accept=STATES)


def number_of(graph: Graph) -> int:
    """Which graph it is. Raises AssertionError for half of one."""
    numbers = set(graph.ilabels.tolist()) | set(graph.weights.int().tolist())
    assert len(numbers) == 1 and graph.num_arcs == STATES, f"half a graph: {sorted(numbers)[:5]}"
    return numbers.pop()


def killed(child: Callable[[int], None], after: float) -> list[int]:
    """Runs `child(pipe)` in a process, kills it after so many seconds; the numbers it has said.

    A child that ends before is not killed, and an error of its own is raised here.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            child(write)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    os.close(write)
    end = time.monotonic() + after
    status = None
    while status is None and time.monotonic() < end:
        done, code = os.waitpid(pid, os.WNOHANG)
        status = code if done else None
        time.sleep(0.001)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    said = b""
    while part := os.read(read, 1 << 16):
        said += part
    os.close(read)
    if status:
        raise AssertionError(f"the process ended with {status}")
    return [int(word) for word in said.split(b"\n")[:-1]]


def files(times: int, seed: int) -> tuple[int, int]:
    """Kills a writer so often; how many files were written in all, and how many kills met one.

    Raises AssertionError for a file that is lost, older than what was said, or half of one.
    """
    draw, written, within = Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        last = dict.fromkeys(FILES, 0)
        begin = time.monotonic()
        for name, (save, _) in FILES.items():
            save(numbered(0), Path(temporary, name))
        window = max(0.15, time.monotonic() - begin)  # four writes, on a machine as it is
        for time_ in range(times):
            name = list(FILES)[time_ % len(FILES)]
            save, load = FILES[name]
            path = Path(temporary, name)
            first = last[name] + 1

            def child(pipe: int, save=save, path=path, first=first) -> None:
                for number in range(first, first + 10_000):
                    save(numbered(number), path)
                    os.write(pipe, f"{number}\n".encode())

            said = killed(child, draw.uniform(0.0, window))
            written += len(said)
            within += bool(list(Path(temporary).glob(f"{name}*.new")))
            for left in Path(temporary).glob("*.new"):
                left.unlink()
            known = said[-1] if said else last[name]
            last[name] = number_of(load(path))
            assert known <= last[name] <= known + 1, f"{name}: {last[name]}, {known} was written"
    return written, within


def training(times: int, seed: int) -> int:
    """Kills a training so often while it lasts, then lets it end; how often it was killed.

    Raises AssertionError where the reader is not, bit for bit, that of an unbroken training.
    """
    import test_reader_train as small

    train = small.load("digits", size=24)
    valid = small.load("digits", split="valid", size=8)
    data = small.TrainingData(train, valid, [train.characters(small.SMALL.characters)])
    draw, kills = Random(seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        begin = time.monotonic()
        small.Trainer(small.SMALL, data, whole, quiet=True).run()
        lasts = time.monotonic() - begin
        expected = small.checkpoint.load_reader(whole)
        while kills < times:
            out = Path(temporary, f"broken{kills}")

            def child(pipe: int, out: Path = out) -> None:
                resume = (out / "checkpoint.safetensors").exists()
                small.Trainer(small.SMALL, data, out, quiet=True).run(resume=resume)
                os.write(pipe, b"1\n")

            for _ in range(6):
                if killed(child, draw.uniform(0.05, 0.7) * lasts) or kills >= times:
                    break
                kills += 1
            assert (out / "model.safetensors").exists() or killed(child, 60 + 20 * lasts) == [1]
            found = small.checkpoint.load_reader(out)
            assert small.same(found, expected), f"after {kills} kills another reader was learnt"
    return kills


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["files", "training"])
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # processes are forked
    print(f"kill: seed {given.seed}, {given.times} times each", flush=True)
    try:
        if given.only != "training":
            written, within = files(given.times, given.seed)
            print(f"kill: {written} files written, {within} of {given.times} kills inside a write")
        if given.only != "files":
            kills = training(given.times, given.seed)
            print(f"kill: a training killed {kills} times and taken up again is the unbroken one")
    except AssertionError as error:
        print(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
