"""Arcs that write without reading, folded into the arcs before which they write."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtnet._checks import EPSILON, NEG_INF
from gtnet._maps import traced
from gtnet._rewrite import Semiring, with_arcs
from gtnet.connect import connect
from gtnet.graph import Graph
from gtnet.remove_epsilon import Pairs, attached, closure


class Written(NamedTuple):
    """The strings that arcs write, and those written where paths end: offsets and labels."""

    begin: Tensor  # int64 [arcs + 1]
    labels: Tensor  # int32
    ending_begin: Tensor  # int64 [states + 1]
    endings: Tensor  # int32


class NotFunctionalError(ValueError):
    """Two paths that read the same reach `state`, or end there, and write different strings."""

    def __init__(self, state: int) -> None:
        super().__init__(state)
        self.state = state


def folded(function: str, graph: Graph, semiring: Semiring, max_arcs: int) -> tuple[Graph, Written]:
    """A trimmed graph in which every arc reads, and what its arcs and ends write.

    Raises NotFunctionalError for a state in which paths that read nothing write two strings.
    """
    silent = graph.ilabels == EPSILON
    if not bool(silent.any()):
        return graph, _of_arcs(graph)
    loud, mute = with_arcs(graph, ~silent), with_arcs(graph, silent)
    if mute.topology.is_cyclic:  # each round writes more, and every state leads to an end
        _, on_cycle = mute.topology.order_and_cycles
        raise NotFunctionalError(int(on_cycle[on_cycle >= 0][0]))
    pairs = Pairs(function, loud, mute, max_arcs)
    sums = closure(function, mute, pairs, semiring)
    tree, node = _strings(mute, pairs)
    ending = _endings(tree, node, pairs, graph)
    whole, pair_of_arc = attached(function, loud, pairs, sums, semiring, max_arcs)
    kept = connect(whole)
    assert kept.arc_maps is not None and kept.state_maps is not None
    of_arc = pair_of_arc[kept.arc_maps[0].long()].tolist()
    before = [tree.labels(node[pair]) for pair in of_arc]
    own = [[label] if label != EPSILON else [] for label in kept.olabels.tolist()]
    begin, labels = _ragged([a + b for a, b in zip(before, own)])
    states = kept.state_maps[0].tolist()
    written = Written(begin, labels, *_ragged([ending.get(state, []) for state in states]))
    return traced(kept, whole), written


def _of_arcs(graph: Graph) -> Written:
    """Each arc its own label, nothing at the end."""
    writes = graph.olabels != EPSILON
    zero = torch.zeros(1, dtype=torch.int64)
    return Written(
        torch.cat([zero, writes.cumsum(0)]),
        graph.olabels[writes].contiguous(),
        zero.repeat(graph.num_states + 1),
        graph.olabels.new_empty(0),
    )


class _Tree:
    """Strings as nodes of a tree: equal strings are one node."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}
        self._parent, self._label = [0], [EPSILON]

    def longer(self, node: int, label: int) -> int:
        found = self._children.setdefault((node, label), len(self._parent))
        if found == len(self._parent):
            self._parent.append(node)
            self._label.append(label)
        return found

    def labels(self, node: int) -> list[int]:
        found = []
        while node:
            found.append(self._label[node])
            node = self._parent[node]
        return found[::-1]


def _strings(mute: Graph, pairs: Pairs) -> tuple[_Tree, list[int]]:
    """What is written on the way from the source of each pair to its state."""
    tree, node = _Tree(), [-1] * len(pairs.state)
    for first in pairs.copies.state_offsets[:-1].tolist():
        node[first] = 0
    offsets, arcs, sources = (part.tolist() for part in pairs.copies.entering.by_state())
    label = mute.olabels[pairs.arcs.long()].tolist()
    for place in pairs.copies.order_and_cycles[0].tolist():
        for k in range(offsets[place], offsets[place + 1]):
            found = tree.longer(node[sources[k]], label[arcs[k]])
            if node[place] not in (-1, found):
                raise NotFunctionalError(int(pairs.state[place]))
            node[place] = found
    return tree, node


def _endings(tree: _Tree, node: list[int], pairs: Pairs, graph: Graph) -> dict[int, list[int]]:
    """What is written after the last label is read in a state, where a path may end there."""
    ends = (graph.accept.detach()[pairs.state] > NEG_INF).nonzero().flatten()
    found: dict[int, int] = {}
    for place, source in zip(ends.tolist(), pairs.source[ends].tolist()):
        if found.setdefault(source, node[place]) != node[place]:
            raise NotFunctionalError(source)
    return {state: tree.labels(end) for state, end in found.items()}


def _ragged(strings: list[list[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([0, *map(len, strings)], dtype=torch.int64)
    labels = [label for string in strings for label in string]
    return lengths.cumsum(0), torch.tensor(labels, dtype=torch.int32)
