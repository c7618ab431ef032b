"""What is known of automata: cyclic, deterministic, unambiguous, functional."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet._memory import choosing
from gtnet._ordinary import ordinary, ordinary_tensors
from gtnet._rewrite import arcs_on_cycles, with_arcs
from gtnet.compose import compose
from gtnet.connect import connect
from gtnet.graph import Graph, built
from gtnet.rational import invert, project
from gtnet.topology import Topology

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Properties:
    """Properties of the items of a batch, each bool [batch], computed when asked for and kept.

    Those of arcs and states are said of all that are there, as OpenFst does, whether they lie on an
    accepting path or not. Arcs of score -inf are not there.
    """

    @ordinary
    def __init__(self, topology: Topology, possible: tuple[Tensor, ...]) -> None:
        self._possible = possible
        arcs, *ends = possible
        scores = (torch.where(end, 0.0, NEG_INF) for end in ends)
        whole = Graph.from_topology(topology, torch.zeros(topology.num_arcs), *scores)
        self._graph = with_arcs(whole, arcs)

    def same(self, possible: tuple[Tensor, ...]) -> bool:
        """Whether the same arcs are there, and the same start and accept states."""
        return all(torch.equal(a, b) for a, b in zip(self._possible, possible))

    # Labels

    @cached_property
    @ordinary
    def is_acceptor(self) -> Tensor:
        """Every arc writes what it reads."""
        return self._no_arc(self._graph.ilabels != self._graph.olabels)

    @cached_property
    @ordinary
    def has_epsilons(self) -> Tensor:
        """An arc neither reads nor writes."""
        graph = self._graph
        return ~self._no_arc((graph.ilabels == EPSILON) & (graph.olabels == EPSILON))

    @cached_property
    @ordinary
    def has_input_epsilons(self) -> Tensor:
        """An arc reads nothing."""
        return ~self._no_arc(self._graph.ilabels == EPSILON)

    @cached_property
    @ordinary
    def has_output_epsilons(self) -> Tensor:
        """An arc writes nothing."""
        return ~self._no_arc(self._graph.olabels == EPSILON)

    @cached_property
    @ordinary
    def is_input_sorted(self) -> Tensor:
        """The arcs of each state lie in the order of the labels they read, as after `arc_sort`."""
        return self._sorted(self._graph.ilabels)

    @cached_property
    @ordinary
    def is_output_sorted(self) -> Tensor:
        """The arcs of each state lie in the order of the labels they write."""
        return self._sorted(self._graph.olabels)

    @cached_property
    @ordinary
    def is_deterministic(self) -> Tensor:
        """One start state at most, and no two arcs of a state that read the same (EPSILON too)."""
        return self._distinct(self._graph.topology.leaving_by_ilabel.labels)

    @cached_property
    @ordinary
    def is_output_deterministic(self) -> Tensor:
        """One start state at most, and no two arcs of a state that write the same."""
        return self._distinct(self._graph.topology.leaving_by_olabel.labels)

    # States and arcs

    @cached_property
    @ordinary
    def is_acyclic(self) -> Tensor:
        """No arc lies on a cycle."""
        return self._no_arc(arcs_on_cycles(self._graph))

    @cached_property
    @ordinary
    def is_initial_acyclic(self) -> Tensor:
        """No start state lies on a cycle."""
        starts = self._graph.start > NEG_INF
        return self._no_arc(
            arcs_on_cycles(self._graph) & starts[self._graph.topology.global_source]
        )

    @cached_property
    @ordinary
    def is_top_sorted(self) -> Tensor:
        """Every arc leads to a state of a higher number."""
        return self._no_arc(self._graph.target <= self._graph.source)

    @cached_property
    @ordinary
    def is_accessible(self) -> Tensor:
        """A path leads from the start to every state."""
        return self._every_state(self._reached)

    @cached_property
    @ordinary
    def is_coaccessible(self) -> Tensor:
        """A path leads from every state to acceptance."""
        return self._every_state(self._leading)

    @cached_property
    @ordinary
    def is_empty(self) -> Tensor:
        """There is no accepting path."""
        return ~self._any_state(self._reached & self._leading)

    @cached_property
    @ordinary
    def is_linear(self) -> Tensor:
        """All states and arcs make one path, from the only start to the only accept state."""
        topology = self._graph.topology
        ends = [
            _count(scores > NEG_INF, topology.graph_of_state, topology.num_graphs) == 1
            for scores in (self._graph.start, self._graph.accept)
        ]
        arcs, states = topology.arc_offsets.diff(), topology.state_offsets.diff()
        whole = self.is_accessible & self.is_coaccessible & self.is_acyclic
        return ends[0] & ends[1] & whole & (arcs == states - 1)

    # Paths

    @cached_property
    @ordinary
    def is_unambiguous(self) -> Tensor:
        """No two accepting paths read the same.

        O(arcs) for what is deterministic without epsilons; else the size of the product with
        itself. Source: Mohri 2009, section 5 (the square of an automaton).
        """
        found = self.is_deterministic & ~self.has_input_epsilons
        open_ = self._items(~found)
        if not bool((~found).any()):
            return found
        letters = project(open_, "input")
        square = compose(letters, letters)
        assert square.arc_maps is not None and square.state_maps is not None
        arcs, states = ((maps[0] != maps[1]) for maps in (square.arc_maps, square.state_maps))
        topology = square.topology
        twice = _count(arcs, topology.graph_of_arc, topology.num_graphs)
        twice = twice + _count(states, topology.graph_of_state, topology.num_graphs)
        return found | (twice == 0)

    @cached_property
    @ordinary
    def is_functional(self) -> Tensor:
        """All accepting paths that read the same write the same.

        O(arcs) for acceptors and what is deterministic without epsilons; else the size of the
        product with its own inverse, times the lengths by which outputs run ahead of each other.
        Source: Béal, Carton, Prieur & Sakarovitch 2003, "Squaring transducers".
        """
        found = self.is_acceptor | (self.is_deterministic & ~self.has_input_epsilons)
        if bool(found.all()):
            return found
        open_ = self._items(~found)
        square = compose(invert(open_), open_)
        return torch.tensor(
            [bool(done) or _is_identity(item) for done, item in zip(found, square)],
            dtype=torch.bool,
        )

    # How

    def _items(self, chosen: Tensor) -> Graph:
        """The useful part, without paths in the items that are not chosen."""
        others = ~chosen[self._graph.topology.graph_of_state]
        start = self._graph.start.masked_fill(others, NEG_INF)
        return connect(self._graph.with_weights(start=start))

    def _no_arc(self, marked: Tensor) -> Tensor:
        topology = self._graph.topology
        return _count(marked, topology.graph_of_arc, topology.num_graphs) == 0

    def _any_state(self, marked: Tensor) -> Tensor:
        topology = self._graph.topology
        return _count(marked, topology.graph_of_state, topology.num_graphs) > 0

    def _every_state(self, marked: Tensor) -> Tensor:
        return ~self._any_state(~marked)

    def _sorted(self, labels: Tensor) -> Tensor:
        topology = self._graph.topology
        arcs = topology.leaving.arcs.long()
        source, labels = topology.global_source[arcs], labels[arcs]
        back = (source.diff() == 0) & (labels.diff() < 0)
        owner = topology.graph_of_arc[arcs][1:]
        return _count(back, owner, topology.num_graphs) == 0

    def _distinct(self, labels: Tensor | None) -> Tensor:
        """One start state at most, and no label twice at a state, labels lying sorted by state."""
        assert labels is not None
        topology = self._graph.topology
        source = _ops.spread(topology.leaving.offsets.long(), topology.num_arcs)
        twice = (source.diff() == 0) & (labels.diff() == 0)
        owner = topology.graph_of_state[source[1:]]
        starts = _count(self._graph.start > NEG_INF, topology.graph_of_state, topology.num_graphs)
        return (_count(twice, owner, topology.num_graphs) == 0) & (starts <= 1)

    @cached_property
    @ordinary
    def _reached(self) -> Tensor:
        topology = self._graph.topology
        begin = self._graph.start > NEG_INF
        return _ops.reach(topology.state_offsets, *topology.leaving.by_state(), begin)

    @cached_property
    @ordinary
    def _leading(self) -> Tensor:
        topology = self._graph.topology
        end = self._graph.accept > NEG_INF
        return _ops.reach(topology.state_offsets, *topology.entering.by_state(), end)


_known: WeakKeyDictionary[Topology, Properties] = WeakKeyDictionary()


@choosing
def properties(graph: Graph | Lattice) -> Properties:
    """What is known of the items of a batch: `properties(g).is_acyclic`, and so on, bool [batch].

    Each is computed when it is first asked for, and kept with the topology for as long as the same
    arcs, starts and ends are possible (not -inf), so that asking in every step costs little.

    Arguments: any graph, on the cpu. Raises ValueError on a GPU. Complexity: O(states + arcs), but
    `is_unambiguous` and `is_functional`. No gradient.
    Source: OpenFst's properties (Allauzen et al. 2007).
    """
    graph = built("properties", "graph", graph)
    _checks.on_cpu("properties", "graph", graph.weights, "ask there")
    possible = ordinary_tensors(*map(_checks.possible, graph.scores))
    known = _known.get(graph.topology)
    if known is None or not known.same(possible):
        known = _known[graph.topology] = Properties(graph.topology, possible)
    return known


def _count(marked: Tensor, owner: Tensor, size: int) -> Tensor:
    """How many are marked of each owner, int64 [size]."""
    return torch.zeros(size, dtype=torch.int64).index_add(0, owner, marked.long())


def _is_identity(graph: Graph) -> bool:
    """Whether each accepting path of a trimmed graph writes what it reads.

    What one side is ahead by must be the same on all paths to a state, and nothing at an end.
    """
    leaving: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels)
    for source, target, read, written in zip(*(column.tolist() for column in columns)):
        leaving[source].append((target, read, written))
    ends = (graph.accept > NEG_INF).tolist()
    ahead: dict[int, _Ahead] = {}
    waiting: list[tuple[int, _Ahead]]
    waiting = [(s, ((), ())) for s in (graph.start > NEG_INF).nonzero().flatten().tolist()]
    while waiting:
        state, rest = waiting.pop()
        if state in ahead:
            if ahead[state] != rest:
                return False
            continue
        ahead[state] = rest
        if ends[state] and rest != ((), ()):
            return False
        for target, read, written in leaving[state]:
            further = _further(rest, read, written)
            if further is None:
                return False
            waiting.append((target, further))
    return True


_Ahead = tuple[tuple[int, ...], tuple[int, ...]]


def _further(rest: _Ahead, read: int, written: int) -> _Ahead | None:
    """What is not matched yet on each side; None where the sides differ."""
    one, other = rest
    one = one if read == EPSILON else (*one, read)
    other = other if written == EPSILON else (*other, written)
    same = min(len(one), len(other))
    return (one[same:], other[same:]) if one[:same] == other[:same] else None
