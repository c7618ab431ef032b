"""Distances between label sequences, against Levenshtein's recursion in plain Python."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gtnet import (
    Graph,
    edit_costs,
    edit_distance,
    edit_transducer,
    forward_score,
    hamming_costs,
    linear,
    mismatch_costs,
    stack,
    union,
    viterbi_score,
)

TEXT = st.lists(st.integers(0, 3), max_size=5)


def levenshtein(a, b, insertion=1.0, deletion=1.0, substitution=1.0) -> float:
    row = [j * insertion for j in range(len(b) + 1)]
    for x in a:
        above, row = row, [row[0] + deletion]
        for j, y in enumerate(b):
            change = above[j] + (0 if x == y else substitution)
            row.append(min(change, above[j + 1] + deletion, row[j] + insertion))
    return row[-1]


def hamming(a, b) -> float:
    return sum(x != y for x, y in itertools.zip_longest(a, b))


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_edit_distance(pairs):
    a, b = zip(*pairs)
    found = edit_distance(linear(list(a)), linear(list(b)))
    assert found.tolist() == [levenshtein(x, y) for x, y in pairs]


@given(TEXT, TEXT, *[st.sampled_from([0.0, 0.5, 1.0, 2.5])] * 3)
def test_edit_transducer_with_other_costs(a, b, insertion, deletion, substitution):
    costs = {"insertion": insertion, "deletion": deletion, "substitution": substitution}
    edits = edit_transducer(4, **costs, dtype=torch.float64)
    chains = (linear(text, dtype=torch.float64) for text in (a, b))
    found = viterbi_score(next(chains) @ edits @ next(chains))
    assert found.item() == pytest.approx(-levenshtein(a, b, **costs))


@given(st.lists(st.lists(st.integers(-1, 2), max_size=4), min_size=3, max_size=3), st.booleans())
def test_sequences_and_graphs_of_one_path_agree(texts, one):
    """A state that leads nowhere makes a chain a graph like any other."""
    torch.manual_seed(0)
    chains = [linear(text, torch.randn(len(text), dtype=torch.float64)) for text in texts]
    left, right = stack(chains[:1] if one else chains[:2]), stack(chains[1:])
    dead = Graph([], [], [], start=[], accept=[], num_states=1).to(torch.float64)
    results = []
    for others in (left, union(left, dead)):
        a, b = (
            g.with_weights(g.weights.detach().clone().requires_grad_()) for g in (others, right)
        )
        found = edit_distance(a, b)
        found.sum().backward()
        results.append((found, a.weights.grad, b.weights.grad))
    for first, second in zip(*results):
        torch.testing.assert_close(first, second)


def test_long_sequences():
    a = [i * 7919 % 101 for i in range(3000)]
    b = [*a[:1000], 5, 6, *a[1003:2000], *a[2001:]]  # three become two, one is left out
    assert edit_distance(linear(a), linear(b)).tolist() == [
        levenshtein(a[990:1010], b[990:1009]) + 1
    ]
    impossible = linear([1], torch.tensor([-math.inf]))
    assert edit_distance(impossible, linear([1])).tolist() == [math.inf]
    assert edit_distance(linear([]), linear([[1, 2], []])).tolist() == [2, 0]
    with pytest.raises(ValueError, match="2 graphs, b has 3"):
        edit_distance(linear([[1], [2]]), linear([[1], [2], [3]]))


def test_edit_distance_of_languages_is_that_of_the_closest_pair():
    words = linear([1, 2, 3]) | linear([7])
    assert edit_distance(words, linear([[1, 3], [7, 7], []])).tolist() == [1, 1, 1]
    scored = Graph([0, 0], [1, 1], [1, 2], weights=[-5.0, 0.0], accept=1)
    assert edit_distance(scored, linear([1])).tolist() == [1]
    nothing = Graph([], [], [], start=[], accept=[])
    assert edit_distance(nothing, linear([1])).tolist() == [math.inf]


@pytest.mark.parametrize(
    ("build", "distance"),
    [
        (edit_costs, levenshtein),
        (hamming_costs, hamming),
        (mismatch_costs, lambda a, b: float(a != b)),
    ],
)
@given(answers=st.lists(TEXT, min_size=1, max_size=3), text=TEXT)
def test_costs_give_every_sequence_its_distance_on_one_path(build, distance, answers, text):
    costs = build(answers, [3, 0, 1, 2, 2], dtype=torch.float64)
    priced = costs @ linear(text, dtype=torch.float64)
    expected = pytest.approx([distance(answer, text) for answer in answers])
    assert viterbi_score(priced).tolist() == expected
    assert forward_score(priced).tolist() == expected


def test_answers_may_hold_labels_that_nothing_writes():
    for build in (edit_costs, hamming_costs, mismatch_costs):
        costs = build([9, 1], 2)
        assert viterbi_score(costs @ linear([1])).item() == {edit_costs: 1, hamming_costs: 2}.get(
            build, 1
        )


def test_errors():
    with pytest.raises(ValueError, match="insertion must lie in"):
        edit_transducer(2, insertion=-1)
    with pytest.raises(ValueError, match="labels must be >= 0, got -1"):
        edit_transducer([-1, 2])
    with pytest.raises(ValueError, match="max_states=100"):
        edit_costs(list(range(8)), 9, max_states=100)


def test_graphs_without_states_among_sequences_have_no_distance():
    nothing = Graph([], [], [], start=[], accept=[], num_states=0)
    two = Graph([], [], [], accept=0, num_states=2)
    for batch in ([two, nothing], [nothing, two], [linear([1]), two, nothing]):
        found = edit_distance(stack(batch), linear([1, 2]))
        expected = [edit_distance(one, linear([1, 2])).item() for one in batch]
        assert found.tolist() == expected
    assert expected == [1.0, 2.0, math.inf]
