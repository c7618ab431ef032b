"""A graph in motion: the same states and arcs under scores that change, as in training."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gtnet._files import replace_file
from gtnet._memory import named
from gtnet.distance import posteriors
from gtnet.draw.dot import name_images, remarks, statements
from gtnet.draw.excerpt import Excerpt, GraphArrays, excerpt
from gtnet.draw.graphs import single
from gtnet.draw.pen import Pen
from gtnet.draw.picture import GraphPicture, wrong_suffix
from gtnet.draw.style import HIGHLIGHT, QUIET, caption, defaults
from gtnet.draw.text import SPACE, Symbols, escape
from gtnet.graph import Graph

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_GIF_COLOURS = 64
_HOLD = 4  # how much longer the last picture stays


@dataclass(frozen=True)
class Animation:
    """Pictures of one layout, one after another.

    Attributes: `frames`, the pictures; `seconds`, how long each stays.
    """

    frames: tuple[GraphPicture, ...]
    seconds: float = 0.5

    @property
    def gif(self) -> bytes:
        """The animation as the bytes of a GIF file. Raises: ImportError without Pillow."""
        from PIL import Image

        pictures = [Image.open(io.BytesIO(frame.png)).convert("RGB") for frame in self.frames]
        size = (max(p.width for p in pictures) // 2, max(p.height for p in pictures) // 2)
        strip = Image.new("RGB", (size[0], size[1] * len(pictures)), "white")
        for number, picture in enumerate(pictures):
            half = (picture.width // 2, picture.height // 2)
            small = picture.resize(half, Image.Resampling.LANCZOS)
            strip.paste(small, (0, number * size[1]))
        # One palette for all pictures, or the colours would flicker.
        strip = strip.quantize(_GIF_COLOURS, dither=Image.Dither.NONE)
        tops = range(0, strip.height, size[1])
        shown = [strip.crop((0, top, size[0], top + size[1])) for top in tops]
        times = [round(1000 * self.seconds)] * (len(shown) - 1)
        times.append(round(1000 * self.seconds * _HOLD))
        buffer = io.BytesIO()
        shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=times, loop=0)
        return buffer.getvalue()

    @property
    def html(self) -> str:
        """The animation as an HTML element with a slider; it needs no other file."""
        pages = [frame.svg.splitlines() for frame in self.frames]
        longest = max(map(len, pages))
        pages = [page + [""] * (longest - len(page)) for page in pages]
        first = pages[0]
        changes = [{i: line for i, line in enumerate(page) if line != first[i]} for page in pages]
        data = json.dumps({"first": first, "changes": changes, "ms": round(1000 * self.seconds)})
        name = "gtnet" + hashlib.sha256(data.encode()).hexdigest()[:10]
        page = _HTML.replace("NAME", name).replace("LAST", str(len(pages) - 1))
        return page.replace("DATA", data.replace("</", "<\\/"))

    def save(self, path: str | Path) -> Path:
        """Write the animation; the suffix (.gif, .html) chooses the format.

        Returns: the path written. Raises: ValueError for another suffix; as `gif` and `html`.
        """
        path = Path(path)
        if path.suffix.lower() == ".gif":
            replace_file(path, self.gif)
        elif path.suffix.lower() == ".html":
            page = f"<!doctype html><meta charset=utf-8><title>gtnet</title>{self.html}"
            replace_file(path, page)
        else:
            raise ValueError(wrong_suffix(path, ("gif", "html")))
        return path

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        return f'<img src="data:image/gif;base64,{data}" style="max-width: 100%">'


@named
def draw_animation(
    graphs: Iterable[Graph | Lattice],
    path: str | Path | None = None,
    *,
    captions: Sequence[str] | None = None,
    index: int | None = None,
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    show: Literal["posterior", "none"] = "posterior",
    images: Mapping[int, np.ndarray] | None = None,
    image_height: int = 28,
    min_posterior: float = 0.0,
    max_states: int = 30,
    max_arcs: int = 100,
    max_labels: int = 4,
    seconds: float = 0.5,
) -> Animation:
    """Draw one graph under changing scores, such as an interpretation graph over training.

    Every picture has the same layout; widths, darkness and the blue best path change.

    Args:
        graphs: the same states and arcs with other scores, one graph for each picture; batches
            with `index`.
        path: where to write it; .gif or .html (with a slider). None writes nothing.
        captions: a line above each picture, such as the epoch.
        index: which graph of each batch.
        show: the number on an arc: its "posterior" or "none".
        isymbols, osymbols, images, image_height, max_labels: as for `draw`.
        min_posterior: arcs that are less probable on average over the pictures are left out.
        max_states, max_arcs: the largest graph drawn whole.
        seconds: how long each picture stays; the last one stays longer.

    Returns:
        An Animation. Notebooks display it; `.gif`, `.html` and `.save(path)` export it.

    Raises:
        ValueError: no graphs, graphs with different states or arcs, a wrong number of captions.
        GraphvizMissingError: `path` is given and nothing can lay out a graph.

    Complexity: that of `draw` for each picture. No gradient.
    """
    if not isinstance(graphs, Iterable):
        raise TypeError(
            f"draw_animation: graphs must be several graphs, got {type(graphs).__name__}"
        )
    found = [single("draw_animation", g, index) for g in graphs]
    lines = _captions(captions, len(found))
    _same_graph(found)
    chances = torch.stack([posteriors(g) for g in found])
    scored = [GraphArrays.of(g, p, "best") for g, p in zip(found, chances, strict=True)]
    mean = chances.mean(0).double().cpu().numpy()
    average = replace(scored[-1], posteriors=mean)
    kept = excerpt(average, max_states, max_arcs, min_posterior)
    kept = replace(kept, rule=kept.rule and "the most probable on average")
    drawn = set(kept.arcs)
    used = {arc: image for arc, image in (images or {}).items() if arc in drawn}
    cells, files = name_images(used, image_height)
    order = np.argsort(np.argsort(-mean, kind="stable"))
    frames = []
    for arrays, line in zip(scored, lines, strict=True):
        pen = MovingPen(arrays, isymbols, osymbols, show, order=order)
        body = statements(arrays, kept, pen, cells=cells, max_labels=max_labels)
        frames.append(_frame(arrays, kept, line, body, files))
    animation = Animation(tuple(frames), seconds)
    if path is not None:
        animation.save(path)
    return animation


class MovingPen(Pen):
    """Draws so that nothing moves from picture to picture: texts keep their width and order."""

    def __init__(self, *arguments: Any, order: np.ndarray) -> None:
        super().__init__(*arguments)
        self.order = order

    def rank(self, arc: int) -> int:
        return int(self.order[arc])

    def label(self, arc: int) -> str:
        name, value = self.name(arc), self.value(arc)
        value = value and SPACE + value
        if arc in self.arrays.highlighted:
            return f'<FONT COLOR="{HIGHLIGHT}">{name}{value}</FONT>'
        return f'{name}<FONT COLOR="{QUIET}">{value}</FONT>' if value else name

    def look(self, arcs: list[int]) -> dict[str, str]:
        return {key: value for key, value in super().look(arcs).items() if key != "weight"}


def _frame(
    a: GraphArrays, kept: Excerpt, line: str, body: Iterable[str], files: Mapping[str, bytes]
) -> GraphPicture:
    head = defaults("LR", caption(line and escape(line), remarks(a, kept)))
    return GraphPicture("\n".join(["digraph {", *head, *body, "}"]) + "\n", files)


def _captions(captions: Sequence[str] | None, count: int) -> list[str]:
    lines = [""] * count if captions is None else list(captions)
    if len(lines) != count:
        raise ValueError(f"draw_animation: {count} graphs and {len(lines)} captions")
    return lines


def _same_graph(graphs: list[Graph]) -> None:
    if not graphs:
        raise ValueError("draw_animation: no graphs, at least one is needed")
    first = graphs[0]
    for number, g in enumerate(graphs):
        for name in ("source", "target", "ilabels", "olabels"):
            if not torch.equal(getattr(first, name), getattr(g, name)):
                raise ValueError(
                    f"draw_animation: graph {number} differs from graph 0 in {name}: all pictures "
                    "need the same states and arcs"
                )


_HTML = """<div id="NAME" class="gtnet-animation">
<style>
#NAME .picture svg { max-width: 100%; height: auto; }
#NAME .controls { display: flex; gap: .75rem; align-items: center; max-width: 32rem; }
#NAME input { flex: 1; }
#NAME button { width: 2.2rem; height: 2.2rem; border: 1px solid #c4c4c4; border-radius: 50%;
  background: #fff; color: #0072b2; cursor: pointer; }
</style>
<div class="picture"></div>
<div class="controls"><button type="button" aria-label="play">▶</button>
<input type="range" min="0" max="LAST" value="LAST" aria-label="picture"></div>
<script>
(() => {
  const data = DATA;
  const root = document.getElementById("NAME"), slider = root.querySelector("input");
  const picture = root.querySelector(".picture"), button = root.querySelector("button");
  let timer = null;
  function show(k) {
    picture.innerHTML = data.first.map((line, i) => data.changes[k][i] ?? line).join("\\n");
  }
  function stop() { clearInterval(timer); timer = null; button.textContent = "▶"; }
  function step() {
    if (+slider.value >= +slider.max) { stop(); return; }
    slider.value = +slider.value + 1;
    show(slider.value);
  }
  button.onclick = () => {
    if (timer) { stop(); return; }
    if (+slider.value >= +slider.max) { slider.value = 0; show(0); }
    button.textContent = "❚❚";
    timer = setInterval(step, data.ms);
  };
  slider.oninput = () => { stop(); show(slider.value); };
  show(slider.value);
})();
</script>
</div>"""
