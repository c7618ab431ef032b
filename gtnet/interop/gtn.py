"""The text and the binary form of the package gtn (`gtn.savetxt`, `gtn.save`).

Labels are gtnet's: epsilon is -1. Neither form has scores of start and accept states: a graph with
such scores gets a new start or accept state, with epsilons that carry them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gtnet._checks import NEG_INF
from gtnet._files import PathLike, Text, count, integer, score
from gtnet.build import linear
from gtnet.graph import Graph
from gtnet.interop import _shape
from gtnet.rational import concat

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


def read(path: PathLike) -> Graph:
    """Read one graph in gtn's text form.

    The first line holds the start states, the second the accept states, every other an arc:
    `source target ilabel [olabel=ilabel] [weight=0]`. Result: float32, leaf tensors.
    Raises ValueError for a malformed line, naming it, and for a file whose last line is incomplete
    (the form does not say how many arcs there are, so missing lines go unnoticed).
    """
    return _parse(Text.read("gtn.read", path))


def from_text(text: str) -> Graph:
    """The graph in gtn's text form: `read` from a str."""
    return _parse(Text("gtn.from_text", text))


def write(graph: Graph | Lattice, path: PathLike) -> None:
    """Write one graph in gtn's text form. Raises ValueError for a batch."""
    _shape.write(path, _render(_shape.one("gtn.write", graph)))


def to_text(graph: Graph | Lattice, *, most: int | None = None) -> str:
    """One graph in gtn's text form; scores are detached. Raises ValueError for a batch.

    `most` cuts every list after that many entries, for printing.
    """
    return _render(_shape.one("gtn.to_text", graph), most)


def read_binary(path: PathLike) -> Graph:
    """Read one graph in gtn's binary form: 32-bit numbers in the machine's order.

    The numbers of states, arcs, start and accept states; those states; source, target, ilabel and
    olabel of every arc; the weights. Raises ValueError for what is not in that form.
    """
    return _parse_binary("gtn.read_binary", path)


def write_binary(graph: Graph | Lattice, path: PathLike) -> None:
    """Write one graph in gtn's binary form, as float32. Raises ValueError for a batch."""
    core = _arcs_only(_shape.one("gtn.write_binary", graph))
    ends = [_ends(scores) for scores in (core.start, core.accept)]
    columns = (core.source, core.target, core.ilabels, core.olabels)
    parts = [
        np.array([core.num_states, core.num_arcs, *map(len, ends)]),
        *map(np.array, ends),
        np.stack([column.cpu().numpy() for column in columns], 1).ravel(),
    ]
    integers = np.concatenate(parts).astype(np.int32)
    weights = core.weights.detach().cpu().numpy().astype(np.float32)
    _shape.write(path, integers.tobytes() + weights.tobytes())


def _parse(text: Text) -> Graph:
    """The graph in a text. Raises ValueError for anything else."""
    lines = text.lines[:-1] if text.lines[-1] == "" else text.lines
    if len(lines) < 2:
        raise text.failed(f"start and accept states take two lines, and there are {len(lines)}")
    ends = [_states(text, number, line) for number, line in enumerate(lines[:2], 1)]
    arcs = []
    for number, columns in text.rows():
        if number > 2:
            try:
                arcs.append(_arc(columns))
            except ValueError as error:
                raise text.wrong(number, error) from None
    states = [*ends[0], *ends[1], *(state for arc in arcs for state in arc[:2])]
    num_states = max(states, default=-1) + 1
    if why := _shape.out_of_proportion(num_states, len(arcs)):
        raise text.failed(why)
    weights = np.array([arc[4] for arc in arcs], np.float32)
    integers = np.array([arc[:4] for arc in arcs], np.int64).reshape(-1, 4)
    return _graph(integers, weights, ends[0], ends[1], num_states)


def _states(text: Text, number: int, line: str) -> list[int]:
    try:
        states = [count(word, "a state") for word in line.split()]
        if len(set(states)) < len(states):
            raise ValueError("a state is repeated")
    except ValueError as error:
        raise text.wrong(number, error) from None
    return states


def _arc(columns: list[str]) -> tuple[int, int, int, int, float]:
    if not 3 <= len(columns) <= 5:
        raise ValueError(f"an arc has 3 to 5 columns, got {len(columns)}")
    source, target = (count(word, "a state") for word in columns[:2])
    labels = [integer(word, "a label") for word in columns[2:4]]
    if min(labels) < -1:
        raise ValueError(f"labels must be -1 or more, got {min(labels)}")
    weight = score(columns[4], "a weight", dtype=np.float32) if len(columns) == 5 else 0.0
    return source, target, labels[0], labels[-1], weight


def _parse_binary(function: str, path: PathLike) -> Graph:
    """The graph in a binary file. Raises ValueError for what is not in gtn's form."""
    data = Path(path).read_bytes()
    numbers = np.frombuffer(data[: len(data) // 4 * 4], np.int32)
    num_states, num_arcs, *counts = numbers[:4].tolist() if len(numbers) >= 4 else (-1,) * 4
    size = 4 + sum(counts) + 5 * num_arcs
    if min(num_states, num_arcs, *counts) < 0 or 4 * size != len(data):
        raise ValueError(
            f"{function}: {path} has {len(data)} bytes and is not a graph in gtn's binary form; "
            f"gtn.read (loadtxt) reads text"
        )
    start, accept, arcs = np.split(numbers[4 : size - num_arcs], np.cumsum(counts))
    weights = np.frombuffer(data, np.float32, offset=4 * (size - num_arcs)).copy()
    try:
        if why := _shape.out_of_proportion(num_states, num_arcs):
            raise ValueError(why)
        return _graph(arcs.reshape(-1, 4), weights, start.tolist(), accept.tolist(), num_states)
    except ValueError as error:
        raise ValueError(f"{function}: {path}: {error}") from None


def _graph(
    arcs: np.ndarray,
    weights: np.ndarray,
    start: Sequence[int],
    accept: Sequence[int],
    num_states: int,
) -> Graph:
    source, target, ilabels, olabels = torch.from_numpy(arcs.copy()).T
    scores = torch.from_numpy(weights)
    ends: dict[str, Any] = {"start": start, "accept": accept, "num_states": num_states}
    return Graph(source, target, ilabels, olabels, scores, **ends)


def _render(graph: Graph, most: int | None = None) -> str:
    """The text of one graph; `most` cuts every list."""
    graph, lines = _arcs_only(graph), []
    for scores in (graph.start, graph.accept):
        states = _ends(scores)
        more = [] if most is None or len(states) <= most else ["..."]
        lines.append(" ".join([*map(str, states[:most]), *more]))
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels)
    weights = map(_shape.number, graph.weights[:most].detach().cpu().numpy())
    rows = zip(*(column[:most].tolist() for column in columns), weights, strict=True)
    lines += [" ".join(map(str, row)) for row in rows]
    if most is not None and graph.num_arcs > most:
        lines.append("...")
    return "".join(line + "\n" for line in lines)


def _arcs_only(graph: Graph) -> Graph:
    """The graph with scores of start and accept states, which no form holds, on epsilons."""
    point = linear([], dtype=graph.dtype)
    if _has_scores(graph.start):
        graph = concat(point, graph)
    if _has_scores(graph.accept):
        graph = concat(graph, point)
    return graph


def _has_scores(ends: Tensor) -> bool:
    return bool(((ends != 0) & (ends > NEG_INF)).any())


def _ends(scores: Tensor) -> list[int]:
    """The states that have a score."""
    return (scores > NEG_INF).nonzero().flatten().tolist()
