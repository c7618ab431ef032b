"""Properties of automata, against OpenFst's and against enumeration."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import automata, paths
from test_openfst import NEG_INF, only, pynini, random_graph

import gtnet
from gtnet import EPSILON, Graph, properties, stack

NAMES = {
    "is_acceptor": "ACCEPTOR",
    "is_deterministic": "I_DETERMINISTIC",
    "is_output_deterministic": "O_DETERMINISTIC",
    "has_epsilons": "EPSILONS",
    "has_input_epsilons": "I_EPSILONS",
    "has_output_epsilons": "O_EPSILONS",
    "is_input_sorted": "I_LABEL_SORTED",
    "is_output_sorted": "O_LABEL_SORTED",
    "is_acyclic": "ACYCLIC",
    "is_initial_acyclic": "INITIAL_ACYCLIC",
    "is_top_sorted": "TOP_SORTED",
    "is_accessible": "ACCESSIBLE",
    "is_coaccessible": "COACCESSIBLE",
}


def one_start(graph: Graph) -> Graph:
    """OpenFst has one start state, without a score."""
    if not graph.num_states:
        return graph
    start = torch.full_like(graph.start, NEG_INF)
    start[int(graph.start.argmax())] = 0
    return graph.with_weights(start=start)


def as_openfst(graph: Graph, arc_type: str = "standard"):
    """The same states and arcs."""
    automaton = only(graph)
    fst = pynini.Fst(arc_type=arc_type)
    fst.add_states(automaton.num_states)
    fst.set_start(automaton.start.index(0.0))
    for state, score in enumerate(automaton.accept):
        if score > NEG_INF:
            fst.set_final(state, pynini.Weight(fst.weight_type(), -score))
    for arc in automaton.arcs:
        weight = pynini.Weight(fst.weight_type(), -arc.weight)
        fst.add_arc(arc.source, pynini.Arc(arc.ilabel + 1, arc.olabel + 1, weight, arc.target))
    return fst


def differs_from_openfst(graph: Graph) -> list[str]:
    """The properties of one graph that OpenFst's verification tells otherwise."""
    graph = one_start(graph)
    fst, ours = as_openfst(graph), properties(graph)
    found = [
        name
        for name, theirs in NAMES.items()
        if bool(getattr(ours, name)) != bool(fst.properties(getattr(pynini, theirs), True))
    ]
    in_order = gtnet.top_sort(graph) if ours.is_acyclic and ours.is_coaccessible else graph
    is_string = bool(as_openfst(one_start(in_order)).properties(pynini.STRING, True))
    return found + ["is_linear"] * (is_string and not ours.is_linear)


def test_openfst_agrees():
    source = random.Random(53)
    for number in range(36):
        graph = random_graph(source, acyclic=number % 2 == 0, acceptor=number % 3 == 0)
        assert differs_from_openfst(graph) == []


def by_input(automaton) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """What the accepting paths write, by what they read."""
    found = defaultdict(list)
    for path in paths(automaton):
        found[path.inputs].append(path.outputs)
    return found


def expected(graph: Graph) -> dict[str, list[bool]]:
    written = [by_input(one) for one in automata(graph)]
    return {
        "is_empty": [not one for one in written],
        "is_unambiguous": [all(len(row) == 1 for row in one.values()) for one in written],
        "is_functional": [all(len(set(row)) == 1 for row in one.values()) for one in written],
    }


@settings(max_examples=25)
@given(strategies.graphs())
def test_what_paths_read_and_write(graph):
    assert {name: getattr(properties(graph), name).tolist() for name in expected(graph)} == (
        expected(graph)
    )


@settings(max_examples=10)
@given(strategies.functional_transducers())
def test_functional_transducers_are(graph):
    assert properties(graph).is_functional.all()


def test_cycles_with_delays():
    """One output ahead around a cycle stays one ahead, or grows."""
    late = Graph([0, 1, 1], [1, 1, 2], [0, 0, 1], [EPSILON, 5, 5], accept=2)
    same = Graph([3, 4, 4], [4, 4, 5], [0, 0, 1], [5, 5, EPSILON], start=3, accept=5)
    both = gtnet.union(late, gtnet.connect(same))
    found = properties(both)
    assert (found.is_functional.item(), found.is_unambiguous.item()) == (True, False)
    more = Graph([0, 1, 1], [1, 1, 2], [0, 0, 1], [5, EPSILON, EPSILON], accept=2)
    found = properties(stack([gtnet.union(late, more), late]))
    assert found.is_functional.tolist() == [False, True]
    assert found.is_acyclic.tolist() == [False, False]


def test_two_start_states_make_two_paths_of_no_arcs():
    graph = Graph([], [], [], start=[0, 1], accept=[0, 1], num_states=2)
    assert not properties(graph).is_unambiguous
    assert not properties(graph).is_deterministic


def test_they_are_kept_while_the_same_is_possible():
    graph = gtnet.linear([[0, 1], [2]])
    kept = properties(graph)
    assert kept.is_linear.all()
    assert properties(graph.with_weights(graph.weights - 1)) is kept
    cut = graph.with_weights(graph.weights.index_fill(0, torch.tensor([0]), NEG_INF))
    assert properties(cut).is_empty.tolist() == [True, False]
    with torch.inference_mode():
        assert properties(gtnet.linear([1])).is_linear.all()

    def score(weights):
        own = graph.with_weights(weights)
        return gtnet.forward_score(own).sum() * properties(own).is_unambiguous.all()

    assert torch.equal(torch.func.grad(score)(graph.weights), torch.ones(3))


def test_no_graphs_and_no_states():
    assert properties(gtnet.linear([[1]])[:0]).is_functional.shape == (0,)
    empty = properties(Graph([], [], [], start=[], accept=[]))
    assert empty.is_empty and empty.is_unambiguous and empty.is_acyclic and not empty.is_linear


def test_a_lattice_is_built():
    lattice = gtnet.Emissions(torch.zeros(1, 3, 2)) @ gtnet.ctc_graph([[1]])
    assert properties(lattice).is_acyclic.all()
    assert not properties(lattice).is_linear.all()
    with pytest.raises(TypeError, match="properties: graph must be a Graph, got int"):
        properties(3)
