"""OpenFst: its text form, and objects of pynini, pywrapfst and kaldifst.

Costs are minus scores, and every semiring of costs (tropical, log, log64) reads the same. OpenFst's
label 0 is an epsilon; by default label n is gtnet's label n - 1, so that 0 is EPSILON and nothing
is lost (`labels="shifted"`). `labels="kept"` leaves all labels but 0 as they are, for ids from a
table of words; `labels="raw"` takes 0 as an ordinary label.

OpenFst has one start state, without a score: a graph with several start states, or a score on one,
gets a new state, the last, with epsilons to them. A graph without start states is written as the
empty one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from gtnet import _labels
from gtnet._checks import EPSILON, NEG_INF
from gtnet._files import PathLike, Text, count, score
from gtnet._labels import LabelRule, Labels
from gtnet.graph import Graph
from gtnet.interop import _shape, openfst_binary
from gtnet.lexicon import SymbolTable

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Symbols = SymbolTable | Mapping[int, str] | Sequence[str] | None


def read(
    path: PathLike,
    *,
    acceptor: bool = False,
    labels: Labels = "shifted",
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """Read one graph in OpenFst's text form, as `fstprint` writes it.

    Lines are `source target ilabel olabel [cost]` or, with `acceptor`, `source target label
    [cost]`, and `state [cost]` for final states (`Infinity`: not final). The first line's state
    is the start. States keep their order, gaps in their numbers are closed, and arcs are sorted by
    source as OpenFst has them.

    Arguments: `labels` how numbers become labels, one rule or a pair (input, output); `isymbols`,
    `osymbols` names that the file has in place of numbers (an acceptor uses `isymbols`).
    Result: scores in leaf tensors of `dtype`.
    Raises ValueError for a malformed line, naming file and line; for a file that ends within a
    line; and for a state that arcs lead to and that has no line of its own, which `fstprint`
    always writes: the rest of such a file is missing. Complexity: O(lines).
    """
    text = Text.read("openfst.read", path)
    return _graph(text, acceptor, labels, isymbols, osymbols, dtype)


def from_text(
    text: str,
    *,
    acceptor: bool = False,
    labels: Labels = "shifted",
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """The graph in OpenFst's text form: `read` from a str, whose last line may lack its end."""
    return _graph(Text("openfst.from_text", text), acceptor, labels, isymbols, osymbols, dtype)


def write(
    graph: Graph | Lattice,
    path: PathLike,
    *,
    acceptor: bool = False,
    labels: Labels = "shifted",
    isymbols: Symbols = None,
    osymbols: Symbols = None,
) -> None:
    """Write one graph in OpenFst's text form, for `read` or `fstcompile`. Raises as `to_text`."""
    _shape.write(
        path,
        _text("openfst.write", graph, acceptor, labels, isymbols, osymbols),
    )


def to_text(
    graph: Graph | Lattice,
    *,
    acceptor: bool = False,
    labels: Labels = "shifted",
    isymbols: Symbols = None,
    osymbols: Symbols = None,
) -> str:
    """One graph in OpenFst's text form: the start state first, then the others in their order.

    Arguments: as `read`; names replace the numbers of labels. Scores are detached, and written
    with enough digits to read the same values back.
    Raises ValueError for a batch, a transducer as an `acceptor`, labels that the rule cannot
    number and labels without a name. Complexity: O(states + arcs).
    """
    return _text("openfst.to_text", graph, acceptor, labels, isymbols, osymbols)


def read_binary(path: PathLike, *, labels: Labels = "shifted") -> Graph:
    """Read one graph in OpenFst's binary form, without OpenFst.

    Serves the type `vector` of standard, log and log64 arcs, which most tools write; log64 gives
    float64, the others float32. Symbol tables inside are skipped.
    Raises ValueError for other types and for a damaged file. Complexity: O(bytes).
    """
    return _from_bytes("openfst.read_binary", Path(path).read_bytes(), labels, str(path))


def write_binary(
    graph: Graph | Lattice,
    path: PathLike,
    *,
    arc_type: str = "standard",
    labels: Labels = "shifted",
) -> None:
    """Write one graph in OpenFst's binary form (`vector`), without OpenFst.

    `arc_type` is "standard" (tropical), "log" or "log64"; the first two hold float32.
    Raises ValueError for a batch, and for labels that the rule cannot number.
    """
    _shape.write(path, _to_bytes("openfst.write_binary", graph, arc_type, labels))


def from_fst(fst: Any, *, labels: Labels = "shifted") -> Graph:
    """The graph of a pynini.Fst, pywrapfst.Fst or kaldifst.StdVectorFst; leaf tensors.

    log64 gives float64, the other arc types float32. Raises TypeError for anything else and
    ValueError for arc types whose weights are not costs. Complexity: O(states + arcs).
    """
    if hasattr(fst, "write_to_string"):
        if fst.fst_type() != "vector":
            import pywrapfst

            fst = pywrapfst.convert(fst, "vector")
        data = fst.write_to_string()
    elif type(fst).__module__.partition(".")[0] in ("kaldifst", "_kaldifst"):
        data = _through_a_file(lambda name: fst.write(name))
    else:
        raise TypeError(f"openfst.from_fst: an FST is needed, got {type(fst).__name__}")
    return _from_bytes("openfst.from_fst", data, labels, "the FST")


def to_pynini(
    graph: Graph | Lattice, *, arc_type: str = "standard", labels: Labels = "shifted"
) -> Any:
    """One graph as a pynini.Fst of "standard", "log" or "log64" arcs; scores are detached.

    Raises ImportError without pynini, ValueError as `write_binary`.
    """
    import pynini

    data = _to_bytes("openfst.to_pynini", graph, arc_type, labels)
    return pynini.Fst.read_from_string(data)


def to_kaldifst(graph: Graph | Lattice, *, labels: Labels = "shifted") -> Any:
    """One graph as a kaldifst.StdVectorFst; scores are detached and become float32.

    Raises ImportError without kaldifst, ValueError as `write_binary`.
    """
    import kaldifst

    data = _to_bytes("openfst.to_kaldifst", graph, "standard", labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fst")
        path.write_bytes(data)
        return kaldifst.StdVectorFst.read(str(path))


def _through_a_file(write: Callable[[str], Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fst")
        write(str(path))
        return path.read_bytes()


def _from_bytes(function: str, data: bytes, labels: Labels, name: str) -> Graph:
    rule_in, rule_out = _labels.rules(function, labels)
    try:
        parts = openfst_binary.parse(data)
        return Graph(
            parts.source,
            parts.target,
            _labels.own(parts.ilabels, rule_in),
            _labels.own(parts.olabels, rule_out),
            torch.from_numpy(-parts.costs),
            start=parts.start if parts.start >= 0 else (),
            accept=torch.from_numpy(-parts.final),
            num_states=len(parts.final),
        )
    except ValueError as error:
        raise ValueError(f"{function}: {name}: {error}") from None


def _to_bytes(function: str, graph: Graph | Lattice, arc_type: str, labels: Labels) -> bytes:
    arrays = _shape.single_start(function, graph)
    ilabels, olabels = _numbers(function, arrays, labels)
    if arrays.start < 0:
        empty = np.empty(0)
        arrays = arrays._replace(source=empty, target=empty, weights=empty, accept=empty)
        ilabels = olabels = empty
    return openfst_binary.render(
        function,
        openfst_binary.Parts(
            arc_type,
            arrays.start,
            -arrays.accept,
            arrays.source,
            arrays.target,
            ilabels,
            olabels,
            -arrays.weights,
        ),
    )


def _numbers(function: str, arrays: _shape.Arrays, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    rule_in, rule_out = _labels.rules(function, labels)
    return (
        _labels.foreign(function, "ilabels", arrays.ilabels, rule_in),
        _labels.foreign(function, "olabels", arrays.olabels, rule_out),
    )


# Text


def _graph(
    text: Text,
    acceptor: bool,
    labels: Labels,
    isymbols: Symbols,
    osymbols: Symbols,
    dtype: torch.dtype,
) -> Graph:
    rule_in, rule_out = _labels.rules(text.function, labels)
    ilabel = _label_reader(isymbols, rule_in)
    olabel = None if acceptor else _label_reader(osymbols, rule_out)
    found = _parsed(text, ilabel, olabel, _shape.numpy_type(text.function, dtype))
    integers = np.array([arc[:4] for arc in found.arcs], np.int64).reshape(-1, 4)
    source, target, ilabels, olabels = integers.T
    numbers = np.unique([*source.tolist(), *found.final]).astype(np.int64)
    accept = np.full(len(numbers), NEG_INF)
    accept[np.searchsorted(numbers, list(found.final))] = list(found.final.values())
    target = _ranks(text, numbers, target, found.lines)
    order = np.argsort(source, kind="stable")
    return Graph(
        np.searchsorted(numbers, source[order]),
        target[order],
        ilabels[order],
        None if acceptor else olabels[order],
        _shape.scores(np.array([arc[4] for arc in found.arcs])[order], dtype),
        start=[int(np.searchsorted(numbers, state)) for state in found.start],
        accept=_shape.scores(accept, dtype),
        num_states=len(numbers),
    )


class _Parsed(NamedTuple):
    """What the lines of a text say, states numbered as there."""

    arcs: list[tuple[int, int, int, int, float]]
    lines: list[int]  # of each arc
    final: dict[int, float]
    start: list[int]  # one state, or none in an empty text


def _parsed(
    text: Text,
    ilabel: Callable[[str], int],
    olabel: Callable[[str], int] | None,
    kind: type,
) -> _Parsed:
    """The lines read one by one; acceptors have no `olabel`. Raises ValueError naming the line."""
    found = _Parsed([], [], {}, [])
    fewest = 3 if olabel is None else 4  # columns of an arc without a cost
    for line, columns in text.rows():
        width = len(columns)
        try:
            state = count(columns[0], "a state")
            if width <= 2:
                if state in found.final:
                    raise ValueError(f"state {state} has a second final line")
                found.final[state] = _weight(columns[1:], kind)
            elif width in (fewest, fewest + 1):
                target = count(columns[1], "a state")
                read = ilabel(columns[2])
                written = read if olabel is None else olabel(columns[3])
                weight = _weight(columns[fewest:], kind)
                found.arcs.append((state, target, read, written, weight))
                found.lines.append(line)
            else:
                raise ValueError(_wrong_width(width, olabel is None))
        except ValueError as error:
            raise text.wrong(line, error) from None
        if not found.start:
            found.start.append(state)
    return found


def _ranks(text: Text, numbers: np.ndarray, target: np.ndarray, lines: list[int]) -> np.ndarray:
    """The targets renumbered. Raises ValueError for a state without a line of its own."""
    rank = np.searchsorted(numbers, target)
    lost = numbers[np.minimum(rank, len(numbers) - 1)] != target if len(target) else rank != rank
    if lost.any():
        first = int(lost.argmax())
        raise text.wrong(
            lines[first],
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


def _text(
    function: str,
    graph: Graph | Lattice,
    acceptor: bool,
    labels: Labels,
    isymbols: Symbols,
    osymbols: Symbols,
) -> str:
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
