"""Rational operations as a GPU does them: the CPU's tests on the stand-in, and larger batches."""

from __future__ import annotations

import re

import pytest
import standin
import test_rational
import torch

from gtnet import closure, concat, linear, random_graph, stack, union

WITHOUT = "gradgrad|gradient|second|threads|text|cpu"
for _name, _test in vars(test_rational).items():
    if _name.startswith("test_") and not re.search(WITHOUT, _name):
        globals()[f"{_name}__there"] = _test


@pytest.fixture(autouse=True)
def gpu(on_gpu):
    with standin.OnGpu() as mode:
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
    return all(standin.same_bits(a, b) for a, b in [*pairs, *maps])


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
