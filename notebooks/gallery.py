"""Makes the pictures of the README and the guide: python notebooks/gallery.py, half a minute."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import gtnet
from gtnet.reader import TrainConfig, Trainer, TrainingData, amounts, load
from gtnet.reader.film import Film
from gtnet.reader.report import look
from gtnet.reader.train import PhaseConfig

FOLDER = Path(__file__).parent / "pictures"
LETTERS, WORDS = "acdeoptux", ["cat", "cap", "cut"]


def words() -> None:
    """The classic example of composition, and what a loss does to its result."""
    lexicon = gtnet.trie([[LETTERS.index(letter) for letter in word] for word in WORDS])
    scores = {"c": 0.4, "x": 0.1, "o": 1.0, "a": 0.2, "u": 0.8, "d": 1.8, "p": 0.2, "t": 0.8}
    recognition = gtnet.Graph(
        [0, 0, 1, 1, 1, 2, 2, 2],
        [1, 1, 2, 2, 2, 3, 3, 3],
        [LETTERS.index(letter) for letter in scores],
        weights=-torch.tensor(list(scores.values())),
        accept=3,
    )
    names = ("recognition graph", "lexicon", "recognition @ lexicon: interpretation graph")
    symbols = {"isymbols": LETTERS, "osymbols": WORDS}
    path = FOLDER / "composition.svg"
    gtnet.draw_composition(recognition, lexicon, path, show="energy", names=names, **symbols)
    truth = gtnet.linear([WORDS.index("cut")])
    gtnet.draw_gradient(
        recognition @ lexicon,
        lambda graph: gtnet.losses.nll(graph, truth),
        FOLDER / "gradient.svg",
        title="The truth is cut: what the loss does",
        **symbols,
    )


def alignment() -> None:
    """CTC, after a few steps on one word."""
    torch.manual_seed(0)
    letters = "_abeghlopr"
    target = gtnet.ctc_graph([[letters.index(letter) for letter in "graph"]])
    scores = torch.randn(1, 28, len(letters), requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.2)
    for _ in range(25):
        optimizer.zero_grad()
        said = gtnet.Emissions(scores.log_softmax(-1))
        (-gtnet.forward_score(said @ target)).sum().backward()
        optimizer.step()
    lattice = gtnet.Emissions(scores.detach()) @ target
    path = FOLDER / "alignment.svg"
    gtnet.draw_alignment(lattice, path, isymbols=letters, osymbols=letters)


def reader() -> None:
    """An amount as a reader in training sees it, and as it learns to read it."""
    torch.set_num_threads(1)
    train, (image, _) = load("digits", split="train", size=300), load("digits", split="test")[9]
    config = TrainConfig(
        isolated=PhaseConfig(epochs=3, rate=4e-3, batch_size=64, jitter=0.3),
        whole=PhaseConfig(epochs=6, rate=2e-3, batch_size=16, jitter=0.3),
        characters=1500,
    )
    data = TrainingData(train, characters=[train.characters(config.characters)])
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, data, folder, quiet=True)
        trainer.film = Film(image, config.reader.segment)
        young = trainer.run(epochs=4)
        view = look(young, image, trainer.film.segmentation)
        gtnet.draw(
            view.interpretation,
            FOLDER / "interpretation.svg",
            isymbols=amounts.SYMBOLS,
            osymbols=amounts.SYMBOLS,
            images=view.interpretation_images,
            digits=1,
            highlight="best",
            posteriors=True,
            min_posterior=0.02,
            max_labels=3,
        )
        trained = trainer.run(resume=True)
        trainer.film.animation(trained).save(FOLDER / "learning.gif")


if __name__ == "__main__":
    words()
    alignment()
    reader()
    for picture in sorted(FOLDER.iterdir()):
        print(f"{picture.name}: {picture.stat().st_size // 1000} kB")
