"""The operators of graphs: the one place where a low module reaches for those that stand on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from gtnet.emissions import Emissions
    from gtnet.graph import Graph
    from gtnet.lattice import Lattice


class Operators:
    """The algebra of graphs in the signs of Python."""

    __slots__ = ()

    def __matmul__(self, other: Graph | Lattice | Emissions) -> Graph:
        """Composition: `a @ b` is `compose(a, b)`."""
        return _composed(self, other)

    def __add__(self, other: Graph | Lattice) -> Graph:
        """Concatenation: `a + b` is `concat(a, b)`."""
        from gtnet.rational import concat

        return concat(_graph(self), other)

    def __or__(self, other: Graph | Lattice) -> Graph:
        """Union: `a | b` is `union(a, b)`."""
        from gtnet.rational import union

        return union(_graph(self), other)

    def __invert__(self) -> Graph:
        """Inversion, what is read and what is written exchanged: `~a` is `invert(a)`."""
        from gtnet.rational import invert

        return invert(_graph(self))

    def __mul__(self, alpha: float | Tensor) -> Any:
        """Scores times a factor: `a * alpha` is `scale(a, alpha)`."""
        from gtnet.scale import scale

        return scale(_graph(self), alpha)

    __rmul__ = __mul__

    @property
    def star(self) -> Graph:
        """Any number of paths one after another: `closure(a, "star")`."""
        return _closed(self, "star")

    @property
    def plus(self) -> Graph:
        """One or more paths one after another: `closure(a, "plus")`."""
        return _closed(self, "plus")

    @property
    def optional(self) -> Graph:
        """A path or none: `closure(a, "optional")`."""
        return _closed(self, "optional")


class Composition:
    """The operator of emissions."""

    def __matmul__(self, other: Graph | Lattice) -> Lattice:
        """Composition: `emissions @ graph` is `compose(emissions, graph)`."""
        return _composed(self, other)


def _composed(a: Any, b: Any) -> Any:
    from gtnet.compose import compose

    return compose(a, b)


def _closed(graph: Any, kind: Any) -> Graph:
    from gtnet.rational import closure

    return closure(graph, kind)


def _graph(operand: Any) -> Graph:
    """What carries the operators is a graph, built or not."""
    return operand
