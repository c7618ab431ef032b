"""The decoder of the lectures: words through letters of any duration, on real recordings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from real_data import needs

import gtnet

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import spoken_digits as spoken

needs_fsdd = needs("fsdd/fsdd.npz", "recordings of digits")


def test_letters_last_as_long_as_they_do():
    letters = [spoken.LETTERS.index(letter) for letter in "sssiixx"]
    scores = torch.nn.functional.one_hot(torch.tensor(letters), len(spoken.LETTERS)).float()
    assert spoken.read(gtnet.Emissions(scores[None]) @ spoken.lexicon()) == [6]
    ways = gtnet.forward_score(gtnet.linear(letters) @ spoken.lexicon())
    assert ways.tolist() == [0]  # one way to say so


@needs_fsdd
@pytest.mark.parametrize("loss", ["nll", "hinge"])
def test_words_are_learnt_from_words_alone(loss):
    seen = spoken.recordings(spoken.DATA, range(5, 20))
    unseen = spoken.recordings(spoken.DATA, range(5))
    model = spoken.train(*seen, loss=loss, epochs=4)
    assert spoken.accuracy(model, *unseen) > 0.5  # one in ten by chance
