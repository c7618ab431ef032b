"""Emissions: a vector of label scores per frame or per arc of a segmentation graph."""

from __future__ import annotations

import pytest
import strategies
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import assert_close, only, paths, relation

from gtnet import Emissions, Graph, compose, forward_score, linear, posteriors, stack, viterbi_path

NEG_INF = float("-inf")
SHAPES = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3))


def test_one_arc_per_frame_and_label():
    scores = torch.tensor([[[0.5, 1.0, 2.0], [0.25, NEG_INF, -1.0]]])
    graph = Emissions(scores).graph()
    expected = Graph(
        [0, 0, 0, 1, 1, 1],
        [1, 1, 1, 2, 2, 2],
        [0, 1, 2, 0, 1, 2],
        weights=scores.flatten(),
        accept=2,
    )
    assert graph.equal(expected)
    assert graph.is_acceptor
    assert graph.arc_maps[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert graph.state_maps[0].tolist() == [0, 1, 2]


@given(SHAPES, strategies.DTYPES, st.data())
def test_forward_score_is_a_sum_of_log_sums(shape, dtype, data):
    batch, frames, labels = shape
    lengths = data.draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    scores = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    emissions = Emissions(scores, lengths)
    assert (len(emissions), emissions.num_labels) == (batch, labels)
    per_frame = scores.double().logsumexp(-1) if labels else torch.full(shape[:2], NEG_INF)
    expected = [per_frame[i, :n].sum().item() for i, n in enumerate(lengths)]
    assert_close(forward_score(emissions.graph()), expected)


def test_lengths_cut_the_chains_and_count_frames_through_the_batch():
    scores = torch.arange(12.0).reshape(2, 3, 2)
    graph = Emissions(scores, torch.tensor([1, 3])).graph()
    assert graph.weights.tolist() == [0, 1, 6, 7, 8, 9, 10, 11]
    assert graph.arc_maps[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert graph.arc_offsets.tolist() == [0, 2, 8]
    assert graph[0].equal(Emissions(scores[:1, :1]).graph())
    assert graph[1].equal(Emissions(scores[1:]).graph())
    for lengths in ([1, 3], (1, 3), torch.tensor([1, 3], dtype=torch.int32)):
        assert Emissions(scores, lengths).graph().equal(graph)


@given(strategies.graphs())
def test_a_segmentation_spreads_each_row_over_its_arc(segmentation):
    labels = 3
    scores = torch.randn(segmentation.num_arcs, labels, dtype=segmentation.dtype)
    graph = Emissions(scores, graph=segmentation).graph()
    assert graph.num_arcs == segmentation.num_arcs * labels
    for column in ("source", "target"):
        spread = getattr(segmentation, column).repeat_interleave(labels)
        assert torch.equal(getattr(graph, column), spread)
    assert graph.ilabels.tolist() == list(range(labels)) * segmentation.num_arcs
    assert torch.equal(graph.weights, (scores + segmentation.weights.unsqueeze(1)).flatten())
    assert torch.equal(graph.arc_maps[0].long(), torch.arange(graph.num_arcs) // labels)
    assert torch.equal(graph.start, segmentation.start)
    assert torch.equal(graph.accept, segmentation.accept)
    merged = segmentation.with_weights(segmentation.weights + scores.logsumexp(1))
    torch.testing.assert_close(forward_score(graph), forward_score(merged))


def test_composition_takes_emissions_on_either_side():
    emissions = Emissions(torch.randn(2, 3, 4))
    word = linear([[1, 2, 3], [0, 0, 1]])
    product = emissions @ word
    assert product.equal(compose(emissions, word))
    assert product.equal(emissions.graph() @ word)
    assert compose(word, emissions).equal(word @ emissions.graph())
    assert (word @ emissions).equal(compose(word, emissions))
    spelt = emissions.scores[0, [0, 1, 2], [1, 2, 3]].sum()
    torch.testing.assert_close(forward_score(product)[0], spelt)


def test_one_graph_meets_every_item():
    emissions = Emissions(torch.randn(3, 4, 2), [4, 2, 0])
    loop = Graph([0, 0], [0, 0], [0, 1], accept=0)
    torch.testing.assert_close(forward_score(emissions @ loop), forward_score(emissions.graph()))


def test_gradcheck_to_the_scores():
    scores = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)

    def weights(scores: torch.Tensor) -> torch.Tensor:
        return Emissions(scores, [3, 1]).graph().weights

    def total(scores: torch.Tensor) -> torch.Tensor:
        return forward_score(Emissions(scores, [3, 1]) @ linear([[0, 1, 1], [0]]).to(scores.dtype))

    assert torch.autograd.gradcheck(weights, (scores,))
    assert torch.autograd.gradcheck(total, (scores,))
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    segments = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def over_segments(rows: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        cut = Graph([0, 1, 0], [1, 2, 2], [0, 0, 0], weights=segments, accept=2)
        return forward_score(Emissions(rows, graph=cut).graph())

    assert torch.autograd.gradcheck(over_segments, (rows, segments))


def test_frames_beyond_the_length_get_no_gradient():
    scores = torch.randn(2, 3, 2, requires_grad=True)
    forward_score(Emissions(scores, [1, 3]).graph()).sum().backward()
    assert torch.equal(scores.grad[0, 1:], torch.zeros(2, 2))
    torch.testing.assert_close(scores.grad[1].sum(1), torch.ones(3))


def test_strided_scores_give_the_same_graph():
    scores = torch.randn(4, 3, 2)
    turned = Emissions(scores.transpose(0, 1), [4, 2, 3]).graph()
    assert turned.equal(Emissions(scores.transpose(0, 1).contiguous(), [4, 2, 3]).graph())
    rows = torch.randn(2, 3).T
    cut = Graph([0, 1, 0], [1, 2, 2], [0, 0, 0], accept=2)
    strided = Emissions(rows, graph=cut).graph()
    assert strided.equal(Emissions(rows.contiguous(), graph=cut).graph())


def test_the_best_path_maps_back_to_frames():
    scores = torch.tensor([[[0.0, 2.0], [3.0, 1.0]], [[5.0, 0.0], [0.0, 7.0]]])
    graph = Emissions(scores).graph()
    best = viterbi_path(graph)
    assert best.ilabels.tolist() == [1, 0, 0, 1]
    assert graph.arc_maps[0][best.arc_maps[0].long()].tolist() == [0, 1, 2, 3]
    per_frame = posteriors(graph).reshape(2, 2, 2).sum(2)
    torch.testing.assert_close(per_frame, torch.ones(2, 2))


def test_no_frames_is_the_empty_string_and_no_labels_the_empty_language():
    assert relation(paths(only(Emissions(torch.zeros(1, 0, 3)).graph()))) == {((), (), 0.0): 1}
    assert forward_score(Emissions(torch.zeros(2, 3, 0), [3, 0]).graph()).tolist() == [NEG_INF, 0.0]
    assert len(Emissions(torch.zeros(0, 3, 2)).graph()) == 0


def test_bad_scores_and_lengths_are_named():
    frames = torch.zeros(2, 3, 4)
    for lengths, said in (([1, 4], "got 4"), ([1, -2], "got -2"), ([1], "1")):
        with pytest.raises(ValueError, match=f"Emissions: .*lengths.*{said}"):
            Emissions(frames, lengths)
    with pytest.raises(TypeError, match="Emissions: lengths must be integers"):
        Emissions(frames, [1.5, 2.0])
    with pytest.raises(ValueError, match=r"Emissions: .*\[batch, frames, labels\], got \[2, 3\]"):
        Emissions(torch.zeros(2, 3))
    for dtype in (torch.complex64, torch.int64):
        with pytest.raises(TypeError, match=f"Emissions: scores .*{dtype}"):
            Emissions(frames.to(dtype))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"Emissions: scores .*{bad}"):
            Emissions(torch.full((1, 1, 1), bad))
    with pytest.raises(ValueError, match=r"Emissions: .*scores on cpu.*lengths on meta"):
        Emissions(frames, torch.zeros(2, dtype=torch.int32, device="meta"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("impossible", [0, 1])
def test_a_segment_of_nothing_but_impossible_labels_changes_nothing(impossible, dtype):
    """A compiler may take the largest of nothing but -inf for a finite number."""
    cuts = Graph([0, 0], [1, 1], [0, 0], weights=torch.zeros(2, dtype=dtype), accept=1)
    scores = torch.ones(2, 3, dtype=dtype)
    scores[impossible] = NEG_INF
    loop = Graph([0], [0], [0], weights=torch.zeros(1, dtype=dtype), accept=0)
    assert_close(forward_score(Emissions(scores, graph=cuts) @ loop), torch.ones(1, dtype=dtype))


def test_bad_segmentations_are_named():
    cut = Graph([0, 1], [1, 2], [0, 0], accept=2)
    with pytest.raises(ValueError, match=r"Emissions: .*\(2\).*got \[3, 4\]"):
        Emissions(torch.zeros(3, 4), graph=cut)
    with pytest.raises(TypeError, match="Emissions: graph must be a Graph, got list"):
        Emissions(torch.zeros(2, 4), graph=[cut])
    with pytest.raises(ValueError, match=r"Emissions: .*lengths.*graph"):
        Emissions(torch.zeros(2, 4), [1], graph=cut)
    with pytest.raises(TypeError, match=r"Emissions: .*float64.*float32"):
        Emissions(torch.zeros(2, 4, dtype=torch.float64), graph=cut)
    with pytest.raises(ValueError, match=r"Emissions: .*cpu.*meta"):
        Emissions(torch.zeros(2, 4), graph=cut.to("meta"))


def test_repr_tells_the_sizes():
    text = repr(Emissions(torch.zeros(2, 3, 5)))
    assert "2 items" in text
    assert "5" in text


def test_a_batch_of_segmentations():
    cuts = stack([Graph([0], [1], [0], accept=1), Graph([0, 0], [1, 1], [0, 0], accept=1)])
    scores = torch.randn(3, 2)
    total = forward_score(Emissions(scores, graph=cuts).graph())
    torch.testing.assert_close(
        total, torch.stack([scores[0].logsumexp(0), scores[1:].logsumexp((0, 1))])
    )
