"""Composition of transducers and intersection of acceptors."""

from __future__ import annotations

from typing import overload

import torch

from gtnet import _checks
from gtnet._checks import MAX_ARCS
from gtnet._memory import named
from gtnet.emissions import Emissions
from gtnet.graph import Graph, built
from gtnet.lattice import Lattice
from gtnet.product import product

Operand = Graph | Lattice | Emissions


@overload
def compose(a: Emissions, b: Graph | Lattice, *, max_arcs: int = ...) -> Lattice: ...
@overload
def compose(a: Graph | Lattice, b: Operand, *, max_arcs: int = ...) -> Graph: ...
@overload
def compose(a: Emissions, b: Emissions, *, max_arcs: int = ...) -> Graph: ...
@named
def compose(a: Operand, b: Operand, *, max_arcs: int = MAX_ARCS) -> Graph | Lattice:
    """The transducer that reads what `a` reads and writes what `b` makes of what `a` writes.

    Its paths are the pairs of a path of `a` and a path of `b` where a's output is b's input; the
    score is the sum. Epsilons go through the three-state filter, so each pair appears once. The
    result is trimmed to states on accepting paths.

    Arguments: batches of equal size, or one of them of size 1, which is composed with every graph
    of the other. Arcs need not be sorted. `max_arcs` bounds the arcs of the batch that are
    explored, and so the memory.
    Result: `arc_maps` and `state_maps` say which arc and state of `a` and of `b` each came from.
    Emissions on the left and a graph on the right give a `Lattice`, which is not multiplied out
    until its `graph()` is asked for; path sums and paths do without that.
    Raises: ValueError where the product has more than `max_arcs` arcs or the batches do not
    match, and where a graph has labels that emissions have no scores of (on a GPU only if it came
    from the CPU: nothing waits, and such arcs count as -inf); TypeError for mixed dtypes.
    Complexity: O(pairs of states reached + arcs of the product), and O(log degree) to find a
    match where the labels of a state have gaps. If `a` writes a label late, paths are followed that
    `b` then refuses; `push(a, what="labels")` avoids most of them, for example for lexicon @
    grammar. On a GPU a block of threads explores a pair of graphs, and the result is that of the
    CPU, bit for bit. The host waits for sizes: of what is explored, of what is kept, and each time
    that the pairs of states outgrow their memory. There `max_arcs` bounds all that is explored at
    once.
    Gradient: sums of the scores of both arcs; any number of derivatives.
    Source: Mohri, Pereira & Riley 1996; Mohri 2009, section 5.1, for the filter.
    """
    return _composed("compose", a, b, max_arcs)


@overload
def intersect(a: Emissions, b: Graph | Lattice, *, max_arcs: int = ...) -> Lattice: ...
@overload
def intersect(a: Graph | Lattice, b: Operand, *, max_arcs: int = ...) -> Graph: ...
@overload
def intersect(a: Emissions, b: Emissions, *, max_arcs: int = ...) -> Graph: ...
@named
def intersect(a: Operand, b: Operand, *, max_arcs: int = MAX_ARCS) -> Graph | Lattice:
    """The acceptor of the label sequences that both acceptors accept; scores add.

    As `compose` in everything else. Raises ValueError if `a` or `b` is a transducer.
    """
    a, b = (
        given if isinstance(given, Emissions) else built("intersect", name, given)
        for name, given in (("a", a), ("b", b))
    )
    for name, operand in (("a", a), ("b", b)):
        if isinstance(operand, Graph) and not operand.is_acceptor:
            raise ValueError(
                f"intersect: {name} must be an acceptor, got a transducer: use compose"
            )
    return _composed("intersect", a, b, max_arcs)


def _composed(function: str, a: Operand, b: Operand, max_arcs: int) -> Graph | Lattice:
    """The product; with emissions on the left a `Lattice`."""
    if not isinstance(a, Emissions) or isinstance(b, Emissions):
        left = _graph(function, "a", a)
        if isinstance(b, Emissions) and not isinstance(a, Emissions):
            _checks.known_labels(function, "a", left.topology.largest("olabels"), b.num_labels)
        return product(function, left, _graph(function, "b", b), max_arcs)
    b = built(function, "b", b)
    _checks.known_labels(function, "b", b.topology.largest("ilabels"), a.num_labels)
    _checks.batches(function, a, b)
    _checks.same_device(function, a=a.scores, b=b.weights)
    if a.scores.dtype not in _checks.SHORT or b.dtype != torch.float32:
        _checks.same_dtype(function, a=a.scores, b=b.weights)
    if a.scores.device.type not in ("cpu", "cuda"):
        _checks.on_cpu(function, "a", a.scores, "lattices are supported there and on GPUs")
    return Lattice(a, b, max_arcs=_checks.count(function, "max_arcs", max_arcs))


def _graph(function: str, name: str, operand: Operand) -> Graph:
    return operand.graph() if isinstance(operand, Emissions) else built(function, name, operand)
