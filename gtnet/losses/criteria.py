"""The four criteria by which graph transformer networks were first trained.

LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
section VI. Each is a loss of the energy-based family under a choice of how paths are reduced:
the best of them, or their forward score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from gtnet._memory import named
from gtnet.graph import Graph
from gtnet.losses.elementwise import gap
from gtnet.losses.energies import energies_of

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@named
def viterbi(interpretations: Graph | Lattice | Tensor, correct: Any) -> Tensor:
    """The energy of the best path of the correct answer: constrained Viterbi training.

    `energy` with latent="viterbi": can collapse. Source: section VI-A.
    """
    return energies_of("viterbi", interpretations, correct, "viterbi", 1.0).correct


@named
def discriminative_viterbi(interpretations: Graph | Lattice | Tensor, correct: Any) -> Tensor:
    """The energy of the best correct path minus that of the best path of all.

    `perceptron` with latent="viterbi": no margin. Source: section VI-B.
    """
    e = energies_of("discriminative_viterbi", interpretations, correct, "viterbi", 1.0)
    return gap(e.correct, e.least).clamp(min=0)


@named
def forward(
    interpretations: Graph | Lattice | Tensor, correct: Any, beta: float | Tensor = 1.0
) -> Tensor:
    """Minus the forward score of the correct answer, over all of its paths.

    `energy` with latent="forward": can collapse. Source: section VI-C.
    """
    return energies_of("forward", interpretations, correct, "forward", beta).correct


@named
def discriminative_forward(
    interpretations: Graph | Lattice | Tensor, correct: Any, beta: float | Tensor = 1.0
) -> Tensor:
    """The difference of two forward scores: all interpretations minus the correct ones.

    `nll` with latent="forward": minus the log of the probability of the correct answer, divided
    by beta, when paths are drawn in proportion to exp(beta · score). Never negative.

    Result: [batch]; +inf where the correct answer is impossible, without a gradient.
    Gradient: posteriors under all paths minus posteriors under the correct ones.
    Complexity: O(states + arcs), and a composition. Source: section VI-D.
    """
    e = energies_of("discriminative_forward", interpretations, correct, "forward", beta)
    return gap(e.correct, e.free).clamp(min=0)
