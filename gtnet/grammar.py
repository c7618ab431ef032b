"""N-gram models, from ARPA files or counted in sentences, as acceptors of word sequences."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, overload

import numpy as np
import torch

from gtnet import _checks, _numbers
from gtnet._arpa import read_arpa
from gtnet._checks import EPSILON, MAX_ARCS, NEG_INF
from gtnet._files import PathLike, name_of
from gtnet._ngram_file import load_model, save_model
from gtnet._ngram_trie import BOS, EOS, Floats, Ints, Trie
from gtnet.failure_graph import FailureGraph
from gtnet.graph import Graph
from gtnet.lexicon import SymbolTable, table_of

Backoff = Literal["epsilon", "exact", "failure"]

_History = tuple[int, ...]


class _Gram(NamedTuple):
    """The log-probability of an n-gram's last word after the others, and its back-off weight."""

    score: float
    backoff: float


class NGramModel:
    """A back-off n-gram model: log-probabilities of words after the words before them.

    p(w | h) is that of the n-gram h w where it is listed, else backoff(h) p(w | h without its
    first word). `NGramModel.read` reads ARPA files, `NGramModel.of` counts n-grams in sentences,
    `save` and `load` are for large ones; `graph` is the acceptor of sentences.

    Attributes: `symbols` the words; `order` the length of the longest n-grams; `unk` the label of
    the unknown word, or None. Natural logarithms.
    Source: Katz 1987; the format of SRILM and KenLM.
    """

    def __init__(self, trie: Trie, symbols: SymbolTable, unk: int | None = None) -> None:
        self._trie = trie
        self.symbols = symbols
        self.unk = unk
        self._names = frozenset(symbols.values())

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return self._trie.order

    def __len__(self) -> int:
        """N-grams of all orders."""
        return len(self._trie)

    def __repr__(self) -> str:
        return f"NGramModel(order {self.order}, {len(self)} n-grams, {len(self.symbols)} words)"

    @classmethod
    def read(
        cls,
        path: PathLike,
        *,
        symbols: SymbolTable | None = None,
        missing: Literal["error", "skip"] = "error",
        unk: str | None = None,
        bos: str = "<s>",
        eos: str = "</s>",
    ) -> NGramModel:
        r"""Read a model in the ARPA format.

        Arguments: `symbols` labels of the words; by default the model's words are numbered from 0
        in the order of its 1-grams. `missing` words of the model that are not among `symbols` are
        an error, or their n-grams are skipped. `unk` the model's unknown word, such as "<unk>",
        which then stands for every label that the model has no 1-gram of: words that it does not
        know have a probability, in `score`, in `graph` (for the labels of `symbols`) and in
        `gtnet.decode.ctc_decoder`, instead of being impossible. Without it "<unk>" is a word as any
        other. `bos`, `eos` mark the ends of sentences and are no words. The file may be compressed
        by gzip; lines before `\data\` are skipped.
        Raises ValueError for a malformed line, naming it; for log-probabilities above 0; for
        sections that hold another number of n-grams than `\data\` says; for a file without
        `\end\` and for lines behind it. Complexity: O(n-grams).
        """
        if missing not in ("error", "skip"):
            raise ValueError(f'NGramModel.read: missing must be "error" or "skip", got {missing!r}')
        trie, table = read_arpa("NGramModel.read", path, symbols, missing == "skip", bos, eos)
        label = None if unk is None else table.label(unk)
        if label is not None and trie.listed((label,)) is None:
            name = name_of("NGramModel.read", path)
            raise ValueError(f"NGramModel.read: {name}: unk={unk!r} is not among its 1-grams")
        return cls(trie, table, label)

    def save(self, path: PathLike) -> None:
        """Write the model to a file in .safetensors, all or nothing; `load` reads it at once.

        Needs the package safetensors, and raises ImportError without it; ValueError for another
        suffix. Complexity: O(n-grams).
        """
        save_model(path, self._trie, self.symbols, self.unk)

    @classmethod
    def load(cls, path: PathLike) -> NGramModel:
        """A model that `save` wrote, with the same symbols and unknown word.

        Its n-grams stay in the file, which is mapped into memory, so that processes share them;
        write another version beside it, as `save` does, and never into it. Raises ValueError for
        any other file, for one of a later version and for a damaged one; ImportError without
        safetensors. Complexity: O(n-grams), to check them once.
        """
        return cls(*load_model(path))

    @classmethod
    def of(
        cls,
        sentences: Iterable[Sequence[int]],
        order: int,
        symbols: SymbolTable | Sequence[str],
        *,
        counts: Iterable[float] | None = None,
        least: float = 1.0,
    ) -> NGramModel:
        """Estimate a model of n-grams up to a length from sentences.

        p(w | h) = (c(h w) + t(h) p(w | h without its first word)) / (c(h) + t(h)), where c counts
        and t(h) is how many different words, or the end, follow h; below the words alone, every
        one of `symbols` and the end are equally likely. So every sentence is possible.

        Arguments: `sentences` the labels of their words; `order` the length of the longest
        n-grams; `symbols` the words, or their names in order; `counts` how often each sentence was
        seen, by default once; `least`: histories of fewer are not told apart, which keeps `graph`
        small. Raises ValueError for no sentence, a label that is not among the symbols, an order
        below 1, and counts that are not positive and finite or not one for each sentence.
        Complexity: O(words · order).
        Source: Witten & Bell 1991, method C; interpolated as in Chen & Goodman 1998.
        """
        if _checks.count("NGramModel.of", "order", order) < 1:
            raise ValueError("NGramModel.of: order must be at least 1")
        if not 0 < least < math.inf:
            raise ValueError(f"NGramModel.of: least must be positive and finite, got {least}")
        table = symbols if isinstance(symbols, SymbolTable) else table_of(symbols)
        followers = _counted(sentences, order, table, counts)
        grams: dict[_History, _Gram] = {(BOS,): _Gram(NEG_INF, 0.0)}
        every = dict.fromkeys((*table, EOS), 1 / (len(table) + 1))
        for history in sorted(followers, key=len):  # shorter histories come first
            own = followers[history]
            seen, kinds = own.total(), len(own)
            if history and seen < least:
                continue
            for word in own if history else every:
                shorter = math.exp(grams[(*history[1:], word)].score) if history else every[word]
                share = (own[word] + kinds * shorter) / (seen + kinds)
                grams[(*history, word)] = _Gram(math.log(share), 0.0)
            if history:
                grams[history] = _Gram(grams[history].score, math.log(kinds / (seen + kinds)))
        return cls(Trie.of(grams), table)

    def knows(self, label: int) -> bool:
        """Whether a label has a probability."""
        return label in self._words or (self.unk is not None and label in self.symbols)

    @cached_property
    def _words(self) -> frozenset[int]:
        """The labels of the 1-grams."""
        own = self._trie.nodes(1) if self.order else self._trie.nodes(0)
        return frozenset(self._trie.words[own[~np.isnan(self._trie.scores[own])]].tolist())

    def label(self, name: str) -> int:
        """The label of a word, or that of the unknown word. Raises ValueError without one."""
        if name in self._names or self.unk is None:
            return self.symbols.label(name)
        return self.unk

    def with_unk(self, unk: str) -> NGramModel:
        """The same model, with a word that stands for all that it does not know."""
        return NGramModel(self._trie, self.symbols, self.symbols.label(unk))

    def score(self, labels: Sequence[int]) -> float:
        """The log-probability of a sentence, given by the labels of its words.

        -inf where the model lacks a word and has no `unk`. Complexity: O(words · order² · log
        n-grams).
        """
        history: _History = (BOS,)
        total = 0.0
        for word in (*labels, EOS):
            if self.unk is not None and self._trie.listed((word,)) is None:
                word = word if word < 0 else self.unk
            total += self._trie.score(history, word)
            history = (*history, word)
        return total

    @overload
    def graph(
        self,
        *,
        backoff: Literal["epsilon", "exact"] = ...,
        max_arcs: int = ...,
        dtype: torch.dtype | None = ...,
    ) -> Graph: ...
    @overload
    def graph(
        self,
        *,
        backoff: Literal["failure"],
        max_arcs: int = ...,
        dtype: torch.dtype | None = ...,
    ) -> FailureGraph: ...
    def graph(
        self,
        *,
        backoff: Backoff = "epsilon",
        max_arcs: int = MAX_ARCS,
        dtype: torch.dtype | None = None,
    ) -> Graph | FailureGraph:
        """The acceptor of sentences: a state for each history, an arc for each n-gram.

        "epsilon" backs off along epsilons, one for each history. It is small, and approximate: a
        word that is listed after a history can also be reached by backing off, so `forward_score`
        adds up more than the model's probability, and `viterbi_score` is above it where backing
        off is likelier. "exact" expands the failure transitions: there is an arc
        for every word from every state, no epsilons, and each sentence has exactly one path, whose
        score is the model's log-probability. "failure" is exact and as small as "epsilon": a
        `FailureGraph`, which `beam_search` takes in a sequence of graphs.

        Raises ValueError where the exact graph would have more than `max_arcs` arcs. Complexity:
        O(n-grams · order), exact: O(histories · words).
        Source: Allauzen, Mohri & Roark 2003, "Generalized Algorithms for Constructing Statistical
        Language Models", section 4.
        """
        dtype = _numbers.float_dtype(dtype)
        if backoff not in ("epsilon", "exact", "failure"):
            raise ValueError(
                f'graph: backoff must be "epsilon", "exact" or "failure", got {backoff!r}'
            )
        _checks.count("graph", "max_arcs", max_arcs)
        arcs = self._arcs()
        if backoff == "exact":
            return self._exact_graph(arcs, max_arcs, dtype)
        small = self._epsilon_graph(arcs, dtype)
        return FailureGraph(small) if backoff == "failure" else small

    def _arcs(self) -> _Arcs:
        """What n-grams do: the histories that matter are states, numbered as nodes are."""
        trie, begins = self._trie, self._trie.words == BOS
        inner = np.diff(trie.first)
        state = trie.backoffs != 0
        state[: len(inner)] |= inner > 0
        state &= trie.words != EOS
        state |= begins
        state[0] = True
        target = (np.cumsum(state) - 1).astype(np.int32)
        below = np.zeros(int(state.sum()), np.int32)
        for level in range(1, trie.order + 1):
            nodes = trie.nodes(level)
            longest = target[trie.links[nodes]]
            own = state[nodes]
            below[target[nodes[own]]] = longest[own]
            target[nodes] = np.where(own, target[nodes], longest)
        listed = ~np.isnan(trie.scores) & ~begins
        source = target[trie.parents[listed]]
        starts = np.flatnonzero(begins & state & (trie.parents == 0))
        return _Arcs(
            source,
            target[listed],
            trie.words[listed],
            trie.scores[listed],
            below,
            trie.backoffs[state],
            int(target[starts[0]]) if len(starts) else 0,
        )

    def _stand_ins(self) -> Ints:
        """The labels that the unknown word stands for: those that have no 1-gram."""
        if self.unk is None:
            return np.empty(0, np.int32)
        return np.array([w for w in self.symbols if w not in self._words], np.int32)

    def _epsilon_graph(self, arcs: _Arcs, dtype: torch.dtype) -> Graph:
        ends = arcs.words == EOS
        size = len(arcs.below)
        others = self._stand_ins()
        unknown = np.flatnonzero(arcs.words == (-1 if self.unk is None else self.unk))
        unknown = np.repeat(unknown, len(others))
        own = np.concatenate([np.flatnonzero(~ends), unknown])
        labels = arcs.words[own]
        labels[len(own) - len(unknown) :] = np.tile(others, len(unknown) // max(1, len(others)))
        accept = np.full(size, NEG_INF)
        accept[arcs.source[ends]] = arcs.scores[ends]
        return Graph(
            np.concatenate([arcs.source[own], np.arange(1, size, dtype=np.int32)]),
            np.concatenate([arcs.target[own], arcs.below[1:]]),
            np.concatenate([labels, np.full(size - 1, EPSILON, np.int32)]),
            weights=torch.from_numpy(np.concatenate([arcs.scores[own], arcs.backoffs[1:]])).to(
                dtype
            ),
            start=arcs.start,
            accept=torch.from_numpy(accept).to(dtype),
            num_states=size,
        )

    def _exact_graph(self, arcs: _Arcs, max_arcs: int, dtype: torch.dtype) -> Graph:
        others = self._stand_ins()
        words = np.unique(np.concatenate([arcs.words[arcs.words >= 0], others]))
        size = len(arcs.below), len(words)
        if size[0] * size[1] > max_arcs:
            raise ValueError(
                f"graph: exact back-off takes {size[0]} histories x {size[1]} words = "
                f"{size[0] * size[1]} arcs, max_arcs is {max_arcs}: raise it, or pass "
                f'backoff="epsilon"'
            )
        column = np.searchsorted(words, arcs.words)
        first = np.searchsorted(arcs.source, np.arange(size[0] + 1))  # arcs stand by source
        target, weights = np.zeros(size, np.int32), np.full(size, NEG_INF)
        accept = np.full(size[0], NEG_INF)
        stands = np.searchsorted(words, others)
        for state in range(size[0]):  # shorter histories come first
            if state:
                shorter, weight = arcs.below[state], arcs.backoffs[state]
                target[state] = target[shorter]
                weights[state] = weights[shorter] + weight
                accept[state] = accept[shorter] + weight
            for arc in range(first[state], first[state + 1]):
                word, score = arcs.words[arc], arcs.scores[arc]
                if word == EOS:
                    accept[state] = score
                else:
                    for place in (column[arc], *(stands if word == self.unk else ())):
                        target[state, place], weights[state, place] = arcs.target[arc], score
        return Graph(
            np.repeat(np.arange(size[0], dtype=np.int32), size[1]),
            target.ravel(),
            np.tile(words.astype(np.int32), size[0]),
            weights=torch.from_numpy(weights.ravel()).to(dtype),
            start=arcs.start,
            accept=torch.from_numpy(accept).to(dtype),
            num_states=size[0],
        )


class _Arcs(NamedTuple):
    """The listed n-grams as arcs between states, and where each state backs off to."""

    source: Ints
    target: Ints
    words: Ints  # EOS: the sentence ends
    scores: Floats
    below: Ints  # by state
    backoffs: Floats
    start: int


def _counted(
    sentences: Iterable[Sequence[int]],
    order: int,
    table: SymbolTable,
    counts: Iterable[float] | None,
) -> dict[_History, Counter[int]]:
    """How often each word, or the end, follows each history that is shorter than `order`."""
    rows = [tuple(map(int, sentence)) for sentence in sentences]
    often = [1.0] * len(rows) if counts is None else [float(count) for count in counts]
    if not rows:
        raise ValueError("NGramModel.of: give at least one sentence")
    if len(often) != len(rows):
        raise ValueError(f"NGramModel.of: {len(rows)} sentences, {len(often)} counts")
    followers: dict[_History, Counter[int]] = defaultdict(Counter)
    for number, (row, count) in enumerate(zip(rows, often, strict=True)):
        if not 0 < count < math.inf:
            raise ValueError(
                f"NGramModel.of: counts must be positive and finite, counts[{number}] is {count}"
            )
        for label in row:
            if label not in table:
                raise ValueError(
                    f"NGramModel.of: sentence {number} holds label {label}, which is not among"
                    f" the {len(table)} symbols"
                )
        whole = (BOS, *row, EOS)
        for at in range(1, len(whole)):
            for length in range(min(order, at + 1)):
                followers[whole[at - length : at]][whole[at]] += count  # type: ignore[assignment]
    return followers
