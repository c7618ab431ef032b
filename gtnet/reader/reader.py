"""The check reader: from images of amounts to answers, through graphs all the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

import gtnet
from gtnet.reader import amounts
from gtnet.reader.alphabet import RUBBISH
from gtnet.reader.recognize import NetworkConfig, SegmentNetwork, recognition_graph
from gtnet.reader.segment import GEOMETRY, Segmentation, SegmentConfig, segment


@dataclass(frozen=True)
class ReaderConfig:
    """What a `CheckReader` is made of; together with its weights it is the whole reader.

    `grammar`: a name in `amounts.GRAMMARS`; `rubbish`: score of skipping a rubbish segment, None
    if every segment must be a character; `segment`, `network`: how images are cut, and the size
    of the network; `candidates`: answers that are compared by their total score.
    """

    grammar: str = "amount"
    rubbish: float | None = 0.0
    candidates: int = 5
    context: bool = True
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


@dataclass(frozen=True)
class Answer:
    """What a reader made of one image.

    `amount`: the canonical amount, None if there is no reading, for the reason in `reason`;
    `confidence`: its share of the total score of all interpretations, in [0, 1];
    `alternatives`: other amounts and their confidences, best first.
    """

    amount: str | None
    confidence: float = 0.0
    alternatives: tuple[tuple[str, float], ...] = ()
    reason: str = ""


class CheckReader(nn.Module):
    """Segmentation, recognition and grammar as one differentiable graph transformer network.

    Source: LeCun, Bottou, Bengio & Haffner 1998, sections V to X.
    """

    def __init__(self, config: ReaderConfig | None = None) -> None:
        super().__init__()
        self.config = config or ReaderConfig()
        if self.config.grammar not in amounts.GRAMMARS:
            raise ValueError(
                f"CheckReader: grammar {self.config.grammar!r} is not one of"
                f" {', '.join(amounts.GRAMMARS)}"
            )
        self.grammar = amounts.GRAMMARS[self.config.grammar](rubbish=self.config.rubbish)
        size = self.config.segment.size
        self.network = SegmentNetwork((size, size), len(GEOMETRY), self.config.network)
        self._acceptors: dict[str, gtnet.Graph] = {}

    def segment(self, images: Sequence[np.ndarray]) -> list[Segmentation]:
        """The segmentation of each image, uint8 [height, width], dark ink on light paper."""
        return [segment(image, self.config.segment) for image in images]

    def scores(
        self,
        segmentations: Sequence[Segmentation],
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Class scores of all segments of a batch in one call, float [segments, classes].

        A score is the log of how much likelier the class is than rubbish, so that a path through
        few segments has no advantage over one through many: what it leaves out is rubbish.
        `change` is applied to the images [segments, 2, size, size] before they are scored.
        """
        images, context, geometry = (
            torch.from_numpy(np.concatenate([getattr(s, name) for s in segmentations]))
            for name in ("images", "context", "geometry")
        )
        images = torch.stack([images, context if self.config.context else images], dim=1)
        logits = self.network(*_padded(change(images) if change else images, geometry))[
            : len(images)
        ]
        return logits - logits[:, RUBBISH:]

    def recognition(
        self,
        segmentations: Sequence[Segmentation],
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> gtnet.Emissions:
        """The batch of recognition graphs; `change` as in `scores`."""
        return recognition_graph(self.scores(segmentations, change), segmentations)

    def interpretation(self, recognition: gtnet.Emissions) -> gtnet.Lattice:
        """The batch of interpretation graphs, not yet built: all legal ways to read each image."""
        return gtnet.compose(recognition, self.grammar)

    def acceptor(self, amount: str) -> gtnet.Graph:
        """The acceptor of one amount, remembered; raises ValueError outside the grammar."""
        if amount not in self._acceptors:
            self._acceptors[amount] = amounts.amount_graph(amount, self.grammar)
        return self._acceptors[amount]

    def loss(
        self,
        segmentations: Sequence[Segmentation],
        truth: Sequence[str],
        change: Callable[[Tensor], Tensor] | None = None,
        *,
        criterion: Callable[..., Tensor] = gtnet.losses.discriminative_forward,
    ) -> Tensor:
        """A loss of all legal interpretations and the true amounts, [batch].

        By default the difference of two forward scores: that of all interpretations minus that
        of those that transduce to the true amount, however it was drawn and cut: -log of the
        probability of the truth. +inf where the truth has no path, unless the loss is bounded.

        `criterion`: a loss of gtnet.losses, see `gtnet.losses.LOSSES`; `change` as in `scores`.
        """
        interpretation = self.interpretation(self.recognition(segmentations, change))
        return criterion(interpretation, gtnet.stack([self.acceptor(t) for t in truth]))

    @torch.no_grad()
    def read(self, images: Sequence[np.ndarray], *, batch_size: int = 32) -> list[Answer]:
        """The answers for a sequence of images, uint8 [height, width]; see `Answer`."""
        return self.read_segmentations(self.segment(images), batch_size=batch_size)

    @torch.no_grad()
    def read_segmentations(
        self, segmentations: Sequence[Segmentation], *, batch_size: int = 32
    ) -> list[Answer]:
        """`read` for images that are segmented already. The network is used in evaluation mode."""
        answers = [Answer(None, reason="no reading: nothing drawn") for _ in segmentations]
        inked = [i for i, segmentation in enumerate(segmentations) if len(segmentation)]
        was_training = self.training
        self.eval()
        for first in range(0, len(inked), batch_size):
            batch = inked[first : first + batch_size]
            graphs = self.interpretation(self.recognition([segmentations[i] for i in batch]))
            for i, answer in zip(batch, self.answers(graphs), strict=True):
                answers[i] = answer
        self.train(was_training)
        return answers

    def answers(self, interpretations: gtnet.Graph | gtnet.Lattice) -> list[Answer]:
        """The answer of each interpretation graph.

        The candidates are the amounts of the best paths; they are ranked by the forward score of
        all their interpretations, relative to the forward score of the whole graph.
        """
        best = gtnet.k_best(interpretations, self.config.candidates, unique="olabels")
        texts = [[amounts.text_of(row) for row in gtnet.label_sequences(paths)] for paths in best]
        owners = [i for i, found in enumerate(texts) for _ in found]
        ranked: list[list[tuple[str, float]]] = [[] for _ in texts]
        if owners:
            candidates = gtnet.linear([amounts.labels_of(t) for found in texts for t in found])
            total = gtnet.forward_score(interpretations)
            own = gtnet.forward_score(gtnet.compose(interpretations[owners], candidates))
            shares = (own - total[owners]).exp().clamp(max=1.0).tolist()
            flat = [text for found in texts for text in found]
            for i, text, share in zip(owners, flat, shares, strict=True):
                ranked[i].append((text, share))
        return [_answer(found) for found in ranked]


def _padded(*tensors: Tensor) -> list[Tensor]:
    """Tensors with blank rows added up to a multiple of 256.

    Convolutions are planned, and their plans kept in memory, for every number of rows anew.
    """
    blank = -len(tensors[0]) % 256
    return [torch.cat([t, t.new_zeros(blank, *t.shape[1:])]) for t in tensors]


def _answer(ranked: list[tuple[str, float]]) -> Answer:
    if not ranked:
        return Answer(None, reason="no reading: nothing that the grammar allows")
    first, *rest = sorted(ranked, key=lambda pair: -pair[1])
    return Answer(first[0], first[1], tuple(rest))


def rejection_threshold(
    confidences: Sequence[float], correct: Sequence[bool], error_rate: float
) -> tuple[float, float]:
    """The confidence from which answers are accepted so that few of the accepted are wrong.

    Choose it on validation data. `error_rate`: greatest share of wrong answers among accepted
    ones. Returns (threshold, share of all answers accepted); (inf, 0) if no threshold is enough.
    Raises ValueError for different lengths or an error rate outside [0, 1].
    """
    if len(confidences) != len(correct):
        raise ValueError(
            f"rejection_threshold: {len(confidences)} confidences, {len(correct)} correct"
        )
    if not 0 <= error_rate <= 1:
        raise ValueError(f"rejection_threshold: error_rate must be in [0, 1], got {error_rate}")
    order = sorted(range(len(correct)), key=lambda i: -confidences[i])
    threshold, accepted, errors = math.inf, 0, 0
    for count, i in enumerate(order, start=1):
        errors += not correct[i]
        tied = count < len(order) and confidences[order[count]] == confidences[i]
        if not tied and errors <= error_rate * count:
            threshold, accepted = confidences[i], count
    return threshold, accepted / len(order) if order else 0.0
