"""What a loss does to a graph: the arcs it pushes up, and those it pushes down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gtnet.draw.dot import name_images, remarks, statements
from gtnet.draw.excerpt import GraphArrays, excerpt
from gtnet.draw.graphs import single
from gtnet.draw.pen import Pen
from gtnet.draw.picture import GraphPicture
from gtnet.draw.style import DOWN, QUIET, UP, caption, defaults, width
from gtnet.draw.text import SPACE, Numbers, Symbols, escape
from gtnet.graph import Graph, built

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

_LEGEND = (
    f'<FONT COLOR="{UP}"><B>▲</B></FONT>{SPACE}the loss pushes this score up{SPACE * 3}'
    f'<FONT COLOR="{DOWN}"><B>▼</B></FONT>{SPACE}down; the number is how hard: |∂loss/∂score|'
)


def draw_gradient(
    g: Graph | Lattice,
    loss: Callable[[Graph], Tensor] | Tensor,
    path: str | Path | None = None,
    *,
    index: int | None = None,
    isymbols: Symbols = None,
    osymbols: Symbols = None,
    digits: int = 2,
    images: Mapping[int, np.ndarray] | None = None,
    image_height: int = 28,
    title: str | None = None,
    max_states: int = 60,
    max_arcs: int = 200,
    max_labels: int = 6,
) -> GraphPicture:
    """Draw which arcs a loss pushes up and which it pushes down: minus its gradient.

    A step of gradient descent raises the scores of blue arcs, lowers those of orange ones, and
    leaves grey ones; the wider a line, the harder the push. Of a large graph, the arcs that the
    loss changes most are drawn.

    Args:
        g: a batch of one, or a batch and `index`.
        loss: a function of the graph that returns a tensor, such as
            `lambda g: losses.discriminative_forward(g, truth)`, summed over the batch before it is
            differentiated; or the gradient itself, a tensor [arcs of g].
        path: where to write it; .dot, .svg, .png or .pdf. None writes nothing.
        index, isymbols, osymbols, digits, images, image_height, title, max_states, max_arcs,
            max_labels: as for `draw`.

    Returns:
        A picture, as `draw` does.

    Raises:
        TypeError: a loss that is neither a function nor a tensor.
        ValueError: a gradient of another length, a loss that does not depend on its graph; as
            `draw`. GraphvizMissingError: as `draw`.

    Complexity: that of the loss and its gradient, then that of `draw`. No gradient.
    """
    g = built("draw_gradient", "g", g)
    one = single("draw_gradient", g, index)
    first = int(g.arc_offsets[0 if index is None else index % len(g)])
    push = -gradient_of("draw_gradient", g, loss)[first : first + one.num_arcs]
    strength = push.abs().nan_to_num(0.0)
    most = float(strength.max()) if len(strength) else 0.0
    arrays = GraphArrays.of(one, strength / most if most > 0 else strength)
    kept = excerpt(arrays, max_states, max_arcs, 0.0)
    kept = replace(kept, rule=kept.rule and "those that the loss changes most")
    pen = GradientPen(arrays, push.double().cpu().numpy(), isymbols, osymbols, digits)
    used = {arc: image for arc, image in (images or {}).items() if arc in set(kept.arcs)}
    cells, files = name_images(used, image_height)
    notes = [_LEGEND, *remarks(arrays, kept)]
    head = defaults("LR", caption(title and escape(title), notes))
    body = statements(arrays, kept, pen, cells=cells, max_labels=max_labels)
    picture = GraphPicture("\n".join(["digraph {", *head, *body, "}"]) + "\n", files)
    if path is not None:
        picture.save(path)
    return picture


class GradientPen(Pen):
    """Draws where scores go: `push` [arcs] is what gradient descent adds to each."""

    def __init__(
        self, a: GraphArrays, push: np.ndarray, isymbols: Symbols, osymbols: Symbols, digits: int
    ) -> None:
        super().__init__(a, isymbols, osymbols, "none", digits)
        self.push = push
        self.number = Numbers([np.abs(push)], digits)
        self.still = 0.5 * 10.0**-self.number.digits  # what rounds to zero does not move

    def rank(self, arc: int) -> float:
        return -abs(self.push[arc])

    def label(self, arc: int) -> str:
        name, push = self.name(arc), self.push[arc]
        if abs(push) < self.still:
            return f'<FONT COLOR="{QUIET}">{name}</FONT>'
        sign, colour = ("▲", UP) if push > 0 else ("▼", DOWN)
        return f'<FONT COLOR="{colour}">{name}{SPACE}{sign}{self.number(abs(push))}</FONT>'

    def look(self, arcs: list[int]) -> dict[str, str]:
        push = self.push[arcs]
        most = max(np.abs(self.push).max(), 1e-12)
        colours = [UP] if (push >= self.still).any() else []
        colours += [DOWN] if (push <= -self.still).any() else []
        if not colours:
            return {"color": "#b0b0b0"}
        strength = float(np.abs(push).max() / most) / len(colours)
        return {"color": ":".join(colours), "penwidth": width(max(0.2, strength))}


def gradient_of(function: str, g: Graph, loss: Callable[[Graph], Tensor] | Tensor) -> Tensor:
    """The gradient of a loss, a function of the graph, to its scores [arcs]; or the one given."""
    if isinstance(loss, Tensor):
        if list(loss.shape) != [g.num_arcs]:
            raise ValueError(
                f"{function}: the gradient has shape {list(loss.shape)}, expected "
                f"[{g.num_arcs}], one number per arc; for a loss give the function that makes it"
            )
        return loss.detach()
    if not callable(loss):
        raise TypeError(
            f"{function}: loss is {type(loss).__name__}, expected a function of the graph or "
            "a tensor [arcs]"
        )
    weights = g.weights.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(g.detach().with_weights(weights))
        found = (
            torch.autograd.grad(value.sum(), weights, allow_unused=True)
            if value.requires_grad
            else (None,)
        )
    if found[0] is None:
        raise ValueError(
            f"{function}: the loss does not depend on the scores of the graph passed to it"
        )
    return found[0]
