"""Labels that a trained reader doubts: the items whose truth it finds least likely."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from gtnet.reader.answers import Answer
from gtnet.reader.check import Listed
from gtnet.reader.inputs import picture
from gtnet.reader.labelling import Card
from gtnet.reader.recognizer import Recognizer

_AT_ONCE = 64


@dataclass(frozen=True)
class Doubt:
    """One item and how likely its label is to a reader.

    `log_share`: log of the share of the label in the total score of all interpretations, -inf where
    it has none; `answer`: what the reader reads instead, or the label; `image` as the data give it.
    """

    file: str
    text: str
    answer: Answer
    log_share: float
    image: Any

    @property
    def card(self) -> Card:
        """The item on a page of labels to correct."""
        read = "nothing" if self.answer.amount is None else html.escape(self.answer.amount)
        what = f"read as <b>{read}</b>, confidence {self.answer.confidence:.2f}"
        if self.answer.amount == self.text:
            what = f"read so too, confidence {self.answer.confidence:.2f}"
        share = np.exp(self.log_share)
        likely = (
            f"{share:.1%}" if share > 5e-4 else f"10<sup>{self.log_share / np.log(10):.0f}</sup>"
        )
        likely = "nothing at all" if share == 0 and np.isinf(self.log_share) else likely
        remark = f'<p class="remark">{what}; the label gets {likely}</p>'
        return Card(self.file, picture(self.image), self.text, remark)


@torch.no_grad()
def doubts(reader: Recognizer, data: Listed, most: int = 40, *, quiet: bool = False) -> list[Doubt]:
    """The items of a data set whose labels a reader finds least likely, the least first.

    Best are readers that did not learn these items: a wrong label that was learnt by heart is no
    longer doubted. Memory: of `most` images and one batch.
    """
    found: list[Doubt] = []
    steps = range(0, len(data), _AT_ONCE)
    for first in tqdm(steps, "doubting", disable=quiet or None, leave=False):
        items = [data[i] for i in range(first, min(first + _AT_ONCE, len(data)))]
        seen = reader.observe([image for image, _ in items])
        answers = reader.read_observations(seen)
        shares = reader.log_shares(seen, [[text] for _, text in items])
        for number, ((image, text), answer, (share,)) in enumerate(zip(items, answers, shares)):
            found.append(Doubt(data.name(first + number), text, answer, share, image))
        found = least_likely(found, most)
    return found


def least_likely(found: Sequence[Doubt], most: int) -> list[Doubt]:
    """The items whose labels are least likely; what has the same share stays in its order."""
    return sorted(found, key=lambda doubt: doubt.log_share)[:most]
