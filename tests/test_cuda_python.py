"""The Python side of work on a GPU, on tensors that are on one by name only and hold nothing.

Whoever looks at what such a tensor holds gets an error: so nothing here waits for the device.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from gtnet import (
    BeamSearch,
    Emissions,
    Graph,
    _ops,
    ctc_graph,
    enumerate_paths,
    forward_score,
    k_best,
    linear,
    prune,
    sample,
)
from gtnet._ops import emissions as emissions_ops
from gtnet._ops import library

LOOKED = (DataDependentOutputException, GuardOnDataDependentSymNode)


@pytest.fixture
def on_gpu(monkeypatch):
    """Moves a graph, whose walk and steps the CPU has prepared, to a GPU that is not there."""
    monkeypatch.setattr(_ops, "HAS_CUDA", True)
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    moved = torch.Tensor.to

    def to(tensor: torch.Tensor, to: object, **how: bool) -> torch.Tensor:
        if not isinstance(to, torch.dtype) and torch.device(to).type == "cuda":
            return torch.empty_like(tensor, device=to)
        return moved(tensor, to, **how)

    monkeypatch.setattr(torch.Tensor, "to", to)

    def move(graph: Graph) -> Graph:
        assert graph.topology.steps is not None
        assert graph.topology.is_acceptor is not None
        with mode:
            return graph.to("cuda")

    move.mode = mode
    return move


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_forward_scores_do_not_look_at_data(on_gpu, dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    graph = on_gpu(ctc_graph([[1], [2, 1]], dtype=wide))
    with on_gpu.mode:
        scores = torch.zeros(2, 5, 4, dtype=dtype, device="cuda")
        lengths = torch.full((2,), 3, device="cuda")
        for emissions in (Emissions(scores), Emissions(scores, lengths)):
            score = forward_score(emissions @ graph)
            assert (score.device.type, score.dtype, score.shape) == ("cuda", wide, (2,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_scores_over_segments_do_not_look_at_data(on_gpu, dtype):
    segments = linear([[1, 2], [1]], dtype=dtype)
    assert not segments.topology.is_cyclic
    segments = on_gpu(segments)
    graph = on_gpu(ctc_graph([[1], [2, 1]], dtype=dtype))
    with on_gpu.mode:
        emissions = Emissions(torch.zeros(3, 4, dtype=dtype, device="cuda"), graph=segments)
        score = forward_score(emissions @ graph)
        assert (score.device.type, score.dtype, score.shape) == ("cuda", dtype, (2,))


def test_forward_scores_of_acyclic_graphs_do_not_look_at_data(on_gpu):
    chain = linear([[1, 2], [1]])
    assert not chain.topology.is_cyclic
    graph = on_gpu(chain)
    with on_gpu.mode:
        assert forward_score(graph).device.type == "cuda"


def test_arcs_are_sorted_without_looking(on_gpu):
    graph = on_gpu(Graph([0, 0], [1, 1], [1, 2], [3, 4], accept=1))
    made_there = graph.topology.with_labels(graph.ilabels, graph.olabels)
    with on_gpu.mode:
        made_there.is_acceptor = False
        views = (made_there.entering, made_there.leaving_by_ilabel, made_there.leaving_by_olabel)
        assert {t.device.type for view in views for t in view if t is not None} == {"cuda"}
        order, bounds = _ops.in_layers(made_there.state_offsets, made_there._depth)
        assert (order.shape, bounds.shape, bounds.device.type) == ((2,), (2, 2), "cuda")


def test_products_wait_for_their_size_first(on_gpu):
    graph = on_gpu(linear([[1, 2], [1]]))
    with on_gpu.mode, pytest.raises(LOOKED):  # whether the product is too large
        graph @ graph


def test_the_entropy_of_lattices_does_not_look_at_data(on_gpu):
    for operand in (on_gpu(ctc_graph([[1], [2, 1]])), on_gpu(ctc_graph([[2, 1]]))):
        with on_gpu.mode:
            scores = torch.zeros(2, 5, 4, device="cuda")
            lattice = Emissions(scores, torch.full((2,), 3, device="cuda")) @ operand
            uncertainty = lattice.entropy(2.0)
            assert (uncertainty.device.type, uncertainty.shape) == ("cuda", (2,))


class ReachedError(Exception):
    """Raised in the place of an operator that was reached."""


@pytest.mark.parametrize(
    ("place", "name", "work"),
    [
        (_ops, "acyclic_k_best", lambda chain, lattice: k_best(chain, 2)),
        (_ops, "sample", lambda chain, lattice: sample(chain, 2, beta=2.0)),
        (_ops, "lattice_score", lambda chain, lattice: lattice.label_posteriors()),
        (None, "lattice_k_best", lambda chain, lattice: k_best(lattice, 2)),
        (None, "lattice_sample", lambda chain, lattice: sample(lattice, 2, beta=2.0)),
        (None, "lattice_prune", lambda chain, lattice: prune(lattice, beam=1.0)),
        (None, "lattice_posteriors", lambda chain, lattice: lattice.arc_posteriors()),
    ],
)
def test_what_takes_paths_out_reaches_its_operator(on_gpu, monkeypatch, place, name, work):
    """Nothing looks at data before; all tensors are there but for the sizes of launches."""

    def reached(*arguments):
        tensors = [t for t in tree_flatten(arguments)[0] if isinstance(t, torch.Tensor)]
        assert sum(t.device.type == "cpu" for t in tensors) == name.startswith("lattice")
        raise ReachedError

    if place is _ops:
        monkeypatch.setattr(_ops, name, reached)
    else:
        monkeypatch.setattr(emissions_ops, f"_{name}", reached)
    monkeypatch.setattr(_ops, "k_best_bytes", lambda *arguments: 0)  # looks at a size
    acyclic = linear([[1, 2], [1]])
    assert not acyclic.topology.is_cyclic
    targets = [[1], [2, 1]] if name != "lattice_posteriors" else [[1]]  # sizes of parts are read
    chain, graph = on_gpu(acyclic), on_gpu(ctc_graph(targets))
    with on_gpu.mode:
        lattice = Emissions(torch.zeros(2, 5, 4, device="cuda")) @ graph
        with pytest.raises(ReachedError):
            work(chain, lattice)


def test_whoever_looks_is_found(on_gpu):
    with on_gpu.mode, pytest.raises(LOOKED):
        bool(torch.zeros(1, device="cuda"))


class Answers(TorchFunctionMode):
    """For what waits to learn a size: whoever looks at a tensor of the GPU sees no and 2.

    Indexing is spelled out: a torch without CUDA has none for what is there by name only.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        first = args[0] if args else None
        there = isinstance(first, torch.Tensor) and first.device.type == "cuda"
        if there and func is torch.Tensor.__bool__:
            return False
        if there and func is torch.Tensor.__int__:
            return 2
        if there and func is torch.Tensor.__getitem__:
            return indexed(*args)
        return func(*args, **(kwargs or {}))


def indexed(tensor: torch.Tensor, place: object) -> torch.Tensor:
    """tensor[place], with the index on the same device."""
    aten = torch.ops.aten
    if isinstance(place, torch.Tensor):
        assert place.device.type == "cuda"
        if place.dtype == torch.bool:
            tensor = tensor.flatten(0, place.ndim - 1)
            place = aten.nonzero.default(place.flatten()).flatten()
        return tensor.index_select(0, place)
    dim = 0
    for part in place if isinstance(place, tuple) else (place,):
        if isinstance(part, slice):
            tensor = aten.slice.Tensor(tensor, dim, part.start, part.stop)
            dim += 1
        else:
            tensor = aten.select.int(tensor, dim, part)
    return tensor


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_beam_search_stays_on_its_device(on_gpu, dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    graph = on_gpu(ctc_graph([[1], [2, 1]], dtype=wide))
    with on_gpu.mode, Answers():
        search = BeamSearch(graph, beam=3.0, max_active=2)
        for lengths in (None, torch.full((2,), 9, device="cuda")):
            search.feed(torch.zeros(2, 3, 4, dtype=dtype, device="cuda"), lengths)
        lattice = search.lattice()
        maps = (*lattice.arc_maps, *lattice.state_maps)
        assert {t.device.type for t in (lattice.weights, lattice.start, *maps)} == {"cuda"}
        assert lattice.dtype == wide


def test_what_has_no_kernel_names_the_cpu(on_gpu):
    acyclic = linear([[1, 2], [1]])
    assert not acyclic.topology.is_cyclic
    graph = on_gpu(acyclic)
    wide = on_gpu(ctc_graph([[1], [2]], dtype=torch.float64))
    with on_gpu.mode:
        for work in (
            lambda: k_best(graph, 2, unique="ilabels"),
            lambda: enumerate_paths(graph),
        ):
            with pytest.raises(ValueError, match="must be on the cpu"):
                work()
        with pytest.raises(TypeError, match="all must have one dtype"):
            Emissions(torch.zeros(2, 3, 4, dtype=torch.float16, device="cuda")) @ wide


def test_operators_without_a_kernel_would_name_the_cpu(emulated_only):
    missing = library.without_kernel("PrivateUse1")
    assert "gtnet::k_best" in missing
    assert "gtnet::lattice_score" not in missing
    with pytest.raises(ValueError, match=r"k_best: not supported on a GPU.*\.cpu\(\)"):
        library.refusal("gtnet::k_best")(torch.zeros(1))
