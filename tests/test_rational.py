"""Union, concatenation, closure, reversal and changes of labels against all paths written out."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata, relation

import gtnet
import gtnet.rational as rational
from gtnet import (
    EPSILON,
    Graph,
    closure,
    concat,
    forward_score,
    invert,
    linear,
    project,
    relabel,
    reverse,
    stack,
    union,
    viterbi_score,
)

NEG_INF = float("-inf")


def items(graph: Graph, size: int) -> list[oracle.Automaton]:
    """The automata of an operand, repeated where it broadcasts."""
    found = automata(graph)
    return found * size if len(found) == 1 else found


def product(*factors: list[oracle.Path]) -> Counter:
    """The relation of all sequences of a path of each factor."""
    result: Counter = Counter()
    for parts in itertools.product(*factors):
        inputs = tuple(label for part in parts for label in part.inputs)
        outputs = tuple(label for part in parts for label in part.outputs)
        result[inputs, outputs, sum(part.score for part in parts)] += 1
    return result


def assert_maps_name_what_arcs_came_from(result: Graph, operands: tuple[Graph, ...]) -> None:
    """Every arc has the labels and the score of the arc it came from, or is an epsilon."""
    owners = torch.zeros(result.num_arcs, dtype=torch.int64)
    for operand, arc_map in zip(operands, result.arc_maps, strict=True):
        known = arc_map >= 0
        owners += known
        index = arc_map[known].long()
        for name in ("ilabels", "olabels", "weights"):
            assert torch.equal(getattr(result, name)[known], getattr(operand, name)[index])
    assert (owners <= 1).all()
    assert (result.ilabels[owners == 0] == EPSILON).all()
    assert (result.olabels[owners == 0] == EPSILON).all()


@settings(max_examples=40)
@given(st.integers(1, 3).flatmap(lambda n: strategies.operands(count=n)))
def test_union_has_the_paths_of_all(operands):
    both = union(*operands)
    size = max(len(g) for g in operands)
    assert len(both) == size
    for whole, *parts in zip(automata(both), *(items(g, size) for g in operands), strict=True):
        found = sum((relation(oracle.paths(part)) for part in parts), Counter())
        assert relation(oracle.paths(whole)) == found
    assert_maps_name_what_arcs_came_from(both, operands)
    assert both.is_acceptor >= all(g.is_acceptor for g in operands)


@given(strategies.operands())
def test_the_distance_of_a_union_is_the_plus_of_the_distances(operands):
    a, b = operands
    torch.testing.assert_close(
        forward_score(a | b), torch.logaddexp(forward_score(a), forward_score(b))
    )
    assert torch.equal(viterbi_score(a | b), torch.maximum(viterbi_score(a), viterbi_score(b)))


@settings(max_examples=40)
@given(st.integers(1, 3).flatmap(lambda n: strategies.operands(count=n)))
def test_concat_has_every_sequence_of_paths(operands):
    whole = concat(*operands)
    size = max(len(g) for g in operands)
    for one, *parts in zip(automata(whole), *(items(g, size) for g in operands), strict=True):
        factors = [oracle.paths(part) for part in parts]
        if len(factors[0]) * len(factors[-1]) < 2000:
            assert relation(oracle.paths(one)) == product(*factors)
    assert_maps_name_what_arcs_came_from(whole, operands)


@given(strategies.operands())
def test_concat_multiplies(operands):
    a, b = operands
    torch.testing.assert_close(forward_score(a + b), forward_score(a) + forward_score(b))


@given(strategies.operands(count=3))
def test_concat_associates_and_distributes_over_union(operands):
    a, b, c = operands
    for left, right in (
        ((a + b) + c, a + (b + c)),
        ((a + b) + c, concat(a, b, c)),
        (a + (b | c), (a + b) | (a + c)),
        ((a | b) + c, (a + c) | (b + c)),
    ):
        torch.testing.assert_close(forward_score(left), forward_score(right))


def test_many_ends_meet_many_starts_in_one_state():
    words = union(*(linear([label]) for label in range(50)))
    assert (words + words).num_arcs == 50 + 50 + 100
    assert words.plus.num_arcs == 50 + 100
    assert (linear([1]) + words).num_arcs == 1 + 50 + 50
    assert (linear([1]) + linear([2])).num_states == 4
    mixed = stack([words, linear([1])]) + stack([words, linear([2])])
    assert mixed.arc_offsets.tolist() == [0, 200, 203]
    assert forward_score(mixed).tolist() == pytest.approx([2 * math.log(50), 0.0])


def repeated(found: list[oracle.Path], kind: str, most: int) -> Counter:
    """At least `least` and at most `most` paths one after another."""
    least = 1 if kind == "plus" else 0
    most = 1 if kind == "optional" else most
    return sum((product(*[found] * n) for n in range(least, most + 1)), Counter())


@settings(max_examples=40)
@given(
    strategies.graphs(max_arcs=4),
    st.sampled_from(["star", "plus", "optional"]),
    st.integers(1, 3),
)
def test_closure_unrolled(graph, kind, times):
    closed = closure(graph, kind)
    assert closed.equal(getattr(graph, kind))
    assert_maps_name_what_arcs_came_from(closed, (graph,))
    (arc_map,), (state_map,) = closed.arc_maps, closed.state_maps
    for i, (whole, one) in enumerate(zip(automata(closed), automata(graph), strict=True)):
        found = oracle.paths(one)
        if len(found) > 8:
            continue
        new = state_map[closed.state_offsets[i] : closed.state_offsets[i + 1]] < 0
        through_hub = int(new.sum()) - (kind != "plus")
        epsilons = (times - 1) * (1 + through_hub)

        def allowed(taken, epsilons=epsilons):
            return sum(int(arc_map[arc]) < 0 for arc in taken) <= epsilons

        assert relation(oracle.paths(whole, allowed)) == repeated(found, kind, times)


def test_the_closure_of_the_empty_language():
    nothing = Graph([], [], [], start=[], accept=[])
    assert closure(nothing, "plus").num_states == 0
    for kind in ("star", "optional"):
        assert relation(oracle.paths(oracle.only(closure(nothing, kind)))) == {((), (), 0.0): 1}


@given(strategies.graphs(acyclic=False))
def test_reverse_of_reverse_is_the_graph(graph):
    _ = graph.topology.leaving
    back = reverse(reverse(graph))
    assert back.equal(graph)
    assert torch.equal(back.topology.leaving.arcs, graph.topology.leaving.arcs)


@given(strategies.graphs())
def test_reverse_runs_paths_backwards(graph):
    backwards = reverse(graph)
    for one, other in zip(automata(graph), automata(backwards), strict=True):
        turned = Counter(
            {(i[::-1], o[::-1], s): n for (i, o, s), n in relation(oracle.paths(one)).items()}
        )
        assert relation(oracle.paths(other)) == turned
    torch.testing.assert_close(forward_score(backwards), forward_score(graph))


@given(strategies.operands())
def test_reverse_of_concat(operands):
    a, b = operands
    ab = zip(automata(reverse(a + b)), automata(reverse(b) + reverse(a)), strict=True)
    for one, other in ab:
        assert relation(oracle.paths(one)) == relation(oracle.paths(other))


@given(strategies.graphs(acyclic=False))
def test_project_of_invert(graph):
    assert (~(~graph)).equal(graph)
    for side, other in (("input", "output"), ("output", "input")):
        assert project(invert(graph), side).equal(project(graph, other))
        assert project(graph, side).is_acceptor
    assert torch.equal((~graph).ilabels, graph.olabels)


@given(strategies.graphs(acyclic=False))
def test_relabel_changes_labels_alone(graph):
    same = relabel(graph, {}, {})
    assert same.equal(graph)
    changed = relabel(graph, {0: 7, EPSILON: 0, 2: EPSILON}, torch.tensor([5, 0, 9]))
    read = {0: 7, EPSILON: 0, 2: EPSILON}
    written = {0: 5, 1: 0, 2: 9, EPSILON: EPSILON}
    assert changed.ilabels.tolist() == [read.get(x, x) for x in graph.ilabels.tolist()]
    assert changed.olabels.tolist() == [written[x] for x in graph.olabels.tolist()]
    back = relabel(relabel(graph, [3, 4, 5], [6, 7, 8]), {3: 0, 4: 1, 5: 2}, {6: 0, 7: 1, 8: 2})
    assert back.equal(graph)


def test_an_acceptor_with_one_map_for_both_sides_stays_an_acceptor():
    table = [1, 0, 2]
    assert relabel(linear([0, 1, 2]), table, table).equal(linear([1, 0, 2]))
    assert relabel(linear([0]), table).ilabels.tolist() == [1]
    assert not relabel(linear([0]), table).is_acceptor


@settings(max_examples=5)
@given(strategies.operands(count=3), st.integers(0, 99))
def test_gradients_reach_all_scores(operands, seed):
    given = [strategies.with_random_scores(g, seed + k) for k, g in enumerate(operands)]
    names = ("weights", "start", "accept")
    possible = [(g, name, getattr(g, name) > NEG_INF) for g in given for name in names]
    inputs = [getattr(g, n).masked_fill(~keep, 0).requires_grad_() for g, n, keep in possible]

    def rewritten(*scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        masked = [
            score.masked_fill(~keep, NEG_INF)
            for score, (_, _, keep) in zip(scores, possible, strict=True)
        ]
        a, b, c = (
            g.with_weights(masked[3 * k], start=masked[3 * k + 1], accept=masked[3 * k + 2])
            for k, g in enumerate(given)
        )
        made = [a + b, a | c, b.star, c.plus, reverse(a).optional, ~b, project(c, "input")]
        scores = [score for g in made for score in (g.weights, g.start, g.accept)]
        return tuple(score[score > NEG_INF].sum() for score in scores)

    assert torch.autograd.gradcheck(rewritten, inputs)
    for score in torch.autograd.grad(sum(rewritten(*inputs)), inputs, allow_unused=True):
        assert score is None or score.isfinite().all()


def test_second_derivatives():
    a = linear([1, 2], dtype=torch.float64) | linear([3], dtype=torch.float64)

    def score(weights: torch.Tensor, accept: torch.Tensor) -> torch.Tensor:
        graph = a.with_weights(weights).optional
        ended = graph.with_weights(accept=torch.where(graph.accept > NEG_INF, accept, NEG_INF))
        return forward_score(ended + (ended | reverse(ended)))

    inputs = [torch.randn(n).double().requires_grad_() for n in (3, a.num_states + 1)]
    assert torch.autograd.gradgradcheck(score, inputs, fast_mode=True)


def test_the_gradient_of_a_junction_is_that_of_both_ends():
    a = Graph([0], [1], [1], accept={1: 0.5}).requires_grad_()
    b = Graph([0], [1], [2], start={0: -1.0}, accept=1).requires_grad_()
    whole = a + b
    assert forward_score(whole).item() == -0.5
    forward_score(whole).sum().backward()
    assert a.accept.grad.tolist() == [0, 1]
    assert b.start.grad.tolist() == [1, 0]


def test_scores_are_not_copied_where_arcs_stay():
    graph = linear([1, 2])
    for same in (reverse(graph), invert(graph), project(graph, "input"), relabel(graph, {1: 3})):
        assert same.weights is graph.weights
        assert same.arc_maps[0].tolist() == [0, 1]


def test_what_is_known_of_arcs_stays_known():
    graph = linear([1, 2])
    _ = graph.topology.entering, graph.topology.leaving, graph.topology.walk("test")
    assert (~graph).topology.entering is graph.topology.entering
    assert reverse(graph).topology.leaving is graph.topology.entering
    torch.testing.assert_close(forward_score(reverse(graph)), torch.zeros(1))


def test_batches_of_no_graphs_and_of_one():
    none, one = linear([1])[0:0], linear([1])
    for made in (none + one, one | none, none.star, none.plus, ~none, reverse(none)):
        assert (len(made), made.num_states, made.num_arcs) == (0, 0, 0)
    assert union(one).equal(one)
    assert concat(one).equal(one)


def test_errors_name_function_and_values():
    two, three = stack([linear([1])] * 2), stack([linear([1])] * 3)
    for function in (union, concat):
        name = function.__name__
        with pytest.raises(ValueError, match=f"{name}: at least one graph"):
            function()
        with pytest.raises(ValueError, match=f"{name}: operand 1 has 2 graphs, operand 2 has 3"):
            function(linear([1]), two, three)
        with pytest.raises(TypeError, match=f"{name}: all must have one dtype"):
            function(two, two.to(torch.float64))
        with pytest.raises(TypeError, match=f"{name}: operand 1 must be a Graph, got int"):
            function(two, 3)
    with pytest.raises(ValueError, match=r"closure: kind .*'many'"):
        closure(two, "many")
    with pytest.raises(ValueError, match=r"project: side .*'ilabels'"):
        project(two, "ilabels")
    with pytest.raises(ValueError, match=r"relabel: imap has 1 labels, the graph has label 1"):
        relabel(two, [0])
    with pytest.raises(ValueError, match=r"relabel: the values of omap .*-2"):
        relabel(two, None, {1: -2})
    with pytest.raises(TypeError, match="relabel: imap must be integers"):
        relabel(two, [0.5, 1.5])
    for function in (reverse, invert):
        with pytest.raises(TypeError, match=f"{function.__name__}: graph must be a Graph"):
            function(None)


def test_operators_are_the_functions():
    a, b = linear([1, 2]), gtnet.trie([[1], [2, 3]])
    assert (a + b).equal(concat(a, b))
    assert (a | b).equal(union(a, b))
    assert (~b).equal(invert(b))
    assert (a @ b).equal(gtnet.compose(a, b))


def test_what_needs_the_cpu_says_so():
    far = linear([1]).to("meta")
    calls = {
        "union": lambda: far | far,
        "concat": lambda: far + far,
        "closure": lambda: far.star,
        "replace": lambda: gtnet.replace(far, {1: far}),
        "difference": lambda: gtnet.difference(far, far),
        "equivalent": lambda: gtnet.equivalent(far, far),
        "randomly_equivalent": lambda: gtnet.randomly_equivalent(far, far),
        "top_sort": lambda: gtnet.top_sort(far),
        "arc_sort": lambda: gtnet.arc_sort(far),
        "sample": lambda: gtnet.sample(far, 1),
        "enumerate_paths": lambda: gtnet.enumerate_paths(far),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{name}: .* must be on the cpu .*got meta"):
            call()
    with pytest.raises(ValueError, match="union: all must be on one device"):
        union(far, linear([1]))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_results(threads):
    torch.set_num_threads(threads)
    batch = gtnet.random_graph(400, 900, size=40, acyclic=False)
    made = stack([batch.plus, batch + batch, batch | batch, gtnet.difference(batch, batch)])
    alone = [batch[7].plus, batch[7] + batch[7], batch[7] | batch[7]]
    for k, one in enumerate(alone):
        assert made[40 * k + 7].equal(one)


@settings(max_examples=40)
@given(strategies.operands(acyclic=False), st.sampled_from(["union", "concat", "closure"]))
def test_one_operator_makes_what_the_steps_of_a_gpu_make(graphs, name):
    """Bit for bit, with the gradients."""
    operands = [g.with_weights(g.weights.clone()).requires_grad_() for g in graphs]
    operands = operands if name != "closure" else operands[:1]
    kinds = rational._Kind
    kind = {"union": kinds.UNION, "concat": kinds.CONCAT, "closure": kinds.STAR}[name]
    given = rational.broadcast(name, operands)
    made = [
        arrange(name, kind, *given)
        for arrange in (rational._arranged_at_once, rational._arranged_by_steps)
    ]
    once, steps = made
    assert once.equal(steps)
    for k in range(len(operands)):
        assert torch.equal(once.arc_maps[k], steps.arc_maps[k])
        assert torch.equal(once.state_maps[k], steps.state_maps[k])
    leaves = [t for g in operands for t in g.scores]
    grads = [
        torch.autograd.grad(
            list(g.scores), leaves, [t.detach().nan_to_num(neginf=0) + 1 for t in g.scores]
        )
        for g in made
    ]
    assert all(map(torch.equal, *grads))
