"""Symbol tables and lexicons: files of names and pronunciations, and the tries made of them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON
from gtnet._files import PathLike, Text, count, replace_file, score
from gtnet._labels import LabelRule, foreign, own, rules
from gtnet.build import trie
from gtnet.graph import Graph


class SymbolTable(Mapping[int, str]):
    """Names of labels: a mapping from label to name, and back.

    EPSILON has a name too (`epsilon`), which `label` and `name` accept but which is not counted:
    `len(table)` is the number of ordinary labels. `gtnet.draw` takes a table as it is.

    Arguments: `symbols` the names of the labels 0, 1, ... (of a str, its characters), or a mapping
    from label to name; `epsilon` the name of EPSILON. Raises ValueError for a name given twice or
    empty, and for labels below 0.
    """

    __slots__ = ("_labels", "_names", "epsilon")

    def __init__(
        self, symbols: Iterable[str] | Mapping[int, str] = (), *, epsilon: str = "<eps>"
    ) -> None:
        named = dict(symbols) if isinstance(symbols, Mapping) else dict(enumerate(symbols))
        self.epsilon = epsilon
        self._names: dict[int, str] = {}
        self._labels: dict[str, int] = {epsilon: EPSILON}
        for label, name in named.items():
            if not isinstance(name, str):
                raise TypeError(f"SymbolTable: names must be str, got {name!r}")
            self._names[_checks.count("SymbolTable", "a label", label)] = name
            if not name or self._labels.setdefault(name, label) != label:
                why = f"label {self._labels[name]} and label {label}" if name else f"label {label}"
                raise ValueError(f"SymbolTable: {name!r} cannot be the name of {why}")

    def __getitem__(self, label: int) -> str:
        return self._names[label]

    def __iter__(self) -> Iterator[int]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        some = ", ".join(f"{label}: {name!r}" for label, name in list(self._names.items())[:8])
        return f"SymbolTable({len(self)} symbols: {some}{', ...' if len(self) > 8 else ''})"

    def label(self, name: str) -> int:
        """The label of a name. Raises ValueError for a name that is not there."""
        try:
            return self._labels[name]
        except KeyError:
            raise ValueError(f"SymbolTable: no label is named {name!r}") from None

    def name(self, label: int) -> str:
        """The name of a label or of EPSILON. Raises ValueError for a label without a name."""
        if label == EPSILON:
            return self.epsilon
        try:
            return self._names[label]
        except KeyError:
            raise ValueError(f"SymbolTable: label {label} has no name") from None

    def labels(self, names: Iterable[str]) -> list[int]:
        """The labels of several names; of a str, of its characters."""
        return [self.label(name) for name in names]

    def names(self, labels: Iterable[int]) -> list[str]:
        """The names of several labels."""
        return [self.name(label) for label in labels]

    @classmethod
    def read(cls, path: PathLike, *, labels: LabelRule = "shifted") -> SymbolTable:
        """Read a table: lines `name number`, or names alone, numbered from 0 in their order.

        The first line that is not blank says which. A name may be a blank, or several: in a list
        of names alone a line of blanks is one, and an empty line before the last name is an error,
        for it would shift the labels behind it; with a number the name is all that stands before
        the last blank or tab. Blanks around other names are no part of them.

        `labels` says how numbers become labels. "shifted": 0 is EPSILON and n is label n - 1, as
        in OpenFst's and Kaldi's words.txt; "kept": 0 is EPSILON, other numbers stay; "raw": all
        stay, for tokens.txt whose 0 is the blank of a network. Names alone take no rule.
        Files may be compressed by gzip. Raises ValueError for a malformed line, a name or a number
        given twice, naming the line.
        """
        rule, _ = rules("SymbolTable.read", labels)
        text = Text.read("SymbolTable.read", path)
        numbered = _is_numbered(text)
        numbers: dict[int, str] = {}
        line_of: dict[str, int] = {}
        for line, name, word in _symbols(text, numbered):
            try:
                number = count(word, "a number") if numbered else len(numbers)
            except ValueError as error:
                raise text.wrong(line, error) from None
            if number in numbers or name in line_of:
                twice = f"number {number}" if number in numbers else f"name {name!r}"
                raise text.wrong(line, f"the {twice} is given twice")
            numbers[number] = name
            line_of[name] = line
        if not numbered:
            rule = "raw"
        label_of = own(np.array(list(numbers), np.int64), rule).tolist()
        named = dict(zip(label_of, numbers.values()))
        epsilon = _free_name(line_of) if rule == "raw" else named.pop(EPSILON, "<eps>")
        if epsilon in named.values():
            why = f"{epsilon!r} names an ordinary label; number 0 must name epsilon"
            raise text.wrong(line_of[epsilon], why)
        return cls(named, epsilon=epsilon)

    def write(self, path: PathLike, *, labels: LabelRule = "shifted") -> None:
        """Write a table as lines `name number`; `read` with the same `labels` reads it back.

        A name that ends in .gz gets the file compressed. Raises ValueError for names with blanks
        beside other characters, or ends of lines, and for labels that the rule cannot number.
        """
        rule, _ = rules("SymbolTable.write", labels)
        named = {} if rule == "raw" else {EPSILON: self.epsilon}
        named |= self._names
        for name in named.values():
            blank = not name.strip(" \t")
            if any(separator in name for separator in ("\n\r" if blank else " \t\n\r")):
                raise ValueError(f"SymbolTable.write: {name!r} has a blank in it")
        numbers = foreign("SymbolTable.write", "labels", np.array(list(named), np.int64), rule)
        rows = zip(named.values(), numbers.tolist())
        replace_file(path, "".join(f"{name} {number}\n" for name, number in rows))


def _is_numbered(text: Text) -> bool:
    """Whether the first line that is not blank has a number behind the name."""
    for line, columns in text.rows():
        if len(columns) > 2:
            raise text.wrong(line, "2 columns are expected, a name and a number")
        indented = text.lines[line - 1][0] in " \t"
        return len(columns) == 2 or (indented and columns[0].isdigit())
    return False


def _symbols(text: Text, numbered: bool) -> Iterator[tuple[int, str, str]]:
    """Line, name and number as a word; the number is empty in a list of names alone."""
    last = len(text.lines)
    while last and not text.lines[last - 1]:
        last -= 1
    for line, content in enumerate(text.lines[:last], 1):
        inside = content.strip(" \t")
        if not numbered:
            if not content:
                why = "an empty line is no name, and would shift the labels behind it"
                raise text.wrong(line, why)
            if " " in inside or "\t" in inside:
                raise text.wrong(line, "1 columns are expected, as in the first line")
            yield line, inside or content, ""
        elif inside:
            whole = content.rstrip(" \t")
            cut = max(whole.rfind(" "), whole.rfind("\t"))
            name = whole[: max(cut, 0)].strip(" \t") or whole[: max(cut, 0)]
            if not name or " " in name.strip(" \t") or "\t" in name.strip(" \t"):
                raise text.wrong(line, "2 columns are expected, as in the first line")
            yield line, name, whole[cut + 1 :]


def table_of(names: Iterable[str]) -> SymbolTable:
    """The table of names in their order; EPSILON gets a free name."""
    listed = list(names)
    return SymbolTable(listed, epsilon=_free_name(set(listed)))


class Pronunciation(NamedTuple):
    """A word, its tokens, and the log-probability of this pronunciation."""

    word: int
    tokens: tuple[int, ...]
    score: float = 0.0


class Lexicon:
    """Words and their tokens (letters, phones, pieces); a word may have several pronunciations.

    Arguments: `pronunciations` labels of a word and of its tokens, and a log-probability; `words`
    and `tokens` their names. Raises ValueError for labels without a name, a word without tokens
    and the same pronunciation twice.
    """

    def __init__(
        self,
        pronunciations: Iterable[Pronunciation | tuple[int, Iterable[int], float]],
        words: SymbolTable,
        tokens: SymbolTable,
    ) -> None:
        self.words = words
        self.tokens = tokens
        self.pronunciations = [Pronunciation(w, tuple(t), s) for w, t, s in pronunciations]
        seen: set[tuple[int, tuple[int, ...]]] = set()
        for entry in self.pronunciations:
            if why := self._why_not(entry, seen):
                raise ValueError(f"Lexicon: {why}")
            seen.add((entry.word, entry.tokens))

    def _why_not(self, entry: Pronunciation, seen: set[tuple[int, tuple[int, ...]]]) -> str | None:
        if entry.word not in self.words:
            return f"label {entry.word} is not a word"
        name = self.words[entry.word]
        for token in entry.tokens:
            if token not in self.tokens:
                return f"word {name!r} has token {token}, which has no name"
        if not entry.tokens:
            return f"word {name!r} has no tokens"
        if (entry.word, entry.tokens) in seen:
            return f"word {name!r} has the same tokens twice"
        return None

    def __len__(self) -> int:
        """Pronunciations in the lexicon."""
        return len(self.pronunciations)

    def __repr__(self) -> str:
        return f"Lexicon({len(self)} pronunciations, {len(self.tokens)} tokens)"

    @classmethod
    def read(
        cls,
        path: PathLike,
        *,
        words: SymbolTable | None = None,
        tokens: SymbolTable | None = None,
        probabilities: bool = False,
    ) -> Lexicon:
        """Read lines `word token token ...`, as in Kaldi's lexicon.txt.

        Arguments: `words`, `tokens` the names that may occur; by default those that do, numbered
        from 0 in the order in which they first occur. `probabilities` reads Kaldi's lexiconp.txt,
        `word probability token token ...`. (Probabilities of silence, lexiconp_silprob.txt, are
        not read.)
        The file may be compressed by gzip; a word that is a blank is followed by a tab.
        Raises ValueError for a malformed line, a name that is not in its table, a probability
        outside (0, 1] and a pronunciation given twice, naming the line. Complexity: O(tokens).
        """
        text = Text.read("Lexicon.read", path)
        word_label, token_label = _Numbering(words), _Numbering(tokens)
        entries: dict[tuple[int, tuple[int, ...]], Pronunciation] = {}
        for line, (word, *spelled) in text.rows():
            try:
                if text.lines[line - 1][0] in " \t" and word.strip(" "):
                    raise ValueError("a line begins with its word, this one with a blank")
                chance = _log_probability(spelled) if probabilities else 0.0
                if not spelled:
                    raise ValueError(f"word {word!r} has no tokens")
                if not all(token.strip(" ") for token in spelled):
                    raise ValueError(f"word {word!r} has a token that is a blank")
                key = word_label(word), tuple(token_label(token) for token in spelled)
                if key in entries:
                    raise ValueError("this pronunciation is given twice")
            except ValueError as error:
                raise text.wrong(line, error) from None
            entries[key] = Pronunciation(*key, chance)
        return cls(entries.values(), word_label.table(), token_label.table())

    def write(self, path: PathLike, *, probabilities: bool = False) -> None:
        """Write what `read` reads. Raises ValueError for names with blanks in them, and for
        log-probabilities other than 0 that `probabilities` is not there to write.
        """
        lines = []
        for word, tokens, chance in self.pronunciations:
            names = [self.words.name(word), *self.tokens.names(tokens)]
            for name in names:
                if any(separator in name for separator in " \t\n\r"):
                    raise ValueError(f"Lexicon.write: {name!r} has a blank in it")
            if probabilities:
                names.insert(1, repr(math.exp(chance)))
            elif chance != 0:
                raise ValueError(
                    f"Lexicon.write: {names[0]!r} has a probability: pass probabilities=True"
                )
            lines.append(" ".join(names) + "\n")
        replace_file(path, "".join(lines))

    def graph(
        self,
        *,
        write: Literal["last", "first"] = "last",
        dtype: torch.dtype | None = None,
    ) -> Graph:
        """The transducer from tokens to one word; for many one after another, `graph().star`.

        "last" shares prefixes (`gtnet.trie`): the last arc of a pronunciation writes the word and
        carries its log-probability. It is small, and what a search through [tokens, lexicon,
        grammar] wants (`beam_search`). But `compose` with a grammar follows every word to its end
        from every state of the grammar before the grammar refuses it: 20,000 words and 170,000
        n-grams take more than 100 million arcs. "first" gives each pronunciation a path of its own,
        whose first arc writes the word and carries the log-probability: the product then has a path
        for each n-gram, here 379,000 arcs, at the price of an arc for each word from the root.

        Raises ValueError for another `write`. Complexity: O(tokens).
        """
        if write not in ("last", "first"):
            raise ValueError(f'graph: write must be "last" or "first", got {write!r}')
        dtype = _numbers.float_dtype(dtype)
        if write == "first":
            return self._paths_apart(dtype)
        graph = trie([entry.tokens for entry in self.pronunciations], dtype=dtype)
        writes = graph.olabels >= 0
        entry = graph.olabels.clamp(min=0).long()
        words = torch.tensor([entry.word for entry in self.pronunciations] or [0])
        scores = torch.tensor([entry.score for entry in self.pronunciations] or [0.0], dtype=dtype)
        return Graph(
            graph.source,
            graph.target,
            graph.ilabels,
            torch.where(writes, words[entry], EPSILON),
            torch.where(writes, scores[entry], 0.0).to(dtype),
            start=graph.start,
            accept=graph.accept,
            num_states=graph.num_states,
        )

    def _paths_apart(self, dtype: torch.dtype) -> Graph:
        """State 0 starts; the arcs of a pronunciation lead through states in a row."""
        lengths = torch.tensor([len(entry.tokens) for entry in self.pronunciations]).long()
        tokens = [token for entry in self.pronunciations for token in entry.tokens]
        first = lengths.cumsum(0) - lengths
        target = torch.arange(1, len(tokens) + 1)
        source = target - 1
        source[first] = 0
        words = torch.full((len(tokens),), EPSILON)
        words[first] = torch.tensor([entry.word for entry in self.pronunciations]).long()
        weights = torch.zeros(len(tokens), dtype=dtype)
        weights[first] = torch.tensor([entry.score for entry in self.pronunciations], dtype=dtype)
        ends = (first + lengths).tolist()
        size = len(tokens) + 1
        return Graph(source, target, tokens, words, weights, accept=ends, num_states=size)


def _free_name(names: Container[str]) -> str:
    """A name for EPSILON that is not taken."""
    epsilon = "<eps>"
    while epsilon in names:
        epsilon += "'"
    return epsilon


def _log_probability(columns: list[str]) -> float:
    """Takes the probability off the columns."""
    if not columns:
        raise ValueError("a probability is missing")
    chance = score(columns.pop(0), "a probability")
    if not 0 < chance <= 1:
        raise ValueError(f"a probability must lie in (0, 1], got {chance}")
    return math.log(chance)


class _Numbering:
    """Labels of names: those of a table, or new ones in order of occurrence."""

    def __init__(self, table: SymbolTable | None) -> None:
        self._given = table
        self._found: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        if self._given is None:
            return self._found.setdefault(name, len(self._found))
        label = self._given.label(name)
        if label == EPSILON:
            raise ValueError(f"{name!r} is the name of EPSILON")
        return label

    def table(self) -> SymbolTable:
        if self._given is not None:
            return self._given
        return table_of(self._found)
