"""`python -m benchmarks.ctc_outputs [FOLDER]`: outputs of CTC networks on handwriting, decoded.

Four lines of the Bentham and IAM collections as the networks of CTCWordBeamSearch and CTCDecoder
(Harald Scheidl, GitHub) saw them, with the texts that come with them as lexicon and bigram model.
The settings are those of `ctc_decoder`; nothing was chosen by these lines. The texts hold the
answers (scrambled, or with other lines), as they do for those projects, so this compares decoders,
not recognizers. FOLDER has `wordbeamsearch/data/{bentham,iam}`, by default that of $GTNET_DATA.
"""

from __future__ import annotations

import collections
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

import gtnet
from benchmarks.reading import SHARED
from gtnet.decode import ctc_decoder

# What the projects print for these lines (README of each).
PRINTED = {
    ("bentham", 0): {"word beam search": "brain."},
    ("bentham", 1): {"word beam search": "supposed"},
    ("bentham", 2): {
        "word beam search": "submitt both mental and corporeal, is far beyond any fa",
        "word beam search, TensorFlow": "submitt both mental and corporeal, is far beyond any idea",
    },
    ("iam", 0): {
        "best path": "the fak friend of the fomly hae tC",
        "prefix search": "the fak friend of the fomcly hae tC",
        "beam search, letter model": "the fake friend of the family, lie th",
        "token passing": "the fake friend of the family fake the",
    },
}


class Line(NamedTuple):
    """A line: log-probabilities [1, frames, labels], what it says, and the texts beside it."""

    collection: str
    number: int
    log_probs: torch.Tensor
    truth: str
    chars: str
    word_chars: str
    corpus: str


def lines(folder: Path) -> Iterator[Line]:
    """The lines of both collections."""
    for collection, count in (("bentham", 3), ("iam", 1)):
        place = folder / collection
        texts = [(place / f"{name}.txt").read_text() for name in ("chars", "wordChars", "corpus")]
        for number in range(count):
            rows = (place / f"mat_{number}.csv").read_text().split()
            scores = [[float(v) for v in row.rstrip(";").split(";")] for row in rows]
            log_probs = torch.tensor(scores).log_softmax(-1)[None]
            truth = (place / f"gt_{number}.txt").read_text()
            yield Line(collection, number, log_probs, truth, *texts)


def bigram_model(sentences: list[list[str]], folder: Path) -> gtnet.NGramModel:
    """A bigram model with absolute discounting of 0.5, unigrams with one count more."""
    follow = collections.Counter(
        pair for s in sentences for pair in zip(["<s>", *s], [*s, "</s>"], strict=True)
    )
    alone = collections.Counter(after for _, after in follow.elements())
    alone = {word: count + 1 for word, count in alone.items()} | {"<unk>": 1}
    total = sum(alone.values())
    before = collections.Counter(first for first, _ in follow.elements())
    kinds = collections.Counter(first for first, _ in follow)
    rows = ["\\data\\", f"ngram 1={len(alone) + 1}", f"ngram 2={len(follow)}", "", "\\1-grams:"]
    for word, count in [("<s>", 0), *sorted(alone.items())]:
        rest = 0.5 * kinds[word] / before[word] if before[word] else 1.0
        chance = math.log10(count / total) if count else -99
        rows.append(f"{chance} {word} {math.log10(rest)}")
    rows += ["", "\\2-grams:"]
    for (first, after), count in sorted(follow.items()):
        rows.append(f"{math.log10((count - 0.5) / before[first])} {first} {after}")
    path = folder / "model.arpa"
    path.write_text("\n".join([*rows, "", "\\end\\", ""]))
    return gtnet.NGramModel.read(path, unk="<unk>")


def decoded(line: Line, folder: Path) -> dict[str, str]:
    """What gtnet makes of a line: without a lexicon, with it, and with a model of its words."""
    word = f"[{re.escape(line.word_chars)}]+"
    sentences = [re.findall(word, text) for text in re.split(r"[.\n]", line.corpus)]
    words = sorted({w for s in sentences for w in s})
    names = [*line.chars, "<blank>"]
    options = {
        "blank": "<blank>",
        "separators": [c for c in line.chars if c not in line.word_chars],
        "log_add": True,
    }
    model = bigram_model([s for s in sentences if s], folder)
    decoders = {
        "no lexicon": ctc_decoder(tokens=names, **options),
        "lexicon": ctc_decoder(words, names, **options),
        "lexicon and bigrams": ctc_decoder(words, names, model, **options),
    }
    found = {}
    for name, decoder in decoders.items():
        answers = decoder(line.log_probs)[0]
        found[name] = "".join(token.name for token in answers[0].tokens) if answers else ""
    return found


def errors(said: str, truth: str) -> tuple[int, int, int, int]:
    """Wrong characters and how many there are, wrong words and how many."""
    pairs = ((list(said), list(truth)), (said.split(), truth.split()))
    counts = []
    for ours, theirs in pairs:
        table = {thing: i for i, thing in enumerate(dict.fromkeys([*ours, *theirs]))}
        one, other = ([table[t] for t in text] for text in (ours, theirs))
        distance = gtnet.edit_distance(gtnet.linear(one), gtnet.linear(other))
        counts += [int(distance), len(theirs)]
    return counts[0], counts[1], counts[2], counts[3]


def main() -> None:
    """Decode every line and print the table."""
    default = SHARED / "ctc_outputs"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    torch.set_num_threads(1)
    sums: dict[str, list[int]] = {}
    print("| line | decoder | text | characters wrong | words wrong |\n|---|---|---|--:|--:|")
    with tempfile.TemporaryDirectory() as scratch:
        for line in lines(folder / "wordbeamsearch" / "data"):
            place = f"{line.collection} {line.number}"
            print(f"| {place} | truth | {line.truth} | | |")
            ours = {f"gtnet, {k}": v for k, v in decoded(line, Path(scratch)).items()}
            for name, text in {**ours, **PRINTED[line.collection, line.number]}.items():
                wrong, chars, lost, words = errors(text, line.truth)
                print(f"| {place} | {name} | {text} | {wrong} of {chars} | {lost} of {words} |")
                if name in ours:
                    before = sums.setdefault(name, [0, 0, 0, 0])
                    sums[name] = [a + b for a, b in zip(before, (wrong, chars, lost, words))]
    for name, (wrong, chars, lost, words) in sums.items():
        print(f"| all | {name} | | {wrong} of {chars} | {lost} of {words} |")


if __name__ == "__main__":
    main()
