"""Nodes and arcs as they are added: rows of bytes, until an operation needs the graph."""

from __future__ import annotations

import math
from operator import index
from struct import Struct
from struct import error as NoRow
from typing import Any

import torch
from torch import Tensor

import gtnet
from gtnet.topology import Topology

_HEADER, _NODE, _ARC = Struct("4i"), Struct("2f"), Struct("4if")
_SCORES = (-math.inf, 0.0)
_NODES = tuple(_NODE.pack(start, accept) for start in _SCORES for accept in _SCORES)
_pack = _ARC.pack


class Growing:
    """The start and accept scores of nodes; source, target, labels and weight of arcs."""

    __slots__ = ("arcs", "nodes", "num_arcs", "num_nodes")

    def __init__(self) -> None:
        self.nodes, self.arcs = bytearray(), bytearray()
        self.num_nodes = self.num_arcs = 0

    @classmethod
    def from_core(cls, core: gtnet.Graph) -> Growing:
        """The rows of a graph, so that it may grow further."""
        growing = cls()
        columns = (core.source, core.target, core.ilabels, core.olabels)
        arcs = torch.stack([*columns, core.weights.view(torch.int32)], 1)
        nodes = torch.stack([core.start, core.accept], 1)
        growing.nodes, growing.arcs = (bytearray(rows.cpu().numpy()) for rows in (nodes, arcs))
        growing.num_nodes, growing.num_arcs = len(nodes), len(arcs)
        return growing

    def add_node(self, start: bool, accept: bool) -> int:
        """Add a node and return its number."""
        self.nodes += _NODES[2 * start + accept]
        self.num_nodes += 1
        return self.num_nodes - 1

    def add_arc(self, source: Any, target: Any, ilabel: Any, olabel: Any, weight: Any) -> int:
        """Add an arc and return its number.

        Raises ValueError for nodes that do not exist and labels that are none, TypeError for what
        is no integer.
        """
        nodes = self.num_nodes
        if not (0 <= source < nodes and 0 <= target < nodes and ilabel >= -1 <= olabel):
            raise self._refusal(source, target, ilabel, olabel)
        try:
            self.arcs += _pack(source, target, ilabel, olabel, weight)
        except NoRow:
            float(weight)  # raises TypeError where it is none
            raise self._refusal(source, target, ilabel, olabel) from None
        except OverflowError:
            self.arcs += _pack(source, target, ilabel, olabel, math.copysign(math.inf, weight))
        self.num_arcs += 1
        return self.num_arcs - 1

    def _refusal(self, source: Any, target: Any, ilabel: Any, olabel: Any) -> ValueError:
        for name, given in (("source", source), ("target", target)):
            if not 0 <= index(given) < self.num_nodes:
                return ValueError(
                    f"add_arc: {name} must be one of the {self.num_nodes} nodes, got {given}"
                )
        name, label = ("olabel", olabel) if -1 <= index(ilabel) < 2**31 else ("ilabel", ilabel)
        return ValueError(
            f"add_arc: {name} must be epsilon (-1) or more, below 2^31, got {index(label)}"
        )

    def packed(self) -> tuple[Tensor, Tensor]:
        """The words of what was added (csrc/core/packed_graph.h), and its weights."""
        nodes, arcs = memoryview(self.nodes).cast("i"), memoryview(self.arcs).cast("i")
        reads, writes, weights = arcs[2::5].tobytes(), arcs[3::5].tobytes(), arcs[4::5].tobytes()
        acceptor = reads == writes
        header = _HEADER.pack(self.num_nodes, self.num_arcs, acceptor, 0)
        scores = nodes[::2].tobytes(), nodes[1::2].tobytes()
        ends = arcs[::5].tobytes(), arcs[1::5].tobytes()
        labels = (reads,) if acceptor else (reads, writes)
        row = bytearray().join((header, *scores, *ends, *labels))
        words = torch.frombuffer(row, dtype=torch.int32)
        if not weights:
            return words, torch.empty(0)
        return words, torch.frombuffer(bytearray(weights), dtype=torch.float32)


def single(
    source: Tensor, target: Tensor, ilabels: Tensor, olabels: Tensor, num_nodes: int
) -> Topology:
    """The topology of one graph, from int32 columns, unchecked."""
    nodes, arcs = (
        torch.tensor([0, count], device=source.device) for count in (num_nodes, len(source))
    )
    return Topology(nodes, arcs, source, target, ilabels, olabels, num_nodes)
