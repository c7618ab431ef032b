"""forced_align: which frames of a recording say which token of its transcript, and which word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from gtnet import _checks, _ops
from gtnet._memory import named
from gtnet.alignments import ctc_graph
from gtnet.beam_search import beam_search
from gtnet.build import Labels, label_rows
from gtnet.compose import compose
from gtnet.emissions import Emissions
from gtnet.free_alignments import with_star
from gtnet.graph import Graph
from gtnet.paths import viterbi_path


class Span(NamedTuple):
    """What was said from frame `start` up to, not including, frame `end`.

    `label` is that of a token, or the number of a word in its transcript; `score` the mean
    log-probability of the labels in its frames.
    """

    label: int
    start: int
    end: int
    score: float


@dataclass(frozen=True, eq=False)
class ForcedAlignment:
    """The best alignments of a batch.

    `labels` int64 [batch, frames], the label of each frame, and `scores` [batch, frames], their
    log-probabilities; -1 and 0 beyond an item's frames and in items without an alignment. `tokens`
    and, where words were asked for, `words` are the spans of each item, none for those; they are
    made when they are first asked for. `total` [batch] is the score of the whole alignment, -inf
    where there is none.
    """

    labels: Tensor
    scores: Tensor
    total: Tensor
    _states: Tensor = field(repr=False)
    _rows: list[Tensor] = field(repr=False)
    _words: list[list[int]] | None = field(repr=False)

    @cached_property
    def tokens(self) -> list[list[Span]]:
        """The spans of the tokens of each item."""
        return [
            _spans(row.tolist(), state[state >= 0], sums)
            for row, state, sums in zip(
                self._rows, self._states.cpu().numpy(), self._sums, strict=True
            )
        ]

    @cached_property
    def words(self) -> list[list[Span]] | None:
        """The spans of the words of each item, None where none were asked for."""
        if self._words is None:
            return None
        return [
            _joined(found, sizes if found else [], sums)
            for found, sizes, sums in zip(self.tokens, self._words, self._sums, strict=True)
        ]

    @cached_property
    def _sums(self) -> np.ndarray:
        """The scores of the frames before each, [batch, frames + 1]."""
        return pad(self.scores.detach().double().cumsum(1), (1, 0)).cpu().numpy()


@named
def forced_align(
    log_probs: Tensor,
    targets: Labels,
    input_lengths: Sequence[int] | Tensor | None = None,
    target_lengths: Sequence[int] | Tensor | None = None,
    *,
    blank: int = 0,
    words: Sequence[Sequence[int]] | None = None,
    star: bool = False,
    beam: float | None = None,
    max_active: int | None = None,
) -> ForcedAlignment:
    """The most probable CTC alignment of each transcript to its frames.

    Arguments:
        log_probs: float [batch, frames, labels], or [frames, labels] for one item.
        targets: a list of label sequences, or [batch, longest] padded with `target_lengths`.
        input_lengths: the frames of each item, by default all.
        blank: its label.
        words: for each item how many tokens each of its words has, in order; they add up to the
            tokens. A token that stands between words is a word of its own.
        star: whether the label after the last one, `labels`, stands in targets for any text that
            may be missing there: a frame of it scores the sum over all labels but the blank.
        beam, max_active: search as `beam_search` does instead of exactly: memory then follows the
            survivors, not frames · tokens, as recordings of an hour ask for.

    Raises TypeError or ValueError for wrong shapes, labels, lengths and words. An item whose
    transcript does not fit into its frames has no alignment (see `ForcedAlignment`).
    Complexity: O(frames · tokens) time and O(√frames · tokens) memory an item; with a beam
    O(frames · survivors).
    Gradient: to `total` and `scores`, along the best alignment.
    Source: Graves et al. 2006; Kürzinger et al. 2020 (CTC segmentation); Pratap et al. 2024 (star).
    """
    scores = _checks.emissions("forced_align", "log_probs", log_probs)
    if scores.ndim not in (2, 3):
        raise ValueError(
            f"forced_align: log_probs must be [batch, frames, labels] or [frames, labels], got"
            f" {list(scores.shape)}"
        )
    scores = scores if scores.ndim == 3 else scores[None]
    rows = _rows(targets, target_lengths)
    _check_targets(rows, scores, blank, star)
    per_word = None if words is None else _checked_words(words, rows)
    if star:
        scores = with_star(scores, blank)
    lengths = input_lengths if isinstance(input_lengths, Tensor | None) else list(input_lengths)
    emissions = Emissions(scores, lengths)
    exact = beam is None and max_active is None
    states = _states(emissions, rows, blank) if exact else None
    if states is None:
        dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
        graph = ctc_graph([row.tolist() for row in rows], blank, dtype=dtype).to(scores.device)
        wide = math.inf if beam is None else beam
        lattice = (
            compose(emissions, graph)
            if exact
            else beam_search(emissions, graph, beam=wide, max_active=max_active)
        )
        states = _states_of(viterbi_path(lattice), emissions, blank)
    return _read(states, emissions, rows, blank, per_word)


def _states(emissions: Emissions, rows: list[Tensor], blank: int) -> Tensor | None:
    """The state of every frame, int64 [batch, frames]: 2i for the blank before token i, 2i + 1 for
    token i, -1 where there is none; None where only the lattice works.
    """
    scores = emissions.scores.detach()
    if scores.device.type != "cpu" or _ops.transformed() or scores.dtype in _checks.SHORT:
        return None
    sizes = torch.tensor([len(row) for row in rows])
    given = (emissions.lengths, torch.cat([*rows, sizes.new_empty(0)]).long(), sizes, blank)
    return _ops.ctc_align(_ops.rows_of_labels(scores), *given).view(scores.shape[:2]).long()


def _states_of(path: Graph, emissions: Emissions, blank: int) -> Tensor:
    """The same of best paths with one arc a frame."""
    batch, frames, _ = emissions.scores.shape
    inside = torch.arange(frames, device=path.device) < path.arc_offsets.diff()[:, None]
    begun = torch.zeros(batch, frames, dtype=torch.int64, device=path.device)
    begun[inside] = (path.olabels >= 0).long()
    states = 2 * begun.cumsum(1)
    states[inside] -= (path.ilabels != blank).long()
    return torch.where(inside, states, -1)


def _rows(targets: Labels, lengths: Sequence[int] | Tensor | None) -> list[Tensor]:
    rows = label_rows("forced_align", "targets", targets)
    if lengths is None:
        return rows
    sizes = _checks.integral("forced_align", "target_lengths", lengths).tolist()
    if len(sizes) != len(rows):
        raise ValueError(f"forced_align: {len(rows)} targets, {len(sizes)} target_lengths")
    for item, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        if not 0 <= size <= len(row):
            raise ValueError(
                f"forced_align: target_lengths[{item}] is {size}, the target has {len(row)} labels"
            )
    return [row[:size] for row, size in zip(rows, sizes, strict=True)]


def _check_targets(rows: list[Tensor], scores: Tensor, blank: int, star: bool) -> None:
    if len(rows) != len(scores):
        raise ValueError(f"forced_align: log_probs of {len(scores)} items, {len(rows)} targets")
    labels = scores.shape[2]
    _checks.one_of("forced_align", "blank", blank, labels)
    for item, row in enumerate(rows):
        wrong = row[(row < 0) | (row >= labels + star) | (row == blank)]
        if len(wrong):
            most = f"{labels} labels" + (f" and the star {labels}" if star else "")
            raise ValueError(
                f"forced_align: targets[{item}] holds {int(wrong[0])}: log_probs have {most}, and"
                f" {blank} is the blank"
            )


def _checked_words(words: Sequence[Sequence[int]], rows: list[Tensor]) -> list[list[int]]:
    if len(words) != len(rows):
        raise ValueError(f"forced_align: {len(rows)} targets, words of {len(words)} items")
    given = [[int(size) for size in item] for item in words]
    for item, (sizes, row) in enumerate(zip(given, rows, strict=True)):
        if sum(sizes) != len(row) or min(sizes, default=1) < 1:
            raise ValueError(
                f"forced_align: words[{item}] are of {sizes} tokens, the target has {len(row)}"
            )
    return given


def _read(
    states: Tensor,
    emissions: Emissions,
    rows: list[Tensor],
    blank: int,
    words: list[list[int]] | None,
) -> ForcedAlignment:
    """The states of frames as labels and their scores."""
    inside = states >= 0
    copied = pad_sequence([*rows, torch.zeros(1, dtype=torch.int64)], batch_first=True)[:-1]
    target = copied.to(states.device)
    token = (states // 2).clamp(0, target.shape[1] - 1)
    labels = torch.where(states % 2 == 1, target.gather(1, token), blank)
    labels = torch.where(inside, labels, -1)
    seen = emissions.scores.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)
    scores = torch.where(inside, seen, 0)
    assert emissions.lengths is not None
    empty = torch.tensor([not len(row) for row in rows], device=states.device)
    reached = inside.any(1) | empty & (emissions.lengths.to(states.device) == 0)
    total = torch.where(reached, scores.sum(1, dtype=torch.float64), -torch.inf).to(scores.dtype)
    own = [row[: len(given)] for row, given in zip(copied, rows, strict=True)]
    return ForcedAlignment(labels, scores, total, states, own, words)


def _spans(labels: list[int], states: np.ndarray, sums: np.ndarray) -> list[Span]:
    """The frames of each token. States never go down."""
    if not len(states):
        return []
    own = 2 * np.arange(len(labels)) + 1
    starts, ends = (np.searchsorted(states, own, side) for side in ("left", "right"))
    means = (sums[ends] - sums[starts]) / (ends - starts)
    rows = zip(labels, starts.tolist(), ends.tolist(), means.tolist(), strict=True)
    return [Span(*row) for row in rows]


def _joined(tokens: list[Span], sizes: list[int], sums: np.ndarray) -> list[Span]:
    """The frames of each word: from its first token to its last, blanks between included."""
    spans, first = [], 0
    for number, size in enumerate(sizes):
        start, end = tokens[first].start, tokens[first + size - 1].end
        spans.append(Span(number, start, end, float(sums[end] - sums[start]) / (end - start)))
        first += size
    return spans
