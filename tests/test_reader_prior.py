"""A prior of texts: how often their characters begin, follow and end them."""

from __future__ import annotations

import math

import pytest
import torch

import gtnet
from gtnet.reader import load_reader
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.checkpoint import save_reader
from gtnet.reader.languages import any_string
from gtnet.reader.prior import Prior
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognizer import Recognizer

DIGITS = Alphabet("0123456789")
TEXTS = ["100", "20", "1", "3000", "120"]


def score(prior: Prior, text: str) -> float:
    chain = gtnet.linear(DIGITS.labels_of(text))
    return float(gtnet.forward_score(gtnet.compose(prior.graph(), chain)))


def test_texts_of_all_lengths_have_probability_one():
    language = gtnet.compose(any_string(DIGITS), Prior.of(TEXTS, DIGITS).graph())
    assert float(gtnet.forward_score(language)) == pytest.approx(0, abs=1e-5)


def test_scores_are_smoothed_counts():
    prior = Prior.of(TEXTS, DIGITS)
    # 13 characters, 5 of them first, 8 not: 7 noughts and a 2.
    anywhere = {"0": (7 + 0.3) / 16, "1": (3 + 0.3) / 16, "2": (2 + 0.3) / 16}
    assert prior.first[1] == pytest.approx(math.log((3 + 3 * anywhere["1"]) / 8))
    assert prior.first[0] == pytest.approx(math.log(3 * anywhere["0"] / 8))
    going_on = 8.5 / 14
    assert prior.rest[2] == pytest.approx(math.log((1 + 3 * anywhere["2"]) / 11 * going_on))
    assert prior.end == pytest.approx(math.log(1 - going_on))
    assert score(prior, "12") == pytest.approx(prior.first[1] + prior.rest[2] + prior.end, abs=1e-5)


def test_strength_multiplies_all_scores():
    whole, half = Prior.of(TEXTS, DIGITS), Prior.of(TEXTS, DIGITS, 0.5)
    assert score(half, "407") == pytest.approx(score(whole, "407") / 2, abs=1e-5)
    assert score(Prior.of(TEXTS, DIGITS, 0.0), "407") == 0


@pytest.mark.parametrize(
    ("texts", "strength", "message"),
    [
        ([], 1.0, "at least one text"),
        ([""], 1.0, "at least one text"),
        (["12"], -1.0, "strength must be at least 0"),
        (["12"], math.nan, "strength must be at least 0"),
        (["1x"], 1.0, "'x' in '1x'"),
    ],
)
def test_what_makes_no_prior(texts, strength, message):
    with pytest.raises(ValueError, match=message):
        Prior.of(texts, DIGITS, strength)


def test_a_reader_in_doubt_says_what_is_usual():
    reader = Recognizer(DIGITS).eval()
    scores = torch.full((1, 3, reader.recognition(drawn(reader)).scores.shape[-1]), -9.0)
    scores[0, 0, 0], scores[0, 0, 6] = 1.0, 0.8  # nought, or six
    scores[0, 1:, -1] = 1.0  # blank
    emissions = gtnet.Emissions(scores)
    assert reader.answers(reader.interpretation(emissions))[0].amount == "0"
    reader.expect(Prior.of(["6", "16", "10"], DIGITS, 0.5))
    assert reader.answers(reader.interpretation(emissions))[0].amount == "6"
    reader.expect(None)
    assert reader.answers(reader.interpretation(emissions))[0].amount == "0"


def drawn(reader: Recognizer) -> list:
    image = torch.full((30, 60), 255, dtype=torch.uint8).numpy()
    image[5:25, 10:14] = 0
    return reader.observe([image])


def test_a_prior_of_another_alphabet_is_refused():
    with pytest.raises(ValueError, match="a prior of 2 characters for an alphabet of 10"):
        Recognizer(DIGITS).expect(Prior.of(["ab"], Alphabet("ab")))


@pytest.mark.parametrize("preset", [False, True])
def test_files_keep_the_prior(preset, tmp_path):
    torch.manual_seed(0)
    config = ReaderConfig(front_end="sliding", grammar="digit_string")
    reader = CheckReader(config) if preset else Recognizer(DIGITS)
    reader.eval()
    image = torch.full((30, 60), 255, dtype=torch.uint8).numpy()
    image[5:25, 10:14] = 0
    plain = reader.read([image])
    reader.expect(Prior.of(["777", "77"], reader.alphabet, 5.0))
    expected = reader.read([image])
    assert expected != plain
    save_reader(tmp_path, reader)
    assert load_reader(tmp_path).read([image]) == expected
    assert reader.twin().read([image]) == expected
