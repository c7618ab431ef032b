"""Pictures, which notebooks display and which can be saved."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gtnet._files import replace_file
from gtnet.draw.render import FORMATS, GraphvizMissingError, render
from gtnet.draw.style import plot_style


class Picture:
    """A picture that is rendered on demand; notebooks display it."""

    def render(self, kind: str) -> bytes:
        """The picture as "svg", "png" (144 dots per inch) or "pdf".

        Raises: ValueError for another kind; GraphvizMissingError if Graphviz is missing.
        """
        raise NotImplementedError

    @property
    def svg(self) -> str:
        """The picture as one self-contained SVG element."""
        return self.render("svg").decode()

    @property
    def png(self) -> bytes:
        """The picture as the bytes of a PNG file."""
        return self.render("png")

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix (.svg, .png, .pdf) chooses the format.

        Returns: the path written. Raises: ValueError for another suffix; as `render`.
        """
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind not in FORMATS:
            raise ValueError(wrong_suffix(path, FORMATS))
        replace_file(path, self.render(kind))
        return path

    def _repr_svg_(self) -> str | None:
        try:
            return self.svg
        except GraphvizMissingError:
            return None


def wrong_suffix(path: Path, expected: tuple[str, ...]) -> str:
    """The error message for a file name without a known format."""
    *most, last = (f".{kind}" for kind in expected)
    return (
        f"draw: the path {path.name} ends in {path.suffix or 'no suffix'!r}, expected "
        f"{', '.join(most)} or {last}"
    )


@dataclass(frozen=True, repr=False)
class GraphPicture(Picture):
    """A drawn graph: DOT text now, laid out by Graphviz later.

    Attributes:
        dot: the DOT text.
        images: PNG files of the images on arcs, by the name the DOT text uses.
    """

    dot: str
    images: Mapping[str, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"GraphPicture({len(self.dot):,} characters of DOT, {len(self.images)} images)"

    def render(self, kind: str) -> bytes:
        """The picture as "svg", "png" or "pdf"; see `Picture.render`."""
        return render(self.dot, kind, self.images)

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix (.dot, .svg, .png, .pdf) chooses the format.

        Images on the arcs of a .dot file are written beside it, into `<stem>-images/`.

        Returns: the path written.
        Raises: ValueError for another suffix; GraphvizMissingError if Graphviz is missing, after
        writing the DOT text in place of the picture.
        """
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind in ("dot", "gv"):
            return self._save_dot(path)
        if kind not in FORMATS:
            raise ValueError(wrong_suffix(path, ("dot", *FORMATS)))
        try:
            return super().save(path)
        except GraphvizMissingError as error:
            text = self._save_dot(path.with_suffix(".dot"))
            message = f"draw: cannot make {path.name}, wrote {text.name} instead; {error}"
            raise GraphvizMissingError(message) from None

    def _save_dot(self, path: Path) -> Path:
        dot = self.dot
        folder = path.with_name(path.stem + "-images")
        for name, data in self.images.items():
            folder.mkdir(exist_ok=True)
            replace_file(folder / name, data)
            dot = dot.replace(f'SRC="{name}"', f'SRC="{folder.name}/{name}"')
        replace_file(path, dot)
        return path


@dataclass(frozen=True)
class PlotPicture(Picture):
    """A picture that matplotlib draws. Attributes: `figure`, a matplotlib Figure."""

    figure: Any

    def render(self, kind: str) -> bytes:
        """The picture as "svg", "png" or "pdf"; see `Picture.render`."""
        import matplotlib as mpl

        if kind not in FORMATS:
            raise ValueError(f"render: format is {kind!r}, expected one of {', '.join(FORMATS)}")
        buffer = io.BytesIO()
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind]
        with mpl.rc_context(plot_style() | {"svg.fonttype": "none", "svg.hashsalt": "gtnet"}):
            self.figure.savefig(buffer, format=kind, dpi=144, metadata=undated)
        data = buffer.getvalue()
        return data[data.index(b"<svg") :] if kind == "svg" else data
