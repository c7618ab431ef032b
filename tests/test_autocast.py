"""Half precision: losses and emissions compute in float32, under autocast and without it."""

from __future__ import annotations

import pytest
import torch

import gtnet
from gtnet import Emissions, losses

SHORT = [torch.float16, torch.bfloat16]
TARGETS, SIZES = torch.tensor([[1, 2], [2, 0]]), torch.tensor([2, 1])


def ctc(scores):
    return losses.ctc_loss(scores.log_softmax(2), TARGETS, [5, 4], SIZES)


def ctc_at(scores):
    return losses.ctc_loss(scores.log_softmax(2), TARGETS, [5, 4], SIZES, beta=0.5)


def asg(scores):
    transitions = torch.zeros(3, 3, dtype=scores.dtype)
    start = torch.zeros(3, dtype=scores.dtype)
    return losses.asg_loss(scores, TARGETS, [5, 4], SIZES, transitions, start)


def lf_mmi(scores):
    emissions = Emissions(scores.transpose(0, 1), [5, 4])
    return losses.lf_mmi_loss(emissions, gtnet.ctc_graph([[1, 2], [2]]), gtnet.ctc_topology(3))


def transducer(scores):
    joint = scores.transpose(0, 1).unsqueeze(2).expand(-1, -1, 3, -1)
    return losses.transducer_loss(joint.log_softmax(3), TARGETS, [5, 4], SIZES)


def transducer_of_logits(scores):
    joint = scores.transpose(0, 1).unsqueeze(2).expand(-1, -1, 3, -1)
    return losses.transducer_loss(joint, TARGETS, [5, 4], SIZES, from_logits=True)


def lattice(scores):
    return (Emissions(scores.transpose(0, 1)) @ gtnet.bigram_graph(3)).forward_score().sum()


def entropy(scores):
    return (Emissions(scores.transpose(0, 1)) @ gtnet.bigram_graph(3)).entropy().sum()


def best(scores):
    return gtnet.viterbi_score(Emissions(scores.transpose(0, 1)) @ gtnet.bigram_graph(3)).sum()


def built(scores):
    return gtnet.forward_score(Emissions(scores.transpose(0, 1)).graph()).sum()


def segments(scores):
    rows = scores.transpose(0, 1).unsqueeze(2).expand(-1, -1, 2, -1)
    return (gtnet.segment_emissions(rows) @ gtnet.bigram_graph(3)).forward_score().sum()


def beam(scores):
    found = gtnet.beam_search(Emissions(scores.transpose(0, 1)), gtnet.ctc_topology(3), beam=50.0)
    return gtnet.forward_score(found).sum()


EVERY = [
    ctc, ctc_at, asg, lf_mmi, transducer, transducer_of_logits, lattice, entropy, best, built,
    segments, beam,
]  # fmt: skip


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("loss", EVERY)
def test_half_precision_is_taken_and_given_its_gradient(loss, dtype):
    torch.manual_seed(0)
    scores = torch.randn(5, 2, 3).to(dtype).requires_grad_()
    wide = scores.detach().float().requires_grad_()
    found, expected = loss(scores), loss(wide)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    found.backward()
    expected.backward()
    assert scores.grad.dtype == dtype
    torch.testing.assert_close(scores.grad.float(), wide.grad, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("loss", EVERY)
def test_autocast_computes_in_float32(loss, dtype):
    torch.manual_seed(0)
    network, frames = torch.nn.Linear(4, 3), torch.randn(5, 2, 4)
    with torch.autocast("cpu", dtype):
        found = loss(network(frames))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(network(frames)), rtol=5e-2, atol=5e-2)
    found.backward()
    assert network.weight.grad.dtype == torch.float32
    assert torch.isfinite(network.weight.grad).all()


def test_autocast_agrees_with_the_loss_of_torch():
    torch.manual_seed(0)
    network, frames = torch.nn.Linear(4, 3), torch.randn(5, 2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        log_probs = network(frames).log_softmax(2)
        given = (log_probs, TARGETS, torch.tensor([5, 4]), SIZES)
        ours, theirs = losses.ctc_loss(*given), torch.nn.functional.ctc_loss(*given)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs)


def test_autocast_widens_the_scores_of_graphs():
    weight = torch.randn(3, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        scores = torch.nn.functional.linear(torch.randn(2, 4), weight)[0]
        assert scores.dtype == torch.bfloat16
        graphs = [
            gtnet.Graph([0, 0, 0], [1, 1, 1], [0, 1, 2], weights=scores, accept=1),
            gtnet.linear([0, 1, 2], scores),
            gtnet.linear([0, 1, 2]).with_weights(scores),
        ]
        assert {graph.dtype for graph in graphs} == {torch.float32}
        sum(gtnet.forward_score(graph).sum() for graph in graphs).backward()
    assert weight.grad.abs().sum() > 0


def test_autocast_leaves_float64_alone():
    scores = torch.randn(2, 5, 3, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert Emissions(scores).scores.dtype == torch.float64


def test_half_precision_of_graphs_is_refused_outside_of_autocast():
    with pytest.raises(TypeError, match=r"Graph: weights must be float32 or float64, got .*16"):
        gtnet.Graph([0], [1], [0], weights=torch.zeros(1, dtype=torch.bfloat16), accept=1)


def test_energies_of_half_precision():
    energies = torch.randn(3, 4).bfloat16().requires_grad_()
    loss = losses.nll(energies, torch.tensor([0, 1, 2])).sum()
    assert loss.dtype == torch.float32
    loss.backward()
    assert energies.grad.dtype == torch.bfloat16
