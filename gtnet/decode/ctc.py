"""A CTC decoder in one call: lexicon, language model, hotwords, n-best answers with times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import NEG_INF
from gtnet._files import PathLike
from gtnet._searched import Limits
from gtnet.beam_search import BeamSearch
from gtnet.build import linear
from gtnet.compose import compose
from gtnet.decode.context import context_graph
from gtnet.decode.hypotheses import Best, Hypothesis, Parts, Timed, best, columns, read
from gtnet.decode.words import grammar, spelled, word_loop
from gtnet.distance import viterbi_score
from gtnet.failure_graph import FailureGraph
from gtnet.free_alignments import ctc_topology
from gtnet.grammar import NGramModel
from gtnet.graph import Graph
from gtnet.history_graph import HistoryGraph
from gtnet.language_model import METHODS, LanguageModel, sentence_scores
from gtnet.lexicon import Lexicon, SymbolTable, table_of
from gtnet.remove_epsilon import remove_epsilon
from gtnet.scale import scale

_SMALL = 128  # labels; an arc from each to each is faster up to there, and takes less than 1 MB


def ctc_decoder(
    lexicon: Lexicon | PathLike | Iterable[str] | None = None,
    tokens: SymbolTable | PathLike | Sequence[str] = (),
    lm: NGramModel | LanguageModel | Graph | PathLike | None = None,
    *,
    nbest: int = 1,
    beam: float = 25.0,
    max_active: int = 500,
    lattice_beam: float = 10.0,
    lm_weight: float = 1.0,
    word_score: float = 0.0,
    unk_score: float = NEG_INF,
    sil_score: float = 0.0,
    log_add: bool = False,
    hotwords: Iterable[str | Sequence[str]] = (),
    hotword_weight: float = 2.0,
    blank: str | int = 0,
    separators: str | Sequence[str] = (),
    unk: str = "<unk>",
    dtype: torch.dtype = torch.float32,
) -> CTCDecoder:
    """A decoder from log-probabilities of CTC labels to words.

    Arguments:
        lexicon: pronunciations as a `Lexicon` or its file (`Lexicon.read`), several for a word if
            need be; a list of words, spelled by their characters; None for an open vocabulary,
            where words are what stands between separators.
        tokens: names of the labels of the network in order, blank included, or their file.
        lm: an n-gram model of words, or of tokens where there is no lexicon; or its file,
            ARPA or as `NGramModel.save` wrote it, which is read with `unk` if it has it. It backs
            off exactly. Or a network (`LanguageModel`) over the labels of the words of the lexicon
            (without one, of the tokens), where a word that is not in the lexicon has the label
            behind them: after each frame it is asked for the new histories of all items and
            survivors in one batch (`HistoryGraph`). Or any acceptor of labels of words (without a
            lexicon, of tokens), a grammar that says all that may be said.
        nbest: answers at most, that differ in words (without a lexicon: in tokens).
        beam, max_active: as in `beam_search`: how much worse than the best a path may be, and how
            many survive a frame. lattice_beam: which paths answers and confidences are made of.
        lm_weight: a factor on the scores of `lm`. word_score: added for each word. unk_score: added
            for each word that is not in the lexicon, of any tokens; -inf allows none. sil_score:
            added for each separator.
        log_add: the score of an answer is the sum over its alignments, not the best of them. Where
            scores are so flat that the best sums cannot be told for certain, the best of those
            with the 100 best alignments.
        hotwords: phrases to prefer: words of the lexicon with blanks between them or as a list;
            without a lexicon tokens, as a string of characters or a list. hotword_weight: added for
            each word (without a lexicon: token) of one that is said.
        blank: its name or label. separators: names of tokens that stand between words, such as "|"
            or " ". With a lexicon none of whose words spells one, two words have one at least
            between them. unk: the unknown word of `lm`, and the name under which it is looked up.
        dtype: of scores, that of the emissions.

    Raises TypeError or ValueError for names that are not there, for words that `lm` does not know
    where it has no `unk`, and as `beam_search`.
    Complexity: that of `beam_search` through the graphs, composed on demand: memory follows what is
    active. Gradient: none.
    """
    table = _tokens(tokens)
    return CTCDecoder(
        table,
        _lexicon(lexicon, table),
        _model(lm, unk),
        nbest=_checks.count("ctc_decoder", "nbest", nbest),
        limits=Limits(beam, max_active, min(lattice_beam, beam)),
        lm_weight=lm_weight,
        word_score=word_score,
        unk_score=unk_score,
        sil_score=sil_score,
        log_add=log_add,
        hotwords=[p if isinstance(p, str) else list(p) for p in hotwords],
        hotword_weight=hotword_weight,
        blank=blank,
        separators=[separators] if isinstance(separators, str) else list(separators),
        dtype=dtype,
    )


class CTCDecoder:
    """What `ctc_decoder` makes. Call it with a batch, or `stream()` for chunks of frames.

    Attributes: `graphs`, what `beam_search` goes through; `tokens` and `words`, their names (no
    words without a lexicon).
    """

    def __init__(
        self,
        tokens: SymbolTable,
        lexicon: Lexicon | None,
        lm: NGramModel | LanguageModel | Graph | None,
        *,
        nbest: int,
        limits: Limits,
        lm_weight: float,
        word_score: float,
        unk_score: float,
        sil_score: float,
        log_add: bool,
        hotwords: Sequence[str | list[str]],
        hotword_weight: float,
        blank: str | int,
        separators: Sequence[str],
        dtype: torch.dtype,
    ) -> None:
        self.tokens = tokens
        self.words = lexicon.words if lexicon is not None else None
        self._nbest, self._limits, self._log_add, self._lm = nbest, limits, log_add, lm
        size = len(tokens)
        empty = tokens.label(blank) if isinstance(blank, str) else blank
        empty = _checks.one_of("ctc_decoder", "blank", empty, size)
        apart = tokens.labels(separators)
        topology = ctc_topology(size, empty, dtype=dtype)
        if size <= _SMALL:
            topology = remove_epsilon(topology)
        written = torch.isin(topology.olabels, torch.tensor(apart, dtype=torch.int32))
        topology = topology.with_weights(topology.weights + sil_score * written)
        graphs: list[Graph | FailureGraph | HistoryGraph] = [topology]
        phrases = list(hotwords)
        loop, place = None, 0
        if lexicon is None:
            self._unknown = -1
            if phrases:
                spelt = [tokens.labels(phrase) for phrase in phrases]
                graphs.append(context_graph(spelt, size, weight=hotword_weight, dtype=dtype))
            if isinstance(lm, NGramModel):
                sayable = [label for label in tokens if label != empty]
                graphs.append(grammar("ctc_decoder", lm, tokens, sayable, None, lm_weight, dtype))
        else:
            words = lexicon.words
            self._unknown = max(words, default=-1) + 1
            place = len(graphs)
            loop = word_loop(
                lexicon,
                apart,
                word_score=word_score,
                unk=self._unknown,
                unk_score=unk_score,
                silent=[empty],
                dtype=dtype,
            )
            graphs.append(loop)
            if phrases:
                spelt = [words.labels(p.split() if isinstance(p, str) else p) for p in phrases]
                labels = self._unknown + 1
                graphs.append(context_graph(spelt, labels, weight=hotword_weight, dtype=dtype))
            if isinstance(lm, NGramModel):
                said = sorted({entry.word for entry in lexicon.pronunciations})
                other = self._unknown if unk_score > NEG_INF else None
                graphs.append(grammar("ctc_decoder", lm, words, said, other, lm_weight, dtype))
        if isinstance(lm, Graph):
            graphs.append(_scaled(lm, lm_weight, dtype))
        elif lm is not None and not isinstance(lm, NGramModel):
            graphs.append(HistoryGraph(lm, lm_weight))
        self.graphs = graphs
        self._parts = Parts(topology, loop, place, frozenset(apart), tokens.name, self._word)

    def __repr__(self) -> str:
        words = "open vocabulary" if self.words is None else f"{len(self.words)} words"
        return f"CTCDecoder({len(self.tokens)} tokens, {words}, lm {self._lm!r})"

    @cached_property
    def _search(self) -> BeamSearch:
        """The graphs laid out for all searches: a large language model takes a second."""
        beam, max_active, lattice_beam = self._limits
        return BeamSearch(self.graphs, beam=beam, max_active=max_active, lattice_beam=lattice_beam)

    def _word(self, label: int, spelling: str) -> str:
        return spelling if label == self._unknown or self.words is None else self.words[label]

    def __call__(
        self, log_probs: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> list[list[Hypothesis]]:
        """The answers of each item, best first.

        Arguments: `log_probs` [batch, frames, labels] on the CPU, `lengths` each item's frames.
        Where no path that survives ends with a word, the paths that are there are answers: their
        last tokens belong to no word. An item without any has none, and a UserWarning names it.
        """
        stream = self.stream()
        stream.feed(log_probs, lengths)
        return stream._hypotheses("fallback")

    def stream(self) -> CTCStream:
        """A decoder of a batch that comes in chunks of frames."""
        return CTCStream(self)

    def _lm_scores(self, said: Sequence[Sequence[Timed]]) -> list[float]:
        """Of sentences of words, without a lexicon of tokens."""
        model = self._lm
        if model is None:
            return [0.0] * len(said)
        if isinstance(model, NGramModel):
            return [model.score([model.label(one.name) for one in answer]) for answer in said]
        labels = [[one.label for one in answer] for answer in said]
        if isinstance(model, Graph):
            spelled = linear(labels, dtype=model.dtype)
            return viterbi_score(compose(spelled, model)).tolist() if said else []
        return sentence_scores(model, labels)


class CTCStream:
    """Takes frames chunk by chunk; what is said so far, or in all."""

    def __init__(self, decoder: CTCDecoder) -> None:
        self._decoder = decoder
        self._search = decoder._search._again()

    def feed(self, log_probs: Tensor, lengths: Tensor | Sequence[int] | None = None) -> None:
        """The next frames, as `BeamSearch.feed` takes them."""
        labels = len(self._decoder.tokens)
        if log_probs.ndim != 3 or log_probs.shape[2] != labels:
            raise ValueError(
                f"ctc_decoder: log_probs must be [batch, frames, {labels}], as there are {labels} "
                f"tokens, got {list(log_probs.shape)}"
            )
        given = lengths if lengths is None or isinstance(lengths, Tensor) else list(lengths)
        self._search.feed(log_probs.detach(), given)

    def hypotheses(self, *, partial: bool = False) -> list[list[Hypothesis]]:
        """The answers so far; `partial` also those in the middle of a word or sentence."""
        return self._hypotheses(True if partial else "fallback")

    def _hypotheses(self, partial: bool | str) -> list[list[Hypothesis]]:
        decoder = self._decoder
        with torch.no_grad():
            lattice = self._search._lattice(partial)  # type: ignore[arg-type]
        rows, lengths = self._search._rows()
        first_arc, first_row = lattice.arc_offsets.tolist(), [0, *lengths.cumsum(0).tolist()]
        drafts = []
        for item in range(len(lattice)):
            seen = rows[first_row[item] : first_row[item + 1]]
            for answer in best(lattice[item], decoder._nbest, decoder._log_add):
                arcs = torch.tensor(answer.arcs, dtype=torch.int64) + first_arc[item]
                tokens, words, labels = read(columns(lattice, arcs, decoder._parts), decoder._parts)
                chosen = torch.tensor(labels, dtype=torch.int64)[:, None]
                acoustic = float(seen.gather(1, chosen).double().sum())
                drafts.append(_Draft(item, answer, tokens, words, acoustic))
        without = decoder.words is None
        scores = decoder._lm_scores([d.tokens if without else d.words for d in drafts])
        found: list[list[Hypothesis]] = [[] for _ in range(len(lattice))]
        for (item, answer, tokens, words, acoustic), score in zip(drafts, scores, strict=True):
            found[item].append(
                Hypothesis(tokens, words, answer.score, acoustic, score, answer.confidence)
            )
        return found


class _Draft(NamedTuple):
    """An answer of an item, before the language model has said what it is worth."""

    item: int
    answer: Best
    tokens: list[Timed]
    words: list[Timed]
    acoustic: float


def _tokens(tokens: SymbolTable | PathLike | Sequence[str]) -> SymbolTable:
    if isinstance(tokens, str | os.PathLike):
        tokens = SymbolTable.read(tokens, labels="raw")
    table = tokens if isinstance(tokens, SymbolTable) else table_of(tokens)
    if not table or set(table) != set(range(len(table))):
        raise ValueError(
            f"ctc_decoder: tokens must name the labels 0 to n - 1 of the network, got {table!r}"
        )
    return table


def _lexicon(
    lexicon: Lexicon | PathLike | Iterable[str] | None, tokens: SymbolTable
) -> Lexicon | None:
    if lexicon is None or isinstance(lexicon, Lexicon):
        if lexicon is not None and dict(lexicon.tokens) != dict(tokens):
            raise ValueError(
                "ctc_decoder: lexicon has other tokens: read it with Lexicon.read(..., tokens=)"
            )
        return lexicon
    if isinstance(lexicon, str | os.PathLike):
        return Lexicon.read(lexicon, tokens=tokens)
    return spelled(lexicon, tokens)


def _scaled(graph: Graph, factor: float, dtype: torch.dtype) -> Graph:
    scaled = scale(graph.detach().to(dtype), factor)
    assert isinstance(scaled, Graph)
    return scaled


def _model(
    lm: NGramModel | LanguageModel | Graph | PathLike | None, unk: str
) -> NGramModel | LanguageModel | Graph | None:
    if not isinstance(lm, str | os.PathLike):
        if isinstance(lm, Graph):
            if len(lm) != 1 or not lm.is_acceptor:
                raise ValueError(
                    f"ctc_decoder: lm must be one acceptor, got {len(lm)} graphs"
                    f"{'' if lm.is_acceptor else ' that write labels of their own'}"
                )
            return lm
        if lm is None or isinstance(lm, NGramModel):
            return lm
        missing = [name for name in METHODS if not hasattr(lm, name)]
        if missing:
            raise TypeError(
                f"ctc_decoder: lm must be an NGramModel, a Graph, a file or a network with start, "
                f"step and scores, got {type(lm).__name__} without {', '.join(missing)}"
            )
        return lm
    saved = os.fspath(lm).endswith(".safetensors")
    model = NGramModel.load(lm) if saved else NGramModel.read(lm)
    return model.with_unk(unk) if unk in model.symbols.values() else model
