"""Segmentations composed with graphs as a GPU does it, emulated, beside the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import emulated
import pytest
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_cuda_chains import star

from gtnet import (
    EPSILON,
    Emissions,
    Graph,
    Lattice,
    ctc_graph,
    forward_score,
    k_best,
    linear,
    prune,
    sample,
    stack,
    viterbi_path,
    viterbi_score,
)
from gtnet._maps import traced
from gtnet._ops import library

NEG_INF = -math.inf


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def found(segments: Graph, scores: torch.Tensor, graph: Graph, *, on: emulated.OnGpu | None):
    """Scores, gradients in all that has one, and best paths."""
    ends = (segments.start, segments.accept)
    leaves = (scores, segments.weights, *ends, graph.weights, graph.start, graph.accept)
    given = [t.detach().clone().requires_grad_() for t in leaves]

    def all_of_it():
        cuts = segments.with_weights(given[1], start=given[2], accept=given[3])
        operand = graph.with_weights(given[4], start=given[5], accept=given[6])
        lattice = Emissions(given[0], graph=cuts) @ operand
        total = forward_score(lattice)
        grads = torch.autograd.grad(total[total > NEG_INF].sum(), given, allow_unused=True)
        path = viterbi_path(lattice)
        return [total.detach(), *grads], [path.state_offsets, *path.arc_maps, path.weights.detach()]

    if on is None:
        return all_of_it()
    with on:
        results = all_of_it()
    assert on.ran >= {"lattice_score", "lattice_score_backward", "lattice_best"}
    return results


def assert_as_on_the_cpu(segments: Graph, scores: torch.Tensor, graph: Graph) -> None:
    """Sums up to rounding, paths exactly."""
    sums, paths = found(segments, scores, graph, on=emulated.OnGpu())
    expected_sums, expected_paths = found(segments, scores, graph, on=None)
    for ours, expected in zip(sums, expected_sums, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert all(map(torch.equal, paths, expected_paths))


@st.composite
def cases(draw: st.DrawFn):
    """Segmentations in a batch and a graph for each or for all, scores in quarters: many ties."""
    segments = draw(strategies.graphs(acyclic=True, max_arcs=7))
    graph = draw(strategies.graphs(acyclic=False, max_arcs=7))
    topology = graph.topology
    backward = (topology.ilabels == EPSILON) & (topology.source >= topology.target)
    labels = topology.ilabels.masked_fill(backward, 0)
    graph = Graph.from_topology(
        topology.with_labels(labels, labels), graph.weights, graph.start, graph.accept
    )
    several = draw(st.integers(1, 3))
    graphs = draw(st.sampled_from([1, several]))
    segments, graph = stack([segments[0]] * several), stack([graph[0]] * graphs)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    size = (segments.num_arcs, 1 + max([1, *graph.ilabels.tolist()]))
    scores = torch.randint(-4, 4, size, generator=generator).to(graph.dtype) / 4
    scores[torch.rand(size, generator=generator) < 0.1] = NEG_INF
    return segments.to(graph.dtype), scores, graph


@given(cases())
def test_random_segmentations(case):
    assert_as_on_the_cpu(*case)


def lattice_of(cuts: int, width: int, *, backwards: bool = False) -> Graph:
    """Segments from every cut to each of the next few; cuts perhaps in an order of their own."""
    pairs = [(c, d) for c in range(cuts) for d in range(c + 1, min(cuts, c + width + 1))]
    last = cuts - 1
    if backwards:
        pairs = [(last - c, last - d) for c, d in pairs]
    source, target = zip(*pairs, strict=True)
    ends = (last, [0, 1]) if backwards else (0, [last - 1, last])
    labels = [0] * len(pairs)
    return Graph(list(source), list(target), labels, start=ends[0], accept=ends[1])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_segments(dtype, backwards):
    segments = stack([lattice_of(9, 3, backwards=backwards), lattice_of(3, 2), lattice_of(30, 2)])
    graph = ctc_graph([[1, 2, 1], [], [3, 3]])
    scores = torch.randn(segments.num_arcs, 5, dtype=dtype)
    assert_as_on_the_cpu(segments.to(dtype), scores, graph.to(dtype))


@pytest.mark.parametrize("epsilons", [False, True])
def test_long_rows_are_summed_in_parts(epsilons):
    segments = stack([lattice_of(5, 2), lattice_of(4, 2)])
    scores = torch.randn(segments.num_arcs, 2)
    assert_as_on_the_cpu(segments, scores, star(700, 2, epsilons=epsilons))


def test_segments_without_labels_items_or_ways():
    graph = linear([1, 2])
    nothing = Graph([], [], [], start=[], accept=[])
    apart = Graph([0, 2], [1, 3], [0, 0], start=0, accept=3)
    segments = stack([nothing, apart, linear([0, 0]), linear([0])])
    assert_as_on_the_cpu(segments, torch.randn(segments.num_arcs, 3), graph)
    unread = torch.randn(segments.num_arcs, 3)
    unread[:, 1:] = NEG_INF
    assert_as_on_the_cpu(segments, unread, graph)
    assert_as_on_the_cpu(segments[:0], torch.randn(0, 3), graph)
    assert_as_on_the_cpu(linear([0, 0]), torch.randn(2, 3), nothing)


@given(cases())
def test_posteriors_and_entropy(case):
    segments, scores, graph = case

    def shares():
        lattice = Emissions(scores, graph=segments) @ graph
        arcs = [a for per in ("path", "frame") for a in lattice.arc_posteriors(per=per)]
        return [lattice.label_posteriors(), *arcs, lattice.entropy()]

    with emulated.OnGpu() as there:
        found = shares()
    assert "lattice_posteriors" in there.ran
    for ours, expected in zip(found, shares(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


# The k best paths, samples and pruning build the product


def taken(lattice: Lattice, *, product: bool) -> tuple[list[Graph], list[Graph], Graph]:
    """The best paths, paths drawn, and what is near the best, of a lattice or of its product."""
    given = lattice.graph() if product else lattice
    best, drawn = k_best(given, 4), sample(given, 3, generator=torch.Generator().manual_seed(7))
    near = prune(given, beam=0.5)
    if not product:
        return best, drawn, near
    best, drawn = ([traced(one, given) for one in found] for found in (best, drawn))
    return best, drawn, traced(near, given)


def on_the_cpu(work: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "on_gpu", lambda tensor: False)
        return work()


def same(ours: Graph, expected: Graph) -> bool:
    """Whether graphs are equal and come from the same arcs."""
    return ours.equal(expected) and all(map(torch.equal, ours.arc_maps, expected.arc_maps))


def arcs_of(graph: Graph) -> list[tuple]:
    return sorted(zip(*(m.tolist() for m in graph.arc_maps), graph.weights.tolist(), strict=True))


def assert_takes_the_same(segments: Graph, scores: torch.Tensor, graph: Graph) -> None:
    """What the CPU takes of the product, exactly; without it but for the order, and other draws."""
    lattice = Emissions(scores, graph=segments) @ graph
    with emulated.OnGpu() as there:
        best, drawn, near = taken(lattice, product=False)
    assert {"explore", "acyclic_k_best", "sample"} <= there.ran
    expected_best, expected_drawn, expected_near = on_the_cpu(lambda: taken(lattice, product=True))
    for ours, expected in zip([*best, *drawn], [*expected_best, *expected_drawn], strict=True):
        assert same(ours, expected)
    assert same(near, expected_near)
    unbuilt_best, unbuilt_drawn, unbuilt_near = on_the_cpu(lambda: taken(lattice, product=False))
    for ours, expected in zip(best, unbuilt_best, strict=True):
        found = viterbi_score(ours)
        assert torch.equal(found, viterbi_score(expected))
        if len(found.unique()) == len(found):
            last = slice(0, max(len(found) - 1, 0))  # others may tie with the last one
            assert same(ours[last], expected[last])
    assert [len(paths) for paths in drawn] == [len(paths) for paths in unbuilt_drawn]
    assert arcs_of(near) == arcs_of(unbuilt_near)


@given(cases())
def test_paths_and_pruning(case):
    assert_takes_the_same(*case)


@pytest.mark.parametrize("shared", [False, True])
def test_paths_and_pruning_without_ties_are_those_of_the_cpu(shared):
    segments = stack([lattice_of(9, 3, backwards=True)] * (1 if shared else 3))
    graph = ctc_graph([[1, 2, 1], [], [3, 3]], dtype=torch.float64)
    scores = torch.randn(segments.num_arcs, 5, dtype=torch.float64)
    assert_takes_the_same(segments.to(torch.float64), scores, graph)
    lattice = Emissions(scores, graph=segments.to(torch.float64)) @ graph
    with emulated.OnGpu():
        ours = lattice.k_best(9)
    assert all(map(same, ours, on_the_cpu(lambda: lattice.k_best(9))))


def by_operators(scores, segments, graph):
    """The score and all gradients, by the operators themselves: nothing refuses NaN."""
    topology = segments.topology
    cuts = [topology.state_offsets, topology.arc_offsets, topology.order_and_cycles[0]]
    cuts += [topology.source, topology.target, segments.start, segments.accept]
    scored = (graph.weights, graph.start, graph.accept)
    arguments = (scores, cuts, *graph.topology.steps, *scored)
    with emulated.OnGpu():
        score, *alpha, _ = torch.ops.gtnet.lattice_score(*arguments, True)
        ones = torch.ones_like(score)
        grads = torch.ops.gtnet.lattice_score_backward(ones, *alpha, *arguments, True)
        path = torch.ops.gtnet.lattice_best(*arguments)
    return score, grads, path


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("where", ["scores", "weights", "start", "cuts"])
def test_what_is_not_finite_gives_nan_and_no_gradient(wrong, where):
    segments, graph = stack([lattice_of(4, 2)] * 2), ctc_graph([[1], [2]])
    scores = torch.randn(segments.num_arcs, 3)
    if where == "scores":
        scores[1, 1] = wrong
    elif where == "cuts":
        segments.start[0] = wrong
    else:
        getattr(graph, where)[0] = wrong
    score, grads, path = by_operators(scores, segments, graph)
    assert score.isnan().tolist() == [True, False]
    half = len(scores) // 2
    assert not grads[0][:half].any()
    assert grads[0][half:].sum() > 1
    if where == "scores" and wrong != 1e30:
        assert path[1].isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_scores_do_not_underflow(dtype):
    segments = lattice_of(40, 2).to(dtype)
    graph = ctc_graph([[1, 2]], dtype=dtype)
    scores = torch.randn(segments.num_arcs, 3, dtype=dtype) * 300
    sums, _ = found(segments, scores, graph, on=emulated.OnGpu())
    exact, _ = found(segments.to(torch.float64), scores.double(), graph.to(torch.float64), on=None)
    rtol, atol = (1e-6, 1e-4) if dtype == torch.float32 else (1e-12, 1e-10)
    for ours, expected in zip(sums, exact, strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=rtol, atol=atol)
