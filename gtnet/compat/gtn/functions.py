"""The functions of gtn: each is one of gtnet's, recorded on the tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import gtnet
from gtnet._checks import MAX_ARCS, countable
from gtnet._ops import UncommonError, packed
from gtnet.compat.gtn import general, tape
from gtnet.compat.gtn.device import CPU, Device, place
from gtnet.compat.gtn.graph import Graph
from gtnet.compat.gtn.parallel import is_list, parallel_map, takes_lists
from gtnet.compat.gtn.shape import SCALAR, SCORE, Shape
from gtnet.compat.gtn.tape import Adjoint, Plain, checked, record, recorded, signed
from gtnet.compat.gtn.walk import walked

epsilon = gtnet.EPSILON


# Creations


def scalar_graph(
    weight: float, device: Device | bool | None = None, calc_grad: bool = True
) -> Graph:
    """One arc of label epsilon between two nodes; also as `scalar_graph(weight, calc_grad)`."""
    where, calc_grad = place(device, calc_grad)
    graph = Graph.made(SCALAR, torch.tensor([weight], dtype=torch.float32), bool(calc_grad))
    return graph if where.type is CPU else graph.cuda(where)


def linear_graph(
    M: int, N: int, device: Device | bool | None = None, calc_grad: bool = True
) -> Graph:
    """A chain of M + 1 nodes with arcs of the labels 0 to N - 1 between neighbours, weight 0;
    also as `linear_graph(M, N, calc_grad)`.
    """
    where, calc_grad = place(device, calc_grad)
    if M < 0 or N < 0:
        raise ValueError(f"linear_graph: M and N must not be negative, got {M} and {N}")
    countable("linear_graph", "arcs", M * N)
    shape = Shape(packed.linear(_NO_WEIGHTS, M, N))
    graph = Graph.made(shape, torch.zeros(M * N), bool(calc_grad))
    return graph if where.type is CPU else graph.cuda(where)


_NO_WEIGHTS = torch.empty(0)


# Scalars


@takes_lists
def negate(g: Graph) -> Graph:
    """Minus the weight of a graph of one arc. Raises RuntimeError for other graphs."""
    _one_arc("negate", g)
    return recorded(g.shape, -g.values, signed(-1), g)


@takes_lists
def add(g1: Graph, g2: Graph) -> Graph:
    """The sum of the weights of two graphs of one arc. Raises RuntimeError for other graphs."""
    _one_arc("add", g1, g2)
    return recorded(g1.shape, g1.values + g2.values, signed(1, 1), g1, g2)


@takes_lists
def subtract(g1: Graph, g2: Graph) -> Graph:
    """The difference of the weights of two graphs of one arc, else RuntimeError."""
    _one_arc("subtract", g1, g2)
    return recorded(g1.shape, g1.values - g2.values, signed(1, -1), g1, g2)


def _one_arc(function: str, *graphs: Graph) -> None:
    for graph in graphs:
        if checked(graph).num_arcs() != 1:
            raise RuntimeError(f"{function}: a graph of one arc is needed, got {graph.num_arcs()}")


# Rational operations, composition, removal


@takes_lists
def clone(g1: Graph) -> Graph:
    """A copy, recorded on the tape."""
    return recorded(checked(g1).shape, g1.values.clone(), signed(1), g1)


@takes_lists
def project_input(g: Graph) -> Graph:
    """`gtnet.project` on what is read."""
    return _projected(g, "input")


@takes_lists
def project_output(g: Graph) -> Graph:
    """`gtnet.project` on what is written."""
    return _projected(g, "output")


def _projected(g: Graph, side: Any) -> Graph:
    words = checked(g).shape.words
    if words is None:
        shape = Shape(whole=gtnet.project(g.core, side))
    else:
        shape = Shape(packed.project(words, side == "output"))
    return recorded(shape, g.values.clone(), signed(1), g)


def union(graphs: Sequence[Graph] | Sequence[Sequence[Graph]]) -> Any:
    """All paths of a list of graphs, empty for none; of a list of lists, a list of unions."""
    if graphs and is_list(graphs[0]):
        return parallel_map(union, graphs)
    return _joined(packed.UNION, *graphs) if graphs else Graph(calc_grad=False)


def concat(
    graphs: Graph | Sequence[Graph] | Sequence[Sequence[Graph]],
    g2: Graph | Sequence[Graph] | None = None,
) -> Any:
    """The concatenation of a list of graphs, the empty string for none; of a list of lists, a list.

    Also as `concat(g1, g2)` with two graphs or two lists. An epsilon leads from every accepting
    node to every start node of the next; nodes and arcs stand in the order of the graphs, and the
    epsilons into a graph follow its arcs.
    """
    if g2 is not None:
        return _concat_pair(graphs, g2)
    if isinstance(graphs, Graph):
        raise TypeError("concat: a list of graphs or two graphs are expected, got one graph")
    if graphs and is_list(graphs[0]):
        return parallel_map(concat, graphs)
    if graphs:
        return _joined(packed.CONCAT, *graphs)
    return Graph.of(gtnet.linear([]), calc_grad=False)


@takes_lists
def _concat_pair(g1: Graph, g2: Graph) -> Graph:
    return _joined(packed.CONCAT, g1, g2)


@takes_lists
def closure(g: Graph) -> Graph:
    """Any number of paths, one after another: a new node 0 starts and accepts, and epsilons lead to
    the old start nodes, and from the old accepting nodes back to it.
    """
    return _joined(packed.CLOSURE, g)


def _joined(kind: int, *graphs: Graph) -> Graph:
    """Graphs put together, with the very nodes and arcs that gtn gives them: gtnet's own functions
    take fewer epsilons, and programs for gtn count nodes. Those of a GPU are put together outside.
    """
    graph_words = [checked(g).shape.words for g in graphs]
    if any(words is None for words in graph_words):
        device = graphs[0].device
        return _carried(_joined(kind, *(_carried(g, _CPU) for g in graphs)), device)
    words, weights = packed.join(graph_words, [g.values for g in graphs], kind)
    return recorded(Shape(words), weights, _by_maps(words), *graphs)


_CPU = torch.device("cpu")


def _carried(g: Graph, device: torch.device) -> Graph:
    """A copy elsewhere, on the tape."""
    home, core = g.device, g.core.to(device)
    return recorded(Shape(whole=core), core.weights, lambda grad, _: grad.to(home), g)


@takes_lists
def compose(g1: Graph, g2: Graph) -> Graph:
    """`gtnet.compose`."""
    return _composed(gtnet.compose, False, g1, g2)


@takes_lists
def intersect(g1: Graph, g2: Graph) -> Graph:
    """`gtnet.intersect`. Raises ValueError for transducers."""
    return _composed(gtnet.intersect, True, g1, g2)


def _composed(
    function: Callable[..., gtnet.Graph], only_acceptors: bool, g1: Graph, g2: Graph
) -> Graph:
    one, other = checked(g1).shape.words, checked(g2).shape.words
    if one is not None and other is not None:
        operands = (one, g1.values, other, g2.values)
        try:
            words, weights = packed.compose(*operands, only_acceptors, MAX_ARCS)
        except UncommonError:
            pass
        else:
            return recorded(Shape(words), weights, _by_maps(words), g1, g2)
    return _rewritten(function, g1, g2)


def _by_maps(words: Tensor) -> Adjoint:
    """The adjoint of a graph whose arcs have the weights of those that its maps name."""
    return Plain(packed.MAPS, words)


@takes_lists
def remove(
    g: Graph, label: int = epsilon, olabel: int | None = None, *, ilabel: int | None = None
) -> Graph:
    """The graph without the arcs that read and write `label`, all weights 0, as gtn makes it.

    `remove(g, ilabel, olabel)` names both sides. Whether a node is reached counts, not how often
    or at what weight; `gtnet.remove_epsilon(g.core)` is the removal that keeps weights, with a
    gradient. This one has none: `backward` through it raises RuntimeError, as in gtn. A node has,
    for all nodes that such arcs lead to from it, their other arcs, and accepts if one of these
    nodes accepts; nodes go that only such arcs lead to, and that do not start.
    Complexity: O(arcs) and that of the pairs of a node and one that it reaches by such arcs.
    """
    read = label if ilabel is None else ilabel
    words = checked(g).cpu().shape.words
    assert words is not None
    written = read if olabel is None else olabel
    words, weights = packed.remove(words, _NO_WEIGHTS, read, written)
    if g.device == _CPU:
        return recorded(Shape(words), weights, None, g)
    core = Shape(words).under(weights).to(g.device)
    return recorded(Shape(whole=core), core.weights, None, g)


def _rewritten(function: Callable[..., gtnet.Graph], *graphs: Graph) -> Graph:
    """A graph whose arcs have the sum of the weights of those that its arc maps name."""
    return record(lambda *cores: general.mapped(function(*cores), cores), *graphs)


# Path sums and paths


@takes_lists
def forward_score(g: Graph) -> Graph:
    """`gtnet.forward_score` as a scalar graph; NaN is an arc that cannot be taken."""
    alone = not checked(g).calc_grad
    return _scored(
        packed.forward, general.forward_score_alone if alone else general.forward_score, g
    )


@takes_lists
def viterbi_score(g: Graph) -> Graph:
    """`gtnet.viterbi_score` as a scalar graph; NaN is an arc that cannot be taken."""
    return _scored(packed.best, general.viterbi_score, checked(g))


def _scored(
    run: Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]],
    otherwise: Callable[..., tape.Made],
    g: Graph,
) -> Graph:
    """A score of a packed graph and how it changes with the weights; of others the general way."""
    words = g.shape.words
    if words is not None:
        try:
            score, changes = run(words, g.values, g.calc_grad)
        except UncommonError:
            pass
        else:
            return recorded(SCORE, score, Plain(packed.SCALED, changes), g)
    return record(otherwise, g)


@takes_lists
def viterbi_path(g: Graph) -> Graph:
    """`gtnet.viterbi_path`: a chain, empty where there is no path."""
    words = checked(g).shape.words
    if words is not None:
        try:
            path, weights = packed.best_path(words, g.values)
        except UncommonError:
            pass
        else:
            return recorded(Shape(path), weights, _by_maps(path), g)
    return _rewritten(general.viterbi_path, g)


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
