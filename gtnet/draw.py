"""Pictures of graphs: DOT text, SVG, PNG, PDF and notebook display."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from gtnet._checks import EPSILON
from gtnet._excerpt import Excerpt, GraphArrays, excerpt
from gtnet._render import FONT, FORMATS, GraphvizMissingError, png_bytes, render
from gtnet.graph import Graph

__all__ = ["GraphvizMissingError", "Picture", "draw", "mimebundle", "to_dot"]

Symbols = Sequence[str] | Mapping[int, str] | None
Show = Literal["score", "energy", "posterior", "none"]

INK, QUIET, FAINT, HIGHLIGHT = "#333333", "#767676", "#c4c4c4", "#0072b2"
_NOTEBOOK_STATES, _NOTEBOOK_ARCS, _NOTEBOOK_GRAPHS = 200, 600, 4


@dataclass(frozen=True)
class Picture:
    """A drawn graph: DOT text now, a rendered picture when somebody asks for it.

    Attributes:
        dot: the DOT text.
        images: PNG files of the images on arcs, by the name the DOT text uses.
    """

    dot: str
    images: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def svg(self) -> str:
        """The picture as one self-contained SVG element. Raises: GraphvizMissingError."""
        return render(self.dot, "svg", self.images).decode()

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix (.dot, .svg, .png, .pdf) chooses the format.

        Images on the arcs of a .dot file are written beside it, into `<stem>-images/`.

        Returns: the path written.
        Raises: ValueError for another suffix; GraphvizMissingError where nothing can render, after
        writing the DOT text next to where the picture would have been.
        """
        path = Path(path)
        kind = path.suffix.lower().lstrip(".")
        if kind in ("dot", "gv"):
            self._save_dot(path)
        elif kind in FORMATS:
            try:
                path.write_bytes(render(self.dot, kind, self.images))
            except GraphvizMissingError as error:
                text = self._save_dot(path.with_suffix(".dot"))
                message = f"draw: cannot make {path.name}, wrote {text.name} instead; {error}"
                raise GraphvizMissingError(message) from None
        else:
            raise ValueError(
                f"draw: the path {path.name} ends in {path.suffix or 'no suffix'!r}, expected "
                ".dot, .svg, .png or .pdf"
            )
        return path

    def _save_dot(self, path: Path) -> Path:
        dot = self.dot
        folder = path.with_name(path.stem + "-images")
        for name, data in self.images.items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
            dot = dot.replace(f'SRC="{name}"', f'SRC="{folder.name}/{name}"')
        path.write_text(dot, encoding="utf-8")
        return path

    def _repr_svg_(self) -> str | None:
        try:
            return self.svg
        except GraphvizMissingError:
            return None


def draw(
    g: Graph,
    path: str | Path | None = None,
    *,
    index: int | None = None,
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    show: Show = "score",
    digits: int = 2,
    highlight: Literal["best"] | Iterable[int] | None = None,
    posteriors: bool | Tensor = False,
    images: Mapping[int, np.ndarray] | None = None,
    image_height: int = 28,
    title: str | None = None,
    min_posterior: float = 0.0,
    max_states: int = 60,
    max_arcs: int = 200,
    max_labels: int = 6,
    rankdir: Literal["LR", "TB"] = "LR",
) -> Picture:
    """Draw one graph: states as circles (start bold, accept double), arcs with their labels.

    Parallel arcs become one edge with their labels stacked, best first. A graph above
    `max_states` or `max_arcs` is cut to its most probable arcs and the best path (to what is
    nearest the start where paths cannot be weighed), and the picture says how much is left out.
    An arc of score -inf is dashed. Numbers are left away where every score is 0.

    Args:
        g: a batch of one, or a batch and `index`. Arc numbers below are those of the graph drawn.
        path: where to write it; .dot, .svg, .png or .pdf. None writes nothing.
        index: which graph of the batch.
        isymbols, osymbols: names of the labels, a sequence or a mapping; other labels print as
            numbers, EPSILON as ε. A transducer's arc reads `input:output`.
        show: the number on an arc: its "score", its "energy" (minus score), its "posterior", or
            "none".
        digits: decimals of these numbers, at most.
        highlight: arcs drawn in colour: "best" for the Viterbi path, or arc numbers.
        posteriors: True, or a tensor [arcs] of probabilities in [0, 1]: drawn as the width and
            the darkness of the arcs.
        images: picture of an arc, [height, width] or [height, width, 3], uint8 or float in
            [0, 1] (1 is white), such as the image segment that the arc reads.
        image_height: height of these pictures, points.
        title: a line above the picture.
        min_posterior: arcs less probable than this are left out, except those of the best path.
        max_states, max_arcs: the largest graph drawn whole.
        max_labels: labels stacked on one edge before "+ n more".
        rankdir: "LR" draws from left to right, "TB" from top to bottom.

    Returns:
        A Picture; notebooks show it, `.svg`, `.dot` and `.save(path)` give it away.

    Raises:
        ValueError: a batch without `index`, arcs or options that do not exist, paths to be weighed
            in a cyclic graph.
        IndexError: no such graph in the batch.
        GraphvizMissingError: `path` needs rendering and nothing can; DOT text was written instead.

    Complexity: O(arcs log arcs) to choose what is drawn, then that of Graphviz. No gradient.
    """
    if show not in ("score", "energy", "posterior", "none"):
        raise ValueError(
            f'draw: show is {show!r}, expected "score", "energy", "posterior" or "none"'
        )
    known = min_posterior > 0 or show == "posterior"
    arrays = GraphArrays.of(_single(g, index), posteriors, highlight, known)
    kept = excerpt(arrays, max_states, max_arcs, min_posterior)
    labels = _Labels(arrays, isymbols, osymbols, show, digits)
    edges = list(_edges(arrays, kept.arcs))
    drawn = set(kept.arcs)
    used = {arc: image for arc, image in (images or {}).items() if arc in drawn}
    cells, files = _name_images(used, image_height)
    lines = [
        "digraph {",
        *_defaults(rankdir, _caption(arrays, kept, title)),
        *(_node_line(arrays, labels, state) for state in kept.states),
        *(_edge_line(arrays, labels, edge, cells, max_labels) for edge in edges),
        "}",
    ]
    picture = Picture("\n".join(lines) + "\n", files)
    if path is not None:
        picture.save(path)
    return picture


def to_dot(g: Graph, **options: Any) -> str:
    """The DOT text of one graph. Takes the options of `draw`; needs no Graphviz."""
    return draw(g, **options).dot


def mimebundle(g: Graph) -> dict[str, str]:
    """What a notebook shows for a graph: its text, and its picture if it is small enough.

    Returns: MIME types and their content: text always, SVG for one graph of at most 200 states
    and 600 arcs, HTML with a few such graphs side by side.
    """
    bundle = {"text/plain": repr(g)}
    small = g.num_states <= _NOTEBOOK_STATES and g.num_arcs <= _NOTEBOOK_ARCS
    if not small or not 1 <= len(g) <= _NOTEBOOK_GRAPHS:
        return bundle
    try:
        if len(g) == 1:
            bundle["image/svg+xml"] = draw(g).svg
        else:
            pictures = [draw(g, index=i, title=f"graph {i}").svg for i in range(len(g))]
            bundle["text/html"] = "".join(f"<div>{svg}</div>" for svg in pictures)
    except GraphvizMissingError as error:
        bundle["text/plain"] += f"\n(no picture: {error})"
    return bundle


def _single(g: Graph, index: int | None) -> Graph:
    if index is None and len(g) != 1:
        raise ValueError(f"draw: the batch has {len(g)} graphs, choose one with index=")
    return g.detach() if index is None else g[index].detach()


def _edges(a: GraphArrays, arcs: list[int]) -> Iterator[list[int]]:
    """Groups of parallel arcs, each best first."""
    groups: dict[tuple[int, int], list[int]] = {}
    for arc in arcs:
        groups.setdefault((int(a.source[arc]), int(a.target[arc])), []).append(arc)
    for group in groups.values():
        yield sorted(group, key=lambda arc: (arc not in a.highlighted, -a.weights[arc]))


class _Labels:
    """Text of arcs, states and numbers, escaped for Graphviz's HTML-like labels."""

    def __init__(
        self, a: GraphArrays, isymbols: Symbols, osymbols: Symbols, show: Show, digits: int
    ) -> None:
        self.arrays, self.show = a, show
        self.isymbols, self.osymbols = isymbols, osymbols
        states = np.concatenate([a.start, a.accept])
        self.all_zero = not a.weights.any() and not states[states > -np.inf].any()
        self.digits = self._enough_digits(np.concatenate([a.weights, states]), digits)

    def arc(self, arc: int) -> str:
        name = self._symbol(self.isymbols, int(self.arrays.ilabels[arc]))
        if not self.arrays.is_acceptor:
            name += ":" + self._symbol(self.osymbols, int(self.arrays.olabels[arc]))
        number = self._number(arc)
        number = number and "\u00a0" + number  # a plain space would be lost between SVG's texts
        if arc in self.arrays.highlighted:
            return f'<FONT COLOR="{HIGHLIGHT}"><B>{name}</B>{number}</FONT>'
        return f'{name}<FONT COLOR="{QUIET}">{number}</FONT>' if number else name

    def state(self, state: int) -> str:
        """The start and accept scores of a state that are not 0."""
        if self.show in ("none", "posterior"):
            return ""
        scores = {"in": self.arrays.start[state], "out": self.arrays.accept[state]}
        return "<BR/>".join(
            f"{word} {self._format(-score if self.show == 'energy' else score)}"
            for word, score in scores.items()
            if score != 0 and score > -np.inf
        )

    def _number(self, arc: int) -> str:
        if self.show == "posterior" and self.arrays.posteriors is not None:
            return f"{self.arrays.posteriors[arc]:.2f}"
        if self.show in ("none", "posterior") or self.all_zero:
            return ""
        score = float(self.arrays.weights[arc])
        return self._format(-score if self.show == "energy" else score)

    def _format(self, value: float) -> str:
        if abs(value) == np.inf:
            return "∞" if value > 0 else "−∞"
        text = f"{value:.{self.digits}f}" if abs(value) < 1e5 else f"{value:.3g}"
        return text.replace("-", "−") if float(text) else text.lstrip("-")

    @staticmethod
    def _enough_digits(values: np.ndarray, digits: int) -> int:
        finite = values[np.isfinite(values)]
        return next(
            (d for d in range(digits) if np.allclose(finite, finite.round(d), 0, 1e-6)), digits
        )

    @staticmethod
    def _symbol(symbols: Symbols, label: int) -> str:
        if label == EPSILON:
            return "ε"
        if isinstance(symbols, Mapping):
            name = symbols.get(label, str(label))
        elif symbols is not None and label < len(symbols):
            name = symbols[label]
        else:
            name = str(label)
        return _escape(name)


def _escape(text: str) -> str:
    """Text for an HTML-like label; what has no picture of its own is spelled out."""
    if not text:
        return '""'
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return html.escape(shown.replace(" ", "␣") if text.isspace() else shown, quote=False)


def _caption(a: GraphArrays, kept: Excerpt, title: str | None) -> str:
    notes = []
    if len(a.start) == 0:
        notes.append("no states")
    else:
        notes += ["no start state"] if not (a.start > -np.inf).any() else []
        notes += ["no accept state"] if not (a.accept > -np.inf).any() else []
    if kept.rule:
        notes.append(
            f"{len(kept.states):,} of {len(a.start):,} states and {len(kept.arcs):,} of "
            f"{len(a.source):,} arcs shown: {kept.rule}"
        )
    head = [f'<FONT COLOR="{INK}" POINT-SIZE="12"><B>{_escape(title)}</B></FONT>'] if title else []
    if not head and not notes:
        return ""
    place = "t" if title else "b"
    lines = "".join(f'{line}<BR ALIGN="LEFT"/>' for line in [*head, *notes])
    return f" labelloc={place} labeljust=l label=<{lines}>"


def _defaults(rankdir: str, caption: str) -> list[str]:
    graph = f'rankdir={rankdir} bgcolor=white pad="0.1" nodesep="0.26" ranksep="0.22"'
    circle = 'shape=circle width="0.3" height="0.3" margin="0.025"'
    small = f'fontname="{FONT}" fontsize=10 color="{INK}" fontcolor="{INK}"'
    text = f'fontname="{FONT}" fontsize=11'
    return [
        f'  graph [{graph} {text} fontcolor="{QUIET}"{caption}]',
        f"  node [{circle} {small} style=filled fillcolor=white]",
        f'  edge [{text} color="{INK}" fontcolor="{INK}" arrowsize="0.55" penwidth="0.9"]',
    ]


def _node_line(a: GraphArrays, labels: _Labels, state: int) -> str:
    look = ' penwidth="2.2"' if a.start[state] > -np.inf else ""
    look += " shape=doublecircle" if a.accept[state] > -np.inf else ""
    beside = labels.state(state)
    if beside:
        look += f' xlabel=<<FONT POINT-SIZE="9" COLOR="{QUIET}">{beside}</FONT>>'
    return f"  {state} [label=<{state}>{look}]"


def _edge_line(
    a: GraphArrays, labels: _Labels, arcs: list[int], images: Mapping[int, str], max_labels: int
) -> str:
    shown = arcs if len(arcs) <= max_labels + 1 else arcs[:max_labels]
    lines = [labels.arc(arc) for arc in shown]
    if len(shown) < len(arcs):
        lines.append(f'<FONT COLOR="{QUIET}">+ {len(arcs) - len(shown)} more</FONT>')
    cells = list(dict.fromkeys(images[arc] for arc in arcs if arc in images))
    padded = [f"\u00a0{line}\u00a0" for line in lines]
    label = _with_images(cells, lines) if cells else "<BR/>".join(padded)
    look = "".join(f' {key}="{value}"' for key, value in _edge_look(a, arcs).items())
    return f"  {a.source[arcs[0]]} -> {a.target[arcs[0]]} [label=<{label}>{look}]"


def _edge_look(a: GraphArrays, arcs: list[int]) -> dict[str, str]:
    look: dict[str, str] = {}
    if a.shade and a.posteriors is not None:
        share = min(1.0, float(a.posteriors[arcs].sum()))
        grey = round(0xC8 - share * (0xC8 - 0x22))
        look = {"penwidth": f"{0.6 + 2.6 * share:.2f}", "color": f"#{grey:02x}{grey:02x}{grey:02x}"}
    if not np.isfinite(a.weights[arcs]).any():
        look |= {"style": "dashed", "color": "#999999"}
    if not a.highlighted.isdisjoint(arcs):
        look |= {"color": HIGHLIGHT, "weight": "8"}
        look["penwidth"] = max("2.00", look.get("penwidth", ""))
    return look


def _with_images(cells: list[str], lines: list[str]) -> str:
    rows = "".join(f'<TR><TD BORDER="0">{line}</TD></TR>' for line in lines)
    pictures = "".join(cells)
    return (
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="0">'
        f'<TR><TD><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{pictures}</TR></TABLE>'
        f"</TD></TR>{rows}</TABLE>"
    )


def _name_images(
    images: Mapping[int, np.ndarray], height: int
) -> tuple[dict[int, str], dict[str, bytes]]:
    """A table cell for each arc's image, and the image files; equal images share one file."""
    cells: dict[int, str] = {}
    files: dict[str, bytes] = {}
    names: dict[bytes, str] = {}
    for arc, image in images.items():
        data = png_bytes(image)
        name = names.setdefault(data, f"arc{arc}.png")
        files[name] = data
        tall, wide = np.asarray(image).shape[:2]
        width = max(4, round(height * wide / tall))
        cells[arc] = (
            f'<TD FIXEDSIZE="TRUE" WIDTH="{width + 2}" HEIGHT="{height + 2}" BORDER="1" '
            f'COLOR="{FAINT}"><IMG SRC="{name}" SCALE="TRUE"/></TD>'
        )
    return cells, files
