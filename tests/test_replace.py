"""replace against the paths of all calls written out."""

from __future__ import annotations

from collections import Counter

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, relation

from gtnet import EPSILON, Graph, forward_score, linear, relabel, replace, stack, union

NEG_INF = float("-inf")


def expanded(one: oracle.Automaton, rules: dict[int, list[oracle.Path]]) -> list[oracle.Path]:
    """The paths of an automaton with every way through its calls; `rules` are expanded."""
    arcs = {arc.index: arc for arc in one.arcs}
    result = []
    for path in oracle.paths(one):
        ends = path.score - sum(arcs[index].weight for index in path.arcs)
        ways = [((), (), ends)]
        for index in path.arcs:
            arc = arcs[index]
            read = () if arc.ilabel == EPSILON else (arc.ilabel,)
            written = () if arc.olabel == EPSILON else (arc.olabel,)
            if arc.olabel in rules:
                read = () if arc.ilabel == arc.olabel else read
                steps = [(read + p.inputs, p.outputs, p.score) for p in rules[arc.olabel]]
            else:
                steps = [(read, written, 0.0)]
            ways = [
                (i + more_i, o + more_o, s + arc.weight + more_s)
                for i, o, s in ways
                for more_i, more_o, more_s in steps
            ]
        result += [oracle.Path((), 0, 0, *way) for way in ways]
    return result


@settings(max_examples=40)
@given(st.data())
def test_replace_has_every_way_through_the_calls(data):
    acceptor = data.draw(st.booleans())
    size = data.draw(st.integers(1, 3))
    dtype = data.draw(strategies.DTYPES)

    def drawn(renamed: dict[int, int]) -> Graph:
        n = data.draw(st.sampled_from([1, size]))
        graph = data.draw(strategies.graphs(size=n, dtype=dtype, acceptor=acceptor, max_arcs=4))
        return relabel(graph, renamed, renamed)

    root, one, two = drawn({}), drawn({1: 0}), drawn({1: 0, 2: 0})
    result = replace(root, {2: two, 1: one})
    size = max(len(g) for g in (root, one, two))
    assert len(result) == size
    batches = [automata(g) * (size if len(g) == 1 else 1) for g in (root, one, two)]
    for i, whole in enumerate(automata(result)):
        rules = {2: expanded(batches[2][i], {})}
        rules[1] = expanded(batches[1][i], rules)
        wanted = expanded(batches[0][i], rules)
        if len(wanted) <= 3000:
            assert relation(oracle.paths(whole)) == relation(wanted)
    for operand, arc_map in zip((root, two, one), result.arc_maps, strict=True):
        own = (arc_map >= 0) & (result.ilabels != EPSILON)
        assert torch.equal(result.ilabels[own], operand.ilabels[arc_map[own].long()])
    for operand, state_map in zip((root, two, one), result.state_maps, strict=True):
        assert ((state_map >= -1) & (state_map < max(operand.num_states, 1))).all()
    assert sum((m >= 0).long() for m in result.state_maps).eq(1).all()


def test_a_date_grammar():
    day, month, dash, root = 100, 101, 50, linear([100, 50, 101])
    digits = union(*(linear([d]) for d in range(10)))
    rules = {day: linear([200, 200]), month: union(linear([200]), linear([1, 200])), 200: digits}
    dates = replace(root, rules)
    assert dates.is_acceptor
    assert forward_score(dates).item() == pytest.approx(torch.tensor(2000.0).log().item())
    assert (forward_score(dates @ linear([3, 1, dash, 1, 2])) == 0).all()
    assert (forward_score(dates @ linear([3, 1, dash, 2, 2])) == NEG_INF).all()


def test_a_call_reads_what_its_arc_reads():
    root = Graph([0], [1], [7], [9], accept=1)
    result = replace(root, {9: Graph([0], [1], [3], [4], accept=1)})
    assert relation(oracle.paths(oracle.only(result))) == Counter({((7, 3), (4,), 0.0): 1})
    read = Graph([0], [1], [9], [7], accept=1)
    assert replace(read, {9: linear([3])}).ilabels.tolist() == [9]


def test_scores_and_gradients_of_call_and_return():
    root = linear([5, 1, 5], torch.tensor([1.0, 2.0, 4.0])).requires_grad_()
    rule = Graph([0], [1], [0], weights=[8.0], start={0: 16.0}, accept={1: 32.0}).requires_grad_()
    score = forward_score(replace(root, {5: rule}))
    assert score.item() == 1 + 2 + 4 + 2 * (8 + 16 + 32)
    score.sum().backward()
    assert root.weights.grad.tolist() == [1, 1, 1]
    assert rule.weights.grad.tolist() == [2]
    assert rule.start.grad.tolist() == [2, 0]
    assert rule.accept.grad.tolist() == [0, 2]


def test_gradcheck():
    root = Graph([0, 1, 0], [1, 2, 2], [1, 2, 2], [1, 2, 2], accept=2).to(torch.float64)
    rules = {2: linear([3, 1], dtype=torch.float64), 1: linear([4], dtype=torch.float64).optional}

    def score(weights: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
        made = {2: rules[2].with_weights(inner), 1: rules[1]}
        return forward_score(replace(root.with_weights(weights), made))

    inputs = [torch.randn(3).double().requires_grad_(), torch.randn(2).double().requires_grad_()]
    assert torch.autograd.gradcheck(score, inputs)
    assert torch.autograd.gradgradcheck(score, inputs, fast_mode=True)


def test_endless_calls_are_named():
    with pytest.raises(ValueError, match=r"replace: the calls of graph 0 never end: 7 -> 7"):
        replace(linear([7]), {7: union(linear([7, 1]), linear([2]))})
    rules = {3: linear([1]), 7: linear([8]), 8: linear([3, 9]), 9: linear([8])}
    with pytest.raises(ValueError, match=r"graph 1 never end: 8 -> 9 -> 8"):
        replace(stack([linear([3]), linear([7])]), rules)
    assert replace(linear([3]), rules).num_arcs == 3


def test_endless_calls_that_no_path_makes_do_no_harm():
    dead_end = Graph([0, 0], [1, 2], [1, 7], accept=1)
    assert relation(oracle.paths(oracle.only(replace(linear([7]), {7: dead_end})))) == {
        ((1,), (1,), 0.0): 1
    }
    other_item = stack([linear([7]), linear([1])])
    assert len(replace(linear([1, 2]), {7: other_item})) == 2


def test_growth_is_bounded():
    rules = {k: linear([k + 1, k + 1]) for k in range(30)}
    with pytest.raises(ValueError, match="replace: the result has more than max_arcs=1000 arcs"):
        replace(linear([0]), rules, max_arcs=1000)
    few = {k: linear([k + 1, k + 1]) for k in range(5)}
    assert forward_score(replace(linear([0]), few) @ linear([5] * 32)).item() == 0


def test_no_rules_and_no_graphs():
    graph = linear([1, 2])
    assert replace(graph, {}).equal(graph)
    assert len(replace(graph[0:0], {1: graph})) == 0
    nothing = Graph([], [], [], start=[], accept=[])
    assert forward_score(replace(graph, {1: nothing})).item() == NEG_INF
    assert replace(nothing, {1: graph}).num_states == 0


def test_bad_rules_are_named():
    with pytest.raises(TypeError, match="replace: rules must map labels to graphs, got list"):
        replace(linear([1]), [linear([1])])
    with pytest.raises(ValueError, match=r"replace: a nonterminal must lie in .*-1"):
        replace(linear([1]), {EPSILON: linear([1])})
    with pytest.raises(TypeError, match=r"replace: rules\[1\] must be a Graph, got int"):
        replace(linear([1]), {1: 2})
    two, three = stack([linear([1])] * 2), stack([linear([1])] * 3)
    with pytest.raises(ValueError, match=r"replace: root has 2 graphs, rules\[1\] has 3"):
        replace(two, {1: three})
