"""Graph: a batch of weighted automata whose scores are ordinary torch tensors."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from gtnet import _checks, _numbers, _ops
from gtnet._arguments import graph_parts
from gtnet._isomorphism import isomorphic
from gtnet._maps import each_map
from gtnet._memory import unmapped
from gtnet._notebook import Shown
from gtnet._operators import Operators
from gtnet._ordinary import in_inference_mode, ordinary_tensors
from gtnet._text import describe
from gtnet.topology import Topology, stack_topologies

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Graph(Operators, Shown):
    """A batch of weighted acceptors or transducers; a batch of one is the common case.

    `Graph(source, target, ilabels, ...)` builds one graph from arrays of its arcs; `stack` makes
    a batch of several. Weights are log-domain scores: larger is better, -inf is impossible. The
    topology never changes; `weights`, `start` and `accept` are torch tensors that may require
    grad.

    Arguments:
        source, target: states of each arc, integers [arcs].
        ilabels: label read by each arc, integers [arcs]; `EPSILON` (-1) reads nothing.
        olabels: label written by each arc, integers [arcs]; None makes an acceptor.
        weights: score of each arc, float32 or float64 [arcs]; None means 0 everywhere.
        start, accept: where paths begin and end: a state, several states (score 0 each), a
            mapping state -> score, or a float tensor of scores [states] (-inf: not such a state).
        num_states: number of states; by default one more than the largest state named.

    Raises: TypeError for wrong dtypes; ValueError for NaN or +inf scores, arrays of different
    lengths, mixed devices, states out of range, labels below EPSILON.
    Complexity: O(states + arcs), without any work per arc in Python.
    """

    __slots__ = ("__weakref__", "accept", "arc_maps", "start", "state_maps", "topology", "weights")

    topology: Topology
    weights: Tensor
    start: Tensor
    accept: Tensor
    arc_maps: Sequence[Tensor] | None
    state_maps: Sequence[Tensor] | None

    def __init__(
        self,
        source: Any,
        target: Any,
        ilabels: Any,
        olabels: Any = None,
        weights: Any = None,
        *,
        start: Any = 0,
        accept: Any,
        num_states: int | None = None,
    ) -> None:
        columns = {"source": source, "target": target, "ilabels": ilabels}
        if olabels is not None:
            columns["olabels"] = olabels
        self._fill(*graph_parts(columns, weights, start, accept, num_states))

    def _fill(
        self,
        topology: Topology,
        weights: Tensor,
        start: Tensor,
        accept: Tensor,
        arc_maps: Sequence[Tensor] | None = None,
        state_maps: Sequence[Tensor] | None = None,
    ) -> None:
        if in_inference_mode():
            weights, start, accept = ordinary_tensors(weights, start, accept)
            arc_maps, state_maps = (
                ordinary_tensors(*m) if isinstance(m, tuple) else m for m in (arc_maps, state_maps)
            )
        self.topology = topology
        self.weights = weights
        self.start = start
        self.accept = accept
        self.arc_maps = arc_maps
        self.state_maps = state_maps

    @classmethod
    def from_topology(
        cls,
        topology: Topology,
        weights: Tensor,
        start: Tensor,
        accept: Tensor,
        *,
        arc_maps: Sequence[Tensor] | None = None,
        state_maps: Sequence[Tensor] | None = None,
    ) -> Graph:
        """Puts scores on an existing topology, unchecked: for code that made both itself."""
        graph = cls.__new__(cls)
        graph._fill(topology, weights, start, accept, arc_maps, state_maps)
        return graph

    # Sizes and places

    def __len__(self) -> int:
        """Graphs in the batch."""
        return self.topology.num_graphs

    @property
    def num_states(self) -> int:
        """States of the whole batch."""
        return self.topology.num_states

    @property
    def num_arcs(self) -> int:
        """Arcs of the whole batch."""
        return self.topology.num_arcs

    @property
    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights [arcs], start and accept scores [states]."""
        return self.weights, self.start, self.accept

    @property
    def state_offsets(self) -> Tensor:
        """Graph i owns the states [state_offsets[i], state_offsets[i + 1]), int64 [graphs + 1]."""
        return self.topology.state_offsets

    @property
    def arc_offsets(self) -> Tensor:
        """Graph i owns the arcs [arc_offsets[i], arc_offsets[i + 1]), int64 [graphs + 1]."""
        return self.topology.arc_offsets

    @property
    def source(self) -> Tensor:
        """Source state of each arc, numbered within its graph, int32 [arcs]."""
        return self.topology.source

    @property
    def target(self) -> Tensor:
        """Target state of each arc, numbered within its graph, int32 [arcs]."""
        return self.topology.target

    @property
    def ilabels(self) -> Tensor:
        """Label that each arc reads, int32 [arcs]."""
        return self.topology.ilabels

    @property
    def olabels(self) -> Tensor:
        """Label that each arc writes, int32 [arcs]."""
        return self.topology.olabels

    @property
    def is_acceptor(self) -> bool:
        """Whether every arc writes what it reads."""
        return self.topology.is_acceptor

    @property
    def device(self) -> torch.device:
        """Where the graph lives."""
        return self.weights.device

    @property
    def dtype(self) -> torch.dtype:
        """float32 or float64."""
        return self.weights.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether any score of the graph requires grad."""
        return any(t.requires_grad for t in (self.weights, self.start, self.accept))

    # Batches

    def __getitem__(self, index: Any) -> Graph:
        """One graph, a slice, or a choice of graphs of the batch; scores stay in autograd.

        `index`: an integer, a slice, several integers (a sequence, tensor or array), or a mask of
        one boolean for each graph. Raises TypeError for anything else, IndexError for what the
        batch does not have.
        """
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step == 1:
                return self._span(first, max(first, last))
            index = list(range(first, last, step))
        if isinstance(index, int) and not isinstance(index, bool):
            first = _index(index, len(self))
            return self._span(first, first + 1)
        given = _indices(index, len(self))
        if isinstance(given, int):
            return self._span(given, given + 1)
        chosen = [self[i] for i in given]
        return _with_maps(stack(chosen), chosen) if chosen else self._span(0, 0)

    def __iter__(self) -> Iterator[Graph]:
        """The graphs of the batch, one by one."""
        return (self[i] for i in range(len(self)))

    def _span(self, first: int, last: int) -> Graph:
        topology, states, arcs = self.topology.span(first, last)
        return Graph.from_topology(
            topology,
            self.weights[arcs],
            self.start[states],
            self.accept[states],
            arc_maps=each_map(self.arc_maps, lambda m: m[arcs]),
            state_maps=each_map(self.state_maps, lambda m: m[states]),
        )

    # New scores on the same topology

    def with_weights(self, weights: Any = None, *, start: Any = None, accept: Any = None) -> Graph:
        """The same topology under new scores: `weights` [arcs], `start` and `accept` [states].

        What is None stays. Raises TypeError or ValueError as the constructor does.
        """
        sizes = {"weights": self.num_arcs, "start": self.num_states, "accept": self.num_states}
        given = {"weights": weights, "start": start, "accept": accept}
        new = {
            name: getattr(self, name)
            if value is None
            else _checks.scores("with_weights", name, value, sizes[name])
            for name, value in given.items()
        }
        _checks.same_device("with_weights", graph=self.source, **new)
        _checks.same_dtype("with_weights", **new)
        return Graph.from_topology(
            self.topology,
            new["weights"],
            new["start"],
            new["accept"],
            arc_maps=self.arc_maps,
            state_maps=self.state_maps,
        )

    def detach(self) -> Graph:
        """The same graph outside autograd."""
        return self._with_each(Tensor.detach)

    def requires_grad_(self, requires_grad: bool = True) -> Graph:
        """Ask for gradients of all scores, in place; returns the graph."""
        for tensor in (self.weights, self.start, self.accept):
            tensor.requires_grad_(requires_grad)
        return self

    def to(self, *targets: torch.device | torch.dtype | str) -> Graph:
        """The graph on another device and/or with scores of another dtype."""
        graph = self
        for target in targets:
            if isinstance(target, torch.dtype):
                if target not in (torch.float32, torch.float64):
                    raise TypeError(f"to: scores must be float32 or float64, got {target}")
                graph = graph._with_each(lambda t, dtype=target: t.to(dtype))
            else:
                graph = graph._moved(_device(target))
        return graph

    def _with_each(self, change: Any) -> Graph:
        return Graph.from_topology(
            self.topology,
            change(self.weights),
            change(self.start),
            change(self.accept),
            arc_maps=self.arc_maps,
            state_maps=self.state_maps,
        )

    def _moved(self, device: torch.device) -> Graph:
        if device.type == "cuda" and not _ops.HAS_CUDA:
            raise ValueError(
                "to: this gtnet was built without its CUDA extension (or this torch has no CUDA): "
                "install a CUDA build of torch and nvcc, then `pip install .` in the checkout"
            )
        return Graph.from_topology(
            self.topology.to(device),
            self.weights.to(device),
            self.start.to(device),
            self.accept.to(device),
            arc_maps=each_map(self.arc_maps, lambda m: m.to(device)),
            state_maps=each_map(self.state_maps, lambda m: m.to(device)),
        )

    # Comparison

    def equal(self, other: Graph | Lattice) -> bool:
        """Whether both batches have the same states, arcs, labels and scores in the same order."""
        other = built("equal", "other", other)
        unmapped("equal", self, other)
        if self.device != other.device:
            return False
        pairs = list(zip(_tensors(self), _tensors(other)))
        if not all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs):
            return False
        if self.device.type == "cpu":
            return all(torch.equal(a, b) for a, b in pairs)
        return bool(torch.stack([(a == b).all() for a, b in pairs]).all())  # waits once

    def isomorphic(self, other: Graph | Lattice, *, tolerance: float = 0.0) -> bool:
        """Whether the batches are equal, graph by graph, up to the numbering of states and arcs.

        Scores may differ by `tolerance` >= 0. Raises ValueError for another tolerance.
        Complexity: O(arcs · log states) where scores, labels and arcs tell the states apart;
        where they do not, exponential in the worst case (strongly regular graphs).
        """
        other = built("isomorphic", "other", other)
        unmapped("isomorphic", self, other)
        if tolerance != 0:
            tolerance = _checks.tolerance("isomorphic", "tolerance", tolerance)
        if len(self) != len(other):
            return False
        return all(isomorphic(a, b, tolerance) for a, b in zip(self, other))

    # Text

    def __repr__(self) -> str:
        return describe(self)


def _index(index: int, size: int) -> int:
    """A place in a batch; negative ones count from its end."""
    if not -size <= index < size:
        raise IndexError(f"Graph: index {index} in a batch of {size} graphs")
    return index % size


def _indices(index: Any, size: int) -> int | list[int]:
    """A place in a batch, or several."""
    mask = _numbers.mask(index)
    if mask is not None and mask.ndim:
        if mask.shape != (size,):
            raise IndexError(
                f"Graph: a mask must have shape [{size}], a boolean for each graph of the batch, "
                f"got {list(mask.shape)}"
            )
        return mask.nonzero().flatten().tolist()
    wanted = "an integer, a slice, integers or a mask is expected as index"
    names_none = isinstance(index, str | bytes) or index is None or index is ...
    if names_none or _numbers.flag(index) is not None:
        raise TypeError(f"Graph: {wanted}, got {index!r}")
    if not isinstance(index, Tensor) and hasattr(index, "__index__"):
        try:
            return _index(operator.index(index), size)
        except TypeError:  # an array of several
            pass
    if isinstance(index, Iterable) and not hasattr(index, "__len__"):
        index = list(index)
    tensor = _numbers.tensor_of("Graph", "index", index)
    if tensor.ndim == 0:
        if tensor.is_floating_point() or tensor.dtype == torch.bool:
            raise TypeError(f"Graph: {wanted}, got {index!r}")
        return _index(int(tensor), size)
    return [_index(i, size) for i in _checks.integral("Graph", "index", index).tolist()]


def _with_maps(batch: Graph, parts: list[Graph]) -> Graph:
    """The maps of parts that came from the same operands, one after another."""
    for name in ("arc_maps", "state_maps"):
        maps = [getattr(part, name) for part in parts]
        if all(m is not None for m in maps):
            joined = (torch.cat(same) for same in zip(*maps, strict=True))
            setattr(batch, name, ordinary_tensors(*joined))
    return batch


class Unbuilt(Operators, Shown):
    """What composition promises: a batch of graphs that `graph()` multiplies out."""

    __slots__ = ()

    def graph(self) -> Graph:
        """The product, built."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> Graph:
        """Graphs of the product, built, as a Graph gives them."""
        return self.graph()[index]

    def __iter__(self) -> Iterator[Graph]:
        """The graphs of the product, one by one."""
        return iter(self.graph())


def built(function: str, name: str, value: object) -> Graph:
    """The graph that was given, or the product that was promised; refuses anything else."""
    if isinstance(value, Graph):
        return value
    return lazy(function, name, value).graph()


def lazy(function: str, name: str, value: object) -> Lattice:
    """What was given and is no Graph, as the Lattice that it must then be; refuses the rest."""
    if not isinstance(value, Unbuilt):
        raise TypeError(f"{function}: {name} must be a Graph, got {type(value).__name__}")
    return cast("Lattice", value)


def learnt(graph: Graph) -> bool:
    """Whether a derivative by any of the scores may be asked for, in reverse or forward mode."""
    return _ops.learnt(graph.weights, graph.start, graph.accept)


def stack(graphs: Sequence[Graph | Lattice]) -> Graph:
    """The graphs (or batches) one after another as a single batch; scores stay in autograd.

    Raises: ValueError for an empty list or mixed devices, TypeError for mixed dtypes.
    Complexity: O(states + arcs).
    """
    parts = [built("stack", f"graphs[{i}]", part) for i, part in enumerate(graphs)]
    if not parts:
        raise ValueError("stack: at least one graph is needed, got none")
    if len(parts) == 1:
        return parts[0]
    _checks.same_device("stack", **{f"graphs[{i}]": part.weights for i, part in enumerate(parts)})
    _checks.same_dtype("stack", **{f"graphs[{i}]": part.weights for i, part in enumerate(parts)})
    return Graph.from_topology(
        stack_topologies([part.topology for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.cat([part.start for part in parts]),
        torch.cat([part.accept for part in parts]),
    )


def _device(target: torch.device | str) -> torch.device:
    try:
        return torch.device(target)
    except (RuntimeError, TypeError):
        raise ValueError(f"to: a device or a dtype is expected, got {target!r}") from None


def _tensors(graph: Graph) -> tuple[Tensor, ...]:
    topology = graph.topology
    return (
        topology.state_offsets,
        topology.arc_offsets,
        topology.source,
        topology.target,
        topology.ilabels,
        topology.olabels,
        graph.weights,
        graph.start,
        graph.accept,
    )
