"""What a decoder found: tokens and words with their frames, read off paths of a lattice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gtnet._checks import EPSILON
from gtnet.best_answers import TooFlatError, best_answers
from gtnet.build import linear
from gtnet.compose import compose
from gtnet.distance import forward_score, viterbi_score
from gtnet.graph import Graph
from gtnet.paths import k_best, label_sequences, viterbi_path


class Timed(NamedTuple):
    """A token or a word, its label, and its frames from `start` up to, not including, `end`."""

    name: str
    label: int
    start: int
    end: int


@dataclass(frozen=True)
class Hypothesis:
    """An answer for one item.

    `tokens` as CTC collapses the frames, separators among them; `words`; `score` the total, that of
    the best alignment, or the sum over all within the beam with `log_add`. `acoustic_score` is
    that of the frames of the best alignment, `lm_score` the log-probability of the language model,
    before `lm_weight`. `confidence` is the share of this answer in the sum over all paths that the
    search has kept.
    """

    tokens: list[Timed]
    words: list[Timed]
    score: float
    acoustic_score: float
    lm_score: float
    confidence: float

    @property
    def text(self) -> str:
        """The words, blanks between them."""
        return " ".join(word.name for word in self.words)


class Parts(NamedTuple):
    """Where things stand in the maps of a lattice: graph 0 is the CTC topology."""

    tokens: Graph
    lexicon: Graph | None
    place: int  # of the lexicon among the graphs
    separators: frozenset[int]
    name: Callable[[int], str]
    word: Callable[[int, str], str]  # by label and spelling


class Best(NamedTuple):
    """The arcs of the best path of an answer, its score and confidence."""

    arcs: list[int]
    score: float
    confidence: float


def best(lattice: Graph, nbest: int, log_add: bool) -> Iterator[Best]:
    """The best answers of one graph, best first."""
    total = float(forward_score(lattice)[0])
    if not total > -math.inf:
        return
    if log_add:
        answers, scores = _best_sums(lattice, nbest)
        spelled = compose(lattice, answers)
        paths = viterbi_path(spelled)
        assert paths.arc_maps is not None and spelled.arc_maps is not None
        arcs, sums = spelled.arc_maps[0][paths.arc_maps[0].long()], scores
    else:
        (paths,) = k_best(lattice, nbest, unique="olabels")
        assert paths.arc_maps is not None
        arcs, scores = paths.arc_maps[0], viterbi_score(paths)
        answers = linear(label_sequences(paths), dtype=lattice.dtype)
        sums = forward_score(compose(lattice, answers))
    ends = paths.arc_offsets.tolist()
    for i, (score, summed) in enumerate(zip(scores.tolist(), sums.tolist(), strict=True)):
        share = math.exp(min(summed - total, 0.0))
        yield Best(arcs[ends[i] : ends[i + 1]].tolist(), score, share)


_CANDIDATES = 100


def _best_sums(lattice: Graph, nbest: int) -> tuple[Graph, Tensor]:
    """The answers with the best sums, one to a graph, best first, and these.

    Where scores are so flat that these cannot be told for certain, the best of `_CANDIDATES` with
    the best paths, and of four times `nbest`.
    """
    try:
        (answers,) = best_answers(lattice, nbest)
    except TooFlatError:
        (paths,) = k_best(lattice, max(_CANDIDATES, 4 * nbest), unique="olabels")
        said = label_sequences(paths)
        sums = forward_score(compose(lattice, linear(said, dtype=lattice.dtype)))
        order = sums.argsort(descending=True, stable=True)[:nbest]
        return linear([said[i] for i in order.tolist()], dtype=lattice.dtype), sums[order]
    return linear(label_sequences(answers), dtype=lattice.dtype), viterbi_score(answers)


class Path(NamedTuple):
    """The arcs of a path, column by column."""

    frames: list[bool]  # whether an arc reads one
    ilabels: list[int]
    writes: list[int]  # of the topology
    words: list[int]  # of the lexicon


def columns(lattice: Graph, arcs: Tensor, parts: Parts) -> Path:
    """What the arcs of a lattice do."""
    assert lattice.arc_maps is not None

    def written(graph: Graph | None, place: int) -> list[int]:
        if graph is None or lattice.arc_maps is None:
            return [EPSILON] * len(arcs)
        own = lattice.arc_maps[1 + place][arcs].long()
        return torch.where(own >= 0, graph.olabels[own], EPSILON).tolist()

    ilabels = lattice.ilabels[arcs].tolist()
    reads = [label != EPSILON for label in ilabels]
    tokens = written(parts.tokens, 0)
    return Path(reads, ilabels, tokens, written(parts.lexicon, parts.place))


def read(path: Path, parts: Parts) -> tuple[list[Timed], list[Timed], list[int]]:
    """Tokens and words of a path, and the label of each frame."""
    tokens: list[Timed] = []
    words: list[Timed] = []
    labels: list[int] = []
    ends_at: list[tuple[int, int]] = []  # tokens so far, word
    for reads, label, token, word in zip(*path, strict=True):
        frame = len(labels)
        if reads:
            labels.append(label)
        if token >= 0:
            tokens.append(Timed(parts.name(token), token, frame, frame + 1))
        elif reads and tokens and (tokens[-1].label, tokens[-1].end) == (label, frame):
            tokens[-1] = tokens[-1]._replace(end=frame + 1)
        if word >= 0:
            ends_at.append((len(tokens), word))
    if parts.lexicon is None:
        groups = list(_grouped(tokens, parts.separators))
        words = [_joined(group, -1, "".join(t.name for t in group)) for group in groups]
        return tokens, words, labels
    begin = 0
    for end, word in ends_at:
        group = [t for t in tokens[begin:end] if t.label not in parts.separators]
        spelling = "".join(token.name for token in group)
        words.append(_joined(group or tokens[begin:end], word, parts.word(word, spelling)))
        begin = end
    return tokens, words, labels


def _joined(tokens: Sequence[Timed], label: int, name: str) -> Timed:
    return Timed(name.removeprefix("▁"), label, tokens[0].start, tokens[-1].end)


def _grouped(tokens: Sequence[Timed], separators: frozenset[int]) -> Iterator[list[Timed]]:
    """Tokens between separators, and from one that begins with the mark of a word to the next."""
    group: list[Timed] = []
    for token in tokens:
        if group and (token.label in separators or token.name.startswith("▁")):
            yield group
            group = []
        if token.label not in separators:
            group.append(token)
    if group:
        yield group
