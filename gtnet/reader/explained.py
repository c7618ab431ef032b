"""How much of the ink an answer explains: strokes that none of its characters cover speak against.

`page` tells what ink stands around the line of writing. This tells what the best path through the
line leaves out: segments that it skips, and between its characters what no frame reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage

import gtnet
from gtnet.reader.ink import EIGHT
from gtnet.reader.line import STRONG, Line
from gtnet.reader.page import clear_of
from gtnet.reader.segment import Segmentation

_SKIPPED = (0.3, 0.8)  # ink in characters: the first may be dust or print, the second is one
_TALL = 0.45  # of the line: lower marks between characters are dots, dashes and loose ends
_REACH = 3  # columns: a frame beside a stroke may be what reads it


@torch.no_grad()
def explained(
    recognition: gtnet.Emissions,
    interpretation: gtnet.Graph | gtnet.Lattice,
    observations: Sequence[Any],
) -> list[float]:
    """For each item in [0, 1], 1 where the best path's characters cover all strokes of the line.

    A skipped mark as large as a character gives 0, however long the line is, and so does much ink
    in small marks. Of frames, marks before the first character and behind the last do not count:
    signs that the grammar drops stand there. 1 for inputs that are no images. Complexity: that of
    the best path, and linear in the pixels.
    """
    if not all(isinstance(seen, (Line, Segmentation)) for seen in observations):
        return [1.0] * len(observations)
    cuts = recognition.segmentation
    shares, nothing = [], recognition.num_labels - 1
    for item, (seen, path) in enumerate(zip(observations, gtnet.viterbi_path(interpretation))):
        rows, labels, written = _read(path, recognition.num_labels)
        if isinstance(seen, Segmentation):
            rows = rows - int(cuts.arc_offsets[item])
            marks, characters = _of_segments(seen, rows, labels != nothing)
        else:
            ends = np.stack([cuts.source.numpy()[rows], cuts.target.numpy()[rows]], axis=1)
            if recognition.lengths is None:
                ends = ends[labels != nothing]
            else:
                ends = _runs(ends, labels, written)
            frames = int(cuts.state_offsets[item + 1] - cuts.state_offsets[item]) - 1
            marks, characters = _of_ends(seen, ends, frames)
        shares.append(_share(np.asarray(marks, float), np.asarray(characters, float)))
    return shares


def _read(path: gtnet.Graph, num_labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of scores along a path, the label of each, and whether it writes something."""
    assert path.arc_maps is not None
    taken = path.arc_maps[0]
    reads = taken >= 0
    rows = taken[reads].long() // num_labels
    return rows.numpy(), path.ilabels[reads].numpy(), (path.olabels[reads] >= 0).numpy()


def _share(marks: np.ndarray, characters: np.ndarray) -> float:
    """By the ink of skipped marks and of characters, those that are no dots."""
    if not len(marks) or not len(characters):
        return 1.0
    typical = float(np.median(characters[characters >= 0.3 * characters.max()]))
    low, high = _SKIPPED
    one = np.clip((high - marks.max() / max(typical, 1.0)) / (high - low), 0, 1)
    return float(min(one, clear_of(characters.sum() / (characters.sum() + marks.sum()))))


def _of_segments(
    seen: Segmentation, rows: np.ndarray, is_character: np.ndarray
) -> tuple[list[float], list[float]]:
    """The ink of marks, runs of skipped segments, and of characters along a path."""
    pieces = np.bincount(seen.pieces[seen.pieces >= 0], minlength=seen.num_cuts - 1)
    until = np.concatenate([[0], np.cumsum(pieces)])
    ink = until[seen.target[rows]] - until[seen.source[rows]]
    marks: list[float] = []
    before = True
    for amount, character in zip(ink.tolist(), is_character.tolist()):
        if not character:
            marks[-1:] = [amount] if before else [marks[-1] + amount]
        before = character
    return marks, ink[is_character].tolist()


def _runs(ends: np.ndarray, labels: np.ndarray, written: np.ndarray) -> np.ndarray:
    """The frames [characters, 2] in which each character begins and ends, of those of a path."""
    runs: list[list[int]] = []
    begun = np.flatnonzero(written)
    for at in begun.tolist():
        end = at
        while end + 1 < len(ends) and labels[end + 1] == labels[at] and not written[end + 1]:
            end += 1
        runs.append([int(ends[at, 0]), int(ends[end, 1])])
    return np.array(runs, dtype=int).reshape(-1, 2)


def _of_ends(line: Line, ends: np.ndarray, frames: int) -> tuple[list[float], list[float]]:
    """The ink of tall marks between characters that none covers, and that of characters.

    `ends` [characters, 2]: the frames in which they begin and end.
    """
    ink = line.ink > STRONG
    numbers, count = ndimage.label(ink, EIGHT)
    if not len(ends) or not count:
        return [], []
    left, right = ends.T * (len(line) / frames)
    area = np.bincount(numbers.ravel())[1:]
    skipped = [
        float(amount)
        for (y, x), amount in zip(ndimage.find_objects(numbers), area.tolist())
        if y.stop - y.start >= _TALL * len(ink)
        and x.start >= left[0]
        and x.stop <= right[-1]
        and not ((right > x.start - _REACH) & (left < x.stop + _REACH)).any()
    ]
    read = float(ink[:, : round(right[-1]) + 1].sum()) - sum(skipped)
    return skipped, [max(read, 0.0) / len(ends)] * len(ends)
