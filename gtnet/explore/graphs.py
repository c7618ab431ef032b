"""Any graph: typed or loaded, before and after an operation, with the arcs that became others."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gtnet

MOST_TEXT = 6_000_000
_EPSILONS = ("<eps>", "<epsilon>", "ε")
_PYTHON_LINES = 60

Semiring = Mapping[str, Any]

ONE: dict[str, Callable[[gtnet.Graph, Semiring], gtnet.Graph]] = {
    "determinize": lambda g, o: gtnet.determinize(g, max_states=20_000, **o),
    "minimize": lambda g, o: gtnet.minimize(g, **o),
    "remove_epsilon": lambda g, o: gtnet.remove_epsilon(g, max_arcs=500_000, **o),
    "push": lambda g, o: gtnet.push(g, **o),
    "connect": lambda g, o: gtnet.connect(g),
    "closure": lambda g, o: gtnet.closure(g),
    "reverse": lambda g, o: gtnet.reverse(g),
    "invert": lambda g, o: gtnet.invert(g),
}
TWO: dict[str, Callable[[gtnet.Graph, gtnet.Graph], gtnet.Graph]] = {
    "compose": lambda a, b: gtnet.compose(a, b, max_arcs=500_000),
    "union": lambda a, b: gtnet.union(a, b),
    "concat": lambda a, b: gtnet.concat(a, b),
}
WEIGHED = ("determinize", "minimize", "remove_epsilon", "push")
"""Operations that sum over paths, and so know a semiring."""


@dataclass(frozen=True)
class Written:
    """A graph that somebody wrote, and the names of its labels."""

    graph: gtnet.Graph
    names: Mapping[int, str]


def written(texts: Sequence[str], form: str) -> list[Written]:
    """Graphs in one text form, "openfst", "k2" or "gtn", over the same labels.

    OpenFst's labels may be names: those of all texts are numbered together. Raises ValueError that
    names the line of a fault.
    """
    for text in texts:
        if len(text) > MOST_TEXT:
            raise ValueError(f"this text has {len(text):,} letters; {MOST_TEXT:,} are read")
    if form == "k2":
        graphs = [gtnet.interop.k2.from_text(text) for text in texts]
        return [Written(graph, _shifted([graph])) for graph in graphs]
    if form == "gtn":
        return [Written(gtnet.interop.gtn.from_text(text), {}) for text in texts]
    if form != "openfst":
        raise ValueError(f"there is no form {form!r}; there are openfst, k2 and gtn")
    rows = [[line.split() for line in text.splitlines()] for text in texts]
    numbers, names = _numbered(rows)
    found = []
    for lines in rows:
        acceptor = _is_acceptor(lines)
        text = "\n".join("\t".join(_plain(row, acceptor, numbers)) for row in lines)
        graph = gtnet.interop.openfst.from_text(text + "\n", acceptor=acceptor)
        found.append(Written(graph, names))
    return found


def text_of(data: bytes, name: str) -> tuple[str, str]:
    """A file as text and its form: text as it is, saved graphs and binary ones as OpenFst's text.

    Raises ValueError for a file that holds no graph.
    """
    readers: tuple[tuple[bytes, str, Callable[[Path], gtnet.Graph]], ...] = (
        (b"PK\x03\x04", "graph.npz", gtnet.load),
        (b"\xd6\xfd\xb2\x7e", "graph.fst", gtnet.interop.openfst.read_binary),
    )
    for magic, file, read in readers:
        if data.startswith(magic):
            with tempfile.TemporaryDirectory(prefix="gtnet-explore-") as folder:
                path = Path(folder, file)
                path.write_bytes(data)
                try:
                    graph = read(path)
                except ValueError as error:
                    raise ValueError(f"{name}: {str(error).replace(str(path), 'it')}") from error
            return gtnet.interop.openfst.to_text(graph), "openfst"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{name} is no graph: neither text, nor a file of gtnet.save or of OpenFst"
        ) from None
    if "\0" in text:
        raise ValueError(f"{name} is no text")
    return text, "k2" if re.search(r"^\s*\d+\s+\d+\s+-1\b", text, re.M) else "openfst"


def work(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Graphs before and after an operation, as views, with the arcs and states they come from.

    Raises ValueError for texts with faults, and as the operation does.
    """
    name = str(asked.get("operation", "draw"))
    form = str(asked.get("form", "openfst"))
    semiring = str(asked.get("semiring", "log"))
    if name not in ("draw", *ONE, *TWO):
        raise ValueError(f"there is no operation {name!r}")
    texts = [str(asked.get("a", "")), *([str(asked.get("b", ""))] if name in TWO else [])]
    operands = written(texts, form)
    # OpenFst's numbers are costs; so are those on its pictures.
    show = "energy" if form == "openfst" else "score"
    opened = asked.get("opened") or {}
    found: dict[str, Any] = {
        key: _view(operand, show, key, opened) for key, operand in zip("ab", operands)
    }
    made = operands[0].graph
    if name != "draw":
        options = {"semiring": semiring} if name in WEIGHED else {}
        graphs = [operand.graph for operand in operands]
        made = TWO[name](*graphs) if name in TWO else ONE[name](graphs[0], options)
        states = [m.tolist() for m in made.state_maps or ()]
        pairs = {}
        if name == "compose":
            pairs = {i: f"{s},{t}" for i, (s, t) in enumerate(zip(*states))}
        result = Written(made, operands[0].names)
        found["result"] = _view(result, show, "result", opened, pairs)
        shown_states = [state["id"] for state in found["result"]["states"]]
        shown_arcs = [arc["id"] for edge in found["result"]["edges"] for arc in edge["arcs"]]
        arcs = [m.tolist() for m in made.arc_maps or ()]
        found["arcs"] = [{arc: m[arc] for arc in shown_arcs} for m in arcs]
        found["states"] = [{state: m[state] for state in shown_states} for m in states]
    found["dot"] = gtnet.to_dot(made, isymbols=operands[0].names, osymbols=operands[0].names)
    found["python"] = _python(name, semiring, operands)
    return found


def _numbered(
    graphs: Sequence[Sequence[Sequence[str]]],
) -> tuple[Mapping[str, str] | None, Mapping[int, str]]:
    """The numbers of names, None where all labels are numbers, and names by gtnet's label."""
    labels: dict[str, None] = {}
    for rows in graphs:
        end = 3 if _is_acceptor(rows) else 4
        labels |= dict.fromkeys(label for row in rows if len(row) > 2 for label in row[2:end])
    if all(label.lstrip("-").isdecimal() for label in labels):
        return None, {int(label) - 1: label for label in labels}
    others = [label for label in labels if label not in _EPSILONS]
    numbers = {label: str(at) for at, label in enumerate(others, start=1)}
    numbers |= dict.fromkeys(_EPSILONS, "0")
    return numbers, dict(enumerate(others))


def _is_acceptor(rows: Sequence[Sequence[str]]) -> bool:
    """Whether arcs have one label: no line has five columns, and a fourth could be a cost."""
    arcs = [row for row in rows if len(row) > 2]
    if any(len(row) > 4 for row in arcs):
        return False
    fourth = [row[3] for row in arcs if len(row) == 4]
    if len(fourth) < len(arcs):
        return True
    return bool(fourth) and all(map(_is_number, fourth)) and any("." in text for text in fourth)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain(row: Sequence[str], acceptor: bool, numbers: Mapping[str, str] | None) -> Sequence[str]:
    """A line with numbers for names."""
    if numbers is None or len(row) < 3:
        return row
    end = 3 if acceptor else 4
    return [*row[:2], *(numbers.get(label, label) for label in row[2:end]), *row[end:]]


def _shifted(graphs: Sequence[gtnet.Graph]) -> Mapping[int, str]:
    """The names of labels that were numbers from 1."""
    found = {
        label
        for graph in graphs
        for side in (graph.ilabels, graph.olabels)
        for label in side.unique().tolist()
    }
    return {label: str(label + 1) for label in found if label >= 0}


def _view(
    one: Written,
    show: Any,
    title: str,
    opened: Mapping[str, Any],
    names: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    return dict(
        gtnet.draw_view(
            one.graph,
            isymbols=one.names,
            osymbols=one.names,
            show=show,
            title={"a": "A", "b": "B"}.get(title, title),
            names=names,
            max_states=40,
            max_arcs=100,
            opened=[int(state) for state in opened.get(title) or ()],
        ).data
    )


def _python(name: str, semiring: str, operands: Sequence[Written]) -> str:
    """The lines that do the same."""
    lines = ["import gtnet", ""]
    for key, operand in zip("ab", operands):
        if operand.graph.num_arcs > _PYTHON_LINES:
            lines.append(f'{key} = gtnet.interop.openfst.read("{key}.fst.txt")')
            continue
        text = gtnet.interop.openfst.to_text(operand.graph)
        lines += [f'{key} = gtnet.interop.openfst.from_text("""\\', text.rstrip("\n"), '""")']
    names = {label: name for label, name in sorted(operands[0].names.items()) if label >= 0}
    lines.append(f"names = {names!r}")
    if name != "draw":
        given = "a, b" if name in TWO else "a"
        given += f", semiring={semiring!r}" if name in WEIGHED else ""
        lines.append(f"result = gtnet.{name}({given})")
    made = "a" if name == "draw" else "result"
    lines.append(f'gtnet.draw({made}, "{made}.svg", isymbols=names, osymbols=names)')
    return "\n".join(lines) + "\n"
