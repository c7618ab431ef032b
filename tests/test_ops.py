"""torch.library.opcheck for every operator the library registers, and the gradient of take."""

from __future__ import annotations

import pytest
import torch

from gtnet import EPSILON, Graph, _ops, linear, stack
from gtnet._ops import Walk


def registered() -> set[str]:
    """The names of all operators in torch.ops.gtnet."""
    names = torch._C._dispatch_get_all_op_names()
    return {name.removeprefix("gtnet::") for name in names if name.startswith("gtnet::")}


def batch(dtype: torch.dtype) -> Graph:
    """Two graphs and an empty one: states out of order, unreachable, with epsilons and scores."""
    weights = torch.tensor([0.5, -1.0, 2.0, 0.25, float("-inf")], dtype=dtype)
    first = Graph(
        [2, 2, 1, 0, 4], [1, 0, 3, 3, 3], [1, EPSILON, 3, 1, 2], [1, 2, 3, EPSILON, 0], weights,
        start=2, accept=3,
    )  # fmt: skip
    nothing = Graph([], [], [], start=[], accept=[]).to(dtype)
    return stack([first, nothing, linear([1, 1], dtype=dtype)])


def walks(graph: Graph) -> list[Walk]:
    return [
        graph.topology.walk("test", reverse=reverse, both_ways=True) for reverse in (False, True)
    ]


def distance_cases(graph: Graph) -> list[tuple]:
    scores = (graph.weights, graph.start, graph.accept)
    return [(*scores, *walk.arguments()) for walk in walks(graph)]


def backward_cases(graph: Graph) -> list[tuple]:
    scores = (graph.weights, graph.start, graph.accept)
    cases = []
    for walk in walks(graph):
        alpha, score = torch.ops.gtnet.log_distance(*scores, *walk.arguments())
        for grad_alpha in (None, torch.ones_like(alpha)):
            grad_score = torch.ones_like(score)
            back = walk.reversed().arguments()
            cases.append((grad_score, grad_alpha, alpha, score, *scores, *back))
    return cases


def best(graph: Graph) -> tuple[torch.Tensor, ...]:
    walk = walks(graph)[0]
    alpha, came_by = _ops.best_distance(graph.weights, graph.start, *walk.arguments())
    entering = graph.topology.entering[:3]
    ends = _ops.best_end(alpha, came_by, graph.accept, graph.state_offsets, *entering)
    return alpha, came_by, *ends


def trace_case(graph: Graph) -> tuple:
    _, came_by, _, last, lengths = best(graph)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return came_by, last, offsets, *graph.topology.entering[:3], int(offsets[-1])


def k_best_cases(graph: Graph) -> list[tuple]:
    walk = walks(graph)[1]
    to_end, _ = _ops.best_distance(graph.weights, graph.accept, *walk.arguments())
    scores = (graph.weights, graph.start, graph.accept)
    leaving = graph.topology.leaving[:3]
    return [
        (to_end, *scores, labels, graph.state_offsets, *leaving, 3)
        for labels in (None, graph.ilabels)
    ]


def compose_cases(graph: Graph) -> list[tuple]:
    ends = (graph.start > float("-inf"), graph.accept > float("-inf"))
    topology = graph.topology
    a = (graph.state_offsets, *topology.leaving_by_olabel, *ends, graph.ilabels)
    b = (graph.state_offsets, *topology.leaving_by_ilabel, *ends, graph.olabels)
    c = (graph.state_offsets, *topology.leaving_by_ilabel, *ends, graph.ilabels)
    size = len(graph)
    return [(*a, *b, False, size, 100), (*c, *c, True, size, 100), (*a, *b, False, size, 1)]


def simplify_cases(graph: Graph) -> dict[str, list[tuple]]:
    """The operators whose scores are float64: log and tropical."""
    ops, topology = torch.ops.gtnet, graph.topology
    scores = (graph.weights, graph.start, graph.accept)
    records, records_back = [], []
    for tropical in (False, True):
        outputs = graph.olabels if tropical else None
        record = (*scores, graph.state_offsets, *topology.leaving_by(graph.ilabels), outputs)
        records.append((*record, tropical, False, 1e-6, 100))
        made = ops.determinize(*records[-1])
        grads = tuple(torch.ones_like(t) for t in made[1:4])
        kept = (*made[2:5], made[6], made[7], *made[9:16])
        records_back.append((*grads, graph.weights, graph.accept, *kept, tropical))
    wanted = graph.start > float("-inf")
    rows = [torch.stack([t, t]) for t in (graph.weights, graph.accept)]
    offsets, source = (graph.state_offsets, graph.arc_offsets), graph.source
    incidences = (*topology.leaving[:3], *topology.entering[:3])
    ends = graph.accept > float("-inf")
    return {
        "push_labels": [(graph.state_offsets, *incidences, graph.olabels, ends)],
        "epsilon_pairs": [(graph.state_offsets, *topology.leaving[:3], wanted)],
        "determinize": records,
        "determinize_backward": records_back,
        "minimize": [(*offsets, source, graph.ilabels, *topology.entering[:3], *rows, 1e-6)],
    }


def cases() -> dict[str, list[tuple]]:
    """Arguments for every operator, in both dtypes where scores are among them."""
    found: dict[str, list[tuple]] = {}
    for dtype in (torch.float32, torch.float64):
        graph = batch(dtype)
        topology = graph.topology
        offsets = (graph.state_offsets, graph.arc_offsets)
        entering, leaving = topology.entering[:3], topology.leaving[:3]
        index = torch.tensor([2, -1, 0, 2, 2], dtype=torch.int32)
        values = graph.weights[:3].clone()
        alpha, came_by, *_ = best(graph)
        here: dict[str, list[tuple]] = {
            "incidence": [(*offsets, graph.source, graph.target, graph.num_states)],
            "sort_by_label": [(graph.state_offsets, *leaving, graph.olabels)],
            "topological_order": [(graph.state_offsets, entering[0], entering[2])],
            "layers": [(graph.state_offsets, walks(graph)[0].order, entering[0], entering[2])],
            "log_distance": distance_cases(graph),
            "log_distance_backward": backward_cases(graph),
            "best_distance": [(graph.weights, graph.start, *w.arguments()) for w in walks(graph)],
            "best_end": [(alpha, came_by, graph.accept, graph.state_offsets, *entering)],
            "trace": [trace_case(graph)],
            "k_best": k_best_cases(graph),
            "compose": compose_cases(graph),
            "reach": [(graph.state_offsets, *leaving, graph.start > float("-inf"))],
            "take": [(values, index)],
            "take_backward": [(torch.ones(5, dtype=dtype), index, None, 3)],
            **(simplify_cases(graph) if dtype == torch.float64 else {}),
        }
        for name, arguments in here.items():
            found.setdefault(name, []).extend(arguments)
    return found


def test_every_operator_has_a_case():
    assert registered() == set(cases())


@pytest.mark.parametrize("name", sorted(registered()))
def test_opcheck(name):
    operator = getattr(torch.ops.gtnet, name).default
    for arguments in cases()[name]:
        torch.library.opcheck(operator, arguments)


def test_take_and_its_gradient():
    values = torch.randn(4, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([3, -1, 0, 3], dtype=torch.int32)
    taken = _ops.take(values, index)
    assert torch.equal(taken[[0, 2, 3]], values[[3, 0, 3]])
    assert taken[1] == 0
    assert torch.autograd.gradcheck(lambda v: _ops.take(v, index), (values,))
    assert torch.autograd.gradgradcheck(lambda v: _ops.take(v, index) ** 3, (values,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_operators_refuse_other_dtypes(dtype):
    with pytest.raises(RuntimeError):
        torch.ops.gtnet.take(torch.zeros(3, dtype=dtype), torch.zeros(1, dtype=torch.int32))
    with pytest.raises(RuntimeError):
        torch.ops.gtnet.take(torch.zeros(3), torch.zeros(1, dtype=torch.int64))
