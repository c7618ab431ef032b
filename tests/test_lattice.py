"""Emissions composed with a graph, lazily: in every respect equal to the product built."""

from __future__ import annotations

import math

import pytest
import strategies
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from gtnet import (
    EPSILON,
    Emissions,
    Graph,
    Lattice,
    compose,
    ctc_graph,
    entropy,
    forward_score,
    intersect,
    k_best,
    linear,
    posteriors,
    prune,
    sample,
    stack,
    viterbi_path,
    viterbi_score,
)

NEG_INF = -math.inf
DTYPES = [torch.float32, torch.float64]


def leaves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def epsilon_cycle(graph: Graph) -> bool:
    """Whether any graph of the batch has a cycle that reads nothing."""
    epsilon = graph.ilabels == EPSILON
    edges = list(zip(graph.topology.global_source[epsilon].tolist(),
                     graph.topology.global_target[epsilon].tolist(), strict=True))  # fmt: skip
    while edges:
        targets = {target for _, target in edges}
        kept = [edge for edge in edges if edge[0] in targets]
        if len(kept) == len(edges):
            return True
        edges = kept
    return False


def diverges(lattice: Lattice) -> bool:
    """Whether the product built has a cycle whose paths have no finite sum."""
    try:
        viterbi_path(lattice.graph())
        return bool(forward_score(lattice.graph()).isinf().any())
    except ValueError:
        return True


def both(scores, lengths, graph, beta=1.0):
    """Forward scores and gradients, lazily and of the product built from the same numbers."""
    found = []
    for lazy in (True, False):
        given = leaves(scores, graph.weights, graph.start, graph.accept)
        operand = graph.with_weights(given[1], start=given[2], accept=given[3])
        lattice = Emissions(given[0], lengths) @ operand
        total = forward_score(lattice if lazy else lattice.graph(), beta)
        finite = total > NEG_INF
        weights = torch.linspace(0.5, 1.5, len(total), dtype=total.dtype)
        (total.masked_fill(~finite, 0) * weights).sum().backward()
        zero = torch.zeros_like
        found.append([total.detach(), *(zero(t) if t.grad is None else t.grad for t in given)])
    return found


def assert_both_close(found, dtype):
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, **tolerance)


@given(st.data())
def test_forward_score_and_gradients_equal_those_of_the_product(data):
    """Epsilons, cycles, -inf scores, no start, no accept, no frames, one graph or one per item."""
    batch = data.draw(st.integers(1, 3))
    graph = data.draw(strategies.graphs(size=data.draw(st.sampled_from([1, batch])), acyclic=False))
    frames, labels = data.draw(st.integers(0, 4)), data.draw(st.integers(3, 4))
    lengths = data.draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    scores = torch.randn(batch, frames, labels, dtype=graph.dtype)
    scores = scores.masked_fill(torch.rand_like(scores) < 0.1, NEG_INF)
    if epsilon_cycle(graph):
        assume(not diverges(Emissions(scores, lengths) @ graph))
    assert_both_close(both(scores, lengths, graph), graph.dtype)


@settings(max_examples=15)
@given(st.integers(1, 60), st.integers(1, 300), st.integers(0, 99))
def test_large_random_graphs(states, arcs, seed):
    """Long rows, sorted rows, several slices."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, size: int) -> torch.Tensor:
        return torch.randint(0, high, (size,), generator=generator)

    hubs = torch.rand(arcs, generator=generator) < 0.3
    target = draw(states, arcs).masked_fill(hubs, 0)
    source = draw(states, arcs).masked_fill(torch.rand(arcs, generator=generator) < 0.2, 0)
    labels = draw(5, arcs)
    forward_epsilon = (source < target) & (torch.rand(arcs, generator=generator) < 0.2)
    graph = Graph(
        source,
        target,
        labels.masked_fill(forward_epsilon, EPSILON),
        weights=torch.randn(arcs, generator=generator, dtype=torch.float64),
        accept=torch.randn(states, generator=generator, dtype=torch.float64),
        num_states=states,
    )
    scores = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    assert_both_close(both(scores, [4, 3], graph), torch.float64)
    assert_both_close(both(scores.float(), [4, 3], graph.to(torch.float32)), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("up", "down"), [(2, 0), (1, 3), (0, 2)])
@pytest.mark.parametrize("frames", [0, 5, 60])
def test_paths_spread_along_a_band_of_arcs(dtype, up, down, frames):
    states = 90
    generator = torch.Generator().manual_seed(frames)
    step = torch.randint(-down, up + 1, (4 * states,), generator=generator)
    source = torch.randint(0, states, step.shape, generator=generator)
    source, target = (source.clamp(max=states - 1), (source + step).clamp(0, states - 1))
    graph = Graph(
        source,
        target,
        target % 5,
        weights=torch.randn(len(step), generator=generator, dtype=dtype),
        start=[40, 60],
        accept=dict.fromkeys((20, 50, 61, 80), 0.5),
    )
    scores = torch.randn(2, frames, 5, generator=generator, dtype=dtype)
    found = both(scores, [frames, frames // 2], graph)
    assert_both_close(found, dtype)


def over_segments(rows, cuts, graph, beta=1.0):
    """As `both`, over segmentations with scores of their own."""
    found = []
    for lazy in (True, False):
        given = leaves(rows, cuts.weights, cuts.start, cuts.accept,
                       graph.weights, graph.start, graph.accept)  # fmt: skip
        segmentation = cuts.with_weights(given[1], start=given[2], accept=given[3])
        operand = graph.with_weights(given[4], start=given[5], accept=given[6])
        lattice = Emissions(given[0], graph=segmentation) @ operand
        total = forward_score(lattice if lazy else lattice.graph(), beta)
        weights = torch.linspace(0.5, 1.5, len(total), dtype=total.dtype)
        (total.masked_fill(total == NEG_INF, 0) * weights).sum().backward()
        zero = torch.zeros_like
        found.append([total.detach(), *(zero(t) if t.grad is None else t.grad for t in given)])
    return found


@given(st.data())
def test_segmentations_equal_the_product(data):
    """Cuts that many segments enter, several starts and ends, dead ends, scores of their own."""
    dtype = data.draw(strategies.DTYPES)
    size, single = data.draw(st.integers(1, 3)), data.draw(st.booleans())
    cuts = data.draw(strategies.graphs(size=size, dtype=dtype))
    graph = data.draw(strategies.graphs(size=1 if single else size, acyclic=False, dtype=dtype))
    rows = torch.randn(cuts.num_arcs, data.draw(st.integers(3, 4)), dtype=dtype)
    rows = data.draw(st.sampled_from([1, 100])) * rows
    rows = rows.masked_fill(torch.rand_like(rows) < 0.1, NEG_INF)
    lattice = Emissions(rows, graph=cuts) @ graph
    if epsilon_cycle(graph):
        assume(not diverges(lattice))
    assert_both_close(over_segments(rows, cuts, graph), dtype)
    path, product = viterbi_path(lattice), lattice.graph()
    torch.testing.assert_close(viterbi_score(path), viterbi_score(product))
    read, taken = (m.long() for m in path.arc_maps)
    weights = graph.weights[taken]
    weights[read >= 0] += Emissions(rows, graph=cuts).graph().weights[read[read >= 0]]
    torch.testing.assert_close(path.weights, weights)


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 120), st.integers(0, 99))
def test_large_segmentations(cuts, segments, seed):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(0, cuts + 1, (2, segments), generator=generator).sort(0).values
    ends = ends[:, ends[0] < ends[1]]
    chain = torch.arange(cuts).expand(2, -1) + torch.tensor([[0], [1]])
    source, target = torch.cat([ends, chain], 1)
    segmentation = Graph(source, target, source, accept=cuts).to(torch.float64)
    rows = torch.randn(len(source), 4, dtype=torch.float64, generator=generator)
    graph = ctc_graph([[1, 2, 2, 3][: 1 + seed % 4] * (1 + seed % 5)], dtype=torch.float64)
    assert_both_close(over_segments(rows, segmentation, graph), torch.float64)
    single = [t.to(torch.float32) for t in (rows, segmentation, graph)]
    assert_both_close(over_segments(*single), torch.float32)


@pytest.mark.parametrize("beta", [0.5, "item"])
def test_segmentations_at_other_temperatures_and_their_derivatives(beta):
    first = Graph([0, 1, 0], [1, 2, 2], [0, 0, 0], weights=[0.5, -1.0, 0.25], accept=2)
    cuts = stack([first, Graph([1, 0, 1], [2, 1, 2], [0, 0, 0], accept=[1, 2])]).to(torch.float64)
    rows = torch.randn(6, 3, dtype=torch.float64)
    loop = Graph([0, 0, 0, 1], [0, 1, 1, 0], [0, 1, EPSILON, 2], weights=[0.5, 1.0, -1.0, 0.25],
                 accept=[0, 1]).to(torch.float64)  # fmt: skip
    beta = torch.tensor([0.5, 3.0], dtype=torch.float64) if beta == "item" else beta
    assert_both_close(over_segments(rows, cuts, loop, beta), torch.float64)

    def total(rows, segments, weights):
        lattice = Emissions(rows, graph=cuts.with_weights(segments)) @ loop.with_weights(weights)
        return forward_score(lattice, beta)

    inputs = leaves(rows, cuts.weights, loop.weights)
    assert gradcheck(total, inputs)
    assert gradgradcheck(total, inputs)


@pytest.mark.parametrize("beta", [0.5, 2.0, "item"])
def test_inverse_temperature(beta):
    scores = torch.randn(3, 4, 3, dtype=torch.float64)
    scores[0, 1, 2] = NEG_INF
    loop = Graph([0, 0, 0, 1], [0, 1, 1, 0], [0, 1, EPSILON, 2], weights=[0.5, 1.0, -1.0, 0.25],
                 accept=[0, 1]).to(torch.float64)  # fmt: skip
    beta = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64) if beta == "item" else beta
    assert_both_close(both(scores, [4, 2, 3], loop, beta), torch.float64)
    best = forward_score(Emissions(scores, [4, 2, 3]) @ loop, math.inf)
    torch.testing.assert_close(
        best, forward_score((Emissions(scores, [4, 2, 3]) @ loop).graph(), math.inf)
    )


def test_gradients_and_second_ones():
    scores = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    graph = ctc_graph([[1], [2, 1]], dtype=torch.float64)
    weights, start, accept = leaves(graph.weights, graph.start, graph.accept)
    ends = [t > NEG_INF for t in (start, accept)]
    first, last = leaves(start.masked_fill(~ends[0], 0), accept.masked_fill(~ends[1], 0))
    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def total(scores, weights, first, last, beta=1.0):
        operand = graph.with_weights(
            weights, start=first.masked_fill(~ends[0], NEG_INF),
            accept=last.masked_fill(~ends[1], NEG_INF),
        )  # fmt: skip
        return forward_score(Emissions(scores, [3, 2]) @ operand, beta)

    for inputs in ((scores, weights, first, last), (scores, weights, first, last, beta)):
        assert gradcheck(total, inputs)
        assert gradgradcheck(total, inputs)


def test_one_item_of_emissions_meets_every_graph():
    scores = torch.randn(1, 4, 3, requires_grad=True)
    graphs = ctc_graph([[1], [2, 1], []])
    lattice = Emissions(scores) @ graphs
    assert len(lattice) == 3
    lazy = forward_score(lattice)
    torch.testing.assert_close(lazy, forward_score(lattice.graph()))
    (grad,) = torch.autograd.grad(lazy.sum(), scores)
    (expected,) = torch.autograd.grad(forward_score(lattice.graph()).sum(), scores)
    torch.testing.assert_close(grad, expected)


def test_empty_batches():
    nothing = Emissions(torch.zeros(0, 3, 2)) @ linear([1])
    assert forward_score(nothing).shape == (0,)
    none = Emissions(torch.zeros(1, 3, 2)) @ stack([linear([1]), linear([1])])[0:0]
    assert len(none) == 0
    assert forward_score(none).shape == (0,)


# Built


def test_what_a_lattice_builds_is_the_graph_that_composition_makes():
    emissions = Emissions(torch.randn(2, 3, 4))
    words = linear([[1, 2, 3], [0, 0, 1]])
    lattice = emissions @ words
    assert isinstance(lattice, Lattice)
    assert isinstance(intersect(emissions, words), Lattice)
    assert not isinstance(lattice, Graph)
    assert (len(lattice), lattice.dtype, lattice.is_acceptor) == (2, torch.float32, True)
    built = compose(emissions.graph(), words)
    assert lattice.equal(built)
    for ours, theirs in zip(lattice.graph().arc_maps, built.arc_maps, strict=True):
        assert torch.equal(ours, theirs)
    assert lattice[1].equal(built[1])
    assert (lattice @ words).equal(built @ words)
    with pytest.raises(AttributeError, match="no attribute 'arcs'"):
        lattice.arcs  # noqa: B018


def test_too_large_a_product_is_refused_when_it_is_built():
    loop = Graph([0, 0], [0, 0], [0, 1], accept=0)
    lattice = compose(Emissions(torch.zeros(1, 10, 2)), loop, max_arcs=3)
    torch.testing.assert_close(lattice.forward_score(), torch.tensor([10 * math.log(2)]))
    with pytest.raises(ValueError, match="compose: the product has more than max_arcs=3"):
        lattice.graph()


def test_bad_operands_are_named():
    emissions = Emissions(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="compose: a has 2 graphs, b has 3"):
        emissions @ linear([[1], [1], [1]])
    with pytest.raises(TypeError, match="compose: all must have one dtype"):
        emissions @ linear([1], dtype=torch.float64)
    with pytest.raises(TypeError, match="compose: b must be a Graph, got int"):
        emissions @ 3


# Best paths


@given(st.data())
def test_the_best_path_is_that_of_the_product(data):
    """Same score; the path spells it, and its maps name arcs that carry its labels and scores."""
    batch = data.draw(st.integers(1, 3))
    graph = data.draw(strategies.graphs(size=data.draw(st.sampled_from([1, batch])), acyclic=False))
    frames, labels = data.draw(st.integers(0, 4)), data.draw(st.integers(3, 4))
    lengths = data.draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    scores = torch.randint(-4, 4, (batch, frames, labels)).to(graph.dtype)
    scores = scores.masked_fill(torch.rand_like(scores) < 0.1, NEG_INF)
    emissions = Emissions(scores, lengths)
    lattice = emissions @ graph
    if epsilon_cycle(graph):
        assume(not diverges(lattice))
    path, product = viterbi_path(lattice), lattice.graph()
    expected = viterbi_score(product)
    assert torch.equal(viterbi_score(lattice), expected)
    assert torch.equal(forward_score(lattice, math.inf), expected)
    assert torch.equal(viterbi_score(path), expected)
    read, taken = (m.long() for m in path.arc_maps)
    frame_arcs = emissions.graph()
    weights = graph.weights[taken]
    weights[read >= 0] += frame_arcs.weights[read[read >= 0]]
    assert torch.equal(path.weights, weights)
    assert torch.equal(path.ilabels, graph.ilabels[taken])
    assert torch.equal(path.olabels, graph.olabels[taken])
    assert torch.equal((read < 0), path.ilabels == EPSILON)
    for i in range(batch):
        if path[i].num_states:
            own = path[i].arc_maps[0]
            first = sum(lengths[:i])
            assert (own[own >= 0] // labels).tolist() == list(range(first, first + lengths[i]))


def test_gradients_follow_the_best_path():
    scores = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    graph = ctc_graph([[1], [2, 1]], dtype=torch.float64)
    (weights,) = leaves(graph.weights)

    def best(scores, weights):
        return viterbi_score(Emissions(scores, [4, 3]) @ graph.with_weights(weights))

    assert gradcheck(best, (scores, weights))
    assert gradgradcheck(best, (scores, weights))
    (grad,) = torch.autograd.grad(best(scores, weights).sum(), scores)
    assert grad.sum(-1).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_the_best_path_over_segments_and_of_one_item():
    cut = Graph([0, 1, 0], [1, 2, 2], [0, 0, 0], accept=2)
    lattice = Emissions(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]]), graph=cut) @ linear(
        [0, 1]
    )
    path = viterbi_path(lattice)
    assert viterbi_score(lattice).tolist() == [3.0]
    assert [m.tolist() for m in path.arc_maps] == [[0, 3], [0, 1]]
    one = Emissions(torch.randn(1, 3, 2)) @ linear([[0, 1, 0], [1, 1, 1]])
    assert viterbi_path(one).arc_maps[0].tolist() == [0, 3, 4, 1, 3, 5]


# Posteriors, entropy, paths


@st.composite
def lattices(draw):
    """Chains and segmentations, with one graph for all items or one for each; never divergent."""
    dtype = draw(strategies.DTYPES)
    batch, labels = draw(st.integers(1, 3)), draw(st.integers(3, 4))
    size = draw(st.sampled_from([1, batch]))
    graph = draw(strategies.graphs(size=size, acyclic=False, dtype=dtype))
    if draw(st.booleans()):
        cuts = draw(strategies.graphs(size=batch, dtype=dtype))
        rows = torch.randint(-4, 4, (cuts.num_arcs, labels)).to(dtype) / 2
        emissions = Emissions(rows.masked_fill(torch.rand_like(rows) < 0.1, NEG_INF), graph=cuts)
    else:
        frames = draw(st.integers(0, 4))
        lengths = draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
        scores = torch.randint(-4, 4, (batch, frames, labels)).to(dtype) / 2
        scores = scores.masked_fill(torch.rand_like(scores) < 0.1, NEG_INF)
        emissions = Emissions(scores, lengths)
    lattice = emissions @ graph
    if epsilon_cycle(graph):
        assume(not diverges(lattice))
    return lattice


def close(ours, expected):
    single = ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, **({"rtol": 1e-4, "atol": 1e-5} if single else {}))


@given(lattices(), st.sampled_from([1.0, 2.0]))
def test_posteriors_are_those_of_the_product(lattice, beta):
    product = lattice.graph()
    arcs = posteriors(product, beta)
    expanded = lattice.emissions.graph()
    read, taken = (m.long() for m in product.arc_maps)
    labels = arcs.new_zeros(expanded.num_arcs)
    labels = labels.index_add(0, read[read >= 0], arcs[read >= 0])
    ours = lattice.label_posteriors(beta)
    lengths = lattice.emissions.lengths
    if lengths is not None:
        outside = torch.arange(ours.shape[1]) >= lengths.unsqueeze(1)
        assert (ours[outside] == 0).all()
        ours = ours[~outside]
    close(ours.flatten(), labels)
    by_path = lattice.arc_posteriors(beta)
    by_frame = lattice.arc_posteriors(beta, per="frame")
    item, cut = product.topology.graph_of_arc, product.state_maps[0].long()
    cut = cut[product.topology.global_source] - expanded.state_offsets[item]
    for i, (path, frame) in enumerate(zip(by_path, by_frame, strict=True)):
        g = i if len(lattice.operand) > 1 else 0
        here = (item == i) & (taken >= 0)
        arc = taken[here] - lattice.operand.arc_offsets[g]
        expected = torch.zeros_like(frame).index_put((cut[here], arc), arcs[here], accumulate=True)
        close(frame, expected)
        close(path, expected.sum(0))


@given(lattices(), st.sampled_from([1.0, 0.5]))
def test_entropy_is_that_of_the_product(lattice, beta):
    expected = entropy(lattice.graph(), beta)
    close(entropy(lattice, beta), expected)
    learning = Lattice(
        lattice.emissions.with_scores(lattice.emissions.scores.clone().requires_grad_()),
        lattice.operand,
        max_arcs=1000,
    )
    close(entropy(learning, beta).detach(), expected)


def test_entropy_and_posteriors_differentiate():
    scores = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    graph = ctc_graph([[1], [2, 1]], dtype=torch.float64)
    (weights,) = leaves(graph.weights)
    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def lattice(scores, weights):
        return Emissions(scores, [3, 2]) @ graph.with_weights(weights)

    def uncertainty(scores, weights, beta):
        return entropy(lattice(scores, weights), beta)

    def chances(scores, weights):
        return lattice(scores, weights).label_posteriors()

    assert gradcheck(uncertainty, (scores, weights, beta))
    assert gradgradcheck(uncertainty, (scores, weights, beta))
    assert gradcheck(chances, (scores, weights))
    expected = entropy(lattice(scores, weights).graph())
    torch.testing.assert_close(uncertainty(scores, weights, 1.0), expected)


def test_entropy_of_long_chains_does_not_cancel():
    scores = 100 * torch.randn(1, 3000, 4)
    graph = Graph([0] * 4, [0] * 4, range(4), accept=0)
    expected = torch.distributions.Categorical(logits=scores.double()).entropy().sum()
    torch.testing.assert_close(entropy(Emissions(scores) @ graph)[0].double(), expected)


@given(lattices(), st.integers(0, 5))
def test_the_k_best_paths_are_those_of_the_product(lattice, k):
    ours, expected = k_best(lattice, k), k_best(lattice.graph(), k)
    for found, wanted in zip(ours, expected, strict=True):
        close(viterbi_score(found), viterbi_score(wanted))
        pairs = [tuple(map(tuple, zip(*(m.tolist() for m in path.arc_maps), strict=True)))
                 + tuple(path.start.tolist()) for path in found]  # fmt: skip
        assert lattice.operand.num_states > 1 or len(set(pairs)) == len(pairs)
    unique = k_best(lattice, k, unique="ilabels")
    wanted = k_best(lattice.graph(), k, unique="ilabels")
    for found, other in zip(unique, wanted, strict=True):
        close(viterbi_score(found), viterbi_score(other))
        assert len(found.arc_maps) == 2


@given(lattices(), st.sampled_from([0.0, 1.0, 3.0, math.inf]))
def test_pruning_keeps_what_pruning_the_product_keeps(lattice, beam):
    ours, expected = prune(lattice, beam=beam), prune(lattice.graph(), beam=beam)
    product = lattice.graph()
    arcs = [m[expected.arc_maps[0].long()] for m in product.arc_maps]
    states = [m[expected.state_maps[0].long()] for m in product.state_maps]
    pairs = [set(zip(*(m.tolist() for m in maps), strict=True)) for maps in (ours.arc_maps, arcs)]
    assert pairs[0] == pairs[1]
    pairs = [set(zip(*(m.tolist() for m in of), strict=True)) for of in (ours.state_maps, states)]
    assert pairs[0] == pairs[1]
    if not epsilon_cycle(lattice.operand):
        close(forward_score(ours), forward_score(expected))


@given(lattices())
def test_samples_are_paths(lattice):
    drawn = sample(lattice, 3, generator=torch.Generator().manual_seed(1))
    again = sample(lattice, 3, generator=torch.Generator().manual_seed(1))
    total = forward_score(lattice)
    rows = lattice.emissions.graph().weights
    for paths, other, score in zip(drawn, again, total, strict=True):
        assert paths.equal(other)
        assert len(paths) == (0 if score == NEG_INF else 3)
        read, taken = (m.long() for m in paths.arc_maps)
        weights = lattice.operand.weights[taken]
        weights[read >= 0] += rows[read[read >= 0]]
        close(paths.weights, weights)
        assert (viterbi_score(paths) > NEG_INF).all()


def test_samples_follow_the_distribution():
    graph = Graph([0, 0, 1, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 1, EPSILON],
                  weights=[0.3, -0.2, 0.1, 0.5, -1.0], start=0, accept=1)  # fmt: skip
    lattice = Emissions(torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0))) @ graph
    n = 4000
    (paths,) = sample(lattice, n, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(paths.arc_maps[1].long(), minlength=5) / n
    torch.testing.assert_close(counts, lattice.arc_posteriors()[0], rtol=0, atol=0.05)
    likelihood = viterbi_score(paths) - forward_score(lattice)
    torch.testing.assert_close(-likelihood.mean(), entropy(lattice)[0], rtol=0, atol=0.1)


def test_what_asks_for_nothing_builds_nothing():
    graph = Graph([0, 0], [0, 0], [0, 1], accept=0)
    lattice = compose(Emissions(torch.randn(2, 10, 2)), graph, max_arcs=3)
    forward_score(lattice, 2.0)
    entropy(lattice)
    lattice.label_posteriors()
    lattice.arc_posteriors(per="frame")
    sample(lattice, 2)
    k_best(lattice, 3)
    assert prune(lattice, beam=0.0).num_arcs == 20
    with pytest.raises(ValueError, match="max_arcs=3"):
        posteriors(lattice)


def test_bad_arguments_of_lattices_are_named():
    lattice = Emissions(torch.zeros(1, 2, 2)) @ Graph([0, 0], [0, 0], [0, 1], accept=0)
    with pytest.raises(ValueError, match="arc_posteriors: per must be"):
        lattice.arc_posteriors(per="state")
    with pytest.raises(ValueError, match="prune: beam must be at least 0, got -1"):
        lattice.prune(-1)
    for function in (lattice.entropy, lattice.arc_posteriors):
        with pytest.raises(ValueError, match=f"{function.__name__}: beta must be finite"):
            function(math.inf)
    with pytest.raises(ValueError, match="sample: beta must be finite"):
        lattice.sample(1, beta=math.inf)


# Accuracy


def reference(scores, graph):
    """Value and gradient in float64."""
    (leaf,) = leaves(scores.double())
    total = forward_score(Emissions(leaf) @ graph.to(torch.float64))
    (grad,) = torch.autograd.grad(total.sum(), leaf)
    return total.detach(), grad


@pytest.mark.parametrize(("frames", "scale"), [(1_000, 1.0), (10_000, 1.0), (300, 1e2), (300, 1e4)])
def test_float32_is_as_good_as_float64(frames, scale):
    targets = torch.randint(1, 10, (1, 50)).tolist()
    scores = scale * torch.rand(1, frames, 10)
    scores = scores.masked_fill(torch.rand_like(scores) < 0.02, NEG_INF)
    scores[:, :, 0] = scores[:, :, 0].clamp(min=0)  # so that some path exists
    graph = ctc_graph(targets)
    (leaf,) = leaves(scores)
    total = forward_score(Emissions(leaf) @ graph)
    (grad,) = torch.autograd.grad(total.sum(), leaf)
    expected, expected_grad = reference(scores, graph)
    torch.testing.assert_close(total.detach().double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad.double(), expected_grad, rtol=0, atol=1e-4)
    built = forward_score((Emissions(scores.double()) @ graph.to(torch.float64)).graph())
    torch.testing.assert_close(expected, built)


@pytest.mark.parametrize("arcs", [32 * 32, 500])
@pytest.mark.parametrize("spread", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_dense_operands_lose_nothing_to_their_scaling(arcs, spread, scale):
    """Weights and scores of a size, where frames are products, and of sizes too different."""
    generator = torch.Generator().manual_seed(arcs)
    chosen = torch.randperm(32 * 32, generator=generator)[:arcs]
    source, target = chosen // 32, chosen % 32
    weights = spread * torch.randn(arcs, generator=generator)
    weights = weights.masked_fill(torch.rand(arcs, generator=generator) < 0.05, NEG_INF)
    graph = Graph(source, target, target, weights=weights, accept=[0, 5], num_states=32)
    scores = scale * torch.randn(2, 12, 32, generator=generator)
    expected = both(scores.double(), [12, 7], graph.to(torch.float64))
    for ours, theirs in zip(*expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-7)
    single, learnt = leaves(scores, graph.weights)
    total = forward_score(Emissions(single, [12, 7]) @ graph.with_weights(learnt))
    (total * torch.tensor([0.5, 1.5])).sum().backward()
    for ours, theirs in zip((total.detach(), single.grad, learnt.grad), expected[1], strict=False):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_segmentations_in_float32_are_as_good_as_in_float64(scale):
    generator = torch.Generator().manual_seed(1)
    cuts = 400
    source = torch.arange(cuts).repeat(4)
    target = (source + torch.arange(1, 5).repeat_interleave(cuts)).clamp(max=cuts)
    rows = scale * torch.rand(len(source), 10, generator=generator)
    rows = rows.masked_fill(torch.rand(rows.shape, generator=generator) < 0.02, NEG_INF)
    segments = Graph(source, target, source, accept=cuts)
    graph = ctc_graph([[1, 2, 2, 3, 9]])
    single, exact = leaves(rows, rows.double())
    total = forward_score(Emissions(single, graph=segments) @ graph)
    double = [operand.to(torch.float64) for operand in (segments, graph)]
    expected = forward_score((Emissions(exact, graph=double[0]) @ double[1]).graph())
    (grad,) = torch.autograd.grad(total.sum(), single)
    (expected_grad,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(total.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad.double(), expected_grad, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cycles_of_epsilons_are_closed(dtype):
    """The product is built, whatever is asked for; chains and segmentations, all exact."""
    graph = Graph([0, 1, 1, 0], [1, 0, 1, 1], [EPSILON, EPSILON, 0, 1],
                  weights=[-0.5, -1.0, 0.25, 0.0], accept=[0, 1]).to(dtype)  # fmt: skip
    cuts = Graph([0, 1, 0], [1, 2, 2], [0, 0, 0], accept=2).to(dtype)
    for emissions in (Emissions(torch.randn(2, 3, 2, dtype=dtype), [3, 1]),
                      Emissions(torch.randn(3, 2, dtype=dtype), graph=cuts)):  # fmt: skip
        lattice = emissions @ graph
        product = compose(emissions.graph(), graph)
        assert torch.equal(forward_score(lattice), forward_score(product))
        assert torch.equal(viterbi_score(lattice), viterbi_score(product))
        assert len(viterbi_path(lattice).arc_maps) == 2
        torch.testing.assert_close(entropy(lattice), entropy(product))
        assert all(len(paths) == 2 for paths in k_best(lattice, 2))
        assert all(len(paths) == 2 for paths in sample(lattice, 2))
        assert len(prune(lattice, beam=1.0).arc_maps) == 2
        arcs = torch.stack(lattice.arc_posteriors())
        reading = graph.ilabels >= 0
        frames = lattice.label_posteriors()
        torch.testing.assert_close(arcs[:, reading].sum(), frames.sum())


def test_other_devices_are_named():
    scores = torch.zeros(1, 2, 2, device="meta")
    with pytest.raises(ValueError, match=r"compose: a must be on the cpu .* got meta"):
        Emissions(scores) @ linear([1]).to("meta")
    with pytest.raises(ValueError, match="compose: all must be on one device, got a on meta"):
        Emissions(scores) @ linear([1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("score", [-1e7, -1e9, -1e30])
def test_huge_scores_stay_exact(dtype, score):
    """Beyond the integers of float32's exponents, and of float64's."""
    scores = torch.tensor([[[score, 0.5], [score, score], [0.25, score]]], dtype=dtype)
    graph = Graph([0, 0, 1], [1, 1, 0], [0, 1, 0], weights=[0.0, score, 1.0], accept=[0, 1]).to(
        dtype
    )
    (leaf,) = leaves(scores)
    total = forward_score(Emissions(leaf) @ graph)
    (grad,) = torch.autograd.grad(total.sum(), leaf)
    (double,) = leaves(scores.double())  # in float32 the sum of two scores would be rounded
    expected = forward_score((Emissions(double) @ graph.to(torch.float64)).graph())
    (expected_grad,) = torch.autograd.grad(expected.sum(), double)
    torch.testing.assert_close(total, expected.to(dtype))
    torch.testing.assert_close(grad, expected_grad.to(dtype))


def test_the_same_bits_on_any_number_of_threads():
    scores = torch.randn(64, 40, 12)
    graph = ctc_graph(torch.randint(1, 12, (64, 8)).tolist())
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        (leaf,) = leaves(scores)
        total = forward_score(Emissions(leaf) @ graph)
        found.append((total.detach(), torch.autograd.grad(total.sum(), leaf)[0]))
    torch.set_num_threads(1)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_gradients_of_impossible_parts_between_wide_scores():
    """Where zeros meet zeros, exponents of float32 must not run over; sanitizers see it."""
    wide = torch.tensor([9e3, -9e3, 9e3, NEG_INF, -3.0, NEG_INF, 9e3, NEG_INF, -9e3])
    ends = [0, 0, 1, 0, 2, 2, 3, 0, 3], [1, 2, 3, 4, 0, 3, 4, 2, 0]
    graph = Graph(*ends, [0, 0, 1, 1, 0, 1, 0, 0, 0], weights=wide, accept=4)
    scores = torch.tensor(
        [
            [[NEG_INF, -1802.0], [1351.0, -38.0], [NEG_INF, 2444.0]],
            [[-2766.0, 601.0], [-832.0, -1602.0], [274.0, -1768.0]],
        ]
    )
    given = leaves(wide, scores)

    def gradients(dtype, built):
        weights, frames = (t.to(dtype) for t in given)
        lattice = Emissions(frames) @ graph.to(dtype).with_weights(weights)
        total = forward_score(lattice.graph()) if built else lattice.forward_score()
        assert total.tolist() == [NEG_INF, 22906.0]
        return torch.autograd.grad(total[1], given)

    expected = gradients(torch.float64, True)
    for dtype in DTYPES:
        for ours, theirs in zip(gradients(dtype, False), expected):
            torch.testing.assert_close(ours, theirs)
