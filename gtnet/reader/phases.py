"""The phases of training a reader: what an epoch is made of, and the loss of its batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import gtnet
from gtnet.reader.augment import jitter
from gtnet.reader.data import Characters
from gtnet.reader.observed import Observed, fetched
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.segment import SegmentConfig, normalize_character
from gtnet.reader.share import Share

PHASES = {
    "isolated": "isolated characters",
    "strings": "made-up strings",
    "whole": "global training",
}
"""What the phases are called in pictures and tables."""


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training.

    `epochs`: passes over its data; `rate`: highest learning rate; `batch_size`: characters or
    images a step; `jitter`: strength of the random affine change of every segment image, 0 for
    none, 1 for about 10 degrees; `distort`: strength of the random change of whole images
    before they are cut (second phase of segments), or of lines (both phases of a network over
    lines), 0 for none; `made_up`: lines an epoch has that nobody wrote (a network over lines).
    """

    epochs: int
    rate: float
    batch_size: int
    jitter: float = 0.0
    distort: float = 0.0
    made_up: int = 0


@dataclass(frozen=True)
class Examples:
    """Isolated characters as the network sees them.

    `images` float32 [characters, 2, size, size], both the character alone; `geometry` float32
    [characters, features], `classes` int64 [characters].
    """

    images: Tensor
    geometry: Tensor
    classes: Tensor

    def __len__(self) -> int:
        """Number of characters."""
        return len(self.classes)


def examples(characters: Sequence[Characters], config: SegmentConfig) -> Examples:
    """Several sets of isolated characters, each scaled and measured as a segment is."""
    pairs = [
        normalize_character(image, line, config)
        for part in characters
        for image, line in zip(part.images, part.lines, strict=True)
    ]
    return Examples(
        torch.from_numpy(np.stack([(image, image) for image, _ in pairs])),
        torch.from_numpy(np.stack([geometry for _, geometry in pairs])),
        torch.from_numpy(np.concatenate([part.classes for part in characters])),
    )


class Phase:
    """One phase of training: its settings, the size of an epoch, its batches and their losses."""

    def __init__(self, name: str, config: PhaseConfig, size: int) -> None:
        self.name, self.config, self.size = name, config, size

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return math.ceil(self.size / self.config.batch_size)

    def order(self) -> Tensor:
        """The order of its items in the next epoch."""
        return torch.randperm(self.size)

    def prepare(self) -> None:
        """Put the reader in the state in which this phase trains it."""
        raise NotImplementedError

    def batches(self, epoch: int, order: Tensor, share: Share) -> Iterator[list[Sequence[Any]]]:
        """For each batch of the order: the micro-batches of it that this process works on."""
        raise NotImplementedError

    def loss(self, items: Sequence[Any]) -> Tensor:
        """The loss of each item of a micro-batch, +inf where its truth has no path."""
        raise NotImplementedError


class IsolatedPhase(Phase):
    """Cross-entropy on isolated characters."""

    def __init__(self, reader: Recognizer, config: PhaseConfig, data: Examples) -> None:
        super().__init__("isolated", config, len(data))
        self.reader, self.data = reader, data

    def prepare(self) -> None:
        """Isolated characters have nothing around them."""
        self.reader.train()
        self.reader.see_context(False)

    def batches(self, epoch: int, order: Tensor, share: Share) -> Iterator[list[Sequence[Any]]]:
        for chosen in order.split(self.config.batch_size):
            yield share.mine(chosen.tolist())

    def loss(self, items: Sequence[Any]) -> Tensor:
        chosen = torch.tensor(items)
        images = self.data.images[chosen]
        if self.config.jitter:
            images = jitter(images, self.config.jitter)
        logits = self.reader.network(images, self.data.geometry[chosen])
        return functional.cross_entropy(logits, self.data.classes[chosen], reduction="none")


class WholePhase(Phase):
    """A loss of interpretation graphs on whole amounts; segments carry no labels."""

    def __init__(
        self,
        reader: Recognizer,
        config: PhaseConfig,
        data: Observed | None,
        *,
        workers: int,
        pretrained: bool,
        loss: str,
    ) -> None:
        super().__init__("whole", config, 0 if data is None else len(data))
        self.criterion = gtnet.losses.by_name(loss)
        self.reader, self.data = reader, data
        self.workers, self.pretrained = workers, pretrained

    def prepare(self) -> None:
        """Batch normalization keeps the statistics of the first phase, if there was one.

        The segments of a few images are too much alike for statistics of their own.
        """
        self.reader.train()
        self.reader.see_context(True)
        for module in self.reader.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(not self.pretrained)

    def batches(self, epoch: int, order: Tensor, share: Share) -> Iterator[list[Sequence[Any]]]:
        groups = [
            piece
            for chosen in order.split(self.config.batch_size)
            for piece in share.mine(chosen.tolist())
        ]
        assert self.data is not None
        found = self.data.groups(groups, epoch=epoch, workers=self.workers)
        for _ in range(self.steps):
            yield list(islice(found, len(share.own)))

    def loss(self, items: Sequence[Any]) -> Tensor:
        segmentations, truth = zip(*items, strict=True)
        change = self.reader.front_end.change(self.config.jitter)
        return self.reader.loss(segmentations, truth, change, criterion=self.criterion)


class LinePhase(Phase):
    """A loss of interpretation graphs on lines: written ones, made-up ones, or some of each.

    An epoch has every written line and `made_up` further ones, the next ones of that data set.
    Lines of like widths share a batch, so that convolutions see little empty paper.
    """

    def __init__(
        self,
        name: str,
        reader: Recognizer,
        config: PhaseConfig,
        written: Observed | None,
        made_up: Observed | None,
        *,
        loss: str,
        workers: int = 0,
    ) -> None:
        self.extra = config.made_up if made_up is not None else 0
        self.real = 0 if written is None else len(written)
        super().__init__(name, config, self.real + self.extra)
        self.reader, self.written, self.made_up = reader, written, made_up
        self.workers = workers
        self.criterion = gtnet.losses.by_name(loss)

    def prepare(self) -> None:
        self.reader.train()

    def batches(self, epoch: int, order: Tensor, share: Share) -> Iterator[list[Sequence[Any]]]:
        size = self.config.batch_size
        windows = order.split(8 * size)
        # Each share of a window is sorted alone: nobody observes the lines of another.
        groups = [share.mine(window.tolist()) for window in windows]
        found = self._observed(epoch, [mine for group in groups for mine in group])
        for window in windows:
            starts = range(0, len(window), size)
            shares = [sorted(next(found), key=lambda item: len(item[0])) for _ in share.own]
            long = [math.ceil(size * len(mine) / len(window)) for mine in shares]
            for number in torch.randperm(len(starts)).tolist():
                yield [
                    mine[number * length : (number + 1) * length]
                    for mine, length in zip(shares, long)
                ]

    def _observed(
        self, epoch: int, groups: Sequence[Sequence[int]]
    ) -> Iterator[list[tuple[Any, str]]]:
        keys = [[self._place(epoch, index) for index in group] for group in groups]
        new = any(not data.knows(index) for group in keys for data, index in group)
        places = [[(data is self.written, epoch, i) for data, i in group] for group in keys]
        found = fetched(self._item, places, self.workers if new else 0)
        for group, items in zip(keys, found, strict=True):
            for (data, index), item in zip(group, items, strict=True):
                data.remember(index, item)
            yield items

    def loss(self, items: Sequence[Any]) -> Tensor:
        lines, truth = zip(*items, strict=True)
        change = self.reader.front_end.change(self.config.distort)
        return self.reader.loss(lines, truth, change, criterion=self.criterion)

    def _place(self, epoch: int, index: int) -> tuple[Observed, int]:
        """The data set that an item of an epoch comes from, and where it is there."""
        if index < self.real:
            assert self.written is not None
            return self.written, index
        assert self.made_up is not None
        return self.made_up, (epoch * self.extra + index - self.real) % len(self.made_up)

    def _item(self, key: tuple[bool, int, int]) -> tuple[Any, str]:
        written, epoch, index = key
        data = self.written if written else self.made_up
        assert data is not None
        return data[epoch, index]
