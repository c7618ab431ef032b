"""gnat_loss: globally normalized transducers, against enumeration of all frame labellings."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from gtnet import losses
from gtnet.losses import gnat_loss, ngram_contexts

LABELS, FRAMES = 3, 4
TARGETS = torch.tensor([[1, 2], [2, 1], [1, 1], [1, 1]])
LENGTHS = ([4, 3, 0, 2], [2, 1, 0, 0])
NONE = {"reduction": "none"}


class Joint(nn.Module):
    """Scores of (state, label) from a frame."""

    def __init__(self, states: int, labels: int = LABELS, dtype: torch.dtype = torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.heard = nn.Linear(2, 5, dtype=dtype)
        self.said = nn.Parameter(torch.randn(states, 5, dtype=dtype))
        self.outputs = nn.Linear(5, labels, dtype=dtype)
        self.calls = 0

    def forward(self, frames: Tensor) -> Tensor:
        self.calls += 1
        return 3 * self.outputs((self.heard(frames).unsqueeze(1) + self.said).tanh())


def encoded(dtype: torch.dtype = torch.float64) -> Tensor:
    made = torch.Generator().manual_seed(1)
    return torch.randn(4, FRAMES, 2, dtype=dtype, generator=made).requires_grad_()


def enumerated(score, frames: Tensor, contexts: Tensor) -> Tensor:
    """The loss of each item by all its frame labellings."""
    found = []
    for own, target, n, written in zip(frames, TARGETS, *LENGTHS, strict=True):
        table = score(own)
        every, right = [], []
        for labels in itertools.product(range(LABELS), repeat=n):
            state, total = 0, own.new_zeros(())
            for t, label in enumerate(labels):
                total = total + table[t, state, label]
                state = int(contexts[state, label])
                if state < 0:
                    break
            if state < 0:
                continue
            every.append(total)
            if [label for label in labels if label] == target[:written].tolist():
                right.append(total)
        if right:
            found.append(torch.stack(every).logsumexp(0) - torch.stack(right).logsumexp(0))
        else:
            found.append(own.new_tensor(math.inf))
    return torch.stack(found)


def barred() -> Tensor:
    """Contexts of one label, where a 2 never follows a 1."""
    contexts = ngram_contexts(LABELS, 1)
    contexts[1, 2] = -1
    return contexts


@pytest.mark.parametrize(
    "contexts", [ngram_contexts(LABELS, n) for n in range(3)] + [barred()], ids=str
)
def test_losses_are_those_of_all_frame_labellings(contexts):
    network, frames = Joint(len(contexts)), encoded()
    found = gnat_loss(network, frames, TARGETS, contexts, *LENGTHS, **NONE)
    wanted = enumerated(network, frames, contexts)
    torch.testing.assert_close(found, wanted)
    leaves = (frames, *network.parameters())
    real = wanted < math.inf
    grads = [torch.autograd.grad(loss[real].sum(), leaves) for loss in (found, wanted)]
    torch.testing.assert_close(*grads)
    assert found.isinf().any() == (contexts < 0).any()


def test_contexts_are_the_last_labels():
    assert ngram_contexts(3, 0).tolist() == [[0, 0, 0]]
    assert ngram_contexts(3, 1).tolist() == [[0, 1, 2], [1, 1, 2], [2, 1, 2]]
    assert ngram_contexts(2, 2, blank=1).tolist() == [[1, 0], [2, 1], [2, 2]]
    assert ngram_contexts(6, 2).shape == (1 + 5 + 25, 6)


def test_where_scores_are_normalized_it_is_the_transducer_loss():
    contexts = ngram_contexts(LABELS, 2)
    network, frames = Joint(len(contexts)), encoded().detach()

    def normalized(x: Tensor) -> Tensor:
        return network(x).log_softmax(2)

    found = gnat_loss(normalized, frames, TARGETS, contexts, *LENGTHS, **NONE)
    states = torch.zeros(4, 3, dtype=torch.int64)
    for u in range(2):
        states[:, u + 1] = contexts[states[:, u], TARGETS[:, u]]
    table = torch.stack([normalized(frames[:, t]) for t in range(FRAMES)], 1)
    grid = table.gather(2, states[:, None, :, None].expand(-1, FRAMES, -1, LABELS))
    wanted = losses.transducer_loss(grid, TARGETS, *LENGTHS, topology="modified", **NONE)
    torch.testing.assert_close(found, wanted)


def test_scores_are_computed_frame_by_frame_and_again_for_the_gradient():
    contexts = ngram_contexts(LABELS, 1)
    network, frames = Joint(3), encoded()
    loss = gnat_loss(network, frames, TARGETS, contexts)
    assert network.calls == FRAMES
    loss.backward()
    assert network.calls == 2 * FRAMES
    with torch.no_grad():
        assert gnat_loss(network, frames, TARGETS, contexts) == loss
    assert network.calls == 3 * FRAMES


def test_second_derivatives():
    contexts, frames = ngram_contexts(LABELS, 1), encoded()
    network = Joint(3)

    def loss(x: Tensor) -> Tensor:
        return gnat_loss(network, x, TARGETS[:2], contexts, [4, 3], [2, 1])

    start = frames[:2].detach().requires_grad_()
    assert torch.autograd.gradcheck(loss, start, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, start, fast_mode=True)


def test_what_lies_behind_an_item_is_not_read():
    contexts, network = ngram_contexts(LABELS, 1), Joint(3)
    frames = encoded().detach()
    wanted = gnat_loss(network, frames, TARGETS, contexts, *LENGTHS, **NONE)
    for own, n in zip(frames, LENGTHS[0], strict=True):
        own[n:] = math.nan
    frames.requires_grad_()
    found = gnat_loss(network, frames, TARGETS, contexts, *LENGTHS, **NONE)
    assert torch.equal(found, wanted)
    assert torch.autograd.grad(found.sum(), frames)[0].isfinite().all()


def test_scores_of_any_size_and_impossible_ones():
    contexts = ngram_contexts(LABELS, 1)
    frames = encoded(torch.float32)
    single = Joint(3, dtype=torch.float32)
    large = gnat_loss(lambda x: 1000 * single(x), frames, TARGETS, contexts, *LENGTHS, **NONE)
    exact = enumerated(lambda x: 1000 * single(x).double(), frames, contexts)
    torch.testing.assert_close(large.double(), exact, rtol=1e-4, atol=1e-2)

    def barring(x: Tensor) -> Tensor:
        return single(x).masked_fill(torch.tensor([False, True, False]), -math.inf)

    found = gnat_loss(barring, frames, TARGETS, contexts, *LENGTHS, **NONE)
    assert found.isinf().tolist() == [True, False, False, False]
    assert torch.autograd.grad(found.sum(), frames)[0].isfinite().all()
    nothing = gnat_loss(lambda x: single(x) - math.inf, frames, TARGETS, contexts, **NONE)
    assert nothing.isinf().all()
    assert torch.autograd.grad(nothing.sum(), frames)[0].isnan().sum() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contexts": torch.tensor([[0, 1, 2]])}, r"contexts must lie in \[0, 1\), .* got 2"),
        ({"contexts": torch.tensor([[0, -2, 0]])}, "or be -1, got -2"),
        ({"contexts": torch.tensor([[-1, 0, 0]])}, "contexts must stay with the blank 0"),
        ({"contexts": torch.zeros(3).long()}, r"contexts must be \[states, labels\], got \[3\]"),
        ({"contexts": torch.zeros(1, 3).long()}, r"score must give .* \[4, 1, 3\], got \[4, 3, 3"),
        ({"targets": TARGETS * 0}, "a target must not hold the blank 0"),
        ({"targets": TARGETS * 2}, r"targets must lie in \[0, 3\) \(the labels of contexts\)"),
        ({"encoded": torch.zeros(4, 2)}, r"encoded must be .* got \[4, 2\]"),
        ({"input_lengths": [5, 0, 0, 0]}, r"input_lengths must lie in \[0, 5\)"),
    ],
)
def test_errors(change, said):
    given = {"encoded": encoded(), "targets": TARGETS, "contexts": ngram_contexts(LABELS, 1)}
    with pytest.raises(ValueError, match=f"gnat_loss: .*{said}"):
        gnat_loss(Joint(3), **{**given, **change})


def test_errors_of_scores_and_contexts():
    contexts = ngram_contexts(LABELS, 1)
    with pytest.raises(ValueError, match="gnat_loss: score must not hold NaN"):
        gnat_loss(lambda x: Joint(3)(x) * math.nan, encoded(), TARGETS, contexts)
    with pytest.raises(ValueError, match="ngram_contexts: order 9 over 99 labels has too many"):
        ngram_contexts(100, 9)
    with pytest.raises(ValueError, match="ngram_contexts: blank must be one of the 3"):
        ngram_contexts(3, 1, blank=3)
