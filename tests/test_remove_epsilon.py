"""remove_epsilon keeps the score of every sequence of label pairs, epsilon cycles included."""

from __future__ import annotations

import math

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, sequence_scores

from gtnet import EPSILON, Graph, forward_score, linear, remove_epsilon, stack, viterbi_score

NEG_INF = float("-inf")
SEMIRINGS = st.sampled_from(["log", "tropical"])


def scores_of(graph: Graph, semiring: str, length: int = 3) -> list:
    return [sequence_scores(one, semiring, length) for one in automata(graph)]


def assert_same_scores(graph: Graph, other: Graph, semiring: str, length: int = 3) -> None:
    tolerance = 1e-4 if graph.dtype == torch.float32 else 1e-9
    ours, theirs = scores_of(graph, semiring, length), scores_of(other, semiring, length)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance)


def has_epsilon(graph: Graph) -> bool:
    return bool(((graph.ilabels == EPSILON) & (graph.olabels == EPSILON)).any())


@settings(max_examples=50)
@given(strategies.graphs(), SEMIRINGS)
def test_scores_of_sequences_stay(graph, semiring):
    plain = remove_epsilon(graph, semiring=semiring)
    assert not has_epsilon(plain)
    assert plain.dtype == graph.dtype
    assert_same_scores(plain, graph, semiring)


@settings(max_examples=50)
@given(strategies.graphs(acyclic=False, max_arcs=6), SEMIRINGS)
def test_scores_stay_with_epsilon_cycles_or_the_sum_diverges(graph, semiring):
    graph = graph.to(torch.float64)
    expected = scores_of(graph, semiring)
    diverging = [i for i, scores in enumerate(expected) if scores is None]
    try:
        plain = remove_epsilon(graph, semiring=semiring)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert any(f"graph {i} " in refused for i in diverging)
        return
    # A divergent cycle that no path passes is no error.
    kept = [i for i in range(len(graph)) if i not in diverging]
    assert not has_epsilon(plain)
    assert_same_scores(plain[kept], graph[kept], semiring)


def test_a_self_loop_is_a_geometric_sum():
    graph = Graph(
        [0, 0], [0, 1], [EPSILON, 3], weights=torch.tensor([math.log(0.75), 0.5]), accept=1
    )
    plain = remove_epsilon(graph)
    assert plain.num_arcs == 1
    assert plain.weights.item() == pytest.approx(0.5 + math.log(4))
    assert remove_epsilon(graph, semiring="tropical").weights.item() == 0.5


def test_a_component_is_summed_exactly():
    a = torch.rand(6, 6, dtype=torch.float64)
    a = 0.9 * a / torch.linalg.eigvals(a).abs().max()
    source, target = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    labels = torch.full((36,), EPSILON)
    graph = Graph(source.flatten(), target.flatten(), labels, weights=a.log().flatten(), accept=5)
    closed = torch.linalg.inv(torch.eye(6, dtype=torch.float64) - a)[0, 5].log()
    assert remove_epsilon(graph).accept[0].item() == pytest.approx(closed.item(), rel=1e-12)


@pytest.mark.parametrize(("semiring", "weight"), [("log", 0.0), ("tropical", 0.5)])
def test_divergence_names_the_graph_and_a_state(semiring, weight):
    loop = Graph(
        [0, 1, 2, 1], [1, 2, 1, 3], [0, EPSILON, EPSILON, 1], weights=[weight] * 4, accept=3
    )
    batch = stack([linear([1, 2]), loop])
    with pytest.raises(ValueError, match=r"remove_epsilon: graph 1 .* through state [12]"):
        remove_epsilon(batch, semiring=semiring)


def test_one_sided_epsilons_stay():
    graph = Graph([0, 1, 2], [1, 2, 3], [EPSILON, 1, EPSILON], [5, EPSILON, EPSILON], accept=3)
    plain = remove_epsilon(graph)
    assert sorted(zip(plain.ilabels.tolist(), plain.olabels.tolist())) == [(-1, 5), (1, -1)]


def test_maps_name_ordinary_arcs_and_states():
    graph = Graph([0, 1, 0], [1, 2, 2], [EPSILON, 7, 8], accept=2)
    plain = remove_epsilon(graph)
    assert plain.arc_maps[0].tolist() == [1, 2] or plain.arc_maps[0].tolist() == [2, 1]
    assert plain.state_maps[0].tolist() == [0, 2]


@pytest.mark.parametrize("semiring", ["log", "tropical"])
def test_empty_batches_and_languages(semiring):
    nothing = Graph([], [], [], start=[], accept=[])
    mute = Graph([0], [1], [EPSILON], start=[], accept=1)
    stuck = Graph([0, 0], [1, 1], [EPSILON, 1], weights=[NEG_INF, NEG_INF], accept=1)
    batch = remove_epsilon(stack([nothing, mute, linear([EPSILON, 1]), stuck]), semiring=semiring)
    assert batch.state_offsets.tolist() == [0, 0, 0, 2, 2]
    assert len(remove_epsilon(batch[0:0], semiring=semiring)) == 0


def cyclic() -> Graph:
    labels = [EPSILON, EPSILON, EPSILON, 1, 2, EPSILON, EPSILON]
    source, target = [0, 1, 2, 2, 3, 1, 3], [1, 2, 0, 3, 0, 1, 4]
    generator = torch.Generator().manual_seed(3)
    weights = -1 - torch.rand(7, generator=generator, dtype=torch.float64)
    return Graph(source, target, labels, weights=weights, accept={4: 0.5, 1: 0.25})


@pytest.mark.parametrize("semiring", ["log", "tropical"])
def test_gradients(semiring):
    graph = cyclic()

    def scores(weights, start, accept):
        plain = remove_epsilon(
            graph.with_weights(weights, start=start, accept=accept), semiring=semiring
        )
        finite = [t[t > NEG_INF] for t in (plain.weights, plain.start, plain.accept)]
        return tuple(finite)

    inputs = [t.clone().requires_grad_() for t in (graph.weights, graph.start, graph.accept)]
    torch.autograd.gradcheck(scores, inputs)
    torch.autograd.gradgradcheck(scores, inputs, fast_mode=True)


@given(strategies.graphs(dtype=torch.float64), st.integers(0, 99))
def test_path_sums_and_their_gradients_stay(graph, seed):
    graph = strategies.with_random_scores(graph, seed)
    for semiring, score in (("log", forward_score), ("tropical", viterbi_score)):
        learning = graph.detach().requires_grad_()
        grads = []
        for one in (learning, remove_epsilon(learning, semiring=semiring)):
            total = score(one)
            total = total[total > NEG_INF].sum()
            inputs = (learning.weights, learning.start, learning.accept)
            grads.append((total.detach(), *torch.autograd.grad(total, inputs, allow_unused=True)))
        for ours, theirs in zip(*grads, strict=True):
            if ours is None or theirs is None:
                assert all(t is None or not t.any() for t in (ours, theirs))
                continue
            torch.testing.assert_close(ours, theirs)


def test_bad_input():
    with pytest.raises(TypeError, match="remove_epsilon: graph"):
        remove_epsilon(3)
    with pytest.raises(ValueError, match="semiring must be"):
        remove_epsilon(linear([1]), semiring="real")
