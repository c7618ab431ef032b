"""What runs on a GPU, under tests with tensors on the CPU: emulated, or on a real GPU.

By default operators that have a CUDA implementation are emulated (csrc/block/emulated.h), three
times, with threads and blocks in other orders and other bytes in memory that nobody wrote. With
`pytest --device fibers` every thread is a fiber (csrc/block/fibers.h), which is slower, and what a
GPU would run is run whole. With `pytest --device cuda` they run on the GPU, twice. In all cases
results must agree bit for bit.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

import gtnet
from gtnet import _ops
from gtnet._ops import library

KEYS = {"emulated": "PrivateUse1", "fibers": "PrivateUse1", "cuda": "CUDA"}
ORDERS = range(3)
SHARED_BYTES = 48 << 10
UNWRITTEN = {"lattice_score": {1}}  # results with gaps: alphas behind the length of an item

device = "emulated"  # what conftest.py finds on the command line


def library_of(emulation: str) -> Path:
    """Where an emulation is, if it was built."""
    return Path(gtnet.__file__).parent / f"_{emulation}.abi3.so"


def choose(name: str) -> None:
    """Run on a device from now on; once, as two emulations would take each other's place."""
    global device
    device = name
    if name != "cuda" and library_of(name).exists():
        torch.ops.load_library(str(library_of(name)))


def missing() -> str | None:
    """Why tests of what runs on a GPU cannot run here."""
    if device == "cuda":
        return None if _ops.HAS_CUDA and torch.cuda.is_available() else "there is no GPU here"
    if library_of(device).exists():
        return None
    built = f"GTNET_EMULATED={device} python setup.py build_ext --inplace"
    return f"{library_of(device).name} is built in place only: {built}"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on the CPU are worked on as those on a GPU."""
    if reason := missing():
        pytest.skip(reason)
    monkeypatch.setattr(library, "on_gpu", lambda tensor: True)


@pytest.fixture
def emulated_only(on_gpu: None) -> None:
    """For tests of what only the emulations have."""
    if device == "cuda":
        pytest.skip("only emulations have this")


def runs_there(func: Any) -> bool:
    """Whether an operator has an implementation for a GPU."""
    return func.namespace == "gtnet" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func._schema.name, KEYS[device]
    )


@functools.cache  # asked of every operator of torch too
def _kernel(func: Any) -> str | None:
    """The name of an operator that has an implementation for a GPU."""
    return func._schema.name.removeprefix("gtnet::") if runs_there(func) else None


class OnGpu(TorchDispatchMode):
    """Within it, operators on CPU tensors run as they would on a GPU; `ran` names them."""

    def __init__(self, shared_bytes: int = SHARED_BYTES) -> None:
        super().__init__()
        self.shared_bytes = shared_bytes
        self.ran: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = _kernel(func)
        if name is None or _is_chains_only(name, args):
            return func(*args, **(kwargs or {}))
        self.ran.add(name)
        args = _as_on_a_gpu(name, args)
        found = list(self._runs(func, name, args))
        gaps = UNWRITTEN.get(name, ())
        first, *others = (
            [t for i, t in enumerate(tree_flatten(result)[0]) if i not in gaps] for result in found
        )
        for other in others:
            agree = all(same_bits(*pair) for pair in zip(first, other, strict=True))
            assert agree, f"{func}: the result depends on the order of threads"
        return found[0]

    def _runs(self, func: Any, name: str, args: Any) -> Any:
        if device == "cuda":
            stay = []
            if name.startswith("lattice_"):  # sizes, which launches depend on
                words = _words(name)
                stay = [args[words + 1], *args[words - 1][-3:-2]]
            moved = tree_map_only(
                Tensor, lambda t: t if any(t is one for one in stay) else t.cuda(), args
            )
            for _ in range(2):
                yield tree_map_only(Tensor, Tensor.cpu, func(*moved))
            return
        for order in ORDERS:
            torch.ops.gtnet_emulated.settings(order, self.shared_bytes)
            yield func._op_dk(torch._C.DispatchKey.PrivateUse1, *args)


def _words(name: str) -> int:
    """Which argument of an operator on lattices holds the layout of the graphs."""
    return 6 if name == "lattice_score_backward" else 2


OVER_SEGMENTS = {"score", "score_backward", "best", "posteriors"}


def _is_chains_only(name: str, args: tuple) -> bool:
    """Whether these are cuts of a segmentation, for which no GPU has kernels."""
    chains = name.startswith("lattice_") and name[8:] not in OVER_SEGMENTS
    return chains and len(args[_words(name) - 1]) > 1


def _as_on_a_gpu(name: str, args: tuple) -> tuple:
    """The arguments as Python passes them for tensors on a GPU."""
    if name == "take_backward" and args[2] is None:
        return (*args[:2], torch.argsort(args[1], stable=True), *args[3:])
    if name.startswith("lattice_"):
        words = _words(name)
        steps = _ops.block_steps(*args[words : words + 2])
        return (*args[: words - 1], _cuts(args[words - 1]), *steps, *args[words + 2 :])
    return args


def _cuts(cuts: list[Tensor]) -> list[Tensor]:
    """The cuts as Emissions has them on a GPU."""
    if len(cuts) == 1:
        return cuts
    most = torch.cat([torch.zeros(1, dtype=torch.int64), cuts[0].diff()]).max().reshape(1)
    return [*cuts[:-2], *_ops.segments_of_cuts(*cuts[:5]), most, *cuts[-2:]]


def same_bits(a: Any, b: Any) -> bool:
    """Equal in every bit, or the same plain value."""
    if not isinstance(a, Tensor):
        return bool(a == b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(*(t.contiguous().view(-1).view(torch.uint8) for t in (a, b)))
