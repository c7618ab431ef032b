"""Recognizer topologies: the frame labellings they read, what these spell, and their scores."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import automata, paths
from torch.autograd import gradcheck

from gtnet import (
    EPSILON,
    Emissions,
    Graph,
    asg_graph,
    bigram_graph,
    compose,
    ctc_graph,
    ctc_topology,
    equivalent,
    forward_score,
    hmm_graph,
    linear,
    pack_repetitions,
    remove_epsilon,
    segment_emissions,
    segment_graph,
    stack,
    star_graph,
    transducer_graph,
    unpack_repetitions,
    viterbi_path,
    with_star,
)

NEG_INF = -math.inf
CTC = [
    {},
    {"optional_blank": True},
    {"repeats": False},
    {"blank": None},
    {"blank": None, "optional_blank": True},
    {"blank": None, "repeats": False},
    {"blank": 1},
    {"blank": 2, "optional_blank": True},
]
TARGETS = st.lists(st.integers(0, 3), max_size=4)


def spellings(graph: Graph, frames: int, labels: int) -> list[Counter]:
    """How often each (frame labelling, output) is a path of so many frames, graph by graph."""
    emissions = Emissions(torch.zeros(len(graph), frames, labels, dtype=graph.dtype))
    product = compose(emissions, graph).graph()
    return [Counter((p.inputs, p.outputs) for p in paths(one)) for one in automata(product)]


def collapsed(labelling, blank=0, optional_blank=False, repeats=True) -> Iterator[tuple]:
    """What a frame labelling spells; once for every way to cut its runs where they may be cut."""
    runs = [(label, len(list(run))) for label, run in itertools.groupby(labelling)]
    choices = []
    for label, length in runs:
        if label == blank:
            choices.append([0])
        elif not repeats:
            choices.append([length])
        elif optional_blank:
            choices.append(
                [n for n in range(1, length + 1) for _ in range(math.comb(length - 1, n - 1))]
            )
        else:
            choices.append([1])
    for times in itertools.product(*choices):
        yield tuple(x for (label, _), n in zip(runs, times, strict=True) for x in [label] * n)


@pytest.mark.parametrize("options", CTC)
def test_a_ctc_topology_collapses_every_labelling(options):
    (found,) = spellings(ctc_topology(3, **options), 4, 3)
    expected = Counter(
        (labelling, spelled)
        for labelling in itertools.product(range(3), repeat=4)
        for spelled in collapsed(labelling, **options)
    )
    assert found == expected


@pytest.mark.parametrize("options", CTC)
def test_ctc_graphs_are_the_topology_of_one_target(options):
    blank = options.get("blank", 0)
    letters = [label for label in range(3) if label != blank]
    targets = [list(t) for n in range(4) for t in itertools.product(letters, repeat=n)]
    whole = compose(ctc_topology(3, **options), linear(targets))
    assert spellings(ctc_graph(targets, **options), 4, 3) == spellings(whole, 4, 3)


def encoded(graph: Graph) -> Graph:
    """The acceptor of pairs of an input and an output label."""
    topology = graph.topology
    pairs = (topology.ilabels * 100 + topology.olabels + 1).masked_fill(topology.ilabels < 0, -1)
    return Graph.from_topology(
        topology.with_labels(pairs, pairs), graph.weights, graph.start, graph.accept
    )


@pytest.mark.parametrize("labels", [1, 2, 3, 9, 10, 65, 70])
def test_the_compact_topology_is_the_quadratic_one(labels):
    """The same paths once epsilons are gone, so the same counts, and not many arcs."""
    compact = ctc_topology(labels, dtype=torch.float64)
    every = torch.arange(labels)
    source, target = every.repeat_interleave(labels), every.repeat(labels)
    writes = target.masked_fill((target == source) | (target == 0), EPSILON)
    quadratic = Graph(source, target, target, writes, accept=every.tolist(), num_states=labels).to(
        torch.float64
    )
    assert compact.num_arcs <= 14 * labels
    if labels <= 10:
        assert equivalent(remove_epsilon(encoded(compact)), encoded(quadratic))
    else:
        scores = Emissions(torch.randn(2, 6, labels, dtype=torch.float64))
        torch.testing.assert_close(
            forward_score(scores @ compact), forward_score(scores @ quadratic)
        )
        ours, theirs = (viterbi_path(scores @ g) for g in (compact, quadratic))
        reads = ours.ilabels >= 0
        assert torch.equal(ours.ilabels[reads], theirs.ilabels)
        assert torch.equal(ours.olabels[reads], theirs.olabels)


@given(st.lists(TARGETS, min_size=1, max_size=3))
def test_asg_is_a_bigram_that_spells_the_target(targets):
    transitions = torch.randn(4, 4, dtype=torch.float64)
    start = torch.randn(4, dtype=torch.float64)
    emissions = Emissions(torch.randn(len(targets), 5, 4, dtype=torch.float64))
    constrained = emissions @ asg_graph(targets, transitions, start)
    # The same from the other side: the alignments without scores, composed with the bigram.
    free = asg_graph(targets, dtype=torch.float64)
    acceptor = Graph.from_topology(
        free.topology.with_labels(free.ilabels, free.ilabels), free.weights, free.start, free.accept
    )
    expected = emissions @ compose(acceptor, bigram_graph(None, transitions, start))
    torch.testing.assert_close(forward_score(constrained), forward_score(expected))


def test_bigram_scores():
    transitions = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(1, 2, 3, dtype=torch.float64)

    def total(transitions, start):
        return forward_score(Emissions(scores) @ bigram_graph(3, transitions, start))

    table = start[:, None] + scores[0, 0][:, None] + transitions + scores[0, 1]
    torch.testing.assert_close(total(transitions, start), table.flatten().logsumexp(0)[None])
    assert gradcheck(total, (transitions, start))
    assert bigram_graph(3).weights.tolist() == [0] * 12
    assert bigram_graph(2, start=start[:2]).dtype == torch.float64


@given(st.lists(st.lists(st.integers(0, 2), max_size=7), max_size=4), st.integers(0, 3))
def test_repetitions_pack_and_unpack(targets, kinds):
    repetitions = [10 + k for k in range(kinds)]
    targets = targets or [[]]
    packed = pack_repetitions(targets, repetitions)
    assert [row.tolist() for row in unpack_repetitions(packed, repetitions)] == targets
    for row, target in zip(packed, targets, strict=True):
        labels = row.tolist()
        assert len(labels) <= len(target)
        if kinds and len(target) <= 2:
            assert all(a != b for a, b in itertools.pairwise(labels))


def test_repetition_labels_that_say_nothing_are_dropped():
    assert [r.tolist() for r in unpack_repetitions([[9, 1, 9, 9], [9], []], [9])] == [
        [1, 1],
        [],
        [],
    ]


# Hidden Markov models


@pytest.mark.parametrize("num_states", [1, 2, 3])
@pytest.mark.parametrize("skips", [False, True])
def test_hmm_paths_and_scores(num_states, skips):
    target, frames = [1, 0], 5
    size = 2 * num_states
    loop, step, skip = torch.randn(3, size, dtype=torch.float64)
    options = {"loop": loop, "step": step, "skip": skip if skips else None}
    graph = hmm_graph([target, []], num_states, **options)
    chain = [label * num_states + k for label in target for k in range(num_states)]
    expected: Counter = Counter()
    for walk in itertools.product(range(len(chain)), repeat=frames):
        score, legal = 0.0, walk[0] == 0
        for here, there in itertools.pairwise([*walk, len(chain)]):
            emission, jump = chain[here], there - here
            may_skip = skips and num_states > 1 and emission % num_states != num_states - 1
            legal = legal and (jump in (0, 1) or (jump == 2 and may_skip))
            score += float((loop, step, skip)[jump][emission]) if 0 <= jump <= 2 else 0
        if legal:
            first = [0, *(i for i, (a, b) in enumerate(itertools.pairwise(walk), 1) if a != b)]
            starts = [walk[i] for i in first if walk[i] % num_states == 0]
            written = tuple(target[s // num_states] for s in starts)
            expected[tuple(chain[s] for s in walk), written, round(score, 9)] += 1
    emissions = Emissions(torch.zeros(1, frames, size, dtype=torch.float64))
    one, _ = automata(compose(emissions, graph).graph())
    found = Counter((p.inputs, p.outputs, round(p.score, 9)) for p in paths(one))
    assert found == expected
    assert all(output == tuple(target) for _, output, _ in found)
    assert graph[1].accept.tolist() == [0.0]


def test_hmm_scores_learn():
    loop, step, skip = (torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    scores = torch.randn(2, 5, 4, dtype=torch.float64)

    def total(loop, step, skip):
        graph = hmm_graph([[0, 1], [1]], 2, loop=loop, step=step, skip=skip)
        return forward_score(Emissions(scores) @ graph)

    assert gradcheck(total, (loop, step, skip))
    fixed = hmm_graph([[1]], 2, loop=-1.0, step=-0.5)
    assert fixed.weights.tolist() == [-1.0, 0.0, -1.0, -0.5]
    assert fixed.accept.tolist() == [NEG_INF, NEG_INF, -0.5]


# Transducers and segments


def brute_transducer(log_probs, target, frames, blank):
    """The sum over all orders of blanks and labels, one item."""
    found = []
    for places in itertools.combinations(range(frames + len(target)), len(target)):
        t = u = 0
        score = log_probs.new_zeros(())
        for step in range(frames + len(target)):
            if t >= frames:
                break
            if step in places:
                score = score + log_probs[t, u, target[u]]
                u += 1
            else:
                score = score + log_probs[t, u, blank]
                t += 1
        if (t, u) == (frames, len(target)):
            found.append(score)
    return torch.stack(found).logsumexp(0) if found else log_probs.new_tensor(NEG_INF)


@pytest.mark.parametrize("blank", [0, 2])
def test_transducer_lattices(blank):
    log_probs = torch.randn(3, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([c for c in range(4) if c != blank])
    targets = labels[torch.randint(0, 3, (3, 3))]
    frames, written = [4, 2, 3], [3, 1, 0]
    graph = transducer_graph(log_probs, targets, frames, written, blank)
    expected = torch.stack(
        [
            brute_transducer(x, t[:n].tolist(), f, blank)
            for x, t, f, n in zip(log_probs, targets, frames, written, strict=True)
        ]
    )
    total = forward_score(graph)
    torch.testing.assert_close(total, expected)
    ours, theirs = (torch.autograd.grad(s.sum(), log_probs)[0] for s in (total, expected))
    torch.testing.assert_close(ours, theirs)
    for one, target, f, n in zip(automata(graph), targets, frames, written, strict=True):
        found = paths(one)
        assert {p.outputs for p in found} == {tuple(target[:n].tolist())}
        assert len({p.inputs for p in found}) == len(found) == math.comb(f + n - 1, n)


def test_segments_of_bounded_duration():
    graph = segment_graph([3, 0, 4], 2)
    ways = [Counter(p.inputs for p in paths(one)) for one in automata(graph)]
    assert [len(w) for w in ways] == [3, 1, 5]
    assert ways[0] == Counter([(1, 1, 1), (1, 2), (2, 1)])
    scores = torch.randn(3, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    emissions = segment_emissions(scores, [3, 0, 4])
    total = forward_score(emissions @ bigram_graph(3, dtype=torch.float64))

    def alpha(x, frames):
        sums = [x.new_zeros(())]
        for t in range(1, frames + 1):
            steps = [sums[t - d] + x[t - d, d - 1].logsumexp(0) for d in (1, 2) if d <= t]
            sums.append(torch.stack(steps).logsumexp(0))
        return sums[-1]

    expected = torch.stack([alpha(x, n) for x, n in zip(scores, [3, 0, 4], strict=True)])
    torch.testing.assert_close(total, expected)
    grads = [torch.autograd.grad(s.sum(), scores)[0] for s in (total, expected)]
    torch.testing.assert_close(*grads)


# Stars


def test_stars_stand_between_labels_and_for_them():
    graph = star_graph([[1, 2], []], 9, insertion=-1.0, substitution=-2.0)
    (one, empty) = spellings(graph, 3, 10)
    starred = [(9, 1, 2), (1, 9, 2), (1, 2, 9), (9, 9, 2), (9, 2, 9), (9, 1, 9), (1, 9, 9)]
    assert set(one) == {(w, w) for w in [*starred, (9, 9, 9)]}
    assert set(empty) == {((9, 9, 9), (9, 9, 9))}
    scored = compose(graph[0], linear([9, 1, 9]))
    assert torch.equal(forward_score(scored), torch.tensor([-3.0]))
    plain = star_graph([[1, 2]], 9, insertion=None)
    assert set(spellings(plain, 2, 10)[0]) == {((1, 2), (1, 2))}
    alone = star_graph([[1, 2]], 9, exclusive=True)
    assert set(spellings(alone, 3, 20)[0]) == {(w, w) for w in [(11, 1, 2), (1, 12, 2), (1, 2, 9)]}
    instead = star_graph([[1]], 9, insertion=None, substitution=0.0, exclusive=True)
    assert set(spellings(instead, 1, 20)[0]) == {((1,), (1,)), ((11,), (11,))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("blank", [None, 0, 2])
def test_scores_of_stars(dtype, blank):
    scores = torch.randn(2, 3, 4, dtype=dtype)
    scores[0, 0] = torch.tensor([-200.0, 0.0, -300.0, -250.0])
    counts = torch.ones(4, dtype=torch.bool)
    if blank is not None:
        counts[blank] = False
    found = with_star(scores, blank, exclusive=True)
    assert found.shape == (2, 3, 9)
    assert torch.equal(found[..., :4], scores)
    assert torch.equal(found[..., :5], with_star(scores, blank))
    torch.testing.assert_close(found[..., 4], scores[..., counts].logsumexp(-1))
    for label in range(4):
        others = counts.clone()
        others[label] = False
        torch.testing.assert_close(found[..., 5 + label], scores[..., others].logsumexp(-1))


def test_gradients_of_stars():
    scores = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: with_star(x, 0, exclusive=True), (scores,))
    alone = torch.zeros(1, 2, requires_grad=True)
    stars = with_star(alone, 0, exclusive=True)
    assert stars[0, 2:].tolist() == [0.0, 0.0, NEG_INF]
    stars[0, 2:4].sum().backward()
    assert torch.isfinite(alone.grad).all()


def test_a_missing_word_costs_its_penalty():
    """OTC: the transcript lacks a word; the star takes its frames."""
    scores = torch.full((1, 3, 4), -10.0, dtype=torch.float64)
    for frame, label in enumerate([1, 2, 3]):
        scores[0, frame, label] = 0
    training = compose(
        ctc_topology(5, dtype=torch.float64),
        star_graph([1, 3], 4, insertion=-1.0, dtype=torch.float64),
    )
    path = viterbi_path(Emissions(with_star(scores)) @ training)
    assert [x for x in path.olabels.tolist() if x != EPSILON] == [1, 4, 3]


# Arguments


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_builders_take_batches_of_any_dtype(dtype):
    targets = [[1, 2, 2], [], [3]]
    for build in (ctc_graph, asg_graph, hmm_graph, lambda t, **o: star_graph(t, 9, **o)):
        for options in ({},) if build is not ctc_graph else CTC[:6]:
            batch = build(targets, dtype=dtype, **options)
            assert batch.dtype == batch.start.dtype == batch.accept.dtype == dtype
            assert batch.equal(stack([build([t], dtype=dtype, **options) for t in targets]))
            assert batch[0].equal(build(targets[0], dtype=dtype, **options))
    assert segment_graph([2], 2, dtype=dtype).dtype == ctc_topology(9, dtype=dtype).dtype == dtype


def test_wrong_arguments_are_named():
    square, x = torch.zeros(2, 2), torch.zeros(1, 2, 2, 3)
    targets = torch.ones(1, 1, dtype=torch.int64)
    cases = [
        (lambda: ctc_graph([[1, 0]]), r"ctc_graph: a target must not hold the blank 0.*\[1, 0\]"),
        (lambda: ctc_graph([[1, 0], [-1]], blank=None), r"must not hold EPSILON, got \[-1\]"),
        (lambda: ctc_graph([[2]], blank=2, repeats=False), "must not hold the blank 2"),
        (lambda: ctc_topology(3, 3), "blank must be one of the 3 labels, got 3"),
        (lambda: asg_graph([[2]], square), r"targets must lie in \[0, 2\).*got 2"),
        (lambda: asg_graph([[1]], square[:1]), r"transitions must be \[labels, labels\]"),
        (lambda: asg_graph([[1]], square, torch.zeros(3)), r"start must have shape \[2\]"),
        (lambda: bigram_graph(), "num_labels, transitions or start must be given"),
        (lambda: bigram_graph(3, square), "num_labels is 3, the scores have 2"),
        (lambda: hmm_graph([[1]], 0), "num_states must be at least 1"),
        (lambda: hmm_graph([[1]], 2, loop=torch.zeros(3)), "emissions must lie in"),
        (lambda: star_graph([[9]], 9), "labels must be below the star 9, got 9"),
        (lambda: with_star(square, 2), "blank must be one of the 2 labels"),
        (lambda: transducer_graph(x[0], targets), "log_probs must be"),
        (lambda: transducer_graph(x, targets, blank=3), "blank must be one of the 3"),
        (lambda: transducer_graph(x, targets * 0), "must not hold the blank 0"),
        (lambda: transducer_graph(x, targets * 3), "targets must lie in"),
        (lambda: transducer_graph(x, targets, [3]), "input_lengths must lie in .*got 3"),
        (lambda: transducer_graph(x, targets, [1, 1]), "batch has 1 items, input_lengths 2"),
        (lambda: transducer_graph(x, targets[:, :0]), "targets must be"),
        (lambda: segment_graph([2], 0), "max_duration must be at least 1"),
        (lambda: segment_emissions(x[0]), "scores must be"),
    ]
    for call, said in cases:
        with pytest.raises(ValueError, match=said):
            call()
    with pytest.raises(TypeError, match="all must have one dtype"):
        hmm_graph([[1]], 1, loop=torch.zeros(2), step=torch.zeros(2).double())
    with pytest.raises(TypeError, match="float32 or float64"):
        with_star(square.long())
