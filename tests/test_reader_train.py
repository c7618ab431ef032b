from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gtnet.reader import checkpoint
from gtnet.reader.augment import distort, jitter
from gtnet.reader.data import load
from gtnet.reader.film import Film
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.runs import Run
from gtnet.reader.train import PhaseConfig, Segmented, TrainConfig, Trainer, TrainingData, evaluate

SMALL = TrainConfig(
    isolated=PhaseConfig(epochs=2, rate=5e-3, batch_size=64, jitter=0.3),
    whole=PhaseConfig(epochs=2, rate=1e-2, batch_size=4),
    characters=200,
    average=0.9,
    reader=ReaderConfig(network=NetworkConfig(channels=(4, 8, 8), hidden=24)),
)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    train, valid = load("digits", size=24), load("digits", split="valid", size=8)
    return TrainingData(train, valid, [train.characters(SMALL.characters)])


def weights(reader: CheckReader) -> dict[str, torch.Tensor]:
    return reader.state_dict()


def same(a: CheckReader, b: CheckReader) -> bool:
    return all(torch.equal(weights(a)[name], weights(b)[name]) for name in weights(a))


@pytest.fixture(scope="module")
def unbroken(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    Trainer(SMALL, data, out, quiet=True).run()
    return out


@pytest.fixture(scope="module", params=[2, 3], ids="after {} epochs".format)
def resumed(
    request: pytest.FixtureRequest, data: TrainingData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CheckReader, Path]:
    """A training that was stopped, between the phases or within the second, and taken up again."""
    out = tmp_path_factory.mktemp("stopped")
    Trainer(SMALL, data, out, quiet=True).run(epochs=request.param)
    assert not (out / checkpoint.MODEL).exists()
    return Trainer(SMALL, data, out, quiet=True).run(resume=True), out


def test_both_phases_lower_their_loss(unbroken: Path) -> None:
    history = json.loads((unbroken / "history.json").read_text())
    assert [(row["phase"], row["epoch"]) for row in history] == [
        ("isolated", 1),
        ("isolated", 2),
        ("whole", 1),
        ("whole", 2),
    ]
    assert history[1]["loss"] < history[0]["loss"]
    assert history[3]["loss"] < history[2]["loss"]


def test_same_seed_same_result(unbroken: Path, data: TrainingData, tmp_path: Path) -> None:
    again = Trainer(SMALL, data, tmp_path, quiet=True).run()
    assert same(again, checkpoint.load_reader(unbroken))


def test_resuming_continues_exactly(unbroken: Path, resumed: tuple[CheckReader, Path]) -> None:
    reader, stopped = resumed
    for name in ("isolated.safetensors", "model.safetensors"):
        left, right = (checkpoint.load_reader(out / name) for out in (stopped, unbroken))
        assert same(left, right) and left.config == right.config, name
    assert same(reader, checkpoint.load_reader(unbroken))
    rows = [json.loads((out / "history.json").read_text()) for out in (stopped, unbroken)]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def test_resuming_checks_what_it_resumes(
    unbroken: Path, data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no checkpoint"):
        Trainer(SMALL, data, tmp_path, quiet=True).run(resume=True)
    with pytest.raises(ValueError, match="other settings"):
        Trainer(replace(SMALL, seed=1), data, unbroken, quiet=True).run(resume=True)


class Unreadable:
    """Two images: one cannot hold its long amount, the other has nothing on it."""

    grammar = "amount"

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        image = np.full((40, 60), 255, np.uint8)
        if index == 0:
            image[8:32, 28:32] = 30
        return image, "9" * 40 + ".00"


def test_items_without_a_path_are_counted_and_skipped(tmp_path: Path) -> None:
    config = replace(SMALL, whole=replace(SMALL.whole, epochs=1))
    trainer = Trainer(config, TrainingData(Unreadable()), tmp_path, quiet=True)
    before = {name: t.clone() for name, t in weights(trainer.reader).items()}
    after = weights(trainer.run())
    assert trainer.history[0]["skipped"] == 2
    assert np.isfinite(trainer.history[0]["loss"])
    assert all(torch.isfinite(t).all() for t in after.values())
    assert trainer.history[0]["valid_accuracy"] is None
    assert set(before) == set(after)


def test_worker_processes_change_nothing() -> None:
    data, config = load("digits", size=4), SMALL.reader.segment
    alone, helped = (
        [
            item
            for batch in Segmented(data, config, distortion=0.5).batches([2, 0, 3], 2, workers=w)
            for item in batch
        ]
        for w in (0, 1)
    )
    for (a, x), (b, y) in zip(alone, helped, strict=True):
        assert x == y and np.array_equal(a.images, b.images)


def test_evaluate_compares_with_the_truth(unbroken: Path, data: TrainingData) -> None:
    found = evaluate(checkpoint.load_reader(unbroken), Segmented(data.valid, SMALL.reader.segment))
    assert len(found.answers) == len(found.truth) == 8
    assert found.accuracy == sum(found.correct) / 8


def test_a_reader_survives_saving(unbroken: Path, tmp_path: Path) -> None:
    reader = checkpoint.load_reader(unbroken)
    checkpoint.save_reader(tmp_path, reader)
    loaded = checkpoint.load_reader(tmp_path)
    assert loaded.config == reader.config and same(loaded, reader)
    assert not list(tmp_path.glob("*.new"))


def test_what_is_no_reader_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trained reader at"):
        checkpoint.load_reader(tmp_path)
    (tmp_path / checkpoint.MODEL).write_text("hello")
    with pytest.raises(ValueError, match="cannot read"):
        checkpoint.load_reader(tmp_path)
    checkpoint.save_tensors(tmp_path / checkpoint.MODEL, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="not written by gtnet train"):
        checkpoint.load_reader(tmp_path)


def test_configurations_survive_json() -> None:
    values = json.loads(json.dumps(checkpoint.as_dict(SMALL)))
    assert checkpoint.from_dict(TrainConfig, values) == SMALL
    with pytest.raises(ValueError, match="speed"):
        checkpoint.from_dict(TrainConfig, {"speed": 1})


def test_distortion_keeps_an_image_an_image() -> None:
    image, _ = load("digits", size=1)[0]
    first, second, other = (distort(image, np.random.default_rng(seed), 1.0) for seed in (1, 1, 2))
    assert first.dtype == np.uint8 and np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert np.array_equal(distort(image, np.random.default_rng(0), 0.0), image)


def test_jitter_without_strength_changes_nothing() -> None:
    images = torch.rand(3, 2, 24, 24)
    assert torch.allclose(jitter(images, 0.0), images, atol=1e-5)
    assert not torch.allclose(jitter(images, 0.5), images, atol=1e-2)


def test_run_settings() -> None:
    run = Run.start(data="car_a", root="somewhere", test_fold=2, epochs=3, seed=5)
    assert run.data.test_fold == 2 and run.training.reader.grammar == "digit_string"
    assert run.training.whole.epochs == 3 and run.training.seed == 5
    with pytest.raises(ValueError, match="digits, not on car_a"):
        Run.start(demo=True, data="car_a")


@pytest.mark.parametrize("loss", ["hinge", "minimum_risk_k_best"])
def test_the_second_phase_takes_any_loss(loss: str, tmp_path: Path) -> None:
    config = replace(SMALL, loss=loss, whole=replace(SMALL.whole, epochs=1))
    trainer = Trainer(config, TrainingData(load("digits", size=8)), tmp_path, quiet=True)
    before = {name: t.clone() for name, t in weights(trainer.reader).items()}
    trainer.run()
    assert np.isfinite(trainer.history[0]["loss"]) and trainer.history[0]["skipped"] == 0
    assert any(not torch.equal(before[name], t) for name, t in weights(trainer.reader).items())


def test_an_unknown_loss_is_named() -> None:
    assert Run.start(loss="hinge").training.loss == "hinge"
    with pytest.raises(ValueError, match=r"no loss 'bingo'; there are .*hinge"):
        Run.start(loss="bingo")


def test_a_film_has_a_frame_for_each_epoch_and_survives_a_stop(
    unbroken: Path, resumed: tuple[CheckReader, Path], tmp_path: Path
) -> None:
    film = Film.load(unbroken, SMALL.reader.segment)
    assert list(film.frames) == [
        "before training",
        "isolated characters, epoch 1",
        "isolated characters, epoch 2",
        "global training, epoch 1",
        "global training, epoch 2",
    ]
    after = Film.load(resumed[1], SMALL.reader.segment)
    assert list(after.frames) == list(film.frames)
    assert all(torch.equal(after.frames[name], film.frames[name]) for name in film.frames)
    pictures = film.animation(CheckReader(SMALL.reader)).frames
    assert len(pictures) == 5 and all(picture.images for picture in pictures)
    assert Film.load(tmp_path / "elsewhere", SMALL.reader.segment) is None
