"""Every loss and its gradient against numbers computed by hand, on graphs and plain energies."""

from __future__ import annotations

import math

import pytest
import torch

from gtnet import EPSILON, Emissions, Graph, GraphBuilder, forward_score, linear, losses, stack

INF = math.inf
LATENT = ["viterbi", "forward"]


def three_paths(weights=(1.0, 2.0, 2.5)) -> Graph:
    """Three paths: two segmentations of the answer [5], and one of the answer [6]."""
    if not isinstance(weights, torch.Tensor):
        weights = torch.tensor(weights, dtype=torch.float64)
    return Graph([0, 0, 0], [1, 1, 1], [0, 1, 2], [5, 5, 6], weights, accept=1)


# By hand: E = -2 and Ē = -2.5 by the best paths; with all paths E = -log(e + e²) = -2.31326, and
# the energy of everything is -log(e + e² + e^2.5) = -3.10413. F by best paths: -log(e² + e^2.5).
VITERBI = {
    "energy": -2.0,
    "perceptron": 0.5,
    "hinge": 1.5,
    "log": 0.9740769841801067,  # log(1 + e^0.5)
    "lvq2": 0.5,
    "mce": 0.6224593312018546,  # 1 / (1 + e^-0.5)
    "square_square": 16.25,  # 4 + 3.5²
    "square_exp": 4 + 12.182493960703473,  # 4 + e^2.5
    "nll": 0.9740769841801067,
    "mee": 0.6224593312018546,
    "structured_hinge": 1.5,
    "soft_margin": 1.7014132779827524,  # log(1 + e^1.5)
    "generalized_margin": 1.5,
    "generalized_margin_k_best": 1.5,
    "minimum_risk_k_best": 0.6224593312018546,
    "viterbi": -2.0,
    "discriminative_viterbi": 0.5,
}
GAP = 2.5 - 2.3132616875182226
FORWARD = {
    "energy": -2.3132616875182226,
    "perceptron": GAP,
    "hinge": 1 + GAP,
    "log": math.log1p(math.exp(GAP)),
    "lvq2": GAP,
    "mce": 1 / (1 + math.exp(-GAP)),
    "square_square": 2.3132616875182226**2 + 3.5**2,
    "square_exp": 2.3132616875182226**2 + math.exp(2.5),
    "nll": math.log1p(math.exp(GAP)),
    "mee": 1 / (1 + math.exp(-GAP)),
    "structured_hinge": 1 + GAP,
    "soft_margin": math.log1p(math.exp(1 + GAP)),
    "generalized_margin": 1 + GAP,
    "generalized_margin_k_best": 1 + GAP,
    "minimum_risk": 1 / (1 + math.exp(-GAP)),
    "minimum_risk_k_best": 1 / (1 + math.exp(-GAP)),
    "forward": -2.3132616875182226,
    "discriminative_forward": math.log1p(math.exp(GAP)),
}
WITHOUT_LATENT = ("minimum_risk", "viterbi", "discriminative_viterbi", "forward",
                  "discriminative_forward")  # fmt: skip


def value(name, latent, graph, correct, **options):
    if name not in WITHOUT_LATENT:
        options["latent"] = latent
    return losses.by_name(name, **options)(graph, correct)


@pytest.mark.parametrize(
    ("latent", "name", "expected"),
    [("viterbi", *item) for item in VITERBI.items()]
    + [("forward", *item) for item in FORWARD.items()],
)
def test_three_paths(latent, name, expected):
    right = linear([5])
    assert value(name, latent, three_paths(), right).tolist() == pytest.approx([expected])
    weights = torch.tensor([1.0, 2.0, 2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w: value(name, latent, three_paths(w), right), (weights,)
    )


def test_every_loss_is_checked():
    assert set(losses.LOSSES) == set(VITERBI) | set(FORWARD)


@pytest.mark.parametrize("name", ["perceptron", "hinge", "nll", "mee", "structured_hinge"])
def test_temperature(name):
    right = linear([5])
    cold = value(name, "forward", three_paths(), right, beta=INF)
    assert cold.tolist() == pytest.approx([{"nll": 0.5, "mee": 1.0}.get(name, VITERBI[name])])
    beta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda w, b: value(name, "forward", three_paths(w), right, beta=b), (weights, beta)
    )
    if name == "nll":
        warm = value(name, "forward", three_paths(), right, beta=0.5)
        right_sum = math.exp(0.5) + math.exp(1.0)
        assert warm.tolist() == pytest.approx([2 * math.log1p(math.exp(1.25) / right_sum)])


# Plain energies

PLAIN = {  # of the energies -1, -2, 3 with the first correct: Ē = -2, F = -log(e + e² + e^-3)
    "energy": -1.0,
    "perceptron": 1.0,
    "hinge": 2.0,
    "log": math.log1p(math.e),
    "lvq2": 1.0,
    "mce": 1 / (1 + math.exp(-1)),
    "square_square": 1 + 9.0,
    "square_exp": 1 + math.exp(2),
    "nll": math.log(math.e + math.exp(2) + math.exp(-3)) - 1,
    "mee": 1 - math.e / (math.e + math.exp(2) + math.exp(-3)),
    "structured_hinge": 2.0,
    "soft_margin": math.log(math.e + math.exp(3) + math.exp(-2)) - 1,
    "generalized_margin": 2.0,  # max(0, -1 + 2 + 1) + max(0, -1 - 3 + 1)
    "minimum_risk": 1 - math.e / (math.e + math.exp(2) + math.exp(-3)),
}


@pytest.mark.parametrize(("name", "expected"), PLAIN.items())
def test_plain_energies(name, expected):
    energies = torch.tensor([[-1.0, -2, 3], [3, -1, -2]], dtype=torch.float64)
    loss = losses.by_name(name, **({"ceiling": 2.0} if name == "lvq2" else {}))
    assert loss(energies, torch.tensor([0, 1])).tolist() == pytest.approx([expected] * 2)
    assert torch.autograd.gradcheck(lambda e: loss(e, [0, 1]), (energies.requires_grad_(),))


def test_plain_nll_is_cross_entropy():
    logits, right = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, right, reduction="none")
    torch.testing.assert_close(losses.nll(-logits, right), expected)


def test_plain_costs():
    energies = torch.zeros(2, 3)
    cost = torch.tensor([[0.0, 1, 5], [2, 0, 1], [1, 1, 0]])
    right = [0, 1]
    assert losses.structured_hinge(energies, right, cost=cost).tolist() == [5, 2]
    assert losses.structured_hinge(energies, right, cost=cost[:2]).tolist() == [5, 2]
    assert losses.generalized_margin(energies, right, cost=cost).tolist() == [6, 3]
    assert losses.minimum_risk(energies, right, cost=cost).tolist() == [2, 1]


def test_plain_ties_a_single_answer_and_impossible_ones():
    tied = losses.most_offending(torch.tensor([[1.0, 0, 0]]), [0])
    assert (tied.energy.tolist(), tied.answers) == ([0.0], [1])
    alone = losses.most_offending(torch.tensor([[1.0], [2.0]]), [0, 0])
    assert (alone.energy.tolist(), alone.answers) == ([INF, INF], [None, None])


# Limits: a single legal answer, a correct answer that is impossible, nothing at all

ALONE = {"energy": -2.0, "viterbi": -2.0, "square_square": 4.0, "square_exp": 4.0}
IMPOSSIBLE = {"lvq2": 1.0, "mce": 1.0, "mee": 1.0, "minimum_risk": 1.0, "minimum_risk_k_best": 1.0}


@pytest.mark.parametrize("latent", LATENT)
@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_limits_are_defined(name, latent):
    weights = torch.tensor([2.0, 1.0], dtype=torch.float64, requires_grad=True)
    only = Graph([0], [1], [5], weights=weights[:1], accept=1)
    wrong = Graph([0], [1], [6], weights=weights[1:], accept=1)
    nothing = Graph([0], [1], [5], weights=weights[:1], accept=[])
    batch = stack([only, wrong, nothing])
    loss = value(name, latent, batch, linear([5]))
    alone = -2.0 if name == "forward" else ALONE.get(name, 0.0)
    risk = name.startswith("minimum_risk")
    expected = [alone, IMPOSSIBLE.get(name, INF), 0.0 if risk else IMPOSSIBLE.get(name, INF)]
    assert loss.tolist() == pytest.approx(expected)
    loss.sum().backward()
    assert not weights.grad.isnan().any()
    assert weights.grad[1] == 0


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_limits_of_plain_energies(name):
    energies = torch.tensor([[2.0, INF], [INF, -1.0], [INF, INF]], requires_grad=True)
    loss = losses.by_name(name)(energies, [0, 0, 0])
    alone = {"energy": 2.0, "square_square": 4.0, "square_exp": 4.0}.get(name, 0.0)
    nothing = 0.0 if name == "minimum_risk" else IMPOSSIBLE.get(name, INF)
    assert loss.tolist() == pytest.approx([alone, IMPOSSIBLE.get(name, INF), nothing])
    loss.sum().backward()
    assert not energies.grad.isnan().any()


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_no_nan_at_large_energies(name, scale, beta):
    for dtype in (torch.float32, torch.float64):
        for latent in LATENT:
            rows = [[1.0, 0.5, -1.0], [0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]
            for row in rows:
                weights = (scale * torch.tensor(row, dtype=dtype)).requires_grad_()
                options = {} if "viterbi" in name else {"beta": beta}
                loss = value(name, latent, three_paths(weights), linear([5]), **options)
                loss.sum().backward()
                assert not loss.isnan().any() and not weights.grad.isnan().any()
                if name not in ("energy", "viterbi", "forward"):
                    assert (loss >= 0).all()
            if name in PLAIN:
                energies = (scale * torch.tensor(rows, dtype=dtype)).requires_grad_()
                loss = losses.by_name(name, beta=beta)(energies, [0, 1, 2])
                loss.sum().backward()
                assert not loss.isnan().any() and not energies.grad.isnan().any()


# What may be given


def alignments(frames: int, labels: int) -> Graph:
    """Every frame label writes itself where it changes: many paths for one answer."""
    builder = GraphBuilder()
    states = [builder.add_state(start=s == 0, accept=s > 0) for s in range(labels + 1)]
    for s in states:
        for label in range(labels):
            again = s == label + 1
            builder.add_arc(s, label + 1, label, EPSILON if again else label)
    return builder.build(torch.float64)


@pytest.mark.parametrize("latent", LATENT)
@pytest.mark.parametrize("name", sorted(set(losses.LOSSES) - {"generalized_margin"}))
def test_a_lattice_is_as_good_as_its_graph(name, latent):
    topology = alignments(4, 3)
    scores = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    right = linear([[0, 1], [2, 0, 2]])
    found = []
    for built in (False, True):
        lattice = Emissions(scores, [4, 3]) @ topology
        loss = value(name, latent, lattice.graph() if built else lattice, right)
        found.append((loss.detach(), torch.autograd.grad(loss.sum(), scores)[0]))
    torch.testing.assert_close(*found)
    assert not found[0][0].isnan().any()


def test_segmentation_emissions():
    segments = Graph([0, 0, 1], [1, 2, 2], [0, 1, 2], accept=2).to(torch.float64)
    scores = torch.randn(3, 2, dtype=torch.float64)
    lattice = Emissions(scores, graph=segments) @ alignments(2, 2)
    for latent in LATENT:
        loss = losses.hinge(lattice, linear([1]), latent=latent)
        torch.testing.assert_close(loss, losses.hinge(lattice.graph(), linear([1]), latent=latent))


def test_a_set_of_correct_answers():
    graph = Graph([0] * 4, [1] * 4, [1, 2, 3, 4], weights=[1.0, 2.0, 3.0, 2.5], accept=1)
    right = linear([1]) | linear([3])
    assert losses.energy(graph, right).tolist() == [-3]
    assert losses.hinge(graph, right).tolist() == [0.5]
    both = forward_score(Graph([0] * 2, [1] * 2, [1, 3], weights=[1.0, 3.0], accept=1))
    torch.testing.assert_close(losses.forward(graph, right), -both)


def test_correct_is_a_language():
    graph = three_paths()
    plain = losses.discriminative_forward(graph, linear([5]))
    twice = linear([5]) | linear([5])  # two paths, one answer
    scored = Graph([0], [1], [5], weights=[7.0], start={0: -1.0}, accept={1: 3.0})
    for same in (twice, scored, graph @ linear([5], dtype=torch.float64)):
        torch.testing.assert_close(losses.discriminative_forward(graph, same), plain)
    silent = Graph([0, 1, 2], [1, 2, 3], [EPSILON, 5, EPSILON], accept=3)
    torch.testing.assert_close(losses.hinge(graph, silent), losses.hinge(graph, linear([5])))


def test_batches_of_one_broadcast():
    graph = three_paths()
    many = losses.hinge(graph, linear([[5], [6], [7]]))
    assert many.tolist() == pytest.approx([1.5, 0.5, INF])
    same = losses.hinge(stack([graph] * 3), linear([6]))
    assert same.tolist() == pytest.approx([0.5] * 3)
    for name in ("nll", "perceptron", "structured_hinge", "minimum_risk_k_best"):
        assert value(name, "forward", graph, linear([[5], [6]])).shape == (2,)
        assert value(name, "viterbi", graph, linear([[5], [6]])).shape == (2,)


def test_errors_name_the_loss():
    graph = three_paths()
    with pytest.raises(ValueError, match='hinge: latent must be "viterbi" or "forward"'):
        losses.hinge(graph, linear([5]), latent="best")
    with pytest.raises(ValueError, match=r"hinge: margin must lie in \[0, inf\), got -1"):
        losses.hinge(graph, linear([5]), margin=-1)
    with pytest.raises(TypeError, match="nll: correct must be a Graph, got list"):
        losses.nll(graph, [5])
    with pytest.raises(ValueError, match=r"nll: energies must be \[batch, answers\]"):
        losses.nll(torch.zeros(3), [0])
    with pytest.raises(ValueError, match="NaN"):
        losses.nll(torch.full((1, 2), math.nan), [0])
    with pytest.raises(ValueError, match=r"correct must lie in \[0, 2\).*got 2"):
        losses.nll(torch.zeros(1, 2), [2])
    with pytest.raises(ValueError, match="1 rows of energies, 2 correct"):
        losses.nll(torch.zeros(1, 2), [0, 1])
    with pytest.raises(TypeError, match="energies must be float32 or float64"):
        losses.nll(torch.zeros(1, 2, dtype=torch.int64), [0])
    with pytest.raises(ValueError, match="beta must be positive"):
        losses.nll(graph, linear([5]), beta=0.0)
