"""Losses that weigh wrong answers by what they cost: how far they are from the correct one.

On graphs the cost is an acceptor that scores every answer by its cost, and composition adds it to
every interpretation. "mismatch" (1 for every wrong answer), "hamming" (places that differ) and
"edit" (`edit_costs`: exact, and feasible for answers of up to about ten different labels) are made
from the correct answer, which must be one chain (`gtnet.linear`); any other cost is a Graph, a
batch of acceptors over the output labels in which every answer has one path. For plain energies
the cost is "mismatch" or a tensor [answers, answers] (row: the correct one) or [batch, answers].

Where the correct answer is impossible these losses are +inf, without a gradient; expected costs
are those of the answers that are possible.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import named
from gtnet.best_answers import best_answers, restricted
from gtnet.build import linear
from gtnet.compose import compose
from gtnet.distance import _is_infinite, finite_temperature, viterbi_score
from gtnet.distributions import expectation
from gtnet.edit_distance import edit_costs, edit_distance, hamming_costs, mismatch_costs
from gtnet.graph import Graph, built, lazy, stack
from gtnet.lattice import Lattice
from gtnet.losses.answers import Language, Latent, check_latent
from gtnet.losses.classes import Classes
from gtnet.losses.elementwise import INF, _positive, gap
from gtnet.losses.energies import Energies
from gtnet.paths import k_best, label_sequences
from gtnet.rational import concat

Cost = Literal["mismatch", "hamming", "edit"] | Graph | Lattice | Tensor
_BUILDERS = {"mismatch": mismatch_costs, "hamming": hamming_costs, "edit": edit_costs}


@named
def structured_hinge(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    cost: Cost = "hamming",
    scale: float = 1.0,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E - min_y (E(y) - cost(y)): every wrong answer should lose by its cost.

    The hinge loss with a margin that grows with the error. Cannot collapse: with equal energies the
    loss is the greatest cost of a legal answer.

    Arguments: as `energies`; `cost`, times `scale` >= 0, as in `gtnet.losses.costs`.
    Raises: ValueError or TypeError as `energies`, and for a cost that does not fit.
    Complexity: a composition with the cost and, with latent="forward", `most_offending` in it.
    Source: Taskar, Guestrin & Koller 2003; Tsochantaridis et al. 2005 ("margin rescaling").
    """
    plain, costly = _augmented(
        "structured_hinge", interpretations, correct, cost, scale, latent, beta
    )
    return gap(plain.correct, costly.least).clamp(min=0)


@named
def soft_margin(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    cost: Cost = "hamming",
    scale: float = 1.0,
    latent: Latent = "forward",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """E + 1/beta · log Σ exp(-beta · (E(y) - cost(y))): `nll` with a cost in its sum.

    An upper bound of both `nll` and `structured_hinge`. Cannot collapse.
    Arguments, errors: as `structured_hinge`. Complexity: a composition with the cost and a sweep;
    with latent="viterbi" a determinization. Source: Gimpel & Smith 2010, "Softmax-margin CRFs".
    """
    plain, costly = _augmented("soft_margin", interpretations, correct, cost, scale, latent, beta)
    return gap(plain.correct, costly.free).clamp(min=0)


@named
def generalized_margin(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    cost: Cost = "mismatch",
    scale: float = 1.0,
    limit: int = 1000,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """Σ_y max(0, E - E(y) + cost(y)): every answer that does not lose by its cost is pushed up.

    Margin: the cost. Cannot collapse: with equal energies the loss is Σ cost(y).
    Arguments: as `structured_hinge`; on graphs `limit` is the most answers that may violate their
    margin. Raises ValueError if more do (as with an untrained model: start with another loss, or
    use `generalized_margin_k_best`). Complexity: that of finding so many best distinct answers.
    Source: LeCun et al. 2006, section 2.2.3 (equation 24, "generalized margin loss").
    """
    function = "generalized_margin"
    plain, costly = _augmented(function, interpretations, correct, cost, scale, latent, beta)
    if isinstance(plain, Classes):
        assert isinstance(costly, Classes)
        return _over(gap(plain.correct[:, None], costly.answers)).sum(1)
    assert isinstance(costly, Energies)
    limit, k = _checks.count(function, "limit", limit), 16
    while True:
        k = min(k, limit + 1)
        total, last, full = _margins(plain, costly, k)
        more = full & (last > 0)
        if not bool(more.any()):
            return total
        if k > limit:
            raise ValueError(
                f"{function}: more than limit={limit} answers of item "
                f"{int(more.nonzero()[0])} violate their margin: raise it, or use "
                f"generalized_margin_k_best"
            )
        k *= 4


@named
def generalized_margin_k_best(
    interpretations: Graph | Lattice,
    correct: Any,
    *,
    k: int = 10,
    cost: Cost = "mismatch",
    scale: float = 1.0,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """`generalized_margin` over only the k answers that violate their margin most.

    Arguments: a graph; k >= 1; the others as in `generalized_margin`.
    """
    function = "generalized_margin_k_best"
    if not isinstance(interpretations, Graph):
        interpretations = lazy(function, "interpretations", interpretations)
    plain, costly = _augmented(function, interpretations, correct, cost, scale, latent, beta)
    assert isinstance(plain, Energies) and isinstance(costly, Energies)
    return _margins(plain, costly, _at_least_one(function, k))[0]


@named
def minimum_risk(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    cost: Cost = "edit",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """The expected cost of an answer drawn in proportion to exp(-beta · E(y)), exactly.

    With the edit distance, this is the measure by which recognizers are judged. Cannot collapse:
    with equal energies the loss is the mean cost.

    Arguments: as `energies`, marginalizing over latent paths; `cost` as in `gtnet.losses.costs`;
    `beta` finite. Result: [batch]; 0 where no answer is possible.
    Raises: as `structured_hinge`. Complexity: a composition with the cost (a `Lattice` is built),
    a sweep and one back. Gradient: covariances of score and cost; any number of derivatives.
    Source: Och 2003; Li & Eisner 2009; for answers too long for "edit", `minimum_risk_k_best`.
    """
    finite_temperature("minimum_risk", beta)
    if isinstance(interpretations, Tensor):
        classes = Classes("minimum_risk", interpretations, correct, beta)
        return expected_cost(classes.answers, _class_costs("minimum_risk", classes, cost), beta)
    graph = built("minimum_risk", "interpretations", interpretations)
    language = Language("minimum_risk", graph, correct)
    costs = _cost_acceptor("minimum_risk", cost, graph, language)
    nothing = linear([], dtype=costs.dtype)
    costs = concat(nothing, costs, nothing)  # scores of starts and ends become those of arcs
    free = torch.where(costs.weights > -INF, 0, costs.weights)
    priced = compose(graph, costs.with_weights(free))
    assert priced.arc_maps is not None
    index = priced.arc_maps[1].long()
    features = torch.cat([costs.weights, costs.weights.new_zeros(1)])[index]  # [-1] costs nothing
    return expectation(priced, features, beta)


@named
def minimum_risk_k_best(
    interpretations: Graph | Lattice,
    correct: Any,
    *,
    k: int = 10,
    cost: Cost = "edit",
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Tensor:
    """`minimum_risk` over the k best distinct answers alone, as if no others were possible.

    Arguments: a graph; k >= 1; `latent` says how their paths count; the others as in
    `minimum_risk`. An "edit" cost takes answers of any length. Complexity: that of the k best
    answers, and O(length²) for each. Source: Och 2003; Prabhavalkar et al. 2018.
    """
    function = "minimum_risk_k_best"
    if not isinstance(interpretations, Graph):
        interpretations = lazy(function, "interpretations", interpretations)
    check_latent(function, latent)
    finite_temperature(function, beta)
    language = Language(function, interpretations, correct)
    ranked = _ranked(interpretations, _at_least_one(function, k), latent, beta)
    size = len(language.acceptor) if len(ranked) == 1 else len(ranked)
    owner, scores, texts = _flattened(ranked, size)
    answers = linear(texts, dtype=interpretations.dtype)
    if cost == "edit":
        costs = edit_distance(answers, by_owner(language.acceptor, owner)) if texts else scores
    else:
        priced = _cost_acceptor(function, cost, interpretations, language)
        costs = viterbi_score(compose(answers, by_owner(priced, owner))) if texts else scores
    return expected_cost(
        -as_table(scores, owner, size, k, -INF), as_table(costs, owner, size, k, 0.0), beta
    )


def _augmented(
    function: str,
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    cost: Cost,
    scale: float,
    latent: Latent,
    beta: float | Tensor,
) -> tuple[Energies, Energies] | tuple[Classes, Classes]:
    """The energies of the answers, and with cost(y) taken off E(y)."""
    check_latent(function, latent)
    scale = _positive(function, "scale", scale)
    if isinstance(interpretations, Tensor):
        classes = Classes(function, interpretations, correct, beta)
        reduced = classes.answers - scale * _class_costs(function, classes, cost)
        return classes, Classes(function, reduced, correct, beta)
    if not isinstance(interpretations, Graph):
        interpretations = lazy(function, "interpretations", interpretations)
    language = Language(function, interpretations, correct)
    costs = _cost_acceptor(function, cost, interpretations, language, scale)
    how = (language, latent, beta, _is_infinite(function, beta))
    return Energies(interpretations, *how), Energies(restricted(interpretations, costs), *how)


def _cost_acceptor(
    function: str, cost: Cost, graph: Graph | Lattice, language: Language, scale: float = 1.0
) -> Graph:
    """The batch of acceptors that score every answer by scale · cost."""
    if isinstance(cost, str) and cost in _BUILDERS:
        if language.single is None:
            raise ValueError(
                f"{function}: cost={cost!r} is made from one correct answer for each graph, as "
                f"gtnet.linear gives it, and correct is not a single chain: give cost as a Graph"
            )
        written = graph.olabels if isinstance(graph, Graph) else graph.operand.olabels
        labels = written[written >= 0]
        costs = _BUILDERS[cost](language.single, labels, dtype=graph.dtype)
    elif isinstance(cost, Graph | Lattice):
        costs = built(function, "cost", cost)
        if not costs.is_acceptor:
            raise ValueError(f"{function}: cost must be an acceptor, got a transducer: use project")
    else:
        raise ValueError(
            f'{function}: cost must be "mismatch", "hamming", "edit" or a Graph, got {cost!r}'
        )
    if scale == 1:
        return costs

    def scaled(scores: Tensor) -> Tensor:
        impossible = scores == -INF
        return (scores.masked_fill(impossible, 0) * scale).masked_fill(impossible, -INF)

    return costs.with_weights(
        scaled(costs.weights), start=scaled(costs.start), accept=scaled(costs.accept)
    )


def _class_costs(function: str, classes: Classes, cost: Cost) -> Tensor:
    """The cost of every class for every item, [batch, answers]."""
    shape = classes.answers.shape
    if isinstance(cost, Tensor):
        if cost.shape == (shape[1], shape[1]) and cost.shape != shape:
            cost = cost[classes.right]
        if cost.shape != shape:
            raise ValueError(
                f"{function}: cost must be [answers, answers] or [batch, answers] "
                f"({list(shape)}), got {list(cost.shape)}"
            )
        return cost
    if cost in ("mismatch", "hamming", "edit"):  # these agree for answers of one label
        return torch.ones_like(classes.answers).scatter(1, classes.right[:, None], 0)
    raise ValueError(f'{function}: cost must be "mismatch" or a tensor, got {cost!r}')


def _over(margin: Tensor) -> Tensor:
    return margin.clamp(min=0)


def _margins(plain: Energies, costly: Energies, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Σ max(0, E - E(y) + cost(y)) over the k answers for which it is greatest; for each item the
    least of these, and whether there are k.
    """
    right = plain.correct
    owner, scores, _ = _flattened(_ranked(costly.graph, k, costly.latent, costly.beta), len(right))
    table = as_table(scores, owner, len(right), k, -INF)
    margins = _over(gap(right[:, None], -table))
    total = margins.sum(1).masked_fill(right == INF, INF)
    return total, margins[:, -1].detach(), table[:, -1] > -INF


def _ranked(graph: Graph | Lattice, k: int, latent: Latent, beta: float | Tensor) -> list[Graph]:
    """The k best answers of each graph as batches of linear graphs."""
    if latent == "viterbi" or _is_infinite("best_answers", beta):
        return k_best(graph, k, unique="olabels")
    return best_answers(graph, k, beta=beta)


def _flattened(ranked: list[Graph], size: int) -> tuple[Tensor, Tensor, list[list[int]]]:
    """All answers, concatenated: the item each belongs to, its score and its labels."""
    if len(ranked) == 1 < size:
        ranked = ranked * size
    owner = torch.repeat_interleave(
        torch.arange(len(ranked)), torch.tensor([len(found) for found in ranked], dtype=torch.int64)
    )
    if not len(owner):
        return owner, torch.zeros(0), []
    paths = stack(ranked)
    return owner, viterbi_score(paths), label_sequences(paths)


def as_table(values: Tensor, owner: Tensor, size: int, k: int, fill: float) -> Tensor:
    """Concatenated values as rows [size, k], padded with `fill`."""
    counts = torch.bincount(owner, minlength=size)
    rank = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    return values.new_full((size, k), fill).index_put((owner, rank), values)


def by_owner(graph: Graph, owner: Tensor) -> Graph:
    return graph if len(graph) == 1 else graph[owner]


def expected_cost(energies: Tensor, costs: Tensor, beta: float | Tensor) -> Tensor:
    """Σ p(y) · cost(y) with p(y) in proportion to exp(-beta · E(y)); 0 where all are impossible."""
    impossible = energies == INF
    none = impossible.all(1, keepdim=True)
    if isinstance(beta, Tensor) and beta.ndim == 1:
        beta = beta[:, None]
    scores = energies.double().masked_fill(impossible, 0) * -beta
    chances = scores.masked_fill(impossible & ~none, -INF).softmax(1).masked_fill(none, 0)
    return (chances * costs).sum(1).to(energies.dtype)


def _at_least_one(function: str, k: int) -> int:
    if _checks.count(function, "k", k) == 0:
        raise ValueError(f"{function}: k must be at least 1, got 0")
    return int(k)
