"""Paths drawn without replacement, by strata, under noise, relaxed; and sparse mixtures."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import NEG_INF, automata, only, paths
from test_distance import SEEDS, scored
from test_openfst import random_graph
from torch.autograd import gradcheck

import gtnet
from gtnet import (
    EPSILON,
    Graph,
    perturb_and_map,
    relaxed_sample,
    sample_distinct,
    sample_stratified,
    sparse_map,
    stack,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph_of_three() -> Graph:
    """Paths of 0, 1 and 2 arcs, one through an epsilon, with two starts and two ends."""
    return Graph(
        [0, 0, 1], [1, 2, 2], [0, EPSILON, 1], [1, 2, EPSILON],
        torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64), start={0: 0.0, 2: -0.4},
        accept={2: 0.2, 1: -1.0},
    )  # fmt: skip


def batch() -> Graph:
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    loop = Graph([0, 0], [0, 1], [0, 1], None, [-1.0, 0.0], accept=1).to(torch.float64)
    return stack([graph_of_three(), nothing, loop])


def taken(paths_: Graph) -> list[tuple[int, ...]]:
    """The arcs of each linear graph."""
    ends = paths_.arc_offsets.tolist()
    arcs = paths_.arc_maps[0].tolist()
    return [tuple(arcs[a:b]) for a, b in pairwise(ends)]


def exact(automaton) -> dict[tuple[tuple[int, ...], int], float]:
    """The probability of each path: of its arcs and its first state."""
    found = paths(automaton)
    total = math.log(sum(math.exp(p.score) for p in found))
    return {(p.arcs, p.first): math.exp(p.score - total) for p in found}


# Without replacement


def test_all_paths_are_drawn_once_with_their_probabilities():
    for graph in (graph_of_three(), random_graph(random.Random(5))):
        expected = exact(only(graph))
        (drawn,) = sample_distinct(graph, 1000, generator=seeded())
        assert Counter(taken(drawn.paths)) == Counter(arcs for arcs, _ in expected)
        assert drawn.log_probability.exp().sum().item() == pytest.approx(1)
        assert sorted(drawn.log_probability.exp().tolist()) == pytest.approx(
            sorted(expected.values())
        )
        assert drawn.threshold.item() == NEG_INF
        assert torch.equal(drawn.perturbed, drawn.perturbed.sort(descending=True).values)
        assert torch.allclose(drawn.weights, drawn.log_probability.exp())


def test_batches_cycles_and_empty_languages():
    first, nothing, loop = sample_distinct(batch(), 3, generator=seeded())
    assert [len(d.paths) for d in (first, nothing, loop)] == [3, 0, 3]
    assert len(set(taken(loop.paths))) == 3
    lengths = loop.paths.arc_offsets.diff()
    p = 1 - math.exp(-1)
    expected = torch.tensor([p * math.exp(-(n - 1)) for n in lengths.tolist()]).double()
    assert torch.allclose(loop.log_probability.exp(), expected)
    again = sample_distinct(batch(), 3, generator=seeded())
    assert torch.equal(again[2].perturbed, loop.perturbed)
    assert [len(d.paths) for d in sample_distinct(batch(), 0)] == [0, 0, 0]
    assert sample_distinct(batch()[:0], 2) == []


def test_draws_are_those_of_a_sequence_without_replacement():
    """Frequencies of ordered pairs, and an unbiased estimate of an expectation."""
    graph = graph_of_three()
    expected = exact(only(graph))
    by_arcs = {arcs: p for (arcs, _), p in expected.items()}
    times = 1200
    many = sample_distinct(stack([graph] * times), 2, generator=seeded(1))
    shift = graph.num_arcs
    pairs = Counter(
        tuple(tuple(a - i * shift for a in arcs) for arcs in taken(d.paths))
        for i, d in enumerate(many)
    )
    for (one, other), count in pairs.items():
        p = by_arcs[one] * by_arcs[other] / (1 - by_arcs[one])
        assert abs(count / times - p) < 5 * math.sqrt(p * (1 - p) / times)
    lengths = [float((d.weights * d.paths.arc_offsets.diff()).sum()) for d in many]
    mean = sum(len(arcs) * p for arcs, p in by_arcs.items())
    spread = torch.tensor(lengths).std() / math.sqrt(times)
    assert abs(sum(lengths) / times - mean) < 5 * spread


def test_temperatures_and_gradients_of_distinct_paths():
    graph = stack([graph_of_three(), graph_of_three()])
    beta = torch.tensor([1.0, 2.0], dtype=torch.float64)
    inputs, put = scored(graph)

    def found(*given):
        *scores, at = given
        drawn = sample_distinct(put(*scores), 2, beta=at, generator=seeded(2))
        return torch.cat([d.log_probability for d in drawn])

    assert gradcheck(found, (*inputs, beta.requires_grad_()))
    hot = sample_distinct(graph, 9, beta=beta.detach(), generator=seeded(3))
    sums = [d.log_probability.exp().sum().item() for d in hot]
    assert sums == pytest.approx([1, 1])


# Strata


def test_strata_cover_the_paths_evenly():
    n = 64
    for seed, graph in enumerate((graph_of_three(), random_graph(random.Random(5)))):
        counts: Counter = Counter()
        (drawn,) = sample_stratified(graph, n, generator=seeded(seed))
        counts.update(taken(drawn))
        expected: Counter = Counter()
        for (arcs, _), p in exact(only(graph)).items():
            expected[arcs] += p
        assert set(counts) <= set(expected)
        assert all(abs(counts[a] - n * p) <= 2 * len(expected) for a, p in expected.items())
        assert len(drawn) == n


def test_strata_are_unbiased_around_long_cycles():
    """Digits run out after some fifty steps, and are drawn anew."""
    loop = Graph([0, 0, 0], [0, 0, 1], [0, 1, 2], None, [-1.0, -1.0, -1.3], accept=1)
    loop = gtnet.push(loop.to(torch.float64))
    drawn = sample_stratified(stack([loop] * 40), 50, generator=seeded(4))
    lengths = torch.cat([d.arc_offsets.diff() for d in drawn]).double()
    stop = float(loop.weights[2].exp())
    spread = math.sqrt(1 - stop) / stop / math.sqrt(len(lengths))
    assert abs(float(lengths.mean()) - 1 / stop) < 5 * spread
    sides = torch.cat([d.ilabels for d in drawn])
    assert abs((sides == 0).double().mean() - (sides == 1).double().mean()) < 0.05
    sizes = [len(d) for d in sample_stratified(batch(), 3, generator=seeded())]
    assert sizes == [3, 0, 3]
    assert [len(d) for d in sample_stratified(batch(), 0)] == [0, 0, 0]


def test_paths_beyond_max_arcs_are_refused():
    for function in (sample_distinct, sample_stratified):
        with pytest.raises(ValueError, match=rf"{function.__name__}: .*max_arcs=5"):
            function(batch(), 4, max_arcs=5)


# Noise


def test_separate_paths_are_drawn_by_their_probability():
    """One arc each: the Gumbel-max trick is exact."""
    weights = torch.tensor([0.0, 1.0, -0.5], dtype=torch.float64)
    graph = Graph([0, 0, 0], [1, 1, 1], [0, 1, 2], None, weights, accept=1)
    (drawn,) = perturb_and_map(graph, 800, temperature=2.0, generator=seeded())
    chances = (weights / 2).softmax(0)
    counts = torch.bincount(drawn.arc_maps[0].long(), minlength=3) / 800
    assert ((counts - chances).abs() < 5 * (chances * (1 - chances) / 800).sqrt()).all()
    cold = perturb_and_map(graph, 5, temperature=1e-6, generator=seeded())[0]
    assert torch.equal(cold.arc_maps[0], torch.ones(5, dtype=torch.int32))


def test_perturbed_paths_of_batches():
    graph = gtnet.stack([graph_of_three(), batch()[1], random_graph(random.Random(5))])
    drawn = perturb_and_map(graph, 7, generator=seeded())
    assert [len(d) for d in drawn] == [7, 0, 7]
    all_paths = [{p.arcs: p for p in paths(one)} for one in automata(graph)]
    for own, known in zip(drawn, all_paths):
        assert set(taken(own)) <= known.keys()
    assert [len(d) for d in perturb_and_map(graph, 0)] == [0, 0, 0]
    leaf = graph.detach().requires_grad_()
    gtnet.viterbi_score(perturb_and_map(leaf, 3, generator=seeded())[0]).sum().backward()
    assert leaf.weights.grad.sum() == sum(
        len(arcs) for arcs in taken(perturb_and_map(graph, 3, generator=seeded())[0])
    )


def test_cycles_under_noise_are_refused():
    with pytest.raises(ValueError, match="perturb_and_map: graph 2 has a cycle"):
        perturb_and_map(batch(), 1)
    with pytest.raises(ValueError, match="perturb_and_map: temperature must be positive"):
        perturb_and_map(graph_of_three(), 1, temperature=0.0)


def test_relaxed_paths_become_the_best_under_the_noise():
    graph = stack([graph_of_three(), batch()[1]])
    soft = relaxed_sample(graph, 3, temperature=0.7, generator=seeded())
    assert soft.shape == (3, graph.num_arcs)
    assert ((soft >= 0) & (soft <= 1 + 1e-12)).all()
    cold = relaxed_sample(graph, 3, temperature=1e-3, generator=seeded())
    hard = relaxed_sample(graph, 3, temperature=0.7, hard=True, generator=seeded())
    assert torch.allclose(cold, hard, atol=1e-6)
    assert relaxed_sample(graph, 0).shape == (0, graph.num_arcs)
    inputs, put = scored(graph)

    def relaxed(*scores):
        return relaxed_sample(put(*scores), 2, temperature=0.7, generator=seeded())

    assert gradcheck(relaxed, inputs)
    straight = relaxed_sample(put(*inputs), 2, temperature=0.7, hard=True, generator=seeded())
    slope = torch.linspace(0, 1, graph.num_arcs, dtype=torch.float64)
    ours = torch.autograd.grad((straight * slope).sum(), inputs[0])[0]
    theirs = torch.autograd.grad((relaxed(*inputs) * slope).sum(), inputs[0])[0]
    assert torch.equal(ours, theirs)


# Sparse mixtures


def assert_optimal(graph: Graph, temperature: float) -> None:
    """No path leads uphill from the mixture: what a concave maximum over a polytope is."""
    found = sparse_map(graph, temperature=temperature)
    for i, automaton in enumerate(automata(graph)):
        known = paths(automaton)
        chances = found.probabilities[i].double()
        assert len(found.paths[i]) == len(chances) and bool(known) == bool(len(chances))
        if not known:
            continue
        assert chances.sum().item() == pytest.approx(1)
        assert (chances > 0).all()
        mean: Counter = Counter()
        active = []
        rows = found.paths[i]
        ends = rows.state_offsets.tolist()
        for k, (arcs, chance) in enumerate(zip(taken(rows), chances.tolist())):
            (path,) = {
                p for p in known if p.arcs == arcs
                and automaton.start[p.first] == rows.start[ends[k]].item()
                and automaton.accept[p.last] == rows.accept[ends[k + 1] - 1].item()
            }  # fmt: skip
            active.append(path)
            for place in [*path.arcs, ("in", path.first), ("out", path.last)]:
                mean[place] += chance

        def uphill(path, mean=mean):
            places = [*path.arcs, ("in", path.first), ("out", path.last)]
            return path.score / temperature - sum(mean[place] for place in places)

        level = [uphill(path) for path in active]
        assert level == pytest.approx([max(map(uphill, known))] * len(active), abs=1e-6)
        own = found.arcs[automaton.first_arc : automaton.first_arc + len(automaton.arcs)]
        assert own.tolist() == pytest.approx([mean[arc.index] for arc in automaton.arcs], abs=1e-6)


@settings(max_examples=12)
@given(strategies.graphs(max_arcs=10), SEEDS)
def test_mixtures_are_optimal(graph, seed):
    assert_optimal(strategies.with_random_scores(graph, seed), 1.0)


def sparsemax(scores: torch.Tensor) -> torch.Tensor:
    """Martins & Astudillo 2016, algorithm 1."""
    ordered = scores.sort(descending=True).values
    sums = ordered.cumsum(0)
    count = int((1 + torch.arange(1, len(scores) + 1) * ordered > sums).sum())
    return (scores - (sums[count - 1] - 1) / count).clamp(min=0)


def test_parallel_arcs_are_sparsemax():
    scores = torch.tensor([0.4, 1.0, -3.0, 0.7, 0.5], dtype=torch.float64)
    graph = Graph([0] * 5, [1] * 5, range(5), None, scores, accept=1)
    for temperature in (0.2, 1.0, 5.0):
        found = sparse_map(graph, temperature=temperature)
        assert torch.allclose(found.arcs, sparsemax(scores / temperature))
        assert len(found.paths[0]) == int((sparsemax(scores / temperature) > 0).sum())


def test_mixtures_follow_the_scores():
    graph = strategies.with_random_scores(stack([graph_of_three(), batch()[1]]), 3)
    inputs, put = scored(graph)

    def arcs(*scores):
        return sparse_map(put(*scores), temperature=2.0).arcs

    def chances(*scores):
        return torch.cat(sparse_map(put(*scores), temperature=2.0).probabilities)

    assert gradcheck(arcs, inputs)
    assert gradcheck(chances, inputs)
    assert chances(*inputs).sum().item() == pytest.approx(1)


def test_what_sparse_map_refuses():
    with pytest.raises(ValueError, match="sparse_map: graph 2 has a cycle"):
        sparse_map(batch())
    with pytest.raises(ValueError, match="sparse_map: the paths are not found within max_rounds=1"):
        sparse_map(graph_of_three(), temperature=9.0, max_rounds=1)
    assert sparse_map(graph_of_three()[:0]).paths == []
