"""Best paths to every state and through every arc, against enumeration, OpenFst and gradients."""

from __future__ import annotations

import math
import random

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import NEG_INF, assert_close, automata, only
from test_distance import SEEDS, joined, scored
from test_openfst import pynini, random_graph, to_openfst
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import Graph, prune, shortest_distance, slack, stack, viterbi_score


def best_distance(automaton: oracle.Automaton, to_accept: bool) -> list[float]:
    """The best path to each state, or from it to the end, by enumeration."""
    ends = automaton.start if to_accept else automaton.accept
    found = []
    for state in range(automaton.num_states):
        here = tuple(0.0 if s == state else NEG_INF for s in range(len(ends)))
        start, accept = (here, automaton.accept) if to_accept else (automaton.start, here)
        part = oracle.Automaton(
            automaton.arcs, start, accept, automaton.first_arc, automaton.first_state
        )
        found.append(oracle.viterbi_score(part))
    return found


def below_the_best(automaton: oracle.Automaton, of: str) -> list[float]:
    """Slack by enumeration."""
    found = oracle.paths(automaton)
    best = max((path.score for path in found), default=NEG_INF)
    size = len(automaton.arcs) if of == "arcs" else automaton.num_states
    below = [NEG_INF] * size
    for path in found:
        places = [arc - automaton.first_arc for arc in path.arcs]
        if of == "states":
            places = [path.first, *(automaton.arcs[arc].target for arc in places)]
        for place in places:
            below[place] = max(below[place], path.score - best)
    return below


@settings(max_examples=12)
@given(strategies.graphs(), st.booleans())
def test_distances_at_infinite_beta_are_those_of_best_paths(graph, to_accept):
    expected = joined([best_distance(one, to_accept) for one in automata(graph)])
    for given_graph in (graph, graph.detach().requires_grad_()):
        distance = shortest_distance(given_graph, math.inf, to_accept=to_accept)
        assert (distance.dtype, distance.shape) == (torch.float64, (graph.num_states,))
        assert distance.tolist() == expected


@settings(max_examples=12)
@given(strategies.graphs(), st.sampled_from(["arcs", "states"]))
def test_slack_is_what_the_best_path_through_lacks(graph, of):
    expected = joined([below_the_best(one, of) for one in automata(graph)])
    for given_graph in (graph, graph.detach().requires_grad_()):
        below = slack(given_graph, of=of)
        assert below.dtype == graph.dtype
        assert below.tolist() == expected


def cyclic() -> Graph:
    """Two components with cycles, one of them on no accepting path, beside an empty graph."""
    generator = torch.Generator().manual_seed(1)
    arcs = ([0, 1, 2, 1, 3, 3, 0], [1, 2, 1, 3, 3, 4, 5], [0, 1, 2, 0, 1, 2, 0])
    weights = -torch.rand(7, dtype=torch.float64, generator=generator)
    one = Graph(*arcs, None, weights, accept={4: 0.5, 2: -0.25}, num_states=6)
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    return stack([one, nothing])


def test_cycles_are_followed_once_at_most():
    graph = cyclic()
    w = graph.weights.tolist()
    distance = shortest_distance(graph, math.inf)
    expected = [0, w[0], w[0] + w[1], w[0] + w[3], w[0] + w[3] + w[5], w[6]]
    assert_close(distance, expected)
    best = viterbi_score(graph)[0].item()
    loop = best + w[4]
    assert_close(slack(graph)[4:5], [loop - best if w[5] + 0.5 + w[3] >= w[1] - 0.25 else NEG_INF])
    assert slack(graph)[6] == NEG_INF


def test_cycles_of_positive_score_are_refused():
    graph = Graph([0, 0], [0, 1], [0, 1], None, [0.5, 0.0], accept=1)
    with pytest.raises(ValueError, match=r"slack: graph 0 has a cycle through state 0 of positive"):
        slack(graph)
    with pytest.raises(ValueError, match=r"shortest_distance: graph 0 has a cycle .* of positive"):
        shortest_distance(graph, math.inf)


def test_slack_of_other_things_is_refused():
    with pytest.raises(ValueError, match=r'slack: of must be "arcs" or "states", got \'words'):
        slack(gtnet.linear([1]), of="words")


@settings(max_examples=12)
@given(strategies.graphs(dtype=torch.float64), SEEDS)
def test_what_the_beam_keeps_has_little_slack(graph, seed):
    graph = strategies.with_random_scores(graph, seed)
    for beam in (0.0, 0.7):
        kept = prune(graph, beam=beam).arc_maps[0].sort().values
        assert torch.equal(kept.long(), (slack(graph) >= -beam - 1e-9).nonzero().flatten())


def test_derivatives():
    graph = cyclic()
    inputs, put = scored(graph)
    for work in (
        lambda g: shortest_distance(g, math.inf),
        lambda g: shortest_distance(g, math.inf, to_accept=True),
        slack,
        lambda g: slack(g, of="states"),
    ):

        def finite(*scores, work=work):
            found = work(put(*scores))
            return found[found > NEG_INF]

        assert gradcheck(finite, inputs)
        assert work is not slack or gradgradcheck(finite, inputs, fast_mode=True)


def slack_by_openfst(graph: Graph) -> list[float]:
    """From OpenFst's distances in the tropical semiring; its state 0 leads to our starts."""
    fst = to_openfst(graph, "standard")
    before = [-float(w) for w in pynini.shortestdistance(fst)]
    after = [-float(w) for w in pynini.shortestdistance(fst, reverse=True)]
    size = graph.num_states + 1
    before, after = ([*row, *[NEG_INF] * (size - len(row))] for row in (before, after))
    total = after[0]
    through = [before[a.source + 1] + a.weight + after[a.target + 1] for a in only(graph).arcs]
    return [score - total if score > NEG_INF else NEG_INF for score in through]


def agrees_with_openfst(graph: Graph) -> bool:
    """Distances both ways and slack; OpenFst's weights of this semiring are float32."""
    near = {"rel": 1e-5, "abs": 1e-5}
    fst = to_openfst(graph, "standard")
    for to_accept in (False, True):
        row = [-float(w) for w in pynini.shortestdistance(fst, reverse=to_accept)][1:]
        row += [NEG_INF] * (graph.num_states - len(row))
        if shortest_distance(graph, math.inf, to_accept=to_accept).tolist() != pytest.approx(
            row, **near
        ):
            return False
    return slack(graph).tolist() == pytest.approx(slack_by_openfst(graph), **near)


def test_openfst_agrees():
    source = random.Random(47)
    for number in range(24):
        graph = random_graph(source, acyclic=number % 2 == 0)
        graph = graph.with_weights(graph.weights.clamp(max=0))
        assert agrees_with_openfst(graph)
