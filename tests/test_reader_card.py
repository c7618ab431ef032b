"""The model card: data, licence, figures, threshold, limits and how to make the reader again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_reader_own_data import good

import gtnet
from gtnet.reader import runs
from gtnet.reader.answers import Answer
from gtnet.reader.card import CARD, interval, model_card
from gtnet.reader.cli import main
from gtnet.reader.judge import Comparison, Score
from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.runs import DataConfig
from gtnet.reader.train import Evaluation, PhaseConfig, TrainConfig

FOUND = Evaluation([Answer("1.00", 0.9)] * 20, ["1.00"] * 18 + ["2.00"] * 2)
SCORE = Score(0.9, 0.5, 0.01, 0.75, 0.6, 0.0, 20)
COMPARISON = Comparison(None, FOUND, (None, SCORE))


def card(data: DataConfig, score: Score = SCORE) -> str:
    return model_card(replace(COMPARISON, scores=(None, score)), data, TrainConfig(), {"seed": 7})


def test_figures_come_with_their_uncertainty() -> None:
    told = card(DataConfig("digits"))
    assert "90.0% of 20 test amounts are read exactly (95% interval 69.9% to 97.2%)" in told
    assert "chosen on 20 validation amounts for 1% error" in told
    assert "20 validation amounts are too few" in told
    assert "too few" not in card(DataConfig("digits"), replace(SCORE, chosen_on=100))
    assert "gtnet read --min-confidence 0.7500" in told and "- seed: 7" in told
    assert "no threshold" in card(DataConfig("digits"), replace(SCORE, threshold=float("inf")))


@pytest.mark.parametrize(("share", "count"), [(0.0, 20), (1.0, 20), (0.5, 400), (0.9, 0)])
def test_intervals_hold_the_share(share: float, count: int) -> None:
    low, high = interval(share, count)
    assert 0 <= low <= share <= high <= 1 and high > low
    assert interval(share, 100 * count + 1)[1] - interval(share, 100 * count + 1)[0] <= high - low


def test_licences_that_are_known_and_not(tmp_path: Path) -> None:
    assert "CC BY 4.0" in card(DataConfig("digits"))
    assert "research" in card(DataConfig("car_a", "somewhere"))
    own = DataConfig("folder", str(tmp_path))
    assert "not known: there is no LICENSE" in card(own)
    (tmp_path / "LICENCE.txt").write_text("CC0")
    assert f"see LICENCE.txt in {tmp_path}" in card(own)


def test_training_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = TrainConfig(
        isolated=PhaseConfig(epochs=1, rate=5e-3, batch_size=64),
        whole=PhaseConfig(epochs=1, rate=3e-3, batch_size=8),
        characters=100,
        reader=ReaderConfig(network=NetworkConfig(channels=(2, 2, 2), hidden=4)),
    )
    monkeypatch.setitem(runs.USUAL, "folder", tiny)
    root, out = good(tmp_path / "forms"), tmp_path / "out"
    assert main(["train", "--data", "folder", "--root", str(root), "--out", str(out)]) == 0
    told = (out / CARD).read_text("utf-8")
    for words in (
        "a reader trained on forms",
        "10 for training, 1 for validation, 1 for test",
        "front end: segments",
        "amounts with cents",
        f"gtnet {gtnet.__version__}",
        "The test is small",
        "fingerprint of the data",
    ):
        assert words in told
