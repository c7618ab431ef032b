"""N-gram models, from ARPA files or counted in sentences, as acceptors of word sequences."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, overload

import numpy as np
import torch

from gtnet import _checks, _files, _numbers
from gtnet._checks import EPSILON, MAX_ARCS, NEG_INF
from gtnet._files import PathLike, Text
from gtnet.failure_graph import FailureGraph
from gtnet.graph import Graph
from gtnet.lexicon import SymbolTable, table_of

Backoff = Literal["epsilon", "exact", "failure"]

_BOS, _EOS = -2, -3  # stand for the beginning and the end of a sentence in n-grams
_LN10 = math.log(10)
_History = tuple[int, ...]


class Gram(NamedTuple):
    """The log-probability of an n-gram's last word after the others, and its back-off weight."""

    score: float
    backoff: float


class NGramModel:
    """A back-off n-gram model: log-probabilities of words after the words before them.

    p(w | h) is that of the n-gram h w where it is listed, else backoff(h) p(w | h without its
    first word). `NGramModel.read` reads ARPA files, `NGramModel.of` counts n-grams in sentences;
    `graph` is the acceptor of sentences.

    Attributes: `symbols` the words; `order` the length of the longest n-grams; `unk` the label of
    the unknown word, or None. Natural logarithms.
    Source: Katz 1987; the format of SRILM and KenLM.
    """

    def __init__(
        self, grams: dict[_History, Gram], symbols: SymbolTable, unk: int | None = None
    ) -> None:
        self._grams = grams
        self.symbols = symbols
        self.unk = unk
        self._names = frozenset(symbols.values())
        self.order = max(map(len, grams), default=0)

    def __len__(self) -> int:
        """N-grams of all orders."""
        return len(self._grams)

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
        text = Text.read("NGramModel.read", path)
        if missing not in ("error", "skip"):
            raise ValueError(f'NGramModel.read: missing must be "error" or "skip", got {missing!r}')
        words = _Words(symbols, missing, bos, eos)
        grams: dict[_History, Gram] = {}
        for line, order, columns, last in _grams(text):
            try:
                gram = _gram(columns, order, last)
                key = words(columns[1 : order + 1], order)
                if key in grams:
                    raise ValueError("this n-gram is listed twice")
                if key is not None:
                    grams[key] = gram
            except ValueError as error:
                raise text.wrong(line, error) from None
        table = words.table()
        if unk is not None and (table.label(unk),) not in grams:
            raise text.failed(f"unk={unk!r} is not among its 1-grams")
        model = cls(grams, table, None if unk is None else table.label(unk))
        model._complete()
        return model

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
        grams: dict[_History, Gram] = {(_BOS,): Gram(NEG_INF, 0.0)}
        every = dict.fromkeys((*table, _EOS), 1 / (len(table) + 1))
        for history in sorted(followers, key=len):  # shorter histories come first
            own = followers[history]
            seen, kinds = own.total(), len(own)
            if history and seen < least:
                continue
            for word in own if history else every:
                shorter = math.exp(grams[(*history[1:], word)].score) if history else every[word]
                share = (own[word] + kinds * shorter) / (seen + kinds)
                grams[(*history, word)] = Gram(math.log(share), 0.0)
            if history:
                grams[history] = Gram(grams[history].score, math.log(kinds / (seen + kinds)))
        return cls(grams, table)

    def knows(self, label: int) -> bool:
        """Whether a label has a probability."""
        return (label,) in self._grams or (self.unk is not None and label in self.symbols)

    def label(self, name: str) -> int:
        """The label of a word, or that of the unknown word. Raises ValueError without one."""
        if name in self._names or self.unk is None:
            return self.symbols.label(name)
        return self.unk

    def with_unk(self, unk: str) -> NGramModel:
        """The same model, with a word that stands for all that it does not know."""
        return NGramModel(self._grams, self.symbols, self.symbols.label(unk))

    def _complete(self) -> None:
        """List the n-grams that begin a longer one and were left out, as SRILM may do."""
        for length in range(self.order, 2, -1):
            for gram in [g for g in self._grams if len(g) == length]:
                if gram[:-1] not in self._grams:
                    self._grams[gram[:-1]] = Gram(self._score(gram[:-2], gram[-2]), 0.0)

    def _score(self, history: _History, word: int) -> float:
        """The log-probability of a word after a history, by the definition."""
        total = 0.0
        history = history[max(0, len(history) - self.order + 1) :]
        while (gram := self._grams.get((*history, word))) is None:
            if not history:
                return NEG_INF
            total += self._backoff(history)
            history = history[1:]
        return total + gram.score

    def _backoff(self, history: _History) -> float:
        return self._grams[history].backoff if history in self._grams else 0.0

    def score(self, labels: Sequence[int]) -> float:
        """The log-probability of a sentence, given by the labels of its words.

        -inf where the model lacks a word and has no `unk`. Complexity: O(words · order).
        """
        history: _History = (_BOS,)
        total = 0.0
        for word in (*labels, _EOS):
            if self.unk is not None and (word,) not in self._grams:
                word = word if word < 0 else self.unk
            total += self._score(history, word)
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
        states = self._states()
        if backoff == "exact":
            return self._exact_graph(states, max_arcs, dtype)
        small = self._epsilon_graph(states, dtype)
        return FailureGraph(small) if backoff == "failure" else small

    def _states(self) -> dict[_History, int]:
        """The histories that matter, numbered, shorter ones first."""
        histories = {gram[:-1] for gram in self._grams}
        for gram, (_, backoff) in self._grams.items():
            if backoff != 0 and gram[-1] != _EOS:
                histories.add(gram)
        histories |= {(), *((gram,) for gram in [_BOS] if (gram,) in self._grams)}
        return {h: state for state, h in enumerate(sorted(histories, key=lambda h: (len(h), h)))}

    def _listed(self, states: dict[_History, int]) -> Iterator[tuple[int, int, int, float]]:
        """Source, target, word and score of each n-gram; target -1 for the end of a sentence.

        What is listed of the unknown word is listed of all that it stands for.
        """
        unknown = [w for w in self.symbols if (w,) not in self._grams]
        for gram, (score, _) in self._grams.items():
            *history, word = gram
            if word == _EOS:
                yield states[tuple(history)], -1, word, score
            elif word != _BOS:
                source, target = states[tuple(history)], _longest(gram, states)
                yield source, target, word, score
                for other in unknown if word == self.unk else ():
                    yield source, target, other, score

    def _backoffs(self, states: dict[_History, int]) -> Iterator[tuple[int, int, float]]:
        for history, state in states.items():
            if history:
                yield state, _longest(history[1:], states), self._backoff(history)

    def _epsilon_graph(self, states: dict[_History, int], dtype: torch.dtype) -> Graph:
        listed = list(self._listed(states))
        arcs = [arc for arc in listed if arc[1] >= 0]
        arcs += [(s, t, EPSILON, weight) for s, t, weight in self._backoffs(states)]
        source, target, labels, weights = zip(*arcs) if arcs else ((),) * 4
        accept = {source: score for source, target, _, score in listed if target < 0}
        return Graph(
            source,
            target,
            labels,
            weights=torch.tensor(weights, dtype=dtype),
            start=states.get((_BOS,), states[()]),
            accept=accept,
            num_states=len(states),
        )

    def _exact_graph(self, states: dict[_History, int], max_arcs: int, dtype: torch.dtype) -> Graph:
        words = sorted({gram[-1] for gram in self._grams if gram[-1] >= 0})
        if self.unk is not None:
            words = sorted({*words, *self.symbols})
        size = len(states), len(words)
        if size[0] * size[1] > max_arcs:
            raise ValueError(
                f"graph: exact back-off takes {size[0]} histories x {size[1]} words = "
                f"{size[0] * size[1]} arcs, max_arcs is {max_arcs}: raise it, or pass "
                f'backoff="epsilon"'
            )
        column = {word: i for i, word in enumerate(words)}
        target = np.zeros(size, np.int32)
        weights, accept = np.full(size, NEG_INF), np.full(size[0], NEG_INF)
        listed: dict[int, list[tuple[int, int, float]]] = {}
        for source, to, word, score in self._listed(states):
            listed.setdefault(source, []).append((to, word, score))
        below = {state: (shorter, weight) for state, shorter, weight in self._backoffs(states)}
        for state in range(size[0]):  # shorter histories come first
            if state in below:
                shorter, weight = below[state]
                target[state] = target[shorter]
                weights[state] = weights[shorter] + weight
                accept[state] = accept[shorter] + weight
            for to, word, score in listed.get(state, ()):
                if to < 0:
                    accept[state] = score
                else:
                    target[state, column[word]], weights[state, column[word]] = to, score
        return Graph(
            np.repeat(np.arange(size[0], dtype=np.int32), size[1]),
            target.ravel(),
            np.tile(np.array(words, np.int32), size[0]),
            weights=torch.from_numpy(weights.ravel()).to(dtype),
            start=states.get((_BOS,), states[()]),
            accept=torch.from_numpy(accept).to(dtype),
            num_states=size[0],
        )


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
        whole = (_BOS, *row, _EOS)
        for at in range(1, len(whole)):
            for length in range(min(order, at + 1)):
                followers[whole[at - length : at]][whole[at]] += count  # type: ignore[assignment]
    return followers


def _longest(history: _History, states: dict[_History, int]) -> int:
    """The state of the longest suffix of a history that has one."""
    while history not in states:
        history = history[1:]
    return states[history]


class _Words:
    """Labels of the words of a model."""

    def __init__(self, table: SymbolTable | None, missing: str, bos: str, eos: str) -> None:
        self._given = table
        self._skip = missing == "skip"
        self._ends = {bos: _BOS, eos: _EOS}
        self._found: dict[str, int] = {}

    def __call__(self, names: list[str], order: int) -> _History | None:
        """The labels of an n-gram, None if it is to be skipped. Raises ValueError."""
        labels = [self._label(name, order) for name in names]
        if _EOS in labels[:-1] or _BOS in labels[1:]:
            raise ValueError("a sentence begins or ends within the n-gram")
        return None if None in labels else tuple(label for label in labels if label is not None)

    def _label(self, name: str, order: int) -> int | None:
        if name in self._ends:
            return self._ends[name]
        if self._given is None:
            if order == 1:
                return self._found.setdefault(name, len(self._found))
            if name not in self._found:
                raise ValueError(f"{name!r} is not among the 1-grams")
            return self._found[name]
        try:
            label = self._given.label(name)
        except ValueError:
            if self._skip:
                return None
            raise ValueError(
                f'{name!r} is not among the symbols: pass missing="skip", or leave symbols out'
            ) from None
        if label == EPSILON:
            raise ValueError(f"{name!r} is the name of EPSILON")
        return label

    def table(self) -> SymbolTable:
        return table_of(self._found) if self._given is None else self._given


def _grams(text: Text) -> Iterator[tuple[int, int, list[str], bool]]:
    """Line, order, columns of each n-gram, and whether it is of the highest order.

    Raises ValueError where sections and counts disagree or the end is missing.
    """
    sizes: dict[int, int] = {}
    order, seen, ended = -1, 0, False  # order: -1 before \data\, 0 in it

    def check(line: int) -> None:
        if order >= 1 and seen != sizes[order]:
            raise text.wrong(
                line, f"the section of {order}-grams has {seen}, \\data\\ says {sizes[order]}"
            )

    for line, columns in text.rows():
        word = columns[0]
        if order < 0:
            order = 0 if columns == ["\\data\\"] else -1
        elif ended:
            raise text.wrong(line, "a line follows \\end\\")
        elif word == "\\end\\":
            check(line)
            if order != len(sizes) or order == 0:
                raise text.wrong(line, f"\\end\\ after {order} of {len(sizes)} sections")
            ended = True
        elif word.startswith("\\") and word.endswith("-grams:") and len(columns) == 1:
            check(line)
            order, seen = order + 1, 0
            if word != f"\\{order}-grams:" or order not in sizes:
                raise text.wrong(line, f"\\data\\ names no such section of {order}-grams")
        elif order == 0:
            _size(text, line, columns, sizes)
        else:
            seen += 1
            yield line, order, columns, order == len(sizes)
    if not ended:
        raise text.failed(
            "\\end\\ is missing, the rest of the file" if order >= 0 else "no \\data\\"
        )


def _size(text: Text, line: int, columns: list[str], sizes: dict[int, int]) -> None:
    """Reads a line `ngram 2=17`."""
    head, _, tail = " ".join(columns).partition("=")
    try:
        if head.split()[:1] != ["ngram"] or len(head.split()) != 2:
            raise ValueError("a line `ngram order=count` is expected")
        order = _files.count(head.split()[1], "an order")
        if order != len(sizes) + 1:
            raise ValueError(f"order {len(sizes) + 1} is expected")
        sizes[order] = _files.count(tail.strip(), "a count")
    except ValueError as error:
        raise text.wrong(line, error) from None


def _gram(columns: list[str], order: int, last: bool) -> Gram:
    most = order + 1 if last else order + 2
    if not order + 1 <= len(columns) <= most:
        raise ValueError(f"a {order}-gram has {order + 1} to {most} columns, got {len(columns)}")
    chance = _files.score(columns[0], "a log-probability") * _LN10
    if chance > 0:
        raise ValueError(f"a log-probability must be 0 or less, got {columns[0]}")
    backoff = (
        _files.score(columns[-1], "a back-off weight") * _LN10 if len(columns) == order + 2 else 0.0
    )
    return Gram(chance, backoff)
