"""Losses with costs, against all answers written out; the modules and names of losses."""

from __future__ import annotations

import itertools
import math

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BETAS, graphs
from torch import nn

from gtnet import Emissions, Graph, edit_costs, linear, losses
from gtnet.nn import EnergyLoss

INF = math.inf
LATENT = st.sampled_from(["viterbi", "forward"])


def edit(a, b) -> float:
    if not a or not b:
        return float(len(a) + len(b))
    return min(edit(a[1:], b) + 1, edit(a, b[1:]) + 1, edit(a[1:], b[1:]) + (a[0] != b[0]))


COSTS = {
    "mismatch": lambda a, b: float(a != b),
    "hamming": lambda a, b: float(sum(x != y for x, y in itertools.zip_longest(a, b))),
    "edit": edit,
}


def log_sum(scores: list[float], beta: float) -> float:
    most = max(scores)
    return most + math.log(sum(math.exp(beta * (score - most)) for score in scores)) / beta


def answer_scores(graph: Graph, latent: str, beta: float) -> list[dict[tuple[int, ...], float]]:
    tables = []
    for automaton in oracle.automata(graph):
        scores: dict[tuple[int, ...], list[float]] = {}
        for path in oracle.paths(automaton):
            scores.setdefault(path.outputs, []).append(path.score)
        reduce = max if latent == "viterbi" else (lambda found: log_sum(found, beta))
        tables.append({answer: reduce(found) for answer, found in scores.items()})
    return tables


def expected(name: str, table, right, cost, beta: float, k: int) -> float:
    """The loss of one item, from the score of every answer."""
    ranked = sorted(table, key=lambda y: -table[y])
    if name == "minimum_risk_k_best":
        ranked = ranked[:k]
    if name.startswith("minimum_risk"):
        if not ranked:
            return 0.0
        total = log_sum([table[y] for y in ranked], beta)
        return sum(math.exp(beta * (table[y] - total)) * cost(right, y) for y in ranked)
    if right not in table:
        return INF
    costly = {y: table[y] + cost(right, y) for y in table}
    if name == "structured_hinge":
        return max(costly.values()) - table[right]
    if name == "soft_margin":
        return log_sum(list(costly.values()), beta) - table[right]
    margins = sorted((max(0.0, s - table[right]) for s in costly.values()), reverse=True)
    return sum(margins if name == "generalized_margin" else margins[:k])


NAMES = [
    "structured_hinge",
    "soft_margin",
    "generalized_margin",
    "generalized_margin_k_best",
    "minimum_risk",
    "minimum_risk_k_best",
]


@pytest.mark.parametrize("name", NAMES)
@given(graph=graphs(), data=st.data(), latent=LATENT, beta=BETAS, cost=st.sampled_from([*COSTS]))
def test_against_enumeration(name, graph, data, latent, beta, cost):
    options = {"latent": "forward"} if name == "minimum_risk" else {"latent": latent}
    tables = answer_scores(graph, options["latent"], beta)
    right = [
        data.draw(st.sampled_from(sorted(table))) if table and data.draw(st.booleans()) else (1, 0)
        for table in tables
    ]
    given_options = {} if name == "minimum_risk" else dict(options)
    k = 2
    if name.endswith("k_best"):
        given_options["k"] = k
        for table in tables:  # which of equals is k-th is anyone's choice
            scores = sorted(table.values(), reverse=True)
            if len(scores) > k and scores[k - 1] - scores[k] < 1e-3:
                k = given_options["k"] = 100
    chains = linear([list(answer) for answer in right])
    loss = losses.by_name(name, cost=cost, beta=beta, **given_options)(graph, chains)
    for i, (table, answer) in enumerate(zip(tables, right, strict=True)):
        value = expected(name, table, answer, COSTS[cost], beta, k)
        assert loss[i].item() == pytest.approx(value, abs=2e-4), (table, answer)


def test_costs_may_be_scaled_and_given_as_graphs():
    graph = Graph([0] * 3, [1] * 3, [1, 2, 3], weights=[1.0, 0.5, 0.0], accept=1)
    half = losses.structured_hinge(graph, linear([1]), scale=0.25)
    assert half.tolist() == [0]
    assert losses.structured_hinge(graph, linear([1]), scale=0.0).tolist() == [0]
    assert losses.structured_hinge(graph, linear([1]), scale=4.0).tolist() == [3.5]
    own = Graph([0] * 3, [1] * 3, [1, 2, 3], weights=[0.0, 1.0, 5.0], accept=1)
    assert losses.structured_hinge(graph, linear([1]), cost=own).tolist() == [4]
    assert losses.structured_hinge(graph, linear([1]), cost=own, scale=0.5).tolist() == [1.5]
    risk = losses.minimum_risk(graph, linear([1]), cost=own)
    chances = torch.tensor([1.0, 0.5, 0.0]).softmax(0)
    torch.testing.assert_close(risk, (chances * torch.tensor([0.0, 1, 5])).sum()[None])
    same = losses.minimum_risk(graph, linear([1]), cost=edit_costs([1], [1, 2, 3]))
    torch.testing.assert_close(same, losses.minimum_risk(graph, linear([1])))


def test_gradients_of_risk_are_covariances():
    weights = torch.randn(6, dtype=torch.float64, requires_grad=True)

    def risk(weights):
        graph = Graph(
            [0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2], [0, 1, 2] * 2, None, weights, accept=2
        )
        return losses.minimum_risk(graph, linear([0, 1]), beta=0.5)

    assert torch.autograd.gradcheck(risk, (weights,))
    assert torch.autograd.gradgradcheck(risk, (weights,))


def test_long_answers_by_their_k_best():
    """As long as a sentence: edit distances of alternatives, without an automaton of them."""
    answer = list(range(40))
    lattice = Emissions(10 * torch.nn.functional.one_hot(torch.tensor([answer]), 41).float())
    risk = losses.minimum_risk_k_best(lattice.graph(), linear(answer), k=5)
    assert 0 < risk.item() < 1


def test_errors_name_the_loss_and_say_what_to_do():
    graph = Graph([0] * 3, [1] * 3, [1, 2, 3], accept=1)
    with pytest.raises(ValueError, match="structured_hinge: cost='edit' is made from one correct"):
        losses.structured_hinge(graph, linear([1]) | linear([2]), cost="edit")
    with pytest.raises(ValueError, match=r"soft_margin: cost must be \"mismatch\", .* got 'far'"):
        losses.soft_margin(graph, linear([1]), cost="far")
    with pytest.raises(ValueError, match=r"generalized_margin: more than limit=1 answers"):
        losses.generalized_margin(graph, linear([1]), limit=1)
    with pytest.raises(ValueError, match="minimum_risk_k_best: k must be at least 1"):
        losses.minimum_risk_k_best(graph, linear([1]), k=0)
    with pytest.raises(ValueError, match=r"cost must be \[answers, answers\] or"):
        losses.structured_hinge(torch.zeros(2, 3), [0, 1], cost=torch.zeros(4))
    with pytest.raises(ValueError, match="minimum_risk: beta must be finite"):
        losses.minimum_risk(graph, linear([1]), beta=INF)


def test_many_violations_are_found_in_steps():
    width = 100
    graph = Graph([0] * width, [1] * width, list(range(width)), accept=1)
    assert losses.generalized_margin(graph, linear([7])).tolist() == [width - 1]
    assert losses.generalized_margin_k_best(graph, linear([7]), k=3).tolist() == [3]


# By name


def test_modules_are_the_functions():
    graph = Graph([0] * 2, [1] * 2, [1, 2], weights=[1.0, 3.0], accept=1)
    right = linear([[1], [2], [3]])
    each = losses.hinge(graph, right, margin=2.0)
    assert each.tolist() == [4, 0, INF]
    options = {"margin": 2.0, "zero_infinity": True}
    assert EnergyLoss("hinge", reduction="none", margin=2.0)(graph, right).equal(each)
    assert EnergyLoss("hinge", reduction="sum", **options)(graph, right).item() == 4
    assert EnergyLoss("hinge", **options)(graph, right).item() == pytest.approx(4 / 3)
    assert "'hinge', margin=2.0" in repr(EnergyLoss("hinge", margin=2.0))


def test_a_temperature_may_be_learnt():
    loss = EnergyLoss("nll", beta=nn.Parameter(torch.tensor(1.0)))
    assert [name for name, _ in loss.named_parameters()] == ["beta"]
    loss(torch.tensor([[0.0, 1.0]]), [1]).backward()
    # 1 + log(exp(-beta * 0) + exp(-beta * 1)) / beta at beta = 1
    total = 1 + math.exp(-1)
    assert loss.beta.grad.item() == pytest.approx(-math.exp(-1) / total - math.log(total))
    assert list(EnergyLoss("nll", beta=torch.tensor(2.0)).state_dict()) == ["beta"]


def test_names():
    with pytest.raises(ValueError, match=r"no loss 'hing'; there are .*hinge"):
        EnergyLoss("hing")
    with pytest.raises(TypeError, match="the loss 'hinge' has no option 'mergin'; it has margin"):
        EnergyLoss("hinge", mergin=1.0)
    with pytest.raises(ValueError, match='reduction must be "none"'):
        EnergyLoss("hinge", reduction="max")
    with pytest.raises(ValueError, match="there is already a loss 'hinge'"):
        losses.register("hinge", losses.energy)
    losses.register("own", losses.energy)
    try:
        assert losses.by_name("own") is losses.energy
    finally:
        del losses.LOSSES["own"]
