"""Emissions composed with graphs as a GPU does it: what only its kernels have, emulated."""

from __future__ import annotations

import math

import emulated
import pytest
import torch

from gtnet import EPSILON, Emissions, Graph, ctc_graph, forward_score, viterbi_path, viterbi_score
from gtnet._ops import Steps

NEG_INF = -math.inf


@pytest.fixture(autouse=True)
def _prepared(on_gpu):
    pass


def found(scores, lengths, graph, *, on: emulated.OnGpu | None):
    """Scores, gradients and the best path, emulated or on the CPU."""
    given = [t.detach().clone().requires_grad_() for t in (scores, graph.weights, graph.start)]
    operand = graph.with_weights(given[1], start=given[2])

    def all_of_it():
        lattice = Emissions(given[0], lengths) @ operand
        total = forward_score(lattice)
        grads = torch.autograd.grad(total[total > NEG_INF].sum(), given)
        path = viterbi_path(lattice)
        return [total.detach(), *grads, viterbi_score(lattice).detach(), *path.arc_maps]

    if on is None:
        return all_of_it()
    with on:
        results = all_of_it()
    assert {"lattice_score", "lattice_score_backward", "lattice_best"} <= on.ran
    return results


def assert_same(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def star(states: int, labels: int, *, epsilons: bool) -> Graph:
    """All states lead to the first, by label or by epsilon, and from it: rows of thousands."""
    others = torch.arange(1, states)
    hub = torch.zeros(states - 1, dtype=torch.int64)
    back = torch.full((states - 1,), EPSILON) if epsilons else others % labels
    return Graph(
        torch.cat([hub, others, others]),
        torch.cat([others, hub, others]),
        torch.cat([others % labels, back, others % labels]),
        weights=torch.randn(3 * (states - 1)) - 7,
        accept=0,
    )


@pytest.mark.parametrize("epsilons", [False, True])
@pytest.mark.parametrize("states", [40, 1300])
def test_long_rows_are_summed_in_parts(states, epsilons):
    graph, scores = star(states, 2, epsilons=epsilons), torch.randn(2, 4, 2)
    expected = found(scores, [4, 3], graph, on=None)
    assert_same(found(scores, [4, 3], graph, on=emulated.OnGpu(1 << 20)), expected)


def test_what_does_not_fit_into_shared_memory_gives_the_same_bits(emulated_only):
    graph = ctc_graph([[1, 2, 1], [], [3, 3]])
    scores = torch.randn(3, 7, 4)
    results = [
        found(scores, [7, 5, 6], graph, on=emulated.OnGpu(size)) for size in (2048, 48 << 10)
    ]
    assert all(emulated.same_bits(*pair) for pair in zip(*results, strict=True))
    assert_same(results[0], found(scores, [7, 5, 6], graph, on=None))


@pytest.mark.parametrize("frames", [9, 16, 30])
def test_alphas_that_are_found_again_give_the_same_bits(monkeypatch, frames):
    """Lengths on both sides of what is kept, an empty item, epsilons."""
    graph = star(6, 3, epsilons=True)
    scores = torch.randn(5, frames, 3)
    lengths = [frames, frames - 1, frames // 2, 1, 0]
    results = []
    for most in ("1000000000", "0"):
        monkeypatch.setenv("GTNET_CHECKPOINT_BYTES", most)
        results.append(found(scores, lengths, graph, on=emulated.OnGpu(48 << 10)))
    assert all(emulated.same_bits(*pair) for pair in zip(*results, strict=True))
    assert_same(results[0], found(scores, lengths, graph, on=None))


def arguments(scores: torch.Tensor, lengths: list[int], graph: Graph) -> tuple:
    assert isinstance(graph.topology.steps, Steps)
    graph_scores = (graph.weights, graph.start, graph.accept)
    return (scores, [torch.tensor(lengths)], *graph.topology.steps, *graph_scores)


def score_and_gradient(scores, lengths, graph):
    """By the operators themselves."""
    given = arguments(scores, lengths, graph)
    with emulated.OnGpu():
        score, *alpha, _ = torch.ops.gtnet.lattice_score(*given, True)
        ones = torch.ones_like(score)
        grads = torch.ops.gtnet.lattice_score_backward(ones, *alpha, *given, True)
    return score, grads


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_read_and_written_without_a_copy(dtype):
    graph = ctc_graph([[1, 2], [2]])
    scores = torch.randn(2, 6, 4).to(dtype)
    scores[0, 1, 3] = NEG_INF
    score, (grad, *rest) = score_and_gradient(scores, [6, 4], graph)
    expected, (wide, *others) = score_and_gradient(scores.float(), [6, 4], graph)
    assert torch.equal(score, expected)
    assert torch.equal(grad, wide.to(dtype))
    assert all(map(torch.equal, rest, others))


def test_every_short_float_is_converted_as_torch_does():
    """A chain of one frame per value and one label: its score is the value."""
    bits = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
    loop = Graph([0], [0], [0], accept=0)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        score, _ = score_and_gradient(values[::7].reshape(-1, 1, 1), [1] * len(values[::7]), loop)
        wide = values[::7].double()
        right = (wide < 1e6) & (wide > -1e6) | (wide == NEG_INF)
        torch.testing.assert_close(score[right], wide[right], rtol=1e-6, atol=1e-6)
        beyond = wide.isnan() | (wide > 1e8) | (wide < -1e9) & (wide > NEG_INF)
        assert beyond.any()
        assert score[beyond].isnan().all()


def test_gradients_are_rounded_to_short_floats_as_torch_does():
    loop = Graph([0], [0], [0], accept=0)
    values = torch.cat([torch.randn(200) * 10.0**e for e in (-9, -7, -5, 0, 3, 5)])
    given = [torch.zeros(len(values), 1, 1), torch.ones(len(values), dtype=torch.int64)]
    for dtype in (torch.float16, torch.bfloat16):
        grad = chain_grad(given[0].to(dtype), given[1], loop, values.double())
        assert torch.equal(grad.flatten(), values.to(dtype))


def chain_grad(scores, lengths, graph, grad_score):
    given = arguments(scores, lengths.tolist(), graph)
    with emulated.OnGpu():
        _, *alpha, _ = torch.ops.gtnet.lattice_score(*given, True)
        return torch.ops.gtnet.lattice_score_backward(grad_score, *alpha, *given, False)[0]


def test_lengths_beyond_the_frames_are_cut_off():
    graph, scores = ctc_graph([[1], [2]]), torch.randn(2, 3, 3)
    ours, grads = score_and_gradient(scores, [9, -1], graph)
    expected, wanted = score_and_gradient(scores, [3, 0], graph)
    assert torch.equal(ours, expected)
    assert all(map(torch.equal, grads, wanted))


# Scores that are no numbers, or too large for the arithmetic


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("where", ["scores", "weights"])
def test_what_is_not_finite_gives_nan_and_no_gradient(wrong, where):
    graph, scores = ctc_graph([[1], [2]]), torch.randn(2, 3, 3)
    if where == "scores":
        scores[0, 1, 1] = wrong
    else:
        graph.weights[0] = wrong
    score, (grad, *_) = score_and_gradient(scores, [3, 3], graph)
    assert score.isnan().tolist() == [True, False]
    assert not grad[0].any()
    assert grad[1].sum() == pytest.approx(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", [-1e7, -1e9, -1e30])
def test_huge_scores_are_never_wrong(dtype, score):
    """What paths avoid counts nothing; where they cannot, the score is right or NaN."""
    graph = ctc_graph([[1]], dtype=dtype)
    scores = torch.zeros(1, 3, 3, dtype=dtype)
    scores[:, :, 2] = score
    scores[0, 1, 0] = score
    total, _ = score_and_gradient(scores, [3], graph)
    torch.testing.assert_close(total, torch.tensor([math.log(4)], dtype=torch.float64))
    scores[0, 1] = score
    total, _ = score_and_gradient(scores, [3], graph)
    if score == -1e30 or (score == -1e9 and dtype == torch.float32):
        assert total.isnan().all()
    else:
        rest = total - scores[0, 1, 0].double()
        torch.testing.assert_close(rest, rest.new_tensor([math.log(6)]), rtol=1e-5, atol=1e-6)
