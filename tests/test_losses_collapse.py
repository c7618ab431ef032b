"""Which losses let a model collapse: all answers at one energy, nothing learnt, nothing to pay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gtnet import Graph, linear, losses


class Distance(nn.Module):
    """E(x, y) = |f(x) - g(y)|² with f and g learnt: constants for both make all energies 0."""

    def __init__(self) -> None:
        super().__init__()
        self.of_input = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
        self.of_answer = nn.Embedding(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(self.of_input(x), self.of_answer.weight).square()


def trained(name: str) -> tuple[float, float, float]:
    """How far apart the energies of the answers are before and after, and the accuracy.

    One label in four is wrong: no model satisfies all of them, and what is left to a loss without
    a margin is to pay nothing for any.
    """
    torch.manual_seed(0)
    x = torch.randn(30, 4)
    truth = (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0).long()
    x, truth = x.repeat(4, 1), truth.repeat(4)
    labels = torch.cat([(truth[:30] + 1) % 3, truth[30:]])
    model, loss = Distance(), losses.by_name(name)
    before = spread(model(x))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(250):
        optimizer.zero_grad()
        loss(model(x), labels).mean().backward()
        optimizer.step()
    energies = model(x)
    right = energies.argmin(1) == truth
    return before, spread(energies), right.float().mean().item()


def spread(energies: torch.Tensor) -> float:
    return (energies.max(1).values - energies.min(1).values).mean().item()


@pytest.mark.parametrize("name", ["energy", "perceptron"])
def test_losses_without_a_margin_collapse(name):
    before, after, accuracy = trained(name)
    assert after < 0.01 < 1 < before
    assert accuracy < 1


@pytest.mark.parametrize("name", ["hinge", "log", "nll", "square_square", "square_exp"])
def test_losses_with_a_margin_do_not(name):
    _, after, accuracy = trained(name)
    assert after > 0.5
    assert accuracy == 1


FLAT = {  # what three answers at one energy e cost, at the best e
    "perceptron": 0.0,
    "lvq2": 0.0,
    "hinge": 1.0,
    "log": math.log(2),
    "mce": 0.5,
    "square_square": 0.5,
    "square_exp": 0.8271844,  # e = W(1/2): 2e = exp(-e)
    "nll": math.log(3),
    "mee": 2 / 3,
    "structured_hinge": 1.0,
    "soft_margin": math.log(1 + 2 * math.e),
    "generalized_margin": 2.0,
    "minimum_risk": 2 / 3,
}


@pytest.mark.parametrize(("name", "least"), FLAT.items())
def test_what_equal_energies_cost(name, least):
    flat = [losses.by_name(name)(torch.full((1, 3), e / 100), [0]).item() for e in range(101)]
    assert min(flat) == pytest.approx(least, abs=1e-4)
    if least > 0:  # and there is something better
        apart = [
            losses.by_name(name)(torch.tensor([[low / 4, high / 4, high / 4]]), [0]).item()
            for low in range(-20, 4)
            for high in range(low + 1, 40)
        ]
        assert min(apart) < least - 0.1


MARGIN = ["hinge", "square_square", "structured_hinge", "generalized_margin"]


@pytest.mark.parametrize("latent", ["viterbi", "forward"])
@pytest.mark.parametrize("name", MARGIN)
def test_margins_of_graphs(name, latent):
    """Nothing to pay from the margin on; below it there is."""
    for apart, pays in ((0.9, True), (1.1, False)):
        weights = torch.tensor([0.0, -apart])
        graph = Graph([0, 0], [1, 1], [1, 2], weights=weights, accept=1)
        loss = losses.by_name(name, latent=latent)(graph, linear([1]))
        assert bool(loss > 0) == pays
