"""The report: one file, complete, and true to the numbers it was given."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gtnet import Graph
from gtnet.reader import figures
from gtnet.reader.figures import image_with_cuts
from gtnet.reader.judge import _curves
from gtnet.reader.reader import CheckReader
from gtnet.reader.report import (
    Curve,
    Mistake,
    Outcome,
    ReportData,
    Sample,
    View,
    look,
    segment_images,
    write_report,
)

pytest.importorskip("matplotlib")
can_render = pytest.mark.skipif(
    not (shutil.which("dot") and importlib.util.find_spec("graphviz"))
    and not importlib.util.find_spec("pygraphviz"),
    reason="needs Graphviz: pip install pygraphviz",
)

BEFORE = Outcome("isolated characters", 0.80, 0.30, [0.9, 0.8, 0.7, 0.2, 0.1], [1, 1, 0, 1, 0])
AFTER = Outcome("global training", 0.95, 0.75, [0.99, 0.9, 0.8, 0.7, 0.1], [1, 1, 1, 1, 0])


def three_bars() -> np.ndarray:
    """An image with three upright strokes."""
    image = np.full((40, 90), 220, np.uint8)
    for left in (12, 42, 72):
        image[6:34, left : left + 4] = 30
    return image


def full() -> ReportData:
    image = three_bars()
    graph = Graph([0, 1], [1, 2], [1, 1], weights=[-0.5, -1.5], accept=2)
    view = View("11.00", 0.5, graph, graph, {0: image}, {1: image})
    cuts = np.array([[[30.0, 0.0], [28.0, 40.0]]])
    return ReportData(
        BEFORE,
        AFTER,
        [Sample(image, "111.00", cuts, view, replace(view, answer="111.00")), Sample(image, "5")],
        [Curve("Loss on amounts", "epoch", "loss", {"training": [(0, 2.0), (1, 1.0)]})],
        [Mistake(image, "1.00", "<7.00>", 0.87), Mistake(image, "2.00", None, 0.0)],
        facts={"data set": "digits & more"},
    )


class Page(HTMLParser):
    """What a page consists of: its words, and everything it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(tmp_path, data: ReportData) -> Page:
    return Page(write_report(tmp_path / "report.html", data).read_text(encoding="utf-8"))


def test_the_page_needs_no_other_file(tmp_path) -> None:
    page = page_of(tmp_path, full())
    assert page.references
    assert all(reference.startswith("data:image/") for reference in page.references)
    assert not {"link", "iframe"} & set(page.tags)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_headline_numbers_stand_side_by_side(tmp_path) -> None:
    text = page_of(tmp_path, full()).text
    assert "75% of the misread amounts are gone" in text
    assert "amounts read exactly 80.0% 95.0%" in text
    assert "read at 1% error 30.0% 75.0%" in text


def test_a_step_back_is_not_hidden(tmp_path) -> None:
    data = replace(full(), after=replace(AFTER, string_accuracy=0.75))
    assert "25% more misread amounts" in page_of(tmp_path, data).text


@pytest.mark.parametrize("before", [None, replace(BEFORE, string_accuracy=1.0)])
def test_without_errors_to_remove_the_accuracy_is_the_claim(tmp_path, before) -> None:
    text = page_of(tmp_path, replace(full(), before=before)).text
    assert "95.0% of the amounts are read exactly" in text


def test_every_part_is_there(tmp_path) -> None:
    page = page_of(tmp_path, full())
    for part in ("111.00", "Loss on amounts", "<7.00>", "no reading", "0.87", "digits & more"):
        assert part in page.text
    assert page.tags.count("h2") == 5


def test_parts_without_data_are_left_away(tmp_path) -> None:
    plain = [replace(outcome, confidences=(), correct=()) for outcome in (BEFORE, AFTER)]
    page = page_of(tmp_path, ReportData(*plain))
    assert "h2" not in page.tags
    assert "95.0%" in page.text


def views_of(path) -> list[dict]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(data) for data in re.findall(r'application/json">(.*?)</script>', text)]


@can_render
def test_graphs_are_views_with_their_segments_and_one_script(tmp_path) -> None:
    path = write_report(tmp_path / "report.html", full())
    views = views_of(path)
    assert [view["title"] for view in views] == [
        "Interpretation graph of 111.00",
        "Interpretation graph, isolated characters",
        "Recognition graph",
    ]
    assert all(view["shown"] == [3, 2] and len(view["images"]) == 1 for view in views)
    assert path.read_text("utf-8").count("fillPage();") == 1
    alone = write_report(tmp_path / "alone.html", replace(full(), samples=full().samples[1:]))
    assert "<script" not in alone.read_text("utf-8")


def test_missing_graphviz_leaves_a_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    page = page_of(tmp_path, full())
    assert page.text.count("No picture: Graphviz is missing") == 3
    assert "script" not in page.tags


def test_one_picture_that_fails_does_not_cost_the_report(tmp_path) -> None:
    broken = Sample(np.zeros((0, 3)), "1", None, View("1", 0.5, Graph([0], [1], [1], accept=1)))
    wrong = Mistake(np.zeros((0, 3)), "1.00", "2.00", 0.5)
    page = page_of(tmp_path, replace(full(), samples=[*full().samples, broken], mistakes=[wrong]))
    assert page.text.count("No picture: image_uri: image has shape (0, 3)") == 2
    assert "111.00" in page.text and "2.00 instead of 1.00" in page.text


def test_the_operating_point_is_said_and_drawn(tmp_path) -> None:
    after = replace(AFTER, threshold=0.75, accepted=0.6, wrong=0.005)
    page = page_of(tmp_path, replace(full(), after=after))
    assert "threshold 0.7500 , chosen on validation amounts for 1% error" in page.text
    assert "answers 60.0% of the test amounts" in page.text
    assert "gtnet read --min-confidence 0.7500" in page.text
    told = page_of(tmp_path, replace(full(), after=replace(after, chosen_on=20))).text
    assert "chosen on 20 validation amounts" in told and "one mistake is 5.0%" in told
    assert (
        "too few"
        not in page_of(tmp_path, replace(full(), after=replace(after, chosen_on=100))).text
    )
    assert "No threshold of confidence was chosen" in page_of(tmp_path, full()).text


def test_mistakes_name_their_files_and_few_are_shown_at_once(tmp_path) -> None:
    made = [Mistake(three_bars(), "1.00", "2.00", 0.5, f"folder/{n}<.png") for n in range(20)]
    page = page_of(tmp_path, replace(full(), mistakes=made, settings='{"rate": 1}'))
    assert all(f"folder/{n}<.png" in page.text for n in range(20))
    assert "16 more" in page.text and '{"rate": 1}' in page.text
    assert page.tags.count("details") >= 4


def test_losses_of_two_phases_have_axes_of_their_own() -> None:
    history = [
        {"phase": phase, "epoch": 1, "loss": loss, "valid_accuracy": None}
        for phase, loss in (("isolated", 0.1), ("whole", 30.0), ("whole", None))
    ]
    curves = _curves(history)
    assert [list(curve.lines.values()) for curve in curves] == [[[(1, 0.1)]], [[(2, 30.0)]]]


def test_the_reject_plot_shows_what_is_near_the_error_rate(monkeypatch) -> None:
    limits = []
    finish = figures._finish
    monkeypatch.setattr(
        figures,
        "_finish",
        lambda axes, *rest, **named: (limits.append(axes.get_ylim()), finish(axes, *rest, **named)),
    )
    read = np.linspace(0.01, 1, 100)
    for worst in (0.5, 0.02, 0.0):
        figures.reject_plot({"a": (read, worst * read)}, 0.01, (0.5, 0.004))
    assert [top for _, top in limits] == pytest.approx([0.05, 0.021, 0.015])


@pytest.mark.parametrize("lines", [1, 2])
def test_letters_of_plots_are_legible_on_a_small_screen(lines: int) -> None:
    points = [(float(n), n / 10) for n in range(1, 11)]
    named = {f"number {n}": points for n in range(lines)}
    curve = (np.linspace(0.1, 1, 10), np.linspace(0, 0.1, 10))
    for uri in (
        figures.curve_plot("epoch", "amounts read", named, True),
        figures.reject_plot(dict.fromkeys(named, curve), 0.01, (0.5, 0.01)),
    ):
        svg = base64.b64decode(uri.partition(",")[2]).decode()
        width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
        letters = [100 * float(scale) for scale in re.findall(r"scale\(([\d.]+) -", svg)]
        assert letters and 328 / width * min(letters) >= 11  # glyphs are drawn at 100 points


@pytest.mark.parametrize("point", [(1.0, 0.3), (0.0, 0.0), (0.2, 0.04), (1.0, 0.0), (0.9, 0.05)])
def test_a_point_beyond_the_plot_stands_at_its_edge(point, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(figures, "_figure_uri", lambda figure: drawn.append(figure) or "")
    curve = (np.linspace(0.1, 1, 10), np.linspace(0, 0.3, 10))
    figures.reject_plot({"a": curve}, 0.01, point)
    (figure,) = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that collapses is a warning
        figure.draw_without_rendering()
    (text,) = figure.axes[0].texts
    box, page = text.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1


def test_the_legend_is_beside_the_curves(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(figures, "_figure_uri", lambda figure: drawn.append(figure) or "")
    curve = (np.linspace(0.1, 1, 10), np.linspace(0, 0.1, 10))
    figures.reject_plot({"isolated characters": curve, "global training": curve}, 0.01)
    (figure,) = drawn
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, axes, page = (part.get_window_extent() for part in (legend, figure.axes[0], figure))
    assert not box.overlaps(axes)
    assert box.x0 >= page.x0 and box.x1 <= page.x1 and box.y1 <= page.y1


chromium = shutil.which("chromium") or shutil.which("google-chrome")
_MEASURE = """<script>addEventListener("load", () => {
  document.title = document.documentElement.scrollHeight; });</script></body>"""


@pytest.mark.skipif(chromium is None, reason="needs a browser: chromium")
def test_at_first_the_report_is_three_screens(tmp_path) -> None:
    made = [Mistake(three_bars(), "1.00", "2.00", 0.5, f"{n}.png") for n in range(24)]
    after = replace(AFTER, threshold=0.75, accepted=0.6, wrong=0.005)
    data = replace(full(), after=after, mistakes=made, settings="x\n" * 100)
    path = write_report(tmp_path / "report.html", data)
    path.write_text(path.read_text("utf-8").replace("</body>", _MEASURE), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,800"]
    command += ["--virtual-time-budget=4000", "--dump-dom", f"--user-data-dir={tmp_path / 'b'}"]
    page = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=300)
    assert 800 < int(re.search(r"<title>(\d+)</title>", page.stdout)[1]) <= 2400


def test_cuts_are_drawn_on_the_image() -> None:
    cuts = np.array([[[30, 0], [28, 40]], [[60, 0], [58, 40]]])
    assert image_with_cuts(three_bars(), cuts) != image_with_cuts(three_bars(), None)


def test_looking_finds_the_segment_on_every_arc() -> None:
    reader = CheckReader().eval()
    image = three_bars()
    (segmentation,) = reader.segment([image])
    view = look(reader, image, segmentation)
    assert len(view.recognition_images) == view.recognition.num_arcs
    reading = view.interpretation.ilabels.numpy() >= 0
    assert {arc for arc, reads in enumerate(reading) if reads} == set(view.interpretation_images)
    assert 0 <= view.confidence <= 1


def test_segment_images_show_their_own_ink_only() -> None:
    reader = CheckReader()
    image = three_bars()
    (segmentation,) = reader.segment([image])
    crops = segment_images(image, segmentation)
    assert len(crops) == len(segmentation)
    shapes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in segmentation.boxes.tolist()]
    assert [crop.shape for crop in crops] == shapes
    single = [c for c, s, t in zip(crops, segmentation.source, segmentation.target) if t - s == 1]
    assert all((crop < 100).any() for crop in single)


@can_render
def test_numbers_in_pictures_are_energies(tmp_path) -> None:
    for view in views_of(write_report(tmp_path / "report.html", full())):
        arcs = [arc for edge in view["edges"] for arc in edge["arcs"]]
        assert [(arc["name"], arc["value"]) for arc in arcs] == [("1", "0.5"), ("1", "1.5")]
