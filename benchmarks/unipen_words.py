"""`python -m benchmarks.unipen_words train|tune|judge --out DIR`: words of writers never seen.

Lower-case words of UNIPEN as strokes of the pen (unipen/words.npz). The contributors were dealt out
once, by size and vocabulary alone, before anything was trained: `TEST` and `VALID` are below, all
others are for training; no writer is in two parts. The test words are all samples in the test part
of 350 words drawn from its vocabulary. They are read as any string of letters, as one of 25,000
words with all of these among them, and as one of these 350.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import gtnet
from benchmarks.reading import SHARED, count_right, learn, share, texts
from gtnet.reader import (
    Alphabet,
    Combined,
    PenConfig,
    PenFrontEnd,
    Recognizer,
    SequenceConfig,
    load_reader,
    ngram,
)
from gtnet.reader.checkpoint import save_reader
from gtnet.reader.splice import Spliced, parted
from gtnet.reader.strokes import Penned, read_strokes

DATA = SHARED / "unipen" / "words.npz"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEST = ("apc", "imp", "kai", "pcl", "phi")
VALID = ("art", "lou")
NETWORK = SequenceConfig((48, 96, 112), (5, 5, 5), (2, 2, 1), context=112, layers=2, dropout=0.35)


def parts(path: Path) -> dict[str, list[Penned]]:
    """Words for "train", "valid" and "test", by contributor."""
    with np.load(path, allow_pickle=False) as file:
        contributors = file["contributor"].tolist()
    found: dict[str, list[Penned]] = {"train": [], "valid": [], "test": []}
    writers: dict[str, set[str]] = {part: set() for part in found}
    for item, contributor in zip(read_strokes(path), contributors, strict=True):
        part = "test" if contributor in TEST else "valid" if contributor in VALID else "train"
        found[part].append(item)
        writers[part].add(item.writer)
    assert not writers["test"] & (writers["train"] | writers["valid"])
    return found


def of_few_words(items: Sequence[Penned], count: int = 350) -> tuple[list[Penned], list[str]]:
    """The samples of so many words, drawn from the vocabulary of the test part."""
    vocabulary = sorted({item.label for item in items})
    rng = np.random.default_rng(350)
    chosen = set(rng.choice(vocabulary, count, replace=False).tolist())
    return [item for item in items if item.label in chosen], sorted(chosen)


def frequent_words(path: Path | None) -> list[str]:
    """Words of letters alone, the most frequent first: from a file, or from wordninja's list."""
    if path is None:
        try:
            files = importlib.metadata.files("wordninja") or []
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit("no list of words: pip install wordninja, or give --words") from None
        path = Path(str(next(f for f in files if f.suffix == ".gz").locate()))
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    words = [line.split()[0] for line in text.splitlines() if line.strip()]
    return [word for word in words if set(word) <= set(LETTERS) and len(word) > 2]


def lexicon_of(size: int, needed: Sequence[str], words: Sequence[str]) -> list[str]:
    """So many words: those needed, and the most frequent others."""
    return list(dict.fromkeys([*needed, *words]))[:size]


class Written:
    """Words as tracks of the pen, and draws of them in which no writer prevails.

    A word is drawn with one over the square root of how many its writer has written.
    """

    def __init__(self, reader: Recognizer, items: Sequence[Penned]) -> None:
        self.reader = reader
        self.tracks = reader.observe([item.strokes for item in items])
        self.texts = [item.label for item in items]
        self.writers = [item.writer for item in items]
        self.shares = _even(self.writers)

    def losses(self, size: int, splice_at: int, part: float, seed: int) -> Iterator[Tensor]:
        """Losses of batches of like lengths; from a step on a part of the words are spliced."""
        rng = np.random.default_rng(seed)
        change = self.reader.front_end.change(1.0)
        step = 0
        while True:
            splicing = step >= splice_at > 0
            made = round(8 * size * part) if splicing else 0
            if splicing and not hasattr(self, "spliced"):
                self._splice(rng)
            drawn = rng.choice(len(self.texts), 8 * size - made, p=self.shares)
            items = [(self.tracks[i], self.texts[i]) for i in drawn]
            if splicing:
                fronts = rng.choice(len(self.spliced.words), made, p=self.fronts)
                items += [self.spliced.sample(rng, int(front)) for front in fronts]
            items.sort(key=lambda item: len(item[0]))
            for k in rng.permutation(8):
                batch = items[size * k : size * (k + 1)]
                loss = self.reader.loss([x for x, _ in batch], [t for _, t in batch], change)
                finite = torch.isfinite(loss)
                step += 1
                yield loss[finite].sum() / max(1, int(finite.sum()))

    def _splice(self, rng: np.random.Generator) -> None:
        drawn = rng.choice(
            len(self.texts), min(4000, len(self.texts)), replace=False, p=self.shares
        )
        words = parted(
            self.reader,
            *([of[i] for i in drawn] for of in (self.tracks, self.texts, self.writers)),
        )
        assert isinstance(self.reader.front_end, PenFrontEnd)
        self.spliced = Spliced(words, self.reader.front_end.config)
        self.fronts = _even([word.writer for word in words])
        print(f"{len(words)} of {len(drawn)} words parted", flush=True)


def _even(writers: Sequence[str]) -> np.ndarray:
    many = Counter(writers)
    shares = np.array([many[writer] ** -0.5 for writer in writers])
    return shares / shares.sum()


def train(given: argparse.Namespace) -> None:
    data = parts(given.data)
    rng = np.random.default_rng(0)
    valid = [data["valid"][i] for i in rng.choice(len(data["valid"]), 300, replace=False)]
    torch.manual_seed(given.seed)
    network = replace(NETWORK, layers=given.layers, dropout=given.dropout)
    reader = Recognizer(LETTERS, None, PenFrontEnd(PenConfig(network=network)))
    written = Written(reader, data["train"])
    seen, truth = reader.observe([item.strokes for item in valid]), [item.label for item in valid]
    known = set(written.texts)
    began = time.process_time()

    def report(step: int, loss: float, mean: nn.Module) -> None:
        assert isinstance(mean, Recognizer)
        found = texts(mean, seen)
        save_reader(given.out[0], mean)
        right = [a == t for a, t in zip(found, truth, strict=True)]
        new = [r for r, t in zip(right, truth, strict=True) if t not in known]
        print(
            f"{step}: loss {loss:.3f}, right {np.mean(right):.3f}, of words not in training"
            f" {np.mean(new):.3f}; {(time.process_time() - began) / 60:.1f} CPU min",
            flush=True,
        )

    losses = written.losses(64, given.splice_at, given.spliced, given.seed)
    options = {"seconds": given.seconds, "every": 250, "report": report}
    steps = learn(reader, losses, given.steps, given.rate, 0.995, **options)
    save_reader(given.out[0], reader)
    print(f"{steps} steps, {(time.process_time() - began) / 60:.1f} CPU min")


def grams(given: argparse.Namespace, strength: float) -> gtnet.Graph:
    """How letters follow each other in the 25,000 most frequent words, whatever the test has."""
    words = frequent_words(given.words)[:25_000]
    return ngram(words, Alphabet(LETTERS), given.order, strength=strength, least=given.least)


def readers_of(folders: Sequence[Path], language: Any, looks: bool) -> list[Recognizer]:
    """Trained readers, of one language now, with further looks or not."""
    return [
        Recognizer(
            LETTERS, language, one.front_end, one.network, unsure=one.unsure if looks else 0.0
        ).eval()
        for one in map(load_reader, folders)
    ]


def together(readers: Sequence[Recognizer]) -> Recognizer | Combined:
    """One reader, or several as one."""
    return readers[0] if len(readers) == 1 else Combined(readers)


def tune(given: argparse.Namespace) -> None:
    """Words of the validation writers, by the strength of n-grams."""
    data = parts(given.data)["valid"]
    rng = np.random.default_rng(0)
    valid = [data[i] for i in rng.choice(len(data), given.size or 300, replace=False)]
    strokes, truth = [item.strokes for item in valid], [item.label for item in valid]
    for strength in (None, 0.0, 0.25, 0.5, 0.75, 1.0):
        language = grams(given, strength) if strength else None
        looks = strength == 0
        reader = together(readers_of(given.out, language, looks))
        answers = reader.read(strokes, batch_size=given.batch)
        found = [answer.text for answer in answers]
        right = share(count_right(found, truth), len(truth))
        name = f"n-grams at strength {strength}" if strength else "any string"
        name += ", further looks" if looks else ", one look"
        print(f"{name}: right {right}", flush=True)
        wrong = [(a, t) for a, t in zip(found, truth, strict=True) if a != t]
        print("  wrong: " + ", ".join(f"{a} for {t}" for a, t in wrong[:40]), flush=True)


def judge(given: argparse.Namespace) -> None:
    samples, words = of_few_words(parts(given.data)["test"])
    if given.size:
        rng = np.random.default_rng(1)
        samples = [samples[i] for i in sorted(rng.choice(len(samples), given.size, replace=False))]
    strokes, truth = [item.strokes for item in samples], [item.label for item in samples]
    # Further looks where a reader is unsure, unless one takes long.
    languages: dict[str, tuple[str, Callable[[], Any], bool]] = {
        "any": ("no lexicon", lambda: None, True),
        "few": ("350 words", lambda: words, True),
        "many": (
            "25,000 words, one look",
            lambda: lexicon_of(25_000, words, frequent_words(given.words)),
            False,
        ),
        "grams": (
            f"no lexicon, {given.order}-grams, one look",
            lambda: grams(given, given.strength),
            False,
        ),
    }
    for chosen in given.languages:
        name, language, looks = languages[chosen]
        began = time.process_time()
        readers = readers_of(given.out, language(), looks)
        ready = time.process_time()
        answers = together(readers).read(strokes, batch_size=given.batch)
        wrong = len(truth) - count_right([answer.text for answer in answers], truth)
        print(
            f"{name}: wrong {share(wrong, len(truth))} words;"
            f" {1000 * (time.process_time() - ready) / len(truth):.1f} CPU ms a word,"
            f" grammar of {readers[0].grammar.num_arcs:,} arcs in {ready - began:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.unipen_words", description=__doc__)
    parser.add_argument("work", choices=("train", "tune", "judge"))
    parser.add_argument("--data", type=Path, default=DATA, help="words.npz")
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        default=[Path("runs/unipen_words")],
        help="folder of the reader; to tune and judge several together, several",
    )
    parser.add_argument("--steps", type=int, default=6000, help="of 64 words")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="longest, by the clock")
    parser.add_argument("--layers", type=int, default=NETWORK.layers, help="recurrent ones")
    parser.add_argument("--dropout", type=float, default=NETWORK.dropout)
    parser.add_argument("--splice-at", type=int, default=0, help="step; 0 splices no words")
    parser.add_argument("--spliced", type=float, default=0.25, help="part of the words then")
    parser.add_argument("--order", type=int, default=4, help="letters of the n-grams")
    parser.add_argument("--least", type=float, default=8, help="words that tell a history apart")
    parser.add_argument("--strength", type=float, default=0.5, help="of the n-grams")
    parser.add_argument("--words", type=Path, help="words by frequency, one a line")
    parser.add_argument("--size", type=int, help="test words, drawn at random (default: all)")
    parser.add_argument("--batch", type=int, default=16, help="words read at once")
    parser.add_argument(
        "--languages", nargs="+", default=["any", "few", "many", "grams"], help="to read in"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    {"train": train, "tune": tune, "judge": judge}[given.work](given)


if __name__ == "__main__":
    main()
