"""Pictures of more than one graph under its scores: products, losses, alignments, training."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch

import gtnet
from gtnet import EPSILON, Emissions, Graph, linear, losses, stack, trie

LETTERS, WORDS = "acptu", ["cat", "cut", "cap"]
UP, DOWN = "#0072b2", "#d55e00"
can_render = pytest.mark.skipif(
    not (shutil.which("dot") and importlib.util.find_spec("graphviz"))
    and not importlib.util.find_spec("pygraphviz"),
    reason="needs Graphviz: pip install pygraphviz",
)


def lexicon() -> Graph:
    return trie([[LETTERS.index(c) for c in word] for word in WORDS])


def emissions(batch: int = 1) -> Emissions:
    return Emissions(torch.randn(batch, 3, 5, generator=torch.Generator().manual_seed(0)))


def edges(dot: str, prefix: str = "") -> dict[tuple[int, int], str]:
    found = re.findall(rf"^  {prefix}(\d+) -> {prefix}(\d+) (.*)$", dot, flags=re.MULTILINE)
    return {(int(source), int(target)): look for source, target, look in found}


# Compositions


def test_a_composition_shows_operands_and_product() -> None:
    a = Graph([0, 0, 1, 2], [1, 1, 2, 3], [1, 0, 0, 3], accept=3)
    dot = gtnet.draw_composition(a, lexicon(), isymbols=LETTERS, osymbols=WORDS).dot
    assert [len(edges(dot, p)) for p in "abc"] == [3, 6, 3]
    assert "c:ε" in edges(dot, "c")[0, 1] and "t:cat" in edges(dot, "c")[2, 3]
    assert "label=<0,0>" in dot and "label=<a @ b>" not in dot
    assert "<B>a @ b</B>" in dot


def test_the_best_path_of_a_product_is_found_in_its_operands() -> None:
    a = Graph([0, 0], [1, 1], [7, 8], weights=[-1.0, -2.0], accept=1)
    b = Graph([0, 0], [1, 2], [7, 8], [0, 1], weights=[-5.0, -1.0], accept=[1, 2])
    dot = gtnet.draw_composition(a, b).dot
    blue = {p: {e for e, line in edges(dot, p).items() if "weight" in line} for p in "abc"}
    assert blue["b"] == {(0, 2)} and len(blue["a"]) == len(blue["c"]) == 1
    assert "weight=8" not in gtnet.draw_composition(a, b, highlight=None).dot


def test_symbols_of_acceptors_go_to_the_other_side() -> None:
    dot = gtnet.draw_composition(linear([0]), linear([0]), isymbols="x").dot
    assert all(">x" in edges(dot, p)[0, 1].replace("\u00a0", "") for p in "abc")


def test_products_of_batches_emissions_and_nothing() -> None:
    batch = stack([linear([0]), linear([1])])
    assert len(edges(gtnet.draw_composition(batch, linear([1]), index=1).dot, "c")) == 1
    assert not edges(gtnet.draw_composition(linear([0]), linear([1])).dot, "c")
    assert "∅" in gtnet.draw_composition(linear([0]), linear([1])).dot
    with pytest.raises(ValueError, match=r"draw_composition: the batch has 2 graphs"):
        gtnet.draw_composition(batch, linear([1]))
    dot = gtnet.draw_composition(emissions(), lexicon(), names=("frames", "words", "both")).dot
    assert len(edges(dot, "c")) == 6 and "<B>frames</B>" in dot


def test_an_epsilon_of_one_operand_is_no_arc_of_the_other() -> None:
    b = Graph([0, 1], [1, 2], [0, EPSILON], [0, 3], accept=2)
    dot = gtnet.draw_composition(linear([0]), b).dot
    assert all("weight" in line for p in "abc" for line in edges(dot, p).values())


@can_render
def test_compositions_are_written(tmp_path) -> None:
    gtnet.draw_composition(linear([0]), linear([0]), tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_bytes().startswith(b"<svg")


# Gradients


def truth_loss(g: Graph) -> torch.Tensor:
    return losses.discriminative_forward(g, linear([1]))


def test_a_loss_pushes_the_truth_up_and_the_rest_down() -> None:
    legal = emissions() @ lexicon()
    picture = gtnet.draw_gradient(legal, truth_loss, isymbols=LETTERS, osymbols=WORDS)
    lines = edges(picture.dot)
    colour = {re.search(r"[a-z]:\w+", line)[0]: line for line in lines.values()}
    assert f'color="{UP}"' in colour["t:cut"] and "▲" in colour["t:cut"]
    assert f'color="{DOWN}"' in colour["t:cat"] and "▼" in colour["p:cap"]
    assert "▲" not in colour["c:ε"] and "▼" not in colour["c:ε"]
    assert "the loss pushes this score up" in picture.dot


def test_parallel_arcs_of_both_directions_are_two_strokes() -> None:
    g = Graph([0, 0], [1, 1], [0, 1], accept=1)
    line = edges(gtnet.draw_gradient(g, torch.tensor([0.5, -0.5])).dot)[0, 1]
    assert f'color="{UP}:{DOWN}"' in line
    still = edges(gtnet.draw_gradient(g, torch.zeros(2)).dot)[0, 1]
    assert "▲" not in still and "▼" not in still


def test_a_gradient_is_drawn_of_one_graph_of_a_batch() -> None:
    batch = stack([linear([0]), linear([1, 2])])
    dot = gtnet.draw_gradient(batch, gtnet.forward_score, index=-1).dot
    assert len(edges(dot)) == 2 and "▼1" in edges(dot)[0, 1]
    with pytest.raises(ValueError, match=r"draw_gradient: the batch has 2 graphs"):
        gtnet.draw_gradient(batch, gtnet.forward_score)
    with pytest.raises(IndexError, match="batch of 2"):
        gtnet.draw_gradient(batch, gtnet.forward_score, index=2)


def test_wrong_losses_are_named() -> None:
    with pytest.raises(ValueError, match=r"the gradient has shape \[1\], expected \[2\]"):
        gtnet.draw_gradient(linear([0, 1]), torch.zeros(1))
    with pytest.raises(TypeError, match=r"draw_gradient: loss is float, expected a function"):
        gtnet.draw_gradient(linear([0]), 1.0)
    for loss in (lambda g: torch.zeros(()), lambda g: torch.ones((), requires_grad=True)):
        with pytest.raises(ValueError, match="the loss does not depend on the scores"):
            gtnet.draw_gradient(linear([0]), loss)


def test_a_large_graph_keeps_what_the_loss_moves() -> None:
    steps = np.arange(20)
    g = Graph(np.repeat(steps, 9), np.repeat(steps + 1, 9), np.tile(np.arange(9), 20), accept=20)
    push = torch.zeros(180)
    push[4::9] = 1
    dot = gtnet.draw_gradient(g, push, max_arcs=50).dot
    assert len(edges(dot)) == 20 and all(">4" in line for line in edges(dot).values())
    assert "arcs shown: those that the loss changes most" in dot


def test_gradients_of_an_empty_graph() -> None:
    empty = Graph([], [], [], start=[], accept=[], num_states=0)
    assert "no states" in gtnet.draw_gradient(empty, gtnet.forward_score).dot


# Alignments


def svg_texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_an_alignment_names_labels_and_what_is_written(tmp_path) -> None:
    lattice = emissions(2) @ lexicon()
    best = gtnet.label_sequences(gtnet.viterbi_path(lattice))
    for index in range(2):
        picture = gtnet.draw_alignment(lattice, index=index, isymbols=LETTERS, osymbols=WORDS)
        texts = svg_texts(picture.svg)
        assert set(LETTERS) <= set(texts) and WORDS[best[index][0]] in texts and "frame" in texts
    gtnet.draw_alignment(emissions() @ lexicon(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("show", ["probability", "posterior", "score"])
def test_alignments_of_uneven_batches_and_images(show: str) -> None:
    scores = torch.randn(2, 9, 5)
    lattice = Emissions(scores, [4, 9]) @ gtnet.ctc_graph([[1, 2], [3, 4]])
    image = np.linspace(0, 1, 200).reshape(10, 20)
    picture = gtnet.draw_alignment(lattice, index=1, show=show, image=image, title="An <item>")
    axes = picture.figure.axes
    assert len(axes) == 2 and axes[0].images[0].get_array().shape == (5, 9)
    shown = gtnet.draw_alignment(lattice, index=0, show=show).figure.axes[0].images[0].get_array()
    assert shown.shape == (5, 4) and np.isfinite(shown).all()


def test_posteriors_of_an_alignment_are_those_of_the_lattice() -> None:
    lattice = emissions() @ lexicon()
    cells = gtnet.draw_alignment(lattice, show="posterior").figure.axes[0].images[0].get_array()
    product = lattice.graph()
    expected = torch.zeros(15).index_add(0, product.arc_maps[0].long(), gtnet.posteriors(product))
    np.testing.assert_allclose(cells, expected.reshape(3, 5).T, atol=1e-5)


def test_many_labels_are_cut_and_say_so() -> None:
    scores = torch.zeros(1, 4, 500)
    scores[0, :, 321] = 5
    picture = gtnet.draw_alignment(Emissions(scores) @ gtnet.ctc_graph([[321]]), max_labels=12)
    texts = svg_texts(picture.svg)
    assert "12 of 500 labels shown" in texts and "321" in texts


def test_segments_are_columns_too() -> None:
    cuts = Graph([0, 0, 1], [1, 2, 2], [0, 0, 0], accept=2)
    lattice = Emissions(torch.randn(3, 4), graph=cuts) @ gtnet.closure(linear([2]))
    picture = gtnet.draw_alignment(lattice)
    assert "segment" in svg_texts(picture.svg)
    assert picture.figure.axes[0].images[0].get_array().shape == (4, 3)


def test_alignments_without_a_path_or_without_frames() -> None:
    assert "frame" in gtnet.draw_alignment(Emissions(torch.zeros(1, 1, 3)) @ linear([0, 0])).svg
    assert "frame" in gtnet.draw_alignment(Emissions(torch.zeros(1, 0, 3)) @ linear([0])).svg
    lost = Emissions(torch.full((1, 2, 3), -torch.inf)) @ linear([0, 0])
    assert "frame" in gtnet.draw_alignment(lost, show="score").svg


def test_wrong_alignments_are_named(tmp_path) -> None:
    with pytest.raises(TypeError, match=r"draw_alignment: expected a Lattice, .*got Graph"):
        gtnet.draw_alignment(lexicon())
    lattice = emissions(2) @ lexicon()
    with pytest.raises(ValueError, match=r"draw_alignment: the batch has 2 items"):
        gtnet.draw_alignment(lattice)
    with pytest.raises(IndexError, match=r"index 2 in a batch of 2"):
        gtnet.draw_alignment(lattice, index=2)
    with pytest.raises(ValueError, match=r"draw_alignment: show is 'darkness'"):
        gtnet.draw_alignment(lattice, index=0, show="darkness")
    with pytest.raises(ValueError, match=r"a.gif ends in '.gif', expected .svg, .png or .pdf"):
        gtnet.draw_alignment(lattice, tmp_path / "a.gif", index=0)


# Animations


def frames(count: int) -> list[Graph]:
    legal = (emissions() @ lexicon()).graph()
    return [legal.with_weights(legal.weights * beta) for beta in range(count)]


def bare(dot: str) -> str:
    """What decides the layout: no colours, widths or digits."""
    return re.sub(r'( ?penwidth="[\d.]+")|</?FONT[^>]*>|#[0-9a-f]{6}|\d\.\d\d', "", dot)


def test_the_layout_of_an_animation_stands_still() -> None:
    pictures = gtnet.draw_animation(frames(4), isymbols=LETTERS, osymbols=WORDS).frames
    assert len({bare(picture.dot) for picture in pictures}) == 1
    assert len({picture.dot for picture in pictures}) == 4
    assert "0.33" in pictures[0].dot and "weight" not in pictures[0].dot


def test_captions_and_cuts_of_an_animation() -> None:
    scores = torch.randn(1, 4, 30)
    graphs = [Emissions(scores * k).graph() for k in (0.1, 5.0)]
    first, last = gtnet.draw_animation(graphs, captions=["a", "b"], min_posterior=0.05).frames
    note = re.search(r"(\d+) of 120 arcs shown: the most probable on average", first.dot)
    assert note and int(note[1]) < 60 and note[0] in last.dot
    assert "<B>a</B>" in first.dot and "<B>b</B>" in last.dot


@can_render
def test_animations_are_written(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    animation = gtnet.draw_animation(frames(3), tmp_path / "a.gif", seconds=0.1)
    with image.open(io.BytesIO((tmp_path / "a.gif").read_bytes())) as gif:
        assert gif.n_frames == 3 and gif.format == "GIF"
    page = animation.save(tmp_path / "a.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r"const data = (\{.*\});", page)[1].replace("<\\/", "</"))
    assert len(data["changes"]) == 3 and not data["changes"][0] and data["changes"][2]
    assert "".join(data["first"]).startswith("<svg")
    assert animation._repr_html_().startswith('<img src="data:image/gif;base64,')
    with pytest.raises(ValueError, match=r"a.svg ends in '.svg', expected .gif or .html"):
        animation.save(tmp_path / "a.svg")


def test_wrong_animations_are_named() -> None:
    with pytest.raises(ValueError, match="draw_animation: no graphs"):
        gtnet.draw_animation([])
    with pytest.raises(ValueError, match="draw_animation: 2 graphs and 1 captions"):
        gtnet.draw_animation(frames(2), captions=["a"])
    with pytest.raises(ValueError, match=r"graph 1 differs from graph 0 in ilabels"):
        gtnet.draw_animation([linear([0]), linear([1])])
    with pytest.raises(ValueError, match=r"graph 1 differs from graph 0 in source"):
        gtnet.draw_animation([linear([0]), linear([0, 1])])


def test_pictures_of_scores_in_training_leave_no_trace() -> None:
    scores = torch.randn(1, 3, 5, requires_grad=True)
    lattice = Emissions(scores) @ lexicon()
    gtnet.draw_alignment(lattice, show="posterior")
    gtnet.draw_composition(Emissions(scores), lexicon())
    gtnet.draw_gradient(lattice, truth_loss)
    gtnet.draw_animation([lattice, lattice])
    assert scores.grad is None


def test_symbol_tables_name_labels() -> None:
    table = gtnet.SymbolTable(LETTERS)
    assert "u:" in gtnet.draw_gradient(lexicon(), gtnet.forward_score, isymbols=table).dot
    assert set(LETTERS) <= set(
        svg_texts(gtnet.draw_alignment(emissions() @ lexicon(), isymbols=table).svg)
    )


@can_render
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (20, 1), (3, 9)])
def test_images_a_pixel_wide_are_drawn(kind: str, shape: tuple[int, int], tmp_path) -> None:
    graph = Graph([0, 1], [1, 2], [1, 2], accept=2)
    images = {0: np.zeros(shape, np.uint8), 1: np.full((30, 20), 90, np.uint8)}
    path = tmp_path / f"graph.{kind}"
    gtnet.draw(graph, path, images=images)
    begins = {"png": b"\x89PNG", "svg": b"<svg", "pdf": b"%PDF"}[kind]
    assert path.read_bytes().startswith(begins) and path.stat().st_size > 1000


def test_an_empty_picture_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    from gtnet.draw import render

    monkeypatch.setattr(render, "lay_out", lambda dot, kind: b"")
    with pytest.raises(ValueError, match="Graphviz gave 0 bytes that are no PNG"):
        gtnet.draw(Graph([0], [1], [1], accept=1), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
