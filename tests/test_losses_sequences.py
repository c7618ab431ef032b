"""CTC, ASG, LF-MMI and transducer losses: values by other means, gradients, edges, modules."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from gtnet import (
    Emissions,
    Graph,
    asg_graph,
    bigram_graph,
    ctc_graph,
    forward_score,
    linear,
    losses,
    nn,
    posteriors,
    stack,
)

DTYPES = [torch.float32, torch.float64]


# CTC: what torch does at the edges


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc_of_empty_targets_and_frames(reduction, zero_infinity):
    logits = torch.randn(3, 5, 4, dtype=torch.float64)
    targets = torch.tensor([[1, 2, 2], [1, 1, 1], [3, 0, 0], [2, 0, 0], [1, 2, 3]])
    frames, sizes = torch.tensor([0, 0, 3, 1, 3]), torch.tensor([0, 2, 0, 1, 3])
    found = []
    for function in (losses.ctc_loss, F.ctc_loss):
        leaf = logits.clone().requires_grad_()
        value = function(
            leaf.log_softmax(-1), targets.clamp(min=1), frames, sizes,
            reduction=reduction, zero_infinity=zero_infinity,
        )  # fmt: skip
        if zero_infinity:
            value.sum().backward()
        found.append((value.detach(), leaf.grad))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ctc_takes_targets_lengths_and_scores_of_any_layout(dtype):
    frames, sizes = torch.tensor([40, 31, 9, 0, 40]), torch.tensor([12, 15, 4, 0, 0])
    targets = torch.randint(1, 6, (5, 15))
    flat = torch.cat([row[:size] for row, size in zip(targets, sizes)])
    for scores in (
        torch.randn(40, 5, 6, dtype=dtype),
        torch.randn(6, 40, 5, dtype=dtype).permute(1, 2, 0),
        torch.randn(40, 1, 6, dtype=dtype).expand(40, 5, 6),
        torch.randn(80, 5, 12, dtype=dtype)[::2, :, ::2],
    ):
        plain = scores.clone().contiguous().requires_grad_()
        graph = ctc_graph([row[:size].tolist() for row, size in zip(targets, sizes)], dtype=dtype)
        expected = -forward_score(Emissions(plain.transpose(0, 1), frames) @ graph)
        expected.sum().backward()
        for given in (targets, flat, targets.int(), flat.int()):
            for lengths in ((frames, sizes), (frames.int(), sizes.tolist())):
                leaf = scores.detach().clone(memory_format=torch.preserve_format).requires_grad_()
                loss = losses.ctc_loss(leaf, given, *lengths, reduction="none")
                loss.sum().backward(retain_graph=True)
                loss.sum().backward()
                torch.testing.assert_close(loss, expected)
                torch.testing.assert_close(leaf.grad, 2 * plain.grad)


def test_ctc_beyond_the_arithmetic_is_the_product():
    scores = torch.randn(3, 1, 4) * 1e30
    scores[:, :, 2] = float("-inf")
    leaf = scores.requires_grad_()
    loss = losses.ctc_loss(leaf, torch.tensor([[1, 3]]), [3], [2], reduction="sum")
    graph = (Emissions(scores.detach().transpose(0, 1)) @ ctc_graph([[1, 3]])).graph()
    torch.testing.assert_close(loss.detach(), -forward_score(graph)[0])
    loss.backward()
    torch.testing.assert_close(leaf.grad.sum(), torch.tensor(-3.0))


def test_ctc_module_is_the_function():
    module = nn.CTCLoss(blank=3, reduction="sum", zero_infinity=True)
    log_probs = torch.randn(4, 2, 4).log_softmax(-1)
    arguments = (log_probs, torch.tensor([[1, 2], [0, 0]]), [4, 1], [2, 2])
    expected = losses.ctc_loss(*arguments, blank=3, reduction="sum", zero_infinity=True)
    assert torch.equal(module(*arguments), expected)
    assert "reduction='sum'" in repr(module)
    assert list(nn.CTCLoss(beta=torch.tensor(2.0)).state_dict()) == ["beta"]


def test_the_temperature_of_ctc_may_be_learnt():
    arguments = torch.tensor([[1, 2], [1, 3]]), [4, 3], [2, 2]
    log_probs = torch.randn(4, 2, 4, dtype=torch.float64).log_softmax(-1)
    learnt = nn.CTCLoss(beta=torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64)))
    learnt(log_probs, *arguments).backward()
    above, below = (losses.ctc_loss(log_probs, *arguments, beta=2 + h) for h in (1e-5, -1e-5))
    assert learnt.beta.grad.item() == pytest.approx(((above - below) / 2e-5).item(), rel=1e-6)


# ASG


def plain_asg(scores, target, transitions, start):
    """One item [frames, labels], by enumeration of all label sequences."""

    def score(walk):
        steps = sum(transitions[a, b] for a, b in itertools.pairwise(walk))
        return start[walk[0]] + steps + sum(scores[t, c] for t, c in enumerate(walk))

    frames, labels = scores.shape
    every = list(itertools.product(range(labels), repeat=frames))
    right = [w for w in every if [c for c, _ in itertools.groupby(w)] == target]
    sums = [torch.stack([score(w) for w in walks]).logsumexp(0) for walks in (every, right)]
    return sums[0] - sums[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_asg_by_enumeration(dtype, reduction):
    targets, frames = [[1, 2], [0], [2, 0, 1]], [4, 2, 3]
    scores = torch.randn(4, 3, 3, dtype=dtype)
    transitions, start = torch.randn(3, 3, dtype=dtype), torch.randn(3, dtype=dtype)
    inputs = [x.requires_grad_() for x in (scores, transitions, start)]
    padded = torch.tensor([[1, 2, 0], [0, 0, 0], [2, 0, 1]])
    found = losses.asg_loss(scores, padded, frames, [2, 1, 3], *inputs[1:], reduction=reduction)
    each = torch.stack(
        [plain_asg(scores[:n, i], t, *inputs[1:]) for i, (t, n) in enumerate(zip(targets, frames))]
    )
    means = (each / torch.tensor([2, 1, 3])).mean()
    expected = {"none": each, "mean": means, "sum": each.sum()}[reduction]
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    torch.testing.assert_close(found, expected, **tolerance)
    grads = [torch.autograd.grad(loss.sum(), inputs) for loss in (found, expected)]
    torch.testing.assert_close(*grads, **tolerance)


def test_asg_differentiates_twice_and_in_beta():
    scores, transitions, start = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 2, 2), (2, 2), 2)
    )
    beta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def loss(scores, transitions, start, beta):
        targets = torch.tensor([[0, 1], [1, 0]])
        return losses.asg_loss(scores, targets, [3, 2], [2, 1], transitions, start, beta=beta)

    assert gradcheck(loss, (scores, transitions, start, beta))
    assert gradgradcheck(loss, (scores, transitions, start, beta))


def test_asg_of_targets_that_do_not_fit():
    scores = torch.randn(2, 4, 3, requires_grad=True)
    targets, sizes = torch.tensor([[0, 1, 2], [1, 1, 1], [0, 1, 0], [2, 2, 2]]), [3, 0, 2, 0]
    transitions = torch.zeros(3, 3)
    arguments = (scores, targets, [2, 2, 2, 0], sizes, transitions)
    value = losses.asg_loss(*arguments, reduction="none")
    assert value.tolist()[:2] == [math.inf, math.inf]
    assert value[3] == 0
    zeroed = losses.asg_loss(*arguments, reduction="sum", zero_infinity=True)
    torch.testing.assert_close(zeroed, value[2])
    zeroed.backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[:, [0, 1, 3]].any()


def test_asg_module_learns_its_bigram():
    torch.manual_seed(1)
    module = nn.ASGLoss(3)
    targets = torch.tensor([[0, 1, 2], [0, 1, 2]])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    scores = torch.zeros(5, 2, 3)
    before = module(scores, targets, [5, 5], [3, 3])
    for _ in range(30):
        optimizer.zero_grad()
        module(scores, targets, [5, 5], [3, 3]).backward()
        optimizer.step()
    assert module(scores, targets, [5, 5], [3, 3]) < before / 2
    assert module.start.argmax() == 0
    assert module.transitions[0].argmax() != 2
    assert module.graph().num_arcs == 12
    assert module(scores[:, 0], targets[0], torch.tensor(5), torch.tensor(3)).shape == ()


# LF-MMI


@pytest.mark.parametrize("dtype", DTYPES)
def test_lf_mmi_is_the_difference_of_two_forward_scores(dtype):
    emissions = Emissions(torch.randn(2, 5, 3, dtype=dtype, requires_grad=True), [5, 4])
    denominator = bigram_graph(3, torch.randn(3, 3, dtype=dtype))
    numerator = asg_graph([[1, 2], [0]], *_scores_of(denominator))
    loss = losses.lf_mmi_loss(emissions, numerator, denominator, reduction="none")
    expected = forward_score((emissions @ denominator).graph()) - forward_score(
        (emissions @ numerator).graph()
    )
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    torch.testing.assert_close(loss, expected, **tolerance)
    assert (loss > 0).all()
    found = losses.lf_mmi_loss(emissions, numerator, denominator)
    torch.testing.assert_close(found, loss.mean())
    (grad,) = torch.autograd.grad(loss.sum(), emissions.scores)
    torch.testing.assert_close(grad.sum(-1), torch.zeros(2, 5, dtype=dtype), atol=1e-5, rtol=0)
    assert posteriors((emissions @ numerator).graph()).min() >= 0


def _scores_of(bigram: Graph) -> tuple[torch.Tensor, torch.Tensor]:
    size = int(len(bigram.weights) ** 0.5)
    return bigram.weights[size:].view(size, size), bigram.weights[:size]


def test_lf_mmi_with_ctc_and_any_label_is_ctc():
    log_probs = torch.randn(2, 6, 4, dtype=torch.float64).log_softmax(-1)
    anything = Graph([0] * 4, [0] * 4, [0, 1, 2, 3], accept=0).to(torch.float64)
    numerator = ctc_graph([[1, 2], [3]], dtype=torch.float64)
    found = losses.lf_mmi_loss(Emissions(log_probs), numerator, anything, "none")
    expected = losses.ctc_loss(
        log_probs.transpose(0, 1), torch.tensor([1, 2, 3]), [6, 6], [2, 1], reduction="none"
    )
    torch.testing.assert_close(found, expected)


def test_lf_mmi_gradients_and_impossible_numerators():
    scores = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)

    def loss(scores, weights):
        numerator = asg_graph([[0, 1], [1]], weights)
        return losses.lf_mmi_loss(Emissions(scores), numerator, bigram_graph(2, weights))

    assert gradcheck(loss, (scores, weights))
    assert gradgradcheck(loss, (scores, weights))
    numerator = linear([[0, 1, 0, 1], [1, 1, 1]], dtype=torch.float64)
    arguments = (Emissions(scores), numerator, bigram_graph(2, weights))
    value = losses.lf_mmi_loss(*arguments, reduction="none")
    assert value[0] == math.inf
    zeroed = losses.lf_mmi_loss(*arguments, reduction="sum", zero_infinity=True)
    torch.testing.assert_close(zeroed, value[1])
    for grad in torch.autograd.grad(zeroed, (scores, weights)):
        assert torch.isfinite(grad).all()


def test_lf_mmi_module_holds_its_denominator():
    denominator = bigram_graph(3)
    module = nn.LFMMILoss(denominator, "sum")
    emissions, numerator = Emissions(torch.randn(2, 4, 3)), asg_graph([[0], [1, 2]])
    expected = losses.lf_mmi_loss(emissions, numerator, denominator, "sum")
    assert torch.equal(module(emissions, numerator), expected)
    assert set(module.state_dict()) == {"weights", "start", "accept", "topology"}
    learnt = nn.LFMMILoss(denominator, learn_denominator=True)
    learnt(emissions, numerator).backward()
    assert [name for name, _ in learnt.named_parameters()] == ["weights"]
    assert learnt.weights.grad.abs().sum() > 0
    assert denominator.weights.grad is None
    assert learnt.graph().requires_grad


# The transducer


def plain_transducer(log_probs, target, blank):
    """Graves' recursion over (frame, label) of one item, in plain torch."""
    alpha = {}
    for t, u in itertools.product(range(len(log_probs)), range(len(target) + 1)):
        terms = [log_probs.new_zeros(())] if t == u == 0 else []
        if t > 0:
            terms.append(alpha[t - 1, u] + log_probs[t - 1, u, blank])
        if u > 0:
            terms.append(alpha[t, u - 1] + log_probs[t, u - 1, target[u - 1]])
        alpha[t, u] = torch.stack(terms).logsumexp(0)
    last = len(log_probs) - 1, len(target)
    return -(alpha[last] + log_probs[last][blank])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("blank", [0, 3])
def test_transducer_loss_by_recursion(dtype, reduction, blank):
    logits = torch.randn(3, 6, 4, 4, dtype=dtype, requires_grad=True)
    log_probs = logits.log_softmax(-1)
    targets = torch.tensor([[1, 2, 2], [2, 1, 1], [1, 1, 2]])
    frames, sizes = [6, 3, 4], [3, 0, 2]
    found = losses.transducer_loss(log_probs, targets, frames, sizes, blank, reduction)
    each = torch.stack(
        [
            plain_transducer(x[:n, : k + 1], t[:k].tolist(), blank)
            for x, t, n, k in zip(log_probs, targets, frames, sizes, strict=True)
        ]
    )
    expected = {"none": each, "mean": each.mean(), "sum": each.sum()}[reduction]
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    torch.testing.assert_close(found, expected, **tolerance)
    grads = [
        torch.autograd.grad(loss.sum(), logits, retain_graph=True) for loss in (found, expected)
    ]
    torch.testing.assert_close(*grads, **tolerance)
    module = nn.TransducerLoss(blank, reduction)
    assert torch.equal(module(log_probs, targets, frames, sizes), found)


def test_transducer_edges():
    log_probs = torch.full((3, 2, 2, 3), -math.log(3)).requires_grad_()
    targets = torch.tensor([[1], [2], [1]])
    value = losses.transducer_loss(log_probs, targets, [0, 0, 2], [1, 0, 1], reduction="none")
    assert value.tolist()[:2] == [math.inf, 0.0]
    torch.testing.assert_close(value[2], 3 * torch.tensor(3.0).log() - torch.tensor(2.0).log())
    total = losses.transducer_loss(
        log_probs, targets, [0, 0, 2], [1, 0, 1], reduction="sum", zero_infinity=True
    )
    total.backward()
    torch.testing.assert_close(total, value[2])
    assert torch.isfinite(log_probs.grad).all()
    whole = losses.transducer_loss(log_probs, targets)
    torch.testing.assert_close(whole, value[2])


def test_transducer_differentiates_twice_and_in_beta():
    log_probs = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def loss(log_probs, beta):
        targets = torch.tensor([[1, 2], [2, 2]])
        given = (log_probs.log_softmax(3), targets, [3, 2], [2, 1])
        return losses.transducer_loss(*given, beta=beta)

    assert gradcheck(loss, (log_probs, beta))
    assert gradgradcheck(loss, (log_probs, beta))


# Arguments


def test_errors_name_the_loss_and_the_values():
    frames, target = torch.zeros(4, 2, 3), torch.ones(2, 2, dtype=torch.int64)
    square, emissions = torch.zeros(3, 3), Emissions(torch.zeros(2, 4, 3))
    bigram, grid = bigram_graph(3), torch.zeros(2, 4, 3, 3)
    asg, lf_mmi, rnnt = losses.asg_loss, losses.lf_mmi_loss, losses.transducer_loss
    cases = [
        (lambda: asg(frames, target, [4, 5], [2, 2], square), "asg_loss: input_lengths .*got 5"),
        (
            lambda: asg(frames, target, [4, 4], [2, 2], square[:2, :2]),
            "3 labels, transitions have 2",
        ),
        (lambda: asg(frames, target * 3, [4, 4], [2, 2], square), "targets must lie in .*got 3"),
        (
            lambda: asg(frames, target, [4, 4], [2, 2], square, reduction="max"),
            "asg_loss: reduction",
        ),
        (lambda: lf_mmi(emissions, linear([[1]] * 3), bigram), "2 items, numerator has 3"),
        (lambda: lf_mmi(emissions, linear([1]), stack([bigram] * 3)), "denominator has 3"),
        (lambda: lf_mmi(emissions, linear([1]), bigram, "max"), "lf_mmi_loss: reduction"),
        (lambda: rnnt(grid, target, [4, 5]), "transducer_loss: input_lengths .*got 5"),
        (lambda: rnnt(grid, target, reduction="max"), "transducer_loss: reduction"),
        (lambda: nn.CTCLoss(reduction="max"), "CTCLoss: reduction"),
    ]
    for call, said in cases:
        with pytest.raises(ValueError, match=said):
            call()
    with pytest.raises(TypeError, match="lf_mmi_loss: emissions must be Emissions, got Graph"):
        lf_mmi(bigram, bigram, bigram)
    with pytest.raises(TypeError, match="asg_loss: all must have one dtype"):
        asg(frames, target, [4, 4], [2, 2], square.double())


def test_targets_and_scores_of_a_wrong_form_are_refused_by_name():
    frames, lengths = torch.zeros(4, 3, 5).log_softmax(2), ([4, 3, 2], [2, 1, 0])
    deep = torch.tensor([[[1, 2], [3, 4], [2, 1]]])
    for loss in (losses.ctc_loss, lambda *given: losses.asg_loss(*given, torch.zeros(5, 5))):
        with pytest.raises(TypeError, match=r"_loss: targets must be numbers, got \[\[1, 2\]"):
            loss(frames, [[1, 2], [3], []], *lengths)
        with pytest.raises(ValueError, match=r"_loss: targets must have one dimension, got \[1, 3"):
            loss(frames, deep, lengths[0], [2, 2, 2])
        with pytest.raises(TypeError, match=r"_loss: .* must be a tensor, got ndarray"):
            loss(frames.numpy(), deep[0], *lengths)
    grid = torch.zeros(1, 2, 2, 3).numpy()
    for logits in (False, True):
        with pytest.raises(TypeError, match="transducer_loss: log_probs must be a tensor, got nda"):
            losses.transducer_loss(grid, torch.tensor([[1]]), from_logits=logits)
