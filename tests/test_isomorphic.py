"""Isomorphism against renumberings and networkx; what else tells graphs apart, or ties."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from networkx.algorithms.isomorphism import categorical_multiedge_match, categorical_node_match

import gtnet
from gtnet import Graph, nn, prune


def renumbered(graph: Graph) -> Graph:
    state, arc = torch.randperm(graph.num_states), torch.randperm(graph.num_arcs)
    start, accept = torch.empty_like(graph.start), torch.empty_like(graph.accept)
    start[state], accept[state] = graph.start, graph.accept
    ends = (state[graph.source.long()][arc], state[graph.target.long()][arc])
    columns = (graph.ilabels[arc], graph.olabels[arc], graph.weights[arc])
    return Graph(*ends, *columns, start=start, accept=accept)


def by_networkx(a: Graph, b: Graph) -> bool:
    graphs = []
    for graph in (a, b):
        result = nx.MultiDiGraph()
        for state, ends in enumerate(zip(graph.start.tolist(), graph.accept.tolist())):
            result.add_node(state, ends=ends)
        arcs: dict = {}
        columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
        for source, target, *what in zip(*(column.tolist() for column in columns)):
            arcs.setdefault((source, target), []).append(tuple(what))
        for ends, between in arcs.items():
            result.add_edge(*ends, arcs=tuple(sorted(between)))
        graphs.append(result)
    node, edge = categorical_node_match("ends", None), categorical_multiedge_match("arcs", None)
    return nx.is_isomorphic(*graphs, node_match=node, edge_match=edge)


def test_small_graphs_by_networkx():
    outcomes = set()
    for seed in range(300):
        torch.manual_seed(seed)
        states, arcs = 1 + seed % 5, seed % 8

        def drawn(states=states, arcs=arcs):
            columns = (torch.randint(states, (arcs,)) for _ in range(2))
            labels, ends = torch.randint(2, (arcs,)), torch.randint(states, (2,))
            return Graph(*columns, labels, start=[0], accept=ends, num_states=states)

        a = drawn()
        b = renumbered(a) if seed % 2 else drawn()
        expected = by_networkx(a, b)
        assert a.isomorphic(b) == expected
        outcomes.add(expected)
    assert outcomes == {True, False}


MANY = torch.arange(4000)
LARGE = {
    "distinct labels": lambda: Graph(MANY * 0, MANY + 1, MANY, accept=MANY + 1),
    "parallel arcs": lambda: Graph(MANY * 0, MANY * 0 + 1, MANY, accept=1),
    "one label in a row": lambda: gtnet.linear(MANY * 0),
    "equal leaves": lambda: Graph([0] * 200, list(range(1, 201)), [0] * 200, accept=[5, 9]),
    "a ring": lambda: Graph(MANY, (MANY + 1) % 4000, MANY * 0, start=MANY, accept=[]),
    "a topology": lambda: gtnet.ctc_topology(500),
    "nothing": lambda: Graph([], [], [], start=[], accept=[]),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_graphs(kind):
    graph = LARGE[kind]()
    other = renumbered(graph)
    assert graph.isomorphic(other)
    if graph.num_arcs:
        weights = other.weights.clone()
        weights[0] += 1
        assert not graph.isomorphic(other.with_weights(weights))


def test_regular_graphs_that_only_search_tells_apart():
    def both_ways(pairs):
        source = [end for pair in pairs for end in pair]
        target = [end for pair in pairs for end in reversed(pair)]
        return Graph(source, target, [0] * len(source), start=list(range(6)), accept=[])

    triangles = both_ways([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)])
    hexagon = both_ways([(i, (i + 1) % 6) for i in range(6)])
    assert not triangles.isomorphic(hexagon)
    assert triangles.isomorphic(renumbered(triangles))
    assert hexagon.isomorphic(renumbered(hexagon))
    assert gtnet.stack([triangles, hexagon]).isomorphic(gtnet.stack([triangles, hexagon]))
    assert not gtnet.stack([triangles, hexagon]).isomorphic(gtnet.stack([hexagon, triangles]))


# States of LF-MMI, and ties of float32


@pytest.mark.parametrize("learn", [False, True])
def test_states_of_lf_mmi_belong_to_a_topology(learn):
    def loss(graph):
        return nn.LFMMILoss(graph, learn_denominator=learn)

    trained = loss(Graph([0, 0], [1, 1], [0, 1], weights=[-1.0, -2.0], accept=1))
    same = loss(Graph([0, 0], [1, 1], [0, 1], weights=[0.0, 0.0], accept=1))
    same.load_state_dict(trained.state_dict())
    assert same.graph().weights.tolist() == [-1, -2]
    others = [
        Graph([0, 0], [1, 1], [0, 2], accept=1),
        Graph([0, 1], [1, 1], [0, 1], accept=1),
        Graph([0, 0], [1, 1], [0, 1], [1, 1], accept=1),
        Graph([0], [1], [0], accept=1),
        gtnet.stack([Graph([0], [1], [0], accept=1)] * 2),
    ]
    for graph in others:
        other = torch.nn.Sequential(loss(graph))
        state = {f"0.{name}": value for name, value in trained.state_dict().items()}
        with pytest.raises(RuntimeError, match=r"LFMMILoss: .*1 graphs, 2 states and 2 arcs"):
            other.load_state_dict(state)
        assert other[0].graph().weights.tolist() == graph.weights.tolist()


def test_paths_of_float32_that_tie_with_the_beam_stay():
    tenth, fifth = 0.1, 0.2
    for dtype in (torch.float32, torch.float64):
        weights = torch.tensor([tenth, fifth, tenth + fifth], dtype=dtype)
        graph = Graph([0, 1, 0], [1, 2, 2], [0, 0, 1], weights=weights, accept=2)
        assert prune(graph, beam=0.0).num_arcs == 3
        lower = Graph(
            [0, 0], [1, 1], [0, 1], weights=torch.tensor([0.3, -0.7], dtype=dtype), accept=1
        )
        assert prune(lower, beam=1.0).num_arcs == 2
        assert prune(lower, beam=0.99).num_arcs == 1
        frames = torch.tensor([[[0.3, -0.7]]], dtype=dtype)
        loop = Graph([0, 0], [0, 0], [0, 1], weights=torch.zeros(2, dtype=dtype), accept=0)
        assert prune(gtnet.Emissions(frames) @ loop, beam=1.0).num_arcs == 2
