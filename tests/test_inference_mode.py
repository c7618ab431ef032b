"""What is made or remembered in `torch.inference_mode()` serves training afterwards."""

from __future__ import annotations

import pytest
import torch
from pretended import cuda as cuda

import gtnet
from gtnet import Emissions, losses

CYCLIC = ([0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 0, -1])


def cyclic() -> gtnet.Graph:
    return gtnet.Graph(*CYCLIC, weights=torch.full((4,), -2.0), accept=1)


def acyclic() -> gtnet.Graph:
    graph = gtnet.random_graph(5, 9, generator=torch.Generator().manual_seed(1))
    return gtnet.connect(graph)


SCORES = [
    gtnet.forward_score,
    lambda g: gtnet.forward_score(g, 0.5),
    gtnet.viterbi_score,
    gtnet.entropy,
    gtnet.posteriors,
    gtnet.shortest_distance,
    lambda g: gtnet.viterbi_path(g).weights,
    lambda g: gtnet.forward_score(gtnet.connect(g)),
    lambda g: gtnet.forward_score(gtnet.compose(g, gtnet.bigram_graph(5))),
    lambda g: gtnet.forward_score(gtnet.remove_epsilon(g)),
    lambda g: gtnet.forward_score(gtnet.union(g, g)),
    lambda g: gtnet.forward_score(gtnet.stack([g, g])[[1, 0]]),
    lambda g: gtnet.forward_score(gtnet.reverse(g)),
    lambda g: gtnet.forward_score(gtnet.prune(g, beam=100.0)),
    lambda g: gtnet.forward_score(gtnet.push(g)),
    lambda g: torch.stack([p.weights.sum() for p in gtnet.k_best(g, 2)[0]]),
]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("make", [cyclic, acyclic])
def test_a_graph_looked_at_in_inference_mode_can_be_trained(make, score):
    graph = make()
    with torch.inference_mode():
        seen = score(graph)
    weights = graph.weights.clone().requires_grad_()
    found = score(graph.with_weights(weights))
    torch.testing.assert_close(found, seen.clone())
    found[torch.isfinite(found)].sum().backward()
    fresh = make().weights.requires_grad_()
    again = score(make().with_weights(fresh))
    again[torch.isfinite(again)].sum().backward()
    torch.testing.assert_close(weights.grad, fresh.grad)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("make", [cyclic, acyclic])
def test_a_graph_made_in_inference_mode_can_be_trained(make, score):
    with torch.inference_mode():
        graph = make()
        score(graph)
    weights = graph.weights.clone().requires_grad_()
    found = score(graph.with_weights(weights))
    found[torch.isfinite(found)].sum().backward()
    assert torch.isfinite(weights.grad).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: gtnet.linear([0, 1]),
        lambda: gtnet.trie([[0, 1], [0]]),
        lambda: gtnet.ctc_graph([1, 1]),
        lambda: gtnet.ctc_topology(4),
        lambda: gtnet.asg_graph([0, 1]),
        lambda: gtnet.bigram_graph(7),
        lambda: gtnet.hmm_graph([0]),
        lambda: gtnet.star_graph([0], 2),
        lambda: gtnet.edit_transducer(3),
        lambda: gtnet.edit_costs([[0, 1, 3, 1]], 9),
        lambda: gtnet.segment_graph([3], 2),
        lambda: gtnet.minimize(gtnet.determinize(gtnet.linear([[0, 1], [2]]))),
        lambda: gtnet.difference(gtnet.linear([0, 1]), gtnet.linear([0])),
        lambda: gtnet.replace(gtnet.linear([5]), {5: gtnet.linear([0, 1])}),
        lambda: gtnet.linear([0, 1]).star,
        lambda: gtnet.linear([0, 1]) + gtnet.linear([2]),
        lambda: gtnet.viterbi_path(gtnet.linear([0, 1])),
        lambda: gtnet.beam_search(Emissions(torch.zeros(1, 2, 4)), gtnet.ctc_topology(4), beam=9.0),
        lambda: (Emissions(torch.zeros(1, 2, 4)) @ gtnet.ctc_topology(4)).graph(),
        lambda: (Emissions(torch.zeros(1, 2, 4)) @ gtnet.ctc_topology(4)).viterbi_path(),
        lambda: (Emissions(torch.zeros(1, 2, 4)) @ gtnet.ctc_topology(4)).prune(3.0),
        lambda: gtnet.transducer_graph(torch.zeros(1, 2, 2, 3), [[1]]),
    ],
)
def test_whatever_is_made_there_holds_ordinary_tensors(make):
    with torch.inference_mode():
        graph = make()
        gtnet.connect(graph)
    arrays = [graph.weights, graph.start, graph.accept, *(graph.arc_maps or ())]
    arrays += [*(graph.state_maps or ()), *held(graph.topology)]
    assert not any(array.is_inference() for array in arrays)
    graph.with_weights(graph.weights.clone().requires_grad_())
    for index in graph.arc_maps or ():
        table = torch.zeros(1000, requires_grad=True)
        table[index.long()].sum().backward()


def held(topology) -> list[torch.Tensor]:
    found = []
    for value in vars(topology).values():
        parts = value if isinstance(value, tuple) else (value,)
        for part in parts:
            found += [
                p for p in (part if isinstance(part, tuple) else (part,)) if torch.is_tensor(p)
            ]
    return found


def test_kept_topologies_and_lattices():
    gtnet.free_alignments.bigram_topology.cache_clear()
    scores, targets = torch.randn(5, 2, 4), torch.tensor([[1, 2], [3, 0]])
    given = (targets, [5, 4], [2, 1])
    numerator, denominator = gtnet.ctc_graph([[1, 2], [3]]), gtnet.ctc_topology(4)
    asg = gtnet.nn.ASGLoss(4)
    lf_mmi = gtnet.nn.LFMMILoss(denominator)

    def every(scores):
        emissions = Emissions(scores.transpose(0, 1), [5, 4])
        return [
            losses.ctc_loss(scores.log_softmax(2), *given),
            losses.ctc_loss(scores.log_softmax(2), *given, beta=0.5),
            asg(scores, *given),
            lf_mmi(emissions, numerator),
            (emissions @ denominator).entropy().sum(),
            gtnet.viterbi_score(emissions @ denominator).sum(),
        ]

    with torch.inference_mode():
        seen = every(scores)
    learnt = scores.clone().requires_grad_()
    found = every(learnt)
    torch.testing.assert_close(found, [loss.clone() for loss in seen])
    sum(found).backward()
    assert learnt.grad.abs().sum() > 0
    assert asg.transitions.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_lattice_that_was_drawn_without_gradients_still_has_them(mode):
    scores = torch.randn(1, 3, 4, requires_grad=True)
    weights = torch.zeros(gtnet.ctc_topology(4).num_arcs, requires_grad=True)
    lattice = Emissions(scores) @ gtnet.ctc_topology(4).with_weights(weights)
    with mode():
        assert lattice.graph().num_arcs > 0
        gtnet.viterbi_path(lattice)
    gtnet.posteriors(lattice).square().sum().backward()
    assert scores.grad.abs().sum() > 0
    assert weights.grad is not None


def test_emissions_whose_frames_were_looked_at():
    emissions = Emissions(torch.randn(2, 3, 4, requires_grad=True))
    with torch.inference_mode():
        assert emissions.segmentation.num_arcs == 6
        emissions.graph()
    gtnet.forward_score(emissions.graph()).sum().backward()


def test_layouts_of_a_gpu_that_are_kept(cuda):
    gtnet.padded_alignments._layout.cache_clear()
    gtnet.free_alignments.bigram_topology.cache_clear()
    targets = cuda.move(torch.tensor([[1, 2], [3, 1]]))
    with torch.inference_mode():
        here = torch.device("cuda")
        kept = (
            gtnet.free_alignments.bigram_topology(4, here),
            gtnet.padded_alignments._layout(8, True, here),
        )
    assert not any(t.is_inference() for t in (*held(kept[0]), kept[1].words))
    learnt = cuda.move(torch.randn(5, 2, 4).log_softmax(2)).requires_grad_()
    losses.ctc_loss(learnt, targets, [5, 4], [2, 1]).backward()
    assert torch.isfinite(learnt.grad.cpu()).all()


@pytest.mark.parametrize("inside", [True, False])
def test_posteriors_of_what_a_network_gave_in_inference_mode(inside):
    """Their gradient is computed by one, though nobody asks for one."""
    scores = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    own = torch.tensor([0.5, -0.5, 0.0])
    segments = gtnet.Graph([0, 0, 1], [1, 2, 2], [0, 0, 0], weights=own, accept=2)
    expected = (Emissions(scores) @ gtnet.ctc_topology(3)).label_posteriors()
    of_segments = Emissions(scores[0, :3], graph=segments) @ gtnet.bigram_graph(3)
    with torch.inference_mode():
        weights = gtnet.ctc_topology(3).weights * 1.0
        lattice = Emissions(scores * 1.0) @ gtnet.ctc_topology(3).with_weights(weights)
        cuts = Emissions(scores[0, :3] * 1.0, graph=segments.with_weights(own * 1.0))
        cuts = cuts @ gtnet.bigram_graph(3)
        found = lattice.label_posteriors(), cuts.label_posteriors()
    if not inside:
        found = lattice.label_posteriors(), cuts.label_posteriors()
    torch.testing.assert_close(found, (expected, of_segments.label_posteriors()))


def test_losses_take_lengths_that_were_made_in_inference_mode():
    with torch.inference_mode():
        frames, sizes = torch.tensor([4, 3]), torch.tensor([1, 2])
        targets, transitions = torch.tensor([[1, 0], [1, 2]]), torch.zeros(3, 3)
    for loss in (
        lambda x: gtnet.losses.ctc_loss(x, targets, frames, sizes),
        lambda x: gtnet.losses.ctc_loss(x, targets, frames, sizes, beta=2.0),
        lambda x: gtnet.losses.asg_loss(x, targets, frames, sizes, transitions.clone()),
        lambda x: (Emissions(x.transpose(0, 1), frames) @ gtnet.ctc_topology(3)).forward_score(),
    ):
        scores = torch.zeros(4, 2, 3, requires_grad=True)
        loss(scores).sum().backward()
        assert scores.grad[3, 1].tolist() == [0, 0, 0]
        assert scores.grad[:3].abs().sum() > 0
