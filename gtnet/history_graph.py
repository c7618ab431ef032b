"""A language model that is a network, as a graph that a search makes while it goes through it."""

from __future__ import annotations

import math

from gtnet.language_model import METHODS, LanguageModel


class HistoryGraph:
    """The tree of all histories of a language model, as the last graph of a `beam_search`.

    A state is a history; from it an arc for each label leads to the history that is longer by that
    label, with `weight` times the log-probability that the model gives the label there, and it
    accepts with `weight` times that of the end. The search makes the histories of its survivors
    alone: after each frame it asks the model for all new ones, those of all items in one batch. So
    a network ranks paths inside the search (shallow fusion), with look-ahead into the words that
    the graphs before can still write, and no path is lost for want of its score.

    In the maps of a lattice its states are numbers of histories, 0 the empty one, and its arcs the
    history that each leads to.

    Arguments: `lm` a `decode.LanguageModel` over the labels that the graph before writes, on any
    device; `weight` finite. Raises TypeError or ValueError for others.
    Source: Chorowski & Jaitly 2017.
    """

    def __init__(self, lm: LanguageModel, weight: float = 1.0) -> None:
        missing = [name for name in METHODS if not hasattr(lm, name)]
        if missing:
            raise TypeError(
                f"HistoryGraph: lm must have start, step and scores, got {type(lm).__name__} "
                f"without {', '.join(missing)}"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"HistoryGraph: weight must be a number, got {weight!r}")
        if not math.isfinite(weight):
            raise ValueError(f"HistoryGraph: weight must be finite, got {weight}")
        self.lm, self.weight = lm, float(weight)

    def __repr__(self) -> str:
        return f"HistoryGraph({type(self.lm).__name__}, weight={self.weight:g})"
