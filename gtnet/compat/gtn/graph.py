"""Graph: built arc by arc, with weights that can be set and gradients of its own."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
import torch
from torch import Tensor

import gtnet
from gtnet.compat.gtn.device import Device
from gtnet.compat.gtn.growing import Growing
from gtnet.compat.gtn.shape import Shape
from gtnet.graph import built
from gtnet.interop import gtn

if TYPE_CHECKING:
    from gtnet.compat.gtn.tape import Step

_SHOWN, _SHOWN_WHOLE = 10, 20  # lines of a large graph; the largest graph printed whole
_accumulating = threading.Lock()


class Graph:
    """A weighted acceptor or transducer that grows by `add_node` and `add_arc`.

    Arguments: `calc_grad` says whether `backward` computes a gradient for this graph.

    `core` is the same graph as an immutable `gtnet.Graph`, made when it is first needed; its
    weights, float32 [arcs], are the storage of this graph's weights. `Graph.of` leads back.
    """

    __slots__ = (
        "__weakref__",
        "_calc_grad",
        "_core",
        "_grad",
        "_growing",
        "_shape",
        "_step",
        "_weights",
    )

    _growing: Growing | None
    _shape: Shape
    _weights: Tensor
    _core: gtnet.Graph | None
    _step: Step | None
    _grad: Tensor | None

    def __init__(self, calc_grad: bool = True) -> None:
        self._growing = Growing()
        self._core = self._step = self._grad = None
        self._calc_grad = bool(calc_grad)

    @classmethod
    def of(cls, core: gtnet.Graph | gtnet.Lattice, calc_grad: bool = True) -> Graph:
        """A graph made of a `gtnet.Graph`, which stays as it is: topology shared, scores copied.

        Raises ValueError for a batch of more or less than one graph.
        """
        core = built("Graph.of", "core", core)
        if len(core) != 1:
            raise ValueError(f"Graph.of: one graph is needed, got a batch of {len(core)}")
        weights, start, accept = (scores.detach() for scores in core.scores)
        weights = weights.to(torch.float32, copy=True)
        core = gtnet.Graph.from_topology(core.topology, weights, start.float(), accept.float())
        return cls.holding(core, calc_grad)

    @classmethod
    def holding(cls, core: gtnet.Graph, calc_grad: bool) -> Graph:
        """A graph whose core is this very one, float32, and no other's."""
        graph = cls.made(Shape(whole=core), core.weights, calc_grad)
        graph._core = core
        return graph

    @classmethod
    def made(
        cls, shape: Shape, weights: Tensor, calc_grad: bool, step: Step | None = None
    ) -> Graph:
        """A graph of a shape under weights that are no other's, and how it was computed."""
        graph = cls.__new__(cls)
        graph._growing = graph._core = graph._grad = None
        graph._shape, graph._weights, graph._calc_grad, graph._step = (
            shape,
            weights,
            calc_grad,
            step,
        )
        return graph

    def _close(self) -> None:
        """Make a shape of what was added."""
        growing = self._growing
        if growing is not None:
            # Before the columns are dropped: other threads may read them.
            words, self._weights = growing.packed()
            self._shape, self._core = Shape(words), None
            self._growing = None

    @property
    def shape(self) -> Shape:
        """All of this graph but its weights."""
        if self._growing is not None:
            self._close()
        return self._shape

    @property
    def values(self) -> Tensor:
        """The weights, float32 [arcs]: the very ones."""
        if self._growing is not None:
            self._close()
        return self._weights

    # Nodes and arcs

    def add_node(self, start: bool = False, accept: bool = False) -> int:
        """Add a node and return its number."""
        growing = self._growing or self._open("add_node")
        return growing.add_node(bool(start), bool(accept))

    def add_arc(
        self,
        src_node: SupportsIndex,
        dst_node: SupportsIndex,
        ilabel: SupportsIndex | None = None,
        olabel: SupportsIndex | None = None,
        weight: float | None = None,
        *,
        label: SupportsIndex | None = None,
    ) -> int:
        """Add an arc and return its number: `add_arc(src, dst, label)` one that writes what it
        reads, `add_arc(src, dst, ilabel, olabel, weight=0.0)` any.

        Raises ValueError for nodes that do not exist and labels below `epsilon`; TypeError for
        labels that are not integers and for a weight without `olabel`.
        """
        if label is not None or ilabel is None or (olabel is None and weight is not None):
            if (ilabel is None) == (label is None):
                raise TypeError("add_arc: give either label, or ilabel and olabel")
            if olabel is None and weight is not None:
                raise TypeError(
                    f"add_arc: a weight needs ilabel and olabel, got weight={weight!r} only"
                )
            ilabel = label if ilabel is None else ilabel
        growing = self._growing or self._open("add_arc")
        written = ilabel if olabel is None else olabel
        return growing.add_arc(src_node, dst_node, ilabel, written, weight or 0.0)

    def _open(self, function: str) -> Growing:
        """What nodes and arcs are added to."""
        if self._step is not None:
            raise ValueError(
                f"{function}: the graph is a result whose gradient is recorded; set calc_grad = "
                f"False first, or add to what it was made of"
            )
        if self._growing is None:
            self._growing, self._core = Growing.from_core(self.core), None
        return self._growing

    @property
    def core(self) -> gtnet.Graph:
        """This graph as a `gtnet.Graph`, valid until nodes or arcs are added. O(nodes + arcs)."""
        if self._core is None or self._growing is not None:
            core = self.shape.under(self.values)
            self._core, self._weights = core, core.weights  # its own in inference mode
            return core
        return self._core

    def num_nodes(self) -> int:
        """Nodes of the graph."""
        growing = self._growing
        return self._shape.num_nodes() if growing is None else growing.num_nodes

    def num_arcs(self) -> int:
        """Arcs of the graph."""
        growing = self._growing
        return self._weights.numel() if growing is None else growing.num_arcs

    def num_start(self) -> int:
        """Start nodes of the graph."""
        return int((self.core.start > -math.inf).sum())

    def num_accept(self) -> int:
        """Accepting nodes of the graph."""
        return int((self.core.accept > -math.inf).sum())

    def labels_to_list(self, ilabel: bool = True) -> list[int]:
        """What the arcs read, or with `ilabel=False` what they write."""
        return (self.core.ilabels if ilabel else self.core.olabels).tolist()

    def labels_to_numpy(self, ilabel: bool = True) -> np.ndarray:
        """`labels_to_list` as an int32 array [arcs]."""
        return np.array(self.labels_to_list(ilabel), dtype=np.int32)

    def arc_sort(self, olabel: bool = False) -> None:
        """Does nothing: composition here needs no order."""

    def mark_arc_sorted(self, olabel: bool = False) -> None:
        """Nothing: composition here needs no order."""

    # Weights

    def weights(self) -> int:
        """The address of the weights, float32 [arcs]; valid until nodes or arcs are added."""
        return self.values.data_ptr()

    def weights_to_list(self) -> list[float]:
        """The weights."""
        return self.values.tolist()

    def weights_to_numpy(self) -> np.ndarray:
        """A copy of the weights, float32 [arcs]."""
        return self.values.cpu().numpy().copy()

    def set_weights(self, weights: int | Sequence[float] | np.ndarray | Tensor) -> None:
        """Set all weights, in place: from the address of float32 [arcs], or from numbers, arrays
        and tensors of as many elements as there are arcs, of any shape, strides and dtype.

        Raises ValueError for another number of weights.
        """
        own = self.values
        if isinstance(weights, (int, np.integer)):
            if not own.is_cuda:
                ctypes.memmove(own.data_ptr(), int(weights), 4 * own.numel())
                return
            memory = (ctypes.c_float * own.numel()).from_address(int(weights))
            weights = np.ctypeslib.as_array(memory)
        new = weights.detach() if isinstance(weights, Tensor) else np.asarray(weights, np.float32)
        size = new.numel() if isinstance(new, Tensor) else new.size
        if size != own.numel():
            raise ValueError(f"set_weights: the graph has {own.numel()} arcs, got {size} weights")
        if isinstance(new, Tensor) or own.is_cuda:
            own.copy_(torch.as_tensor(new).reshape(-1))
        else:
            own.numpy()[:] = new.reshape(-1)  # with less ado than torch

    def item(self) -> float:
        """The weight of the only arc. Raises ValueError unless there is just one."""
        if self.num_arcs() != 1:
            raise ValueError(f"item: the graph must have one arc, got {self.num_arcs()}")
        return self.values.item()

    # Gradients

    @property
    def calc_grad(self) -> bool:
        """Whether `backward` computes a gradient for this graph; False forgets what there was."""
        return self._calc_grad

    @calc_grad.setter
    def calc_grad(self, value: bool) -> None:
        self._calc_grad = bool(value)
        if not value:
            self._step = None
            self.zero_grad()

    def is_grad_available(self) -> bool:
        """Whether there is a gradient."""
        return self._grad is not None

    def grad(self) -> Graph:
        """The gradient: this graph, whose weights are the derivatives with respect to its own.

        Raises RuntimeError where there is none.
        """
        if not self._calc_grad:
            raise RuntimeError("grad: the graph has calc_grad = False")
        if self._grad is None:
            raise RuntimeError("grad: not computed yet; call backward first")
        return Graph.made(self.shape, self._grad, calc_grad=False)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self._grad = None

    def accumulate(self, grad: Tensor) -> None:
        """Add derivatives with respect to the weights, [arcs], a tensor of nobody else's."""
        if not self._calc_grad:
            return
        with _accumulating:  # graphs shared by the calls of parallel_for
            if self._grad is None:
                self._grad = grad
            else:
                self._grad.add_(grad)

    # Devices and text

    def cpu(self) -> Graph:
        """A copy on the CPU, outside the tape; the graph itself if it is there."""
        return self._on("cpu")

    def cuda(self, device: Device | None = None) -> Graph:
        """A copy on a GPU, outside the tape; the graph itself if it is there."""
        return self._on("cuda" if device is None else device.name)

    def is_cuda(self) -> bool:
        """Whether the graph lives on a GPU."""
        return self.values.is_cuda

    @property
    def device(self) -> torch.device:
        """Where torch finds the graph."""
        return self.values.device

    def _on(self, name: str) -> Graph:
        core = self.core.to(name)
        if core.device == self.core.device:
            return self
        return Graph.holding(core, self._calc_grad)

    def __repr__(self) -> str:
        whole = max(self.num_nodes(), self.num_arcs()) <= _SHOWN_WHOLE
        return gtn.to_text(self.core, most=None if whole else _SHOWN)
