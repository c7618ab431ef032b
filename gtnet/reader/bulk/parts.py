"""A job on disk: what there is to read, and what was read of it, in parts that are written whole.

answers.parquet.parts/
    job.json           what was asked for
    index.jsonl        a line for each item, written once
    part-00000007.jsonl   the answers to the eighth run of items
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gtnet.reader.bulk.items import Item
from gtnet.reader.checkpoint import load_json, save_json, write_file

FORMATS = (".parquet", ".csv", ".jsonl")
_COLUMNS = ("file", "text", "confidence", "verdict", "reason")

Row = dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """A run of `items` lines of the index, from byte `at`; its answers are part `number`."""

    number: int
    at: int
    items: int


class Parts:
    """The folder of a job beside its output."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".parts")
        self.index, self.job = self.folder / "index.jsonl", self.folder / "job.json"

    def begin(self, items: Iterable[Item], asked: dict[str, Any]) -> int:
        """List what is to be read; returns the number of items. The job is there when all is.

        Raises ValueError where there is nothing.
        """
        count = 0
        beside = self.index.with_name(self.index.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            for count, item in enumerate(items, start=1):  # noqa: B007
                file.write(item.line())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.index)
        if count == 0:
            raise ValueError(
                "there is nothing to read: no image, strokes or sound in what is given"
            )
        save_json(self.job, {**asked, "items": count})
        return count

    def resumed(self, asked: dict[str, Any]) -> int:
        """The number of items of the job that was begun. Raises ValueError for another job."""
        found = load_json(self.job)
        for name, value in asked.items():
            if found.get(name) != value:
                raise ValueError(
                    f"resume: {self.folder} was begun with {name} {found.get(name)!r}, now it is"
                    f" {value!r}: give the same again, or delete the folder"
                )
        return int(found["items"])

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All runs of `size` items."""
        with self.index.open("rb") as file:
            number, at = 0, 0
            while lines := list(islice(file, size)):
                yield Chunk(number, at, len(lines))
                number, at = number + 1, at + sum(map(len, lines))

    def missing(self, size: int) -> Iterator[Chunk]:
        """The runs that have no part yet."""
        return (chunk for chunk in self.chunks(size) if not self._part(chunk.number).is_file())

    def write(self, chunk: Chunk, rows: Iterable[Row]) -> None:
        """Keep the answers to a run of items."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_file(self._part(chunk.number), text.encode("ascii"))

    def join(self, size: int, best: int) -> int:
        """Make the output of all parts, in the order of the items, and clear the folder away.

        Returns the number of rows. Raises ValueError where a part is missing.
        """
        beside, count = self.out.with_name(self.out.name + ".new"), 0

        def rows() -> Iterator[Row]:
            nonlocal count
            for chunk in self.chunks(size):
                with self._part(chunk.number).open(encoding="ascii") as file:
                    for line in file:
                        count += 1
                        yield json.loads(line)

        _WRITERS[self.out.suffix](beside, rows(), best)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, self.out)
        shutil.rmtree(self.folder)
        return count

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:08d}.jsonl"


def items_of(index: Path | str, chunk: Chunk) -> list[Item]:
    """The items of a run, out of the index."""
    with Path(index).open("rb") as file:
        file.seek(chunk.at)
        return [Item.of(line.decode("utf-8")) for line in islice(file, chunk.items)]


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _jsonl(path: Path, rows: Iterable[Row], best: int) -> None:
    with path.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _csv(path: Path, rows: Iterable[Row], best: int) -> None:
    others = [f"{word}{n}" for n in range(2, best + 1) for word in ("text", "confidence")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, "model", *others])
        for row in rows:
            flat = [value for pair in row["alternatives"] for value in pair.values()]
            told = [_printable(row["file"]), *(row[name] for name in _COLUMNS[1:]), row["model"]]
            told += flat + [None] * (len(others) - len(flat))
            writer.writerow(["" if value is None else value for value in told])


def _parquet(path: Path, rows: Iterable[Row], best: int) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    text, share = arrow.string(), arrow.float64()
    pair = arrow.struct([("text", text), ("confidence", share)])
    kinds = dict.fromkeys((*_COLUMNS, "model"), text) | {"confidence": share}
    schema = arrow.schema([*kinds.items(), ("alternatives", arrow.list_(pair))])
    source = iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while some := list(islice(source, 65_536)):
            for row in some:
                row["file"] = _printable(row["file"])
            writer.write_table(arrow.Table.from_pylist(some, schema))


_WRITERS: dict[str, Callable[[Path, Iterable[Row], int], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
