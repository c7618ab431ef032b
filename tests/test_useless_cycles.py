"""A cycle that diverges on no accepting path contributes nothing, alone and in a batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import emulated
import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import automata, string_scores
from oracle import paths as all_paths

import gtnet
from gtnet import (
    EPSILON,
    Graph,
    connect,
    determinize,
    forward_score,
    linear,
    minimize,
    prune,
    push,
    remove_epsilon,
    stack,
    viterbi_score,
)

NEG_INF = float("-inf")


def with_cycle(graph: Graph, kind: str, label: int, weight: float) -> Graph:
    """One acyclic graph with two more states: a cycle of its own, or before, behind or beside."""
    size = graph.num_states
    source, target = [size, size + 1], [size + 1, size]
    weights = [weight, weight]
    bridges = {"apart": (), "before": ((size, 0),), "behind": ((0, size),)}.get(kind, ())
    if kind == "blocked":  # reached from the start and reaching the end by arcs of score -inf
        bridges = ((0, size), (size, size - 1))
    source += [s for s, _ in bridges]
    target += [t for _, t in bridges]
    weights += [NEG_INF if kind == "blocked" else 0.0] * len(bridges)
    labels = [label, label] + [EPSILON if label == EPSILON else 1] * len(bridges)
    nowhere = graph.start.new_full((2,), NEG_INF)
    return Graph(
        [*graph.source.tolist(), *source],
        [*graph.target.tolist(), *target],
        [*graph.ilabels.tolist(), *labels],
        [*graph.olabels.tolist(), *labels],
        torch.cat([graph.weights, graph.weights.new_tensor(weights)]),
        start=torch.cat([graph.start, nowhere]),
        accept=torch.cat([graph.accept, nowhere]),
    )


KINDS = ("apart", "before", "behind", "blocked")
REWRITES: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "push": (push, "log"),
    "push to accept": (lambda g: push(g, to="accept"), "log"),
    "push, tropical": (lambda g: push(g, semiring="tropical"), "tropical"),
    "push to accept, tropical": (
        lambda g: push(g, to="accept", semiring="tropical"),
        "tropical",
    ),
    "push labels": (lambda g: push(g, what="labels"), "log"),
    "remove_epsilon": (remove_epsilon, "log"),
    "remove_epsilon, tropical": (lambda g: remove_epsilon(g, semiring="tropical"), "tropical"),
    "determinize": (lambda g: determinize(g, on="pairs"), "log"),
    "determinize, tropical": (
        lambda g: determinize(g, on="pairs", semiring="tropical"),
        "tropical",
    ),
    "minimize": (lambda g: minimize(determinize(g, on="pairs")), "log"),
    "minimize, tropical": (
        lambda g: minimize(
            determinize(g, on="pairs", semiring="tropical", merge="equal"), semiring="tropical"
        ),
        "tropical",
    ),
    "prune": (lambda g: prune(g, beam=1e9), "log"),
    "prune by posteriors": (lambda g: prune(g, posterior=0.0), "log"),
}


def strings(graph: Graph, semiring: str) -> list[dict]:
    return [string_scores(all_paths(one), semiring) for one in automata(connect(graph))]


@pytest.mark.parametrize("name", REWRITES)
@settings(max_examples=8)
@given(graph=strategies.graphs(size=1, dtype=torch.float64))
def test_rewrites_keep_the_scores_of_strings(name, graph):
    rewrite, semiring = REWRITES[name]
    if graph.num_states == 0:
        return
    items = [
        with_cycle(graph, kind, label, weight)
        for kind in KINDS
        for label in (2, EPSILON)
        for weight in (0.0, 3.0)
    ]
    batch = stack([*items, graph])
    expected = strings(graph, semiring)[0]
    for found in strings(rewrite(batch), semiring):
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", [2, EPSILON])
@pytest.mark.parametrize("name", REWRITES)
def test_gradients_are_those_without_the_cycle(name, label, dtype):
    rewrite, semiring = REWRITES[name]
    total = forward_score if semiring == "log" else viterbi_score
    weights = torch.tensor([0.5, -1, 0.25], dtype=dtype)
    plain = Graph([0, 0, 1], [1, 1, 2], [3, EPSILON, 4], None, weights, accept={2: -0.5, 1: 1.0})
    for kind in KINDS:
        cyclic = with_cycle(plain, kind, label, 1.0)
        batch = stack([plain, cyclic]).to(dtype).detach().requires_grad_()
        total(rewrite(batch)).sum().backward()
        for of in ("weights", "start", "accept"):
            grad = getattr(batch, of).grad
            size = len(getattr(plain, of))
            torch.testing.assert_close(grad[:size], grad[size : 2 * size])
            assert (grad[2 * size :] == 0).all()
            assert grad.isfinite().all()


@pytest.mark.parametrize("name", ["push", "remove_epsilon", "determinize", "minimize"])
def test_what_really_diverges_is_named_by_its_number_and_the_way_out(name):
    rewrite, _ = REWRITES[name]
    loop = Graph([0, 0], [0, 1], [EPSILON, 3], accept=1)
    useless = with_cycle(linear([1]), "behind", EPSILON, 3.0)
    batch = stack([useless, linear([1]), loop])
    with pytest.raises(ValueError, match=r'graph 2 has a cycle through state 0.*"tropical"'):
        rewrite(batch)
    growing = loop.with_weights(torch.tensor([0.5, 0.0]))  # has no best path either
    with pytest.raises(ValueError, match="graph 1 has a cycle through state 0") as refused:
        rewrite(stack([useless, growing, loop]))
    assert "tropical" not in str(refused.value)


def test_prune_names_its_own_way_out():
    with pytest.raises(ValueError, match=r"graph 1 has a cycle .* prune with a beam"):
        prune(stack([linear([1]), linear([1]).star]), posterior=0.5)


@pytest.mark.parametrize("semiring", ["log", "tropical"])
def test_maps_name_the_arcs_of_the_given_graph(semiring):
    graph = with_cycle(Graph([0, 1, 1], [1, 2, 2], [EPSILON, 5, 6], accept=2), "behind", EPSILON, 1)
    plain = remove_epsilon(stack([graph, graph]), semiring=semiring)
    assert plain.arc_maps[0].tolist() == [1, 2, 7, 8]
    assert plain.state_maps[0].tolist() == [0, 2, 5, 7]
    moved = push(stack([graph, graph]), semiring=semiring)
    assert moved.arc_maps[0].tolist() == list(range(12))


def test_empty_languages_with_cycles():
    nothing = with_cycle(Graph([0], [1], [1], accept=[], num_states=2), "behind", EPSILON, 2.0)
    for name, (rewrite, _) in REWRITES.items():
        made = connect(rewrite(stack([nothing, linear([1])])))
        assert forward_score(made)[0] == NEG_INF, name
        assert made.state_offsets.tolist()[1] == 0, name


def test_an_epsilon_cycle_on_no_path_is_cut_off_on_a_gpu(on_gpu):
    graph = with_cycle(Graph([0, 1], [1, 2], [EPSILON, 5], accept=2), "behind", EPSILON, 1)
    with emulated.OnGpu():
        plain = remove_epsilon(graph)
    assert plain.arc_maps[0].tolist() == [1]


def test_everything_else_that_sums_over_paths():
    """Every sum and choice of paths, alone and beside a good graph."""
    graphs = [with_cycle(linear([0, 1]), kind, label, 2.0) for kind in KINDS for label in (1, -1)]
    frames = gtnet.Emissions(torch.zeros(1, 2, 3))
    works: list[Callable[[Graph], object]] = [
        forward_score,
        viterbi_score,
        gtnet.free_energy,
        gtnet.posteriors,
        gtnet.entropy,
        gtnet.viterbi_path,
        gtnet.enumerate_paths,
        gtnet.best_answers,
        lambda g: gtnet.expectation(g, torch.zeros(g.num_arcs)),
        lambda g: gtnet.cross_entropy(g, g),
        lambda g: gtnet.kl_divergence(g, g),
        lambda g: gtnet.variational_bound(g, g, samples=2),
        lambda g: gtnet.k_best(g, 2),
        lambda g: gtnet.k_best(g, 2, unique="ilabels"),
        lambda g: gtnet.sample(g, 2),
        lambda g: gtnet.randomly_equivalent(g, g),
        lambda g: gtnet.difference(g, linear([5])),
        lambda g: forward_score(frames @ g),
        lambda g: gtnet.entropy(frames @ g),
        lambda g: gtnet.k_best(frames @ g, 2),
        lambda g: gtnet.sample(frames @ g, 2),
        lambda g: gtnet.prune(frames @ g, beam=1.0),
        lambda g: gtnet.best_answers(frames @ g),
    ]
    for work in works:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            work(stack([linear([0, 1]), *graphs]))
            for graph in graphs:
                work(graph)
    assert forward_score(stack(graphs)).tolist() == [0.0] * len(graphs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_beam_search_leaves_epsilon_cycles_out_that_accept_nothing(kind, weight, dtype):
    plain = Graph([0, 1, 0], [1, 2, 2], [0, 1, EPSILON], weights=[0.5, 0.0, -1.0], accept=2)
    batch = stack([linear([1, 0]), plain, linear([1])]).to(dtype)
    cyclic = stack([with_cycle(graph, kind, EPSILON, weight) for graph in batch])
    scores = torch.randn(3, 2, 2, dtype=dtype, generator=torch.Generator().manual_seed(1))
    leaf = scores.clone().requires_grad_()
    frames = gtnet.Emissions(leaf, [2, 2, 1])
    found = gtnet.beam_search(frames, cyclic, beam=float("inf"))
    expected = gtnet.beam_search(frames, batch, beam=float("inf"))
    torch.testing.assert_close(forward_score(found), forward_score(expected))
    torch.testing.assert_close(viterbi_score(found), viterbi_score((frames @ batch).graph()))
    forward_score(found).sum().backward()
    assert leaf.grad.isfinite().all()


def test_a_beam_search_refuses_epsilon_cycles_that_accept():
    useful = with_cycle(linear([1]), "behind", EPSILON, -1.0)
    useful = useful.with_weights(accept=torch.zeros_like(useful.accept))
    batch = stack([with_cycle(linear([1]), "behind", EPSILON, 1.0), useful])
    with pytest.raises(ValueError, match=r"graph 1 has a cycle of epsilons through state .*remove"):
        gtnet.beam_search(gtnet.Emissions(torch.zeros(2, 1, 2)), batch, beam=5.0)
