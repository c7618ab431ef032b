"""The two graphs whose product is an interpretation graph, as text to compose step by step."""

from __future__ import annotations

from typing import Any

import torch

import gtnet
from gtnet.explore.looking import see
from gtnet.explore.questions import Question
from gtnet.reader import Alphabet, Recognizer

_ARCS = 60  # of the recognition graph: what a person can follow
_BEAMS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.0)


@torch.no_grad()
def operands(reader: Recognizer, question: Question) -> dict[str, Any]:
    """The likely part of a recognition graph, `a`, and what it meets of the language, `b`.

    Both in OpenFst's text form. Raises ValueError where nothing is drawn.
    """
    looked = see(reader, question)
    if looked is None:
        raise ValueError("nothing is drawn: there is nothing to compose")
    whole = gtnet.connect(looked.emissions.graph())
    beams = iter(_BEAMS)
    likely = gtnet.prune(whole, beam=min(question.beam, next(beams)))
    for beam in beams:
        if likely.num_arcs <= _ARCS:
            break
        likely = gtnet.prune(whole, beam=beam)
    names = _names(looked.reader.alphabet)
    texts = [
        gtnet.interop.openfst.to_text(graph, isymbols=names, osymbols=names)
        for graph in (likely, _met(likely, looked.reader.grammar))
    ]
    return {"a": texts[0], "b": texts[1], "form": "openfst"}


def _met(likely: gtnet.Graph, language: gtnet.Graph) -> gtnet.Graph:
    """The arcs of a language that its product with a graph uses; all of it where there is none."""
    product = gtnet.compose(likely, language)
    if not product.num_arcs or product.arc_maps is None:
        return language
    used = product.arc_maps[1]
    kept = used[used >= 0].unique().long()
    return gtnet.connect(
        gtnet.Graph(
            language.source[kept],
            language.target[kept],
            language.ilabels[kept],
            language.olabels[kept],
            weights=language.weights[kept],
            start=language.start,
            accept=language.accept,
        )
    )


def _names(alphabet: Alphabet) -> dict[int, str]:
    """Names that a line of text can hold: without blanks, and not numbers alone."""
    names = {label: name.strip() or "␣" for label, name in enumerate(alphabet.symbols)}
    if all(name.isdecimal() for name in names.values()):
        names = {label: f"'{name}'" for label, name in names.items()}
    return names
