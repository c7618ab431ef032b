"""The segmental front end: all segmentations of a line, scored by what lies between two cuts."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gtnet
from gtnet.reader import cli, report
from gtnet.reader.line import Line, LineConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.segmental import SegmentalConfig, SegmentalFrontEnd, _means
from gtnet.reader.train import PhaseConfig, TrainConfig, Trainer, TrainingData

SMALL = SegmentalConfig(
    LineConfig(height=8, margin=0), (2, 3, 3, 4), widest=3, parts=2, hidden=4, dropout=0.0
)


def made(alphabet: str = "ab", grammar: object = None, **changed: int) -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(alphabet, grammar, SegmentalFrontEnd(replace(SMALL, **changed))).eval()


def lines(*widths: int) -> list[Line]:
    rng = np.random.default_rng(0)
    return [
        Line(rng.integers(0, 255, (8, width), dtype=np.uint8), (0, 0, width, 8), 0)
        for width in widths
    ]


def segmentations(frames: int, widest: int):
    """All ways to cut so many frames into segments (begin, end), by choosing cuts."""
    for count in range(frames):
        for cuts in itertools.combinations(range(1, frames), count):
            found = list(itertools.pairwise((0, *cuts, frames)))
            if all(b - a <= widest for a, b in found):
                yield found


# Segmentations


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_pooled_means_are_means(parts: int) -> None:
    """With every frame repeated once for each part, a part of any segment is whole frames."""
    torch.manual_seed(0)
    frames = torch.randn(2, 6, parts, 3, dtype=torch.float64)
    fine = frames.repeat_interleave(parts, dim=1)
    found = [(i, a, b) for i in range(2) for a in range(6) for b in range(a + 1, 7)]
    item, first, last = torch.tensor(found).T
    pooled = _means(frames, item * 7, first, last - first)
    for row, (i, a, b) in zip(pooled, found, strict=True):
        width = b - a
        expected = sum(
            fine[i, a * parts + k * width : a * parts + (k + 1) * width, k].mean(0)
            for k in range(parts)
        )
        assert torch.allclose(row, expected)


def test_only_single_frames_are_nothing() -> None:
    reader = made()
    emissions = reader.recognition(lines(12, 8))
    graph = emissions.segmentation
    wide = graph.target - graph.source > 1
    assert len(emissions.scores) == len(wide) and 0 < int(wide.sum()) < len(wide)
    nothing = reader.alphabet.nothing
    assert (emissions.scores[wide, nothing] == -math.inf).all()
    rest = torch.isfinite(emissions.scores)
    assert rest[~wide].all() and rest[:, :nothing].all()


# Sums over all segmentations


def enumerated(reader: Recognizer, emissions: gtnet.Emissions, item: int) -> dict[str, float]:
    """The sum over all ways to cut one item and to label its segments, of each text."""
    graph = emissions.segmentation[item]
    first = int(emissions.segmentation.arc_offsets[item])
    row = {
        (a, b): emissions.scores[first + k].tolist()
        for k, (a, b) in enumerate(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
    }
    sums: dict[str, float] = {}
    names = [*reader.alphabet, ""]
    for cut in segmentations(graph.num_states - 1, reader.front_end.config.widest):
        for labels in itertools.product(range(len(names)), repeat=len(cut)):
            score = sum(row[span][label] for span, label in zip(cut, labels, strict=True))
            text = "".join(names[label] for label in labels)
            sums[text] = sums.get(text, 0.0) + math.exp(score)
    return sums


def log(share: float) -> float:
    return math.log(share) if share else -math.inf


def test_scores_are_sums_over_segmentations() -> None:
    """Loss, shares and the forward score of a batch, against enumeration in float64."""
    reader = made("ab", ["ab", "b", "aab", "bba"]).double()
    reader.unsure = 0.0
    seen = lines(8, 4, 12)
    with torch.no_grad():
        emissions = reader.recognition(seen)
        total = gtnet.forward_score(reader.interpretation(emissions))
        texts = ["aab", "b", "ab"]
        loss = reader.loss(seen, texts)
        shares = reader.log_shares(seen, [["ab", "bba"]] * 3)
    answers = reader.read_observations(seen)
    for item in range(3):
        sums = enumerated(reader, emissions, item)
        allowed = {text: sums.get(text, 0.0) for text in ("ab", "b", "aab", "bba")}
        whole = sum(allowed.values())
        assert float(total[item]) == pytest.approx(math.log(whole))
        assert float(loss[item]) == pytest.approx(-log(allowed[texts[item]] / whole))
        expected = [log(allowed[text] / whole) for text in ("ab", "bba")]
        assert shares[item] == pytest.approx(expected)
        assert answers[item].amount == max(allowed, key=lambda text: allowed[text])


def test_an_answer_of_one_look_has_its_share() -> None:
    reader = made("ab", ["ab", "b", "aab"]).double()
    reader.unsure, seen = 0.0, lines(8, 12)
    emissions = reader.recognition(seen)
    for item, answer in enumerate(reader.read_observations(seen)):
        sums = enumerated(reader, emissions, item)
        allowed = {text: sums[text] for text in ("ab", "b", "aab")}
        found = {str(answer.amount): answer.confidence, **dict(answer.alternatives)}
        for text, share in found.items():
            assert share == pytest.approx(allowed[text] / sum(allowed.values()), rel=1e-3)


def test_equal_neighbours_need_nothing_between_them() -> None:
    """Two frames can read "aa", which runs of frames with blanks cannot."""
    reader = made("a")
    (total,) = reader.log_shares(lines(4), [["aa"]])[0]
    assert math.isfinite(total)


@pytest.mark.parametrize("parts", [1, 3])
def test_gradients_of_the_loss(parts: int) -> None:
    """Of the ink of a batch, by differences in float64: through pooling, graphs and the loss."""
    reader = made("ab", ["ab", "bba", "a"], parts=parts, widest=4).double()
    network, widths = reader.network, torch.tensor([8, 6])
    truth = gtnet.linear([[0, 1], [0]], dtype=torch.float64)

    def loss(ink: torch.Tensor) -> torch.Tensor:
        scores, graph = network(ink, widths)
        lattice = reader.interpretation(gtnet.Emissions(scores, graph=graph))
        return gtnet.losses.discriminative_forward(lattice, truth)

    torch.manual_seed(1)
    ink = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (ink,))
    beyond = torch.autograd.grad(loss(ink)[1], ink)[0][1]
    assert beyond[0, :, :6].abs().sum() > 0


@pytest.mark.parametrize("name", ["widest", "parts", "hidden"])
def test_wrong_sizes_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        made(**{name: 0})


# Learning where to cut, and what it looks like


class Bars:
    """Bars side by side: narrow ones are 1, wide ones 0; the gaps tell nothing of their number."""

    grammar = "words"

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        rng = np.random.default_rng(index)
        text = "".join(rng.choice(["0", "1"], int(rng.integers(1, 4))))
        image = np.full((24, 72), 255, np.uint8)
        at = 6 + index % 3
        for character in text:
            wide = 14 if character == "0" else 4
            image[3:21, at : at + wide] = 20
            at += wide + 6
        return image, text

    def edges(self, index: int) -> list[int]:
        """Columns where ink begins or ends."""
        ink = (self[index][0][12] < 128).astype(int)
        return np.flatnonzero(np.diff(ink)).tolist()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recognizer, Path]:
    torch.manual_seed(0)
    size = SegmentalConfig(LineConfig(height=16), (4, 6, 8, 8), 12, parts=3, hidden=12, dropout=0.0)
    reader = Recognizer("01", None, SegmentalFrontEnd(size))
    reader.unsure = 0.0
    config = TrainConfig(whole=PhaseConfig(epochs=40, rate=3e-2, batch_size=8), average=0.8)
    out = tmp_path_factory.mktemp("bars")
    trainer = Trainer(config, TrainingData(Bars()), out, reader=reader, quiet=True)
    return trainer.run(), out


def test_it_learns_to_read_and_to_cut_from_strings_alone(trained: tuple[Recognizer, Path]) -> None:
    """It cuts between two bars, which nobody told it, and seldom within one."""
    reader, _ = trained
    data = Bars()
    images, texts = zip(*(data[i] for i in range(len(data))), strict=True)
    answers = [answer.text for answer in reader.read(images)]
    assert sum(a == t for a, t in zip(answers, texts, strict=True)) >= 22
    apart, within = [], []
    for index, image in enumerate(images):
        (seen,) = reader.observe([image])
        cuts = report.cuts_of(reader, seen)
        assert cuts.shape == (len(cuts), 2, 2)
        edges, x = data.edges(index), cuts[:, 0, 0]
        gaps = zip(edges[1:-1:2], edges[2:-1:2], strict=True)
        apart += [bool(((x >= a - 2) & (x <= b + 2)).any()) for a, b in gaps]
        middles = [(a + b) / 2 for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 9]
        within += [bool((np.abs(x - middle) < 3).any()) for middle in middles]
    assert np.mean(apart) > 0.8 and np.mean(within) < 0.2


def test_its_graphs_are_drawn(trained: tuple[Recognizer, Path], tmp_path: Path) -> None:
    reader, out = trained
    image, _ = Bars()[1]
    (seen,) = reader.observe([image])
    graph, pictures = report.look_at_segments(reader, image, seen)
    assert 0 < graph.num_arcs == len(pictures) < reader.recognition([seen]).segmentation.num_arcs
    assert math.isfinite(float(gtnet.viterbi_score(graph)))
    sure, _ = report.look_at_segments(reader, image, seen, least=1.1)
    assert len(gtnet.enumerate_paths(sure)[0]) == 1
    wide = (graph.target - graph.source).argmax()
    assert pictures[int(wide)].shape[0] > 12 and pictures[int(wide)].shape[1] > 4
    view = report.look(reader, image, seen)
    assert view.answer == reader.read([image])[0].text
    assert len(view.recognition_images) == view.recognition.num_arcs
    reading = view.interpretation.ilabels.numpy() >= 0
    assert {arc for arc, reads in enumerate(reading) if reads} == set(view.interpretation_images)
    Image.fromarray(image).save(tmp_path / "bars.png")
    for kind in ("segmentation", "recognition", "interpretation"):
        picture = tmp_path / f"{kind}.dot"
        command = ["draw", str(tmp_path / "bars.png"), "--model", str(out), "--graph", kind]
        assert cli.main([*command, "--out", str(picture)]) == 0
        assert picture.stat().st_size > 100
