"""Beam search for transducers: label sequences whose alignments are added up, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks
from gtnet.decode.histories import survivors
from gtnet.grids import lengths_of
from gtnet.language_model import HistoryTree, Predictor, State, after, joined, selected
from gtnet.transducer_grid import Alignments

Joiner = Callable[[Tensor, State], Tensor]
"""joiner(frames [n, dims], state of n sequences) -> logits or log-probabilities [n, labels]."""


@dataclass(frozen=True)
class Transcript:
    """An answer for one item: labels, in which frame each was written on the best way there, and
    the log of the sum over all alignments that the search has followed.
    """

    labels: list[int]
    frames: list[int]
    score: float


class TransducerDecoder:
    """A decoder from the frames of an encoder to label sequences.

    The search keeps sequences, not alignments: where two alignments have written the same, they
    are one, and their probabilities add up. After each frame the best go on. With `beam` and
    `max_active` infinite, scores are exact: those of all alignments with at most `max_symbols`
    labels in a frame.

    Call it with a batch, or `stream()` for chunks of frames.

    Arguments:
        predictor: has `start()`, the state of the empty sequence, as a tensor [1, ...] or tuples of
            such, and `step(state, labels)`, the states of n sequences that are each one label
            longer (`Predictor`). It is called once for all that is new, and never twice for the
            same sequence in one place.
        joiner: `joiner(frames, state)` gives logits [n, labels] for n frames [n, dims] of the
            encoder and n states; a log_softmax is applied, and changes no log-probabilities.
        blank: the label that writes nothing.
        nbest: answers at most.
        beam: how much worse than the best of a frame a sequence that goes on may be.
        max_active: how many of an item go on at most, or math.inf.
        max_symbols: labels in a frame at most. "modified" and "constrained" write one.
        topology: that of the training, as in `transducer_loss`.
    Raises TypeError or ValueError for wrong types and sizes.
    Complexity: for each frame of the batch up to max_symbols + 1 calls of the joiner and
    max_symbols of the predictor; the search ends earlier where what could still be written is worse
    than what has survived. Gradient: none.
    Source: Graves 2012, section 2.5; Kuang et al. 2022 and icefall for one symbol in a frame.
    """

    def __init__(
        self,
        predictor: Predictor,
        joiner: Joiner,
        *,
        blank: int = 0,
        nbest: int = 1,
        beam: float = math.inf,
        max_active: float = 8,
        max_symbols: int = 10,
        topology: Alignments = "regular",
    ) -> None:
        missing = [name for name in ("start", "step") if not hasattr(predictor, name)]
        if missing:
            raise TypeError(
                f"TransducerDecoder: predictor must have start and step, "
                f"got {type(predictor).__name__} without {', '.join(missing)}"
            )
        if not beam >= 0:
            raise ValueError(f"TransducerDecoder: beam must be at least 0, got {beam}")
        if not max_active >= 1:
            raise ValueError(f"TransducerDecoder: max_active must be at least 1, got {max_active}")
        if topology not in ("regular", "modified", "constrained"):
            raise ValueError(
                f'TransducerDecoder: topology must be "regular", "modified" or "constrained", '
                f"got {topology!r}"
            )
        self._predictor, self._joiner = predictor, joiner
        self._blank = _checks.count("TransducerDecoder", "blank", blank)
        self._nbest = _checks.count("TransducerDecoder", "nbest", nbest)
        self._beam, self._max_active = beam, max_active
        most = _checks.count("TransducerDecoder", "max_symbols", max_symbols)
        self._max_symbols = most if topology == "regular" else min(most, 1)
        self._takes_frame = topology == "modified"

    def __call__(
        self, encoded: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> list[list[Transcript]]:
        """The answers of each item, best first.

        Arguments: `encoded` [batch, frames, dims], `lengths` integers [batch], each item's frames.
        """
        stream = self.stream()
        stream.feed(encoded, lengths)
        return stream.transcripts()

    def stream(self) -> TransducerStream:
        """A decoder of a batch that comes in chunks of frames."""
        return TransducerStream(self)


class _Active(NamedTuple):
    """Sequences of items, with the log of the sum over their alignments."""

    item: np.ndarray
    history: np.ndarray
    score: np.ndarray
    way: np.ndarray  # the best of them, as a list of labels' frames
    row: np.ndarray  # of the state

    def some(self, rows: np.ndarray) -> _Active:
        return _Active(*(column[rows] for column in self))


class TransducerStream:
    """Takes frames chunk by chunk; the answers so far are those of one call with all of them.

    Memory: the states of what goes on, and a few numbers for each label that ever did.
    """

    def __init__(self, decoder: TransducerDecoder) -> None:
        self._decoder = decoder
        self._prefixes = HistoryTree()
        self._ways = [(-1, -1)]  # the way before, the frame
        self._active: _Active | None = None
        self._state: State = None
        self._seen = np.empty(0, np.int64)

    @torch.no_grad()
    def feed(self, encoded: Tensor, lengths: Tensor | Sequence[int] | None = None) -> None:
        """The next frames [batch, frames, dims]; an item that has ended gets a length of 0.

        Raises ValueError for wrong shapes, lengths and logits, TypeError for integers.
        """
        name = "TransducerDecoder"
        _checks.tensor(name, "encoded", encoded)
        if encoded.ndim != 3:
            raise ValueError(
                f"{name}: encoded must be [batch, frames, dims], got {list(encoded.shape)}"
            )
        batch, frames, _ = encoded.shape
        sizes = lengths_of(name, "lengths", lengths, batch, frames, "the frames").cpu().numpy()
        if self._active is None:
            zeros = np.zeros(batch, np.int64)
            self._active = _Active(np.arange(batch), zeros, np.zeros(batch), zeros, zeros)
            self._state, self._seen = self._decoder._predictor.start(), zeros.copy()
        if len(self._seen) != batch:
            raise ValueError(
                f"{name}: chunks must have {len(self._seen)} items as the first one, got {batch}"
            )
        for t in range(int(sizes.max(initial=0))):
            running = sizes[self._active.item] > t
            if not running.any():
                break
            waits = self._active.some(~running)
            found, state = self._frame(encoded[:, t], self._active.some(running))
            size = len(waits.row)
            self._state = joined([selected(self._state, waits.row), state]) if size else state
            waits = waits._replace(row=np.arange(size))
            self._active = _joined(waits, found._replace(row=found.row + size))
            self._seen[sizes > t] += 1

    def transcripts(self) -> list[list[Transcript]]:
        """The answers so far, best first; ValueError before the first chunk."""
        if self._active is None:
            raise ValueError("TransducerDecoder: feed a chunk first")
        found: list[list[Transcript]] = [[] for _ in self._seen]
        active = self._active
        for one in np.lexsort((-active.score, active.item)).tolist():
            answers = found[active.item[one]]
            if len(answers) < self._decoder._nbest:
                labels, frames = self._spelled(int(active.history[one]), int(active.way[one]))
                answers.append(Transcript(labels, frames, float(active.score[one])))
        return found

    def _spelled(self, history: int, way: int) -> tuple[list[int], list[int]]:
        labels, frames = [], []
        while history:
            labels.append(int(self._prefixes.label[history]))
            history = int(self._prefixes.parent[history])
        while way:
            way, frame = self._ways[way]
            frames.append(frame)
        return labels[::-1], frames[::-1]

    def _frame(self, encoded: Tensor, now: _Active) -> tuple[_Active, State]:
        """What goes on after one more frame, and the states of that."""
        decoder = self._decoder
        states = [selected(self._state, now.row)]
        now = now._replace(row=np.arange(len(now.row)))
        reached = now.some(np.zeros(0, np.int64))
        first = 0  # the row of the first of these states among all
        for written in range(decoder._max_symbols + 1):
            says = self._says(encoded, now, states[-1])
            stays = now._replace(score=now.score + says[:, decoder._blank], row=now.row + first)
            reached = _merged(reached, stays)
            if written == decoder._max_symbols:
                break
            grown, labels = self._grown(now, says, reached)
            if not len(labels):
                break
            first += len(now.row)
            states.append(after(decoder._predictor, selected(states[-1], grown.row), labels))
            now = grown._replace(row=np.arange(len(labels)))
            if decoder._takes_frame:
                reached = _merged(reached, now._replace(row=now.row + first))
                break
        kept = reached.some(self._survive(reached) & (reached.score > -math.inf))
        state = selected(joined(states), kept.row)
        return kept._replace(row=np.arange(len(kept.row))), state

    def _says(self, encoded: Tensor, now: _Active, state: State) -> np.ndarray:
        """Log-probabilities of all labels after each sequence, float64 [n, labels]."""
        frames = encoded[torch.from_numpy(now.item).to(encoded.device)]
        logits = self._decoder._joiner(frames, state)
        if (
            logits.ndim != 2
            or len(logits) != len(now.item)
            or (logits.shape[1] <= self._decoder._blank)
        ):
            raise ValueError(
                f"TransducerDecoder: joiner must give [n, labels] for n = {len(now.item)} frames, "
                f"with a blank {self._decoder._blank} among the labels, got {list(logits.shape)}"
            )
        says = logits.double().log_softmax(1).cpu().numpy()
        if np.isnan(says).any():
            raise ValueError("TransducerDecoder: joiner gave NaN or +inf, or -inf for all labels")
        return says

    def _grown(self, now: _Active, says: np.ndarray, reached: _Active) -> tuple[_Active, list[int]]:
        """The sequences that are a label longer and may survive the frame; their rows are those of
        what they come from.
        """
        decoder = self._decoder
        total = now.score[:, None] + says
        total[:, decoder._blank] = -math.inf
        # What is worse than what this frame keeps already cannot come back: scores only fall.
        total[total <= self._floor(reached)[now.item][:, None]] = -math.inf
        row, label = np.nonzero(total > -math.inf)
        score = total[row, label]
        kept = survivors(score, now.item[row], decoder._beam, decoder._max_active)
        row, label, score = row[kept], label[kept], score[kept]
        ways = np.arange(len(row)) + len(self._ways)
        before, frame = now.way[row].tolist(), self._seen[now.item[row]].tolist()
        self._ways += zip(before, frame, strict=True)
        history = self._prefixes.longer(now.history[row], label) if len(row) else row
        return _Active(now.item[row], history, score, ways, row), label.tolist()

    def _floor(self, reached: _Active) -> np.ndarray:
        """Below which score nothing more can survive the frame, for each item."""
        floor = np.full(len(self._seen), -math.inf)
        kept = reached.some(self._survive(reached))
        best = floor.copy()
        np.maximum.at(best, kept.item, kept.score)
        counts = np.bincount(kept.item, minlength=len(floor))
        worst = np.full(len(floor), math.inf)
        np.minimum.at(worst, kept.item, kept.score)
        full = counts >= self._decoder._max_active
        floor[full] = worst[full]
        return np.maximum(floor, best - self._decoder._beam)

    def _survive(self, found: _Active) -> np.ndarray:
        return survivors(found.score, found.item, self._decoder._beam, self._decoder._max_active)


def _joined(*parts: _Active) -> _Active:
    return _Active(*map(np.concatenate, zip(*parts, strict=True)))


def _merged(*parts: _Active) -> _Active:
    """Equal sequences of an item as one: their sum, and the way and state of the best."""
    every = _joined(*parts)
    ranked = every.some(np.lexsort((-every.score, every.history, every.item)))
    first = np.ones(len(ranked.item), bool)
    item, history = ranked.item, ranked.history
    first[1:] = (item[1:] != item[:-1]) | (history[1:] != history[:-1])
    begin = np.flatnonzero(first)
    merged = ranked.some(begin)
    if not len(begin):
        return merged
    return merged._replace(score=np.logaddexp.reduceat(ranked.score, begin))
