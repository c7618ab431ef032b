"""The functions of gtn: each is one of gtnet's, recorded on the tape."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import gtnet
from gtnet.compat.gtn import tape
from gtnet.compat.gtn.device import CPU, Device, place
from gtnet.compat.gtn.graph import Graph
from gtnet.compat.gtn.parallel import is_list, parallel_map, takes_lists
from gtnet.compat.gtn.tape import record
from gtnet.paths import random_walks

epsilon = gtnet.EPSILON


# Creations


def scalar_graph(
    weight: float, device: Device | bool | None = None, calc_grad: bool = True
) -> Graph:
    """One arc of label epsilon between two nodes; also as `scalar_graph(weight, calc_grad)`."""
    where, calc_grad = place(device, calc_grad)
    graph = Graph(calc_grad)
    graph.add_node(start=True)
    graph.add_node(accept=True)
    graph.add_arc(0, 1, epsilon, epsilon, weight)
    return graph if where.type is CPU else graph.cuda(where)


def linear_graph(
    M: int, N: int, device: Device | bool | None = None, calc_grad: bool = True
) -> Graph:
    """A chain of M + 1 nodes with arcs of the labels 0 to N - 1 between neighbours, weight 0;
    also as `linear_graph(M, N, calc_grad)`.
    """
    where, calc_grad = place(device, calc_grad)
    source = torch.arange(M, dtype=torch.int32).repeat_interleave(N)
    labels = torch.arange(N, dtype=torch.int32).repeat(M)
    accept = [M] if M > 0 else []
    core = gtnet.Graph(source, source + 1, labels, start=0, accept=accept, num_states=M + 1)
    core = core.to(torch.float32)
    return Graph.of(core.to(where.name), calc_grad)


# Scalars


@takes_lists
def negate(g: Graph) -> Graph:
    """Minus the weight of a graph of one arc. Raises RuntimeError for other graphs."""
    return _scalar("negate", operator.neg, g)


@takes_lists
def add(g1: Graph, g2: Graph) -> Graph:
    """The sum of the weights of two graphs of one arc. Raises RuntimeError for other graphs."""
    return _scalar("add", operator.add, g1, g2)


@takes_lists
def subtract(g1: Graph, g2: Graph) -> Graph:
    """The difference of the weights of two graphs of one arc, else RuntimeError."""
    return _scalar("subtract", operator.sub, g1, g2)


def _scalar(function: str, change: Callable[..., torch.Tensor], *graphs: Graph) -> Graph:
    """The first graph with a weight computed from all; an infinite loss is still a number."""
    for graph in graphs:
        if graph.num_arcs() != 1:
            raise RuntimeError(f"{function}: a graph of one arc is needed, got {graph.num_arcs()}")

    def changed(*cores: gtnet.Graph) -> gtnet.Graph:
        first, weight = cores[0], change(*(core.weights for core in cores))
        return gtnet.Graph.from_topology(first.topology, weight, first.start, first.accept)

    return record(changed, *graphs, checked=False)


# Rational operations, composition, removal


@takes_lists
def clone(g1: Graph) -> Graph:
    """A copy, recorded on the tape."""
    return record(lambda core: core, g1)


@takes_lists
def project_input(g: Graph) -> Graph:
    """`gtnet.project` on what is read."""
    return record(lambda core: gtnet.project(core, "input"), g)


@takes_lists
def project_output(g: Graph) -> Graph:
    """`gtnet.project` on what is written."""
    return record(lambda core: gtnet.project(core, "output"), g)


def union(graphs: Sequence[Graph] | Sequence[Sequence[Graph]]) -> Any:
    """`gtnet.union` of a list of graphs, empty for none; of a list of lists, a list of unions."""
    if graphs and is_list(graphs[0]):
        return parallel_map(union, graphs)
    return record(gtnet.union, *graphs) if graphs else Graph(calc_grad=False)


def concat(
    graphs: Graph | Sequence[Graph] | Sequence[Sequence[Graph]],
    g2: Graph | Sequence[Graph] | None = None,
) -> Any:
    """`gtnet.concat` of a list of graphs, the empty string for none; of a list of lists, a list.

    Also as `concat(g1, g2)` with two graphs or two lists.
    """
    if g2 is not None:
        return _concat_pair(graphs, g2)
    if isinstance(graphs, Graph):
        raise TypeError("concat: a list of graphs or two graphs are expected, got one graph")
    if graphs and is_list(graphs[0]):
        return parallel_map(concat, graphs)
    if graphs:
        return record(gtnet.concat, *graphs)
    return Graph.of(gtnet.linear([]), calc_grad=False)


@takes_lists
def _concat_pair(g1: Graph, g2: Graph) -> Graph:
    return record(gtnet.concat, g1, g2)


@takes_lists
def closure(g: Graph) -> Graph:
    """`gtnet.closure`: any number of paths, one after another."""
    return record(gtnet.closure, g)


@takes_lists
def compose(g1: Graph, g2: Graph) -> Graph:
    """`gtnet.compose`."""
    return record(gtnet.compose, g1, g2)


@takes_lists
def intersect(g1: Graph, g2: Graph) -> Graph:
    """`gtnet.intersect`. Raises ValueError for transducers."""
    return record(gtnet.intersect, g1, g2)


@takes_lists
def remove(
    g: Graph, label: int = epsilon, olabel: int | None = None, *, ilabel: int | None = None
) -> Graph:
    """The equivalent graph without the arcs that read and write `label`, taken for epsilons.

    `remove(g, ilabel, olabel)` names both sides. `gtnet.remove_epsilon` says what becomes of
    weights and cycles.
    """
    read = label if ilabel is None else ilabel
    written = read if olabel is None else olabel
    return record(lambda core: _without(core, read, written), g)


def _without(core: gtnet.Graph, ilabel: int, olabel: int) -> gtnet.Graph:
    if ilabel == epsilon and olabel == epsilon:
        return gtnet.remove_epsilon(core)
    removed = (core.ilabels == ilabel) & (core.olabels == olabel)
    silent = (core.ilabels == epsilon) & (core.olabels == epsilon)
    labels = torch.cat([core.ilabels, core.olabels]).tolist()
    kept = max(labels, default=0) + 1  # in place of the epsilons that should stay
    ilabels, olabels = (
        labels.masked_fill(silent, kept).masked_fill(removed, epsilon)
        for labels in (core.ilabels, core.olabels)
    )
    marked = gtnet.Graph(
        core.source,
        core.target,
        ilabels,
        olabels,
        core.weights,
        start=core.start,
        accept=core.accept,
        num_states=core.num_states,
    )
    return gtnet.relabel(gtnet.remove_epsilon(marked), {kept: epsilon}, {kept: epsilon})


# Path sums and paths


@takes_lists
def forward_score(g: Graph) -> Graph:
    """`gtnet.forward_score` as a scalar graph."""
    return record(lambda core: gtnet.linear([0], gtnet.forward_score(core)), g)


@takes_lists
def viterbi_score(g: Graph) -> Graph:
    """`gtnet.viterbi_score` as a scalar graph."""
    return record(lambda core: gtnet.linear([0], gtnet.viterbi_score(core)), g)


@takes_lists
def viterbi_path(g: Graph) -> Graph:
    """`gtnet.viterbi_path`: a chain, empty where there is no path."""
    return record(gtnet.viterbi_path, g)


def sample(g: Graph, max_length: int = 1000) -> Graph:
    """An accepting path as a chain, where every choice is uniform, whatever the weights.

    Empty where there is no path or the walk gets longer than `max_length`. The random numbers
    are torch's: `torch.manual_seed` repeats them.
    """

    def walk(core: gtnet.Graph) -> gtnet.Graph:
        useful = gtnet.connect(core)
        return random_walks(useful, 1, max_length)[0] if useful.num_states else useful

    return record(walk, g)


# Comparison


def equal(g1: Graph, g2: Graph) -> bool:
    """Whether both have the same nodes with the same arcs, in whatever order."""
    return _in_order(g1.core).equal(_in_order(g2.core))


def _in_order(core: gtnet.Graph) -> gtnet.Graph:
    columns = (core.source, core.target, core.ilabels, core.olabels, core.weights)
    arrays = [column.cpu().numpy() for column in columns]
    order = torch.from_numpy(np.lexsort(arrays[::-1])).to(core.device)
    source, target, ilabels, olabels, weights = (column[order] for column in columns)
    return gtnet.Graph(
        source,
        target,
        ilabels,
        olabels,
        weights,
        start=core.start,
        accept=core.accept,
        num_states=core.num_states,
    )


def isomorphic(g1: Graph, g2: Graph) -> bool:
    """Whether both are equal up to the numbering of nodes and arcs."""
    return g1.core.isomorphic(g2.core)


def rand_equivalent(
    g1: Graph,
    g2: Graph,
    num_samples: int = 1000,
    tol: float = 1e-4,
    max_length: int = 1000,
) -> bool:
    """`gtnet.randomly_equivalent` on half of `num_samples` walks through each graph."""
    answer = gtnet.randomly_equivalent(
        g1.core,
        g2.core,
        num_paths=-(-num_samples // 2),
        max_length=max_length,
        tolerance=tol,
    )
    return bool(answer)


# Gradients


@takes_lists
def backward(g: Graph, grad: Graph | bool | None = None, retain_graph: bool = False) -> None:
    """Add to all graphs that `g` was computed from the derivatives of its weights times `grad`.

    Also as `backward(g, retain_graph)`, with ones for `grad`. See `tape.backward`.
    """
    if grad is not None and not isinstance(grad, Graph):
        grad, retain_graph = None, bool(grad)
    tape.backward(g, grad, bool(retain_graph))
