"""The graphs of a decoder: a lexicon in a loop, and a language model of its words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from gtnet._checks import EPSILON, NEG_INF
from gtnet.connect import connect
from gtnet.failure_graph import FailureGraph
from gtnet.grammar import NGramModel
from gtnet.graph import Graph
from gtnet.lexicon import Lexicon, SymbolTable
from gtnet.scale import scale


def spelled(words: Iterable[str], tokens: SymbolTable) -> Lexicon:
    """A lexicon of words by their characters. Raises ValueError for one that is not a token."""
    listed = list(dict.fromkeys(words))
    entries = [(i, tokens.labels(word), 0.0) for i, word in enumerate(listed)]
    return Lexicon(entries, SymbolTable(listed), tokens)


def word_loop(
    lexicon: Lexicon,
    separators: Sequence[int],
    *,
    word_score: float,
    unk: int,
    unk_score: float,
    silent: Sequence[int],
    dtype: torch.dtype,
) -> Graph:
    """From tokens to words one after another, with separators between them.

    Where no word spells a separator itself, one at least stands between two words. `unk` is the
    label of a word of any other tokens, all but `separators` and `silent`.
    """
    trie = lexicon.graph(dtype=dtype)
    writes = trie.olabels >= 0
    size = trie.num_states
    inside = {token for entry in lexicon.pronunciations for token in entry.tokens}
    apart = bool(separators) and not inside & set(separators)
    end, unknown = (size if apart else 0), size + 1
    weights = trie.weights + writes * word_score
    rows = [(0, 0, label, EPSILON, 0.0) for label in separators]
    if apart:
        rows += [(end, 0, label, EPSILON, 0.0) for label in separators]
    if unk_score > NEG_INF:
        for label in sorted(set(lexicon.tokens) - set(separators) - set(silent)):
            rows += [
                (0, unknown, label, EPSILON, 0.0),
                (unknown, unknown, label, EPSILON, 0.0),
                (0, end, label, unk, word_score + unk_score),
                (unknown, end, label, unk, word_score + unk_score),
            ]
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)] if rows else []
    ours = [
        trie.source,
        torch.where(writes, end, trie.target),
        trie.ilabels,
        trie.olabels,
        weights.to(dtype),
    ]
    if columns:
        ours = [torch.cat([a, b.to(a.dtype)]) for a, b in zip(ours, columns, strict=True)]
    return connect(Graph(*ours, start=0, accept=sorted({0, end}), num_states=size + 2))


def grammar(
    function: str,
    model: NGramModel,
    table: SymbolTable,
    words: Iterable[int],
    unk: int | None,
    lm_weight: float,
    dtype: torch.dtype,
) -> FailureGraph:
    """The model over the labels of `table`, scores times `lm_weight`; `unk` stands for the rest.

    What the model does not know is its unknown word. Raises ValueError where it has none.
    """
    plain = model.graph(dtype=dtype)
    listed = list(words)
    behind = max(listed, default=-1) + 2  # labels of words that are never written
    known = {label: name for label, name in model.symbols.items() if model.knows(label)}
    names = set(known.values())
    label_of = {table[word]: word for word in listed}
    missing = [table[w] for w in listed if table[w] not in names]
    if missing and model.unk is None:
        named = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"{function}: {len(missing)} words are not in lm ({named}), so they could never be "
            f'said: read it with NGramModel.read(..., unk="<unk>"), or take them out'
        )
    change = torch.full((max(known, default=0) + 2,), behind)
    for label, name in known.items():
        change[label] = label_of.get(name, behind)
    change[-1] = EPSILON
    labels = change[plain.ilabels.long()]
    stand_ins = [label_of[name] for name in missing] + ([] if unk is None else [unk])
    arcs = torch.arange(plain.num_arcs)
    if stand_ins and model.unk is not None:
        unknown = arcs[plain.ilabels == model.unk]
        arcs = torch.cat([arcs, unknown.repeat_interleave(len(stand_ins))])
        labels = torch.cat([labels, torch.tensor(stand_ins).repeat(len(unknown))])
    same = Graph(
        plain.source[arcs],
        plain.target[arcs],
        labels,
        None,
        plain.weights[arcs],
        start=plain.start,
        accept=plain.accept,
        num_states=plain.num_states,
    )
    scaled = scale(same, lm_weight)
    assert isinstance(scaled, Graph)
    return FailureGraph(scaled)
