"""A CUDA device that is the CPU in disguise: it computes, and complains as a GPU would.

Tensors "on" it hold their numbers on the CPU. Operators of gtnet run emulated for the CUDA
executor, or refuse as they do on a GPU; operators of torch run on the CPU, after a check that all
they are given lies on the device. Whatever would wait for the device is noted in `waits`, whatever
would be copied there from the CPU in `copies`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import emulated
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from gtnet import _ops
from gtnet._ops import library
from gtnet.free_alignments import bigram_topology
from gtnet.padded_alignments import _layout

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense,
    aten._unique2,
    aten.equal,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
    aten.unique_dim_consecutive,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class There(Tensor):
    """A tensor that says it is on a GPU; `inner` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        there = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CPU,  # so that autograd's engine looks for no GPU
        )
        there.inner = inner
        return there

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"There({self.inner!r})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise AssertionError(f"{func} works on a pretended device outside of it")

    # What torch would do without asking: it takes these tensors for those of the CPU.

    def cpu(self) -> Tensor:
        return _to(self, "cpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA, **kwargs})


class _Move(torch.autograd.Function):
    """From one device to the other."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, place: torch.device) -> Tensor:
        ctx.back = tensor.device
        return aten._to_copy(tensor, device=place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Move.apply(grad, ctx.back), None


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to`, which would look for a GPU."""
    where = [a for a in args if isinstance(a, (str, torch.device))] or [kwargs.pop("device", None)]
    rest = [a for a in args if not isinstance(a, (str, torch.device))]
    if where[0] is not None and torch.device(where[0]).type != tensor.device.type:
        tensor = _Move.apply(tensor, CUDA if torch.device(where[0]).type == "cuda" else CPU)
    kwargs.pop("non_blocking", None)
    if not rest and kwargs.pop("copy", False):
        return tensor.clone()
    return _plain_to(tensor, *rest, **kwargs) if rest or kwargs else tensor


def _made_here(make: Any) -> Any:
    """`torch.tensor` or `torch.as_tensor`, which would look for a GPU."""

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        if isinstance(data, There):
            return _to(data, **kwargs)
        tensor = make(data, **kwargs)
        return tensor if device is None else _to(tensor, device)

    return made


_plain_to = Tensor.to


class Pretended(TorchDispatchMode):
    """Within it there is a CUDA device; `waits` and `copies` tell what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.copies: list[str] = []

    def move(self, value: Any) -> Any:
        """A tensor, or all tensors in a structure, put there without a note."""
        return tree_map_only(Tensor, lambda t: There(t.detach().clone()), value)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        there = any(isinstance(t, There) for t in given)
        wanted = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if func.namespace == "gtnet" and there:
            found = self._gtnet(func, *_inside((args, kwargs)))
        else:
            self._note(func, args, kwargs, given, there, wanted)
            if wanted is not None:
                kwargs = {**kwargs, "device": CPU}
            found = func(*_inside(args), **_inside(kwargs))
        if func._schema.is_mutable and isinstance(args[0], There):
            return args[0]
        if there if wanted is None else wanted.type == "cuda":
            return tree_map_only(Tensor, There, found)
        return found

    def _gtnet(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = func._schema.name
        if not torch._C._dispatch_has_kernel_for_dispatch_key(name, "PrivateUse1"):
            return library.refusal(name)()
        found = []
        for order in emulated.ORDERS:
            torch.ops.gtnet_emulated.settings(order, emulated.SHARED_BYTES)
            found.append(func._op_dk(torch._C.DispatchKey.PrivateUse1, *args, **kwargs))
        gaps = emulated.UNWRITTEN.get(name.removeprefix("gtnet::"), ())
        columns = enumerate(zip(*(tree_flatten(one)[0] for one in found), strict=True))
        written = [column for place, column in columns if place not in gaps]
        assert all(emulated.same_bits(first, other) for first, *rest in written for other in rest)
        return found[0]

    def _note(
        self,
        func: Any,
        args: Any,
        kwargs: dict[str, Any],
        given: list[Tensor],
        there: bool,
        wanted: torch.device | None,
    ) -> None:
        packet, name = func._overloadpacket, str(func)
        if wanted is not None and given and wanted.type != ("cuda" if there else "cpu"):
            (self.waits if there else self.copies).append(name)
            return
        if not there:
            return
        here = [t for t in given if not isinstance(t, There) and t.ndim]
        if packet in INDEXING:
            self.copies += [name] * len(here)
            if any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]):
                self.waits.append(name)
        elif here:
            if packet is aten.copy_:
                (self.copies if isinstance(args[0], There) else self.waits).append(name)
            else:
                raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        if packet in WAITS:
            self.waits.append(name)
        if packet is aten.repeat_interleave and kwargs.get("output_size") is None:
            self.waits.append(name)


def _inside(value: Any) -> Any:
    return tree_map_only(There, lambda t: t.inner, value)


class Real:
    """A GPU in the place of the pretended one, where `pytest --device cuda` asks for it."""

    def __init__(self) -> None:
        self.waits: list[str] = []

    def move(self, value: Any) -> Any:
        return tree_map_only(Tensor, lambda t: t.detach().cuda(), value)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended | Real]:
    """A CUDA device, pretended by default, and this gtnet built for it."""
    if reason := emulated.missing():
        pytest.skip(reason)
    if emulated.device == "cuda":
        yield Real()
        return
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.Tensor, "to", _to)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: _to(tensor, "cuda"))
    monkeypatch.setattr(torch, "tensor", _made_here(torch.tensor))
    monkeypatch.setattr(torch, "as_tensor", _made_here(torch.as_tensor))
    monkeypatch.setattr(_ops, "HAS_CUDA", True)
    with Pretended() as mode:
        yield mode
    for kept in (_layout, bigram_topology):  # by device, and hold what is of this one
        kept.cache_clear()
