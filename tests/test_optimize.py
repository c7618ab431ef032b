"""optimize keeps every string's score, whatever the graph, and makes it small where it can."""

from __future__ import annotations

import random

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, paths, sequence_scores, string_scores
from test_determinize import assert_deterministic, assert_same_strings
from test_openfst import from_openfst, random_graph, to_openfst

from gtnet import (
    EPSILON,
    Graph,
    determinize,
    forward_score,
    intersect,
    linear,
    minimize,
    optimize,
    remove_epsilon,
    stack,
    viterbi_score,
)

NEG_INF = float("-inf")
SEMIRINGS = st.sampled_from(["log", "tropical"])
LETTER = linear([0], dtype=torch.float64)


def size(graph: Graph) -> tuple[int, int]:
    return graph.num_states, graph.num_arcs


# Loops without scores


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("learn", [False, True])
def test_unweighted_loops_need_no_pushing(dtype, learn):
    loops = stack(
        [
            linear([0], dtype=dtype).star,
            (linear([0], dtype=dtype) | linear([1], dtype=dtype)).plus,
            linear([0, 1], dtype=dtype).star + linear([2], dtype=dtype),
            linear([[0, 1], [0, 1]], dtype=dtype)[0],
        ]
    )
    if learn:
        loops = loops.detach().requires_grad_()
    for small in (minimize(determinize(remove_epsilon(loops))), optimize(loops)):
        expected = [(1, 1), (2, 4), (3, 3), (3, 2)]
        if not learn:
            assert [size(item) for item in small] == expected
            assert small.weights.abs().max() < 1e-6
        strings = [sequence_scores(one, "log", 4) for one in automata(small)]
        assert strings[:2] == [
            pytest.approx(sequence_scores(one, "log", 4), abs=1e-5)
            for one in automata(remove_epsilon(loops))[:2]
        ]


def test_scores_around_loops_that_diverge_name_the_way_out():
    loop = Graph([0, 0], [0, 0], [0, 1], weights=[0.0, -0.5], accept=0)
    with pytest.raises(ValueError, match=r'minimize: graph 1 has a cycle .*semiring="tropical"'):
        minimize(stack([linear([1]), loop]))
    small = minimize(stack([linear([1]), loop]), semiring="tropical")
    assert size(small[1]) == (1, 2)
    growing = Graph([0], [0], [0], weights=[0.5], accept=0)
    for semiring in ("log", "tropical"):
        with pytest.raises(ValueError, match="minimize: graph 0 has a cycle") as refused:
            minimize(growing, semiring=semiring)
        assert "tropical" not in str(refused.value)
    assert optimize(stack([loop, growing])).equal(stack([loop, growing]))


def test_a_limit_that_counts_of_paths_exceed_names_the_tropical_semiring():
    counts = Graph([0, 0, 1], [0, 1, 1], [0, 0, 0], accept=1)  # n paths spell n letters
    with pytest.raises(ValueError, match=r'graph 1 .*max_states=50.*semiring="tropical"'):
        determinize(stack([linear([0]), counts]), max_states=50)
    assert determinize(counts, semiring="tropical").num_states == 2
    weighted = counts.with_weights(torch.tensor([-1.0, 0, -1]))
    with pytest.raises(ValueError, match="max_states=50") as refused:
        determinize(weighted, max_states=50)
    assert "tropical" not in str(refused.value)


# Anything


@settings(max_examples=40)
@given(strategies.graphs(), SEMIRINGS, st.booleans())
def test_strings_of_acyclic_graphs_keep_their_scores(graph, semiring, learn):
    given_graph = graph.detach().requires_grad_() if learn else graph
    result = optimize(given_graph, semiring=semiring)
    assert result.dtype == graph.dtype and result.arc_maps is None
    assert_deterministic(result, on="pairs")
    assert_same_strings(result.detach(), graph, semiring)
    made = minimize(
        determinize(remove_epsilon(given_graph, semiring=semiring), on="pairs", semiring=semiring),
        semiring=semiring,
    )
    assert [size(item) for item in result] == [size(item) for item in made]


@settings(max_examples=40)
@given(strategies.graphs(acyclic=False, max_arcs=6), SEMIRINGS, st.booleans())
def test_cyclic_graphs_keep_the_scores_of_strings(graph, semiring, learn):
    graph = graph.to(torch.float64)
    expected = [sequence_scores(one, semiring, 3) for one in automata(graph)]
    kept = [i for i, scores in enumerate(expected) if scores is not None]
    graph = graph[torch.tensor(kept, dtype=torch.int64)]
    result = optimize(graph.requires_grad_() if learn else graph, semiring=semiring).detach()
    for i, one in zip(kept, automata(result), strict=True):
        assert sequence_scores(one, semiring, 3) == pytest.approx(expected[i], rel=1e-5, abs=1e-5)
    plain = remove_epsilon(graph.detach(), semiring=semiring)
    for small, item in zip(result, plain, strict=True):
        if item.topology.is_cyclic:
            unsure = small.num_states + small.num_arcs <= item.num_states + item.num_arcs
            assert unsure or len(set(zip(*[x.tolist() for x in (small.source, small.ilabels)])))


def test_what_is_not_deterministic_stays_small():
    """Scores of one string that drift apart around a cycle: no deterministic equivalent."""
    twins = Graph(
        [0, 0, 1, 1, 2, 1, 2, 3],
        [1, 2, 1, 1, 2, 3, 3, 4],
        [0, 0, 1, 1, 1, 2, 2, 3],
        weights=[0, 0, -1.0, -1.0, -2.0, 0, 0, 0],
        accept=4,
    )
    for semiring, weight in (("log", -1 + torch.tensor(2.0).log()), ("tropical", -1.0)):
        result = optimize(stack([twins, linear([[5, 6], [5, 7]])[0]]), semiring=semiring)
        first = result[0]
        assert size(first) == (5, 7)  # equal arcs between two states are one
        assert weight in first.weights
    encoded = Graph(  # two copies of one machine, which the scores in the labels make one again
        [0, 0, 1, 2, 1, 2],
        [1, 2, 1, 2, 3, 3],
        [0, 0, 1, 1, 2, 2],
        weights=[-1.0, -1.0, -3.0, -3.0, 0, 0],
        accept=3,
    )
    assert size(optimize(encoded, semiring="tropical")) == (3, 3)


def test_batches_of_every_kind_are_their_items():
    generator = torch.Generator().manual_seed(4)
    cyclic = random_cyclic(generator)
    items = [
        linear([], dtype=torch.float64),
        Graph([], [], [], start=[], accept=[]).to(torch.float64),
        cyclic,
        LETTER.star,
        linear([[0, 1, 2], [1, 1, 2], [3, 2]], dtype=torch.float64)[1],
        cyclic.with_weights(torch.zeros_like(cyclic.weights)),
    ]
    batch = stack([item for item in items for _ in range(2)])
    for semiring in ("log", "tropical"):
        try:
            whole = optimize(batch, semiring=semiring)
        except ValueError as error:
            pytest.fail(f"{semiring}: {error}")
        for i, one in enumerate(items):
            alone = optimize(one, semiring=semiring)
            assert whole[2 * i : 2 * i + 2].isomorphic(stack([alone, alone]))
    assert len(optimize(batch[:0])) == 0


def random_cyclic(generator: torch.Generator) -> Graph:
    ends = torch.randint(5, (2, 14), generator=generator)
    labels = torch.randint(2, (14,), generator=generator)
    weights = -torch.rand(14, generator=generator, dtype=torch.float64) - 2
    return Graph(*ends, labels, weights=weights, start=0, accept=[3, 4], num_states=5)


def test_the_limit_names_the_item():
    exponential = Graph(  # the n-th letter from the end is a 1
        [0, 0, 0, *[k for k in range(1, 16) for _ in range(2)]],
        [0, 0, 1, *[k + 1 for k in range(1, 16) for _ in range(2)]],
        [0, 1, 1, *[0, 1] * 15],
        accept=16,
    )
    with pytest.raises(ValueError, match="optimize: graph 1 needs more than max_states=1000"):
        optimize(stack([linear([1]), exponential]), semiring="tropical", max_states=1000)
    assert size(optimize(exponential)) == (17, 33)  # in "log" it is no more than tried


@pytest.mark.parametrize("semiring", ["log", "tropical"])
def test_gradients_of_strings_stay(semiring):
    score = forward_score if semiring == "log" else viterbi_score
    acyclic = Graph(
        [0, 0, 0, 1, 2, 3, 0], [1, 2, 3, 4, 4, 4, 4], [0, 0, EPSILON, 1, 1, 1, 5], accept=4
    )
    cyclic = Graph([0, 0, 0, 1, 2, 1, 0], [1, 2, 0, 0, 0, 3, 3], [0, 0, 1, 1, 1, 2, 2], accept=3)
    for graph in (acyclic, cyclic):
        weights = -torch.linspace(2, 3, graph.num_arcs, dtype=torch.float64)
        learning = graph.to(torch.float64).with_weights(weights).requires_grad_()
        small = optimize(learning, semiring=semiring)
        leaves = (learning.weights, learning.start, learning.accept)
        for string in ([0, 1], [1], [5], [2], [0, 2], [0, 1, 0, 1, 2], [1, 0, 2]):
            one = linear(string, dtype=torch.float64)
            if score(intersect(one, learning.detach())).item() == NEG_INF:
                continue
            sums = [score(intersect(one, g)).sum() for g in (small, learning)]
            grads = [torch.autograd.grad(s, leaves, retain_graph=True) for s in sums]
            for ours, theirs in zip(*grads, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_bad_input_is_named():
    for options, message in (
        ({"semiring": "real"}, "optimize: semiring"),
        ({"merge": "some"}, "optimize: merge"),
        ({"max_states": -1}, "optimize: max_states"),
        ({"delta": 0.0}, "optimize: delta"),
    ):
        with pytest.raises(ValueError, match=message):
            optimize(LETTER, **options)
    with pytest.raises(TypeError, match="optimize: graph must be a Graph"):
        optimize([1])


# OpenFst


@pytest.mark.parametrize("acceptor", [True, False])
def test_sizes_and_scores_are_those_of_pynini(acceptor):
    source = random.Random(37)
    for _ in range(60):
        graph = random_graph(source, acceptor=acceptor)
        theirs = to_openfst(graph, "standard").optimize(True)
        ours = optimize(graph, semiring="tropical")
        assert string_scores(paths(automata(ours)[0]), "tropical") == pytest.approx(
            string_scores(paths(from_openfst(theirs)), "tropical"), rel=1e-5, abs=1e-5
        )
        arcs = sum(theirs.num_arcs(state) for state in theirs.states())
        if acceptor:
            assert size(ours) == (theirs.num_states(), arcs)


def test_cyclic_graphs_are_no_larger_than_those_of_pynini():
    generator = torch.Generator().manual_seed(8)
    for k in range(40):
        graph = random_cyclic(generator)
        if k % 2:  # as many scores as a person writes
            graph = graph.with_weights(graph.weights.mul(2).round().div(2))
        theirs = to_openfst(graph, "standard").optimize(True)
        ours = optimize(graph, semiring="tropical")
        arcs = sum(theirs.num_arcs(state) for state in theirs.states())
        assert sum(size(ours)) <= theirs.num_states() + arcs
        found, expected = (sequence_scores(automata(g)[0], "tropical", 4) for g in (ours, graph))
        assert found == pytest.approx(expected, abs=1e-5)
