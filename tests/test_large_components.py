"""Sums over large strongly connected components, which are iterated with a proof of their error."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import automata, on_a_cycle
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import Graph, forward_score, posteriors, shortest_distance, stack

NEG_INF = float("-inf")
STATES = 500


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph_of(source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> Graph:
    """Starts in state 0 and ends in the last two."""
    states = int(source.max()) + 1
    return Graph(source, target, source % 5, weights=weights, accept=[states - 1, states - 2])


def random_arcs(states: int, degree: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.arange(states).repeat_interleave(degree)
    target = torch.randint(0, states, (len(source),), generator=generator(seed))
    target[::degree] = (torch.arange(states) + 1) % states
    return source, target


def dense(graph: Graph) -> torch.Tensor:
    matrix = graph.weights.new_zeros(graph.num_states, graph.num_states, dtype=torch.float64)
    where = (graph.source.long(), graph.target.long())
    return matrix.index_put(where, graph.weights.double().exp(), accumulate=True)


def with_radius(graph: Graph, radius: float) -> Graph:
    """The graph with its weights shifted so that its matrix has this spectral radius."""
    now = torch.linalg.eigvals(dense(graph)).abs().max()
    return graph.with_weights(graph.weights + math.log(radius) - now.log().to(graph.dtype))


def random_component(radius: float, seed: int = 0, states: int = STATES) -> Graph:
    source, target = random_arcs(states, 10, seed)
    weights = torch.randn(len(source), generator=generator(seed + 1), dtype=torch.float64)
    return with_radius(graph_of(source, target, weights), radius)


def iterates(graph: Graph) -> bool:
    """Whether some component is not eliminated."""
    _, rows, *_ = graph.topology._pattern
    return any(rows[begin] == rows[end] for begin, end in graph.topology.components[2].tolist())


def eliminated(graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances from the start and to the end, by elimination of a full matrix of logs."""
    states = graph.num_states
    a = torch.full((states, states), NEG_INF, dtype=torch.float64)
    for i, j, w in zip(graph.source.tolist(), graph.target.tolist(), graph.weights.tolist()):
        a[i, j] = torch.logaddexp(a[i, j], torch.tensor(w, dtype=torch.float64))
    forth = torch.cat([graph.start.double()[None], a])  # row 0: from outside
    for k in range(states):
        loop = forth[k + 1, k].clone()
        assert loop < 0
        star = -torch.log(-torch.expm1(loop))
        column, row = forth[:, k].clone(), forth[k + 1].clone()
        forth = torch.logaddexp(forth, column[:, None] + star + row)
        forth[:, k] = column + star
        forth[k + 1] = row + star
        forth[k + 1, k] = star
    total = torch.logsumexp(forth[1:] + graph.accept.double(), 1)
    return forth[0], total


# Against linear algebra


@pytest.mark.parametrize("radius", [0.5, 0.99, 0.9999])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_agree_with_the_inverse_matrix(radius, dtype):
    graph = random_component(radius).to(dtype)
    assert iterates(graph)
    walks = torch.linalg.inv(torch.eye(STATES, dtype=torch.float64) - dense(graph))
    start, accept = graph.start.double().exp(), graph.accept.double().exp()
    forth, back = start @ walks, walks @ accept
    total = forth @ accept
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {}
    torch.testing.assert_close(shortest_distance(graph), forth.log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        shortest_distance(graph, to_accept=True), back.log(), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(forward_score(graph), total.log()[None].to(dtype), **tolerance)
    passed = forth[graph.source.long()] * graph.weights.double().exp() * back[graph.target.long()]
    torch.testing.assert_close(posteriors(graph), (passed / total).to(dtype), **tolerance)
    leaf = graph.detach().requires_grad_()
    forward_score(leaf).sum().backward()
    torch.testing.assert_close(leaf.weights.grad, (passed / total).to(dtype), **tolerance)
    visits = posteriors(graph, of="states")
    torch.testing.assert_close(visits, (forth * back / total).to(dtype), **tolerance)


@pytest.mark.parametrize("spread", [10.0, 300.0])
def test_weights_of_a_wide_range(spread):
    source, target = random_arcs(400, 10, 5)
    source, target = torch.cat([source, source.flip(0)]), torch.cat([target, target])
    level = torch.randn(400, generator=generator(6), dtype=torch.float64) * spread
    weights = -10 * torch.rand(len(source), generator=generator(7), dtype=torch.float64) - 3.5
    graph = graph_of(source, target, weights + level[target] - level[source])
    assert iterates(graph) and float(graph.weights.abs().max()) > 3 * spread
    forth, back = eliminated(graph)
    torch.testing.assert_close(shortest_distance(graph), forth, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(shortest_distance(graph, to_accept=True), back, rtol=1e-9, atol=1e-8)


def cliques_that_hardly_meet() -> Graph:
    half, arcs = 300, []
    for first in (0, half):
        source, target = random_arcs(half, 12, first)
        arcs.append((source + first, target + first, torch.full((len(source),), -2.52)))
    ends = torch.tensor([3, half + 3])
    arcs.append((ends, ends.flip(0), torch.tensor([-18.0, -15.0])))
    source, target, weights = (torch.cat(t) for t in zip(*arcs, strict=True))
    return graph_of(source, target, weights.double())


def torus() -> Graph:
    side = 11
    places = torch.cartesian_prod(*[torch.arange(side)] * 3)
    ahead = [
        (torch.roll(torch.eye(3, dtype=torch.int64)[0], axis) * step)
        for axis in range(3)
        for step in (1, -1)
    ]
    ends = torch.stack([(places + step) % side for step in ahead])
    number = torch.tensor([side * side, side, 1])
    source, target = (places @ number).repeat(6), (ends @ number).reshape(-1)
    weights = torch.full((len(source),), math.log(0.999 / 6), dtype=torch.float64)
    return graph_of(source, target, weights)


def layers_in_a_ring() -> Graph:
    width, length = 100, 6
    source = torch.arange(width * length).repeat_interleave(width)
    layer = (source // width + 1) % length
    target = layer * width + torch.arange(width).repeat(width * length)
    weights = torch.randn(len(source), generator=generator(1), dtype=torch.float64) - 5.2
    return graph_of(source, target, weights)


def star_of_cliques() -> Graph:
    """A hub before and behind a clique of 250 states and 600 states of their own."""
    clique, leaves = 250, 600
    inside = torch.cartesian_prod(torch.arange(clique), torch.arange(clique))
    leaf = torch.arange(clique, clique + leaves)
    source = torch.cat([inside[:, 0], torch.zeros_like(leaf), leaf])
    target = torch.cat([inside[:, 1], leaf, torch.zeros_like(leaf)])
    weights = torch.full((len(source),), math.log(0.5 / clique), dtype=torch.float64)
    weights[len(inside) :] = math.log(0.1 / math.sqrt(leaves))
    return graph_of(source, target, weights)


@pytest.mark.parametrize(
    "make", [cliques_that_hardly_meet, torus, layers_in_a_ring, star_of_cliques]
)
def test_structures_agree_with_the_inverse_matrix(make):
    graph = make()
    assert iterates(graph)
    walks = torch.linalg.inv(torch.eye(graph.num_states, dtype=torch.float64) - dense(graph))
    forth, back = graph.start.exp() @ walks, walks @ graph.accept.exp()
    torch.testing.assert_close(shortest_distance(graph), forth.log(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        shortest_distance(graph, to_accept=True), back.log(), rtol=1e-8, atol=1e-8
    )


def test_a_long_ring_is_eliminated():
    states = 30_000
    source = torch.arange(states)
    graph = Graph(
        source,
        (source + 1) % states,
        source % 3,
        weights=torch.full((states,), math.log(0.5) / states, dtype=torch.float64),
        accept=0,
    )
    assert not iterates(graph)
    assert forward_score(graph).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("states", [5_000, 20_000])
def test_the_sums_of_a_component_of_thousands_of_states_solve_its_equations(states):
    source, target = random_arcs(states, 10, 0)
    weights = torch.randn(len(source), generator=generator(1), dtype=torch.float64) - 4
    graph = graph_of(source, target, weights)
    forth = shortest_distance(graph)
    terms = forth[source] + weights
    largest = terms.new_full((states,), NEG_INF).scatter_reduce(0, target, terms, "amax")
    total = torch.zeros_like(largest).index_add(0, target, (terms - largest[target]).exp())
    entering = torch.logaddexp(total.log() + largest, graph.start.double())
    torch.testing.assert_close(forth, entering, rtol=1e-12, atol=1e-12)
    uses = posteriors(graph)
    visits = posteriors(graph, of="states")
    arrivals = torch.zeros_like(visits).index_add(0, target, uses)
    arrivals[0] += 1  # the start
    torch.testing.assert_close(arrivals, visits, rtol=1e-10, atol=1e-12)


# Derivatives


def test_gradcheck_and_gradgradcheck():
    graph = random_component(0.9, seed=3, states=500)
    assert iterates(graph)
    leaves = [t.detach().requires_grad_() for t in (graph.weights, graph.start[:1])]

    def put(weights: torch.Tensor, first: torch.Tensor) -> Graph:
        start = torch.cat([first, graph.start[1:]])
        return graph.with_weights(weights, start=start)

    cotangent = torch.randn(graph.num_states, generator=generator(0), dtype=torch.float64)
    for function in (
        forward_score,
        lambda g: (shortest_distance(g) * cotangent).sum(),
        lambda g: (posteriors(g, of="states") * cotangent).sum(),
    ):
        check = {"fast_mode": True, "atol": 1e-4}
        assert gradcheck(lambda *t, f=function: f(put(*t)), leaves, **check)
        assert gradgradcheck(lambda *t, f=function: f(put(*t)), leaves, **check)


# Batches and limits


def test_a_batch_is_its_items():
    small = Graph([0, 1], [1, 0], [0, 0], weights=[-1.0, -2.0], accept=1).to(torch.float64)
    large = [random_component(radius, seed) for seed, radius in enumerate((0.3, 0.99))]
    several = stack([small, large[0], Graph([], [], [], accept=0).to(torch.float64), large[1]])
    for function in (forward_score, posteriors, shortest_distance):
        assert torch.equal(function(several), torch.cat([function(g) for g in several]))


def test_two_components_one_after_another():
    first, second = random_component(0.8, 1), random_component(0.95, 2)
    both = gtnet.concat(first, second)
    total = forward_score(first) + forward_score(second)
    torch.testing.assert_close(forward_score(both), total, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("radius", [1.0, 1 + 1e-9, 1.0001, 1.5, 30.0])
def test_sums_without_a_limit_are_refused_by_graph_and_state(radius):
    graphs = stack([random_component(0.5), random_component(radius, seed=4)])
    assert iterates(graphs)
    for function in (forward_score, posteriors, shortest_distance):
        said = rf"{function.__name__}: graph 1 has a cycle through state \d+ .*infinity"
        with pytest.raises(ValueError, match=said) as caught:
            function(graphs)
        state = int(str(caught.value).split("state ")[1].split()[0])
        assert on_a_cycle(automata(graphs)[1], state)


def test_a_divergent_part_behind_a_narrow_way_is_found():
    graph = cliques_that_hardly_meet()
    half = graph.num_states // 2
    hot = (graph.source >= half) & (graph.target >= half)
    with pytest.raises(ValueError, match="infinity"):
        forward_score(graph.with_weights(graph.weights + 0.05 * hot))


def test_sums_that_cannot_be_told_are_refused():
    with pytest.raises(ValueError, match=r"forward_score: graph 0 .*not known to 1e-5"):
        forward_score(random_component(1 - 1e-11))


def test_what_is_sampled_and_pushed():
    graph = random_component(0.9)
    pushed = gtnet.push(graph)
    torch.testing.assert_close(forward_score(pushed), forward_score(graph))
    torch.manual_seed(0)
    lengths = gtnet.sample(graph, 400)[0].num_arcs / 400
    assert lengths == pytest.approx(float(posteriors(graph).sum()), rel=0.2)
    assert float(gtnet.entropy(graph)) > 0
