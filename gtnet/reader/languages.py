"""Languages of answers: any string, the words of a lexicon, or a graph of one's own."""

from __future__ import annotations

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
