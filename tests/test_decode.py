"""ctc_decoder: against enumeration of all answers, decomposed scores, times, words of all kinds."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from real_data import DATA, needs
from torch.nn.functional import ctc_loss

from gtnet import (
    Emissions,
    Graph,
    Lexicon,
    NGramModel,
    SymbolTable,
    beam_search,
    best_answers,
    forward_score,
    linear,
)
from gtnet.decode import context_graph, ctc_decoder

NAMES = ["-", "a", "b", "|"]
WIDE = {"beam": math.inf, "lattice_beam": math.inf, "max_active": 10**6, "dtype": torch.float64}
pytestmark = pytest.mark.filterwarnings("ignore:beam_search. after the last frame")
ARPA = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-99 <s> -0.4
-1.0 </s>
-0.9 <unk> -0.1
-0.5 a -0.3
-0.7 ab -0.2
-0.8 b

\\2-grams:
-0.2 <s> ab
-0.6 ab b
-0.3 b </s>
-0.4 a <unk>

\\end\\
"""


def frames(length: int, seed: int, labels: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(1, length, labels, generator=generator, dtype=torch.float64)
    return scores.log_softmax(-1)


def spoken(text: str, names: list[str], sure: float = 0.9) -> torch.Tensor:
    """A character for two frames, then a blank."""
    labels = [names.index(c) for char in text for c in (char, char, "-")]
    rest = (1 - sure) / (len(names) - 1)
    scores = torch.full((1, len(labels), len(names)), rest)
    scores[0, torch.arange(len(labels)), torch.tensor(labels)] = sure
    return scores.log()


def summed(scores: torch.Tensor, tokens: tuple[int, ...]) -> float:
    """The log-probability of a label sequence by torch."""
    target = torch.tensor([tokens], dtype=torch.int64).reshape(1, -1)
    sizes = torch.tensor([scores.shape[1]]), torch.tensor([len(tokens)])
    return -ctc_loss(scores.transpose(0, 1), target, *sizes, reduction="sum").item()


def all_tokens(length: int, labels=(1, 2, 3)):
    return (t for n in range(length + 1) for t in itertools.product(labels, repeat=n))


@pytest.mark.parametrize("seed", range(3))
def test_sums_over_alignments_are_those_of_enumeration(seed):
    scores = frames(4, seed)
    decoder = ctc_decoder(tokens=NAMES, separators="|", nbest=5, log_add=True, **WIDE)
    (found,) = decoder(scores)
    every = sorted(((summed(scores, t), t) for t in all_tokens(4)), reverse=True)[:5]
    assert [tuple(t.label for t in h.tokens) for h in found] == [t for _, t in every]
    for hypothesis, (score, tokens) in zip(found, every, strict=True):
        assert hypothesis.score == pytest.approx(score)
        assert hypothesis.confidence == pytest.approx(math.exp(score))
        assert "|".join(w.name for w in hypothesis.words) in "".join(NAMES[t] for t in tokens)


@pytest.fixture
def trigrams(tmp_path):
    file = tmp_path / "model.arpa"
    file.write_text(ARPA)
    return NGramModel.read(file, unk="<unk>")


def words_of(tokens: tuple[int, ...]) -> list[str]:
    return [word for word in "".join(NAMES[t] for t in tokens).split("|") if word]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("lexicon", [["a", "ab", "b", "ba"], None])
def test_words_and_a_model_score_as_the_definition_says(trigrams, seed, lexicon):
    """By enumeration of all token sequences: the acoustic sum, the model, words and separators."""
    scores = frames(4, seed)
    weights = {"lm_weight": 0.7, "word_score": 0.3, "sil_score": -0.2}
    lm = trigrams if lexicon else None
    decoder = ctc_decoder(
        lexicon, NAMES, lm, separators="|", log_add=True, nbest=3, **weights, **WIDE
    )
    (found,) = decoder(scores)
    sums: dict[tuple, list[float]] = {}
    for tokens in all_tokens(4):
        words = words_of(tokens)
        if lexicon and any(word not in lexicon for word in words):
            continue
        score = summed(scores, tokens) - 0.2 * tokens.count(3)
        if lexicon:
            score += 0.3 * len(words) + 0.7 * trigrams.score([trigrams.label(w) for w in words])
        sums.setdefault(tuple(words) if lexicon else tokens, []).append(score)
    totals = {key: torch.tensor(s).logsumexp(0).item() for key, s in sums.items()}
    expected = sorted(totals.values(), reverse=True)[:3]
    torch.testing.assert_close([h.score for h in found], expected)
    for h in found:
        key = tuple(w.name for w in h.words) if lexicon else tuple(t.label for t in h.tokens)
        assert h.score == pytest.approx(totals[key])
        if lexicon:
            assert h.lm_score == pytest.approx(trigrams.score([trigrams.label(w) for w in key]))


def test_the_score_is_the_sum_of_its_parts(trigrams):
    decoder = ctc_decoder(
        ["a", "ab", "b", "ba"], NAMES, trigrams, separators="|", nbest=4, lm_weight=0.5,
        word_score=1.0, sil_score=-0.25, **WIDE,
    )  # fmt: skip
    (found,) = decoder(frames(9, 3))
    assert len(found) == 4 and len({h.text for h in found}) == 4
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    for h in found:
        silences = sum(t.name == "|" for t in h.tokens)
        parts = h.acoustic_score + 0.5 * h.lm_score + len(h.words) - 0.25 * silences
        assert h.score == pytest.approx(parts)
    assert sum(h.confidence for h in found) <= 1 + 1e-9


def test_tokens_and_words_have_frames():
    names = ["-", *"abc "]
    decoder = ctc_decoder(["ab", "cab", "c"], names, separators=" ")
    ((best,),) = decoder(spoken("cab ab", names))
    assert best.text == "cab ab" and 0.8 < best.confidence <= 1
    assert best.tokens[:2] == [("c", 3, 0, 2), ("a", 1, 3, 5)]
    assert best.words == [("cab", 1, 0, 8), ("ab", 0, 12, 17)]
    ((open_,),) = ctc_decoder(tokens=names, separators=" ")(spoken("cab ab", names))
    assert open_.words == [("cab", -1, 0, 8), ("ab", -1, 12, 17)]
    pieces = ["-", "▁a", "b", "▁c"]
    ((pieced,),) = ctc_decoder(tokens=pieces)(torch.eye(4)[None, [1, 2, 2, 3, 0]].log())
    assert [(w.name, w.start, w.end) for w in pieced.words] == [("ab", 0, 3), ("c", 3, 4)]


def test_words_outside_of_the_lexicon(trigrams):
    names = ["-", *"abc "]
    scores = spoken("ab cc", names)
    closed, open_ = (
        ctc_decoder(["ab", "c"], names, trigrams, separators=" ", unk_score=score)
        for score in (-math.inf, -1.0)
    )
    ((best,),) = open_(scores)
    assert [(w.name, w.start, w.end) for w in best.words] == [("ab", 0, 5), ("cc", 9, 14)]
    known = trigrams.score([trigrams.label("ab"), trigrams.unk])
    assert best.lm_score == pytest.approx(known)
    assert best.score == pytest.approx(best.acoustic_score + known - 1.0, abs=1e-4)
    assert closed(scores)[0][0].text == "ab c"


def test_pronunciations_of_one_word_and_lexicons_that_spell_separators(tmp_path):
    file = tmp_path / "lexicon.txt"
    file.write_text("either a b |\neither b a |\nan a |\n")
    names = ["-", "a", "b", "|"]
    decoder = ctc_decoder(file, names, separators="|")
    for said, text in (("ab|ba|", "either either"), ("a|ab|", "an either")):
        assert decoder(spoken(said, names))[0][0].text == text
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("".join(f"{name}\n" for name in names))
    again = ctc_decoder(Lexicon.read(file, tokens=SymbolTable(names)), tokens, separators=["|"])
    assert again(spoken("ba|", names))[0][0].text == "either"


def plain_reward(text: tuple[int, ...], phrases: list[tuple[int, ...]], weight: float) -> float:
    """Of each occurrence of a phrase its labels, less those of the longest that it begins with."""
    total = 0.0
    for phrase in set(phrases):
        shorter = [p for p in phrases if len(p) < len(phrase) and phrase[: len(p)] == p]
        own = len(phrase) - max(map(len, shorter), default=0)
        places = range(len(text) - len(phrase) + 1)
        total += weight * own * sum(text[i : i + len(phrase)] == phrase for i in places)
    return total


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple), max_size=4))
def test_a_context_graph_rewards_what_occurs(phrases):
    graph = context_graph(phrases, 3, weight=1.5, dtype=torch.float64)
    texts = [t for t in all_tokens(4, (0, 1, 2)) if t][::5]
    emissions = Emissions(torch.zeros(len(texts), 4, 3).double(), [len(t) for t in texts])
    found = beam_search(emissions, [linear(texts, dtype=torch.float64), graph], beam=math.inf)
    expected = torch.tensor([plain_reward(t, phrases, 1.5) for t in texts], dtype=torch.float64)
    torch.testing.assert_close(forward_score(found), expected)


def test_hotwords_win_where_they_help():
    names = ["-", *"abc "]
    scores = (spoken("ab ca", names, 0.6).exp() + spoken("ab cb", names, 0.6).exp()).log()
    scores = scores.log_softmax(-1)
    lexicon = ["ab", "ca", "cb"]
    for hot in (["cb"], ["ab cb"], [["ab", "cb"]]):
        said = ctc_decoder(lexicon, names, separators=" ", hotwords=hot)(scores)[0][0]
        assert said.text == "ab cb"
        broken = ctc_decoder(lexicon, names, separators=" ", hotwords=["cb cb cb"], nbest=9)
        plain = ctc_decoder(lexicon, names, separators=" ", nbest=9)
        ours, theirs = ({h.text: h.score for h in d(scores)[0]} for d in (broken, plain))
        assert ours["ab ca"] == pytest.approx(theirs["ab ca"], abs=1e-4)
    open_ = ctc_decoder(tokens=names, separators=" ", hotwords=["cb"], hotword_weight=0.5)
    assert open_(scores)[0][0].text == "ab cb"
    with pytest.raises(ValueError, match="no label is named 'x'"):
        ctc_decoder(lexicon, names, hotwords=["x"])


def test_batches_and_streams(trigrams):
    lexicon = ["a", "ab", "b", "ba"]
    decoder = ctc_decoder(lexicon, NAMES, trigrams, separators="|", nbest=2)
    scores = torch.cat([frames(12, seed) for seed in range(3)]).float()
    whole = decoder(scores, [12, 7, 0])
    assert [len(found) for found in whole] == [2, 2, 1]
    assert whole[1] == decoder(scores[1:2, :7])[0]
    assert whole[2][0].words == [] and whole[2][0].acoustic_score == 0
    stream = decoder.stream()
    for begin in range(0, 12, 5):
        chunk = scores[:, begin : begin + 5]
        stream.feed(chunk, [min(max(n - begin, 0), chunk.shape[1]) for n in (12, 7, 0)])
        assert len(stream.hypotheses(partial=True)) == 3
    assert stream.hypotheses() == whole
    names = ["-", *"abc "]
    ((partial,),) = ctc_decoder(["abc"], names, beam=4.0)(spoken("ab", names, 0.9999))
    assert partial.words == [] and [t.name for t in partial.tokens] == ["a", "b"]


def test_streams_of_one_decoder_do_not_see_each_other(trigrams):
    decoder = ctc_decoder(["a", "ab", "b", "ba"], NAMES, trigrams, separators="|", nbest=2)
    first, second = (frames(9, seed).float() for seed in (1, 2))
    alone = [decoder(scores)[0] for scores in (first, second)]
    streams = decoder.stream(), decoder.stream()
    for begin in range(0, 9, 3):
        for stream, scores in zip(streams, (first, second), strict=True):
            stream.feed(scores[:, begin : begin + 3])
    assert [stream.hypotheses()[0] for stream in streams] == alone


def test_a_grammar_says_all_that_may_be_said():
    """A Graph as language model: against the decoder without it, and the graph's own scores."""
    words = ["a", "ab", "b"]
    weights = torch.tensor([-0.5, 0.25, -1.0], dtype=torch.float64)
    plan = Graph([0, 1, 0], [1, 2, 2], [0, 2, 1], None, weights, accept=2)
    options = {"separators": "|", "nbest": 60, **WIDE}
    (free,) = ctc_decoder(words, NAMES, **options)(frames(5, 1))
    (found,) = ctc_decoder(words, NAMES, plan, lm_weight=2.0, **options)(frames(5, 1))
    plain = {h.text: h.score for h in free}
    assert {h.text: h.lm_score for h in found} == {"a b": -0.25, "ab": -1.0}
    for h in found:
        assert h.score == pytest.approx(plain[h.text] + 2 * h.lm_score)
    with pytest.raises(ValueError, match="lm must be one acceptor, got 2 graphs"):
        ctc_decoder(words, NAMES, linear([[0], [1]]))


def test_sums_of_flat_scores_are_those_of_the_best_candidates(monkeypatch):
    """Where exact sums take too many prefixes an answer is given all the same."""
    few = functools.partial(best_answers, max_prefixes=2)
    monkeypatch.setattr("gtnet.decode.hypotheses.best_answers", few)
    scores = frames(4, 0)
    decoder = ctc_decoder(tokens=NAMES, log_add=True, nbest=3, **WIDE)
    (found,) = decoder(scores)
    assert len(found) == 3
    for h in found:
        assert h.score == pytest.approx(summed(scores, tuple(t.label for t in h.tokens)))
    assert found[0].score >= found[1].score >= found[2].score


def test_errors_name_what_is_wrong(tmp_path, trigrams):
    file = tmp_path / "model.arpa"
    file.write_text(ARPA.replace("<unk>", "other"))
    without = NGramModel.read(file)
    cases = [
        (lambda: ctc_decoder(["a"], []), "tokens must name the labels 0 to n - 1"),
        (lambda: ctc_decoder(["c"], NAMES), "no label is named 'c'"),
        (lambda: ctc_decoder(["ba", "bb"], NAMES, without), r"2 words are not in lm \('ba', 'bb'"),
        (lambda: ctc_decoder(["a"], NAMES, blank="x"), "no label is named 'x'"),
        (lambda: ctc_decoder(["a"], NAMES, blank=4), "blank"),
        (lambda: ctc_decoder(["a"], NAMES, separators=" "), "no label is named ' '"),
        (lambda: ctc_decoder(tokens=NAMES, lm=without), r"not in lm \('\|'\)"),
        (lambda: ctc_decoder(["a"], NAMES)(torch.zeros(1, 2, 3)), r"log_probs must be \[batch,"),
        (lambda: NGramModel.read(file, unk="<unk>"), "no label is named '<unk>'"),
        (lambda: context_graph([[]], 3, weight=1.0), "phrase 0 has no labels"),
        (lambda: context_graph([[3]], 3, weight=1.0), "a label"),
        (lambda: context_graph([[1]], 3, weight=math.nan), "weight must be finite"),
    ]
    for call, said in cases:
        with pytest.raises(ValueError, match=said):
            call()
    letters = Lexicon([(0, [0], 0.0)], SymbolTable(["w"]), SymbolTable("xyz"))
    with pytest.raises(ValueError, match="lexicon has other tokens"):
        ctc_decoder(letters, NAMES)
    assert "4 tokens, open vocabulary" in repr(ctc_decoder(tokens=NAMES))


needs_outputs = needs("ctc_outputs/wordbeamsearch/data/bentham/mat_2.csv", "outputs of networks")


@needs_outputs
def test_a_line_of_real_handwriting():
    """Bentham's line 2 with the words of its corpus, as the network of CTCWordBeamSearch saw it."""
    place = DATA / "ctc_outputs" / "wordbeamsearch" / "data" / "bentham"
    chars, inside, corpus = (
        (place / f"{name}.txt").read_text() for name in ("chars", "wordChars", "corpus")
    )
    rows = (place / "mat_2.csv").read_text().split()
    scores = torch.tensor([[float(v) for v in row.rstrip(";").split(";")] for row in rows])
    words = set("".join(c if c in inside else " " for c in corpus).split())
    decoder = ctc_decoder(
        sorted(words),
        [*chars, "blank"],
        blank="blank",
        separators=[c for c in chars if c not in inside],
    )
    ((best,),) = decoder(scores.log_softmax(-1)[None])
    assert best.text == "submitt both mental and corporeal is far beyond any idea"
    assert "corporeal, is" in "".join(token.name for token in best.tokens)


def test_a_saved_language_model_decodes_as_its_text_does(tmp_path):
    (tmp_path / "lm.arpa").write_text(ARPA)
    NGramModel.read(tmp_path / "lm.arpa").save(tmp_path / "lm.safetensors")
    found = [
        ctc_decoder(["ab", "b"], NAMES, lm, separators="|", nbest=3, **WIDE)(frames(5, 2))
        for lm in (tmp_path / "lm.arpa", tmp_path / "lm.safetensors")
    ]
    assert found[0] == found[1] and found[0][0][0].lm_score < 0
