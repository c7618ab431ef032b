"""Languages of answers: any string, the words of a lexicon, or a graph of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterable

import gtnet
from gtnet.reader.alphabet import Alphabet


def skipping(alphabet: Alphabet, score: float | None = 0.0) -> gtnet.Graph:
    """The transducer that copies characters and, at this score each, skips what is none.

    `score` None skips nothing: every label must be a character.
    """
    labels = list(range(len(alphabet)))
    reads, writes, scores = labels, labels, [0.0] * len(labels)
    if score is not None:
        reads, writes = [*labels, alphabet.nothing], [*labels, gtnet.EPSILON]
        scores = [*scores, float(score)]
    here = [0] * len(reads)
    return gtnet.Graph(here, here, reads, writes, scores, start=0, accept=0, num_states=1)


def lasting(alphabet: Alphabet, frames: int) -> gtnet.Graph:
    """The transducer from frames to characters that take so many frames at least.

    A run of frames is a character, between two of them there may be frames of none, and between
    two that are alike there must be: for one frame it is `gtnet.ctc_topology`. A network that
    scores frames one by one may be wrong in one of them. Raises ValueError for frames below 1.
    """
    if frames < 1:
        raise ValueError(f"lasting: a character takes at least 1 frame, got {frames}")
    if frames == 1:
        return gtnet.ctc_topology(alphabet.num_labels, alphabet.nothing)
    # State 0 stands between characters, the others in frame 1, 2, ... of each.
    arcs = [(0, 0, alphabet.nothing, gtnet.EPSILON)]

    def state(label: int, frame: int) -> int:
        return 1 + label * frames + frame

    for label in range(len(alphabet)):
        arcs.append((0, state(label, 0), label, label))
        arcs += [
            (state(label, frame), state(label, min(frame + 1, frames - 1)), label, gtnet.EPSILON)
            for frame in range(frames)
        ]
        last = state(label, frames - 1)
        arcs.append((last, 0, alphabet.nothing, gtnet.EPSILON))
        arcs += [(last, state(o, 0), o, o) for o in range(len(alphabet)) if o != label]
    source, target, reads, writes = zip(*arcs, strict=True)
    accept = [0, *(state(label, frames - 1) for label in range(len(alphabet)))]
    size = 1 + len(alphabet) * frames
    return gtnet.Graph(source, target, reads, writes, start=0, accept=accept, num_states=size)


def any_string(alphabet: Alphabet, *, shortest: int = 1) -> gtnet.Graph:
    """The acceptor of all strings of an alphabet with at least `shortest` characters."""
    source: list[int] = []
    target: list[int] = []
    labels: list[int] = []
    for state in range(shortest + 1):
        source += [state] * len(alphabet)
        target += [min(state + 1, shortest)] * len(alphabet)
        labels += range(len(alphabet))
    return gtnet.Graph(source, target, labels, start=0, accept=shortest, num_states=shortest + 1)


def lexicon(words: Iterable[str], alphabet: Alphabet) -> gtnet.Graph:
    """The acceptor of the words given, each once.

    Raises ValueError that names a word with a character outside the alphabet, and for no words.
    Complexity: O(letters log letters); prefixes and suffixes are shared.
    """
    spelled = [alphabet.labels_of(word) for word in dict.fromkeys(words)]
    if not spelled or not any(spelled):
        raise ValueError("lexicon: give at least one word")
    tree = gtnet.project(gtnet.trie(spelled), "input")
    # A word that begins another has an end of its own there: two arcs with one label.
    parted = gtnet.determinize(tree, semiring="tropical")
    return gtnet.minimize(parted, semiring="tropical")


def ngram(
    texts: Iterable[str],
    alphabet: Alphabet,
    order: int = 4,
    *,
    strength: float = 1.0,
    counts: Iterable[float] | None = None,
    least: float = 1.0,
) -> gtnet.Graph:
    """The acceptor of all strings, scored by how the characters of some texts follow each other.

    Each string has one path, whose score is its log-probability under the n-grams of `texts`,
    times `strength`: choose that on validation data. `counts`, `least` and errors: as of
    `NGramModel.of`. Complexity: an arc for each character behind each history of `order` - 1
    characters that was seen `least` times.
    """
    if not 0 <= strength < math.inf:
        raise ValueError(f"ngram: strength must be at least 0 and finite, got {strength}")
    spelled = [alphabet.labels_of(text) for text in texts]
    model = gtnet.NGramModel.of(spelled, order, alphabet.characters, counts=counts, least=least)
    graph = model.graph(backoff="exact")
    scaled = gtnet.scale(graph, strength)
    assert isinstance(scaled, gtnet.Graph)
    return scaled


def language_of(grammar: gtnet.Graph | Iterable[str] | None, alphabet: Alphabet) -> gtnet.Graph:
    """The graph of a language given as a graph, as words, or not at all: any string.

    Raises TypeError or ValueError for something else, a batch, or labels outside the alphabet.
    """
    if grammar is None:
        return any_string(alphabet)
    if isinstance(grammar, str):
        raise TypeError(
            f"Recognizer: grammar must be a Graph or words, got the string {grammar!r}; for one"
            f" word give [{grammar!r}]"
        )
    if not isinstance(grammar, gtnet.Graph):
        return lexicon(grammar, alphabet)
    if len(grammar) != 1:
        raise ValueError(
            f"Recognizer: the grammar must be one graph, got a batch of {len(grammar)}"
        )
    for side, labels in (("reads", grammar.ilabels), ("writes", grammar.olabels)):
        if len(labels) and int(labels.max()) >= len(alphabet):
            raise ValueError(
                f"Recognizer: the grammar {side} label {int(labels.max())}, the alphabet has"
                f" {len(alphabet)} characters"
            )
    return grammar
