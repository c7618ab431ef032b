"""Pictures: what the DOT text says, and what reaches the disk."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import struct
import sys
import xml.dom.minidom
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gtnet
from gtnet import EPSILON, Emissions, Graph, linear, stack
from gtnet.draw import GraphvizMissingError, draw, mimebundle, to_dot
from gtnet.draw.render import png_bytes, render

INF = float("inf")
can_render = pytest.mark.skipif(
    not (shutil.which("dot") and importlib.util.find_spec("graphviz"))
    and not importlib.util.find_spec("pygraphviz"),
    reason="needs Graphviz: pip install pygraphviz",
)


def diamond() -> Graph:
    """0 -a-> 1 -c-> 3 scores -1.5; 0 -b-> 2 -d-> 3 scores -0.75."""
    weights = [-1.0, -0.5, -0.5, -0.25]
    return Graph([0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 2, 3], weights=weights, accept=3)


def lattice(steps: int, width: int) -> Graph:
    """A long graph: `width` labels between neighbouring states, label 0 by far the best."""
    source = np.repeat(np.arange(steps), width)
    labels = np.tile(np.arange(width), steps)
    return Graph(source, source + 1, labels, weights=-4.0 * labels, accept=steps)


def edges(dot: str) -> dict[tuple[int, int], str]:
    """The line of each edge."""
    found = re.findall(r"^  (\d+) -> (\d+) (.*)$", dot, flags=re.MULTILINE)
    return {(int(source), int(target)): look for source, target, look in found}


def nodes(dot: str) -> dict[int, str]:
    """The line of each state."""
    return {int(s): look for s, look in re.findall(r"^  (\d+) (\[.*)$", dot, flags=re.MULTILINE)}


def text(label: str) -> str:
    """What a reader sees of an HTML-like label."""
    label = re.search(r"label=<(.*)>", label)[1].replace("\u00a0", " ")
    return re.sub(r"<(?!BR/>)[^>]*>", "", label).strip()


@pytest.fixture
def without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has neither the dot program nor pygraphviz."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


def test_states_show_where_paths_begin_and_end() -> None:
    g = Graph([0, 1], [2, 2], [0, 0], start={0: 0.0, 1: -0.5}, accept={2: -0.25, 1: 0.0})
    lines = nodes(to_dot(g))
    assert "penwidth" in lines[0] and "doublecircle" not in lines[0] and "in " not in lines[0]
    assert "penwidth" in lines[1] and "doublecircle" in lines[1] and "in −0.5" in lines[1]
    assert "penwidth" not in lines[2] and "doublecircle" in lines[2] and "out −0.25" in lines[2]
    assert "out 0.25" in nodes(to_dot(g, show="energy"))[2]
    assert "out" not in nodes(to_dot(g, show="none"))[2]


def test_an_arc_shows_symbol_and_number() -> None:
    symbols = ["a", "b", "c", "d"]
    assert text(edges(to_dot(diamond()))[0, 1]) == "0 −1.00"
    assert text(edges(to_dot(diamond(), isymbols=symbols))[0, 2]) == "b −0.50"
    assert text(edges(to_dot(diamond(), isymbols=symbols, show="energy"))[0, 2]) == "b 0.50"
    assert text(edges(to_dot(diamond(), isymbols={2: "see"}, show="none"))[1, 3]) == "see"
    assert text(edges(to_dot(diamond(), isymbols={2: "see"}, show="none"))[2, 3]) == "3"
    assert text(edges(to_dot(diamond(), digits=1))[2, 3]) == "3 −0.2"


def test_posterior_is_a_number_and_a_width() -> None:
    dot = to_dot(diamond(), show="posterior", posteriors=True)
    best, other = edges(dot)[0, 2], edges(dot)[0, 1]
    assert text(best) == f"1 {1 / (1 + np.exp(-0.75)):.2f}"
    assert text(other) == f"0 {1 / (1 + np.exp(0.75)):.2f}"
    width = re.compile(r'penwidth="([\d.]+)"')
    assert float(width.search(best)[1]) > float(width.search(other)[1])
    given = to_dot(diamond(), show="posterior", posteriors=torch.tensor([1.0, 0.0, 1.0, 0.0]))
    assert text(edges(given)[0, 1]) == "0 1.00"


def test_unweighted_graphs_show_no_numbers() -> None:
    assert text(edges(to_dot(linear([4, 5])))[0, 1]) == "4"


def test_whole_numbers_have_no_decimals() -> None:
    g = Graph([0, 0], [1, 2], [7, 8], weights=[-3.0, 12.0], accept=2)
    assert text(edges(to_dot(g))[0, 1]) == "7 −3"
    assert text(edges(to_dot(g))[0, 2]) == "8 12"


def test_a_transducer_shows_both_labels_and_epsilon() -> None:
    g = Graph([0, 1], [1, 2], [0, EPSILON], [EPSILON, 1], accept=2)
    lines = edges(to_dot(g, isymbols=["a"], osymbols={1: "word"}))
    assert text(lines[0, 1]) == "a:ε"
    assert text(lines[1, 2]) == "ε:word"


@pytest.mark.parametrize(
    ("symbol", "written"),
    [
        ("<b>", "&lt;b&gt;"),
        ("&amp;", "&amp;amp;"),
        ('"', '"'),
        ("\\n", "\\n"),
        ("\n", "\\n"),
        (" ", "␣"),
        ("a b", "a b"),
        ("", '""'),
        ("\x00", "\\x00"),
        ("é", "é"),
    ],
)
def test_symbols_are_escaped(symbol: str, written: str) -> None:
    g = Graph([0], [1], [0], accept=1)
    assert text(edges(to_dot(g, isymbols=[symbol]))[0, 1]) == written


def test_the_best_path_is_highlighted() -> None:
    lines = edges(to_dot(diamond(), highlight="best"))
    coloured = {edge for edge, line in lines.items() if 'color="#0072b2" weight' in line}
    assert coloured == {(0, 2), (2, 3)}


def test_given_arcs_are_highlighted() -> None:
    lines = edges(to_dot(diamond(), highlight=[0]))
    assert {edge for edge, line in lines.items() if 'color="#0072b2" weight' in line} == {(0, 1)}
    with pytest.raises(ValueError, match=r"to_dot: highlight holds arc 4, the graph has 4 arcs"):
        to_dot(diamond(), highlight=[4])
    with pytest.raises(ValueError, match=r"to_dot: highlight is 'worst'"):
        to_dot(diamond(), highlight="worst")


def test_parallel_arcs_are_one_edge_best_first() -> None:
    g = Graph([0] * 9, [1] * 9, range(9), weights=-torch.arange(9.0), accept=1)
    (label,) = (text(line) for line in edges(to_dot(g, max_labels=3)).values())
    assert [part.strip() for part in label.split("<BR/>")] == ["0 0", "1 −1", "2 −2", "+ 6 more"]
    (label,) = (text(line) for line in edges(to_dot(g, max_labels=3, highlight=[7])).values())
    assert label.split("<BR/>")[0].strip() == "7 −7"


def test_impossible_arcs_are_dashed() -> None:
    g = Graph([0, 0], [1, 2], [0, 1], weights=[-INF, 0.0], accept=2)
    assert text(edges(to_dot(g))[0, 1]) == "0 −∞"
    assert text(edges(to_dot(g, show="energy"))[0, 1]) == "0 ∞"
    assert "dashed" in edges(to_dot(g))[0, 1] and "dashed" not in edges(to_dot(g))[0, 2]


def test_self_loops_cycles_and_unreachable_states_are_drawn() -> None:
    g = Graph([0, 1, 1], [0, 0, 1], [0, 1, 2], accept=0, num_states=4)
    dot = to_dot(g)
    assert set(edges(dot)) == {(0, 0), (1, 0), (1, 1)} and set(nodes(dot)) == {0, 1, 2, 3}


def test_what_a_graph_lacks_is_said() -> None:
    empty = Graph([], [], [], start=[], accept=[], num_states=0)
    assert "no states" in to_dot(empty)
    assert "no accept state" in to_dot(Graph([0], [1], [0], accept=[]))
    assert "no start state" in to_dot(Graph([0], [1], [0], start=[], accept=1))
    assert to_dot(Graph([], [], [], accept=0)).count("no ") == 0
    assert set(
        nodes(
            to_dot(
                Graph([0], [1], [0], accept=[]),
            )
        )
    ) == {0, 1}


def test_highlighting_a_graph_without_paths_is_harmless() -> None:
    assert "#0072b2" not in to_dot(Graph([0], [1], [0], accept=[]), highlight="best")


def test_a_large_graph_is_cut_and_says_so() -> None:
    dot = to_dot(lattice(5, 100), max_arcs=20)
    shown = sum(text(line).count("<BR/>") + 1 for line in edges(dot).values())
    note = re.search(r"6 of 6 states and (\d+) of 500 arcs shown: the most probable", dot)
    assert note and 5 <= int(note[1]) <= 20
    assert shown <= 20 and all("0 0" in line for line in map(text, edges(dot).values()))


def test_the_best_path_survives_the_cut() -> None:
    g = lattice(12, 50)
    dot = to_dot(g, max_arcs=30, highlight="best")
    assert len(edges(dot)) == 12
    assert all('color="#0072b2" weight' in line for line in edges(dot).values())


def test_a_long_graph_shows_its_beginning() -> None:
    dot = to_dot(lattice(500, 3), max_states=30)
    assert re.search(r"of 501 states and [\d,]+ of 1,500 arcs shown: .* near the start", dot)
    assert 0 in nodes(dot) and 10 < len(nodes(dot)) <= 30


def test_a_large_cyclic_graph_is_cut_around_its_start() -> None:
    ring = np.arange(1000)
    g = Graph(ring, (ring + 1) % 1000, ring, start=990, accept=5)
    dot = to_dot(g, max_states=20)
    assert set(nodes(dot)) == {*range(990, 1000), *range(10)}
    assert "20 of 1,000 states and 19 of 1,000 arcs shown: those nearest the start" in dot


def test_a_large_graph_without_paths_is_cut_around_its_start() -> None:
    ring = np.arange(999)
    dot = to_dot(Graph(ring, ring + 1, ring, accept=[]), max_states=10)
    assert set(nodes(dot)) == set(range(10)) and "no accept state" in dot


def test_a_batch_needs_an_index() -> None:
    batch = stack([diamond(), linear([4, 5])])
    with pytest.raises(ValueError, match=r"to_dot: the batch has 2 graphs, choose one with index="):
        to_dot(batch)
    assert to_dot(batch, index=1) == to_dot(linear([4, 5]))
    with pytest.raises(IndexError, match="batch of 2"):
        to_dot(batch, index=2)


def test_graphs_in_training_can_be_drawn() -> None:
    assert to_dot(diamond().requires_grad_(), highlight="best", posteriors=True)


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"to_dot: show is 'cost', expected"):
        to_dot(diamond(), show="cost")
    with pytest.raises(ValueError, match=r"to_dot: posteriors has shape \[3\], expected \[4\]"):
        to_dot(diamond(), posteriors=torch.ones(3))


def test_unknown_suffix_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"draw: the path g.jpg ends in '.jpg', expected .dot"):
        draw(diamond(), tmp_path / "g.jpg")


def test_dot_text_is_written(tmp_path) -> None:
    draw(diamond(), tmp_path / "g.dot", title="A diamond")
    written = (tmp_path / "g.dot").read_text(encoding="utf-8")
    assert written == to_dot(diamond(), title="A diamond") and "A diamond" in written


def test_missing_graphviz_is_one_sentence_and_dot_is_still_written(
    tmp_path, without_graphviz
) -> None:
    with pytest.raises(GraphvizMissingError, match=r"make g\.svg, wrote g\.dot instead") as e:
        draw(diamond(), tmp_path / "g.svg")
    assert "pip install pygraphviz" in str(e.value) and "\n" not in str(e.value)
    assert (tmp_path / "g.dot").read_text(encoding="utf-8") == to_dot(diamond())


def test_notebooks_without_graphviz_show_text(without_graphviz) -> None:
    assert mimebundle(diamond()).keys() == {"text/plain"}
    assert "Graphviz is missing" in mimebundle(diamond())["text/plain"]
    assert draw(diamond())._repr_svg_() is None


@can_render
def test_notebooks_show_small_graphs_as_pictures() -> None:
    assert mimebundle(diamond())["image/svg+xml"].startswith("<svg")
    assert mimebundle(stack([diamond(), linear([1])]))["text/html"].count("<svg") == 2
    many = mimebundle(stack([linear([1])] * 7))["text/html"]
    assert many.count("<svg") == 4 and "and 3 more graphs" in many


@can_render
def test_notebooks_show_large_graphs_in_part() -> None:
    assert "of 701 states" in mimebundle(lattice(700, 1))["image/svg+xml"]
    assert mimebundle(lattice(50_001, 2)).keys() == {"text/plain"}
    huge = Emissions(torch.zeros(1, 900, 200)) @ gtnet.closure(linear([1] * 150))
    assert mimebundle(huge)["text/plain"].startswith("Lattice(Emissions(1 items, 900 rows")


@can_render
@pytest.mark.parametrize(
    ("suffix", "magic"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_pictures_are_written(tmp_path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"g.{suffix}"
    draw(diamond(), path, isymbols=["<", "&", '"', "\\"], highlight="best", title="ε <&> \\")
    assert path.read_bytes().startswith(magic)


@can_render
def test_pygraphviz_draws_where_the_dot_program_is_missing(monkeypatch) -> None:
    pytest.importorskip("pygraphviz")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert draw(diamond()).svg.startswith("<svg")
    assert render(to_dot(diamond()), "png").startswith(b"\x89PNG")


FONTCONFIG = """\
Fontconfig warning: "/etc/fonts/conf.d/05.conf", line 6: unknown element "reset-dirs"
Fontconfig error: No writable cache directories
\t/var/cache/fontconfig
\t/root/.cache/fontconfig
Fontconfig error: Cannot load default config file
"""


class NoisyAGraph:
    """Stands for pygraphviz' class: prints from C, past sys.stderr, as Fontconfig does."""

    def __init__(self, string: str) -> None:
        pass

    def draw(self, **options: str) -> bytes:
        os.write(2, f"first\n\tindented\n{FONTCONFIG}last\n{FONTCONFIG}".encode())
        return b"<svg></svg>"


def test_messages_of_fontconfig_are_dropped_and_others_are_not(monkeypatch, capfd) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", SimpleNamespace(AGraph=NoisyAGraph))
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: render("digraph {}", "svg"), range(8))) == {b"<svg></svg>"}
    assert capfd.readouterr().err == "first\n\tindented\nlast\n" * 8
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


@can_render
def test_svg_is_well_formed_and_complete() -> None:
    images = {0: np.zeros((20, 10)), 1: np.ones((20, 30, 3))}
    svg = draw(diamond(), isymbols=["<", "&", '"', "\\"], images=images).svg
    document = xml.dom.minidom.parseString(svg)
    sources = [e.getAttribute("xlink:href") for e in document.getElementsByTagName("image")]
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    shown = [e.firstChild.data for e in document.getElementsByTagName("text")]
    assert {"<", "&", '"', "\\"} <= {piece.strip() for piece in shown}


def test_images_lie_beside_dot_text(tmp_path) -> None:
    image = np.zeros((20, 10))
    draw(diamond(), tmp_path / "g.dot", images={0: image, 2: image, 3: image + 1})
    dot = (tmp_path / "g.dot").read_text(encoding="utf-8")
    names = set(re.findall(r'IMG SRC="([^"]+)"', dot))
    assert names == {"g-images/arc0.png", "g-images/arc3.png"}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_png_files_hold_the_pixels(shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    data = png_bytes(image)
    width, height = struct.unpack(">II", data[16:24])
    length = struct.unpack(">I", data[33:37])[0]
    rows = np.frombuffer(zlib.decompress(data[41 : 41 + length]), np.uint8).reshape(height, -1)
    assert (width, height) == (5, 3)
    assert np.array_equal(rows[:, 1:], image.reshape(3, -1))


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"to_dot: image has shape \(0, 4\)"):
        to_dot(diamond(), images={0: np.zeros((0, 4))})


def test_improbable_arcs_can_be_left_out() -> None:
    dot = to_dot(diamond(), min_posterior=0.4)
    assert set(edges(dot)) == {(0, 2), (2, 3)}
    assert "3 of 4 states and 2 of 4 arcs shown: the most probable" in dot
    assert set(edges(to_dot(diamond(), min_posterior=0.9))) == {(0, 2), (2, 3)}
    assert len(edges(to_dot(diamond(), min_posterior=0.1))) == 4


def test_the_k_best_paths_have_colours_and_a_legend() -> None:
    dot = to_dot(lattice(3, 4), k_best=2, isymbols="abcd")
    assert "5 of 12 arcs" not in dot and "4 of 12 arcs shown: the 2 best paths" in dot
    assert re.search(r"1\. aaa.*?2\. (baa|aba|aab)", dot)
    shared = [line for line in edges(dot).values() if 'color="#0072b2:#d55e00"' in line]
    assert len(shared) == 3
    assert "arcs shown" not in to_dot(diamond(), k_best=2)
    assert len(edges(to_dot(diamond(), k_best=1))) == 2


def test_k_best_of_nothing_and_with_highlight() -> None:
    assert not edges(to_dot(Graph([0], [1], [0], accept=[]), k_best=2))
    assert not edges(to_dot(diamond(), k_best=0))
    assert not edges(to_dot(Graph([], [], [], start=[], accept=[], num_states=0), k_best=1))
    with pytest.raises(ValueError, match="k_best or highlight, not both"):
        to_dot(diamond(), k_best=1, highlight="best")


@can_render
def test_tiny_images_are_drawn_beside_large_ones() -> None:
    images = {0: np.zeros((400, 300)), 1: np.zeros((1, 1))}
    dot = to_dot(diamond(), images=images)
    heights = sorted(int(height) for height in re.findall(r'WIDTH="\d+" HEIGHT="(\d+)"', dot))
    assert heights == [8, 32]
    assert draw(diamond(), images=images).png.startswith(b"\x89PNG")
