"""Scores up to the largest that are taken: no NaN, no infinity and no wrong probability."""

from __future__ import annotations

import math

import pytest
import torch

import gtnet
from gtnet import Emissions, Graph, _ops, linear, losses, stack
from gtnet.interop import gtn, k2, openfst

NEG_INF = -math.inf
WIDE = [1e17, -1e17, 9e299, -9e299]
ENDS = torch.tensor([4, 4]), torch.tensor([2, 2])


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def two_of_two(weights: torch.Tensor, start: torch.Tensor, accept: torch.Tensor) -> Graph:
    """0 → 1 → 2 with two arcs each."""
    arcs = ([0, 0, 1, 1], [1, 1, 2, 2], [0, 1, 0, 1])
    return Graph(*arcs, weights=weights, start={0: start}, accept={2: accept}, num_states=3)


def level(scale: float, dtype: torch.dtype = torch.float64) -> tuple[Graph, Graph]:
    """The same distribution over paths, far away from 0 and near; two graphs of a batch."""
    near = torch.tensor([0.0, 0.0, 0.0, NEG_INF], dtype=dtype)
    far = torch.tensor([scale, scale, -scale, NEG_INF], dtype=dtype)
    zero, end = torch.zeros((), dtype=dtype), torch.tensor(-scale / 2, dtype=dtype)
    return (
        stack([two_of_two(far, zero, end), two_of_two(near, end, zero)]),
        stack([two_of_two(near, zero, zero)] * 2),
    )


SUMS = {
    "posteriors": gtnet.posteriors,
    "states": lambda g: gtnet.posteriors(g, of="states"),
    "entropy": gtnet.entropy,
    "expectation": lambda g: gtnet.expectation(g, torch.arange(g.num_arcs).to(g.dtype)),
    "cross_entropy": lambda g: gtnet.cross_entropy(g, g),
    "kl_divergence": lambda g: gtnet.kl_divergence(g, g),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("scale", [*WIDE, 9e29])
def test_probabilities_do_not_depend_on_how_far_all_scores_are(name, scale):
    for dtype in (torch.float64, torch.float32) if abs(scale) < 1e30 else (torch.float64,):
        far, near = level(scale, dtype)
        torch.testing.assert_close(SUMS[name](far), SUMS[name](near))


def gradients(function, graph: Graph, order: int) -> list[torch.Tensor]:
    scores = [t.detach().clone().requires_grad_() for t in graph.scores]
    total = function(graph.with_weights(scores[0], start=scores[1], accept=scores[2])).sum()
    for _ in range(order):
        found = torch.autograd.grad(total, scores, create_graph=True)
        total = sum((g * torch.arange(1.0, len(g) + 1)).sum() for g in found)
    return list(found)


@pytest.mark.parametrize("function", [gtnet.forward_score, gtnet.entropy])
@pytest.mark.parametrize("scale", WIDE)
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_do_not_either(function, scale, order):
    far, near = level(scale)
    for a, b in zip(gradients(function, far, order), gradients(function, near, order), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("to_accept", [False, True])
def test_gradients_of_distances_are_those_of_near_ones(to_accept):
    def last(graph: Graph) -> torch.Tensor:
        return gtnet.shortest_distance(graph, to_accept=to_accept)[0 if to_accept else 2]

    for a, b in zip(*(gradients(last, graph, 1) for graph in level(9e299)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_cycle_far_from_zero_keeps_its_chances():
    loop = double(1e17, math.log(0.5), -1e17)
    graph = Graph([0, 1, 1], [1, 1, 2], [0, 1, 0], weights=loop, accept=2)
    assert gtnet.posteriors(graph).tolist() == pytest.approx([1, 1, 1])
    assert gtnet.entropy(graph).item() == pytest.approx(2 * math.log(2))
    assert gtnet.forward_score(graph.detach().requires_grad_()).item() == pytest.approx(0, abs=32)


@pytest.mark.parametrize("scale", WIDE)
@pytest.mark.parametrize("learnt", [False, True])
def test_lattices_have_the_probabilities_of_near_scores(scale, learnt):
    """The frames of the first item lie far away, those of the second near."""
    near = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    near[0, :, 1:] = near[0, :, :1]
    far = near.clone()
    far[0] = double(scale, -scale / 4, scale / 2)[:, None]
    graph = gtnet.ctc_topology(3, dtype=torch.float64)
    far, near = (Emissions(s.requires_grad_(learnt)) @ graph for s in (far, near))
    torch.testing.assert_close(far.label_posteriors(), near.label_posteriors())
    torch.testing.assert_close(far.entropy(), near.entropy())
    for a, b in zip(far.arc_posteriors(), near.arc_posteriors(), strict=True):
        torch.testing.assert_close(a, b)
    if learnt:
        grads = [torch.autograd.grad(x.entropy().sum(), x.emissions.scores)[0] for x in (far, near)]
        torch.testing.assert_close(*grads)


def test_what_falls_below_float64_is_impossible():
    below = two_of_two(double(*[-1e308] * 4), double(0.0)[0], double(0.0)[0])
    batch = stack([below, two_of_two(double(0, 0, 0, 0), double(0.0)[0], double(0.0)[0])])
    assert gtnet.forward_score(batch).tolist() == pytest.approx([NEG_INF, 2 * math.log(2)])
    assert gtnet.viterbi_score(batch).tolist() == [NEG_INF, 0]
    assert gtnet.posteriors(batch).tolist() == pytest.approx([0] * 4 + [0.5] * 4)
    assert gtnet.entropy(batch).tolist() == pytest.approx([0, 2 * math.log(2)])
    first, *_ = gradients(gtnet.forward_score, batch, 1)
    assert first.tolist() == pytest.approx([0] * 4 + [0.5] * 4)


@pytest.mark.parametrize("size", [0, 1, 7, 300])
def test_the_farthest_finite_number_is_seen(size):
    for dtype in (torch.float32, torch.float64):
        zeros = [torch.zeros(size, dtype=dtype), torch.full((size,), NEG_INF, dtype=dtype)]
        assert not _ops.beyond(zeros, 1.0)
        for number in (2.5, -2.5):
            last = torch.cat([*zeros, torch.tensor([number], dtype=dtype)])
            assert _ops.beyond([*zeros, last], 2.0)
            assert not _ops.beyond([*zeros, last], 2.5)


def test_a_value_is_the_same_with_and_without_a_gradient():
    """Also where digits are lost: 1e17 and what is taken away again."""
    far, _ = level(1e17)
    for function in (gtnet.forward_score, gtnet.viterbi_score):
        learnt = function(far.detach().requires_grad_())
        assert torch.equal(function(far.detach()), learnt.detach())


HUGE = {torch.float32: 2e32, torch.float64: 2e301}
LENGTHS = {"targets": torch.tensor([[1, 2], [1, 2]]), "target_lengths": ENDS[1]}


def frames(dtype: torch.dtype) -> torch.Tensor:
    scores = torch.zeros(4, 2, 3, dtype=dtype)
    scores[1, 1, 1] = HUGE[dtype]
    return scores


TOO_LARGE = {
    "Graph": lambda d: Graph([0], [1], [0], weights=torch.tensor([HUGE[d]], dtype=d), accept=1),
    "linear": lambda d: linear([0], weights=torch.tensor([HUGE[d]], dtype=d)),
    "Emissions": lambda d: Emissions(frames(d).transpose(0, 1)),
    "ctc_loss": lambda d: losses.ctc_loss(
        frames(d), input_lengths=ENDS[0], reduction="none", **LENGTHS
    ),
    "asg_loss": lambda d: losses.asg_loss(
        frames(d),
        input_lengths=ENDS[0],
        transitions=torch.zeros(3, 3, dtype=d),
        reduction="none",
        **LENGTHS,
    ),
    "scale": lambda d: gtnet.scale(
        Graph([0], [1], [0], weights=torch.tensor([-1e20], dtype=d), accept=1), -HUGE[d] / 1e20
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("dtype", HUGE)
def test_scores_whose_sums_might_not_fit_are_refused(name, dtype):
    with pytest.raises(ValueError, match=r"must be at most 1\.\d+e\+\d+ .*, got \S+ at position"):
        TOO_LARGE[name](dtype)


LARGEST = {torch.float32: 2.0**107, torch.float64: 2.0**1000}
SUMMED = {
    "compose": lambda g: gtnet.compose(gtnet.compose(g, g), gtnet.compose(g, g)),
    "intersect": lambda g: gtnet.intersect(g, gtnet.intersect(g, g)),
    "concat": lambda g: gtnet.concat(*[g] * 8),
    "closure": lambda g: gtnet.closure(g, "optional"),
    "push": gtnet.push,
    "push_tropical": lambda g: gtnet.push(g, semiring="tropical"),
    "remove_epsilon": lambda g: gtnet.remove_epsilon(gtnet.concat(g, g)),
    "determinize": lambda g: gtnet.determinize(gtnet.union(g, g)),
    "optimize": lambda g: gtnet.optimize(gtnet.concat(g, g)),
    "lattice": lambda g: (Emissions(g.weights[0].expand(1, 2, 2)) @ gtnet.compose(g, g)).graph(),
}


@pytest.mark.parametrize("name", SUMMED)
@pytest.mark.parametrize("dtype", LARGEST)
def test_operations_that_add_the_largest_scores_stay_finite(name, dtype):
    """And keep the score of the best path, here a multiple of the largest."""
    most = torch.tensor(LARGEST[dtype], dtype=dtype)
    graph = linear([0, 1], weights=most.repeat(2))
    graph = graph.with_weights(start=graph.start + most, accept=(graph.accept + most))
    result = SUMMED[name](graph)
    for scores in result.scores:
        assert bool((scores < math.inf).all())
    times = {"compose": 16, "intersect": 12, "concat": 32, "lattice": 10}
    times |= {"remove_epsilon": 8, "optimize": 8}
    found = gtnet.viterbi_score(result).double().item() / LARGEST[dtype]
    assert found == pytest.approx(times.get(name, 4), rel=1e-6)


@pytest.mark.parametrize("scores", [1e250, -1e250])
def test_a_temperature_that_leaves_no_room_is_refused(scores):
    graph = Graph([0], [1], [0], weights=double(scores), accept=1)
    lattice = Emissions(double(scores).reshape(1, 1, 1)) @ linear([0], dtype=torch.float64)
    for function in (gtnet.forward_score, gtnet.posteriors, gtnet.entropy):
        with pytest.raises(ValueError, match=r"beta times weights must be at most 1\.07e\+301"):
            function(graph, 1e100)
    with pytest.raises(ValueError, match=r"forward_score: beta times scores must be at most"):
        lattice.forward_score(torch.tensor(1e100, dtype=torch.float64))
    assert gtnet.forward_score(graph, 1e-100).item() == scores


@pytest.mark.parametrize("dtype", HUGE)
def test_frames_of_equal_scores_are_refused_too(dtype):
    """Whose differences fit, so that the operator itself has to look."""
    scores = torch.full((4, 2, 3), HUGE[dtype], dtype=dtype, requires_grad=True)
    with pytest.raises(ValueError, match=r"^ctc_loss: emissions must be at most"):
        losses.ctc_loss(scores, input_lengths=ENDS[0], **LENGTHS)


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (openfst.read, "0 1 1 1 -1e35\n1\n", 1),
        (openfst.read, "0 1 1 1 0.5\n1 -1e35\n", 2),
        (k2.read, "0 1 1 1e35\n1 2 -1 0\n2\n", 1),
        (gtn.read, "0\n1\n0 1 1 1 1e35\n", 3),
        (
            gtnet.NGramModel.read,
            "\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1 a 1e35\n-1 </s>\n\\2-grams:\n"
            "-1 a </s>\n\\end\\\n",
            6,
        ),
    ],
)
def test_files_name_the_line_of_a_score_out_of_range(read, text, line, tmp_path) -> None:
    path = tmp_path / "large.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"large\.txt:{line}: .*1e35"):
        read(path)
