"""The functions of gtn: each is one of gtnet's, recorded on the tape."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from typing import Any

import torch
from torch import Tensor

import gtnet
from gtnet._memory import named
from gtnet._ops import total_by
from gtnet.compat.gtn import tape
from gtnet.compat.gtn.device import CPU, Device, place
from gtnet.compat.gtn.graph import Graph, with_weights
from gtnet.compat.gtn.parallel import is_list, parallel_map, takes_lists
from gtnet.compat.gtn.tape import Made, record, same_arcs
from gtnet.compat.gtn.topologies import closed, joined, removed
from gtnet.compat.gtn.walk import walked
from gtnet.distance import best_paths, path_distribution

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
    return _scalar("negate", (-1,), g)


@takes_lists
def add(g1: Graph, g2: Graph) -> Graph:
    """The sum of the weights of two graphs of one arc. Raises RuntimeError for other graphs."""
    return _scalar("add", (1, 1), g1, g2)


@takes_lists
def subtract(g1: Graph, g2: Graph) -> Graph:
    """The difference of the weights of two graphs of one arc, else RuntimeError."""
    return _scalar("subtract", (1, -1), g1, g2)


def _scalar(function: str, signs: Sequence[int], *graphs: Graph) -> Graph:
    """The first graph with the sum of the weights of all, each under its sign; an infinite loss is
    still a number.
    """
    for graph in graphs:
        if graph.num_arcs() != 1:
            raise RuntimeError(f"{function}: a graph of one arc is needed, got {graph.num_arcs()}")
    signed = [_SIGNED[sign] for sign in signs]

    def changed(*cores: gtnet.Graph) -> Made:
        weights = (under(core.weights) for under, core in zip(signed, cores))
        return Made(with_weights(cores[0], reduce(operator.add, weights)), signed)

    return record(changed, *graphs)


_SIGNED: dict[int, Callable[[Tensor], Tensor]] = {1: lambda x: x, -1: operator.neg}
"""What a sign does to weights, and to gradients."""


# Rational operations, composition, removal


@takes_lists
def clone(g1: Graph) -> Graph:
    """A copy, recorded on the tape."""
    return record(same_arcs, g1)


@takes_lists
def project_input(g: Graph) -> Graph:
    """`gtnet.project` on what is read."""
    return record(lambda core: same_arcs(gtnet.project(core, "input")), g)


@takes_lists
def project_output(g: Graph) -> Graph:
    """`gtnet.project` on what is written."""
    return record(lambda core: same_arcs(gtnet.project(core, "output")), g)


def union(graphs: Sequence[Graph] | Sequence[Sequence[Graph]]) -> Any:
    """`gtnet.union` of a list of graphs, empty for none; of a list of lists, a list of unions."""
    if graphs and is_list(graphs[0]):
        return parallel_map(union, graphs)
    return _rewritten(gtnet.union, *graphs) if graphs else Graph(calc_grad=False)


def concat(
    graphs: Graph | Sequence[Graph] | Sequence[Sequence[Graph]],
    g2: Graph | Sequence[Graph] | None = None,
) -> Any:
    """The concatenation of a list of graphs, the empty string for none; of a list of lists, a list.

    Also as `concat(g1, g2)` with two graphs or two lists.
    """
    if g2 is not None:
        return _concat_pair(graphs, g2)
    if isinstance(graphs, Graph):
        raise TypeError("concat: a list of graphs or two graphs are expected, got one graph")
    if graphs and is_list(graphs[0]):
        return parallel_map(concat, graphs)
    if graphs:
        return _rewritten(joined, *graphs)
    return Graph.of(gtnet.linear([]), calc_grad=False)


@takes_lists
def _concat_pair(g1: Graph, g2: Graph) -> Graph:
    return _rewritten(joined, g1, g2)


@takes_lists
def closure(g: Graph) -> Graph:
    """Any number of paths, one after another, from a new start node and back to it."""
    return _rewritten(closed, g)


@takes_lists
def compose(g1: Graph, g2: Graph) -> Graph:
    """`gtnet.compose`."""
    return _rewritten(gtnet.compose, g1, g2)


@takes_lists
def intersect(g1: Graph, g2: Graph) -> Graph:
    """`gtnet.intersect`. Raises ValueError for transducers."""
    return _rewritten(gtnet.intersect, g1, g2)


@takes_lists
def remove(
    g: Graph, label: int = epsilon, olabel: int | None = None, *, ilabel: int | None = None
) -> Graph:
    """The graph without the arcs that read and write `label`, all weights 0, as gtn makes it.

    `remove(g, ilabel, olabel)` names both sides. Whether a node is reached counts, not how often
    or at what weight; `gtnet.remove_epsilon(g.core)` is the removal that keeps weights, with a
    gradient. This one has none: `backward` through it raises RuntimeError, as in gtn.
    """
    read = label if ilabel is None else ilabel
    written = read if olabel is None else olabel
    return record(lambda core: Made(removed(core, read, written)), g)


def _rewritten(function: Callable[..., gtnet.Graph], *graphs: Graph) -> Graph:
    """A graph whose arcs have the sum of the weights of those that its arc maps name."""

    def made(*cores: gtnet.Graph) -> Made:
        result = function(*cores)
        assert result.arc_maps is not None
        pairs = zip(result.arc_maps, cores)
        return Made(result, [partial(total_by, index, size=core.num_arcs) for index, core in pairs])

    return record(made, *graphs)


# Path sums and paths


@takes_lists
@named
def forward_score(g: Graph) -> Graph:
    """`gtnet.forward_score` as a scalar graph; NaN is an arc that cannot be taken."""
    learning = isinstance(g, Graph) and g.calc_grad
    return record(_sum_with_adjoint if learning else _sum, g)


@takes_lists
@named
def viterbi_score(g: Graph) -> Graph:
    """`gtnet.viterbi_score` as a scalar graph; NaN is an arc that cannot be taken."""
    return record(_best, g)


@takes_lists
def viterbi_path(g: Graph) -> Graph:
    """`gtnet.viterbi_path`: a chain, empty where there is no path."""
    return _rewritten(lambda core: gtnet.viterbi_path(_passable(core)), g)


def _sum(core: gtnet.Graph) -> Made:
    return Made(_one_arc(gtnet.forward_score(_passable(core))))


def _sum_with_adjoint(core: gtnet.Graph) -> Made:
    passable = _passable(core)
    if passable is core:  # whose weights may be set before the gradient is asked for
        passable = with_weights(core, core.weights.clone())
    paths = path_distribution("forward_score", passable, 1.0)
    return Made(_one_arc(paths.score), [lambda grad: grad * paths.posteriors.arcs])


def _best(core: gtnet.Graph) -> Made:
    scores, best = best_paths("viterbi_score", _passable(core))
    arcs, size = best.arcs, core.num_arcs
    return Made(_one_arc(scores), [lambda grad: total_by(arcs, grad.expand(len(arcs)), size)])


def _one_arc(score: Tensor) -> gtnet.Graph:
    """The scalar graph of a score; one that is endless is +inf, which `gtnet.linear` refuses."""
    if float(score) > _ENDLESS / 2:
        score = torch.full_like(score, math.inf)
    return with_weights(_one(score.device), score.float())


@lru_cache
def _one(device: torch.device) -> gtnet.Graph:
    return gtnet.linear([0]).to(torch.float32).to(device)


_ENDLESS = 1e30  # in place of +inf, whose differences would be NaN


def _passable(core: gtnet.Graph) -> gtnet.Graph:
    """The graph under weights that can be summed: none is NaN or +inf."""
    weights = core.weights
    if not len(weights) or float(weights.max()) < math.inf:  # NaN is not
        return core
    return with_weights(core, torch.where(weights.isnan(), -math.inf, weights).clamp(max=_ENDLESS))


def sample(g: Graph, max_length: int = 1000) -> Graph:
    """An accepting path as a chain, where every choice is uniform, whatever the weights.

    A walk that is longer than `max_length` is cut back to the last accepting node it met; empty
    where it met none. The random numbers are torch's: `torch.manual_seed` repeats them.
    """
    return _rewritten(lambda core: walked(core, max_length), g)


# Comparison


def equal(g1: Graph, g2: Graph) -> bool:
    """Whether both have the same nodes with the same arcs in the same order."""
    return g1.core.equal(g2.core)


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
