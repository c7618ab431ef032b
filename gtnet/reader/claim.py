"""A training folder belongs to one training at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"
_held: dict[tuple[Path, int], int] = {}


@contextmanager
def claimed(folder: Path, what: str = "training") -> Iterator[None]:
    """Keep a folder from others (`what`), of this process or another, until the end of the block.

    The lock goes with the process, however that ends. A thread may claim again what it holds.
    Raises ValueError that names the process which holds the folder.
    """
    key = folder.resolve(), threading.get_ident()
    if key in _held:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode().strip() or "unknown"
            raise ValueError(
                f"another {what} (process {holder}) is writing to {folder}: wait for its end,"
                " or choose another folder with --out"
            ) from None
        try:
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        except OSError as error:
            told = f"cannot write: {error.strerror}"
            raise OSError(error.errno, told, str(folder / LOCK)) from error
        _held[key] = file.fileno()
        try:
            yield
        finally:
            del _held[key]
