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
        self.context = Context(config.channels[-1], config.context, config.layers, config.dropout)
        self.scores = nn.Linear(self.context.features, num_labels)

    def forward(self, steps: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        maps, frames = steps.transpose(1, 2), lengths
        for convolution, stride in zip(self.convolutions, self.config.strides, strict=True):
            maps = convolution(maps)
            frames = (frames + stride - 1) // stride
            # What lies behind a short item must look as it does where no other is longer.
            inside = torch.arange(maps.shape[2], device=maps.device) < frames[:, None]
            maps = maps * inside[:, None]
        features = self.context(maps.transpose(1, 2), frames)
        return self.scores(features).log_softmax(2), frames


class Context(nn.Module):
    """Recurrent layers over a padded batch: every frame learns of the whole line.

    `forward(frames, lengths)`: frames float [batch, frames, features], lengths int64 [batch].
    Returns float [batch, frames, features], twice `units` of them, or as many as came in where
    `units` is 0; up to the length of an item they do not depend on what lies behind. Some are
    dropped before each further layer and at the end. Raises ValueError for no layer.
    Source: Graves & Schmidhuber 2005.
    """

    def __init__(self, features: int, units: int, layers: int, dropout: float) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(
                f"Context: layers must be at least 1, got {layers}; for no recurrent layer set the"
                " units, a configuration's context, to 0"
            )
        self.features = 2 * units if units else features
        sizes = [features, *[2 * units] * (layers - 1)] if units else []
        self.layers = nn.ModuleList(_BothWays(size, units) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            frames = layer(self.dropout(frames) if number else frames, lengths)
        return self.dropout(frames)


class _BothWays(nn.Module):
    """Two recurrent layers, one from each end of every item, side by side."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.forth = nn.LSTM(features, units, batch_first=True)
        self.back = nn.LSTM(features, units, batch_first=True)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        at = torch.arange(frames.shape[1], device=frames.device)
        mirrored = (lengths[:, None] - 1 - at).clamp(min=0)[:, :, None]
        backward, _ = self.back(_gathered(frames, mirrored))
        return torch.cat([self.forth(frames)[0], _gathered(backward, mirrored)], dim=2)


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
