"""gtnet's docstrings as Markdown: each part (Arguments, Result, Raises, ...) a paragraph."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

PARTS = "Arguments|Args|Attributes|Result|Returns|Raises|Complexity|Gradient|Source|Shapes"
# Where a part begins: at a line's start, or after a sentence on the same line.
BEGIN = re.compile(rf"(?:^|(?<=[.;)])\s+)({PARTS})(:|(?<=Raises)(?= [A-Z]\w*Error))", re.MULTILINE)
ITEM = re.compile(r"^(\S[^:]*): ?(.*)$")


class HouseStyle(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """The docstring with its parts in bold, a blank line before each, and lists of names."""
    paragraphs = [_paragraph(p) for p in re.split(r"\n\s*\n", textwrap.dedent(docstring))]
    return "\n\n".join(paragraphs)


def _paragraph(text: str) -> str:
    if text.startswith("    "):  # an example
        return text
    pieces = BEGIN.split(text)
    parts = [pieces[0].strip()]
    for name, colon, body in zip(pieces[1::3], pieces[2::3], pieces[3::3]):
        parts.append(_part(name, colon, body))
    return "\n\n".join(part for part in parts if part)


def _part(name: str, colon: str, body: str) -> str:
    head = f"**{name}{colon}**"
    if colon and body.startswith("\n    "):
        items = textwrap.dedent(body.strip("\n"))
        lines = re.sub(r"\n(?=\s)\s+", " ", items).splitlines()
        if all(ITEM.match(line) for line in lines):
            return f"{head}\n\n" + "\n".join(_item(line) for line in lines)
    return f"{head} {' '.join(body.split())}" if "\n- " not in body else f"{head}{body}"


def _item(line: str) -> str:
    found = ITEM.match(line)
    assert found is not None
    names = ", ".join(f"`{name.strip('` ')}`" for name in found[1].split(","))
    return f"- {names}: {found[2]}"
