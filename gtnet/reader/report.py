"""One self-contained HTML page about a trained reader: what it learnt and what it misreads."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template

import gtnet
from gtnet.reader import report_sections as sections
from gtnet.reader.checkpoint import write_file
from gtnet.reader.report_data import ABOUT as ABOUT
from gtnet.reader.report_data import SEGMENTS as SEGMENTS
from gtnet.reader.report_data import Curve as Curve
from gtnet.reader.report_data import Mistake as Mistake
from gtnet.reader.report_data import Outcome as Outcome
from gtnet.reader.report_data import ReportData as ReportData
from gtnet.reader.report_data import Sample as Sample
from gtnet.reader.report_page import PAGE
from gtnet.reader.views import View as View
from gtnet.reader.views import cuts_of as cuts_of
from gtnet.reader.views import look as look
from gtnet.reader.views import look_at_segments as look_at_segments
from gtnet.reader.views import segment_images as segment_images


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the report as one HTML file that needs no other file and no network.

    Its graphs can be touched, as those of `gtnet.draw_view`. A sentence replaces a picture that
    cannot be made, and each graph if Graphviz is missing. The file is written whole or not at all.
    What takes room is folded.

    Returns: the path written.
    Raises: OSError when it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = (
        sections.headline,
        sections.graphs,
        sections.reject,
        sections.mistakes,
        sections.film,
        sections.curves,
        sections.facts,
    )
    body = "\n".join(section(data) for section in parts)
    # The script is what every view shares; a page without graphs has none.
    assets = gtnet.GraphView.assets() if "gtnet-view-here" in body else ""
    page = Template(PAGE).substitute(title=html.escape(data.title), body=body, assets=assets)
    write_file(path, page.encode("utf-8"))
    return path
