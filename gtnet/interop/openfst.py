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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gtnet import _labels
from gtnet._files import PathLike, Text, read_bytes
from gtnet._labels import Labels
from gtnet.graph import Graph
from gtnet.interop import _shape, openfst_binary, openfst_text
from gtnet.interop.openfst_text import Symbols

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


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
    The file may be compressed by gzip. Warns where the last line has no end.
    Raises ValueError for a malformed line, naming file and line; and for a state that arcs lead to
    and that has no line of its own, which `fstprint` always writes: the rest of such a file is
    missing. Complexity: O(lines).
    """
    text = Text.read("openfst.read", path)
    return openfst_text.parse(text, acceptor, labels, isymbols, osymbols, dtype)


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
    whole = Text("openfst.from_text", text)
    return openfst_text.parse(whole, acceptor, labels, isymbols, osymbols, dtype)


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
        openfst_text.render("openfst.write", graph, acceptor, labels, isymbols, osymbols),
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
    return openfst_text.render("openfst.to_text", graph, acceptor, labels, isymbols, osymbols)


def read_binary(path: PathLike, *, labels: Labels = "shifted") -> Graph:
    """Read one graph in OpenFst's binary form, without OpenFst.

    Serves the types `vector` and `const` (also const8, const16, const64) of standard, log and log64
    arcs, which most tools write; log64 gives float64, the others float32. Symbol tables inside are
    skipped. The file may be compressed by gzip.
    Raises ValueError for other types and for a damaged file. Complexity: O(bytes).
    """
    name = "openfst.read_binary"
    return _from_bytes(name, read_bytes(name, path), labels, str(path))


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
