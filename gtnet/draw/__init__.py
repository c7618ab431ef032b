"""Pictures of graphs: DOT text, SVG, PNG, PDF, GIF and notebook display."""

from __future__ import annotations

from gtnet.draw.alignment import draw_alignment as draw_alignment
from gtnet.draw.animation import Animation as Animation
from gtnet.draw.animation import draw_animation as draw_animation
from gtnet.draw.composition import draw_composition as draw_composition
from gtnet.draw.gradient import draw_gradient as draw_gradient
from gtnet.draw.graphs import draw as draw
from gtnet.draw.graphs import mimebundle as mimebundle
from gtnet.draw.graphs import to_dot as to_dot
from gtnet.draw.picture import GraphPicture as GraphPicture
from gtnet.draw.picture import Picture as Picture
from gtnet.draw.picture import PlotPicture as PlotPicture
from gtnet.draw.render import GraphvizMissingError as GraphvizMissingError
from gtnet.draw.view import GraphView as GraphView
from gtnet.draw.view import draw_view as draw_view
from gtnet.draw.widget import draw_widget as draw_widget

draw.widget = draw_widget  # type: ignore[attr-defined]  # gtnet.draw is the function
