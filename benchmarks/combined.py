"""What several check readers read together of a fold that none of them saw.

python -m benchmarks.combined runs/segments0 runs/fold0: folders of `gtnet train --data car_a` with
one test fold and one validation part. The weights of the readers are learnt on the images of the
validation part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.readers import RATES, rejected
from gtnet.reader import Combined, load_reader
from gtnet.reader.runs import Run, parts_of_car_a
from gtnet.reader.train import Evaluation


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.combined", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    folders = parser.parse_args(arguments).folders
    torch.set_num_threads(1)
    kept = [(run.data.test_fold, run.data.valid) for run in map(Run.load, folders)]
    if len(set(kept)) != 1 or not kept[0][1]:
        parser.error(f"readers must share their test fold and validation images, these have {kept}")
    parts = parts_of_car_a(Run.load(folders[0]).data)
    assert parts.valid is not None
    valid, test = (list(zip(*(p[i] for i in range(len(p))))) for p in (parts.valid, parts.test))
    readers = [load_reader(folder) for folder in folders]
    both = Combined(readers).fitted(*valid)
    weights = ", ".join(f"{weight:.2f}" for weight in both.weights)
    named = [*zip(map(str, folders), readers), ("equal weights", Combined(readers))]
    for name, reader in [*named, (f"weights {weights}", both)]:
        chosen = Evaluation(reader.read(valid[0]), list(valid[1]))
        found = Evaluation(reader.read(test[0]), list(test[1]))
        truly = Evaluation(found.answers, parts.corrected or found.truth)
        print(
            f"{name}: read exactly {found.accuracy:.1%} as labelled, {truly.accuracy:.1%}"
            f" corrected, {chosen.accuracy:.1%} of the validation images",
            flush=True,
        )
        for rate in RATES:
            print("  corrected, " + rejected(truly, chosen, rate), flush=True)


if __name__ == "__main__":
    main()
