"""Composition while searching: the paths, scores and maps of the product that is built."""

from __future__ import annotations

import math
from collections import Counter

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
    FailureGraph,
    Graph,
    Lexicon,
    SymbolTable,
    beam_search,
    compose,
    ctc_topology,
    forward_score,
    label_sequences,
    linear,
    stack,
    viterbi_path,
    viterbi_score,
)

INF, NEG_INF = math.inf, -math.inf
pytestmark = pytest.mark.filterwarnings("ignore:beam_search. after the last frame")


def without_epsilon_cycles(graph: Graph) -> Graph:
    """Epsilons that lead back read 0 instead."""
    topology = graph.topology
    backward = (topology.ilabels == EPSILON) & (topology.source >= topology.target)
    labels = [column.masked_fill(backward, 0) for column in (topology.ilabels, topology.olabels)]
    return Graph.from_topology(
        topology.with_labels(*labels), graph.weights, graph.start, graph.accept
    )


@st.composite
def searches(draw: st.DrawFn):
    """Emissions and the graphs of a product."""
    count = draw(st.sampled_from([2, 3]))
    graphs = draw(strategies.operands(count=count, acyclic=draw(st.booleans())))
    graphs = [without_epsilon_cycles(graph) for graph in graphs]
    size = max(map(len, graphs))
    batch = draw(st.sampled_from([1, size]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    scores = torch.randint(-8, 8, (batch, 3, 3), generator=generator).to(graphs[0].dtype) / 4
    lengths = draw(st.lists(st.integers(0, 3), min_size=batch, max_size=batch))
    return scores, lengths, graphs


def built(graphs: list[Graph]) -> tuple[Graph, list[torch.Tensor]]:
    """The product, and its maps to the arcs of each graph."""
    product, maps = graphs[0], [torch.arange(graphs[0].num_arcs)]
    for graph in graphs[1:]:
        product = compose(product, graph)
        left, right = (m.long() for m in product.arc_maps)
        maps = [torch.where(left >= 0, m[left], -1) if len(m) else left for m in maps] + [right]
    return product, maps


def spelled(lattice: Graph, maps) -> list[Counter]:
    """How often each path appears: its arcs in emissions and graphs, labels and score."""
    columns = list(zip(*(m.tolist() for m in maps), strict=True))
    return [
        Counter((tuple(columns[k] for k in p.arcs), p.inputs, p.outputs, p.score) for p in paths(a))
        for a in automata(lattice)
    ]


@given(searches(), st.booleans())
def test_the_search_composes_as_compose_does(case, look_ahead):
    scores, lengths, graphs = case
    product, maps = built(graphs)
    expected = beam_search(Emissions(scores, lengths), product, beam=INF)
    found = beam_search(Emissions(scores, lengths), graphs, beam=INF, look_ahead=look_ahead)
    of_product = expected.arc_maps[1].long()
    paired = [expected.arc_maps[0], *(m[of_product] for m in maps)]
    assert spelled(found, found.arc_maps) == spelled(expected, paired)


@given(searches(), st.integers(1, 3), st.sampled_from([1.0, INF]), st.booleans(), st.data())
def test_chunks_give_what_the_whole_gives(case, max_active, beam, look_ahead, data):
    scores, lengths, graphs = case
    assume(len(scores) == max(map(len, graphs)) or all(len(g) == 1 for g in graphs))
    options = {"beam": beam, "max_active": max_active, "look_ahead": look_ahead}
    whole = beam_search(Emissions(scores, lengths), graphs, **options)
    cuts = sorted(data.draw(st.lists(st.integers(0, 3), max_size=3)))
    search = BeamSearch(graphs, **options)
    for begin, end in zip([0, *cuts], [*cuts, 3], strict=True):
        inside = [min(max(length - begin, 0), end - begin) for length in lengths]
        search.feed(scores[:, begin:end], inside)
    pieces = search.lattice()
    assert pieces.equal(whole)
    for ours, expected in zip(pieces.arc_maps, whole.arc_maps, strict=True):
        assert torch.equal(ours, expected)
    for ours, expected in zip(pieces.state_maps, whole.state_maps, strict=True):
        assert torch.equal(ours, expected)


@st.composite
def failure_graphs(draw: st.DrawFn) -> Graph:
    """A graph whose epsilons lead to states before, at most one from each."""
    size = draw(st.integers(1, 4))
    rows = []
    for state in range(size):
        if state and draw(st.booleans()):
            rows.append((state, draw(st.integers(0, state - 1)), EPSILON, EPSILON))
        for _ in range(draw(st.integers(0, 2))):
            target = draw(st.integers(0, size - 1))
            rows.append((state, target, draw(st.integers(0, 2)), draw(st.integers(-1, 2))))
    columns = [list(c) for c in zip(*rows, strict=True)] if rows else [[]] * 4
    scores = [0.0, 0.5, -0.25, -1.5]
    weights = [draw(st.sampled_from(scores)) for _ in rows]
    ends = [draw(st.sampled_from([*scores, NEG_INF])) for _ in range(size)]
    start = [0.0] + [draw(st.sampled_from([-0.5, NEG_INF])) for _ in range(size - 1)]
    return Graph(*columns, torch.tensor(weights), start=start, accept=ends, num_states=size)


def expanded(graph: Graph) -> Graph:
    """The same without failures, state by state from the definition."""
    (plain,) = automata(graph)
    fails = {a.source: a for a in plain.arcs if a.ilabel == EPSILON}
    rows, ends = [], []
    for state in range(plain.num_states):
        at, before, seen, end = state, 0.0, set(), None
        while True:
            own = [a for a in plain.arcs if a.source == at and a.ilabel != EPSILON]
            rows += [
                (state, a.target, a.ilabel, a.olabel, before + a.weight)
                for a in own
                if a.ilabel not in seen
            ]
            seen |= {a.ilabel for a in own}
            if end is None and plain.accept[at] > NEG_INF:
                end = before + plain.accept[at]
            if at not in fails:
                break
            before, at = before + fails[at].weight, fails[at].target
        ends.append(NEG_INF if end is None else end)
    columns = [list(c) for c in zip(*rows, strict=True)] if rows else [[]] * 5
    weights = torch.tensor(columns[4], dtype=torch.float32)
    start = list(plain.start)
    return Graph(*columns[:4], weights, start=start, accept=ends, num_states=plain.num_states)


@given(
    strategies.graphs(size=1, dtype=torch.float32), failure_graphs(), st.booleans(), st.booleans()
)
def test_failures_are_taken_where_nothing_matches(first, failing, look_ahead, third):
    scores = torch.tensor([[[0.5, -1, 0], [0, -0.25, 2]]])
    rest = [linear([0, 1]).star] if third else []
    expected = first @ expanded(failing)
    for graph in rest:
        expected = expected @ graph
    expected = beam_search(Emissions(scores), expected, beam=INF)
    graphs = [first, FailureGraph(failing), *rest]
    found = beam_search(Emissions(scores), graphs, beam=INF, look_ahead=look_ahead)
    for a, b in zip(automata(found), automata(expected), strict=True):
        ours, theirs = (Counter((p.inputs, p.outputs, p.score) for p in paths(g)) for g in (a, b))
        assert ours == theirs


def words(count: int, generator: torch.Generator) -> Lexicon:
    spelled: set[tuple[int, ...]] = set()
    while len(spelled) < count:
        length = int(torch.randint(2, 6, (), generator=generator))
        spelled.add(tuple(torch.randint(1, 9, (length,), generator=generator).tolist()))
    names = SymbolTable([f"w{i}" for i in range(count)])
    entries = [(i, tokens, 0.0) for i, tokens in enumerate(sorted(spelled))]
    return Lexicon(entries, names, SymbolTable("-abcdefgh"))


def back_off(count: int, generator: torch.Generator, dtype=torch.float32) -> Graph:
    """A bigram: state 0 knows every word, the state of a word ten, and fails to state 0."""
    every = torch.arange(count)
    listed = torch.randint(0, count, (count, 10), generator=generator)
    listed = torch.stack([row.unique()[:6] for row in listed if len(row.unique()) >= 6][:count])
    known = torch.arange(1, len(listed) + 1)
    source = torch.cat([torch.zeros(count).long(), known.repeat_interleave(6), known])
    target = torch.cat([every + 1, listed.reshape(-1) + 1, torch.zeros(len(known)).long()])
    target = torch.where(target > len(listed), 0, target)
    labels = torch.cat([every, listed.reshape(-1), torch.full((len(known),), EPSILON)])
    weights = -3 * torch.rand(len(source), generator=generator, dtype=dtype)
    ends = [-0.5 * (state % 2) for state in range(len(listed) + 1)]
    return Graph(source, target, labels, None, weights, start=0, accept=ends)


def test_look_ahead_finds_with_few_what_many_find_without():
    generator = torch.Generator().manual_seed(0)
    lexicon, grammar = words(60, generator), back_off(60, generator)
    graphs = [ctc_topology(9), lexicon.graph().star, FailureGraph(grammar)]
    scores = (2 * torch.randn(2, 16, 9, generator=generator)).log_softmax(-1)
    exact = beam_search(Emissions(scores), graphs, beam=INF, lattice_beam=0.0)
    expected = viterbi_score(exact)
    found = {
        ahead: viterbi_score(
            beam_search(
                Emissions(scores), graphs, beam=INF, max_active=15, look_ahead=ahead,
                partial="fallback",
            )
        )
        for ahead in (True, False)
    }  # fmt: skip
    assert (found[True] <= expected + 1e-3).all()
    assert (expected - found[True]).sum() < (expected - found[False]).sum()
    assert all(len(answer) > 1 for answer in label_sequences(viterbi_path(exact)))


def test_memory_is_forgotten_and_nothing_else():
    """More states than a table holds before it is cleared; chunks begin with a new one."""
    generator = torch.Generator().manual_seed(1)
    graphs = [ctc_topology(9), words(100, generator).graph().star, back_off(100, generator)]
    scores = torch.randn(1, 40, 9, generator=generator)
    options = {"beam": 20.0, "max_active": 3000, "lattice_beam": 1.0}
    whole = beam_search(Emissions(scores), graphs, **options)
    search = BeamSearch(graphs, **options)
    for chunk in scores.split(8, 1):
        search.feed(chunk)
    assert search.lattice().equal(whole) and whole.num_states > 40


def test_gradients_reach_every_graph():
    first = Graph([0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 1, EPSILON], start=0, accept=[0, 1])
    second = Graph([0, 1, 1], [1, 0, 1], [0, EPSILON, 1], [2, EPSILON, 3], accept=[0, 1])
    third = Graph([0, 1, 1, 2], [1, 2, 0, 1], [2, 2, EPSILON, EPSILON], None, accept=[0])
    scores = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    graphs = [stack([first, first]), second, third]
    weights = [torch.rand(g.num_arcs, dtype=torch.float64, requires_grad=True) for g in graphs]
    ends = [torch.rand(g.num_states, dtype=torch.float64, requires_grad=True) for g in graphs]

    def score(scores, *values):
        a, b, c = (
            g.to(torch.float64).with_weights(w, start=g.start.double() + e, accept=g.accept + e)
            for g, w, e in zip(graphs, values[:3], values[3:], strict=True)
        )
        return forward_score(beam_search(Emissions(scores), [a, b, FailureGraph(c)], beam=INF))

    assert (score(scores, *weights, *ends) > NEG_INF).all()
    assert gradcheck(score, (scores, *weights, *ends), fast_mode=True)


def test_errors_name_what_is_wrong():
    emissions, graph = Emissions(torch.zeros(2, 3, 4)), linear([1])
    loop = Graph([0, 1], [1, 0], [EPSILON, EPSILON], accept=1)
    cases = [
        ([], ValueError, "2 to 8 graphs are composed while searching, got 0"),
        ([graph] * 9, ValueError, "2 to 8 graphs .*, got 9"),
        ([graph, loop], ValueError, r"graph\[1\] 0 has a cycle of epsilons"),
        ([FailureGraph(graph), graph], TypeError, r"graph\[0\] must be a Graph, got FailureGraph"),
        ([graph, "graph"], TypeError, r"graph\[1\] must be a Graph, got str"),
        ([graph, graph.to(torch.float64)], TypeError, "one dtype"),
        ([linear([[1]] * 2), linear([[1]] * 3)], ValueError, "2 graphs, b has 3"),
        ([linear([[1]] * 3), graph], ValueError, "2 graphs, b has 3"),
        ([linear([7]), graph], ValueError, "label 7"),
    ]
    for graphs, kind, said in cases:
        with pytest.raises(kind, match=said):
            beam_search(emissions, graphs, beam=1.0)
    for arcs, said in (
        (([0, 1], [1, 0], [EPSILON] * 2), "failure arcs form a cycle"),
        (([0, 0], [1, 1], [EPSILON] * 2), "state 0 has more than one failure arc"),
        (([0], [1], [EPSILON], [1]), "a failure arc writes a label"),
    ):
        with pytest.raises(ValueError, match=f"FailureGraph: {said}"):
            FailureGraph(Graph(*arcs, accept=1))
    with pytest.raises(TypeError, match="graph must be a Graph, got int"):
        FailureGraph(3)


def test_batches_without_items_frames_or_states():
    nothing = Graph([], [], [], start=[], accept=[])
    graph = linear([1])
    for graphs in ([graph, nothing], [nothing, graph], [graph, nothing, graph]):
        found = beam_search(Emissions(torch.zeros(2, 3, 2)), graphs, beam=1.0)
        assert (len(found), found.num_states) == (2, 0)
    assert len(beam_search(Emissions(torch.zeros(0, 3, 2)), [graph, graph], beam=1.0)) == 0
    empty = beam_search(Emissions(torch.zeros(1, 0, 2)), [linear([]), linear([])], beam=1.0)
    assert viterbi_score(empty).tolist() == [0.0]
    one = beam_search(Emissions(torch.zeros(1, 1, 2)), [graph], beam=1.0)
    assert label_sequences(viterbi_path(one)) == [[1]]
