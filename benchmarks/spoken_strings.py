"""`python -m benchmarks.spoken_strings [--speaker NAME]`: five digits in a row, unknown speakers.

The recordings are those of the Free Spoken Digit Dataset (fsdd/fsdd.npz), joined to strings of one
speaker. A reader is trained on the other speakers. First its frames are: every frame of a training
string has a label, as it is known where the recordings were joined. Then training goes on, once
more with frames and once with strings alone, through the difference of two forward scores.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.made_voices import FORMULA
from benchmarks.reading import SHARED, continued, count_right, learn, share, texts
from gtnet.reader import Combined, Recognizer, Recording, SequenceConfig, SoundConfig, SoundFrontEnd

DATA = SHARED / "fsdd" / "fsdd.npz"
DIGITS = "0123456789"
CONFIG = SoundConfig(lasts=2, network=SequenceConfig((96, 96, 96), (5, 5, 5), (1, 1, 1), context=0))
"""Convolutions alone: each frame sees about half a second, a digit, which takes two frames."""
LONGEST_GAP = 0.12
"""Seconds of quiet between two digits, at most; drawn evenly from 0."""
HELD = 0.15
"""Share at each end of a digit whose frames are labelled as none, for training of frames."""
FASTEST = 1.25
"""Recordings for training are played up to so many times as fast, or as slowly."""


@dataclass(frozen=True)
class Joined:
    """A string of recordings: the sound, the digits, and where each is, as shares of the length."""

    sound: Recording
    text: str
    places: list[tuple[float, float]]


class Speakers:
    """Recordings of single digits by speaker."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            samples, offsets = file["samples"], file["offsets"]
            self.digits, self.of = file["labels"], file["speaker"]
            self.rate = int(file["rate"])
        self.recordings = [samples[a:b] for a, b in pairwise(offsets)]
        self.names = sorted(set(self.of.tolist()))

    def join(
        self, chosen: Sequence[int], rng: np.random.Generator, *, vary: bool = False
    ) -> Joined:
        """Recordings one after the other, with quiet between them.

        `vary`: the voice of the whole, and a little that of each digit, is made higher and faster,
        or lower and slower, and digits louder or less.
        """
        quiet = 0.003 * max(int(np.abs(self.recordings[i]).max()) for i in chosen)
        pieces, ends = [], []
        voice = rng.uniform(-1, 1) * math.log(FASTEST)
        for i in chosen:
            gap = rng.normal(0, quiet, int(rng.uniform(0, LONGEST_GAP) * self.rate))
            own = self.recordings[i].astype(np.float64)
            if vary:
                loud, speed = rng.normal(0, 0.25), math.exp(voice + rng.normal(0, 0.03))
                at = np.arange(0, len(own) - 1, speed)
                own = math.exp(loud) * np.interp(at, np.arange(len(own)), own)
            pieces += [gap, own]
            done = sum(map(len, pieces))
            ends.append((done - len(pieces[-1]), done))
        samples = np.concatenate(pieces)
        places = [(first / len(samples), last / len(samples)) for first, last in ends]
        text = "".join(DIGITS[self.digits[i]] for i in chosen)
        return Joined(Recording(samples, self.rate), text, places)

    def strings(
        self, names: Sequence[str], count: int, lengths: range, seed: int, *, vary: bool = False
    ) -> list[Joined]:
        """Strings of random digits, each of one of these speakers; `vary` as in `join`."""
        rng = np.random.default_rng(seed)
        own = [np.nonzero(self.of == name)[0] for name in names]
        return [
            self.join(rng.choice(own[k % len(own)], rng.choice(lengths)), rng, vary=vary)
            for k in range(count)
        ]


def frame_labels(strings: Sequence[Joined], frames: Tensor, most: int, nothing: int) -> Tensor:
    """The digit of every frame, or what is none; behind a string -100, which is left out."""
    labels = torch.full((len(strings), most), -100)
    for row, string, count in zip(labels, strings, frames.tolist(), strict=True):
        at = (torch.arange(count) + 0.5) / count
        row[:count] = nothing
        for digit, (first, last) in zip(string.text, string.places, strict=True):
            held = HELD * (last - first)
            row[:count][(at >= first + held) & (at < last - held)] = int(digit)
    return labels


def batches(strings: Sequence[Joined], size: int, seed: int) -> Iterator[list[int]]:
    """Strings of like lengths, without end."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(strings))
        for first in range(0, len(order), 8 * size):
            part = sorted(
                order[first : first + 8 * size], key=lambda i: len(strings[i].sound.samples)
            )
            groups = [part[k : k + size] for k in range(0, len(part), size)]
            for k in rng.permutation(len(groups)):
                yield [int(i) for i in groups[k]]


def frame_losses(reader: Recognizer, strings: Sequence[Joined], seen, seed: int):
    """Cross-entropy of the frames of batches."""
    for batch in batches(strings, 16, seed):
        graphs = reader.recognition([seen[i] for i in batch], reader.front_end.change(1.0))
        assert graphs.lengths is not None
        chosen, most = [strings[i] for i in batch], graphs.scores.shape[1]
        labels = frame_labels(chosen, graphs.lengths, most, len(DIGITS))
        yield functional.nll_loss(graphs.scores.flatten(0, 1), labels.flatten())


def string_losses(reader: Recognizer, strings: Sequence[Joined], seen, seed: int):
    """The difference of two forward scores of the strings of batches."""
    for batch in batches(strings, 16, seed):
        truth = [strings[i].text for i in batch]
        loss = reader.loss([seen[i] for i in batch], truth, reader.front_end.change(1.0))
        yield loss[torch.isfinite(loss)].mean()


def lasting_reader(reader: Recognizer, lasts: int) -> Recognizer:
    """The same network, read with characters that take so many frames at least."""
    assert isinstance(reader.front_end, SoundFrontEnd)
    front_end = SoundFrontEnd(replace(reader.front_end.config, lasts=lasts))
    return Recognizer(DIGITS, None, front_end, reader.network).eval()


def best_lasting(reader: Recognizer, strings: Sequence[Joined], seen) -> Recognizer:
    """The reader of 1 to 4 frames a character that reads most of some training strings."""
    truth = [string.text for string in strings]
    found = {}
    for lasts in (1, 2, 3, 4):
        own = lasting_reader(reader, lasts)
        own.unsure = 0.0  # one look each
        found[lasts] = count_right(texts(own, seen), truth)
    return lasting_reader(reader, max(found, key=found.__getitem__))


def training(
    speakers: Speakers, made: Speakers | None, names: Sequence[str], seed: int
) -> list[Joined]:
    """Strings of some speakers, and as many of synthetic voices where there are such.

    Two in three of these are of voices that were made of a person's recordings.
    """
    strings = speakers.strings(names, 2400, range(2, 5), seed + 1, vary=True)
    if made is None:
        return strings
    formula = [name for name in made.names if name.startswith(FORMULA)]
    recorded = [name for name in made.names if not name.startswith(FORMULA)]
    parts = [(recorded, 1600), (formula, 800)] if recorded and formula else [(made.names, 2400)]
    for number, (voices, count) in enumerate(parts):
        strings += made.strings(voices, count, range(2, 5), seed + 4 + number, vary=True)
    return strings


def judged(
    speakers: Speakers, made: Speakers | None, speaker: str, steps: int, seeds: Sequence[int]
) -> list[tuple[str, int, int]]:
    """How many of 200 strings of a speaker are read right, by training on the others.

    A reader for each seed, and what those trained on strings read together.
    """
    others = [name for name in speakers.names if name != speaker]
    test = speakers.strings([speaker], 200, range(5, 6), 99)
    truth = [string.text for string in test]
    rows: list[tuple[str, int, int]] = []
    last = []
    for seed in seeds:
        strings = training(speakers, made, others, seed)
        own = speakers.strings(others, 120, range(5, 6), seed + 3)
        torch.manual_seed(seed)
        reader = Recognizer(DIGITS, None, SoundFrontEnd(CONFIG))
        seen, heard, known = (
            reader.observe([string.sound for string in part]) for part in (strings, test, own)
        )
        learn(reader, frame_losses(reader, strings, seen, seed), steps, 3e-3)
        ways = {
            "frames": None,
            "frames, then frames": partial(frame_losses, reader, strings, seen, seed + 2),
            "frames, then strings": partial(string_losses, reader, strings, seen, seed + 2),
        }
        for name in continued(reader, ways, steps, 2e-3, seed=seed + 2):
            readers = {name: reader.eval()}
            if name != "frames, then strings":  # frames alone say nothing of how long digits last
                readers[name] = best_lasting(reader, own, known)
                readers[f"{name}; one frame may be a digit"] = lasting_reader(reader, 1)
            rows += [
                (row, count_right(texts(each, heard), truth), len(test))
                for row, each in readers.items()
            ]
        last.append(reader)
    if len(last) > 1:
        together = Combined(last).read([string.sound for string in test])
        right = count_right([answer.text for answer in together], truth)
        rows.append((f"frames, then strings; {len(last)} readers together", right, len(test)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.spoken_strings", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="fsdd.npz")
    parser.add_argument(
        "--made", type=Path, help="synthetic voices that train too (benchmarks.made_voices)"
    )
    parser.add_argument("--speaker", help="the one that is left out (default: each in turn)")
    parser.add_argument("--steps", type=int, default=400, help="of each of the two trainings")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="a reader for each, also read together"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    speakers = Speakers(given.data)
    made = Speakers(given.made) if given.made else None
    right: dict[str, list[int]] = {}
    for speaker in [given.speaker] if given.speaker else speakers.names:
        began = time.process_time()
        rows = judged(speakers, made, speaker, given.steps, given.seeds)
        for name, count, of in rows:
            right.setdefault(name, []).append(count)
            print(f"{speaker}, trained on {name}: {share(count, of)} strings right", flush=True)
        print(f"  {time.process_time() - began:.0f} CPU s", flush=True)
    for name, counts in right.items():
        total = 200 * len(counts)
        print(f"all, trained on {name}: {share(sum(counts), total)} strings right")


if __name__ == "__main__":
    main()
