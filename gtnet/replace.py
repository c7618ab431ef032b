"""Recursive transition networks: arcs that call other graphs, expanded into one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, MAX_ARCS, NEG_INF
from gtnet._maps import origins
from gtnet._memory import named
from gtnet.connect import connect
from gtnet.graph import Graph
from gtnet.rational import broadcast
from gtnet.topology import Topology, runs

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def replace(
    root: Graph | Lattice, rules: Mapping[int, Graph | Lattice], *, max_arcs: int = MAX_ARCS
) -> Graph:
    """`root` with every arc that writes a nonterminal replaced by a copy of the graph it stands
    for, again and again until no nonterminal is left.

    An epsilon, the call, leads from the source of the arc to the start of the copy; another, the
    return, leads from the end of the copy to the target of the arc. The call carries the scores of
    the arc and of the start, and still reads what the arc reads if that is a different label. The
    return carries the accept score. States and arcs on no accepting path are left out.

    Arguments: `rules` maps nonterminals (labels) to graphs; batches of equal size, or of size 1.
    Result: `arc_maps` and `state_maps`, for the root and then for each rule in the mapping's
    order; a call comes from the arc it replaces, a return from none.
    Raises ValueError where nonterminals call each other without end, naming them, where batches do
    not match, or where the batch would have more than `max_arcs` arcs; TypeError for mixed dtypes.
    Complexity: O(operands · (states + arcs of the result)). Gradient: sums of scores.
    Source: Woods 1970, for a recursion that ends.
    """
    if not isinstance(rules, Mapping):
        raise TypeError(f"replace: rules must map labels to graphs, got {type(rules).__name__}")
    names = [_checks.count("replace", "a nonterminal", label) for label in rules]
    called = ["root", *(f"rules[{name}]" for name in names)]
    graphs, size = broadcast("replace", [root, *rules.values()], called)
    nonterminals = torch.tensor(names, dtype=torch.int32, device=root.device)
    pool = _Pool(graphs, nonterminals, size)
    _refuse_endless_calls(pool, names)
    return _expanded(pool, max_arcs)


class _Pool:
    """The useful states and arcs of all operands, one operand after another."""

    def __init__(self, graphs: list[Graph], nonterminals: Tensor, size: int) -> None:
        useful = [connect(graph.detach()) for graph in graphs]
        self.graphs = graphs
        self.size = size
        self.acceptors = all(graph.is_acceptor for graph in graphs)
        self.states = _Ranges(
            [g.state_offsets for g in useful], [g.num_states for g in useful], size
        )
        self.arcs = _Ranges([g.arc_offsets for g in useful], [g.num_arcs for g in useful], size)
        states, arcs = ([getattr(g, n) for g in graphs] for n in ("num_states", "num_arcs"))
        self.original_state = _joined([g.state_maps for g in useful], _bases(states))
        self.original_arc = _joined([g.arc_maps for g in useful], _bases(arcs))
        columns = ("source", "target", "ilabels", "olabels")
        self.source, self.target, self.ilabels, self.olabels = (
            torch.cat([getattr(g, name) for g in useful]) for name in columns
        )
        self.is_start = torch.cat([g.start for g in useful]) > NEG_INF
        self.is_accept = torch.cat([g.accept for g in useful]) > NEG_INF
        self.called = _lookup(nonterminals, self.olabels)

    def scores(self, name: str, index: Tensor) -> Tensor:
        """Scores of original states or arcs, 0 where the index is -1."""
        return _ops.take(torch.cat([getattr(g, name) for g in self.graphs]), index.int())


class _Ranges:
    """Where the items of an operand's graph lie in the pool, for each graph of the result."""

    def __init__(self, offsets: list[Tensor], totals: list[int], size: int) -> None:
        bases = _bases(totals)
        firsts = [o[:-1] + base for o, base in zip(offsets, bases)]
        self.first = torch.stack([f.expand(size) if len(f) == 1 else f for f in firsts], 1)
        counts = [o.diff() for o in offsets]
        self.count = torch.stack([c.expand(size) if len(c) == 1 else c for c in counts], 1)


def _bases(sizes: list[int]) -> list[int]:
    return [sum(sizes[:k]) for k in range(len(sizes))]


def _joined(maps: list[Sequence[Tensor] | None], bases: list[int]) -> Tensor:
    return torch.cat([m[0] + base for m, base in zip(maps, bases) if m is not None])


def _lookup(nonterminals: Tensor, labels: Tensor) -> Tensor:
    """The operand that a label calls, the first rule being operand 1; 0 if it calls none."""
    if not len(nonterminals):
        return torch.zeros_like(labels, dtype=torch.int64)
    known, order = nonterminals.sort()
    at = torch.searchsorted(known, labels).clamp(max=len(known) - 1)
    return torch.where(known[at] == labels, order[at] + 1, 0)


def _refuse_endless_calls(pool: _Pool, names: list[int]) -> None:
    """Sort the calls of each graph topologically; what is left is on or before a cycle."""
    width = len(pool.graphs)
    counts = pool.arcs.count.flatten()
    arcs = runs(pool.arcs.first.flatten(), counts)
    callers = torch.arange(len(counts), device=counts.device)
    caller = torch.repeat_interleave(callers, counts, output_size=len(arcs))
    callee = caller - caller % width + pool.called[arcs]
    calls = torch.stack([caller, callee])[:, pool.called[arcs] > 0].unique(dim=1).cpu()
    endless = torch.ones(len(counts), dtype=torch.bool)
    while True:
        waiting = torch.zeros_like(endless)
        waiting[calls[0, endless[calls[1]]]] = True
        if torch.equal(waiting, endless):
            break
        endless = waiting
    roots = endless.view(-1, width)[:, 0].nonzero().flatten()
    if len(roots):
        here = int(roots[0]) * width
        callees = dict(calls[:, endless[calls[1]] & endless[calls[0]]].T.tolist())
        way = [callees[here]]
        while callees[way[-1]] not in way:
            way.append(callees[way[-1]])
        cycle = [*way[way.index(callees[way[-1]]) :], callees[way[-1]]]
        listed = " -> ".join(str(names[at - here - 1]) for at in cycle)
        raise ValueError(
            f"replace: the calls of graph {int(roots[0])} never end: {listed}; bound the recursion "
            f"by giving each depth its own nonterminals"
        )


class _Arcs(NamedTuple):
    """Arcs under construction: their ends are places in the list of new states; `weight`, `enter`
    and `leave` are the original arc, start state and accept state whose scores they carry, or -1.
    """

    graph: Tensor
    source: Tensor
    target: Tensor
    ilabels: Tensor
    olabels: Tensor
    called: Tensor
    weight: Tensor
    enter: Tensor
    leave: Tensor

    def chosen(self, index: Tensor) -> _Arcs:
        return _Arcs(*(column[index] for column in self))


def _copies(
    pool: _Pool, graph: Tensor, operand: Tensor, begin: int
) -> tuple[Tensor, Tensor, _Arcs]:
    """One copy of an operand's graph per entry: its states (in the pool), the entry each belongs
    to, and its arcs, with states numbered from `begin` on.
    """
    counts = pool.states.count[graph, operand]
    states = runs(pool.states.first[graph, operand], counts)
    copy = torch.arange(len(graph), device=graph.device)
    owner = torch.repeat_interleave(copy, counts, output_size=len(states))
    first = begin + counts.cumsum(0) - counts
    arc_counts = pool.arcs.count[graph, operand]
    arcs = runs(pool.arcs.first[graph, operand], arc_counts)
    of_arc = torch.repeat_interleave(copy, arc_counts, output_size=len(arcs))
    none = torch.full_like(arcs, -1)
    made = _Arcs(
        graph[of_arc],
        pool.source[arcs] + first[of_arc],
        pool.target[arcs] + first[of_arc],
        pool.ilabels[arcs],
        pool.olabels[arcs],
        pool.called[arcs],
        pool.original_arc[arcs].long(),
        none,
        none,
    )
    return states, owner, made


def _expanded(pool: _Pool, max_arcs: int) -> Graph:
    graphs = torch.arange(pool.size, device=pool.source.device)
    states, owner, arcs = _copies(pool, graphs, torch.zeros_like(graphs), 0)
    roots = len(states)
    all_states, all_graphs, finished = [states], [graphs[owner]], []
    num_states, num_arcs = len(states), 0
    while True:
        finished.append(arcs.chosen((arcs.called == 0).nonzero().flatten()))
        calls = arcs.chosen((arcs.called > 0).nonzero().flatten())
        num_arcs += len(finished[-1].graph)
        if not len(calls.graph):
            break
        num_arcs += int(pool.arcs.count[calls.graph, calls.called].sum())
        if num_arcs > max_arcs:
            raise ValueError(
                f"replace: the result has more than max_arcs={max_arcs} arcs; call less, split the "
                f"batch, or raise max_arcs"
            )
        states, owner, arcs = _copies(pool, calls.graph, calls.called, num_states)
        finished.extend(_links(pool, states, owner, calls, num_states))
        num_states += len(states)
        num_arcs -= len(arcs.graph)
        all_states.append(states)
        all_graphs.append(calls.graph[owner])
    made = _Arcs(*(torch.cat(column) for column in zip(*finished)))
    return _assembled(pool, torch.cat(all_states), torch.cat(all_graphs), made, roots)


def _links(
    pool: _Pool, states: Tensor, owner: Tensor, calls: _Arcs, begin: int
) -> tuple[_Arcs, _Arcs]:
    """The calls into the copies and the returns out of them."""
    entries = pool.is_start[states].nonzero().flatten()
    inside = pool.original_state[states[entries]].long()
    call = calls.chosen(owner[entries])
    silent = torch.full_like(call.ilabels, EPSILON)
    reads = torch.where(call.ilabels == call.olabels, silent, call.ilabels)
    into = call._replace(
        target=begin + entries, ilabels=reads, olabels=silent, called=call.called * 0, enter=inside
    )
    exits = pool.is_accept[states].nonzero().flatten()
    inside = pool.original_state[states[exits]].long()
    back = calls.chosen(owner[exits])
    silent = torch.full_like(back.ilabels, EPSILON)
    none = torch.full_like(inside, -1)
    return into, back._replace(
        source=begin + exits,
        ilabels=silent,
        olabels=silent,
        called=back.called * 0,
        weight=none,
        enter=none,
        leave=inside,
    )


def _assembled(pool: _Pool, states: Tensor, graph: Tensor, arcs: _Arcs, roots: int) -> Graph:
    """The graphs of the batch separated again: states and arcs ordered by graph."""
    _checks.countable("replace", "states", len(states))
    order = graph.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    state_offsets = _offsets(graph, pool.size)
    made = arcs.chosen(arcs.graph.argsort(stable=True))
    first = state_offsets[made.graph]
    ilabels = made.ilabels
    topology = Topology(
        state_offsets,
        _offsets(made.graph, pool.size),
        (place[made.source] - first).int(),
        (place[made.target] - first).int(),
        ilabels,
        ilabels if pool.acceptors else made.olabels,
        len(states),
    )
    origin = pool.original_state[states[order]]
    inner = order >= roots
    weights = pool.scores("weights", made.weight)
    weights = weights + pool.scores("start", made.enter) + pool.scores("accept", made.leave)
    return Graph.from_topology(
        topology,
        weights,
        pool.scores("start", origin).masked_fill(inner, NEG_INF),
        pool.scores("accept", origin).masked_fill(inner, NEG_INF),
        arc_maps=origins(made.weight.int(), [g.num_arcs for g in pool.graphs]),
        state_maps=origins(origin.int(), [g.num_states for g in pool.graphs]),
    )


def _offsets(graph: Tensor, size: int) -> Tensor:
    counts = graph.new_zeros(size + 1).index_add(0, graph + 1, torch.ones_like(graph))
    return counts.cumsum(0)
