"""What runs on a GPU, run on the CPU: operators are replaced by their stand-ins (csrc/standin.h).

Every operator that has a CUDA implementation is done three times, with threads and blocks in
other orders and other bytes in memory that nobody wrote; results must agree bit for bit.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import gtnet
from gtnet import _ops
from gtnet.topology import Topology

LIBRARY = Path(gtnet.__file__).parent / "_standin.abi3.so"
KEY = torch._C.DispatchKey.PrivateUse1
ORDERS = range(3)
SHARED_BYTES = 48 << 10
UNWRITTEN = {"lattice_score": {1}}  # results with gaps: alphas behind the length of an item

if LIBRARY.exists():
    torch.ops.load_library(str(LIBRARY))

needed = pytest.mark.skipif(
    not LIBRARY.exists(),
    reason=f"{LIBRARY.name} is built in place only: python setup.py build_ext --inplace",
)


def has_standin(func: Any) -> bool:
    """Whether an operator has an implementation for a GPU."""
    return func.namespace == "gtnet" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func._schema.name, "PrivateUse1"
    )


class StandIn(TorchDispatchMode):
    """Within it, operators on CPU tensors run as they would on a GPU; `ran` names them."""

    def __init__(self, shared_bytes: int = SHARED_BYTES) -> None:
        super().__init__()
        self.shared_bytes = shared_bytes
        self.ran: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removeprefix("gtnet::")
        if not has_standin(func) or is_segmentation(name, args):
            return func(*args, **(kwargs or {}))
        self.ran.add(name)
        args = as_on_a_gpu(name, args)
        found = []
        for order in ORDERS:
            torch.ops.gtnet_standin.settings(order, self.shared_bytes)
            found.append(func._op_dk(KEY, *args, **(kwargs or {})))
        kept = UNWRITTEN.get(name, ())
        first, *others = (
            [t for i, t in enumerate(tree_flatten(r)[0]) if i not in kept] for r in found
        )
        for other in others:
            agree = all(same_bits(*pair) for pair in zip(first, other, strict=True))
            assert agree, f"{func}: the result depends on the order of threads"
        return found[0]


def is_segmentation(name: str, args: tuple) -> bool:
    """Whether these are cuts of a segmentation, for which no GPU has kernels."""
    if not name.startswith("lattice_"):
        return False
    return len(args[5] if name == "lattice_score_backward" else args[1]) > 1


def as_on_a_gpu(name: str, args: tuple) -> tuple:
    """The arguments as Python passes them for tensors on a GPU."""
    if name == "take_backward" and args[2] is None:
        return (*args[:2], torch.argsort(args[1], stable=True), *args[3:])
    if name.startswith("lattice_"):
        words = 6 if name == "lattice_score_backward" else 2
        return (*args[:words], *_ops.block_steps(*args[words : words + 2]), *args[words + 2 :])
    return args


def same_bits(a: Any, b: Any) -> bool:
    """Equal in every bit, or the same plain value."""
    if not isinstance(a, Tensor):
        return bool(a == b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    flat = [torch.empty(t.numel(), dtype=t.dtype).copy_(t.flatten()) for t in (a, b)]
    return torch.equal(*(t.view(torch.uint8) for t in flat))


def layered(topology: Topology) -> tuple[Tensor, Tensor | None] | str:
    """The walk that `Topology.to` brings to a GPU."""
    plain = _plain_order(topology)
    if isinstance(plain, str):
        return plain
    offsets, _, sources = topology.entering.by_state()
    return _ops.layers(topology.state_offsets, plain[0], offsets, sources)


_plain_order = Topology.__dict__["_order_and_bounds"].func


def prepare_as_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topologies on the CPU are prepared as those that were moved."""
    prepared = cached_property(layered)
    prepared.__set_name__(Topology, "_order_and_bounds")
    monkeypatch.setattr(Topology, "_order_and_bounds", prepared)
