"""Argument checks of the public functions: one wording for every error."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _numbers

if TYPE_CHECKING:
    from gtnet.graph import Graph

EPSILON = -1
NEG_INF = float("-inf")
SHORT = _numbers.SHORT  # emissions may have these dtypes, on a GPU as they are
LARGEST = 2**31 - 1  # states and arcs of a batch are counted in int32
HIGHEST = {torch.float32: 2.0**107, torch.float64: 2.0**1000}  # a score: a million add up
MAX_ARCS = 100_000_000  # of a result, by default: about 4 GB


Extremes = dict[str, tuple[float, float]]  # of named tensors that are not empty


def extremes(tensors: Mapping[str, Tensor]) -> Extremes:
    """The smallest and the largest number of each; waits once for those on a GPU.

    Of none where torch.compile traces, which does not look at data.
    """
    if torch.compiler.is_compiling():
        return {}
    found = {name: plain(t).aminmax() for name, t in tensors.items() if t.numel()}
    if not found or next(iter(found.values())).min.device.type == "cpu":
        return {name: (low.item(), high.item()) for name, (low, high) in found.items()}
    table = torch.stack([torch.stack(pair).double() for pair in found.values()]).tolist()
    return {name: (low, high) for name, (low, high) in zip(found, table)}


def plain(tensor: Tensor) -> Tensor:
    """All the numbers of a tensor, also of one that torch.func differentiates or maps."""
    if torch._C._are_functorch_transforms_active():
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.detach()


def possible(scores: Tensor) -> Tensor:
    """Which scores are not -inf; under torch.vmap, in any place, so that all have one topology."""
    found = scores.detach() > NEG_INF
    if torch._C._are_functorch_transforms_active():
        functorch = torch._C._functorch
        while functorch.is_functorch_wrapped_tensor(found):
            inside = functorch.get_unwrapped(found)
            batched = functorch.is_batchedtensor(found)
            found = inside.any(functorch.maybe_get_bdim(found)) if batched else inside
    return found


def plain_scores(graph: Graph) -> list[Tensor]:
    """Weights, start and accept scores as operators read them, outside of autograd."""
    return [plain_one(graph.weights), plain_one(graph.start), plain_one(graph.accept)]


def plain_one(scores: Tensor) -> Tensor:
    """Scores as operators read them, outside of autograd."""
    return (scores.detach() if scores.requires_grad else scores).contiguous()


def tensor(function: str, name: str, value: object) -> None:
    """Refuse what is no tensor, and so can have no gradient."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(value).__name__}")


def integral(function: str, name: str, values: object) -> Tensor:
    """`values` as a one-dimensional tensor of integers; floats and booleans are refused."""
    tensor = _numbers.tensor_of(function, name, values)
    if tensor.numel() == 0 and not isinstance(values, Tensor):
        tensor = tensor.to(torch.int32)
    if tensor.dtype not in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"{function}: {name} must be integers, got {tensor.dtype}")
    if tensor.ndim != 1:
        raise ValueError(f"{function}: {name} must have one dimension, got {list(tensor.shape)}")
    return tensor


def narrowed(function: str, name: str, tensor: Tensor, seen: Extremes) -> Tensor:
    """Integers as int32; what does not fit, as `extremes` has seen it, is refused."""
    for extreme in seen.get(name, ()):
        if abs(extreme) > LARGEST:
            raise ValueError(f"{function}: {name} must fit in 32 bits, got {int(extreme)}")
    return tensor.to(torch.int32, copy=True).contiguous()  # later writes must not reach a topology


def integers(function: str, name: str, values: object) -> Tensor:
    """`values` as a one-dimensional int32 tensor; floats and booleans are refused."""
    tensor = integral(function, name, values)
    seen = extremes({name: tensor}) if tensor.dtype == torch.int64 else {}
    return narrowed(function, name, tensor, seen)


def floats(
    function: str,
    name: str,
    values: object,
    size: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """`values` as a float32 or float64 tensor, whatever it holds.

    Python numbers have no dtype of their own and take `dtype`, by default torch's default. Under
    autocast half precision becomes float32, as for torch's own losses.
    """
    if isinstance(values, Tensor):
        tensor = values
    else:
        tensor = _numbers.tensor_of(function, name, values, _numbers.float_dtype(dtype))
    if tensor.dtype in SHORT and torch.is_autocast_enabled(tensor.device.type):
        tensor = tensor.float()
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{function}: {name} must be float32 or float64, got {tensor.dtype}")
    if size is not None and tuple(tensor.shape) != (size,):
        raise ValueError(f"{function}: {name} must have shape [{size}], got {list(tensor.shape)}")
    return tensor


def label_arrays(function: str, arrays: Mapping[str, object]) -> list[Tensor]:
    """Each as `integers`, none below EPSILON; for tensors on a GPU it waits once."""
    tensors = {name: integral(function, name, array) for name, array in arrays.items()}
    same_device(function, **tensors)
    seen = extremes(tensors)
    for name, tensor in tensors.items():
        labels(function, name, tensor, seen)
    return [narrowed(function, name, tensor, seen) for name, tensor in tensors.items()]


def scores(
    function: str,
    name: str,
    values: object,
    size: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """As `floats`: log-domain scores, -inf allowed."""
    tensor = floats(function, name, values, size, dtype)
    finite_or_zero(function, name, tensor)
    return tensor


def finite_or_zero(function: str, name: str, tensor: Tensor, seen: Extremes | None = None) -> None:
    """Refuse NaN, +inf and scores whose sums might become that; -inf is the zero of the semiring.

    On a GPU this is checked only where `extremes` has `seen` them, so that it never waits.
    """
    if seen is None:
        seen = extremes({name: tensor}) if tensor.device.type == "cpu" else {}
    largest = seen.get(name, (0.0, 0.0))[1]  # NaN where there is any
    highest = HIGHEST.get(tensor.dtype, HIGHEST[torch.float32])
    if largest <= highest:
        return
    bad = int((~(plain(tensor) <= highest)).flatten().nonzero()[0])
    if largest < float("inf"):
        raise ValueError(
            f"{function}: {name} must be at most {highest:.3g} ({tensor.dtype}), so that sums fit, "
            f"got {largest} at position {bad}"
        )
    raise ValueError(
        f"{function}: {name} must not hold NaN or +inf, got {largest} at position {bad}"
    )


def emissions(function: str, name: str, values: object) -> Tensor:
    """Scores of a network, unread: float32, float64, or of half precision.

    That stays as it is on a GPU, whose operators read it, and becomes float32 elsewhere.
    """
    if not isinstance(values, Tensor):
        return floats(function, name, values)
    if values.dtype in SHORT:
        return values if values.is_cuda else values.float()
    return floats(function, name, values)


def widened(scores: Tensor) -> Tensor:
    """Learnt scores of half precision as float32, anything else as it is."""
    short = isinstance(scores, Tensor) and scores.dtype in SHORT
    return scores.float() if short else scores


def one_of(function: str, name: str, value: object, size: int, of: str = "labels") -> int:
    """`value` as a number of one of `size` things."""
    number = count(function, name, value)
    if number >= size:
        raise ValueError(f"{function}: {name} must be one of the {size} {of}, got {number}")
    return number


def known_labels(function: str, name: str, largest: int | None, num_labels: int) -> None:
    """Refuse a graph that holds a label for which emissions have no score; None is not known."""
    if largest is not None and largest >= num_labels:
        raise ValueError(
            f"{function}: {name} has label {largest}, the emissions have scores of {num_labels} "
            f"labels, counted from 0: widen the scores or relabel the graph"
        )


def integer(function: str, name: str, value: object) -> int:
    """`value` as an integer; floats, booleans and arrays of several are refused."""
    if type(value) is int:  # as it mostly is
        return value
    if _numbers.flag(value) is None and hasattr(value, "__index__"):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{function}: {name} must be an integer, got {value!r}")


def count(function: str, name: str, value: object) -> int:
    """`value` as a count from 0 to the largest int32."""
    number = integer(function, name, value)
    if not 0 <= number <= LARGEST:
        raise ValueError(f"{function}: {name} must lie in [0, {LARGEST}], got {number}")
    return number


def label(function: str, name: str, value: object) -> int:
    """`value` as a label, or EPSILON."""
    number = integer(function, name, value)
    if not EPSILON <= number <= LARGEST:
        raise ValueError(
            f"{function}: {name} must be a label in [0, {LARGEST}] or EPSILON ({EPSILON}), "
            f"got {number}"
        )
    return number


def tolerance(function: str, name: str, value: object) -> float:
    """`value` as a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{function}: {name} must be a number, got {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{function}: {name} must be positive and finite, got {value}")
    return float(value)


def inside(
    function: str, name: str, tensor: Tensor, size: int, of: str, seen: Extremes | None = None
) -> None:
    """Refuse indices outside [0, size)."""
    for extreme in (extremes({name: tensor}) if seen is None else seen).get(name, ()):
        if not 0 <= extreme < size:
            got = int(extreme)
            raise ValueError(f"{function}: {name} must lie in [0, {size}) ({of}), got {got}")


def labels(function: str, name: str, tensor: Tensor, seen: Extremes | None = None) -> None:
    """Refuse labels below EPSILON."""
    smallest = (extremes({name: tensor}) if seen is None else seen).get(name, (0, 0))[0]
    if smallest < EPSILON:
        raise ValueError(
            f"{function}: {name} must be labels >= 0 or EPSILON ({EPSILON}), got {int(smallest)}"
        )


def countable(function: str, what: str, count: int) -> None:
    """Refuse batches whose states or arcs cannot be numbered in 32 bits."""
    if count > LARGEST:
        raise ValueError(
            f"{function}: a batch holds at most {LARGEST} {what}, got {count}: split the batch"
        )


class DivergentError(ValueError):
    """The paths around a cycle of `graph` have no finite sum, or no best one."""

    def __init__(self, said: str, graph: int) -> None:
        super().__init__(said)
        self.graph = graph


def _first(found: Tensor) -> tuple[int, tuple[int, ...]]:
    """The first graph found and its place, which torch.vmap may have given more dimensions."""
    place = tuple(found.nonzero()[0].tolist())
    return place[-1], place


def bounded(function: str, divergent: Tensor, state_offsets: Tensor, what: str) -> None:
    """Refuse cycles that grow without bound: `divergent` [graphs] holds a state on one, or -1.

    -2 - state says of the state's component that its sums could not be told.
    """
    seen = plain(divergent)
    if (found := seen >= 0).any():
        graph, place = _first(found)
        state = int(seen[place] - state_offsets[graph])
        said = f"{function}: graph {graph} has a cycle through state {state} {what}"
        raise DivergentError(said, graph)
    if (found := seen < -1).any():
        graph, place = _first(found)
        state = int(-2 - seen[place] - state_offsets[graph])
        raise ValueError(
            f"{function}: graph {graph} has a component around state {state} whose sums are not "
            f"known to 1e-5: a spectral radius close to 1, or cycles that mix too slowly; lower "
            f"the scores of its arcs"
        )


def on_cpu(function: str, name: str, value: Tensor, why: str) -> None:
    """Refuse tensors on other devices where only the CPU is supported."""
    if value.device.type != "cpu":
        raise ValueError(f"{function}: {name} must be on the cpu ({why}), got {value.device}")


def served(function: str, name: str, value: Tensor) -> None:
    """Refuse tensors that are neither on the CPU nor on a GPU of CUDA."""
    if value.device.type not in ("cpu", "cuda"):
        raise ValueError(f"{function}: {name} must be on the cpu or on cuda, got {value.device}")


def fits_on_gpu(function: str, device: torch.device, size: int, what: str) -> None:
    """Refuse work that takes more bytes than a GPU has left, before any of it is allocated."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if size > free:
        raise ValueError(
            f"{function}: {what} take {size} bytes, and {free} are free on {device}: take fewer, "
            f"or split the batch"
        )


def same_device(function: str, **tensors: Tensor) -> None:
    """Refuse mixed devices: nothing is moved behind the user's back."""
    places = {name: tensor.device for name, tensor in tensors.items()}
    if len(set(places.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in places.items())
        raise ValueError(f"{function}: all must be on one device, got {listed}: move with .to()")


def same_dtype(function: str, **tensors: Tensor) -> None:
    """Refuse mixed precisions: nothing is cast behind the user's back."""
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in kinds.items())
        raise TypeError(f"{function}: all must have one dtype, got {listed}: cast with .to()")


def batches(function: str, a: Sized, b: Sized) -> None:
    """Refuse operands whose batches do not broadcast."""
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(
            f"{function}: a has {len(a)} graphs, b has {len(b)} (equal or 1 is needed)"
        )


def pair(function: str, a: Graph, b: Graph) -> None:
    """Refuse operands whose batches do not broadcast or that are on different devices."""
    batches(function, a, b)
    left, right = a.weights, b.weights
    if left.device != right.device:
        same_device(function, a=left, b=right)
    if left.dtype is not right.dtype:
        same_dtype(function, a=left, b=right)
