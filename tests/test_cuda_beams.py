"""Beam search as a GPU does it, emulated: what the CPU keeps, in the CPU's order."""

from __future__ import annotations

import math

import emulated
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_beam_search import searches

from gtnet import EPSILON, BeamSearch, Graph, ctc_graph

INF = math.inf


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def chunks(search: BeamSearch, scores, lengths, cuts=()):
    """What the operator returned for each chunk, and the lattice."""
    for begin, end in zip([0, *cuts], [*cuts, scores.shape[1]], strict=True):
        inside = [min(max(length - begin, 0), end - begin) for length in lengths]
        search.feed(scores[:, begin:end], inside)
    return [part[2:] for part in search._chunks], search.lattice()


def assert_same(graph, scores, lengths, cuts=(), **options):
    """Tokens, arcs, slacks, scores and the lattice are those of the CPU, bit for bit."""
    expected = chunks(BeamSearch(graph, **options), scores, lengths, cuts)
    with emulated.OnGpu() as there:
        found = chunks(BeamSearch(graph, **options), scores, lengths, cuts)
    assert {"beam_search", "beam_lattice"} <= there.ran
    for ours, theirs in zip(found[0], expected[0], strict=True):
        assert all(map(torch.equal, ours, theirs))
    for ours, theirs in zip(lists(found[1]), lists(expected[1]), strict=True):
        assert torch.equal(ours, theirs)


def lists(graph: Graph):
    topology = graph.topology
    yield from (topology.state_offsets, topology.arc_offsets, topology.source, topology.target)
    yield from (graph.ilabels, graph.olabels, graph.weights, graph.start, graph.accept)
    yield from (*graph.arc_maps, *graph.state_maps)


@given(searches(), st.integers(1, 5), st.sampled_from([0.0, 1.0, INF]), st.data())
def test_it_keeps_what_the_cpu_keeps(case, max_active, beam, data):
    scores, lengths, graph = case
    if len(scores) != len(graph) and len(graph) > 1:
        scores, lengths = scores.repeat(len(graph), 1, 1), lengths * len(graph)
    cuts = sorted(data.draw(st.lists(st.integers(0, 4), max_size=2)))
    lattice_beam = data.draw(st.sampled_from([None, 0.0, 0.5, INF]))
    options = {"beam": beam, "max_active": max_active, "lattice_beam": lattice_beam}
    assert_same(graph, scores, lengths, cuts, **options)


def wide(states: int, *, raising: bool = False, rounded: bool = True) -> Graph:
    """Arcs and epsilons at random: more than a block has threads, with many equal scores."""
    generator = torch.Generator().manual_seed(states)
    count = 6 * states
    source, target = torch.randint(states, (2, count), generator=generator)
    labels = torch.randint(5, (count,), generator=generator)
    epsilons = (torch.rand(count, generator=generator) < 0.3) & (source < target)
    weights = torch.randn(count, generator=generator)
    weights = weights.round() if rounded else weights
    weights[epsilons] = weights[epsilons].abs() * (1 if raising else -1)
    start = torch.full((states,), -INF)
    start[: states // 2] = 0
    labels = labels.masked_fill(epsilons, EPSILON)
    return Graph(source, target, labels, None, weights, start=start, accept=list(range(states)))


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("max_active", [7, 60, None])
def test_many_states_and_ties(max_active, rounded, raising):
    graph = wide(90, raising=raising, rounded=rounded)
    scores = torch.randn(2, 5, 5)
    scores = scores.round() if rounded else scores
    assert_same(graph, scores, [5, 3], [2], beam=4.0, max_active=max_active)


@pytest.mark.parametrize("max_active", [300, None])  # None: more is kept than was made room for
def test_more_arcs_than_threads(max_active):
    scores = torch.randn(1, 2, 5)
    assert_same(wide(700), scores, [2], beam=INF, max_active=max_active, lattice_beam=1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_read_without_a_copy(dtype):
    scores = torch.randn(2, 6, 4).to(dtype)
    found = []
    for frames in (scores, scores.float()):
        with emulated.OnGpu():
            search = BeamSearch(ctc_graph([[1, 2], [3]]), beam=5.0, max_active=3)
            search._feed(frames, torch.tensor([6, 4]))
            found.append([*search._chunks[0][2:], *lists(search.lattice())])
    assert all(map(torch.equal, *found))


def test_what_is_no_number_is_not_followed():
    scores = torch.zeros(1, 3, 3)
    expected, wrong = scores.clone(), scores.clone()
    expected[0, 1] = torch.tensor([0.0, -INF, -INF])
    wrong[0, 1] = torch.tensor([0.0, math.nan, INF])
    with emulated.OnGpu():
        graph = ctc_graph([[1, 2]])
        found = []
        for frames in (wrong, expected):
            search = BeamSearch(graph, beam=INF)
            search._feed(frames, torch.tensor([3]))
            found.append(search._chunks[0][2:])
    assert all(map(torch.equal, *found))
