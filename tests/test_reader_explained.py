"""Strokes that no character of the answer covers lower its confidence, wherever they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gtnet.reader.front_end import SegmentsFrontEnd
from gtnet.reader.line import LineConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.segment import Segmentation, SegmentConfig
from gtnet.reader.sliding import STRIDE, SlidingConfig, SlidingFrontEnd

BAR, BLOT = 4, 18  # widths


def image(*widths: int, height: int = 48, tall: int = 32) -> np.ndarray:
    """Upright marks of these widths beside each other, dark on light."""
    found = np.full((height, 30 * len(widths) + 10), 230, np.uint8)
    top = (height - tall) // 2
    for number, width in enumerate(widths):
        middle = 20 + 30 * number
        found[top : top + tall, middle - width // 2 : middle - width // 2 + width] = 20
    return found


class BarsOfSegments(nn.Module):
    """Takes narrow and tall segments for the character, others for nothing."""

    def forward(self, images: Tensor, geometry: Tensor) -> Tensor:
        narrow = (geometry[:, 1] < 0.3) & (geometry[:, 0] > 0.5)
        return torch.where(narrow[:, None], torch.tensor([9.0, 0.0]), torch.tensor([0.0, 9.0]))


class BarsOfLines(nn.Module):
    """Reads a character at the middle of narrow runs of columns with much ink."""

    def forward(self, lines: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.tensor([-9.0, 0.0]).repeat(len(lines), lines.shape[3] // STRIDE, 1)
        for row, line in zip(scores, lines[:, 0]):
            inked = torch.nn.functional.pad(((line > 0.5).sum(0) > 12).int(), (1, 1)).diff()
            for first, end in zip(inked.eq(1).nonzero(), inked.eq(-1).nonzero()):
                if end - first < 10:
                    row[(first + end) // 2 // STRIDE] = torch.tensor([0.0, -9.0])
        return scores, widths // STRIDE


def recognizer(front_end: str) -> Recognizer:
    if front_end == "segments":
        return Recognizer("1", None, SegmentsFrontEnd(SegmentConfig()), BarsOfSegments()).eval()
    config = SlidingConfig(LineConfig(height=32))
    return Recognizer("1", None, SlidingFrontEnd(config), BarsOfLines(), unsure=0.0).eval()


both = pytest.mark.parametrize("front_end", ["segments", "sliding"])


@both
def test_ink_inside_the_line_that_no_character_covers(front_end: str) -> None:
    reader = recognizer(front_end)
    sound, skipped = reader.read([image(BAR, BAR, BAR), image(BAR, BLOT, BAR)])
    assert sound.text == "111" and skipped.text == "11"
    assert sound.confidence > 0.9
    assert skipped.confidence < 0.05


@both
def test_one_skipped_character_counts_in_a_long_line_too(front_end: str) -> None:
    (answer,) = recognizer(front_end).read([image(*[BAR] * 6, BLOT, *[BAR] * 6)])
    assert answer.text == "1" * 12 and answer.confidence < 0.05


@both
def test_specks_are_no_strokes(front_end: str) -> None:
    given = image(BAR, BAR, BAR, BAR)
    given[20:23, 34:37] = given[38:41, 64:67] = 20
    (answer,) = recognizer(front_end).read([given])
    assert answer.text == "1111" and answer.confidence > 0.9


def test_marks_at_the_ends_count_for_segments() -> None:
    """Which signs stand there is read; a sliding network may spell what the grammar drops."""
    first, last = recognizer("segments").read([image(BLOT, BAR, BAR), image(BAR, BAR, BLOT)])
    assert first.text == last.text == "11" and max(first.confidence, last.confidence) < 0.05


@both
def test_items_of_a_batch_do_not_change_each_other(front_end: str) -> None:
    reader = recognizer(front_end)
    images = [image(BAR, BLOT, BAR), image(BAR), image(BAR, BAR, BLOT, BAR, BAR), image(BAR, BAR)]
    images.append(np.full((48, 60), 230, np.uint8))
    together = reader.read(images)
    alone = [reader.read([one])[0] for one in images]
    assert [a.text for a in together] == ["11", "1", "1111", "11", None]
    for one, other in zip(together, alone):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_alternatives_are_lowered_with_the_answer() -> None:
    reader = recognizer("segments")
    observed = reader.observe([image(BAR, BLOT, BAR)])
    assert isinstance(observed[0], Segmentation)
    (answer,) = reader.read_observations(observed)
    assert answer.confidence + sum(share for _, share in answer.alternatives) < 0.1
