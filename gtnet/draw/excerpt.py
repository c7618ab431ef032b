"""The part of a graph that a picture shows: all of a small one, the best of a large one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from gtnet.distance import posteriors as arc_posteriors
from gtnet.distance import viterbi_score
from gtnet.graph import Graph
from gtnet.paths import k_best as best_paths
from gtnet.paths import viterbi_path


class RankedPath(NamedTuple):
    """One of the k best paths: its arcs in their order, and its score."""

    arcs: np.ndarray
    score: float


@dataclass(frozen=True)
class GraphArrays:
    """One graph as numpy arrays, with what is known about its arcs.

    `posteriors` [arcs] or None if they are not needed; `best`: arcs of the Viterbi path, if it is
    needed; `highlighted`: arcs drawn in colour; `shade`: whether posteriors are drawn;
    `paths`: the k best, where only they are drawn.
    """

    source: np.ndarray
    target: np.ndarray
    ilabels: np.ndarray
    olabels: np.ndarray
    weights: np.ndarray
    start: np.ndarray
    accept: np.ndarray
    is_acceptor: bool
    posteriors: np.ndarray | None
    best: np.ndarray
    highlighted: frozenset[int]
    shade: bool
    graph: Graph
    paths: tuple[RankedPath, ...] | None = None

    @classmethod
    def of(
        cls,
        g: Graph,
        posteriors: bool | Tensor = False,
        highlight: Any = None,
        need_posteriors: bool = False,
        k_best: int | None = None,
    ) -> GraphArrays:
        """Arrays of a batch of one outside autograd; the other arguments are those of `draw`."""
        shade = isinstance(posteriors, Tensor) or bool(posteriors)
        known = _posteriors(g, posteriors) if shade or need_posteriors else None
        best = _best_path(g) if isinstance(highlight, str) and highlight == "best" else None
        names = ("source", "target", "ilabels", "olabels", "weights", "start", "accept")
        arrays = {name: getattr(g, name).cpu().numpy() for name in names}
        return cls(
            **arrays,
            is_acceptor=g.is_acceptor,
            posteriors=known,
            best=np.empty(0, int) if best is None else best,
            highlighted=_highlighted(highlight, best, g.num_arcs),
            shade=shade,
            graph=g,
            paths=None if k_best is None else _ranked(g, k_best),
        )


@dataclass(frozen=True)
class Excerpt:
    """The states and arcs that are drawn, and by which rule they were chosen."""

    states: list[int]
    arcs: list[int]
    rule: str | None = None


def _posteriors(g: Graph, given: bool | Tensor) -> np.ndarray:
    values = given if isinstance(given, Tensor) else arc_posteriors(g)
    shape = list(values.shape)
    if shape != [g.num_arcs]:
        raise ValueError(f"draw: posteriors has shape {shape}, expected [{g.num_arcs}]")
    return values.detach().cpu().numpy().clip(0, 1)


def _best_path(g: Graph) -> np.ndarray:
    maps = viterbi_path(g).arc_maps
    return maps[0].cpu().numpy() if maps else np.empty(0, int)


def _ranked(g: Graph, k: int) -> tuple[RankedPath, ...]:
    """The k best paths, best first."""
    (paths,) = best_paths(g, k)
    if not len(paths) or paths.arc_maps is None:
        return ()
    arcs, ends = paths.arc_maps[0].cpu().numpy(), paths.arc_offsets.tolist()
    scores = viterbi_score(paths).tolist()
    rows = zip(ends, ends[1:], scores, strict=False)
    return tuple(RankedPath(arcs[begin:end], score) for begin, end, score in rows)


def _highlighted(highlight: Any, best: np.ndarray | None, num_arcs: int) -> frozenset[int]:
    if best is not None:
        return frozenset(best.tolist())
    if isinstance(highlight, str):
        raise ValueError(f'draw: highlight is {highlight!r}, expected "best", arc numbers or None')
    arcs = frozenset(int(arc) for arc in (() if highlight is None else highlight))
    wrong = [arc for arc in arcs if not 0 <= arc < num_arcs]
    if wrong:
        raise ValueError(f"draw: highlight holds arc {wrong[0]}, the graph has {num_arcs} arcs")
    return arcs


def excerpt(a: GraphArrays, max_states: int, max_arcs: int, least: float) -> Excerpt:
    """All of a small graph; of a large one the part most worth seeing."""
    num_states, num_arcs = len(a.start), len(a.source)
    if a.paths is not None:
        return _on_paths(a, a.paths)
    small = num_states <= max_states and num_arcs <= max_arcs
    if small and (a.posteriors is None or not (a.posteriors < least).any()):
        return Excerpt(list(range(num_states)), list(range(num_arcs)))
    arcs, rule = _most_probable(a, max_states, max_arcs, least)
    if len(arcs):
        states = np.unique(np.concatenate([a.source[arcs], a.target[arcs]]))
        return Excerpt(states.tolist(), sorted(arcs.tolist()), rule)
    return _nearest_start(a, max_states, max_arcs)


def _on_paths(a: GraphArrays, paths: tuple[RankedPath, ...]) -> Excerpt:
    arcs = np.unique(np.concatenate([np.empty(0, int), *(path.arcs for path in paths)]))
    states = np.unique(np.concatenate([a.source[arcs], a.target[arcs]])).tolist()
    names = "the best path" if len(paths) == 1 else f"the {len(paths)} best paths"
    everything = len(arcs) == len(a.source) and len(states) == len(a.start)
    shown = states or list(range(min(1, len(a.start))))
    return Excerpt(shown, arcs.tolist(), None if everything else names)


def _most_probable(
    a: GraphArrays, max_states: int, max_arcs: int, least: float
) -> tuple[np.ndarray, str]:
    """Arcs by falling posterior, the best path first, as far as they lie on whole paths.

    Where the best path alone would fill the picture, only the first steps of all paths count.
    """
    try:
        known = _posteriors(a.graph, False) if a.posteriors is None else a.posteriors
        best = a.best if len(a.best) else _best_path(a.graph)
    except ValueError:
        return np.empty(0, int), ""
    rank = np.where(known < least, 0.0, known)
    rank[best] = np.inf
    steps = max(1, min(max_states, max_arcs) // 2)
    long = len(best) > steps
    if long:
        rank[~_within(a, steps)] = 0
    order = np.argsort(-rank, kind="stable")
    order = order[rank[order] > 0]
    rule = "the most probable near the start" if long else "the most probable"
    return _as_many_as_fit(a, order, max_states, max_arcs, to_the_end=not long), rule


def _as_many_as_fit(
    a: GraphArrays, order: np.ndarray, max_states: int, max_arcs: int, to_the_end: bool
) -> np.ndarray:
    """Whole paths among the longest prefix of `order` that keeps them within the limits."""

    def arcs_of(count: int) -> np.ndarray | None:
        arcs = _on_whole_paths(a, order[:count], to_the_end)
        states = np.unique([a.source[arcs], a.target[arcs]])
        return arcs if len(arcs) <= max_arcs and len(states) <= max_states else None

    fits, count, chosen = 0, 8, np.empty(0, int)
    while fits < len(order) and (arcs := arcs_of(count)) is not None:
        fits, count, chosen = min(count, len(order)), 2 * count, arcs
    while fits < len(order) and count - fits > 1:
        middle = (fits + count) // 2
        arcs = arcs_of(middle)
        if arcs is None:
            count = middle
        else:
            fits, chosen = middle, arcs
    return chosen


def _within(a: GraphArrays, steps: int) -> np.ndarray:
    """Whether each arc leaves a state fewer than `steps` arcs from the start."""
    reached = a.start > -np.inf
    for _ in range(steps - 1):
        reached[a.target[reached[a.source]]] = True
    return reached[a.source]


def _on_whole_paths(a: GraphArrays, arcs: np.ndarray, to_the_end: bool) -> np.ndarray:
    ahead: dict[int, list[int]] = {}
    behind: dict[int, list[int]] = {}
    for s, t in zip(a.source[arcs].tolist(), a.target[arcs].tolist(), strict=True):
        ahead.setdefault(s, []).append(t)
        behind.setdefault(t, []).append(s)
    touched = ahead.keys() | behind.keys()
    useful = _reach(ahead, [s for s in touched if a.start[s] > -np.inf])
    if to_the_end:
        useful &= _reach(behind, [s for s in touched if a.accept[s] > -np.inf])
    on_path = [a.source[arc] in useful and a.target[arc] in useful for arc in arcs]
    return arcs[np.array(on_path, dtype=bool)]


def _reach(neighbours: Mapping[int, list[int]], first: list[int]) -> set[int]:
    seen, todo = set(first), list(first)
    while todo:
        new = [t for t in neighbours.get(todo.pop(), ()) if t not in seen]
        seen.update(new)
        todo.extend(new)
    return seen


def _nearest_start(a: GraphArrays, max_states: int, max_arcs: int) -> Excerpt:
    """Breadth first from the start states."""
    order = np.argsort(a.source, kind="stable")
    first_arc = np.searchsorted(a.source[order], np.arange(len(a.start) + 1))
    starts = np.flatnonzero(a.start > -np.inf).tolist() or [0]
    states = list(dict.fromkeys(starts))[:max_states]
    seen, leaving = set(states), []
    for state in states:
        for arc in order[first_arc[state] : first_arc[state + 1]].tolist():
            target = int(a.target[arc])
            if target not in seen and len(seen) < max_states:
                seen.add(target)
                states.append(target)
            leaving.append(arc)
    arcs = [arc for arc in leaving if int(a.target[arc]) in seen][:max_arcs]
    return Excerpt(sorted(states), sorted(arcs), "those nearest the start")
