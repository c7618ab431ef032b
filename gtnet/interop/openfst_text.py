"""OpenFst's text form: lines of arcs and of final states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gtnet import _labels
from gtnet._checks import EPSILON, LARGEST, NEG_INF
from gtnet._files import Text, count, highest, score
from gtnet._labels import LabelRule, Labels
from gtnet.graph import Graph
from gtnet.interop import _bulk, _shape
from gtnet.lexicon import SymbolTable

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Symbols = SymbolTable | Mapping[int, str] | Sequence[str] | None


def parse(
    text: Text,
    acceptor: bool,
    labels: Labels,
    isymbols: Symbols,
    osymbols: Symbols,
    dtype: torch.dtype,
) -> Graph:
    """The graph in a text, see `openfst.read`.

    Lines of plain numbers are read all at once; anything else, and every fault, one by one.
    """
    rules = _labels.rules(text.function, labels)
    kind = _shape.numpy_type(text.function, dtype)
    found = None
    if isymbols is None and (osymbols is None or acceptor):
        found = _all_at_once(text, acceptor, rules, kind)
    if found is None:
        found = _line_by_line(text, acceptor, rules, isymbols, osymbols, kind)
    numbers = np.unique(np.concatenate([found.source, found.final]))
    accept = np.full(len(numbers), NEG_INF)
    accept[np.searchsorted(numbers, found.final)] = found.accept
    target = _ranks(text, numbers, found.target, found.lines)
    order = np.argsort(found.source, kind="stable")
    return Graph(
        np.searchsorted(numbers, found.source[order]),
        target[order],
        found.ilabels[order],
        None if acceptor else found.olabels[order],
        _shape.scores(found.weights[order], dtype),
        start=np.searchsorted(numbers, found.start).tolist(),
        accept=_shape.scores(accept, dtype),
        num_states=len(numbers),
    )


class _Parsed(NamedTuple):
    """What the lines of a text say, states numbered as there; all but scores int64."""

    source: np.ndarray
    target: np.ndarray
    ilabels: np.ndarray
    olabels: np.ndarray
    weights: np.ndarray
    lines: np.ndarray  # of each arc
    final: np.ndarray
    accept: np.ndarray  # the score of each final state
    start: np.ndarray  # one state, or none in an empty text


def _all_at_once(
    text: Text, acceptor: bool, rules: tuple[LabelRule, LabelRule], kind: type
) -> _Parsed | None:
    """The lines of a text without a fault that are all numbers, else None."""
    found = _bulk.numbers(text.whole)
    if found is None:
        return None
    fewest = 3 if acceptor else 4  # columns of an arc without a cost
    arcs, finals = (found.widths >= fewest), (found.widths <= 2)
    if not (arcs | finals).all() or (found.widths > fewest + 1).any():
        return None
    first = found.first[arcs][:, None] + np.arange(fewest)
    ends = found.first[finals]
    if not (found.whole[first].all() and found.whole[ends].all()):
        return None
    integers = found.values[first].astype(np.int64)
    final = found.values[ends].astype(np.int64)
    if max(integers.max(initial=0), final.max(initial=0)) > LARGEST:
        return None
    scores = []
    for places, has in (
        (first[:, 0] + fewest, found.widths[arcs] > fewest),
        (ends + 1, found.widths[finals] > 1),
    ):
        costs = np.zeros(len(places))
        costs[has] = found.values[places[has]]
        if not (costs > -np.inf).all():  # NaN too
            return None
        if (np.abs(costs[np.isfinite(costs)]) > float(np.finfo(kind).max)).any():
            return None
        if (-costs > highest(kind)).any():
            return None
        scores.append(0.0 - costs)
    if len(np.unique(final)) < len(final):
        return None
    start = found.values[found.first[:1]].astype(np.int64)
    ilabels = _labels.own(integers[:, 2], rules[0])
    olabels = ilabels if acceptor else _labels.own(integers[:, 3], rules[1])
    source, target = integers[:, 0], integers[:, 1]
    weights, accept = scores
    return _Parsed(
        source, target, ilabels, olabels, weights, found.lines[arcs], final, accept, start
    )


def _line_by_line(
    text: Text,
    acceptor: bool,
    rules: tuple[LabelRule, LabelRule],
    isymbols: Symbols,
    osymbols: Symbols,
    kind: type,
) -> _Parsed:
    """The lines of any text. Raises ValueError naming the line."""
    ilabel = _label_reader(isymbols, rules[0])
    olabel = None if acceptor else _label_reader(osymbols, rules[1])
    arcs: list[tuple[int, int, int, int]] = []
    weights: list[float] = []
    lines: list[int] = []
    final: dict[int, float] = {}
    start: list[int] = []
    fewest = 3 if olabel is None else 4  # columns of an arc without a cost
    for line, columns in text.rows():
        width = len(columns)
        try:
            state = count(columns[0], "a state")
            if width <= 2:
                if state in final:
                    raise ValueError(f"state {state} has a second final line")
                final[state] = _weight(columns[1:], kind)
            elif width in (fewest, fewest + 1):
                target = count(columns[1], "a state")
                read = ilabel(columns[2])
                written = read if olabel is None else olabel(columns[3])
                weights.append(_weight(columns[fewest:], kind))
                arcs.append((state, target, read, written))
                lines.append(line)
            else:
                raise ValueError(_wrong_width(width, olabel is None))
        except ValueError as error:
            raise text.wrong(line, error) from None
        if not start:
            start.append(state)
    integers = np.array(arcs, np.int64).reshape(-1, 4).T
    return _Parsed(
        integers[0],
        integers[1],
        integers[2],
        integers[3],
        np.array(weights, np.float64),
        np.array(lines, np.int64),
        np.array(list(final), np.int64),
        np.array(list(final.values()), np.float64),
        np.array(start, np.int64),
    )


def _ranks(text: Text, numbers: np.ndarray, target: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """The targets renumbered. Raises ValueError for a state without a line of its own."""
    rank = np.searchsorted(numbers, target)
    lost = numbers[np.minimum(rank, len(numbers) - 1)] != target if len(target) else rank != rank
    if lost.any():
        first = int(lost.argmax())
        raise text.wrong(
            int(lines[first]),
            f"an arc leads to state {target[first]}, which has no line of its own: the rest is "
            f'missing (a dead end takes the line "{target[first]} Infinity")',
        )
    return rank


def _weight(cost: list[str], kind: type) -> float:
    return score(cost[0], "a cost", -1.0, kind) if cost else 0.0


def _wrong_width(width: int, acceptor: bool) -> str:
    if acceptor:
        hint = "; read transducers with acceptor=False" if width == 5 else ""
        return f"an acceptor's line has 1 to 4 columns, got {width}{hint}"
    hint = "; read acceptors with acceptor=True" if width == 3 else ""
    return f"a transducer's line has 1, 2, 4 or 5 columns, got {width}{hint}"


def _label_reader(symbols: Symbols, rule: LabelRule) -> Callable[[str], int]:
    """The function from a word in the file to a label."""
    if symbols is not None:
        return _table(symbols).label
    offset = -1 if rule == "shifted" else 0

    def numbered(word: str) -> int:
        label = count(word, "a label")
        return EPSILON if label == 0 and rule == "kept" else label + offset

    return numbered


def _table(symbols: Mapping[int, str] | Sequence[str]) -> SymbolTable:
    return symbols if isinstance(symbols, SymbolTable) else SymbolTable(symbols)


def render(
    function: str,
    graph: Graph | Lattice,
    acceptor: bool,
    labels: Labels,
    isymbols: Symbols,
    osymbols: Symbols,
) -> str:
    """The text of one graph, see `openfst.to_text`."""
    graph = _shape.one(function, graph)
    arrays = _shape.single_start(function, graph)
    if acceptor and not graph.is_acceptor:
        raise ValueError(f"{function}: the graph is a transducer: pass acceptor=False")
    if arrays.start < 0:
        return ""
    rules = _labels.rules(function, labels)
    sides = [("ilabels", arrays.ilabels, isymbols, rules[0])]
    if not acceptor:
        sides.append(("olabels", arrays.olabels, osymbols, rules[1]))
    names = [_label_names(function, *side) for side in sides]
    costs = [_cost_text(weight) for weight in arrays.weights]
    columns = zip(arrays.source.tolist(), arrays.target.tolist(), *names, costs)
    lines: list[list[str]] = [[] for _ in arrays.accept]
    for arc in columns:
        lines[arc[0]].append("\t".join(map(str, arc)).rstrip("\t"))
    for state, accept in enumerate(arrays.accept):
        if accept > NEG_INF or not lines[state]:
            lines[state].append(f"{state}\t{_cost_text(accept)}".rstrip("\t"))
    ordered = [lines[arrays.start], *(x for s, x in enumerate(lines) if s != arrays.start)]
    return "".join(line + "\n" for of_state in ordered for line in of_state)


def _cost_text(weight: np.floating) -> str:
    """A cost; nothing for 0, as `fstprint` does."""
    if weight == 0:
        return ""
    return "Infinity" if weight == NEG_INF else _shape.number(-weight)


def _label_names(
    function: str, name: str, labels: np.ndarray, symbols: Symbols, rule: LabelRule
) -> Iterable[str]:
    if symbols is None:
        return map(str, _labels.foreign(function, name, labels, rule).tolist())
    table = _table(symbols)
    for symbol in (table.epsilon, *table.values()):
        if any(separator in symbol for separator in " \t\n\r"):
            raise ValueError(f"{function}: symbol {symbol!r} has a blank in it")
    return table.names(labels.tolist())
