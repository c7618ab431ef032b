"""Data sets as a front end observes them, remembered or changed anew for every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gtnet.reader.augment import distort
from gtnet.reader.data import Dataset
from gtnet.reader.segment import SegmentConfig, segment

T = TypeVar("T")

MEMORY = 512 * 2**20
"""Bytes of observations that a data set remembers: some thousand images cut into segments."""


def _bytes(observation: Any) -> int:
    """The memory that the arrays of an observation take, about."""
    parts = vars(observation).values() if hasattr(observation, "__dict__") else [observation]
    return 1024 + sum(int(getattr(part, "nbytes", 0)) for part in parts)


class Observed:
    """A data set whose images are observed: item (epoch, i) is an observation and the true answer.

    Arguments: `observe` of a front end; `memory`, bytes of observations that are remembered at
    most. Without distortion every image is observed once and remembered while there is room, and
    else each time; with it, image i is distorted anew each epoch, by (seed, epoch, i) alone, so
    that worker processes change nothing.
    """

    def __init__(
        self,
        data: Dataset,
        observe: Callable[[np.ndarray], Any],
        *,
        distortion: float = 0.0,
        seed: int = 0,
        memory: int = MEMORY,
    ) -> None:
        self.data, self.observe, self.distortion, self.seed = data, observe, distortion, seed
        self._cache: dict[int, tuple[Any, str]] = {}
        self._room = memory

    def __len__(self) -> int:
        """Number of images."""
        return len(self.data)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, str]:
        epoch, index = key
        if index in self._cache:
            return self._cache[index]
        image, truth = self.data[index]
        if self.distortion:
            rng = np.random.default_rng([self.seed, epoch, index])
            return self.observe(distort(image, rng, self.distortion)), truth
        item = self.observe(image), truth
        self.remember(index, item)
        return item

    def knows(self, index: int) -> bool:
        """Whether an observation is remembered."""
        return index in self._cache

    def remember(self, index: int, item: tuple[Any, str]) -> None:
        """Keep an observation that another process made, while there is room."""
        if not self.distortion and index not in self._cache and self._room > 0:
            self._room -= _bytes(item[0])
            self._cache[index] = item

    def batches(
        self, order: Sequence[int], batch_size: int, *, epoch: int = 0, workers: int = 0
    ) -> Iterator[list[tuple[Any, str]]]:
        """The items of `order` in batches, observed in `workers` processes unless remembered."""
        indexes = [int(index) for index in order]
        starts = range(0, len(indexes), batch_size)
        groups = [indexes[first : first + batch_size] for first in starts]
        return self.groups(groups, epoch=epoch, workers=workers)

    def groups(
        self, groups: Sequence[Sequence[int]], *, epoch: int = 0, workers: int = 0
    ) -> Iterator[list[tuple[Any, str]]]:
        """The items of each group of indexes, observed as in `batches`; a group may be empty."""
        keys = [[(epoch, index) for index in group] for group in groups]
        remembered = all(index in self._cache for group in groups for index in group)
        loader: DataLoader[Any] = DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=keys,
            collate_fn=list,
            num_workers=0 if remembered else workers,
        )
        for batch, group in zip(loader, groups, strict=True):
            for index, item in zip(group, batch, strict=True):
                self.remember(index, item)
            yield batch


def fetched(
    item: Callable[[Any], T], groups: Sequence[Sequence[Any]], workers: int
) -> Iterator[list[T]]:
    """`item` of each key of each group, in order, by worker processes that are two groups ahead."""
    if not workers:
        yield from ([item(key) for key in group] for group in groups)
        return
    yield from DataLoader(
        _Keyed(item),
        batch_sampler=list(map(list, groups)),
        collate_fn=list,
        num_workers=workers,
        generator=torch.Generator(),  # or it would draw from the numbers of the training
    )


class _Keyed(TorchDataset):
    def __init__(self, item: Callable[[Any], Any]) -> None:
        self.item = item

    def __getitem__(self, key: Any) -> Any:
        return self.item(key)


class Segmented(Observed):
    """`Observed` by cutting images as a `SegmentConfig` says."""

    def __init__(
        self, data: Dataset, config: SegmentConfig, *, distortion: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(data, _Cut(config), distortion=distortion, seed=seed)


class _Cut:
    """`segment` under one configuration, as an object that goes to worker processes."""

    def __init__(self, config: SegmentConfig) -> None:
        self.config = config

    def __call__(self, image: np.ndarray) -> Any:
        return segment(image, self.config)
