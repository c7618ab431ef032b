"""On a real GPU, through public names only: results of the CPU, no waiting, CUDA graphs."""

from __future__ import annotations

import pytest
import torch

from gtnet import (
    EPSILON,
    BeamSearch,
    Emissions,
    Graph,
    _ops,
    arc_sort,
    beam_search,
    closure,
    compose,
    concat,
    connect,
    ctc_graph,
    forward_score,
    k_best,
    linear,
    posteriors,
    project,
    prune,
    push,
    relabel,
    remove_epsilon,
    replace,
    reverse,
    sample,
    stack,
    top_sort,
    union,
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
    chain = linear([[1, 2], [3]], weights=[0.5, 1.0, 2.0])
    torch.testing.assert_close(forward_score(chain.to("cuda")).cpu(), forward_score(chain))


def lattice_and_words(dtype=torch.float64):
    """A batch of lattices, and a transducer with epsilons on both sides that meets all of them."""
    lattices = Emissions(torch.randn(3, 9, 4, dtype=dtype), [9, 5, 0]).graph()
    words = Graph(
        [0, 0, 1, 1, 2, 2, 2, 0], [1, 2, 2, 0, 0, 1, 2, 0], [0, 1, -1, 2, 3, -1, 1, 3],
        [-1, 7, 8, -1, 9, -1, 7, 7], torch.randn(8, dtype=dtype), accept=[0, 2],
    )  # fmt: skip
    return lattices, words


def test_products_are_those_of_the_cpu_bit_for_bit():
    lattices, words = lattice_and_words()
    for a, b in ((lattices, words), (words, words), (words, linear([[7]], dtype=torch.float64))):
        ours, expected = a.to("cuda") @ b.to("cuda"), a @ b
        assert ours.to("cpu").equal(expected)
        for maps in ("arc_maps", "state_maps"):
            pairs = zip(getattr(ours, maps), getattr(expected, maps))
            assert all(torch.equal(one.cpu(), other) for one, other in pairs)
        assert connect(ours).to("cpu").equal(expected)
    with pytest.raises(ValueError, match="more than max_arcs=5"):
        compose(lattices.to("cuda"), words.to("cuda"), max_arcs=5)


def test_products_never_leave_the_device():
    lattices, _ = lattice_and_words()
    acyclic = Graph([0, 1, 1, 2], [1, 2, 3, 3], [0, 1, -1, 2], [1, -1, 2, 3], accept=3)
    acyclic = acyclic.to(torch.float64)

    def scores(device):
        lattice, graph = (g.to(device).requires_grad_() for g in (lattices, acyclic))
        product = lattice @ graph
        total = forward_score(product)
        finite = total[total > float("-inf")].sum()
        grad = torch.autograd.grad(finite, (lattice.weights, graph.weights))[0]
        path = viterbi_path(product)
        return total, grad, viterbi_score(product), posteriors(product), path.weights

    for ours, expected in zip(scores("cuda"), scores("cpu")):
        assert ours.device.type == "cuda"
        torch.testing.assert_close(ours.cpu(), expected)


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
    expected = ctc_loss(scores, *rest)
    torch.testing.assert_close(ctc_loss(scores.cuda(), *rest).cpu(), expected)
    there = [torch.tensor(part).cuda() for part in (rest[0].tolist(), *rest[1:])]
    torch.testing.assert_close(ctc_loss(scores.cuda(), *there).cpu(), expected)


def test_rewrites_are_those_of_the_cpu_bit_for_bit():
    _, words = lattice_and_words()
    chain = linear([[1, 2], [3], []], dtype=torch.float64)
    works = (
        lambda a, b: union(a, b, a),
        lambda a, b: concat(b, a, b),
        lambda a, b: [closure(b, kind) for kind in ("star", "plus", "optional")],
        lambda a, b: replace(relabel(b, {2: 9}), {9: project(a, "input")}),
        lambda a, b: [arc_sort(a), top_sort(reverse(b)), relabel(a, {7: 1})],
    )
    for work in works:
        ours, expected = work(words.to("cuda"), chain.to("cuda")), work(words, chain)
        pairs = zip(ours, expected) if isinstance(ours, list) else [(ours, expected)]
        for one, other in pairs:
            assert one.to("cpu").equal(other)
            for maps in ("arc_maps", "state_maps"):
                same = zip(getattr(one, maps), getattr(other, maps), strict=True)
                assert all(torch.equal(mine.cpu(), right) for mine, right in same)


def test_epsilons_are_removed_as_on_the_cpu():
    lattices = Emissions(torch.randn(3, 6, 3, dtype=torch.float64)).graph()
    silent = relabel(lattices, {0: EPSILON})
    ours, expected = remove_epsilon(silent.to("cuda")), remove_epsilon(silent)
    assert torch.equal(ours.arc_maps[0].cpu(), expected.arc_maps[0])
    torch.testing.assert_close(ours.weights.cpu(), expected.weights)
    pruned = prune(push(silent.to("cuda")), beam=1.0)
    assert torch.equal(pruned.arc_maps[0].cpu(), prune(push(silent), beam=1.0).arc_maps[0])


def test_nothing_waits_for_the_device():
    graph = ctc_graph(TARGETS).to("cuda")
    scores = torch.randn(3, 9, 5, device="cuda", requires_grad=True)
    expected = step(scores, graph)  # what the CPU prepares is moved once
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = step(scores, graph)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(map(torch.equal, found, expected))


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
