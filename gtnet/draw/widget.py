"""The view as a widget of notebooks: Jupyter, VS Code, Colab."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gtnet.draw.gradient import draw_gradient, gradient_of
from gtnet.draw.graphs import draw, single
from gtnet.draw.render import GraphvizMissingError
from gtnet.draw.view import GraphView, draw_view
from gtnet.graph import Graph

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


def draw_widget(
    g: Graph | Lattice,
    *,
    index: int | None = None,
    beta: float = 1.0,
    slider: bool = True,
    loss: Callable[[Graph], Tensor] | Tensor | None = None,
    **options: Any,
) -> Any:
    """Show one graph in a notebook to hover, zoom and click, with a slider for beta.

    Also called `gtnet.draw.widget`. Where no widget runs, a page of a saved notebook for example,
    the picture of `draw` is shown.

    Args:
        g: a batch of one, or a batch and `index`; a Lattice is built.
        index: which graph of the batch.
        beta: inverse temperature of the posteriors at first; infinite is Viterbi.
        slider: whether the reader may move beta.
        loss: a function of the graph, or its gradient [arcs], as for `draw_gradient`: arcs are then
            coloured by where a step of gradient descent moves their scores.
        options: those of `draw_view`.

    Returns:
        A widget. `selected_arcs`, the numbers of the arcs that were clicked (shift adds one), and
        `beta` (None: infinite) can be read, set and observed; `opened_states`, those of which all
        arcs are shown.

    Raises:
        ImportError: anywidget is missing. Others as `draw_view` and `draw_gradient`.

    Complexity: as `draw_view`, again after every move of beta. No gradient.
    """
    one = single("draw_widget", g, index)
    gradient = None if loss is None else gradient_of("draw_widget", one, loss)
    options = {"gradient": gradient, **options}
    make = _widget_class()
    return make(one, options, beta, slider and gradient is None)


@cache
def _widget_class() -> Any:
    """The class, made when it is first asked for: gtnet works without anywidget."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError(
            f"draw_widget: {error.name} is missing: pip install 'gtnet-wfst[explore]'"
        ) from error

    class GraphWidget(anywidget.AnyWidget):
        """One graph to look at and to touch; see `gtnet.draw_widget`."""

        _esm = GraphView.script()
        _css = GraphView.style()
        view = traitlets.Dict().tag(sync=True)
        beta = traitlets.Float(1.0, allow_none=True).tag(sync=True)
        slider = traitlets.Bool(True).tag(sync=True)
        selected_arcs = traitlets.List(traitlets.Int()).tag(sync=True)
        opened_states = traitlets.List(traitlets.Int()).tag(sync=True)

        def __init__(self, graph: Graph, given: dict[str, Any], beta: float, slider: bool) -> None:
            self._graph, self._given = graph, given
            first = draw_view(graph, beta=beta, **given)
            super().__init__(
                view=dict(first.data), beta=None if beta == math.inf else beta, slider=slider
            )

        @traitlets.validate("beta")
        def _check_beta(self, proposal: Any) -> float | None:
            beta = proposal["value"]
            if beta is not None and not beta >= 0:
                raise traitlets.TraitError(f"beta must be at least 0, got {beta}")
            return None if beta == math.inf else beta

        @traitlets.validate("selected_arcs")
        def _check_arcs(self, proposal: Any) -> list[int]:
            wrong = [arc for arc in proposal["value"] if not 0 <= arc < self._graph.num_arcs]
            if wrong:
                raise traitlets.TraitError(
                    f"there is no arc {wrong[0]}: the graph has {self._graph.num_arcs}"
                )
            return proposal["value"]

        @traitlets.observe("beta", "opened_states")
        def _look_again(self, change: Any) -> None:
            if self.view:  # not while it is made
                beta = math.inf if self.beta is None else self.beta
                opened = self.opened_states
                self.view = dict(
                    draw_view(self._graph, beta=beta, opened=opened, **self._given).data
                )

        def __repr__(self) -> str:
            return f"GraphWidget({self._graph.num_states} states, {self._graph.num_arcs} arcs)"

        def _repr_mimebundle_(self, **kwargs: Any) -> Any:
            found = super()._repr_mimebundle_(**kwargs)
            bundle = found[0] if isinstance(found, tuple) else found
            if bundle is not None:
                bundle.update(_still(self._graph, self._given))
            return found

    return GraphWidget


def _still(graph: Graph, given: dict[str, Any]) -> dict[str, str]:
    """The picture for where no widget runs."""
    known = ("isymbols", "osymbols", "show", "digits", "images", "image_height", "title")
    options = {name: given[name] for name in known if name in given}
    gradient = given.get("gradient")
    try:
        if gradient is not None:
            options.pop("show", None)
            return {"image/svg+xml": draw_gradient(graph, gradient, **options).svg}
        return {"image/svg+xml": draw(graph, highlight="best", posteriors=True, **options).svg}
    except (ValueError, GraphvizMissingError):
        return {}
