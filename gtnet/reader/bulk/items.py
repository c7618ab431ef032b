"""What there is to read: files, members of tar shards, rows of Parquet files, listed once."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from gtnet.reader.inputs import SOUNDS, STROKES, file_of

SHARDS, TABLES = (".tar",), (".parquet",)


class Item(NamedTuple):
    """One file, or what holds it: `first` and `second` are the place of a member in its shard
    (offset, bytes), or that of a row in its table (row group, row of the group)."""

    name: str
    path: str
    first: int = -1
    second: int = -1
    column: str = ""

    def line(self) -> str:
        """The item as a line of an index."""
        row = list(self) if self.first >= 0 else [self.name]
        return json.dumps(row) + "\n"

    @classmethod
    def of(cls, line: str) -> Item:
        """The item that `line` wrote."""
        row = json.loads(line)
        return cls(*row) if len(row) > 1 else cls(row[0], row[0])


def listed(inputs: Iterable[str], column: str | None = None) -> Iterator[Item]:
    """The items of files, folders (with all in them, by name), tar shards and Parquet files.

    In a folder or shard those count whose names end as those of images, sound or strokes do; of a
    table the column `column`, or its only one that holds images. Raises ValueError for a path that
    is missing, or a shard or table that cannot be read.
    """
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    inner = os.path.join(folder, name)
                    if _ends(name, (*SHARDS, *TABLES)):
                        yield from _held(inner, column)
                    elif _ends(name, _readable()):
                        yield Item(inner, inner)
        else:
            yield from _held(given, column)


def _held(path: str, column: str | None) -> Iterator[Item]:
    if _ends(path, SHARDS):
        yield from _members(path)
    elif _ends(path, TABLES):
        yield from _rows(path, column)
    else:
        yield Item(path, path)


def _ends(name: str, ends: tuple[str, ...]) -> bool:
    return name.lower().endswith(ends)


@lru_cache(maxsize=1)
def _readable() -> tuple[str, ...]:
    return (*Image.registered_extensions(), *SOUNDS, *STROKES, ".pdf")


def _members(path: str) -> Iterator[Item]:
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                shard.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if member.isfile() and _ends(member.name, _readable()):
                    yield Item(f"{path}/{member.name}", path, member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path} is no tar file without compression: {error}") from error


def _rows(path: str, column: str | None) -> Iterator[Item]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError("pyarrow is missing: pip install 'gtnet-wfst[bulk]'") from None
    try:
        table = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
    with table:
        found = [field.name for field in table.schema_arrow if _holds_images(field.type)]
        if column is None and len(found) != 1:
            raise ValueError(
                f"{path}: {len(found)} columns hold images ({', '.join(found) or 'none'}); name one"
                " with --column"
            )
        chosen = found[0] if column is None else column
        if chosen not in found:
            raise ValueError(
                f"{path}: --column {chosen} holds no images; {', '.join(found) or 'none'} would"
            )
        row = 0
        for group in range(table.num_row_groups):
            for inner in range(table.metadata.row_group(group).num_rows):
                yield Item(f"{path}#{row}", path, group, inner, chosen)
                row += 1


def _holds_images(kind: Any) -> bool:
    """Whether a column holds files: their bytes, alone or in a struct (Hugging Face's images)."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind)


@contextmanager
def as_file(item: Item) -> Iterator[str]:
    """A file that holds the item, until the end of the block: its own, or a temporary copy."""
    if item.first < 0:
        yield item.path
        return
    with file_of(*_bytes(item)) as path:
        yield str(path)


def _bytes(item: Item) -> tuple[bytes, str]:
    if _ends(item.path, SHARDS):
        with Path(item.path).open("rb") as shard:
            shard.seek(item.first)
            data = shard.read(item.second)
        if len(data) < item.second:
            raise ValueError(f"{item.path} ends before the end of {item.name}")
        return data, Path(item.name).suffix
    value = _column(item.path, item.first, item.column)[item.second].as_py()
    value, name = (value["bytes"], value.get("path")) if isinstance(value, dict) else (value, None)
    if value is None:
        raise ValueError("the row is empty")
    return value, Path(name or "").suffix


@lru_cache(maxsize=1)
def _column(path: str, group: int, column: str) -> Any:
    """The column of a row group, kept until another is asked for."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        return table.read_row_group(group, columns=[column]).column(0)
