"""Parallel arcs, components, total scores and affixes taken away: languages and OpenFst."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import NEG_INF, automata, only, paths, string_scores
from test_distance import scored
from test_openfst import from_openfst, pynini, random_graph, to_openfst
from torch.autograd import gradcheck, gradgradcheck

import gtnet
from gtnet import Graph, condense, connect, merge_arcs, push, stack
from gtnet.condense import Condensed

# One arc for several


def doubled(source: random.Random) -> Graph:
    """A random graph with some arcs twice, under the same or another score."""
    graph = random_graph(source)
    rows = list(
        zip(*(t.tolist() for t in (graph.source, graph.target, graph.ilabels, graph.olabels)))
    )
    weights = graph.weights.tolist()
    for _ in range(source.randint(0, 5) if rows else 0):
        at = source.randrange(len(rows))
        rows.append(rows[at])
        weights.append(weights[at] + source.choice([0.0, 0.0, -0.5, 1.0]))
    columns = [list(c) for c in zip(*rows, strict=True)] or [[]] * 4
    return Graph(
        *columns,
        torch.tensor(weights, dtype=torch.float64),
        start=graph.start,
        accept=graph.accept,
        num_states=graph.num_states,
    )


def rows(automaton) -> Counter:
    return Counter(
        (a.source, a.target, a.ilabel, a.olabel, round(a.weight, 4)) for a in automaton.arcs
    )


def agrees_with_openfst(graph: Graph) -> bool:
    """The arcs of OpenFst's mappers; its state 0 has arcs of its own."""
    for how, arc_type, theirs in (
        ("sum", "log64", "arc_sum"),
        ("max", "standard", "arc_sum"),
        ("unique", "log64", "arc_unique"),
    ):
        fst = pynini.statemap(to_openfst(graph, arc_type), map_type=theirs)
        arcs = [a for a in from_openfst(fst).arcs if a.source != 0]
        expected = Counter(
            (a.source - 1, a.target - 1, a.ilabel, a.olabel, round(a.weight, 4)) for a in arcs
        )
        ours = rows(only(merge_arcs(graph, how)))
        if how == "unique":  # OpenFst leaves those that others lie between
            expected = Counter(set(expected))
        if ours != expected:
            return False
    return True


def test_openfst_agrees_on_parallel_arcs():
    source = random.Random(59)
    assert all(agrees_with_openfst(doubled(source)) for _ in range(24))


@settings(max_examples=12)
@given(strategies.graphs())
def test_strings_keep_their_scores(graph):
    for how, semiring in (("sum", "log"), ("max", "tropical")):
        made = merge_arcs(graph, how)
        for ours, old in zip(automata(made), automata(graph), strict=True):
            expected = string_scores(paths(old), semiring)
            assert string_scores(paths(ours), semiring) == pytest.approx(expected, abs=1e-5)
        named = made.arc_maps[0].long()
        for name in ("source", "target", "ilabels", "olabels"):
            assert torch.equal(getattr(made, name), getattr(graph, name)[named])
        assert how == "sum" or torch.equal(made.weights, graph.weights[named])


def test_gradients_of_merged_arcs():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, dtype=torch.float64, generator=generator)
    graph = Graph([0, 0, 0, 1, 0], [1, 1, 1, 2, 1], [0, 0, 1, 0, 0], None, weights, accept=2)
    inputs, put = scored(graph)
    for how in ("sum", "max", "unique"):

        def found(*scores, how=how):
            return merge_arcs(put(*scores), how).weights

        assert gradcheck(found, inputs)
        assert gradgradcheck(found, inputs, fast_mode=True)


def test_other_ways_are_refused():
    with pytest.raises(ValueError, match=r'merge_arcs: how must be "sum", "max" or "unique", got'):
        merge_arcs(gtnet.linear([1]), "mean")


# Components


def reachable(automaton) -> list[set[int]]:
    """From each state, itself among them."""
    found = []
    for state in range(automaton.num_states):
        seen, queue = {state}, [state]
        while queue:
            at = queue.pop()
            new = {a.target for a in automaton.arcs if a.source == at} - seen
            seen |= new
            queue += new
        found.append(seen)
    return found


@settings(max_examples=12)
@given(strategies.graphs(acyclic=False))
def test_components_are_states_that_reach_each_other(graph):
    found: Condensed = condense(graph, semiring="tropical")
    became = found.state_of_state.tolist()
    for i, (old, new) in enumerate(zip(automata(graph), automata(found.graph), strict=True)):
        reach = reachable(old)
        local = [became[old.first_state + s] - new.first_state for s in range(old.num_states)]
        for s in range(old.num_states):
            for t in range(old.num_states):
                mutual = t in reach[s] and s in reach[t]
                assert (local[s] == local[t]) == mutual
        between = [a for a in old.arcs if local[a.source] != local[a.target]]
        assert [(a.source, a.target, a.ilabel, a.olabel, a.weight) for a in new.arcs] == [
            (local[a.source], local[a.target], a.ilabel, a.olabel, a.weight) for a in between
        ]
        assert all(a.source < a.target for a in new.arcs)
        for name in ("start", "accept"):
            for state in range(new.num_states):
                members = [getattr(old, name)[s] for s in range(len(local)) if local[s] == state]
                assert getattr(new, name)[state] == max(members)
        assert len(found.graph) == len(graph), i
    first = found.graph.state_maps[0].long()
    assert torch.equal(found.state_of_state[first], torch.arange(found.graph.num_states))


# What all paths share


def agrees_on_totals(graph: Graph) -> bool:
    """Pushing with remove_total_weight, in both semirings: the score of every string."""
    useful = connect(graph)
    for semiring, arc_type in (("log", "log64"), ("tropical", "standard")):
        for to, kind in (("start", "to_initial"), ("accept", "to_final")):
            theirs = pynini.push(
                to_openfst(useful, arc_type),
                push_weights=True,
                remove_total_weight=True,
                reweight_type=kind,
                delta=1e-12,
            )
            ours = push(useful, semiring=semiring, to=to, remove=True)
            mine = string_scores(paths(only(ours)), semiring)
            if mine != pytest.approx(
                string_scores(paths(from_openfst(theirs)), semiring), rel=1e-4, abs=1e-4
            ):
                return False
    return True


def agrees_on_affixes(graph: Graph) -> bool:
    """Pushing labels with remove_common_affix: what is read and written, with scores."""
    useful = connect(graph)
    for to, kind in (("start", "to_initial"), ("accept", "to_final")):
        theirs = pynini.push(
            to_openfst(useful, "log64"),
            push_labels=True,
            remove_common_affix=True,
            reweight_type=kind,
        )
        ours = push(useful, what="labels", to=to, remove=True)
        mine = string_scores(paths(only(ours)), "log")
        expected = string_scores(paths(from_openfst(theirs)), "log")
        if mine != pytest.approx(expected, rel=1e-4, abs=1e-4):
            return False
    return True


def written_alike(source: random.Random) -> Graph:
    """A transducer whose paths begin and end with outputs in common."""
    middle = random_graph(source)
    letters = [source.randrange(2) for _ in range(4)]

    def silent(outputs):
        count = len(outputs)
        return Graph(range(count), range(1, count + 1), [-1] * count, outputs, accept=count).to(
            torch.float64
        )

    return silent(letters[:2]) + middle + silent(letters[2:])


def test_openfst_agrees_on_what_is_taken_away():
    source = random.Random(61)
    for _ in range(24):
        assert agrees_on_totals(random_graph(source))
        assert agrees_on_affixes(written_alike(source))


def test_several_starts_and_items_share_their_own_affix():
    graph = Graph(
        [0, 1, 2, 3], [2, 2, 4, 4], [0, 1, 2, 3], [7, 7, 8, 9], start=[0, 1], accept=4,
        num_states=5,
    )  # fmt: skip
    batch = stack([graph, gtnet.linear([3, 4]), graph])
    made = push(batch, what="labels", remove=True)
    found = [{path.outputs for path in paths(one)} for one in automata(made)]
    assert found == [{()}, {()}, {()}]


def test_nothing_shared_is_nothing_taken():
    empty = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    one = gtnet.linear([0], dtype=torch.float64)
    batch = stack([empty, one | gtnet.linear([1], dtype=torch.float64)])
    kept = push(batch, what="labels", remove=True)
    assert {p.outputs for p in paths(automata(kept)[1])} == {(0,), (1,)}
    total = gtnet.forward_score(push(batch, remove=True))
    assert total.tolist() == pytest.approx([NEG_INF, 0.0])


def test_gradients_without_the_total():
    graph = strategies.with_random_scores(random_graph(random.Random(4)), 1)
    inputs, put = scored(connect(graph))

    def found(*scores):
        made = push(put(*scores), remove=True)
        return torch.cat([made.weights, made.start[made.start > NEG_INF]])

    assert gradcheck(found, inputs)


# Isomorphism


def moved(graph: Graph, source: random.Random, by: float) -> Graph:
    """States and arcs in another order, scores changed by less than `by`."""
    number = source.sample(range(graph.num_states), graph.num_states)
    order = source.sample(range(graph.num_arcs), graph.num_arcs)
    place = torch.tensor(number, dtype=torch.int64)
    arcs = torch.tensor(order, dtype=torch.int64)

    def shaken(scores):
        noise = torch.tensor([source.uniform(-by, by) for _ in scores], dtype=torch.float64)
        return scores + noise

    back = place.argsort()
    return Graph(
        place[graph.source.long()][arcs],
        place[graph.target.long()][arcs],
        graph.ilabels[arcs],
        graph.olabels[arcs],
        shaken(graph.weights[arcs]),
        start=shaken(graph.start[back]),
        accept=shaken(graph.accept[back]),
        num_states=graph.num_states,
    )


def test_graphs_are_isomorphic_within_a_tolerance():
    source = random.Random(67)
    for _ in range(24):
        graph = doubled(source)
        other = moved(graph, source, 1e-3)
        assert graph.isomorphic(other, tolerance=1e-3)
        assert not graph.isomorphic(other)
        assert not graph.isomorphic(moved(other.with_weights(other.weights + 0.1), source, 0))
        if graph.num_arcs:
            far = other.with_weights(other.weights + 0.05)
            assert not graph.isomorphic(far, tolerance=1e-3)


def test_steps_that_add_up_are_seen():
    a = Graph([0, 0, 0], [1, 1, 1], [0, 0, 0], None, [0.0, 1.0, 2.0], accept=1)
    b = Graph([0, 0, 0], [1, 1, 1], [0, 0, 0], None, [0.0, 2.0, 2.0], accept=1)
    c = Graph([0, 0, 0], [1, 1, 1], [0, 0, 0], None, [0.0, 0.0, 0.0], accept=1)
    assert a.isomorphic(b, tolerance=1.0)
    assert not a.isomorphic(c, tolerance=1.0)
    with pytest.raises(ValueError, match="isomorphic: tolerance must be positive and finite"):
        a.isomorphic(b, tolerance=-1.0)
