"""A Lattice is what it is, whether somebody looked at its product or not."""

from __future__ import annotations

import copy
import io
import math
import pickle
import sys

import pytest
import torch

import gtnet
from gtnet import Emissions, Graph, Lattice, compose, ctc_graph, linear, stack
from gtnet.draw import mimebundle

ARRAYS = ["topology", "weights", "start", "accept", "arc_maps", "state_maps", "source", "target"]
ARRAYS += ["ilabels", "olabels", "state_offsets", "arc_offsets", "num_states", "num_arcs"]
METHODS = ["with_weights", "requires_grad_", "detach", "to", "from_topology"]


def frames(dtype: torch.dtype = torch.float32, grad: bool = False) -> Lattice:
    scores = torch.randn(2, 4, 3, dtype=dtype, requires_grad=grad)
    graph = ctc_graph([[1], [2, 1]], dtype=dtype)
    return Emissions(scores, [4, 3]) @ graph.with_weights(torch.randn_like(graph.weights))


def segments(dtype: torch.dtype = torch.float32, grad: bool = False) -> Lattice:
    cuts = stack([Graph([0, 1, 0], [1, 2, 2], [0, 0, 0], accept=[1, 2]), linear([0, 0])]).to(dtype)
    rows = torch.randn(5, 3, dtype=dtype, requires_grad=grad)
    loop = Graph([0, 0, 1], [1, 1, 0], [0, 1, 2], weights=[0.5, -1.0, 2.0], accept=[0, 1]).to(dtype)
    return Emissions(rows, graph=cuts) @ loop


def too_large() -> Lattice:
    loop = Graph([0, 0], [0, 0], [0, 1], accept=0)
    return compose(Emissions(torch.zeros(1, 10, 2)), loop, max_arcs=3)


KINDS = [frames, segments]


@pytest.fixture
def never_built(monkeypatch) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("the product was built")

    monkeypatch.setattr(sys.modules["gtnet.lattice"], "paired", refuse)


# It has no arrays


def test_it_is_no_graph():
    assert not isinstance(frames(), Graph)
    assert not issubclass(Lattice, Graph)
    assert isinstance(frames().graph(), Graph)


@pytest.mark.parametrize("name", [*ARRAYS, *METHODS])
@pytest.mark.parametrize("looked", [False, True])
def test_what_only_a_graph_has_is_no_attribute_and_says_who_has_it(name, looked):
    lattice = frames()
    if looked:
        assert hasattr(lattice.graph(), name)
    assert not hasattr(lattice, name)
    with pytest.raises(AttributeError, match=rf"'Lattice' .* '{name}': build it with \.graph\(\)"):
        getattr(lattice, name)
    assert not hasattr(Lattice, name)


def test_an_attribute_that_nobody_has_is_not_looked_for_in_the_graph():
    with pytest.raises(AttributeError, match=r"'Lattice' object has no attribute 'arcs'$"):
        frames().arcs  # noqa: B018


@pytest.mark.parametrize("name", ["weights", "start", "operand", "emissions", "anything"])
def test_it_cannot_be_written_to(name):
    lattice = frames()
    with pytest.raises(AttributeError, match=f"cannot be written to, got '{name}'"):
        setattr(lattice, name, torch.zeros(3))


def test_gradients_are_asked_for_of_its_parts():
    """`requires_grad_` of the lattice marked copies and had no effect."""
    lattice = frames()
    assert not lattice.requires_grad and not hasattr(lattice, "requires_grad_")
    lattice.operand.requires_grad_()
    assert lattice.requires_grad and lattice.graph().requires_grad
    gtnet.forward_score(lattice).sum().backward()
    assert lattice.operand.weights.grad.abs().sum() > 0


# Nobody builds it by looking


@pytest.mark.usefixtures("never_built")
@pytest.mark.parametrize("make", [*KINDS, too_large])
def test_looking_does_not_build_it(make):
    lattice = make()
    assert not hasattr(lattice, "weights") and not hasattr(lattice, "__array__")
    assert repr(lattice).startswith("Lattice(Emissions(") and "@ Graph(" in repr(lattice)
    assert "\n" not in repr(lattice) and str(lattice) == repr(lattice)
    for twin in (copy.copy(lattice), copy.deepcopy(lattice), pickle.loads(pickle.dumps(lattice))):
        assert isinstance(twin, Lattice) and repr(twin) == repr(lattice)
    assert {"emissions", "operand", "max_arcs", "graph"} <= set(dir(lattice))
    assert not set(ARRAYS) & set(dir(lattice))
    known = len(lattice), lattice.dtype, lattice.device, lattice.is_acceptor, lattice.requires_grad
    assert known[1:3] == (torch.float32, torch.device("cpu"))
    gtnet.forward_score(lattice), gtnet.viterbi_path(lattice), gtnet.k_best(lattice, 2)
    gtnet.sample(lattice, 2), gtnet.prune(lattice, beam=1.0), gtnet.entropy(lattice)
    gtnet.free_energy(lattice), gtnet.viterbi_score(lattice)
    lattice.label_posteriors(), lattice.arc_posteriors(per="frame")


def test_repr_says_what_it_is_before_and_after():
    lattice = Emissions(torch.zeros(2, 3, 4), [3, 1]) @ linear([1, 2, 1])
    says = ("Lattice(Emissions(2 items, 4 rows of 4 scores, cpu) @ "
            "Graph(acceptor, 4 states, 3 arcs, float32, cpu))")  # fmt: skip
    assert repr(lattice) == says
    lattice.graph()
    assert repr(lattice) == says


def test_notebooks_draw_small_ones_and_name_those_that_may_not_be_built():
    assert mimebundle(too_large()) == {"text/plain": repr(too_large())}
    lattice = Emissions(torch.zeros(1, 2, 2)) @ linear([1, 0])
    small = mimebundle(lattice)
    assert small["text/plain"].startswith(repr(lattice))
    assert small.get("image/svg+xml") == mimebundle(lattice.graph()).get("image/svg+xml")
    assert lattice._repr_mimebundle_() == small


# Copies and pickles


def torch_saved(lattice: Lattice) -> Lattice:
    file = io.BytesIO()
    torch.save(lattice, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda lattice: pickle.loads(pickle.dumps(lattice)),
    "torch.save": torch_saved,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("looked", [False, True])
def test_copies_are_lattices_of_the_same_scores(how, make, dtype, looked):
    lattice = make(dtype, grad=True)
    if looked:
        lattice.graph()
    twin = COPIES[how](lattice)
    assert isinstance(twin, Lattice) and twin.max_arcs == lattice.max_arcs
    assert twin.graph().equal(lattice.graph()) and twin.requires_grad
    assert torch.equal(gtnet.forward_score(twin), gtnet.forward_score(lattice))
    assert (twin.emissions is lattice.emissions) == (how == "copy")
    with torch.no_grad():
        twin.emissions.scores.fill_(0.5)
    assert (twin.graph().equal(lattice.graph())) == (how == "copy")
    gtnet.forward_score(twin).sum().backward()
    assert twin.emissions.scores.grad is not None


# It is at any time the product of what its parts hold then


def agree(lattice: Lattice) -> torch.Tensor:
    """Whatever is asked answers for the same scores."""
    fresh = lattice.emissions.graph() @ lattice.operand
    assert lattice.graph().equal(fresh)
    score = gtnet.forward_score(lattice)
    torch.testing.assert_close(score, gtnet.forward_score(fresh))
    torch.testing.assert_close(gtnet.posteriors(lattice), gtnet.posteriors(fresh))
    torch.testing.assert_close(gtnet.shortest_distance(lattice), gtnet.shortest_distance(fresh))
    torch.testing.assert_close(gtnet.viterbi_score(lattice), gtnet.viterbi_score(fresh))
    best = gtnet.viterbi_path(lattice)
    torch.testing.assert_close(gtnet.viterbi_score(best), gtnet.viterbi_score(fresh))
    return score


CHANGES = {
    "scores": lambda e, g: e.scores.normal_(),
    "some scores": lambda e, g: e.scores[:, 0].fill_(-math.inf),
    "data": lambda e, g: e.scores.data.add_(1),
    "shared with numpy": lambda e, g: e.scores.numpy().__imul__(0.5),
    "other scores": lambda e, g: setattr(e, "scores", torch.randn_like(e.scores)),
    "more labels": lambda e, g: setattr(e, "scores", torch.randn(*e.scores.shape[:-1], 5)),
    "weights": lambda e, g: g.weights.zero_(),
    "other weights": lambda e, g: setattr(g, "weights", torch.randn_like(g.weights)),
    "start": lambda e, g: g.start.copy_(g.start.roll(1)),
    "start, unseen": lambda e, g: g.start.data.copy_(g.start.roll(1)),
    "accept": lambda e, g: g.accept.fill_(0.5),
    "no accept": lambda e, g: g.accept.fill_(-math.inf),
    "other topology": lambda e, g: setattr(g, "topology", g.topology.reversed()),
}
OF_FRAMES = {"lengths": lambda e, g: e.lengths.copy_(torch.tensor([2, 4]))}
OF_SEGMENTS = {
    "segments": lambda e, g: e.segmentation.weights.normal_(),
    "cuts": lambda e, g: e.segmentation.accept.fill_(0.25),
}


@pytest.mark.parametrize(
    ("make", "change"),
    [
        *((make, change) for make in KINDS for change in CHANGES.values()),
        *((frames, change) for change in OF_FRAMES.values()),
        *((segments, change) for change in OF_SEGMENTS.values()),
    ],
    ids=[*(f"{m.__name__}-{c}" for m in KINDS for c in CHANGES), *OF_FRAMES, *OF_SEGMENTS],
)
@pytest.mark.parametrize("looked", [False, True])
def test_a_change_of_its_parts_reaches_every_answer(make, change, looked):
    lattice = make()
    before = agree(lattice) if looked else gtnet.forward_score(lattice)
    with torch.no_grad():
        change(lattice.emissions, lattice.operand)
    assert not torch.equal(agree(lattice), before)


@pytest.mark.parametrize("make", KINDS)
def test_writing_into_what_was_built_does_not_reach_it(make):
    lattice = make()
    score = gtnet.forward_score(lattice)
    built = lattice.graph()
    built.weights.zero_()
    built.start.fill_(1)
    built.weights = built.weights + 1
    assert not built.equal(lattice.graph())
    assert torch.equal(agree(lattice), score)


@pytest.mark.parametrize("make", KINDS)
def test_each_call_is_of_the_grad_mode_it_is_made_in(make):
    lattice = make(torch.float64, grad=True)
    with torch.no_grad():
        assert not lattice.graph().requires_grad
    for _ in range(2):  # a graph of autograd goes with the first call of backward
        built = lattice.graph()
        (grad,) = torch.autograd.grad(gtnet.forward_score(built).sum(), lattice.emissions.scores)
        (lazy,) = torch.autograd.grad(gtnet.forward_score(lattice).sum(), lattice.emissions.scores)
        torch.testing.assert_close(grad, lazy)
    with torch.inference_mode():
        assert lattice.graph().equal(built)
    assert lattice.graph().requires_grad


@pytest.mark.parametrize("make", KINDS)
def test_states_and_arcs_are_found_once(make, request):
    lattice = make()
    first = lattice.graph()
    request.getfixturevalue("never_built")
    lattice.emissions.scores.normal_()
    second = lattice.graph()
    assert second.topology is first.topology and not second.equal(first)


def test_over_max_arcs_every_call_says_so_and_answers_stay():
    lattice = too_large()
    for _ in range(2):
        with pytest.raises(ValueError, match="compose: the product has more than max_arcs=3"):
            lattice.graph()
        with pytest.raises(ValueError, match="connect: the product has more than max_arcs=3"):
            gtnet.connect(lattice)
        torch.testing.assert_close(gtnet.forward_score(lattice), torch.tensor([10 * math.log(2)]))
    answer = linear([[0, 1] * 5])
    torch.testing.assert_close(gtnet.losses.nll(lattice, answer), torch.tensor([10 * math.log(2)]))


# Where the operand has a cycle of epsilons only the product serves


def test_what_falls_back_to_the_product_keeps_gradients_and_maps():
    loop = Graph([0, 1, 1, 1], [1, 0, 1, 1], [-1, -1, 0, 1], weights=[-1.0, -1.5, 0.0, 0.5],
                 accept=1).to(torch.float64)  # fmt: skip
    scores = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    for looked in (False, True):
        lattice = Emissions(scores) @ loop
        product = lattice.graph() if looked else None
        found = [
            gtnet.viterbi_path(lattice),
            *gtnet.k_best(lattice, 2),
            gtnet.prune(lattice, beam=1),
        ]
        found += gtnet.sample(lattice, 2, generator=torch.Generator().manual_seed(1))
        for graph in found:
            assert len(graph.arc_maps) == 2 and graph.requires_grad
            read = graph.arc_maps[0]
            assert torch.equal(read >= 0, graph.ilabels >= 0)
            (grad,) = torch.autograd.grad(graph.weights.sum(), scores)
            assert grad.sum() == (read >= 0).sum()
        assert product is None or len(gtnet.viterbi_path(product).arc_maps) == 1
