"""Rewrites as a GPU does them: the CPU's tests emulated, and larger batches."""

from __future__ import annotations

import re

import emulated
import pytest
import test_rational
import test_remove_epsilon
import test_sorting
import torch

from gtnet import _ops, closure, concat, linear, random_graph, stack, union

WITHOUT = "grad|second|threads|cpu|cycl|associates|multiplies|reverse|relabel|project|invert"
for _module in (test_rational, test_remove_epsilon, test_sorting):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and not re.search(WITHOUT, _name):
            globals()[f"{_name}__{_module.__name__}"] = _test


@pytest.fixture(autouse=True)
def gpu(on_gpu):
    with emulated.OnGpu() as mode:
        yield mode


def same(ours, expected) -> bool:
    names = ("state_offsets", "arc_offsets", "source", "target", "ilabels", "olabels")
    scores = ("weights", "start", "accept")
    maps = [
        pair
        for n in ("arc_maps", "state_maps")
        for pair in zip(getattr(ours, n), getattr(expected, n))
    ]
    pairs = [(getattr(ours, name), getattr(expected, name)) for name in (*names, *scores)]
    return all(emulated.same_bits(a, b) for a, b in [*pairs, *maps])


def test_large_batches_equal_those_of_the_cpu(gpu):
    """More sections than threads, operands without graphs' states, joints of every kind."""
    parts = random_graph(7, 12, num_labels=3, size=40)
    batch = stack([parts, linear([]), linear([1] * 700)])
    one = linear([2, 2])
    works = [
        lambda: union(batch, one, batch),
        lambda: concat(one, batch, batch),
        *(lambda kind=kind: closure(batch, kind) for kind in ("star", "plus", "optional")),
        lambda: union(*[one] * 1030, linear([])),
    ]
    for work in works:
        ours = work()
        with torch.utils._python_dispatch._disable_current_modes():
            expected = work()
        assert same(ours, expected)
    assert {"rational", "rational_sections", "take"} <= gpu.ran


@pytest.mark.parametrize("acyclic", [True, False])
def test_pairs_of_epsilons_are_numbered_as_on_the_cpu(acyclic):
    """Frontier by frontier for all sources at once, as source after source."""
    graph = random_graph(40, 90, num_labels=2, size=5, acyclic=acyclic, epsilons=0.7)
    graph = stack([graph, linear([]), random_graph(1, 0), random_graph(9, 20, 1, epsilons=1.0)])
    leaving = graph.topology.leaving.by_state()
    for wanted in (graph.start > -1, graph.accept > -1, graph.start > 1, graph.start < 1):
        ours = _ops.epsilon_pairs(graph.state_offsets, *leaving, wanted, 10**6)
        too_large, *expected = torch.ops.gtnet.epsilon_pairs(
            graph.state_offsets, *leaving, wanted, 10**6
        )
        assert ours is not None and not too_large
        assert all(emulated.same_bits(*pair) for pair in zip(ours, expected, strict=True))
