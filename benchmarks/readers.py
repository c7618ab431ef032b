"""What trained check readers read of the folds that they never saw, and how fast.

python -m benchmarks.readers runs/fold0 runs/fold2: each is the folder of
`gtnet train --data car_a --test-fold N`. Their test images are pooled; thresholds of confidence
come from their validation parts, pooled too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from gtnet.reader import load_reader, rejection_threshold
from gtnet.reader.observed import Observed
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.runs import Run, parts_of_car_a
from gtnet.reader.train import Evaluation, evaluate

RATES = (0.01, 0.02)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.readers", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tests, truly, valids = [], [], []
    for folder in options.folders:
        run, reader = Run.load(folder), load_reader(folder)
        parts = parts_of_car_a(run.data)
        found = evaluate(reader, Observed(parts.test, reader.front_end.observe))
        tests.append(found)
        truly.append(Evaluation(found.answers, parts.corrected or found.truth))
        if parts.valid is not None:
            valids.append(evaluate(reader, Observed(parts.valid, reader.front_end.observe)))
        right = truly[-1]
        print(
            f"{folder}: fold {run.data.test_fold}, {len(found.truth)} images, read exactly"
            f" {found.accuracy:.1%} as labelled, {right.accuracy:.1%} corrected"
        )
        images = [parts.test[i][0] for i in range(128)]
        print("  CPU ms per image, batches of 32: " + ", ".join(_stages(reader, images)))
        for i, right_one in enumerate(right.correct):
            if not right_one:
                answer, name = right.answers[i], parts.test.name(i)  # type: ignore[attr-defined]
                told = f"{answer.amount} for {right.truth[i]}, {answer.confidence:.3f}"
                print(f"  wrong: {name.split('_png')[0]} {told}")
    for title, found in (("as labelled", _pooled(tests)), ("corrected", _pooled(truly))):
        print(f"all, {title}: {found.accuracy:.1%} of {len(found.truth)} read exactly")
        for rate in RATES:
            print("  " + rejected(found, _pooled(valids), rate))


def _pooled(parts: Sequence[Evaluation]) -> Evaluation:
    return Evaluation([a for p in parts for a in p.answers], [t for p in parts for t in p.truth])


def rejected(found: Evaluation, valid: Evaluation, rate: float) -> str:
    """The share read at an error rate, by the best threshold and by that of the validation part."""
    _, best = rejection_threshold(found.confidences, found.correct, rate)
    threshold, _ = rejection_threshold(valid.confidences, valid.correct, rate)
    taken = [
        right
        for right, sure in zip(found.correct, found.confidences, strict=True)
        if sure >= threshold
    ]
    wrong = taken.count(False) / max(1, len(taken))
    return (
        f"at {rate:.0%} error {best:.1%} by the best threshold; by that of {len(valid.truth)}"
        f" validation images, {threshold:.3f}, {len(taken) / max(1, len(found.truth)):.1%} with"
        f" {wrong:.1%} wrong"
    )


def _stages(reader: Recognizer, images: list[np.ndarray]) -> list[str]:
    """CPU milliseconds per image of each stage, on one thread: the least of three."""
    seen = sorted(reader.observe(images), key=len)
    batches = [seen[first : first + 32] for first in range(0, len(seen), 32)]
    with torch.no_grad():
        graphs = [reader.recognition(batch) for batch in batches]
        stages: dict[str, Callable[[], object]] = {
            "all": lambda: reader.read(images),
            "observing": lambda: reader.observe(images),
            "network": lambda: [reader.recognition(batch) for batch in batches],
            "graphs": lambda: [reader.answers(reader.interpretation(g)) for g in graphs],
        }
        return [f"{name} {_least(work) / len(images):.2f}" for name, work in stages.items()]


def _least(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        began = time.process_time()
        work()
        times.append(1000 * (time.process_time() - began))
    return min(times)


if __name__ == "__main__":
    main()
