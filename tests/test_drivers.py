"""Every driver serves what it is for and nothing else: results alone would not show it."""

from __future__ import annotations

import pytest
import torch
from test_lattice_interleaved import bigram, random_graph

import gtnet
from gtnet import Emissions, Graph, ctc_graph, forward_score, linear, stack, topology, viterbi_path
from gtnet._ops.drivers import NAMES, drivers_used
from gtnet.losses import ctc_loss


def used_by(work, *arguments, **options) -> dict[str, int]:
    with drivers_used() as used:
        work(*arguments, **options)
    return used


def gradient_of(lattice):
    """The forward score of a lattice and its gradient."""
    learning = lattice.emissions.with_scores(lattice.emissions.scores.clone().requires_grad_())
    forward_score(learning @ lattice.operand).sum().backward()


def test_only_what_runs_within_is_counted():
    graph = linear([1, 2])
    forward_score(graph)
    with drivers_used() as outer:
        with drivers_used() as inner:
            forward_score(graph)
        assert inner == {"state by state": 1}
        with drivers_used() as nothing:
            stack([graph, graph])
        forward_score(graph)
    assert (outer, nothing) == ({"state by state": 2}, {})
    assert len(set(NAMES)) == len(NAMES)


# CTC in one operator


CTC = ([[1, 2], [3, 0], [1, 1]], [7, 5, 6], [2, 1, 2])


def ctc(log_probs=None, targets=CTC[0], beta=1.0, again=False):
    if log_probs is None:
        log_probs = torch.randn(7, 3, 4).log_softmax(-1)
    leaf = log_probs.clone().requires_grad_()
    lengths = CTC[1:]
    loss = ctc_loss(leaf, torch.tensor(targets), *lengths, reduction="sum", beta=beta)
    (grad,) = torch.autograd.grad(loss, leaf, create_graph=again)
    if again:
        grad.square().sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ctc_loss_is_one_operator(dtype):
    scores = torch.randn(7, 3, 4, dtype=dtype).log_softmax(-1)
    assert used_by(ctc, scores) == {"fused CTC": 3}
    with torch.no_grad():
        flat = torch.tensor([1, 2, 3, 1, 1])
        used = used_by(ctc_loss, scores, flat, *CTC[1:])
    assert used == {"fused CTC": 3}


def test_ctc_loss_of_impossible_labels_needs_no_float64():
    def learn(leaf, targets):
        ctc_loss(leaf, targets, [len(leaf)], [targets.shape[1]], reduction="sum").backward()

    generator = torch.Generator().manual_seed(0)
    for size in range(1, 81):
        targets = torch.randint(1, 7, (1, size % 20 + 1), generator=generator)
        frames = 3 * targets.shape[1] + 4
        scores = 10 * torch.randn(frames, 1, 8, generator=generator)
        scores -= 100 * (torch.rand(scores.shape, generator=generator) > 0.8)
        never = torch.rand(scores.shape, generator=generator) < 0.15
        leaf = scores.masked_fill(never, -torch.inf).requires_grad_()
        used = used_by(learn, leaf, targets)
        assert "float64" not in used and used["fused CTC"] == 1


def lines_of_a_sure_network(batch, frames, length, sure):
    """Log-probabilities of a network that knows where the labels are, and these."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(1, 30, (batch, length), generator=generator)
    scores = torch.randn(frames, batch, 30, generator=generator)
    scores[..., 0] += sure / 2
    at = torch.linspace(1, frames - 2, length).long()
    scores[at[:, None], torch.arange(batch), targets.T] += sure
    return scores.log_softmax(2), targets


@pytest.mark.parametrize("length", [1, 30, 95, 96, 400, 700])
@pytest.mark.parametrize("sure", [0.0, 8.0, 16.0])
def test_ctc_loss_of_what_networks_say_is_read_once(length, sure):
    log_probs, targets = lines_of_a_sure_network(2, 4 * length + 6, length, sure)

    def learn(leaf):
        lengths = ([len(leaf)] * 2, [length] * 2)
        ctc_loss(leaf, targets, *lengths, reduction="sum").backward()

    exact = log_probs.double().requires_grad_()
    leaf = log_probs.requires_grad_()
    assert used_by(learn, leaf) == {"fused CTC": 2}
    learn(exact)
    torch.testing.assert_close(leaf.grad, exact.grad.float(), rtol=0, atol=1e-6)


def test_ctc_loss_of_scores_too_far_apart_is_read_again():
    log_probs, targets = lines_of_a_sure_network(1, 300, 60, 10.0)
    for apart in (
        log_probs - 100 * (torch.arange(30) == targets[0, 30]),  # a label that never comes
        log_probs.masked_fill(torch.arange(300)[:, None, None] == 50, -torch.inf),
        3 * torch.randn(300, 1, 30, generator=torch.Generator().manual_seed(0)).cumsum(0),
    ):
        used = used_by(ctc_loss, apart, targets, [300], [60])
        assert used == {"fused CTC": 1, "CTC again": 1}


def test_ctc_loss_is_a_lattice_where_one_operator_does_not_do():
    assert used_by(ctc, beta=0.5) == {"extended rows": 6}
    used = used_by(ctc, again=True)
    assert used.pop("state by state") > 0
    assert used == {"fused CTC": 3}
    used = used_by(ctc, torch.randn(7, 3, 4) * 1e30)
    assert "fused CTC" not in used and used["state by state"] > 0


# Items that share a graph


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("items", [3, 8, 20])
def test_items_that_share_a_dense_graph_are_interleaved(items, dtype):
    scores = torch.randn(items, 6, 13, dtype=dtype)
    for graph, labels in ((bigram(13), 13), (random_graph(12, 300, 5), 5)):
        lattice = Emissions(scores[..., :labels]) @ graph.to(dtype)
        assert used_by(gradient_of, lattice) == {"interleaved": 2 * items}
    assert used_by(forward_score, lattice) == {"interleaved": items}


def test_items_of_other_kinds_are_not_interleaved():
    scores, graph = torch.randn(3, 6, 13), bigram(13)
    few = Emissions(scores[:2]) @ graph
    several = Emissions(scores) @ stack([graph] * 3)
    segments = Emissions(torch.randn(9, 13), graph=stack([linear([0, 0, 0])] * 3)) @ graph
    for lattice, items in ((few, 2), (several, 3), (segments, 3)):
        assert used_by(gradient_of, lattice) == {"scaled rows": 2 * items}
    sparse = Emissions(scores) @ ctc_graph([[1, 2]])
    assert used_by(gradient_of, sparse) == {"extended rows": 6}


def test_an_item_too_wide_to_be_interleaved_is_done_alone():
    scores = torch.randn(4, 20, 13)
    scores[2] *= 1e4
    used = used_by(gradient_of, Emissions(scores) @ bigram(13))
    assert used["interleaved"] == 6
    assert used["scaled rows"] >= 2


# Items whose graph is a matrix


@pytest.mark.parametrize("items", [1, 8])
def test_no_gradient_of_a_few_states_that_follow_each_other_takes_a_matrix(items):
    scores = torch.randn(items, 6, 13)
    for graph in (bigram(13), stack([bigram(13)] * items)):
        assert used_by(forward_score, Emissions(scores) @ graph) == {"dense": items}
    states = torch.arange(80)
    ring = Graph(states, (states + 1) % 80, states % 13, start=0, accept=list(range(80)))
    loops = ring | bigram(13)
    for graph in (ring, loops, ctc_graph([[1, 2]])):
        assert "dense" not in used_by(forward_score, Emissions(scores[:1]) @ graph)
    assert "dense" not in used_by(viterbi_path, Emissions(scores[:1]) @ ring)


# An item alone


def test_rows_of_about_one_size_are_scaled_and_others_have_exponents():
    scores, graph = torch.randn(1, 6, 13), bigram(13)
    assert used_by(gradient_of, Emissions(scores) @ graph) == {"scaled rows": 2}
    far = torch.where(torch.arange(169) == 5, -100.0, graph.weights)
    spread = graph.with_weights(far)
    assert used_by(gradient_of, Emissions(scores) @ spread) == {"extended rows": 2}
    in_float64 = Emissions(scores.double()) @ spread.to(torch.float64)
    assert used_by(gradient_of, in_float64) == {"scaled rows": 2}


def test_rows_that_scaling_may_miss_are_summed_again():
    states = torch.arange(16)
    source, target = states.repeat_interleave(8), states[:8].repeat(16)
    target = torch.where(source < 8, target, 8 + target)
    graph = Graph(source, target, target, start=list(range(16)), accept=list(range(8, 16)))
    scores = torch.zeros(1, 10, 16)
    scores[:, :, :8] = 50.0
    used = used_by(gradient_of, Emissions(scores) @ graph)
    assert used["scaled rows"] == 2
    assert used["scaled rows again"] > 0


def test_best_paths_of_lattices_need_no_product():
    lattice = Emissions(torch.randn(3, 6, 13)) @ bigram(13)
    assert used_by(viterbi_path, lattice) == {"lattice Viterbi": 3, "dense": 3}
    assert used_by(viterbi_path, lattice.graph()) == {"state by state": 3}


# Graphs


def test_large_graphs_that_are_used_again_are_walked_in_slices():
    graph = Emissions(torch.randn(1, 90, 50)).graph()
    works = (forward_score, viterbi_path, gtnet.posteriors)
    assert used_by(forward_score, graph) == {"state by state": 1}
    forward_score(graph)
    for work, walks in zip(works, (1, 1, 2), strict=True):
        work(graph)
        assert used_by(work, graph) == {"slices": walks}
    batch = stack([graph, graph])
    for _ in range(2):
        forward_score(batch)
    assert used_by(forward_score, batch) == {"slices": 2}


def test_small_narrow_and_cyclic_graphs_are_not_sliced():
    small = Emissions(torch.randn(1, 9, 50)).graph()
    assert small.num_arcs < topology._WORTH_SLICING
    narrow = linear(list(range(5000)))
    for graph in (small, narrow):
        for _ in range(3):
            assert used_by(forward_score, graph) == {"state by state": 1}
    loop = Graph([0, 0], [0, 1], [0, 1], weights=[-1.0, 0.0], accept=1)
    for work in (forward_score, viterbi_path):
        assert used_by(work, loop) == {"components": 1}
    loop.requires_grad_()
    assert used_by(lambda: forward_score(loop).sum().backward())["components"] >= 2
