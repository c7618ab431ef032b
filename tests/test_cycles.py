"""Path sums and best paths of cyclic graphs: series, dense linear algebra, laws, bad cycles."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close, at_most, automata, log_sum, on_a_cycle
from test_distance import finite, scored
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import (
    Graph,
    forward_score,
    k_best,
    posteriors,
    shortest_distance,
    stack,
    viterbi_path,
    viterbi_score,
)

NEG_INF = float("-inf")
SEEDS = st.integers(0, 99)
CYCLIC = strategies.graphs(acyclic=False)


def loop(weight: float) -> Graph:
    """One state that accepts, with an arc to itself."""
    return Graph([0], [0], [0], weights=torch.tensor([weight], dtype=torch.float64), accept=0)


def cooled(graph: Graph, by: float) -> Graph:
    """The same graph with all arcs less likely; cycles of it converge if `by` is large enough."""
    return graph.with_weights(graph.weights - by)


def torch_log(values: torch.Tensor) -> list[float]:
    return values.log().tolist()


# One state


@pytest.mark.parametrize("p", [0.0, 1e-30, 0.25, 0.5, 0.999, 1 - 1e-9])
def test_a_loop_is_a_geometric_series(p):
    graph = loop(math.log(p) if p else NEG_INF)
    assert forward_score(graph).item() == pytest.approx(-math.log1p(-p), abs=1e-15, rel=1e-6)
    assert posteriors(graph).item() == pytest.approx(p / (1 - p), rel=1e-6)
    assert posteriors(graph, of="states").item() == pytest.approx(1 / (1 - p), rel=1e-6)
    assert viterbi_score(graph).item() == 0


def test_a_loop_of_one_half_doubles():
    assert forward_score(loop(math.log(0.5))).item() == pytest.approx(math.log(2), abs=1e-15)


@pytest.mark.parametrize("weight", [0.0, -1e-16, 0.5, 1e30])
def test_a_loop_of_one_or_more_diverges(weight):
    for function in (forward_score, posteriors, shortest_distance):
        with pytest.raises(ValueError, match=rf"{function.__name__}: graph 0 .*state 0 .*infinity"):
            function(loop(weight))


# Against sums over paths


@settings(max_examples=30)
@given(strategies.graphs(acyclic=False, max_arcs=5), strategies.BETAS)
def test_all_functions_sum_the_paths(graph, beta):
    graph = cooled(graph, 12.0 / min(beta, 1))
    longest = 4
    scores, best, arcs = [], [], []
    for one in automata(graph):
        found = oracle.paths(one, at_most(longest))
        scores.append(log_sum([path.score for path in found], beta))
        best.append(max((path.score for path in found), default=NEG_INF))
        counts = [0.0] * len(one.arcs)
        for path in found:
            for arc in path.arcs:
                counts[arc - one.first_arc] += math.exp(beta * (path.score - scores[-1]))
        arcs += counts
    known = torch.tensor(best) > -40  # paths beyond the longest are out of sight beside these
    for ours, theirs in ((forward_score(graph, beta), scores), (viterbi_score(graph), best)):
        torch.testing.assert_close(
            ours[known].double(), torch.tensor(theirs).double()[known], rtol=1e-5, atol=1e-6
        )
    seen = known[graph.topology.graph_of_arc]
    torch.testing.assert_close(
        posteriors(graph, beta)[seen].double(),
        torch.tensor(arcs, dtype=torch.float64)[seen],
        rtol=1e-5,
        atol=1e-6,
    )


@settings(max_examples=60)
@given(CYCLIC, SEEDS, strategies.BETAS, st.sampled_from([1.0, 2.0, 3.0]))
def test_all_functions_agree_with_the_inverse_matrix(graph, seed, beta, by):
    graph = cooled(strategies.with_random_scores(graph, seed), by / min(beta, 1))
    for i, one in enumerate(automata(graph)):
        alone, dense = graph[i], oracle.matrix(one, beta)
        if dense.radius > 1 - 1e-6:
            with pytest.raises(ValueError, match=r"forward_score: graph 0 .*infinity"):
                forward_score(alone, beta)
            continue
        walks = dense.walks()
        total = float(dense.start @ walks @ dense.accept)
        expected = math.log(total) / beta if total > 0 else NEG_INF
        assert forward_score(alone, beta).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        if total == 0:
            assert posteriors(alone, beta).tolist() == [0.0] * len(one.arcs)
            continue
        useful = dense.useful().double()
        forth, back = dense.start @ walks * useful, walks @ dense.accept * useful
        visits = forth * back / total
        uses = [
            forth[arc.source] * math.exp(beta * arc.weight) * back[arc.target] / total
            for arc in one.arcs
        ]
        for leaf in (alone, alone.detach().requires_grad_()):
            torch.testing.assert_close(
                posteriors(leaf, beta).detach(), torch.tensor(uses).double(), rtol=1e-9, atol=1e-12
            )
            torch.testing.assert_close(
                posteriors(leaf, beta, of="states").detach(), visits, rtol=1e-9, atol=1e-12
            )


@settings(max_examples=30)
@given(CYCLIC, SEEDS, st.booleans())
def test_distances_agree_with_the_inverse_matrix(graph, seed, to_accept):
    graph = cooled(strategies.with_random_scores(graph, seed), 4.0)
    expected = []
    for one in automata(graph):
        dense = oracle.matrix(one)
        walks = torch.linalg.inv(torch.eye(one.num_states, dtype=torch.float64) - dense.arcs)
        sums = walks @ dense.accept if to_accept else dense.start @ walks
        expected += torch_log(sums.masked_fill(sums.abs() < 1e-300, 0))
    assert_close(shortest_distance(graph, to_accept=to_accept), expected)


def visits_once(one, arcs):
    taken = [one.arcs[a - one.first_arc] for a in arcs]
    visited = [taken[0].source, *(arc.target for arc in taken)]
    return len(visited) == len(set(visited))


@settings(max_examples=50)
@given(CYCLIC)
def test_best_paths_have_no_cycle_worth_taking(graph):
    graph = cooled(graph, 2.0)  # no cycle has a positive score, some have score 0
    for i, one in enumerate(automata(graph)):
        found = oracle.paths(one, lambda arcs, one=one: visits_once(one, arcs))
        best = max((path.score for path in found), default=NEG_INF)
        assert viterbi_score(graph[i]).item() == best
        path = viterbi_path(graph[i])
        assert viterbi_score(path).item() == best
        if best > NEG_INF:
            ends = path.arc_maps[0].tolist()
            arcs = [one.arcs[a] for a in ends]
            assert all(a.target == b.source for a, b in pairwise(arcs))


@settings(max_examples=30)
@given(strategies.graphs(acyclic=False, max_arcs=5))
def test_the_k_best_paths_of_a_cyclic_graph(graph):
    graph = cooled(graph, 6.0)
    for one, best in zip(automata(graph), k_best(graph, 3), strict=True):
        found = sorted((p.score for p in oracle.paths(one, at_most(5))), reverse=True)[:3]
        sure = [score for score in found if score > -20]  # longer paths are worse than these
        assert viterbi_score(best).tolist()[: len(sure)] == sure


# Laws


@given(CYCLIC, strategies.BETAS)
def test_a_batch_is_its_items(graph, beta):
    graph = cooled(graph, 5.0 / min(beta, 1))
    betas = torch.linspace(1, 2, len(graph), dtype=graph.dtype) * beta
    for function in (forward_score, posteriors, shortest_distance):
        together = function(graph, betas)
        alone = torch.cat([function(g, betas[i]) for i, g in enumerate(graph)])
        assert torch.equal(together, alone)
    assert torch.equal(viterbi_score(graph), torch.cat([viterbi_score(g) for g in graph]))


@given(CYCLIC, strategies.BETAS)
def test_turning_all_arcs_round_changes_no_total(graph, beta):
    graph = cooled(graph, 5.0 / min(beta, 1))
    turned = stack(
        [
            Graph(
                g.target, g.source, g.ilabels, g.olabels, g.weights, start=g.accept, accept=g.start
            )
            for g in graph
        ]
    )
    assert_close(forward_score(turned, beta), forward_score(graph, beta).tolist())
    assert torch.equal(viterbi_score(turned), viterbi_score(graph))
    assert_close(posteriors(turned, beta), posteriors(graph, beta).tolist())
    forth = shortest_distance(graph, beta, to_accept=True)
    torch.testing.assert_close(shortest_distance(turned, beta), forth, rtol=1e-6, atol=1e-6)


@given(CYCLIC)
def test_components_lead_forward(graph):
    topology = graph.topology
    order, offsets, bounds = topology.components
    assert sorted(order.tolist()) == list(range(graph.num_states))
    position = torch.empty(graph.num_states, dtype=torch.int64)
    position[order.long()] = torch.arange(graph.num_states)
    component = torch.arange(graph.num_states)
    for begin, end in bounds.tolist():
        component[begin:end] = begin
    source, target = (
        component[position[s]] for s in (topology.global_source, topology.global_target)
    )
    assert bool((source <= target).all())
    inside = torch.zeros(graph.num_states, dtype=torch.bool)
    for begin, end in bounds.tolist():
        inside[order[begin:end].long()] = True
    expected = [on_a_cycle(one, s) for one in automata(graph) for s in range(one.num_states)]
    assert inside.tolist() == expected
    assert offsets.tolist()[-1] == len(bounds)


# Derivatives


@settings(max_examples=8)
@given(strategies.graphs(acyclic=False, size=1, max_arcs=6), SEEDS)
def test_gradcheck_and_gradgradcheck(graph, seed):
    inputs, put = scored(cooled(strategies.with_random_scores(graph, seed), 4.0))
    functions = [
        lambda g: finite(forward_score(g, 1.25)),
        lambda g: finite(viterbi_score(g)),
        lambda g: posteriors(g),
        lambda g: posteriors(g, of="states"),
        lambda g: finite(shortest_distance(g)),
        lambda g: finite(shortest_distance(g, to_accept=True)),
    ]
    for function in functions:
        if function(put(*inputs)).numel():
            assert gradcheck(lambda *t, f=function: f(put(*t)), inputs)
            assert gradgradcheck(lambda *t, f=function: f(put(*t)), inputs, fast_mode=True)


def test_gradcheck_in_beta():
    graph = Graph([0, 1, 1], [1, 0, 1], [0, 0, 0], accept=1).to(torch.float64)
    graph = graph.with_weights(torch.tensor([-1.0, -2.0, -1.5], dtype=torch.float64))
    beta = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    for function in (forward_score, posteriors, shortest_distance):
        assert gradcheck(lambda b, f=function: f(graph, b), (beta,))
        assert gradgradcheck(lambda b, f=function: f(graph, b), (beta,))


def test_gradients_in_float32_are_those_of_float64():
    torch.manual_seed(0)
    source, target = torch.randint(0, 30, (2, 200))
    exact = Graph(source, target, source, weights=torch.randn(200).double() - 4, accept=3)
    rough = exact.to(torch.float32)
    grads = []
    for graph in (exact, rough):
        leaf = graph.with_weights(graph.weights.clone().requires_grad_())
        forward_score(leaf).sum().backward()
        grads.append(leaf.weights.grad.double())
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-7)


# Sizes and magnitudes


def test_words_of_a_looping_lexicon_are_a_geometric_series():
    rng = random.Random(0)
    words = [rng.choices(range(20), k=rng.randint(1, 8)) for _ in range(3000)]
    trie = gtnet.trie(words)
    ends = trie.accept > NEG_INF
    last = ends[trie.target.long()]
    keep = trie.with_weights(torch.randn(trie.num_arcs).double().sub(8).float())
    # A copy of each arc into the end of a word leads back to the root.
    graph = Graph(
        torch.cat([trie.source, trie.source[last]]),
        torch.cat([trie.target, torch.zeros_like(trie.target[last])]),
        torch.cat([trie.ilabels, trie.ilabels[last]]),
        weights=torch.cat([keep.weights, keep.weights[last]]),
        accept=0,
        num_states=trie.num_states,
    ).to(torch.float64)
    one_word = forward_score(keep.to(torch.float64)).item()
    assert one_word < 0
    expected = -math.log1p(-math.exp(one_word))
    assert forward_score(graph).item() == pytest.approx(expected, rel=1e-9)
    passes = math.exp(expected)
    assert posteriors(graph, of="states")[0].item() == pytest.approx(passes, rel=1e-9)


def test_sums_within_a_component_may_exceed_the_range_of_doubles():
    steps, ways = 2000, 3
    source = torch.arange(steps).repeat_interleave(ways)
    weights = torch.zeros(len(source) + 1, dtype=torch.float64)
    weights[-1] = -steps * math.log(ways) - math.log(2)  # once round: one half
    graph = Graph(
        torch.cat([source, torch.tensor([steps])]),
        torch.cat([source + 1, torch.tensor([0])]),
        torch.zeros(len(weights), dtype=torch.int32),
        weights=weights,
        accept=steps,
    ).requires_grad_()
    score = forward_score(graph)
    assert score.item() == pytest.approx(steps * math.log(ways) + math.log(2))
    score.backward()
    torch.testing.assert_close(
        graph.weights.grad, torch.tensor([2 / 3] * (len(weights) - 1) + [1.0]).double()
    )


@pytest.mark.parametrize("scale", [1e8, 1e32])
@pytest.mark.parametrize("beta", [1.0, 10.0])
def test_large_scores_round_a_cycle(scale, beta):
    graph = Graph([0, 1], [1, 0], [0, 0], weights=[scale, -2 * scale], accept=1)
    for function in (lambda g: forward_score(g, beta), viterbi_score):
        assert function(graph).item() == pytest.approx(scale)
    assert posteriors(graph, beta).tolist() == [1.0, 0.0]


# Cycles without a limit


@given(strategies.cyclic_graphs(), strategies.BETAS)
def test_divergent_sums_are_refused_by_graph_and_state(drawn, beta):
    graph, where = drawn
    graph = graph.with_weights(graph.weights.clamp(min=-1))
    everywhere = torch.zeros_like(graph.start)
    graph = graph.with_weights(start=everywhere, accept=everywhere)
    for function in (forward_score, posteriors, shortest_distance):
        said = rf"{function.__name__}: graph {where} has a cycle through state (\d+) .*infinity"
        with pytest.raises(ValueError, match=said) as caught:
            function(graph, beta)
        state = int(str(caught.value).split("state ")[1].split()[0])
        assert on_a_cycle(automata(graph)[where], state)


@given(strategies.cyclic_graphs())
def test_positive_cycles_are_refused_by_graph_and_state(drawn):
    graph, where = drawn
    graph = graph.with_weights(graph.weights.clamp(min=0) + 0.25)
    everywhere = torch.zeros_like(graph.start)
    graph = graph.with_weights(start=everywhere, accept=everywhere)
    for function in (viterbi_score, viterbi_path, lambda g: k_best(g, 1)):
        said = rf": graph {where} has a cycle through state (\d+) of positive score"
        with pytest.raises(ValueError, match=said) as caught:
            function(graph)
        state = int(str(caught.value).split("state ")[1].split()[0])
        assert on_a_cycle(automata(graph)[where], state)


@pytest.mark.parametrize("apart", ["before the start", "after the end", "behind an impossible arc"])
def test_what_no_accepting_path_takes_may_diverge(apart):
    arcs = {
        "before the start": [(2, 2, 1.0), (2, 0, 0.0)],
        "after the end": [(1, 2, 0.0), (2, 2, 1.0)],
        "behind an impossible arc": [(0, 2, NEG_INF), (2, 2, 1.0), (2, 0, 0.0), (0, 0, NEG_INF)],
    }[apart]
    source, target, weights = zip((0, 1, 0.5), *arcs, strict=True)
    graph = Graph(source, target, [0] * len(source), weights=list(weights), accept=1)
    leaf = graph.requires_grad_()
    for function in (forward_score, viterbi_score, lambda g: forward_score(g, 2.0)):
        assert function(leaf).tolist() == [0.5]
    assert posteriors(leaf).tolist() == [1.0] + [0.0] * len(arcs)
    forward_score(leaf).backward()
    assert leaf.weights.grad.tolist() == [1.0] + [0.0] * len(arcs)
    assert viterbi_score(k_best(leaf, 3)[0]).tolist() == [0.5]
    if apart == "after the end":
        with pytest.raises(ValueError, match=r"shortest_distance: graph 0 .*state 2"):
            shortest_distance(leaf)
        assert shortest_distance(leaf, to_accept=True).tolist() == [0.5, 0.0, NEG_INF]
    else:
        assert shortest_distance(leaf).tolist() == [0.0, 0.5, NEG_INF]


def test_cycles_of_score_zero_have_a_best_path():
    weights = torch.tensor([0.1, 0.2, -0.3, 0.0], dtype=torch.float64)
    assert float(weights[:3].sum()) != 0  # by rounding alone
    for seed in range(6):
        order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
        graph = Graph([0, 1, 2, 1], [1, 2, 0, 3], [0] * 4, weights=weights, accept=3)
        turned = graph.with_weights(torch.cat([weights[:3][order], weights[3:]]))
        best = viterbi_score(turned).item()
        assert best == pytest.approx(weights[order[0]].item(), abs=1e-12)
        assert viterbi_path(turned).num_arcs == 2


def test_composition_with_a_loop_sums_over_repetitions():
    letters = Graph([0, 0], [0, 0], [0, 1], weights=[-1.0, -2.0], accept=0)
    half = Graph([0], [0], [1], weights=[math.log(0.5)], accept=0)
    p = math.exp(-2.0) / 2
    assert forward_score(letters @ half).item() == pytest.approx(-math.log1p(-p))
