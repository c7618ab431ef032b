"""One operation on trial: calls that are written down as a program, and comparisons."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from oracle import Automaton, automata

import gtnet
from gtnet import Graph
from soak.language import Language, language, useful

NEG_INF = -math.inf
SHORT = 4  # labels, read and written together, of the strings compared
MANY = 150  # paths that are still written out


class FailureError(AssertionError):
    """The library answered wrongly; `kind` names the check, whatever the numbers."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind


class Skipped(Exception):  # noqa: N818
    """The operands are none for this operation."""


class Refused(Exception):  # noqa: N818
    """The library raised an error that was expected."""


class Trial:
    """What an operation may use: its random numbers, its calls of gtnet, its checks.

    `called` collects the public names that were called, `lines` the program so far.
    """

    def __init__(
        self, seed: int, names: dict[int, str], lines: list[str], called: set[str]
    ) -> None:
        self.draw = Random(seed)
        self.seed = seed
        self.names = names  # of graphs, by id
        self.lines = lines
        self.called = called
        self.tropical = self.draw.random() < 0.4

    @property
    def semiring(self) -> str:
        return "tropical" if self.tropical else "log"

    def call(self, name: str, *args: Any, refusals: str = "", **kwargs: Any) -> Any:
        """`gtnet.<name>(...)`. A ValueError that matches `refusals` ends the trial."""
        function: Any = gtnet
        for part in name.split("."):
            function = getattr(function, part)
        return self.invoke(name, f"gtnet.{name}", function, args, kwargs, refusals)

    def method(
        self, of: Any, kind: str, name: str, *args: Any, refusals: str = "", **kwargs: Any
    ) -> Any:
        """`of.name(...)`, a public method of the class `kind`."""
        text = f"{self._text(of)}.{name}"
        return self.invoke(f"{kind}.{name}", text, getattr(of, name), args, kwargs, refusals)

    def invoke(
        self, covers: str, text: str, function: Callable, args: Any, kwargs: Any, refusals: str
    ) -> Any:
        self.called.add(covers)
        given = [self._text(a) for a in args] + [f"{k}={self._text(v)}" for k, v in kwargs.items()]
        name = f"x{len(self.lines)}"
        self.lines.append(f"{name} = {text}({', '.join(given)})")
        try:
            result = function(*args, **kwargs)
        except (ValueError, TypeError) as error:
            if refusals and re.search(refusals, str(error)):
                raise Refused(str(error)) from None
            raise FailureError(f"{covers} raises", f"{type(error).__name__}: {error}") from error
        except Exception as error:
            raise FailureError(f"{covers} raises {type(error).__name__}", str(error)) from error
        self.names[id(result)] = name
        self._keep = [*getattr(self, "_keep", []), result]  # ids must not be used again
        return result

    def _text(self, value: Any) -> str:
        if id(value) in self.names and not isinstance(value, int | float | str | bool | type(None)):
            return self.names[id(value)]
        if isinstance(value, Graph):
            return written_out(value)
        if isinstance(value, torch.Tensor):
            listed = str(value.detach().tolist()).replace("inf", 'float("inf")')
            return f"torch.tensor({listed}, dtype={value.dtype})"
        if isinstance(value, float) and math.isinf(value):
            return 'float("inf")' if value > 0 else 'float("-inf")'
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k!r}: {self._text(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list | tuple) and any(
            isinstance(v, Graph | torch.Tensor) for v in value
        ):
            return "[" + ", ".join(map(self._text, value)) + "]"
        if isinstance(value, torch.Generator):
            return f"torch.Generator().manual_seed({value.initial_seed()})"
        return repr(value) if not isinstance(value, torch.dtype) else str(value)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed % 2**31)

    # What operands must be

    def need(self, condition: bool) -> None:
        if not condition:
            raise Skipped

    # Comparisons

    def near(self, kind: str, ours: float, theirs: float, tolerance: float) -> None:
        """Equal but for `tolerance`, infinities included."""
        if ours == theirs or abs(ours - theirs) <= tolerance:
            return
        raise FailureError(kind, f"got {ours!r}, expected {theirs!r} (to within {tolerance:.2g})")

    def all_near(self, kind: str, ours: Any, theirs: Any, tolerance: float) -> None:
        ours, theirs = (
            x.tolist() if isinstance(x, torch.Tensor) else list(x) for x in (ours, theirs)
        )
        if len(ours) != len(theirs):
            raise FailureError(kind, f"got {len(ours)} numbers, expected {len(theirs)}")
        for place, (one, other) in enumerate(zip(ours, theirs)):
            self.near(f"{kind}", one, other, tolerance)
            del place

    def same_language(
        self,
        kind: str,
        graph: Graph,
        expected: Callable[[int], Language | None],
        tolerance: float,
        semiring: str | None = None,
    ) -> None:
        """The strings of each item, of which `expected` has the scores; None for no sums."""
        self.valid(kind, graph)
        semiring = semiring or self.semiring
        for item, automaton in enumerate(automata(graph)):
            wanted = expected(item)
            if wanted is None:
                continue
            ours = language(automaton, semiring, SHORT)
            if ours is None:
                raise FailureError(
                    kind, f"item {item}: its epsilons diverge, those expected do not"
                )
            for string in {**wanted, **ours}:
                one, other = ours.get(string, NEG_INF), wanted.get(string, NEG_INF)
                if one != other and not abs(one - other) <= tolerance:
                    raise FailureError(
                        kind, f"item {item}, {semiring}: {string} has {one!r}, expected {other!r}"
                    )

    def valid(self, kind: str, graph: Graph) -> None:
        """The arrays of a batch fit each other."""
        states, arcs = graph.state_offsets, graph.arc_offsets
        sizes = states.diff().repeat_interleave(arcs.diff())
        good = len(states) == len(arcs) == len(graph) + 1
        good = good and int(states[-1]) == graph.num_states == len(graph.start) == len(graph.accept)
        good = good and int(arcs[-1]) == graph.num_arcs == len(graph.weights)
        good = good and bool(((graph.source >= 0) & (graph.source < sizes)).all())
        good = good and bool(((graph.target >= 0) & (graph.target < sizes)).all())
        good = good and bool((graph.ilabels >= -1).all()) and bool((graph.olabels >= -1).all())
        for scores in (graph.weights, graph.start, graph.accept):
            good = good and bool((scores < math.inf).all())  # and no NaN
        if not good:
            raise FailureError(f"{kind}: arrays", str(graph))

    def mapped_back(self, kind: str, graph: Graph, operands: list[Graph], *, sums: bool) -> None:
        """Arc maps name arcs of the operands; with `sums` weights are theirs, added up."""
        if graph.arc_maps is None or len(graph.arc_maps) != len(operands):
            raise FailureError(
                f"{kind}: arc_maps", f"{graph.arc_maps} for {len(operands)} operands"
            )
        gathered = torch.zeros_like(graph.weights)
        for places, operand in zip(graph.arc_maps, operands):
            known = places >= 0
            if len(places) != graph.num_arcs or bool((places >= operand.num_arcs).any()):
                raise FailureError(
                    f"{kind}: arc_maps", f"{places.tolist()} of {operand.num_arcs} arcs"
                )
            gathered[known] += operand.weights.detach()[places[known].long()]
        if sums:
            self.all_near(
                f"{kind}: weights by arc_maps", graph.weights.detach(), gathered, eps(graph)
            )


def written_out(graph: Graph) -> str:
    """An expression that makes a graph without a name of its own."""
    from soak.leaves import Item, Leaf

    items = tuple(
        Item(
            tuple((a.source, a.target, a.ilabel, a.olabel, a.weight) for a in automaton.arcs),
            automaton.start,
            automaton.accept,
        )
        for automaton in automata(graph)
    )
    return Leaf(items, graph.is_acceptor, graph.dtype == torch.float64).program()


def eps(*graphs: Graph, scale: float | None = None) -> float:
    """What rounding may do to sums of the scores of graphs."""
    largest, states = 1.0, 1
    for graph in graphs:
        for scores in (graph.weights, graph.start, graph.accept):
            finite = scores.detach()[scores.detach() > NEG_INF]
            if len(finite):
                largest = max(largest, float(finite.abs().max()))
        states = max(states, graph.num_states)
    unit = torch.finfo(graphs[0].dtype).eps
    return 1e-9 + 8 * unit * largest * (states + 6)


def at(graphs: list[Automaton], item: int) -> Automaton:
    """An item of a batch that broadcasts."""
    return graphs[0] if len(graphs) == 1 else graphs[item]


def size_of(*graphs: Graph) -> int:
    """The size that batches broadcast to; skips those that do not."""
    sizes = {len(graph) for graph in graphs} - {1}
    if len(sizes) > 1:
        raise Skipped
    return next(iter(sizes), 1)


def no_silent_divergence(graph: Graph) -> bool:
    """Whether all sums of epsilon paths exist, on accepting paths and elsewhere."""
    from soak.language import closure

    return all(
        closure(a, s) is not None and closure(useful(a), s) is not None
        for a in automata(graph)
        for s in ("log", "tropical")
    )


def converges(graph: Graph) -> bool:
    """Whether all path sums exist, between all states."""
    from soak.language import closure

    return all(
        closure(a, s, every=True) is not None for a in automata(graph) for s in ("log", "tropical")
    )
