"""The tape: how graphs were computed from others, and gradients back along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

import gtnet
from gtnet.compat.gtn.graph import Graph, scores_of, with_scores


@dataclass
class Step:
    """How a graph was computed: `result` is torch's function of the scores of the operands."""

    inputs: tuple[Graph, ...]
    operands: tuple[gtnet.Graph, ...]
    result: gtnet.Graph | None

    def pull_back(self, grad: Graph, retain: bool) -> None:
        """Pull the gradient of the result back, and add it to those of the inputs."""
        assert self.result is not None and grad._grad is not None
        given = [grad._grad.core.weights, *grad._end_grads]
        pairs = [
            (scores, seed)
            for scores, seed in zip(scores_of(self.result), given)
            if scores.requires_grad and seed is not None
        ]
        if not pairs:
            raise RuntimeError(
                "backward: there is no gradient through remove, whose result has no weights (nor in"
                " gtn); gtnet.remove_epsilon(graph.core) keeps them, with a gradient"
            )
        leaves = [t for operand in self.operands for t in scores_of(operand) if t.requires_grad]
        outputs, seeds = zip(*pairs)
        grads = torch.autograd.grad(
            outputs, leaves, seeds, retain_graph=retain, materialize_grads=True
        )
        found = {id(leaf): grad for leaf, grad in zip(leaves, grads)}
        for graph, operand in zip(self.inputs, self.operands):
            if operand.weights.requires_grad:
                weights, *ends = (id(scores) for scores in scores_of(operand))
                graph.accumulate(found[weights], *map(found.get, ends))
        if not retain:
            self.inputs, self.operands, self.result = (), (), None


def record(function: Callable[..., gtnet.Graph], *inputs: Graph) -> Graph:
    """The graph that a function of `gtnet.Graph`s makes, and on the tape how it was made.

    NaN and +inf, which gtnet refuses at its entrance, pass through, as in gtn.
    """
    for graph in inputs:
        if not isinstance(graph, Graph):
            raise TypeError(f"a Graph or a list of Graphs is expected, got {type(graph).__name__}")
    if not any(graph.calc_grad for graph in inputs):
        with torch.no_grad():
            return Graph.of(function(*(graph.core for graph in inputs)), calc_grad=False)
    operands = tuple(_operand(graph) for graph in inputs)
    with torch.enable_grad():  # also inside the forward of a torch.autograd.Function
        result = function(*operands)
    graph = Graph.of(result)
    graph._step = Step(inputs, operands, result)
    return graph


def _operand(graph: Graph) -> gtnet.Graph:
    """The core with its own copy of the scores: new weights set later do not change the tape."""
    core, made = graph.core, graph._step.result if graph._step is not None else None
    weights = core.weights.clone().requires_grad_(graph.calc_grad)
    start, accept = core.start, core.accept
    if made is not None:
        start = start.detach().requires_grad_(made.start.requires_grad)
        accept = accept.detach().requires_grad_(made.accept.requires_grad)
    return with_scores(core, weights, start, accept)


def backward(g: Graph, grad: Graph | None = None, retain_graph: bool = False) -> None:
    """Add to every graph that `g` was computed from the derivatives of `g`'s weights times `grad`.

    Arguments: `grad` has as many arcs as `g`, by default ones; `retain_graph` keeps the tape for
    another call. Gradients add up until `zero_grad`, those of the graphs on the way as well.
    Raises ValueError where the tape is gone. Complexity: as the operations on the tape.
    """
    tape = _tape(g)
    if any(graph._step is not None and graph._step.result is None for graph in tape):
        raise ValueError(
            "backward: the tape is gone after the first call; call backward with retain_graph=True"
        )
    core = g.core
    g.accumulate(torch.ones_like(core.weights) if grad is None else grad.core.weights, None, None)
    for graph in reversed(tape):
        if graph._step is not None and graph._grad is not None:
            graph._step.pull_back(graph, retain_graph)


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
