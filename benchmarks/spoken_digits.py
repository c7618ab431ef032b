"""`python -m benchmarks.spoken_digits [--loss NAME] [--data DIR]`: words decoded through letters.

A small network scores letters for every frame of a recording. The lexicon is a graph: each word a
chain of its letters, each letter held for one frame or more, however long it is spoken. Training
knows the word of a recording and nothing about where its letters are. The recordings are those of
the Free Spoken Digit Dataset as one file, fsdd.npz: samples, offsets, labels, index, rate.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from scipy.signal import ShortTimeFFT
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import gtnet

SHARED = Path(os.environ.get("GTNET_DATA", Path(__file__).parents[2] / "shared" / "data"))
DATA = SHARED / "fsdd" / "fsdd.npz"
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = sorted(set("".join(WORDS)))
MELS = 24


# The decoder: the words as a graph, a network as emissions, a loss of both, the best path


def lexicon() -> gtnet.Graph:
    """Every word a chain of letters with a loop at each: as many frames as it takes."""
    builder = gtnet.GraphBuilder()
    start = builder.add_state(start=True)
    for number, word in enumerate(WORDS):
        state = start
        for letter in map(LETTERS.index, word):
            before, state = state, builder.add_state()
            builder.add_arc(before, state, letter, gtnet.EPSILON)
            builder.add_arc(state, state, letter, gtnet.EPSILON)
        end = builder.add_state(accept=True)
        builder.add_arc(state, end, gtnet.EPSILON, number)
    return builder.build()


class Recognizer(nn.Module):
    """Frames [batch, frames, mels] with their numbers to the lattice of everything legal."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        convolution = nn.Conv1d(width, width, 5, padding=2)
        first, last = nn.Conv1d(MELS, width, 5, padding=2), nn.Conv1d(width, len(LETTERS), 1)
        self.network = nn.Sequential(first, nn.ReLU(), convolution, nn.ReLU(), last)
        self.words = lexicon()

    def forward(self, frames: Tensor, lengths: Tensor) -> gtnet.Graph:
        scores = self.network(frames.transpose(1, 2)).transpose(1, 2)
        return gtnet.Emissions(scores, lengths) @ self.words


def read(lattice: gtnet.Graph) -> list[int]:
    """The word of the best path of each recording."""
    return [word for [word] in gtnet.label_sequences(gtnet.viterbi_path(lattice))]


# The data: log-mel energies of frames of 32 ms, 16 ms apart


def mel_filters(rate: int, size: int) -> np.ndarray:
    """Triangles over the frequencies of a spectrum, equally wide in mel, [mels, frequencies]."""
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), MELS + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)[:, None]
    frequencies, width = np.linspace(0, rate / 2, size), np.diff(corners, axis=0)
    up, down = (frequencies - corners)[:-2] / width[:-1], (corners - frequencies)[2:] / width[1:]
    return np.maximum(0, np.minimum(up, down))


def features(samples: np.ndarray, rate: int) -> Tensor:
    """Log-mel energies of a recording, normalized over it, float32 [frames, mels]."""
    transform = ShortTimeFFT.from_window("hann", rate, 256, 128, scale_to="psd", phase_shift=None)
    power = transform.spectrogram(samples.astype(np.float64))
    mels = np.log(mel_filters(rate, len(power)) @ power + 1e-3).T
    return torch.from_numpy((mels - mels.mean(0)) / mels.std()).float()


def recordings(path: Path, wanted: range) -> tuple[list[Tensor], Tensor]:
    """Features and digits of the wanted recordings, 0 .. 49 of each digit and speaker."""
    with np.load(path, allow_pickle=False) as file:
        samples, offsets, labels = file["samples"], file["offsets"], file["labels"]
        chosen, rate = np.isin(file["index"], wanted).nonzero()[0], int(file["rate"])
    frames = [features(samples[offsets[i] : offsets[i + 1]], rate) for i in chosen]
    return frames, torch.from_numpy(labels[chosen]).long()


def batches(frames: list[Tensor], order: Tensor, size: int = 32):
    """Padded batches: which items, frames, lengths."""
    for chosen in order.split(size):
        items = [frames[i] for i in chosen.tolist()]
        yield chosen, pad_sequence(items, batch_first=True), torch.tensor([len(x) for x in items])


def train(
    frames: list[Tensor], digits: Tensor, *, loss: str = "nll", epochs: int = 6, seed: int = 0
) -> Recognizer:
    """A recognizer trained by a loss of `gtnet.losses`."""
    torch.manual_seed(seed)
    model, criterion = Recognizer(), gtnet.nn.EnergyLoss(loss, zero_infinity=True)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for chosen, padded, lengths in batches(frames, torch.randperm(len(frames))):
            optimizer.zero_grad()
            criterion(model(padded, lengths), gtnet.linear(digits[chosen, None])).backward()
            optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: Recognizer, frames: list[Tensor], digits: Tensor) -> float:
    """The share of recordings whose word is read right."""
    right = 0
    for chosen, padded, lengths in batches(frames, torch.arange(len(frames))):
        right += sum(a == b for a, b in zip(read(model(padded, lengths)), digits[chosen].tolist()))
    return right / len(frames)


def main() -> None:
    """Train on the official training part, print the accuracy on the official test part."""
    parser = argparse.ArgumentParser("python -m benchmarks.spoken_digits", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="fsdd.npz")
    parser.add_argument("--loss", default="nll", choices=sorted(gtnet.losses.LOSSES))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    seen, unseen = recordings(given.data, range(5, 50)), recordings(given.data, range(5))
    model = train(*seen, loss=given.loss, epochs=given.epochs, seed=given.seed)
    print(
        f"{given.loss}, {given.epochs} epochs, seed {given.seed}: {accuracy(model, *unseen):.1%} "
        f"of {len(unseen[1])} recordings right, {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
