"""Transducer losses on a GPU: the CPU's losses and gradients, and what is no number."""

from __future__ import annotations

import math

import pytest
import torch
from pretended import Pretended, Real
from pretended import cuda as cuda

from gtnet.losses import transducer_loss


@pytest.fixture(autouse=True)
def _there(cuda: Pretended | Real) -> None:
    pass


def both(outputs, *rest, **how):
    """Loss and gradient, there and here."""
    found = []
    for place in ("cuda", "cpu"):
        given = outputs.detach().to(place).requires_grad_()
        moved = [t.to(place) if isinstance(t, torch.Tensor) else t for t in rest]
        loss = transducer_loss(given, *moved, reduction="none", **how)
        total = loss[loss < math.inf].sum()
        found.append((loss.detach().cpu(), torch.autograd.grad(total, given)[0].cpu()))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("topology", ["regular", "modified", "constrained"])
@pytest.mark.parametrize(
    ("frames", "longest", "labels"), [(1, 0, 2), (5, 3, 4), (3, 6, 5), (12, 40, 3), (5, 2, 70)]
)
def test_losses_and_gradients_are_those_of_the_cpu(
    frames, longest, labels, topology, from_logits, dtype
):
    outputs = torch.randn(4, frames, longest + 1, labels, dtype=dtype) * 3
    outputs = outputs if from_logits else outputs.log_softmax(3)
    targets = torch.randint(1, labels, (4, longest))
    lengths = torch.tensor([longest, 0, longest // 2, longest])
    heard = torch.tensor([frames, frames, max(frames // 2, 1), 0])
    ours, expected = both(
        outputs, targets, heard, lengths, from_logits=from_logits, topology=topology,
        fastemit_lambda=0.25,
    )  # fmt: skip
    tight = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {}
    torch.testing.assert_close(ours, expected, **tight)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e38])
def test_what_is_no_number_gives_nan_and_no_gradient_to_its_item(wrong, from_logits):
    outputs = torch.randn(3, 4, 3, 40).log_softmax(3)
    outputs[1, 2, 1, 0] = wrong
    given = outputs.cuda().requires_grad_()
    loss = transducer_loss(
        given, torch.tensor([[1, 2]] * 3).cuda(), reduction="none", from_logits=from_logits
    )
    (grad,) = torch.autograd.grad(loss[[0, 2]].sum(), given)
    if not (from_logits and wrong == 1e38):  # far above the others, so that they are impossible
        assert loss.isnan().tolist() == [False, True, False]
    assert grad.cpu()[[0, 2]].isfinite().all()
    assert grad.cpu()[[0, 2]].abs().sum() > 1


def test_rows_that_are_all_impossible():
    outputs = torch.randn(2, 3, 2, 5)
    outputs[0, 1, 1] = -math.inf
    loss = transducer_loss(
        outputs.cuda(), torch.tensor([[1], [2]]).cuda(), reduction="none", from_logits=True
    )
    assert loss.isnan().tolist() == [True, False]
