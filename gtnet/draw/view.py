"""Graphs to touch: one graph laid out as plain data, and the page element that draws it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from gtnet._files import replace_file
from gtnet.distance import posteriors as arc_posteriors
from gtnet.draw.dot import bundles, remarks
from gtnet.draw.excerpt import Excerpt, GraphArrays, excerpt
from gtnet.draw.graphs import single
from gtnet.draw.layout import Box, Layout, layered
from gtnet.draw.pen import Show
from gtnet.draw.picture import wrong_suffix
from gtnet.draw.render import data_uri, png_bytes
from gtnet.draw.text import Numbers, Symbols, symbol, visible
from gtnet.graph import Graph
from gtnet.paths import viterbi_path
from gtnet.scale import scale

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_STATE = 26.0  # points across
_ROW, _LETTER = 15.0, 6.8  # of the text on arcs, in the fonts of view.css
_MORE = 40  # arcs that a state shows when it is opened


@dataclass(frozen=True)
class GraphView:
    """A graph to look at and to touch: hover, zoom, pan, click.

    Attributes: `data`, all that is drawn, as JSON has it: `size`, `states`, `edges` (bundles of
    parallel arcs), `images`, `note`, what is left out.
    """

    data: Mapping[str, Any]

    @staticmethod
    def script() -> str:
        """The ES module that draws `data`: `draw(element, data, options)`."""
        return _text("view.js")

    @staticmethod
    def style() -> str:
        """The style sheet that goes with the script."""
        return _text("view.css")

    @staticmethod
    def assets() -> str:
        """The style and the script that draw every `element` of a page: once, behind them all."""
        script = f'<script type="module">{GraphView.script()}\nfillPage();</script>'
        return f"<style>{GraphView.style()}</style>{script}"

    @property
    def element(self) -> str:
        """The view as an HTML element of a page that carries `assets` once."""
        told = json.dumps(self.data).replace("<", "\\u003c")
        return (
            "<div class=gtnet-view-here><div></div>"
            f'<script type="application/json">{told}</script></div>'
        )

    @property
    def html(self) -> str:
        """The view as an HTML element that needs no other file and no network."""
        return self.element + self.assets()

    def save(self, path: str | Path) -> Path:
        """Write the view as a page, .html. Returns the path. Raises: ValueError, another suffix."""
        path = Path(path)
        if path.suffix.lower() != ".html":
            raise ValueError(wrong_suffix(path, ("html",)))
        title = html.escape(str(self.data.get("title") or "gtnet"))
        head = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{_PAGE}</style>"
        )
        replace_file(path, head + self.html)
        return path


_PAGE = "body { margin: 1rem; } .gtnet-view { height: calc(100vh - 2rem); }"


def draw_view(
    g: Graph | Lattice,
    path: str | Path | None = None,
    *,
    index: int | None = None,
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    show: Show = "score",
    digits: int = 2,
    beta: float = 1.0,
    highlight: Literal["best"] | Iterable[int] | None = "best",
    gradient: Tensor | None = None,
    names: Mapping[int, str] | None = None,
    images: Mapping[int, np.ndarray] | None = None,
    image_height: int = 28,
    title: str | None = None,
    min_posterior: float = 0.0,
    max_states: int = 60,
    max_arcs: int = 200,
    max_labels: int = 4,
    opened: Iterable[int] = (),
    rankdir: Literal["LR", "TB"] = "LR",
) -> GraphView:
    """Lay out one graph for a page on which it can be touched, with the posterior of every arc.

    The darker and wider an arc, the more probable it is; the best path is coloured. Posteriors and
    the best path are left out, and `data["note"]` says so, where paths have no finite sum.

    Args:
        g, path, index, isymbols, osymbols, show, digits, highlight, images, image_height, title,
            min_posterior, max_states, max_arcs, max_labels, rankdir: as for `draw`; the path ends
            in .html.
        beta: inverse temperature of the posteriors; infinite, they are those of the best path.
        gradient: of a loss to the scores [arcs]: arcs are coloured by where a step of gradient
            descent moves their scores, as by `draw_gradient`; min_posterior is then a share of the
            strongest push.
        names: of states, their numbers by default.
        opened: states of which all leaving arcs are shown, at most 40 of each, whatever is left out
            elsewhere.

    Returns:
        A view: `.data` for `view.js`, `.html`, `.save(path)`.

    Raises:
        ValueError: as `draw`; beta below 0; a gradient of another length.
        GraphvizMissingError: nothing on this machine can lay out a graph.

    Complexity: as `draw`. No gradient.
    """
    if not beta >= 0:
        raise ValueError(f"draw_view: beta must be at least 0, got {beta}")
    one = single("draw_view", g, index)
    if gradient is not None and list(gradient.shape) != [one.num_arcs]:
        raise ValueError(
            f"draw_view: the gradient has shape {list(gradient.shape)}, expected [{one.num_arcs}]"
        )
    known, problem = _posteriors(one, beta)
    push = None if gradient is None else -gradient.detach().double().cpu()
    weight = known
    if push is not None:  # what the loss changes most is most worth seeing
        strength = push.abs().nan_to_num(0.0)
        weight = strength / strength.max().clamp(min=1e-30) if len(strength) else strength
    best = None if problem is not None and highlight == "best" else highlight
    arrays = GraphArrays.of(one, False if weight is None else weight, best)
    kept = excerpt(arrays, max_states, max_arcs, min_posterior)
    if push is not None:
        kept = replace(kept, rule=kept.rule and "those that the loss changes most")
    kept = _opened(arrays, kept, set(opened))
    page = _Page(arrays, kept, isymbols, osymbols, show, digits, max_labels)
    page.see(known, push, images or {}, image_height, names or {})
    data = page.data(rankdir)
    notes = [*remarks(arrays, kept), *([problem] if problem else [])]
    data |= {"title": title, "note": "; ".join(notes), "beta": beta if beta < math.inf else None}
    view = GraphView(data)
    if path is not None:
        view.save(path)
    return view


@cache
def _text(name: str) -> str:
    return files("gtnet.draw").joinpath(name).read_text("utf-8")


def _posteriors(g: Graph, beta: float) -> tuple[Tensor | None, str | None]:
    """The probability of every arc, or why there is none."""
    try:
        if beta == math.inf:
            maps = viterbi_path(g).arc_maps
            found = torch.zeros(g.num_arcs, dtype=torch.float64)
            found[maps[0].long() if maps else []] = 1.0
            return found, None
        found = arc_posteriors(g if beta == 1 else scale(g, beta))
    except ValueError:
        return None, "no posteriors: the paths around a cycle have no finite sum"
    return found.double().cpu(), None


def _opened(a: GraphArrays, kept: Excerpt, opened: set[int]) -> Excerpt:
    """The excerpt with the arcs that leave opened states."""
    more: list[int] = []
    for state in sorted(opened & set(kept.states)):
        leaving = np.flatnonzero(a.source == state)
        more += leaving[np.argsort(-a.weights[leaving], kind="stable")][:_MORE].tolist()
    arcs = sorted({*kept.arcs, *more})
    ends = {int(end[arc]) for arc in more for end in (a.source, a.target)}
    return replace(kept, arcs=arcs, states=sorted({*kept.states, *ends}))


class _Page:
    """One excerpt as the data of a view."""

    def __init__(
        self,
        a: GraphArrays,
        kept: Excerpt,
        isymbols: Symbols,
        osymbols: Symbols,
        show: Show,
        digits: int,
        max_labels: int,
    ) -> None:
        self.a, self.kept, self.show, self.max_labels = a, kept, show, max_labels
        self.isymbols, self.osymbols = isymbols, osymbols
        self.number = Numbers([a.weights[kept.arcs], a.start, a.accept], digits)
        self.plain = not a.weights.any()

    def see(
        self,
        known: Tensor | None,
        push: Tensor | None,
        images: Mapping[int, np.ndarray],
        image_height: int,
        names: Mapping[int, str],
    ) -> None:
        """What is shown besides the graph itself."""
        self.known = None if known is None else known.numpy()
        self.push = None if push is None else push.numpy()
        self.names = names
        self.images: list[dict[str, Any]] = []
        self.image_of: dict[int, int] = {}
        shown = {arc: np.asarray(images[arc]) for arc in self.kept.arcs if arc in images}
        scale_ = image_height / max([1, *(image.shape[0] for image in shown.values())])
        places: dict[str, int] = {}
        for arc, image in shown.items():
            uri = data_uri(png_bytes(image))
            if uri not in places:
                places[uri] = len(self.images)
                high, wide = (max(4, round(scale_ * side)) for side in image.shape[:2])
                self.images.append({"uri": uri, "width": wide, "height": high})
            self.image_of[arc] = places[uri]

    def data(self, rankdir: str) -> dict[str, Any]:
        """All of it, laid out."""
        a, kept = self.a, self.kept
        place = {state: at for at, state in enumerate(kept.states)}
        states = [self._state(state) for state in kept.states]
        edges = [self._edge(arcs) for arcs in bundles(a, kept.arcs)]
        rows = [(place[edge["source"]], place[edge["target"]], self._room(edge)) for edge in edges]
        boxes: list[Box] = [(state["width"], _STATE) for state in states]
        laid = layered(boxes, rows, rankdir) if states else Layout((1.0, 1.0), [], [])
        for state, (x, y) in zip(states, laid.states, strict=True):
            state |= {"x": round(x, 1), "y": round(y, 1)}
        for edge, (curve, (x, y)) in zip(edges, laid.edges, strict=True):
            edge |= {"path": _path(curve), "x": round(x, 1), "y": round(y, 1)}
        return {
            "size": [round(side, 1) for side in laid.size],
            "states": states,
            "edges": edges,
            "images": self.images,
            "all": [len(a.start), len(a.source)],
            "shown": [len(kept.states), len(kept.arcs)],
            "gradient": self.push is not None,
            "posteriors": self.known is not None,
            "most": 0.0 if self.push is None else float(np.abs(self.push).max(initial=0.0)),
        }

    def _state(self, state: int) -> dict[str, Any]:
        a = self.a
        name = visible(self.names.get(state, str(state)))
        there = set(self.kept.arcs)
        hidden = sum(int(arc) not in there for arc in np.flatnonzero(a.source == state))
        found = {"id": state, "name": name, "hidden": hidden}
        found["width"] = max(_STATE, round(_LETTER * len(name) + 12))
        for kind, scores in (("start", a.start), ("accept", a.accept)):
            score = float(scores[state])
            if score > -np.inf:
                found[kind] = "" if score == 0 else self._signed(score)
        return found

    def _edge(self, arcs: list[int]) -> dict[str, Any]:
        a = self.a
        arcs = sorted(arcs, key=self._rank)
        shown = arcs if len(arcs) <= self.max_labels + 1 else arcs[: self.max_labels]
        found: dict[str, Any] = {
            "source": int(a.source[arcs[0]]),
            "target": int(a.target[arcs[0]]),
            "arcs": [self._arc(arc) for arc in arcs],
            "rows": len(shown),
            "images": sorted({self.image_of[arc] for arc in arcs if arc in self.image_of}),
        }
        return found

    def _arc(self, arc: int) -> dict[str, Any]:
        a = self.a
        reads = visible(symbol(self.isymbols, int(a.ilabels[arc])))
        writes = visible(symbol(self.osymbols, int(a.olabels[arc])))
        score = float(a.weights[arc])
        found: dict[str, Any] = {
            "id": arc,
            "name": reads if a.is_acceptor else f"{reads}:{writes}",
            "value": self._value(arc),
            "score": self._signed(score),
        }
        if not np.isfinite(score):
            found["impossible"] = True
        if arc in a.highlighted:
            found["best"] = True
        if self.known is not None:
            found["p"] = round(float(self.known[arc]), 6)
        if self.push is not None:
            found["push"] = float(f"{self.push[arc]:.4g}")
        if arc in self.image_of:
            found["image"] = self.image_of[arc]
        return found

    def _rank(self, arc: int) -> Any:
        strength = -self.a.weights[arc] if self.push is None else -abs(self.push[arc])
        return arc not in self.a.highlighted, strength, arc

    def _signed(self, score: float) -> str:
        return self.number(-score if self.show == "energy" else score)

    def _value(self, arc: int) -> str:
        if self.push is not None:
            push = float(self.push[arc])
            if abs(push) < 0.005:
                return ""
            return f"{'▲' if push > 0 else '▼'}{abs(push):.2f}"
        if self.show == "posterior" and self.known is not None:
            return f"{self.known[arc]:.2f}"
        if self.show in ("none", "posterior") or self.plain:
            return ""
        return self._signed(float(self.a.weights[arc]))

    def _room(self, edge: Mapping[str, Any]) -> Box:
        """The width and height of the label of an edge."""
        rows = edge["arcs"][: edge["rows"]]
        texts = [f"{arc['name']} {arc['value']}".rstrip() for arc in rows]
        if len(rows) < len(edge["arcs"]):
            texts.append(f"+ {len(edge['arcs']) - len(rows)} more")
        pictures = [self.images[at] for at in edge["images"]]
        wide = max([_LETTER * max(map(len, texts)), sum(p["width"] + 4 for p in pictures)])
        high = _ROW * len(texts) + max([0, *(p["height"] + 4 for p in pictures)])
        edge["box"] = [round(wide), round(high)]  # type: ignore[index]
        return wide + 10, high + 4


def _path(curve: list[tuple[float, float]]) -> str:
    """A chain of Bézier curves as SVG has it."""
    (x, y), *rest = ((round(x, 1), round(y, 1)) for x, y in curve)
    return f"M{x} {y}C" + " ".join(f"{x} {y}" for x, y in rest)
