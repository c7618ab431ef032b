"""CTC and ASG on a GPU with targets there: the CPU's losses and gradients, and nothing waits."""

from __future__ import annotations

import math

import pytest
import torch
from pretended import Pretended, Real
from pretended import cuda as cuda

from gtnet.losses import asg_loss, ctc_loss


@pytest.fixture(autouse=True)
def _there(cuda: Pretended | Real) -> None:
    pass


def batch(longest: int, labels: int, *, frames: int, size: int = 4, dtype=torch.float64):
    """Scores [frames, batch, labels] and targets without label 0, with runs of equal ones."""
    scores = torch.randn(frames, size, labels, dtype=dtype).log_softmax(-1)
    targets = torch.randint(1, labels, (size, longest)).repeat_interleave(2, 1)[:, :longest]
    lengths = torch.randint(longest + 1, (size,))
    lengths[0], lengths[-1] = longest, 0
    return scores, targets, torch.randint(frames // 2, frames + 1, (size,)), lengths


def both(scores, *rest, **how):
    """Loss and gradient, there and here."""
    found = []
    for place in ("cuda", "cpu"):
        given = scores.detach().to(place).requires_grad_()
        moved = [t.to(place) if isinstance(t, torch.Tensor) else t for t in rest]
        loss = ctc_loss(given, *moved, **how)
        total = loss[loss < math.inf].sum() if loss.ndim else loss
        found.append((loss.detach().cpu(), torch.autograd.grad(total, given)[0].cpu()))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("longest", "labels", "frames"), [(0, 2, 3), (1, 2, 4), (7, 3, 20), (8, 30, 25), (40, 9, 90)]
)
def test_losses_and_gradients_are_those_of_the_cpu(longest, labels, frames, dtype):
    given = batch(longest, labels, frames=frames, dtype=dtype)
    tight = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {}
    for how in ({"reduction": "none"}, {"reduction": "mean", "zero_infinity": True}):
        ours, expected = both(*given, **how)
        torch.testing.assert_close(ours, expected, **tight)


def test_long_targets_of_few_labels():
    """Rows of hundreds of positions to sum by label."""
    scores, targets, _, _ = batch(300, 3, frames=610, size=2)
    ours, expected = both(scores, targets, [610, 605], [300, 290], reduction="none")
    assert expected[0].isfinite().any()
    torch.testing.assert_close(ours, expected)


def test_other_blanks_and_forms_of_targets():
    scores, targets, frames, lengths = batch(5, 6, frames=12)
    targets = targets - 1  # blank 5 is in none
    flat = torch.cat([row[:n] for row, n in zip(targets, lengths.tolist())])
    for labels in (targets, flat):
        ours, expected = both(scores, labels, frames, lengths, 5)
        torch.testing.assert_close(ours, expected)
    ours, expected = both(scores[:, 0], targets[0], 12, 5, 5, "none")
    torch.testing.assert_close(ours, expected)
    scores, here = scores.cuda(), (targets, frames.tolist(), lengths.tolist(), 5)
    torch.testing.assert_close(ctc_loss(scores, *here).cpu(), ctc_loss(scores.cpu(), *here))


def test_second_derivatives():
    scores, targets, frames, lengths = batch(2, 3, frames=4, size=2)
    found = []
    for place in ("cuda", "cpu"):
        given = scores.detach().to(place).requires_grad_()
        loss = ctc_loss(given, targets.to(place), frames.to(place), lengths.to(place))
        (first,) = torch.autograd.grad(loss, given, create_graph=True)
        found.append(torch.autograd.grad((first**2).sum(), given)[0].cpu())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", ["ctc", "asg"])
def test_nothing_waits_and_nothing_is_copied(name, cuda):
    scores, targets, frames, lengths = (t.cuda() for t in batch(9, 5, frames=20))
    transitions = torch.randn(5, 5).double().cuda()
    scores.requires_grad_()

    def step():
        if name == "ctc":
            loss = ctc_loss(scores, targets, frames, lengths, zero_infinity=True)
        else:
            loss = asg_loss(scores, targets, frames, lengths, transitions, zero_infinity=True)
        torch.autograd.grad(loss, scores)

    step()  # the layout of such targets is made once
    if isinstance(cuda, Pretended):
        cuda.waits.clear()
        cuda.copies.clear()
        step()
        assert not cuda.waits + cuda.copies
    else:
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_what_is_wrong_gives_nan_there_and_an_error_where_it_is_seen():
    scores, targets, frames, _ = batch(3, 4, frames=8, size=6)
    targets = targets.clone()
    targets[0, 1], targets[1, 2], targets[2, 0], targets[3, 2] = 0, 4, -1, 9
    lengths = torch.tensor([3, 3, 3, 2, 4, -1])
    given = scores.cuda().requires_grad_()
    loss = ctc_loss(given, targets.cuda(), frames.cuda(), lengths.cuda(), reduction="none")
    assert loss.isnan().tolist() == [True, True, True, False, True, True]
    (grad,) = torch.autograd.grad(loss[3], given)
    assert not grad.isnan().any()
    assert grad[:, 3].any()
    with pytest.raises(ValueError, match="target_lengths must lie in"):
        ctc_loss(given, targets.cuda(), frames.cuda(), lengths.tolist())
    with pytest.raises(ValueError, match="must not hold the blank 0"):
        ctc_loss(given, targets.abs().clamp(max=3), frames.cuda(), [3] * 6)
    with pytest.raises(ValueError, match="the batch has 6 items, targets 2"):
        ctc_loss(given, targets[:2].cuda(), frames.cuda(), [3] * 6)
    with pytest.raises(ValueError, match="add up to 17"):
        ctc_loss(given, targets.flatten().cuda(), frames.cuda(), [3, 3, 3, 3, 3, 2])


@pytest.mark.parametrize(("longest", "labels", "frames"), [(0, 2, 3), (3, 2, 9), (9, 20, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_asg_is_that_of_the_cpu(longest, labels, frames, dtype):
    scores, targets, *lengths = batch(longest, labels, frames=frames, dtype=dtype)
    targets = (1 + targets % (labels - 1)).cumsum(1) % labels  # none follows itself
    transitions, start = torch.randn(labels, labels, dtype=dtype), torch.randn(labels, dtype=dtype)
    transitions[1, 0] = -math.inf
    found = []
    for place in ("cuda", "cpu"):
        given = [t.detach().to(place).requires_grad_() for t in (scores, transitions, start)]
        rest = [t.to(place) for t in (targets, *lengths)]
        loss = asg_loss(given[0], *rest, *given[1:], reduction="none")
        total = loss[loss < math.inf].sum()
        found.append([t.cpu() for t in (loss.detach(), *torch.autograd.grad(total, given))])
    torch.testing.assert_close(
        *found, **({"rtol": 1e-9, "atol": 1e-9} if dtype.itemsize > 4 else {})
    )


def test_what_is_wrong_with_targets_of_asg_gives_nan():
    scores, _, frames, _ = batch(3, 4, frames=8, size=4)
    targets = torch.tensor([[1, 4, 1], [1, 2, -1], [1, 2, 2], [1, 3, 3]])
    rest = (frames.cuda(), torch.tensor([3, 3, 3, 2]).cuda(), torch.zeros(4, 4).double().cuda())
    loss = asg_loss(scores.cuda(), targets.cuda(), *rest, reduction="none")
    assert loss.isnan().tolist() == [True, True, True, False]
