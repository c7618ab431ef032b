"""What lies beyond an item's length is never read: NaN may stand there, its gradient is 0."""

from __future__ import annotations

import pytest
import torch

import gtnet
from gtnet import Emissions, losses

LENGTHS = [2, 4, 0, 3]
NAN, INF = float("nan"), float("inf")


def padded(dtype: torch.dtype, junk: float, labels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [batch, frames, labels], clean and with junk beyond the lengths."""
    torch.manual_seed(0)
    clean = torch.randn(len(LENGTHS), 4, labels, dtype=dtype)
    beyond = torch.arange(4) >= torch.tensor(LENGTHS).unsqueeze(1)
    spoiled = clean.masked_fill(beyond.unsqueeze(2), junk)
    return clean.requires_grad_(), spoiled.requires_grad_()


def agree(function, clean: torch.Tensor, spoiled: torch.Tensor) -> None:
    """The same values and gradients; exactly 0 where nothing is read."""
    found = [function(scores) for scores in (clean, spoiled)]
    torch.testing.assert_close(found[1], found[0], equal_nan=False)
    for value in found:
        value[torch.isfinite(value)].sum().backward()
    torch.testing.assert_close(spoiled.grad, clean.grad, equal_nan=False)
    assert torch.isfinite(spoiled.grad).all()
    unread = ~torch.isfinite(spoiled.detach())
    assert (spoiled.grad[unread] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("junk", [NAN, INF])
class TestScoresOfFrames:
    def test_emissions(self, dtype, junk):
        graph = gtnet.bigram_graph(3, dtype=dtype)
        for beta in (1.0, 0.5, INF):
            agree(
                lambda s, beta=beta: (Emissions(s, LENGTHS) @ graph).forward_score(beta),
                *padded(dtype, junk),
            )

    def test_emissions_built(self, dtype, junk):
        graph = gtnet.bigram_graph(3, dtype=dtype)
        agree(
            lambda s: gtnet.forward_score((Emissions(s, LENGTHS) @ graph).graph()),
            *padded(dtype, junk),
        )

    def test_lf_mmi(self, dtype, junk):
        numerator = gtnet.ctc_graph([[1], [1, 2], [], [2]], dtype=dtype)
        denominator = gtnet.ctc_topology(3, dtype=dtype)
        agree(
            lambda s: losses.lf_mmi_loss(Emissions(s, LENGTHS), numerator, denominator, "none"),
            *padded(dtype, junk),
        )

    @pytest.mark.parametrize("beta", [1.0, 0.5])
    def test_ctc_and_asg(self, dtype, junk, beta):
        targets, sizes = torch.tensor([[1, 0], [1, 2], [0, 0], [2, 0]]), [1, 2, 0, 1]
        transitions = torch.randn(3, 3, dtype=dtype)

        def ctc(s):
            given = (s.transpose(0, 1), targets, LENGTHS, sizes)
            return losses.ctc_loss(*given, reduction="none", beta=beta)

        def asg(s):
            given = (s.transpose(0, 1), targets, LENGTHS, sizes, transitions)
            return losses.asg_loss(*given, reduction="none", beta=beta)

        agree(ctc, *padded(dtype, junk))
        agree(asg, *padded(dtype, junk))

    def test_beam_search(self, dtype, junk):
        graph = gtnet.ctc_topology(3, dtype=dtype)

        def best(s):
            return gtnet.viterbi_score(gtnet.beam_search(Emissions(s, LENGTHS), graph, beam=9.0))

        def by_chunks(s):
            search = gtnet.BeamSearch(graph, beam=9.0)
            search.feed(s[:, :2], [min(n, 2) for n in LENGTHS])
            search.feed(s[:, 2:], [max(n - 2, 0) for n in LENGTHS])
            return gtnet.viterbi_score(search.lattice())

        agree(best, *padded(dtype, junk))
        agree(by_chunks, *padded(dtype, junk))

    def test_segments(self, dtype, junk):
        graph = gtnet.bigram_graph(3, dtype=dtype)
        torch.manual_seed(0)
        clean = torch.randn(4, 4, 2, 3, dtype=dtype)
        ends = torch.arange(4).unsqueeze(1) + torch.arange(2) + 1
        beyond = ends > torch.tensor(LENGTHS).view(-1, 1, 1)
        spoiled = clean.masked_fill(beyond.unsqueeze(3), junk).requires_grad_()
        agree(
            lambda s: (gtnet.segment_emissions(s, LENGTHS) @ graph).forward_score(),
            clean.requires_grad_(),
            spoiled,
        )

    def test_transducer(self, dtype, junk):
        torch.manual_seed(0)
        clean = torch.randn(4, 4, 3, 3, dtype=dtype).log_softmax(3)
        written = torch.tensor([1, 2, 0, 2])
        targets = torch.tensor([[1, 9], [2, 2], [9, 9], [1, 2]])
        beyond = torch.arange(4).view(1, 4, 1) >= torch.tensor(LENGTHS).view(-1, 1, 1)
        beyond = beyond | (torch.arange(3) > written.unsqueeze(1)).unsqueeze(1)
        spoiled = clean.masked_fill(beyond.unsqueeze(3), junk)
        for logits in (False, True):
            agree(
                lambda s, logits=logits: losses.transducer_loss(
                    s, targets, LENGTHS, written, reduction="none", from_logits=logits
                ),
                clean.clone().requires_grad_(),
                spoiled.clone().requires_grad_(),
            )


def test_a_learnt_temperature_does_not_see_padding():
    _, spoiled = padded(torch.float64, NAN)
    beta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1], [2], [0], [2]])
    loss = losses.ctc_loss(
        spoiled.transpose(0, 1), targets, LENGTHS, [1, 1, 0, 1], reduction="sum", beta=beta
    )
    loss.backward()
    assert torch.isfinite(beta.grad)


def test_nan_inside_is_still_refused():
    scores = torch.zeros(2, 3, 2)
    scores[1, 1, 0] = NAN
    scores[0, 2] = NAN
    assert len(Emissions(scores, [2, 1])) == 2
    for lengths in ([2, 2], [3, 1], None):
        with pytest.raises(ValueError, match="Emissions: scores must not hold NaN"):
            Emissions(scores, lengths)
    log_probs = torch.full((1, 2, 2, 2), 0.5).log()
    log_probs[0, 1, 0, 0] = NAN
    with pytest.raises(ValueError, match="transducer_loss: log_probs must not hold NaN"):
        losses.transducer_loss(log_probs, torch.tensor([[1]]))
    assert torch.isfinite(losses.transducer_loss(log_probs, torch.tensor([[1]]), [1]))
