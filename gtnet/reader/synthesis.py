"""Amounts written by an imaginary hand: digit samples and drawn marks on the paper of a check.

Everything drawn follows from one `numpy.random.Generator`, so equal generators draw equal images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels; x1 and y1 are exclusive."""


@dataclass(frozen=True)
class Mark:
    """One character to draw: its size and rise in body heights, and a space before it."""

    character: str
    size: float = 1.0
    rise: float = 0.0
    space: float = 0.0


@dataclass(frozen=True)
class Drawing:
    """A drawn line: the image, what stands where, and the rows of the line's body."""

    image: np.ndarray
    layout: list[tuple[str, Box]]
    line: tuple[float, float]


@dataclass(frozen=True)
class Hand:
    """How one image is written: sizes in pixels, slant in columns per row, ink in grey levels."""

    body: float
    width: float
    slant: float
    pen: float
    bold: float
    ink: float
    spread: float
    wobble: float
    touching: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Hand:
        """A hand drawn at random."""
        return cls(
            body=rng.uniform(28, 38),
            width=rng.uniform(0.85, 1.15),
            slant=float(np.clip(rng.normal(0.08, 0.14), -0.2, 0.45)),
            pen=rng.uniform(2.4, 4.0),
            bold=rng.uniform(-0.1, 0.0),
            ink=rng.uniform(95, 190),
            spread=rng.uniform(0.04, 0.16),
            wobble=rng.uniform(0.01, 0.05),
            touching=float(rng.beta(1.5, 2.1)),
        )


def write_amount(rng: np.random.Generator) -> tuple[list[Mark], str]:
    """A random amount in a random written form.

    The forms, in this order: fillers `*` or `-`; `$`; fillers; whole units without leading zeros,
    with `,` or `.` between thousands everywhere or nowhere; cents as two digits behind the mark
    that does not separate thousands, as a dash, as a mark and a dash, as hundredths `50/100`, or
    not at all; fillers.

    Returns:
        The marks in reading order, and the canonical amount such as "1234.50".
    """
    length = int(rng.choice(6, p=(0.12, 0.22, 0.28, 0.23, 0.10, 0.05))) + 1
    whole = str(rng.integers(10 ** (length - 1) if length > 1 else 0, 10**length))
    cents = "00" if rng.random() < 0.4 else f"{rng.integers(100):02d}"
    thousands = str(rng.choice(["", ",", "."], p=(0.45, 0.30, 0.25))) if length > 3 else ""
    decimal = {"": str(rng.choice([".", ","])), ",": ".", ".": ","}[thousands]
    marks = _fillers(rng, 0.15)
    if rng.random() < 0.45:
        marks += [Mark("$", rng.uniform(0.95, 1.1)), *_fillers(rng, 0.05)]
    groups = f"{int(whole):,}".replace(",", thousands)
    marks += [Mark(c) for c in groups] + _cents(rng, cents, decimal) + _fillers(rng, 0.2)
    return marks, f"{whole}.{cents}"


def _cents(rng: np.random.Generator, cents: str, decimal: str) -> list[Mark]:
    draw = rng.random()
    if draw < 0.14:
        return _hundredths(rng, cents)
    if cents != "00" or draw < 0.45:
        return [Mark(c) for c in decimal + cents]
    if draw < 0.60:
        return [Mark("-", space=rng.uniform(0, 0.15))]
    if draw < 0.78:
        return [Mark(decimal), Mark("-")]
    return []


def _hundredths(rng: np.random.Generator, cents: str) -> list[Mark]:
    size, drop = rng.uniform(0.62, 0.85), rng.uniform(0, 0.12)
    high, low = 1 - size, -drop
    first = Mark(cents[0], size, high, rng.uniform(0.2, 0.4))
    return [first, Mark(cents[1], size, high), Mark("/"), *(Mark(c, size, low) for c in "100")]


def _fillers(rng: np.random.Generator, share: float) -> list[Mark]:
    if rng.random() >= share:
        return []
    character = str(rng.choice(["*", "-"], p=(0.7, 0.3)))
    return [Mark(character, space=rng.uniform(0, 0.15)) for _ in range(rng.integers(1, 4))]


class Writer:
    """Draws lines of marks with given digit samples.

    Args:
        samples: for each digit 0 .. 9, its sample images, uint8 [height, width], ink bright.
    """

    def __init__(self, samples: Sequence[Sequence[np.ndarray]]) -> None:
        self.samples = [[Image.fromarray(np.pad(s, 1)) for s in digit] for digit in samples]

    def draw(self, marks: Sequence[Mark], rng: np.random.Generator) -> Drawing:
        """A line of marks on paper.

        Args:
            marks: what to write, from left to right; none gives empty paper.
            rng: every choice comes from here.

        Returns:
            The drawing; its image is uint8 [40 .. 70, width].
        """
        hand = Hand.random(rng)
        glyphs = [self._glyph(mark, hand, rng) for mark in marks]
        places = _place(glyphs, marks, hand, rng)
        return _compose(glyphs, places, marks, hand, rng)

    def _glyph(self, mark: Mark, hand: Hand, rng: np.random.Generator) -> _Glyph:
        height = hand.body * mark.size * rng.uniform(0.92, 1.08)
        base = -mark.rise * hand.body + rng.normal(0, 0.03) * hand.body
        if mark.character.isdigit():
            samples = self.samples[int(mark.character)]
            ink = _digit(samples[rng.integers(len(samples))], height, hand, rng)
            return _Glyph(*_trim(ink), base, height)
        return _drawn(mark.character, height, base, hand, rng)


@dataclass(frozen=True)
class _Glyph:
    """Ink float32 [rows, columns]; `top` is its first row, counted down from `base - height`."""

    ink: np.ndarray
    top: int
    base: float
    height: float

    @property
    def first_row(self) -> int:
        """First row of the ink, relative to the base line (negative is above)."""
        return round(self.base - self.height) + self.top


def _trim(ink: np.ndarray) -> tuple[np.ndarray, int]:
    """The ink without blank rows and columns, and how many rows were cut at the top."""
    strong = ink > 0.3
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    if rows.size == 0:
        return ink, 0
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], int(rows[0])


def _digit(sample: Image.Image, height: float, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """A digit sample enlarged smoothly, slanted and turned a little; ink 1 on paper 0."""
    rows, columns = sample.height, sample.width
    scale = (rows - 2) / height
    turn = rng.normal(0, 0.05)
    slant = hand.slant + rng.normal(0, 0.05)
    across = scale / (hand.width * 0.92 * rng.uniform(0.9, 1.1))
    out = (int(1.6 * height), int(height) + 2)
    x, y = out[0] / 2, out[1] / 2
    a, b = across, across * (slant + turn)
    d, e = -turn * scale, scale
    matrix = (a, b, columns / 2 - a * x - b * y, d, e, rows / 2 - d * x - e * y)
    big = sample.transform(out, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    level = 0.45 - hand.bold + rng.normal(0, 0.02)
    return np.clip((np.asarray(big, np.float32) / 255 - level) * 2.2 + 0.5, 0, 1)


def _drawn(
    character: str, height: float, base: float, hand: Hand, rng: np.random.Generator
) -> _Glyph:
    """A mark drawn with strokes. Strokes live in a square of one body height, y downwards."""
    strokes, pen = _STROKES[character](rng), hand.pen * rng.uniform(0.85, 1.2)
    if character == ".":
        pen = max(1.3 * pen, rng.uniform(0.11, 0.15) * height)
    zoom, room = 3, 0.5
    side = round(height * (1 + 2 * room)) * zoom
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    width = max(2, round(pen * zoom))
    for stroke in strokes:
        points = np.asarray(stroke, float)
        points = points + rng.normal(0, 0.4 * hand.wobble, points.shape)
        x = points[:, 0] + hand.slant * (0.5 - points[:, 1])
        xy = (np.stack([x, points[:, 1]], axis=1) + room) * height * zoom
        _stroke(draw, _smooth(xy), width)
    ink = np.asarray(canvas.reduce(zoom), np.float32) / 255
    ink, top = _trim(np.clip(ink * 1.15, 0, 1))
    return _Glyph(ink, top - round(room * height), base, height)


def _stroke(draw: ImageDraw.ImageDraw, points: np.ndarray, width: int) -> None:
    """A line through the points with round ends."""
    xy = [tuple(p) for p in points.tolist()]
    if len(xy) > 1:
        draw.line(xy, fill=255, width=width, joint="curve")
    r = width / 2
    for x, y in (xy[0], xy[-1]):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)


def _smooth(points: np.ndarray) -> np.ndarray:
    """Corners cut twice (Chaikin 1974); lines of one or two points stay as they are."""
    for _ in range(2 if len(points) > 2 else 0):
        a, b = points[:-1], points[1:]
        inner = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], inner, points[-1:]])
    return points


Strokes = list[list[tuple[float, float]]]


def _dot(rng: np.random.Generator) -> Strokes:
    x, y = 0.5, rng.uniform(0.92, 1.0)
    if rng.random() < 0.6:
        return [[(x, y), (x + 0.01, y)]]
    return [[(x, y - 0.03), (x + rng.normal(0, 0.03), y + 0.03)]]


def _comma(rng: np.random.Generator) -> Strokes:
    x, y = 0.5, rng.uniform(0.86, 0.98)
    drop, back = rng.uniform(0.16, 0.3), rng.uniform(0.05, 0.14)
    if rng.random() < 0.5:
        return [[(x, y), (x - back, y + drop)]]
    return [[(x - 0.02, y), (x + 0.04, y + 0.4 * drop), (x - back, y + drop)]]


def _dash(rng: np.random.Generator) -> Strokes:
    y, length = rng.uniform(0.42, 0.66), rng.uniform(0.28, 0.65)
    tilt, bend = rng.normal(0, 0.05), rng.normal(0, 0.03)
    if rng.random() < 0.15:
        bend = 0.07
        wave = [(0.3, y), (0.3 + length / 3, y - bend), (0.3 + 2 * length / 3, y + bend)]
        return [[*wave, (0.3 + length, y - tilt)]]
    return [[(0.3, y), (0.3 + length / 2, y - tilt / 2 + bend), (0.3 + length, y - tilt)]]


def _star(rng: np.random.Generator) -> Strokes:
    count = int(rng.choice([3, 4, 5]))
    radius, turn = rng.uniform(0.2, 0.3), rng.uniform(0, np.pi)
    x, y = 0.5, rng.uniform(0.4, 0.6)
    strokes: Strokes = []
    for angle in turn + np.pi * np.arange(count) / count + rng.normal(0, 0.08, count):
        r = radius * rng.uniform(0.85, 1.1)
        dx, dy = r * np.cos(angle), r * np.sin(angle)
        strokes.append([(x - dx, y - dy), (x + dx, y + dy)])
    return strokes


def _slash(rng: np.random.Generator) -> Strokes:
    over, under = rng.uniform(0.05, 0.2), rng.uniform(0.05, 0.25)
    run, bend = rng.uniform(0.3, 0.55), rng.normal(0, 0.04)
    x = 0.5 + run / 2
    return [[(x, -over), (0.5 + bend, 0.5), (x - run, 1 + under)]]


def _dollar(rng: np.random.Generator) -> Strokes:
    w, top, bottom = rng.uniform(0.17, 0.26), rng.uniform(0.02, 0.1), rng.uniform(0.9, 0.98)
    s = [
        (0.5 + w, top + 0.13),
        (0.5 + 0.3 * w, top - 0.02),
        (0.5 - 0.9 * w, top + 0.04),
        (0.5 - 1.1 * w, 0.36),
        (0.5, 0.48),
        (0.5 + 1.2 * w, 0.6),
        (0.5 + w, bottom - 0.04),
        (0.5 - 0.3 * w, bottom + 0.04),
        (0.5 - w, bottom - 0.12),
    ]
    up, down = rng.uniform(0.06, 0.18), rng.uniform(0.06, 0.18)
    bars = [0.5] if rng.random() < 0.7 else [0.45, 0.57]
    return [s, *([(x, top - up), (x, bottom + down)] for x in bars)]


_STROKES = {".": _dot, ",": _comma, "-": _dash, "*": _star, "/": _slash, "$": _dollar}


def _place(
    glyphs: list[_Glyph], marks: Sequence[Mark], hand: Hand, rng: np.random.Generator
) -> list[int]:
    """First column of every glyph: each stands at a drawn distance from the ink before it."""
    places: list[int] = []
    margin = int(rng.integers(5, 14))
    for i, glyph in enumerate(glyphs):
        if i == 0:
            places.append(margin)
            continue
        gap = _gap((marks[i - 1], marks[i]), hand, rng)
        close = [places[j] + _distance(glyphs[j], glyph) for j in range(max(0, i - 2), i)]
        box_end = places[-1] + glyphs[i - 1].ink.shape[1]
        floor = box_end - _overlap(marks[i - 1], marks[i], round(0.2 * hand.body))
        places.append(max(floor, round(max(close) + gap)))
    return places


def _overlap(before: Mark, after: Mark, most: int) -> int:
    """Columns that two boxes may share: none for dashes and stars, which would stack up."""
    if before.character in "-*" or after.character in "-*":
        return 0
    return most if before.character.isdigit() and after.character.isdigit() else most // 2


def _gap(pair: tuple[Mark, Mark], hand: Hand, rng: np.random.Generator) -> float:
    """Columns of paper between two neighbours' ink; negative where they overlap.

    People keep marks off their neighbours more than digits.
    """
    digits = pair[0].character.isdigit() + pair[1].character.isdigit()
    size = min(pair[0].size, pair[1].size)
    touching = hand.touching * (0.0, 0.06, size)[digits]
    if pair[1].space == 0 and rng.random() < touching:
        return 1 - rng.uniform(0.0, 0.1 if digits == 2 else 0.05) * size * hand.body
    least = 1.8 if digits == 2 else 3.0
    return least + (pair[1].space + abs(rng.normal(hand.spread, 0.06))) * size * hand.body


def _distance(before: _Glyph, after: _Glyph) -> int:
    """How far right of `before` the glyph `after` must start for their ink to just touch."""
    offset = after.first_row - before.first_row
    rows, columns = before.ink.shape
    right = np.where(before.ink > 0.4, np.arange(1, columns + 1), 0).max(axis=1)
    left = np.argmax(after.ink > 0.4, axis=1)
    left[~(after.ink > 0.4).any(axis=1)] = after.ink.shape[1]
    low, high = max(0, offset - 2), min(rows, offset + len(left) + 2)
    if low >= high:
        return 0
    reach = np.full(len(left) + 4 + max(0, -offset) + rows, 10_000)
    start = max(0, -offset)
    for shift in range(5):
        part = reach[start + shift : start + shift + len(left)]
        np.minimum(part, left, out=part)
    begin = low - offset + 2 + start
    return int((right[low:high] - reach[begin - start + start : begin + high - low]).max())


def _compose(
    glyphs: list[_Glyph],
    places: list[int],
    marks: Sequence[Mark],
    hand: Hand,
    rng: np.random.Generator,
) -> Drawing:
    """Ink on paper, with the box of every character and the rows of the body."""
    above = max([hand.body, *(-g.first_row for g in glyphs)])
    below = max([0, *(g.first_row + g.ink.shape[0] for g in glyphs)])
    base = round(above) + int(rng.integers(4, 9))
    height = base + below + int(rng.integers(4, 9))
    end = max([30, *(x + g.ink.shape[1] for x, g in zip(places, glyphs, strict=True))])
    ink = np.zeros((height, end + int(rng.integers(5, 14))), np.float32)
    layout: list[tuple[str, Box]] = []
    for mark, glyph, x in zip(marks, glyphs, places, strict=True):
        y = base + glyph.first_row
        part = ink[y : y + glyph.ink.shape[0], x : x + glyph.ink.shape[1]]
        np.maximum(part, glyph.ink * rng.uniform(0.85, 1.0), out=part)
        layout.append((mark.character, (x, y, x + part.shape[1], y + part.shape[0])))
    image = _paper(ink.shape, rng)
    image -= ink * np.minimum(hand.ink, image - 10)
    _grain(image, rng)
    line = (base - hand.body, float(base))
    return Drawing(np.clip(image, 0, 255).astype(np.uint8), layout, line)


def _paper(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uneven paper with a security background, and sometimes a printed rule; float32 grey."""
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    tilt_x, tilt_y = rng.normal(0, 8, 2)
    paper = rng.uniform(195, 240) + tilt_x * (x / width - 0.5) + tilt_y * (y / height - 0.5)
    if rng.random() < 0.7:
        period, wave = rng.uniform(5, 12), rng.uniform(15, 60)
        lean, depth = rng.normal(0, 0.5), rng.uniform(4, 24)
        bend = rng.uniform(0, 3) * np.sin(x * (6.283 / wave) + rng.uniform(0, 6))
        phase = (y + bend + lean * x) * (6.283 / period)
        paper = paper - depth * np.maximum(np.cos(phase) - 0.6, 0) * 2.5
    if rng.random() < 0.12:
        row = int(rng.integers(height - 4, height))
        paper[row : row + 2] -= rng.uniform(20, 90)
    return paper.astype(np.float32)


def _grain(image: np.ndarray, rng: np.random.Generator) -> None:
    """Adds the grain of the paper and a few faint specks, in place."""
    image += rng.standard_normal(image.shape, np.float32) * rng.uniform(1.5, 6)
    height, width = image.shape
    for _ in range(rng.poisson(1.5)):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        size = int(rng.integers(1, 3))
        image[y : y + size, x : x + size] -= rng.uniform(20, 100)
