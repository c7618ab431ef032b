"""The reader that a page shows: a trained one, or the demo's, which is trained once and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gtnet
from gtnet.reader import Recognizer, load, load_reader
from gtnet.reader.runs import DEMO, RESULTS, Run
from gtnet.reader.train import CHECKPOINT


@dataclass(frozen=True)
class Model:
    """A reader, where it is from, and the confidence from which its answers are accepted."""

    reader: Recognizer
    name: str
    threshold: float | None

    @classmethod
    def load(cls, folder: Path | str) -> Model:
        """The reader of a training folder.

        Raises ValueError where there is none, and for one that reads what cannot be drawn.
        """
        reader = load_reader(folder)
        if reader.front_end.name == "sound":
            raise ValueError(f"the reader in {folder} hears: there is nothing to draw for it")
        return cls(reader, Path(folder).name, _threshold(Path(folder) / RESULTS))

    @classmethod
    def demo(cls) -> Model:
        """The demo's small reader out of the cache; trained there first, some minutes, with a bar.

        An interrupted training goes on where it was. Raises ValueError while another trains it.
        """
        folder = cache() / f"demo-{gtnet.__version__}"
        if not (folder / RESULTS).is_file():
            resume = (folder / CHECKPOINT).is_file()
            begins = "going on with a small one" if resume else "training a small one, once"
            print(f"there is no trained reader yet: {begins}, some minutes", flush=True)
            run = Run.load(folder) if resume else Run.start(folder, demo=True)
            try:
                run.train(resume=resume, overwrite=not resume)
            except KeyboardInterrupt:
                print("\nstopped: the next gtnet explore goes on with this training", flush=True)
                raise
        return cls.load(folder)


def side_by_side(models: Sequence[Model]) -> list[Model]:
    """Readers that look at one image together: one of segments first, as its page shows most.

    Raises ValueError for none, and for readers of different characters.
    """
    if not models:
        raise ValueError("side_by_side: give at least one model")
    first = list(models[0].reader.alphabet)
    for model in models[1:]:
        if list(model.reader.alphabet) != first:
            raise ValueError(
                f"{models[0].name} reads {''.join(first)} and {model.name}"
                f" {''.join(model.reader.alphabet)}: side by side they need the same characters"
            )
    return sorted(models, key=lambda model: model.reader.front_end.name != "segments")


def cache() -> Path:
    """The folder that keeps what was trained, in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gtnet"


def samples(data: str | None, root: str | None) -> Any:
    """The data set whose images the page offers: the demo's by default. Raises ValueError."""
    if data is None or data == "digits":
        return load("digits", split="test", size=DEMO.test_size)
    return load(data, root)


def _threshold(path: Path) -> float | None:
    """The threshold in the results of a training, if it is there."""
    try:
        scores = list(json.loads(path.read_text("utf-8")).values())
    except (OSError, ValueError, AttributeError):
        return None
    known = [
        score["threshold"] for score in scores if isinstance(score, dict) and "threshold" in score
    ]
    found = known[-1] if known else None  # of the reader after all phases
    return float(found) if isinstance(found, int | float) and 0 <= found <= 1 else None
