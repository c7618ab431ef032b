"""The tape: how graphs were computed from others, and gradients back along it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

import gtnet
from gtnet._ops import packed
from gtnet.compat.gtn.graph import Graph
from gtnet.compat.gtn.shape import Shape


class Plain(NamedTuple):
    """An adjoint as data, for the operator that goes back through any number of steps in one call:
    its kind, one of those of `gtnet._ops.packed`; the tensor that it needs; a sign for each input.
    """

    kind: int
    tensor: Tensor
    signs: tuple[int, ...] = (1, 1)


Adjoint = Plain | Callable[[Tensor, int], Tensor]
"""From the derivatives of a result's weights to those of its inputs; a function gives those of the
input that a number names, as a new tensor. For graphs of a few arcs a node of torch's autograd
takes longer than all that is computed.
"""


class Made(NamedTuple):
    """A graph that was made, and the adjoint; without one there is no gradient."""

    core: gtnet.Graph
    adjoint: Adjoint | None = None


class Step:
    """How a graph was computed, until the tape is used up."""

    __slots__ = ("adjoint", "inputs", "number", "used_up")

    def __init__(self, inputs: tuple[Graph, ...], adjoint: Adjoint | None) -> None:
        self.inputs, self.adjoint, self.used_up = inputs, adjoint, False
        self.number = next(_numbers)  # larger than those of its inputs

    def use_up(self) -> None:
        """Forget what the gradient needs."""
        self.inputs, self.adjoint, self.used_up = (), None, True


_numbers = count()


def recorded(shape: Shape, weights: Tensor, adjoint: Adjoint | None, *inputs: Graph) -> Graph:
    """The graph that was made of others, and on the tape how it was made.

    Weights that are set later do not change the tape: an adjoint that needs weights holds a copy.
    """
    for graph in inputs:
        if graph._calc_grad:
            return Graph.made(shape, weights, True, Step(inputs, adjoint))
    return Graph.made(shape, weights, False)


def record(function: Callable[..., Made], *inputs: Graph) -> Graph:
    """The graph that a function makes of others' cores, on the tape.

    NaN and +inf, which gtnet refuses at its entrance, pass through, as in gtn.
    """
    core, adjoint = function(*(graph.core for graph in map(checked, inputs)))
    result = recorded(Shape(whole=core), core.weights, adjoint, *inputs)
    result._core = core
    return result


def checked(graph: Graph) -> Graph:
    """What was given, if it is a graph."""
    if not isinstance(graph, Graph):
        raise TypeError(f"a Graph or a list of Graphs is expected, got {type(graph).__name__}")
    return graph


def signed(*signs: int) -> Plain:
    """The adjoint of a result that has the weights of its inputs, arc by arc, each under a sign."""
    return Plain(packed.SIGNED, _NOTHING, signs)


_NOTHING = torch.empty(0)


def backward(g: Graph, grad: Graph | None = None, retain_graph: bool = False) -> None:
    """Add to every graph that `g` was computed from the derivatives of `g`'s weights times `grad`.

    Arguments: `grad` has as many arcs as `g`, by default ones; `retain_graph` keeps the tape for
    another call. Gradients add up until `zero_grad`, those of the graphs on the way as well.
    Raises ValueError where the tape is gone. Complexity: as the operations on the tape.
    """
    tape = _tape(g)
    for graph in tape:
        if graph._step.used_up:
            raise ValueError(
                "backward: the tape is gone after the first call; call backward with "
                "retain_graph=True"
            )
    if grad is not None and grad.num_arcs() != g.num_arcs():
        raise RuntimeError(
            f"backward: the graph has {g.num_arcs()} arcs, its gradient {grad.num_arcs()}"
        )
    g.accumulate(torch.ones_like(g.values) if grad is None else grad.values.clone())
    fresh = all(graph._grad is None for graph in tape[1:])
    if fresh and all(isinstance(graph._step.adjoint, Plain) for graph in tape):
        _pull_back(tape)  # in one call
    else:
        for graph in tape:
            _pull_back([graph])
    if not retain_graph:
        for graph in tape:
            graph._step.use_up()


def _pull_back(tape: list[Any]) -> None:
    """Add what the gradient of the first graph means for those it was made of; more than one have
    adjoints as data, and no gradient yet.
    """
    if not tape:
        return
    last, adjoint = tape[0], tape[0]._step.adjoint
    if adjoint is None:
        raise RuntimeError(
            "backward: there is no gradient through remove, whose result has no weights (nor in"
            " gtn); gtnet.remove_epsilon(graph.core) keeps them, with a gradient"
        )
    if not isinstance(adjoint, Plain):
        for place, graph in enumerate(last._step.inputs):
            if graph._calc_grad:
                graph.accumulate(adjoint(last._grad, place))
        return
    slots: dict[Graph, int] = {last: 0}
    tensors: list[Tensor] = []
    plan: list[int] = []
    for graph in tape:
        kind, tensor, signs = graph._step.adjoint
        inputs = graph._step.inputs
        plan += (kind, len(tensors), slots[graph], len(inputs))
        tensors.append(tensor)
        for place, one in enumerate(inputs):
            slot = slots.setdefault(one, len(slots)) if one._calc_grad else -1
            plan += (slot, one.num_arcs(), signs[place] if kind == packed.SIGNED else 1)
    _, *others = slots
    for graph, grad in zip(others, packed.backward(tensors, last._grad, plan, len(slots))):
        graph.accumulate(grad)


def _tape(last: Graph) -> list[Any]:
    """The graphs on the way to `last` that were computed, each before its inputs."""
    found = {} if last._step is None else {last._step.number: last}
    todo = list(found.values())
    while todo:
        step = todo.pop()._step
        assert step is not None
        for graph in step.inputs:
            if graph._step is not None and graph._step.number not in found:
                found[graph._step.number] = graph
                todo.append(graph)
    return [found[number] for number in sorted(found, reverse=True)]
