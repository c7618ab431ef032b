"""Weighted automata by enumeration: every path written out, in plain Python floats.

Nothing here calls the library: a batch is read from its arrays, so that a wrong answer and its
check cannot share a mistake.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from gtnet import EPSILON, Graph

NEG_INF = -math.inf


@dataclass(frozen=True)
class Arc:
    """An arc; `index` counts through the batch, states count within the graph."""

    index: int
    source: int
    target: int
    ilabel: int
    olabel: int
    weight: float


@dataclass(frozen=True)
class Automaton:
    """One graph of a batch in plain numbers; its arcs and states begin at these batch indices."""

    arcs: tuple[Arc, ...]
    start: tuple[float, ...]
    accept: tuple[float, ...]
    first_arc: int
    first_state: int

    @property
    def num_states(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Path:
    """An accepting path: its arcs (batch indices), end states (local) and what it spells."""

    arcs: tuple[int, ...]
    first: int
    last: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    score: float


def automata(graph: Graph) -> list[Automaton]:
    """The graphs of a batch."""
    states, arcs = graph.state_offsets.tolist(), graph.arc_offsets.tolist()
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    start, accept = graph.start.tolist(), graph.accept.tolist()
    return [
        Automaton(
            tuple(Arc(k, *rows[k]) for k in range(arcs[i], arcs[i + 1])),
            tuple(start[states[i] : states[i + 1]]),
            tuple(accept[states[i] : states[i + 1]]),
            arcs[i],
            states[i],
        )
        for i in range(len(states) - 1)
    ]


def only(graph: Graph) -> Automaton:
    """The automaton of a batch of one."""
    (automaton,) = automata(graph)
    return automaton


def paths(
    automaton: Automaton,
    allowed: Callable[[tuple[int, ...]], bool] | None = None,
    *,
    impossible: bool = False,
) -> list[Path]:
    """All accepting paths; `allowed` says of a sequence of arcs whether to follow it.

    Paths of score -inf are left out unless `impossible`, which keeps those whose end states are
    start and accept states and whose arcs alone are impossible.
    """
    leaving: dict[int, list[Arc]] = {}
    for arc in automaton.arcs:
        leaving.setdefault(arc.source, []).append(arc)
    found: list[Path] = []

    def follow(first: int, state: int, taken: list[Arc], score: float) -> None:
        last = automaton.accept[state]
        if last > NEG_INF:
            found.append(
                Path(
                    tuple(arc.index for arc in taken),
                    first,
                    state,
                    tuple(arc.ilabel for arc in taken if arc.ilabel != EPSILON),
                    tuple(arc.olabel for arc in taken if arc.olabel != EPSILON),
                    score + last,
                )
            )
        for arc in leaving.get(state, ()):
            if arc.weight == NEG_INF and not impossible:
                continue
            longer = [*taken, arc]
            if allowed is None or allowed(tuple(a.index for a in longer)):
                follow(first, arc.target, longer, score + arc.weight)

    for state, score in enumerate(automaton.start):
        if score > NEG_INF:
            follow(state, state, [], score)
    return found


def at_most(arcs: int) -> Callable[[tuple[int, ...]], bool]:
    """Paths of so many arcs, for cyclic automata."""
    return lambda taken: len(taken) <= arcs


def relation(found: list[Path]) -> Counter[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """How often each (input, output, score) is spelt."""
    return Counter((path.inputs, path.outputs, path.score) for path in found)


def matching(a: list[Path], b: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Pairs of paths where what the first writes is what the second reads."""
    by_input: dict[tuple[int, ...], list[Path]] = {}
    for path in b:
        by_input.setdefault(path.inputs, []).append(path)
    return ((p, q) for p in a for q in by_input.get(p.outputs, ()))


def log_sum(scores: list[float], beta: float = 1.0) -> float:
    """1/beta · log of the sum of exp(beta · score)."""
    best = max(scores, default=NEG_INF)
    if best == NEG_INF:
        return NEG_INF
    return best + math.log(math.fsum(math.exp(beta * (x - best)) for x in scores)) / beta


def forward_score(automaton: Automaton, beta: float = 1.0) -> float:
    return log_sum([path.score for path in paths(automaton)], beta)


def viterbi_score(automaton: Automaton) -> float:
    return max((path.score for path in paths(automaton)), default=NEG_INF)


@dataclass(frozen=True)
class Chances:
    """Probabilities that a path takes each arc, starts in and ends in each state."""

    arcs: list[float]
    start: list[float]
    accept: list[float]


def posteriors(automaton: Automaton, beta: float = 1.0) -> Chances:
    """Arcs and states of one graph, in its own order; all 0 in an empty language."""
    found = paths(automaton)
    total = log_sum([path.score for path in found], beta)
    chances = Chances(
        [0.0] * len(automaton.arcs), [0.0] * automaton.num_states, [0.0] * automaton.num_states
    )
    for path in found:
        share = math.exp(beta * (path.score - total))
        for arc in path.arcs:
            chances.arcs[arc - automaton.first_arc] += share
        chances.start[path.first] += share
        chances.accept[path.last] += share
    return chances


def shortest_distance(
    automaton: Automaton, beta: float = 1.0, *, to_accept: bool = False
) -> list[float]:
    """The log-sum of the paths from the start to each state, or from it to acceptance."""
    ends = automaton.start if to_accept else automaton.accept
    distances = []
    for state in range(automaton.num_states):
        here = tuple(0.0 if s == state else NEG_INF for s in range(len(ends)))
        start, accept = (here, automaton.accept) if to_accept else (automaton.start, here)
        part = Automaton(automaton.arcs, start, accept, automaton.first_arc, automaton.first_state)
        distances.append(forward_score(part, beta))
    return distances


def on_a_cycle(automaton: Automaton, state: int) -> bool:
    """Whether arcs lead from the state back to it."""
    seen: set[int] = set()
    queue = [state]
    while queue:
        at = queue.pop()
        for arc in automaton.arcs:
            if arc.source == at and arc.target not in seen:
                seen.add(arc.target)
                queue.append(arc.target)
    return state in seen


def assert_close(actual: torch.Tensor, expected: list[float]) -> None:
    """Equal to the precision of the tensor, infinities included."""
    rtol, atol = (1e-5, 1e-6) if actual.dtype == torch.float32 else (1e-12, 1e-12)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.detach().double(), wanted, rtol=rtol, atol=atol)


# Sums over cyclic automata, by matrices of scores: a second way to the score of a sequence.

Scores = list[list[float]]
Plus = Callable[[list[float]], float]


def plus_of(semiring: str) -> Plus:
    """The sum of the semiring."""
    return log_sum if semiring == "log" else lambda scores: max(scores, default=NEG_INF)


def _times(a: Scores, b: Scores, plus: Plus) -> Scores:
    columns = list(zip(*b, strict=True))
    return [[plus([x + y for x, y in zip(r, c, strict=True)]) for c in columns] for r in a]


def epsilon_closure(automaton: Automaton, semiring: str) -> Scores | None:
    """The sums of the epsilon paths between all states (Floyd, Warshall); None if they diverge."""
    size, plus = automaton.num_states, plus_of(semiring)
    m = letter_matrix(automaton, (EPSILON, EPSILON), semiring)
    for k in range(size):
        loop = m[k][k]
        if loop >= (-1e-9 if semiring == "log" else 1e-9):
            return None
        star = -math.log1p(-math.exp(loop)) if semiring == "log" else 0.0
        m = [[plus([m[i][j], m[i][k] + star + m[k][j]]) for j in range(size)] for i in range(size)]
    return [[plus([m[i][j], 0.0 if i == j else NEG_INF]) for j in range(size)] for i in range(size)]


def letter_matrix(automaton: Automaton, letter: tuple[int, int], semiring: str) -> Scores:
    """The sums of the arcs with these labels between all states."""
    size, plus = automaton.num_states, plus_of(semiring)
    m: list[list[list[float]]] = [[[] for _ in range(size)] for _ in range(size)]
    for arc in automaton.arcs:
        if (arc.ilabel, arc.olabel) == letter:
            m[arc.source][arc.target].append(arc.weight)
    return [[plus(scores) for scores in row] for row in m]


def sequence_scores(
    automaton: Automaton, semiring: str, length: int
) -> dict[tuple[tuple[int, int], ...], float] | None:
    """The scores of all possible sequences of (input, output) pairs up to a length.

    Pairs of two EPSILON are read between any two others; None if their sum diverges.
    """
    closure = epsilon_closure(automaton, semiring)
    if closure is None:
        return None
    if automaton.num_states == 0:
        return {}
    plus = plus_of(semiring)
    letters = {(arc.ilabel, arc.olabel) for arc in automaton.arcs} - {(EPSILON, EPSILON)}
    moves = {
        letter: _times(letter_matrix(automaton, letter, semiring), closure, plus)
        for letter in sorted(letters)
    }
    found = {}
    rows = {(): _times([list(automaton.start)], closure, plus)}
    for _ in range(length + 1):
        for sequence, row in rows.items():
            score = plus([x + y for x, y in zip(row[0], automaton.accept, strict=True)])
            if score > NEG_INF:
                found[sequence] = score
        rows = {
            (*sequence, letter): longer
            for sequence, row in rows.items()
            for letter, move in moves.items()
            if max((longer := _times(row, move, plus))[0]) > NEG_INF
        }
    return found


def string_scores(
    found: list[Path], semiring: str
) -> dict[tuple[tuple[int, ...], tuple[int, ...]], float]:
    """The score of every (input, output) that the paths spell."""
    scores: dict[tuple[tuple[int, ...], tuple[int, ...]], list[float]] = {}
    for path in found:
        scores.setdefault((path.inputs, path.outputs), []).append(path.score)
    return {string: plus_of(semiring)(each) for string, each in scores.items()}


@dataclass(frozen=True)
class Matrix:
    """An automaton in linear algebra: `arcs` [states, states] sums exp(beta · weight)."""

    arcs: torch.Tensor
    start: torch.Tensor
    accept: torch.Tensor

    @property
    def radius(self) -> float:
        """The largest modulus of an eigenvalue of the arcs on accepting paths."""
        useful = self.useful()
        inner = self.arcs[useful][:, useful]
        return float(torch.linalg.eigvals(inner).abs().max()) if len(inner) else 0.0

    def useful(self) -> torch.Tensor:
        """The states on paths from the start to acceptance."""
        steps = torch.eye(len(self.start), dtype=torch.float64) + (self.arcs > 0).double()
        far = torch.linalg.matrix_power(steps, max(1, len(self.start))) > 0
        from_start = ((self.start > 0).double() @ far.double()) > 0
        return from_start & (far.double() @ (self.accept > 0).double() > 0)

    def walks(self) -> torch.Tensor:
        """The sum of the weights of all walks from state to state along useful arcs: (I - A)^-1."""
        useful = self.useful().double()
        arcs = self.arcs * useful * useful[:, None]
        return torch.linalg.inv(torch.eye(len(arcs), dtype=torch.float64) - arcs)


def matrix(automaton: Automaton, beta: float = 1.0) -> Matrix:
    arcs = torch.zeros(automaton.num_states, automaton.num_states, dtype=torch.float64)
    for arc in automaton.arcs:
        arcs[arc.source, arc.target] += math.exp(beta * arc.weight)
    ends = (torch.tensor(e, dtype=torch.float64) for e in (automaton.start, automaton.accept))
    return Matrix(arcs, *((beta * e).exp() for e in ends))
