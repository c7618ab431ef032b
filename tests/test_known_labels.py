"""Labels that emissions lack, blanks outside, and scores that are no log-probabilities."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import ctc_loss as torch_ctc

import gtnet
from gtnet import Emissions, losses

SCORES = torch.zeros(2, 3, 4)  # [batch, frames, labels]
LOG_PROBS = SCORES.transpose(0, 1).log_softmax(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("blank", [4, 5, 1000])
def test_a_blank_outside_the_labels_is_refused(blank, beta, dtype):
    log_probs, targets = LOG_PROBS.to(dtype), torch.tensor([[1], [2]])
    expected = f"blank must be one of the 4 labels, got {blank}"
    with pytest.raises(ValueError, match=f"ctc_loss: {expected}"):
        losses.ctc_loss(log_probs, targets, [3, 3], [1, 1], blank, beta=beta)
    with pytest.raises(ValueError, match=f"ctc_loss: {expected}"):
        losses.ctc_loss(log_probs[:, 0], targets[0], 3, 1, blank, beta=beta)
    with pytest.raises(ValueError, match=f"ctc_loss: {expected}"):
        gtnet.nn.CTCLoss(blank, beta=beta)(log_probs, targets, [3, 3], [1, 1])
    joint = log_probs.transpose(0, 1).unsqueeze(2).expand(-1, -1, 2, -1)
    with pytest.raises(ValueError, match=f"transducer_loss: {expected}"):
        losses.transducer_loss(joint, targets, blank=blank)
    with pytest.raises(ValueError, match=f"ctc_topology: {expected}"):
        gtnet.ctc_topology(4, blank)
    with pytest.raises(ValueError, match=f"with_star: {expected}"):
        gtnet.with_star(log_probs, blank)


@pytest.mark.parametrize("blank", [-1, 1.0, True, None])
def test_a_blank_that_is_no_label_is_refused(blank):
    with pytest.raises((TypeError, ValueError), match="ctc_loss: blank must"):
        losses.ctc_loss(LOG_PROBS, torch.tensor([[1], [2]]), [3, 3], [1, 1], blank)
    with pytest.raises((TypeError, ValueError), match="CTCLoss: blank must"):
        gtnet.nn.CTCLoss(blank)


def test_the_last_label_may_be_the_blank():
    targets = torch.tensor([[1], [2]])
    given = (LOG_PROBS, targets, torch.tensor([3, 3]), torch.tensor([1, 1]), 3)
    torch.testing.assert_close(losses.ctc_loss(*given), torch_ctc(*given))


@pytest.mark.parametrize("target", [4, 7])
def test_targets_outside_the_labels_are_refused(target):
    targets = torch.tensor([[1], [target]])
    with pytest.raises(ValueError, match=rf"targets must lie in \[0, 4\).*got {target}"):
        losses.ctc_loss(LOG_PROBS, targets, [3, 3], [1, 1])
    with pytest.raises(ValueError, match=rf"targets must lie in \[0, 4\).*got {target}"):
        losses.asg_loss(LOG_PROBS, targets, [3, 3], [1, 1], torch.zeros(4, 4))
    joint = torch.full((2, 3, 2, 4), 0.25).log()
    with pytest.raises(ValueError, match=rf"targets must lie in \[0, 4\).*got {target}"):
        losses.transducer_loss(joint, targets)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: gtnet.ctc_graph([[1, 7], [1]], dtype=dtype),
        lambda dtype: gtnet.linear([-1, 7, 2], dtype=dtype),
        lambda dtype: gtnet.ctc_topology(8, dtype=dtype),
        lambda dtype: gtnet.bigram_graph(8, dtype=dtype),
        lambda dtype: (
            gtnet.relabel(gtnet.linear([1], dtype=dtype), ilabels={1: 7})
            if hasattr(gtnet, "relabel_inputs")
            else gtnet.Graph([0], [1], [7], [0], weights=torch.zeros(1, dtype=dtype), accept=1)
        ),
    ],
)
def test_graphs_with_labels_that_emissions_lack_are_refused(make, dtype):
    graph, emissions = make(dtype), Emissions(SCORES.to(dtype))
    what = r"label 7, the emissions have scores of 4 labels"
    with pytest.raises(ValueError, match=f"compose: b has {what}"):
        emissions @ graph
    with pytest.raises(ValueError, match=f"compose: a has {what}"):
        gtnet.compose(gtnet.invert(graph), emissions)
    with pytest.raises(ValueError, match=f"beam_search: graph has {what}"):
        gtnet.beam_search(emissions, graph, beam=1.0)
    search = gtnet.BeamSearch(graph, beam=1.0)
    with pytest.raises(ValueError, match=f"beam_search: graph has {what}"):
        search.feed(SCORES.to(dtype))
    search.feed(torch.zeros(2, 3, 8, dtype=dtype))  # nothing was lost
    segments = gtnet.segment_emissions(torch.zeros(2, 3, 2, 4, dtype=dtype))
    with pytest.raises(ValueError, match=f"compose: b has {what}"):
        segments @ graph
    fine = gtnet.linear([1], dtype=dtype)
    with pytest.raises(ValueError, match=what):
        losses.lf_mmi_loss(emissions, fine, graph)
    with pytest.raises(ValueError, match=what):
        losses.lf_mmi_loss(emissions, graph, fine)
    if graph.is_acceptor:
        with pytest.raises(ValueError, match=f"intersect: b has {what}"):
            gtnet.intersect(emissions, graph)


def test_graphs_without_labels_meet_any_emissions():
    for graph in (gtnet.linear([]), gtnet.linear([-1]), gtnet.linear([0])[:0], gtnet.linear([3])):
        score = (Emissions(SCORES[:1]) @ graph).forward_score()
        assert len(score) == len(graph)
    assert (Emissions(torch.zeros(1, 0, 0)) @ gtnet.linear([])).forward_score().tolist() == [0]


def test_what_a_graph_writes_may_be_anything():
    graph = gtnet.Graph([0], [1], [3], [1000], accept=1)
    assert (Emissions(torch.zeros(1, 1, 4)) @ graph).forward_score().tolist() == [0]


# Transducers of what is no log-probability


def joint(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 3, 4, dtype=dtype)


TARGETS = torch.tensor([[1, 2], [3, 1]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_raw_outputs_of_a_transducer_are_refused_and_normalized_on_request(dtype):
    logits = joint().to(dtype)
    for scores in (logits, logits + 5, logits.abs()):
        with pytest.raises(ValueError, match=r"transducer_loss: .*from_logits=True"):
            losses.transducer_loss(scores, TARGETS)
        with pytest.raises(ValueError, match=r"transducer_loss: .*from_logits=True"):
            gtnet.nn.TransducerLoss()(scores, TARGETS)
    found = losses.transducer_loss(logits, TARGETS, from_logits=True)
    log_probs = logits.float() if dtype in (torch.float16, torch.bfloat16) else logits
    torch.testing.assert_close(found, losses.transducer_loss(log_probs.log_softmax(3), TARGETS))
    torch.testing.assert_close(found, gtnet.nn.TransducerLoss(from_logits=True)(logits, TARGETS))
    assert found > 0


def test_a_positive_score_anywhere_on_the_lattice_is_refused():
    log_probs = joint().log_softmax(3)
    log_probs[1, 2, 1, 1] = 0.5
    with pytest.raises(ValueError, match=r"log_probs must be at most 0, got 0\.5"):
        losses.transducer_loss(log_probs, TARGETS)
    losses.transducer_loss(log_probs, TARGETS, [3, 2])  # not read


def test_probabilities_that_add_up_to_less_than_one_are_warned_of():
    with pytest.warns(UserWarning, match=r"transducer_loss: probabilities add up to 0\.0\d+"):
        losses.transducer_loss(joint().log_softmax(3) - 3, TARGETS)


def test_log_probabilities_are_taken_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            losses.transducer_loss((8 * joint()).log_softmax(3).to(dtype), TARGETS)
        impossible = joint().index_fill(3, torch.tensor([3]), float("-inf")).log_softmax(3)
        losses.transducer_loss(impossible, TARGETS.clamp(max=2))
        losses.transducer_loss(torch.zeros(0, 3, 3, 4), torch.zeros(0, 2, dtype=torch.int64))
        losses.transducer_loss(joint(), TARGETS, [0, 0], [0, 0])


def test_the_gradient_from_logits():
    logits = joint().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: losses.transducer_loss(x, TARGETS, [3, 2], [1, 2], from_logits=True), logits
    )


# Labels that follow themselves under ASG


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_asg_refuses_labels_that_follow_themselves(dtype):
    scores, transitions = torch.zeros(5, 2, 4, dtype=dtype), torch.zeros(4, 4, dtype=dtype)
    message = r"asg_loss: target 1 holds label 2 twice in a row.*pack_repetitions"
    for targets, sizes in (([[1, 2, 1], [3, 2, 2]], [3, 3]), ([1, 3, 2, 2], [1, 3])):
        given = (torch.tensor(targets), [5, 5], sizes)
        with pytest.raises(ValueError, match=message):
            losses.asg_loss(scores, *given, transitions)
        with pytest.raises(ValueError, match=message):
            gtnet.nn.ASGLoss(4, dtype=dtype)(scores, *given)
    # What stands in the padding, or at the ends of two targets, follows nothing.
    losses.asg_loss(scores, torch.tensor([[1, 1], [2, 2]]), [5, 5], [1, 1], transitions)
    losses.asg_loss(scores, torch.tensor([1, 2, 2, 1]), [5, 5], [2, 2], transitions)


def test_empty_lists_are_integers():
    nothing = torch.zeros(3, 0, 4)
    assert losses.ctc_loss(nothing, [], [], [], reduction="sum") == 0
    assert losses.asg_loss(nothing, [], [], [], torch.zeros(4, 4), reduction="sum") == 0
    assert len(Emissions(torch.zeros(0, 3, 4), [])) == 0
    with pytest.raises(ValueError, match=r"the batch has 2 items, input_lengths 0"):
        losses.ctc_loss(LOG_PROBS, torch.tensor([[1], [2]]), [], [1, 1])
    with pytest.raises(ValueError, match=r"the batch has 2 items, target_lengths 0"):
        losses.ctc_loss(LOG_PROBS, torch.tensor([[1], [2]]), [3, 3], [])
