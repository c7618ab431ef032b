"""Tables of labels, as spreadsheets and editors write them; errors name the file and the line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 60
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?\n', re.IGNORECASE)  # a first line of spreadsheets


@dataclass(frozen=True)
class Row:
    """One row of a table, which knows the line it begins at."""

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

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.path}, line {self.line}"

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.place}: {message}")


class Faults:
    """What is wrong with data, row by row, told all at once."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []

    def add(self, line: int, message: str) -> None:
        """One more, of a row that begins at this line; messages say where."""
        self.found.append((line, message))

    def __len__(self) -> int:
        """Number of faults."""
        return len(self.found)

    def raise_any(self) -> None:
        """Raises ValueError that lists all of them in the order of their lines."""
        told = list(dict.fromkeys(text for _, text in sorted(self.found, key=lambda f: f[0])))
        if len(told) == 1:
            raise ValueError(told[0])
        if told:
            raise ValueError(f"{len(told)} faults:\n" + "\n".join(f"  {text}" for text in told))


def table(path: Path, names: str, faults: Faults | None = None) -> list[Row]:
    """The rows of a table with a header line that has at least these columns.

    `names` are parted by blanks; one of those parted by | is enough. Cells are parted by tabs,
    semicolons or commas, whichever the header has first in this order or a line "sep=;" above it
    says, and may stand in double quotes; blanks around them are no part of them. Upper and lower
    case of column names are one.
    The text is UTF-8 or, with a byte order mark, UTF-16; lines end in any of the usual ways.

    Raises FileNotFoundError, or ValueError that names the line. Malformed rows are all named in one
    message, or collected in `faults`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}; it should have the columns {names}")
    text = read_text(path)
    own = Faults() if faults is None else faults
    lines = _cells(path, text, own)
    _, header = next(lines, (1, []))
    columns = [name.strip().casefold() for name in header]
    missing = [name for name in names.split() if not {*name.split("|")} & {*columns}]
    if missing:
        asked = [name.split("|") for name in missing]
        others = "; ".join(f"{a[0]} may also be {', '.join(a[1:])}" for a in asked if a[1:])
        told = ", ".join(a[0] for a in asked)
        raise ValueError(
            f"{path}, line 1: no column {told} in {header}{'; ' * bool(others)}{others}"
        )
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}, line 1: the column {twice} is there twice; keep one")
    rows: list[Row] = []
    for number, cells in lines:
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) == len(header):
            rows.append(Row(path, number, dict(zip(columns, cells, strict=True))))
            continue
        hint = ""
        if len(cells) > len(header):
            hint = "; put a cell that holds the separator in double quotes"
        message = f"{len(cells)} cells, the header has {len(header)}{hint}"
        own.add(number, f"{path}, line {number}: {message}")
    if faults is None:
        own.raise_any()
    return rows


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 or by its byte order mark UTF-16, its lines ended by \\n.

    Raises ValueError that names the file and the line that is neither.
    """
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: this is not {encoding.removesuffix('-sig').upper()} text"
            f" ({error.reason}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cells(path: Path, text: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """The line at which each row begins and its cells; rows without any are left out."""
    said = _SEPARATOR.match(text)
    header = text[said.end() if said else 0 :].split("\n", 1)[0]
    if "\t" in header and not said:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, [_unquoted(cell) for cell in line.split("\t")]
        return
    separator = said[1] if said else ";" if ";" in header else ","
    rest = io.StringIO(text[said.end() if said else 0 :])
    reader = csv.reader(rest, delimiter=separator, strict=True, skipinitialspace=True)
    above = 1 if said else 0
    begin = 1 + above
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield begin, [cell.strip() for cell in cells]
            begin = reader.line_num + 1 + above
    except csv.Error as error:
        # What follows an open quote cannot be told from what it quotes.
        found = text.split("\n")[begin - 1][:_SHOWN]
        faults.add(begin, f"{path}, line {begin}: {error}: {found!r}")


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"').strip()
    return cell
