"""Graphs with failure arcs: another way, taken only where no arc reads the next label."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph


class FailureGraph:
    """A graph whose epsilon arcs are failures.

    In a state without an arc that reads the next label, the failure arc is taken and its score
    added, and again in the state where it leads; likewise at the end, in a state that does not
    accept. So of all ways to read a sequence only those remain that fail where they must: the
    exact meaning of a back-off model (`NGramModel.graph(backoff="failure")`), which epsilons only
    approximate. `beam_search` and `BeamSearch` take it as a graph of several.

    Arguments: `graph` any Graph; each state has at most one failure arc, which writes nothing, and
    no cycle is made of them. Raises TypeError or ValueError for another.
    Source: Aho & Corasick 1975; Allauzen, Mohri & Roark 2003, section 4.
    """

    def __init__(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"FailureGraph: graph must be a Graph, got {type(graph).__name__}")
        _checks.on_cpu("FailureGraph", "graph", graph.weights, "move it with .cpu()")
        self.graph = graph
        topology = graph.topology
        fails = topology.ilabels == EPSILON
        arcs = fails.nonzero().flatten()
        if bool((topology.olabels[arcs] != EPSILON).any()):
            raise ValueError("FailureGraph: a failure arc writes a label, it must write nothing")
        source = topology.global_source[arcs]
        arc_of_state = torch.full((topology.num_states,), -1)
        arc_of_state[source] = arcs
        twice = arc_of_state[source] != arcs
        if bool(twice.any()):
            state = int(source[twice][0])
            raise ValueError(f"FailureGraph: state {state} has more than one failure arc")
        self._arc = arc_of_state
        self._next = torch.arange(topology.num_states)
        self._next[source] = topology.global_target[arcs]
        self._longest = self._longest_chain()

    def __len__(self) -> int:
        """Graphs in the batch."""
        return len(self.graph)

    def __repr__(self) -> str:
        return f"FailureGraph({self.graph!r})"

    def _longest_chain(self) -> int:
        """Failures one after another at most."""
        at = torch.arange(len(self._next))
        for length in range(len(at) + 1):
            if not bool((self._arc[at] >= 0).any()):
                return length
            at = self._next[at]
        raise ValueError("FailureGraph: failure arcs form a cycle")

    def accept(self) -> Tensor:
        """The score of ending in each state, also after failures; differentiable."""
        graph, fails = self.graph, self._arc >= 0
        own = graph.accept
        ends = own
        step = _ops.take(graph.weights.contiguous(), self._arc.to(torch.int32))
        for _ in range(self._longest):
            after = step + ends[self._next]
            ends = torch.where((own == NEG_INF) & fails, after, own)
        return ends

    def before(self, states: Tensor, arcs: Tensor) -> Tensor:
        """The score of the failures from each of these states to the source of an arc.

        `states`, `arcs` [n], numbered through the batch, with arcs that failures lead to; arc -1 is
        none, and scores 0. Differentiable.
        """
        weights = self.graph.weights.contiguous()
        goal = torch.where(arcs >= 0, self.graph.topology.global_source[arcs], states)
        score = weights.new_zeros(len(states))
        for _ in range(self._longest):
            fails = torch.where(states != goal, self._arc[states], -1)
            score = score + _ops.take(weights, fails.to(torch.int32)).masked_fill(fails < 0, 0)
            states = torch.where(states != goal, self._next[states], states)
        return score
