"""Conditional random fields over tags: linear chains, and semi-Markov ones over segments."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gtnet import _checks, _numbers
from gtnet._checks import NEG_INF
from gtnet._lattice_paths import best_labels
from gtnet.compose import compose
from gtnet.distance import viterbi_score
from gtnet.emissions import Emissions
from gtnet.free_alignments import bigram_topology
from gtnet.graph import Graph
from gtnet.grids import segment_emissions
from gtnet.lattice import Lattice
from gtnet.paths import label_sequences

CRFReduction = Literal["none", "sum", "mean", "token_mean"]
Segment = tuple[int, int]
"""A tag and the frames that it lasts."""


class _Bigrams(nn.Module):
    """Scores of tags that follow each other, of first and of last ones; some may be forbidden.

    Arguments: `num_tags`; `allowed` bool [tags, tags] (from, to), `allowed_start`, `allowed_end`
    bool [tags]: what is False has the score -inf and learns nothing. Parameters are drawn from
    [-0.1, 0.1].
    """

    allowed: Tensor
    allowed_start: Tensor
    allowed_end: Tensor

    def __init__(
        self,
        num_tags: int,
        *,
        allowed: Tensor | None = None,
        allowed_start: Tensor | None = None,
        allowed_end: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name, dtype = type(self).__name__, _numbers.float_dtype(dtype)
        self.num_tags = _checks.count(name, "num_tags", num_tags)
        if num_tags == 0:
            raise ValueError(f"{name}: num_tags must be at least 1, got 0")
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags, dtype=dtype))
        self.start_transitions = nn.Parameter(torch.empty(num_tags, dtype=dtype))
        self.end_transitions = nn.Parameter(torch.empty(num_tags, dtype=dtype))
        given = {"allowed": allowed, "allowed_start": allowed_start, "allowed_end": allowed_end}
        for which, mask in given.items():
            shape = (num_tags,) * (2 if which == "allowed" else 1)
            self.register_buffer(which, _mask(name, which, mask, shape), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all scores from [-0.1, 0.1]."""
        for scores in (self.transitions, self.start_transitions, self.end_transitions):
            nn.init.uniform_(scores, -0.1, 0.1)

    def extra_repr(self) -> str:
        """The number of tags."""
        return f"num_tags={self.num_tags}"

    def graph(self) -> Graph:
        """The acceptor of all tag sequences but the empty one, under the scores as they are now."""
        return self._graph(self._scores())

    def _graph(self, scores: Tensor) -> Graph:
        """The acceptor, whose arcs have the first scores and whose states accept with the last."""
        arcs = self.num_tags * (self.num_tags + 1)
        topology = bigram_topology(self.num_tags, scores.device)
        never = scores.new_full((self.num_tags + 1,), NEG_INF)
        accept = torch.cat([never[:1], scores[arcs:-1]])
        start = torch.cat([never.new_zeros(1), never[1:]])
        return Graph.from_topology(topology, scores[:arcs], start, accept)

    def _lattice(self, emissions: Emissions, scores: Tensor | None = None) -> Lattice:
        """All tag sequences of each item."""
        found = compose(emissions, self._graph(self._scores() if scores is None else scores))
        assert isinstance(found, Lattice)
        return found

    def _scores(self) -> Tensor:
        """All scores in a row: of first tags, of tags (row by row) after tags, of last ones, and 0.

        -inf where forbidden.
        """
        given = (self.start_transitions, self.transitions.flatten(), self.end_transitions)
        allowed = (self.allowed_start, self.allowed.flatten(), self.allowed_end)
        scores = torch.cat([*given, given[0].new_zeros(1)])
        possible = torch.cat([*allowed, allowed[0].new_ones(1)])
        scores = _checks.widened(scores).masked_fill(~possible, NEG_INF)
        return _checks.scores(type(self).__name__, "transitions", scores)

    def _score_of_tags(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """The scores [batch] of tag sequences [batch, places], each of at least one tag."""
        size, ends = self.num_tags, lengths[:, None]
        place = torch.arange(tags.shape[1] + 1, device=tags.device)
        none = torch.full_like(tags[:, :1], -1)
        before, here = torch.cat([none, tags], 1), torch.cat([tags, none], 1)
        index = torch.where(place == ends, size * (size + 1) + before, len(scores) - 1)
        index = torch.where(place < ends, size * (before + 1) + here, index)
        return scores.index_select(0, index.flatten()).view(index.shape).sum(1)

    def _check(self, name: str, scores: Tensor, shape: str, dims: int) -> None:
        _checks.emissions(name, "emissions", scores)
        if scores.ndim != dims or scores.shape[-1] != self.num_tags:
            raise ValueError(
                f"{name}: scores must be {shape} with {self.num_tags} tags, got"
                f" {list(scores.shape)}"
            )


class CRF(_Bigrams):
    """A linear-chain conditional random field, with the interface of the package pytorch-crf.

    p(tags | emissions) is in proportion to the exponential of the scores of all tags in their
    frames, of what follows what, and of the first and the last tag. Further than pytorch-crf's go
    `marginals`, `k_best`, and `allowed`, `allowed_start`, `allowed_end`: bool [tags, tags] (from,
    to) and [tags], where False forbids.

    Arguments: `num_tags`; `batch_first`: whether tensors are [batch, frames, ...] or, by default,
    [frames, batch, ...]. A mask is bool or uint8 [batch, frames] (or [frames, batch]), on at
    the frames of an item, which are the first ones, one at least; by default all are on.
    Parameters: `transitions` [tags, tags] (from, to), `start_transitions` and `end_transitions`
    [tags], named as in pytorch-crf, whose state dicts load.
    Complexity: O(batch · frames · tags²) in all methods, and frames · tags · log per path for k
    best. Source: Lafferty, McCallum & Pereira 2001.
    """

    def __init__(
        self,
        num_tags: int,
        batch_first: bool = False,
        *,
        allowed: Tensor | None = None,
        allowed_start: Tensor | None = None,
        allowed_end: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            num_tags,
            allowed=allowed,
            allowed_start=allowed_start,
            allowed_end=allowed_end,
            dtype=dtype,
        )
        self.batch_first = batch_first

    def forward(
        self,
        emissions: Tensor,
        tags: Tensor,
        mask: Tensor | None = None,
        reduction: CRFReduction = "sum",
    ) -> Tensor:
        """The log-probability of the tags: [batch], or reduced to [].

        Arguments: `emissions` float [batch, frames, tags] and `tags` integers [batch, frames], or
        frames first; "token_mean" divides the sum by the number of frames. Result: at most 0; -inf
        for forbidden tags. Raises TypeError or ValueError for other shapes, dtypes, tags, masks.
        Gradient: what is observed minus what is expected.
        """
        rows, lengths = self._rows("CRF", emissions, mask)
        if tags.shape != emissions.shape[:2]:
            raise ValueError(
                f"CRF: tags must be {list(emissions.shape[:2])} as the emissions, got"
                f" {list(tags.shape)}"
            )
        chosen = _checks.integers("CRF", "tags", tags.reshape(-1)).long().view(tags.shape)
        chosen = chosen if self.batch_first else chosen.T
        valid = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
        chosen = chosen.masked_fill(~valid, 0)
        _checks.inside("CRF", "tags", chosen.reshape(-1), self.num_tags, "the tags")
        seen = rows.gather(2, chosen[:, :, None]).squeeze(2)
        scores = self._scores()
        observed = torch.where(valid, seen, 0).sum(1)
        observed = observed + self._score_of_tags(scores, chosen, lengths)
        found = _normalized(observed, self._lattice(Emissions(rows, lengths), scores))
        return _reduced("CRF", found, reduction, lengths)

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """The best tags of each item (Viterbi); empty where everything is forbidden."""
        rows, lengths = self._rows("CRF.decode", emissions, mask)
        with torch.no_grad():
            return best_labels(self._lattice(Emissions(rows, lengths)))

    def k_best(
        self, emissions: Tensor, k: int, mask: Tensor | None = None
    ) -> list[list[tuple[list[int], float]]]:
        """At most k tag sequences of each item, best first, with their log-probabilities."""
        rows, lengths = self._rows("CRF.k_best", emissions, mask)
        with torch.no_grad():
            lattice = self._lattice(Emissions(rows, lengths))
            return _with_probabilities(lattice, k)

    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The probability of each tag in each frame, shaped as the emissions; 0 beyond the mask."""
        rows, lengths = self._rows("CRF.marginals", emissions, mask)
        found = self._lattice(Emissions(rows, lengths)).label_posteriors()
        return found if self.batch_first else found.transpose(0, 1)

    def _rows(self, name: str, emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Emissions [batch, frames, tags] and the frames of each item."""
        self._check(name, emissions, "[batch, frames, tags]", 3)
        if mask is not None and mask.shape != emissions.shape[:2]:
            raise ValueError(
                f"{name}: mask must be {list(emissions.shape[:2])} as the emissions, got"
                f" {list(mask.shape)}"
            )
        rows = emissions if self.batch_first else emissions.transpose(0, 1)
        if mask is None:
            return rows, _whole(name, rows)
        on = (mask if self.batch_first else mask.T).bool()
        lengths = on.sum(1)
        ordered = torch.arange(on.shape[1], device=on.device) < lengths[:, None]
        if not torch.equal(on, ordered) or bool((lengths == 0).any()):
            raise ValueError(
                f"{name}: the mask must be on at the first frames of each item, one at least, and"
                f" off behind them"
            )
        return rows, lengths


class SemiMarkovCRF(_Bigrams):
    """A semi-Markov conditional random field: tags last for segments of several frames.

    Scores are given for every segment and tag: float [batch, frames, durations, tags], of the
    segment of d + 1 frames that begins at frame t at [:, t, d]. Tags of segments that follow each
    other are scored as in `CRF`; `lengths` are the frames of each item, integers [batch], all by
    default, one at least.

    Arguments and parameters: as of `CRF`, without `batch_first`. Complexity: O(batch · frames ·
    durations · tags²). Source: Sarawagi & Cohen 2004.
    """

    def forward(
        self,
        scores: Tensor,
        segments: Sequence[Sequence[Segment]],
        lengths: Tensor | None = None,
        reduction: CRFReduction = "sum",
    ) -> Tensor:
        """The log-probability of the segments, (tag, duration) each: [batch], or reduced to [].

        "token_mean" divides by the number of frames. Raises TypeError or ValueError for other
        shapes, tags and durations, and for segments that do not add up to the frames of their item.
        Gradient: what is observed minus what is expected.
        """
        emissions, frames = self._emissions("SemiMarkovCRF", scores, lengths)
        counts = self._checked_segments(scores, segments, frames)
        places = max(map(len, segments), default=1)
        padded = [[*row, *[(0, 1)] * (places - len(row))] for row in segments]
        tags, durations = (
            torch.tensor(padded, device=scores.device).reshape(-1, places, 2).unbind(2)
        )
        valid = torch.arange(places, device=scores.device) < counts[:, None]
        begin = (durations.cumsum(1) - durations).clamp(max=scores.shape[1] - 1)
        item = torch.arange(len(scores), device=scores.device)[:, None]
        seen = torch.where(valid, scores[item, begin, durations - 1, tags], 0).sum(1)
        of_tags = self._scores()
        observed = seen + self._score_of_tags(of_tags, tags, counts)
        found = _normalized(observed, self._lattice(emissions, of_tags))
        return _reduced("SemiMarkovCRF", found, reduction, frames)

    def decode(self, scores: Tensor, lengths: Tensor | None = None) -> list[list[Segment]]:
        """The best segments of each item, (tag, duration) each (Viterbi)."""
        emissions, _ = self._emissions("SemiMarkovCRF.decode", scores.detach(), lengths)
        path = self._lattice(emissions).viterbi_path()
        assert path.arc_maps is not None
        durations = emissions.segmentation.ilabels[path.arc_maps[0] // self.num_tags].tolist()
        tags = path.olabels.tolist()
        ends = path.arc_offsets.tolist()
        pairs = list(zip(tags, durations, strict=True))
        return [pairs[begin:end] for begin, end in pairwise(ends)]

    def marginals(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The probability of each segment with each tag, shaped as the scores."""
        emissions, frames = self._emissions("SemiMarkovCRF.marginals", scores, lengths)
        found = self._lattice(emissions).label_posteriors()
        frame, duration = (torch.arange(n, device=scores.device) for n in scores.shape[1:3])
        inside = (frame[:, None] + duration < frames[:, None, None])[..., None]
        return scores.new_zeros(scores.shape).masked_scatter(inside, found)

    def _emissions(
        self, name: str, scores: Tensor, lengths: Tensor | None
    ) -> tuple[Emissions, Tensor]:
        self._check(name, scores, "[batch, frames, durations, tags]", 4)
        frames = _whole(name, scores) if lengths is None else lengths
        emissions = segment_emissions(scores, frames)
        frames = torch.as_tensor(frames, device=scores.device).long()
        if bool((frames < 1).any()):
            raise ValueError(f"{name}: each item needs a frame at least, got lengths {lengths}")
        return emissions, frames

    def _checked_segments(
        self, scores: Tensor, segments: Sequence[Sequence[Segment]], frames: Tensor
    ) -> Tensor:
        """How many segments each item has."""
        if len(segments) != len(scores):
            raise ValueError(
                f"SemiMarkovCRF: {len(scores)} items need as many lists of segments, got"
                f" {len(segments)}"
            )
        longest = scores.shape[2]
        for number, (row, length) in enumerate(zip(segments, frames.tolist(), strict=True)):
            for tag, duration in row:
                if not (0 <= tag < self.num_tags and 1 <= duration <= longest):
                    raise ValueError(
                        f"SemiMarkovCRF: item {number}: a segment has one of {self.num_tags} tags"
                        f" and lasts 1 to {longest} frames, got tag {tag} for {duration}"
                    )
            if sum(duration for _, duration in row) != length:
                raise ValueError(
                    f"SemiMarkovCRF: item {number} has {length} frames, its segments"
                    f" {sum(duration for _, duration in row)}"
                )
        return torch.tensor([len(row) for row in segments], device=scores.device)


def _normalized(observed: Tensor, lattice: Lattice) -> Tensor:
    """Log-probabilities; -inf where everything is forbidden."""
    total = lattice.forward_score()
    return observed - total.masked_fill(total == NEG_INF, 0)


def _with_probabilities(lattice: Lattice, k: int) -> list[list[tuple[list[int], float]]]:
    totals = lattice.forward_score().tolist()
    found = []
    for paths, total in zip(lattice.k_best(k), totals, strict=True):
        scores = [score - total for score in _path_scores(paths)]
        found.append(list(zip(label_sequences(paths), scores, strict=True)))
    return found


def _path_scores(paths: Graph) -> list[float]:
    """The score of each chain of a batch."""
    return viterbi_score(paths).tolist()


def _whole(name: str, rows: Tensor) -> Tensor:
    """All frames for each item."""
    if rows.shape[1] == 0:
        raise ValueError(f"{name}: each item needs a frame at least, got {list(rows.shape)}")
    return torch.full((len(rows),), rows.shape[1], device=rows.device)


def _mask(name: str, which: str, mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    given = torch.as_tensor(mask)
    if given.dtype != torch.bool or given.shape != shape:
        raise ValueError(
            f"{name}: {which} must be bool {list(shape)}, got {given.dtype} {list(given.shape)}"
        )
    return given.clone()


def _reduced(name: str, values: Tensor, reduction: CRFReduction, frames: Tensor) -> Tensor:
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.mean()
    if reduction == "token_mean":
        return values.sum() / frames.sum()
    raise ValueError(
        f'{name}: reduction must be "none", "sum", "mean" or "token_mean", got {reduction!r}'
    )
