"""Functions over lists: threads, and broadcasting of lists of one element."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_SINGULAR = {
    "graphs": "g",
    "graphs1": "g1",
    "graphs2": "g2",
    "grads": "grad",
    "labels": "label",
    "retain_graphs": "retain_graph",
}


def parallel_for(function: Callable[[int], Any], ints: Iterable[int]) -> None:
    """Call `function` with each number, on as many threads as `torch.get_num_threads()` says.

    What it returns is dropped; the first error is raised when all calls have ended.
    """
    parallel_map(function, list(ints))


def parallel_map(function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """`function` of the first elements, of the second elements, and so on; one element broadcasts.

    Raises RuntimeError for lists of different lengths.
    """
    size = max(len(column) for column in columns)
    for column in columns:
        if len(column) not in (1, size):
            lengths = ", ".join(str(len(column)) for column in columns)
            raise RuntimeError(f"lists must have equal lengths or one element, got {lengths}")
    rows = zip(*(list(column) * (size if len(column) == 1 else 1) for column in columns))
    workers = min(size, torch.get_num_threads())
    if workers <= 1:
        return [function(*row) for row in rows]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, *row) for row in rows]
    return [future.result() for future in futures]


def takes_lists(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which given a list as its first argument works element by element."""
    signature = inspect.signature(function)
    first = next(iter(signature.parameters))

    @functools.wraps(function)
    def over_lists(*args: Any, **kwargs: Any) -> Any:
        if args and not kwargs and not is_list(args[0]):
            return function(*args)  # without the time that binding takes
        named = {_SINGULAR.get(name, name): value for name, value in kwargs.items()}
        given = signature.bind(*args, **named).arguments
        if not is_list(given[first]):
            return function(*args, **named)
        columns = [value if is_list(value) else [value] for value in given.values()]
        return parallel_map(lambda *row: function(**dict(zip(given, row))), *columns)

    return over_lists


def is_list(value: object) -> bool:
    """Whether gtn takes it for a list of arguments."""
    return isinstance(value, (list, tuple))
