"""trellis_graph, alignment_graph: every path and score, against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch
from oracle import automata, paths
from torch.autograd import gradcheck

from gtnet import alignment_graph, forward_score, trellis_graph


def draw(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("lengths", [None, [3, 1], [0, 2]])
def test_a_trellis_has_every_sequence_of_tags(lengths):
    potentials, first = draw(2, 2, 3, 3), draw(2, 3) + 1
    graph = trellis_graph(potentials, first, lengths)
    for item, (one, size) in enumerate(zip(automata(graph), lengths or [3, 3], strict=True)):
        expected = {}
        for tags in itertools.product(range(3), repeat=size):
            score = float(first[item, tags[0]]) if tags else 0.0
            for t in range(size - 1):
                score += float(potentials[item, t, tags[t + 1], tags[t]])
            expected[tags] = pytest.approx(score)
        found = [(path.inputs, path.score) for path in paths(one)]
        assert len(found) == len(expected) and dict(found) == expected


@pytest.mark.parametrize("lengths", [(None, None), ([3, 1], [2, 2]), ([2, 3], [1, 2])])
def test_an_alignment_has_every_way_through_the_cells(lengths):
    potentials = draw(2, 3, 2, 3)
    graph = alignment_graph(potentials, *lengths)
    moves = {0: (1, 0), 1: (1, 1), 2: (0, 1)}
    for item, one in enumerate(automata(graph)):
        goal = tuple((own[item] if own else most) - 1 for own, most in zip(lengths, (3, 2)))
        expected, waiting = {}, [((0, 0), (1,), float(potentials[item, 0, 0, 1]))]
        while waiting:
            (i, j), steps, score = waiting.pop()
            if (i, j) == goal:
                expected[steps] = pytest.approx(score)
            for step, (down, right) in moves.items():
                cell = (i + down, j + right)
                if cell[0] <= goal[0] and cell[1] <= goal[1]:
                    own = float(potentials[item, cell[0], cell[1], step])
                    waiting.append((cell, (*steps, step), score + own))
        found = [(path.inputs, path.score) for path in paths(one)]
        assert len(found) == len(expected) and dict(found) == expected


def test_gradients_are_those_of_gathers():
    leaf, first, cells = (
        t.requires_grad_() for t in (draw(2, 2, 2, 2), draw(2, 2), draw(1, 2, 3, 3))
    )
    assert gradcheck(lambda p, f: forward_score(trellis_graph(p, f, [3, 2])), (leaf, first))
    assert gradcheck(lambda p: forward_score(alignment_graph(p)), (cells,))


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"potentials must be \[batch, n - 1, tags, tags\], got"):
        trellis_graph(draw(2, 2, 3))
    with pytest.raises(ValueError, match=r"first must be torch\.float64"):
        trellis_graph(draw(2, 2, 3, 3), draw(2, 2))
    with pytest.raises(ValueError, match=r"potentials must be \[batch, n, m, 3\]"):
        alignment_graph(draw(2, 2, 2, 2))
    with pytest.raises(ValueError, match="must be at least 1"):
        alignment_graph(draw(1, 2, 2, 3), [0], [1])
    with pytest.raises(ValueError, match="lengths"):
        trellis_graph(draw(1, 2, 2, 2), lengths=[4])
