"""Nodes and arcs as they are added: plain lists, until an operation needs the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

import gtnet
from gtnet.topology import Topology


@dataclass
class Growing:
    """The nodes' start and accept scores, and the columns of the arcs."""

    start: list[float] = field(default_factory=list)
    accept: list[float] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    ilabels: list[int] = field(default_factory=list)
    olabels: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @classmethod
    def from_core(cls, core: gtnet.Graph) -> Growing:
        """The lists of a graph, so that it may grow further."""
        scores = (core.start, core.accept)
        columns = (core.source, core.target, core.ilabels, core.olabels, core.weights)
        return cls(*(column.tolist() for column in (*scores, *columns)))

    def add_node(self, start: bool, accept: bool) -> int:
        """Add a node and return its number."""
        self.start.append(0.0 if start else -math.inf)
        self.accept.append(0.0 if accept else -math.inf)
        return len(self.start) - 1

    def add_arc(self, source: int, target: int, ilabel: int, olabel: int, weight: float) -> int:
        """Add an arc and return its number.

        Raises ValueError for nodes that do not exist and labels that are none.
        """
        for name, node in (("source", source), ("target", target)):
            if not 0 <= node < len(self.start):
                raise ValueError(
                    f"add_arc: {name} must be one of the {len(self.start)} nodes, got {node}"
                )
        for name, label in (("ilabel", ilabel), ("olabel", olabel)):
            if not gtnet.EPSILON <= label < 2**31:
                raise ValueError(
                    f"add_arc: {name} must be epsilon (-1) or more, below 2^31, got {label}"
                )
        self.source.append(source)
        self.target.append(target)
        self.ilabels.append(ilabel)
        self.olabels.append(olabel)
        self.weights.append(weight)
        return len(self.source) - 1

    def core(self) -> gtnet.Graph:
        """The graph of what was added, float32."""
        reads = torch.tensor(self.ilabels, dtype=torch.int32)
        acceptor = self.ilabels == self.olabels
        topology = single(
            torch.tensor(self.source, dtype=torch.int32),
            torch.tensor(self.target, dtype=torch.int32),
            reads,
            reads if acceptor else torch.tensor(self.olabels, dtype=torch.int32),
            len(self.start),
        )
        weights, start, accept = (
            torch.tensor(scores, dtype=torch.float32)
            for scores in (self.weights, self.start, self.accept)
        )
        return gtnet.Graph.from_topology(topology, weights, start, accept)


def single(
    source: torch.Tensor,
    target: torch.Tensor,
    ilabels: torch.Tensor,
    olabels: torch.Tensor,
    num_nodes: int,
) -> Topology:
    """The topology of one graph, from int32 columns, unchecked."""
    nodes, arcs = (
        torch.tensor([0, count], device=source.device) for count in (num_nodes, len(source))
    )
    return Topology(nodes, arcs, source, target, ilabels, olabels, num_nodes)
