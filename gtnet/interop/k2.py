"""k2: its text form, and k2.Fsa objects.

k2 has scores, like gtnet; one start state, 0; one final state, the last, which only arcs of label
-1 enter; and arcs sorted by source. Labels follow the same rules as OpenFst's
(`gtnet.interop.openfst`): by default label n is gtnet's n - 1 and 0 is EPSILON. Graphs whose 0 is
the blank of a network, as `k2.ctc_graph` makes them, take `labels=("raw", "shifted")`.

The text form was checked against k2's sources (csrc/fsa_utils.cu). Objects are read and made
through their documented attributes; the tests use objects with the same attributes instead of k2
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _labels
from gtnet._checks import EPSILON, NEG_INF
from gtnet._files import PathLike, Text, count, integer, score
from gtnet._labels import Labels
from gtnet.graph import Graph, built, stack
from gtnet.interop import _shape

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_FINAL = -1  # k2's label of arcs to the final state


def read(
    path: PathLike, *, labels: Labels = "shifted", dtype: torch.dtype = torch.float32
) -> Graph:
    """Read one graph in k2's text form.

    Lines are `source target label [score]` or `source target label aux_label score`; those of the
    final state have label -1; the last line is the final state's number. `str(fsa)` can be read
    as it is, if the Fsa has no labels besides `aux_labels`.

    Arguments: `labels` how numbers become labels, one rule or a pair (labels, aux_labels).
    Result: scores in leaf tensors of `dtype`. The final state is left out and its arcs become
    accept scores; if several arcs lead there from one state, or one that writes something, they
    become epsilons and the state stays. Numbers of states without arcs are skipped.
    Raises ValueError for a malformed line, naming it, and for a file that ends within a line or
    before the final state. Complexity: O(lines).
    """
    return _graph(Text.read("k2.read", path), labels, dtype)


def from_text(
    text: str, *, labels: Labels = "shifted", dtype: torch.dtype = torch.float32
) -> Graph:
    """The graph in k2's text form: `read` from a str, such as `str(fsa)`."""
    return _graph(Text("k2.from_text", text), labels, dtype)


def write(graph: Graph | Lattice, path: PathLike, *, labels: Labels = "shifted") -> None:
    """Write one graph in k2's text form. Raises as `to_text`."""
    _shape.write(path, _text("k2.write", graph, labels))


def to_text(graph: Graph | Lattice, *, labels: Labels = "shifted") -> str:
    """One graph in k2's text form, for `k2.Fsa.from_str` (with `num_aux_labels=1` for transducers).

    The start state becomes state 0 and changes places with it; a state is added for the end, and
    one for the start where that is not one state of score 0. Arcs of score -inf are left out: k2's
    reader knows no infinities. A graph without start or accept states is the empty text. Scores
    are detached.
    Raises ValueError for a batch and for labels that the rule cannot number.
    Complexity: O(states + arcs log arcs).
    """
    return _text("k2.to_text", graph, labels)


def from_fsa(fsa: Any, *, labels: Labels = "shifted") -> Graph:
    """The graphs of a k2.Fsa or k2.FsaVec, a batch; scores stay in autograd with `fsa.scores`.

    `aux_labels` become output labels. Arguments and the final state: as `read`. Raises TypeError
    for ragged `aux_labels` and for anything but an Fsa, ValueError for one that is not on the cpu.
    Complexity: O(arcs).
    """
    if not all(hasattr(fsa, name) for name in ("arcs", "scores", "labels")):
        raise TypeError(f"k2.from_fsa: a k2.Fsa is needed, got {type(fsa).__name__}")
    aux = getattr(fsa, "aux_labels", None)
    if aux is not None and not isinstance(aux, Tensor):
        raise TypeError(f"k2.from_fsa: aux_labels must be a tensor, got {type(aux).__name__}")
    why = "a graph is built there: move it with fsa.to('cpu')"
    _checks.on_cpu("k2.from_fsa", "fsa", fsa.scores, why)
    arcs = fsa.arcs.values()[:, :3].numpy().astype(np.int64)
    written = arcs[:, 2] if aux is None else aux.numpy().astype(np.int64)
    states = fsa.arcs.row_splits(1).numpy()
    if fsa.arcs.num_axes() == 3:
        first_arc, sizes = fsa.arcs.row_splits(2).numpy()[states], np.diff(states)
    else:
        first_arc, sizes = np.array([0, len(arcs)]), np.array([len(states) - 1])
    graphs = []
    for item, size in enumerate(sizes.tolist()):
        here = slice(int(first_arc[item]), int(first_arc[item + 1]))
        source, target, read = arcs[here].T
        rows = _Rows(source, target, read, written[here], fsa.scores[here])
        try:
            graphs.append(_own("k2.from_fsa", rows, size - 1, aux is None, labels))
        except ValueError as error:
            raise ValueError(f"k2.from_fsa: Fsa {item}: {error}") from None
    return stack(graphs) if graphs else _empty(fsa.scores)[:0]


def to_fsa(graph: Graph | Lattice, *, labels: Labels = "shifted") -> Any:
    """A k2.Fsa of one graph, a k2.FsaVec of a batch; states and arcs move as in `to_text`.

    Scores become float32 and are detached. Transducers get `aux_labels`.
    Raises ImportError without k2. Complexity: O(states + arcs log arcs).
    """
    import k2

    graph = built("k2.to_fsa", "graph", graph)
    fsas = []
    for one in graph:
        rows, _ = _rows("k2.to_fsa", one, labels)
        scores = rows.scores.to(torch.float32)
        columns = np.stack([rows.source, rows.target, rows.labels], 1).astype(np.int32)
        arcs = torch.cat([torch.from_numpy(columns), scores.view(torch.int32)[:, None]], 1)
        aux = None if one.is_acceptor else torch.from_numpy(rows.aux.astype(np.int32))
        fsas.append(k2.Fsa(arcs, aux_labels=aux))
    return fsas[0] if len(fsas) == 1 else k2.create_fsa_vec(fsas)


class _Rows(NamedTuple):
    """The arcs of one Fsa as k2 has them."""

    source: np.ndarray
    target: np.ndarray
    labels: np.ndarray
    aux: np.ndarray
    scores: Tensor


def _own(function: str, rows: _Rows, final: int, is_acceptor: bool, labels: Labels) -> Graph:
    """The graph of arcs whose final state is `final`. Raises ValueError without a place."""
    rule_in, rule_out = _labels.rules(function, labels)
    if final < 0 and not len(rows.source):
        return _empty(rows.scores)
    if final < 1:
        raise ValueError("the start state 0 must not be the final one")
    ends = rows.target == final
    if ((rows.labels == _FINAL) != ends).any() or (rows.source == final).any():
        raise ValueError(
            f"label -1 must stand on the arcs to the final state {final} and there only"
        )
    wrong = (rows.labels < 0) & ~ends | (rows.aux < 0) & ~(ends & (rows.aux == _FINAL))
    if wrong.any():
        raise ValueError("a label is below 0")
    silent = (rows.aux == _FINAL) | (_labels.own(rows.aux, rule_out) == EPSILON)
    states, where = np.unique(
        np.concatenate([rows.source, rows.target, [0, final]]), return_inverse=True
    )
    source, target = where[: len(ends)], where[len(ends) : 2 * len(ends)]
    alone = np.bincount(source[ends], minlength=len(states)) == 1
    folded = ends & silent & alone[source]
    stays = bool((ends & ~folded).any())
    num_states = len(states) if stays else len(states) - 1
    accept = torch.full((num_states,), NEG_INF, dtype=rows.scores.dtype)
    accept = accept.index_put((torch.from_numpy(source[folded]),), rows.scores[folded])
    if stays:
        last = torch.tensor([num_states - 1])
        accept = accept.index_put((last,), torch.zeros(1, dtype=accept.dtype))
    kept = ~folded
    ilabels = np.where(ends, EPSILON, _labels.own(rows.labels, rule_in))[kept]
    olabels = np.where(ends & silent, EPSILON, _labels.own(rows.aux, rule_out))[kept]
    return Graph(
        source[kept],
        target[kept],
        ilabels,
        None if is_acceptor else olabels,
        rows.scores[torch.from_numpy(kept)],
        accept=accept,
        num_states=num_states,
    )


def _empty(like: Tensor) -> Graph:
    none = torch.empty(0, dtype=like.dtype)
    return Graph([], [], [], weights=none, start=none, accept=none)


def _graph(text: Text, labels: Labels, dtype: torch.dtype) -> Graph:
    kind = _shape.numpy_type(text.function, dtype)
    arcs: list[tuple[int, int, int, int, float]] = []
    final, width, last = -1, 0, 1
    for line, columns in _without_frame(text):
        last = line
        try:
            if final >= 0:
                raise ValueError(f"a line follows that of the final state {final}")
            if len(columns) == 1:
                final = count(columns[0], "the final state")
                continue
            width = width or len(columns)
            if len(columns) != width:
                raise ValueError(f"{width} columns are expected, as in the first line")
            arc = _arc(columns, kind)
            if arcs and arc[0] < arcs[-1][0]:
                raise ValueError(f"arcs must be sorted by source, {arcs[-1][0]} came before")
        except ValueError as error:
            raise text.wrong(line, error) from None
        arcs.append(arc)
    if arcs and final < 0:
        raise text.failed("the line of the final state is missing, the rest of the text")
    if any(max(arc[:2]) > final for arc in arcs):
        raise text.wrong(last, "the final state must be the last")
    source, target, read, written = np.array([arc[:4] for arc in arcs], int).reshape(-1, 4).T
    scores = _shape.scores([arc[4] for arc in arcs], dtype)
    rows = _Rows(source, target, read, written, scores)
    try:
        return _own(text.function, rows, final, width < 5, labels)
    except ValueError as error:
        raise text.failed(error) from None


def _without_frame(text: Text) -> Iterator[tuple[int, list[str]]]:
    """The rows, without what `str(fsa)` writes around them."""
    for line, columns in text.rows():
        if columns[0] == "properties_str":
            return
        if columns[0] == "k2.Fsa:":
            columns = columns[1:]
        if columns:
            yield line, columns


def _arc(columns: list[str], kind: type) -> tuple[int, int, int, int, float]:
    if not 3 <= len(columns) <= 5:
        raise ValueError(f"an arc has 3 to 5 columns, got {len(columns)}")
    source, target = (count(word, "a state") for word in columns[:2])
    read = integer(columns[2], "a label")
    written = integer(columns[3], "an aux_label") if len(columns) == 5 else read
    weight = score(columns[-1], "a score", dtype=kind) if len(columns) > 3 else 0.0
    return source, target, read, written, weight


def _rows(function: str, graph: Graph, labels: Labels) -> tuple[_Rows, int]:
    """The arcs and the final state of one graph in k2's shape."""
    arrays = _shape.single_start(function, graph)
    rules = _labels.rules(function, labels)
    final = len(arrays.accept)
    number = np.arange(final)
    if arrays.start >= 0:
        number[[0, arrays.start]] = arrays.start, 0
    ends = np.flatnonzero(arrays.accept > NEG_INF)
    minus_one = np.full(len(ends), _FINAL)
    sides = zip(("ilabels", "olabels"), (arrays.ilabels, arrays.olabels), rules)
    read, written = (
        np.concatenate([_labels.foreign(function, *side), minus_one]) for side in sides
    )
    source = np.concatenate([number[arrays.source], number[ends]])
    target = np.concatenate([number[arrays.target], np.full(len(ends), final)])
    scores = np.concatenate([arrays.weights, arrays.accept[ends]])
    order = np.argsort(source, kind="stable")
    if arrays.start < 0 or not len(ends):
        order = order[:0]
    order = order[scores[order] > NEG_INF]
    arcs = [column[order] for column in (source, target, read, written)]
    return _Rows(arcs[0], arcs[1], arcs[2], arcs[3], torch.from_numpy(scores[order])), final


def _text(function: str, graph: Graph | Lattice, labels: Labels) -> str:
    graph = _shape.one(function, graph)
    rows, final = _rows(function, graph, labels)
    if not len(rows.source):
        return ""
    columns: list[Any] = [rows.source, rows.target, rows.labels, rows.aux]
    if graph.is_acceptor:
        columns.pop()
    scores = map(_shape.number, rows.scores.numpy())
    lines = zip(*(column.tolist() for column in columns), scores)
    return "".join(" ".join(map(str, line)) + "\n" for line in lines) + f"{final}\n"
