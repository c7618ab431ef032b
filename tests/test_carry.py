"""Attributes of arcs and states follow them; and the loss of k2 that is made of drawn answers."""

from __future__ import annotations

import math

import pytest
import torch
from test_distance import scored
from torch.autograd import gradcheck

import gtnet
from gtnet import EPSILON, Graph, Ragged, carry, losses

NEG_INF = -math.inf


def operands() -> tuple[Graph, Graph]:
    a = Graph([0, 0, 1, 2], [1, 2, 2, 3], [0, 1, EPSILON, 1], [1, 2, 3, EPSILON], accept=3)
    b = Graph([0, 0, 1, 1], [1, 1, 1, 2], [1, 2, 3, EPSILON], accept=[1, 2])
    return a, b


def test_arcs_of_a_composition_carry_what_both_operands_have():
    a, b = operands()
    product = a @ b
    for operand, graph in enumerate((a, b)):
        times = torch.arange(10, 10 + graph.num_arcs)
        got = carry(product, times, operand=operand, fill=-7).tolist()
        for arc, value in zip(product.arc_maps[operand].tolist(), got):
            assert value == (-7 if arc < 0 else 10 + arc)
    states = carry(product, torch.eye(a.num_states), of="states")
    assert torch.equal(states.argmax(1), product.state_maps[0].long())


def test_rows_of_any_length_follow_too():
    a, b = operands()
    words = [[5], [], [6, 7], [8, 8, 8]]
    ragged = Ragged(torch.tensor([5, 6, 7, 8, 8, 8]), torch.tensor([0, 1, 1, 3, 6]))
    product = a @ b
    values, offsets = carry(product, ragged)
    rows = [values[i:j].tolist() for i, j in zip(offsets.tolist(), offsets.tolist()[1:])]
    assert rows == [words[k] if k >= 0 else [] for k in product.arc_maps[0].tolist()]


def test_features_follow_with_gradients_and_in_chains():
    a, b = operands()
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    product = a @ b
    assert gradcheck(lambda f: carry(product, f), (features,))
    best = gtnet.viterbi_path(product)
    through = carry(best, carry(product, features))
    arcs = product.arc_maps[0].long()[best.arc_maps[0].long()]
    assert torch.equal(through, features[arcs].masked_fill((arcs < 0)[:, None], 0))


def test_what_cannot_be_carried():
    a, b = operands()
    product = a @ b
    with pytest.raises(ValueError, match="carry: graph has no arc_maps"):
        carry(a, torch.zeros(4))
    with pytest.raises(ValueError, match="carry: operand must be one of 2, counted from 0, got 2"):
        carry(product, torch.zeros(4), operand=2)
    with pytest.raises(ValueError, match="carry: values has 1 rows, graph came from arcs up to"):
        carry(product, torch.zeros(1))
    with pytest.raises(ValueError, match='carry: of must be "arcs" or "states"'):
        carry(product, torch.zeros(4), of="labels")
    nothing = gtnet.linear([0], dtype=torch.float32) @ gtnet.linear([1])
    assert carry(nothing, torch.zeros(0, 2)).shape == (0, 2)
    empty = carry(nothing, Ragged(torch.zeros(0), torch.zeros(1, dtype=torch.int64)))
    assert len(empty.values) == 0


# MWER


def lattice() -> tuple[Graph, Graph]:
    """Five paths that write four texts, and the text that is right."""
    weights = torch.tensor([0.4, 0.3, -0.2, 0.1, -0.5, 0.2, 0.7], dtype=torch.float64)
    graph = Graph(
        [0, 0, 0, 1, 1, 2, 0], [1, 1, 2, 3, 3, 3, 3], [0, 1, 2, 3, 4, 5, 6],
        [1, 1, 2, 2, 3, 2, 4], weights, accept=3,
    )  # fmt: skip
    return graph, gtnet.linear([1, 2], dtype=torch.float64)


DISTANCES = {(1, 2): 0, (1, 3): 1, (2, 2): 1, (4,): 2}


def expected(graph: Graph, latent: str) -> float:
    w = graph.weights.tolist()
    plus = max if latent == "viterbi" else lambda a, b: math.log(math.exp(a) + math.exp(b))
    one = plus(w[0], w[1])
    scores = {(1, 2): one + w[3], (1, 3): one + w[4], (2, 2): w[2] + w[5], (4,): w[6]}
    total = sum(map(math.exp, scores.values()))
    risk = sum(math.exp(scores[t]) / total * DISTANCES[t] for t in scores)
    return risk - sum(DISTANCES.values()) / len(DISTANCES)


@pytest.mark.parametrize("latent", ["viterbi", "forward"])
def test_all_answers_drawn_give_the_expectation(latent):
    graph, right = lattice()
    for draw, n in (("distinct", 20), ("k_best", 20), ("sample", 300)):
        loss = losses.mwer_loss(
            graph, right, n=n, draw=draw, latent=latent,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        assert loss.tolist() == pytest.approx([expected(graph, latent)])
    if latent == "viterbi":
        other = losses.minimum_risk_k_best(graph, right, k=20)
        assert loss.item() == pytest.approx(other.item() - 1)


def test_gradients_batches_and_nothing():
    graph, right = lattice()
    inputs, put = scored(graph)

    def loss(*scores):
        return losses.mwer_loss(put(*scores), right, n=9, latent="forward")

    assert gradcheck(loss, inputs)
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    batch = gtnet.stack([graph, nothing])
    assert losses.mwer_loss(batch, right, n=9).tolist() == pytest.approx(
        [expected(graph, "viterbi"), 0]
    )
    two = gtnet.linear([[1, 2], [4]], dtype=torch.float64)
    assert losses.mwer_loss(graph, two, n=9).shape == (2,)
    with pytest.raises(ValueError, match='mwer_loss: draw must be "distinct", "sample" or'):
        losses.mwer_loss(graph, right, draw="beam")
    with pytest.raises(ValueError, match="mwer_loss: n must be at least 1, got 0"):
        losses.mwer_loss(graph, right, n=0)
