"""Beam search for transducers, against enumeration and the losses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from gtnet import losses
from gtnet.decode import Transcript, TransducerDecoder

LABELS = 3  # and the blank, 0
EVERYTHING = {"max_active": math.inf, "nbest": 10_000}


class Network(nn.Module):
    """A recurrent predictor, whose state is a tuple, and a joiner."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inputs = nn.Embedding(LABELS, 4, dtype=dtype)
        self.cell = nn.LSTMCell(4, 4, dtype=dtype)
        self.outputs = nn.Linear(4, LABELS, dtype=dtype)
        self.calls: list[int] = []

    def start(self) -> tuple[Tensor, Tensor]:
        nothing = self.inputs.weight.new_zeros(1, 4)
        return self.cell(nothing, (nothing, nothing))

    def step(self, state: tuple[Tensor, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.append(len(labels))
        return self.cell(self.inputs(labels), state)

    def join(self, frames: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        return 2 * self.outputs((frames + 3 * state[0]).tanh())

    def logits(self, frames: Tensor, labels: tuple[int, ...]) -> Tensor:
        """[1, frames, labels written + 1, labels], as for a loss."""
        state, columns = self.start(), []
        for label in (*labels, None):
            columns.append(self.join(frames, tuple(s.expand(len(frames), 4) for s in state)))
            if label is not None:
                state = self.step(state, torch.tensor([label]))
        return torch.stack(columns, 1).unsqueeze(0)


def encoded(batch: int, frames: int, seed: int = 1) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 4, dtype=torch.float64, generator=made)


def scores(found: list[Transcript]) -> dict[tuple[int, ...], float]:
    assert [t.score for t in found] == sorted((t.score for t in found), reverse=True)
    return {tuple(t.labels): t.score for t in found}


def sequences(longest: int) -> list[tuple[int, ...]]:
    return [s for n in range(longest + 1) for s in itertools.product((1, 2), repeat=n)]


@torch.no_grad()
def enumerated(network: Network, frames: Tensor, topology: str, longest: int):
    """Minus the loss of every target."""
    found = {}
    for labels in sequences(longest):
        target = torch.tensor([labels], dtype=torch.int64).view(1, -1)
        loss = losses.transducer_loss(
            network.logits(frames, labels), target, topology=topology, from_logits=True
        )
        if loss < math.inf:
            found[labels] = -float(loss)
    return found


@pytest.mark.parametrize("topology", ["modified", "constrained"])
def test_without_a_beam_every_sequence_has_the_score_of_its_loss(topology):
    network, frames = Network(), encoded(2, 3)
    decoder = TransducerDecoder(network, network.join, topology=topology, **EVERYTHING)
    for own, found in zip(frames, decoder(frames), strict=True):
        assert scores(found) == pytest.approx(enumerated(network, own, topology, 3))


def test_sequences_no_longer_than_a_frame_may_write_have_the_score_of_their_loss():
    network, frames = Network(), encoded(2, 3)
    decoder = TransducerDecoder(network, network.join, max_symbols=3, **EVERYTHING)
    for own, found in zip(frames, decoder(frames), strict=True):
        every = scores(found)
        assert len(every) == 2**10 - 1  # of up to 9 labels
        wanted = enumerated(network, own, "regular", 3)
        assert {labels: every[labels] for labels in wanted} == pytest.approx(wanted)


def test_no_frame_writes_more_than_its_symbols():
    network, frames = Network(), encoded(1, 2)
    once = TransducerDecoder(network, network.join, max_symbols=1, **EVERYTHING)
    constrained = TransducerDecoder(network, network.join, topology="constrained", **EVERYTHING)
    assert scores(once(frames)[0]) == pytest.approx(scores(constrained(frames)[0]))
    never = TransducerDecoder(network, network.join, max_symbols=0)
    assert [t.labels for t in never(frames)[0]] == [[]]


@pytest.mark.parametrize("topology", ["regular", "modified"])
def test_a_beam_finds_the_best_and_never_more_than_all_alignments(topology):
    better = 0
    for seed in range(5):
        network, frames = Network(seed), encoded(3, 4, seed)
        options = {"topology": topology, "max_symbols": 2}
        exact = TransducerDecoder(network, network.join, **options, **EVERYTHING)(frames)
        found = TransducerDecoder(network, network.join, max_active=12, nbest=3, **options)(frames)
        for some, every in zip(found, exact, strict=True):
            all_scores = scores(every)
            assert 1 <= len(some) <= 3
            for one in some:
                assert one.score <= all_scores[tuple(one.labels)] + 1e-9
            better += some[0].labels == every[0].labels
    assert better >= 13  # of 15


def test_a_narrow_beam_keeps_the_best_alone():
    network, frames = Network(), encoded(2, 4)
    for one in (
        TransducerDecoder(network, network.join, max_active=1, nbest=5),
        TransducerDecoder(network, network.join, beam=0.0, nbest=5),
    ):
        assert [len(found) for found in one(frames)] == [1, 1]


@pytest.mark.parametrize("topology", ["regular", "modified"])
def test_chunks_and_batches_change_nothing(topology):
    network, frames = Network(), encoded(3, 7)
    lengths = [7, 4, 0]
    decoder = TransducerDecoder(network, network.join, topology=topology, nbest=4, max_active=5)
    found = decoder(frames, lengths)
    assert found[2] == [Transcript([], [], 0.0)]
    for own, n, answers in zip(frames, lengths, found, strict=True):
        alone = decoder(own[None, :n])[0]
        assert [t.labels for t in alone] == [t.labels for t in answers]
        assert [t.frames for t in alone] == [t.frames for t in answers]
        assert [t.score for t in alone] == pytest.approx([t.score for t in answers])
    stream = decoder.stream()
    for begin, end in ((0, 2), (2, 2), (2, 5), (5, 7)):
        stream.feed(frames[:, begin:end], [min(max(n - begin, 0), end - begin) for n in lengths])
        assert len(stream.transcripts()) == 3
    assert stream.transcripts() == found


def test_labels_have_the_frames_of_the_best_alignment():
    """A joiner that says what to write: label 1 at frame 1, twice label 2 at frame 3."""
    plan = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 0], [2, 2, 0]])

    class Counting:
        def start(self) -> Tensor:
            return torch.zeros(1, 2, dtype=torch.int64)  # labels so far, and before this frame

        def step(self, state: Tensor, labels: Tensor) -> Tensor:
            return state + torch.tensor([1, 0])

    def join(frames: Tensor, state: Tensor) -> Tensor:
        at = frames[:, 0].long()
        before = torch.tensor([0, 0, 1, 1])[at]
        said = plan[at, (state[:, 0] - before).clamp(0, 2)]
        return 20.0 * torch.nn.functional.one_hot(said, 3)

    frames = torch.arange(4.0).view(1, 4, 1)
    ((best,),) = TransducerDecoder(Counting(), join)(frames)
    assert best.labels == [1, 2, 2] and best.frames == [1, 3, 3]
    assert best.score == pytest.approx(0, abs=1e-6)


def test_the_predictor_is_asked_in_batches_and_for_what_survives_alone():
    network, frames = Network(), encoded(4, 5)
    decoder = TransducerDecoder(network, network.join, topology="modified", max_active=3)
    decoder(frames)
    assert len(network.calls) == 5 and max(network.calls) <= 4 * 3


def test_the_predictors_network_is_not_trained_by_the_search():
    network = Network()
    frames = encoded(1, 2).requires_grad_()
    stream = TransducerDecoder(network, network.join).stream()
    stream.feed(frames)
    assert not stream._state[0].requires_grad


def test_impossible_labels_and_blanks():
    network = Network()

    def no_ones(frames: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        barred = torch.tensor([0.0, -math.inf, 0.0], dtype=torch.float64)
        return network.join(frames, state) + barred

    found = TransducerDecoder(network, no_ones, max_symbols=2, **EVERYTHING)(encoded(1, 2))
    assert sorted(scores(found[0])) == [(2,) * n for n in range(5)]

    def no_blanks(frames: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        barred = torch.tensor([-math.inf, 0.0, 0.0], dtype=torch.float64)
        return network.join(frames, state) + barred

    assert TransducerDecoder(network, no_blanks)(encoded(2, 2)) == [[], []]
    both = TransducerDecoder(network, no_blanks, topology="modified", **EVERYTHING)(encoded(1, 2))
    assert sorted(scores(both[0])) == list(itertools.product((1, 2), repeat=2))


def test_no_items():
    network = Network()
    assert TransducerDecoder(network, network.join)(encoded(0, 3)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beam": -1.0}, "beam must be at least 0, got -1.0"),
        ({"max_active": 0}, "max_active must be at least 1, got 0"),
        ({"topology": "free"}, "topology must be .* got 'free'"),
        ({"blank": 3}, r"with a blank 3 among the labels, got \[1, 3\]"),
        ({"max_symbols": -1}, "max_symbols must lie in .*, got -1"),
    ],
)
def test_wrong_options(options, said):
    network = Network()
    with pytest.raises(ValueError, match=f"TransducerDecoder: .*{said}"):
        TransducerDecoder(network, network.join, **options)(encoded(1, 1))


def test_wrong_arguments():
    network = Network()
    with pytest.raises(TypeError, match="predictor must have start and step, got Linear without"):
        TransducerDecoder(nn.Linear(1, 1), network.join)
    decoder = TransducerDecoder(network, network.join)
    with pytest.raises(ValueError, match=r"encoded must be \[batch, frames, dims\], got \[2, 3\]"):
        decoder(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, 4\) .*got 5"):
        decoder(encoded(1, 3), [5])
    stream = decoder.stream()
    with pytest.raises(ValueError, match="feed a chunk first"):
        stream.transcripts()
    stream.feed(encoded(2, 1))
    with pytest.raises(ValueError, match="must have 2 items as the first one, got 3"):
        stream.feed(encoded(3, 1))
    with pytest.raises(ValueError, match="joiner gave NaN"):
        TransducerDecoder(network, lambda f, s: network.join(f, s) * math.nan)(encoded(1, 1))
