"""Nodes and arcs as they are added: plain columns, until an operation needs the graph."""

from __future__ import annotations

import math
from array import array

import torch
from torch import Tensor

import gtnet
from gtnet.topology import Topology

_LABELS = 2**31


class Growing:
    """The nodes' start and accept scores, and the columns of the arcs."""

    __slots__ = ("accept", "ilabels", "olabels", "source", "start", "target", "weights")

    def __init__(self) -> None:
        self.start, self.accept, self.weights = array("f"), array("f"), array("f")
        self.source, self.target = array("i"), array("i")
        self.ilabels, self.olabels = array("i"), array("i")

    @classmethod
    def from_core(cls, core: gtnet.Graph) -> Growing:
        """The columns of a graph, so that it may grow further."""
        growing = cls()
        for name in cls.__slots__:
            getattr(growing, name).extend(getattr(core, name).tolist())
        return growing

    def add_node(self, start: bool, accept: bool) -> int:
        """Add a node and return its number."""
        self.start.append(0.0 if start else -math.inf)
        self.accept.append(0.0 if accept else -math.inf)
        return len(self.start) - 1

    def add_arc(self, source: int, target: int, ilabel: int, olabel: int, weight: float) -> int:
        """Add an arc and return its number.

        Raises ValueError for nodes that do not exist and labels that are none.
        """
        nodes = len(self.start)
        if not (0 <= source < nodes and 0 <= target < nodes):
            name, node = ("source", source) if not 0 <= source < nodes else ("target", target)
            raise ValueError(f"add_arc: {name} must be one of the {nodes} nodes, got {node}")
        if not (-1 <= ilabel < _LABELS and -1 <= olabel < _LABELS):
            name, label = ("olabel", olabel) if -1 <= ilabel < _LABELS else ("ilabel", ilabel)
            raise ValueError(
                f"add_arc: {name} must be epsilon (-1) or more, below 2^31, got {label}"
            )
        self.weights.append(weight)
        self.source.append(source)
        self.target.append(target)
        self.ilabels.append(ilabel)
        self.olabels.append(olabel)
        return len(self.source) - 1

    def packed(self) -> tuple[Tensor, Tensor]:
        """The words of what was added (csrc/core/packed_graph.h), and its weights."""
        acceptor = self.ilabels.tobytes() == self.olabels.tobytes()
        header = array("i", (len(self.start), len(self.source), acceptor, 0))
        columns = [header, self.start, self.accept, self.source, self.target, self.ilabels]
        if not acceptor:
            columns.append(self.olabels)
        words = torch.frombuffer(bytearray(b"".join(columns)), dtype=torch.int32)
        if not self.weights:
            return words, torch.empty(0)
        return words, torch.frombuffer(bytearray(self.weights), dtype=torch.float32)


def single(
    source: Tensor, target: Tensor, ilabels: Tensor, olabels: Tensor, num_nodes: int
) -> Topology:
    """The topology of one graph, from int32 columns, unchecked."""
    nodes, arcs = (
        torch.tensor([0, count], device=source.device) for count in (num_nodes, len(source))
    )
    return Topology(nodes, arcs, source, target, ilabels, olabels, num_nodes)
