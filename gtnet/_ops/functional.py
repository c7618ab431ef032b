"""Functions that torch.func differentiates and maps: grad, vmap, hessian and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gtnet._ordinary import transformed as transformed


class Differentiable(torch.autograd.Function):
    """An autograd function with `setup_context`, at the price of one without.

    torch binds the arguments of such a function by name, which takes longer than a small operator
    runs. Here they are positional. Each has `backward` and `along`, made of functions of this kind,
    so that derivatives mix freely. `along` is what torch calls jvp, the derivative in forward mode,
    in a class that is taken only there: torch.compile refuses functions that have one.
    """

    forward_twin: type[torch.autograd.Function]
    along: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "jvp" not in vars(cls):
            cls.forward_twin = type(cls.__name__, (cls,), {"jvp": staticmethod(cls.along)})

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if transformed():
            _refuse_nested_forward_mode()
            return super(Differentiable, cls.forward_twin).apply(*args)  # type: ignore[misc]
        kind = cls.forward_twin if forward_mode() else cls
        return super(torch.autograd.Function, kind).apply(*map(alive, args))  # type: ignore[misc]


def _refuse_nested_forward_mode() -> None:
    """Refuse forward mode inside of forward mode, where torch drops tangents without a word."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    if sum(one.key() == torch._C._functorch.TransformType.Jvp for one in stack) > 1:
        raise ValueError(
            "gtnet: torch gives no derivatives in forward mode of derivatives in forward mode: "
            "take the inner ones by torch.func.grad or jacrev, as torch.func.hessian does"
        )


def alive(arg: Any) -> Any:
    """A tensor without the wrappers of transforms that have ended."""
    return torch._C._functorch.unwrap_if_dead(arg) if isinstance(arg, Tensor) else arg


def forward_mode() -> bool:
    """Whether tensors may carry tangents, as in torch.autograd.forward_ad.dual_level."""
    return forward_ad._current_level >= 0


def learning(*tensors: Tensor | None) -> bool:
    """Whether a derivative may be asked for, by autograd or by a transform."""
    if transformed() or forward_mode():
        return True
    if torch.is_grad_enabled():
        for tensor in tensors:  # a generator would cost more than small operators do
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def learnt(*tensors: Tensor) -> bool:
    """Whether a derivative by one of these may be asked for; what is only mapped has none."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor.requires_grad:
                return True
    if forward_mode() and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        return True
    return transformed() and any(map(_tracked, tensors))


def _tracked(tensor: Tensor) -> bool:
    """Whether torch.func differentiates by this tensor, under whatever maps it."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_gradtrackingtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def with_derivative(
    function: Callable[[Tensor], Tensor], at: Tensor, *, again: bool
) -> tuple[Tensor, Tensor]:
    """What a function returns, and the gradient of its sum; `again` if that has one itself."""
    # Compiled code has second derivatives of what torch.func derives, and not of autograd.grad.
    if transformed() or forward_mode() or torch.compiler.is_compiling():

        def summed(x: Tensor) -> tuple[Tensor, Tensor]:
            value = function(x)
            return value.sum(), value

        found, value = torch.func.grad(summed, has_aux=True)(at)
        return value, found
    with torch.inference_mode(False), torch.enable_grad():
        at = at if again and at.requires_grad else at.detach().requires_grad_()
        value = function(at)
        (found,) = torch.autograd.grad(value.sum(), at, create_graph=again)
    return value, found


def one_by_one(function: Callable[..., Any], info: Any, in_dims: Any, args: Any) -> Any:
    """The rule of vmap that holds for every function: one call for each place of the dimension."""
    results = [
        function(*(_at(arg, dim, place) for arg, dim in zip(args, in_dims, strict=True)))
        for place in range(info.batch_size)
    ]
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    columns = [
        None if column[0] is None else torch.stack(column) for column in zip(*results, strict=True)
    ]
    return tuple(columns), tuple(None if column is None else 0 for column in columns)


def _at(arg: Any, dim: Any, place: int) -> Any:
    return arg.select(dim, place) if isinstance(arg, Tensor) and isinstance(dim, int) else arg


def in_front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """A tensor with the mapped dimension in front, repeated where it has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
