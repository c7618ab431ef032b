"""random_graph: what it promises about states, arcs and labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gtnet import EPSILON, connect, forward_score, random_graph

NEG_INF = float("-inf")


@given(
    states=st.integers(2, 12),
    more=st.integers(0, 20),
    size=st.integers(0, 3),
    acyclic=st.booleans(),
    jump=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 99),
)
def test_no_state_is_useless(states, more, size, acyclic, jump, seed):
    graph = random_graph(
        states, states - 1 + more, 3, size=size, acyclic=acyclic, jump=jump, generator=seed
    )
    assert len(graph) == size
    assert (graph.num_states, graph.num_arcs) == (size * states, size * (states - 1 + more))
    assert graph.is_acceptor
    assert ((graph.ilabels >= 0) & (graph.ilabels < 3)).all()
    if acyclic:
        assert connect(graph).num_states == graph.num_states
        assert (graph.source < graph.target).all()
        assert (graph.target - graph.source <= (jump or states)).all()
        assert forward_score(graph).isfinite().all()
    else:
        total = torch.zeros(graph.num_states).index_add(
            0, graph.topology.global_source, graph.weights.exp()
        )
        assert (total < 0.37).all()


def test_the_seed_decides():
    one, same, other = (random_graph(5, 10, generator=seed) for seed in (1, 1, 2))
    assert one.equal(same)
    assert not one.equal(other)
    generator = torch.Generator().manual_seed(1)
    assert random_graph(5, 10, generator=generator).equal(one)
    assert not random_graph(5, 10, generator=generator).equal(one)


def test_the_share_of_epsilons():
    graph = random_graph(50, 10_000, 4, transducer=True, epsilons=0.25)
    for labels in (graph.ilabels, graph.olabels):
        assert abs(float((labels == EPSILON).float().mean()) - 0.25) < 0.03
    assert not graph.is_acceptor
    assert random_graph(2, 5, 4, epsilons=1.0).ilabels.tolist() == [EPSILON] * 5


def test_small_sizes():
    assert random_graph(0, 0).num_states == 0
    assert forward_score(random_graph(1, 0)).item() == 0
    assert random_graph(1, 4, acyclic=False).num_arcs == 4
    assert random_graph(6, 2).num_arcs == 2
    assert random_graph(3, 4, dtype=torch.float64).dtype == torch.float64


def test_impossible_demands_are_named():
    with pytest.raises(ValueError, match="random_graph: arcs need 2 states, got 1"):
        random_graph(1, 1)
    with pytest.raises(ValueError, match="random_graph: arcs need labels"):
        random_graph(2, 1, 0)
    with pytest.raises(ValueError, match=r"random_graph: epsilons .*1\.5"):
        random_graph(2, 1, epsilons=1.5)
    with pytest.raises(ValueError, match="random_graph: jump must be at least 1, got 0"):
        random_graph(2, 1, jump=0)
    with pytest.raises(TypeError, match="random_graph: num_states must be an integer"):
        random_graph(2.0, 1)
