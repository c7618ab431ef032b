"""The tape: how graphs were computed from others, and gradients back along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import gtnet
from gtnet.compat.gtn.graph import Graph, with_weights

Adjoint = Callable[[Tensor], Tensor]
"""From the derivatives of a result's weights to those of one input's."""


class Made(NamedTuple):
    """A graph that was made, and the adjoint of each input; without them there is no gradient.

    These are called directly: for graphs of a few arcs a node of torch's autograd takes longer
    than all that is computed.
    """

    core: gtnet.Graph
    adjoints: Sequence[Adjoint] = ()


class Step:
    """How a graph was computed, until the tape is used up."""

    def __init__(self, inputs: tuple[Graph, ...], adjoints: Sequence[Adjoint]) -> None:
        self.inputs, self.adjoints, self.used_up = inputs, adjoints, False

    def pull_back(self, grad: Tensor, retain: bool) -> None:
        """Add what the gradient of the result's weights means for those of the inputs to theirs."""
        if not self.adjoints:
            raise RuntimeError(
                "backward: there is no gradient through remove, whose result has no weights (nor in"
                " gtn); gtnet.remove_epsilon(graph.core) keeps them, with a gradient"
            )
        for graph, adjoint in zip(self.inputs, self.adjoints):
            if graph.calc_grad:
                graph.accumulate(adjoint(grad))
        if not retain:
            self.inputs, self.adjoints, self.used_up = (), (), True


def record(function: Callable[..., Made], *inputs: Graph) -> Graph:
    """The graph that a function makes of others' cores, and on the tape how it was made.

    NaN and +inf, which gtnet refuses at its entrance, pass through, as in gtn. Weights that are set
    later do not change the tape: an adjoint that needs weights holds a copy.
    """
    for graph in inputs:
        if not isinstance(graph, Graph):
            raise TypeError(f"a Graph or a list of Graphs is expected, got {type(graph).__name__}")
    core, adjoints = function(*(graph.core for graph in inputs))
    learning = any(graph.calc_grad for graph in inputs)
    graph = Graph.holding(core, learning)
    if learning:
        graph._step = Step(inputs, adjoints)
    return graph


def same_arcs(core: gtnet.Graph) -> Made:
    """A graph with the arcs of its only input, under weights of its own."""
    return Made(with_weights(core, core.weights.clone()), (lambda grad: grad,))


def backward(g: Graph, grad: Graph | None = None, retain_graph: bool = False) -> None:
    """Add to every graph that `g` was computed from the derivatives of `g`'s weights times `grad`.

    Arguments: `grad` has as many arcs as `g`, by default ones; `retain_graph` keeps the tape for
    another call. Gradients add up until `zero_grad`, those of the graphs on the way as well.
    Raises ValueError where the tape is gone. Complexity: as the operations on the tape.
    """
    tape = _tape(g)
    if any(graph._step is not None and graph._step.used_up for graph in tape):
        raise ValueError(
            "backward: the tape is gone after the first call; call backward with retain_graph=True"
        )
    g.accumulate(torch.ones_like(g.core.weights) if grad is None else grad.core.weights)
    for graph in reversed(tape):
        if graph._step is not None and graph._grad is not None:
            graph._step.pull_back(graph._grad.core.weights, retain_graph)


def _tape(last: Graph) -> list[Graph]:
    """All graphs that `last` was computed from, each after its inputs, `last` at the end."""
    tape, seen = [], set()
    todo = [(last, False)]
    while todo:
        graph, inputs_done = todo.pop()
        if inputs_done:
            tape.append(graph)
        elif id(graph) not in seen:
            seen.add(id(graph))
            todo.append((graph, True))
            inputs = () if graph._step is None else graph._step.inputs
            todo.extend((one, False) for one in reversed(inputs))
    return tape
