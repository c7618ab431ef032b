"""One self-contained HTML page about a trained reader: what it learnt and what it misreads."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import gtnet
from gtnet.reader.checkpoint import write_file
from gtnet.reader.figures import (
    Symbols,
    curve_plot,
    graph_svg,
    image_uri,
    image_with_cuts,
    reject_plot,
)
from gtnet.reader.views import View as View
from gtnet.reader.views import cuts_of as cuts_of
from gtnet.reader.views import look as look
from gtnet.reader.views import look_at_segments as look_at_segments
from gtnet.reader.views import segment_images as segment_images


@dataclass(frozen=True)
class Outcome:
    """How one recognizer did on the test amounts.

    Attributes:
        name: what it is called in tables and legends, such as "isolated characters".
        string_accuracy: share of amounts read exactly, in [0, 1].
        read: share of amounts it can read at the report's error rate, in [0, 1].
        confidences: confidence of each answer, [amounts].
        correct: whether each answer is the truth, [amounts].
        threshold: confidence from which answers are accepted, chosen on validation amounts; None
            where there are none, or no threshold serves.
        accepted, wrong: share of the test amounts accepted by it, and of wrong answers among them.
    """

    name: str
    string_accuracy: float
    read: float
    confidences: Sequence[float] = ()
    correct: Sequence[bool] = ()
    threshold: float | None = None
    accepted: float | None = None
    wrong: float | None = None


@dataclass(frozen=True)
class Sample:
    """One image of an amount, before and after global training.

    Attributes:
        image: [height, width] grey, uint8 or float in [0, 1]; 1 is white.
        truth: the amount.
        cuts: candidate cuts, [cuts, 2, 2]: from (x, y) to (x, y) in pixels.
        before, after: what the two recognizers made of it; None omits its graphs.
    """

    image: np.ndarray
    truth: str
    cuts: np.ndarray | None = None
    before: View | None = None
    after: View | None = None


@dataclass(frozen=True)
class Curve:
    """A quantity over the course of training, one line for each name.

    Attributes:
        title, x, y: the heading and the names of the axes.
        lines: (x, y) points by the name of the line.
        percent: whether y is a share in [0, 1], printed in percent.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    percent: bool = False


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: the image, the truth, what was answered and how surely; its file."""

    image: np.ndarray
    truth: str
    answer: str | None
    confidence: float
    file: str = ""


SEGMENTS = """An image is cut wherever two characters might meet. A network scores every segment
as every character."""
FRAMES = """One network is swept over the whole line. It scores every character, and the gaps
between them, for every few columns of the image; runs of columns spell characters."""
LEARNT = """One network is swept over the whole line. Every few columns may be a cut, and it scores
every stretch between two cuts as every character; where to cut is learnt."""
STROKES = """One network follows the way of the pen. It scores every character, and the gaps
between them, for every few points; runs of points spell characters."""
SOUND = """One network listens to the recording. It scores every character, and the gaps between
them, for every few hundredths of a second; runs of these moments spell characters."""
ABOUT = {
    "segments": SEGMENTS,
    "segmental": LEARNT,
    "sliding": FRAMES,
    "strokes": STROKES,
    "sound": SOUND,
}
"""How an input becomes a graph, by the name of the front end."""


@dataclass(frozen=True)
class ReportData:
    """All that a report says, as plain numbers, arrays, strings and graphs.

    Attributes:
        before, after: the recognizer trained on isolated characters (None if there is none), and
            after global training.
        samples: images with their cuts; those with views show their graphs as well.
        curves: the course of training.
        mistakes: wrong answers after global training, the surest first.
        symbols: names of the labels on the arcs.
        facts: further lines of the last table, such as the data set and the training time.
        error_rate: the share of wrong answers that `Outcome.read` allows.
        film: HTML of an animation of learning, None omits it.
        about: HTML, how an input becomes a graph: one of ABOUT.
        settings: what it was made with, as text: shown on demand.
    """

    before: Outcome | None
    after: Outcome
    samples: Sequence[Sample] = ()
    curves: Sequence[Curve] = ()
    mistakes: Sequence[Mistake] = ()
    symbols: Symbols = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error_rate: float = 0.01
    film: str | None = None
    title: str = "Reading amounts with a graph transformer network"
    about: str = SEGMENTS
    settings: str = ""


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the report as one HTML file that needs no other file and no network.

    A sentence replaces a picture that cannot be made, and each graph if Graphviz is missing. The
    file is written whole or not at all. What takes room is folded.

    Returns: the path written.
    Raises: OSError when it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = (_headline, _reject, _mistakes, _samples, _graphs, _film, _curves, _facts)
    body = "\n".join(section(data) for section in sections)
    page = Template(_PAGE).substitute(title=html.escape(data.title), body=body)
    write_file(path, page.encode("utf-8"))
    return path


def _picture(make: Callable[[], str]) -> str:
    """A picture, or a sentence that says why there is none: it must not cost the whole report."""
    try:
        return make()
    except Exception as error:
        return f"<p class=missing>No picture: {html.escape(str(error) or type(error).__name__)}</p>"


def _folded(title: str, body: str, kind: str = "") -> str:
    """A section that opens on demand."""
    return (
        f"<section{kind and f' class={kind}'}><details><summary><h2>{title}</h2></summary>"
        f"{body}</details></section>"
    )


def _headline(data: ReportData) -> str:
    outcomes = _outcomes(data)
    rows = {
        "amounts read exactly": [o.string_accuracy for o in outcomes],
        "amounts misread": [1 - o.string_accuracy for o in outcomes],
        f"read at {_percent(data.error_rate, 0)} error": [o.read for o in outcomes],
    }
    head = _cells("th", [html.escape(outcome.name) for outcome in outcomes])
    table = "".join(
        f"<tr><th>{name}</th>{_cells('td', [_percent(share) for share in shares])}</tr>"
        for name, shares in rows.items()
    )
    return f"""<header><h1>{html.escape(data.title)}</h1>
<p class=lead>{data.about} A grammar keeps what is a legal answer, and the best path through
the resulting graph is the answer. Global training teaches the network through these graphs, from
answers alone: nobody says where the characters are.</p></header>
<section class=headline>
<p class=claim>{_claim(data.before, data.after)}</p>
{_operating_point(data.after, data.error_rate)}
<table class=numbers><thead><tr><th></th>{head}</tr></thead><tbody>{table}</tbody></table>
</section>"""


def _operating_point(after: Outcome, error_rate: float) -> str:
    """What the threshold that validation chose does on the test."""
    rate = _percent(error_rate, 0)
    if after.threshold is None or after.accepted is None or after.wrong is None:
        return (
            f"<p>No threshold of confidence was chosen for {rate} error: there were no validation"
            " amounts, or no threshold kept it there.</p>"
        )
    return (
        f"<p>With the threshold <b>{after.threshold:.4f}</b>, chosen on validation amounts for"
        f" {rate} error, it answers <b>{_percent(after.accepted)}</b> of the test amounts, of these"
        f" {_percent(after.wrong)} wrong: <code>gtnet read --min-confidence"
        f" {after.threshold:.4f}</code></p>"
    )


def _outcomes(data: ReportData) -> list[Outcome]:
    return [outcome for outcome in (data.before, data.after) if outcome is not None]


def _cells(kind: str, texts: list[str]) -> str:
    *old, new = texts
    return "".join(f"<{kind}>{text}</{kind}>" for text in old) + f"<{kind} class=new>{new}</{kind}>"


def _claim(before: Outcome | None, after: Outcome) -> str:
    if before is None or before.string_accuracy == 1:
        return f"<b>{_percent(after.string_accuracy)}</b> of the amounts are read exactly."
    wrong = 1 - before.string_accuracy
    change = (after.string_accuracy - before.string_accuracy) / wrong
    if change < 0:
        return f"<b>{_percent(-change, 0)}</b> more misread amounts after global training."
    return f"<b>{_percent(change, 0)}</b> of the misread amounts are gone after global training."


def _samples(data: ReportData) -> str:
    if not data.samples:
        return ""
    figures = "".join(
        _figure(partial(image_with_cuts, sample.image, sample.cuts), html.escape(sample.truth))
        for sample in data.samples
    )
    cut = any(sample.cuts is not None for sample in data.samples)
    return _folded("The images", f"{_CUTS if cut else ''}<div class=strip>{figures}</div>")


_CUTS = """
<p>Each line is a place where a character might end. There are more of them than characters:
which cuts are real is decided later, by the path that reads best.</p>"""


def _graphs(data: ReportData) -> str:
    parts = []
    for sample in data.samples:
        views = [(data.before, sample.before), (data.after, sample.after)]
        seen = [
            _view(data, sample, outcome.name, view) for outcome, view in views if outcome and view
        ]
        if seen:
            truth = html.escape(sample.truth)
            source = partial(image_with_cuts, sample.image, sample.cuts)
            shown = _picture(partial(_inline, source))
            parts.append(f"<h3>{shown} {truth}</h3>")
        parts += seen
    if not parts:
        return ""
    return _folded(
        "What the recognizer sees",
        f"""<div class=text>
<p>Arrows are segments of the image with what they might be, best first, and the energy of
that: minus its score, the lower the better. The wider and darker an arrow, the more probable. The
best path is blue.</p></div>{"".join(parts)}""",
        "wide",
    )


def _view(data: ReportData, sample: Sample, name: str, view: View) -> str:
    right = view.answer == sample.truth
    verdict = f"<b class={'right' if right else 'wrong'}>{_answer(view.answer)}</b>"
    pictures = [
        (view.recognition, view.recognition_images, 2, _RECOGNITION),
        (view.interpretation, view.interpretation_images, 4, _INTERPRETATION),
    ]
    figures = "".join(
        f"<figure><div class=scroll>{_graph(graph, images, labels, data.symbols)}</div>"
        f"<figcaption>{caption}</figcaption></figure>"
        for graph, images, labels, caption in pictures
        if graph is not None
    )
    name = html.escape(name[:1].upper() + name[1:])
    return f"<h4>{name}: reads {verdict} with confidence {view.confidence:.2f}</h4>{figures}"


def _film(data: ReportData) -> str:
    if data.film is None:
        return ""
    return _folded(
        "How it learnt to read",
        f"""<div class=text>
<p>One amount after every epoch. Numbers are probabilities: at first every way to read the image is
as good as another, in the end most of it is on one path. Drag, or press play.</p></div>
<div class=scroll>{data.film}</div>""",
        "wide",
    )


def _curves(data: ReportData) -> str:
    if not data.curves:
        return ""
    figures = "".join(
        _figure(
            partial(curve_plot, curve.x, curve.y, curve.lines, curve.percent),
            html.escape(curve.title),
        )
        for curve in data.curves
    )
    return _folded("The course of training", f"<div class=plots>{figures}</div>")


def _reject(data: ReportData) -> str:
    lines = {o.name: _error_reject(o) for o in _outcomes(data) if len(o.confidences)}
    if not lines:
        return ""
    point = None
    if data.after.accepted is not None and data.after.wrong is not None:
        point = (data.after.accepted, data.after.wrong)
    figure = _figure(lambda: reject_plot(lines, data.error_rate, point), _REJECT)
    return f"""<section><h2>Knowing when not to answer</h2>
<p>A reader that refuses its least certain answers makes fewer mistakes on the others. The dotted
line is {_percent(data.error_rate, 0)} error, what a bank might accept; the dot is the threshold
above. Curves that leave at the top are worse than that.</p>{figure}</section>"""


def _mistakes(data: ReportData) -> str:
    if not data.mistakes:
        return ""
    figures = [
        _figure(
            partial(image_uri, mistake.image),
            f"<b class=wrong>{_answer(mistake.answer)}</b> instead of "
            f"<b>{html.escape(mistake.truth)}</b><br>confidence {mistake.confidence:.2f}"
            + (f"<br><span class=file>{html.escape(mistake.file)}</span>" if mistake.file else ""),
        )
        for mistake in data.mistakes
    ]
    first, others = "".join(figures[:_FIRST]), "".join(figures[_FIRST:])
    more = ""
    if others:
        more = (
            f"<details><summary>{len(figures) - _FIRST} more</summary>"
            f"<div class=strip>{others}</div></details>"
        )
    return f"""<section><h2>The worst errors</h2>
<p>Wrong answers after global training, the most confident first.</p>
<div class=strip>{first}</div>{more}</section>"""


_FIRST = 6
"""Mistakes that are shown at once."""


def _facts(data: ReportData) -> str:
    if not data.facts:
        return ""
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in data.facts.items()
    )
    settings = f"<pre>{html.escape(data.settings)}</pre>" if data.settings else ""
    return _folded("How it was made", f"<table class=facts>{rows}</table>{settings}")


def _figure(source: Callable[[], str], caption: str) -> str:
    picture = _picture(partial(_image, source))
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _image(source: Callable[[], str]) -> str:
    return f'<img src="{source()}" alt="">'


def _inline(source: Callable[[], str]) -> str:
    return f'<img class=inline src="{source()}" alt="">'


def _graph(
    graph: gtnet.Graph | gtnet.Lattice, images: Mapping[int, Any], labels: int, symbols: Symbols
) -> str:
    return _picture(lambda: graph_svg(graph, images, labels, symbols))


def _answer(answer: str | None) -> str:
    return "no reading" if answer is None else html.escape(answer)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"


def _error_reject(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """(share read, share wrong of those read) as the required confidence falls."""
    order = np.argsort(-np.asarray(outcome.confidences, dtype=float), kind="stable")
    wrong = ~np.asarray(outcome.correct, dtype=bool)[order]
    count = np.arange(1, len(order) + 1)
    return count / len(order), np.cumsum(wrong) / count


_REJECT = (
    "Share of wrong answers among those given, as more and more amounts are read, the most "
    "confident first."
)
_RECOGNITION = (
    "The recognition graph: circles are cuts, and between two cuts stands what the network makes "
    "of that segment (▨: not a character). Blue is the best path before the grammar is applied."
)
_INTERPRETATION = (
    "The interpretation graph: what the grammar allows. The drawn character is before the colon, "
    "what it adds to the amount after it (ε: nothing). Blue is the best path."
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1f2328; --quiet: #656d76; --line: #e3e5e8; --new: #0072b2; --old: #d55e00; }
* { box-sizing: border-box; }
body { margin: 0; padding: 3rem 1.5rem 4rem; background: #fff; color: var(--ink);
  font: 17px/1.6 "Source Serif 4", "Iowan Old Style", Charter, Georgia, serif; }
header, section, .text { max-width: 46rem; margin-inline: auto; }
section { margin-top: 2.5rem; }
section.wide { max-width: 84rem; }
.wide > h3, .wide > h4, .wide figcaption { max-width: 46rem; margin-inline: auto; }
h1, h2, h3, h4, table, figcaption, .claim, .missing {
  font-family: system-ui, "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 2.1rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 1.5rem; }
h2 { font-size: 1.35rem; letter-spacing: -0.01em; margin: 0 0 .75rem; }
h3 { font-size: 1.15rem; margin: 3rem 0 0; display: flex; align-items: center; gap: 1rem; }
h4 { font-size: 1rem; font-weight: 500; margin: 2rem 0 .5rem; }
p { margin: 0 0 1.25rem; }
.lead { font-size: 1.12rem; }
.headline { margin-top: 1.75rem; }
.claim { font-size: 1.1rem; color: var(--quiet); }
.claim b { display: block; font-size: 3.6rem; line-height: 1.1; letter-spacing: -0.03em;
  color: var(--new); font-weight: 650; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--quiet); }
th, td { padding: .55rem .75rem .55rem 0; border-bottom: 1px solid var(--line); }
.numbers td, .numbers thead th { text-align: right; width: 28%; }
.numbers td { font-size: 1.25rem; }
.numbers .new { color: var(--new); font-weight: 600; }
.facts { font-size: .9rem; }
.facts th { width: 14rem; vertical-align: top; }
.facts td { overflow-wrap: anywhere; }
pre { font-size: .8rem; overflow-x: auto; background: #f6f7f8; padding: 1rem; }
code { font-size: .88em; background: #f2f3f5; padding: .1em .3em; border-radius: .2em; }
.file { overflow-wrap: anywhere; font-size: .78rem; }
summary { cursor: pointer; color: var(--new); }
summary h2 { display: inline; color: var(--ink); }
.wide summary { max-width: 46rem; margin-inline: auto; }
details[open] > summary { margin-bottom: 1rem; }
.headline p { font-size: 1rem; }
figure { margin: 0 0 1.5rem; }
figure img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; line-height: 1.45; color: var(--quiet); margin-top: .4rem; }
figcaption b { color: var(--ink); font-weight: 600; }
.strip { display: flex; flex-wrap: wrap; gap: 1.25rem 1.5rem; }
.strip figure { margin: 0; max-width: min(100%, 21rem); }
.strip img { height: 4.75rem; max-width: 100%; object-fit: contain; display: block; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 2rem; }
.scroll { overflow-x: auto; padding: .5rem 0; }
.scroll svg { display: block; margin: 0 auto; max-width: 100%; height: auto; }
.gtnet-animation svg { display: block; margin: 0 auto; }
.gtnet-animation .controls { margin: .5rem auto 0; }
img.inline { height: 3rem; border: 1px solid var(--line); }
.right { color: var(--new) !important; }
.wrong { color: var(--old) !important; }
.missing { color: var(--quiet); font-size: .9rem; }
@media print { body { padding: 0; font-size: 11pt; } section { margin-top: 2.5rem; } }
</style>
</head>
<body>
$body
</body>
</html>
"""
