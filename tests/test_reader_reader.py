from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

import gtnet
from gtnet.reader.alphabet import NUM_CLASSES, RUBBISH
from gtnet.reader.amounts import labels_of
from gtnet.reader.data import load
from gtnet.reader.reader import CheckReader, ReaderConfig, rejection_threshold
from gtnet.reader.recognize import recognition_graph

BLANK = np.full((40, 80), 255, np.uint8)


@pytest.fixture(scope="module")
def items() -> list[tuple[np.ndarray, str]]:
    data = load("digits", split="valid", size=6)
    return [data[i] for i in range(len(data))]


@pytest.fixture(scope="module")
def reader() -> CheckReader:
    torch.manual_seed(0)
    return CheckReader().eval()


def two_pieces(scores: dict[tuple[int, int], dict[str, float]]) -> gtnet.Graph:
    """A recognition graph over the cuts 0, 1, 2 with the given scores; other classes are worse."""
    arcs = sorted(scores)
    rows = torch.full((len(arcs), NUM_CLASSES), -20.0)
    for row, arc in zip(rows, arcs, strict=True):
        for character, score in scores[arc].items():
            row[labels_of(character)[0]] = score
    segments = gtnet.Graph(
        [a for a, _ in arcs], [b for _, b in arcs], range(len(arcs)), start=0, accept=2
    )
    return gtnet.Emissions(rows, graph=segments).graph()


def test_the_answer_shares_out_all_interpretations(reader: CheckReader) -> None:
    """One segment "7" against two segments "1", "2", scored so that shares are known."""
    recognition = two_pieces({(0, 1): {"1": 1.0}, (1, 2): {"2": 0.0}, (0, 2): {"7": 2.0}})
    graph = gtnet.compose(recognition, reader.grammar)
    (answer,) = reader.answers(graph)
    assert answer.amount == "7.00"
    assert answer.confidence == pytest.approx(math.e / (math.e + 1), abs=1e-4)
    assert answer.alternatives[0][0] == "12.00"
    assert answer.alternatives[0][1] == pytest.approx(1 / (math.e + 1), abs=1e-4)


def test_writings_of_one_amount_count_together(reader: CheckReader) -> None:
    """ "7-" and "7*" are both 7.00 and together outweigh the single best path to 71.00."""
    recognition = two_pieces({(0, 1): {"7": 0.0}, (1, 2): {"-": 1.0, "*": 1.0, "1": 1.2}})
    (answer,) = reader.answers(gtnet.compose(recognition, reader.grammar))
    assert answer.amount == "7.00"
    assert answer.confidence == pytest.approx(2 * math.e / (2 * math.e + math.exp(1.2)), abs=1e-4)


def test_no_legal_interpretation_is_no_reading(reader: CheckReader) -> None:
    recognition = two_pieces({(0, 1): {"/": 1.0}, (1, 2): {"/": 1.0}})
    graph = gtnet.compose(recognition, gtnet.compose(gtnet.linear([RUBBISH]), reader.grammar))
    (answer,) = reader.answers(graph)
    assert (answer.amount, answer.confidence) == (None, 0.0)
    assert "no reading" in answer.reason


def test_an_image_with_nothing_on_it_is_no_reading(
    reader: CheckReader, items: list[tuple[np.ndarray, str]]
) -> None:
    blank, drawn = reader.read([BLANK, items[0][0]])
    assert blank.amount is None
    assert blank.reason == "no reading: nothing drawn"
    assert re.fullmatch(r"[\d,]+\.\d\d", drawn.amount) and drawn.reason == ""
    assert reader.read([]) == []


def test_confidences_are_shares(reader: CheckReader, items: list[tuple[np.ndarray, str]]) -> None:
    for answer in reader.read([image for image, _ in items]):
        shares = [answer.confidence, *(share for _, share in answer.alternatives)]
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] >= 0 and sum(shares) <= 1 + 1e-4


def test_batches_do_not_change_answers(
    reader: CheckReader, items: list[tuple[np.ndarray, str]]
) -> None:
    images = [image for image, _ in items]
    together, alone = reader.read(images), reader.read(images, batch_size=1)
    assert [a.amount for a in together] == [a.amount for a in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.confidence == pytest.approx(b.confidence, abs=1e-4)


def test_the_loss_is_the_negative_log_probability_of_the_truth(
    reader: CheckReader, items: list[tuple[np.ndarray, str]]
) -> None:
    cuts = reader.segment([image for image, _ in items])
    truth = [amount for _, amount in items]
    with torch.no_grad():
        loss = reader.loss(cuts, truth)
        interpretation = reader.interpretation(reader.recognition(cuts))
        acceptor = gtnet.linear([labels_of(amount) for amount in truth])
        right = gtnet.forward_score(gtnet.compose(interpretation, acceptor))
    expected = gtnet.forward_score(interpretation) - right
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    assert (loss > 0).all()


def test_the_loss_reaches_every_weight(items: list[tuple[np.ndarray, str]]) -> None:
    reader = CheckReader()
    loss = reader.loss(reader.segment([image for image, _ in items]), [a for _, a in items])
    loss.mean().backward()
    for name, parameter in reader.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_an_impossible_truth_gives_infinity_and_no_nan(items: list[tuple[np.ndarray, str]]) -> None:
    reader = CheckReader()
    cuts = reader.segment([items[0][0], items[1][0]])
    loss = reader.loss(cuts, [items[0][1], "1" * 60 + ".00"])
    assert torch.isfinite(loss[0]) and loss[1] == math.inf
    loss[torch.isfinite(loss)].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in reader.parameters() if p.grad is not None)


def test_a_truth_outside_the_grammar_is_named(
    reader: CheckReader, items: list[tuple[np.ndarray, str]]
) -> None:
    with pytest.raises(ValueError, match=r"'12\.5'"):
        reader.loss(reader.segment([items[0][0]]), ["12.5"])


def test_wrong_arguments_are_named(reader: CheckReader) -> None:
    with pytest.raises(ValueError, match="'words'"):
        CheckReader(ReaderConfig(grammar="words"))
    with pytest.raises(ValueError, match=r"3 rows.*0 segments"):
        recognition_graph(torch.zeros(3, NUM_CLASSES), reader.segment([BLANK]))
    with pytest.raises(TypeError, match="uint8"):
        reader.read([np.zeros((4, 4))])


def test_rejection_threshold_keeps_the_error_rate() -> None:
    confidences = [0.9, 0.8, 0.7, 0.6, 0.5]
    correct = [True, True, False, True, True]
    assert rejection_threshold(confidences, correct, 0.0) == (0.8, 0.4)
    assert rejection_threshold(confidences, correct, 0.2) == (0.5, 1.0)
    assert rejection_threshold([0.9], [False], 0.01) == (math.inf, 0.0)
    assert rejection_threshold([], [], 0.01) == (math.inf, 0.0)


def test_tied_confidences_are_accepted_together() -> None:
    assert rejection_threshold([0.9, 0.9, 0.1], [True, False, True], 0.0) == (math.inf, 0.0)


def test_rejection_threshold_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="2 confidences, 1 correct"):
        rejection_threshold([0.1, 0.2], [True], 0.01)
    with pytest.raises(ValueError, match="error_rate"):
        rejection_threshold([0.1], [True], 1.5)
