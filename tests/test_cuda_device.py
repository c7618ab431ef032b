"""On a real GPU, through public names only: results of the CPU, no waiting, CUDA graphs."""

from __future__ import annotations

import pytest
import torch

from gtnet import (
    BeamSearch,
    Emissions,
    Graph,
    _ops,
    beam_search,
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
from gtnet.losses import ctc_loss

pytestmark = pytest.mark.skipif(
    not (_ops.HAS_CUDA and torch.cuda.is_available()), reason="there is no GPU here"
)
TARGETS = [[1, 2, 1], [3], []]


def step(scores, graph):
    """Forward scores and their gradient."""
    total = forward_score(Emissions(scores) @ graph)
    return total, torch.autograd.grad(total.sum(), scores)[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_lazy_sums_equal_those_of_the_cpu(dtype):
    graph = ctc_graph(TARGETS, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    scores = torch.randn(3, 9, 5).to(dtype)
    there = scores.cuda().requires_grad_()
    here = scores.to(graph.dtype).requires_grad_()
    found, expected = step(there, graph.to("cuda")), step(here, graph)
    rough = {"rtol": 1e-2, "atol": 1e-2} if dtype.itemsize == 2 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found[0].cpu(), expected[0])
    torch.testing.assert_close(found[1].cpu().to(graph.dtype), expected[1], **rough)


def test_best_paths_and_acyclic_sums_equal_those_of_the_cpu():
    graph, scores = ctc_graph(TARGETS), torch.randn(3, 9, 5)
    there, here = Emissions(scores.cuda()) @ graph.to("cuda"), Emissions(scores) @ graph
    assert torch.equal(viterbi_score(there).cpu(), viterbi_score(here))
    for ours, expected in zip(viterbi_path(there).arc_maps, viterbi_path(here).arc_maps):
        assert torch.equal(ours.cpu(), expected)
    chain = linear([[1, 2], [3]], weights=[[0.5, 1.0], [2.0]])
    torch.testing.assert_close(forward_score(chain.to("cuda")).cpu(), forward_score(chain))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_paths_taken_out_equal_those_of_the_cpu():
    source = torch.arange(400) // 8
    target = source + 1 + torch.randint(3, (400,))
    dag = Graph(source, target, source, weights=torch.randint(9, (400,)) / 4, accept=range(50, 53))
    lattice = Emissions(torch.randn(3, 9, 5), [9, 8, 4]) @ ctc_graph(TARGETS)
    there = Emissions(lattice.emissions.scores.cuda(), [9, 8, 4]) @ lattice.operand.to("cuda")
    pairs = []
    for ours, expected in ((dag.to("cuda"), dag), (there, lattice)):
        pairs += [(k_best(ours, 20), k_best(expected, 20))]
        pairs += [(sample(ours, 5, generator=seeded()), sample(expected, 5, generator=seeded()))]
    pairs += [([prune(there, beam=3.0)], [prune(lattice, beam=3.0)])]
    for ours, expected in pairs:
        for one, other in zip(ours, expected, strict=True):
            assert one.to("cpu").equal(other)
            for mine, maps in zip(one.arc_maps, other.arc_maps, strict=True):
                assert torch.equal(mine.cpu(), maps)


def test_posteriors_of_lattices_equal_those_of_the_cpu():
    lattice = Emissions(torch.randn(3, 9, 5), [9, 8, 4]) @ ctc_graph(TARGETS)
    there = Emissions(lattice.emissions.scores.cuda(), [9, 8, 4]) @ lattice.operand.to("cuda")
    found = []
    for one in (there, lattice):
        arcs = [*one.arc_posteriors(2.0), *one.arc_posteriors(per="frame")]
        found.append([t.cpu() for t in (*arcs, one.label_posteriors(), one.entropy())])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_sums_and_paths_over_segments_equal_those_of_the_cpu():
    cuts = Graph([0, 0, 1, 1, 2], [1, 2, 2, 3, 3], [0] * 5, start=0, accept=[2, 3])
    segments = stack([cuts, linear([0, 0]), cuts])
    graph, scores = ctc_graph(TARGETS), torch.randn(segments.num_arcs, 5)
    found = []
    for device in ("cuda", "cpu"):
        given = scores.to(device, copy=True).requires_grad_()
        lattice = Emissions(given, graph=segments.to(device)) @ graph.to(device)
        total = forward_score(lattice)
        (grad,) = torch.autograd.grad(total[total > -torch.inf].sum(), given)
        paths = viterbi_path(lattice).arc_maps
        found.append([t.detach().cpu() for t in (*paths, total, grad)])
    for ours, expected in zip(*found):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_beam_searches_keep_what_the_cpu_keeps():
    graph, scores = ctc_graph(TARGETS), torch.randn(3, 9, 5)
    whole = beam_search(Emissions(scores), graph, beam=6.0, max_active=4)
    search = BeamSearch(graph.to("cuda"), beam=6.0, max_active=4)
    for chunk in scores.cuda().split(4, 1):
        search.feed(chunk)
    found = search.lattice()
    columns = ("source", "target", "ilabels", "weights", "start", "accept")
    assert all(torch.equal(getattr(found, name).cpu(), getattr(whole, name)) for name in columns)
    maps = zip((*found.arc_maps, *found.state_maps), (*whole.arc_maps, *whole.state_maps))
    assert all(torch.equal(ours.cpu(), expected) for ours, expected in maps)


def test_ctc_loss_equals_that_of_the_cpu():
    scores = torch.randn(9, 3, 5).log_softmax(-1)
    rest = (torch.tensor([1, 2, 1, 3]), [9, 8, 7], [3, 1, 0])
    torch.testing.assert_close(ctc_loss(scores.cuda(), *rest).cpu(), ctc_loss(scores, *rest))


def test_nothing_waits_for_the_device():
    graph = ctc_graph(TARGETS).to("cuda")
    scores = torch.randn(3, 9, 5, device="cuda", requires_grad=True)
    step(scores, graph)  # what the CPU prepares is moved once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(scores, graph)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_steps_can_be_captured():
    graph = ctc_graph(TARGETS).to("cuda")
    scores = torch.randn(3, 9, 5, device="cuda", requires_grad=True)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step(scores, graph)
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        results = step(scores, graph)
    with torch.no_grad():
        scores.copy_(torch.randn_like(scores))
    captured.replay()
    assert all(map(torch.equal, results, step(scores, graph)))
