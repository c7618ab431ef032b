"""The segmental front end: every frame may be a cut, and what lies between two cuts is scored.

A semi-Markov model of a line (Sarawagi & Cohen 2004): where characters begin and end is learnt
from strings alone, through the difference of two forward scores over all segmentations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.languages import skipping
from gtnet.reader.line import Line, LineConfig
from gtnet.reader.line_front_end import Change, LineFrontEnd, convolution


@dataclass(frozen=True)
class SegmentalConfig:
    """The size of a `SegmentalNetwork`.

    `line`: how images become lines, their height a multiple of 8; `channels`: feature maps of the
    four convolutions; `widest`: frames of the widest character, each `STRIDE` columns of the line;
    `parts`: equal parts of a segment, whose features are pooled each on its own; `hidden`: units of
    the two layers before the scores; `dropout`: probability, before the scores.
    """

    line: LineConfig = field(default_factory=LineConfig)
    channels: tuple[int, int, int, int] = (24, 48, 64, 96)
    widest: int = 16
    parts: int = 4
    hidden: int = 96
    dropout: float = 0.2


STRIDE = 2
"""Columns of the line between two candidate cuts."""


class SegmentalNetwork(nn.Module):
    """Convolutions over a line, then every label scored for every stretch between two cuts.

    `forward(lines, widths)`: lines float [batch, 1, height, width] with ink 1 on paper 0; widths
    int64 [batch], columns of each line. Returns scores [segments, labels], not normalized, and the
    segmentation graphs of the batch, `gtnet.segment_graph`, whose arc i carries row i. The last
    label, for no character, is that of single frames: it is -inf for wider segments, so that a
    stretch without characters can be cut in one way only. What lies beside an item in the batch
    does not change its scores in evaluation mode.

    A segment is scored by the mean features of each of its parts, what the cuts at its ends see on
    both their sides, and its width. Means are differences of prefix sums, at places between frames
    too. A frame sees 6 columns to each side and no more: with features that know all of a
    character, any segment near it would do, and cuts would tell nothing.

    Its units are smooth: with rectifiers many die in the first steps, in which all scores fall.

    Complexity: O(frames · widest · (parts + hidden + labels) · hidden) beside the convolutions, in
    memory O(frames · widest · (parts · hidden + labels)) in training.
    Source: Sarawagi & Cohen 2004; Kong, Dyer & Smith 2016.
    """

    def __init__(self, num_labels: int, config: SegmentalConfig) -> None:
        super().__init__()
        for name in ("widest", "parts", "hidden"):
            if getattr(config, name) < 1:
                raise ValueError(
                    f"SegmentalNetwork: {name} must be at least 1, got {getattr(config, name)}"
                )
        if config.line.height % 8:
            raise ValueError(
                f"SegmentalNetwork: the height of lines, {config.line.height}, is no multiple of 8"
            )
        one, two, three, four = config.channels
        self.config = config
        self.convolutions = nn.ModuleList(
            [
                convolution(1, one, 5, stride=2),
                convolution(one, two, 3, stride=(2, 1)),
                convolution(two, three, 3, pool=(2, 1)),
                convolution(three, four, (config.line.height // 8, 1), padding=0),
            ]
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Of each frame: what it adds to a cut behind or before it, on either end of a segment, and
        # to each part.
        self.vectors = nn.Linear(four, (4 + config.parts) * config.hidden)
        self.widths = nn.Embedding(config.widest, config.hidden)
        last = nn.Linear(config.hidden, num_labels)
        self.scores = nn.Sequential(
            nn.Tanh(),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            last,
        )
        with torch.no_grad():  # Few wide characters at first: they see what they are to be.
            self.widths.weight.mul_(0.1)
            last.bias.fill_(-6.0)
            last.bias[-1] = -1.0

    def forward(self, lines: Tensor, widths: Tensor) -> tuple[Tensor, gtnet.Graph]:
        lengths = (widths + STRIDE - 1) // STRIDE
        maps = lines.to(memory_format=torch.channels_last)
        inside = torch.arange(-(-lines.shape[3] // STRIDE), device=lines.device) < lengths[:, None]
        ragged = not self.training and not bool(inside.all())
        for layer in self.convolutions:
            maps = layer(maps)
            if ragged:  # paper behind a line must look as it does where no other line is longer
                maps = maps * inside[:, None, None]
        vectors = self.vectors(maps[:, :, 0].transpose(1, 2)) * inside[:, :, None]
        vectors = vectors.unflatten(2, (-1, self.config.hidden))
        whole = torch.promote_types(vectors.dtype, torch.float32)  # half under autocast
        graph = gtnet.segment_graph(lengths, self.config.widest, dtype=whole)
        item = torch.arange(len(graph), device=lengths.device)
        begin = item.repeat_interleave(graph.arc_offsets.diff()) * (vectors.shape[1] + 1)
        first, width = graph.source.long(), (graph.target - graph.source).long()
        hidden = self.widths(width - 1)
        hidden = hidden + _rows(_at_cuts(vectors[:, :, 0], vectors[:, :, 1]), begin + first)
        hidden = hidden + _rows(_at_cuts(vectors[:, :, 2], vectors[:, :, 3]), begin + first + width)
        hidden = hidden + _means(vectors[:, :, 4:], begin, first, width)
        scores = self.scores(hidden)
        nothing = torch.arange(scores.shape[1], device=scores.device) == scores.shape[1] - 1
        scores = scores.to(whole)
        return scores.masked_fill((width > 1)[:, None] & nothing, -torch.inf), graph


def _at_cuts(before: Tensor, behind: Tensor) -> Tensor:
    """What cuts see of the frames beside them: [batch, frames, hidden] to [.., frames + 1, ..]."""
    return functional.pad(before, (0, 0, 1, 0)) + functional.pad(behind, (0, 0, 0, 1))


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows [segments, hidden] of a table [batch, cuts, hidden], counted through the batch."""
    return functional.embedding(index, table.flatten(0, 1))


def _means(frames: Tensor, begin: Tensor, first: Tensor, width: Tensor) -> Tensor:
    """The sum, over the parts of each segment, of the part's mean: [segments, hidden].

    `frames` [batch, frames, parts, hidden], for every part what a frame adds to its mean. With the
    prefix sums C of part k, the mean is (C(end) - C(begin)) parts / width. An edge between two
    parts is the end of one and the begin of the other, so that one look-up serves both; between
    two frames a prefix sum is interpolated, which is the integral up to there.
    """
    parts = frames.shape[2]
    sums = functional.pad(frames.cumsum(1), (0, 0, 0, 0, 1, 0))
    edges = functional.pad(sums, (0, 0, 1, 0)) - functional.pad(sums, (0, 0, 0, 1))
    total = _rows(edges[:, :, 0], begin + first) + _rows(edges[:, :, parts], begin + first + width)
    for part in range(1, parts):
        along = part * width
        at, between = begin + first + along // parts, along % parts / parts
        low, high = (_rows(edges[:, :, part], at + step) for step in (0, 1))
        total = total + low.lerp(high, between.to(low)[:, None])
    return total * (parts / width.to(total))[:, None]


class SegmentalFrontEnd(LineFrontEnd[SegmentalConfig]):
    """Images to all their segmentations, learnt: a `FrontEnd` without rules where to cut.

    Every frame is a candidate cut; a segment is any run of frames up to a widest one. Which
    segmentations a network comes to prefer, it learns from strings::

        data = load("digits", split="train", size=400)
        reader = Recognizer(AMOUNTS, amount_grammar(rubbish=None), SegmentalFrontEnd())
        lines = reader.observe([image for image, _ in data])
        optimizer = torch.optim.AdamW(reader.parameters(), 3e-3)
        for chosen in torch.randperm(400).split(32):
            loss = reader.loss([lines[i] for i in chosen], [data[i][1] for i in chosen])
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
        print(reader.read([data[0][0]]))

    A path reads the line once, from left to right, in characters and single frames of nothing.
    """

    name = "segmental"
    kind = SegmentalConfig

    def network(self, alphabet: Alphabet) -> SegmentalNetwork:
        """A network that scores the labels of an alphabet for every segment."""
        return SegmentalNetwork(alphabet.num_labels, self.config)

    def characters(self, alphabet: Alphabet) -> gtnet.Graph:
        """The transducer that copies characters and skips frames that show none."""
        return skipping(alphabet)

    def recognition(
        self, network: nn.Module, lines: Sequence[Line], change: Change | None = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs: all segmentations, a score per label on each arc."""
        scores, graph = self.scored(network, lines, change)
        return gtnet.Emissions(scores, graph=graph)
