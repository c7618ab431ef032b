"""Languages of answers and models of characters: n-grams, and characters that last."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import gtnet
from gtnet.reader import Alphabet, PenConfig, PenFrontEnd, Recognizer, SequenceConfig, ngram
from gtnet.reader.languages import lasting

LETTERS = Alphabet("ab")


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_characters_are_runs_that_last(frames: int) -> None:
    model = lasting(LETTERS, frames)
    for row in itertools.product(range(3), repeat=5):
        runs = [(label, len(list(run))) for label, run in itertools.groupby(row)]
        spelled = [label for label, _ in runs if label < 2]
        fits = all(count >= frames for label, count in runs if label < 2)
        written = gtnet.compose(gtnet.linear(row), model)
        score = float(gtnet.forward_score(written))
        assert score == (0.0 if fits else -math.inf)
        if fits:
            answer = gtnet.compose(written, gtnet.linear(spelled))
            assert float(gtnet.forward_score(answer)) == 0.0


def test_for_one_frame_it_is_that_of_ctc() -> None:
    ctc = gtnet.ctc_topology(3, LETTERS.nothing)
    assert gtnet.randomly_equivalent(lasting(LETTERS, 1), ctc)
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        lasting(LETTERS, 0)


def test_n_grams_score_every_string_in_one_way() -> None:
    words = ["ab", "abb", "b"]
    model = gtnet.NGramModel.of([LETTERS.labels_of(word) for word in words], 3, "ab")
    graph = ngram(words, LETTERS, 3, strength=0.5)
    for text in ("ab", "abb", "aaaa", "babab"):
        labels = LETTERS.labels_of(text)
        score = float(gtnet.forward_score(gtnet.compose(graph, gtnet.linear(labels))))
        assert score == pytest.approx(0.5 * model.score(labels), abs=1e-5)
    with pytest.raises(ValueError, match="strength must be at least 0 and finite, got -1"):
        ngram(words, LETTERS, 3, strength=-1.0)


def test_a_reader_reads_with_n_grams() -> None:
    """Where the network knows nothing, what is usual decides."""
    front_end = PenFrontEnd(PenConfig(network=SequenceConfig((8,), (3,), (2,), context=0)))
    torch.manual_seed(0)
    reader = Recognizer("ab", ngram(["ab"] * 9, LETTERS, 3, strength=3.0), front_end).eval()
    torch.nn.init.zeros_(reader.network.scores.weight)  # type: ignore[union-attr]
    torch.nn.init.zeros_(reader.network.scores.bias)  # type: ignore[union-attr]
    along = torch.linspace(0, 6, 40)
    answer = reader.read([[torch.stack([along, along.sin()], 1).numpy()]])[0]  # type: ignore[list-item]
    assert answer.text == "ab"
