"""The model card: what a trained reader is made of, what it can do, and what it is not for.

Source: Mitchell et al. 2019, "Model cards for model reporting".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtnet.reader.judge import Comparison, Score
from gtnet.reader.splits import SEQUENCES, DataConfig
from gtnet.reader.train import TrainConfig

CARD = "MODEL_CARD.md"

_LICENCES = {
    "digits": "Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998, UCI Machine"
    " Learning Repository), CC BY 4.0, as it comes with scikit-learn",
    "car_a": "ORAND-CAR 2014: offered for research; distribute neither its images nor readers"
    " trained on them without asking",
}
_LICENCE_FILES = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "LICENCE.md")
_GRAMMARS = {
    "amount": "amounts with cents, such as 1234.50",
    "digit_string": "strings of digits, such as 123450; other signs are read as nothing",
}


def model_card(
    comparison: Comparison, data: DataConfig, training: TrainConfig, facts: Mapping[str, Any]
) -> str:
    """The card as Markdown, from the results of a run, its settings, and further facts."""
    reader = training.reader
    made = {
        "front end": reader.front_end,
        "reads": _language(data),
        "loss of global training": training.loss,
        **facts,
    }
    parts = [
        f"# Model card: a reader trained on {Path(data.root).name if data.root else data.name}",
        "Written by `gtnet train` beside the model; keep the two together.",
        "## What it is\n\n" + _list(made),
        f"## Data\n\n- licence: {_licence(data)}\n- {_parts(data)}",
        "## What it can do\n\n" + _figures(comparison),
        "## What it is not for\n\n" + _limits(comparison, data, reader.front_end),
    ]
    return "\n\n".join(parts) + "\n"


def _language(data: DataConfig) -> str:
    if data.lexicon:
        return f"words of {data.lexicon}"
    if data.alphabet:
        return f"strings of {data.alphabet}"
    return _GRAMMARS.get(data.grammar, data.grammar)


def _licence(data: DataConfig) -> str:
    if data.name in _LICENCES:
        return _LICENCES[data.name]
    root = Path(data.root or ".")
    found = [name for name in _LICENCE_FILES if (root / name).is_file()]
    if found:
        return f"see {found[0]} in {root}"
    return f"not known: there is no LICENSE in {root}; say here who may use images and reader"


def _parts(data: DataConfig) -> str:
    if data.name == "digits":
        return "amounts are synthesised; the three parts share no handwritten digit"
    if data.name == "car_a":
        return f"fold {data.test_fold} is the test; folds share no block of neighbouring images"
    if data.name == "shards":
        return "parts share no shard; whether shards share images was not looked at"
    return "images that are the same, or by one writer where writers are named, are in one part"


def _figures(comparison: Comparison) -> str:
    score, count = comparison.scores[1], len(comparison.after.truth)
    low, high = interval(score.accuracy, count)
    rows = [
        f"{score.accuracy:.1%} of {count} test amounts are read exactly (95% interval {low:.1%} to"
        f" {high:.1%})"
    ]
    first = comparison.scores[0]
    if first is not None:
        rows.append(f"{first.accuracy:.1%} before global training, by {comparison.names[0]}")
    if comparison.corrected is not None:
        right = comparison.corrected[1].accuracy
        rows.append(f"{right:.1%} by what the images truly say, where labels are known to be wrong")
    rows.append(f"{score.read:.1%} can be answered with {score.error_rate:.0%} wrong among them")
    rows.append(_threshold(score))
    return "\n".join(f"- {row}" for row in rows)


def _threshold(score: Score) -> str:
    chosen = score.threshold
    if chosen is None or not math.isfinite(chosen):
        return "no threshold of confidence was chosen: no validation amounts, or none serves"
    return (
        f"with the threshold {chosen:.4f}, chosen on {score.chosen_on or ''} validation amounts for"
        f" {score.error_rate:.0%} error, it answers {score.accepted:.1%} of the test, of these"
        f" {score.wrong:.1%} wrong: `gtnet read --min-confidence {chosen:.4f}`"
    )


def interval(share: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share that was found on `count` items (Wilson 1927)."""
    if count < 1:
        return 0.0, 1.0
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count)
    half *= math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _limits(comparison: Comparison, data: DataConfig, front_end: str) -> str:
    rows = ["It answers what it was trained on: other hands, pens, scanners and forms may be worse"]
    if data.name == "digits":
        rows = ["It is a demonstration: real checks look otherwise than what was made of digits"]
    score = comparison.scores[1]
    if score.chosen_on and score.chosen_on * score.error_rate < 1:
        rows.append(
            f"{score.chosen_on} validation amounts are too few to choose a threshold for"
            f" {score.error_rate:.0%} error by: choose it again on more"
        )
    if len(comparison.after.truth) < 300:
        rows.append("The test is small: see the interval")
    rows.append("A confidence is no probability on images of another kind; test them first")
    if front_end not in SEQUENCES:
        rows.append(
            "It takes an image for one line of writing; a scribble or letter like a digit is read"
            " as one"
        )
    rows.append("What falls below the threshold is for a person to read, as is what matters most")
    return "\n".join(f"- {row}" for row in rows)


def _list(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())
