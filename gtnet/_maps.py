"""Where the arcs and states of a rewritten graph come from when it has many operands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from gtnet._ordinary import ordinary_tensors

if TYPE_CHECKING:
    from gtnet.graph import Graph


class Origins(Sequence[Tensor]):
    """A map to each of several operands, made on demand: together they take the memory of one.

    Arguments: `place` int32, where each item comes from among those of all operands put end to end,
    -1 for nowhere; `sizes` how many each operand has. Map k is -1 on what comes from others.
    """

    def __init__(self, place: Tensor, sizes: Sequence[int]) -> None:
        (self._place,) = ordinary_tensors(place)
        self._ends = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...
    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        if isinstance(index, slice):
            return tuple(self[k] for k in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"maps: index {index} of {len(self)} operands")
        begin, end = self._ends[index % len(self)], self._ends[index % len(self) + 1]
        inside = (self._place >= begin) & (self._place < end)
        (found,) = ordinary_tensors(torch.where(inside, self._place - begin, -1))
        return found

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))

    def each(self, change: Callable[[Tensor], Tensor]) -> Origins:
        """The maps after `change`, such as a selection of the items or a move to another device."""
        other = Origins(change(self._place), ())
        other._ends = self._ends
        return other


def origins(place: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """`Origins`, or the only map there is."""
    return (place,) if len(sizes) == 1 else Origins(place, sizes)


def each_map(
    maps: Sequence[Tensor] | None, change: Callable[[Tensor], Tensor]
) -> Sequence[Tensor] | None:
    """All maps after the same change."""
    if isinstance(maps, Origins):
        return maps.each(change)
    return maps and tuple(change(one) for one in maps)


def traced(graph: Graph, before: Graph) -> Graph:
    """`graph`, which was made from `before`, with the maps back to what `before` was made from."""
    if before.arc_maps is not None and graph.arc_maps is not None:
        maps = (_through(graph.arc_maps[0], old) for old in before.arc_maps)
        graph.arc_maps = ordinary_tensors(*maps)
    if before.state_maps is not None and graph.state_maps is not None:
        maps = (_through(graph.state_maps[0], old) for old in before.state_maps)
        graph.state_maps = ordinary_tensors(*maps)
    return graph


def _through(new: Tensor, old: Tensor) -> Tensor:
    if not len(old):
        return new
    return torch.where(new >= 0, old[new.clamp(min=0).long()], new)
