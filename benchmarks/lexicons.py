"""The lexicon that several benchmarks share: random words in a loop, the same each time."""

from __future__ import annotations

import random

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
