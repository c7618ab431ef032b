"""Answers: what a graph of interpretations says, how surely, and when to believe it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import gtnet

_BEAM = 12.0  # an answer whose best path is further behind the best of all is no candidate


@dataclass(frozen=True)
class Answer:
    """What a reader made of one image.

    `amount`: what it says, such as a canonical amount, None if there is no reading, for the reason
    in `reason`; `confidence`: its share of the total score of all interpretations, in [0, 1];
    `alternatives`: other readings and their confidences, best first.
    """

    amount: str | None
    confidence: float = 0.0
    alternatives: tuple[tuple[str, float], ...] = ()
    reason: str = ""

    @property
    def text(self) -> str | None:
        """What the image says: the same as `amount`."""
        return self.amount

    def lowered(self, share: float) -> Answer:
        """The same with this share of its confidences: the rest is that it is none of these."""
        if share >= 1 or self.amount is None:
            return self
        others = tuple((text, share * confidence) for text, confidence in self.alternatives)
        return replace(self, confidence=share * self.confidence, alternatives=others)

    def extended(self, other: Answer, count: int) -> Answer:
        """The same with further alternatives from another answer, `count` texts in all."""
        if self.amount is None or other.amount is None:
            return self
        known = {self.amount, *(text for text, _ in self.alternatives)}
        found = ((other.amount, other.confidence), *other.alternatives)
        further = [pair for pair in found if pair[0] not in known][: max(0, count - len(known))]
        others = sorted([*self.alternatives, *further], key=lambda pair: -pair[1])
        return replace(self, alternatives=tuple(others))


def answers_of(
    interpretations: gtnet.Graph | gtnet.Lattice,
    count: int,
    text_of: Callable[[Sequence[int]], str],
    temperature: float = 1.0,
    *,
    wanted: int = 0,
) -> list[Answer]:
    """The answer of each interpretation graph.

    The candidates are the outputs of the `count` best paths that differ in them; they are ranked
    by the forward score of all their paths, relative to that of the whole graph. Fewer than
    `count` where the others are below about e^-12. `temperature` flattens these shares (above 1)
    or sharpens them. `wanted`: so many are found wherever there are so many, however unlikely.
    """
    total = gtnet.forward_score(interpretations)
    ranked = _candidates(interpretations, total, count, _BEAM)
    answers = [
        _answer([(text_of(labels), share) for labels, share in rows], temperature)
        for rows in ranked
    ]
    if all(1 + len(answer.alternatives) >= wanted for answer in answers):
        return answers
    for beam in (4 * _BEAM, math.inf):
        ranked = _candidates(interpretations, total, wanted, beam)
        if all(len(rows) >= wanted for rows in ranked):
            break
    more = [
        _answer([(text_of(labels), share) for labels, share in rows], temperature)
        for rows in ranked
    ]
    return [own.extended(other, wanted) for own, other in zip(answers, more, strict=True)]


def _candidates(
    whole: gtnet.Graph | gtnet.Lattice, total: Tensor, count: int, beam: float
) -> list[list[tuple[list[int], float]]]:
    """For each graph the outputs of its best paths, with their shares of the total score."""
    graphs = gtnet.prune(whole, beam=beam) if isinstance(whole, gtnet.Lattice) else whole
    best = gtnet.k_best(graphs, count, unique="olabels")
    found = [gtnet.label_sequences(paths) for paths in best]
    owners = [i for i, labels in enumerate(found) for _ in labels]
    ranked: list[list[tuple[list[int], float]]] = [[] for _ in found]
    if owners:
        flat = [labels for rows in found for labels in rows]
        candidates = gtnet.linear(flat, dtype=graphs.dtype)
        own = gtnet.forward_score(_writing(candidates, owners, whole, graphs))
        shares = (own - total[owners]).exp().clamp(max=1.0).tolist()
        for i, labels, share in zip(owners, flat, shares, strict=True):
            ranked[i].append((labels, share))
    return ranked


def log_shares(
    interpretations: gtnet.Graph | gtnet.Lattice, candidates: Sequence[Sequence[Sequence[int]]]
) -> list[list[float]]:
    """The log of the share that given answers have in each interpretation graph.

    `candidates`: for each graph, label sequences of answers. -inf for what it cannot write.
    """
    owners = [i for i, rows in enumerate(candidates) for _ in rows]
    if not owners:
        return [[] for _ in candidates]
    total = gtnet.forward_score(interpretations)
    acceptors = gtnet.linear([list(labels) for rows in candidates for labels in rows])
    acceptors = acceptors.to(interpretations.dtype)
    own = gtnet.forward_score(_writing(acceptors, owners, interpretations, interpretations))
    # A graph without paths has no shares: -inf less -inf.
    flat = iter(
        (own - total[owners]).nan_to_num(-torch.inf, neginf=-torch.inf).clamp(max=0).tolist()
    )
    return [[next(flat) for _ in rows] for rows in candidates]


def _writing(
    candidates: gtnet.Graph,
    owners: list[int],
    whole: gtnet.Graph | gtnet.Lattice,
    pruned: gtnet.Graph | gtnet.Lattice,
) -> gtnet.Graph | gtnet.Lattice:
    """For each candidate, the paths of its owner that write it."""
    if isinstance(whole, gtnet.Lattice):
        # Nothing is built: the grammar restricted to one answer is small.
        operand = whole.operand if len(whole.operand) == 1 else whole.operand[owners]
        return gtnet.compose(_chosen(whole.emissions, owners), gtnet.compose(operand, candidates))
    return gtnet.compose(pruned[owners], candidates)


def _chosen(emissions: gtnet.Emissions, items: list[int]) -> gtnet.Emissions:
    """Emissions of some items, several times where an item is given more than once."""
    if emissions.lengths is not None:
        return gtnet.Emissions(emissions.scores[items], emissions.lengths[items])
    graph, first = emissions.segmentation[items], emissions.segmentation.arc_offsets
    rows = [torch.arange(int(first[i]), int(first[i + 1])) for i in items]
    return gtnet.Emissions(emissions.scores[torch.cat(rows)], graph=graph)


def _answer(ranked: list[tuple[str, float]], temperature: float) -> Answer:
    if not ranked:
        return Answer(None, reason="no reading: nothing that the grammar allows")
    ranked = sorted(ranked, key=lambda pair: -pair[1])
    shares = tempered([share for _, share in ranked], temperature)
    (first, _), *rest = ranked
    others = zip((text for text, _ in rest), shares[1:], strict=True)
    return Answer(first, shares[0], tuple(others))


def averaged(answers: Sequence[Answer], count: int) -> Answer:
    """One answer of several to the same question: the `count` best by the means of their shares."""
    shares: dict[str, float] = {}
    for answer in answers:
        if answer.amount is not None:
            for text, share in ((answer.amount, answer.confidence), *answer.alternatives):
                shares[text] = shares.get(text, 0.0) + share / len(answers)
    best = sorted(shares.items(), key=lambda pair: -pair[1])[:count]
    return _answer(best, 1.0) if best else answers[0]


def tempered(shares: Sequence[float], temperature: float) -> list[float]:
    """Shares of some answers under another temperature; what they leave counts as one more."""
    if temperature == 1:
        return list(shares)
    rest = max(0.0, 1 - sum(shares))
    raised = [max(0.0, share) ** (1 / temperature) for share in [*shares, rest]]
    total = sum(raised)
    return [value / total if total else 0.0 for value in raised[:-1]]


def fitted_temperature(answers: Sequence[Answer], truth: Sequence[str]) -> float:
    """The temperature under which answers made at temperature 1 are most probable.

    Least -log of the share of the truth, or of what no candidate has where it is none of them; by
    search over 0.25 .. 8. 1 where there are no answers. Choose it on validation data.
    Source: Guo, Pleiss, Sun & Weinberger 2017.
    """
    if len(answers) != len(truth):
        raise ValueError(f"fitted_temperature: {len(answers)} answers, {len(truth)} truths")
    rows = [
        (
            [a.amount == t, *(other == t for other, _ in a.alternatives)],
            [a.confidence, *(share for _, share in a.alternatives)],
        )
        for a, t in zip(answers, truth, strict=True)
        if a.amount is not None
    ]
    if not rows:
        return 1.0

    def loss(temperature: float) -> float:
        total = 0.0
        for right, shares in rows:
            found = tempered(shares, temperature)
            own = [share for share, is_right in zip(found, right, strict=True) if is_right]
            total -= math.log(max(own[0] if own else 1 - sum(found), 1e-9))
        return total

    return min((2 ** (step / 8) for step in range(-16, 25)), key=loss)


def rejection_threshold(
    confidences: Sequence[float], correct: Sequence[bool], error_rate: float
) -> tuple[float, float]:
    """The confidence from which answers are accepted so that few of the accepted are wrong.

    Choose it on validation data. `error_rate`: greatest share of wrong answers among accepted
    ones. Returns (threshold, share of all answers accepted); (inf, 0) if no threshold serves.
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
