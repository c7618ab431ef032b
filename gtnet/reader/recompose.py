"""Lines recomposed from real ones: other strings, written with the characters people wrote.

What a line says is what a recognizer must learn not to depend on. So glyphs are taken out of
their lines and set beside each other anew, and lines are cut in gaps and joined with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage

from gtnet.reader.glyphs import Glyph, Written

_BODY = 40  # height of the body of a recomposed line, pixels


@dataclass(frozen=True)
class RecomposeConfig:
    """How lines are recomposed; shares are of all lines.

    `spliced`: joined from parts of two lines, where whole lines are given; `foreign`: written with
    the foreign glyphs, where such are given; `one_hand`: written with glyphs of neighbouring
    lines; `marked`: with separators drawn; `trailed`: with something drawn behind; `ruled`: with
    printed rules. `longest`: most characters.
    """

    spliced: float = 0.3
    foreign: float = 0.0
    one_hand: float = 0.6
    marked: float = 0.6
    trailed: float = 0.35
    ruled: float = 0.35
    longest: int = 8


@dataclass(frozen=True)
class _Source:
    """Glyphs by character, and where those of each writer are."""

    glyphs: Sequence[Glyph]
    by_character: dict[str, list[int]] = field(default_factory=dict)
    by_writer: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, glyphs: Sequence[Glyph]) -> _Source:
        source = cls(glyphs)
        for i, glyph in enumerate(glyphs):
            source.by_character.setdefault(glyph.character, []).append(i)
            source.by_writer.setdefault(glyph.writer, []).append(i)
        return source

    def near(self, writer: int, reach: int = 4) -> dict[str, list[int]]:
        """Glyphs by character of a writer and the neighbouring ones."""
        found: dict[str, list[int]] = {}
        for other in range(writer - reach, writer + reach + 1):
            for i in self.by_writer.get(other, ()):
                found.setdefault(self.glyphs[i].character, []).append(i)
        return found


class Recomposed:
    """A `Dataset` of lines that nobody wrote, made of what people wrote: item i is always the same.

    Arguments: `glyphs` to write with; `lines` to splice, with boxes, and to take marks from;
    `foreign` glyphs, from one or more other sources, each as likely; `lengths` of the strings to
    imitate; `grammar`, `size`, `seed` as of other data sets. Items are images, dark ink on light
    paper, and what they say.
    Raises ValueError without glyphs.
    """

    def __init__(
        self,
        glyphs: Sequence[Glyph],
        lines: Sequence[Written] = (),
        foreign: Sequence[Sequence[Glyph]] = (),
        *,
        lengths: Sequence[int] = (3, 4, 5, 6),
        grammar: str = "digit_string",
        config: RecomposeConfig | None = None,
        size: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        others = [_Source.of(source) for source in foreign if source]
        if not glyphs and not others:
            raise ValueError("Recomposed: no glyphs to write with")
        self.config = config or RecomposeConfig()
        self.grammar, self.size, self.seed = grammar, size, seed
        self.lines, self.lengths = list(lines), [n for n in lengths if n > 0] or [4]
        self._own = [_Source.of(glyphs)] if glyphs else others
        self._foreign = others
        self._trails = [trail for line in lines if (trail := _trail(line)) is not None]

    def __len__(self) -> int:
        """Number of lines."""
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        """An image, uint8 [height, width], and what it says."""
        ink, text = self.ink(index)
        return (255 - 0.7 * ink.astype(np.float32)).astype(np.uint8), text

    def ink(self, index: int) -> tuple[np.ndarray, str]:
        """The ink of an item, uint8 [height, width], and what it says."""
        if not -self.size <= index < self.size:
            raise IndexError(f"Recomposed: item {index} of {self.size}")
        rng = np.random.default_rng([self.seed, 7, index % self.size])
        if len(self.lines) > 1 and rng.random() < self.config.spliced:
            return self._spliced(rng)
        return self._composed(rng)

    def _composed(self, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        config = self.config
        foreign = bool(self._foreign) and rng.random() < config.foreign
        sources = self._foreign if foreign else self._own
        source = sources[int(rng.integers(len(sources)))]
        count = int(rng.choice(self.lengths)) if rng.random() < 0.75 else 0
        count = min(config.longest, count or int(rng.integers(1, config.longest + 1)))
        characters = sorted(source.by_character)
        text = "".join(rng.choice(characters, count))
        near = None
        if rng.random() < config.one_hand:
            near = source.near(source.glyphs[int(rng.integers(len(source.glyphs)))].writer)
        pen = _Pen(rng)
        marks = _marks(count, rng) if rng.random() < config.marked else {}
        if rng.random() < 0.06:
            pen.mark(str(rng.choice(list("$#*-"))), rng)
        for place, character in enumerate(text):
            choice = (near or {}).get(character) or source.by_character[character]
            pen.glyph(source.glyphs[int(rng.choice(choice))], rng)
            if place in marks:
                pen.mark(marks[place], rng)
        if rng.random() < config.trailed:
            if self._trails and rng.random() < 0.6:
                trail = self._trails[int(rng.integers(len(self._trails)))]
                pen.ink(trail.ink, trail.size, trail.rise, rng.uniform(0.0, 0.3))
            else:
                for mark in str(rng.choice([".", ",", "-", ".-", "=", ",-", "--", "#"])):
                    pen.mark(mark, rng)
        ink = pen.drawn(rng)
        if rng.random() < config.ruled:
            ink = _ruled(ink, rng)
        return _scanned(ink, rng), text

    def _spliced(self, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """The beginning of one line and the end of another, cut in gaps between characters."""
        first = self.lines[int(rng.integers(len(self.lines)))]
        second = self.lines[int(rng.integers(len(self.lines)))]
        left, right = _gap(first, rng), _gap(second, rng)
        text = "".join(c for c, _ in first.layout[: left[0]])
        text += "".join(c for c, _ in second.layout[right[0] :])
        if not 0 < len(text) <= self.config.longest:
            return self._composed(rng)
        scale = first.body / second.body
        other = _scaled(second.ink, scale)
        parts = [first.ink[:, : left[1]], other[:, round(right[1] * scale) :]]
        shift = round(first.line[1] - second.line[1] * scale)
        top = min(0, shift)
        bottom = max(parts[0].shape[0], parts[1].shape[0] + shift)
        canvas = np.zeros((bottom - top, parts[0].shape[1] + parts[1].shape[1]), np.uint8)
        canvas[-top : -top + parts[0].shape[0], : parts[0].shape[1]] = parts[0]
        row = shift - top
        canvas[row : row + parts[1].shape[0], parts[0].shape[1] :] = parts[1]
        return canvas, text


def _gap(line: Written, rng: np.random.Generator) -> tuple[int, int]:
    """A gap no character reaches over: how many characters stand before it, and its column."""
    boxes = [box for _, box in line.layout]
    gaps = [(0, max(0, boxes[0][0] - 2)), (len(boxes), line.ink.shape[1])]
    for place in range(1, len(boxes)):
        end, start = max(b[2] for b in boxes[:place]), min(b[0] for b in boxes[place:])
        if start >= end:
            gaps += 3 * [(place, (end + start) // 2)]
    return gaps[int(rng.integers(len(gaps)))]


def _scaled(ink: np.ndarray, scale: float, stretch: float = 1.0) -> np.ndarray:
    height, width = ink.shape
    size = (max(2, round(width * scale * stretch)), max(2, round(height * scale)))
    return np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BILINEAR))


def _trail(line: Written) -> Glyph | None:
    """What stands behind the last character of a line, if it is small and written, not printed."""
    right = max(box[2] for _, box in line.layout) + 1
    top, bottom = (max(0, round(row)) for row in line.line)
    ink = line.ink[top : bottom + round(0.2 * line.body), right:]
    strong = ink > 140
    if ink.shape[1] < 3 or not 8 < np.count_nonzero(strong) < 0.35 * ink.size:
        return None
    if strong.mean(axis=1).max() > 0.85 and ink.shape[1] > 0.5 * line.body:
        return None  # a rule
    rows, columns = (np.flatnonzero(strong.any(axis=a)) for a in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if ink.shape[1] > 1.2 * line.body or min(ink.shape) < 2:
        return None
    rise = (line.line[1] - (top + rows[-1] + 1)) / line.body
    return Glyph(ink, "", len(ink) / line.body, rise, 0)


def _marks(count: int, rng: np.random.Generator) -> dict[int, str]:
    """Separators by the place of the digit they stand behind: of thousands, and of cents."""
    thousand = str(rng.choice([".", ".", ".", ",", ":"]))
    cents = 2 if count > 3 and rng.random() < 0.25 else 0
    marks = {
        place: thousand
        for place in range(count - cents)
        if (count - cents - 1 - place) % 3 == 0 and place < count - cents - 1
    }
    if cents:
        marks[count - cents - 1] = str(rng.choice([",", ".", "-"]))
    return marks


class _Pen:
    """Writes glyphs and marks beside each other, in one manner."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.gap = float(rng.uniform(-0.06, 0.3))
        self.jitter = float(rng.uniform(0.02, 0.14))
        self.stretch = float(np.exp(rng.normal(0, 0.12)))
        self.wobble = float(rng.uniform(0.0, 0.07))
        self.slope = float(rng.normal(0, 0.03))
        self.width = float(rng.uniform(2.2, 4.5))
        self.strength = float(rng.uniform(0.75, 1.0))
        self.at = 0.0
        self.parts: list[tuple[int, int, np.ndarray]] = []

    def ink(self, ink: np.ndarray, size: float, rise: float, gap: float) -> None:
        """Set some ink: its height and rise in heights of the body, the gap before it too."""
        scale = size * _BODY / max(1, len(ink))
        drawn = _scaled(ink, scale, self.stretch)
        self.at += gap * _BODY
        foot = -rise * _BODY + self.slope * self.at
        self.parts.append((round(self.at), round(foot) - len(drawn), drawn))
        self.at += drawn.shape[1]

    def glyph(self, glyph: Glyph, rng: np.random.Generator) -> None:
        size = float(np.clip(glyph.size, 0.35, 1.8)) * float(np.exp(rng.normal(0, 0.08)))
        rise = float(np.clip(glyph.rise, -0.6, 0.8)) + rng.normal(0, self.wobble)
        self.ink(glyph.ink, size, rise, max(-0.3, self.gap + rng.normal(0, self.jitter)))

    def mark(self, mark: str, rng: np.random.Generator) -> None:
        """A mark drawn with strokes: none of them is a glyph of the data."""
        wide, high, rise = _SHAPES[mark]
        factor = float(np.exp(rng.normal(0, 0.25)))
        size = max(self.width, factor * high * _BODY), max(self.width, factor * wide * _BODY)
        ink = _stroke(mark, size, self.width, rng)
        rise = rise + rng.normal(0, 0.06) - len(ink) / _BODY * (mark not in "-=#$*")
        self.ink(ink, len(ink) / _BODY, rise, rng.uniform(0.0, 0.2))

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        left = min(x for x, _, _ in self.parts)
        top = min(y for _, y, _ in self.parts)
        right = max(x + ink.shape[1] for x, _, ink in self.parts)
        bottom = max(y + ink.shape[0] for _, y, ink in self.parts)
        edge = [int(v) for v in rng.integers(0, 10, 4)]
        canvas = np.zeros((bottom - top + edge[0] + edge[1], right - left + edge[2] + edge[3]))
        canvas = canvas.astype(np.uint8)
        for x, y, ink in self.parts:
            row, column = y - top + edge[0], x - left + edge[2]
            place = canvas[row : row + ink.shape[0], column : column + ink.shape[1]]
            np.maximum(place, ink, out=place)
        return (canvas * self.strength).astype(np.uint8)


_SHAPES = {
    ".": (0.08, 0.08, 0.08),
    ",": (0.1, 0.25, 0.1),
    ":": (0.08, 0.4, 0.45),
    "-": (0.45, 0.06, 0.35),
    "=": (0.4, 0.25, 0.25),
    "#": (0.7, 0.7, 0.1),
    "$": (0.5, 1.1, -0.05),
    "*": (0.35, 0.35, 0.35),
}
"""Width, height and rise of the marks, in heights of the body."""

_STROKES: dict[str, list[tuple[float, float, float, float]]] = {
    ".": [(0.5, 0.5, 0.5, 0.5)],
    ",": [(0.7, 0.0, 0.2, 1.0)],
    ":": [(0.5, 0.0, 0.5, 0.0), (0.5, 1.0, 0.5, 1.0)],
    "-": [(0.0, 0.5, 1.0, 0.5)],
    "=": [(0.0, 0.1, 1.0, 0.1), (0.0, 0.9, 1.0, 0.9)],
    "#": [(0.3, 0, 0.2, 1), (0.8, 0, 0.7, 1), (0, 0.35, 1, 0.35), (0, 0.7, 1, 0.7)],
    "$": [
        (0.9, 0.2, 0.2, 0.25),
        (0.2, 0.25, 0.8, 0.7),
        (0.8, 0.7, 0.1, 0.8),
        (0.55, 0, 0.45, 1),
    ],
    "*": [(0, 0.3, 1, 0.7), (0, 0.7, 1, 0.3), (0.5, 0, 0.5, 1)],
}
"""Strokes of the marks, from (x, y) to (x, y) in their box, y downwards."""


def _stroke(
    mark: str, size: tuple[float, float], width: float, rng: np.random.Generator
) -> np.ndarray:
    """The ink of a mark of a size (height, width), drawn with a pen of a width, pixels."""
    edge = width / 2 + 1
    height, length = (int(np.ceil(s + 2 * edge)) for s in size)
    y, x = np.mgrid[0:height, 0:length].astype(np.float32)
    ink = np.zeros((height, length), np.float32)
    for ends in _STROKES[mark]:
        moved = np.asarray(ends) + rng.normal(0, 0.08, 4)
        x0, x1 = edge + moved[[0, 2]] * (length - 2 * edge)
        y0, y1 = edge + moved[[1, 3]] * (height - 2 * edge)
        along = (x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)
        along = np.clip(along / max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-6), 0, 1)
        distance = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
        np.maximum(ink, np.clip(width / 2 + 0.5 - distance, 0, 1), out=ink)
    return (255 * ink).astype(np.uint8)


def _ruled(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The line with printed rules over or under it, thin ones all over it, or the side of a box."""
    ink = np.pad(ink, ((int(rng.integers(0, 12)), int(rng.integers(0, 12))), (0, 0)))
    height, width = ink.shape
    rules = np.zeros((height, width), np.float32)
    if rng.random() < 0.5:
        for row in rng.choice([0.03, 0.06, 0.92, 0.97], int(rng.integers(1, 3)), replace=False):
            thick = int(rng.integers(1, 3))
            first = int(row * (height - thick))
            rules[first : first + thick] = rng.uniform(0.4, 1.0)
    else:
        step, slope = rng.uniform(3, 9), rng.normal(0, 0.15)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        wave = np.sin(x * rng.uniform(0.02, 0.12)) * rng.uniform(0, 3)
        rules = rng.uniform(0.05, 0.35) * (np.mod(y + slope * x + wave, step) < 1.2)
    if rng.random() < 0.15:
        column = int(rng.choice([0, 1, width - 2, width - 3]))
        rules[:, max(0, column) : column + 2] = rng.uniform(0.4, 1.0)
    return np.maximum(ink, (255 * rules).astype(np.uint8))


def _scanned(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The line with the softness and grain of a scan."""
    soft = ndimage.gaussian_filter(ink.astype(np.float32), rng.uniform(0.2, 1.0), truncate=2.0)
    soft += rng.uniform(0, 10) * rng.standard_normal(ink.shape, np.float32)
    return np.clip(soft, 0, 255).astype(np.uint8)
