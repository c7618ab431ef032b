"""Several readers of one language at one image: what each sees, and what they say together."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from gtnet.explore.looking import BEST, Looked, look, see, tell
from gtnet.explore.questions import Question
from gtnet.reader import Combined, Recognizer
from gtnet.reader.answers import log_shares


@torch.no_grad()
def look_together(
    readers: Sequence[Recognizer],
    asked: Mapping[str, Any],
    thresholds: Sequence[float | None],
    weights: Sequence[float] = (),
) -> dict[str, Any]:
    """All that the page shows of one image: of the first reader, the others "beside" it.

    "together" are the answers of all of them, where there are several (`gtnet.reader.Combined`,
    `weights` as there); over the one look that is shown. Of a Viterbi sum there are none.
    """
    opened = asked.get("opened") or {}
    states = [_states(opened, place) for place in range(len(readers))]
    questions = [question_of(asked, reader) for reader in readers]
    if len(readers) == 1:
        return look(readers[0], questions[0], thresholds[0], states[0])
    found, seen = [], []
    for given in zip(readers, questions, thresholds, states, strict=True):
        reader, question, threshold, own = given
        began = time.perf_counter()
        looked = see(reader, question)
        if looked is None:
            return {"empty": True, "message": "nothing is drawn"}
        seen.append(looked)
        found.append(tell(looked, question, threshold, own, began))
    together = _together(readers, seen, questions, found, weights)
    return {**found[0], "beside": found[1:], "together": together}


def _states(opened: Mapping[str, Any], place: int) -> list[list[int]]:
    names = (f"{kind}{place or ''}" for kind in ("recognition", "interpretation"))
    return [[int(state) for state in opened.get(name) or ()] for name in names]


def question_of(asked: Mapping[str, Any], reader: Recognizer) -> Question:
    """What a page asks of one of its readers: only one of segments can be told segments."""
    question = Question.of(asked, reader)
    if reader.front_end.name == "segments":
        return question
    return replace(question, said={}, forbidden=frozenset())


def _together(
    readers: Sequence[Recognizer],
    seen: Sequence[Looked],
    questions: Sequence[Question],
    found: Sequence[Mapping[str, Any]],
    weights: Sequence[float],
) -> list[dict[str, Any]]:
    if questions[0].beta == math.inf:
        return []
    texts = list(dict.fromkeys(answer["text"] for own in found for answer in own["answers"]))
    shares = [
        log_shares(looked.at(question.beta), [[looked.reader.alphabet.labels_of(t) for t in texts]])
        for looked, question in zip(seen, questions, strict=True)
    ]
    answer = Combined(readers, weights).answer(texts, [rows[0] for rows in shares])
    if answer.amount is None:
        return []
    ranked = [(answer.amount, answer.confidence), *answer.alternatives]
    return [{"text": text, "confidence": round(share, 6)} for text, share in ranked[:BEST]]
