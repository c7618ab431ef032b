"""The sliding front end: one convolutional network swept over the whole line, a frame per column.

The space-displacement network of LeCun, Bottou, Bengio & Haffner 1998, section VII: columns of
its last map are frames, and a transducer says which runs of frames write which character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.line import Line, LineConfig
from gtnet.reader.line_front_end import Change, LineFrontEnd, convolution
from gtnet.reader.sequence import Context

STRIDE = 4
"""Columns of the line between two columns of the last map."""


@dataclass(frozen=True)
class SlidingConfig:
    """The size of a `SlidingNetwork`.

    `line`: how images become lines, their height a multiple of 8; `channels`: feature maps of the
    six convolutions; `context`: units of each recurrent layer in each direction, 0 for none;
    `layers`: recurrent layers; `dropout`: probability, before the scores and before each further
    recurrent layer; `frames`: frames for each column of the last map.
    """

    line: LineConfig = field(default_factory=LineConfig)
    channels: tuple[int, int, int, int, int, int] = (24, 48, 64, 72, 104, 128)
    context: int = 80
    layers: int = 1
    dropout: float = 0.2
    frames: int = 2


class SlidingNetwork(nn.Module):
    """Convolutions over a line, with recurrent context, that score every label for every frame.

    `forward(lines, widths)`: lines float [batch, 1, height, width] with ink 1 on paper 0, width a
    multiple of 4; widths int64 [batch], columns of each line. Returns log-probabilities of the
    labels, float [batch, frames, labels], and the frames of each item, int64 [batch]. What lies
    beside an item in the batch does not change its scores in evaluation mode.
    Source: LeCun et al. 1998, section VII; Shi, Bai & Yao 2015 for the recurrent context.
    """

    def __init__(self, num_labels: int, config: SlidingConfig) -> None:
        super().__init__()
        if config.line.height % 8:
            raise ValueError(
                f"SlidingNetwork: the height of lines, {config.line.height}, is no multiple of 8"
            )
        one, two, three, four, five, six = config.channels
        self.config, self.num_labels = config, num_labels
        tall = config.line.height // 8
        self.convolutions = nn.ModuleList(
            [
                convolution(1, one, 5, stride=2),
                convolution(one, two, 3, stride=2),
                convolution(two, three, 3),
                convolution(three, four, 3, pool=(2, 1)),
                convolution(four, five, 3),
                convolution(five, six, (tall, 3), padding=(0, 1)),
            ]
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.context = Context(six, config.context, config.layers, config.dropout)
        self.scores = nn.Linear(self.context.features, config.frames * num_labels)

    def forward(self, lines: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        maps = lines.to(memory_format=torch.channels_last)
        ragged = not self.training and not bool((widths == lines.shape[3]).all())
        columns = widths
        for number, layer in enumerate(self.convolutions):
            maps = layer(maps)
            if number < 2:
                columns = (columns + 1) // 2
            if ragged:
                # Paper behind a line must look as it does where no other line is longer.
                inside = torch.arange(maps.shape[3], device=maps.device) < columns[:, None]
                maps = maps * inside[:, None, None]
        scores = self.scores(self.context(maps[:, :, 0].transpose(1, 2), columns))
        frames = self.config.frames
        shape = (len(lines), frames * scores.shape[1], self.num_labels)
        return scores.reshape(shape).log_softmax(2), frames * columns


class SlidingFrontEnd(LineFrontEnd[SlidingConfig]):
    """Images to frames: a `FrontEnd` whose recognition graphs are chains of frames."""

    name = "sliding"
    kind = SlidingConfig

    def network(self, alphabet: Alphabet) -> SlidingNetwork:
        """A network that scores the labels of an alphabet for every frame."""
        return SlidingNetwork(alphabet.num_labels, self.config)

    def recognition(
        self, network: nn.Module, lines: Sequence[Line], change: Change | None = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs: a chain of frames for each line."""
        return gtnet.Emissions(*self.scored(network, lines, change))
