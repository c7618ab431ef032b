"""Beam search: against a search in plain Python, exact where nothing is cut, whole or in chunks."""

from __future__ import annotations

import math

import pytest
import strategies
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle import automata, paths
from torch.autograd import gradcheck

from gtnet import (
    EPSILON,
    BeamSearch,
    Emissions,
    Graph,
    beam_search,
    ctc_graph,
    ctc_topology,
    forward_score,
    k_best,
    label_sequences,
    linear,
    posteriors,
    prune,
    viterbi_path,
    viterbi_score,
)

INF, NEG_INF = math.inf, -math.inf
pytestmark = pytest.mark.filterwarnings("ignore:beam_search. after the last frame")
DTYPES = [torch.float32, torch.float64]


def plain_search(scores: torch.Tensor, graph: Graph, beam: float, max_active: int) -> dict:
    """(cut, state) -> score of every survivor, for one item and one graph without epsilons."""
    (automaton,) = automata(graph)
    kept: dict[tuple[int, int], float] = {}
    here = {s: score for s, score in enumerate(automaton.start) if score > -INF}
    for cut in range(len(scores) + 1):
        if cut > 0:
            before, here = here, {}
            for arc in automaton.arcs:
                if arc.source in before and arc.ilabel < scores.shape[1]:
                    score = before[arc.source] + arc.weight + float(scores[cut - 1, arc.ilabel])
                    if score > here.get(arc.target, -INF):
                        here[arc.target] = score
        ranked = sorted(here.values(), reverse=True)
        if len(ranked) > max_active:
            beam_here = min(beam, ranked[0] - ranked[max_active - 1])
        else:
            beam_here = beam
        here = {s: score for s, score in here.items() if score >= ranked[0] - beam_here}
        kept.update({((cut, s), score) for s, score in here.items()})
    return kept


def plain_lattice(scores, graph: Graph, survivors: dict, lattice_beam: float):
    """The (cut, state) pairs and arcs on paths through survivors, near enough to the best."""
    (automaton,) = automata(graph)
    frames = len(scores)
    behind = {(frames, s): automaton.accept[s] for (cut, s) in survivors if cut == frames}
    for cut in range(frames - 1, -1, -1):
        for arc in automaton.arcs:
            source, target = (cut, arc.source), (cut + 1, arc.target)
            if source in survivors and target in survivors and arc.ilabel < scores.shape[1]:
                step = arc.weight + float(scores[cut, arc.ilabel])
                behind[source] = max(behind.get(source, -INF), step + behind.get(target, -INF))
    total = {token: survivors[token] + rest for token, rest in behind.items()}
    best = max(total.values(), default=-INF)
    arcs = set()
    for cut in range(frames):
        for arc in automaton.arcs:
            source, target = (cut, arc.source), (cut + 1, arc.target)
            if source in survivors and target in behind and arc.ilabel < scores.shape[1]:
                step = survivors[source] + arc.weight + float(scores[cut, arc.ilabel])
                if -INF < step + behind[target] >= best - lattice_beam - 1e-9:
                    arcs.add((cut, arc.index))
    states = {token for token, score in total.items() if -INF < score >= best - lattice_beam - 1e-9}
    return states, arcs


@pytest.mark.parametrize("max_active", [3, 10, 100])
@pytest.mark.parametrize("lattice_beam", [0.0, 2.0, INF])
def test_it_keeps_what_a_plain_search_keeps(max_active, lattice_beam):
    generator = torch.Generator().manual_seed(max_active)
    source, target, label = (torch.randint(0, n, (300,), generator=generator) for n in (60, 60, 5))
    weights = torch.randn(300, dtype=torch.float64, generator=generator)
    graph = Graph(source, target, label, None, weights, start=[0, 1], accept=list(range(20)))
    scores = torch.randn(12, 5, dtype=torch.float64, generator=generator)
    survivors = plain_search(scores, graph, 4.0, max_active)
    states, arcs = plain_lattice(scores, graph, survivors, lattice_beam)
    found = beam_search(
        Emissions(scores.unsqueeze(0)), graph,
        beam=4.0, max_active=max_active, lattice_beam=lattice_beam,
    )  # fmt: skip
    emitted, taken = found.arc_maps
    assert set(zip((emitted // 5).tolist(), taken.tolist(), strict=True)) == arcs
    cuts, held = found.state_maps
    assert set(zip(cuts.tolist(), held.tolist(), strict=True)) == states
    assert len(taken) == len(arcs)
    assert len(held) == len(states)


@st.composite
def searches(draw: st.DrawFn):
    """Emissions of one or several items and a graph, with cycles and epsilons but none of them."""
    graph = draw(strategies.graphs(acyclic=False, max_arcs=6))
    topology = graph.topology
    backward = (topology.ilabels == EPSILON) & (topology.source >= topology.target)
    labels = [column.masked_fill(backward, 0) for column in (topology.ilabels, topology.olabels)]
    graph = Graph.from_topology(
        topology.with_labels(*labels), graph.weights, graph.start, graph.accept
    )
    batch = draw(st.sampled_from([1, len(graph)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    scores = torch.randint(-8, 8, (batch, 4, 3), generator=generator).to(graph.dtype) / 4
    scores[torch.rand(scores.shape, generator=generator) < 0.1] = -INF
    lengths = draw(st.lists(st.integers(0, 4), min_size=batch, max_size=batch))
    return scores, lengths, graph


@given(searches())
def test_nothing_is_cut_where_the_beam_is_infinite(case):
    scores, lengths, graph = case
    exact = Emissions(scores, lengths) @ graph
    found = beam_search(Emissions(scores, lengths), graph, beam=INF)
    for a, b in zip(automata(found), automata(exact.graph()), strict=True):
        spelled = [sorted((p.inputs, p.outputs, p.score) for p in paths(one)) for one in (a, b)]
        assert spelled[0] == spelled[1]
    assert torch.equal(viterbi_score(found), exact.viterbi_score())


@given(searches(), st.sampled_from([0.0, 0.5, 2.0]))
def test_a_lattice_beam_is_that_of_prune(case, beam):
    scores, lengths, graph = case
    exact = Emissions(scores, lengths) @ graph
    found = beam_search(Emissions(scores, lengths), graph, beam=INF, lattice_beam=beam)
    expected = prune(exact.graph(), beam=beam)
    for a, b in zip(automata(found), automata(expected), strict=True):
        assert sorted(p.score for p in paths(a)) == sorted(p.score for p in paths(b))


@given(searches(), st.integers(1, 3), st.sampled_from([1.0, INF]), st.data())
def test_chunks_give_what_the_whole_gives(case, max_active, beam, data):
    scores, lengths, graph = case
    assume(len(scores) == len(graph) or len(graph) == 1)
    options = {"beam": beam, "max_active": max_active}
    whole = beam_search(Emissions(scores, lengths), graph, **options)
    cuts = sorted(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    search = BeamSearch(graph, **options)
    for begin, end in zip([0, *cuts], [*cuts, 4], strict=True):
        inside = [min(max(length - begin, 0), end - begin) for length in lengths]
        search.feed(scores[:, begin:end], inside)
    assert search.lattice().equal(whole)
    for ours, expected in zip(search.lattice().arc_maps, whole.arc_maps, strict=True):
        assert torch.equal(ours, expected)
    for ours, expected in zip(search.lattice().state_maps, whole.state_maps, strict=True):
        assert torch.equal(ours, expected)


@given(searches())
def test_maps_name_what_was_added(case):
    scores, lengths, graph = case
    emissions = Emissions(scores, lengths)
    found = beam_search(emissions, graph, beam=2.0, max_active=3)
    product = emissions.graph()
    emitted, taken = (m.long() for m in found.arc_maps)
    reads = emitted >= 0
    expected = graph.weights[taken]
    expected[reads] += product.weights[emitted[reads]]
    assert torch.equal(found.weights, expected)
    assert torch.equal(found.ilabels[reads], product.ilabels[emitted[reads]])
    assert (found.ilabels[~reads] == EPSILON).all()
    item = found.topology.graph_of_arc[reads] if len(emissions) > 1 else 0
    assert torch.equal(product.topology.graph_of_arc[emitted[reads]] + 0, item + 0 * emitted[reads])
    cuts, states = (m.long() for m in found.state_maps)
    assert torch.equal(graph.source[taken], _local(graph, states[found.topology.global_source]))
    ahead = cuts[found.topology.global_target] - cuts[found.topology.global_source]
    assert torch.equal(ahead, reads.long())


def _local(graph: Graph, states: torch.Tensor) -> torch.Tensor:
    offsets = graph.state_offsets
    return (states - offsets[graph.topology.graph_of_state[states]]).to(torch.int32)


def lexicon() -> Graph:
    """Words over letters, in any number, each word back to the root by an epsilon."""
    return Graph(
        [0, 1, 1, 0, 4, 2, 3, 5], [1, 2, 3, 4, 5, 0, 0, 0], [1, 2, 1, 2, 2, EPSILON, EPSILON, -1],
        [EPSILON, 10, 11, EPSILON, 12, EPSILON, EPSILON, EPSILON],
        [0.0, -0.5, 0.0, 0.0, -0.25, -0.125, 0.0, 0.0], start=0, accept=0,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_words_with_scores_from_tokens_lexicon_and_grammar(dtype):
    graph = (ctc_graph([[1, 2, 1, 1], [2, 2]], dtype=dtype) @ lexicon().to(dtype)).detach()
    scores = torch.randn(2, 12, 3, dtype=dtype).log_softmax(-1)
    lattice = beam_search(Emissions(scores), graph, beam=INF)
    assert label_sequences(viterbi_path(lattice)) == [[10, 11], [12]]
    exact = Emissions(scores) @ graph
    torch.testing.assert_close(viterbi_score(lattice), exact.viterbi_score())
    torch.testing.assert_close(forward_score(lattice), forward_score(exact))
    for best in k_best(lattice, 5, unique="olabels"):
        assert len(best) == 1


def test_equal_answers_count_once():
    graph = Graph([0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1], [5, 6, 5, 6], start=0, accept=1)
    lattice = beam_search(Emissions(torch.randn(1, 3, 2)), graph, beam=INF)
    (best,) = k_best(lattice, 20, unique="olabels")
    assert sorted(label_sequences(best)) == sorted(
        [a, b, c] for a in (5, 6) for b in (5, 6) for c in (5, 6)
    )
    scores = viterbi_score(best)
    assert torch.equal(scores, scores.sort(descending=True).values)


def test_gradients_are_those_of_the_paths_kept():
    graph = lexicon().to(torch.float64)
    scores = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(graph.num_arcs, dtype=torch.float64, requires_grad=True)
    start = torch.randn(graph.num_states, dtype=torch.float64, requires_grad=True)
    accept = torch.randn(graph.num_states, dtype=torch.float64, requires_grad=True)

    def score(scores, weights, start, accept, chunks=False):
        operand = graph.with_weights(weights, start=start, accept=accept)
        if not chunks:
            return forward_score(beam_search(Emissions(scores), operand, beam=9.0, max_active=5))
        search = BeamSearch(operand, beam=9.0, max_active=5)
        search.feed(scores[:, :2])
        search.feed(scores[:, 2:])
        return forward_score(search.lattice())

    inputs = (scores, weights, start, accept)
    assert gradcheck(score, inputs)
    ours, expected = (torch.autograd.grad(score(*inputs, c).sum(), inputs) for c in (False, True))
    torch.testing.assert_close(ours, expected)
    lattice = beam_search(Emissions(scores), graph, beam=INF)
    assert posteriors(lattice).shape == (lattice.num_arcs,)


def test_what_is_spoken_so_far():
    search = BeamSearch(linear([1, 2]), beam=5.0)
    search.feed(torch.zeros(1, 1, 3))
    assert search.lattice().num_states == 0
    assert label_sequences(viterbi_path(search.lattice(partial=True))) == [[1]]
    search.feed(torch.zeros(1, 1, 3))
    assert label_sequences(viterbi_path(search.lattice())) == [[1, 2]]
    search.feed(torch.zeros(1, 1, 3))
    assert search.lattice(partial=True).num_states == 0


def test_batches_without_items_frames_or_states():
    assert len(beam_search(Emissions(torch.zeros(0, 3, 2)), linear([1]), beam=1.0)) == 0
    nothing = Graph([], [], [], start=[], accept=[])
    found = beam_search(Emissions(torch.zeros(2, 3, 2)), nothing, beam=1.0)
    assert (len(found), found.num_states) == (2, 0)
    empty = beam_search(Emissions(torch.zeros(1, 0, 2)), linear([]), beam=1.0)
    assert viterbi_score(empty).tolist() == [0.0]
    both = beam_search(Emissions(torch.zeros(1, 1, 3)), linear([[1], [2], [0, 0]]), beam=1.0)
    assert label_sequences(viterbi_path(both)) == [[1], [2], []]


def test_a_narrow_beam_keeps_max_active_and_ties_in_order():
    fan = Graph([0] * 5, [1, 2, 3, 4, 5], [0] * 5, start=0, accept=[1, 2, 3, 4, 5])
    found = beam_search(Emissions(torch.zeros(1, 1, 1)), fan, beam=INF, max_active=2)
    assert found.state_maps[1].tolist() == [0, 1, 2]
    weights = torch.tensor([0.0, 1.0, 2.0, 2.0, -1.0])
    found = beam_search(Emissions(torch.zeros(1, 1, 1)), fan.with_weights(weights), beam=1.0)
    assert found.state_maps[1].tolist() == [0, 2, 3, 4]


def test_survivors_keep_the_states_their_epsilons_come_through():
    graph = Graph([0, 0, 1], [1, 2, 2], [0, 0, EPSILON], weights=[1.0, 0.0, 3.0], accept=2)
    found = beam_search(Emissions(torch.zeros(1, 1, 1)), graph, beam=1.0, max_active=1)
    assert viterbi_score(found).tolist() == [4.0]


def spoken(text: list[int], num_labels: int, dtype=torch.float32) -> torch.Tensor:
    """Log-probabilities that are 99.1% sure of a label in each frame, the rest alike."""
    scores = torch.full((1, len(text), num_labels), 0.009 / (num_labels - 1), dtype=dtype)
    scores[0, torch.arange(len(text)), torch.tensor(text)] = 0.991
    return scores.log()


TEXT = [3, 77, 150, 9, 101, 42]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_labels", "max_active"), [(200, 10), (200, 1), (5000, 10)])
def test_epsilons_do_not_count_as_active(num_labels, max_active, dtype):
    scores = spoken(TEXT, num_labels, dtype)
    graph = ctc_topology(num_labels, dtype=dtype)
    options = {"beam": 50.0, "max_active": max_active}
    whole = beam_search(Emissions(scores), graph, **options)
    assert label_sequences(viterbi_path(whole)) == [TEXT]
    torch.testing.assert_close(viterbi_score(whole), (Emissions(scores) @ graph).viterbi_score())
    search = BeamSearch(graph, **options)
    for frame in range(len(TEXT)):
        search.feed(scores[:, frame : frame + 1])
    assert search.lattice().equal(whole)


def test_only_what_reads_a_frame_is_counted():
    """State 1 reads; 2 and 3 follow from it by epsilons, 4 reads too and is the second best."""
    graph = Graph(
        [0, 0, 1, 2, 0], [1, 4, 2, 3, 5], [0, 0, EPSILON, EPSILON, 0],
        weights=[0, -2, -0.5, -0.5, -3], accept=[1, 2, 3, 4, 5],
    )  # fmt: skip
    for most, states in ((1, [0, 1, 2, 3]), (2, [0, 1, 4, 2, 3]), (3, [0, 1, 4, 5, 2, 3])):
        found = beam_search(Emissions(torch.zeros(1, 1, 1)), graph, beam=9.0, max_active=most)
        assert found.state_maps[1].tolist() == states
    narrow = beam_search(Emissions(torch.zeros(1, 1, 1)), graph, beam=0.75, max_active=1)
    assert narrow.state_maps[1].tolist() == [0, 1, 2]  # the beam holds for epsilons, too


def test_epsilons_lead_back_to_what_was_cut_off():
    """State 2 is read with -1 and cut off; the epsilon into it brings -1.5, another frame -4."""
    graph = Graph(
        [0, 0, 0, 1], [1, 2, 2, 2], [0, 0, 1, EPSILON], weights=[0, -1, -4, -1.5], accept=2
    )
    emissions = Emissions(torch.zeros(1, 1, 2))
    assert viterbi_score(beam_search(emissions, graph, beam=9.0)).tolist() == [-1.0]
    cut = beam_search(emissions, graph, beam=9.0, max_active=1)
    assert viterbi_score(cut).tolist() == [-1.5]
    assert sorted(cut.arc_maps[1].tolist()) == [0, 2, 3]
    starts = Graph(
        [0, 1], [1, 2], [EPSILON, 0], weights=[-2, 0], start=[0.0, -1, NEG_INF], accept=2
    )
    cut = beam_search(emissions, starts, beam=9.0, max_active=1)
    assert viterbi_score(cut).tolist() == [-2.0]


def test_a_search_that_ends_nowhere_says_so_or_gives_what_it_has():
    scores = torch.tensor([[[0, -1.0, -2]]]).expand(4, 2, 3)
    graph = linear([[0, 1], [0, 1, 2], [0], [2, 2]]).to(torch.float32)
    emissions = Emissions(scores, [2, 2, 2, 1])
    with pytest.warns(UserWarning, match="their lattices are empty") as said:
        found = beam_search(emissions, graph, beam=5.0)
    assert [str(w.message).split(", so")[0] for w in said] == [
        "beam_search: after the last frame no state survives in 1 items (2)",
        "beam_search: after the last frame no survivor accepts in 2 items (1, 3)",
    ]
    assert 'partial="fallback"' in str(said[1].message)
    assert said[0].filename == __file__
    assert label_sequences(viterbi_path(found)) == [[0, 1], [], [], []]
    search = BeamSearch(graph, beam=5.0)
    search.feed(scores, [2, 2, 2, 1])
    with pytest.warns(UserWarning, match=r"2 items \(1, 3\)"):
        assert search.lattice().equal(found)
    ends = graph.accept.index_fill(0, torch.tensor([2]), -3.0)  # of item 0
    graph = graph.with_weights(accept=ends)
    with pytest.warns(UserWarning, match=r"no state survives in 1 items \(2\)"):
        anywhere = beam_search(emissions, graph, beam=5.0, partial=True)
    with pytest.warns(UserWarning, match=r"no state survives in 1 items \(2\)"):
        fallback = beam_search(emissions, graph, beam=5.0, partial="fallback")
    for lattice in (anywhere, fallback):
        assert label_sequences(viterbi_path(lattice)) == [[0, 1], [0, 1], [], [2]]
    assert viterbi_score(anywhere).tolist() == [-1, -1, -INF, -2]
    assert viterbi_score(fallback).tolist() == [-4, -1, -INF, -2]
    single = linear([0, 1, 2]).requires_grad_()
    whole = beam_search(Emissions(scores[:2]), single, beam=5.0, partial="fallback")
    viterbi_score(whole).sum().backward()
    assert single.weights.grad.tolist() == [2, 2, 0]
    assert single.accept.grad.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match=r'partial must be .*"fallback", got .else.'):
        beam_search(emissions, graph, beam=5.0, partial="else")


def test_errors_name_what_is_wrong():
    emissions, graph = Emissions(torch.zeros(2, 3, 4)), linear([1])
    segments = Emissions(torch.zeros(1, 4), graph=linear([0]))
    loop = Graph([0, 1], [1, 0], [EPSILON, EPSILON], accept=1)
    cases = [
        (lambda: beam_search(segments, graph, beam=1.0), "must be a chain of frames"),
        (lambda: beam_search(emissions, linear([[1]] * 3), beam=1.0), "2 graphs, b has 3"),
        (lambda: beam_search(emissions, graph, beam=-1.0), "beam must be at least 0, got -1"),
        (lambda: beam_search(emissions, graph, beam=math.nan), "beam must be at least 0, got nan"),
        (lambda: beam_search(emissions, graph, beam=1.0, max_active=0), "max_active .*got 0"),
        (lambda: beam_search(emissions, graph, beam=1.0, lattice_beam=-2), "lattice_beam .*-2"),
        (lambda: beam_search(emissions, loop, beam=1.0), "graph 0 has a cycle of epsilons"),
        (lambda: BeamSearch(graph, beam=1.0).lattice(), "no lattice before .*: call feed"),
        (lambda: BeamSearch(linear([[1]] * 3), beam=1.0).feed(torch.zeros(2, 1, 3)), "3 graphs"),
    ]
    for call, said in cases:
        with pytest.raises(ValueError, match=said):
            call()
    with pytest.raises(TypeError, match="emissions must be Emissions, got Graph"):
        beam_search(graph, graph, beam=1.0)
    with pytest.raises(TypeError, match="beam must be a number"):
        beam_search(emissions, graph, beam="wide")
    with pytest.raises(TypeError, match="one dtype"):
        beam_search(Emissions(torch.zeros(1, 1, 2).double()), graph, beam=1.0)
    search = BeamSearch(graph, beam=1.0)
    search.feed(torch.zeros(2, 1, 3))
    with pytest.raises(ValueError, match=r"chunks must be \[2, frames, 3\].*\[2, 1, 4\]"):
        search.feed(torch.zeros(2, 1, 4))


def test_threads_change_nothing():
    graph = lexicon()
    scores = torch.randn(5, 20, 3)
    one = beam_search(Emissions(scores), graph, beam=4.0, max_active=3)
    torch.set_num_threads(2)
    two = beam_search(Emissions(scores), graph, beam=4.0, max_active=3)
    torch.set_num_threads(1)
    assert one.equal(two)
