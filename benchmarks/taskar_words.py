"""`python -m benchmarks.taskar_words`: words of segmented letters, the small-train protocol.

Kassel's words as cleaned by Taskar (words/ocr_taskar.mat): train on the words of one fold (626),
test on those of the nine others (6,251); letters are counted, there is no lexicon. Letters come
parted, so the recognition graph is a chain with one letter each. First every letter is trained by
cross-entropy, as if alone; then training goes on, once more so and once through the difference of
two forward scores of words, with a bigram of letters whose scores are learnt with the network.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor, nn
from torch.nn import functional

import gtnet
from benchmarks.reading import SHARED, continued, learn, share
from gtnet.reader.augment import jitter

DATA = SHARED / "words" / "ocr_taskar.mat"
LETTERS = 26
Word = tuple[np.ndarray, np.ndarray]
"""Letters of one word: float32 [letters, 16, 8], ink 1; and what they are, int64 [letters]."""


def words(path: Path) -> tuple[list[Word], list[Word]]:
    """The words of the training fold and those of the other nine."""
    mat: dict[str, Any] = loadmat(path)
    parts = []
    for part in ("train", "test"):
        pixels, labels = mat[f"patterns_{part}"][0], mat[f"labels_{part}"][0]
        parts.append(
            [
                # Row 128 is the constant of a linear model, no pixel.
                (p[:128].T.reshape(-1, 8, 16).swapaxes(1, 2).astype(np.float32), y[0].astype(int))
                for p, y in zip(pixels, labels, strict=True)
            ]
        )
    return parts[0], parts[1]


class Letters(nn.Module):
    """Every letter by a convolutional network of its own image and, or not, of its neighbours'.

    `forward(images, lengths)`: images [letters of all words, 1, 16, 8]. Returns log-probabilities
    [batch, longest word, 26]. `context`: units of a recurrent layer in each direction.
    """

    def __init__(self, context: int) -> None:
        super().__init__()
        self.letter = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 96, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(96),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(96 * 4 * 2, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
        )
        self.context = None
        if context:
            self.context = nn.LSTM(128, context, batch_first=True, bidirectional=True)
        self.scores = nn.Linear(2 * context or 128, LETTERS)
        self.bigram = nn.Parameter(torch.zeros(LETTERS + 1, LETTERS))

    def forward(self, images: Tensor, lengths: Sequence[int]) -> Tensor:
        features = self.letter(images).split(list(lengths))
        if self.context is not None:
            packed = nn.utils.rnn.pack_sequence(features, enforce_sorted=False)
            batch, _ = nn.utils.rnn.pad_packed_sequence(self.context(packed)[0], True)
        else:
            batch = nn.utils.rnn.pad_sequence(features, True)
        return self.scores(batch).log_softmax(2)

    def language(self) -> gtnet.Graph:
        """All words, with the scores of the bigram: a state for each letter, and the start."""
        before, letter = torch.meshgrid(
            torch.arange(LETTERS + 1), torch.arange(LETTERS), indexing="ij"
        )
        return gtnet.Graph(
            before.flatten().tolist(),
            (letter + 1).flatten().tolist(),
            letter.flatten().tolist(),
            letter.flatten().tolist(),
            self.bigram.flatten(),
            start=0,
            accept=list(range(1, LETTERS + 1)),
            num_states=LETTERS + 1,
        )


def batch_of(chosen: Sequence[Word], change: float) -> tuple[Tensor, list[int]]:
    """The letters of words as images, [letters, 1, 16, 8], and the lengths of the words."""
    images = torch.from_numpy(np.concatenate([images for images, _ in chosen]))[:, None]
    return (jitter(images, change) if change else images), [len(y) for _, y in chosen]


def batches(data: Sequence[Word], seed: int) -> Iterator[list[Word]]:
    rng = np.random.default_rng(seed)
    while True:
        for part in np.array_split(rng.permutation(len(data)), len(data) // 32):
            yield [data[i] for i in part]


def letter_losses(model: Letters, data: Sequence[Word], seed: int) -> Iterator[Tensor]:
    """Cross-entropy of every letter."""
    for chosen in batches(data, seed):
        scores = model(*batch_of(chosen, 1.0))
        flat = torch.cat([row[: len(y)] for row, (_, y) in zip(scores, chosen, strict=True)])
        truth = torch.from_numpy(np.concatenate([y for _, y in chosen]))
        yield functional.nll_loss(flat, truth)


def word_losses(model: Letters, data: Sequence[Word], seed: int) -> Iterator[Tensor]:
    """The difference of two forward scores: all words, and the true one, per letter."""
    for chosen in batches(data, seed):
        images, lengths = batch_of(chosen, 1.0)
        scores = gtnet.Emissions(model(images, lengths), torch.tensor(lengths))
        truth = gtnet.linear([y.tolist() for _, y in chosen])
        every = gtnet.compose(scores, model.language())
        yield gtnet.losses.discriminative_forward(every, truth).sum() / sum(lengths)


@torch.no_grad()
def right(model: Letters, data: Sequence[Word]) -> tuple[int, int]:
    """Letters and whole words read right by the best path."""
    model.eval()
    language, letters, whole = model.language(), 0, 0
    for first in range(0, len(data), 128):
        chosen = data[first : first + 128]
        images, lengths = batch_of(chosen, 0.0)
        graph = gtnet.compose(
            gtnet.Emissions(model(images, lengths), torch.tensor(lengths)), language
        )
        for found, (_, y) in zip(
            gtnet.label_sequences(gtnet.viterbi_path(graph)), chosen, strict=True
        ):
            same = [a == b for a, b in zip(found, y.tolist(), strict=True)]
            letters, whole = letters + sum(same), whole + all(same)
    return letters, whole


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.taskar_words", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="ocr_taskar.mat")
    parser.add_argument("--steps", type=int, default=500, help="of each of the two trainings")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    given = parser.parse_args()
    torch.set_num_threads(1)
    train, test = words(given.data)
    total = sum(len(y) for _, y in test)
    for seed in range(given.seeds):
        for context in (0, 64):
            began = time.process_time()
            torch.manual_seed(seed)
            model = Letters(context)
            learn(model, letter_losses(model, train, seed), given.steps, 3e-3)
            ways = {
                "letters": None,
                "letters, then letters": partial(letter_losses, model, train, seed + 1),
                "letters, then words": partial(word_losses, model, train, seed + 1),
            }
            for name in continued(model, ways, given.steps, 3e-3, seed=seed + 1):
                letters, whole = right(model, test)
                print(
                    f"seed {seed}, {'neighbours seen' if context else 'letters alone'}, {name}:"
                    f" wrong {share(total - letters, total)} letters,"
                    f" {share(len(test) - whole, len(test))} words",
                    flush=True,
                )
            print(f"  {time.process_time() - began:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
