"""Which options a data set and front end take: what would change nothing is refused."""

from __future__ import annotations

from typing import Any

from gtnet.reader.pretrain import METHODS
from gtnet.reader.splits import LINES, SEQUENCES

OPTIONS = {
    "root": ("car_a", "folder", "shards"),
    "grammar": ("folder", "shards"),
    "size": ("digits",),
    "test_fold": ("car_a",),
    "valid": ("car_a",),
    "corrected": ("car_a",),
    "alphabet": ("folder", "shards"),
    "lexicon": ("folder", "shards"),
    "more_digits": ("car_a", "folder", "shards"),
    "parts": ("shards",),
    "unlabelled": ("car_a", "folder"),
    "teacher": ("car_a", "folder"),
    "sure": ("car_a", "folder"),
}
"""The data sets that each option is of."""


def check_options(data: str, front_end: str, chosen: dict[str, Any]) -> None:
    """Raises ValueError for options that would change nothing."""
    given = [name for name in chosen if chosen[name] not in (None, ()) and name in OPTIONS]
    ignored = [name for name in given if data not in OPTIONS[name]]
    if data not in OPTIONS["alphabet"] and {"alphabet", "lexicon"} & {*ignored}:
        raise ValueError(f"--alphabet and --lexicon are of your own folder; {data} has its own")
    if ignored:
        option = f"--{ignored[0].replace('_', '-')}"
        kinds = " and ".join(OPTIONS[ignored[0]])
        raise ValueError(f"{option} is an option of --data {kinds}; with {data} it does nothing")
    if data == "shards" and front_end == "strokes":
        raise ValueError("--front-end strokes reads a folder or file of strokes, no shards")
    if front_end in SEQUENCES and data not in ("folder", "shards"):
        raise ValueError(f"--front-end {front_end} is for data of your own; {data} holds images")
    words = chosen.get("alphabet") or chosen.get("lexicon")
    if words and chosen.get("grammar"):
        raise ValueError("--grammar is of amounts: give it, or --alphabet and --lexicon")
    strings = data == "car_a" or (chosen.get("grammar") == "digit_string" and not words)
    if "more_digits" in given and not (front_end in LINES and strings):
        raise ValueError(
            f"--more-digits makes digit strings for --front-end {' or '.join(LINES)} only"
        )
    for name, least in (("size", 1), ("valid", 0), ("seed", 0), ("parts", 1)):
        value = chosen.get(name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")


def check_unlabelled(chosen: dict[str, Any], pretrain: str | None) -> None:
    """Raises ValueError for what is not labelled and would change nothing, or a teacher of nothing.

    `pretrain`: what the network learns first from ink alone, None for nothing.
    """
    given, teacher, sure = (chosen.get(name) for name in ("unlabelled", "teacher", "sure"))
    if teacher is not None and not given:
        raise ValueError("--teacher reads what nobody labelled: say with --unlabelled where it is")
    if sure is not None and teacher is None:
        raise ValueError("--sure is of the answers of a --teacher: give one")
    if sure is not None and not 0 <= sure <= 1:
        raise ValueError(f"--sure must be from 0 to 1, got {sure}")
    if given and teacher is None and pretrain in (None, "none"):
        raise ValueError(
            "--unlabelled alone teaches nothing: give --teacher, a trained reader that labels it,"
            " or --pretrain"
        )


def check_pretrained(method: str, data: str, front_end: str, chosen: dict[str, Any]) -> None:
    """Raises ValueError for a pretraining that the network of a front end cannot have."""
    if method not in METHODS:
        raise ValueError(f"--pretrain {method!r} is not one of {', '.join(METHODS)}")
    if method != "none" and data == "shards":
        raise ValueError(
            f"--pretrain {method} learns from images in memory: do it on a folder of some, and"
            " begin with that reader by --from"
        )
    if method != "none" and front_end not in ("segments", "sliding"):
        raise ValueError(f"--pretrain {method} is for --front-end segments or sliding")
    if method != "none" and chosen.get("start") is not None:
        raise ValueError("--pretrain and --from both say what training begins with: give one")
