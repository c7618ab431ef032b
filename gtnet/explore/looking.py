"""What a reader makes of one image, step by step, as data for the page."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gtnet
from gtnet.explore.questions import Question
from gtnet.reader import Recognizer, Segmentation
from gtnet.reader.answers import Answer
from gtnet.reader.figures import image_uri
from gtnet.reader.views import cuts_of, segment_images, span_images

BEST = 6
_SEGMENTS = 40  # shown, the most probable
_SCORES = 5  # of a segment, the best
_FRAMES_BEAM = 4.0  # paths through frames are many and alike


@dataclass(frozen=True)
class Looked:
    """One image on its way through a reader.

    Attributes: `seen`, what the front end observed; `emissions`, its recognition graph under the
    constraints; `rows`, the segment that each of its arcs was before some were left out;
    `lattice`, the interpretation graph, not built; `pictures`, the part of the image under each
    arc of the segmentation.
    """

    reader: Recognizer
    seen: Any
    emissions: gtnet.Emissions
    rows: Tensor
    lattice: gtnet.Lattice
    pictures: Sequence[np.ndarray]

    def at(self, beta: float) -> gtnet.Lattice:
        """The interpretation graph whose shares are those at a beta; at infinity as it is."""
        if beta in (1.0, math.inf):
            return self.lattice
        scaled = gtnet.scale(self.lattice, beta)
        assert isinstance(scaled, gtnet.Lattice)
        return scaled

    @property
    def owners_of(self) -> int:
        """Labels per arc of the segmentation."""
        return self.emissions.num_labels

    def images(self, graph: gtnet.Graph) -> dict[int, np.ndarray]:
        """The picture on each arc of a graph whose first arc map leads to the recognition graph."""
        assert graph.arc_maps is not None
        found = {}
        for arc, at in enumerate(graph.arc_maps[0].tolist()):
            row = int(self.rows[at // self.owners_of]) if at >= 0 else len(self.pictures)
            if row < len(self.pictures):
                found[arc] = self.pictures[row]
        return found


def see(reader: Recognizer, question: Question) -> Looked | None:
    """An image up to its interpretation graph; None where nothing is on it.

    With gradients to the network, where they are enabled. Raises ValueError for segments or cuts
    that are not there.
    """
    reader = question.reader(reader)
    (seen,) = reader.observe([question.given])
    if not len(seen):
        return None
    emissions = reader.recognition([seen])
    emissions, rows = _constrained(emissions, seen, question, reader.alphabet.nothing)
    if isinstance(seen, Segmentation):
        pictures: Sequence[np.ndarray] = segment_images(question.image, seen)
    else:
        graph = emissions.segmentation
        ends = graph.source.tolist(), graph.target.tolist()
        pictures = span_images(question.image, seen, *ends)
    return Looked(reader, seen, emissions, rows, reader.interpretation(emissions), pictures)


@torch.no_grad()
def look(
    reader: Recognizer,
    question: Question,
    threshold: float | None,
    opened: Sequence[Sequence[int]] = ((), ()),
) -> dict[str, Any]:
    """All that the page shows of one image: its answers, cuts, segments and graphs.

    `threshold`: of confidences from which an answer is accepted; `opened`: states of the
    recognition and of the interpretation graph of which all arcs are shown.
    """
    began = time.perf_counter()
    looked = see(reader, question)
    if looked is None:
        return {"empty": True, "message": "nothing is drawn"}
    return tell(looked, question, threshold, opened, began)


@torch.no_grad()
def tell(
    looked: Looked,
    question: Question,
    threshold: float | None,
    opened: Sequence[Sequence[int]],
    began: float,
) -> dict[str, Any]:
    """What `look` says of an image that is seen already, since `began` on the clock."""
    seen_at = time.perf_counter()
    lattice = looked.at(question.beta)
    shares = _label_shares(lattice, question.beta)
    beam = question.beam if _has_segments(looked) else min(question.beam, _FRAMES_BEAM)
    interpretation = gtnet.prune(looked.lattice, beam=beam)
    answers = _answers(looked, lattice, interpretation, question, threshold)
    found = {
        "empty": False,
        "size": [question.image.shape[1], question.image.shape[0]],
        "answers": answers,
        "message": "" if answers else "no reading: nothing that the language allows",
        "threshold": threshold,
        "cuts": _cuts(looked, question),
        "segments": _segments(looked, shares, question),
        "alphabet": list(looked.reader.alphabet),
    }
    read_at = time.perf_counter()
    found["recognition"] = _recognition(looked, question, opened[0])
    found["interpretation"] = view_of(
        looked, interpretation, question.beta, "interpretation graph", opened[1]
    )
    ends = (began, seen_at, read_at, time.perf_counter())
    found["milliseconds"] = [round(1000 * (b - a)) for a, b in itertools.pairwise(ends)]
    return found


def _has_segments(looked: Looked) -> bool:
    return isinstance(looked.seen, Segmentation)


def _constrained(
    emissions: gtnet.Emissions, seen: Any, question: Question, nothing: int
) -> tuple[gtnet.Emissions, Tensor]:
    """The recognition graph without what a person ruled out, and the segments that are left."""
    everything = torch.arange(emissions.scores.shape[-2])
    if not question.said and not question.forbidden:
        return emissions, everything
    if not isinstance(seen, Segmentation):
        raise ValueError("this reader sees frames: there are no segments and cuts to choose")
    graph, scores = emissions.segmentation, emissions.scores.clone()
    source, target = graph.source, graph.target
    keep = torch.ones(len(seen), dtype=torch.bool)
    for cut in question.forbidden:
        if not 0 < cut < seen.num_cuts - 1:
            raise ValueError(f"cut {cut} cannot be forbidden: there are 1 to {seen.num_cuts - 2}")
        keep &= (source != cut) & (target != cut)
    for row, label in question.said.items():
        if not 0 <= row < len(seen):
            raise ValueError(f"there is no segment {row}: the image has {len(seen)}")
        across = (source < target[row]) & (target > source[row])
        across[row] = False
        keep &= ~across
        label = nothing if label < 0 else label
        others = torch.arange(scores.shape[1]) != label
        scores[row] = scores[row].masked_fill(others, -math.inf)
    rows = keep.nonzero().flatten()
    left = gtnet.Graph(
        source[rows],
        target[rows],
        torch.arange(len(rows), dtype=torch.int32),
        weights=graph.weights[rows],
        start=graph.start,
        accept=graph.accept,
    )
    return gtnet.Emissions(scores[rows], graph=left), rows


def _label_shares(lattice: gtnet.Lattice, beta: float) -> Tensor:
    """How probable every label is on every segment or frame, [rows, labels]."""
    if beta == math.inf:
        best = gtnet.viterbi_path(lattice)
        scores = lattice.emissions.scores
        found = torch.zeros(scores.shape[-2:]).flatten()
        if best.arc_maps is not None:
            rows = best.arc_maps[0]
            found[rows[rows >= 0].long()] = 1.0
        return found.reshape(scores.shape[-2:])
    shares = lattice.label_posteriors()
    return shares[0] if shares.ndim == 3 else shares


def _answers(
    looked: Looked,
    lattice: gtnet.Lattice,
    interpretation: gtnet.Graph,
    question: Question,
    threshold: float | None,
) -> list[dict[str, Any]]:
    """The best answers with their confidences, and the best path of each in the graph drawn."""
    reader = looked.reader
    if question.is_plain:
        (answer,) = reader.read_observations([looked.seen])
    else:
        (answer,) = reader.answers(lattice)
    ranked = [] if answer.amount is None else [(answer.amount, answer.confidence)]
    ranked += answer.alternatives if answer.amount is not None else ()
    if question.beta == math.inf:
        ranked = _coldest(looked.lattice, reader, answer)
    (paths,) = gtnet.k_best(interpretation, 4 * BEST, unique="olabels")
    texts = [reader.alphabet.text_of(labels) for labels in gtnet.label_sequences(paths)]
    arcs = paths.arc_maps[0].tolist() if paths.arc_maps else []
    ends = paths.arc_offsets.tolist()
    known = threshold if question.is_plain else None  # it was chosen for such confidences
    path_of = {text: arcs[a:b] for text, a, b in zip(texts, ends, ends[1:])}
    return [
        {
            "text": text,
            "confidence": round(share, 6),
            "accepted": None if known is None else share >= known,
            "arcs": path_of.get(text, []),
        }
        for text, share in ranked[:BEST]
    ]


def _coldest(lattice: gtnet.Lattice, reader: Recognizer, answer: Answer) -> list[tuple[str, float]]:
    """The answer of the best path, which has all the probability, before the others."""
    labels = gtnet.label_sequences(gtnet.viterbi_path(lattice))
    if answer.amount is None or not labels:
        return []
    best = reader.alphabet.text_of(labels[0])
    others = (answer.amount, *(text for text, _ in answer.alternatives))
    return [(best, 1.0), *((text, 0.0) for text in others if text != best)]


def _cuts(looked: Looked, question: Question) -> list[dict[str, Any]]:
    lines = cuts_of(looked.reader, looked.seen)
    if lines is None:
        return []
    last = len(lines) - 1
    return [
        {
            "id": number,
            "line": [round(float(v), 1) for v in line.ravel()],
            "inner": _has_segments(looked) and 0 < number < last,
            "forbidden": number in question.forbidden,
        }
        for number, line in enumerate(np.asarray(lines))
    ]


def _segments(looked: Looked, shares: Tensor, question: Question) -> list[dict[str, Any]]:
    """The most probable segments, from left to right, with the scores of their classes."""
    seen, symbols = looked.seen, looked.reader.alphabet.symbols
    if not isinstance(seen, Segmentation):
        return []
    chances = shares.sum(1)
    best = gtnet.viterbi_path(looked.lattice)
    on_best = set()
    if best.arc_maps is not None:
        on_best = {at // looked.owners_of for at in best.arc_maps[0].tolist() if at >= 0}
    rank = sorted(range(len(chances)), key=lambda i: (i not in on_best, -float(chances[i])))
    found = []
    for at in rank[:_SEGMENTS]:
        row = int(looked.rows[at])
        scores = looked.emissions.scores[at].double()
        chosen = scores.softmax(0)
        top = chosen.argsort(descending=True)[:_SCORES].tolist()
        found.append(
            {
                "id": row,
                "from": int(seen.source[row]),
                "to": int(seen.target[row]),
                "box": seen.boxes[row].tolist(),
                "image": image_uri(looked.pictures[row]),
                "p": round(float(chances[at]), 6),
                "best": at in on_best,
                "read": symbols[int(shares[at].argmax())] if chances[at] > 0 else "",
                "said": row in question.said,
                "scores": [
                    {
                        "name": symbols[label],
                        "p": round(float(chosen[label]), 6),
                        "score": round(float(scores[label]), 2),
                    }
                    for label in top
                    if scores[label] > -math.inf
                ],
            }
        )
    # The best path from left to right, then the others by their probability.
    return sorted(
        found, key=lambda one: (not one["best"], one["from"] if one["best"] else -one["p"])
    )


def _recognition(
    looked: Looked, question: Question, opened: Sequence[int]
) -> dict[str, Any] | None:
    """The recognition graph; None over frames, of which every label leads to the next."""
    if looked.emissions.lengths is not None:
        return None
    graph = gtnet.connect(looked.emissions.graph())
    if not _has_segments(looked):
        graph = gtnet.prune(graph, beam=_FRAMES_BEAM)
    return view_of(looked, graph, question.beta, "recognition graph", opened)


def view_of(
    looked: Looked,
    graph: gtnet.Graph,
    beta: float,
    title: str,
    opened: Sequence[int] = (),
    gradient: Tensor | None = None,
) -> dict[str, Any]:
    """One of its graphs, with the picture on every arc, as `gtnet.draw_view` lays it out."""
    symbols = looked.reader.alphabet.symbols
    return dict(
        gtnet.draw_view(
            graph,
            isymbols=symbols,
            osymbols=symbols,
            digits=1,
            beta=beta,
            title=title,
            images=looked.images(graph),
            min_posterior=0.01,
            max_states=36,
            max_arcs=80,
            max_labels=2,
            opened=opened,
            gradient=gradient,
        ).data
    )
