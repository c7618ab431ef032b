"""Composition by blocks of threads: the product of the CPU, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import emulated
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gtnet import (
    EPSILON,
    Emissions,
    Graph,
    compose,
    connect,
    forward_score,
    intersect,
    linear,
    posteriors,
    shortest_distance,
    stack,
    viterbi_path,
    viterbi_score,
)
from gtnet._ops import library

NEG_INF = float("-inf")


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def on_cpu(work: Callable[[], object]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "on_gpu", lambda tensor: False)
        return work()


def there(work: Callable[[], object], *ran: str):
    with emulated.OnGpu() as gpu:
        result = work()
    assert set(ran) <= gpu.ran
    return result


def assert_identical(ours: Graph, expected: Graph) -> None:
    assert ours.equal(expected)
    assert ours.is_acceptor == expected.is_acceptor
    for name in ("state_offsets", "arc_offsets", "weights", "start", "accept"):
        assert emulated.same_bits(getattr(ours, name), getattr(expected, name)), name
    for name in ("arc_maps", "state_maps"):
        pairs = zip(getattr(ours, name), getattr(expected, name), strict=True)
        assert all(emulated.same_bits(*pair) for pair in pairs), name


@settings(max_examples=40)
@given(strategies.operands() | strategies.operands(acyclic=False))
def test_products_are_those_of_the_cpu(operands):
    a, b = operands
    assert_identical(there(lambda: compose(a, b), "explore"), on_cpu(lambda: compose(a, b)))


@settings(max_examples=20)
@given(strategies.graphs(acyclic=False))
def test_connect_is_that_of_the_cpu(graph):
    assert_identical(there(lambda: connect(graph), "reach"), on_cpu(lambda: connect(graph)))


def dense(states: int, arcs: int, labels: int, seed: int, *, acyclic: bool = False) -> Graph:
    """Arcs between random states with random labels on both sides, epsilons among them."""
    source = torch.Generator().manual_seed(seed)

    def drawn(low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, (arcs,), generator=source)

    begin, end = drawn(0, states), drawn(0, states)
    if acyclic:
        begin, end = torch.minimum(begin, end), torch.maximum(begin, end)
        end = torch.where(begin == end, end + 1, end)
        states += 1
    weights = torch.randn(arcs, generator=source)
    ends = dict.fromkeys(range(0, states, 3), 0.5)
    return Graph(
        begin, end, drawn(EPSILON, labels), drawn(EPSILON, labels), weights,
        start=ends, accept=ends, num_states=states,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (dense(40, 300, 5, 0), dense(50, 300, 5, 1)),  # pairs beyond a block's threads
        (dense(2, 120, 1, 2), dense(1, 90, 1, 3)),  # arcs of a pair beyond a round
        (dense(3, 2500, 3000, 4), dense(2, 900, 3000, 5)),  # labels of a pair beyond a chunk
        (stack([dense(9, 90, 2, s) for s in range(5)]), dense(30, 100, 2, 9)),
    ],
)
def test_large_products_are_those_of_the_cpu(a, b):
    assert_identical(there(lambda: compose(a, b), "explore"), on_cpu(lambda: compose(a, b)))


def test_one_label_on_thousands_of_arcs():
    """Of which each meets each; the largest label has no next one."""
    label, number = 2**31 - 1, 70
    many = Graph([0] * number, [1] * number, [label] * number, accept=1)
    product = there(lambda: intersect(many, many))
    assert product.num_arcs == number * number
    assert_identical(product, on_cpu(lambda: intersect(many, many)))


def test_empty_batches_and_languages():
    nothing = Graph([], [], [], start=[], accept=[])
    some = linear([1, 2])
    for a, b in ((nothing, some), (some, nothing), (some[0:0], some), (some, linear([3]))):
        assert_identical(there(lambda a=a, b=b: a @ b), on_cpu(lambda a=a, b=b: a @ b))


def test_too_many_arcs_are_refused_as_on_the_cpu():
    a, b = dense(20, 200, 2, 0), dense(20, 200, 2, 1)
    explored = there(lambda: torch.ops.gtnet.explore(*explore_arguments(a, b, 10**6)))
    arcs = len(explored[3])
    assert not explored[0]
    assert not there(lambda: torch.ops.gtnet.explore(*explore_arguments(a, b, arcs)))[0]
    assert there(lambda: torch.ops.gtnet.explore(*explore_arguments(a, b, arcs - 1)))[0]
    for most in (arcs - 1, 1, 0):
        with pytest.raises(ValueError, match=f"compose: the product has more than max_arcs={most}"):
            there(lambda most=most: compose(a, b, max_arcs=most))
    starts = Graph([], [], [], start=list(range(9)), accept=0, num_states=9)
    with pytest.raises(ValueError, match="more than max_arcs=80"):
        there(lambda: compose(starts, starts, max_arcs=80))
    assert there(lambda: compose(starts, starts, max_arcs=81)).num_states == 1


def explore_arguments(a: Graph, b: Graph, most: int) -> tuple:
    ends = (a.start > NEG_INF, b.start > NEG_INF)
    by = (a.topology.leaving_by_olabel, b.topology.leaving_by_ilabel)
    return (a.state_offsets, *by[0], ends[0], b.state_offsets, *by[1], ends[1], 1, most)


def results(a: Graph, b: Graph) -> list[torch.Tensor]:
    """What is asked of a product, and gradients to both operands."""
    given = [t.detach().clone().requires_grad_() for t in (a.weights, b.weights, b.accept)]
    product = a.with_weights(given[0]) @ b.with_weights(given[1], accept=given[2])
    total, best = forward_score(product), viterbi_score(product)
    path = viterbi_path(product)
    found = [total, best, posteriors(product), shortest_distance(product), path.weights]
    for score in (total, best):
        found += torch.autograd.grad(score[score > NEG_INF].sum(), given, retain_graph=True)
    return [t.detach() for t in found] + [*path.arc_maps]


@settings(max_examples=25)
@given(strategies.operands(), st.integers(0, 99))
def test_sums_and_best_paths_of_products_with_gradients(operands, seed):
    a, b = (strategies.with_random_scores(g, seed + i) for i, g in enumerate(operands))
    ran = ("explore", "reach", "depths", "log_distance", "best_distance", "trace")
    found = there(lambda: results(a, b), *ran)
    for ours, expected in zip(found, on_cpu(lambda: results(a, b)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_lattices_of_emissions_through_a_lexicon():
    scores = torch.randn(3, 12, 6, dtype=torch.float64)
    lattice = Emissions(scores, [12, 9, 0]).graph()
    words = dense(60, 300, 6, 7, acyclic=True).to(torch.float64)
    found = there(lambda: results(lattice, words), "explore", "log_distance_backward")
    for ours, expected in zip(found, on_cpu(lambda: results(lattice, words)), strict=True):
        torch.testing.assert_close(ours, expected)


def test_cyclic_products_are_refused_by_name():
    loop = Graph([0, 0], [0, 0], [1, 2], accept=0).detach()
    product = there(lambda: loop @ loop)
    with pytest.raises(ValueError, match="graph 0 has a cycle through state 0"):
        there(lambda: product.topology.walk("forward_score"))
