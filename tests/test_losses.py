"""Losses as graph algebra: CTC against torch, and the difference of two forward scores."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gtnet import Emissions, Graph, ctc_graph, forward_score, linear, losses, stack

NEG_INF = float("-inf")
DTYPES = [torch.float32, torch.float64]


def ctc(log_probs: torch.Tensor, targets, lengths, blank: int = 0) -> torch.Tensor:
    """The CTC loss of each item, log_probs [batch, frames, labels]."""
    graph = ctc_graph(targets, blank, dtype=log_probs.dtype)
    return -forward_score(Emissions(log_probs, lengths) @ graph)


def torch_ctc(
    log_probs: torch.Tensor, targets, lengths, blank: int = 0, zero_infinity: bool = False
) -> torch.Tensor:
    sizes = torch.tensor([len(target) for target in targets])
    padded = torch.full((len(targets), max(1, int(sizes.max()))), 1 if blank == 0 else 0)
    for i, target in enumerate(targets):
        padded[i, : len(target)] = torch.tensor(target, dtype=torch.int64)
    frames = log_probs.transpose(0, 1)
    lengths = torch.tensor(lengths)
    return F.ctc_loss(frames, padded, lengths, sizes, blank, "none", zero_infinity)


def both(targets, lengths, blank, dtype, labels=4):
    """Values and gradients with respect to logits, ours and torch's."""
    generator = torch.Generator().manual_seed(sum(lengths) + len(targets))
    shape = (len(targets), max(lengths), labels)
    logits = 2 * torch.randn(shape, dtype=dtype, generator=generator)
    weights = torch.linspace(0.5, 1.5, len(targets), dtype=dtype)
    leaf = logits.clone().requires_grad_()
    value = ctc(leaf.log_softmax(-1), targets, lengths, blank)
    (value * weights).sum().backward()
    other = logits.clone().requires_grad_()
    expected = torch_ctc(other.log_softmax(-1), targets, lengths, blank)
    zeroed = torch_ctc(other.log_softmax(-1), targets, lengths, blank, zero_infinity=True)
    (zeroed * weights).sum().backward()
    return (value.detach(), leaf.grad), (expected.detach(), other.grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("targets", "lengths"),
    [
        ([[1, 2, 3]], [6]),
        ([[1, 1, 2, 2, 2]], [12]),
        ([[1, 1]], [3]),
        ([[]], [4]),
        ([[1, 2], [], [3, 3, 1]], [5, 3, 9]),
        ([[2]], [1]),
        ([[1, 2, 1, 2]], [4]),
    ],
)
def test_ctc_equals_torch(targets, lengths, dtype):
    (value, grad), (expected, expected_grad) = both(targets, lengths, 0, dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {}
    torch.testing.assert_close(value, expected, **tolerance)
    torch.testing.assert_close(grad, expected_grad, **tolerance)


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from([0, 1, 3]), max_size=4), min_size=1, max_size=4),
    st.data(),
)
def test_ctc_equals_torch_on_random_targets(targets, data):
    lengths = [data.draw(st.integers(1, 8)) for _ in targets]
    (value, grad), (expected, expected_grad) = both(targets, lengths, 2, torch.float64)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, expected_grad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_impossible_targets_cost_infinity_and_no_gradient(dtype):
    targets, lengths = [[1, 1], [1, 2, 3], [1]], [2, 2, 2]
    log_probs = torch.randn(3, 2, 4, dtype=dtype).log_softmax(-1)
    value = ctc(log_probs, targets, lengths)
    expected = torch_ctc(log_probs, targets, lengths)
    assert value[:2].tolist() == expected[:2].tolist() == [math.inf, math.inf]
    torch.testing.assert_close(value[2], expected[2])
    leaf = log_probs.clone().requires_grad_()
    ctc(leaf, targets, lengths).sum().backward()
    assert torch.equal(leaf.grad[:2], torch.zeros(2, 2, 4, dtype=dtype))
    torch.testing.assert_close(leaf.grad[2].sum(-1), -torch.ones(2, dtype=dtype))


def test_ctc_of_log_probs_of_zero():
    log_probs = torch.tensor([[[NEG_INF, 0.0], [0.0, NEG_INF]]], requires_grad=True)
    value = ctc(log_probs, [[1]], [2])
    assert value.item() == 0
    value.sum().backward()
    assert not log_probs.grad.isnan().any()


# ctc_loss


def assert_same_loss(logits, arguments, **options):
    """Value and gradient with respect to logits equal torch's."""
    found = []
    for function in (losses.ctc_loss, F.ctc_loss):
        leaf = logits.clone().requires_grad_()
        value = function(leaf.log_softmax(-1), *arguments, **options)
        value.sum().backward()
        found.append((value.detach(), leaf.grad))
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if logits.dtype == torch.float32 else {}
    torch.testing.assert_close(*found, **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_loss_is_torchs(dtype, reduction, blank):
    logits = torch.randn(9, 3, 5, dtype=dtype)
    labels = torch.tensor([label for label in range(5) if label != blank])
    padded = labels[torch.randint(0, 4, (3, 4))]
    frames, sizes = torch.tensor([9, 8, 5]), torch.tensor([4, 0, 2])
    options = {"blank": blank, "reduction": reduction}
    assert_same_loss(logits, (padded, frames, sizes), **options)
    assert_same_loss(logits, (padded, [9, 8, 5], (4, 0, 2)), **options)
    flat = torch.cat([row[:size] for row, size in zip(padded, sizes, strict=True)])
    assert_same_loss(logits, (flat, frames, sizes), **options)
    assert_same_loss(logits.transpose(0, 1).contiguous().transpose(0, 1), (flat, frames, sizes),
                     **options)  # fmt: skip
    assert_same_loss(logits[:, 0], (padded[0], torch.tensor(9), torch.tensor(4)), **options)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_targets_that_do_not_fit(reduction):
    logits = torch.randn(3, 2, 4, dtype=torch.float64)
    arguments = (torch.tensor([[1, 1, 1], [1, 2, 3]]), [3, 3], [3, 3])
    assert_same_loss(logits, arguments, reduction=reduction, zero_infinity=True)
    value = losses.ctc_loss(logits.log_softmax(-1), *arguments, reduction="none")
    assert value[0] == math.inf
    assert value[1] < math.inf


def test_ctc_loss_twice_differentiable_and_in_beta():
    logits = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def loss(logits, beta=1.0):
        return losses.ctc_loss(
            logits.log_softmax(-1), torch.tensor([[1, 2], [2, 2]]), [4, 3], [2, 2], beta=beta
        )

    for inputs in ((logits,), (logits, beta)):
        assert torch.autograd.gradcheck(loss, inputs)
        assert torch.autograd.gradgradcheck(loss, inputs)


def test_ctc_loss_names_what_is_wrong():
    frames, target = torch.zeros(4, 2, 3), torch.ones(2, 2, dtype=torch.int64)
    cases = [
        ((frames, target, [4, 5], [2, 2]), {}, "input_lengths must lie in .*got 5"),
        ((frames, target, [4], [2, 2]), {}, "has 2 items, input_lengths 1"),
        ((frames, target, [4, 4], [2, 3]), {}, "target_lengths must lie in .*got 3"),
        ((frames, target * 3, [4, 4], [2, 2]), {}, "targets must lie in .*got 3"),
        ((frames, target * 0, [4, 4], [2, 2]), {}, r"must not hold the blank 0.*\[0, 0\]"),
        ((frames, target.flatten(), [4, 4], [2, 1]), {}, "4 labels, target_lengths add up to 3"),
        ((frames, target, [4, 4], [2, 2]), {"reduction": "max"}, "reduction must be"),
        ((frames[0, 0], target, [4, 4], [2, 2]), {}, r"must be \[frames, batch, labels\]"),
        ((frames * math.nan, target, [4, 4], [2, 2]), {}, "NaN"),
    ]
    for arguments, options, said in cases:
        with pytest.raises(ValueError, match=said):
            losses.ctc_loss(*arguments, **options)
    with pytest.raises(TypeError, match="ctc_loss: log_probs must be float"):
        losses.ctc_loss(frames.long(), target, [4, 4], [2, 2])
    with pytest.raises(TypeError, match="ctc_loss: targets must be integers"):
        losses.ctc_loss(frames, target.float(), [4, 4], [2, 2])


# discriminative_forward


def test_the_difference_of_two_forward_scores():
    everything = Graph([0, 0, 0], [1, 1, 1], [1, 2, 3], weights=[1.0, 2.0, 3.0], accept=1)
    right = Graph([0], [1], [2], weights=[2.0], accept=1)
    loss = losses.discriminative_forward(everything, right)
    torch.testing.assert_close(loss, -torch.tensor([1.0, 2.0, 3.0]).log_softmax(0)[1:2])
    both_right = losses.discriminative_forward(everything, everything)
    assert both_right.tolist() == [0.0]


@pytest.mark.parametrize("beta", [0.5, 1.0, 10.0])
def test_gradcheck_of_the_difference(beta):
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        everything = Graph([0, 0, 0], [1, 1, 1], [1, 2, 3], weights=weights, accept=1)
        return losses.discriminative_forward(
            everything, everything @ linear([2], dtype=torch.float64), beta
        )

    assert torch.autograd.gradcheck(loss, (weights,))
    assert (loss(weights) >= 0).all()


def test_impossible_answers_cost_infinity_and_spoil_nobody():
    def batch(weights: torch.Tensor) -> Graph:
        one = Graph([0, 0], [1, 1], [1, 2], weights=weights, accept=1)
        return stack([one] * 3)

    nothing = Graph([0], [1], [1], accept=[])
    weights = torch.tensor([0.5, 0.25], requires_grad=True)
    everything = batch(weights)
    right = stack([everything[0] @ linear([1]), nothing, nothing])
    legal = stack([everything[0], everything[1], nothing])
    loss = losses.discriminative_forward(legal, right)
    assert loss.tolist()[1:] == [math.inf, math.inf]
    loss.sum().backward()
    chance = torch.softmax(torch.tensor([0.5, 0.25]), 0)
    torch.testing.assert_close(weights.grad, chance - torch.tensor([1.0, 0.0]))


def test_batches_broadcast_or_must_match():
    one = linear([[1], [2]])
    assert losses.discriminative_forward(one, linear([1])).tolist() == [0, math.inf]
    with pytest.raises(ValueError, match=r"discriminative_forward: .*2 graphs.*3"):
        losses.discriminative_forward(one, linear([[1], [2], [3]]))
