"""difference against the difference of sets of strings."""

from __future__ import annotations

from collections import Counter

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata

from gtnet import EPSILON, Graph, difference, forward_score, linear, stack, trie, union

NEG_INF = float("-inf")


def accepts(one: oracle.Automaton, string: tuple[int, ...]) -> bool:
    """Whether an acceptor, simulated with sets of states, accepts a string."""

    def closed(states: set[int]) -> set[int]:
        queue = list(states)
        while queue:
            at = queue.pop()
            for arc in one.arcs:
                silent = arc.ilabel == EPSILON and arc.weight > NEG_INF
                if silent and arc.source == at and arc.target not in states:
                    states.add(arc.target)
                    queue.append(arc.target)
        return states

    states = closed({s for s, score in enumerate(one.start) if score > NEG_INF})
    for label in string:
        states = closed(
            {
                arc.target
                for arc in one.arcs
                if arc.source in states and arc.ilabel == label and arc.weight > NEG_INF
            }
        )
    return any(one.accept[s] > NEG_INF for s in states)


@settings(max_examples=60)
@given(st.data())
def test_difference_is_the_set_difference(data):
    size, dtype = data.draw(st.integers(1, 3)), data.draw(strategies.DTYPES)
    a = data.draw(strategies.graphs(size=data.draw(st.sampled_from([1, size])), dtype=dtype))
    b = data.draw(
        strategies.graphs(
            size=data.draw(st.sampled_from([1, size])),
            dtype=dtype,
            acyclic=data.draw(st.booleans()),
            acceptor=True,
        )
    )
    rest = difference(a, b)
    size = max(len(a), len(b))
    ours, theirs = (automata(g) * (size if len(g) == 1 else 1) for g in (a, b))
    assert len(rest) == size
    assert rest.is_acceptor >= a.is_acceptor
    (arc_map,) = rest.arc_maps
    for one, other, left in zip(ours, theirs, automata(rest), strict=True):
        wanted = Counter(
            (p.arcs, p.inputs, p.outputs, p.score)
            for p in oracle.paths(one)
            if not accepts(other, p.outputs)
        )
        found = Counter(
            (tuple(int(arc_map[arc]) for arc in p.arcs), p.inputs, p.outputs, p.score)
            for p in oracle.paths(left)
        )
        assert found == wanted


@given(strategies.graphs(acyclic=False, acceptor=True))
def test_nothing_is_left_of_a_graph_without_itself(graph):
    rest = difference(graph, graph)
    possible = graph.weights > NEG_INF
    assert (rest.num_states == 0) or not possible.all()


@given(strategies.operands(acceptor=True))
def test_what_is_left_and_what_is_shared_make_the_whole(operands):
    a, b = operands
    words = linear([0, 1, 2]) | linear([1]) | linear([])
    words = words.to(a.dtype)
    rest, shared = difference(a, words), difference(a, difference(a, words))
    whole, a_alone = forward_score(union(rest, shared)), forward_score(a)
    torch.testing.assert_close(whole, a_alone)
    torch.testing.assert_close(
        forward_score(difference(difference(a, words), b)),
        forward_score(difference(difference(a, b), words)),
    )


def test_gradient_goes_to_what_is_left():
    a = linear([1], dtype=torch.float64) | linear([2], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.25], dtype=torch.float64, requires_grad=True)
    a = a.with_weights(weights)
    rest = difference(a, linear([2], dtype=torch.float64))
    forward_score(rest).sum().backward()
    assert weights.grad.tolist() == [1, 0]
    assert torch.autograd.gradcheck(
        lambda w: forward_score(difference(a.with_weights(w), linear([1, 2]).to(w.dtype))), weights
    )


def test_of_a_transducer_the_output_counts():
    lexicon = trie([[1, 2], [1, 3]])
    assert forward_score(difference(lexicon, linear([0]))).item() == 0
    rest = difference(lexicon, linear([0]) | linear([5]))
    assert rest.olabels.tolist() == [EPSILON, 1]


def test_a_cyclic_remainder():
    any_string = linear([1]).star
    rest = difference(any_string, linear([1, 1]))
    for length in range(5):
        score = forward_score(rest @ linear([1] * length)).item()
        assert score == (NEG_INF if length == 2 else 0)


def test_subsets_that_grow_are_bounded():
    # The n-th label from the end is 1: deterministic automata for it have 2^n states.
    n = 20
    source = [0, 0, 0, *range(1, n), *range(1, n)]
    target = [0, 0, 1, *range(2, n + 1), *range(2, n + 1)]
    b = Graph(source, target, [0, 1, 1] + [0] * (n - 1) + [1] * (n - 1), accept=n)
    every = Graph([0, 0], [0, 0], [0, 1], accept=0)
    with pytest.raises(ValueError, match="difference: more than max_arcs=1000 arcs are explored"):
        difference(every, b, max_arcs=1000)
    short = linear([0, 1, 0]) | linear([1, *[0] * (n - 1)])
    assert forward_score(difference(short, b)).item() == 0


def test_bad_operands_are_named():
    graph = linear([1])
    with pytest.raises(ValueError, match="difference: b must be an acceptor"):
        difference(graph, trie([[1]]))
    with pytest.raises(ValueError, match="difference: a has 2 graphs, b has 3"):
        difference(stack([graph] * 2), stack([graph] * 3))
    with pytest.raises(TypeError, match="difference: all must have one dtype"):
        difference(graph, graph.to(torch.float64))
    with pytest.raises(TypeError, match="difference: b must be a Graph"):
        difference(graph, 1)


def test_empty_operands():
    nothing, graph = Graph([], [], [], start=[], accept=[]), linear([1])
    assert difference(graph, nothing).equal(graph)
    assert difference(nothing, graph).num_states == 0
    assert len(difference(graph[0:0], graph)) == 0
    assert difference(linear([]), linear([])).num_states == 0
    assert forward_score(difference(stack([graph, nothing]), nothing)).tolist() == [0, NEG_INF]
