"""Recognizers of any alphabet and language, over all front ends of images."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from slopes import assert_slope

import gtnet
from gtnet.reader import cli
from gtnet.reader.alphabet import AMOUNTS, Alphabet
from gtnet.reader.amounts import digit_string
from gtnet.reader.answers import Answer, answers_of, averaged, fitted_temperature, tempered
from gtnet.reader.augment import LOOKS, Look, distort_lines
from gtnet.reader.checkpoint import load_reader, save_reader
from gtnet.reader.combine import Combined
from gtnet.reader.data import load
from gtnet.reader.front_end import FrontEnd, SegmentsFrontEnd
from gtnet.reader.judge import compare
from gtnet.reader.languages import any_string, lexicon
from gtnet.reader.line import LineConfig
from gtnet.reader.observed import Observed
from gtnet.reader.prior import Prior
from gtnet.reader.reader import CheckReader, ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.runs import Run
from gtnet.reader.segmental import SegmentalConfig, SegmentalFrontEnd
from gtnet.reader.sliding import SlidingConfig, SlidingFrontEnd
from gtnet.reader.train import PhaseConfig, TrainConfig, Trainer, TrainingData

SMALL = SlidingConfig(LineConfig(height=16), channels=(4, 4, 6, 6, 8, 8), context=6, dropout=0.0)
WORDS = ["cab", "bad", "dead", "add", "abba"]
BLANK = np.full((40, 80), 255, np.uint8)
FRONT_ENDS = ["segments", "segmental", "sliding"]


def front_end(name: str, labels: int) -> FrontEnd:
    if name == "sliding":
        return SlidingFrontEnd(SMALL)
    if name == "segmental":
        return SegmentalFrontEnd(SegmentalConfig(SMALL.line, (4, 4, 6, 6), widest=6, hidden=6))
    return SegmentsFrontEnd(size=NetworkConfig((2, 4, 4), hidden=8, classes=labels))


def made(name: str, alphabet: str, grammar: object = None, seed: int = 0) -> Recognizer:
    torch.manual_seed(seed)
    return Recognizer(alphabet, grammar, front_end(name, len(alphabet) + 1)).eval()


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    data = load("digits", split="valid", size=4)
    return [data[i][0] for i in range(4)]


def evens_then_odds(alphabet: Alphabet) -> gtnet.Graph:
    """Even digits, then odd ones: a regular language, by the algebra."""
    even, odd = (
        gtnet.union(*[gtnet.linear(alphabet.labels_of(d)) for d in part])
        for part in ("02468", "13579")
    )
    return gtnet.concat(gtnet.closure(even), gtnet.closure(odd))


# Alphabets and languages


def test_an_alphabet_spells_both_ways() -> None:
    alphabet = Alphabet(["a", "b", "ch", "c", "h"])
    assert alphabet.labels_of("chach") == [2, 0, 2]
    assert alphabet.text_of([2, 0, 3, 5]) == "chac▨"
    assert (alphabet.nothing, alphabet.num_labels) == (5, 6)
    with pytest.raises(ValueError, match="'x' in 'ax'"):
        alphabet.labels_of("ax")
    with pytest.raises(ValueError, match="'a' is given more than once"):
        Alphabet("aba")
    with pytest.raises(ValueError, match="at least one"):
        Alphabet("")


@pytest.mark.parametrize("words", [WORDS, ["a", "ab", "abba", "abbacab", "b", "ba", "cab"]])
def test_a_lexicon_accepts_its_words_once(words: list[str]) -> None:
    """Words that begin other words among them."""
    alphabet = Alphabet("abcde")
    graph = lexicon([*words, "cab"], alphabet)
    paths = gtnet.enumerate_paths(graph)[0]
    found = [alphabet.text_of(labels) for labels in gtnet.label_sequences(paths)]
    assert sorted(found) == sorted(words)
    assert not graph.weights.any()
    assert Recognizer(alphabet, words).grammar.num_states > 0
    with pytest.raises(ValueError, match="'x' in 'axe'"):
        lexicon(["axe"], alphabet)
    with pytest.raises(ValueError, match="at least one word"):
        lexicon([], alphabet)


@pytest.mark.parametrize("shortest", [0, 1, 3])
def test_any_string_is_any_string(shortest: int) -> None:
    graph = any_string(Alphabet("ab"), shortest=shortest)
    for length in range(5):
        counted = gtnet.forward_score(gtnet.compose(graph, gtnet.linear([0] * length)))
        assert math.isfinite(counted.item()) == (length >= shortest)


def test_wrong_languages_are_named() -> None:
    with pytest.raises(TypeError, match="string 'cab'"):
        Recognizer("abc", "cab")
    with pytest.raises(ValueError, match="label 7, the alphabet has 3"):
        Recognizer("abc", gtnet.linear([7]))
    with pytest.raises(ValueError, match="batch of 2"):
        Recognizer("abc", gtnet.linear([[0], [1]]))
    with pytest.raises(ValueError, match="allows no string"):
        Recognizer("abc", gtnet.compose(gtnet.linear([0]), gtnet.linear([1])))
    with pytest.raises(ValueError, match="4 classes, the alphabet has 3 labels"):
        Recognizer("ab", None, SegmentsFrontEnd(size=NetworkConfig(classes=4)))


# Reading


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_only_words_of_the_lexicon_are_answers(name: str, images: list[np.ndarray]) -> None:
    reader = made(name, "abcde", WORDS)
    for answer in reader.read(images):
        assert answer.text in WORDS
        assert {text for text, _ in answer.alternatives} < set(WORDS)
        shares = [answer.confidence, *(share for _, share in answer.alternatives)]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1 + 1e-4


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_answers_lie_in_a_regular_language(name: str, images: list[np.ndarray]) -> None:
    reader = made(name, "0123456789", evens_then_odds(Alphabet("0123456789")))
    for answer in reader.read(images):
        assert answer.text is not None
        bare = answer.text.lstrip("02468")
        assert not set(bare) & set("02468")


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_neighbours_in_a_batch_change_nothing(name: str, images: list[np.ndarray]) -> None:
    """Lines of several widths, and one on which nothing is drawn."""
    reader = made(name, "abcde", WORDS)
    mixed = [images[0], BLANK, images[1][:, :40], images[2]]
    together, alone = reader.read(mixed), [reader.read([image])[0] for image in mixed]
    assert together[1].text is None and together[1].reason == "no reading: nothing drawn"
    for a, b in zip(together, alone, strict=True):
        assert a.text == b.text
        assert a.confidence == pytest.approx(b.confidence, abs=1e-5)
    assert reader.read([]) == []


@pytest.mark.parametrize("count", [1, 3, 5])
def test_as_many_candidates_as_asked_for(count: int, images: list[np.ndarray]) -> None:
    reader = made("sliding", "abcde", WORDS)
    reader.candidates = count
    (answer,) = reader.read(images[:1])
    assert 1 + len(answer.alternatives) == count


def test_an_answer_has_all_alignments_together() -> None:
    """Two frames: "a" by aa, a-, -a; its share is exact, as by enumeration."""
    scores = torch.tensor([[[1.0, 0.2, 0.5], [0.3, 0.7, 0.1]]]).log_softmax(2)
    graph = gtnet.compose(gtnet.ctc_topology(3, 2), any_string(Alphabet("ab")))
    (answer,) = answers_of(gtnet.Emissions(scores) @ graph, 4, Alphabet("ab").text_of)
    p = scores[0].exp()
    shares = {
        "a": p[0, 0] * p[1, 0] + p[0, 0] * p[1, 2] + p[0, 2] * p[1, 0],
        "b": p[0, 1] * p[1, 1] + p[0, 1] * p[1, 2] + p[0, 2] * p[1, 1],
        "ab": p[0, 0] * p[1, 1],
        "ba": p[0, 1] * p[1, 0],
    }
    total = sum(shares.values())
    found = {answer.amount: answer.confidence, **dict(answer.alternatives)}
    assert found.keys() == shares.keys()
    for text, share in shares.items():
        assert found[text] == pytest.approx(float(share / total), abs=1e-5)


# Learning


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_loss_is_minus_the_log_of_the_share(name: str, images: list[np.ndarray]) -> None:
    reader = made(name, "abcde", WORDS)
    seen = reader.observe(images)
    with torch.no_grad():
        losses = torch.stack([reader.loss(seen, [word] * len(seen)) for word in WORDS])
    assert torch.allclose(losses.neg().exp().sum(0), torch.ones(len(seen)), atol=1e-4)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_blank_image_has_no_path_and_sends_no_gradient(
    name: str, images: list[np.ndarray]
) -> None:
    reader = made(name, "abcde", WORDS)
    seen = reader.observe([images[0], BLANK, images[1]])
    loss = reader.loss(seen, ["cab", "bad", "add"])
    assert loss[1] == math.inf and torch.isfinite(loss[[0, 2]]).all()
    loss[torch.isfinite(loss)].sum().backward()
    for parameter in reader.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
    assert (reader.loss(seen[1:2], ["bad"]) == math.inf).all()
    with pytest.raises(ValueError, match="'cat'"):
        reader.loss(seen[:1], ["cat"])
    with pytest.raises(ValueError, match="'ba' is outside the grammar"):
        reader.loss(seen[1:2], ["ba"])
    with pytest.raises(ValueError, match="3 observations, 1 truths"):
        reader.loss(seen, ["bad"])


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_gradients_are_those_of_small_steps(name: str, images: list[np.ndarray]) -> None:
    """In float64, through network, graphs and loss, along a random direction."""
    reader = made(name, "abcde", WORDS).double()
    seen = reader.observe(images[:2])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # blank paper must not lie exactly on the bend of a rectifier
        for p in reader.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p), alpha=0.05)

    def loss() -> torch.Tensor:
        return reader.loss(seen, ["cab", "dead"]).sum()

    assert_slope(reader, loss, generator)


def test_a_recognizer_learns_words_from_words_alone(tmp_path: Path) -> None:
    """Two words drawn as one tall and one wide shape: read right after a few epochs."""

    class Shapes:
        grammar = "words"

        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
            image = np.full((24, 40 + index), 255, np.uint8)
            tall = index % 2 == 0
            image[4:20, 8 : 11 if tall else 30] = 20
            return image, "ab" if tall else "ba"

    torch.manual_seed(0)
    reader = Recognizer("ab", ["ab", "ba"], SlidingFrontEnd(SMALL))
    config = TrainConfig(
        whole=PhaseConfig(epochs=8, rate=2e-2, batch_size=8),
        average=0.5,
        prior=0.3,
        calibrate=True,
    )
    trainer = Trainer(config, TrainingData(Shapes(), Shapes()), tmp_path, reader=reader, quiet=True)
    trained = trainer.run()
    assert trainer.history[-1]["loss"] < 0.5 * trainer.history[0]["loss"]
    data = Shapes()
    answers = trained.read([data[i][0] for i in range(6)])
    assert [a.text for a in answers] == ["ab", "ba"] * 3
    again = load_reader(tmp_path)
    assert again.temperature == trained.temperature != 1
    texts = [data[i][1] for i in range(len(data))]
    assert again.prior == trained.prior == Prior.of(texts, reader.alphabet, 0.3)
    assert [a.text for a in again.read([data[0][0]])] == ["ab"]


def test_training_begins_with_a_trained_reader(images: list[np.ndarray], tmp_path: Path) -> None:
    class Words:
        grammar = "words"

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
            return images[index], WORDS[index]

    trained = made("sliding", "abcde", WORDS, seed=5)
    config = TrainConfig(
        isolated=PhaseConfig(epochs=1, rate=1e-3, batch_size=2, made_up=2),
        whole=PhaseConfig(epochs=1, rate=1e-3, batch_size=2),
    )
    data = TrainingData(Words(), strings=Words())

    def trainer(start: Recognizer | None) -> Trainer:
        reader = made("sliding", "abcde", WORDS, seed=6)
        return Trainer(config, data, tmp_path, reader=reader, start=start, quiet=True)

    assert [phase.name for phase in trainer(None).phases] == ["strings", "whole"]
    continued = trainer(trained)
    assert [phase.name for phase in continued.phases] == ["whole"]
    assert continued.run(epochs=0).read(images) == trained.read(images)
    with pytest.raises(ValueError, match="reader of another kind"):
        trainer(made("segments", "abcde", WORDS))


# Files and commands


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_recognizer_survives_saving(name: str, images: list[np.ndarray], tmp_path: Path) -> None:
    reader = made(name, "abcde", gtnet.compose(any_string(Alphabet("abcde")), gtnet.linear([0, 1])))
    reader.candidates, reader.temperature, reader.unsure = 3, 1.5, 0.4
    save_reader(tmp_path, reader)
    again = load_reader(tmp_path)
    assert type(again) is Recognizer and again.unsure == 0.4
    assert again.read(images) == reader.read(images)
    assert again.alphabet == reader.alphabet


def test_a_preset_survives_saving(images: list[np.ndarray], tmp_path: Path) -> None:
    config = ReaderConfig(
        grammar="digit_string", front_end="sliding", sliding=SMALL, temperature=2.0
    )
    reader = CheckReader(config).eval()
    save_reader(tmp_path, reader)
    again = load_reader(tmp_path)
    assert isinstance(again, CheckReader) and again.config == config
    assert again.read(images) == reader.read(images)
    with pytest.raises(ValueError, match="front end 'eyes'"):
        CheckReader(ReaderConfig(front_end="eyes"))


class Mirrored(SlidingFrontEnd):
    """A front end of somebody's own: it reads from right to left."""

    name = "mirrored"

    def observe(self, image: np.ndarray):
        return super().observe(np.ascontiguousarray(image[:, ::-1]))


def test_a_front_end_of_ones_own(images: list[np.ndarray], tmp_path: Path) -> None:
    reader = Recognizer("abcde", WORDS, Mirrored(SMALL)).eval()
    save_reader(tmp_path, reader)
    with pytest.raises(ValueError, match=r"front end 'mirrored'.*front_end="):
        load_reader(tmp_path)
    again = load_reader(tmp_path, front_end=Mirrored(SMALL))
    assert again.read(images) == reader.read(images)


def test_a_twin_learns_alone(images: list[np.ndarray]) -> None:
    reader = made("sliding", "abcde", WORDS)
    twin = reader.twin()
    before = reader.read(images)
    assert twin.read(images) == before
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert reader.read(images) == before != twin.read(images)


def own_folder(root: Path, words: list[str]) -> Path:
    rng = np.random.default_rng(0)
    rows = ["file\ttext"]
    for number, word in enumerate(words):
        image = np.full((24, 30 + 4 * len(word)), 255, np.uint8)
        for place in range(len(word)):
            image[6:20, 6 + 6 * place : 8 + 6 * place] = rng.integers(0, 60)
        Image.fromarray(image).save(root / f"{number}.png")
        rows.append(f"{number}.png\t{word}")
    (root / "labels.tsv").write_text("\n".join(rows) + "\n")
    (root / "words.txt").write_text("\n".join(sorted(set(words))) + "\n")
    return root


def test_train_and_read_words_of_a_lexicon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gtnet.reader import runs

    small = replace(runs.SLIDING["folder"], reader=replace(_sliding_config(), sliding=SMALL))
    monkeypatch.setitem(runs.SLIDING, "folder", small)
    root, out = own_folder(tmp_path, WORDS * 3), tmp_path / "out"
    command = ["train", "--data", "folder", "--root", str(root), "--front-end", "sliding"]
    command += ["--lexicon", str(root / "words.txt"), "--epochs", "1", "--out", str(out)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "global training" in printed and "made-up strings" not in printed
    assert json.loads((out / "results.json").read_text())["amounts"] == 1
    assert (out / "report.html").is_file()
    picture = tmp_path / "graph.dot"
    read = ["read", str(root / "0.png"), "--model", str(out), "--draw", str(picture)]
    assert cli.main(read) == 0
    printed = capsys.readouterr().out
    assert any(word in printed for word in WORDS)
    assert picture.stat().st_size > 0
    assert cli.main(["draw", str(root / "0.png"), "--model", str(out), "--graph", "segmentation"])
    assert "frames, not at segments" in capsys.readouterr().err


def _sliding_config() -> ReaderConfig:
    return ReaderConfig(front_end="sliding", network=NetworkConfig((2, 4, 4), hidden=8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lexicon": "nowhere.txt"}, r"cannot read the lexicon .*nowhere.txt"),
        ({"data": "digits", "alphabet": "abc"}, "of your own folder; digits has its own"),
        ({"front_end": "eyes"}, "front end 'eyes' is not one of segments, segmental, sliding"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], message: str, tmp_path: Path) -> None:
    own_folder(tmp_path, WORDS * 3)
    given = {"data": "folder", "root": str(tmp_path), **options}
    with pytest.raises(ValueError, match=message):
        Run.start(tmp_path / "out", **given).train(quiet=True)


# Confidence


def test_several_answers_are_averaged() -> None:
    one = Answer("a", 0.6, (("b", 0.3), ("c", 0.05)))
    other = Answer("b", 0.8, (("a", 0.1),))
    mean = averaged([one, other], 2)
    assert (mean.amount, [t for t, _ in mean.alternatives]) == ("b", ["a"])
    assert (mean.confidence, mean.alternatives[0][1]) == pytest.approx((0.55, 0.35))
    none = Answer(None, reason="nothing")
    assert averaged([none, one], 5).confidence == pytest.approx(0.3)
    assert averaged([none, none], 5) is none


def test_an_unsure_reader_looks_again(images: list[np.ndarray]) -> None:
    """The mean over all looks where the first is unsure, whatever stands beside in the batch."""
    reader = made("sliding", "abcde", WORDS)
    seen = reader.observe(images)
    with torch.no_grad():
        looks = [
            reader.answers(reader.interpretation(reader.recognition(seen, look)))
            for look in (None, *reader.front_end.looks)
        ]
    first = [answer.confidence for answer in looks[0]]
    reader.unsure = sorted(first)[1]
    for i, answer in enumerate(reader.read_observations(seen)):
        expected = looks[0][i]
        if first[i] < reader.unsure:
            expected = averaged([look[i] for look in looks], reader.candidates)
            assert expected.confidence != pytest.approx(first[i], abs=1e-4)
        assert answer.amount == expected.amount
        assert answer.confidence == pytest.approx(expected.confidence, abs=1e-4)
        (alone,) = reader.read_observations(seen[i : i + 1])
        assert alone.amount == answer.amount
        assert alone.confidence == pytest.approx(answer.confidence, abs=1e-4)
    reader.unsure = 0.0
    assert [a.confidence for a in reader.read_observations(seen)] == pytest.approx(first, abs=1e-4)


def test_shares_of_an_unsure_reader_are_those_of_its_looks(images: list[np.ndarray]) -> None:
    reader = made("sliding", "abcde", WORDS)
    reader.candidates, reader.unsure = len(WORDS), 0.999
    seen = reader.observe([*images, BLANK])
    answers = reader.read_observations(seen)
    logs = reader.log_shares(seen, [WORDS] * 4 + [[]], looks=True)
    once = reader.log_shares(seen, [WORDS] * 4 + [[]])
    assert logs[4] == []
    for answer, own, first in zip(answers[:4], logs, once):
        shares = dict([(answer.text, answer.confidence), *answer.alternatives])
        found = {text: math.exp(log) for text, log in zip(WORDS, own, strict=True)}
        assert sum(found.values()) == pytest.approx(1, abs=1e-4)
        assert own != pytest.approx(first, abs=1e-4)
        ranked = sorted(shares, key=lambda text: -shares[text])
        assert ranked == sorted(shares, key=lambda text: -found[text])
    (alone,) = Combined([reader], (1.0,)).read(images[:1])
    assert alone.text == answers[0].text


def test_a_look_moves_ink_and_keeps_it() -> None:
    lines = torch.zeros(2, 1, 16, 64)
    lines[:, :, 4:12, 20:24] = 1
    widths = torch.tensor([64, 40])
    same, new = Look()(lines, widths)
    assert torch.equal(new, torch.tensor([68, 44]))
    assert torch.allclose(same.sum(), lines.sum(), rtol=0.1)
    wide, new = Look(stretch=2.0)(lines, widths)
    assert torch.equal(new, torch.tensor([132, 84]))
    assert torch.allclose(wide.sum(), 2 * lines.sum(), rtol=0.1)
    thick, _ = Look(pen=1.0)(lines, widths)
    thin, _ = Look(pen=-1.0)(lines, widths)
    assert thin.sum() < same.sum() < thick.sum()
    slanted, _ = Look(slant=0.5)(lines, widths)
    columns = slanted[0, 0].argmax(1)
    assert columns[4] != columns[11]
    assert {(x.stretch > 1, x.slant > 0, x.size > 1, x.pen > 0) for x in LOOKS} == {
        (False, True, False, True), (True, False, False, False),
        (True, True, True, True), (False, False, True, False),
    }  # fmt: skip


def test_temperature_flattens_and_sharpens() -> None:
    shares = [0.6, 0.2, 0.1]
    assert tempered(shares, 1.0) == shares
    flat, sharp = tempered(shares, 4.0), tempered(shares, 0.5)
    assert flat[0] < 0.6 < sharp[0]
    assert sum(flat) <= 1 + 1e-9 and sum(sharp) <= 1 + 1e-9
    assert tempered([0.0], 2.0) == [0.0] or sum(tempered([0.0], 2.0)) <= 1


def test_a_fitted_temperature_tells_the_truth() -> None:
    """Answers that claim 0.99 and are right in 3 of 4 cases are flattened to about 3 in 4."""
    answers = [Answer("a", 0.99, (("b", 0.01),))] * 4
    temperature = fitted_temperature(answers, ["a", "a", "a", "b"])
    assert tempered([0.99, 0.01], temperature)[0] == pytest.approx(0.75, abs=0.03)
    assert fitted_temperature([Answer(None)], ["a"]) == 1.0
    with pytest.raises(ValueError, match="4 answers, 1 truths"):
        fitted_temperature(answers, ["a"])


def test_wrong_labels_are_judged_both_ways(images: list[np.ndarray]) -> None:
    """Two readers without skill: what they answer is the truth by the corrected labels."""
    reader = made("sliding", "abcde", WORDS)
    answers = [answer.text for answer in reader.read(images)]

    class Labelled:
        grammar = "words"

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
            return images[index], "no word" if index == 0 else str(answers[index])

    test = Observed(Labelled(), reader.front_end.observe)
    found = compare(None, reader, test, None, corrected=[str(text) for text in answers])
    assert found.scores[1].accuracy == 3 / 4
    assert found.corrected is not None and found.corrected[1].accuracy == 1
    assert found.as_dict()["with corrected labels"]["global training"]["accuracy"] == 1
    assert "by corrected labels" in found.table()
    both = compare(reader, reader, test, None)
    assert both.reduction == 0 and both.corrected is None
    assert "made-up strings" in both.table() and "corrected" not in both.table()


# Several readers


def two_readers() -> list[Recognizer]:
    return [made("sliding", "abcde", WORDS, seed=1), made("segments", "abcde", WORDS, seed=2)]


def test_combined_shares_are_products_of_shares(images: list[np.ndarray]) -> None:
    """With all words as candidates nothing is left, and the product can be written down."""
    readers = two_readers()
    mixed = [*images[:2], BLANK]
    answers = Combined(readers, (0.7, 0.4)).read(mixed)
    logs = [r.log_shares(r.observe(mixed), [WORDS] * 3) for r in readers]
    assert all(share == -math.inf for table in logs for share in table[2])
    for item in range(2):
        product = 0.7 * torch.tensor(logs[0][item]) + 0.4 * torch.tensor(logs[1][item])
        expected = product.softmax(0)
        best = int(expected.argmax())
        assert answers[item].amount == WORDS[best]
        # What is no candidate has a share of e^-30 at least, and rounding errors of the readers.
        assert answers[item].confidence == pytest.approx(float(expected[best]), abs=0.05)
    assert answers[2].amount is None
    alone = Combined(readers[:1]).read(images)
    assert [a.amount for a in alone] == [a.amount for a in readers[0].read(images)]


def test_fitted_weights_trust_the_better_reader(images: list[np.ndarray]) -> None:
    readers = two_readers()
    truth = [str(answer.amount) for answer in readers[0].read(images)]
    start = Combined(readers)
    fitted = start.fitted(images, truth, steps=60)
    assert fitted.weights[0] > start.weights[0] == 0.5
    assert [a.amount for a in Combined(readers, (1.0, 0.01)).read(images)] == truth
    with pytest.raises(ValueError, match="4 inputs, 1 truths"):
        start.fitted(images, truth[:1])
    with pytest.raises(ValueError, match="2 readers, 1 weights"):
        Combined(readers, (1.0,))
    with pytest.raises(ValueError, match="at least one"):
        Combined([])


# Lines


def test_distorted_lines_are_lines() -> None:
    lines, widths = torch.zeros(3, 1, 16, 64), torch.tensor([64, 40, 8])
    lines[:, :, 4:12, 2:6] = 1.0
    torch.manual_seed(0)
    changed, new = distort_lines(lines, widths, 1.0)
    assert changed.shape[:3] == lines.shape[:3] and changed.shape[3] >= int(new.max())
    assert (new % 4 == 0).all() and (new > 0).all()
    assert changed.min() >= 0 and changed.max() <= 1
    assert not torch.equal(*(distort_lines(lines, widths, 1.0)[0][:, :, :, :8] for _ in "12"))


def test_the_grammar_of_the_preset_is_what_it_was() -> None:
    """Rubbish is skipped by the front end's characters, as the grammar used to do itself."""
    reader = CheckReader(ReaderConfig(grammar="digit_string", rubbish=-0.5))
    assert gtnet.randomly_equivalent(reader.grammar, digit_string(rubbish=-0.5))
    assert reader.alphabet == AMOUNTS
