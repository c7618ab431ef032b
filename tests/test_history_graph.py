"""HistoryGraph: a network asked inside a search, against the network asked behind it (fuse)."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import automata, paths
from test_beam_product import searches
from test_fusion import Recurrent

from gtnet import (
    EPSILON,
    BeamSearch,
    Emissions,
    Graph,
    HistoryGraph,
    Lexicon,
    SymbolTable,
    beam_search,
    ctc_topology,
    forward_score,
    viterbi_path,
    viterbi_score,
)
from gtnet.decode import fuse

INF = math.inf
pytestmark = pytest.mark.filterwarnings("ignore:beam_search. after the last frame")


def spelled(lattice: Graph, graphs: int) -> list[Counter]:
    """How often each path appears: its arcs in emissions and graphs, labels and rounded score."""
    assert lattice.arc_maps is not None
    columns = list(zip(*(m.tolist() for m in lattice.arc_maps[: graphs + 1]), strict=True))
    return [
        Counter(
            (tuple(columns[k] for k in p.arcs), p.inputs, p.outputs, round(p.score, 4))
            for p in paths(one)
        )
        for one in automata(lattice)
    ]


def double(graph: Graph) -> Graph:
    return graph.to(torch.float64)


@given(searches(), st.booleans(), st.sampled_from([0.0, 0.5, -1.0]))
@settings(max_examples=40)
def test_inside_the_search_is_behind_it(case, look_ahead, weight):
    """Every path once, with the same score; also where words are written on epsilons."""
    scores, lengths, graphs = case
    emissions, lm = Emissions(scores.double(), lengths), Recurrent(3, seed=1)
    graphs = [double(graph) for graph in graphs]
    before = beam_search(emissions, graphs, beam=INF)
    with torch.no_grad():
        expected = fuse(before, lm, weight=weight)
        found = beam_search(
            emissions, [*graphs, HistoryGraph(lm, weight)], beam=INF, look_ahead=look_ahead
        )
    assert spelled(found, len(graphs)) == spelled(expected, len(graphs))


@given(searches(), st.sampled_from([None, 1, 2]), st.booleans(), st.data())
@settings(max_examples=25)
def test_chunks_give_what_the_whole_gives(case, most, look_ahead, data):
    scores, lengths, graphs = case
    assume(len(scores) == max(map(len, graphs)) or all(len(g) == 1 for g in graphs))
    several = [*graphs, HistoryGraph(Recurrent(3))]
    options = {"beam": 3.0, "max_active": most, "look_ahead": look_ahead}
    with torch.no_grad():
        whole = beam_search(Emissions(scores, lengths), several, **options)
        cuts = sorted(data.draw(st.lists(st.integers(0, 3), max_size=3)))
        search = BeamSearch(several, **options)
        for begin, end in zip([0, *cuts], [*cuts, 3], strict=True):
            inside = [min(max(length - begin, 0), end - begin) for length in lengths]
            search.feed(scores[:, begin:end], inside)
            search.lattice(partial=True)
        pieces = search.lattice()
    assert pieces.equal(whole)
    assert all(map(torch.equal, pieces.arc_maps, whole.arc_maps))


def test_an_item_may_wait_while_others_go_on():
    """And a history that was left may come back."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64).log_softmax(-1)
    several = [ctc_topology(3, dtype=torch.float64), HistoryGraph(Recurrent(3))]
    search = BeamSearch(several, beam=INF, max_active=4)
    with torch.no_grad():
        for lengths in ([1, 0], [0, 3], [2, 0], [0, 0], [3, 3]):
            rows = torch.zeros(2, 3, 3, dtype=torch.float64)
            done = [int(sum(c.lengths[i] for c in search._chunks)) for i in range(2)]
            for item, (length, first) in enumerate(zip(lengths, done, strict=True)):
                rows[item, :length] = scores[item, first : first + length]
            search.feed(rows, lengths)
        whole = beam_search(Emissions(scores), several, beam=INF, max_active=4)
        assert torch.equal(viterbi_score(search.lattice()), viterbi_score(whole))


def test_gradients_reach_emissions_and_network():
    lm = Recurrent(3)
    scores = torch.randn(2, 3, 3, dtype=torch.float64).log_softmax(-1).requires_grad_()
    leaves = [scores, *lm.parameters()]
    topology = ctc_topology(3, dtype=torch.float64)
    inside = beam_search(Emissions(scores), [topology, HistoryGraph(lm, 0.7)], beam=INF)
    behind = fuse(beam_search(Emissions(scores), topology, beam=INF), lm, weight=0.7)
    ours, theirs = (
        torch.autograd.grad(forward_score(lattice).sum(), leaves) for lattice in (inside, behind)
    )
    assert all(gradient.abs().sum() > 0 for gradient in theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def spoken() -> tuple[list[Graph], torch.Tensor, Lexicon]:
    """Words of three letters each, and noise in which they are hard to tell apart."""
    generator = torch.Generator().manual_seed(0)
    names = ["abc", "abd", "acc", "bad", "bcd", "cab", "cad", "dab", "dcc", "dda"]
    tokens = SymbolTable("-abcd")
    entries = [(i, tokens.labels(name), 0.0) for i, name in enumerate(names)]
    lexicon = Lexicon(entries, SymbolTable(names), tokens)
    scores = torch.randn(3, 12, 5, generator=generator).log_softmax(-1)
    return [ctc_topology(5), lexicon.graph().star], scores, lexicon


def test_few_survivors_find_what_the_network_wants():
    """It ranks paths inside the search, so a narrow one finds what needs all paths behind it."""
    graphs, scores, _ = spoken()
    lm = Recurrent(10, seed=3)
    with torch.no_grad():
        exact = viterbi_score(fuse(beam_search(Emissions(scores), graphs, beam=INF), lm, weight=3))
        few = {"beam": INF, "max_active": 16}
        inside = beam_search(Emissions(scores), [*graphs, HistoryGraph(lm, 3)], **few)
        behind = fuse(beam_search(Emissions(scores), graphs, **few), lm, weight=3)
    torch.testing.assert_close(viterbi_score(inside), exact)
    assert (viterbi_score(behind) < exact - 0.1).any()


def test_the_model_is_asked_for_all_items_and_survivors_at_once():
    graphs, scores, _ = spoken()
    lm = Recurrent(10)
    with torch.no_grad():
        lattice = beam_search(
            Emissions(scores), [*graphs, HistoryGraph(lm)], beam=INF, max_active=20
        )
    assert lm.calls <= 12 + 2  # once a frame, at the beginning and for the ends
    histories = lattice.state_maps[-1]
    assert len(histories.unique()) > 12


def test_maps_name_histories():
    graphs, scores, _ = spoken()
    lm = Recurrent(10)
    with torch.no_grad():
        lattice = beam_search(
            Emissions(scores), [*graphs, HistoryGraph(lm)], beam=5.0, max_active=9
        )
        path = viterbi_path(lattice)
    leads = lattice.arc_maps[-1]
    writes = lattice.olabels != EPSILON
    assert torch.equal(leads >= 0, writes)
    targets = lattice.state_maps[-1][lattice.topology.global_target]
    assert torch.equal(leads[writes], targets[writes])
    assert path.num_arcs > 0


def test_what_is_refused_is_named():
    graphs, scores, _ = spoken()
    lm = Recurrent(10)
    with pytest.raises(TypeError, match=r"a HistoryGraph must be the last graph, not graph\[1\]"):
        BeamSearch([graphs[0], HistoryGraph(lm), graphs[1]], beam=1.0)
    with pytest.raises(ValueError, match=r"label 9 is written, lm\.scores has labels 0 to 4 only"):
        BeamSearch([*graphs, HistoryGraph(Recurrent(5))], beam=1.0)
    with pytest.raises(TypeError, match="lm must have start, step and scores, got int"):
        HistoryGraph(3)
    with pytest.raises(ValueError, match="weight must be finite, got inf"):
        HistoryGraph(lm, INF)
    with pytest.raises(TypeError, match="weight must be a number, got '1'"):
        HistoryGraph(lm, "1")
    assert repr(HistoryGraph(lm, 0.5)) == "HistoryGraph(Recurrent, weight=0.5)"
    with torch.no_grad():
        empty = beam_search(Emissions(scores[:, :0]), [*graphs, HistoryGraph(lm)], beam=1.0)
    assert len(empty) == 3
