"""`python -m benchmarks.large_model FOLDER [N-GRAMS WORDS]`: a large n-gram model, read and loaded.

Writes a synthetic trigram model in the ARPA format (5 million n-grams of 200,000 words by default)
and reads it, plain and compressed by gzip, saves and loads it, each in a process of its own; beside
it KenLM, if it is installed (`pip install kenlm`), which answers questions about a model but does
not list its n-grams. The words are those of wordninja's list (a PyPI package: English by
frequency), if it is installed, with endings where they do not suffice; else numbers.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

_ENDINGS = ("s", "ed", "ing", "er", "ly", "ness")


def vocabulary(size: int) -> list[str]:
    """Different words, frequent ones first as far as a list of words is there."""
    found: dict[str, None] = {}
    if (package := importlib.util.find_spec("wordninja")) and package.origin:
        listed = Path(package.origin).parent / "wordninja" / "wordninja_words.txt.gz"
        stems = gzip.decompress(listed.read_bytes()).decode().split()
        for ending in ("", *_ENDINGS):
            found |= dict.fromkeys(stem + ending for stem in stems if stem.isalpha())
    found |= dict.fromkeys(f"w{i}" for i in range(max(0, size - len(found))))
    return list(found)[:size]


def trigrams(grams: int, words: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Labels [n, order] of a model, log10 probabilities and back-off weights, by order.

    Words of Zipf's law follow each other; 2 of 5 n-grams are bigrams, the others trigrams whose
    bigrams are listed. What is not listed has about a third of the mass behind every history.
    """
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, words + 1)
    chance /= chance.sum()
    twos = (grams - words) * 2 // 5
    pairs = _distinct(rng, words, chance, twos)
    threes = grams - words - twos
    # A trigram is a listed bigram, and a word that follows its last one.
    begin = np.searchsorted(pairs[:, 0], np.arange(words + 1))
    known = np.flatnonzero(begin[pairs[:, 1] + 1] > begin[pairs[:, 1]])
    keys = np.empty(0, np.int64)
    while len(keys) < threes:
        first = rng.choice(known, threes)
        low, high = begin[pairs[first, 1]], begin[pairs[first, 1] + 1]
        second = low + (rng.random(threes) * (high - low)).astype(np.int64)
        keys = np.unique(np.concatenate([keys, first * words + pairs[second, 1]]))
    keys = np.sort(rng.choice(keys, threes, replace=False))
    triples = np.column_stack([pairs[keys // words], keys % words])
    found = []
    for labels in (np.arange(words)[:, None], pairs, triples):
        if labels.shape[1] == 1:
            scores = np.log10(chance)
        else:
            # Sorted, so that n-grams of one history stand side by side.
            begins = (np.diff(labels[:, :-1], axis=0, prepend=-1) != 0).any(1)
            group = np.cumsum(begins) - 1
            counts = np.bincount(group)[group]
            shares = rng.exponential(size=len(labels))
            total = np.bincount(group, shares)[group]
            scores = np.log10(shares / total * (1 - 1 / (1 + counts)) * 0.9)
        found.append((labels, scores, -rng.random(len(labels)) * 0.7 - 0.1))
    return found


def _distinct(rng: np.random.Generator, words: int, chance: np.ndarray, size: int) -> np.ndarray:
    """Different pairs of words, sorted."""
    keys = np.empty(0, np.int64)
    while len(keys) < size:
        drawn = rng.choice(words, (size, 2), p=chance)
        keys = np.unique(np.concatenate([keys, drawn[:, 0] * words + drawn[:, 1]]))
    keys = np.sort(rng.choice(keys, size, replace=False))
    return np.column_stack([keys // words, keys % words])


def write(path: Path, grams: int, words: int) -> None:
    """The model as an ARPA file."""
    names = np.array(vocabulary(words))
    orders = trigrams(grams - 3, words)
    with path.open("w") as file:
        sizes = [len(labels) for labels, _, _ in orders]
        sizes[0] += 3
        counts = "".join(f"ngram {order}={size}\n" for order, size in enumerate(sizes, 1))
        file.write(f"\\data\\\n{counts}")
        for order, (labels, scores, backoffs) in enumerate(orders, 1):
            file.write(f"\n\\{order}-grams:\n")
            if order == 1:
                file.write("-99\t<s>\t-0.3\n-1.5\t</s>\n-6\t<unk>\n")
            columns = [names[column].tolist() for column in labels.T]
            spelled = map(" ".join, zip(*columns, strict=True))
            tails = [""] * len(labels) if order == len(orders) else [f"\t{b:.6f}" for b in backoffs]
            lines = zip(scores.tolist(), spelled, tails, strict=True)
            file.writelines(f"{score:.6f}\t{gram}{tail}\n" for score, gram, tail in lines)
        file.write("\n\\end\\\n")


_MEASURE = """
import json, resource, sys, time
{load}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wall, cpu = time.perf_counter(), time.process_time()
model = {call}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([cpu, wall, more / 1024]))
{after}
"""


def measure(load: str, call: str, after: str = "") -> list[float]:
    """CPU seconds, seconds and megabytes of a call, in a process of its own."""
    code = textwrap.dedent(_MEASURE).format(load=load, call=call, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Write, measure, and print a table."""
    folder = Path(sys.argv[1])
    grams, words = (int(a) for a in sys.argv[2:4]) if len(sys.argv) > 3 else (5_000_000, 200_000)
    plain, packed = folder / "model.arpa", folder / "model.arpa.gz"
    saved = folder / "model.safetensors"
    if not plain.exists():
        write(plain, grams, words)
        packed.write_bytes(gzip.compress(plain.read_bytes(), 6, mtime=0))
    megabytes = plain.stat().st_size / 1e6
    print(f"{grams} n-grams of {words} words, {megabytes:.0f} MB of text\n")
    print("| what | CPU s | s | more memory, MB |")
    print("|---|--:|--:|--:|")
    ours = "from gtnet import NGramModel"
    rows = {
        "`NGramModel.read`": (
            ours,
            f"NGramModel.read({str(plain)!r})",
            f"model.save({str(saved)!r})",
        ),
        "`NGramModel.read`, .gz": (ours, f"NGramModel.read({str(packed)!r})"),
        "`NGramModel.load`": (ours, f"NGramModel.load({str(saved)!r})"),
        "`load` and `graph(backoff='failure')`": (
            ours,
            f"NGramModel.load({str(saved)!r}).graph(backoff='failure')",
        ),
    }
    if importlib.util.find_spec("kenlm"):
        rows["KenLM, the same text"] = ("import kenlm", f"kenlm.Model({str(plain)!r})")
    for name, row in rows.items():
        cpu, wall, more = measure(*row)
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {more:.0f} |", flush=True)


if __name__ == "__main__":
    main()
