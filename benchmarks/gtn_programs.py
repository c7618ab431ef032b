"""`python -m benchmarks.gtn_programs`: programs written for gtn, run by it and by gtnet.compat.gtn.

The programs are those that gtn comes with, written once: each is given the module that it uses. gtn
has no wheel for current versions of Python; where it is not installed, there is nothing to compare.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import random
from collections.abc import Callable, Iterator
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Case, Work, measure, processor

Program = Callable[[ModuleType], Work]


def chain(gtn: Any, labels: Any) -> Any:
    """An acceptor of one sequence."""
    graph = gtn.Graph(False)
    graph.add_node(True)
    for i, label in enumerate(labels):
        graph.add_node(False, i + 1 == len(labels))
        graph.add_arc(i, i + 1, int(label))
    return graph


def bigram(gtn: Any, classes: int) -> Any:
    """A score for every pair of neighbours, and one for the first."""
    graph = gtn.Graph(True)
    for _ in range(classes):
        graph.add_node(False, True)
    graph.add_node(True, True)
    for i in range(classes):
        graph.add_arc(classes, i, i)
        for j in range(classes):
            graph.add_arc(i, j, j)
    graph.arc_sort()
    return graph


def frames_of(gtn: Any, scores: np.ndarray) -> Any:
    """Emissions: a chain with an arc for each class of each frame."""
    graph = gtn.linear_graph(*scores.shape, gtn.Device(gtn.CPU), True)
    graph.set_weights(scores.ctypes.data)
    return graph


def crf(gtn: Any) -> Work:
    """A step of training of the linear-chain CRF (examples/linear_crf.py)."""
    features, classes, rate = 3, 2, 1e-2
    potentials = gtn.Graph(True)
    potentials.add_node(True, True)
    for i in range(features):
        for c in range(classes):
            potentials.add_arc(0, 0, i, c)
    transitions = bigram(gtn, classes)
    draw = random.Random(0)
    samples = []
    for _ in range(50):
        length = draw.randint(1, 20)
        pair = [[draw.randrange(n) for _ in range(length)] for n in (features, classes)]
        samples.append([chain(gtn, labels) for labels in pair])

    def step(x: Any, y: Any) -> None:
        scored = gtn.compose(x, potentials)
        wanted = gtn.forward_score(gtn.compose(scored, gtn.intersect(y, transitions)))
        loss = gtn.subtract(gtn.forward_score(gtn.compose(scored, transitions)), wanted)
        gtn.backward(loss)
        for graph in (potentials, transitions):
            weights = graph.weights_to_numpy()
            graph.set_weights(weights - rate * graph.grad().weights_to_numpy())
            graph.zero_grad()
        loss.item()

    turn = cycle(samples)
    return lambda: step(*next(turn))


def repeating(gtn: Any, target: Any) -> Any:
    """Each label of the target once or more (examples/pytorch_loss.py)."""
    graph = gtn.Graph(False)
    graph.add_node(True)
    for i, label in enumerate(target, 1):
        graph.add_node(False, i == len(target))
        graph.add_arc(i - 1, i, label)
        graph.add_arc(i, i, label)
    graph.arc_sort(True)
    return graph


def sequence_loss(gtn: Any) -> Work:
    """The loss of examples/pytorch_loss.py and its gradient."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 10, 20)).astype(np.float32)
    targets = rng.integers(0, 20, (4, 5)).tolist()

    def run() -> None:
        for frames, target in zip(scores, targets):
            emissions = frames_of(gtn, frames)
            wanted = gtn.forward_score(gtn.intersect(repeating(gtn, target), emissions))
            gtn.backward(gtn.subtract(gtn.forward_score(emissions), wanted))
            emissions.grad().weights_to_numpy()

    return run


def alignments(gtn: Any, target: list[int]) -> Any:
    """The alignments of CTC, blank 0 (examples/ctc.cpp)."""
    graph = gtn.Graph(False)
    size = 2 * len(target) + 1
    for s in range(size):
        label = target[(s - 1) // 2] if s % 2 else 0
        graph.add_node(s == 0, s >= size - 2)
        graph.add_arc(s, s, label)
        if s > 0:
            graph.add_arc(s - 1, s, label)
        if s % 2 and s > 1 and label != target[(s - 1) // 2 - 1]:
            graph.add_arc(s - 2, s, label)
    graph.arc_sort(False)
    return graph


def ctc(frames: int, classes: int, length: int) -> Program:
    """CTC written as graphs, and its gradient."""

    def program(gtn: Any) -> Work:
        rng = np.random.default_rng(0)
        scores = rng.standard_normal((frames, classes)).astype(np.float32)
        target = rng.integers(1, classes, length).tolist()

        def run() -> None:
            emissions = frames_of(gtn, scores)
            lattice = gtn.intersect(alignments(gtn, target), emissions)
            gtn.backward(gtn.negate(gtn.forward_score(lattice)))
            emissions.grad().weights_to_numpy()

        return run

    return program


def criterion(gtn: Any) -> Work:
    """gtn's own CTC loss and its gradient."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((150, 32)).astype(np.float32)
    target = rng.integers(1, 32, 35).tolist()

    def run() -> None:
        emissions = frames_of(gtn, scores)
        gtn.backward(gtn.criterion.ctc_loss(emissions, target, 0))
        emissions.grad().weights_to_numpy()

    return run


def asg(frames: int, classes: int, length: int) -> Program:
    """ASG: a bigram of all sequences against that of the target (examples/asg.cpp)."""

    def program(gtn: Any) -> Work:
        rng = np.random.default_rng(0)
        scores = rng.standard_normal((frames, classes)).astype(np.float32)
        target = rng.integers(0, classes, length).tolist()
        transitions = bigram(gtn, classes)

        def run() -> None:
            emissions = frames_of(gtn, scores)
            wanted = gtn.intersect(gtn.intersect(repeating(gtn, target), transitions), emissions)
            everything = gtn.intersect(emissions, transitions)
            loss = gtn.subtract(gtn.forward_score(everything), gtn.forward_score(wanted))
            gtn.backward(loss)
            emissions.grad().weights_to_numpy()
            transitions.grad().weights_to_numpy()
            transitions.zero_grad()

        return run

    return program


PIECES = ["a", "b", "c", "ab", "bc", "ac", "abc"]


def lexicon(gtn: Any) -> Any:
    """Letters to word pieces (examples/word_decompositions.py)."""
    words = []
    for number, piece in enumerate(PIECES):
        graph = gtn.Graph(False)
        graph.add_node(True)
        for i, letter in enumerate(piece):
            last = i == len(piece) - 1
            graph.add_node(False, last)
            graph.add_arc(i, i + 1, ord(letter) - ord("a"), number if last else gtn.epsilon)
        words.append(graph)
    return gtn.closure(gtn.union(words))


def tokens(gtn: Any) -> Any:
    """Word pieces that take one frame or more."""
    each = []
    for number in range(len(PIECES)):
        graph = gtn.Graph(False)
        graph.add_node(True)
        graph.add_node(False, True)
        graph.add_arc(0, 1, number, number)
        graph.add_arc(1, 1, number, gtn.epsilon)
        each.append(graph)
    return gtn.closure(gtn.union(each))


def decompositions(gtn: Any) -> Work:
    """n-gram CTC: all decompositions of a word into pieces, with transitions between them, as the
    transducer of gtn_applications trains them.
    """
    pieces, spelled = tokens(gtn), lexicon(gtn)
    transitions = bigram(gtn, len(PIECES))
    scores = np.random.default_rng(0).standard_normal((10, len(PIECES))).astype(np.float32)

    def run() -> None:
        emissions = frames_of(gtn, scores)
        word = chain(gtn, [0, 1, 2, 0])
        written = gtn.remove(gtn.project_output(gtn.compose(word, spelled)))
        aligned = gtn.project_input(gtn.remove(gtn.compose(pieces, written)))
        aligned = gtn.intersect(transitions, aligned)
        wanted = gtn.forward_score(gtn.intersect(emissions, aligned))
        everything = gtn.forward_score(gtn.intersect(emissions, transitions))
        gtn.backward(gtn.subtract(everything, wanted))
        emissions.grad().weights_to_numpy()
        transitions.zero_grad()

    return run


def lexicons(gtn: Any) -> Work:
    """The graphs of examples/word_decompositions.py from scratch: unions and closures."""

    def run() -> None:
        tokens(gtn)
        lexicon(gtn)

    return run


def sequence_alignment(gtn: Any) -> Work:
    """Needleman and Wunsch's alignment of two proteins (examples/sequence_alignment.py)."""
    scores = gtn.Graph()
    scores.add_node(True, True)
    draw = random.Random(0)
    for i in range(20):
        for j in range(20):
            scores.add_arc(0, 0, i, j, draw.randint(-4, 10))
        scores.add_arc(0, 0, i, gtn.epsilon, -8)
        scores.add_arc(0, 0, gtn.epsilon, i, -8)
    one, other = ([draw.randrange(20) for _ in range(length)] for length in (10, 7))

    def run() -> None:
        pair = gtn.compose(gtn.compose(chain(gtn, one), scores), chain(gtn, other))
        gtn.viterbi_path(pair).labels_to_list()
        gtn.viterbi_score(pair).item()

    return run


PROGRAMS: dict[str, Program] = {
    "CRF: a step of training, 3 features, 2 classes": crf,
    "loss of the PyTorch example, B4 T10 C20": sequence_loss,
    "CTC, T10 C5, 3 labels": ctc(10, 5, 3),
    "ASG, T10 C5, 3 labels": asg(10, 5, 3),
    "n-gram CTC of a word of 4 letters, T10, 7 pieces": decompositions,
    "the tokens and the lexicon of n-gram CTC": lexicons,
    "alignment of two proteins, 10 and 7 residues": sequence_alignment,
    "CTC, T100 C30, 20 labels: 3,000 arcs": ctc(100, 30, 20),
    "criterion.ctc_loss, T150 C32, 35 labels: 4,800 arcs": criterion,
    "ASG, T100 C30, 20 labels: 93,000 arcs": asg(100, 30, 20),
}


def cases() -> Iterator[Case]:
    """Each program under both modules."""
    theirs = importlib.import_module("gtn")
    importlib.import_module("gtn.criterion")
    ours = importlib.import_module("gtnet.compat.gtn")
    for name, program in PROGRAMS.items():
        repeats = 1 if name.endswith(" arcs") else 50
        works = [repeated(program(module), repeats) for module in (ours, theirs)]
        yield Case(name, works[0], {"gtn": works[1]}, per=repeats)


def repeated(work: Work, times: int) -> Work:
    """The work done often enough to be timed."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


def main() -> None:
    """Print the table."""
    if importlib.util.find_spec("gtn") is None:
        print("gtn is not installed: build it, put it on PYTHONPATH, and run this again")
        return
    torch.set_num_threads(1)
    print(f"{processor()}, torch {torch.__version__}")
    print("\n| program | gtnet ms | gtn ms | gtnet / gtn |\n|---|--:|--:|--:|", flush=True)
    for case in cases():
        timing = measure(case, 15)
        ours, theirs = (ms / case.per for ms in (timing.gtnet, timing.peers["gtn"]))
        digits = 3 - math.ceil(math.log10(max(ours, theirs)))
        print(f"| {case.name} | {ours:.{max(digits, 2)}f} | {theirs:.{max(digits, 2)}f} "
              f"| {ours / theirs:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
