"""Where to cut ink that holds together: the cheapest slanted seams from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

STRAY = 0.2
"""Cost of a seam that runs one pixel off its straight line from top to bottom, ink pixels."""

TURN = 0.1
"""Cost of each step to a neighbouring column, ink pixels."""

FLAT = 0.35
"""A component lower than this share of the body is a dash or a dot: cut only if too wide."""


@dataclass(frozen=True)
class SeamLimits:
    """Which seams are taken. Lengths are pixels, shares are of a component's height.

    Attributes:
        body: height of the line's body; a component counts as 0.6 to 1 of it.
        cost: dearest seam taken on its own merit, ink crossed.
        distance: least distance of two seams, as a share.
        edge: least distance of a seam from either end of its component, as a share.
        width: a piece wider than this share is cut at its cheapest place whatever it costs.
        reach: how far a seam may stray from its straight slanted line.
        most: number of seams in all; the dearest are dropped.
    """

    body: float
    cost: float
    distance: float
    edge: float
    width: float
    reach: int
    most: int


def find_seams(crops: Sequence[np.ndarray], slant: float, limits: SeamLimits) -> list[np.ndarray]:
    """The seams that cut each of several connected components.

    Args:
        crops: float32 [height, width] each, the ink of one component, 0 elsewhere.
        slant: columns a stroke moves right per row upwards.
        limits: which seams to take.

    Returns:
        For every component, int [seams, height], sorted: the column of each seam in each row; a
        pixel lies behind a seam if its column is greater.

    Complexity: time and memory linear in (rows of the highest component) * (sum of widths) *
        (2 reach + 1).
    """
    table = _Table(crops, slant, limits.reach)
    costs = [table.costs(i) for i in range(len(crops))]
    taken = [_choose(cost, crop.shape, limits) for cost, crop in zip(costs, crops, strict=True)]
    price = np.sort([c[x] for c, places in zip(costs, taken, strict=True) for x in places])
    if len(price) > limits.most:
        bound = price[limits.most - 1] if limits.most > 0 else -1.0
        taken = [[x for x in t if c[x] < bound] for c, t in zip(costs, taken, strict=True)]
    return table.trace(taken)


class _Table:
    """Costs of all seams of all components, from one sweep over the rows.

    Components stand side by side on a strip, parted by blank columns. A seam belongs to a column
    of the strip and may stray at most `reach` from the slanted line through that column's middle.
    """

    def __init__(self, crops: Sequence[np.ndarray], slant: float, reach: int) -> None:
        self.crops, self.reach = crops, reach
        self.height = max(crop.shape[0] for crop in crops)
        self.lean = int(np.ceil(abs(slant) * self.height / 2)) + reach + 1
        widths = np.array([crop.shape[1] for crop in crops])
        self.first = np.concatenate([[0], np.cumsum(widths + self.lean)])
        self.shift = np.rint(slant * (self.height / 2 - np.arange(self.height))).astype(int)
        self.best = self._sweep()

    def _top(self, component: int) -> int:
        return (self.height - self.crops[component].shape[0]) // 2

    def _strip(self) -> np.ndarray:
        strip = np.zeros((self.height, int(self.first[-1]) + 2 * self.lean), np.float32)
        for i, crop in enumerate(self.crops):
            top, left = self._top(i), self.first[i] + self.lean
            strip[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return strip

    def _sweep(self) -> np.ndarray:
        """float32 [height, columns, 2 reach + 1]: cost of the best seam down to each place."""
        size, columns = 2 * self.reach + 1, int(self.first[-1])
        windows = sliding_window_view(self._strip(), size, axis=1)
        table = np.empty((self.height, columns, size), np.float32)
        stray = np.abs(np.arange(-self.reach, self.reach + 1)) * np.float32(STRAY / self.height)
        above = np.zeros((columns, size), np.float32)
        best = np.empty_like(above)
        for row in range(self.height):
            np.add(above, stray.astype(np.float32), out=best)
            np.minimum(best[:, 1:], above[:, :-1] + np.float32(TURN), out=best[:, 1:])
            np.minimum(best[:, :-1], above[:, 1:] + np.float32(TURN), out=best[:, :-1])
            left = self.lean + self.shift[row] - self.reach
            above = np.add(best, windows[row, left : left + columns], out=table[row])
        return table

    def costs(self, component: int) -> np.ndarray:
        """float32 [width]: cost of the seam of each column of a component."""
        first, width = self.first[component], self.crops[component].shape[1]
        return self.best[-1, first : first + width].min(axis=1)

    def trace(self, taken: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """The columns, row by row, of the seams of these columns of each component."""
        counts = [len(places) for places in taken]
        own = np.array([x for places in taken for x in places], int)
        column = own + np.repeat(self.first[:-1], counts)
        paths = np.empty((self.height, len(own)), int)
        place = np.argmin(self.best[-1, column], axis=1)
        steps, price = np.array([[-1, 0, 1]]), np.array([[TURN, 0, TURN]], np.float32)
        for row in range(self.height - 1, -1, -1):
            paths[row] = own + self.shift[row] + place - self.reach
            if row:
                near = np.clip(place[:, None] + steps, 0, 2 * self.reach)
                value = self.best[row - 1, column[:, None], near] + price
                place = near[np.arange(len(own)), np.argmin(value, axis=1)]
        parts = np.split(paths.T, np.cumsum(counts)[:-1])
        tops = [self._top(i) for i in range(len(self.crops))]
        return [
            part[:, top : top + crop.shape[0]]
            for part, top, crop in zip(parts, tops, self.crops, strict=True)
        ]


def _choose(cost: np.ndarray, shape: tuple[int, ...], limits: SeamLimits) -> list[int]:
    """Columns of the seams taken: local minima of the cost, cheapest first, well apart."""
    height, width = shape
    if height < FLAT * limits.body:
        return _force(cost, [], limits.width * limits.body)
    body = float(np.clip(height, 0.6 * limits.body, limits.body))
    distance, edge = max(2, round(limits.distance * body)), max(2, round(limits.edge * body))
    around = ndimage.minimum_filter1d(cost, 3, mode="nearest")
    around[:edge] = around[max(width - edge + 1, 0) :] = -1
    minima = np.flatnonzero((cost <= around) & (cost <= limits.cost))
    taken: list[int] = []
    for x in minima[np.argsort(cost[minima], kind="stable")].tolist():
        if all(abs(x - other) >= distance for other in taken):
            taken.append(x)
    return _force(cost, sorted(taken), limits.width * body)


def _force(cost: np.ndarray, taken: list[int], limit: float) -> list[int]:
    """The seams, and one more through every piece wider than the limit, where it is cheapest."""
    result = list(taken)
    todo = list(zip([0, *taken], [*taken, len(cost)], strict=True))
    while todo:
        left, right = todo.pop()
        if right - left <= max(limit, 3):
            continue
        quarter = max(1, (right - left) // 4)
        middle = left + quarter + int(np.argmin(cost[left + quarter : right - quarter]))
        result.append(middle)
        todo += [(left, middle), (middle, right)]
    return sorted(result)
