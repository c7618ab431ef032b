"""viterbi_path, k_best and label_sequences against all paths written out."""

from __future__ import annotations

from collections import Counter

import oracle
import pytest
import strategies
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import automata

import gtnet
from gtnet import EPSILON, Graph, k_best, label_sequences, stack, viterbi_path, viterbi_score

NEG_INF = float("-inf")
UNIQUE = st.sampled_from([None, "ilabels", "olabels"])


def as_path(linear: Graph, one: oracle.Automaton) -> oracle.Path:
    """The path that a linear graph copies, its ends told by the states of the original."""
    (path,) = oracle.paths(oracle.only(linear))
    (arcs,) = linear.arc_maps
    ends = {arc.index: (arc.source, arc.target) for arc in one.arcs}
    taken = tuple(arcs.tolist())
    assert path.arcs == tuple(range(len(taken)))
    first, last = (ends[taken[0]][0], ends[taken[-1]][1]) if taken else (-1, -1)
    return oracle.Path(taken, first, last, path.inputs, path.outputs, path.score)


def known(found: list[oracle.Path]) -> list[oracle.Path]:
    """Paths without the ends of the empty one, which a linear graph does not name."""
    return [path if path.arcs else oracle.Path((), -1, -1, (), (), path.score) for path in found]


@given(strategies.graphs())
def test_viterbi_path_is_a_best_path(graph):
    best = viterbi_path(graph)
    assert (len(best), best.dtype, best.is_acceptor or not graph.is_acceptor) == (
        len(graph),
        graph.dtype,
        True,
    )
    for linear, one in zip(best, automata(graph), strict=True):
        found = oracle.paths(one)
        if not found:
            assert (linear.num_states, linear.num_arcs) == (0, 0)
            continue
        path = as_path(linear, one)
        assert path in known(found)
        assert path.score == oracle.viterbi_score(one)


@given(strategies.graphs())
def test_the_score_of_the_best_path_is_the_viterbi_score(graph):
    best = viterbi_path(graph)
    assert torch.equal(viterbi_score(best), viterbi_score(graph))
    assert torch.equal(gtnet.forward_score(best), viterbi_score(graph))


@settings(max_examples=50)
@given(strategies.graphs(), st.sampled_from([0, 1, 2, 3, 100]))
def test_k_best_are_the_best_of_all_paths(graph, k):
    answers = k_best(graph, k)
    assert len(answers) == len(graph)
    for answer, one in zip(answers, automata(graph), strict=True):
        found = oracle.paths(one)
        ranked = [as_path(linear, one) for linear in answer]
        scores = sorted((path.score for path in found), reverse=True)
        assert [path.score for path in ranked] == scores[:k]
        assert not Counter(ranked) - Counter(known(found))
        assert viterbi_score(answer).tolist() == scores[:k]


@settings(max_examples=50)
@given(
    strategies.graphs(), st.sampled_from([1, 2, 3, 100]), st.sampled_from(["ilabels", "olabels"])
)
def test_unique_k_best_are_distinct_sequences_at_their_best(graph, k, side):
    for answer, one in zip(k_best(graph, k, unique=side), automata(graph), strict=True):
        best: dict[tuple[int, ...], float] = {}
        for path in oracle.paths(one):
            spelt = path.inputs if side == "ilabels" else path.outputs
            best[spelt] = max(best.get(spelt, NEG_INF), path.score)
        spellings = [tuple(labels) for labels in label_sequences(answer, side)]
        assert len(set(spellings)) == len(spellings) == min(k, len(best))
        scores = viterbi_score(answer).tolist()
        assert scores == [best[spelling] for spelling in spellings]
        assert scores == sorted(best.values(), reverse=True)[:k]
        for linear in answer:
            assert as_path(linear, one) in known(oracle.paths(one))


@given(strategies.graphs(), UNIQUE)
def test_a_batch_is_its_items(graph, unique):
    assert viterbi_path(graph).equal(stack([viterbi_path(one) for one in graph]))
    alone = [k_best(one, 3, unique=unique)[0] for one in graph]
    for ours, theirs in zip(k_best(graph, 3, unique=unique), alone, strict=True):
        assert ours.equal(theirs)


@given(strategies.graphs())
def test_the_first_of_the_k_best_scores_as_the_best(graph):
    for answer, best in zip(k_best(graph, 1), viterbi_path(graph), strict=True):
        assert len(answer) == (best.num_states > 0)
        if len(answer):
            assert torch.equal(viterbi_score(answer), viterbi_score(best))


@settings(max_examples=12)
@given(strategies.graphs(), st.integers(0, 99))
def test_gradcheck_through_paths(graph, seed):
    graph = strategies.with_random_scores(graph, seed)
    possible = [t > NEG_INF for t in (graph.weights, graph.start, graph.accept)]
    inputs = [
        t.masked_fill(~keep, 0).requires_grad_()
        for t, keep in zip((graph.weights, graph.start, graph.accept), possible, strict=True)
    ]

    def scored(*given: torch.Tensor) -> Graph:
        weights, start, accept = (
            t.masked_fill(~keep, NEG_INF) for t, keep in zip(given, possible, strict=True)
        )
        return graph.with_weights(weights, start=start, accept=accept)

    def along_best(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        best = viterbi_path(scored(*given))
        return tuple(t[t > NEG_INF] for t in (best.weights, best.start, best.accept))

    def along_three(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(viterbi_score(answer) for answer in k_best(scored(*given), 3))

    for function in (along_best, along_three):
        if any(t.numel() for t in function(*inputs)):
            assert torch.autograd.gradcheck(function, inputs)


def test_ties_go_to_the_first_arc():
    graph = Graph([0, 0], [1, 1], [5, 3], accept=1)
    assert viterbi_path(graph).arc_maps[0].tolist() == [0]


def test_the_empty_string_can_be_best():
    graph = Graph([0], [1], [1], weights=[-1.0], start={0: 0.5}, accept={0: 0.25, 1: 0.0})
    best = viterbi_path(graph)
    assert (best.num_states, best.num_arcs) == (1, 0)
    assert viterbi_score(best).item() == 0.75
    assert [len(answer) for answer in k_best(graph, 5)] == [2]


def test_k_best_of_a_large_lattice_is_quick_and_right():
    scores = torch.randn(1, 60, 20, generator=torch.Generator().manual_seed(5)).double()
    answer = k_best(gtnet.Emissions(scores).graph(), 3)[0]
    top = scores[0].sort(1, descending=True).values
    swaps = (top[:, 0] - top[:, 1]).sort().values
    best = top[:, 0].sum()
    expected = torch.stack([best, best - swaps[0], best - swaps[1]])
    torch.testing.assert_close(viterbi_score(answer), expected)


def test_equal_paths_come_as_the_viterbi_path_prefers_them():
    """Of 3^200 equal paths a few are looked at: those by the first arcs into late states."""
    source = torch.arange(200).repeat_interleave(3)
    graph = Graph(source, source + 1, source, accept=200)
    (answer,) = k_best(graph, 4)
    assert answer[0].equal(viterbi_path(graph))
    first = (answer.arc_maps[0].reshape(4, 200) % 3)[:, :2]
    assert first.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1]]


@given(strategies.graphs())
def test_the_first_of_the_k_best_is_the_viterbi_path(graph):
    for answer, best in zip(k_best(graph, 2), viterbi_path(graph), strict=True):
        assert len(answer) == 0 or answer[0].equal(best)


def test_unique_looks_past_many_ways_to_spell_one_sequence():
    n, frames = 12, 12
    source = torch.arange(frames).repeat_interleave(n)
    weights = [0.0] * (frames * n - 1) + [-100.0]
    labels = [7] * (frames * n - 1) + [8]
    graph = Graph(source, source + 1, labels, weights=weights, accept=frames)
    answer = k_best(graph, 5, unique="ilabels")[0]
    assert label_sequences(answer, "ilabels") == [[7] * frames, [7] * (frames - 1) + [8]]
    assert viterbi_score(answer).tolist() == [0.0, -100.0]


# Ties


def layers(count: int, labels: int, weights=None) -> Graph:
    """A chain of `count` steps, each with so many labels."""
    source = torch.arange(count).repeat_interleave(labels)
    each = torch.arange(labels).repeat(count)
    return Graph(source, source + 1, each, weights=weights, accept=count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unique", ["ilabels", "olabels"])
def test_distinct_sequences_of_equal_scores_are_found_at_once(unique, dtype):
    """4^24 of them: what is wanted is found with no more prefixes than it has."""
    graph = layers(24, 4).to(dtype)
    (one,) = k_best(graph, 1, unique=unique, max_prefixes=26 + 24)
    assert viterbi_score(one).tolist() == [0.0]
    (many,) = k_best(graph, 50, unique=unique)
    assert len({tuple(labels) for labels in label_sequences(many)}) == 50


def test_weights_in_quarters_and_in_tenths():
    """Sums in quarters tie exactly, those in tenths but for rounding."""
    generator = torch.Generator().manual_seed(0)
    source = torch.arange(1499).repeat_interleave(4)
    step = torch.randint(1, 6, source.shape, generator=generator)
    target = torch.minimum(source + step, torch.tensor(1499))
    labels = torch.randint(10, source.shape, generator=generator)
    steps = torch.randint(-8, 8, source.shape, generator=generator)
    for unit in (4, 10):
        weights = steps.double() / unit
        graph = Graph(source, target, labels, weights=weights, accept=1499)
        (found,) = k_best(graph, 20, unique="ilabels", max_prefixes=200_000)
        scores = viterbi_score(found).tolist()
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(viterbi_score(graph).item(), abs=1e-9)
        assert len({tuple(labels) for labels in label_sequences(found)}) == 20


def test_flat_emissions_have_answers_at_once():
    flat = gtnet.Emissions(torch.zeros(2, 20, 10))
    for lattice in (flat @ gtnet.ctc_topology(10), flat @ Graph([0, 0], [0, 0], [1, 2], accept=0)):
        for best in k_best(lattice, 5, unique="olabels", max_prefixes=20_000):
            assert len({tuple(labels) for labels in label_sequences(best)}) == len(best) == 5
            assert viterbi_score(best).tolist() == [0.0] * 5


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (0.1, 0.2, -0.3), (-0.1, -0.2, 0.3)])
def test_cycles_that_cost_nothing(weights):
    """Nor do they where the rounded sum is not 0; the paths get longer, and each comes once."""
    exact = torch.tensor([*weights, 0.0], dtype=torch.float64)
    ring = Graph([0, 1, 2, 2], [1, 2, 0, 3], [0, 1, 2, 3], weights=exact, accept=3)
    for unique in (None, "ilabels"):
        (found,) = k_best(ring, 6, unique=unique, max_prefixes=200)
        texts = sorted(label_sequences(found), key=len)
        assert texts == [[0, 1, *[2, 0, 1] * n, 3] for n in range(6)]
        assert viterbi_score(found).tolist() == pytest.approx([weights[0] + weights[1]] * 6)
    fork = Graph([0, 0], [0, 0], [0, 1], accept=0)
    (found,) = k_best(fork, 7)
    assert sorted(map(len, label_sequences(found))) == [0, 1, 1, 2, 2, 2, 2]


def test_silent_cycles_that_cost_nothing_spell_nothing_new():
    silent = Graph([0, 1, 1, 2], [1, 0, 2, 3], [EPSILON, EPSILON, 5, 6], accept=3)
    empty = Graph([0, 1], [1, 0], [EPSILON, EPSILON], accept=1)
    for both in (stack([silent, empty]), stack([empty, silent]).to(torch.float64)):
        answers = k_best(both, 9, unique="ilabels")
        texts = [label_sequences(found, "ilabels") for found in answers]
        assert sorted(texts) == [[[]], [[5, 6]]]
    (paths,) = k_best(empty, 3)
    assert sorted(paths.topology.arc_offsets.diff().tolist()) == [1, 3, 5]


def test_too_many_prefixes_are_refused_by_graph():
    batch = stack([gtnet.linear([1]), Graph([0, 0], [0, 0], [0, 1], accept=0)])
    for unique in (None, "ilabels"):
        with pytest.raises(ValueError, match=r"k_best: the 900 best .*graph 1 .*max_prefixes=1000"):
            k_best(batch, 900, unique=unique, max_prefixes=1000)
        assert [len(found) for found in k_best(batch, 20, unique=unique)] == [1, 20]
    with pytest.raises(ValueError, match=r"k_best: max_prefixes .*-1"):
        k_best(batch, 1, max_prefixes=-1)
    flat = gtnet.Emissions(torch.zeros(1, 4, 3)) @ gtnet.ctc_topology(3)
    with pytest.raises(ValueError, match="max_prefixes=7 "):
        flat.k_best(50, unique="olabels", max_prefixes=7)
    assert k_best(flat[0:0], 3, unique="olabels") == []


def test_label_sequences_drop_epsilons():
    graph = Graph([0, 1, 2], [1, 2, 3], [4, EPSILON, 6], [EPSILON, 8, 9], accept=3)
    assert label_sequences(graph) == [[8, 9]]
    assert label_sequences(graph, side="ilabels") == [[4, 6]]
    batch = stack([graph, Graph([], [], [], accept=0), graph])
    assert label_sequences(batch) == [[8, 9], [], [8, 9]]
    assert label_sequences(viterbi_path(Graph([0], [1], [0], accept=[]))) == [[]]


def test_label_sequences_refuse_what_is_not_linear():
    for graph in (
        Graph([0, 0], [1, 1], [0, 1], accept=1),
        Graph([0, 2], [1, 3], [0, 1], accept=3),
        Graph([0], [0], [0], accept=0),
    ):
        with pytest.raises(ValueError, match="label_sequences: graphs must be linear"):
            label_sequences(graph)
    with pytest.raises(ValueError, match=r"label_sequences: side .*'labels'"):
        label_sequences(gtnet.linear([1]), side="labels")


def test_bad_k_is_named():
    graph = gtnet.linear([1])
    with pytest.raises(ValueError, match=r"k_best: k .*-1"):
        k_best(graph, -1)
    for k in (1.5, "2", None):
        with pytest.raises(TypeError, match=rf"k_best: k .*{k}|k_best: k .*{type(k).__name__}"):
            k_best(graph, k)
    with pytest.raises(ValueError, match=r"k_best: unique .*'labels'"):
        k_best(graph, 1, unique="labels")


def test_batches_of_no_graphs():
    none = gtnet.linear([1])[0:0]
    assert len(viterbi_path(none)) == 0
    assert k_best(none, 2) == []
    assert label_sequences(none) == []


# All paths


@settings(max_examples=40)
@given(strategies.graphs())
def test_enumerate_paths_has_all_paths(graph):
    answers = gtnet.enumerate_paths(graph)
    assert len(answers) == len(graph)
    for answer, one in zip(answers, automata(graph), strict=True):
        found = [as_path(linear, one) for linear in answer]
        assert Counter(found) == Counter(known(oracle.paths(one)))
        assert viterbi_score(answer).tolist() == [path.score for path in found]


@settings(max_examples=40)
@given(strategies.graphs(acyclic=False, max_arcs=5), st.integers(0, 4))
def test_enumerate_paths_up_to_a_length(graph, most):
    for answer, one in zip(
        gtnet.enumerate_paths(graph, max_length=most), automata(graph), strict=True
    ):
        found = [as_path(linear, one) for linear in answer]
        assert Counter(found) == Counter(known(oracle.paths(one, oracle.at_most(most))))


def test_enumerate_paths_knows_its_limits():
    graph = Graph([0, 0, 1, 1], [1, 1, 2, 2], [0, 1, 2, 3], accept=2)
    assert len(gtnet.enumerate_paths(graph, 4)[0]) == 4
    with pytest.raises(ValueError, match="enumerate_paths: graph 1 has more than limit=3 paths"):
        gtnet.enumerate_paths(stack([gtnet.linear([1]), graph]), 3)
    with pytest.raises(ValueError, match="enumerate_paths: graph 1 has a cycle"):
        gtnet.enumerate_paths(stack([graph, gtnet.linear([1]).plus]))
    with pytest.raises(ValueError, match=r"enumerate_paths: limit .*-1"):
        gtnet.enumerate_paths(graph, -1)
    with pytest.raises(TypeError, match="enumerate_paths: max_length"):
        gtnet.enumerate_paths(graph, max_length=1.5)
    beside = Graph([0, 1, 2, 3], [1, 1, 3, 2], [0, 0, 0, 0], weights=[0, NEG_INF, 0, 0], accept=1)
    assert len(gtnet.enumerate_paths(beside)[0]) == 1


def test_enumerate_paths_wastes_no_time_on_dead_ends():
    layers, width = 30, 5
    source = torch.arange(layers).repeat_interleave(width)
    dead = Graph(source, source + 1, [0] * (layers * width), accept=[], num_states=layers + 2)
    alive = Graph([0], [layers + 1], [1], accept=layers + 1)
    both = Graph(
        [*dead.source.tolist(), 0], [*dead.target.tolist(), layers + 1],
        [*dead.ilabels.tolist(), 1], accept=layers + 1,
    )  # fmt: skip
    assert viterbi_score(gtnet.enumerate_paths(both)[0]).tolist() == [0.0]
    assert len(gtnet.enumerate_paths(alive)[0]) == 1


# Paths drawn at random


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25)
@given(strategies.graphs(), strategies.BETAS, st.integers(0, 99))
def test_sampled_paths_are_paths_in_proportion(graph, beta, seed):
    n = 400
    answers = gtnet.sample(graph, n, beta=beta, generator=seeded(seed))
    for answer, one in zip(answers, automata(graph), strict=True):
        found = known(oracle.paths(one))
        if not found:
            assert len(answer) == 0
            continue
        drawn = Counter(as_path(linear, one) for linear in answer)
        assert sum(drawn.values()) == n
        assert not set(drawn) - set(found)
        total = oracle.log_sum([path.score for path in found], beta)
        chances: Counter = Counter()
        for path in found:
            chances[path] += torch.tensor(beta * (path.score - total)).double().exp().item()
        likely = {path: chance for path, chance in chances.items() if chance * n >= 5}
        chi = sum((drawn[path] - n * p) ** 2 / (n * p) for path, p in likely.items())
        # Mean `degrees`, deviation sqrt(2 · degrees): six deviations are generous.
        assert chi <= len(likely) + 6 * (2 * len(likely)) ** 0.5 + 6


def test_sampled_arcs_follow_the_posteriors():
    graph = gtnet.Emissions(torch.randn(1, 6, 4, generator=seeded(1))).graph()
    n = 20_000
    (answer,) = gtnet.sample(graph, n, generator=seeded(2))
    frequency = torch.bincount(answer.arc_maps[0].long(), minlength=graph.num_arcs) / n
    torch.testing.assert_close(frequency, gtnet.posteriors(graph), atol=0.015, rtol=0)


def test_the_seed_decides_what_is_sampled():
    graph = gtnet.random_graph(50, 300, generator=3)
    one, same, other = (gtnet.sample(graph, 5, generator=seeded(s))[0] for s in (1, 1, 2))
    assert one.equal(same)
    assert not one.equal(other)
    torch.manual_seed(1)
    default = gtnet.sample(graph, 5)[0]
    assert default.equal(one)


def test_threads_do_not_change_what_is_sampled():
    batch = gtnet.random_graph(300, 900, size=40)
    torch.set_num_threads(1)
    alone = stack(gtnet.sample(batch, 50, generator=seeded(0)))
    torch.set_num_threads(2)
    assert stack(gtnet.sample(batch, 50, generator=seeded(0))).equal(alone)


def test_scores_of_samples_are_differentiable():
    graph = gtnet.random_graph(20, 60, generator=3).requires_grad_()
    (answer,) = gtnet.sample(graph, 7, generator=seeded(0))
    viterbi_score(answer).sum().backward()
    taken = torch.bincount(answer.arc_maps[0].long(), minlength=graph.num_arcs)
    assert torch.equal(graph.weights.grad, taken.float())
    assert graph.start.grad.tolist() == [7.0] + [0.0] * 19


def test_sample_of_the_largest_scores_and_of_none():
    graph = Graph([0, 0], [1, 1], [0, 1], weights=[1e32, 1e32], accept=1)
    (answer,) = gtnet.sample(graph, 100, beta=10.0, generator=seeded(0))
    assert 20 < int(answer.ilabels.sum()) < 80
    assert [len(a) for a in gtnet.sample(stack([graph, Graph([], [], [], accept=[])]), 3)] == [3, 0]
    assert [len(a) for a in gtnet.sample(graph, 0)] == [0]
    assert gtnet.sample(graph[0:0], 3) == []


APART = Graph([0, 2], [1, 2], [0, 0], accept=1)  # a cycle of its own diverges
BEFORE = Graph([0, 2, 2], [1, 2, 0], [0, 0, 0], accept=1)
BEHIND = Graph([0, 1, 2], [1, 2, 2], [0, 0, 0], accept=1)
NOWHERE = Graph([0, 0], [0, 1], [0, 1], accept=[], num_states=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cycles_on_no_accepting_path_break_no_sample(dtype):
    batch = stack([APART, NOWHERE, BEFORE, gtnet.linear([7]), BEHIND]).to(dtype).requires_grad_()
    drawn = gtnet.sample(batch, 3, generator=seeded(0))
    expected = [[[0]] * 3, [], *([[n]] * 3 for n in (0, 7, 0))]
    assert [label_sequences(paths) for paths in drawn] == expected
    viterbi_score(stack(drawn)).sum().backward()
    assert batch.weights.grad.tolist() == [3, 0, 0, 0, 3, 0, 0, 3, 3, 0, 0]
    assert [len(paths) for paths in gtnet.sample(NOWHERE, 4, beta=0.5)] == [0]
    useful = Graph([0, 0], [0, 1], [0, 1], accept=1)
    with pytest.raises(ValueError, match="sample: graph 1 has a cycle"):
        gtnet.sample(stack([APART, useful]), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{"beam": 1.0}, {"posterior": 0.5}])
def test_cycles_on_no_accepting_path_are_pruned(options, dtype):
    batch = stack([APART, NOWHERE, BEFORE, BEHIND]).to(dtype).requires_grad_()
    kept = gtnet.prune(batch, **options)
    assert kept.arc_maps[0].tolist() == [0, 4, 7]
    assert gtnet.forward_score(kept).tolist() == [0, NEG_INF, 0, 0]
    gtnet.forward_score(kept).masked_fill(kept.state_offsets.diff() == 0, 0).sum().backward()
    assert batch.weights.grad.tolist() == [1, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    growing = batch.detach().with_weights(batch.detach().weights + 2)  # no best path either
    assert gtnet.prune(growing, **options).arc_maps[0].tolist() == [0, 4, 7]


def test_bad_arguments_of_sample_are_named():
    graph = gtnet.linear([1])
    with pytest.raises(ValueError, match=r"sample: n .*-1"):
        gtnet.sample(graph, -1)
    with pytest.raises(ValueError, match="sample: beta must be finite"):
        gtnet.sample(graph, 1, beta=float("inf"))
    with pytest.raises(TypeError, match="sample: graph must be a Graph"):
        gtnet.sample(1, 1)
