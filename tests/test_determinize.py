"""determinize keeps the score of every string, and its gradient, on deterministic graphs."""

from __future__ import annotations

import random

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, paths, sequence_scores, string_scores

from gtnet import (
    EPSILON,
    Graph,
    compose,
    determinize,
    forward_score,
    intersect,
    linear,
    remove_epsilon,
    stack,
    viterbi_score,
)

NEG_INF = float("-inf")
SEMIRINGS = st.sampled_from(["log", "tropical"])
MERGES = st.sampled_from(["auto", "identical", "equal"])


def strings(graph: Graph, semiring: str) -> list[dict]:
    return [string_scores(paths(one), semiring) for one in automata(graph)]


def assert_same_strings(graph: Graph, other: Graph, semiring: str) -> None:
    tolerance = 1e-4 if graph.dtype == torch.float32 else 1e-9
    ours, theirs = strings(graph, semiring), strings(other, semiring)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance)


def assert_deterministic(graph: Graph, *, on: str = "ilabels") -> None:
    """One start; one arc per label and state, and what reads EPSILON alone or at the end."""
    for one in automata(graph):
        assert sum(score > NEG_INF for score in one.start) <= 1
        leaving: dict[int, list] = {}
        for arc in one.arcs:
            leaving.setdefault(arc.source, []).append(arc)
        for arcs in leaving.values():
            labels = [(a.ilabel, a.olabel if on == "pairs" else None) for a in arcs]
            assert len(set(labels)) == len(labels)


@settings(max_examples=60)
@given(strategies.graphs(acceptor=True), SEMIRINGS, MERGES)
def test_strings_of_acceptors_keep_their_scores(graph, semiring, merge):
    result = determinize(graph, semiring=semiring, merge=merge)
    assert result.is_acceptor and result.dtype == graph.dtype
    assert not (result.ilabels == EPSILON).any()
    assert_deterministic(result)
    assert_same_strings(result, graph, semiring)


@settings(max_examples=50)
@given(strategies.graphs(), SEMIRINGS)
def test_transducers_are_deterministic_on_pairs(graph, semiring):
    result = determinize(graph, semiring=semiring, on="pairs")
    assert_deterministic(result, on="pairs")
    assert_same_strings(result, graph, semiring)


@settings(max_examples=60)
@given(strategies.functional_transducers(), SEMIRINGS, MERGES)
def test_functional_transducers(graph, semiring, merge):
    result = determinize(graph, semiring=semiring, merge=merge)
    assert_deterministic(result)
    assert_same_strings(result, graph, semiring)


@given(st.lists(strategies.functional_transducers(), max_size=3), SEMIRINGS)
def test_a_batch_is_its_items(items, semiring):
    items.append(linear([0, 1], dtype=torch.float64))
    batch = stack(items)
    for item, result in zip(batch, determinize(batch, semiring=semiring), strict=True):
        assert_same_strings(result, item, semiring)


@settings(max_examples=30)
@given(strategies.graphs(acyclic=False, acceptor=True, max_arcs=5, size=1), SEMIRINGS)
def test_cyclic_acceptors_keep_their_scores_or_are_refused(graph, semiring):
    graph = graph.to(torch.float64)
    expected = sequence_scores(automata(graph)[0], semiring, 4)
    try:
        result = determinize(graph, semiring=semiring, max_states=200)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert "max_states=200" in refused or expected is None
        return
    if expected is not None:
        assert_deterministic(result)
        found = sequence_scores(automata(result)[0], semiring, 4)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@settings(max_examples=30)
@given(strategies.graphs(acyclic=False, acceptor=True, max_arcs=5, size=1))
def test_cyclic_acceptors_without_weights_are_never_refused(graph):
    """The subset construction ends: five states have 32 subsets."""
    zero = graph.with_weights(
        torch.zeros_like(graph.weights),
        start=graph.start.where(graph.start == NEG_INF, 0),
        accept=graph.accept.where(graph.accept == NEG_INF, 0),
    )
    result = determinize(zero, semiring="tropical", max_states=32)
    assert_deterministic(result)
    found, expected = (sequence_scores(automata(g)[0], "tropical", 4) for g in (result, zero))
    assert found == expected


def test_the_limit_names_the_graph():
    graph = Graph([0, 0, 1, 2], [1, 2, 1, 2], [0, 0, 1, 1], weights=[0, 0, 1.0, 2.0], accept=[1, 2])
    with pytest.raises(ValueError, match=r"determinize: graph 1 needs more than max_states=1000"):
        determinize(stack([linear([1]), graph]), max_states=1000)


def test_equal_loops_are_merged():
    weights = [0, 0, 1.0, 1.0]
    graph = Graph([0, 0, 1, 2], [1, 2, 1, 2], [0, 0, 1, 1], weights=weights, accept={1: 0, 2: -1})
    assert determinize(graph).num_states == 2


def test_loops_equal_by_chance_are_merged_only_without_gradients():
    weights = torch.tensor([0, 0, 1.0, 1.0], requires_grad=True)
    graph = Graph([0, 0, 1, 2], [1, 2, 1, 2], [0, 0, 1, 1], weights=weights, accept={1: 0, 2: -1})
    assert determinize(graph, merge="equal").num_states == 2
    with pytest.raises(ValueError, match="max_states=50"):
        determinize(graph, max_states=50)


def test_transducers_that_are_not_functional_are_named():
    graph = Graph([0, 0, 1, 2], [1, 2, 3, 3], [0, 0, 1, 1], [5, 6, 7, 7], accept=3)
    with pytest.raises(ValueError, match=r"graph 0 is not functional: .* state 3"):
        determinize(graph)
    assert determinize(graph, on="pairs").num_arcs == 4
    both_end = Graph([0, 0], [1, 2], [0, 0], [5, 6], accept=[1, 2])
    with pytest.raises(ValueError, match="graph 0 is not functional"):
        determinize(both_end)


def test_what_is_written_without_reading_belongs_to_the_label_before_or_behind():
    late = Graph([0, 1], [1, 2], [3, EPSILON], [3, 4], accept=2)  # at the end
    early = Graph([0, 1], [1, 2], [EPSILON, 3], [4, 3], accept=2)  # at the start
    between = Graph(
        [0, 1, 2, 3, 0], [1, 2, 3, 4, 4], [3, EPSILON, EPSILON, 3, 3], [3, 4, 5, 6, 3], accept=4
    )
    never = Graph([0, 1], [1, 2], [EPSILON, EPSILON], [4, 5], accept=2)  # the empty string
    for graph in (late, early, between, never):
        result = determinize(graph)
        assert_deterministic(result)
        assert_same_strings(result, graph, "log")
    both = determinize(stack([late, linear([7]), never]))
    assert [one.num_arcs for one in both] == [2, 1, 2]


@settings(max_examples=50)
@given(strategies.functional_transducers(), SEMIRINGS)
def test_it_takes_its_own_results(graph, semiring):
    once = determinize(graph, semiring=semiring)
    twice = determinize(once, semiring=semiring)
    assert_deterministic(twice)
    assert_same_strings(twice, graph, semiring)
    sizes = [(g.num_states, g.num_arcs) for g in (once, twice)]
    # An output of two labels takes an arc that reads nothing; the second time it may need none.
    writes_alone = bool((once.ilabels == EPSILON).any())
    assert all(second <= first for first, second in zip(*sizes, strict=True))
    assert writes_alone or sizes[0] == sizes[1]


def test_two_strings_written_without_reading_are_not_functional():
    fork = Graph([0, 1, 1, 2], [1, 2, 2, 3], [3, EPSILON, EPSILON, 3], [3, 4, 5, 6], accept=3)
    ends = Graph([0, 1], [1, 2], [3, EPSILON], [3, 4], accept=[1, 2])
    loop = Graph([0, 1, 1], [1, 1, 2], [3, EPSILON, 3], [3, 4, 5], accept=2)
    again = Graph([0, 0, 1], [1, 2, 2], [3, 3, EPSILON], [3, 3, 4], accept=2)
    for graph, state in ((fork, 2), (ends, 1), (loop, 1), (again, "")):
        with pytest.raises(ValueError, match=rf"graph 1 is not functional: .* state {state}"):
            determinize(stack([linear([1]), graph]))
    assert determinize(fork, on="pairs").num_arcs == 4
    same = Graph([0, 1, 1, 2], [1, 2, 2, 3], [3, EPSILON, EPSILON, 3], [3, 4, 4, 6], accept=3)
    assert_same_strings(determinize(same), same, "log")


def test_outputs_wait_until_they_are_certain():
    graph = Graph([0, 1, 0, 3], [1, 2, 3, 4], [0, 1, 0, 2], [5, 6, 5, 7], accept=[2, 4])
    result = determinize(graph)
    assert (result.num_states, result.num_arcs) == (4, 3)
    first = result.source == 0
    assert result.olabels[first].tolist() == [5]
    late = Graph([0, 1, 0, 3], [1, 2, 3, 4], [0, 1, 0, 2], [8, 6, 5, 7], accept=[2, 4])
    assert_same_strings(determinize(late), late, "log")


def string_graphs(one) -> list[Graph]:
    """Linear acceptors of the inputs that an automaton knows."""
    return [linear(s, dtype=torch.float64) for s in sorted({p.inputs for p in paths(one)})]


def assert_same_gradients(graph: Graph, semiring: str) -> None:
    """The derivative of the score of each string, in the graph and in what it became."""
    score = forward_score if semiring == "log" else viterbi_score
    learning = graph.detach().requires_grad_()
    result = determinize(learning, semiring=semiring)
    inputs = (learning.weights, learning.start, learning.accept)
    (one,) = automata(graph)
    for string in string_graphs(one):
        ours = torch.autograd.grad(score(compose(string, result)).sum(), inputs, retain_graph=True)
        theirs = torch.autograd.grad(score(compose(string, learning)).sum(), inputs)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@settings(max_examples=30)
@given(strategies.graphs(size=1, dtype=torch.float64, acceptor=True), st.integers(0, 99), SEMIRINGS)
def test_gradients_of_strings_stay(graph, seed, semiring):
    assert_same_gradients(strategies.with_random_scores(graph, seed), semiring)


@settings(max_examples=30)
@given(strategies.graphs(size=1, dtype=torch.float64, acceptor=True))
def test_gradients_stay_where_scores_are_equal_by_chance(graph):
    flat = graph.with_weights(graph.weights.clamp(min=-1, max=-1))
    assert_same_gradients(flat, "log")


@settings(max_examples=40)
@given(strategies.functional_transducers(), st.integers(0, 99), SEMIRINGS)
def test_gradients_of_transducers_stay(graph, seed, semiring):
    graph = strategies.with_random_scores(graph, seed)
    assert_same_gradients(graph, semiring)
    made = determinize(graph.detach(), semiring=semiring, merge="identical")
    assert_same_gradients(made, semiring)  # with arcs that write without reading


@pytest.mark.parametrize("semiring", ["log", "tropical"])
@pytest.mark.parametrize("transducer", [False, True])
def test_gradcheck(semiring, transducer):
    source, target = [0, 0, 0, 1, 2, 3, 1], [1, 2, 3, 4, 4, 4, 2]
    olabels = [5, 5, 5, 6, 6, 6, 6] if transducer else None
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(7, generator=generator, dtype=torch.float64)
    ilabels = [0, 0, 0, 1, 1, 2, 1]
    accept = torch.tensor([NEG_INF, NEG_INF, NEG_INF, 0.5, 1.0], dtype=torch.float64)
    if transducer:
        accept[3] = NEG_INF
        source, target, ilabels = source[:6], target[:6], ilabels[:6]
        olabels, weights = olabels[:6], weights[:6]
    start = torch.tensor([0.25, 0.5, NEG_INF, NEG_INF, NEG_INF], dtype=torch.float64)
    if transducer:
        start[1] = NEG_INF

    def scores(weights, start, accept):
        graph = Graph(source, target, ilabels, olabels, weights, start=start, accept=accept)
        made = determinize(graph, semiring=semiring)
        return tuple(t[t > NEG_INF] for t in (made.weights, made.start, made.accept))

    inputs = [t.clone().requires_grad_() for t in (weights, start, accept)]
    torch.autograd.gradcheck(scores, inputs)


def test_a_second_derivative_is_refused():
    weights = torch.tensor([1.0, 2.0], requires_grad=True)
    graph = determinize(Graph([0, 0], [1, 1], [0, 0], weights=weights, accept=1))
    (first,) = torch.autograd.grad(graph.weights.sum(), weights, create_graph=True)
    torch.testing.assert_close(first, weights.softmax(0))
    with pytest.raises(ValueError, match="determinize: only first derivatives"):
        torch.autograd.grad(first.square().sum(), weights)


@pytest.mark.parametrize("semiring", ["log", "tropical"])
def test_empty_batches_and_languages(semiring):
    nothing = Graph([], [], [], start=[], accept=[])
    mute = Graph([0], [1], [2], start=[], accept=1)
    stuck = Graph([0], [1], [2], weights=[NEG_INF], accept=1)
    batch = determinize(stack([nothing, mute, linear([EPSILON, 1]), stuck]), semiring=semiring)
    assert batch.state_offsets.tolist() == [0, 0, 0, 2, 2]
    assert len(determinize(batch[0:0], semiring=semiring)) == 0


def test_nearly_equal_residuals_are_merged_across_the_buckets():
    source = random.Random(5)
    for _ in range(200):
        x = source.uniform(-3, 3)
        noise = 3e-7 * source.uniform(-1, 1)
        weights = torch.tensor([0, x, 0, 0, x + noise], dtype=torch.float64)
        ends = {2: 0.0, 3: -1.0}
        graph = Graph(
            [0, 0, 0, 1, 1], [2, 3, 1, 2, 3], [1, 1, 5, 1, 1], weights=weights, accept=ends
        )
        assert determinize(graph).num_states == 3


def test_bad_input():
    graph = linear([1])
    for arguments, message in (
        ({"semiring": "real"}, "semiring must be"),
        ({"on": "olabels"}, "on must be"),
        ({"merge": True}, "merge must be"),
        ({"max_states": -1}, "max_states must lie"),
        ({"delta": 0.0}, "delta must be positive"),
    ):
        with pytest.raises(ValueError, match=f"determinize: {message}"):
            determinize(graph, **arguments)
    with pytest.raises(TypeError, match="determinize: graph must be a Graph"):
        determinize(None)


def test_epsilons_are_removed_first():
    graph = Graph(
        [0, 0, 1, 2], [1, 2, 3, 3], [EPSILON, EPSILON, 4, 4], weights=[1.0, 2, 3, 4], accept=3
    )
    result = determinize(graph)
    assert (result.num_states, result.num_arcs) == (2, 1)
    assert forward_score(result).item() == pytest.approx(forward_score(graph).item())
    assert forward_score(remove_epsilon(graph)).item() == pytest.approx(forward_score(graph).item())
    assert forward_score(intersect(graph, result)).isfinite().all()
