"""Segments to scored characters: one network over all segments, one recognition graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

import gtnet
from gtnet.reader.alphabet import NUM_CLASSES

if TYPE_CHECKING:
    from gtnet.reader.segment import Segmentation


@dataclass(frozen=True)
class NetworkConfig:
    """The size of a `SegmentNetwork`.

    `channels`: feature maps of the three convolution stages; `hidden`: units of the layer before
    the scores; `dropout`: its dropout probability; `classes`: scores per segment.
    """

    channels: tuple[int, int, int] = (12, 24, 48)
    hidden: int = 96
    dropout: float = 0.2
    classes: int = NUM_CLASSES


class SegmentNetwork(nn.Module):
    """A small convolutional network that scores every class for every segment.

    `forward(images, geometry)`: images float [segments, 2, height, width] with ink 1 on paper 0,
    the segment alone and then with the ink around it; geometry float [segments, features] (where
    the segment stands in its line, and how large). Returns scores float [segments, classes]; a
    softmax over classes makes them probabilities.
    Source: LeCun, Bottou, Bengio & Haffner 1998, section II (LeNet-5), with batch normalization.
    """

    def __init__(self, image_size: tuple[int, int], features: int, config: NetworkConfig) -> None:
        super().__init__()
        first, second, third = config.channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(2, first, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 3, padding=1, bias=False),
            nn.BatchNorm2d(third),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        with torch.no_grad():
            maps = self.convolutions.eval()(torch.zeros(1, 2, *image_size)).numel()
        self.train()
        self.classifier = nn.Sequential(
            nn.Linear(maps + features, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.classes),
        )
        self.convolutions = self.convolutions.to(memory_format=torch.channels_last)  # type: ignore

    def forward(self, images: Tensor, geometry: Tensor) -> Tensor:
        maps = self.convolutions(images).flatten(1)
        return self.classifier(torch.cat([maps, geometry], dim=1))


def recognition_graph(scores: Tensor, segmentations: Sequence[Segmentation]) -> gtnet.Emissions:
    """The recognition graphs of a batch: every segment's arc carries the scores of all classes.

    `scores`: float [segments of all segmentations together, classes], in their order.
    Raises ValueError when the number of rows is not the number of segments.
    """
    segments = sum(len(segmentation) for segmentation in segmentations)
    if len(scores) != segments:
        raise ValueError(
            f"recognition_graph: scores has {len(scores)} rows, the segmentations have"
            f" {segments} segments"
        )
    graphs = gtnet.stack([segmentation.graph() for segmentation in segmentations])
    graphs = graphs.to(scores.dtype).to(scores.device)
    return gtnet.Emissions(scores, graph=graphs)


def segment_scores(
    network: nn.Module,
    segmentations: Sequence[Segmentation],
    change: Callable[[Tensor], Tensor] | None = None,
    *,
    context: bool = True,
) -> Tensor:
    """Class scores of all segments of a batch in one call, relative to rubbish, the last class.

    `change` is applied to the images [segments, 2, size, size] before they are scored; without
    `context` the second of them is the first. Returns float [segments, classes].
    """
    images, around, geometry = (
        torch.from_numpy(np.concatenate([getattr(s, name) for s in segmentations]))
        for name in ("images", "context", "geometry")
    )
    images = torch.stack([images, around if context else images], dim=1)
    weights = next(network.parameters(), images)
    padded = _padded(change(images) if change else images, geometry)
    logits = network(*(tensor.to(weights) for tensor in padded))[: len(images)]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half under autocast
    return logits - logits[:, -1:]


def _padded(*tensors: Tensor) -> list[Tensor]:
    """Tensors with blank rows added up to a multiple of 256.

    Convolutions are planned, and their plans kept in memory, for every number of rows anew.
    """
    blank = -len(tensors[0]) % 256
    return [torch.cat([t, t.new_zeros(blank, *t.shape[1:])]) for t in tensors]
