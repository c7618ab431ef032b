"""Transducers that read first and write what is left at the end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._chains import Units, chained
from gtnet._checks import EPSILON, NEG_INF
from gtnet._folding import NotFunctionalError, Written, folded
from gtnet._maps import traced
from gtnet._memory import choosing
from gtnet._ordinary import ordinary_tensors
from gtnet._recorded import columns
from gtnet._rewrite import Semiring, prepared
from gtnet.graph import Graph
from gtnet.rational import invert
from gtnet.remove_epsilon import most_arcs, remove_epsilon

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

MAX_STATES = 1_000_000


@choosing
def normalize_epsilon(
    graph: Graph | Lattice,
    side: Literal["input", "output"] = "input",
    *,
    semiring: Semiring = "log",
    max_states: int = MAX_STATES,
) -> Graph:
    """The same transducer where, along each path, arcs that read EPSILON follow all that read.

    What a path writes is put off until an arc that reads can write it; what is left is written at
    the end. So a search that goes label by label knows after the last one that only ends follow.
    An acceptor only loses its epsilons.

    Arguments: `graph` any transducer in which paths between two states that read nothing write one
    string; `side` "output" does the same for what is written; `semiring` as in `remove_epsilon`;
    `max_states`: each is a state with labels that are put off.
    Result: trimmed; `arc_maps` names for each arc that reads where it comes from, `state_maps` its
    state; both are -1 where only the rest is written.
    Raises ValueError where two such paths write different strings, naming their end; beyond
    `max_states` (a cycle that writes more than it reads puts off ever more); as `remove_epsilon`;
    on a GPU.
    Complexity: O(result) times the labels put off, in Python. Gradient: to all scores, through the
    sums of epsilon paths; any number of derivatives.
    Source: Mohri 2002, "Generic epsilon-removal and input epsilon-normalization algorithms".
    """
    graph = prepared("normalize_epsilon", graph, semiring)
    if side not in ("input", "output"):
        raise ValueError(f'normalize_epsilon: side must be "input" or "output", got {side!r}')
    max_states = _checks.count("normalize_epsilon", "max_states", max_states)
    if side == "output":
        turned = invert(graph)
        made = normalize_epsilon(turned, semiring=semiring, max_states=max_states)
        return traced(invert(made), made)
    plain = remove_epsilon(graph, semiring=semiring)
    if plain.is_acceptor:
        return plain
    try:
        whole, written = folded("normalize_epsilon", plain, semiring, most_arcs(plain))
    except NotFunctionalError as error:
        raise _ambiguous(graph, plain, error.state) from None
    made = _put_off(whole, written, max_states)
    if whole is not plain:  # whose maps count the arcs that read
        assert whole.arc_maps is not None
        reading = (plain.ilabels != EPSILON).nonzero().flatten().to(torch.int32)
        whole.arc_maps = ordinary_tensors(reading[whole.arc_maps[0].long()])
        made = traced(made, whole)
    return traced(made, plain)


def _ambiguous(graph: Graph, plain: Graph, state: int) -> ValueError:
    assert plain.state_maps is not None
    item = int(plain.topology.graph_of_state[state])
    old = int(plain.state_maps[0][state] - graph.state_offsets[item])
    return ValueError(
        f"normalize_epsilon: graph {item} has paths that read nothing and write different strings "
        f"at state {old}: only one is possible there"
    )


def _put_off(graph: Graph, written: Written, max_states: int) -> Graph:
    """States with the labels that are still to be written, from the start on."""
    topology = graph.topology
    offsets, leaving, targets = (t.tolist() for t in topology.leaving.by_state())
    strings = _rows(written.begin, written.labels)
    endings = _rows(written.ending_begin, written.endings)
    accepts = (graph.accept.detach() > NEG_INF).tolist()
    starts = (graph.start.detach() > NEG_INF).tolist()
    nodes: dict[tuple[int, tuple[int, ...]], int] = {}
    order: list[tuple[int, tuple[int, ...]]] = []
    rows: list[tuple[int, int, int, tuple[int, ...]]] = []  # node, node, arc, what it writes
    ends: list[tuple[int, int, tuple[int, ...]]] = []  # node, state, what is left
    state_offsets = [0]

    def number(state: int, rest: tuple[int, ...]) -> int:
        found = nodes.setdefault((state, rest), len(order))
        if found == len(order):
            order.append((state, rest))
        return found

    bounds = topology.state_offsets.tolist()
    for item in range(len(graph)):
        for state in range(bounds[item], bounds[item + 1]):
            if starts[state]:
                number(state, ())
        node = state_offsets[-1]
        while node < len(order):
            if len(order) - state_offsets[-1] > max_states:
                raise ValueError(
                    f"normalize_epsilon: graph {item} needs more than max_states={max_states} "
                    f"states: a cycle that writes more than it reads puts off ever more; if there "
                    f"is none, raise max_states"
                )
            state, rest = order[node]
            if accepts[state]:
                ends.append((node, state, rest + endings[state]))
            for place in range(offsets[state], offsets[state + 1]):
                whole = rest + strings[leaving[place]]
                target = number(targets[place], whole[1:])
                rows.append((node, target, leaving[place], whole[:1]))
            node += 1
        state_offsets.append(len(order))
    return _assembled(graph, torch.tensor(state_offsets), order, rows, ends)


def _rows(begin: Tensor, labels: Tensor) -> list[tuple[int, ...]]:
    bounds, values = begin.tolist(), labels.tolist()
    return [tuple(values[a:b]) for a, b in pairwise(bounds)]


def _assembled(
    graph: Graph,
    state_offsets: Tensor,
    order: list[tuple[int, tuple[int, ...]]],
    rows: list[tuple[int, int, int, tuple[int, ...]]],
    ends: list[tuple[int, int, tuple[int, ...]]],
) -> Graph:
    """The arcs, and chains that write what is left at the ends of paths."""
    owing = [end for end in ends if end[2]]
    node, target, arc = columns([row[:3] for row in rows], 3)
    source, state = columns([end[:2] for end in owing], 2)
    outputs = [row[3] for row in rows] + [end[2] for end in owing]
    length = _integers(map(len, outputs))
    sources = torch.cat([node, source])
    units = Units(
        graph=torch.searchsorted(state_offsets, sources, right=True) - 1,
        source=sources,
        target=torch.cat([target, torch.full_like(source, -1)]),
        ilabels=torch.cat([graph.ilabels[arc], graph.ilabels.new_full((len(owing),), EPSILON)]),
        begin=length.cumsum(0) - length,
        length=length,
        outputs=_integers(label for string in outputs for label in string).to(torch.int32),
        weights=torch.cat(
            [_ops.take(graph.weights, arc.int()), _ops.take(graph.accept, state.int())]
        ),
    )
    states = _integers(state for state, _ in order).int()
    later = torch.tensor([bool(rest) for _, rest in order], dtype=torch.bool)
    done = torch.zeros(len(order), dtype=torch.bool)
    done[_integers(node for node, _, left in ends if not left)] = True
    start = _ops.take(graph.start, states).masked_fill(later, NEG_INF)
    accept = _ops.take(graph.accept, states).masked_fill(~done, NEG_INF)
    made = chained("normalize_epsilon", units, state_offsets, start, accept)
    assert made.arc_maps is not None and made.state_maps is not None
    arcs = torch.cat([arc, torch.full_like(source, -1)]).int()
    made.arc_maps = ordinary_tensors(_looked_up(arcs, made.arc_maps[0]))
    made.state_maps = ordinary_tensors(_looked_up(states, made.state_maps[0]))
    return made


def _integers(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def _looked_up(table: Tensor, index: Tensor) -> Tensor:
    """table[index], -1 where the index is."""
    return torch.cat([table, table.new_full((1,), -1)])[index.long()]
