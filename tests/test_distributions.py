"""entropy, expectation, cross_entropy and kl_divergence against paths written out, and laws."""

from __future__ import annotations

import math

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close, automata
from test_distance import EMPTY, betas_as_tensors, scored
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import Graph, cross_entropy, entropy, expectation, forward_score, kl_divergence, stack

NEG_INF = float("-inf")
SEEDS = st.integers(0, 99)


def probabilities(automaton: oracle.Automaton, beta: float) -> dict[tuple[int, ...], float]:
    """Of every path, which is named by its first state and its arcs."""
    found = oracle.paths(automaton)
    total = oracle.log_sum([path.score for path in found], beta)
    return {(path.first, *path.arcs): math.exp(beta * (path.score - total)) for path in found}


def coin(p: float, dtype: torch.dtype = torch.float64) -> Graph:
    weights = torch.tensor([p, 1 - p], dtype=dtype).log()
    return Graph([0, 0], [1, 1], [0, 1], weights=weights, accept=1)


# Against enumeration


@given(strategies.graphs(), strategies.BETAS)
def test_entropy_of_the_paths(graph, beta):
    expected = [
        -sum(p * math.log(p) for p in probabilities(one, beta).values() if p > 0)
        for one in automata(graph)
    ]
    for form in betas_as_tensors(beta, graph):
        value = entropy(graph, form)
        assert (value.dtype, value.shape) == (graph.dtype, (len(graph),))
        assert_close(value, expected)


@given(strategies.graphs(), strategies.BETAS, st.sampled_from([None, 1, 3]))
def test_expectation_of_features(graph, beta, width):
    shape = (graph.num_arcs,) if width is None else (graph.num_arcs, width)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(graph.dtype)
    expected = []
    for one in automata(graph):
        total = torch.zeros(shape[1:], dtype=torch.float64)
        for (_, *arcs), p in probabilities(one, beta).items():
            total = total + p * features[arcs].double().sum(0)
        expected.append(total)
    value = expectation(graph, features, beta)
    assert (value.dtype, value.shape) == (graph.dtype, (len(graph), *shape[1:]))
    torch.testing.assert_close(value.double(), torch.stack(expected), rtol=1e-5, atol=1e-5)


@given(strategies.graphs(), SEEDS, strategies.BETAS, st.booleans())
def test_divergences_of_two_sets_of_scores(graph, seed, beta, impossible):
    p = strategies.with_random_scores(graph, seed)
    q = strategies.with_random_scores(graph, seed + 1)
    if impossible and graph.num_arcs:
        weights = q.weights.clone()
        weights[0] = NEG_INF
        q = q.with_weights(weights)
    crossed, divergences = [], []
    for ours, theirs in zip(automata(p), automata(q), strict=True):
        of_p, of_q = probabilities(ours, beta), probabilities(theirs, beta)
        gone = any(of_q.get(path, 0) == 0 for path in of_p)
        pairs = [(of_p[path], of_q.get(path, 1.0)) for path in of_p]
        crossed.append(math.inf if gone else -sum(a * math.log(b) for a, b in pairs))
        divergences.append(math.inf if gone else sum(a * math.log(a / b) for a, b in pairs))
    torch.testing.assert_close(
        cross_entropy(p, q, beta), torch.tensor(crossed).double(), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        kl_divergence(p, q, beta), torch.tensor(divergences).double(), rtol=1e-6, atol=1e-6
    )


# Laws


def test_known_values():
    assert entropy(coin(0.5)).item() == pytest.approx(math.log(2))
    assert entropy(gtnet.linear([1, 2, 3])).item() == 0
    p, q = 0.3, 0.8
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert kl_divergence(coin(p), coin(q)).item() == pytest.approx(expected)
    assert cross_entropy(coin(p), coin(p)).item() == pytest.approx(entropy(coin(p)).item())


def test_entropy_of_a_geometric_distribution():
    p = 0.3
    graph = Graph([0], [0], [0], weights=torch.tensor([math.log(p)], dtype=torch.float64), accept=0)
    expected = -math.log(1 - p) - p / (1 - p) * math.log(p)
    assert entropy(graph).item() == pytest.approx(expected)
    assert expectation(graph, torch.ones(1).double()).item() == pytest.approx(p / (1 - p))
    other = graph.with_weights(torch.tensor([math.log(0.6)], dtype=torch.float64))
    divergence = p / (1 - p) * math.log(p / 0.6) + math.log((1 - p) / 0.4)
    assert kl_divergence(graph, other).item() == pytest.approx(divergence)


@given(strategies.graphs(acyclic=False), SEEDS, strategies.BETAS)
def test_entropy_is_the_score_less_the_expected_score(graph, seed, beta):
    graph = strategies.with_random_scores(graph, seed)
    graph = graph.with_weights(graph.weights - 5 / min(beta, 1))
    # Scores of arcs alone count.
    flat = graph.with_weights(
        start=graph.start.masked_fill(graph.start > NEG_INF, 0),
        accept=graph.accept.masked_fill(graph.accept > NEG_INF, 0),
    )
    score = forward_score(flat, beta)
    expected = beta * (score - expectation(flat, flat.weights, beta))
    expected = expected.masked_fill(score == NEG_INF, 0)
    torch.testing.assert_close(entropy(flat, beta), expected, rtol=1e-8, atol=1e-8)


@given(strategies.graphs(), SEEDS)
def test_divergence_of_a_distribution_from_itself_is_zero(graph, seed):
    graph = strategies.with_random_scores(graph, seed)
    shifted = graph.with_weights(start=graph.start + 3)
    assert kl_divergence(graph, graph).tolist() == [0.0] * len(graph)
    assert_close(kl_divergence(graph, shifted), [0.0] * len(graph))
    other = strategies.with_random_scores(graph, seed + 7)
    divergence = kl_divergence(graph, other)
    assert bool((divergence > -1e-12).all())
    assert_close(cross_entropy(graph, other) - entropy(graph), divergence.tolist())


def test_large_scores_cost_no_precision():
    for scale in (1e8, -1e8):
        graph = coin(0.25, torch.float32)
        moved = stack([Graph([0, 1, 1], [1, 2, 2], [0, 0, 1], accept=2)])
        moved = moved.with_weights(torch.cat([torch.tensor([scale]), graph.weights]))
        assert entropy(moved).item() == pytest.approx(entropy(coin(0.25)).item(), rel=1e-6)


# Derivatives


@settings(max_examples=6)
@given(strategies.graphs(size=1, max_arcs=5), SEEDS, st.booleans())
def test_gradcheck_and_gradgradcheck(graph, seed, cyclic):
    if cyclic and graph.num_states:
        graph = Graph(
            torch.cat([graph.source, graph.target]),
            torch.cat([graph.target, graph.source]),
            torch.cat([graph.ilabels, graph.ilabels]),
            weights=torch.cat([graph.weights, graph.weights]) - 5,
            start=graph.start,
            accept=graph.accept,
        )
    inputs, put = scored(strategies.with_random_scores(graph, seed))
    if cyclic:
        with torch.no_grad():
            inputs[0] -= 4
    beta = torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    other = strategies.with_random_scores(graph, seed + 1)
    other = other.with_weights(other.weights - 4) if cyclic else other
    features = torch.randn(graph.num_arcs, 2, dtype=torch.float64).requires_grad_()
    functions = [
        lambda b, f, g: entropy(g, b),
        lambda b, f, g: expectation(g, f, b),
        lambda b, f, g: kl_divergence(g, other, b),
        lambda b, f, g: cross_entropy(other, g, b),
    ]
    for function in functions:

        def of_scores(b, f, *scores, function=function):
            return function(b, f, put(*scores))

        assert gradcheck(of_scores, (beta, features, *inputs))
        assert gradgradcheck(of_scores, (beta, features, *inputs), fast_mode=True)


def test_gradient_of_an_expectation_is_a_covariance():
    weights = torch.tensor([0.2, -0.3, 0.5], dtype=torch.float64, requires_grad=True)
    graph = Graph([0] * 3, [1] * 3, [0, 1, 2], weights=weights, accept=1)
    features = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    expectation(graph, features).backward()
    p = weights.detach().softmax(0)
    torch.testing.assert_close(weights.grad, p * (features - (p * features).sum()))


# Edges


@pytest.mark.parametrize("kind", EMPTY)
def test_empty_languages_count_nothing(kind):
    batch = stack([coin(0.5).to(torch.float32), EMPTY[kind]()]).requires_grad_()
    ones = torch.ones(batch.num_arcs)
    assert_close(entropy(batch), [math.log(2), 0.0])
    assert_close(expectation(batch, ones), [1.0, 0.0])
    assert_close(kl_divergence(batch, batch), [0.0, 0.0])
    (entropy(batch) + expectation(batch, ones) + cross_entropy(batch, batch)).sum().backward()
    for tensor in (batch.weights, batch.start, batch.accept):
        assert bool(tensor.grad.isfinite().all())


def test_what_q_cannot_is_infinitely_surprising_without_a_gradient():
    p, q = coin(0.5).requires_grad_(), coin(1.0)
    for function in (cross_entropy, kl_divergence):
        value = function(p, q)
        assert value.tolist() == [math.inf]
        value.backward()
        assert p.weights.grad.tolist() == [0.0, 0.0]
    assert kl_divergence(q, p).item() == pytest.approx(math.log(2))


def test_impossible_features_of_impossible_arcs_do_not_count():
    graph = coin(1.0)
    assert expectation(graph, torch.tensor([2.0, NEG_INF]).double()).tolist() == [2.0]


def test_batches_of_no_graphs():
    none = gtnet.linear([1])[0:0]
    for value in (entropy(none), kl_divergence(none, none), expectation(none, none.weights)):
        assert value.shape == (0,)


def test_bad_arguments_are_named():
    graph, other = gtnet.linear([1, 2]), gtnet.linear([1, 2, 3])
    turned = Graph([1, 0], [2, 1], [1, 2], accept=2)
    with pytest.raises(ValueError, match="kl_divergence: p has 3 states, q has 4"):
        kl_divergence(graph, other)
    with pytest.raises(ValueError, match="cross_entropy: p and q have different source"):
        cross_entropy(graph, turned)
    with pytest.raises(TypeError, match=r"kl_divergence: .*p torch.float32, q torch.float64"):
        kl_divergence(graph, graph.to(torch.float64))
    with pytest.raises(TypeError, match=r"entropy: graph must be a Graph"):
        entropy(3)
    with pytest.raises(ValueError, match=r"entropy: beta must be finite"):
        entropy(graph, math.inf)
    with pytest.raises(ValueError, match=r"expectation: features .*\[2\] or \[2, n\], got \[3\]"):
        expectation(graph, torch.ones(3))
    with pytest.raises(TypeError, match=r"expectation: .*features torch.float64"):
        expectation(graph, torch.ones(2).double())
    with pytest.raises(TypeError, match=r"expectation: features must be a tensor, got list"):
        expectation(graph, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"expectation: features must not hold NaN"):
        expectation(graph, torch.tensor([1.0, math.nan]))


def test_divergent_sums_are_refused():
    graph = Graph([0], [0], [0], accept=0)
    with pytest.raises(ValueError, match=r"entropy: graph 0 .*infinity"):
        entropy(graph)
