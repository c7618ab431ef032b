"""equivalent and randomly_equivalent against the scores of all strings."""

from __future__ import annotations

import math

import oracle
import pytest
import strategies
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gtnet
from gtnet import EPSILON, Graph, equivalent, linear, randomly_equivalent, stack, trie, union

NEG_INF = float("-inf")


@st.composite
def deterministic(draw, *, acyclic: bool = True) -> Graph:
    """An acceptor with one start state and one arc per state and label."""
    drawn = strategies.parts(acyclic=acyclic, read_epsilon=False, write_epsilon=False)
    shape = draw(drawn.filter(lambda parts: parts.start))
    start = draw(st.integers(0, len(shape.start) - 1))
    arcs = {
        (s, label): (s, t, label, w)
        for s, t, label, w in zip(shape.source, shape.target, shape.ilabels, shape.weights)
    }
    source, target, labels, weights = zip(*arcs.values()) if arcs else ((), (), (), ())
    size = len(shape.start)
    return Graph(
        source,
        target,
        labels,
        None,
        torch.tensor(weights, dtype=torch.float64),
        start={start: 0.0},
        accept=torch.tensor(shape.accept, dtype=torch.float64),
        num_states=size,
    )


def strings(graph: Graph) -> dict[tuple[int, ...], float]:
    return {path.inputs: path.score for path in oracle.paths(oracle.only(graph))}


def disguised(graph: Graph, seed: int) -> Graph:
    """The same scores of strings: weights pushed about, every state twice."""
    moved = torch.randn(graph.num_states, generator=torch.Generator().manual_seed(seed)).double()
    source, target = graph.source.long(), graph.target.long()
    weights = graph.weights + moved[source] - moved[target]
    n = graph.num_states
    return Graph(
        torch.cat([source, source + n]),
        torch.cat([target + n, target]),
        torch.cat([graph.ilabels] * 2),
        None,
        torch.cat([weights] * 2),
        start=torch.cat([graph.start - moved, torch.full_like(graph.start, NEG_INF)]),
        accept=torch.cat([graph.accept + moved] * 2),
    )


@settings(max_examples=60)
@given(deterministic(), deterministic())
def test_equivalent_compares_the_scores_of_all_strings(a, b):
    assert equivalent(a, b).tolist() == [strings(a) == strings(b)]
    assert equivalent(a, a).tolist() == [True]


@given(deterministic(acyclic=False), st.integers(0, 99))
def test_pushed_and_copied_graphs_are_equivalent(graph, seed):
    assert equivalent(graph, disguised(graph, seed)).tolist() == [True]
    assert equivalent(disguised(graph, seed), graph).tolist() == [True]


@given(deterministic(acyclic=False), st.integers(0, 99), st.data())
def test_a_change_of_one_score_is_found(graph, seed, data):
    useful = gtnet.connect(graph).arc_maps[0]
    useful = useful[graph.weights[useful] > NEG_INF]
    assume(len(useful))
    arc = int(useful[data.draw(st.integers(0, len(useful) - 1))])
    changed = graph.weights.clone()
    changed[arc] += 0.5
    trimmed = gtnet.connect(graph)
    on_possible_path = equivalent(graph, graph.with_weights(changed))
    gone = graph.weights.clone()
    gone[arc] = NEG_INF
    assert on_possible_path.tolist() == equivalent(trimmed, graph.with_weights(gone)).tolist()


def test_cycles_of_different_lengths():
    seven, eleven = (
        Graph(range(n), [*range(1, n), 0], [1] * n, accept=list(range(n))) for n in (7, 11)
    )
    assert equivalent(seven, eleven).item()
    heavier = eleven.with_weights(torch.tensor([0.0] * 10 + [0.01]))
    assert not equivalent(seven, heavier).item()
    assert equivalent(seven, heavier, tolerance=0.1).item()


def test_results_are_batched_and_broadcast():
    one, two = linear([1, 2]), linear([1, 3])
    assert equivalent(stack([one, two, one]), one).tolist() == [True, False, True]
    assert equivalent(one, stack([two, one])).tolist() == [False, True]
    assert randomly_equivalent(stack([one, two, one]), one).tolist() == [True, False, True]
    assert equivalent(one[0:0], one).tolist() == randomly_equivalent(one[0:0], one).tolist() == []


def test_empty_languages():
    nothing, no_end = Graph([], [], [], start=[], accept=[]), Graph([0], [1], [1], accept=[])
    impossible = Graph([0], [1], [1], weights=[NEG_INF], accept=1)
    for compare in (equivalent, randomly_equivalent):
        for a in (nothing, no_end, impossible):
            assert compare(a, nothing).tolist() == [True]
            assert compare(a, linear([])).tolist() == [False]
            assert compare(linear([1]), a).tolist() == [False]


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (trie([[1, 2]]), "graph 0 writes other labels than it reads"),
        (linear([1, EPSILON]), "graph 0 has epsilons"),
        (linear([1]) | linear([2]), "graph 0 has several start states"),
        (Graph([0, 0], [1, 2], [4, 4], accept=[1, 2]), "graph 0 has several arcs of label 4 in"),
        (stack([linear([1]), linear([EPSILON])]), "graph 1 has epsilons"),
    ],
)
def test_what_is_not_deterministic_is_named(graph, said):
    with pytest.raises(ValueError, match=rf"equivalent: b must be a deterministic .*{said}"):
        equivalent(linear([1]), graph)


@settings(max_examples=25)
@given(strategies.graphs(size=1, dtype=torch.float64))
def test_randomly_equivalent_is_right_where_it_draws_all_strings(graph):
    found: dict = {}
    for path in oracle.paths(oracle.only(graph)):
        found.setdefault((path.inputs, path.outputs), []).append(path.score)
    wanted = {key: oracle.log_sum(scores) for key, scores in found.items()}
    if len(wanted) > 4:
        return
    doubled = union(graph, graph)
    assert randomly_equivalent(graph, gtnet.reverse(gtnet.reverse(graph))).item()
    assert randomly_equivalent(graph, doubled).item() == (not wanted)
    assert randomly_equivalent(graph, doubled, beta=math.inf).item()
    less = doubled.with_weights(start=doubled.start - math.log(2))
    assert randomly_equivalent(less, graph).item()


def test_walks_through_cycles_end():
    loop = gtnet.linear([1, 2]).star
    other = Graph([0, 1], [1, 0], [1, 2], start=0, accept=0)
    assert randomly_equivalent(loop, other, generator=torch.Generator().manual_seed(3)).item()
    assert not randomly_equivalent(loop, linear([1, 2]).plus).item()
    assert randomly_equivalent(loop, other, max_length=0).item()


def test_errors_name_the_function():
    with pytest.raises(ValueError, match="equivalent: a has 2 graphs, b has 3"):
        equivalent(stack([linear([1])] * 2), stack([linear([1])] * 3))
    with pytest.raises(TypeError, match="randomly_equivalent: b must be a Graph"):
        randomly_equivalent(linear([1]), 2)
    with pytest.raises(TypeError, match="equivalent: all must have one dtype"):
        equivalent(linear([1]), linear([1], dtype=torch.float64))
