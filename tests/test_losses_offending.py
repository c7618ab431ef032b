"""The most offending incorrect answer, and E and F, against all paths written out."""

from __future__ import annotations

import math

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BETAS, graphs

from gtnet import EPSILON, Emissions, Graph, Lattice, linear, losses, stack

INF = math.inf
LATENT = st.sampled_from(["viterbi", "forward"])
ANSWERS = st.lists(st.integers(0, 2), max_size=3)


def log_sum(scores: list[float], beta: float) -> float:
    most = max(scores)
    return most + math.log(sum(math.exp(beta * (score - most)) for score in scores)) / beta


def answer_energies(graph: Graph, latent: str, beta: float) -> list[dict[tuple[int, ...], float]]:
    """E(y) of every answer y of each graph."""
    tables = []
    for automaton in oracle.automata(graph):
        scores: dict[tuple[int, ...], list[float]] = {}
        for path in oracle.paths(automaton):
            scores.setdefault(path.outputs, []).append(path.score)
        reduce = max if latent == "viterbi" else (lambda found: log_sum(found, beta))
        tables.append({answer: -reduce(found) for answer, found in scores.items()})
    return tables


@given(graphs(), st.data(), LATENT, BETAS)
def test_against_enumeration(graph, data, latent, beta):
    right = [data.draw(ANSWERS) for _ in range(len(graph))]
    tables = answer_energies(graph, latent, beta)
    for i, table in enumerate(tables):
        if table and data.draw(st.booleans()):
            right[i] = list(data.draw(st.sampled_from(sorted(table))))
    correct = linear(right)
    found = losses.most_offending(graph, correct, latent=latent, beta=beta)
    energies = losses.energies(graph, correct, latent=latent, beta=beta)
    close = {"abs": 1e-4}
    for i, (table, one) in enumerate(zip(tables, right, strict=True)):
        wrong = {answer: e for answer, e in table.items() if answer != tuple(one)}
        least = min(wrong.values(), default=INF)
        assert found.energy[i].item() == pytest.approx(least, **close)
        if wrong:
            assert table[tuple(found.answers[i])] == pytest.approx(least, **close)
            assert found.answers[i] != one
        else:
            assert found.answers[i] is None
        free = -log_sum([-e for e in table.values()], beta) if table else INF
        assert energies.correct[i].item() == pytest.approx(table.get(tuple(one), INF), **close)
        assert energies.least[i].item() == pytest.approx(min(table.values(), default=INF), **close)
        assert energies.free[i].item() == pytest.approx(free, **close)


@given(graphs(size=2), graphs(acceptor=True), LATENT)
def test_any_acceptor_of_correct_answers(graph, correct, latent):
    """Nondeterministic, with epsilons and with scores: only its language counts."""
    languages = [{path.inputs for path in oracle.paths(a)} for a in oracle.automata(correct)]
    if len(languages) == 3:
        correct, languages = correct[:2], languages[:2]
    languages = languages * (2 // len(languages))
    found = losses.most_offending(graph, correct, latent=latent)
    for i, table in enumerate(answer_energies(graph, latent, 1.0)):
        wrong = {answer: e for answer, e in table.items() if answer not in languages[i]}
        assert found.energy[i].item() == pytest.approx(min(wrong.values(), default=INF), abs=1e-4)
        right = {answer: e for answer, e in table.items() if answer in languages[i]}
        expected = INF
        if right and latent == "viterbi":
            expected = min(right.values())
        elif right:
            expected = -log_sum([-e for e in right.values()], 1.0)
        energy = losses.energy(graph, correct, latent=latent)[i].item()
        assert energy == pytest.approx(expected, abs=1e-4)


def test_other_alignments_of_the_correct_answer_do_not_offend():
    graph = Graph([0] * 4, [1] * 4, [0, 1, 2, 3], [5, 5, 5, 6], [4.0, 3.0, 2.0, 1.0], accept=1)
    assert losses.most_offending(graph, linear([5])) == (torch.tensor([-1.0]), [[6]])


def test_ties_go_to_one_of_the_equals_every_time():
    graph = Graph([0] * 3, [1] * 3, [0, 1, 2], [5, 6, 7], weights=[1.0, 1.0, 1.0], accept=1)
    for latent in ("viterbi", "forward"):
        found = [losses.most_offending(graph, linear([5]), latent=latent) for _ in range(3)]
        assert {tuple(one.answers[0]) for one in found} <= {(6,), (7,)}
        assert len({tuple(one.answers[0]) for one in found}) == 1
        assert found[0].energy.tolist() == [-1]


def test_the_empty_answer_is_an_answer():
    graph = Graph([0, 0], [1, 1], [1, 2], [EPSILON, 3], weights=[2.0, 1.0], accept=1)
    for latent in ("viterbi", "forward"):
        assert losses.most_offending(graph, linear([3]), latent=latent).answers == [[]]
        assert losses.most_offending(graph, linear([]), latent=latent).answers == [[3]]


def test_gradient_goes_to_the_paths_of_the_offender():
    weights = torch.tensor([1.0, 0.5, 2.0, 0.3], dtype=torch.float64, requires_grad=True)

    def energy(weights, latent):
        graph = Graph([0] * 4, [1] * 4, [0, 1, 2, 3], [5, 5, 6, 7], weights, accept=1)
        return losses.most_offending(stack([graph, graph]), linear([[6], [5]]), latent=latent)[0]

    for latent in ("viterbi", "forward"):
        assert torch.autograd.gradcheck(lambda w, how=latent: energy(w, how), (weights,))
    (grad,) = torch.autograd.grad(energy(weights, "viterbi").sum(), weights)
    assert grad.tolist() == [-1, 0, -1, 0]


def test_a_lattice_over_frames_stays_lazy_for_best_paths(monkeypatch):
    topology = Graph([0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, EPSILON, 0], accept=[0, 1])
    lattice = Emissions(torch.randn(3, 6, 2)) @ topology
    monkeypatch.setattr(Lattice, "graph", None)  # it is not asked for
    found = losses.most_offending(lattice, linear([[0], [1], [0, 1]]))
    monkeypatch.undo()
    again = losses.most_offending(lattice.graph(), linear([[0], [1], [0, 1]]))
    torch.testing.assert_close(found.energy, again.energy)
    assert found.answers == again.answers


def test_flat_scores_are_named():
    with pytest.raises(ValueError, match=r"most_offending: .*max_prefixes=0 prefixes"):
        losses.most_offending(linear([1]), linear([2]), latent="forward", max_prefixes=0)
    with pytest.raises(ValueError, match='most_offending: latent must be "viterbi"'):
        losses.most_offending(linear([1]), linear([2]), latent="both")
