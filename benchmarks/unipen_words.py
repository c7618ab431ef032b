"""`python -m benchmarks.unipen_words train|judge --out DIR`: words of writers never seen.

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
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.reading import SHARED, Items, count_right, share
from gtnet.reader import PenFrontEnd, Recognizer, TrainConfig, Trainer, TrainingData, load_reader
from gtnet.reader.strokes import read_strokes
from gtnet.reader.train import PhaseConfig

DATA = SHARED / "unipen" / "words.npz"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEST = ("apc", "imp", "kai", "pcl", "phi")
VALID = ("art", "lou")


def parts(path: Path) -> dict[str, list[tuple[list[np.ndarray], str]]]:
    """Strokes and words for "train", "valid" and "test", by contributor."""
    with np.load(path, allow_pickle=False) as file:
        contributors = file["contributor"].tolist()
    found: dict[str, list[tuple[list[np.ndarray], str]]] = {"train": [], "valid": [], "test": []}
    writers: dict[str, set[str]] = {part: set() for part in found}
    for item, contributor in zip(read_strokes(path), contributors, strict=True):
        part = "test" if contributor in TEST else "valid" if contributor in VALID else "train"
        found[part].append((item.strokes, item.label))
        writers[part].add(item.writer)
    assert not writers["test"] & (writers["train"] | writers["valid"])
    return found


def of_few_words(
    items: Sequence[tuple[list[np.ndarray], str]], count: int = 350
) -> tuple[list[tuple[list[np.ndarray], str]], list[str]]:
    """The samples of so many words, drawn from the vocabulary of the test part."""
    vocabulary = sorted({text for _, text in items})
    rng = np.random.default_rng(350)
    chosen = set(rng.choice(vocabulary, count, replace=False).tolist())
    return [item for item in items if item[1] in chosen], sorted(chosen)


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


def train(given: argparse.Namespace) -> None:
    data = parts(given.data)
    rng = np.random.default_rng(0)
    valid = [data["valid"][i] for i in rng.choice(len(data["valid"]), 300, replace=False)]
    config = TrainConfig(
        seed=given.seed,
        whole=PhaseConfig(given.epochs, rate=given.rate, batch_size=32, distort=0.8),
        average=0.998,
        calibrate=True,
    )
    reader = Recognizer(LETTERS, None, PenFrontEnd())
    parted = TrainingData(Items(data["train"]), Items(valid))
    start = load_reader(given.start) if given.start else None
    trainer = Trainer(config, parted, given.out, reader=reader, start=start)
    trainer.run(resume=given.resume)


def judge(given: argparse.Namespace) -> None:
    samples, words = of_few_words(parts(given.data)["test"])
    if given.size:
        rng = np.random.default_rng(1)
        samples = [samples[i] for i in sorted(rng.choice(len(samples), given.size, replace=False))]
    truth = [text for _, text in samples]
    trained = load_reader(given.out)
    seen = trained.observe([strokes for strokes, _ in samples])
    lexicons: list[tuple[str, list[str] | None]] = [("no lexicon", None), ("350 words", words)]
    if not given.short:
        many = lexicon_of(25_000, words, frequent_words(given.words))
        lexicons.append((f"{len(many):,} words", many))
    for name, lexicon in lexicons:
        began = time.process_time()
        reader = Recognizer(
            LETTERS, lexicon, trained.front_end, trained.network, temperature=trained.temperature
        ).eval()
        ready = time.process_time()
        answers = reader.read_observations(seen, batch_size=given.batch)
        wrong = len(truth) - count_right([answer.text for answer in answers], truth)
        print(
            f"{name}: wrong {share(wrong, len(truth))} words;"
            f" {1000 * (time.process_time() - ready) / len(truth):.1f} CPU ms a word,"
            f" grammar of {reader.grammar.num_arcs:,} arcs in {ready - began:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.unipen_words", description=__doc__)
    parser.add_argument("work", choices=("train", "judge"))
    parser.add_argument("--data", type=Path, default=DATA, help="words.npz")
    parser.add_argument("--out", type=Path, default=Path("runs/unipen_words"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--from", dest="start", type=Path, help="a trained reader to go on with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--words", type=Path, help="words by frequency, one a line")
    parser.add_argument("--size", type=int, help="test words, drawn at random (default: all)")
    parser.add_argument("--batch", type=int, default=16, help="words read at once")
    parser.add_argument("--short", action="store_true", help="without the 25,000 words")
    given = parser.parse_args()
    torch.set_num_threads(1)
    (train if given.work == "train" else judge)(given)


if __name__ == "__main__":
    main()
