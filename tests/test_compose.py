"""compose, intersect and connect: the paths of the result are the pairs of matching paths."""

from __future__ import annotations

import resource
from collections import Counter

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close, at_most, automata, log_sum, matching, only, paths, relation

from gtnet import EPSILON, Graph, compose, connect, forward_score, intersect, linear, stack

NEG_INF = float("-inf")


def pairs(a: Graph, b: Graph, limit: int | None = None) -> list[Counter]:
    """For every item, the matching pairs of paths with their ends, labels and score."""
    size = max(len(a), len(b))
    allowed = None if limit is None else at_most(limit)
    result = []
    for one, other in zip(automata(a) * size, automata(b) * size, strict=False):
        left = paths(one, allowed, impossible=True)
        right = paths(other, allowed, impossible=True)
        result.append(
            Counter(
                (
                    (p.arcs, q.arcs),
                    (one.first_state + p.first, other.first_state + q.first),
                    (one.first_state + p.last, other.first_state + q.last),
                    (p.inputs, q.outputs, p.score + q.score),
                )
                for p, q in matching(left, right)
            )
        )
    return result[:size]


def product_pairs(product: Graph, limit: int | None = None) -> list[Counter]:
    """The same read off the product through its arc and state maps."""
    arcs = [m.tolist() for m in product.arc_maps]
    states = [m.tolist() for m in product.state_maps]

    def operand_arcs(taken: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(m[arc] for arc in taken if m[arc] >= 0) for m in arcs)

    def allowed(taken: tuple[int, ...]) -> bool:
        return limit is None or all(len(part) <= limit for part in operand_arcs(taken))

    result = []
    for one in automata(product):
        found = paths(one, allowed, impossible=True)
        result.append(
            Counter(
                (
                    operand_arcs(p.arcs),
                    tuple(m[one.first_state + p.first] for m in states),
                    tuple(m[one.first_state + p.last] for m in states),
                    (p.inputs, p.outputs, p.score),
                )
                for p in found
            )
        )
    return result


def spelt(graph: Graph) -> list[Counter]:
    return [relation(paths(one)) for one in automata(graph)]


def rebuilt(graph: Graph, *, flip: bool = False, invert: bool = False, order=None) -> Graph:
    """One graph with its arcs turned round, its labels swapped or its arcs in another order."""
    order = torch.arange(graph.num_arcs) if order is None else order
    source, target = graph.source[order], graph.target[order]
    ilabels, olabels = graph.ilabels[order], graph.olabels[order]
    start, accept = graph.start, graph.accept
    if flip:
        source, target, start, accept = target, source, accept, start
    if invert:
        ilabels, olabels = olabels, ilabels
    weights = graph.weights[order]
    return Graph(source, target, ilabels, olabels, weights, start=start, accept=accept)


def each(function, graph: Graph) -> Graph:
    return stack([function(one) for one in graph])


@settings(max_examples=50)
@given(strategies.operands())
def test_each_matching_pair_of_paths_appears_once(operands):
    a, b = operands
    assert product_pairs(compose(a, b)) == pairs(a, b)


@settings(max_examples=30)
@given(strategies.operands(acyclic=False))
def test_cyclic_operands_pair_their_paths_too(operands):
    a, b = operands
    assert product_pairs(compose(a, b), 3) == pairs(a, b, 3)


@given(strategies.operands(count=3))
def test_composition_associates(operands):
    a, b, c = operands
    assert spelt((a @ b) @ c) == spelt(a @ (b @ c))


@given(strategies.operands())
def test_inverting_and_reversing_go_through_composition(operands):
    a, b = operands
    inverted = [Counter({(o, i, s): n for (i, o, s), n in c.items()}) for c in spelt(a @ b)]
    reversed_ = [
        Counter({(i[::-1], o[::-1], s): n for (i, o, s), n in c.items()}) for c in spelt(a @ b)
    ]
    ai, bi = (each(lambda g: rebuilt(g, invert=True), g) for g in (a, b))
    ar, br = (each(lambda g: rebuilt(g, flip=True), g) for g in (a, b))
    assert spelt(bi @ ai) == inverted
    assert spelt(ar @ br) == reversed_


@given(strategies.operands())
def test_forward_score_of_a_composition_sums_over_pairs(operands):
    a, b = operands
    expected = []
    for item in pairs(a, b):
        expected.append(log_sum([key[3][2] for key in item.elements()]))
    assert_close(forward_score(compose(a, b)), expected)


@given(strategies.operands(), st.randoms(use_true_random=False))
def test_the_order_of_arcs_does_not_matter(operands, random):
    a, b = (each(lambda g: rebuilt(g, order=_shuffled(g, random)), g) for g in operands)
    assert spelt(compose(a, b)) == spelt(compose(*operands))


def _shuffled(graph: Graph, random) -> torch.Tensor:
    order = list(range(graph.num_arcs))
    random.shuffle(order)
    return torch.tensor(order, dtype=torch.int64)


@given(strategies.operands())
def test_a_batch_is_its_items(operands):
    a, b = operands
    size = max(len(a), len(b))
    items = [compose(a[i % len(a)], b[i % len(b)]) for i in range(size)]
    assert compose(a, b).equal(stack(items))


@given(strategies.operands())
def test_broadcasting_equals_repeating(operands):
    a, b = operands
    one = a[0]
    product = compose(one, b)
    repeated = compose(stack([one] * len(b)), b)
    assert product.equal(repeated)
    assert torch.equal(product.arc_maps[1], repeated.arc_maps[1])
    assert torch.equal(product.state_maps[1], repeated.state_maps[1])


@given(strategies.operands())
def test_products_are_trimmed(operands):
    product = compose(*operands)
    assert connect(product).equal(product)


@given(strategies.operands(acceptor=True))
def test_intersection_accepts_what_both_accept(operands):
    a, b = operands
    both = intersect(a, b)
    assert both.is_acceptor
    assert product_pairs(both) == pairs(a, b)
    assert spelt(both) == spelt(intersect(b, a))


def test_two_epsilons_pair_once_and_not_three_times():
    a = Graph([0], [1], [1], [EPSILON], [0.5], accept=1)
    b = Graph([0], [1], [EPSILON], [2], [0.25], accept=1)
    product = compose(a, b)
    assert relation(paths(only(product))) == {((1,), (2,), 0.75): 1}


def test_matmul_composes():
    a, b = linear([1, 2]), Graph([0, 0], [0, 0], [1, 2], [3, 4], accept=0)
    assert (a @ b).equal(compose(a, b))
    assert relation(paths(only(a @ b))) == {((1, 2), (3, 4), 0.0): 1}


def test_self_loops_and_cycles_survive():
    loop = Graph([0], [0], [1], [2], [0.5], accept=0)
    product = compose(loop, Graph([0], [0], [2], [3], [0.25], accept=0))
    assert product.equal(Graph([0], [0], [1], [3], [0.75], accept=0))


def test_epsilon_self_loops_do_not_hang():
    a = Graph([0, 0], [0, 1], [1, 1], [EPSILON, 2], accept=1)
    b = Graph([0, 0], [0, 1], [EPSILON, 2], [3, 3], accept=1)
    assert product_pairs(compose(a, b), 3) == pairs(a, b, 3)


def test_empty_operands_give_an_empty_language():
    nothing = Graph([], [], [], start=[], accept=[])
    word = linear([1])
    for product in (compose(nothing, word), compose(word, nothing), compose(nothing, nothing)):
        assert (len(product), product.num_states, product.num_arcs) == (1, 0, 0)
        assert forward_score(product).item() == NEG_INF


def test_batches_of_no_graphs():
    none = linear([1])[0:0]
    assert len(compose(none, linear([1]))) == len(compose(none, none)) == len(connect(none)) == 0


def test_the_empty_string_is_a_path():
    both = intersect(linear([]), linear([]))
    assert relation(paths(only(both))) == {((), (), 0.0): 1}


def test_more_pairs_of_states_than_fit_in_a_table():
    chain = linear(torch.arange(6000) % 7)
    product = compose(chain, chain)
    assert (product.num_states, product.num_arcs) == (6001, 6000)
    assert torch.equal(product.arc_maps[0], product.arc_maps[1])


def test_labels_with_gaps_and_long_runs_match():
    def fan(labels: list[int]) -> Graph:
        return Graph([0] * len(labels), [1] * len(labels), labels, accept=1)

    a, b = [1000, 3, 3, 7, 2**31 - 1, 5, 0], [5, 3, 7, 7, 2**31 - 1, 6, 1000, 8]
    product = intersect(fan(a), fan(b))
    expected = Counter({x: a.count(x) * b.count(x) for x in set(a) & set(b)})
    assert Counter(product.ilabels.tolist()) == expected


def test_max_arcs_bounds_the_batch_and_names_the_limit():
    wide = Graph([0] * 4, [1] * 4, [1] * 4, accept=1)
    assert compose(wide, wide, max_arcs=16).num_arcs == 16
    with pytest.raises(ValueError, match=r"compose: .*max_arcs=15\b"):
        compose(stack([linear([1]), wide]), wide, max_arcs=15)
    assert intersect(stack([wide, wide]), wide, max_arcs=32).num_arcs == 32
    with pytest.raises(ValueError, match=r"intersect: .*max_arcs=31\b"):
        intersect(stack([wide, wide]), wide, max_arcs=31)


@pytest.mark.parametrize(("items", "width", "limit"), [(1, 6000, 1000), (100, 500, 1_000_000)])
def test_max_arcs_bounds_memory(items, width, limit):
    wide = Graph([0] * width, [1] * width, [1] * width, accept=1)
    batch = stack([wide] * items)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"compose: .*max_arcs={limit}\b"):
        compose(batch, wide, max_arcs=limit)
    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kilobytes < 100_000


@settings(max_examples=15)
@given(strategies.operands(), st.integers(0, 99))
def test_gradcheck_compose(operands, seed):
    a, b = (strategies.with_random_scores(g, seed + i) for i, g in enumerate(operands))
    inputs = [t.clone().requires_grad_() for g in (a, b) for t in (g.weights, g.start, g.accept)]
    possible = [t > NEG_INF for t in inputs]

    def product(*scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = [t.masked_fill(~keep, NEG_INF) for t, keep in zip(scores, possible, strict=True)]
        result = compose(
            a.with_weights(scores[0], start=scores[1], accept=scores[2]),
            b.with_weights(scores[3], start=scores[4], accept=scores[5]),
        )
        return tuple(t[t > NEG_INF] for t in (result.weights, result.start, result.accept))

    finite = [t.detach().masked_fill(~keep, 0) for t, keep in zip(inputs, possible, strict=True)]
    inputs = [t.requires_grad_() for t in finite]
    if any(t.numel() for t in product(*inputs)):
        assert torch.autograd.gradcheck(product, inputs)


# connect


@given(strategies.graphs())
def test_connect_keeps_the_paths_and_only_them(graph):
    kept = connect(graph)
    arcs, states = kept.arc_maps[0].tolist(), kept.state_maps[0].tolist()
    for before, after in zip(automata(graph), automata(kept), strict=True):
        all_before = paths(before, impossible=True)
        all_after = paths(after, impossible=True)
        assert Counter(tuple(arcs[k] for k in p.arcs) for p in all_after) == Counter(
            p.arcs for p in all_before
        )
        assert relation(all_after) == relation(all_before)
        used = {k for p in all_before for k in p.arcs}
        ends = {s for p in all_before for s in (p.first, p.last)}
        touched = ends | {
            x for arc in before.arcs if arc.index in used for x in (arc.source, arc.target)
        }
        assert {arcs[arc.index] for arc in after.arcs} == used
        first = after.first_state
        here = states[first : first + after.num_states]
        assert here == [before.first_state + s for s in sorted(touched)]
    assert torch.equal(kept.weights, graph.weights[kept.arc_maps[0].long()])
    assert torch.equal(kept.start, graph.start[kept.state_maps[0].long()])
    assert torch.equal(kept.accept, graph.accept[kept.state_maps[0].long()])


def test_connect_on_a_cycle():
    graph = Graph([0, 1, 1, 2, 3], [1, 0, 2, 2, 1], [0, 1, 2, 3, 4], accept=1)
    kept = connect(graph)
    assert kept.equal(Graph([0, 1], [1, 0], [0, 1], accept=1))
    assert kept.arc_maps[0].tolist() == [0, 1]


@settings(max_examples=15)
@given(strategies.graphs(), st.integers(0, 99))
def test_connect_passes_gradients(graph, seed):
    graph = strategies.with_random_scores(graph, seed).requires_grad_()
    kept = connect(graph)
    kept.weights.sum().backward()
    expected = torch.zeros(graph.num_arcs, dtype=torch.float64)
    expected[kept.arc_maps[0].long()] = 1
    assert torch.equal(graph.weights.grad, expected)
