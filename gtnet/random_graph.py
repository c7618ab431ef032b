"""Random automata for tests and benchmarks."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Topology


def random_graph(
    num_states: int,
    num_arcs: int,
    num_labels: int = 10,
    *,
    size: int = 1,
    acyclic: bool = True,
    transducer: bool = False,
    epsilons: float = 0.0,
    jump: int | None = None,
    generator: torch.Generator | int = 0,
    dtype: torch.dtype | None = None,
) -> Graph:
    """A batch of random automata in which every state accepts or leads on.

    State 0 starts. As long as there are enough arcs, one leads to each other state from a lower
    one, so that all are reached; the other arcs are random (`acyclic`: from lower to higher
    states). States without leaving arcs accept, and so does the last state, with score 0. Weights
    are standard normal; where the graph may be cyclic, they are minus the absolute value of that,
    minus the logarithm of the number of arcs leaving the source, minus 1, so that path sums
    converge.

    Arguments: states, arcs and labels (0 to num_labels - 1) of each graph; `size` graphs;
    `epsilons` the share of EPSILON among the labels of each side; `jump` the largest difference
    between the states of an arc of an acyclic graph; `generator` or its seed.
    Raises ValueError for a share outside [0, 1], arcs without labels or without two states
    (acyclic) to connect. Complexity: O(size · (states + arcs)).
    """
    dtype = _numbers.float_dtype(dtype)
    num_states, num_arcs, num_labels, size = (
        _checks.count("random_graph", name, value)
        for name, value in (
            ("num_states", num_states),
            ("num_arcs", num_arcs),
            ("num_labels", num_labels),
            ("size", size),
        )
    )
    least = 2 if acyclic else 1
    if num_arcs and num_states < least:
        raise ValueError(f"random_graph: arcs need {least} states, got {num_states}")
    if num_arcs and not num_labels:
        raise ValueError("random_graph: arcs need labels, got num_labels=0")
    if not 0 <= epsilons <= 1:
        raise ValueError(f"random_graph: epsilons must lie in [0, 1], got {epsilons}")
    if jump is not None and _checks.count("random_graph", "jump", jump) < 1:
        raise ValueError(f"random_graph: jump must be at least 1, got {jump}")
    _checks.countable("random_graph", "states", size * num_states)
    _checks.countable("random_graph", "arcs", size * num_arcs)
    if not isinstance(generator, torch.Generator):
        generator = torch.Generator().manual_seed(generator)
    ends = _acyclic_ends if acyclic else _any_ends
    source, target = ends(num_states, (size, num_arcs), jump, generator)

    def labels() -> Tensor:
        drawn = torch.randint(0, max(1, num_labels), (size * num_arcs,), generator=generator)
        silent = torch.rand(size * num_arcs, generator=generator) < epsilons
        return drawn.masked_fill(silent, EPSILON).int()

    ilabels = labels()
    graphs = torch.arange(size + 1)
    state = (source + graphs[:-1, None] * num_states).flatten()
    degree = torch.bincount(state, minlength=size * num_states)
    weights = torch.randn(size * num_arcs, generator=generator, dtype=dtype)
    if not acyclic:
        weights = -weights.abs() - degree[state].to(dtype).log() - 1
    place = torch.arange(num_states).repeat(size)
    nowhere = torch.full((size * num_states,), NEG_INF, dtype=dtype)
    start = nowhere.masked_fill(place == 0, 0)
    accept = nowhere.masked_fill((degree == 0) | (place == num_states - 1), 0)
    topology = Topology(
        graphs * num_states,
        graphs * num_arcs,
        source.flatten().int(),
        target.flatten().int(),
        ilabels,
        labels() if transducer else ilabels,
        size * num_states,
    )
    return Graph.from_topology(topology, weights, start, accept)


def _acyclic_ends(
    num_states: int, shape: tuple[int, int], jump: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    jump = num_states if jump is None else jump
    source = torch.randint(0, max(1, num_states - 1), shape, generator=generator)
    step = torch.rand(shape, generator=generator, dtype=torch.float64)
    target = source + 1 + (step * (num_states - 1 - source).clamp(max=jump)).long()
    tree = min(num_states - 1, shape[1]) if num_states else 0
    to = torch.arange(1, tree + 1)
    back = 1 + (step[:, :tree] * to.clamp(max=jump)).long()
    target[:, :tree] = to
    source[:, :tree] = to - back
    return source, target


def _any_ends(
    num_states: int, shape: tuple[int, int], jump: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    source, target = _acyclic_ends(num_states, shape, jump, generator)
    tree = min(num_states - 1, shape[1]) if num_states else 0
    for ends in (source, target):
        anywhere = torch.randint(0, max(1, num_states), shape, generator=generator)
        ends[:, tree:] = anywhere[:, tree:]
    return source, target
