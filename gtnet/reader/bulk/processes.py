"""Workers on this machine: one process for each core, given a few runs of items at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for

from gtnet.reader.bulk.items import Item
from gtnet.reader.bulk.parts import Chunk, Row, items_of
from gtnet.reader.bulk.work import Asked, lost, memory, start, work

_AHEAD = 2  # runs a worker has before it: one in work, one waiting

Found = tuple[Chunk, list[Row], int]


def run(chunks: Iterator[Chunk], asked: Asked, workers: int) -> Iterator[Found]:
    """The rows of each run, as they come, and the memory of the worker that read it.

    A worker that dies takes the others with it; they start anew, and what they had is read run by
    run. A run that a worker dies of is halved, until the image that it dies of is alone: that
    becomes a row with an error.
    """
    pool = _Pool(asked, workers)
    waiting: dict[Future, Chunk] = {}
    try:
        while True:
            while len(waiting) < _AHEAD * workers and (chunk := next(chunks, None)) is not None:
                waiting[pool.submit(chunk)] = chunk
            if not waiting:
                return
            broken: list[Chunk] = []
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                chunk = waiting.pop(future)
                try:
                    yield (chunk, *future.result())
                except BrokenProcessPool:
                    broken.append(chunk)
            if broken:
                broken += waiting.values()
                waiting.clear()
                pool.restart()
                for chunk in broken:
                    yield (chunk, *pool.alone(items_of(asked.index, chunk)))
    finally:
        pool.close()


class _Pool:
    """Worker processes that start anew when one of them dies."""

    def __init__(self, asked: Asked, workers: int) -> None:
        self.asked, self.workers = asked, workers
        self._start()

    def _start(self) -> None:
        # Forked from a server that has imported all, and nothing else: a new worker is soon there.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["gtnet.reader.bulk.work"])
        self.pool = ProcessPoolExecutor(self.workers, context, _begin, (self.asked,))
        try:
            self.pool.submit(memory).result()
        except BrokenProcessPool:
            raise ChildProcessError(
                "worker processes die before they read anything; is there memory for"
                f" {self.workers} of them? try fewer --workers"
            ) from None

    def submit(self, chunk: Chunk) -> Future:
        """Give a run of items to the next free worker."""
        try:
            return self.pool.submit(work, chunk)
        except BrokenProcessPool as error:
            future: Future = Future()
            future.set_exception(error)
            return future

    def alone(self, items: list[Item], tries: int = 2) -> tuple[list[Row], int]:
        """The rows of items that nothing else is read beside, halved where a worker dies."""
        try:
            return self.pool.submit(work, items).result()
        except BrokenProcessPool:
            self.restart()
        if len(items) == 1:
            return self.alone(items, 1) if tries > 1 else ([lost(items[0], self.asked)], 0)
        half = len(items) // 2
        (first, a), (second, b) = self.alone(items[:half]), self.alone(items[half:])
        return first + second, max(a, b)

    def restart(self) -> None:
        """New workers in the place of dead ones."""
        self.close()
        self._start()

    def close(self) -> None:
        """Let workers end when they have done what they are doing."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def _begin(asked: Asked) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    start(asked)


def _end_with(sentinel: int) -> None:
    """A worker whose job was killed has nobody to read for."""
    wait_for([sentinel])
    os._exit(1)
