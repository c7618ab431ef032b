"""What front ends have in common whose networks are swept over whole lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gtnet.reader.augment import LOOKS, distort_lines
from gtnet.reader.configured import Configured
from gtnet.reader.line import Line, LineConfig, line_of

_COLUMNS = 4  # widths are a multiple, as those of `distort_lines`
_WIDTHS = 32  # batches are padded to a multiple: convolutions are planned for every width anew

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A random change of a batch of lines and their widths, as `distort_lines`."""


class _OfLines(Protocol):
    """A configuration that says how images become lines."""

    @property
    def line(self) -> LineConfig: ...


C = TypeVar("C", bound=_OfLines)


class LineFrontEnd(Configured[C]):
    """A front end of lines: how images become them, and how batches of them are seen."""

    looks: Sequence[Any] = LOOKS

    def observe(self, image: np.ndarray) -> Line:
        """The line of writing on an image, uint8 [height, width], dark ink on light paper."""
        return line_of(image, self.config.line)

    def change(self, strength: float) -> Change | None:
        """Another hand, pen and scanner for each line; None at strength 0."""
        return partial(distort_lines, strength=strength) if strength else None

    def scored(self, network: nn.Module, lines: Sequence[Line], change: Change | None) -> Any:
        """What a network makes of a batch of lines and their widths, after a change or none."""
        batch, widths = batch_of(lines)
        if change is not None:
            batch, widths = change(batch, widths)
        weights = next(network.parameters(), batch)
        return network(batch.to(weights), widths.to(weights.device))


def batch_of(lines: Sequence[Line]) -> tuple[Tensor, Tensor]:
    """Lines as one batch: float [batch, 1, height, width], ink 1 on paper 0, and their widths.

    Raises ValueError for lines of several heights.
    """
    heights = {line.ink.shape[0] for line in lines}
    if len(heights) != 1:
        raise ValueError(f"batch_of: a batch has lines of one height, these have {sorted(heights)}")
    widths = [-(-len(line) // _COLUMNS) * _COLUMNS for line in lines]
    wide = max(-(-max(widths) // _WIDTHS), 1) * _WIDTHS
    batch = np.zeros((len(lines), 1, heights.pop(), wide), np.uint8)
    for row, line in zip(batch, lines, strict=True):
        row[0, :, : len(line)] = line.ink
    return torch.from_numpy(batch).float() / 255, torch.tensor(widths)


def convolution(
    inputs: int,
    outputs: int,
    size: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | None = None,
    pool: tuple[int, int] | None = None,
) -> nn.Sequential:
    """A convolution, normalized over the batch and rectified, then pooled or not."""
    if padding is None:
        padding = size // 2 if isinstance(size, int) else 0
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool2d(pool)] if pool else []))
