"""All of a graph but its weights: graphs that differ only in them, such as gradients, share it."""

from __future__ import annotations

import torch
from torch import Tensor

import gtnet
from gtnet._ops import packed
from gtnet.compat.gtn.growing import single


class Shape:
    """Nodes and arcs as words for the operators that do a function in one call, or as what gtnet's
    graphs hold; each is made of the other when it is first needed. On a GPU there are no words.
    """

    __slots__ = ("_whole", "_words")

    def __init__(self, words: Tensor | None = None, whole: gtnet.Graph | None = None) -> None:
        self._words, self._whole = words, whole

    @property
    def words(self) -> Tensor | None:
        """The packed graph (`gtnet._ops.packed`), None on a GPU."""
        if self._words is None and self._whole is not None and not self._whole.weights.is_cuda:
            core = self._whole
            columns = [core.start, core.accept, core.source, core.target, core.ilabels]
            if not core.is_acceptor:
                columns.append(core.olabels)
            self._words = packed.words_of(*(column.contiguous() for column in columns))
        return self._words

    def under(self, weights: Tensor) -> gtnet.Graph:
        """The graph with these weights."""
        core = self._whole
        if core is None:
            assert self._words is not None
            start, accept, *columns = packed.parts_of(self._words)
            source, target, ilabels, olabels, *maps = columns
            topology = single(source, target, ilabels, olabels, len(start))
            core = gtnet.Graph.from_topology(topology, weights, start, accept, arc_maps=maps)
            self._whole = core
        return gtnet.Graph.from_topology(
            core.topology, weights, core.start, core.accept, arc_maps=core.arc_maps
        )

    def num_nodes(self) -> int:
        """Nodes of the graph."""
        if self._whole is not None:
            return self._whole.num_states
        assert self._words is not None
        return packed.num_states(self._words)


def _one_arc(label: int) -> Shape:
    start = torch.tensor([0.0, -torch.inf])
    source, labels = torch.zeros(1, dtype=torch.int32), torch.full((1,), label, dtype=torch.int32)
    return Shape(packed.words_of(start, start.flip(0), source, source + 1, labels))


SCALAR = _one_arc(gtnet.EPSILON)
"""What `scalar_graph` makes: an arc between two nodes."""

SCORE = _one_arc(0)
"""The same with the label that gtn gives to scores."""
