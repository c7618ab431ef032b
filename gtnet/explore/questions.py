"""What a person asks of a reader: an image, a language, what is known, and how to sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gtnet
from gtnet.explore import inputs
from gtnet.reader import Alphabet, Recognizer, lexicon, regular_expression


@dataclass(frozen=True)
class Question:
    """One look at one image.

    Attributes: `given`, what is read; `image`, its picture; `beta`, inverse temperature of
    posteriors and confidences, inf for Viterbi; `beam`, how far behind the best path the graphs go;
    `said`, the label of each segment that a person named (-1: no character), by its number;
    `forbidden`, cuts that no path may take; `language`, "own", "any", "expression" or "words", and
    `text`, the expression or the words.
    """

    given: Any
    image: np.ndarray
    beta: float = 1.0
    beam: float = 8.0
    said: Mapping[int, int] = field(default_factory=dict)
    forbidden: frozenset[int] = frozenset()
    language: str = "own"
    text: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, Any], reader: Recognizer) -> Question:
        """The question that a page sends as JSON. Raises ValueError that a person can read."""
        image = inputs.drawing(_text(asked, "image"))
        given: Any = image
        if reader.front_end.name == "strokes":
            given = inputs.strokes(asked.get("strokes") or [])
        said = {_whole(n): _label(c, reader.alphabet) for n, c in _pairs(asked, "said")}
        language = asked.get("language", "own")
        if language not in ("own", "any", "expression", "words"):
            raise ValueError(f"there is no language {language!r}")
        return cls(
            given,
            image,
            beta=_beta(asked.get("beta", 1.0)),
            beam=_number(asked.get("beam", 8.0), 0.0, 1e6, "beam"),
            said=said,
            forbidden=frozenset(_whole(cut) for cut in asked.get("forbidden") or ()),
            language=language,
            text=_text(asked, "text"),
        )

    @property
    def is_plain(self) -> bool:
        """Whether it asks what `gtnet read` asks."""
        return self.beta == 1 and not self.said and not self.forbidden and self.language == "own"

    def reader(self, reader: Recognizer) -> Recognizer:
        """The reader with the language asked for; its network is shared, not copied.

        Raises ValueError for an expression or words that are wrong.
        """
        if self.language == "own":
            return reader
        other = Recognizer(
            reader.alphabet,
            self._language(reader.alphabet),
            reader.front_end,
            reader.network,
            candidates=reader.candidates,
            temperature=reader.temperature,
            unsure=0.0,
        )
        other.expect(reader.prior)
        return other.eval()

    def _language(self, alphabet: Alphabet) -> gtnet.Graph | None:
        if self.language == "any":
            return None
        if self.language == "expression":
            return regular_expression(self.text.strip(), alphabet)
        return lexicon(self.text.split(), alphabet)


def _text(asked: Mapping[str, Any], name: str) -> str:
    found = asked.get(name, "")
    if not isinstance(found, str):
        raise ValueError(f"{name} is {type(found).__name__}, expected text")
    return found


def _pairs(asked: Mapping[str, Any], name: str) -> list[tuple[Any, Any]]:
    found = asked.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} is {type(found).__name__}, expected numbers and characters")
    return list(found.items())


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no number of a segment or cut") from None


def _label(character: Any, alphabet: Alphabet) -> int:
    """The label of a character, -1 for what is none; ValueError for another one."""
    if character == "":
        return -1
    labels = alphabet.labels_of(str(character))
    if len(labels) != 1:
        raise ValueError(f"{character!r} is not one character of {''.join(alphabet)}")
    return labels[0]


def _beta(value: Any) -> float:
    return math.inf if value is None else _number(value, 0.0, 1e6, "beta")


def _number(value: Any, least: float, most: float, name: str) -> float:
    if not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected a number from {least:g} to {most:g}")
    return float(value)
