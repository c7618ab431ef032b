"""Lexicons and grammars that several benchmarks share: random ones, the same each time."""

from __future__ import annotations

import random

import numpy as np
import torch

import gtnet


def looping_lexicon(words: int, alphabet: int) -> gtnet.Graph:
    """Random words of 3 to 10 letters as a trie whose words lead back to its root."""
    rng = random.Random(0)
    spelled = [rng.choices(range(alphabet), k=rng.randint(3, 10)) for _ in range(words)]
    trie = gtnet.trie(spelled)
    ends = trie.accept > float("-inf")
    target = torch.where(ends[trie.target.long()], 0, trie.target)
    looped = gtnet.Graph(
        trie.source, target, trie.ilabels, trie.olabels, accept=0, num_states=trie.num_states
    )
    return gtnet.connect(looped)


def spelled_lexicon(words: int, alphabet: int) -> gtnet.Lexicon:
    """Different random words of 3 to 10 letters, label 0 left to a blank."""
    rng = random.Random(0)
    spelled: dict[tuple[int, ...], None] = {}
    while len(spelled) < words:
        spelled[tuple(rng.choices(range(1, alphabet), k=rng.randint(3, 10)))] = None
    names = gtnet.SymbolTable([f"w{i}" for i in range(words)])
    entries = [(word, tokens, 0.0) for word, tokens in enumerate(spelled)]
    return gtnet.Lexicon(entries, names, gtnet.SymbolTable([f"t{i}" for i in range(alphabet)]))


def bigram_model(words: int, bigrams: int) -> gtnet.FailureGraph:
    """A back-off bigram model: log-probabilities as words of Zipf's law follow each other.

    State 0 knows all words; the state of word w is w + 1, knows those that followed it, and fails
    to state 0. Absolute discounting, so that what is not listed has the rest.
    """
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, words + 1)
    chance /= chance.sum()
    drawn = np.empty((0, 2), np.int64)
    while len(np.unique(drawn, axis=0)) < bigrams:
        drawn = np.concatenate([drawn, rng.choice(words, (bigrams, 2), p=chance)])
    pairs, counts = np.unique(drawn, axis=0, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:bigrams])
    (before, after), counts = pairs[kept].T, counts[kept]
    total = np.bincount(before, counts, words)
    listed = np.bincount(before, minlength=words)
    rest = np.where(total > 0, 0.5 * listed / np.maximum(total, 1), 1.0)
    every = np.arange(words)
    source = np.concatenate([np.zeros(words, np.int64), before + 1, every + 1])
    target = np.concatenate([every + 1, after + 1, np.zeros(words, np.int64)])
    labels = np.concatenate([every, after, np.full(words, gtnet.EPSILON)])
    weights = np.concatenate([chance, (counts - 0.5) / total[before], rest])
    scores = torch.from_numpy(np.log(weights)).float()
    accept = [0.0] * (words + 1)
    return gtnet.FailureGraph(gtnet.Graph(source, target, labels, None, scores, accept=accept))


def spoken(
    lexicon: gtnet.Lexicon, grammar: gtnet.Graph, frames: int, batch: int, noise: float
) -> torch.Tensor:
    """Log-probabilities [batch, frames, labels] of random sentences of the grammar, with noise."""
    rng = np.random.default_rng(1)
    generator = torch.Generator().manual_seed(1)
    leaving = grammar.topology.leaving
    offsets, arcs = leaving.offsets.numpy(), leaving.arcs.numpy()
    chance = grammar.weights.exp().numpy()
    labels, target = grammar.ilabels.numpy(), grammar.target.numpy()
    rows = []
    for _ in range(batch):
        text: list[int] = []
        state = 0
        while True:
            own = arcs[offsets[state] : offsets[state + 1]]
            weights = chance[own].astype(np.float64)
            arc = rng.choice(own, p=weights / weights.sum())
            state = target[arc]
            if labels[arc] == gtnet.EPSILON:
                continue
            word: list[int] = []
            for token in lexicon.pronunciations[labels[arc]].tokens:
                word += [token] * int(rng.integers(1, 3)) + [0] * int(rng.integers(1, 3))
            if len(text) + len(word) > frames:
                break
            text += word
        rows.append(text + [0] * (frames - len(text)))
    seen = torch.nn.functional.one_hot(torch.tensor(rows), len(lexicon.tokens)).float() * 6
    drawn = torch.randn(seen.shape, generator=generator) * noise
    return (seen + drawn).log_softmax(-1)
