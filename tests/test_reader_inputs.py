"""Pen strokes and sound as inputs of a recognizer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gtnet.reader import (
    Combined,
    PenConfig,
    PenFrontEnd,
    Recognizer,
    Recording,
    SoundConfig,
    SoundFrontEnd,
    TrainConfig,
    Trainer,
    TrainingData,
    load_reader,
)
from gtnet.reader.checkpoint import save_reader
from gtnet.reader.pen import FEATURES, distort_tracks, pen_features, track_of
from gtnet.reader.sequence import SequenceConfig, SequenceNetwork, padded
from gtnet.reader.sound import distort_spectra, spectrum_of
from gtnet.reader.train import PhaseConfig

SMALL = SequenceConfig((8, 8), (3, 3), (1, 2), context=6, dropout=0.0)
WORDS = ["cab", "bad", "dead", "add", "abba"]
KINDS = ["strokes", "sound"]


def wave(hertz: float, seconds: float, rate: int = 8000) -> np.ndarray:
    return np.sin(2 * math.pi * hertz * np.arange(int(seconds * rate)) / rate)


def zigzag(teeth: int, height: float = 10.0) -> np.ndarray:
    """A stroke of so many up-and-downs."""
    x = np.arange(2 * teeth + 1.0)
    return np.stack([4 * x, height * (x % 2)], axis=1)


def front_end(kind: str) -> Any:
    if kind == "strokes":
        return PenFrontEnd(PenConfig(network=SMALL))
    return SoundFrontEnd(SoundConfig(mels=12, network=SMALL))


def inputs(kind: str) -> list[Any]:
    """Four things written or said, of several lengths."""
    if kind == "strokes":
        dot = np.array([[3.0, -4.0]])
        return [
            [zigzag(2)],
            [zigzag(5), dot],
            [zigzag(1, 3.0)],
            [zigzag(1), zigzag(1) + 20, zigzag(2) + 50],
        ]
    tones = [[300.0], [500.0, 1200.0], [2500.0], [400.0, 900.0, 1800.0]]
    return [Recording(np.concatenate([wave(f, 0.2) for f in row]), 8000) for row in tones]


def nothing(kind: str) -> Any:
    return [] if kind == "strokes" else Recording(np.zeros(4000, np.int16), 8000)


def made(kind: str, grammar: Any = WORDS, seed: int = 0) -> Recognizer:
    torch.manual_seed(seed)
    return Recognizer("abcde", grammar, front_end(kind)).eval()


# Any kind of input works with everything behind the front end


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_of_the_language_and_know_their_share(kind: str) -> None:
    reader = made(kind)
    reader.candidates = len(WORDS)
    seen = reader.observe(inputs(kind))
    with torch.no_grad():
        losses = torch.stack([reader.loss(seen, [word] * len(seen)) for word in WORDS])
    assert torch.allclose(losses.neg().exp().nansum(0), torch.ones(len(seen)), atol=1e-4)
    for answer, own in zip(reader.read(inputs(kind)), losses.T, strict=True):
        assert answer.text in WORDS
        share = float(own[WORDS.index(answer.text)].neg().exp())
        assert answer.confidence == pytest.approx(share, abs=1e-4)
        assert {text for text, _ in answer.alternatives} < set(WORDS)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_in_a_batch_change_nothing(kind: str) -> None:
    reader = made(kind, None)
    mixed = [*inputs(kind), nothing(kind)]
    together, alone = reader.read(mixed), [reader.read([item])[0] for item in mixed]
    assert together[-1].text is None and "nothing drawn" in together[-1].reason
    for a, b in zip(together, alone, strict=True):
        assert a.text == b.text and a.confidence == pytest.approx(b.confidence, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_small_steps(kind: str) -> None:
    reader = made(kind).double()
    seen = reader.observe(inputs(kind)[:2])
    generator = torch.Generator().manual_seed(1)

    def loss() -> torch.Tensor:
        return reader.loss(seen, ["cab", "bad"]).sum()

    loss().backward()
    moved = [torch.randn(p.shape, generator=generator).to(p) for p in reader.parameters()]
    slope = sum(float((p.grad * m).sum()) for p, m in zip(reader.parameters(), moved, strict=True))
    ends = []
    with torch.no_grad():
        for step in (1e-6, -2e-6):
            for p, m in zip(reader.parameters(), moved, strict=True):
                p.add_(m, alpha=step)
            ends.append(float(loss()))
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_from_strings_alone(kind: str, tmp_path: Path) -> None:
    """Up-and-downs or tones of two kinds, told apart after a few epochs, saved and loaded."""

    class Two:
        grammar = "words"

        def __len__(self) -> int:
            return 16

        def __getitem__(self, index: int) -> tuple[Any, str]:
            word = "ab" if index % 2 else "ba"
            if kind == "strokes":
                return [zigzag(4, 10.0 if index % 2 else 1.0) * (1 + index)], word
            return Recording(wave(400.0 if index % 2 else 2000.0, 0.2 + index / 100), 8000), word

    torch.manual_seed(0)
    reader = Recognizer("ab", ["ab", "ba"], front_end(kind))
    config = TrainConfig(whole=PhaseConfig(10, 2e-2, 8, distort=0.3), average=0.5, calibrate=True)
    trainer = Trainer(config, TrainingData(Two(), Two()), tmp_path, reader=reader, quiet=True)
    trained = trainer.run()
    data = [Two()[i] for i in range(6)]
    answers = trained.read([item for item, _ in data])
    assert [answer.text for answer in answers] == [text for _, text in data]
    assert load_reader(tmp_path).read([item for item, _ in data]) == answers


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_saving(kind: str, tmp_path: Path) -> None:
    reader = made(kind)
    save_reader(tmp_path, reader)
    again = load_reader(tmp_path)
    assert again.front_end.settings() == reader.front_end.settings()
    assert again.read(inputs(kind)) == reader.read(inputs(kind))


def test_readers_of_one_kind_combine() -> None:
    readers = [made("strokes", seed=1), made("strokes", seed=2)]
    answers = Combined(readers).read(inputs("strokes"))
    assert all(answer.text in WORDS for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_keeps_what_is_there_and_leaves_the_rest_empty(kind: str) -> None:
    end = front_end(kind)
    seen = [end.observe(item) for item in inputs(kind)]
    arrays = [x.points if kind == "strokes" else x.energies for x in seen]
    batch, lengths = padded(arrays)
    change = distort_tracks if kind == "strokes" else distort_spectra
    torch.manual_seed(0)
    changed, new = change(batch, lengths, 1.0)
    assert changed.shape[0] == 4 and int(new.max()) <= changed.shape[1]
    assert torch.isfinite(changed).all()
    again, _ = change(batch, lengths, 1.0)
    assert not torch.equal(again[:, :2], changed[:, :2])
    if kind == "strokes":
        assert torch.equal(new, lengths) and torch.equal(changed[..., 2], batch[..., 2])
    same, still = change(batch, lengths, 0.0)
    inside = torch.arange(batch.shape[1])[None] < lengths[:, None]
    assert torch.equal(still, lengths)
    assert torch.allclose(same[:, : batch.shape[1]][inside], batch[inside], atol=1e-4)
    assert end.change(0.0) is None and end.change(0.5) is not None


# Strokes


@pytest.mark.parametrize(("scale", "every"), [(0.01, 1), (300.0, 1), (1.0, 5)])
def test_units_and_rate_of_the_tablet_change_little(scale: float, every: int) -> None:
    along = np.linspace(0, 6 * math.pi, 601)
    wavy = np.stack([along, np.sin(along)], axis=1)
    plain, other = track_of([wavy]), track_of([wavy[::every] * scale + 7 * scale])
    assert len(plain) == pytest.approx(len(other), abs=1)
    ends = [track.points[[0, -1]] for track in (plain, other)]
    assert np.allclose(*ends, atol=0.02)


def test_points_lie_equally_far_apart_and_lift_between_strokes() -> None:
    config = PenConfig(spacing=0.1, lifted=0.2)
    track = track_of([zigzag(3), zigzag(3) + np.array([60, 0])], config)
    pen = track.points[:, 2]
    assert set(pen.tolist()) == {0.0, 1.0} and pen[0] == pen[-1] == 1
    assert (np.diff(pen) != 0).sum() == 2
    steps = np.hypot(*np.diff(track.points[: int(np.argmin(pen)), :2], axis=0).T)
    assert np.median(steps) == pytest.approx(0.1, rel=0.05)


def test_dots_dashes_and_endless_writing_have_a_track() -> None:
    dot = track_of([np.array([[5, 5]], np.int16)])
    assert len(dot) == 2 and np.allclose(dot.points[:, :2], 0)
    dash = track_of([np.array([[0, 0], [100, 0]])])
    assert 2 < len(dash) < 1000
    config = PenConfig(longest=200)
    assert len(track_of([zigzag(2000)], config)) <= 210
    assert len(track_of([])) == len(track_of([np.zeros((0, 2))])) == 0


@pytest.mark.parametrize(
    ("strokes", "error", "message"),
    [
        ([zigzag(1), np.zeros((4, 3))], TypeError, r"stroke 1 must be .*got float64 \[4, 3\]"),
        ([np.array([["a", "b"]])], TypeError, "stroke 0 must be an array of numbers"),
        ([np.array([[0.0, math.nan]])], ValueError, "stroke 0 has a coordinate that is not finite"),
    ],
)
def test_what_is_no_stroke_is_named(strokes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        track_of(strokes)


def test_features_see_direction_turns_and_the_ink_above() -> None:
    """A right angle, and later a dot above its first leg."""
    leg = [[x, 0.0, 1.0] for x in np.arange(0, 2, 0.1)]
    leg += [[1.9, y, 1.0] for y in np.arange(0.1, 1, 0.1)]
    written = np.array([*leg, [1.0, -0.3, 0.0], [0.5, -0.6, 1.0], [0.5, -0.6, 1.0]], np.float32)
    points, lengths = padded([written, written[: len(leg)]])
    features = pen_features(points, lengths, (0.45, 0.6))
    assert features.shape == (2, points.shape[1], FEATURES)
    assert torch.allclose(features[:, 10, :2], torch.tensor([1.0, 0.0]), atol=1e-5)
    assert torch.allclose(features[:, 25, :2], torch.tensor([0.0, 1.0]), atol=1e-5)
    bend = features[0, :, 3]
    assert bend[: len(leg) - 1].abs().argmax() == 19 and bend[19] == pytest.approx(1.0, abs=1e-4)
    above = features[:, 5, 7:10].sum(1)
    assert above[0] > above[1] + 0.3
    assert (features[1, len(leg) :] == 0).all()


# Sound


def test_loudness_and_rate_change_little() -> None:
    tone = np.concatenate([wave(440, 0.3), wave(1500, 0.3)])
    plain = spectrum_of(Recording(tone, 8000))
    loud = spectrum_of(Recording((tone * 20_000).astype(np.int16), 8000))
    assert np.allclose(plain.energies, loud.energies, atol=0.05)
    fine = np.concatenate([wave(440, 0.3, 16_000), wave(1500, 0.3, 16_000)])
    other = spectrum_of(Recording(fine, 16_000))
    assert abs(len(other) - len(plain)) <= 1
    count = min(len(other), len(plain))
    assert np.corrcoef(other.energies[:count].ravel(), plain.energies[:count].ravel())[0, 1] > 0.95


def test_a_tone_stands_in_its_band() -> None:
    config = SoundConfig(mels=20)
    bands = [
        spectrum_of(Recording(np.concatenate([wave(f, 0.3), 0 * wave(f, 0.3)]), 8000), config)
        .energies[:25]
        .mean(0)
        .argmax()
        for f in (150.0, 600.0, 1500.0, 3300.0)
    ]
    assert bands == sorted(set(bands)) and bands[0] <= 2 and bands[-1] >= 16


def test_short_sounds_have_a_step_and_silence_none() -> None:
    assert len(spectrum_of(Recording(wave(500, 0.001), 8000))) >= 1
    assert len(spectrum_of(Recording(np.zeros(0, np.float32), 8000))) == 0
    assert len(spectrum_of(Recording(np.full(900, 7, np.int16), 8000))) == 0


@pytest.mark.parametrize(
    ("recording", "error", "message"),
    [
        (np.zeros(8), TypeError, "expected a Recording, got ndarray"),
        (Recording(np.zeros((8, 2)), 8000), TypeError, r"\[samples\], got float64 \[8, 2\]"),
        (Recording(np.full(8, math.inf), 8000), ValueError, "not finite"),
        (Recording(np.ones(8), 4000), ValueError, "at least 7600 samples a second.*4000"),
    ],
)
def test_what_is_no_recording_is_named(
    recording: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        spectrum_of(recording)


# The network


def test_lists_of_layers_must_fit() -> None:
    with pytest.raises(ValueError, match="one entry for each convolution"):
        SequenceNetwork(3, 4, replace(SMALL, sizes=(3,)))
    with pytest.raises(ValueError, match=r"odd, got \(3, 4\)"):
        SequenceNetwork(3, 4, replace(SMALL, sizes=(3, 4)))
    plain = SequenceNetwork(3, 4, replace(SMALL, context=0)).eval()
    scores, frames = plain(torch.zeros(2, 16, 4), torch.tensor([16, 5]))
    assert scores.shape == (2, 8, 3) and frames.tolist() == [8, 3]
