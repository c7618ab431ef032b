"""All that a report says, as plain numbers, arrays, strings and graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gtnet.reader.figures import Symbols
from gtnet.reader.views import View


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
        chosen_on: the number of these.
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
    chosen_on: int | None = None


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
