"""A network over sequences of feature vectors, such as pen strokes or sound: to scored frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

_STEPS = 16  # batches are padded to a multiple: convolutions are planned for every length anew


@dataclass(frozen=True)
class SequenceConfig:
    """The size of a `SequenceNetwork`.

    `channels`: feature maps of the convolutions; `sizes`: the steps that each sees at once, odd
    numbers; `strides`: steps between two of its outputs; `context`: units of each recurrent layer
    in each direction, 0 for none; `layers`: recurrent layers; `dropout`: probability, before the
    scores and before each further recurrent layer.
    """

    channels: tuple[int, ...] = (64, 96, 96)
    sizes: tuple[int, ...] = (5, 5, 3)
    strides: tuple[int, ...] = (1, 2, 2)
    context: int = 96
    layers: int = 1
    dropout: float = 0.2


class SequenceNetwork(nn.Module):
    """Convolutions over time, with recurrent context, that score every label for every frame.

    `forward(steps, lengths)`: steps float [batch, steps, features]; lengths int64 [batch]. Returns
    log-probabilities of the labels, float [batch, frames, labels], and the frames of each item,
    int64 [batch]. What lies behind an item in the batch does not change its scores in evaluation
    mode. Raises ValueError for a size that is even, for lists of different lengths, or no layer.
    Source: Graves, Liwicki, Fernandez, Bertolami, Bunke & Schmidhuber 2009.
    """

    def __init__(self, num_labels: int, features: int, config: SequenceConfig) -> None:
        super().__init__()
        layers = (config.channels, config.sizes, config.strides)
        if len({len(values) for values in layers}) != 1 or not config.channels:
            raise ValueError(
                f"SequenceNetwork: channels {config.channels}, sizes {config.sizes} and strides"
                f" {config.strides} must have one entry for each convolution"
            )
        if not all(size % 2 for size in config.sizes):
            raise ValueError(f"SequenceNetwork: sizes must be odd, got {config.sizes}")
        if config.layers < 1:
            raise ValueError(
                f"SequenceNetwork: layers must be at least 1, got {config.layers}; for no recurrent"
                " layer set context to 0"
            )
        self.config = config
        inputs = (features, *config.channels)
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(before, after, size, stride, size // 2, bias=False),
                nn.BatchNorm1d(after),
                nn.ReLU(inplace=True),
            )
            for before, after, size, stride in zip(inputs, *layers)
        )
        self.forth = self.back = None
        self.deeper = nn.ModuleList()
        last = config.channels[-1]
        if config.context:
            self.forth = nn.LSTM(last, config.context, batch_first=True)
            self.back = nn.LSTM(last, config.context, batch_first=True)
            last = 2 * config.context
            for _ in range(config.layers - 1):
                pair = (nn.LSTM(last, config.context, batch_first=True) for _ in range(2))
                self.deeper.append(nn.ModuleList(pair))
        self.dropout = nn.Dropout(config.dropout)
        self.scores = nn.Linear(last, num_labels)

    def forward(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        maps, frames = steps.transpose(1, 2), lengths
        for convolution, stride in zip(self.convolutions, self.config.strides, strict=True):
            maps = convolution(maps)
            frames = (frames + stride - 1) // stride
            # What lies behind a short item must look as it does where no other is longer.
            inside = torch.arange(maps.shape[2], device=maps.device) < frames[:, None]
            maps = maps * inside[:, None]
        features = maps.transpose(1, 2)
        if self.forth is not None and self.back is not None:
            features = both_ways(self.forth, self.back, features, frames)
            for pair in self.deeper:
                forth, back = pair.children()
                assert isinstance(forth, nn.LSTM) and isinstance(back, nn.LSTM)
                features = both_ways(forth, back, self.dropout(features), frames)
        return self.scores(self.dropout(features)).log_softmax(2), frames


def both_ways(forth: nn.LSTM, back: nn.LSTM, features: Tensor, lengths: Tensor) -> Tensor:
    """Two recurrent layers over a padded batch, one from each end of every item, side by side.

    `features` [batch, steps, features], `lengths` int64 [batch]. Returns [batch, steps, units of
    both]; up to the length of an item it does not depend on what lies behind.
    """
    at = torch.arange(features.shape[1], device=features.device)
    mirrored = (lengths[:, None] - 1 - at).clamp(min=0)[:, :, None]
    backward, _ = back(_gathered(features, mirrored))
    return torch.cat([forth(features)[0], _gathered(backward, mirrored)], dim=2)


def _gathered(features: Tensor, index: Tensor) -> Tensor:
    return features.gather(1, index.expand(-1, -1, features.shape[2]))


def padded(items: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Arrays [steps, features] as one batch with zeros behind, float32, and their lengths."""
    lengths = [len(item) for item in items]
    longest = -(-max(lengths) // _STEPS) * _STEPS
    batch = np.zeros((len(items), longest, items[0].shape[1]), np.float32)
    for row, item in zip(batch, items, strict=True):
        row[: len(item)] = item
    return torch.from_numpy(batch), torch.tensor(lengths)
