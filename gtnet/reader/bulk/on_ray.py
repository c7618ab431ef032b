"""Workers on a cluster of Ray, which starts them anew and gives their work to others when one dies.

Every machine sees the inputs, the model and the folder of parts at the same paths.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from gtnet.reader.bulk.parts import Chunk
from gtnet.reader.bulk.processes import Found
from gtnet.reader.bulk.work import Asked, Worker, memory


class _Actor:
    """A worker as Ray Data calls it, with one run of items at a time."""

    def __init__(self, asked: Asked) -> None:
        self.worker = Worker(asked)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        chunk = Chunk(int(row["number"]), int(row["at"]), int(row["items"]))
        return {**row, "rows": json.dumps(self.worker.chunk(chunk)), "memory": memory()}


def run(
    chunks: Iterator[Chunk], asked: Asked, workers: int, address: str | None
) -> Iterator[Found]:
    """The rows of each run, as they come, and the memory of the worker that read it.

    `address`: of a cluster that runs; without one, this machine becomes one until the end.
    """
    import ray
    import ray.data

    given = [vars(chunk) for chunk in chunks]
    if not given:
        return
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    joins: dict[str, Any] = {"address": address} if address else here
    actor: Any = _Actor  # a class in the place of a function, which Ray's types do not know
    ray.init(log_to_driver=False, logging_level=logging.WARNING, **joins)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        found = ray.data.from_items(given, override_num_blocks=min(len(given), 10_000)).map(
            actor,
            fn_constructor_args=(asked,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for row in found.iter_rows():
            chunk = Chunk(row["number"], row["at"], row["items"])
            yield chunk, json.loads(row["rows"]), row["memory"]
    finally:
        ray.shutdown()
