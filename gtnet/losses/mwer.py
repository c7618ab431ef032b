"""The minimum word error rate, estimated from answers that are drawn."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import named
from gtnet.best_answers import restricted
from gtnet.build import linear
from gtnet.distance import finite_temperature, forward_score, viterbi_score
from gtnet.edit_distance import edit_distance
from gtnet.graph import Graph, lazy
from gtnet.lattice import Lattice
from gtnet.losses.answers import Language, Latent, check_latent
from gtnet.losses.costs import as_table, by_owner, expected_cost
from gtnet.losses.elementwise import INF
from gtnet.paths import k_best, label_sequences, sample
from gtnet.sampling import sample_distinct


@named
def mwer_loss(
    interpretations: Graph | Lattice,
    correct: Any,
    *,
    n: int = 10,
    draw: Literal["distinct", "sample", "k_best"] = "distinct",
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The expected edit distance of a few answers, less their mean edit distance.

    Paths are drawn and those that write the same become one answer. Among these alone, drawn in
    proportion to exp(beta · score), the distance to the correct answer is expected; what an answer
    is above the mean is pushed down. `minimum_risk` takes all answers, `minimum_risk_k_best` the k
    best ones.

    Arguments: as `minimum_risk_k_best`; `n` >= 1 paths, which `draw` takes by `sample_distinct`, by
    `sample`, or as the best that write different labels; `latent`: an answer scores as its best
    path ("viterbi") or as all its paths ("forward"); `generator` as in `sample`.
    Result: [batch], at most 0 where better answers score higher; 0 where no answer is possible.
    Raises: as `minimum_risk_k_best`, and ValueError for another `draw`.
    Complexity: that of the draw, and for each answer a composition with `interpretations` and
    O(length²). Gradient: to the scores of the answers, not through the draw; as far as that of
    `forward_score`.
    Source: Prabhavalkar et al. 2018, "Minimum word error rate training for attention-based
    sequence-to-sequence models"; k2's and icefall's `mwer_loss`, which draw as "sample".
    """
    function = "mwer_loss"
    if not isinstance(interpretations, Graph):
        interpretations = lazy(function, "interpretations", interpretations)
    if draw not in ("distinct", "sample", "k_best"):
        raise ValueError(f'{function}: draw must be "distinct", "sample" or "k_best", got {draw!r}')
    check_latent(function, latent)
    finite_temperature(function, beta)
    if (n := _checks.count(function, "n", n)) == 0:
        raise ValueError(f"{function}: n must be at least 1, got 0")
    language = Language(function, interpretations, correct)
    texts = _texts(interpretations, n, draw, beta, generator)
    size = len(language.acceptor) if len(texts) == 1 else len(texts)
    texts = texts * size if len(texts) == 1 < size else texts
    owner = torch.tensor([i for i, row in enumerate(texts) for _ in row], dtype=torch.int64)
    every = [text for row in texts for text in row]
    if not every:
        return torch.zeros(size, dtype=interpretations.dtype)
    answers = linear(every, dtype=interpretations.dtype)
    own = interpretations if len(interpretations) == 1 else interpretations[owner]
    written = restricted(own, answers)
    scores = viterbi_score(written) if latent == "viterbi" else forward_score(written, beta)
    costs = edit_distance(answers, by_owner(language.acceptor, owner)).detach()
    counts = torch.bincount(owner, minlength=size).clamp(min=1)
    mean = costs.new_zeros(size).index_add(0, owner, costs) / counts
    most = max(map(len, texts))
    risk = expected_cost(
        -as_table(scores, owner, size, most, -INF), as_table(costs, owner, size, most, 0.0), beta
    )
    return risk - mean


def _texts(
    graph: Graph | Lattice,
    n: int,
    draw: str,
    beta: float | Tensor,
    generator: torch.Generator | None,
) -> list[list[list[int]]]:
    """Different label sequences of each graph."""
    with torch.no_grad():
        if draw == "k_best":
            paths = k_best(graph, n, unique="olabels")
        elif draw == "sample":
            paths = sample(graph, n, beta=beta, generator=generator)
        else:
            drawn = sample_distinct(graph, n, beta=beta, generator=generator)
            paths = [one.paths for one in drawn]
    rows = (map(tuple, label_sequences(own)) for own in paths)
    return [[list(text) for text in dict.fromkeys(row)] for row in rows]
