"""The best answers by the sums over their paths, against all paths written out."""

from __future__ import annotations

import math

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BETAS, graphs

from gtnet import (
    EPSILON,
    Emissions,
    Graph,
    best_answers,
    ctc_graph,
    ctc_topology,
    forward_score,
    k_best,
    label_sequences,
    linear,
    losses,
    stack,
)


def by_sum(graph: Graph, beta: float = 1.0) -> list[dict[tuple[int, ...], float]]:
    """For each graph the forward score of every output."""
    tables = []
    for automaton in oracle.automata(graph):
        table: dict[tuple[int, ...], list[float]] = {}
        for path in oracle.paths(automaton):
            table.setdefault(path.outputs, []).append(beta * path.score)
        tables.append({out: log_sum(scores) / beta for out, scores in table.items()})
    return tables


def log_sum(scores: list[float]) -> float:
    most = max(scores)
    return most + math.log(sum(math.exp(score - most) for score in scores))


def found(graph: Graph, k: int, **options) -> list[list[tuple[tuple[int, ...], float]]]:
    return [
        [
            (tuple(labels), score)
            for labels, score in zip(label_sequences(best), forward_score(best).tolist())
        ]
        for best in best_answers(graph, k, **options)
    ]


@given(graphs(), st.integers(0, 5), BETAS)
def test_against_enumeration(graph, k, beta):
    for table, best in zip(by_sum(graph, beta), found(graph, k, beta=beta), strict=True):
        assert len(best) == min(k, len(table))
        expected = sorted(table.values(), reverse=True)
        for (labels, score), right in zip(best, expected):
            assert score == pytest.approx(right, abs=1e-5)
            assert score == pytest.approx(table[labels], abs=1e-5)
        assert len({labels for labels, _ in best}) == len(best)


def test_the_best_answer_is_not_that_of_the_best_path():
    three = Graph([0, 0, 0], [1, 1, 1], [0, 1, 2], [5, 5, 6], [1.0, 1.1, 1.5], accept=1)
    assert label_sequences(k_best(three, 1, unique="olabels")[0]) == [[6]]
    (best,) = best_answers(three)
    assert label_sequences(best) == [[5]]
    assert best.start[0].item() == pytest.approx(math.log(math.exp(1) + math.exp(1.1)))


def test_ctc_answers_by_all_their_alignments():
    log_probs = torch.randn(2, 5, 3, dtype=torch.float64).log_softmax(-1)
    targets = [[1, 2][:n] for n in range(3)] + [[2], [2, 1], [1, 1], [2, 2], [1, 2, 1]]
    blank, labels = 0, (1, 2)  # every labelling of frames collapses to what this writes
    source, target, reads, writes = [], [], [], []
    for before in (blank, *labels):
        for label in (blank, *labels):
            source.append(before)
            target.append(label)
            reads.append(label)
            writes.append(EPSILON if label in (blank, before) else label)
    topology = Graph(source, target, reads, writes, accept=[0, 1, 2]).to(torch.float64)
    lattice = Emissions(log_probs) @ topology
    each = torch.stack(
        [
            forward_score(Emissions(log_probs) @ ctc_graph([t] * 2, dtype=torch.float64))
            for t in targets
        ]
    )
    best = found(lattice, 1)
    for item in range(2):
        labels, score = best[item][0]
        at = targets.index(list(labels))
        assert score == pytest.approx(each[at, item].item())
        assert score == pytest.approx(each[:, item].max().item())


def test_answers_of_cyclic_graphs():
    loop = Graph([0, 0, 0], [0, 0, 1], [1, 2, 3], weights=[-0.5, -2.0, -0.1], accept=1)
    silent = Graph(
        [0, 0, 1, 1], [0, 1, 1, 1], [EPSILON, 1, EPSILON, 2], weights=[-1.0, 0, -1, -2.0], accept=1
    )
    both = found(stack([loop, silent]), 3)
    assert [labels for labels, _ in both[0]] == [(3,), (1, 3), (1, 1, 3)]
    assert [score for _, score in both[0]] == pytest.approx([-0.1, -0.6, -1.1])
    again = -math.log(1 - math.exp(-1))  # any number of the epsilons
    assert [labels for labels, _ in both[1]] == [(1,), (1, 2), (1, 2, 2)]
    assert both[1][0][1] == pytest.approx(2 * again, rel=1e-5)


def test_gradients_are_those_of_the_sums():
    weights = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def scores(weights):
        one = Graph([0, 0, 0, 1], [1, 1, 1, 2], [0, 1, 2, 0], [5, 5, 6, EPSILON], weights, accept=2)
        return torch.cat([forward_score(best) for best in best_answers(one, 2)])

    assert torch.autograd.gradcheck(scores, (weights,))
    assert torch.autograd.gradgradcheck(scores, (weights,))


def test_extreme_scores_and_temperatures():
    for scale in (1e4, -1e4):
        for beta in (1e-3, 1e3):
            wide = Graph([0, 0], [1, 1], [1, 2], weights=[scale, scale / 2], accept=1)
            (best,) = best_answers(wide, 2, beta=beta)
            assert sorted(forward_score(best).tolist()) == sorted([scale, scale / 2])


def test_nothing_to_find():
    empty = Graph([0], [1], [1], accept=[], num_states=2)
    assert [len(best) for best in best_answers(stack([empty, linear([1])]), 2)] == [0, 1]
    assert [len(best) for best in best_answers(linear([[1], [2]]), 0)] == [0, 0]
    assert best_answers(linear([1])[:0]) == []


def test_flat_scores_are_too_many():
    # All pairs of labels at 12 places, each pair by two paths that leave different states: the
    # bound, by the best label at each state, is far above every answer.
    length, labels = 12, 6
    source, target, names, weights = [], [], [], []
    generator = torch.Generator().manual_seed(0)
    for place in range(length):
        for a in range(3):
            for b in range(3):
                for label in range(labels):
                    source.append(3 * place + a)
                    target.append(3 * place + 3 + b)
                    names.append(label)
                    weights.append(0.1 * float(torch.randn((), generator=generator)))
    ends = [3 * length, 3 * length + 1, 3 * length + 2]
    graph = Graph(source, target, names, weights=weights, start=[0, 1, 2], accept=ends)
    with pytest.raises(ValueError, match=r"max_prefixes=50 prefixes.*too flat"):
        best_answers(graph, max_prefixes=50)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 0.1])
def test_equal_answers_are_found_at_once(scale, dtype):
    """All of 4^24 sequences have the same sum, by two paths for each label; exactly or nearly."""
    length, labels = 24, 4
    source = torch.arange(length).repeat_interleave(2 * labels)
    each = torch.arange(labels).repeat(2 * length)
    weights = scale * torch.randn(length, 2, dtype=dtype).repeat_interleave(labels, 1).flatten()
    graph = Graph(source, source + 1, each, weights=weights, accept=length)
    (best,) = best_answers(graph, 3, max_prefixes=4 * length)
    assert len({tuple(text) for text in label_sequences(best)}) == 3
    expected = weights.view(length, 2, labels)[..., 0].double().logsumexp(1).sum()
    found = forward_score(best).double()
    torch.testing.assert_close(found, expected.expand(3), rtol=1e-5, atol=1e-5)


def test_what_an_untrained_network_is_told_to_do_helps():
    lattice = Emissions(torch.randn(1, 40, 12) / 100) @ ctc_topology(12)
    with pytest.raises(ValueError, match=r'too flat: .*k_best\(graph, k, unique="olabels"\)'):
        best_answers(lattice, max_prefixes=200)
    assert [len(best) for best in k_best(lattice, 2, unique="olabels")] == [2]
    task = (lattice, linear([1]))
    with pytest.raises(ValueError, match='in losses by latent="viterbi"'):
        losses.most_offending(*task, latent="forward", max_prefixes=200)
    assert losses.most_offending(*task, latent="viterbi").energy.isfinite().all()


def test_errors():
    with pytest.raises(ValueError, match="beta must be finite"):
        best_answers(linear([1]), beta=math.inf)
    with pytest.raises(ValueError, match="k must lie in"):
        best_answers(linear([1]), -1)
    with pytest.raises(TypeError, match="must be a Graph"):
        best_answers([1])
