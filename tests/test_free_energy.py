"""Free energies and the bound that any distribution over the same paths gives."""

from __future__ import annotations

import math

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BETAS, graphs, with_random_scores

from gtnet import (
    Graph,
    forward_score,
    free_energy,
    linear,
    posteriors,
    stack,
    variational_bound,
    viterbi_score,
)


def fan(*scores: float) -> Graph:
    weights = torch.tensor(scores, dtype=torch.float64)
    return Graph(
        [0] * len(scores), [1] * len(scores), range(len(scores)), weights=weights, accept=1
    )


def test_limits_in_temperature():
    graph = fan(1.0, 2.0, 2.5)
    assert free_energy(graph, math.inf).tolist() == [-2.5]
    assert free_energy(graph, 1e4).item() == pytest.approx(-2.5)
    cold = free_energy(graph, 1e-6).item() + math.log(3) / 1e-6
    assert cold == pytest.approx(-(1 + 2 + 2.5) / 3, abs=1e-5)  # the mean energy of the paths
    assert free_energy(fan(7.0), 1e-6).item() == pytest.approx(-7)


def test_its_gradient_is_minus_the_posteriors():
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)
    graph = fan(0, 0, 0).with_weights(weights)
    (grad,) = torch.autograd.grad(free_energy(graph, 0.7), weights)
    torch.testing.assert_close(grad, -posteriors(graph, 0.7).detach())
    assert torch.autograd.gradgradcheck(
        lambda w: free_energy(fan(0, 0, 0).with_weights(w), 0.7), (weights,)
    )


def enumerated(graph: Graph, q: Graph, beta: float) -> list[float]:
    """Σ q(path) (E(path) + log q(path) / beta)."""
    bounds = []
    for one, other in zip(oracle.automata(graph), oracle.automata(q), strict=True):
        energies = {(*path.arcs, path.first): -path.score for path in oracle.paths(one)}
        scores = {(*path.arcs, path.first): path.score for path in oracle.paths(other)}
        total = math.log(sum(math.exp(score) for score in scores.values())) if scores else 0.0
        bound = math.inf if not scores else 0.0
        for path, score in scores.items():
            energy = energies.get(path, math.inf)
            bound += math.exp(score - total) * (energy + (score - total) / beta)
        bounds.append(bound)
    return bounds


@given(graphs(), st.integers(0, 1000), BETAS)
def test_the_bound_is_a_bound(graph, seed, beta):
    graph = with_random_scores(graph, seed)
    q = with_random_scores(graph, seed + 1)
    bound = variational_bound(graph, q, beta)
    assert bound.tolist() == pytest.approx(enumerated(graph, q, beta), abs=1e-9)
    assert (bound >= free_energy(graph, beta) - 1e-9).all()
    posterior = graph.with_weights(
        beta * graph.weights, start=beta * graph.start, accept=beta * graph.accept
    )
    torch.testing.assert_close(variational_bound(graph, posterior, beta), free_energy(graph, beta))


def test_a_path_that_the_graph_has_not_costs_infinity():
    graph = fan(1.0, -math.inf)
    assert variational_bound(graph, fan(0.0, 0.0)).tolist() == [math.inf]
    assert variational_bound(graph, fan(0.0, -math.inf)).tolist() == [-1]
    drawn = variational_bound(graph, fan(-9.0, 9.0), samples=20)
    assert drawn.tolist() == [math.inf]


def test_samples_estimate_the_bound_and_its_gradient():
    graph = stack([fan(1.0, 2.0, 2.5), fan(0.0, 3.0, -1.0)])
    scores = torch.tensor([0.5, 0.0, 1.0, 2.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    exact = variational_bound(graph, graph.with_weights(scores), 0.8)
    (grad,) = torch.autograd.grad(exact.sum(), scores)
    generator = torch.Generator().manual_seed(0)
    drawn = variational_bound(
        graph, graph.with_weights(scores), 0.8, samples=40_000, generator=generator
    )
    (estimate,) = torch.autograd.grad(drawn.sum(), scores)
    torch.testing.assert_close(drawn, exact, atol=0.02, rtol=0)
    torch.testing.assert_close(estimate, grad, atol=0.02, rtol=0)


@pytest.mark.parametrize("samples", [2, 50])
def test_energy_that_all_paths_share_adds_no_noise_to_estimated_gradients(samples):
    scores = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    grads = []
    for shared in (0.0, 1000.0):
        graph = fan(1.0 + shared, 2.0 + shared, 2.5 + shared)
        generator = torch.Generator().manual_seed(0)
        bound = variational_bound(
            graph, graph.with_weights(scores), samples=samples, generator=generator
        )
        grads += torch.autograd.grad(bound.sum(), scores)
    torch.testing.assert_close(grads[1], grads[0], rtol=0, atol=1e-9)


def test_minimizing_the_bound_finds_the_posterior():
    graph = fan(1.0, 2.0, 2.5)
    scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=50)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = variational_bound(graph, graph.with_weights(scores), 2.0).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(scores.softmax(0), (2 * graph.weights).softmax(0), atol=1e-4, rtol=0)


def test_empty_languages_and_errors():
    nothing = Graph([0], [1], [1], accept=[])
    assert free_energy(nothing).tolist() == [math.inf]
    assert variational_bound(nothing, nothing).tolist() == [math.inf]
    assert variational_bound(nothing, nothing, samples=3).tolist() == [math.inf]
    one = linear([1, 2])
    assert torch.equal(free_energy(one), -forward_score(one))
    assert torch.equal(free_energy(one, math.inf), -viterbi_score(one))
    with pytest.raises(ValueError, match="graph has 3 states, q has 2: make q with graph"):
        variational_bound(one, linear([1]))
    with pytest.raises(ValueError, match="samples must be positive"):
        variational_bound(one, one, samples=0)
    with pytest.raises(ValueError, match="beta must be finite"):
        variational_bound(one, one, math.inf)
