"""A job: items in, answers out, every item once, whatever dies on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from gtnet.reader.bulk import on_ray, processes
from gtnet.reader.bulk.items import listed
from gtnet.reader.bulk.parts import FORMATS, Chunk, Parts
from gtnet.reader.bulk.work import Asked
from gtnet.reader.checkpoint import MODEL, load_reader
from gtnet.reader.claim import claimed

ENGINES = ("processes", "ray")


@dataclass(frozen=True)
class Summary:
    """What a call of a job did: the rows of the output, and the items that this call read."""

    rows: int
    read: int
    unreadable: int
    seconds: float
    workers: int
    memory: int

    def __str__(self) -> str:
        speed = self.read / max(self.seconds, 1e-9)
        told = f"{self.rows:,} rows; {self.read:,} files read in {self.seconds:,.0f} s"
        told += f" ({speed:.1f} a second, {speed / self.workers:.1f} a worker)"
        if self.unreadable:
            told += f", {self.unreadable:,} of them unreadable"
        if self.memory:
            told += f"; the largest worker had {self.memory / 2**20:.0f} MB"
        return told


@dataclass(frozen=True)
class Job:
    """Read everything in `inputs` with a model, and write the answers to a file.

    `out`: ends in .parquet, .csv or .jsonl; beside it stands a folder of parts while the job runs;
    `workers`: processes, each with the model and one thread; `best`: answers of each image;
    `least`: confidence from which an answer is accepted; `chunk`: items of a part, what is read
    again at most for each worker after a failure; `column`: of Parquet inputs; `address`: of a
    cluster of Ray, where it is the engine.
    """

    out: Path
    model: Path
    workers: int
    best: int = 3
    least: float = 0.0
    chunk: int = 128
    column: str | None = None
    engine: str = "processes"
    address: str | None = None

    def run(self, inputs: Iterable[str], *, resume: bool = False, quiet: bool = False) -> Summary:
        """Read all inputs, or with `resume` what an interrupted job has not read.

        A resumed job reads what was listed when it began. Raises ValueError for an output that is
        there already, a job of another kind to resume, or inputs that hold nothing to read.
        """
        self._check()
        parts = Parts(self.out)
        if not resume and self.out.exists():
            raise ValueError(f"{self.out} exists already: delete it, or choose another --out")
        if not resume and parts.job.is_file():
            raise ValueError(
                f"{parts.folder} holds an interrupted job: continue it with --resume, or delete it"
            )
        if resume and not parts.job.is_file():
            raise ValueError(f"resume: there is no interrupted job in {parts.folder}")
        load_reader(self.model)  # what is wrong with it is said once
        file = self.model / MODEL if self.model.is_dir() else self.model
        asked = Asked(
            str(parts.index.resolve()),
            str(file.resolve()),
            sha256(file.read_bytes()).hexdigest()[:16],
            self.best,
            self.least,
        )
        settings = {
            "model": asked.model_id,
            "best": self.best,
            "least": self.least,
            "chunk": self.chunk,
        }
        with claimed(parts.folder, "job"):
            if resume:
                count = parts.resumed(settings)
            else:
                count = parts.begin(listed(inputs, self.column), settings)
            return self._run(parts, asked, count, quiet)

    def _check(self) -> None:
        if self.out.suffix not in FORMATS:
            raise ValueError(f"--out {self.out} should end in {', '.join(FORMATS)}")
        if not self.out.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {self.out.parent} to write {self.out.name} to")
        for name, value in (("workers", self.workers), ("chunk", self.chunk), ("best", self.best)):
            if value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        if self.engine not in ENGINES:
            raise ValueError(f"--engine {self.engine!r} is not one of {', '.join(ENGINES)}")
        if self.address is not None and self.engine != "ray":
            raise ValueError("--address is of a cluster of Ray: give --engine ray too")
        needed = ["ray"] * (self.engine == "ray") + ["pyarrow"] * (self.out.suffix == ".parquet")
        for name in needed:
            if find_spec(name) is None:
                extra = "ray" if name == "ray" else "bulk"
                raise ValueError(f"{name} is missing: pip install 'gtnet-wfst[{extra}]'")

    def _run(self, parts: Parts, asked: Asked, count: int, quiet: bool) -> Summary:
        began, read, unreadable, memory = time.perf_counter(), 0, 0, 0
        left = sum(chunk.items for chunk in parts.missing(self.chunk))
        with tqdm(
            total=count, initial=count - left, unit="file", disable=quiet, mininterval=0.5
        ) as bar:
            for chunk, rows, used in self._engine()(parts.missing(self.chunk), asked):
                parts.write(chunk, rows)
                read, memory = read + chunk.items, max(memory, used)
                unreadable += sum(row["verdict"] == "unreadable" for row in rows)
                bar.set_postfix(
                    unreadable=unreadable, worker=f"{used / 2**20:.0f} MB", refresh=False
                )
                bar.update(chunk.items)
        seconds = time.perf_counter() - began
        rows_out = parts.join(self.chunk, self.best)
        return Summary(rows_out, read, unreadable, seconds, self.workers, memory)

    def _engine(self) -> Callable[[Iterator[Chunk], Asked], Iterator[processes.Found]]:
        if self.engine == "ray":
            return lambda chunks, asked: on_ray.run(chunks, asked, self.workers, self.address)
        return lambda chunks, asked: processes.run(chunks, asked, self.workers)
