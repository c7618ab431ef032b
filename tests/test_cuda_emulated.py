"""The CUDA kernels without a GPU: emulated, under the tests of the CPU's operators."""

from __future__ import annotations

import math
import re

import emulated
import pytest
import test_beam_search
import test_compose
import test_distance
import test_lattice
import test_ops
import test_paths
import test_transducer_losses
import torch

import gtnet

# Tests of other files, here emulated; left out are those of what no GPU kernel does, such as
# derivatives that are made of operators: each of these is compared below.
BORROWED = {
    test_compose: "memory|gradgrad|gradcheck",
    test_beam_search: "gradients|threads|errors",
    test_distance: "gradgrad|second|third|strided|gradcheck_in_scores",
    # For scores that are huge, and for float32, see test_cuda_chains.
    test_lattice: "huge|float32|second|differentiate",
    test_paths: "enumerate|gradcheck",
    test_transducer_losses: "gradcheck|torch_func|wrong|checked",
}
for _module, _without in BORROWED.items():
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and not (_without and re.search(_without, _name)):
            globals()[f"{_name}__{_module.__name__}"] = _test


@pytest.fixture(autouse=True)
def _as_on_a_gpu(on_gpu):
    with emulated.OnGpu():
        yield


# What finds faults finds them


@pytest.mark.parametrize("fault", [0, 1])
def test_indices_out_of_range_are_found(fault, emulated_only):
    with pytest.raises(IndexError, match="reached for 1 element"):
        torch.ops.gtnet_emulated.faulty(torch.empty(0), fault)


@pytest.mark.parametrize(("fault", "differs"), [(2, True), (3, False), (4, True)])
def test_missing_barriers_and_unwritten_memory_are_found(fault, differs, emulated_only):
    found = []
    for order in emulated.ORDERS:
        torch.ops.gtnet_emulated.settings(order, emulated.SHARED_BYTES)
        found.append(torch.ops.gtnet_emulated.faulty(torch.empty(0), fault))
    assert any(not torch.equal(found[0], other) for other in found) == differs


@pytest.mark.parametrize("order", emulated.ORDERS)
@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 9), (63, 9), (200, 2**62), (257, 400)])
def test_blocks_sort_keys_and_find_ranks(size, most, order, emulated_only):
    keys = torch.randint(-most, most, (size,))
    down = keys.sort(descending=True).values
    torch.ops.gtnet_emulated.settings(order, emulated.SHARED_BYTES)
    for rank in {1, size // 2 + 1, size}:
        ours = keys.clone()
        key, of_equals = torch.ops.gtnet_emulated.ordered(ours, rank).tolist()
        assert key == down[rank - 1]
        assert of_equals == rank - int((keys > key).sum())
        assert torch.equal(ours, down.flip(0))


# Operators


def names() -> list[str]:
    ops = (getattr(torch.ops.gtnet, name).default for name in sorted(test_ops.registered()))
    found = [op._schema.name.removeprefix("gtnet::") for op in ops if emulated.runs_there(op)]
    return [name for name in found if name != "lattice_score_backward"]  # its alphas are its own


@pytest.mark.parametrize("name", names())
def test_every_operator_equals_that_of_the_cpu(name):
    operator = getattr(torch.ops.gtnet, name).default
    kept = emulated.UNWRITTEN.get(name, ())
    for arguments in test_ops.cases()[name]:
        ours = operator(*arguments)
        with torch.utils._python_dispatch._disable_current_modes():
            expected = operator(*arguments)
        if kept:
            ours, expected = ours[: min(kept)], expected[: min(kept)]
        torch.testing.assert_close(ours, expected, equal_nan=True)


# Scores far from 0


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1e17, 1e17, 0, 0], [math.nan] * 4), ([0.5, -1e30, 1, 0], [1, 0, 1, 0])],
)
def test_gradients_far_from_zero_are_known_or_not_a_number(weights, expected):
    """A GPU is not asked how far sums lie from 0."""
    weights = torch.tensor(weights, dtype=torch.float64)
    graph = gtnet.Graph([0, 0, 1, 3], [1, 3, 2, 2], [0, 1, 2, 3], weights=weights, accept=2)
    walk = graph.topology.walk("test", both_ways=True)
    alpha, score = torch.ops.gtnet.log_distance(*graph.scores, *walk.arguments())
    given = (torch.ones(1, dtype=torch.float64), None, alpha, score, *graph.scores)
    found, *_ = torch.ops.gtnet.log_distance_backward(*given, *walk.reversed().arguments())
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
