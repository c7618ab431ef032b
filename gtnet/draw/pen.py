"""The look of the arcs and states of one graph: names, numbers, colours and widths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from gtnet.draw.excerpt import GraphArrays, RankedPath
from gtnet.draw.style import HIGHLIGHT, PATHS, QUIET, grey, width
from gtnet.draw.text import SPACE, Numbers, Symbols, escape, symbol

Show = Literal["score", "energy", "posterior", "none"]


class Pen:
    """Draws a graph under its scores: the best path in colour, posteriors as width and darkness.

    Arguments: as those of `gtnet.draw`; `names` of the states, their numbers by default.
    """

    def __init__(
        self,
        a: GraphArrays,
        isymbols: Symbols = None,
        osymbols: Symbols = None,
        show: Show = "score",
        digits: int = 2,
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.arrays, self.show, self.names = a, show, names or {}
        self.wide = any(len(name) > 3 for name in self.names.values())
        self.isymbols, self.osymbols = isymbols, osymbols
        ends = np.concatenate([a.start, a.accept])
        self.all_zero = not a.weights.any() and not ends[ends > -np.inf].any()
        self.number = Numbers([a.weights, ends], digits)

    def rank(self, arc: int) -> Any:
        """The sort key of parallel arcs, the first on top."""
        return arc not in self.arrays.highlighted, -self.arrays.weights[arc]

    def label(self, arc: int) -> str:
        """The text on an arc, as an HTML-like label."""
        name, value = self.name(arc), self.value(arc)
        value = value and SPACE + value
        if arc in self.arrays.highlighted:
            return f'<FONT COLOR="{HIGHLIGHT}"><B>{name}</B>{value}</FONT>'
        return f'{name}<FONT COLOR="{QUIET}">{value}</FONT>' if value else name

    def name(self, arc: int) -> str:
        """`input`, or `input:output` of a transducer."""
        name = escape(symbol(self.isymbols, int(self.arrays.ilabels[arc])))
        if self.arrays.is_acceptor:
            return name
        return f"{name}:{escape(symbol(self.osymbols, int(self.arrays.olabels[arc])))}"

    def value(self, arc: int) -> str:
        """The number on an arc, empty for none."""
        if self.show == "posterior" and self.arrays.posteriors is not None:
            return f"{self.arrays.posteriors[arc]:.2f}"
        if self.show in ("none", "posterior") or self.all_zero:
            return ""
        score = float(self.arrays.weights[arc])
        return self.number(-score if self.show == "energy" else score)

    def look(self, arcs: list[int]) -> dict[str, str]:
        """The Graphviz attributes of the line that stands for some parallel arcs."""
        a = self.arrays
        look: dict[str, str] = {}
        if a.shade and a.posteriors is not None:
            share = float(a.posteriors[arcs].sum())
            look = {"penwidth": width(share), "color": grey(share)}
        if not np.isfinite(a.weights[arcs]).any():
            look |= {"style": "dashed", "color": "#999999"}
        if not a.highlighted.isdisjoint(arcs):
            look |= {"color": HIGHLIGHT, "weight": "8"}
            look["penwidth"] = max("2.00", look.get("penwidth", ""))
        return look

    def state(self, state: int) -> str:
        """The Graphviz attributes of a state: start bold, accept double, scores beside it."""
        a = self.arrays
        name = self.names.get(state, str(state))
        look = f"label=<{name}>"
        if self.wide:
            look += ' shape=box style="rounded,filled" margin="0.06,0.03" height="0.28"'
        look += ' penwidth="2.2"' if a.start[state] > -np.inf else ""
        if a.accept[state] > -np.inf:
            look += " peripheries=2" if self.wide else " shape=doublecircle"
        beside = self._ends(state)
        if beside:
            look += f' xlabel=<<FONT POINT-SIZE="9" COLOR="{QUIET}">{beside}</FONT>>'
        return f"[{look}]"

    def notes(self) -> list[str]:
        """Lines below the picture."""
        return []

    def _ends(self, state: int) -> str:
        """The start and accept scores of a state that are not 0."""
        if self.show in ("none", "posterior"):
            return ""
        scores = {"in": self.arrays.start[state], "out": self.arrays.accept[state]}
        return "<BR/>".join(
            f"{word} {self.number(-score if self.show == 'energy' else score)}"
            for word, score in scores.items()
            if score != 0 and score > -np.inf
        )


class PathsPen(Pen):
    """Draws the k best paths, each in its own colour; a legend lists their scores."""

    @property
    def paths(self) -> tuple[RankedPath, ...]:
        """The paths that are drawn, best first."""
        return self.arrays.paths or ()

    def rank(self, arc: int) -> Any:
        return min(self._ranks(arc), default=len(PATHS)), super().rank(arc)

    def label(self, arc: int) -> str:
        name, value = self.name(arc), self.value(arc)
        colours = self._colours([arc])
        if not colours:
            return name + (value and SPACE + value)
        shown = f"<B>{name}</B>" if 0 in self._ranks(arc) else name
        return f'<FONT COLOR="{colours[0]}">{shown}{value and SPACE + value}</FONT>'

    def look(self, arcs: list[int]) -> dict[str, str]:
        colours = self._colours(arcs)
        look = super().look(arcs)
        # Parallel lines: an arc that several paths share shows all their colours.
        return look | {"color": ":".join(colours), "penwidth": "2.00"} if colours else look

    def notes(self) -> list[str]:
        lines = []
        for rank, path in enumerate(self.paths):
            labels = self.arrays.ilabels if self.arrays.is_acceptor else self.arrays.olabels
            symbols = self.isymbols if self.arrays.is_acceptor else self.osymbols
            written = [symbol(symbols, int(label)) for label in labels[path.arcs] if label >= 0]
            joined = ("" if all(len(word) == 1 for word in written) else " ").join(written)
            score = self.number(-path.score if self.show == "energy" else path.score)
            bar = f'<FONT COLOR="{_colour(rank)}"><B>━━</B></FONT>'
            text = joined if len(joined) <= 40 else joined[:39] + "…"
            lines.append(f"{bar}{SPACE * 2}{rank + 1}. {escape(text)}{SPACE * 2}{score}")
        return lines

    def _ranks(self, arc: int) -> list[int]:
        return [rank for rank, path in enumerate(self.paths) if arc in path.arcs]

    def _colours(self, arcs: list[int]) -> list[str]:
        ranks = sorted({rank for arc in arcs for rank in self._ranks(arc)})
        return list(dict.fromkeys(_colour(rank) for rank in ranks))


def _colour(rank: int) -> str:
    return PATHS[rank] if rank < len(PATHS) else "#999999"
