"""fuse: paths of a lattice under a network's scores of what it writes, against enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import strategies
import torch
from hypothesis import given, settings
from oracle import automata, paths
from torch import Tensor, nn

from gtnet import (
    EPSILON,
    Emissions,
    Graph,
    beam_search,
    ctc_graph,
    forward_score,
    k_best,
    label_sequences,
    linear,
    viterbi_score,
)
from gtnet.decode import ctc_decoder, fuse
from gtnet.language_model import sentence_scores


class Recurrent(nn.Module):
    """A small recurrent language model of labels 0 to n - 1; its state is a tuple."""

    def __init__(self, labels: int, size: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inputs = nn.Embedding(labels, size, dtype=torch.float64)
        self.cell = nn.GRUCell(size, size, dtype=torch.float64)
        self.outputs = nn.Linear(size, labels + 1, dtype=torch.float64)
        self.calls = 0

    def start(self) -> tuple[Tensor, ...]:
        return (self.inputs.weight.new_zeros(1, self.cell.hidden_size),)

    def step(self, state: tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, ...]:
        return (self.cell(self.inputs(labels), state[0]),)

    def scores(self, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        self.calls += 1
        every = (2 * self.outputs(state[0])).log_softmax(-1)
        return every[:, :-1], every[:, -1]


def sentence_score(lm: Recurrent, labels) -> float:
    return sentence_scores(lm, [labels])[0]


def enumerated(lattice: Graph, lm: Recurrent, weight: float, end: bool = True) -> list[list]:
    """The paths of each item: arcs in the lattice, and score with the model."""
    found = []
    for one in automata(lattice):
        rows = []
        for path in paths(one):
            said = sentence_score(lm, path.outputs) if end else _open(lm, path.outputs)
            rows.append((path.arcs, path.score + weight * said))
        found.append(sorted(rows))
    return found


@torch.no_grad()
def _open(lm: Recurrent, labels: tuple[int, ...]) -> float:
    """The log-probability of the beginning of a sentence."""
    state, total = lm.start(), 0.0
    for label in labels:
        total += float(lm.scores(state)[0][0, label])
        state = lm.step(state, torch.tensor([label]))
    return total


def fused_paths(fused: Graph) -> list[list]:
    assert fused.arc_maps is not None
    arcs = fused.arc_maps[0].tolist()
    return [
        sorted((tuple(arcs[arc] for arc in path.arcs), path.score) for path in paths(one))
        for one in automata(fused)
    ]


@given(strategies.graphs(size=2, dtype=torch.float64))
@settings(max_examples=25)
def test_paths_are_those_of_both(lattice):
    lattice.arc_maps = None
    lm = Recurrent(3)
    for weight, end in ((1.0, True), (0.3, False)):
        ours = fused_paths(fuse(lattice, lm, weight=weight, end=end))
        for found, expected in zip(ours, enumerated(lattice, lm, weight, end), strict=True):
            assert [arcs for arcs, _ in found] == [arcs for arcs, _ in expected]
            scores = [score for _, score in found]
            assert scores == pytest.approx([score for _, score in expected])


@given(strategies.graphs(size=2, dtype=torch.float64))
@settings(max_examples=25)
def test_without_gradients_it_is_the_same(lattice):
    lm = Recurrent(3)
    with torch.no_grad():
        plain = fuse(lattice, lm)
    again = fuse(lattice, lm)
    assert plain.topology.num_states == again.topology.num_states
    torch.testing.assert_close(plain.weights, again.weights.detach())
    torch.testing.assert_close(plain.accept, again.accept.detach())


def test_a_beam_loses_the_worst_and_asks_in_batches():
    generator = torch.Generator().manual_seed(0)
    frames, labels = 6, 3
    source = torch.arange(frames).repeat_interleave(labels)
    weights = torch.randn(len(source), generator=generator, dtype=torch.float64)
    lattice = Graph(
        source, source + 1, torch.arange(labels).repeat(frames), None, weights, accept=frames
    )
    lm = Recurrent(labels)
    whole = fuse(lattice, lm)
    asked = lm.calls
    assert whole.num_arcs == sum(labels**n for n in range(1, frames + 1))
    assert asked <= 2 * (frames + 1)  # each layer once, and once more with gradients
    best = viterbi_score(whole)
    for limits in ({"beam": 3.0}, {"max_active": 40}):
        some = fuse(lattice, lm, **limits)
        assert torch.allclose(viterbi_score(some), best) and some.num_arcs < whole.num_arcs
    narrow = fuse(lattice, lm, max_active=1)
    assert narrow.num_arcs == frames and viterbi_score(narrow) <= best


def test_the_gradient_reaches_both():
    """That of the sum over all paths, in the lattice's weights and the network's parameters."""
    lattice, lm = small_lattice(), Recurrent(2)
    leaves = [lattice.weights.requires_grad_(), *lm.parameters()]
    ours = forward_score(fuse(lattice, lm, weight=0.7))
    scores = []
    for path in paths(automata(lattice)[0]):
        total = lattice.weights[list(path.arcs)].sum()
        state = lm.start()
        for label in path.outputs:
            total = total + 0.7 * lm.scores(state)[0][0, label]
            state = lm.step(state, torch.tensor([label]))
        scores.append(total + 0.7 * lm.scores(state)[1][0])
    expected = torch.stack(scores).logsumexp(0)
    torch.testing.assert_close(ours[0], expected)
    found, wanted = (torch.autograd.grad(one.sum(), leaves) for one in (ours, expected))
    assert all(gradient.abs().sum() > 0 for gradient in wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_grammar_that_a_network_scores_is_trained_with_the_emissions():
    """Two networks, one loss: the labels of frames, and what follows what."""
    torch.manual_seed(0)
    acoustics, lm = nn.Linear(3, 3, dtype=torch.float64), Recurrent(3, size=8)
    said = [[0, 1, 2], [2, 0]]
    frames = nn.functional.one_hot(torch.tensor([[0, 1, 2], [2, 0, 0]]), 3).double()
    free = Graph([0] * 3, [0] * 3, [0, 1, 2], accept=0).to(torch.float64)
    optimizer = torch.optim.Adam([*acoustics.parameters(), *lm.parameters()], 0.1)
    for step in range(25):
        emissions = Emissions(acoustics(frames), [3, 2])
        every = fuse((emissions @ free).graph(), lm)
        right = fuse((emissions @ linear(said, dtype=torch.float64)).graph(), lm)
        loss = (forward_score(every) - forward_score(right)).mean()
        if step == 0:
            before = loss.item(), sentence_score(lm, said[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * before[0] and sentence_score(lm, said[0]) > before[1]


def small_lattice() -> Graph:
    weights = torch.tensor([0.3, -0.4, 0.1, -0.2, 0.6], dtype=torch.float64)
    return Graph([0, 0, 1, 1, 2], [1, 1, 2, 2, 3], [0, 1, 1, EPSILON, 0], None, weights, accept=3)


NAMES = ["-", "a", "b", "|"]
WIDE = {"beam": math.inf, "lattice_beam": math.inf, "max_active": 10**6, "dtype": torch.float64}


def frames(length: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(1, length, 4, generator=generator, dtype=torch.float64)
    return scores.log_softmax(-1)


@pytest.mark.parametrize("seed", range(2))
def test_a_decoder_with_a_network_is_that_of_enumeration(seed):
    """Over tokens: each answer has the sum over its alignments, and the network's score."""
    lm = Recurrent(4, seed=seed)
    scores = frames(4, seed)
    decoder = ctc_decoder(tokens=NAMES, lm=lm, lm_weight=0.6, nbest=4, log_add=True, **WIDE)
    (found,) = decoder(scores)
    every = []
    for n in range(5):
        for tokens in itertools.product((1, 2, 3), repeat=n):
            graph = Emissions(scores) @ ctc_graph([list(tokens)], dtype=torch.float64)
            every.append((float(forward_score(graph)) + 0.6 * sentence_score(lm, tokens), tokens))
    every.sort(reverse=True)
    assert [tuple(t.label for t in h.tokens) for h in found] == [t for _, t in every[:4]]
    for hypothesis, (score, tokens) in zip(found, every, strict=False):
        assert hypothesis.score == pytest.approx(score)
        assert hypothesis.lm_score == pytest.approx(sentence_score(lm, tokens))


def test_words_are_scored_by_a_network():
    lm = Recurrent(3, seed=1)
    words = ["a", "ab", "b"]
    (without,) = ctc_decoder(words, NAMES, separators="|", nbest=50, **WIDE)(frames(5, 1))
    decoder = ctc_decoder(words, NAMES, lm, separators="|", nbest=50, lm_weight=2.0, **WIDE)
    (found,) = decoder(frames(5, 1))
    plain = {h.text: h for h in without}
    assert len(found) == len(without) > 5
    for h in found:
        said = sentence_score(lm, [words.index(w.name) for w in h.words])
        assert h.lm_score == pytest.approx(said)
        assert h.score == pytest.approx(plain[h.text].score + 2 * said)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    stream = decoder.stream()
    stream.feed(frames(5, 1)[:, :3])
    assert stream.hypotheses(partial=True)[0]
    decoder.stream().feed(frames(5, 2))  # asks the network of other histories
    stream.feed(frames(5, 1)[:, 3:])
    assert [h.text for h in stream.hypotheses()[0]] == [h.text for h in found]


class Broken(Recurrent):
    """Says something else than log-probabilities."""

    def scores(self, state):
        follows, ends = super().scores(state)
        return follows * math.nan, ends


def test_what_cannot_be_fused_is_named():
    lattice, lm = small_lattice(), Recurrent(2)
    with pytest.raises(ValueError, match=r"label 1 is written, lm\.scores has labels 0 to 0 only"):
        fuse(lattice, Recurrent(1))
    with pytest.raises(ValueError, match=r"lm\.scores gave NaN or"):
        fuse(lattice, Broken(2))
    loop = Graph([0], [0], [0], accept=0)
    with pytest.raises(ValueError, match="fuse: graph 0 has a cycle through state 0"):
        fuse(loop, lm)
    with pytest.raises(ValueError, match="beam must be at least 0, got -1"):
        fuse(lattice, lm, beam=-1)
    with pytest.raises(ValueError, match="max_active must be at least 1"):
        fuse(lattice, lm, max_active=0)
    with pytest.raises(TypeError, match="got int without start, step, scores"):
        ctc_decoder(tokens=NAMES, lm=3)
    empty = fuse(Graph([], [], [], start=[], accept=[]), lm)
    assert len(empty) == 1 and empty.num_states == 0


def test_a_lattice_of_a_search_keeps_its_maps():
    scores = frames(4, 0)
    graph = ctc_graph([[1, 2]], dtype=torch.float64)
    lattice = beam_search(Emissions(scores), graph, beam=math.inf)
    lm = Recurrent(4)
    fused = fuse(lattice, lm)
    assert len(fused.arc_maps) == 2
    assert label_sequences(k_best(fused, 1, unique="olabels")[0]) == [[1, 2]]
    expected = forward_score(lattice) + sentence_score(lm, [1, 2])
    torch.testing.assert_close(forward_score(fused).detach(), expected)
