"""Attributes of arcs and states that follow them through operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import named
from gtnet.graph import Graph, built
from gtnet.topology import runs

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Ragged(NamedTuple):
    """Rows of any lengths: row i is values[offsets[i] : offsets[i + 1]], offsets int64."""

    values: Tensor
    offsets: Tensor


Values = TypeVar("Values", Tensor, Ragged)


@named
def carry(
    graph: Graph | Lattice,
    values: Values,
    *,
    operand: int = 0,
    of: Literal["arcs", "states"] = "arcs",
    fill: float = 0,
) -> Values:
    """What each arc or state of a result inherits of those that it came from.

    Times, words, features, anything: what `arc_maps` and `state_maps` name, looked up. Where an
    operation merges arcs, its maps name one of them, and that one counts.

    Arguments: `graph`, the result of an operation with maps; `values` of the operand's arcs or
    states: a tensor [arcs, ...] of any dtype, or `Ragged` rows; `operand` which of several operands
    they belong to; `fill` what the arcs get that came from nowhere, or from others.
    Result: of the same kind, for the arcs or states of `graph`; `Ragged` rows from nowhere are
    empty. Raises ValueError for a graph without such maps, for an operand that it does not have,
    and for too few values. Complexity: O(result). A GPU waits once, of `Ragged` values twice.
    Gradient: that of a gather; any number of derivatives.
    Source: k2's attributes of Fsa ("any tensor attribute is propagated").
    """
    graph = built("carry", "graph", graph)
    if of not in ("arcs", "states"):
        raise ValueError(f'carry: of must be "arcs" or "states", got {of!r}')
    maps = graph.arc_maps if of == "arcs" else graph.state_maps
    if maps is None:
        kind = "arc_maps" if of == "arcs" else "state_maps"
        raise ValueError(
            f"carry: graph has no {kind}: it is no result of an operation that keeps them"
        )
    operand = _checks.count("carry", "operand", operand)
    if operand >= len(maps):
        raise ValueError(
            f"carry: operand must be one of {len(maps)}, counted from 0, got {operand}"
        )
    index = maps[operand].long()
    offsets = values.offsets if isinstance(values, Ragged) else None
    rows = len(values) if offsets is None else len(offsets) - 1
    last = int(index.max()) if len(index) else -1
    if last >= rows:
        raise ValueError(
            f"carry: values has {rows} rows, graph came from {of} up to number {last}: give a row "
            f"for each of the operand's {of}"
        )
    nowhere = index < 0
    if isinstance(values, Ragged):
        lengths = torch.cat([values.offsets.diff(), index.new_zeros(1)])[index]  # [-1] has none
        begin = values.offsets[index.clamp(min=0)]
        taken = values.values[runs(begin, lengths)]
        return Ragged(taken, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
    if not rows:
        return values.new_full((len(index), *values.shape[1:]), fill)
    taken = values[index.clamp(min=0)]
    return taken.masked_fill(nowhere.view(-1, *[1] * (values.ndim - 1)), fill)
