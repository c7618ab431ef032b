"""Pen strokes and sound as inputs of a recognizer."""

from __future__ import annotations

import json
import math
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from slopes import assert_slope

from gtnet.reader import (
    CheckReader,
    Combined,
    PenConfig,
    PenFrontEnd,
    ReaderConfig,
    Recognizer,
    Recording,
    SoundConfig,
    SoundFrontEnd,
    TrainConfig,
    Trainer,
    TrainingData,
    cli,
    inputs,
    load_reader,
)
from gtnet.reader.checkpoint import MODEL, load_tensors, save_reader, save_tensors
from gtnet.reader.folder import FolderDataset
from gtnet.reader.inputs import StrokesDataset
from gtnet.reader.pen import distort_tracks, pen_features, track_of
from gtnet.reader.runs import Run
from gtnet.reader.sequence import SequenceConfig, SequenceNetwork, padded
from gtnet.reader.sliding import SlidingConfig
from gtnet.reader.sound import SoundNetwork, distort_spectra, spectrum_of
from gtnet.reader.splits import _together
from gtnet.reader.train import PhaseConfig

SMALL = SequenceConfig((8, 8), (3, 3), (1, 2), context=6, dropout=0.0)
WORDS = ["cab", "bad", "dead", "add", "abba"]
KINDS = ["strokes", "sound"]


def sine(hertz: float, seconds: float, rate: int = 8000) -> np.ndarray:
    return np.sin(2 * math.pi * hertz * np.arange(int(seconds * rate)) / rate)


def zigzag(teeth: int, height: float = 10.0) -> np.ndarray:
    """A stroke of so many up-and-downs."""
    x = np.arange(2 * teeth + 1.0)
    return np.stack([4 * x, height * (x % 2)], axis=1)


def front_end(kind: str) -> Any:
    if kind == "strokes":
        return PenFrontEnd(PenConfig(network=SMALL))
    return SoundFrontEnd(SoundConfig(mels=12, network=SMALL))


def written(kind: str) -> list[Any]:
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
    return [Recording(np.concatenate([sine(f, 0.2) for f in row]), 8000) for row in tones]


def nothing(kind: str) -> Any:
    return [] if kind == "strokes" else Recording(np.zeros(4000, np.int16), 8000)


def made(kind: str, grammar: Any = WORDS, seed: int = 0) -> Recognizer:
    torch.manual_seed(seed)
    return Recognizer("abcde", grammar, front_end(kind)).eval()


# Any kind of input works with everything behind the front end


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_of_the_language_and_know_their_share(kind: str) -> None:
    reader = made(kind)
    reader.candidates, reader.unsure = len(WORDS), 0.0
    seen = reader.observe(written(kind))
    with torch.no_grad():
        losses = torch.stack([reader.loss(seen, [word] * len(seen)) for word in WORDS])
    assert torch.allclose(losses.neg().exp().nansum(0), torch.ones(len(seen)), atol=1e-4)
    for answer, own in zip(reader.read(written(kind)), losses.T, strict=True):
        assert answer.text in WORDS
        share = float(own[WORDS.index(answer.text)].neg().exp())
        assert answer.confidence == pytest.approx(share, abs=1e-4)
        assert {text for text, _ in answer.alternatives} < set(WORDS)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_in_a_batch_change_nothing(kind: str) -> None:
    reader = made(kind, None)
    mixed = [*written(kind), nothing(kind)]
    together, alone = reader.read(mixed), [reader.read([item])[0] for item in mixed]
    assert together[-1].text is None and "nothing drawn" in together[-1].reason
    for a, b in zip(together, alone, strict=True):
        assert a.text == b.text and a.confidence == pytest.approx(b.confidence, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_small_steps(kind: str) -> None:
    reader = made(kind).double()
    seen = reader.observe(written(kind)[:2])
    generator = torch.Generator().manual_seed(1)

    def loss() -> torch.Tensor:
        return reader.loss(seen, ["cab", "bad"]).sum()

    assert_slope(reader, loss, generator)


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
            return Recording(sine(400.0 if index % 2 else 2000.0, 0.2 + index / 100), 8000), word

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
    assert again.read(written(kind)) == reader.read(written(kind))


def test_readers_of_one_kind_combine() -> None:
    readers = [made("strokes", seed=1), made("strokes", seed=2)]
    answers = Combined(readers).read(written("strokes"))
    assert all(answer.text in WORDS for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_keeps_what_is_there_and_leaves_the_rest_empty(kind: str) -> None:
    end = front_end(kind)
    seen = [end.observe(item) for item in written(kind)]
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
    for look in end.looks:
        one, new = look(batch, lengths)
        other, _ = look(batch.clone(), lengths)
        assert torch.equal(one, other) and int(new.max()) <= one.shape[1]
        behind = torch.arange(one.shape[1])[None] >= new[:, None]
        assert (one[behind] == 0).all() and torch.isfinite(one).all()
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
    config = PenConfig()
    features = pen_features(points, lengths, config)
    assert features.shape == (2, points.shape[1], config.features)
    assert torch.allclose(features[:, 10, :2], torch.tensor([1.0, 0.0]), atol=1e-5)
    assert torch.allclose(features[:, 25, :2], torch.tensor([0.0, 1.0]), atol=1e-5)
    bend = features[0, :, 3]
    assert bend[: len(leg) - 1].abs().argmax() == 19 and bend[19] == pytest.approx(1.0, abs=1e-4)
    seen = features[:, 5, 7:].reshape(2, 7, 5)
    above = seen[:, :2].sum((1, 2))
    assert above[0] > above[1] + 0.3
    # The leg is in the middle row, to both sides; all its ink within reach is counted once.
    assert seen[1, 3].min() > 0.2 and seen[1, 5:].sum() == 0
    farther = pen_features(points, lengths, PenConfig(reach=(30.0, 30.0), places=(3, 3)))
    ink = (2 * farther[:, 5, 7:]).expm1().sum(1)
    assert torch.allclose(ink, torch.tensor([len(leg) + 2.0, len(leg)]), atol=1e-3)
    with pytest.raises(ValueError, match=r"places must be odd and at least 3, got \(4, 3\)"):
        pen_features(points, lengths, PenConfig(places=(4, 3)))
    assert (features[1, len(leg) :] == 0).all()


# Sound


def test_loudness_and_rate_change_little() -> None:
    tone = np.concatenate([sine(440, 0.3), sine(1500, 0.3)])
    plain = spectrum_of(Recording(tone, 8000))
    loud = spectrum_of(Recording((tone * 20_000).astype(np.int16), 8000))
    assert np.allclose(plain.energies, loud.energies, atol=0.05)
    fine = np.concatenate([sine(440, 0.3, 16_000), sine(1500, 0.3, 16_000)])
    other = spectrum_of(Recording(fine, 16_000))
    assert abs(len(other) - len(plain)) <= 1
    count = min(len(other), len(plain))
    assert np.corrcoef(other.energies[:count].ravel(), plain.energies[:count].ravel())[0, 1] > 0.95


def test_a_tone_stands_in_its_band() -> None:
    config = SoundConfig(mels=20)
    bands = [
        spectrum_of(Recording(np.concatenate([sine(f, 0.3), 0 * sine(f, 0.3)]), 8000), config)
        .energies[:25]
        .mean(0)
        .argmax()
        for f in (150.0, 600.0, 1500.0, 3300.0)
    ]
    assert bands == sorted(set(bands)) and bands[0] <= 2 and bands[-1] >= 16


def test_short_sounds_have_a_step_and_silence_none() -> None:
    assert len(spectrum_of(Recording(sine(500, 0.001), 8000))) >= 1
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
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        SequenceNetwork(3, 4, replace(SMALL, layers=0))
    with pytest.raises(ValueError, match="5 bands cannot be halved 4 times"):
        SoundNetwork(3, SoundConfig(mels=5, maps=(2, 2, 2, 2)))
    two = SequenceNetwork(3, 4, replace(SMALL, layers=2)).eval()
    steps, lengths = torch.randn(2, 16, 4), torch.tensor([16, 5])
    steps[1, 5:] = 0
    together, alone = two(steps, lengths)[0], two(steps[1:, :5], lengths[1:])[0]
    assert torch.allclose(together[1, :3], alone[0], atol=1e-5)
    one = SequenceNetwork(3, 4, SMALL)
    units = SMALL.context
    deeper = sum(p.numel() for p in two.parameters()) - sum(p.numel() for p in one.parameters())
    assert deeper == 2 * 4 * units * (2 * units + units + 2)
    plain = SequenceNetwork(3, 4, replace(SMALL, context=0)).eval()
    scores, frames = plain(torch.zeros(2, 16, 4), torch.tensor([16, 5]))
    assert scores.shape == (2, 8, 3) and frames.tolist() == [8, 3]


# Files


def wav(path: Path, samples: np.ndarray, rate: int = 8000, width: int = 2) -> Path:
    """Samples in [-1, 1], [samples] or [samples, channels], as a WAV file."""
    whole = np.rint(samples * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        whole += 128
    raw = whole.reshape(-1, 1).astype("<i8").view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


def npz(path: Path, items: list[list[np.ndarray]], labels: list[str], writers: list[str]) -> Path:
    strokes = [stroke for item in items for stroke in item]
    np.savez(
        path,
        points=np.concatenate(strokes),
        stroke_offsets=np.cumsum([0, *map(len, strokes)]),
        sample_offsets=np.cumsum([0, *map(len, items)]),
        labels=np.array(labels),
        writer=np.array(writers),
    )
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_files_of_all_widths_are_read(width: int, tmp_path: Path) -> None:
    tone = 0.5 * sine(440, 0.1)
    both = np.stack([tone, 0 * tone], axis=1)
    one = inputs.read_recording(wav(tmp_path / "one.wav", tone, width=width))
    two = inputs.read_input(wav(tmp_path / "TWO.WAV", both, 16_000, width))
    scale = 2 ** (8 * width - 1)
    assert (one.rate, two.rate) == (8000, 16_000)
    assert np.allclose(one.samples / scale, tone, atol=1.1 / 128 if width == 1 else 1e-4)
    assert np.allclose(two.samples, one.samples / 2, atol=1)


def test_sound_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"RIFF, or not")
    with pytest.raises(ValueError, match=r"no\.wav"):
        inputs.read_input(tmp_path / "no.wav")
    with pytest.raises(ValueError, match=r"cannot read .*nowhere\.wav"):
        inputs.read_input(tmp_path / "nowhere.wav")
    whole = wav(tmp_path / "cut.wav", sine(440, 0.1)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:-301])
    assert len(inputs.read_recording(tmp_path / "cut.wav").samples) == 800 - 151


def test_samples_of_a_file_of_strokes_have_numbers(tmp_path: Path) -> None:
    items = [[zigzag(2)], [zigzag(3), zigzag(1)]]
    path = npz(tmp_path / "two.npz", items, ["ab", "ba"], ["x", "y"])
    assert [name for name, _ in inputs.read_inputs(path)] == [f"{path}#1", f"{path}#2"]
    assert len(inputs.read_input(f"{path}#2")) == 2
    with pytest.raises(ValueError, match="holds 2 samples; name one"):
        inputs.read_input(path)
    for wrong in ("0", "3", "x", "-1"):
        with pytest.raises(ValueError, match=f"samples 1 to 2, not '{wrong}'"):
            inputs.read_input(f"{path}#{wrong}")
    alone = npz(tmp_path / "one.npz", items[:1], ["ab"], ["x"])
    assert [name for name, _ in inputs.read_inputs(alone)] == [str(alone)]
    data = StrokesDataset(path)
    assert (len(data), data[1][1], data.writers) == (2, "ba", ["x", "y"])


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_have_pictures_and_digests(kind: str) -> None:
    given = written(kind)
    for item in [*given, nothing(kind)]:
        shape = inputs.picture(item)
        assert shape.dtype == np.uint8 and shape.ndim == 2 and shape.size
    assert [inputs.is_empty(item) for item in [*given, nothing(kind)]] == [False] * 4 + [True]
    assert len({inputs.digest(item) for item in [*given, *written(kind)]}) == 4
    assert len(np.unique(inputs.picture(given[1]))) > 5


# Commands


def own_folder(kind: str, root: Path, writers: int = 4) -> Path:
    """16 words of four writers, as sound files or samples of a file of strokes."""
    rows, samples = ["file\ttext\twriter"], []
    for number in range(16):
        word, writer = ("ab", "ba")[number % 2], f"w{number % writers}"
        if kind == "sound":
            tone = sine(400.0 if number % 2 else 2000.0, 0.2 + number / 100)
            wav(root / f"{number}.wav", 0.5 * tone)
            rows.append(f"{number}.wav\t{word}\t{writer}")
        else:
            samples.append([zigzag(4, 10.0 if number % 2 else 1.0) * (1 + number)])
            rows.append(f"all.npz#{number + 1}\t{word}\t{writer}")
    if samples:
        words = [("ab", "ba")[number % 2] for number in range(16)]
        npz(root / "all.npz", samples, words, [f"w{number % writers}" for number in range(16)])
    (root / "labels.tsv").write_text("\n".join(rows) + "\n")
    (root / "words.txt").write_text("ab\nba\n")
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_commands_train_read_and_draw(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = own_folder(kind, tmp_path), tmp_path / "out"
    given = ["--lexicon", str(root / "words.txt"), "--front-end", kind]
    assert cli.main(["check", str(root), *given]) == 0
    command = ["train", "--data", "folder", "--root", str(root), *given]
    assert cli.main([*command, "--epochs", "1", "--out", str(out)]) == 0
    assert json.loads((out / "results.json").read_text())["amounts"] == 4  # of one writer
    report = (out / "report.html").read_text()
    assert ("recording" if kind == "sound" else "pen") in report
    file = "all.npz" if kind == "strokes" else "3.wav"
    capsys.readouterr()
    assert cli.main(["read", str(root / file), "--model", str(out), "--jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == (16 if kind == "strokes" else 1)
    assert all(line["text"] in ("ab", "ba") for line in lines)
    one = str(root / file) + ("#3" if kind == "strokes" else "")
    page = tmp_path / "page.html"
    assert cli.main(["read", one, "--model", str(out), "--draw", str(page)]) == 0
    assert "Interpretation graph" in page.read_text()
    assert cli.main(["draw", one, "--model", str(out), "--out", str(tmp_path / "g.dot")]) == 0
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(tmp_path / "x.png")
    assert cli.main(["read", str(tmp_path / "x.png"), "--model", str(out)]) == 2
    assert f"a file of images; the front end {kind} reads" in capsys.readouterr().err


def test_a_file_of_strokes_is_a_data_set(tmp_path: Path) -> None:
    """Parts share no writer, and labels are tried against the lexicon."""
    root = own_folder("strokes", tmp_path, writers=8)
    given = {"data": "folder", "root": str(root / "all.npz"), "front_end": "strokes"}
    parts = Run.start(tmp_path / "out", alphabet="ab", **given).splits()
    writers = StrokesDataset(root / "all.npz").writers
    own = [{writers[i] for i in part.chosen} for part in (parts.train, parts.valid, parts.test)]
    assert [len(names) for names in own] == [6, 1, 1] and len(set.union(*own)) == 8
    with pytest.raises(ValueError, match="sample 2"):
        Run.start(tmp_path / "out", alphabet="a", **given).splits()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"front_end": "sound"}, r"pen strokes \(.npz\); the front end sound reads sound"),
        ({}, r"the front end segments reads images; see --front-end"),
        ({"front_end": "sound", "data": "car_a"}, "for data of your own; car_a holds images"),
    ],
)
def test_the_wrong_front_end_is_named(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    root = own_folder("strokes", tmp_path)
    given = {"data": "folder", "root": str(root), "alphabet": "ab", **options}
    if given["data"] == "car_a":
        del given["alphabet"]
    with pytest.raises(ValueError, match=message):
        Run.start(tmp_path / "out", **given).splits()


def test_amounts_may_be_spoken(tmp_path: Path) -> None:
    """The check reader takes the new front ends too, and is saved with their settings."""
    config = ReaderConfig("digit_string", front_end="sound", sound=SoundConfig(network=SMALL))
    reader = CheckReader(config).eval()
    save_reader(tmp_path, reader)
    again = load_reader(tmp_path)
    assert isinstance(again, CheckReader) and again.config == config
    assert again.read(written("sound")) == reader.read(written("sound"))


def test_readers_of_version_0_1_are_loaded(tmp_path: Path) -> None:
    """Weights of recurrent layers had other names, and a network over lines one layer."""
    deep = SequenceConfig((8, 8), (3, 3), (1, 2), context=6, layers=2)
    sliding = SlidingConfig(channels=(4,) * 6, context=4)
    made = {
        "strokes": Recognizer("ab", None, PenFrontEnd(PenConfig(network=deep))),
        "sound": CheckReader(ReaderConfig("digit_string", front_end="sound")),
        "lines": CheckReader(ReaderConfig("digit_string", front_end="sliding", sliding=sliding)),
    }
    for kind, reader in made.items():
        save_reader(tmp_path / kind, reader)
        tensors, state = load_tensors(tmp_path / kind / MODEL)
        old = {
            re.sub(
                r"context\.layers\.1\.(forth|back)",
                lambda way: f"deeper.0.{int(way[1] == 'back')}",
                name.replace("context.layers.0.", ""),
            ): tensor
            for name, tensor in tensors.items()
        }
        assert len({*old} - {*tensors}) == (16 if kind == "strokes" else 8)
        if kind == "lines":
            del state["reader"]["sliding"]["layers"]
        save_tensors(tmp_path / kind / MODEL, old, state)
        again = load_reader(tmp_path / kind).state_dict()
        assert all(torch.equal(again[name], own) for name, own in reader.state_dict().items())


def test_writers_outlive_corrections(tmp_path: Path) -> None:
    """A table of corrections has no column of writers; a row without a name stands alone."""
    rows = ["file\ttext\tspeaker", "0.wav\tab\tw0", "1.wav\tba\t", "2.wav\tab\tw0"]
    (tmp_path / "labels.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "corrections.tsv").write_text("file\ttext\n2.wav\tba\n")
    data = FolderDataset(tmp_path, grammar="")
    assert data.writers == ["w0", "", "w0"] and data.text(2) == "ba"
    groups = _together([0, 1, 2], data.writers)
    assert groups[0] == groups[2] != groups[1]
    (tmp_path / "labels.tsv").write_text("file\ttext\n0.wav\tab\n2.wav\tab\n")
    assert FolderDataset(tmp_path, grammar="").writers is None
