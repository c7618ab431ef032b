"""Operators on packed graphs: one graph in one tensor, one function in one call (csrc/core/
packed_graph.h says how). They raise UncommonError for what they leave to the general ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector

compose = interruptible(operators.packed_compose.default)
forward = interruptible(operators.packed_forward.default)
best = interruptible(operators.packed_best.default)
best_path = interruptible(operators.packed_best_path.default)
remove = interruptible(operators.packed_remove.default)
project = operators.packed_project.default
linear = operators.packed_linear.default
join = operators.packed_join.default
backward = operators.packed_backward.default

UNION, CONCAT, CLOSURE = range(3)  # what `join` makes: Join in csrc/ops/cpu/packed.cpp
MAPS, SCALED, SIGNED = range(3)  # steps of `backward`: Adjoint in csrc/ops/cpu/packed_tape.cpp

_HEADER = 4


def words_of(
    start: Tensor,
    accept: Tensor,
    source: Tensor,
    target: Tensor,
    ilabels: Tensor,
    olabels: Tensor | None = None,
) -> Tensor:
    """One graph packed: float32 scores of its states, int32 columns of its arcs, no `olabels` where
    arcs write what they read.
    """
    sizes = [len(start), len(source), int(olabels is None), 0]
    columns = [source, target, ilabels] if olabels is None else [source, target, ilabels, olabels]
    scores = [start.view(torch.int32), accept.view(torch.int32)]
    return torch.cat([torch.tensor(sizes, dtype=torch.int32), *scores, *columns])


def parts_of(words: Tensor) -> list[Tensor]:
    """What `words_of` has packed, as views, `olabels` as well, and the arc maps behind it."""
    states, arcs, acceptor, maps = words[:_HEADER].tolist()
    columns = 3 if acceptor else 4
    sizes = [_HEADER, states, states, *[arcs] * (columns + maps)]
    _, start, accept, *rest = words.split(sizes)
    labels = rest[:4] if columns == 4 else [*rest[:3], rest[2]]
    return [start.view(torch.float32), accept.view(torch.float32), *labels, *rest[columns:]]


def num_states(words: Tensor) -> int:
    """States of a packed graph."""
    return int(words[0])


@fake("packed_compose")
def _(a: Tensor, a_weights: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return _new_graph(a, a_weights)


@fake("packed_best_path")
def _(graph: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    return _new_graph(graph, weights)


def _new_graph(words: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    arcs = unknown_size()
    return vector(words, unknown_size(), torch.int32), vector(weights, arcs, torch.float32)


@fake("packed_forward")
def _(graph: Tensor, weights: Tensor, learning: bool) -> tuple[Tensor, Tensor]:
    return _score(weights, learning)


@fake("packed_best")
def _(graph: Tensor, weights: Tensor, learning: bool) -> tuple[Tensor, Tensor]:
    return _score(weights, learning)


def _score(weights: Tensor, learning: bool) -> tuple[Tensor, Tensor]:
    size = len(weights) if learning else 0
    return vector(weights, 1, torch.float32), vector(weights, size, torch.float32)


@fake("packed_remove")
def _(graph: Tensor, weights: Tensor, ilabel: int, olabel: int) -> tuple[Tensor, Tensor]:
    return _new_graph(graph, weights)


@fake("packed_project")
def _(graph: Tensor, output: bool) -> Tensor:
    return vector(graph, unknown_size(), torch.int32)


@fake("packed_linear")
def _(like: Tensor, length: int, labels: int) -> Tensor:
    return vector(like, _HEADER + 2 * (length + 1) + 3 * length * labels, torch.int32)


@fake("packed_join")
def _(graphs: list[Tensor], weights: list[Tensor], kind: int) -> tuple[Tensor, Tensor]:
    return _new_graph(graphs[0], weights[0])


@fake("packed_backward")
def _(tensors: list[Tensor], seed: Tensor, plan: list[int], slots: int) -> list[Tensor]:
    return [vector(seed, unknown_size(), torch.float32) for _ in range(slots - 1)]
