"""CTC losses and alignments beside emissions composed with the CTC graph of the target."""

import itertools

import pytest
import torch

from gtnet import Emissions, ctc_graph, forced_align, viterbi_score
from gtnet.losses import ctc_loss

SIZES = [0, 1, 2, 7, 8, 9, 14, 15, 16, 17, 31, 32, 33, 48, 95, 96, 97]
"""Labels of targets, on both sides of what vectors and their lanes hold."""


def both(scores, target, frames):
    """Loss and gradient of one item, by `ctc_loss` and by the lattice."""
    found = []
    for loss_of in (
        lambda leaf: ctc_loss(leaf, target[None], [frames], [len(target)], reduction="sum"),
        lambda leaf: (
            -(
                Emissions(leaf[:frames].transpose(0, 1))
                @ ctc_graph([target.tolist()], dtype=leaf.dtype)
            ).forward_score()
        ),
    ):
        leaf = scores.clone().requires_grad_()
        loss = loss_of(leaf).sum()
        loss.backward()
        found.append((loss.detach(), leaf.grad))
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ctc_of_targets_of_any_length_is_the_lattice(size, dtype):
    generator = torch.Generator().manual_seed(size)
    target = torch.randint(1, 5, (size,), generator=generator)
    repeats = int((target[1:] == target[:-1]).sum())
    least = size + repeats
    for frames in {
        max(1, least - 1),
        max(1, least),
        least + 1,
        least + 2,
        least + 17,
        3 * size + 5,
    }:
        for scale in (1.0, 40.0):
            scores = scale * torch.randn(frames + 2, 1, 6, dtype=dtype, generator=generator)
            (loss, grad), (expected, expected_grad) = both(scores, target, frames)
            near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {}
            torch.testing.assert_close(loss, expected, **near)
            torch.testing.assert_close(grad, expected_grad, **near)
            assert torch.isinf(loss) == (frames < least)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ctc_of_impossible_labels_and_scores_far_apart_is_the_lattice(dtype):
    generator = torch.Generator().manual_seed(0)
    for size in (1, 5, 16, 20):
        target = torch.randint(1, 7, (size,), generator=generator)
        frames = 3 * size + 4
        for far in (100.0, 1e4, 1e6):
            scores = torch.randn(frames, 1, 8, dtype=dtype, generator=generator)
            lower = torch.rand(scores.shape, generator=generator)
            scores = scores.masked_fill(lower < 0.1, -torch.inf) - far * (lower > 0.7)
            (loss, grad), (expected, expected_grad) = both(scores, target, frames)
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=1e-4)


def test_ctc_of_an_item_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    lengths, frames = [0, 3, 16, 40], [9, 8, 70, 90]
    log_probs = torch.randn(90, 4, 12).log_softmax(2)
    log_probs[:, 2] *= 300  # read with exponents, and again in float64
    targets = torch.randint(1, 12, (4, 40))

    def of(items):
        leaf = log_probs[:, items].clone().requires_grad_()
        given = ([frames[i] for i in items], [lengths[i] for i in items])
        loss = ctc_loss(leaf, targets[items], *given, reduction="none")
        loss.sum().backward()
        return loss.detach(), leaf.grad

    loss, grad = of([0, 1, 2, 3])
    for item in range(4):
        alone, alone_grad = of([item])
        assert torch.equal(alone, loss[item : item + 1])
        assert torch.equal(alone_grad, grad[:, item : item + 1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_alignment_to_targets_of_any_length_is_that_of_the_lattice(size, dtype):
    generator = torch.Generator().manual_seed(size)
    target = torch.randint(1, 5, (size,), generator=generator).tolist()
    least = size + sum(a == b for a, b in itertools.pairwise(target))
    for more in (-1, 0, 1, 17, 2 * size + 5, 300):
        frames = max(1, least + more)
        scores = torch.randn(1, frames, 6, dtype=dtype, generator=generator).log_softmax(2)
        scores = scores.masked_fill(
            torch.rand(scores.shape, generator=generator) < 0.02, -torch.inf
        )
        found = forced_align(scores, [target])
        expected = viterbi_score(Emissions(scores) @ ctc_graph([target], dtype=dtype))
        torch.testing.assert_close(found.total, expected)
        torch.testing.assert_close(
            found.scores.sum(1)[torch.isfinite(expected)], expected[torch.isfinite(expected)]
        )
        labels = found.labels[0].tolist()
        if torch.isfinite(expected):
            assert [label for label, _ in itertools.groupby(labels) if label] == target
            assert [span.label for span in found.tokens[0]] == target
        else:
            assert set(labels) == {-1} and not found.tokens[0]
