"""minimize, push and prune: the same strings in fewer states, moved scores, good paths only."""

from __future__ import annotations

import math

import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import (
    Automaton,
    Path,
    at_most,
    automata,
    paths,
    posteriors,
    relation,
    sequence_scores,
    string_scores,
)
from test_determinize import SEMIRINGS, assert_deterministic, assert_same_strings, string_graphs

from gtnet import (
    EPSILON,
    Graph,
    compose,
    determinize,
    forward_score,
    linear,
    minimize,
    prune,
    push,
    remove_epsilon,
    stack,
    trie,
    viterbi_score,
)

NEG_INF = float("-inf")


def deterministic(graph: Graph, semiring: str) -> Graph:
    return determinize(graph.detach(), semiring=semiring, on="pairs")


def futures_of(one: Automaton, state: int) -> list[Path]:
    """The paths from a state to acceptance."""
    start = tuple(0.0 if s == state else NEG_INF for s in range(one.num_states))
    return paths(Automaton(one.arcs, start, one.accept, one.first_arc, one.first_state))


@settings(max_examples=50)
@given(strategies.graphs(), SEMIRINGS, st.sampled_from(["identical", "equal"]))
def test_strings_keep_their_scores(graph, semiring, merge):
    graph = deterministic(graph, semiring)
    result = minimize(graph, semiring=semiring, merge=merge)
    assert result.num_states <= graph.num_states
    assert result.dtype == graph.dtype
    assert_deterministic(result, on="pairs")
    assert_same_strings(result, graph, semiring)


@settings(max_examples=30)
@given(strategies.graphs(acceptor=True, dtype=torch.float64), SEMIRINGS)
def test_minimal_graphs_have_no_two_equal_states(graph, semiring):
    """From different states lead different strings, up to a factor: none could be merged."""
    result = minimize(deterministic(graph, semiring), semiring=semiring)
    for one in automata(result):
        futures = {
            frozenset((p.inputs, round(p.score, 6)) for p in futures_of(one, state))
            for state in range(one.num_states)
        }
        assert len(futures) == one.num_states


def test_cyclic_graphs_are_minimized():
    # (a b)* written twice over: states 0 2 and 1 3 do the same.
    graph = Graph([0, 1, 2, 3], [1, 2, 3, 0], [0, 1, 0, 1], accept=[0, 2]).to(torch.float64)
    light = graph.with_weights(graph.weights - 1)
    result = minimize(light)
    assert (result.num_states, result.num_arcs) == (2, 2)
    ours, theirs = (sequence_scores(automata(g)[0], "log", 4) for g in (result, light))
    assert ours == pytest.approx(theirs)
    assert minimize(graph, semiring="tropical").num_states == 2
    assert minimize(graph).num_states == 2  # scores that are all 0 need no sum
    uneven = graph.with_weights(torch.tensor([0.1, 0, 0, -0.1], dtype=torch.float64))
    with pytest.raises(ValueError, match=r'minimize: graph 0 .* sum to infinity.*"tropical"'):
        minimize(uneven)


def test_shared_suffixes_of_words():
    words = [[1, 2, 3], [4, 2, 3], [4, 3]]
    source, target, labels = [0, 1, 2, 0, 4, 5, 4], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 2, 3, 3]
    trie = Graph(source, target, labels, accept=[3, 6, 7])
    result = minimize(trie, semiring="tropical")
    assert sorted(p.inputs for p in paths(automata(result)[0])) == sorted(map(tuple, words))
    assert (result.num_states, result.num_arcs) == (5, 6)
    assert result.arc_maps[0].tolist() == [0, 1, 2, 3, 4, 6]
    assert result.state_maps[0].tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=30)
@given(strategies.graphs(size=1, dtype=torch.float64, acceptor=True), st.integers(0, 99), SEMIRINGS)
def test_gradients_of_strings_stay(graph, seed, semiring):
    score = forward_score if semiring == "log" else viterbi_score
    graph = deterministic(strategies.with_random_scores(graph, seed), semiring)
    for scores in (graph.weights, graph.weights * 0):
        learning = graph.with_weights(scores).detach().requires_grad_()
        result = minimize(learning, semiring=semiring)
        inputs = (learning.weights, learning.start, learning.accept)
        for string in string_graphs(automata(graph)[0]):
            totals = [score(compose(string, g)).sum() for g in (result, learning)]
            grads = [torch.autograd.grad(t, inputs, retain_graph=True) for t in totals]
            for a, b in zip(*grads, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_what_is_not_deterministic_is_refused():
    two_starts = Graph([0, 1], [2, 2], [0, 1], start=[0, 1], accept=2)
    two_arcs = Graph([0, 1, 1], [1, 2, 3], [0, 1, 1], accept=[2, 3])
    silent = Graph([0], [1], [EPSILON], accept=1)
    for graph, message in (
        (two_starts, "graph 1 has several start states"),
        (two_arcs, "graph 1 has two arcs with one label in state 1"),
        (silent, "graph 1 has an arc that is EPSILON on both sides in state 0"),
    ):
        with pytest.raises(ValueError, match=f"minimize: {message}: determinize it first"):
            minimize(stack([linear([1]), graph]))


def test_empty_batches_and_languages():
    nothing = Graph([], [], [], start=[], accept=[])
    mute = Graph([0], [1], [2], start=[], accept=1)
    batch = minimize(stack([nothing, mute, linear([1, 1])]))
    assert batch.state_offsets.tolist() == [0, 0, 0, 3]
    assert len(minimize(batch[0:0])) == len(push(batch[0:0])) == len(prune(batch[0:0], beam=1)) == 0


# push


@settings(max_examples=50)
@given(strategies.graphs(), SEMIRINGS, st.sampled_from(["start", "accept"]))
def test_pushing_keeps_the_score_of_every_path(graph, semiring, to):
    result = push(graph, to=to, semiring=semiring)
    tolerance = 1e-5 if graph.dtype == torch.float32 else 1e-9
    for one, other in zip(automata(graph), automata(result), strict=True):
        scores = {(*p.arcs, p.first): p.score for p in paths(one)}
        found = {(*p.arcs, p.first): p.score for p in paths(other)}
        assert found == pytest.approx(scores, rel=tolerance, abs=tolerance)


@given(strategies.graphs(dtype=torch.float64), SEMIRINGS)
def test_after_pushing_to_the_start_every_future_sums_to_one(graph, semiring):
    result = push(graph, semiring=semiring)
    for one in automata(result):
        alive = [state for state in range(one.num_states) if futures_of(one, state)]
        for state in alive:
            rest = [a.weight for a in one.arcs if a.source == state and a.target in alive]
            rest.append(one.accept[state])
            total = max(rest) if semiring == "tropical" else math.log(sum(map(math.exp, rest)))
            assert total == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("semiring", ["log", "tropical"])
@pytest.mark.parametrize("to", ["start", "accept"])
def test_gradcheck_of_push_with_cycles(semiring, to):
    generator = torch.Generator().manual_seed(2)
    weights = -1 - torch.rand(6, generator=generator, dtype=torch.float64)
    graph = Graph([0, 1, 2, 1, 2, 1], [1, 2, 1, 3, 2, 4], [0, 1, 2, 3, 4, 5],
                  weights=weights, start={0: 0.5, 1: -1.0}, accept={3: 0.25})  # fmt: skip

    def scores(weights, start, accept):
        one = graph.with_weights(weights, start=start, accept=accept)
        result = push(one, to=to, semiring=semiring)
        return tuple(t[t > NEG_INF] for t in (result.weights, result.start, result.accept))

    inputs = [t.clone().requires_grad_() for t in (graph.weights, graph.start, graph.accept)]
    torch.autograd.gradcheck(scores, inputs)
    torch.autograd.gradgradcheck(scores, inputs, fast_mode=True)


@settings(max_examples=60)
@given(strategies.graphs(), st.sampled_from(["start", "accept"]))
def test_pushing_labels_keeps_what_paths_read_and_write(graph, to):
    result = push(graph, what="labels", to=to)
    for one, other in zip(automata(graph), automata(result), strict=True):
        assert relation(paths(other)) == relation(paths(one))
    arc_map = result.arc_maps[0]
    named = arc_map >= 0
    assert torch.equal(result.ilabels[named], graph.ilabels[arc_map[named].long()])


@settings(max_examples=30)
@given(strategies.functional_transducers())
def test_outputs_are_written_as_early_as_they_are_certain(graph):
    for one in automata(push(graph, what="labels")):
        for state in range(one.num_states):
            if one.start[state] > NEG_INF or all(a.target != state for a in one.arcs):
                continue
            if any(a.ilabel == EPSILON for a in one.arcs if a.source == state):
                continue  # inserted: the state writes what was pushed
            written = {p.outputs[:1] for p in futures_of(one, state)}
            assert len(written) != 1 or written == {()}


def test_a_word_is_written_by_its_first_certain_arc():
    words = trie([[1, 2, 3], [1, 4], [5, 6]])
    early = push(words, what="labels")
    arcs = set(zip(early.ilabels.tolist(), early.olabels.tolist(), strict=True))
    assert arcs == {(1, EPSILON), (2, 0), (3, EPSILON), (4, 1), (5, 2), (6, EPSILON)}
    late = push(early, what="labels", to="accept")
    assert relation(paths(automata(late)[0])) == relation(paths(automata(words)[0]))
    assert minimize(early, semiring="tropical").num_states == 5


def test_labels_certain_at_the_start_are_written_there():
    graph = Graph([0, 1, 0], [1, 2, 2], [1, 2, 3], [7, 8, 7], weights=[1.0, 2.0, 3.0], accept=2)
    result = push(graph, what="labels")
    assert result.arc_maps[0].tolist() == [0, 1, 2, -1]
    assert result.state_maps[0].tolist() == [0, 1, 2, -1]
    assert relation(paths(automata(result)[0])) == relation(paths(automata(graph)[0]))


def test_labels_around_cycles():
    graph = Graph([0, 1, 1], [1, 1, 2], [1, 2, 3], [EPSILON, 5, 5], accept=2)
    for to in ("start", "accept"):
        result = push(graph, what="labels", to=to)
        ours, theirs = (
            {
                p
                for p in string_scores(paths(automata(g)[0], at_most(n)), "tropical")
                if len(p[0]) < 6
            }
            for g, n in ((result, 16), (graph, 8))
        )
        assert ours == theirs


@pytest.mark.parametrize("work", [minimize, push, determinize, remove_epsilon, prune])
def test_other_devices_are_named(work):
    with pytest.raises(ValueError, match=f"{work.__name__}: graph must be on the cpu .*got meta"):
        work(linear([1]).to("meta"), **({"beam": 1.0} if work is prune else {}))


def test_push_is_bad_input_aware():
    with pytest.raises(ValueError, match='push: what must be "weights" or "labels", got \'all\''):
        push(linear([1]), what="all")
    with pytest.raises(ValueError, match='push: to must be "start" or "accept", got \'end\''):
        push(linear([1]), to="end")
    with pytest.raises(ValueError, match="semiring"):
        push(linear([1]), semiring="boolean")


# prune


@settings(max_examples=50)
@given(strategies.graphs(dtype=torch.float64), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_a_beam_keeps_what_good_paths_take(graph, beam):
    result = prune(graph, beam=beam)
    kept = set(result.arc_maps[0].tolist())
    for one, rest in zip(automata(graph), automata(result), strict=True):
        found = paths(one)
        best = max((p.score for p in found), default=0)
        good = [p for p in found if p.score >= best - beam]
        wanted = {arc for p in good for arc in p.arcs}
        own = {k for k in kept if 0 <= k - one.first_arc < len(one.arcs)}
        assert own == wanted
        assert not relation(good) - relation(paths(rest))


@settings(max_examples=30)
@given(strategies.graphs(dtype=torch.float64), st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_a_posterior_keeps_what_is_likely(graph, posterior):
    kept = set(prune(graph, posterior=posterior).arc_maps[0].tolist())
    for one in automata(graph):
        chances = posteriors(one)
        own = {k for k in kept if 0 <= k - one.first_arc < len(one.arcs)}
        likely = {
            arc.index
            for arc, p in zip(one.arcs, chances.arcs, strict=True)
            if p > 0 and p >= posterior
        }
        assert own <= likely
        if posterior <= 0.05 and all(p == 0 or p > posterior for p in chances.start):
            assert own == likely or any(0 < p < posterior for p in chances.accept + chances.arcs)


def test_pruned_scores_learn():
    weights = torch.tensor([0.0, -5.0, 1.0], requires_grad=True)
    graph = prune(Graph([0, 0, 1], [1, 1, 2], [0, 1, 2], weights=weights, accept=2), beam=1)
    assert graph.num_arcs == 2
    forward_score(graph).sum().backward()
    assert weights.grad.tolist() == [1, 0, 1]


def test_pruning_cyclic_graphs():
    graph = Graph([0, 0, 0], [0, 1, 1], [0, 1, 2], weights=[-1.0, 0.0, -3.0], accept=1)
    assert prune(graph, beam=2).num_arcs == 2
    assert prune(graph, beam=0).num_arcs == 1
    assert prune(graph, posterior=0.9).num_arcs == 1


def test_prune_wants_one_threshold():
    graph = linear([1])
    for arguments in ({}, {"beam": 1, "posterior": 0.5}):
        with pytest.raises(ValueError, match="exactly one of beam and posterior"):
            prune(graph, **arguments)
    with pytest.raises(ValueError, match="beam must be at least 0, got -1"):
        prune(graph, beam=-1)
    with pytest.raises(ValueError, match=r"posterior must lie in \[0, 1\], got 2"):
        prune(graph, posterior=2)
