"""Path sums without logarithms give what those with logarithms give, whatever the range."""

from __future__ import annotations

import pytest
import torch
from oracle import assert_close

import gtnet
from gtnet import Graph, linear, posteriors, random_graph, shortest_distance, stack
from gtnet._ops.drivers import drivers_used

NEG_INF = float("-inf")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


def with_logarithms(graph: Graph) -> Graph:
    """The same graph and an arc between two states of no path, too unlikely for a factor."""
    states = graph.num_states
    source, target = (
        torch.cat([ends, torch.tensor([states + k])])
        for k, ends in enumerate((graph.source, graph.target))
    )
    start, accept = (torch.cat([x, x.new_full((2,), NEG_INF)]) for x in (graph.start, graph.accept))
    weights = torch.cat([graph.weights, graph.weights.new_tensor([-1e4])])
    return Graph(
        source, target, torch.zeros_like(source), None, weights, start=start, accept=accept
    )


def results(graph: Graph) -> list[torch.Tensor]:
    learning = graph.detach().requires_grad_()
    score = gtnet.forward_score(learning)
    score.sum().backward()
    ends = (shortest_distance(graph), shortest_distance(graph, to_accept=True))
    grads = (learning.weights.grad, learning.start.grad, learning.accept.grad)
    return [score.detach(), posteriors(graph), *ends, *grads]


def agrees(graph: Graph) -> list[torch.Tensor]:
    """The results, the same as with logarithms."""
    with drivers_used() as used:
        ours = results(graph)
    assert set(used) == {"scaled sums"}
    with drivers_used() as used:
        theirs = results(with_logarithms(graph))
    assert set(used) <= {"state by state", "slices"}
    for one, other in zip(ours, theirs, strict=True):
        tolerance = TOLERANCE[graph.dtype]
        torch.testing.assert_close(one, other[: len(one)], rtol=tolerance, atol=tolerance)
    return ours


@DTYPES
@pytest.mark.parametrize("seed", range(3))
def test_random_graphs(dtype, seed):
    torch.manual_seed(seed)
    graph = random_graph(700, 6000, 5, jump=40).to(dtype)  # accepting states lie apart
    weights = 20 * torch.randn_like(graph.weights)
    weights = weights.clamp(-300, 300).masked_fill(torch.rand_like(weights) < 0.2, NEG_INF)
    start, accept = torch.randn(2, 700, dtype=dtype).masked_fill(torch.rand(2, 700) < 0.9, NEG_INF)
    agrees(graph.with_weights(weights, start=start, accept=accept))


@DTYPES
def test_rows_of_many_arcs(dtype):
    torch.manual_seed(0)
    wide = gtnet.Emissions(torch.randn(1, 6, 61)).graph().to(dtype)
    agrees(wide)
    states = torch.arange(40)
    agrees(
        Graph(
            states,
            torch.full((40,), 40),
            states,
            None,
            torch.randn(40, dtype=dtype),
            start=list(range(40)),
            accept=40,
        )
    )


@DTYPES
def test_long_paths_are_beyond_all_exponents_of_floats(dtype):
    for score in (-79.0, 79.0):
        chain = linear([1] * 3000).to(dtype)
        chain = chain.with_weights(torch.full_like(chain.weights, score))
        total, chances, *_ = agrees(chain)
        assert total.item() == pytest.approx(3000 * score, rel=1e-6)
        assert_close(chances, [1.0] * 3000)


@DTYPES
@pytest.mark.parametrize("first", [-1, 1])
def test_a_term_far_above_or_below_the_others(dtype, first):
    # Two branches of 30 arcs, of very different scores, meet in one state, in either order.
    steps = torch.arange(30)
    source = torch.cat([steps, torch.tensor([0]), 31 + steps[:-1]])
    target = torch.cat([1 + steps[:-1], torch.tensor([60]), 31 + steps[:-1], torch.tensor([60])])
    weights = torch.cat([torch.full((30,), 70.0 * first), torch.full((30,), -70.0 * first)])
    graph = Graph(source, target, torch.zeros_like(source), None, weights.to(dtype), accept=60)
    total, chances, *_ = agrees(graph)
    assert total.item() == pytest.approx(2100)
    assert_close(chances, (weights > 0).double().tolist())


@DTYPES
def test_an_impossible_arc_from_the_likely_to_the_unlikely_passes_on_nothing(dtype):
    # State 9 is reached only by the unlikely branch, whose rest is far above 1 over the likely one.
    steps = torch.arange(8)
    source = torch.cat([steps, torch.tensor([0]), 9 + steps, torch.tensor([8])])
    target = torch.cat([1 + steps, torch.tensor([9]), 10 + steps, torch.tensor([17])])
    weights = torch.tensor([290.0] * 8 + [-290.0] * 9 + [NEG_INF], dtype=dtype)
    for order in (torch.arange(18), torch.arange(18).flip(0)):
        ends = (source[order], target[order], torch.zeros_like(order))
        total, chances, *_ = agrees(Graph(*ends, None, weights[order], accept=17))
        assert total.item() == pytest.approx(-9 * 290)
        assert_close(chances, torch.tensor([0.0] * 8 + [1.0] * 9 + [0.0])[order].tolist())


@DTYPES
def test_what_no_path_reaches_has_no_gradient(dtype):
    graph = Graph([0, 2, 1], [1, 1, 3], [0, 0, 0], accept=3).to(dtype)
    _, chances, distance, *_ = agrees(graph)
    assert chances.tolist() == [1, 0, 1]
    assert distance.tolist() == [0, 0, NEG_INF, 0]
    empty = Graph([0], [1], [0], start=[0], accept=[]).to(dtype)
    total, chances, *_ = agrees(empty)
    assert total.tolist() == [NEG_INF] and chances.tolist() == [0]


def test_graphs_of_a_batch_do_not_depend_on_each_other():
    torch.manual_seed(0)
    graphs = [random_graph(40, 200, 5, jump=9) for _ in range(4)]
    graphs[2] = graphs[2].with_weights(graphs[2].weights.index_fill(0, torch.tensor(3), -1e3))
    alone = [torch.cat(parts) for parts in zip(*map(results, graphs), strict=True)]
    for one, other in zip(results(stack(graphs)), alone, strict=True):
        assert torch.equal(one, other)


def test_derivatives_of_any_order():
    graph = random_graph(12, 40, 3, jump=4).to(torch.float64)

    def score(weights):
        return gtnet.forward_score(graph.with_weights(weights))

    weights = graph.weights.clone().requires_grad_()
    assert torch.autograd.gradcheck(score, weights)
    assert torch.autograd.gradgradcheck(score, weights)


def test_sums_of_float32_lose_nothing_along_a_path():
    torch.manual_seed(0)
    chain = linear([1] * 10000)
    chain = chain.with_weights(torch.randn(10000))
    found = shortest_distance(chain)
    torch.testing.assert_close(found[1:], chain.weights.double().cumsum(0), rtol=1e-12, atol=1e-11)
    graph = random_graph(2000, 20000, 5, jump=30)
    found, exact = shortest_distance(graph), shortest_distance(graph.to(torch.float64))
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-11)
    error = (posteriors(graph).double() - posteriors(graph.to(torch.float64))).abs().max()
    assert error < 2e-6
