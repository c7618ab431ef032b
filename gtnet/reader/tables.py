"""Tables of labels: tab-separated files whose errors name the line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of a table, which knows where it stands."""

    path: Path
    line: int
    cells: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.cells[name]

    def first(self, *names: str) -> str:
        """The cell of the first of these columns that the table has."""
        return next(self.cells[name] for name in names if name in self.cells)

    def number(self, name: str) -> int:
        try:
            return int(self.cells[name])
        except ValueError:
            raise self.error(f"{name} {self.cells[name]!r} is not a whole number") from None

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.path}, line {self.line}: {message}")


def table(path: Path, names: str) -> list[Row]:
    """The rows of a tab-separated table with a header line that has at least these columns.

    `names` are parted by blanks; one of those parted by | is enough.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}; it should have the columns {names}")
    rows: list[Row] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(reader, [])
        missing = [name for name in names.split() if not {*name.split("|")} & {*header}]
        if missing:
            raise ValueError(f"{path}, line 1: no column {', '.join(missing)} in {header}")
        for number, cells in enumerate(reader, start=2):
            if len(cells) == 0:
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}, line {number}: {len(cells)} cells, the header has {len(header)}"
                )
            rows.append(Row(path, number, dict(zip(header, cells, strict=True))))
    return rows
