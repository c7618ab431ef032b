"""The energies that losses are made of: of the correct answer, the most offending one, and all."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtnet._memory import named
from gtnet.best_answers import MAX_PREFIXES, restricted
from gtnet.determinize import determinize
from gtnet.distance import _is_infinite, forward_score, viterbi_score
from gtnet.graph import Graph, lazy
from gtnet.losses.answers import Language, Latent, check_latent, offending
from gtnet.losses.classes import Classes
from gtnet.rational import project

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def energies(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
) -> Energies | Classes:
    """The energies of the answers that a graph writes, or of the classes of a classifier.

    The energy of an answer is minus its score: the score of the best of its paths, or their
    forward score at inverse temperature beta. The paths that write one answer (its segmentations,
    its alignments) are the values of a latent variable, minimized over or marginalized.

    Arguments:
        interpretations: a batch of graphs of everything legal, acceptors or transducers, `Lattice`
            included, whose outputs are the answers. Or plain energies [batch, answers], float32
            or float64, +inf for an impossible answer.
        correct: acceptors of the correct answers, over the output labels of `interpretations`,
            taken as languages (their scores do not count; of a transducer, what it writes); a
            batch of equal size, or of size 1. If one accepts several answers, all of them are
            correct and E is the energy of all their paths. For plain energies the index of the
            correct answer, integers [batch].
        latent: "viterbi" or "forward"; plain energies have no latent variable.
        beta: inverse temperature of F and of latent="forward", as in `forward_score`.
    Result: attributes `correct` (E), `offending` (Ē), `least` and `free` (F), each [batch] and
    computed when first asked for; see `Energies`.
    Raises: ValueError or TypeError for wrong shapes, batches, names, NaN, and energies of -inf.
    Complexity: E: a composition and a sweep over it. Ē: as `most_offending`. F with "forward": a
    sweep over all paths; with "viterbi": a determinization, exponential at worst.
    Gradient: to the scores of `interpretations`, along the path or by the posteriors.
    Source: LeCun, Chopra, Hadsell, Ranzato & Huang 2006, "A Tutorial on Energy-Based Learning".
    """
    return energies_of("energies", interpretations, correct, latent, beta)


def energies_of(
    function: str,
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    latent: Latent,
    beta: float | Tensor,
) -> Energies | Classes:
    """`energies` whose errors name another function."""
    check_latent(function, latent)
    if isinstance(interpretations, Tensor):
        return Classes(function, interpretations, correct, beta)
    if not isinstance(interpretations, Graph):
        interpretations = lazy(function, "interpretations", interpretations)
    language = Language(function, interpretations, correct)
    return Energies(interpretations, language, latent, beta, _is_infinite(function, beta))


class Energies:
    """The energies of the answers of a batch of graphs, each [batch].

    Where nothing is possible an energy is +inf, without a gradient.
    """

    def __init__(
        self,
        graph: Graph | Lattice,
        language: Language,
        latent: Latent,
        beta: float | Tensor,
        cold: bool,
    ) -> None:
        self.graph, self.latent, self.beta = graph, latent, beta
        self._language = language
        self._best_only, self._cold = latent == "viterbi" or cold, cold

    @cached_property
    def correct(self) -> Tensor:
        """E, the energy of the correct answer."""
        right = restricted(self.graph, self._language.acceptor)
        return -(viterbi_score(right) if self._best_only else forward_score(right, self.beta))

    @cached_property
    def offending(self) -> Tensor:
        """Ē, the least energy of an incorrect answer."""
        how = (self.latent, self.beta, MAX_PREFIXES)
        return offending(self.graph, self._language, *how).energy

    @cached_property
    def least(self) -> Tensor:
        """The least energy of all answers, the correct one among them."""
        if self._best_only:
            return -viterbi_score(self.graph).expand(len(self.correct))
        return torch.minimum(self.correct, self.offending)

    @cached_property
    def free(self) -> Tensor:
        """F = -1/beta · log Σ exp(-beta · E(y)) over all answers y."""
        if self._cold:
            return self.least
        graph = self.graph
        if self.latent == "viterbi":
            graph = determinize(project(graph, "output"), semiring="tropical")
        return -forward_score(graph, self.beta).expand(len(self.correct))
