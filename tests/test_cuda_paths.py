"""Paths as a GPU takes them out of graphs and lattices: those of the CPU, on the stand-in."""

from __future__ import annotations

import math

import pytest
import standin
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gtnet import Graph, _checks, k_best, sample, stack

NEG_INF = -math.inf


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def assert_same_paths(work, operator):
    """Lists of batches of linear graphs: the same arcs and scores, here and on the GPU."""
    expected = work()
    with standin.OnGpu() as there:
        found = work()
    assert operator in there.ran
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.equal(theirs)
        assert all(map(torch.equal, ours.arc_maps, theirs.arc_maps))


# Graphs


@settings(max_examples=30)
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
    with standin.OnGpu():
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
