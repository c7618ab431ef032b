"""`python -m benchmarks.unipen_numerics`: phone numbers and amounts of writers never seen.

Numeric strings of UNIPEN as strokes of the pen (unipen/numerics.npz). Half of the writers of the
three contributors with varied texts (lex, cec, art) are for the test, drawn once before anything
was trained; all other writers, and strings that are put together from their isolated digits
(unipen/digits.npz), for training. Spaces are left out. A group that is written again as a part of
a longer sample is counted once. The grammar allows phone numbers, amounts and a few other forms;
what it does not allow counts as an error.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gtnet
from benchmarks.reading import SHARED, count_right, learn, share
from gtnet.reader import (
    Alphabet,
    Combined,
    PenConfig,
    PenFrontEnd,
    Recognizer,
    SequenceConfig,
    load_reader,
)
from gtnet.reader.checkpoint import save_reader
from gtnet.reader.splice import Parted, Spliced, parted, strokes_of
from gtnet.reader.strokes import Penned, read_strokes

DATA = SHARED / "unipen"
ALPHABET = Alphabet("0123456789$.,()-/%#:+*")
VARIED = ("lex", "cec", "art")
NETWORK = SequenceConfig((48, 96, 112), (5, 5, 5), (2, 2, 1), context=96, layers=2, dropout=0.35)
Sample = tuple[list[np.ndarray], str]


# The language


def grammar(texts: Iterable[str] = ()) -> gtnet.Graph:
    """Phone numbers, amounts, and numbers with one of the signs % # / : in their place.

    No string is written in two ways, so that none is scored twice. With `texts` each form has the
    log of its share in them as a score, one more of each counted than there are.
    """

    def sign(characters: str) -> gtnet.Graph:
        return gtnet.union(*[gtnet.linear(ALPHABET.labels_of(c)) for c in characters])

    def row(*parts: gtnet.Graph) -> gtnet.Graph:
        return reduce(gtnet.concat, parts)

    def maybe(part: gtnet.Graph) -> gtnet.Graph:
        return gtnet.union(part, end)

    end, digit = gtnet.linear([]), sign("0123456789")
    few = gtnet.union(digit, row(digit, digit), row(digit, digit, digit))
    number = row(digit, gtnet.closure(digit))
    three, four = row(digit, digit, digit), row(digit, digit, digit, digit)
    comma = row(sign(","), three)
    thousands = row(few, comma, gtnet.closure(comma))
    cents = row(sign("."), gtnet.closure(digit))
    area = row(sign("("), three, sign(")"))
    every = (
        row(maybe(sign("$")), gtnet.union(number, thousands), gtnet.union(end, cents, sign(","))),
        row(maybe(area), three, sign("-"), four),
        area,
        row(number, sign("%")),
        row(sign("#"), number),
        row(number, sign("/:"), number),
    )
    rows = [ALPHABET.labels_of(text) for text in texts]
    if not rows:
        return gtnet.union(*every)
    found = [1 + _allowed(form, rows) for form in every]
    scores = [math.log(count / sum(found)) for count in found]
    return gtnet.union(
        *(
            row(gtnet.Graph([], [], [], start=0, accept={0: score}, num_states=1), form)
            for score, form in zip(scores, every, strict=True)
        )
    )


def _allowed(language: gtnet.Graph, rows: Sequence[Sequence[int]]) -> int:
    """How many of some strings a language has."""
    scores = gtnet.forward_score(
        gtnet.compose(gtnet.stack([gtnet.linear(row) for row in rows]), language)
    )
    return int(torch.isfinite(scores).sum())


# The data


def numerics(root: Path) -> tuple[list[Penned], list[Penned], set[str], list[str]]:
    """Strings for training and for the test, the writers of the test, and usual texts.

    Usual is what the other writers of the varied contributors wrote.
    """
    path = root / "numerics.npz"
    with np.load(path, allow_pickle=False) as file:
        contributors = file["contributor"].tolist()
    items = read_strokes(path)
    of = {item.writer: c for item, c in zip(items, contributors, strict=True) if c in VARIED}
    writers = sorted(of)
    chosen = np.random.default_rng(0).permutation(len(writers))[: len(writers) // 2]
    testers = {writers[i] for i in chosen}
    rest = [item for item in items if item.writer not in testers]
    test = _once([item for item in items if item.writer in testers])
    usual = [item for item in rest if item.writer in of]
    return _closed(rest), _closed(test), testers, [item.label for item in _closed(_once(usual))]


def _once(items: Sequence[Penned]) -> list[Penned]:
    """Without samples that are a group of a longer sample of the same writer."""
    groups = {
        (item.writer, group) for item in items if " " in item.label for group in item.label.split()
    }
    return [item for item in items if (item.writer, item.label) not in groups]


def _closed(items: Sequence[Penned]) -> list[Penned]:
    """Without the spaces."""
    return [replace(item, label=item.label.replace(" ", "")) for item in items]


class Composed:
    """Strings that nobody wrote, of digits that one writer did, and of plain signs."""

    def __init__(self, root: Path, without: set[str]) -> None:
        self.of: dict[str, dict[str, list[list[np.ndarray]]]] = {}
        for item in read_strokes(root / "digits.npz"):
            if item.writer not in without and len(item.label) == 1:
                own = self.of.setdefault(item.writer, {})
                own.setdefault(item.label, []).append(item.strokes)
        self.writers = [writer for writer in sorted(self.of) if len(self.of[writer]) == 10]
        self.signs: dict[str, list[list[np.ndarray]]] = {}
        """Signs that were cut out of written strings, in heights of a digit."""

    def take_signs(self, strings: Iterable[Parted]) -> None:
        """Cut the signs out of strings that have digits beside them."""
        for string in strings:
            glyphs = [(c, _glyph(string, at)) for at, c in enumerate(string.text)]
            ends = [
                (min(s[:, 1].min() for s in glyph), max(s[:, 1].max() for s in glyph))
                for c, glyph in glyphs
                if c.isdigit() and glyph
            ]
            if not ends:
                continue
            top, bottom = np.median(ends, axis=0)
            for c, glyph in glyphs:
                if not c.isdigit() and glyph and bottom > top:
                    origin = np.array([min(s[:, 0].min() for s in glyph), top])
                    cut = [(stroke - origin) / (bottom - top) for stroke in glyph]
                    self.signs.setdefault(c, []).append(cut)

    def sample(self, rng: np.random.Generator) -> Sample:
        """A phone number, an amount or a number."""
        text = _text(rng)
        own = self.of[self.writers[rng.integers(len(self.writers))]]
        glyphs = []
        for c in text:
            known = own.get(c) or self.signs.get(c)
            if known and (c in own or rng.random() < 0.75):
                glyphs.append(known[rng.integers(len(known))])
            else:
                glyphs.append(_sign(c, rng))
        return _row(glyphs, text, rng), text


def _glyph(string: Parted, at: int) -> list[np.ndarray]:
    """The strokes of one character of a string."""
    first = string.ends[at - 1] + 1 if at else 0
    return strokes_of(string.track.points[first : string.ends[at] + 1])


def _text(rng: np.random.Generator) -> str:
    """Each form that the grammar allows."""

    def digits(count: int) -> str:
        return "".join(str(d) for d in rng.integers(0, 10, count))

    phone = f"{digits(3)}-{digits(4)}"
    forms = (
        f"({digits(3)}){phone}",
        phone,
        f"({digits(3)})",
        f"${int(rng.integers(10 ** rng.integers(1, 6))):,}",
        f"${digits(int(rng.integers(1, 4)))}.{digits(2)}",
        f"{digits(int(rng.integers(1, 6)))}",
        f"#{digits(int(rng.integers(1, 4)))}",
        f"{digits(int(rng.integers(1, 3)))}%",
        f"{digits(int(rng.integers(1, 3)))}{rng.choice([*'/:'])}{digits(2)}",
        f"{digits(int(rng.integers(1, 3)))}.{digits(int(rng.integers(1, 3)))}",
        f"{digits(int(rng.integers(1, 5)))}{rng.choice([*'.,'])}",
        f"${int(rng.integers(10 ** rng.integers(1, 6))):,}.",
    )
    shares = np.array([3.0, 3, 2, 2, 2, 3, 1, 1, 1, 2, 1, 0.5])
    return forms[int(rng.choice(len(forms), p=shares / shares.sum()))]


def _arc(x0: float, y0: float, x1: float, y1: float, bulge: float) -> np.ndarray:
    """A bow from one point to another."""
    t = np.linspace(0, 1, 12)
    bow = bulge * 4 * t * (1 - t)
    dx, dy = x1 - x0, y1 - y0
    return np.stack([x0 + t * dx - bow * dy, y0 + t * dy + bow * dx], axis=1)


def _ring(x: float, y: float, rng: np.random.Generator) -> np.ndarray:
    """A small ring around a point, begun anywhere, not always closed."""
    at = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi * rng.uniform(0.85, 1.1), 14)
    wide, high = rng.uniform(0.07, 0.18, 2)
    return np.stack([x + wide * np.cos(at), y + high * np.sin(at)], axis=1)


def _dot(x: float, y: float, rng: np.random.Generator) -> np.ndarray:
    """A dot, as pens make them: a short dash, now and then a tiny ring."""
    if rng.random() < 0.2:
        return 0.4 * _ring(0, 0, rng) + np.array([x, y])
    along, size = rng.uniform(0, np.pi), rng.uniform(0.01, 0.07)
    return _arc(x, y, x + size * np.cos(along), y + size * np.sin(along), 0)


def _sign(character: str, rng: np.random.Generator) -> list[np.ndarray]:
    """The strokes of a sign, where a digit would reach from y = 0 to 1.

    Hands differ in the order and the direction of strokes, and in where the pen is lifted, which
    the way of the pen shows though the ink does not.
    """
    wide, bow = rng.uniform(0.15, 0.35), rng.uniform(0.1, 0.25)
    turn = rng.uniform(0.4, 0.8)
    s = np.concatenate([_arc(0.5, 0.1, 0.25, 0.5, turn), _arc(0.25, 0.5, 0, 0.9, -turn)])
    lines = [_arc(x, -0.15, x, 1.15, 0) for x in ((0.25,), (0.18, 0.32))[int(rng.random() < 0.3)]]
    ends = [_arc(0.25, -0.2, 0.25, 0.12, 0), _arc(0.25, 0.85, 0.25, 1.2, 0)]
    shapes = {
        "(": [_arc(wide, -0.15, wide, 1.15, bow)],
        ")": [_arc(0, -0.15, 0, 1.15, -bow)],
        "-": [_arc(0, 0.5, 0.2 + wide, 0.5 + rng.normal(0, 0.05), 0)],
        ".": [_dot(0, 1, rng)],
        ",": [_arc(0.05, 0.95, -0.05, rng.uniform(1.1, 1.35), rng.uniform(-0.2, 0.05))],
        "/": [_arc(rng.uniform(0.3, 0.7), -0.1, 0, 1.1, rng.normal(0, 0.05))],
        ":": [_dot(0, 0.3, rng), _dot(0, 0.9, rng)],
        "%": [
            _ring(0.15, 0.2, rng),
            _arc(rng.uniform(0.5, 0.8), -0.05, 0, 1.05, rng.normal(0, 0.05)),
            _ring(0.55, 0.85, rng),
        ],
        "#": [
            _arc(0.2, 0, 0.1, 1, 0),
            _arc(0.5, 0, 0.4, 1, 0),
            _arc(0, 0.35, 0.65, 0.3, 0),
            _arc(-0.05, 0.7, 0.6, 0.65, 0),
        ],
        "$": [s, *(ends if rng.random() < 0.2 else lines)],
    }
    strokes = [stroke + rng.normal(0, 0.02, stroke.shape) for stroke in shapes[character]]
    if len(strokes) > 1 and rng.random() < 0.4:
        strokes = [strokes[i] for i in rng.permutation(len(strokes))]
    strokes = [stroke[::-1] if rng.random() < 0.2 else stroke for stroke in strokes]
    held = [strokes[0]]
    for stroke in strokes[1:]:
        if character != ":" and rng.random() < 0.15:  # the pen stays on the paper
            held[-1] = np.concatenate([held[-1], stroke])
        else:
            held.append(stroke)
    # Signs are no larger than digits, and often smaller, about the middle of the line.
    size, slant = rng.uniform(0.6, 1.1), rng.normal(0, 0.15)
    low = character in ".,"
    return [_changed(stroke, 1.0 if low else size, slant) for stroke in held]


def _changed(stroke: np.ndarray, size: float, slant: float) -> np.ndarray:
    x, y = size * stroke[:, 0], size * (stroke[:, 1] - 0.5) + 0.5
    return np.stack([x - slant * (y - 0.5), y], axis=1)


def _row(glyphs: Sequence[Sequence[np.ndarray]], text: str, rng: np.random.Generator):
    """Glyphs side by side on one line; digits get one height, about."""
    strokes, x = [], 0.0
    gap = rng.uniform(0.05, 0.4)
    for character, glyph in zip(text, glyphs, strict=True):
        every = np.concatenate(list(glyph)).astype(np.float64)
        low, size = every.min(axis=0), np.ptp(every, axis=0)
        scale = 1.0
        if character.isdigit():
            scale = rng.normal(1, 0.08) / max(size[1], 0.4 * size[0], 1e-9)
        up = np.array([low[0], low[1] if character.isdigit() else 0.0])
        shift = np.array([x, rng.normal(0, 0.05)])
        strokes += [(stroke - up) * scale + shift for stroke in glyph]
        x += scale * size[0] + max(0.02, gap * rng.normal(1, 0.4))
    return strokes


# Training and judging


Kind = Callable[[], tuple[Any, str]]
"""A draw of what is seen of a string, and what it says."""


def losses(
    reader: Recognizer,
    kinds: Sequence[Kind],
    seed: int,
    later: int = 0,
    more: Callable[[], Sequence[Kind]] = tuple,
) -> Iterator[Tensor]:
    """Losses of batches of 32 of like lengths, as many of each kind; from a step on `more`."""
    rng = np.random.default_rng(seed)
    change = reader.front_end.change(1.0)
    for step in itertools.count(0, 8):
        if later and 0 <= step - later < 8:
            kinds = [*kinds, *more()]
        items = [kinds[k % len(kinds)]() for k in range(256)]
        items.sort(key=lambda item: len(item[0]))
        for k in rng.permutation(8):
            batch = items[32 * k : 32 * k + 32]
            loss = reader.loss([seen for seen, _ in batch], [text for _, text in batch], change)
            finite = torch.isfinite(loss)
            yield loss[finite].sum() / max(1, int(finite.sum()))


def trained(given: argparse.Namespace, real: Sequence[Penned], composed: Composed) -> Recognizer:
    """A reader of any string, of written and composed strings, later of spliced ones too."""
    rng = np.random.default_rng(given.seed)
    torch.manual_seed(given.seed)
    reader = Recognizer(ALPHABET, None, PenFrontEnd(PenConfig(network=NETWORK)))
    tracks = reader.observe([item.strokes for item in real])
    labels = [item.label for item in real]

    def any_of(items: Sequence[tuple[Any, str]]) -> Kind:
        return lambda: items[int(rng.integers(len(items)))]

    def put_together(count: int) -> Kind:
        made = [composed.sample(rng) for _ in range(count)]
        return any_of([(reader.front_end.observe(strokes), text) for strokes, text in made])

    def more() -> list[Kind]:
        strings = parted(reader, tracks, labels, [item.writer for item in real], sure=0.2)
        composed.take_signs(strings)
        signs = {c: len(cut) for c, cut in sorted(composed.signs.items())}
        print(f"{len(strings)} of {len(real)} strings parted; signs {signs}", flush=True)
        if len(strings) < 100:
            return []
        spliced = Spliced(strings, reader.front_end.config, shortest=1)
        return [put_together(given.made // 2), lambda: spliced.sample(rng)]

    kinds = [any_of(list(zip(tracks, labels, strict=True))), put_together(given.made // 2)]
    drawn = losses(reader, kinds, given.seed, given.splice_at, more)
    told = {"seconds": given.seconds, "every": 100, "report": _tell}
    steps = learn(reader, drawn, given.steps, 3e-3, 0.99, **told)
    print(f"{steps} steps", flush=True)
    return reader


def _tell(step: int, loss: float, mean: Any) -> None:
    print(f"{step}: loss {loss:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.unipen_numerics", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of numerics and digits")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=math.inf, help="longest, by the clock")
    parser.add_argument("--splice-at", type=int, default=480, help="step")
    parser.add_argument("--made", type=int, default=4500, help="strings put together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/unipen_numerics"))
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        help="readers to put together with it",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    real, test, testers, usual = numerics(given.data)
    free = trained(given, real, Composed(given.data, testers))
    save_reader(given.out, free)
    print(f"trained in {time.process_time() - began:.0f} CPU s")
    readers = [free, *map(load_reader, given.beside)]
    strokes, truth = [item.strokes for item in test], [item.label for item in test]
    allowed = _allowed(grammar(), [ALPHABET.labels_of(text) for text in truth])
    print(f"the grammar allows {share(allowed, len(truth))} of the strings")
    for name, language in (
        ("any string", None),
        ("phone and amount", grammar()),
        ("... as usual as in training", grammar(usual)),
    ):
        own = [Recognizer(ALPHABET, language, one.front_end, one.network).eval() for one in readers]
        if len(own) > 1:
            for each in own:
                right = count_right([answer.text for answer in each.read(strokes)], truth)
                print(f"{name}, one reader: right {share(right, len(truth))} strings")
        reader = Combined(own) if len(own) > 1 else own[0]
        found = [answer.text for answer in reader.read(strokes)]
        print(f"{name}: right {share(count_right(found, truth), len(truth))} strings", flush=True)
        wrong = [(a, t) for a, t in zip(found, truth, strict=True) if a != t]
        print("  wrong: " + ", ".join(f"{a} for {t}" for a, t in wrong[:30]))


if __name__ == "__main__":
    main()
