"""Hidden Markov models beside hmmlearn: the best states and the likelihood of one long recording.

`python -m benchmarks.hidden_markov [--quick]` prints these cases alone; `make hmmlearn` installs
the peer first.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import torch
from torch import Tensor

import gtnet
from benchmarks.emissions import bigram
from benchmarks.timing import Case, Work, print_cases

SIZES = ((10_000, 32), (100_000, 8))  # frames, states


def hidden_markov_cases() -> Iterator[Case]:
    """Scores of every state in every frame are given: what is timed are the recursions."""
    for frames, states in SIZES:
        generator = torch.Generator().manual_seed(0)
        chances = torch.randn(states, states, generator=generator).log_softmax(1)
        scores = torch.randn(frames, states, generator=generator)
        model, emissions = (
            bigram(states).with_weights(chances.flatten()),
            gtnet.Emissions(scores[None]),
        )
        best, likelihood = hmmlearn_works(chances, scores)
        name, per = f"HMM T{frames:,} C{states}", frames * states**2

        def path(emissions: gtnet.Emissions = emissions, model: gtnet.Graph = model) -> None:
            gtnet.viterbi_path(emissions @ model)

        def total(emissions: gtnet.Emissions = emissions, model: gtnet.Graph = model) -> None:
            gtnet.forward_score(emissions @ model)

        yield Case(f"{name}: Viterbi path", path, best, per, "frame and arc")
        yield Case(f"{name}: likelihood", total, likelihood, per, "frame and arc")


def hmmlearn_works(chances: Tensor, scores: Tensor) -> tuple[dict[str, Work], dict[str, Work]]:
    """hmmlearn's decode, and its score in logarithms, as by default, and in scaled numbers.

    Its models compute the scores of states themselves; this one is given them.
    """
    if importlib.util.find_spec("hmmlearn") is None:
        return {}, {}
    from hmmlearn.base import BaseHMM

    class Given(BaseHMM):
        def _check(self) -> None:
            pass

        def _compute_log_likelihood(self, observed: object) -> object:
            return observed

    models = {}
    for implementation in ("log", "scaling"):
        model = Given(len(chances), implementation=implementation)
        model.startprob_ = torch.full((len(chances),), 1 / len(chances)).double().numpy()
        model.transmat_ = chances.double().softmax(1).numpy()
        models[implementation] = model
    observed = scores.double().numpy()
    return (
        {"hmmlearn": lambda: models["log"].decode(observed)},
        {
            "hmmlearn": lambda: models["log"].score(observed),
            "hmmlearn, scaling": lambda: models["scaling"].score(observed),
        },
    )


def main() -> None:
    """Print these cases."""
    print_cases("benchmarks.hidden_markov", __doc__, hidden_markov_cases)


if __name__ == "__main__":
    main()
