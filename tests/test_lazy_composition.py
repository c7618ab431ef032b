"""LazyComposition: what is read of it on demand is what is read of the product that is built."""

from __future__ import annotations

import math

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, paths
from torch.autograd import gradcheck

import gtnet
from gtnet import (
    EPSILON,
    Graph,
    LazyComposition,
    compose,
    forward_score,
    k_best,
    label_sequences,
    lazy_composition,
    prune,
    sample,
    viterbi_path,
    viterbi_score,
)


def falling(graph: Graph) -> Graph:
    """Without cycles of positive score."""
    return graph.with_weights(-graph.weights.abs())


def cyclic_operands() -> st.SearchStrategy[tuple[Graph, Graph]]:
    both = strategies.operands(acyclic=False)
    return both.map(lambda pair: (falling(pair[0]), falling(pair[1])))


def is_a_path_of(path: Graph, a: Graph, b: Graph) -> None:
    """The maps name arcs of both operands, whose scores add up to those of the path."""
    assert path.arc_maps is not None and len(path.arc_maps) == 2
    parts = [
        torch.where(arcs >= 0, torch.cat([graph.weights, graph.weights.new_zeros(1)])[arcs], 0)
        for graph, arcs in zip((a, b), path.arc_maps, strict=True)
    ]
    assert torch.equal(path.weights, parts[0] + parts[1])
    read = a.ilabels[path.arc_maps[0]] if a.num_arcs else path.ilabels
    assert torch.equal(path.ilabels, torch.where(path.arc_maps[0] >= 0, read, EPSILON))


@given(st.one_of(strategies.operands(), cyclic_operands()))
@settings(max_examples=25)
def test_best_paths_are_those_of_the_product(pair):
    a, b = pair
    lazy, whole = LazyComposition(a, b), compose(a, b)
    assert len(lazy) == len(whole)
    assert torch.equal(viterbi_score(lazy), viterbi_score(whole))
    found = viterbi_path(lazy)
    assert torch.equal(viterbi_score(found), viterbi_score(whole))
    is_a_path_of(found, a, b)
    assert lazy.graph().equal(whole)
    assert torch.equal(forward_score(lazy, math.inf), viterbi_score(whole))


@given(
    st.one_of(strategies.operands(), cyclic_operands()),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from([None, "ilabels", "olabels"]),
)
@settings(max_examples=25)
def test_k_best_paths_are_those_of_the_product(pair, k, unique):
    lazy, whole = LazyComposition(*pair), compose(*pair)
    ours, theirs = k_best(lazy, k, unique=unique), k_best(whole, k, unique=unique)
    assert len(ours) == len(theirs)
    for found, expected in zip(ours, theirs, strict=True):
        assert viterbi_score(found).tolist() == viterbi_score(expected).tolist()
        is_a_path_of(found, *pair)
        if unique is not None:
            said = [tuple(s) for s in label_sequences(found, side=unique)]
            assert len(set(said)) == len(said)


@given(strategies.operands(), st.sampled_from([0.0, 0.5, 2.0, math.inf]))
@settings(max_examples=30)
def test_what_is_pruned_is_that_of_the_product(pair, beam):
    found, expected = prune(LazyComposition(*pair), beam=beam), prune(compose(*pair), beam=beam)
    for one, other in zip(found, expected, strict=True):
        sizes = one.num_states, one.num_arcs
        assert sizes == (other.num_states, other.num_arcs)
    assert torch.equal(viterbi_score(found), viterbi_score(expected))
    torch.testing.assert_close(forward_score(found), forward_score(expected))


@given(strategies.operands())
@settings(max_examples=20)
def test_sums_and_samples_build_the_product(pair):
    lazy, whole = LazyComposition(*pair), compose(*pair)
    assert torch.equal(forward_score(lazy), forward_score(whole))
    draws = [
        sample(graph, 3, generator=torch.Generator().manual_seed(0)) for graph in (lazy, whole)
    ]
    for ours, theirs in zip(*draws, strict=True):
        assert ours.equal(theirs)
        is_a_path_of(ours, *pair)


def word_graphs(words: int, length: int, dtype=torch.float64) -> tuple[Graph, Graph]:
    """A chain with two labels for each frame, and words that follow each other in any order."""
    generator = torch.Generator().manual_seed(0)
    source = torch.arange(length).repeat_interleave(4)
    chain = Graph(
        source,
        source + 1,
        torch.arange(4).repeat(length),
        None,
        torch.randn(4 * length, generator=generator, dtype=dtype),
        accept=length,
    )
    spelled = torch.randint(4, (words, 6), generator=generator).tolist()
    loop = gtnet.trie(spelled, dtype=dtype).star
    return chain, loop.with_weights(loop.weights.detach() - 0.125)


def test_what_is_made_is_bounded_and_a_fraction():
    chain, loop = word_graphs(1000, 12)
    whole = compose(chain, loop)
    small = LazyComposition(chain, loop, max_arcs=whole.num_arcs // 8)
    assert torch.equal(viterbi_score(small), viterbi_score(whole))
    with pytest.raises(ValueError, match=r"viterbi_score: more than max_arcs=50 arcs of the pro"):
        viterbi_score(LazyComposition(chain, loop, max_arcs=50))
    with pytest.raises(ValueError, match="more than max_arcs=50 arcs; "):
        forward_score(LazyComposition(chain, loop, max_arcs=50))


def test_scores_may_change_between_calls():
    chain, loop = word_graphs(20, 12)
    lazy = LazyComposition(chain, loop)
    before = viterbi_score(lazy)
    with torch.no_grad():
        chain.weights[::3] -= 1
    assert torch.equal(viterbi_score(lazy), viterbi_score(compose(chain, loop)))
    loop.weights = loop.weights - 0.5
    assert torch.equal(viterbi_score(lazy), viterbi_score(compose(chain, loop)))
    assert not torch.equal(viterbi_score(lazy), before)


def test_gradients_flow_to_both():
    chain, loop = word_graphs(20, 12)

    def scores(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        lazy = LazyComposition(chain.with_weights(one), loop.with_weights(other))
        paths = k_best(lazy, 3)[0]
        return torch.cat([viterbi_score(lazy), viterbi_score(paths), viterbi_path(lazy).weights])

    leaves = [w.clone().requires_grad_() for w in (chain.weights, loop.weights)]
    assert gradcheck(scores, leaves)


def test_what_cannot_be_composed_is_named():
    chain, loop = word_graphs(3, 4)
    with pytest.raises(TypeError, match="LazyComposition: b must be a Graph, got int"):
        LazyComposition(chain, 3)
    with pytest.raises(TypeError, match="float32"):
        LazyComposition(chain, loop.to(torch.float32))
    with pytest.raises(ValueError, match="LazyComposition: a has 2 graphs, b has 3"):
        LazyComposition(gtnet.stack([chain] * 2), gtnet.stack([loop] * 3))
    gaining = Graph([0], [0], [0], None, [1.0], accept=0).to(torch.float64)
    with pytest.raises(ValueError, match=r"viterbi_path: .*positive"):
        viterbi_path(LazyComposition(chain, gaining))


def test_it_composes_further():
    chain, loop = word_graphs(5, 6)
    lazy = LazyComposition(chain, loop)
    again = LazyComposition(lazy, loop)
    assert torch.equal(viterbi_score(again), viterbi_score((chain @ loop) @ loop))
    assert "LazyComposition(Graph(" in repr(lazy) and torch.equal(
        viterbi_score(lazy @ loop), viterbi_score(again)
    )


def read_one_by_one(lazy: LazyComposition, item: int) -> Graph:
    """What is reached from the start, with the maps of `compose`."""
    number: dict[int, int] = {}
    start = lazy.start_states(item)
    waiting = list(start)
    for state in waiting:
        number[state] = len(number)
    rows = []
    while waiting:
        state = waiting.pop()
        for arc in lazy.arcs(state):
            if arc.target not in number:
                number[arc.target] = len(number)
                waiting.append(arc.target)
            rows.append((number[state], number[arc.target], *arc[:3], *arc[4:]))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 7
    graph = Graph(
        *map(list, columns[:4]),
        torch.tensor(columns[4], dtype=lazy.dtype),
        start=[start.get(state, -math.inf) for state in number],
        accept=[lazy.accept_score(state) for state in number],
        num_states=len(number),
    )
    graph.arc_maps = tuple(torch.tensor(c, dtype=torch.int32) for c in columns[5:])
    return graph


def spelled(graph: Graph) -> list[tuple]:
    """The paths of one graph: arcs of both operands, labels, score."""
    (one,) = automata(graph)
    maps = [m.tolist() for m in graph.arc_maps]
    return sorted(
        (*(tuple(m[k] for k in p.arcs) for m in maps), p.inputs, p.outputs, round(p.score, 4))
        for p in paths(one)
    )


@given(strategies.operands(), st.sampled_from([0, 3, 1000]))
@settings(max_examples=25)
def test_states_read_one_by_one_are_those_of_the_product(pair, kept):
    a, b = pair
    lazy = LazyComposition(a, b, kept_arcs=kept)
    whole = compose(a, b)
    for item in range(len(lazy)):
        expected = whole[item]
        first = whole.arc_offsets[item]
        expected.arc_maps = tuple(m[first : first + expected.num_arcs] for m in whole.arc_maps)
        assert spelled(read_one_by_one(lazy, item)) == spelled(expected)


def test_arcs_of_few_states_are_kept():
    a, b = word_graphs(40, 8)
    lazy = LazyComposition(a, b, kept_arcs=50)
    start = next(iter(lazy.start_states()))
    arcs = lazy.arcs(start)
    assert lazy.arcs(start) is arcs
    assert lazy.state_pair(start) == (0, 0) and not lazy.is_accepting(start)
    read_one_by_one(lazy, 0)
    assert 1 <= lazy._states[1].kept <= 50
    with torch.no_grad():
        a.weights[0] += 1.0
    assert sum(arc.weight for arc in lazy.arcs(start)) != sum(arc.weight for arc in arcs)
    with pytest.raises(ValueError, match="-1 is no state of the composition"):
        lazy.arcs(-1)
    with pytest.raises(ValueError, match="item must be"):
        lazy.start_states(3)


def test_where_most_of_the_product_is_needed_it_is_built(monkeypatch):
    """And the search goes on where the product is larger still; the answers are the same."""
    a, b = word_graphs(30, 12)
    expected = viterbi_score(compose(a, b))
    for many in (1, 50, 10**6):
        monkeypatch.setattr(lazy_composition, "_MANY", many)
        assert torch.equal(viterbi_score(LazyComposition(a, b)), expected)
