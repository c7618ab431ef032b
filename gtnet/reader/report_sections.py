"""The parts of the report as HTML, each made from its data alone."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import gtnet
from gtnet.reader.figures import (
    Symbols,
    curve_plot,
    graph_view,
    image_uri,
    image_with_cuts,
    reject_plot,
)
from gtnet.reader.report_data import Outcome, ReportData, Sample
from gtnet.reader.views import View


def _picture(make: Callable[[], str]) -> str:
    """A picture, or a sentence that says why there is none: it must not cost the whole report."""
    try:
        return make()
    except Exception as error:
        return f"<p class=missing>No picture: {html.escape(str(error) or type(error).__name__)}</p>"


def _folded(title: str, body: str, kind: str = "") -> str:
    """A section that opens on demand."""
    return (
        f'<section class="folded {kind}"><details><summary><h2>{title}</h2></summary>'
        f"{body}</details></section>"
    )


def headline(data: ReportData) -> str:
    outcomes = _outcomes(data)
    rows = {
        "amounts read exactly": [o.string_accuracy for o in outcomes],
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
        f"<p>With the threshold <b>{after.threshold:.4f}</b>, chosen on {_count(after.chosen_on)}"
        f"validation amounts for {rate} error, it answers <b>{_percent(after.accepted)}</b> of the"
        " test amounts, of these"
        f" {_percent(after.wrong)} wrong: <code>gtnet read --min-confidence"
        f" {after.threshold:.4f}</code>{_too_few(after.chosen_on, error_rate)}</p>"
    )


def _count(number: int | None) -> str:
    return "" if number is None else f"{number} "


def _too_few(number: int | None, error_rate: float) -> str:
    """What a threshold is worth that was chosen on less than one mistake's worth of amounts."""
    if not number or number * error_rate >= 1:
        return ""
    return (
        f". {number} are too few to tell {_percent(error_rate, 0)}: one mistake is"
        f" {_percent(1 / number)}; choose it again on more"
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


def graphs(data: ReportData) -> str:
    """The first sample with its graph; what else there is of it and of the others is folded."""
    if not data.samples:
        return ""
    seen = [_sample(data, sample) for sample in data.samples if sample.before or sample.after]
    others = [sample for sample in data.samples if not (sample.before or sample.after)]
    figures = "".join(
        _figure(partial(image_with_cuts, sample.image, sample.cuts), html.escape(sample.truth))
        for sample in others
    )
    cut = any(sample.cuts is not None for sample in others)
    more = "".join(seen[1:])
    more += f"{_CUTS if cut else ''}<div class=strip>{figures}</div>" if figures else ""
    shown = (_LEGEND if seen else "") + "".join(seen[:1])
    shown += _more("More images", more) if more else ""
    return f"<section class=wide><h2>What it sees</h2>{shown}</section>"


_LEGEND = """<p class=text>Circles are places to cut, arrows the pieces of ink between them, with
what each is read as before the colon and what it adds to the answer behind it (ε: nothing; ▨: no
character). Numbers are energies: the lower, the better. The wider and darker an arrow, the more
probable; the best path is blue. Hover, drag, zoom.</p>
<noscript><p class=missing>The graphs need JavaScript.</p></noscript>"""

_CUTS = """
<p class=text>Each line is a place where a character might end. There are more of them than
characters: which cuts are real is decided later, by the path that reads best.</p>"""


def _sample(data: ReportData, sample: Sample) -> str:
    """An image, what each reader makes of it, and the graph of the last one; the others folded."""
    source = partial(image_with_cuts, sample.image, sample.cuts)
    image = _picture(partial(_inline, source))
    views = [
        (outcome.name, view)
        for outcome, view in ((data.before, sample.before), (data.after, sample.after))
        if outcome and view
    ]
    verdicts = "<br>".join(_verdict(name, view, sample.truth) for name, view in views)
    *before, (_, last) = views
    drawn: list[tuple[str, gtnet.Graph | None, Mapping[int, Any], int]]
    drawn = [
        (f"Interpretation graph, {name}", view.interpretation, view.interpretation_images, 3)
        for name, view in before
    ]
    drawn.append(("Recognition graph", last.recognition, last.recognition_images, 2))
    rest = "".join(
        f"<h4>{html.escape(title)}</h4>{_graph(graph, images, labels, data.symbols, title)}"
        for title, graph, images, labels in drawn
        if graph is not None
    )
    main = ""
    if last.interpretation is not None:
        title = f"Interpretation graph of {sample.truth}"
        main = _graph(last.interpretation, last.interpretation_images, 3, data.symbols, title)
    return (
        f"<h3>{image} {html.escape(sample.truth)}</h3><p class=verdicts>{verdicts}</p>{main}"
        f"{_more('Its other graphs', rest) if rest else ''}"
    )


def _verdict(name: str, view: View, truth: str) -> str:
    kind = "right" if view.answer == truth else "wrong"
    name = html.escape(name[:1].upper() + name[1:])
    answer = f"<b class={kind}>{_answer(view.answer)}</b>"
    return f"{name}: reads {answer} with confidence {view.confidence:.2f}"


def _more(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def film(data: ReportData) -> str:
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


def curves(data: ReportData) -> str:
    if not data.curves:
        return ""
    figures = "".join(
        _figure(
            partial(curve_plot, curve.x, curve.y, curve.lines, curve.percent),
            html.escape(curve.title),
            "plot",
        )
        for curve in data.curves
    )
    return _folded("The course of training", f"<div class=plots>{figures}</div>")


def reject(data: ReportData) -> str:
    lines = {o.name: _error_reject(o) for o in _outcomes(data) if len(o.confidences)}
    if not lines:
        return ""
    point = None
    if data.after.accepted is not None and data.after.wrong is not None:
        point = (data.after.accepted, data.after.wrong)
    figure = _figure(lambda: reject_plot(lines, data.error_rate, point), "", "plot")
    return f"""<section><h2>Knowing when not to answer</h2><div class=beside><div>
<p>A reader that refuses its least certain answers makes fewer mistakes on the others.</p>
<p>The curves: the share of wrong answers among those given, as more and more amounts are read, the
most confident first. The dotted line is {_percent(data.error_rate, 0)} error, what a bank might
accept; the dot is the threshold above. Curves that leave at the top are worse than that.</p></div>
{figure}</div></section>"""


def mistakes(data: ReportData) -> str:
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
        more = _more(f"{len(figures) - _FIRST} more", f"<div class=strip>{others}</div>")
    return f"""<section><h2>The worst errors</h2>
<p>Wrong answers after global training, the most confident first.</p>
<div class=strip>{first}</div>{more}</section>"""


_FIRST = 4
"""Mistakes that are shown at once."""


def facts(data: ReportData) -> str:
    if not data.facts:
        return ""
    rows = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in data.facts.items()
    )
    settings = f"<pre>{html.escape(data.settings)}</pre>" if data.settings else ""
    return _folded("How it was made", f"<table class=facts>{rows}</table>{settings}")


def _figure(source: Callable[[], str], caption: str, kind: str = "") -> str:
    picture = _picture(lambda: f'<img class="{kind}" src="{source()}" alt="">')
    return f"<figure>{picture}{caption and f'<figcaption>{caption}</figcaption>'}</figure>"


def _inline(source: Callable[[], str]) -> str:
    return f'<img class=inline src="{source()}" alt="">'


def _graph(
    graph: gtnet.Graph | gtnet.Lattice,
    images: Mapping[int, Any],
    labels: int,
    symbols: Symbols,
    title: str,
) -> str:
    return _picture(lambda: graph_view(graph, images, labels, symbols, title))


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
