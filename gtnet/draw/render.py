"""DOT text to pictures: the ``dot`` program, or the Graphviz library inside pygraphviz's wheel."""

from __future__ import annotations

import base64
import os
import re
import shutil
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gtnet.draw.style import FONT, FONT_FAMILY

FORMATS = ("svg", "png", "pdf")
_BEGINS = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}
_GRAPHVIZ = threading.Lock()  # the library is not thread-safe, and standard error is global
_FONTCONFIG = re.compile(rb"^Fontconfig .*\n(?:\t.*\n)*", re.MULTILINE)  # a list is indented below
_IDLE = re.compile(r'<!--.*?-->\n?|<title>.*?</title>\n?|(?<=<g) id="[^"]*"', re.DOTALL)
_MISSING = (
    "Graphviz is missing: pip install pygraphviz (its wheel contains the library), or install the "
    "dot program and pip install graphviz"
)


class GraphvizMissingError(RuntimeError):
    """Graphviz is missing: nothing on this machine can lay out a graph."""


def render(dot: str, format: str, images: Mapping[str, bytes] | None = None) -> bytes:
    """Lay out and draw DOT text.

    Args:
        dot: DOT text; its ``IMG SRC`` names are the keys of ``images``.
        format: "svg", "png" (144 dots per inch) or "pdf".
        images: PNG files by name; an SVG carries them inside itself.

    Returns:
        The bytes of the picture.

    Raises:
        ValueError: another format, or Graphviz gives no picture.
        GraphvizMissingError: neither the ``dot`` program nor pygraphviz is installed.
    """
    if format not in FORMATS:
        raise ValueError(f"render: format is {format!r}, expected one of {', '.join(FORMATS)}")
    images = images or {}
    with tempfile.TemporaryDirectory(prefix="gtnet-draw-") as folder:
        for name, data in images.items():
            (Path(folder) / name).write_bytes(data)
            dot = dot.replace(f'SRC="{name}"', f'SRC="{(Path(folder) / name).as_posix()}"')
        output = lay_out(dot, format)
        if _BEGINS[format] not in output[:1024]:
            raise ValueError(
                f"render: Graphviz gave {len(output)} bytes that are no {format.upper()}; try"
                " another format"
            )
        return _inline(output, images).encode() if format == "svg" else output


def png_bytes(image: np.ndarray) -> bytes:
    """Encode an image as a PNG file.

    Args:
        image: [height, width] grey or [height, width, 3] colour; uint8, or float in [0, 1].

    Returns:
        The bytes of the file.

    Raises:
        ValueError: another shape, or an image without pixels.
    """
    pixels = np.asarray(image)
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(
            f"png_bytes: image has shape {pixels.shape}, expected [height, width] or "
            "[height, width, 3] with at least one pixel"
        )
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels.astype(float), 0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 2
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_uri(png: bytes) -> str:
    """A PNG file as text that an HTML or SVG file can carry."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def lay_out(dot: str, format: str) -> bytes:
    """What Graphviz makes of DOT text, in any format it has; names of images are paths.

    Raises: GraphvizMissingError.
    """
    if shutil.which("dot"):
        try:
            import graphviz
        except ImportError:
            pass
        else:
            source = dot.replace("digraph {", "digraph { dpi=144;", 1) if format == "png" else dot
            return graphviz.pipe("dot", format, source.encode(), quiet=True)
    try:
        import pygraphviz
    except ImportError:
        raise GraphvizMissingError(_MISSING) from None
    with _GRAPHVIZ, warnings.catch_warnings(), _silent_fontconfig():
        warnings.simplefilter("ignore", RuntimeWarning)
        args = "-Gdpi=144" if format == "png" else ""
        return pygraphviz.AGraph(string=dot).draw(format=format, prog="dot", args=args)


@contextmanager
def _silent_fontconfig() -> Iterator[None]:
    """Drops the lines that Fontconfig prints to standard error; all others are passed on.

    The wheel's Fontconfig is older than the system's configuration, and complains about it.
    """
    try:
        original = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)  # Fontconfig is C: it does not ask Python's sys.stderr
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            printed.seek(0)
            os.write(2, _FONTCONFIG.sub(b"", printed.read()))


def _inline(svg: bytes, images: Mapping[str, bytes]) -> str:
    text = svg.decode()
    text = _IDLE.sub("", text[text.index("<svg") :])
    text = text.replace(f'font-family="{FONT}"', f'font-family="{FONT_FAMILY}"')

    def embed(match: re.Match[str]) -> str:
        return f'xlink:href="{data_uri(images[Path(match[1]).name])}"'

    return re.sub(r'xlink:href="([^"]+\.png)"', embed, text)
