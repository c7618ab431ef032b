"""forced_align against the enumeration of all alignments."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gtnet import forced_align

LABELS = 3


def collapsed(path, blank=0):
    return [label for label, _ in itertools.groupby(path) if label != blank]


def best(scores, target):
    """The best labelling of the frames that collapses to the target, and its score."""
    found = (-math.inf, ())
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        if collapsed(path) == target:
            found = max(found, (sum(scores[t, c].item() for t, c in enumerate(path)), path))
    return found


@pytest.mark.parametrize("beam", [None, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_of_all_alignments(beam, dtype):
    torch.manual_seed(0)
    scores = torch.randn(4, 5, LABELS, dtype=dtype).log_softmax(2).requires_grad_()
    targets, lengths = [[1, 2], [1, 1], [2], []], [5, 4, 5, 2]
    found = forced_align(scores, targets, lengths, beam=beam)
    for item, (target, length) in enumerate(zip(targets, lengths)):
        total, path = best(scores[item, :length], target)
        assert found.total[item].item() == pytest.approx(total, rel=1e-5)
        assert found.labels[item].tolist() == [*path, *[-1] * (5 - length)]
        assert [span.label for span in found.tokens[item]] == target
        for span in found.tokens[item]:
            frames = range(span.start, span.end)
            assert all(path[t] == span.label for t in frames)
            mean = sum(scores[item, t, span.label].item() for t in frames) / len(frames)
            assert span.score == pytest.approx(mean, rel=1e-4)
        covered = {t for s in found.tokens[item] for t in range(s.start, s.end)}
        assert all(path[t] == 0 for t in set(range(length)) - covered)
    found.total.sum().backward()
    wanted = torch.zeros_like(scores)
    for item, length in enumerate(lengths):
        for t in range(length):
            wanted[item, t, found.labels[item, t]] = 1
    torch.testing.assert_close(scores.grad, wanted)
    torch.testing.assert_close(found.scores.sum(1), found.total)


def test_padded_targets_and_one_item():
    torch.manual_seed(1)
    scores = torch.randn(2, 6, LABELS)
    lists = forced_align(scores, [[1, 2, 1], [2]])
    padded = forced_align(scores, torch.tensor([[1, 2, 1], [2, 0, 0]]), None, [3, 1])
    assert padded.tokens == lists.tokens and padded.total.equal(lists.total)
    alone = forced_align(scores[0], [[1, 2, 1]])
    assert alone.tokens == lists.tokens[:1] and alone.words is None


def test_a_transcript_that_does_not_fit_has_no_alignment():
    found = forced_align(torch.zeros(2, 2, LABELS), [[1, 1], [1]], words=[[2], [1]])
    assert found.total.tolist() == [-math.inf, 0]
    assert found.labels[0].tolist() == [-1, -1] and found.scores[0].tolist() == [0, 0]
    assert found.tokens[0] == [] and found.words[0] == [] and len(found.words[1]) == 1
    empty = forced_align(torch.zeros(2, 0, LABELS), [[], [1]])
    assert empty.total.tolist() == [0, -math.inf] and empty.tokens == [[], []]


def test_words():
    frames = [1, 1, 0, 2, 0, 0, 1, 2]  # "12" and "12", a gap between
    scores = torch.full((8, LABELS), -9.0)
    scores[torch.arange(8), torch.tensor(frames)] = torch.linspace(-0.1, -0.8, 8)
    found = forced_align(scores, [[1, 2, 1, 2]], words=[[2, 2]])
    assert [span[:3] for span in found.tokens[0]] == [(1, 0, 2), (2, 3, 4), (1, 6, 7), (2, 7, 8)]
    assert [span[:3] for span in found.words[0]] == [(0, 0, 4), (1, 6, 8)]
    assert found.words[0][0].score == pytest.approx(-0.25)


def test_a_star_takes_what_the_transcript_lacks():
    frames = [1, 2, 1, 1, 2, 2, 1]
    scores = torch.full((7, LABELS), -20.0)
    scores[torch.arange(7), torch.tensor(frames)] = 0
    found = forced_align(scores, [[1, LABELS, 1]], star=True)
    assert [span.label for span in found.tokens[0]] == [1, LABELS, 1]
    assert found.tokens[0][0][1:3] == (0, 1) and found.tokens[0][2][1:3] == (6, 7)
    assert found.total.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((torch.zeros(1, 2, 3), [[3]]), {}, r"targets\[0\] holds 3: log_probs have 3 labels"),
        ((torch.zeros(1, 2, 3), [[0]]), {}, "0 is the blank"),
        ((torch.zeros(1, 2, 3), [[4]]), {"star": True}, "and the star 3"),
        ((torch.zeros(2, 2, 3), [[1]]), {}, "2 items, 1 targets"),
        ((torch.zeros(1, 2, 3), [[1]]), {"blank": 3}, "blank"),
        ((torch.zeros(1, 2, 3), [[1]], [3]), {}, "lengths"),
        ((torch.zeros(1, 2, 3), [[1]], None, [2]), {}, r"target_lengths\[0\] is 2"),
        ((torch.zeros(1, 2, 3), [[1, 2]]), {"words": [[1]]}, r"words\[0\] are of \[1\] tokens"),
        ((torch.zeros(2, 3), [[1]]), {"words": []}, "words of 0 items"),
        ((torch.zeros(3), [[1]]), {}, "must be"),
    ],
)
def test_wrong_input(arguments, named, message):
    with pytest.raises(ValueError, match=message):
        forced_align(*arguments, **named)
