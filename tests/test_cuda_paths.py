"""Paths as a GPU takes them out of graphs and lattices: those of the CPU, emulated."""

from __future__ import annotations

import math

import emulated
import pytest
import strategies
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gtnet import EPSILON, Emissions, Graph, _checks, ctc_graph, k_best, prune, sample, stack

NEG_INF = -math.inf


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def assert_same_paths(work, operator):
    """Lists of batches of linear graphs: the same arcs and scores, here and on the GPU."""
    expected = work()
    with emulated.OnGpu() as there:
        found = work()
    assert operator in there.ran
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.equal(theirs)
        assert all(map(torch.equal, ours.arc_maps, theirs.arc_maps))


# Graphs


@settings(max_examples=20)
@given(strategies.graphs(), st.sampled_from([0, 1, 2, 5, 40]))
def test_the_k_best_paths_are_those_of_the_cpu(graph, k):
    assert_same_paths(lambda: k_best(graph, k), "acyclic_k_best")


def bundles(widths: list[int], *, levels: int, seed: int = 0) -> Graph:
    """States in a row, so many arcs between each and the next, with scores that are often equal."""
    source = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(levels, source.shape, generator=generator) / 4
    return Graph(source, source + 1, source, weights=weights, accept=len(widths))


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_many_ways_are_merged_in_rounds(levels, k):
    graph = stack([bundles([40, 2, 100, 33], levels=levels), bundles([1, 70], levels=levels)])
    assert_same_paths(lambda: k_best(graph, k), "acyclic_k_best")


def test_many_ends_are_merged_in_rounds():
    leaves = torch.arange(1, 200)
    ends = torch.randn(200).masked_fill(torch.rand(200) < 0.3, NEG_INF)
    graph = Graph(torch.zeros_like(leaves), leaves, leaves, weights=torch.randn(199), accept=ends)
    assert_same_paths(lambda: k_best(graph, 7), "acyclic_k_best")


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_on_no_path(wrong):
    graph = Graph([0, 0, 0], [1, 1, 1], [0, 1, 2], weights=[1.0, 2.0, 3.0], accept=1)
    graph.weights[1] = wrong
    with emulated.OnGpu():
        assert k_best(graph, 5)[0].arc_maps[0].tolist() == [2, 0]


@settings(max_examples=20)
@given(strategies.graphs(), strategies.BETAS)
def test_samples_are_those_of_the_cpu(graph, beta):
    def work():
        return sample(graph, 5, beta=beta, generator=torch.Generator().manual_seed(1))

    assert_same_paths(work, "sample")


def test_what_does_not_fit_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9999))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400)
    device = torch.device("cuda")
    _checks.fits_on_gpu("k_best", device, 1100, "the 5 best paths to every state")
    with pytest.raises(ValueError, match=r"k_best: the 5 best .* 1101 bytes, and 1100 are free"):
        _checks.fits_on_gpu("k_best", device, 1101, "the 5 best paths to every state")


# Lattices


@st.composite
def chains(draw):
    """Chains of frames and a graph, or graphs; scores are often equal."""
    dtype, batch = draw(strategies.DTYPES), draw(st.integers(1, 3))
    size = draw(st.sampled_from([1, batch]))
    graph = draw(strategies.graphs(size=size, acyclic=False, dtype=dtype))
    frames = draw(st.integers(0, 4))
    labels = max([draw(st.integers(1, 3)), *(graph.ilabels + 1).tolist()])
    lengths = draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    scores = torch.randint(-2, 2, (batch, frames, labels)).to(dtype) / 2
    scores = scores.masked_fill(torch.rand_like(scores) < 0.1, NEG_INF)
    lattice = Emissions(scores, lengths) @ graph
    assume(graph.topology.steps is not None)
    return lattice


@settings(max_examples=25)
@given(chains(), st.sampled_from([0, 1, 3, 20]))
def test_the_k_best_paths_of_lattices_are_those_of_the_cpu(lattice, k):
    assert_same_paths(lambda: k_best(lattice, k), "lattice_k_best")


def star(states: int, labels: int, *, epsilons: bool) -> Graph:
    """All states lead to the first, by label or by epsilon, and from it; scores often equal."""
    others = torch.arange(1, states)
    hub = torch.zeros_like(others)
    back = torch.full_like(others, EPSILON) if epsilons else others % labels
    return Graph(
        torch.cat([hub, others, others]),
        torch.cat([others, hub, others]),
        torch.cat([others % labels, back, others % labels]),
        weights=torch.randint(5, (3 * (states - 1),)) / 4,
        accept=torch.randint(3, (states,)) / 4,
    )


@pytest.mark.parametrize("epsilons", [False, True])
@pytest.mark.parametrize("states", [40, 1300])
def test_the_k_best_paths_over_long_rows(states, epsilons):
    lattice = Emissions(torch.randint(3, (2, 3, 2)).float(), [3, 2]) @ star(
        states, 2, epsilons=epsilons
    )
    assert_same_paths(lambda: k_best(lattice, 4), "lattice_k_best")


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_lattices_with_what_is_not_finite_have_no_k_best_paths(wrong):
    scores = torch.randn(2, 3, 3)
    scores[0, 1, 1] = wrong
    emissions = Emissions.unchecked(scores, torch.tensor([3, 3]))
    with emulated.OnGpu():
        found = k_best(emissions @ ctc_graph([[1], [2]]), 2)
    assert [len(paths) for paths in found] == [0, 2]


@settings(max_examples=20)
@given(chains(), strategies.BETAS)
def test_samples_of_lattices_are_those_of_the_cpu(lattice, beta):
    def work():
        return sample(lattice, 4, beta=beta, generator=torch.Generator().manual_seed(1))

    assert_same_paths(work, "lattice_sample")


@pytest.mark.parametrize("epsilons", [False, True])
@pytest.mark.parametrize("states", [40, 1300])
def test_samples_over_long_rows(states, epsilons):
    lattice = Emissions(torch.randn(2, 3, 2), [3, 2]) @ star(states, 2, epsilons=epsilons)

    def work():
        return sample(lattice, 20, generator=torch.Generator().manual_seed(1))

    assert_same_paths(work, "lattice_sample")


def assert_same_rest(lattice, beam):
    expected = prune(lattice, beam=beam)
    with emulated.OnGpu() as there:
        found = prune(lattice, beam=beam)
    assert "lattice_prune" in there.ran
    assert found.equal(expected)
    for name in ("arc_maps", "state_maps"):
        assert all(map(torch.equal, getattr(found, name), getattr(expected, name)))


@settings(max_examples=25)
@given(chains(), st.sampled_from([0.0, 1.0, 3.0, math.inf]))
def test_pruned_lattices_are_those_of_the_cpu(lattice, beam):
    assert_same_rest(lattice, beam)


@pytest.mark.parametrize("epsilons", [False, True])
@pytest.mark.parametrize("states", [40, 1300])
def test_lattices_over_long_rows_are_pruned(states, epsilons):
    lattice = Emissions(torch.randn(2, 3, 2), [3, 2]) @ star(states, 2, epsilons=epsilons)
    assert_same_rest(lattice, 2.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_read_without_a_copy(dtype):
    graph, scores = ctc_graph([[1, 2], [2]]), torch.randn(2, 6, 4).to(dtype)
    found = []
    for of_frames in (scores, scores.float()):
        lattice = Emissions.unchecked(of_frames, torch.tensor([6, 4])) @ graph
        with emulated.OnGpu():
            rest = prune(lattice, beam=2.0)
            arcs = [*lattice.arc_posteriors(), *lattice.arc_posteriors(per="frame")]
            paths = [m for best in k_best(lattice, 5) for m in best.arc_maps]
            found.append([*paths, *rest.arc_maps, *arcs])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_has_no_posteriors(wrong):
    scores = torch.randn(2, 3, 3)
    scores[0, 1, 1] = wrong
    lattice = Emissions.unchecked(scores, torch.tensor([3, 3])) @ ctc_graph([[1], [2]])
    with emulated.OnGpu():
        for per in ("path", "frame"):
            assert [arcs.isnan().all() for arcs in lattice.arc_posteriors(per=per)] == [True, False]
        assert lattice.entropy().isnan().tolist() == [True, False]
        assert prune(lattice, beam=1.0)[0].num_arcs == 0
