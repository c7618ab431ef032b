"""A page in the browser to label images on, or to correct labels: one file, no server."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from gtnet.reader.checkpoint import write_file
from gtnet.reader.figures import image_uri
from gtnet.reader.folder import CORRECTIONS, LABELS
from gtnet.reader.images import read_images
from gtnet.reader.tables import table

_WIDE, _TALL = 900, 200  # pixels of a picture on the page
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pdf", ".pgm"}


@dataclass(frozen=True)
class Card:
    """One image on the page: its name in the table, what is known of it, and a remark (HTML)."""

    file: str
    image: np.ndarray
    text: str = ""
    remark: str = ""


def write_page(
    path: Path,
    cards: Sequence[Card],
    *,
    title: str,
    lead: str,
    saves: str,
    every: bool,
    columns: Sequence[str] = ("file", "amount"),
    earlier: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a page with a field beside each image and a button that saves a table.

    `saves`: the name of the table; `columns`: of it, "label" for the text before the change, any
    other but "file" for the text typed; `every`: whether it has all rows with a text, or only those
    that were changed; `earlier`: its rows of other files, by file. What was typed is kept by the
    browser.
    """
    body = "\n".join(_card(number, card) for number, card in enumerate(cards))
    facts = {
        "files": [card.file for card in cards],
        "every": every,
        "saves": saves,
        "columns": list(columns),
        "earlier": {file: list(row) for file, row in (earlier or {}).items()},
    }
    told = json.dumps(facts).replace("<", "\\u003c")
    page = Template(_PAGE).substitute(
        title=html.escape(title),
        lead=lead,
        cards=body,
        facts=told,
        key=json.dumps(str(path.resolve())).replace("<", "\\u003c"),
        saves=html.escape(saves),
    )
    write_file(path, page.encode("utf-8"))


def _card(number: int, card: Card) -> str:
    text = html.escape(card.text, quote=True)
    return (
        f'<li><img src="{image_uri(_small(card.image))}" alt=""><div><label>'
        f"<span class=file>{html.escape(card.file)}</span>"
        f'<input data-number="{number}" data-text="{text}" value="{text}" spellcheck="false"'
        f' autocomplete="off"></label>{card.remark}</div></li>'
    )


def _small(image: np.ndarray) -> np.ndarray:
    factor = max(1, -(-image.shape[1] // _WIDE), -(-image.shape[0] // _TALL))
    return np.asarray(Image.fromarray(image).reduce(factor)) if factor > 1 else image


def label_folder(root: Path, path: Path) -> tuple[int, list[str]]:
    """Write a page to label all images of a folder on, those below `images` too.

    Labels that the folder has already are filled in. Returns the number of images, and errors of
    files that could not be opened. Raises ValueError where there are no images.
    """
    known: dict[str, str] = {}
    if any(path.name.casefold() in LABELS for path in root.iterdir() if path.is_file()):
        from gtnet.reader.folder import FolderDataset

        data = FolderDataset(root, grammar="")
        known = {data.name(i): data.text(i) for i in range(len(data))}
    cards: list[Card] = []
    errors: list[str] = []
    for folder in (root, root / "images"):
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if file.suffix.lower() not in _SUFFIXES:
                continue
            try:
                for name, image in read_images(file):
                    short = Path(name).name
                    cards.append(Card(short, image, known.get(short, "")))
            except ValueError as error:
                errors.append(str(error))
    if not cards:
        raise ValueError(f"{root} holds no image to label")
    write_page(
        path,
        cards,
        title=f"Label {root.name or root}",
        lead="Type what each image says, Enter goes to the next. Then save the table into the"
        " folder of the images. Leave out what cannot be read.",
        saves=LABELS[0],
        every=True,
    )
    return len(cards), errors


def corrections_page(path: Path, cards: Sequence[Card], data: str, root: str | None) -> None:
    """Write a page of doubtful labels to correct; it saves a table of the changed ones.

    `data`, `root`: name and folder of the data, whose earlier corrections the table keeps.
    """
    columns = ("file", "label", "drawn") if data == "car_a" else ("file", "amount")
    known = Path(root or ".") / CORRECTIONS
    rows = table(known, " ".join(columns)) if known.is_file() else []
    write_page(
        path,
        cards,
        title="Labels in doubt",
        columns=columns,
        earlier={row["file"]: [row[name] for name in columns] for row in rows},
        lead="The labels that the reader finds least likely, first the least. Where the label is"
        f" wrong, correct it; then save <code>{CORRECTIONS}</code> beside the labels, and train"
        " again. Where the label is right, the image is one to learn from: leave it.",
        saves=CORRECTIONS,
        every=False,
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1f2328; --quiet: #656d76; --line: #d8dbdf; --new: #0072b2; --old: #b34a00; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #f6f7f8; font: 16px/1.45 system-ui,
  "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
header { position: sticky; top: 0; background: #fff; border-bottom: 1px solid var(--line);
  padding: .9rem 1.5rem; display: flex; flex-wrap: wrap; gap: .4rem 2rem; align-items: center; }
h1 { font-size: 1.15rem; margin: 0; }
header p { margin: 0; color: var(--quiet); font-size: .9rem; flex: 1 1 26rem; }
button { font: inherit; padding: .45rem 1rem; border: 0; border-radius: .4rem; color: #fff;
  background: var(--new); cursor: pointer; }
ul { list-style: none; margin: 0; padding: 1.25rem; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); }
li { background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .8rem;
  display: flex; flex-direction: column; justify-content: space-between; gap: .7rem; }
li img { max-width: 100%; max-height: 9rem; min-height: 3.2rem; object-fit: contain;
  align-self: center; }
.file { display: block; font-size: .8rem; color: var(--quiet); overflow-wrap: anywhere; }
input { font: inherit; font-size: 1.1rem; width: 100%; padding: .3rem .5rem;
  border: 1px solid var(--line); border-radius: .3rem; font-variant-numeric: tabular-nums; }
input.changed { border-color: var(--new); box-shadow: 0 0 0 1px var(--new); }
.remark { margin: .45rem 0 0; font-size: .88rem; color: var(--quiet); }
.remark b { color: var(--old); }
</style>
</head>
<body>
<header><h1>$title</h1><p>$lead</p><span id=count></span>
<button id=save>Save $saves</button></header>
<ul>$cards</ul>
<script>
"use strict";
const facts = $facts, key = $key;
const fields = [...document.querySelectorAll("input")];
const kept = JSON.parse(localStorage.getItem(key) || "{}");
const changed = field => field.value.trim() !== field.dataset.text;
function look() {
  for (const field of fields) field.classList.toggle("changed", changed(field));
  const done = fields.filter(facts.every ? f => f.value.trim() : changed).length;
  document.getElementById("count").textContent =
    done + (facts.every ? " of " + fields.length + " labelled" : " corrected");
}
for (const field of fields) {
  const file = facts.files[field.dataset.number];
  if (file in kept) field.value = kept[file];
  field.addEventListener("input", () => {
    kept[file] = field.value;
    localStorage.setItem(key, JSON.stringify(kept));
    look();
  });
  field.addEventListener("keydown", event => {
    if (event.key !== "Enter") return;
    const next = fields[Number(field.dataset.number) + (event.shiftKey ? -1 : 1)];
    if (next) { next.focus(); next.select(); next.scrollIntoView({ block: "center" }); }
  });
}
document.getElementById("save").addEventListener("click", () => {
  const cell = text => /["\\t\\n\\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  const rows = new Map(Object.entries(facts.earlier));
  for (const f of fields.filter(facts.every ? f => f.value.trim() : changed)) {
    const file = facts.files[f.dataset.number];
    rows.set(file, facts.columns.map(name =>
      name === "file" ? file : name === "label" ? f.dataset.text : f.value.trim()));
  }
  const lines = [facts.columns, ...rows.values()].map(row => row.map(cell).join("\\t"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([[...lines, ""].join("\\n")],
    { type: "text/tab-separated-values" }));
  link.download = facts.saves;
  link.click();
});
look();
</script>
</body>
</html>
"""
