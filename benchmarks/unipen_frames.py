"""`python -m benchmarks.unipen_frames --aligned DIR`: what training on whole words adds to frames.

The words and parts of `benchmarks.unipen_words`. A trained reader aligns the training words; every
frame of a word is then labelled: the middle of a letter with the letter, the rest with none. A new
network learns these frames alone by cross-entropy, and from there once more with frames and once
with words, through the difference of two forward scores, for as many steps each. Words wrong
of the 824 of the test part, any string of letters allowed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import gtnet
from benchmarks.reading import continued, count_right, learn, share, texts
from benchmarks.unipen_words import DATA, LETTERS, NETWORK, Written, of_few_words, parts
from gtnet.reader import PenConfig, PenFrontEnd, Recognizer, load_reader

Spans = list[tuple[int, float, float]]
"""The letters of a word, and where each starts and ends as shares of the word."""

HELD = 0.25
"""Share at each end of a letter whose frames are labelled as none."""


@torch.no_grad()
def aligned(reader: Recognizer, written: Written, size: int = 64) -> list[Spans]:
    """Where a trained reader finds the letters of words: they meet half way between its frames.

    Nothing for a word that is too short for its letters.
    """
    order = sorted(range(len(written.tracks)), key=lambda i: len(written.tracks[i]))
    found: dict[int, Spans] = {}
    for first in range(0, len(order), size):
        batch = order[first : first + size]
        emissions = reader.recognition([written.tracks[i] for i in batch])
        assert emissions.lengths is not None
        labels = [reader.alphabet.labels_of(written.texts[i]) for i in batch]
        best = gtnet.forced_align(
            emissions.scores, labels, emissions.lengths, blank=reader.alphabet.nothing
        )
        for i, own, count, tokens in zip(batch, labels, emissions.lengths.tolist(), best.tokens):
            if len(tokens) < len(own):
                found[i] = []
                continue
            at = [(token.start + token.end) / 2 / count for token in tokens]
            meet = [0.0, *((a + b) / 2 for a, b in pairwise(at)), 1.0]
            found[i] = [(letter, *ends) for letter, ends in zip(own, pairwise(meet), strict=True)]
    return [found[i] for i in range(len(found))]


def frame_labels(spans: Sequence[Spans], frames: Tensor, most: int, nothing: int) -> Tensor:
    """The letter of every frame, or none; behind a word -100, which is left out."""
    labels = torch.full((len(spans), most), -100)
    for row, own, count in zip(labels, spans, frames.tolist(), strict=True):
        at = (torch.arange(count) + 0.5) / count
        row[:count] = nothing
        for letter, first, last in own:
            held = HELD * (last - first)
            row[:count][(at >= first + held) & (at < last - held)] = letter
            row[min(count - 1, int(count * (first + last) / 2))] = letter  # one frame at least
    return labels


def batches(written: Written, size: int, seed: int) -> Iterator[list[int]]:
    """Words of like lengths, drawn so that no writer prevails, without end."""
    rng = np.random.default_rng(seed)
    while True:
        drawn = rng.choice(len(written.texts), 8 * size, p=written.shares)
        drawn = np.array(sorted(drawn, key=lambda i: len(written.tracks[i])))
        for k in rng.permutation(8):
            yield drawn[size * k : size * (k + 1)].tolist()


def frame_losses(written: Written, spans: Sequence[Spans], seed: int) -> Iterator[Tensor]:
    """Cross-entropy of the frames of batches."""
    reader = written.reader
    change = reader.front_end.change(1.0)
    for batch in batches(written, 64, seed):
        graphs = reader.recognition([written.tracks[i] for i in batch], change)
        assert graphs.lengths is not None
        most, nothing = graphs.scores.shape[1], reader.alphabet.nothing
        labels = frame_labels([spans[i] for i in batch], graphs.lengths, most, nothing)
        yield functional.nll_loss(graphs.scores.flatten(0, 1), labels.flatten())


def word_losses(written: Written, seed: int) -> Iterator[Tensor]:
    """The difference of two forward scores of the words of batches."""
    change = written.reader.front_end.change(1.0)
    for batch in batches(written, 64, seed):
        tracks, truth = ([of[i] for i in batch] for of in (written.tracks, written.texts))
        loss = written.reader.loss(tracks, truth, change)
        yield loss[torch.isfinite(loss)].mean()


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.unipen_frames", description=__doc__)
    parser.add_argument("--aligned", type=Path, required=True, help="the reader that aligns")
    parser.add_argument("--data", type=Path, default=DATA, help="words.npz")
    parser.add_argument("--steps", type=int, default=1200, help="of 64 words, of each training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()

    def told(name: str, what: str) -> None:
        print(f"{name}: {what}; {(time.process_time() - began) / 60:.1f} CPU min", flush=True)

    data = parts(given.data)
    test, _ = of_few_words(data["test"])
    truth = [item.label for item in test]
    torch.manual_seed(given.seed)
    reader = Recognizer(LETTERS, None, PenFrontEnd(PenConfig(network=NETWORK)))
    written = Written(reader, data["train"])
    seen = reader.observe([item.strokes for item in test])
    spans = aligned(load_reader(given.aligned).eval(), written)
    written.shares *= [bool(own) for own in spans]
    written.shares /= written.shares.sum()
    told("alignment", f"{np.count_nonzero(written.shares)} of {len(spans)} words")
    learn(reader, frame_losses(written, spans, given.seed), given.steps, 3e-3, 0.995)
    seed = given.seed + 1
    ways = {
        "frames": None,
        "frames, then frames": lambda: frame_losses(written, spans, seed),
        "frames, then words": lambda: word_losses(written, seed),
    }
    for name in continued(reader, ways, given.steps, 2e-3, 0.995, seed=seed):
        wrong = len(truth) - count_right(texts(reader.eval(), seen), truth)
        told(name, f"wrong {share(wrong, len(truth))} words")


if __name__ == "__main__":
    main()
