"""The benchmarks of readers: their splits, their languages, what their labels stand for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from real_data import DATA, needs

import gtnet
from gtnet.reader import CheckReader, Parted, PenConfig, ReaderConfig, Recording, TrainConfig
from gtnet.reader.checkpoint import as_dict, save_json, save_reader
from gtnet.reader.pen import track_of, track_through
from gtnet.reader.runs import DataConfig, Splits

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import (
    combined,
    reading,
    spoken_strings,
    taskar_words,
    unipen_numerics,
    unipen_words,
)

needs_words = needs("unipen/words.npz", "words as pen strokes")
needs_numerics = needs("unipen/numerics.npz", "numbers as pen strokes")
needs_fsdd = needs("fsdd/fsdd.npz", "recordings of digits")
needs_taskar = needs("words/ocr_taskar.mat", "words of segmented letters")


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 27.8), (5, 10, 23.7, 76.3), (10, 10, 72.2, 100)],
)
def test_a_share_has_the_interval_of_wilson(
    count: int, total: int, low: float, high: float
) -> None:
    """Against the table of Newcombe 1998, method 3, by hand."""
    assert f"({low:.1f}% to {high:.1f}%) of {total}" in reading.share(count, total)


def test_learning_keeps_the_mean_of_weights() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    x = torch.randn(64, 2)
    y = x @ torch.tensor([[1.0], [-2.0]])

    def losses():
        while True:
            yield ((model(x) - y) ** 2).mean()

    before = next(losses()).item()
    reading.learn(model, losses(), 60, 0.1, average=0.8)
    assert next(losses()).item() < 0.05 * before and not model.training


# UNIPEN


@needs_words
def test_no_writer_of_words_is_in_two_parts() -> None:
    parts = unipen_words.parts(DATA / "unipen" / "words.npz")
    assert {name: len(items) for name, items in parts.items()} == {
        "train": 24478, "valid": 1349, "test": 4497,
    }  # fmt: skip
    samples, words = unipen_words.of_few_words(parts["test"])
    assert len(words) == 350 and {item.label for item in samples} == set(words)


def test_a_lexicon_has_all_words_that_are_needed(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("the 9\nAnd 8\nof 7\nand 6\nwater 5\n")
    frequent = unipen_words.frequent_words(tmp_path / "words.txt")
    assert frequent == ["the", "and", "water"]
    assert unipen_words.lexicon_of(3, ["zebra", "the"], frequent) == ["zebra", "the", "and"]


ALLOWED = [
    "7",
    "$2.50",
    "1,234",
    "$50,000.",
    "28,",
    "(203)803-3617",
    "803-3617",
    "(203)",
    "60%",
    "#19",
    "1/2",
    "10:00",
]
REFUSED = ["$", "12)", "1,23", "80-3617", "%6", "(20)", "1//2", "2-(3+4)", "238$"]


@pytest.mark.parametrize("text", ALLOWED + REFUSED)
def test_the_grammar_of_numerics_writes_each_in_one_way(text: str) -> None:
    acceptor = gtnet.linear(unipen_numerics.ALPHABET.labels_of(text))
    score = float(gtnet.forward_score(gtnet.compose(unipen_numerics.grammar(), acceptor)))
    assert score == (0.0 if text in ALLOWED else -float("inf"))


@needs_numerics
def test_test_writers_of_numerics_write_nothing_else() -> None:
    root = DATA / "unipen"
    real, test, testers, usual = unipen_numerics.numerics(root)
    assert (len(real), len(test), len(testers), len(usual)) == (1020, 186, 19, 237)
    composed = unipen_numerics.Composed(root, testers)
    assert not testers & set(composed.writers) and len(composed.writers) == 120
    rng = np.random.default_rng(0)
    language = unipen_numerics.grammar()
    for _ in range(20):
        strokes, text = composed.sample(rng)
        labels = unipen_numerics.ALPHABET.labels_of(text)
        assert gtnet.compose(language, gtnet.linear(labels)).num_states > 0
        assert len(track_of(strokes)) > 5 * len(text)


def test_usual_forms_of_numerics_cost_less() -> None:
    few = unipen_numerics.grammar(["7", "12", "$3", "803-3617"])
    acceptors = [gtnet.linear(unipen_numerics.ALPHABET.labels_of(t)) for t in ("45", "60%", "60%%")]
    scores = gtnet.forward_score(gtnet.compose(gtnet.stack(acceptors), few))
    assert scores[:2].exp().tolist() == pytest.approx([4 / 10, 1 / 10]) and scores[2] == -np.inf


def test_signs_are_cut_out_of_strings() -> None:
    """A hyphen between two digits: as high as a digit is the unit, its left end the origin."""
    strokes = [np.array([[x, 0.0], [x, 2.0]]) for x in (0, 3)]
    strokes.insert(1, np.array([[1.0, 1.0], [2.0, 1.0]]))
    track = track_through(strokes, PenConfig())
    pen = track.points[:, 2] > 0
    ends = np.flatnonzero(pen & ~np.append(pen[1:], False))
    composed = object.__new__(unipen_numerics.Composed)
    composed.signs = {}
    composed.take_signs([Parted(track, tuple("1-1"), "w", tuple(ends))])
    ((hyphen,),) = composed.signs["-"]
    assert np.allclose(hyphen[[0, -1]], [[0, 0.5], [0.5, 0.5]], atol=1e-5)


# Speech


def test_frames_are_labelled_where_digits_were_joined() -> None:
    string = spoken_strings.Joined(Recording(np.zeros(10), 8000), "27", [(0.0, 0.4), (0.5, 1.0)])
    labels = spoken_strings.frame_labels([string], torch.tensor([20]), 24, 10)
    expected = [10] + [2] * 6 + [10] * 4 + [7] * 7 + [10] * 2
    assert labels[0, :20].tolist() == expected
    assert (labels[0, 20:] == -100).all()


@needs_fsdd
def test_strings_are_of_one_speaker_and_repeat() -> None:
    speakers = spoken_strings.Speakers(DATA / "fsdd" / "fsdd.npz")
    assert len(speakers.names) == 5 and len(speakers.recordings) == 2500
    one, two = (speakers.strings(["lucas"], 3, range(5, 6), 7) for _ in "12")
    assert [s.text for s in one] == [s.text for s in two] and len(one[0].text) == 5
    assert np.array_equal(one[2].sound.samples, two[2].sound.samples)
    varied = speakers.strings(["lucas"], 3, range(5, 6), 7, vary=True)
    lengths = [len(s.sound.samples) / len(o.sound.samples) for s, o in zip(varied, one)]
    assert [len(s.text) for s in varied] == [5] * 3 and all(0.5 < x < 2 for x in lengths)
    for string in one:
        ends = [end for place in string.places for end in place]
        assert ends == sorted(ends) and ends[0] >= 0 and ends[-1] == pytest.approx(1)


# Taskar


def made_up_word(letters: list[int], seed: int) -> taskar_words.Word:
    rng = np.random.default_rng(seed)
    return rng.random((len(letters), 16, 8)).astype(np.float32), np.array(letters)


@pytest.mark.parametrize("context", [0, 8])
def test_the_loss_of_words_is_that_of_a_chain(context: int) -> None:
    """Against the sum over all words of two letters, by enumeration."""
    torch.manual_seed(0)
    model = taskar_words.Letters(context).eval()
    torch.nn.init.normal_(model.bigram)
    word = made_up_word([3, 17], 0)
    images, lengths = taskar_words.batch_of([word], 0.0)
    with torch.no_grad():
        scores = model(images, lengths)[0]
        starts, steps = model.bigram[0], model.bigram[1:]
        table = (scores[0] + starts)[:, None] + steps + scores[1]
        expected = table.flatten().logsumexp(0) - table[3, 17]
        every = gtnet.compose(gtnet.Emissions(scores[None], torch.tensor([2])), model.language())
        found = gtnet.losses.discriminative_forward(every, gtnet.linear([3, 17]))
    assert float(found) == pytest.approx(float(expected), abs=1e-4)
    best = divmod(int(table.argmax()), 26)
    assert taskar_words.right(model, [(word[0], np.array(best))]) == (2, 1)


@needs_taskar
def test_letters_of_taskar_stand_upright() -> None:
    train, test = taskar_words.words(DATA / "words" / "ocr_taskar.mat")
    assert (len(train), len(test), sum(len(y) for _, y in test)) == (626, 6251, 47535)
    images = np.concatenate([x[y == 11] for x, y in test])  # l: a column, not a row
    assert images.shape[1:] == (16, 8)
    assert images.mean(0).max(1).min() > images.mean(0).max(0).min()


# Several readers of checks


def test_readers_of_one_fold_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two untrained readers of a few images; readers of two folds are refused."""
    part = []
    for number in range(3):
        image = np.full((24, 40), 255, np.uint8)
        image[6:18, 8 : 12 + 4 * number] = 30
        part.append((image, "12"))
    parts = Splits(part, part, part, [], corrected=["12"] * 3)
    monkeypatch.setattr(combined, "parts_of_car_a", lambda config: parts)
    folders = []
    for number, end in enumerate(("segments", "segmental", "segmental")):
        config = ReaderConfig(grammar="digit_string", front_end=end)
        folders.append(tmp_path / str(number))
        save_reader(folders[-1], CheckReader(config))
        fold = DataConfig("car_a", test_fold=number // 2, valid=3)
        save_json(folders[-1] / "data.json", as_dict(fold))
        save_json(folders[-1] / "config.json", as_dict(TrainConfig(reader=config)))
    combined.main([str(folder) for folder in folders[:2]])
    printed = capsys.readouterr().out
    assert printed.count("read exactly") == 4 and printed.count("at 1% error") == 4
    with pytest.raises(SystemExit):
        combined.main([str(folder) for folder in folders[1:]])
    assert "must share their test fold" in capsys.readouterr().err
