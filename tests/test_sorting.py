"""top_sort and arc_sort: the same paths, in order."""

from __future__ import annotations

import oracle
import pytest
import strategies
import torch
from hypothesis import given
from oracle import automata, relation

from gtnet import EPSILON, Graph, arc_sort, forward_score, linear, top_sort


def assert_same_but_for_order(graph: Graph, made: Graph) -> None:
    (arcs,), (states,) = made.arc_maps, made.state_maps
    arcs, states = arcs.long(), states.long()
    assert torch.equal(arcs.sort().values, torch.arange(graph.num_arcs))
    assert torch.equal(states.sort().values, torch.arange(graph.num_states))
    for ends in ("global_source", "global_target"):
        kept = states[getattr(made.topology, ends)]
        assert torch.equal(kept, getattr(graph.topology, ends)[arcs])
    for name in ("ilabels", "olabels", "weights"):
        assert torch.equal(getattr(made, name), getattr(graph, name)[arcs])
    assert torch.equal(made.start, graph.start[states])
    assert torch.equal(made.accept, graph.accept[states])
    assert torch.equal(made.state_offsets, graph.state_offsets)
    assert torch.equal(made.arc_offsets, graph.arc_offsets)


@given(strategies.graphs())
def test_top_sort(graph):
    made = top_sort(graph)
    assert_same_but_for_order(graph, made)
    assert (made.source < made.target).all()
    assert (made.topology.global_source.diff() >= 0).all()
    assert top_sort(made).equal(made)
    for one, other in zip(automata(graph), automata(made), strict=True):
        assert relation(oracle.paths(one)) == relation(oracle.paths(other))


@given(strategies.graphs(acyclic=False))
def test_arc_sort(graph):
    for by in ("ilabels", "olabels"):
        made = arc_sort(graph, by=by)
        assert_same_but_for_order(graph, made)
        keys = [
            (graph_number, source, label)
            for graph_number, source, label in zip(
                made.topology.graph_of_arc.tolist(),
                made.source.tolist(),
                getattr(made, by).tolist(),
                strict=True,
            )
        ]
        assert keys == sorted(keys)
        assert arc_sort(made, by=by).equal(made)


def test_equal_labels_keep_their_order():
    graph = Graph([0, 0, 0], [1, 2, 1], [5, EPSILON, 5], accept=1)
    assert arc_sort(graph).arc_maps[0].tolist() == [1, 0, 2]


def test_gradients_go_to_where_scores_came_from():
    graph = Graph([1, 0], [2, 1], [1, 2], weights=[1.0, 2.0], accept=2).requires_grad_()
    forward_score(top_sort(arc_sort(graph, by="olabels"))).sum().backward()
    assert graph.weights.grad.tolist() == [1, 1]
    assert graph.start.grad.tolist() == [1, 0, 0]


def test_errors():
    with pytest.raises(ValueError, match="top_sort: graph 0 has a cycle through state 1"):
        top_sort(linear([1]).plus)
    with pytest.raises(ValueError, match=r"arc_sort: by .*'weights'"):
        arc_sort(linear([1]), by="weights")
    for function in (top_sort, arc_sort):
        with pytest.raises(TypeError, match=f"{function.__name__}: graph must be a Graph"):
            function(1)
