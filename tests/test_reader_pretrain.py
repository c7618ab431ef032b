"""Pre-training on ink without labels."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import latent
from gtnet.reader import checkpoint
from gtnet.reader.data import load
from gtnet.reader.pretrain import pretrain, segments_of, windows_of
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.runs import Run
from gtnet.reader.sliding import SlidingConfig
from gtnet.reader.train import PhaseConfig, TrainConfig, Trainer, TrainingData

CONFIGS = {
    "segments": ReaderConfig(network=NetworkConfig(channels=(4, 8, 8), hidden=24)),
    "sliding": ReaderConfig(
        front_end="sliding", sliding=SlidingConfig(channels=(4, 4, 8, 8, 8, 8), context=8)
    ),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(count: int = 3) -> list[np.ndarray]:
    data = load("digits", size=count)
    return [data[index][0] for index in range(count)]


@pytest.mark.parametrize("front_end", CONFIGS)
@pytest.mark.parametrize("method", ["psd", "vae"])
def test_convolutions_learn_from_ink(front_end: str, method: str) -> None:
    reader = CheckReader(CONFIGS[front_end])
    seen = reader.observe(images(1))
    network, before = reader.network, copy.deepcopy(reader.network)
    losses = pretrain(network, seen, method, epochs=3, rate=0.01, seed=1)
    assert losses[-1] < 0.9 * losses[0]
    for (name, new), old in zip(network.named_parameters(), before.parameters(), strict=True):
        learnt = "convolutions" in name
        assert torch.equal(new, old) != learnt, name
    if method == "vae":
        assert pretrain(before, seen, method, epochs=3, rate=0.01, seed=1) == losses
    assert reader.read(images(1))[0].confidence >= 0


def test_what_is_looked_at() -> None:
    reader, rng = CheckReader(CONFIGS["segments"]), np.random.default_rng(0)
    seen = reader.observe([*images(2), np.full((30, 60), 255, np.uint8)])
    whole = segments_of(seen, 10**6, rng)
    assert whole.shape == (sum(map(len, seen)), 2, 24, 24)
    assert segments_of(seen, 5, rng).shape == (5, 2, 24, 24)
    lines = CheckReader(CONFIGS["sliding"]).observe(images(2))
    pieces = windows_of(lines, 10**6, rng)
    assert pieces.shape[1:] == (1, 32, 128) and 0 <= pieces.min() < pieces.max() <= 1
    assert windows_of(lines[:1], 1, rng).shape[0] == 1


def test_what_cannot_be_taught_is_named() -> None:
    reader = CheckReader(CONFIGS["segments"])
    blank = reader.observe([np.full((30, 60), 255, np.uint8)])
    with pytest.raises(ValueError, match="no ink to learn from"):
        pretrain(reader.network, blank, "psd")
    with pytest.raises(ValueError, match="'gan' is not one of none, psd, vae"):
        pretrain(reader.network, blank, "gan")
    segmental = CheckReader(ReaderConfig(front_end="segmental"))
    with pytest.raises(ValueError, match="SegmentalNetwork is not over images"):
        pretrain(segmental.network, blank, "psd")
    assert pretrain(segmental.network, blank, "none") == []
    for wrong, message in [
        ({"pretrain": "gan"}, "'gan' is not one of"),
        ({"pretrain": "psd", "front_end": "segmental"}, "for --front-end segments or sliding"),
        ({"pretrain": "psd", "start": "."}, "give one"),
    ]:
        with pytest.raises(ValueError, match=message):
            Run.start(**wrong)
    assert Run.start(pretrain="psd").training.pretrain == "psd"


def test_a_training_begins_with_it(tmp_path: Path) -> None:
    config = TrainConfig(
        whole=PhaseConfig(epochs=2, rate=1e-2, batch_size=4),
        average=0.9,
        reader=CONFIGS["segments"],
        pretrain="vae",
    )
    data = TrainingData(load("digits", size=2), unlabelled=images(1))
    unbroken = Trainer(config, data, tmp_path / "a", quiet=True).run()
    Trainer(config, data, tmp_path / "b", quiet=True).run(epochs=1)
    resumed = Trainer(config, data, tmp_path / "b", quiet=True).run(resume=True)
    other = Trainer(replace(config, pretrain="none"), data, tmp_path / "c", quiet=True).run()
    name = "network.convolutions.0.weight"
    weights = [reader.state_dict()[name] for reader in (unbroken, resumed, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    kept = json.loads((tmp_path / "a" / checkpoint.CONFIG).read_text())
    assert kept["pretrain"] == "vae"


def test_the_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(latent, "TEST", 2)
    monkeypatch.setattr(latent, "IMAGES", 4)
    monkeypatch.setattr(latent, "SURE", 0.0)
    small = latent.Setting(CONFIGS["segments"], 1, 1e-3)
    monkeypatch.setitem(latent.SETTINGS, "segments", small)
    found: latent.Found = {}
    latent.run_seed("segments", 0, (2,), found)
    assert set(found) == {("none", 2), ("psd", 2), ("vae", 2), ("taught", 2)}
    assert latent.table(found, (2,)).count("\n") == 2
