"""The weight of every short string of an automaton, in log or tropical, by plain numpy.

A second way beside `oracle.paths`: vectors of scores move along strings, epsilons are closed by
elimination, so that cycles are served. It calls nothing of the library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from oracle import Arc, Automaton

EPSILON, NEG_INF = -1, -math.inf
String = tuple[tuple[int, ...], tuple[int, ...]]  # what is read, what is written
Language = dict[String, float]


def plus(a: np.ndarray, b: np.ndarray, semiring: str) -> np.ndarray:
    return np.logaddexp(a, b) if semiring == "log" else np.maximum(a, b)


def total(scores: Iterable[float], semiring: str) -> float:
    result = NEG_INF
    for score in scores:
        result = float(plus(np.float64(result), np.float64(score), semiring))
    return result


def _times(row: np.ndarray, matrix: np.ndarray, semiring: str) -> np.ndarray:
    moved = row[:, None] + matrix
    if semiring == "tropical":
        return moved.max(0, initial=NEG_INF)
    best = moved.max(0, initial=NEG_INF)
    shift = np.where(np.isfinite(best), best, 0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(moved - shift).sum(0)) + shift


def useful(automaton: Automaton) -> Automaton:
    """Without arcs of -inf and what lies on no accepting path; states keep their numbers."""
    arcs = [arc for arc in automaton.arcs if arc.weight > NEG_INF]

    def reached(ends: tuple[float, ...], forward: bool) -> set[int]:
        seen = {state for state, score in enumerate(ends) if score > NEG_INF}
        queue = list(seen)
        while queue:
            at = queue.pop()
            for arc in arcs:
                here, there = (arc.source, arc.target) if forward else (arc.target, arc.source)
                if here == at and there not in seen:
                    seen.add(there)
                    queue.append(there)
        return seen

    good = reached(automaton.start, True) & reached(automaton.accept, False)
    kept = tuple(arc for arc in arcs if arc.source in good and arc.target in good)
    start, accept = (
        tuple(score if state in good else NEG_INF for state, score in enumerate(ends))
        for ends in (automaton.start, automaton.accept)
    )
    return replace(automaton, arcs=kept, start=start, accept=accept)


def is_cyclic(automaton: Automaton) -> bool:
    """Whether some path comes back to its state."""
    alive = set(range(automaton.num_states))
    while alive:
        ends = {
            s for s in alive if not any(a.source == s and a.target in alive for a in automaton.arcs)
        }
        if not ends:
            return True
        alive -= ends
    return False


def closure(automaton: Automaton, semiring: str, *, every: bool = False) -> np.ndarray | None:
    """Sums of the epsilon paths (with `every` of all) between states; None if they diverge."""
    size = automaton.num_states
    m = np.full((size, size), NEG_INF)
    for arc in automaton.arcs:
        if every or arc.ilabel == arc.olabel == EPSILON:
            place = arc.source, arc.target
            m[place] = plus(m[place], np.float64(arc.weight), semiring)
    for k in range(size):
        loop = m[k, k]
        if loop >= (-1e-7 if semiring == "log" else 1e-9):
            return None
        star = -math.log1p(-math.exp(loop)) if semiring == "log" else 0.0
        m = plus(m, m[:, k : k + 1] + star + m[k : k + 1, :], semiring)
    diagonal = np.where(np.eye(size, dtype=bool), 0.0, NEG_INF)
    return plus(m, diagonal, semiring)


def language(automaton: Automaton, semiring: str, length: int) -> Language | None:
    """Strings of at most `length` labels, read and written together; None where sums diverge."""
    automaton = useful(automaton)
    between = closure(automaton, semiring)
    if between is None:
        return None
    size = automaton.num_states
    if not size:
        return {}
    moves: dict[tuple[int, int], np.ndarray] = {}
    for arc in automaton.arcs:
        letter = arc.ilabel, arc.olabel
        if letter != (EPSILON, EPSILON):
            m = moves.setdefault(letter, np.full((size, size), NEG_INF))
            place = arc.source, arc.target
            m[place] = plus(m[place], np.float64(arc.weight), semiring)
    accept = np.array(automaton.accept)
    start = _times(np.array(automaton.start), between, semiring)
    layers: list[dict[String, np.ndarray]] = [{} for _ in range(length + 3)]
    layers[0][(), ()] = start
    found: Language = {}
    for so_far in range(length + 1):
        for (read, written), row in layers[so_far].items():
            score = total((row + accept).tolist(), semiring)
            if score > NEG_INF:
                found[read, written] = score
            for (ilabel, olabel), move in moves.items():
                longer = _times(_times(row, move, semiring), between, semiring)
                if longer.max() == NEG_INF:
                    continue
                string = (
                    read if ilabel == EPSILON else (*read, ilabel),
                    written if olabel == EPSILON else (*written, olabel),
                )
                layer = layers[so_far + (ilabel != EPSILON) + (olabel != EPSILON)]
                here = layer.get(string)
                layer[string] = longer if here is None else plus(here, longer, semiring)
    return found


def sum_of_paths(automaton: Automaton, beta: float = 1.0) -> float | None:
    """The log-sum over all accepting paths (infinite beta: the best); None if it diverges."""
    automaton = useful(automaton)
    semiring = "tropical" if beta == math.inf else "log"
    scale = 1.0 if beta == math.inf else beta
    arcs = tuple(replace(arc, weight=arc.weight * scale) for arc in automaton.arcs)
    between = closure(replace(automaton, arcs=arcs), semiring, every=True)
    if between is None:
        return None
    if not automaton.num_states:
        return NEG_INF
    row = _times(np.array(automaton.start) * scale, between, semiring)
    return total((row + np.array(automaton.accept) * scale).tolist(), semiring) / scale


def mapped(automaton: Automaton, change) -> Automaton:
    """The automaton with other labels: `change(ilabel, olabel)`."""
    arcs = []
    for arc in automaton.arcs:
        ilabel, olabel = change(arc.ilabel, arc.olabel)
        arcs.append(Arc(arc.index, arc.source, arc.target, ilabel, olabel, arc.weight))
    return replace(automaton, arcs=tuple(arcs))


def scaled(automaton: Automaton, factor: float) -> Automaton:
    """The automaton with all scores but -inf times a factor."""

    def times(score: float) -> float:
        return score * factor if score > NEG_INF else score

    arcs = tuple(replace(arc, weight=times(arc.weight)) for arc in automaton.arcs)
    start, accept = (
        tuple(times(score) for score in ends) for ends in (automaton.start, automaton.accept)
    )
    return replace(automaton, arcs=arcs, start=start, accept=accept)


def turned(automaton: Automaton) -> Automaton:
    arcs = tuple(replace(arc, source=arc.target, target=arc.source) for arc in automaton.arcs)
    return replace(automaton, arcs=arcs, start=automaton.accept, accept=automaton.start)


def united(a: Language, b: Language, semiring: str) -> Language:
    return {s: total([x[s] for x in (a, b) if s in x], semiring) for s in {**a, **b}}


def joined(a: Language, b: Language, semiring: str, length: int) -> Language:
    """Every string of `a` followed by every string of `b`."""
    found: dict[String, list[float]] = {}
    for (x, y), first in a.items():
        for (z, w), second in b.items():
            if len(x) + len(y) + len(z) + len(w) <= length:
                found.setdefault((x + z, y + w), []).append(first + second)
    return {string: total(scores, semiring) for string, scores in found.items()}


def repeated(one: Language, semiring: str, length: int, *, star: bool) -> Language | None:
    """Closure: S = 1 + L S, solved from the shortest string on; "plus" is L S."""
    empty = one.get(((), ()), NEG_INF)
    if empty >= (-1e-7 if semiring == "log" else 1e-9):
        return None
    loop = -math.log1p(-math.exp(empty)) if semiring == "log" else 0.0
    rest = {string: score for string, score in one.items() if string != ((), ())}
    found: Language = {((), ()): loop}
    for _ in range(length):
        longer = joined(rest, found, semiring, length)
        longer = {string: score + loop for string, score in longer.items()}
        found = {**longer, ((), ()): loop}
    return found if star else joined(one, found, semiring, length)
