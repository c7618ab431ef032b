"""Transducer losses: topologies, simple, smoothed, pruned, against enumeration and recursions."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from torch import Tensor

import gtnet
from gtnet import losses
from gtnet.losses import transducers

TOPOLOGIES = ["regular", "modified", "constrained"]
FRAMES, WRITTEN = torch.tensor([5, 4, 2, 0]), torch.tensor([3, 0, 2, 0])
TARGETS = torch.tensor([[1, 1, 3], [2, 2, 2], [3, 1, 3], [1, 2, 3]])
LENGTHS = (TARGETS, FRAMES, WRITTEN)
NONE = {"reduction": "none"}


def logits(seed: int = 0, labels: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(4, 5, 4, labels, generator=made, dtype=dtype)).requires_grad_()


def projections(seed: int = 0, labels: int = 4) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    am, lm = (torch.randn(4, n, labels, generator=made, dtype=torch.float64) for n in (5, 4))
    return (2 * am).requires_grad_(), (2 * lm).requires_grad_()


def recursion(px: Tensor, py: Tensor, topology: str, delay_penalty: float = 0.0) -> Tensor:
    """Minus the last p of the recursion printed in k2's and fast_rnnt's documentation.

    px [S, T] and py [S + 1, T] score the symbols and the blanks of one item.
    """
    symbols, frames = px.shape
    px = px + delay_penalty * ((frames - 1) / 2 - torch.arange(frames))
    if topology == "constrained":
        px = px + py[1:]
    back = 0 if topology == "regular" else 1
    p = {(0, 0): px.new_zeros(())}
    for s, t in itertools.product(range(symbols + 1), range(frames + 1)):
        come = []
        if s and t - back >= 0 and (t - back < frames) and (s - 1, t - back) in p:
            come.append(p[s - 1, t - back] + px[s - 1, t - back])
        if t and (s, t - 1) in p:
            come.append(p[s, t - 1] + py[s, t - 1])
        come = [score for score in come if score > -math.inf]
        if come:
            p[s, t] = torch.stack(come).logsumexp(0)
    return -p.get((symbols, frames), px.new_tensor(-math.inf))


def expected(log_probs: Tensor, topology: str = "regular", delay_penalty: float = 0.0) -> Tensor:
    """The recursion for each item of log-probabilities [batch, frames, longest + 1, labels]."""
    found = []
    for own, target, frames, written in zip(log_probs, *LENGTHS, strict=True):
        own, n = own[:frames, : written + 1], int(written)
        px = own[:, torch.arange(n), target[:n]].T
        found.append(recursion(px, own[:, :, 0].T, topology, delay_penalty))
    return torch.stack(found)


def same(found: Tensor, wanted: Tensor, *leaves: Tensor) -> None:
    """Equal losses, and gradients where they are finite."""
    torch.testing.assert_close(found, wanted)
    real = wanted < math.inf
    grads = [torch.autograd.grad(loss[real].sum(), leaves) for loss in (found, wanted)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("delay_penalty", [0.0, 0.3])
def test_losses_are_the_published_recursions(topology, delay_penalty):
    leaf = logits()
    options = {"topology": topology, "delay_penalty": delay_penalty}
    found = losses.transducer_loss(leaf, *LENGTHS, **NONE, **options, from_logits=True)
    same(found, expected(leaf.log_softmax(3), **options), leaf)
    normalized = leaf.log_softmax(3)
    found = losses.transducer_loss(normalized, *LENGTHS, **NONE, **options)
    same(found, expected(leaf.log_softmax(3), **options), leaf)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_losses_sum_over_all_alignments(topology):
    log_probs = logits().detach().log_softmax(3)
    graph = gtnet.transducer_graph(log_probs, *LENGTHS, topology=topology)
    alignments = gtnet.enumerate_paths(graph)
    for paths, frames, written in zip(alignments, FRAMES.tolist(), WRITTEN.tolist(), strict=True):
        # Blanks are the frames, of which the last comes last, or what takes the other frames.
        places = frames + written - 1 if topology == "regular" else frames
        assert len(paths) == (math.comb(places, written) if frames else 1)
    sums = torch.stack([gtnet.forward_score(paths).exp().sum() for paths in alignments])
    found = losses.transducer_loss(log_probs, *LENGTHS, topology=topology, **NONE)
    torch.testing.assert_close((-found).exp(), sums)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_no_graph_is_built_on_the_cpu(topology, monkeypatch):
    leaf = logits()
    wanted = expected(leaf.log_softmax(3), topology)
    monkeypatch.setattr(transducers, "graph_of", None)
    found = losses.transducer_loss(leaf, *LENGTHS, **NONE, topology=topology, from_logits=True)
    same(found, wanted, leaf)


def test_the_graph_gives_the_same_to_torch_func_and_other_temperatures():
    leaf = logits().detach()

    def loss(x: Tensor) -> Tensor:
        return losses.transducer_loss(x, *LENGTHS, topology="modified", from_logits=True)

    def finite(x: Tensor) -> Tensor:
        return losses.transducer_loss(
            x, TARGETS, [5, 4, 3, 5], [3, 0, 2, 1], topology="modified", from_logits=True
        )

    assert loss(leaf) < math.inf
    torch.testing.assert_close(torch.func.grad(finite)(leaf), _grad(finite, leaf))
    cold = losses.transducer_loss(leaf, *LENGTHS, **NONE, from_logits=True, beta=1e6)
    graph = gtnet.transducer_graph(leaf.log_softmax(3), *LENGTHS)
    torch.testing.assert_close(-cold, gtnet.viterbi_score(graph), rtol=0, atol=1e-4)


def _grad(loss, at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_gradcheck(topology):
    leaf = logits(labels=4)
    given = (TARGETS[:3], [5, 4, 2], [3, 0, 2])
    short = leaf[:3].detach().requires_grad_()

    def loss(x: Tensor) -> Tensor:
        options = {"topology": topology, "delay_penalty": 0.2, "from_logits": True}
        return losses.transducer_loss(x, *given, **options)

    assert torch.autograd.gradcheck(loss, short, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, short, fast_mode=True)


def test_large_scores_and_long_grids_lose_nothing():
    made = torch.Generator().manual_seed(3)
    wide = 60 * torch.randn(2, 150, 31, 5, generator=made)
    targets = torch.randint(1, 5, (2, 30), generator=made)
    for topology in TOPOLOGIES:
        options = {**NONE, "topology": topology, "from_logits": True}
        grads = []
        for x in (wide, wide.double()):
            x = x.clone().requires_grad_()
            loss = losses.transducer_loss(x, targets, **options)
            grads.append((loss, torch.autograd.grad(loss.sum(), x)[0]))
        (single, few), (double, all_) = grads
        torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)
        torch.testing.assert_close(few.double(), all_, rtol=0, atol=2e-3)


def test_impossible_labels_and_steps():
    leaf = logits().detach()
    leaf[..., 3] = -math.inf  # no target with a 3 can be written
    leaf.requires_grad_()
    found = losses.transducer_loss(leaf, *LENGTHS, **NONE, from_logits=True)
    assert found.isinf().tolist() == [True, False, True, False]
    (grad,) = torch.autograd.grad(found.sum(), leaf)
    assert grad[[0, 2]].eq(0).all() and grad.isfinite().all() and grad[1].ne(0).any()
    empty = losses.transducer_loss(torch.zeros(0, 3, 3, 4), torch.zeros(0, 2).long(), **NONE)
    assert empty.shape == (0,)


# FastEmit


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_fastemit_multiplies_the_gradients_of_labels_alone(topology):
    log_probs = logits().detach().log_softmax(3).requires_grad_()
    given = (TARGETS[:2], [5, 4], [3, 0])

    def grads(weight: float) -> tuple[Tensor, Tensor]:
        own = log_probs[:2]
        loss = losses.transducer_loss(own, *given, topology=topology, fastemit_lambda=weight)
        return loss, torch.autograd.grad(loss, log_probs)[0]

    (plain, before), (loss, after) = grads(0.0), grads(0.5)
    assert loss == plain
    torch.testing.assert_close(after[..., 0], before[..., 0])
    torch.testing.assert_close(after[..., 1:], 1.5 * before[..., 1:])


# The simple loss


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("scale", [1.0, 300.0])  # most exponentials underflow
def test_the_simple_loss_is_that_of_the_sum(topology, scale):
    am, lm = projections(labels=12)
    options = {**NONE, "topology": topology, "delay_penalty": 0.1}
    found = losses.simple_transducer_loss(scale * am, lm * scale, *LENGTHS, **options)
    joint = scale * am.unsqueeze(2) + scale * lm.unsqueeze(1)
    wanted = losses.transducer_loss(joint, *LENGTHS, **options, from_logits=True)
    same(found, wanted, am, lm)


def test_the_simple_loss_in_float32_where_all_exponentials_underflow():
    am, lm = torch.zeros(1, 3, 3), torch.zeros(1, 2, 3)
    am[..., 0], lm[..., 1] = 200.0, 200.0  # the products are exp(-200)
    am, lm = am.requires_grad_(), lm.requires_grad_()
    found = losses.simple_transducer_loss(am, lm, torch.tensor([[1]]), **NONE)
    joint = am.unsqueeze(2) + lm.unsqueeze(1)
    wanted = losses.transducer_loss(joint, torch.tensor([[1]]), **NONE, from_logits=True)
    same(found, wanted, am, lm)


@pytest.mark.parametrize("scales", [(0.25, 0.0), (0.0, 0.1), (0.3, 0.2)])
def test_the_smoothed_loss_mixes_log_probabilities(scales):
    """As get_rnnt_logprobs_smoothed, where no item is shorter than others."""
    am, lm = projections()
    by_lm, by_am = scales
    joint = (am.unsqueeze(2) + lm.unsqueeze(1)).log_softmax(3)
    alone = lm.log_softmax(2).unsqueeze(1)
    unigram = lm.softmax(2).mean((0, 1)).log()
    heard = (am + unigram).log_softmax(2).unsqueeze(2)
    mixed = (1 - by_lm - by_am) * joint + by_lm * alone + by_am * heard
    frames, written = [5, 5, 5, 5], [3, 3, 3, 3]
    found = losses.simple_transducer_loss(
        am, lm, TARGETS, lm_only_scale=by_lm, am_only_scale=by_am, **NONE
    )
    wanted = torch.stack(
        [
            recursion(own[:, torch.arange(3), target].T, own[:, :, 0].T, "regular")
            for own, target in zip(mixed, TARGETS, strict=True)
        ]
    )
    same(found, wanted, am, lm)
    again = losses.simple_transducer_loss(
        am, lm, TARGETS, frames, written, lm_only_scale=by_lm, am_only_scale=by_am, **NONE
    )
    assert torch.equal(found, again)


def test_what_lies_behind_an_item_is_not_read():
    am, lm = (x.detach().clone() for x in projections())
    options = {"lm_only_scale": 0.2, "am_only_scale": 0.1, **NONE}
    wanted = losses.simple_transducer_loss(am, lm, *LENGTHS, **options)
    for b in range(4):
        am[b, FRAMES[b] :], lm[b, WRITTEN[b] + 1 :] = math.nan, math.inf
    am, lm = am.requires_grad_(), lm.requires_grad_()
    found = losses.simple_transducer_loss(am, lm, *LENGTHS, **options)
    assert torch.equal(found, wanted)
    grads = torch.autograd.grad(found[:2].sum(), (am, lm))
    assert all(grad.isfinite().all() for grad in grads)


# The pruned loss


def windows(posteriors: tuple[Tensor, Tensor], frames: int, written: int, width: int, most: int):
    """Kuang et al. 2022, equation 11, and the constraints of section 2.2, item by item."""
    label, blank = posteriors
    width = min(width, blank.shape[1])
    begins = []
    for t in range(frames):
        gain = [
            float(blank[t, p : p + width].sum()) - (float(label[t, p - 1]) if p else 0.0)
            for p in range(max(written + 1 - width, 0) + 1)
        ]
        begins.append(gain.index(max(gain)) if t < frames - 1 else max(written + 1 - width, 0))
    for t in reversed(range(frames - 1)):
        begins[t] = max(min(begins[t:]), begins[t + 1] - most)
    return [min(b, t * most) for t, b in enumerate(begins)]


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("width", [2, 3, 9])
def test_ranges_hold_the_posteriors_of_the_simple_loss(topology, width):
    am, lm = projections(5)
    loss, ranges = losses.prune_transducer(am, lm, *LENGTHS, width=width, topology=topology, **NONE)
    same(loss, losses.simple_transducer_loss(am, lm, *LENGTHS, topology=topology, **NONE), am, lm)
    assert ranges.shape == (4, 5, min(width, 4)) and (ranges.diff(dim=2) == 1).all()
    joint = (am.unsqueeze(2) + lm.unsqueeze(1)).log_softmax(3).detach()
    for b, (target, frames, written) in enumerate(zip(*LENGTHS, strict=True)):
        if loss[b] == math.inf or not frames:
            continue
        n = int(written)
        px = joint[b, :frames, torch.arange(n), target[:n]].requires_grad_()
        py = joint[b, :frames, : n + 1, 0].clone().requires_grad_()
        grads = torch.autograd.grad(
            -recursion(px.T, py.T, topology), (px, py), allow_unused=True, materialize_grads=True
        )
        wide = [torch.zeros(int(frames), 4, dtype=torch.float64) for _ in grads]
        for place, grad in zip(wide, grads, strict=True):
            place[:, : grad.shape[1]] = grad
        most = min(width, 4) - 1 if topology == "regular" else 1
        wanted = windows((wide[0], wide[1]), int(frames), n, width, most)
        assert ranges[b, :frames, 0].tolist() == wanted


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_pruned_loss_leaves_out_all_other_alignments(topology):
    am, lm = projections(1)
    _, ranges = losses.prune_transducer(am, lm, *LENGTHS, width=2, topology=topology)
    leaf = logits(2)
    item, frame = torch.arange(4)[:, None, None], torch.arange(5)[None, :, None]
    options = {**NONE, "topology": topology}
    pruned = leaf[item, frame, ranges]
    found = losses.transducer_loss(pruned, *LENGTHS, ranges=ranges, from_logits=True, **options)
    kept = torch.zeros(4, 5, 4, dtype=torch.bool).scatter(2, ranges, True)
    log_probs = leaf.log_softmax(3).masked_fill(~kept.unsqueeze(3), -math.inf)
    same(found, expected(log_probs, topology), leaf)
    assert (found >= expected(leaf.log_softmax(3), topology) - 1e-9).all()
    module = gtnet.nn.TransducerLoss(**options, from_logits=True)
    assert torch.equal(module(pruned, *LENGTHS, ranges), found)


def test_a_width_that_holds_everything_prunes_nothing():
    am, lm = projections(1)
    _, ranges = losses.prune_transducer(am, lm, *LENGTHS, width=4)
    leaf = logits(2)
    found = losses.transducer_loss(leaf, *LENGTHS, ranges=ranges, from_logits=True, **NONE)
    same(found, losses.transducer_loss(leaf, *LENGTHS, from_logits=True, **NONE), leaf)


def test_too_few_frames_for_the_width_leave_no_alignment():
    am, lm = torch.zeros(1, 1, 3), torch.zeros(1, 4, 3)
    targets = torch.tensor([[1, 2, 1]])
    loss, ranges = losses.prune_transducer(am, lm, targets, width=2)
    assert loss < math.inf and ranges.tolist() == [[[0, 1]]]
    pruned = torch.zeros(1, 1, 2, 3)
    assert losses.transducer_loss(pruned, targets, ranges=ranges, from_logits=True) == math.inf


def test_pruning_in_inference_mode():
    am, lm = (x.detach() for x in projections())
    wanted = losses.prune_transducer(am, lm, *LENGTHS, width=2, **NONE)
    with torch.inference_mode():
        found = losses.prune_transducer(am + 0, lm + 0, *LENGTHS, width=2, **NONE)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


# Errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"topology": "monotonic"}, "topology must be \"regular\", .* got 'monotonic'"),
        ({"delay_penalty": -1.0}, "delay_penalty must be at least 0 and finite, got -1.0"),
        ({"fastemit_lambda": math.nan}, "fastemit_lambda must be at least 0 and finite, got nan"),
        ({"ranges": torch.zeros(4, 5, 3).long()}, r"ranges must be .* = \[4, 5, 4\] .*\[4, 5, 3\]"),
        ({"ranges": torch.zeros(4, 5, 4).long()}, "ranges must hold consecutive numbers"),
        ({"ranges": torch.arange(1, 5).expand(4, 5, 4)}, r"ranges must lie in \[0, 4\) .*got 4"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(ValueError, match=f"transducer_loss: {said}"):
        losses.transducer_loss(logits(), *LENGTHS, from_logits=True, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lm": torch.zeros(4, 3, 4)}, r"am must be .* got \[4, 5, 4\], \[4, 3, 4\] and \[4, 3\]"),
        ({"am": torch.full((4, 5, 4), math.nan)}, r"am \+ lm must not hold NaN"),
        ({"targets": TARGETS * 0}, "a target must not hold the blank 0"),
        ({"targets": TARGETS * 2}, r"targets must lie in \[0, 4\) \(the labels of am\), got 6"),
        ({"lm_only_scale": 0.8, "am_only_scale": 0.3}, "together at most 1, got 0.8 and 0.3"),
        ({"lm_only_scale": -0.1}, "must be at least 0"),
        ({"reduction": "average"}, "reduction must be"),
        ({"input_lengths": [6, 1, 1, 1]}, r"input_lengths must lie in \[0, 6\)"),
    ],
)
def test_wrong_projections(change, said):
    given = {"am": torch.zeros(4, 5, 4), "lm": torch.zeros(4, 4, 4), "targets": TARGETS, **change}
    with pytest.raises(ValueError, match=f"simple_transducer_loss: .*{said}"):
        losses.simple_transducer_loss(**given)
    with pytest.raises(ValueError, match=f"prune_transducer: .*{said}"):
        losses.prune_transducer(**given, width=3)


def test_wrong_widths_and_dtypes():
    am, lm = torch.zeros(4, 5, 4), torch.zeros(4, 4, 4)
    with pytest.raises(ValueError, match=r"width must be at least 2 for the regular .* got 1"):
        losses.prune_transducer(am, lm, TARGETS, width=1)
    losses.prune_transducer(am, lm, TARGETS, width=1, topology="modified")
    with pytest.raises(TypeError, match="all must have one dtype, got am"):
        losses.simple_transducer_loss(am, lm.double(), TARGETS)
    half = losses.simple_transducer_loss(am.bfloat16(), lm.bfloat16(), TARGETS)
    assert half.dtype == torch.float32


def test_scores_that_are_penalized_are_still_checked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_probs = logits().log_softmax(3)
        losses.transducer_loss(log_probs, *LENGTHS, delay_penalty=5.0)
    with pytest.raises(ValueError, match="from_logits=True"):
        losses.transducer_loss(logits() + 9, *LENGTHS)
