"""What a worker does: it holds one reader, and turns runs of items into rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from gtnet.reader.bulk.items import Item, as_file
from gtnet.reader.bulk.parts import Chunk, Row, items_of
from gtnet.reader.checkpoint import load_reader
from gtnet.reader.inputs import read_inputs, wrong_kind
from gtnet.reader.reading import Record, read_batch, values_of

BATCH = 32
_AREA = 2**25  # pixels in memory at once, unless one image has more


@dataclass(frozen=True)
class Asked:
    """What every worker is told: the model, how many answers, the least confidence."""

    index: str
    model: str
    model_id: str
    best: int
    least: float


class Worker:
    """A reader and what it does with items; one thread, as there is a worker for each core."""

    def __init__(self, asked: Asked) -> None:
        torch.set_num_threads(1)
        self.asked, self.reader = asked, load_reader(asked.model)

    def chunk(self, chunk: Chunk) -> list[Row]:
        """The rows of a run of items: one for each image, page or sample, in their order."""
        return self.rows(items_of(self.asked.index, chunk))

    def rows(self, items: Iterable[Item]) -> list[Row]:
        """The rows of some items; what cannot be read becomes a row that says why."""
        found: list[Row] = []
        batch: list[Record] = []
        area = 0
        for record in self._opened(items):
            batch.append(record)
            area += getattr(record.image, "size", 0)
            if len(batch) == BATCH or area > _AREA:
                found += self._read(batch)
                batch, area = [], 0
        return found + self._read(batch)

    def _opened(self, items: Iterable[Item]) -> Iterator[Record]:
        for item in items:
            try:
                with as_file(item) as path:
                    wrong = wrong_kind(path, self.reader.front_end.name)
                    if wrong:
                        raise ValueError(f"{item.name} is {wrong}")
                    for name, given in read_inputs(path):
                        yield Record(item.name + name.removeprefix(path), None, given)
            except Exception as error:  # of whatever kind: one image does not end the job
                yield Record(item.name, None, error=_told(error))

    def _read(self, batch: list[Record]) -> list[Row]:
        try:
            records = list(read_batch(self.reader, batch, self.asked.best))
        except Exception as error:  # of one of them; the others are read
            if len(batch) == 1:
                records = [Record(batch[0].file, None, error=_told(error))]
            else:
                return [row for record in batch for row in self._read([record])]
        return [row_of(record, self.asked) for record in records]


def row_of(record: Record, asked: Asked) -> Row:
    """A record as a row of the output."""
    return {**values_of(record, asked.best, asked.least), "model": asked.model_id}


def lost(item: Item, asked: Asked) -> Row:
    """The row of an item that a worker died of."""
    told = "the process that read it died: it may need more memory than there is"
    return row_of(Record(item.name, None, error=told), asked)


def memory() -> int:
    """Bytes that this process has in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


_worker: Any = None


def start(asked: Asked) -> None:
    """Make this process a worker."""
    global _worker
    _worker = Worker(asked)


def work(chunk: Chunk | list[Item]) -> tuple[list[Row], int]:
    """The rows of a run of items, or of some items, by this process; and its memory."""
    found = _worker.chunk(chunk) if isinstance(chunk, Chunk) else _worker.rows(chunk)
    return found, memory()
