"""Your own data: a folder of images and a table of what they say."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gtnet.reader.amounts import GRAMMARS, canonical
from gtnet.reader.inputs import read_input
from gtnet.reader.tables import Faults, Row, table

LABELS = ("labels.tsv", "labels.csv", "labels.txt")
"""What the table of labels may be called."""

CORRECTIONS = "corrections.tsv"
"""A table beside it whose rows, of the same columns, replace the labels of their files."""

_FILE = "file|filename|file_name|image|image_path|path|picture"
_WRITER = ("writer", "speaker", "author")
TEXT = "amount|text|label|labels|transcription|value|truth"


class FolderDataset:
    """Your own data: a folder of images and a table `labels.tsv` with the columns file, amount.

    The table may also be `labels.csv`, and its columns may have other usual names (file: filename,
    image, path; amount: text, label, transcription, value). See `tables.table` for what it may look
    like. An amount that is written otherwise than the grammar writes it is taken as the grammar
    reads it: 1.234,56 as 1234.56. Rows of `corrections.tsv`, which has the same columns, replace
    the labels of their files.

    Args:
        root: the folder; file names in the table are relative to it, or to its folder `images`.
            A page of a file is named as `scan.tif#2`.
        grammar: the language of the amounts: "amount" ("1234.50") or "digit_string" ("123450");
            any other name leaves labels as they are.
        faults: where malformed rows are collected; by default they are raised.

    Files may also be sound, or samples of a file of strokes, see `inputs.read_input`. A column
    writer (or speaker) says who wrote what: parts of the data then share no writer.

    Attributes: `items`, (file, text) of each image; `rows`, the rows of the table they come from;
    `rewritten`, the place of a row, what it says, and what that is taken as.

    Raises:
        FileNotFoundError: the folder or its table of labels is missing.
        ValueError: malformed rows or labels, all of them in one message.
    """

    def __init__(
        self, root: str | Path, *, grammar: str = "amount", faults: Faults | None = None
    ) -> None:
        self.root, self.grammar = Path(root).expanduser(), grammar
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"FolderDataset: no folder {self.root}; it should hold images and labels.tsv"
            )
        found = [p for p in self.root.iterdir() if p.name.casefold() in LABELS and p.is_file()]
        if not found:
            raise FileNotFoundError(
                f"FolderDataset: {self.root} holds no table of labels: {LABELS[0]} or {LABELS[1]},"
                " with the columns file and amount; gtnet label writes a page to make it on"
            )
        if len(found) > 1:
            names = " and ".join(sorted((path.name for path in found), reverse=True))
            raise ValueError(f"FolderDataset: {self.root} holds {names}; keep one")
        own = Faults() if faults is None else faults
        self.path = found[0]
        self.items: list[tuple[str, str]] = []
        self.rows: list[Row] = []
        self.rewritten: list[tuple[str, str, str]] = []
        rows = table(self.path, f"{_FILE} {TEXT}", own)
        corrected = self._corrections({row.first(*_FILE.split("|")) for row in rows}, own)
        writers: list[str] = []
        for original in rows:
            row = corrected.get(original.first(*_FILE.split("|")), original)
            text = self._text(row, own)
            if text is not None:
                self.items.append((row.first(*_FILE.split("|")), text))
                self.rows.append(row)
                writers.append(next((original[n] for n in _WRITER if n in original.cells), ""))
        self.writers = writers if any(writers) else None
        if faults is None:
            own.raise_any()

    def _corrections(self, files: set[str], faults: Faults) -> dict[str, Row]:
        """The rows of corrections.tsv by their file."""
        path = self.root / CORRECTIONS
        found: dict[str, Row] = {}
        for row in table(path, f"{_FILE} {TEXT}", faults) if path.is_file() else []:
            name = row.first(*_FILE.split("|"))
            if name not in files:
                faults.add(row.line, f"{row.place}: {name} is not in {self.path.name}")
            found[name] = row
        return found

    def _text(self, row: Row, faults: Faults) -> str | None:
        """The text of a row as the grammar writes it; None after a fault."""
        name, text = row.first(*_FILE.split("|")), row.first(*TEXT.split("|"))
        if not name or not text:
            faults.add(row.line, f"{row.place}: no {'label' if name else 'file name'}")
            return None
        if self.grammar not in GRAMMARS:
            return text
        try:
            written = canonical(text, self.grammar)
        except ValueError as error:
            faults.add(row.line, f"{row.place}, {name}: {error}")
            return None
        if written != text:
            self.rewritten.append((row.place, text, written))
        return written

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        """The image, grey, or what else the file holds, and its amount as the grammar writes it."""
        return read_input(self.file(index)), self.text(index)

    def text(self, index: int) -> str:
        """The text alone, without its image."""
        return self.items[index][1]

    def name(self, index: int) -> str:
        """The file name of an image, as the table writes it."""
        return self.items[index][0]

    def place(self, index: int) -> str:
        """Where the table speaks of an image: its path and line."""
        return self.rows[index].place

    def file(self, index: int) -> Path:
        """Where an image is: below the folder or its folder `images`, slashes of either kind."""
        name = self.name(index)
        names = [name, name.replace("\\", "/")] if "\\" in name else [name]
        for folder in (self.root, self.root / "images"):
            for one in names:
                path = folder / one
                if path.exists() or path.with_name(path.name.rpartition("#")[0] or "-").exists():
                    return path
        return self.root / name

    def like(self, name: str) -> str:
        """A file of the folder whose name is nearly this one; empty if there is none."""
        known = {p.name.casefold(): p.name for p in self.root.iterdir() if p.is_file()}
        near = get_close_matches(Path(name).name.casefold(), known, n=1, cutoff=0.8)
        return known[near[0]] if near else ""
