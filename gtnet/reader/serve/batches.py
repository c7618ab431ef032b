"""Requests that come at the same time are read together, as a network reads a batch faster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from anyio import to_thread

from gtnet.reader.answers import Answer

Read = Callable[[Sequence[Any]], list[Answer]]


class BusyError(Exception):
    """More images wait than may."""


class Batches:
    """Images gathered for at most `wait` seconds, `most` at a time, and read in one thread.

    `waiting`: images that may wait for their batch; `told` is called with the size of each batch.
    """

    def __init__(
        self,
        read: Read,
        *,
        most: int = 32,
        wait: float = 0.01,
        waiting: int = 256,
        told: Callable[[int], Any] = lambda size: None,
    ) -> None:
        self._read, self.most, self.wait, self.told = read, most, wait, told
        self._queue: asyncio.Queue[tuple[Any, asyncio.Future[Answer]]] = asyncio.Queue(waiting)

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return self._queue.qsize()

    async def read(self, image: Any) -> Answer:
        """The answer to one image. Raises BusyError at once where too many wait."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((image, future))
        except asyncio.QueueFull:
            raise BusyError from None
        return await future

    async def run(self) -> None:
        """Read batches until this is cancelled."""
        while True:
            batch = await self._gathered()
            batch = [(image, future) for image, future in batch if not future.cancelled()]
            if batch:
                self.told(len(batch))
                await self._answer(batch)

    async def _gathered(self) -> list[tuple[Any, asyncio.Future[Answer]]]:
        batch = [await self._queue.get()]
        end = asyncio.get_running_loop().time() + self.wait
        while len(batch) < self.most:
            left = end - asyncio.get_running_loop().time()
            try:
                batch.append(
                    self._queue.get_nowait()
                    if left <= 0
                    else await asyncio.wait_for(self._queue.get(), left)
                )
            except (asyncio.QueueEmpty, asyncio.TimeoutError):
                break
        return batch

    async def _answer(self, batch: Sequence[tuple[Any, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await to_thread.run_sync(self._read, [image for image, _ in batch])
        except Exception as error:  # of one of them; the others are read
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():  # a request that was given up
                future.set_result(answer)
