"""forced_align: which frames of a recording say which token of its transcript, and which word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import named
from gtnet.alignments import ctc_graph
from gtnet.beam_search import beam_search
from gtnet.build import Labels, label_rows
from gtnet.compose import compose
from gtnet.distance import viterbi_score
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


@dataclass(frozen=True)
class ForcedAlignment:
    """The best alignments of a batch.

    `labels` int64 [batch, frames], the label of each frame, and `scores` [batch, frames], their
    log-probabilities; -1 and 0 beyond an item's frames and in items without an alignment. `tokens`
    and, where words were asked for, `words` are the spans of each item, none for those.
    `total` [batch] is the score of the whole alignment, -inf where there is none.
    """

    labels: Tensor
    scores: Tensor
    tokens: list[list[Span]]
    words: list[list[Span]] | None
    total: Tensor


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
    Complexity: O(frames · tokens) time and memory an item; with a beam O(frames · survivors).
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
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    graph = ctc_graph([row.tolist() for row in rows], blank, dtype=dtype).to(scores.device)
    if beam is None and max_active is None:
        path = viterbi_path(compose(emissions, graph))
    else:
        wide = math.inf if beam is None else beam
        path = viterbi_path(beam_search(emissions, graph, beam=wide, max_active=max_active))
    return _read(path, emissions, per_word)


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


def _read(path: Graph, emissions: Emissions, words: list[list[int]] | None) -> ForcedAlignment:
    """Best paths, one arc a frame, as frames and spans."""
    batch, frames, _ = emissions.scores.shape
    lengths = path.arc_offsets.diff()
    inside = torch.arange(frames, device=path.device) < lengths[:, None]
    labels = torch.full((batch, frames), -1, device=path.device)
    labels[inside] = path.ilabels.long()
    seen = emissions.scores.gather(2, labels.clamp(min=0)[:, :, None]).squeeze(2)
    scores = torch.where(inside, seen, 0)
    tokens: list[list[Span]] = []
    spoken: list[list[Span]] | None = None if words is None else []
    writes, offsets = path.olabels.tolist(), path.arc_offsets.tolist()
    reads = path.ilabels.tolist()
    all_sums = torch.nn.functional.pad(scores.detach().cumsum(1), (1, 0)).tolist()
    for item, sums in enumerate(all_sums):
        begin, end = offsets[item : item + 2]
        found = _spans(reads[begin:end], writes[begin:end], sums)
        tokens.append(found)
        if spoken is not None and words is not None:
            spoken.append(_joined(found, words[item] if found else [], sums))
    return ForcedAlignment(labels, scores, tokens, spoken, viterbi_score(path))


def _spans(reads: list[int], writes: list[int], sums: list[float]) -> list[Span]:
    """The frames of each token: from the one that writes it, while its label goes on."""
    starts = [frame for frame, label in enumerate(writes) if label >= 0]
    spans = []
    limits = [*starts[1:], len(reads)][: len(starts)]
    for start, limit in zip(starts, limits, strict=True):
        end = start + 1
        while end < limit and reads[end] == reads[start]:
            end += 1
        spans.append(Span(writes[start], start, end, (sums[end] - sums[start]) / (end - start)))
    return spans


def _joined(tokens: list[Span], sizes: list[int], sums: list[float]) -> list[Span]:
    """The frames of each word: from its first token to its last, blanks between included."""
    spans, first = [], 0
    for number, size in enumerate(sizes):
        start, end = tokens[first].start, tokens[first + size - 1].end
        spans.append(Span(number, start, end, (sums[end] - sums[start]) / (end - start)))
        first += size
    return spans
