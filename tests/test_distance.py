"""forward_score, viterbi_score, shortest_distance and posteriors against enumeration and laws."""

from __future__ import annotations

import math
from itertools import pairwise

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_close, automata
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import Graph, forward_score, posteriors, shortest_distance, stack, viterbi_score

NEG_INF = float("-inf")
SEEDS = st.integers(0, 99)


def per_graph(values: torch.Tensor, offsets: torch.Tensor) -> list[torch.Tensor]:
    ends = offsets.tolist()
    return [values[begin:end] for begin, end in pairwise(ends)]


def joined(parts: list[list[float]]) -> list[float]:
    return [value for part in parts for value in part]


def betas_as_tensors(beta: float, graph: Graph) -> list[float | torch.Tensor]:
    """The same temperature in the three forms it may take."""
    tensor = torch.tensor(beta, dtype=graph.dtype)
    return [beta, tensor, tensor.repeat(len(graph))]


def scored(graph: Graph):
    """The finite scores of a graph as gradcheck inputs, and how to put them back."""
    scores = (graph.weights, graph.start, graph.accept)
    possible = [t > NEG_INF for t in scores]
    inputs = [
        t.detach().masked_fill(~keep, 0).requires_grad_()
        for t, keep in zip(scores, possible, strict=True)
    ]

    def put(*given: torch.Tensor) -> Graph:
        weights, start, accept = (
            t.masked_fill(~keep, NEG_INF) for t, keep in zip(given, possible, strict=True)
        )
        return graph.with_weights(weights, start=start, accept=accept)

    return inputs, put


def finite(values: torch.Tensor) -> torch.Tensor:
    return values[values > NEG_INF]


# Against enumeration


@given(strategies.graphs(), strategies.BETAS)
def test_forward_score_sums_all_paths(graph, beta):
    expected = [oracle.forward_score(one, beta) for one in automata(graph)]
    for form in betas_as_tensors(beta, graph):
        score = forward_score(graph, form)
        assert (score.dtype, score.shape) == (graph.dtype, (len(graph),))
        assert_close(score, expected)


@given(strategies.graphs())
def test_viterbi_score_is_the_best_path(graph):
    expected = [oracle.viterbi_score(one) for one in automata(graph)]
    assert viterbi_score(graph).tolist() == expected
    assert viterbi_score(graph.detach().requires_grad_()).tolist() == expected
    assert forward_score(graph, math.inf).tolist() == expected


@given(strategies.graphs(), strategies.BETAS)
def test_posteriors_are_the_chances_of_arcs(graph, beta):
    expected = joined([oracle.posteriors(one, beta).arcs for one in automata(graph)])
    for form in betas_as_tensors(beta, graph):
        chances = posteriors(graph, form)
        assert (chances.dtype, chances.shape) == (graph.dtype, (graph.num_arcs,))
        assert_close(chances, expected)


@given(strategies.graphs(), strategies.BETAS)
def test_posteriors_of_states_are_the_chances_of_visits(graph, beta):
    expected = []
    for one in automata(graph):
        chances = oracle.posteriors(one, beta)
        visits = list(chances.accept)
        for arc, chance in zip(one.arcs, chances.arcs, strict=True):
            visits[arc.source] += chance
        expected += visits
    visits = posteriors(graph, beta, of="states")
    assert (visits.dtype, visits.shape) == (graph.dtype, (graph.num_states,))
    assert_close(visits, expected)
    assert_close(posteriors(graph.detach().requires_grad_(), beta, of="states"), expected)


def test_posteriors_of_other_things_are_refused():
    with pytest.raises(ValueError, match=r'posteriors: of must be "arcs" or "states", got \'words'):
        posteriors(gtnet.linear([1]), of="words")


@given(strategies.graphs(), strategies.BETAS, st.booleans())
def test_shortest_distance_reaches_every_state(graph, beta, to_accept):
    expected = [oracle.shortest_distance(one, beta, to_accept=to_accept) for one in automata(graph)]
    for form in betas_as_tensors(beta, graph):
        distance = shortest_distance(graph, form, to_accept=to_accept)
        assert (distance.dtype, distance.shape) == (torch.float64, (graph.num_states,))
        torch.testing.assert_close(
            distance,
            torch.tensor(joined(expected), dtype=torch.float64),
            rtol=1e-6,
            atol=1e-6,
        )


@given(strategies.graphs(), strategies.BETAS)
def test_gradients_of_forward_score_are_posteriors(graph, beta):
    chances = [oracle.posteriors(one, beta) for one in automata(graph)]
    for form in betas_as_tensors(beta, graph):
        leaf = graph.detach().with_weights(graph.weights.clone()).requires_grad_()
        for scores in (leaf.weights, leaf.start, leaf.accept):
            scores.grad = None
        forward_score(leaf, form).sum().backward()
        assert_close(leaf.weights.grad, joined([c.arcs for c in chances]))
        assert_close(leaf.start.grad, joined([c.start for c in chances]))
        assert_close(leaf.accept.grad, joined([c.accept for c in chances]))


@given(strategies.graphs(), SEEDS)
def test_gradient_of_viterbi_score_is_its_path(graph, seed):
    graph = strategies.with_random_scores(graph, seed).requires_grad_()
    viterbi_score(graph).sum().backward()
    for one in automata(graph):
        best = max(oracle.paths(one), key=lambda path: path.score, default=None)
        arcs, states = graph.weights.grad, graph.start.grad
        expected = [float(best is not None and arc.index in best.arcs) for arc in one.arcs]
        assert arcs[one.first_arc : one.first_arc + len(one.arcs)].tolist() == expected
        starts = [float(best is not None and best.first == s) for s in range(one.num_states)]
        ends = [float(best is not None and best.last == s) for s in range(one.num_states)]
        here = slice(one.first_state, one.first_state + one.num_states)
        assert states[here].tolist() == starts
        assert graph.accept.grad[here].tolist() == ends


# Laws


@given(strategies.graphs(), strategies.BETAS)
def test_a_batch_is_its_items(graph, beta):
    items = list(graph)
    betas = torch.linspace(0.5, 2, len(graph), dtype=graph.dtype) * beta
    for function in (forward_score, posteriors, shortest_distance):
        together = function(graph, betas)
        alone = torch.cat([function(g, betas[i]) for i, g in enumerate(items)])
        assert torch.equal(together, alone)
    assert torch.equal(viterbi_score(graph), torch.cat([viterbi_score(g) for g in items]))


@given(strategies.graphs(), strategies.BETAS)
def test_turning_all_arcs_round_changes_no_total(graph, beta):
    turned = stack(
        [
            Graph(
                g.target, g.source, g.ilabels, g.olabels, g.weights, start=g.accept, accept=g.start
            )
            for g in graph
        ]
    )
    assert_close(forward_score(turned, beta), forward_score(graph, beta).tolist())
    assert torch.equal(viterbi_score(turned), viterbi_score(graph))
    assert_close(posteriors(turned, beta), posteriors(graph, beta).tolist())
    forth = shortest_distance(graph, beta, to_accept=True)
    torch.testing.assert_close(shortest_distance(turned, beta), forth, rtol=1e-6, atol=1e-6)


@given(strategies.graphs())
def test_cold_forward_scores_tend_to_the_viterbi_score(graph):
    best = viterbi_score(graph.to(torch.float64))
    previous = torch.full_like(best, math.inf)
    for beta in (0.5, 1.0, 4.0, 64.0):
        score = forward_score(graph.to(torch.float64), beta)
        assert bool((score <= previous + 1e-12).all())
        assert bool((score >= best - 1e-12).all())
        previous = score
    for gap, one in zip((previous - best).tolist(), automata(graph), strict=True):
        count = len(oracle.paths(one))
        assert count == 0 or gap <= math.log(count) / 64 + 1e-9


@given(strategies.graphs(), strategies.BETAS)
def test_both_distances_meet_at_every_state(graph, beta):
    graph = graph.to(torch.float64)
    forth, back = (shortest_distance(graph, beta, to_accept=end) for end in (False, True))
    total = forward_score(graph, beta)
    for i, (alpha, accept) in enumerate(
        zip(
            per_graph(forth, graph.state_offsets),
            per_graph(graph.accept, graph.state_offsets),
            strict=True,
        )
    ):
        assert_close(total[i], oracle.log_sum((alpha + accept).tolist(), beta))
    through = (forth + back)[graph.state_offsets[0] :]
    highest = total.repeat_interleave(graph.state_offsets.diff())
    assert bool(((through <= highest + 1e-9) | (through == NEG_INF)).all())


@given(strategies.graphs(), strategies.BETAS)
def test_adding_to_all_starts_adds_to_the_score(graph, beta):
    moved = graph.with_weights(start=graph.start + 2.5)
    assert_close(forward_score(moved, beta), (forward_score(graph, beta).double() + 2.5).tolist())
    assert_close(posteriors(moved, beta), posteriors(graph, beta).tolist())


# Derivatives


@settings(max_examples=12)
@given(strategies.graphs(), SEEDS, strategies.BETAS)
def test_gradcheck_in_scores(graph, seed, beta):
    inputs, put = scored(strategies.with_random_scores(graph, seed))
    if graph.num_states == 0:
        return
    functions = [
        lambda g: finite(forward_score(g, beta)),
        lambda g: finite(viterbi_score(g)),
        lambda g: posteriors(g, beta),
        lambda g: finite(shortest_distance(g, beta)),
        lambda g: finite(shortest_distance(g, beta, to_accept=True)),
    ]
    for function in functions:
        if function(put(*inputs)).numel():
            assert gradcheck(lambda *t, f=function: f(put(*t)), inputs)


@settings(max_examples=12)
@given(strategies.graphs(), SEEDS, st.booleans())
def test_gradcheck_in_beta(graph, seed, one_for_all):
    graph = strategies.with_random_scores(graph, seed)
    beta = torch.linspace(0.5, 1.5, len(graph), dtype=torch.float64)
    beta = (beta[0].clone() if one_for_all else beta).requires_grad_()
    functions = [
        lambda b: finite(forward_score(graph, b)),
        lambda b: posteriors(graph, b),
        lambda b: finite(shortest_distance(graph, b)),
        lambda b: finite(shortest_distance(graph, b, to_accept=True)),
    ]
    for function in functions:
        if function(beta).numel():
            assert gradcheck(function, (beta,))


@settings(max_examples=12)
@given(strategies.graphs(), SEEDS)
def test_gradgradcheck_of_forward_score(graph, seed):
    inputs, put = scored(strategies.with_random_scores(graph, seed))
    beta = torch.tensor(0.75, dtype=torch.float64, requires_grad=True)

    def score(b: torch.Tensor, *scores: torch.Tensor) -> torch.Tensor:
        return finite(forward_score(put(*scores), b))

    if score(beta, *inputs).numel():
        assert gradgradcheck(score, (beta, *inputs))


def test_second_derivative_is_the_covariance_of_arcs():
    graph = Graph([0, 0], [1, 1], [0, 1], weights=torch.zeros(2, dtype=torch.float64), accept=1)
    hessian = torch.autograd.functional.hessian(
        lambda w: forward_score(graph.with_weights(w)).sum(), graph.weights
    )
    torch.testing.assert_close(hessian, torch.tensor([[0.25, -0.25], [-0.25, 0.25]]).double())


@settings(max_examples=12)
@given(strategies.graphs(), SEEDS, st.booleans())
def test_gradgradcheck_of_distances_and_posteriors(graph, seed, to_accept):
    inputs, put = scored(strategies.with_random_scores(graph, seed))
    functions = [
        lambda g: finite(shortest_distance(g, 0.75, to_accept=to_accept)),
        lambda g: posteriors(g, 0.75),
        lambda g: posteriors(g, of="states"),
    ]
    for function in functions:
        if function(put(*inputs)).numel():
            assert gradgradcheck(lambda *t, f=function: f(put(*t)), inputs)


def test_third_derivatives_are_the_third_cumulants_of_arcs():
    graph = Graph([0, 0], [1, 1], [0, 1], weights=torch.zeros(2, dtype=torch.float64), accept=1)
    weights = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
    value = forward_score(graph.with_weights(weights)).sum()
    for _ in range(3):
        (grad,) = torch.autograd.grad(value, weights, create_graph=True)
        value = grad[0]
    p = weights.detach().softmax(0)[0]
    torch.testing.assert_close(value.detach(), p * (1 - p) * (1 - 2 * p))


# Empty languages and impossible arcs

EMPTY = {
    "no states": lambda: Graph([], [], [], start=[], accept=[]),
    "no start": lambda: Graph([0], [1], [0], start=[], accept=1),
    "no accept": lambda: Graph([0], [1], [0], accept=[]),
    "apart": lambda: Graph([0, 2], [1, 3], [0, 0], accept=3),
    "impossible arc": lambda: Graph([0], [1], [0], weights=[NEG_INF], accept=1),
    "impossible end": lambda: Graph([0], [1], [0], accept={1: NEG_INF}),
}


@pytest.mark.parametrize("kind", EMPTY)
@pytest.mark.parametrize("beta", [1.0, 2.0, torch.tensor(0.5), torch.tensor([0.5])])
def test_an_empty_language_scores_minus_infinity_with_zero_gradients(kind, beta):
    graph = EMPTY[kind]().requires_grad_()
    if isinstance(beta, torch.Tensor):
        beta = beta.clone().requires_grad_()
    scores = (graph.weights, graph.start, graph.accept)
    for score in (forward_score(graph, beta), viterbi_score(graph)):
        assert score.tolist() == [NEG_INF]
        score.sum().backward()
    assert posteriors(graph, beta).tolist() == [0.0] * graph.num_arcs
    posteriors(graph, beta).sum().backward()
    for tensor in (*scores, *([beta] if isinstance(beta, torch.Tensor) else [])):
        assert tensor.grad is None or torch.equal(tensor.grad, torch.zeros_like(tensor))


def test_many_impossible_arcs_make_no_path():
    """A compiler may take the largest of nothing but -inf for a finite number."""
    middle = list(range(1, 41))
    weights = torch.tensor([0.0] * 40 + [NEG_INF] * 40, dtype=torch.float64)
    graph = Graph([0] * 40 + middle, middle + [41] * 40, [0] * 80, weights=weights, accept=41)
    assert forward_score(graph).tolist() == [NEG_INF]


@pytest.mark.parametrize("kind", EMPTY)
def test_an_empty_language_in_a_batch_spoils_nobody(kind):
    word = Graph([0, 0], [1, 1], [0, 1], weights=[0.5, 0.25], accept=1)
    batch = stack([word, EMPTY[kind](), word]).requires_grad_()
    score = forward_score(batch, 2.0)
    score[torch.tensor([0, 2])].sum().backward()
    alone = word.detach().requires_grad_()
    alone.weights.grad = None
    forward_score(alone, 2.0).sum().backward()
    assert torch.equal(batch.weights.grad[:2], alone.weights.grad)
    assert torch.equal(batch.weights.grad[-2:], alone.weights.grad)


def test_second_derivatives_of_an_empty_language_are_zero():
    graph = Graph([0, 0], [1, 1], [0, 1], weights=[NEG_INF, NEG_INF], accept=1)
    weights = graph.weights.clone().requires_grad_()
    score = forward_score(graph.with_weights(weights)).sum()
    (grad,) = torch.autograd.grad(score, weights, create_graph=True)
    grad.sum().backward()
    assert torch.equal(weights.grad, torch.zeros(2))


def test_beta_keeps_a_finite_gradient_where_a_state_is_out_of_reach():
    graph = Graph([0, 0], [1, 1], [0, 1], weights=[1.0, 2.0], accept=1, num_states=3)
    beta = torch.tensor(2.0, requires_grad=True)
    shortest_distance(graph, beta)[1].backward()
    assert math.isfinite(beta.grad.item())


def test_a_single_state_is_the_empty_string():
    graph = Graph([], [], [], start={0: 0.5}, accept={0: 0.25})
    assert forward_score(graph).item() == viterbi_score(graph).item() == 0.75
    assert posteriors(graph).shape == (0,)


def test_batches_of_no_graphs():
    none = gtnet.linear([1])[0:0]
    for function in (forward_score, viterbi_score, posteriors, shortest_distance):
        assert function(none).shape == (0,)


# Temperatures, dtypes, layouts


def test_scores_keep_their_dtype_whatever_beta_is():
    graph = gtnet.linear([1, 2])
    for beta in (2, 2.0, torch.tensor(2.0).double(), torch.tensor([2.0]).double()):
        assert forward_score(graph, beta).dtype == torch.float32
        assert posteriors(graph, beta).dtype == torch.float32
        assert shortest_distance(graph, beta).dtype == torch.float64


@pytest.mark.parametrize("function", [forward_score, posteriors, shortest_distance])
@pytest.mark.parametrize(
    ("beta", "said"),
    [
        (0, "0"),
        (-1.5, "-1.5"),
        (math.nan, "nan"),
        (torch.tensor(0.0), "0"),
        (torch.tensor(math.inf), "inf"),
        (torch.tensor([1.0, -2.0]), "-2"),
        (torch.tensor(math.nan), "nan"),
        (torch.ones(3), "3.*2"),
        (torch.ones(2, 1), r"\[2, 1\]"),
    ],
)
def test_bad_beta_is_named(function, beta, said):
    graph = stack([gtnet.linear([1]), gtnet.linear([2])])
    with pytest.raises(ValueError, match=f"{function.__name__}: .*beta.*{said}"):
        function(graph, beta)


@pytest.mark.parametrize("function", [forward_score, posteriors, shortest_distance])
@pytest.mark.parametrize("beta", ["1", [1.0, 2.0], None, torch.tensor(2), torch.tensor(True)])
def test_beta_of_another_type_is_refused(function, beta):
    graph = stack([gtnet.linear([1]), gtnet.linear([2])])
    with pytest.raises(TypeError, match=f"{function.__name__}: .*beta"):
        function(graph, beta)


def test_beta_on_another_device_is_refused():
    with pytest.raises(ValueError, match=r"forward_score: .*cpu.*meta"):
        forward_score(gtnet.linear([1]), torch.ones(1, device="meta"))


def test_posteriors_have_no_limit_at_infinite_beta():
    with pytest.raises(ValueError, match="posteriors: beta must be finite, got inf"):
        posteriors(gtnet.linear([1]), math.inf)


@given(strategies.graphs(), st.booleans())
def test_strided_scores_give_the_same_answers(graph, grad):
    def strided(values: torch.Tensor) -> torch.Tensor:
        wide = torch.zeros(len(values), 2, dtype=values.dtype)
        wide[:, 0] = values
        return wide[:, 0].detach().requires_grad_(grad)

    spread = graph.with_weights(
        strided(graph.weights), start=strided(graph.start), accept=strided(graph.accept)
    )
    for function in (forward_score, viterbi_score, posteriors, shortest_distance):
        result = function(spread)
        torch.testing.assert_close(result, function(graph))
        if grad and result.numel():
            finite(result).sum().backward()
            assert not spread.weights.grad.isnan().any()
    for function in (gtnet.viterbi_path, gtnet.connect):
        assert function(spread).equal(function(graph))
    best = zip(gtnet.k_best(spread, 2), gtnet.k_best(graph, 2), strict=True)
    assert all(ours.equal(theirs) for ours, theirs in best)
    if len(graph) == 1:
        assert (spread @ spread).equal(graph @ graph)


def test_gradients_from_expanded_outputs():
    graph = gtnet.linear([1, 2]).requires_grad_()
    forward_score(graph).expand(3).sum().backward()
    assert graph.weights.grad.tolist() == [3.0, 3.0]


# Precision


@pytest.mark.parametrize(("frames", "labels"), [(10_000, 100), (1_000, 1_000)])
@pytest.mark.parametrize("seed", [0, 1])
def test_long_sums_stay_precise(frames, labels, seed):
    scores = 3 * torch.randn(frames, labels, generator=torch.Generator().manual_seed(seed))
    weights = scores.reshape(-1).clone().requires_grad_()
    source = torch.arange(frames).repeat_interleave(labels)
    graph = Graph(
        source, source + 1, torch.arange(labels).repeat(frames), weights=weights, accept=frames
    )
    score = forward_score(graph)
    exact = scores.double().logsumexp(1).sum()
    assert abs(score.double() / exact - 1) < 1e-6
    score.backward()
    per_frame = weights.grad.reshape(frames, labels)
    assert (per_frame.double().sum(1) - 1).abs().max() < 1e-5
    torch.testing.assert_close(per_frame, scores.softmax(1), rtol=1e-4, atol=1e-6)
    assert (posteriors(graph).reshape(frames, labels).sum(1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("scale", [1e4, -1e4, 1e8, -1e8])
def test_large_scores_cancel(scale):
    graph = Graph([0, 0], [1, 1], [0, 1], weights=[scale, scale], accept=1)
    assert forward_score(graph).item() == pytest.approx(scale + math.log(2), rel=1e-7)
    assert posteriors(graph).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("scale", [1e32, -1e38])
@pytest.mark.parametrize("beta", [1.0, 10.0])
def test_the_largest_scores_do_not_overflow(scale, beta):
    graph = Graph([0, 0], [1, 1], [0, 1], weights=[scale, scale], accept=1)
    assert forward_score(graph, beta).item() == pytest.approx(scale)
    assert viterbi_score(graph).item() == pytest.approx(scale)


def test_results_repeat_bit_for_bit_on_several_threads():
    torch.manual_seed(3)
    lattices = [gtnet.Emissions(torch.randn(1, 40, 30)).graph() for _ in range(16)]
    batch = stack(lattices)
    results = []
    for threads in (1, 2, 4, 1):
        torch.set_num_threads(threads)
        graph = batch.with_weights(batch.weights.clone()).detach().requires_grad_()
        score = forward_score(graph, 1.5)
        score.sum().backward()
        results.append((score.detach(), graph.weights.grad))
    for score, grad in results[1:]:
        assert torch.equal(score, results[0][0])
        assert torch.equal(grad, results[0][1])
