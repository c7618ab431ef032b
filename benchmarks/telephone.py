"""`python -m benchmarks.telephone [--speaker NAME]`: spoken telephone numbers, and when words are.

Numbers of 3 to 7 digits are joined from recordings of one speaker (fsdd/fsdd.npz), whom the network
has not heard in training. It learns labels of frames from random strings of the other speakers, by
CTC and by where the recordings were joined. `ctc_decoder` then reads numbers of a plan in which the
first digit says how many follow, with the plan as its grammar and without, and says when each word
is spoken.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import gtnet
from benchmarks.reading import learn, share
from benchmarks.spoken_strings import CONFIG, DATA, DIGITS, Joined, Speakers, batches, frame_labels
from gtnet.decode import CTCDecoder, Hypothesis, ctc_decoder
from gtnet.losses import ctc_loss
from gtnet.reader import Recognizer, SoundFrontEnd

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PLAN = {"1": 3, "0": 4, "2345": 5, "678": 6, "9": 7}
"""Digits of a number, by the first one."""


def grammar() -> gtnet.Graph:
    """The acceptor of all numbers of the plan, over the labels of the words."""
    builder = gtnet.GraphBuilder()
    rest = [builder.add_state(accept=left == 0) for left in range(max(PLAN.values()))]
    start = builder.add_state(start=True)
    for first, digits in PLAN.items():
        for label in map(int, first):
            builder.add_arc(start, rest[digits - 1], label)
    for left in range(1, len(rest)):
        for digit in range(10):
            builder.add_arc(rest[left], rest[left - 1], digit)
    return builder.build()


def numbers(speakers: Speakers, speaker: str, count: int, seed: int) -> list[Joined]:
    """Numbers of the plan, spoken by one speaker."""
    rng = np.random.default_rng(seed)
    own = [np.nonzero((speakers.of == speaker) & (speakers.digits == d))[0] for d in range(10)]
    lengths = {int(digit): size for first, size in PLAN.items() for digit in first}
    found = []
    for _ in range(count):
        first = int(rng.integers(10))
        digits = [first, *rng.integers(10, size=lengths[first] - 1)]
        found.append(speakers.join([rng.choice(own[d]) for d in digits], rng))
    return found


def losses(reader: Recognizer, strings: Sequence[Joined], seen: Sequence, seed: int) -> Iterator:
    """CTC of the digits and cross-entropy of the frames, of batches."""
    for batch in batches(strings, 16, seed):
        heard = reader.recognition([seen[i] for i in batch], reader.front_end.change(1.0))
        assert heard.lengths is not None
        chosen, most = [strings[i] for i in batch], heard.scores.shape[1]
        labels = frame_labels(chosen, heard.lengths, most, len(DIGITS))
        frames = functional.nll_loss(heard.scores.flatten(0, 1), labels.flatten())
        digits = torch.tensor([len(string.text) for string in chosen])
        targets = torch.tensor([int(digit) for string in chosen for digit in string.text])
        sums = ctc_loss(
            heard.scores.transpose(0, 1),
            targets,
            heard.lengths,
            digits,
            blank=len(DIGITS),
            reduction="none",
        )
        yield frames + (sums / digits).mean()


def decoder(plan: gtnet.Graph | None) -> CTCDecoder:
    tokens = gtnet.SymbolTable([*DIGITS, "-"])
    lexicon = gtnet.Lexicon(
        [(digit, [digit], 0.0) for digit in range(10)], gtnet.SymbolTable(WORDS), tokens
    )
    return ctc_decoder(lexicon, tokens, plan, blank="-")


def time_errors(
    strings: Sequence[Joined], found: Sequence[Hypothesis | None], frames: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Of the words of strings that are read right: errors of start and end in seconds."""
    starts, ends = [], []
    for string, answer, count in zip(strings, found, frames.tolist(), strict=True):
        if answer is None or [word.label for word in answer.words] != list(map(int, string.text)):
            continue
        length = len(string.sound.samples) / string.sound.rate
        for word, (first, last) in zip(answer.words, string.places, strict=True):
            starts.append((word.start / count - first) * length)
            ends.append((word.end / count - last) * length)
    return np.array(starts), np.array(ends)


@torch.no_grad()
def judged(reader: Recognizer, strings: Sequence[Joined], seen: Sequence) -> list[str]:
    """A row of the table for each decoder."""
    heard = [reader.recognition(seen[k : k + 50]) for k in range(0, len(seen), 50)]
    rows = []
    for name, plan in (("none", None), ("telephone numbers", grammar())):
        own = decoder(plan)
        begin = time.process_time()
        found = [
            answers[0] if answers else None
            for part in heard
            for answers in own(part.scores, part.lengths)
        ]
        seconds = time.process_time() - begin
        truth = [[int(digit) for digit in string.text] for string in strings]
        said = [[word.label for word in one.words] if one else [] for one in found]
        wrong = int(gtnet.edit_distance(gtnet.linear(said), gtnet.linear(truth)).sum())
        right = sum(one == other for one, other in zip(said, truth, strict=True))
        frames = torch.cat([part.lengths for part in heard if part.lengths is not None])
        starts, ends = (1000 * errors for errors in time_errors(strings, found, frames))
        rows.append(
            f"| {name} | {share(wrong, sum(map(len, truth)))} | "
            f"{share(len(truth) - right, len(truth))} | "
            f"{np.median(np.abs(starts)):.0f} ({np.quantile(np.abs(starts), 0.9):.0f}) | "
            f"{np.median(np.abs(ends)):.0f} ({np.quantile(np.abs(ends), 0.9):.0f}) | "
            f"{1000 * seconds / len(truth):.1f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.telephone", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="fsdd.npz")
    parser.add_argument("--speaker", help="the one that is left out (default: each in turn)")
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    speakers = Speakers(given.data)
    print(
        "| speaker | grammar | digits wrong | strings wrong | start of words, ms: median (90 %) | ",
        end="",
    )
    print("end of words, ms | CPU ms a string |\n|---|---|--:|--:|--:|--:|--:|", flush=True)
    for speaker in [given.speaker] if given.speaker else speakers.names:
        began = time.process_time()
        others = [name for name in speakers.names if name != speaker]
        strings = speakers.strings(others, 2400, range(2, 5), given.seed + 1, vary=True)
        test = numbers(speakers, speaker, 200, 99)
        torch.manual_seed(given.seed)
        reader = Recognizer(DIGITS, None, SoundFrontEnd(CONFIG))
        seen, heard = (reader.observe([one.sound for one in part]) for part in (strings, test))
        learn(reader, losses(reader, strings, seen, given.seed), given.steps, 3e-3)
        seconds = time.process_time() - began
        for row in judged(reader.eval(), test, heard):
            print(f"| {speaker} {row}", flush=True)
        print(f"<!-- {speaker}: trained in {seconds:.0f} CPU s -->", flush=True)


if __name__ == "__main__":
    main()
