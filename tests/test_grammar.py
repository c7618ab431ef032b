"""N-gram models: the exact acceptor is the model, the one with epsilons holds at least as much."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from damage import damaged, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from oracle import only, paths

import gtnet
from gtnet import (
    Emissions,
    NGramModel,
    SymbolTable,
    beam_search,
    forward_score,
    linear,
    viterbi_score,
)

ARPA = """\
A model of three words.

\\data\\
ngram 1=6
ngram 2=6
ngram 3=2

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.5
-0.8\t</s>
-0.6\ta\t-0.3
-0.7\tb\t-0.25
-0.9\tc

\\2-grams:
-0.2\t<s> a\t-0.125
-0.4\ta b\t-0.5
-0.3\tb </s>
-0.6\tb b
-0.9\tb c\t0.1
-0.5\ta </s>

\\3-grams:
-0.1\t<s> a b
-0.05\ta b </s>

\\end\\
"""


def model(tmp_path: Path, text: str = ARPA, **options) -> NGramModel:
    file = tmp_path / "model.arpa"
    file.write_text(text)
    return NGramModel.read(file, **options)


def sentences(words: int, length: int):
    return [s for n in range(length + 1) for s in itertools.product(range(words), repeat=n)]


def test_a_model_reads(tmp_path):
    trigrams = model(tmp_path)
    assert (trigrams.order, len(trigrams)) == (3, 14)
    assert list(trigrams.symbols.values()) == ["<unk>", "a", "b", "c"]
    assert repr(trigrams) == "NGramModel(order 3, 14 n-grams, 4 words)"
    a, b, c = trigrams.symbols.labels("abc")
    # <s> a, then <s> a b, then a b </s>.
    assert trigrams.score([a, b]) == pytest.approx(math.log(10) * (-0.2 - 0.1 - 0.05))
    # <s> backs off to c; c has no back-off; </s>.
    assert trigrams.score([c]) == pytest.approx(math.log(10) * (-0.5 - 0.9 - 0.8))
    # a b and then b have no c: both back off; b c is listed; b c </s>: back off twice.
    assert trigrams.score([a, b, c]) == pytest.approx(
        math.log(10) * (-0.2 - 0.1 + (-0.5 - 0.9) + (0.1 - 0.8))
    )
    assert trigrams.score([9]) == -math.inf


def test_the_exact_acceptor_is_the_model(tmp_path):
    trigrams = model(tmp_path)
    graph = trigrams.graph(backoff="exact", dtype=torch.float64)
    assert graph.is_acceptor and int(graph.ilabels.min()) >= 0
    texts = sentences(4, 3)
    scores = forward_score(gtnet.stack([linear(s, dtype=torch.float64) for s in texts]) @ graph)
    expected = [trigrams.score(s) for s in texts]
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64))
    one_path = paths(only(linear([1, 2, 2, 3], dtype=torch.float64) @ graph))
    assert len(one_path) == 1


def test_the_acceptor_with_epsilons_holds_at_least_as_much(tmp_path):
    trigrams = model(tmp_path)
    graph = trigrams.graph(dtype=torch.float64)
    texts = sentences(4, 3)
    lattices = gtnet.stack([linear(s, dtype=torch.float64) for s in texts]) @ graph
    expected = torch.tensor([trigrams.score(s) for s in texts], dtype=torch.float64)
    assert bool((viterbi_score(lattices) >= expected - 1e-9).all())
    assert bool((forward_score(lattices) >= expected - 1e-9).all())
    direct = torch.isclose(viterbi_score(lattices), expected)
    assert direct.float().mean() > 0.5  # and it is exact where nothing better backs off
    assert graph.num_arcs < trigrams.graph(backoff="exact").num_arcs


def test_a_search_with_failures_is_the_model(tmp_path):
    trigrams = model(tmp_path)
    grammar = trigrams.graph(backoff="failure", dtype=torch.float64)
    assert repr(grammar).startswith("FailureGraph(") and len(grammar) == 1
    said = [s for s in sentences(4, 3) if s]
    texts = linear(said, dtype=torch.float64)
    lengths = [len(s) for s in said]
    frames = Emissions(torch.zeros(len(said), 3, 4, dtype=torch.float64), lengths)
    lattice = beam_search(frames, [texts, grammar], beam=math.inf)
    expected = torch.tensor([trigrams.score(s) for s in said], dtype=torch.float64)
    torch.testing.assert_close(viterbi_score(lattice), expected)
    torch.testing.assert_close(forward_score(lattice), expected)


def test_weights_are_leaves_of_the_dtype(tmp_path):
    for backoff in ("epsilon", "exact"):
        graph = model(tmp_path).graph(backoff=backoff)
        assert graph.dtype == torch.float32 and graph.weights.is_leaf
        graph.requires_grad_()
        forward_score(linear([1, 2]) @ graph).sum().backward()
        assert graph.weights.grad.abs().sum() > 0
    with pytest.raises(ValueError, match=r"exact back-off takes \d+ histories x 4 words.*max_arcs"):
        model(tmp_path).graph(backoff="exact", max_arcs=10)
    with pytest.raises(ValueError, match='backoff must be "epsilon", "exact" or'):
        model(tmp_path).graph(backoff="none")


def test_an_unknown_word_stands_for_what_the_model_lacks(tmp_path):
    text = ARPA.replace("2=6", "2=7").replace("\ta </s>", "\ta </s>\n-0.7\ta <unk>", 1)
    table = SymbolTable(["<unk>", "a", "b", "c", "d", "e"])
    known = model(tmp_path, text, symbols=table)
    assert (known.unk, known.knows(4), known.score([4])) == (None, False, -math.inf)
    trigrams = model(tmp_path, text, symbols=table, unk="<unk>")
    assert (trigrams.unk, trigrams.knows(4), trigrams.label("d")) == (0, True, 4)
    assert trigrams.label("elsewhere") == 0 and known.with_unk("<unk>").score([1, 4]) > -math.inf
    exact = trigrams.graph(backoff="exact", dtype=torch.float64)
    assert trigrams.score([1, 4, 2]) == trigrams.score([1, 0, 2])
    said = [[1, 4, 2], [4], [5, 1], [1, 0, 4], [2, 3, 5]]
    texts = linear(said, dtype=torch.float64)
    found = forward_score(texts @ exact)
    assert found.tolist() == pytest.approx([trigrams.score(s) for s in said])
    assert (viterbi_score(texts @ trigrams.graph(dtype=torch.float64)) >= found - 1e-9).all()
    with pytest.raises(ValueError, match="no label is named 'other'"):
        model(tmp_path, text, unk="other")


def test_words_get_the_labels_of_a_table(tmp_path):
    table = SymbolTable(["c", "b", "a", "<unk>", "z"])
    ours, theirs = model(tmp_path), model(tmp_path, symbols=table)
    assert theirs.symbols is table
    assert theirs.score(table.labels("abc")) == ours.score(ours.symbols.labels("abc"))
    few = SymbolTable("ab")
    with pytest.raises(ValueError, match=r"model.arpa:9: '<unk>' is not among the symbols"):
        model(tmp_path, symbols=few)
    skipped = model(tmp_path, symbols=few, missing="skip")
    assert skipped.score([0, 1]) == ours.score([1, 2]) and len(skipped) == 11
    assert skipped.graph(backoff="exact").num_arcs % 2 == 0
    with pytest.raises(ValueError, match='missing must be "error" or "skip"'):
        model(tmp_path, missing="ignore")


def test_left_out_beginnings_are_made_up(tmp_path):
    text = ARPA.replace("-0.4\ta b\t-0.5\n", "").replace("ngram 2=6", "ngram 2=5")
    trigrams = model(tmp_path, text)
    graph = trigrams.graph(backoff="exact", dtype=torch.float64)
    for words in sentences(4, 3):
        score = forward_score(linear(words, dtype=torch.float64) @ graph).item()
        assert score == pytest.approx(trigrams.score(words))
    assert trigrams.score([1, 1, 2]) == pytest.approx(
        math.log(10) * (-0.2 + (-0.125 - 0.3 - 0.6) + (-0.3 - 0.7) - 0.05)
    )


def test_unigrams_and_models_without_marks(tmp_path):
    text = "\\data\\\nngram 1=2\n\\1-grams:\n-0.5 a\n-1 </s>\n\\end\\\n"
    unigrams = model(tmp_path, text)
    for backoff in ("epsilon", "exact"):
        graph = unigrams.graph(backoff=backoff, dtype=torch.float64)
        assert (graph.num_states, graph.num_arcs) == (1, 1)
        score = forward_score(linear([0, 0], dtype=torch.float64) @ graph).item()
        assert score == pytest.approx(unigrams.score([0, 0])) == pytest.approx(-2 * math.log(10))
    empty = model(tmp_path, "\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n")
    assert forward_score(empty.graph()).item() == -math.inf
    assert empty.graph(backoff="exact").num_arcs == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", "no .data"),
        ("\\end\\", "", "end. is missing, the rest of the file"),
        ("ngram 2=6", "ngram 2=7", r":24: the section of 2-grams has 6, .data. says 7"),
        ("ngram 2=6", "ngram 2 6", ":5: a line `ngram order=count` is expected: 'ngram 2 6'"),
        ("ngram 2=6", "ngram 4=6", ":5: order 2 is expected"),
        ("ngram 2=6", "ngram 2=six", ":5: a count must be an integer"),
        ("\\2-grams:", "\\3-grams:", ":16: .data. names no such section of 2-grams"),
        ("-0.6\tb b", "-0.6\tb b b b", ":20: a 2-gram has 3 to 4 columns, got 5"),
        ("-0.1\t<s> a b", "-0.1\t<s> a b -1", ":25: a 3-gram has 4 to 4 columns, got 5"),
        ("-0.6\tb b", "x\tb b", ":20: a log-probability must be a number, got 'x'"),
        ("a\t-0.3", "a\tlow", ":12: a back-off weight must be a number, got 'low'"),
        ("-0.6\tb b", "-0.6\tb d", ":20: 'd' is not among the 1-grams"),
        ("-0.6\tb b", "-0.6\ta b", ":20: this n-gram is listed twice"),
        ("-0.6\tb b", "-0.6\tb <s>", ":20: a sentence begins or ends within the n-gram"),
        ("-0.6\tb b", "0.6\tb b", ":20: a log-probability must be 0 or less, got 0.6: '0.6"),
        ("-0.9\tc", "1e-9\tc", ":14: a log-probability must be 0 or less, got 1e-9"),
        ("\\end\\\n", "\\end\\\nmore\n", ":29: a line follows .end"),
        ("ngram 3=2\n", "ngram 3=2\nngram 4=0\n", ":29: .end. after 3 of 4 sections"),
    ],
)
def test_malformed_models_are_refused(tmp_path, old, new, message):
    assert old in ARPA
    with pytest.raises(ValueError, match=rf"NGramModel.read: .*model.arpa.*{message}"):
        model(tmp_path, ARPA.replace(old, new, 1))


@given(st.data())
def test_damaged_models_are_refused_or_others(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "model.arpa"
    found = read_or_refuse(file, data.draw(damaged(ARPA.encode())), NGramModel.read)
    if found is not None:
        found.graph(backoff="exact")
        assert found.graph().num_states == found.graph(backoff="exact").num_states


def test_a_model_cut_anywhere_is_refused(tmp_path):
    file, whole = tmp_path / "cut.arpa", ARPA.encode()
    for end in range(len(whole) - 1):
        assert read_or_refuse(file, whole[:end], NGramModel.read) is None
    assert len(read_or_refuse(file, whole[:-1], NGramModel.read)) == len(model(tmp_path))


# Estimated models

COUNTED = [[0], [0, 1], [0, 1, 1], [2, 1]]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_estimated_shares_add_up_behind_every_history(order):
    graph = NGramModel.of(COUNTED, order, "abc").graph(backoff="exact", dtype=torch.float64)
    assert graph.num_arcs == 3 * graph.num_states
    arcs = graph.weights.reshape(graph.num_states, 3)
    total = torch.cat([arcs, graph.accept[:, None]], 1).logsumexp(1)
    assert torch.allclose(total, torch.zeros_like(total), atol=1e-12)


def test_estimated_shares_are_those_of_witten_and_bell():
    model = NGramModel.of([[0], [0, 1]], 2, SymbolTable("ab"))
    # Words and ends: 2, 1 and 2 of 5, of 3 kinds; 3 further ones are spread over all three alike.
    first, second = 3 / 8, 2 / 8
    assert model.score([0]) == pytest.approx(math.log((2 + first) / 3 * (1 + 2 * 3 / 8) / 4))
    assert model.score([1]) == pytest.approx(math.log(1 / 3 * second * (1 + 3 / 8) / 2))
    assert model.score([0, 1]) > model.score([1, 0])


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=6), st.integers(1, 4))
def test_estimated_models_have_exact_acceptors(found, order):
    model = NGramModel.of(found, order, ["x", "y", "z"])
    graph = model.graph(backoff="exact", dtype=torch.float64)
    for sentence in [*found, [2, 0, 0, 1]]:
        score = float(forward_score(gtnet.compose(graph, linear(sentence, dtype=torch.float64))))
        assert score == pytest.approx(model.score(sentence)) and score > -math.inf


def test_counts_are_repetitions_and_rare_histories_are_not_told_apart():
    twice = NGramModel.of([*COUNTED, COUNTED[2]], 3, "abc")
    counted = NGramModel.of(COUNTED, 3, "abc", counts=[1, 1, 2, 1])
    assert counted.score([0, 1, 1]) == pytest.approx(twice.score([0, 1, 1]))
    every = NGramModel.of(COUNTED, 3, "abc").graph(backoff="exact").num_states
    few = NGramModel.of(COUNTED, 3, "abc", least=3).graph(backoff="exact").num_states
    assert 1 < few < every


@pytest.mark.parametrize(
    ("sentences", "options", "message"),
    [
        ([], {}, "at least one sentence"),
        ([[0], [0, 3]], {}, "sentence 1 holds label 3, which is not among the 3 symbols"),
        ([[0]], {"order": 0}, "order must be at least 1"),
        ([[0]], {"counts": [1, 2]}, "1 sentences, 2 counts"),
        ([[0], [1]], {"counts": [1, 0]}, r"counts\[1\] is 0"),
        ([[0]], {"least": math.inf}, "least must be positive and finite"),
    ],
)
def test_what_cannot_be_estimated_is_named(sentences, options, message):
    with pytest.raises(ValueError, match=message):
        NGramModel.of(sentences, **{"order": 2, "symbols": "abc", **options})


# Saved models


def alike(found: NGramModel, expected: NGramModel) -> bool:
    names = (dict(found.symbols), found.symbols.epsilon, found.unk, found.order, len(found))
    own = dict(expected.symbols), expected.symbols.epsilon, expected.unk
    return names == (*own, expected.order, len(expected)) and found.graph(
        dtype=torch.float64
    ).equal(expected.graph(dtype=torch.float64))


@pytest.mark.parametrize("unk", [None, "<unk>"])
def test_a_saved_model_is_the_same(tmp_path, unk):
    table = SymbolTable({7: "c", 9: "b", 3: "a", 0: "<unk>", 5: "é z"}, epsilon="ε")
    saved = tmp_path / "model.safetensors"
    for expected in (
        model(tmp_path, unk=unk),
        model(tmp_path, symbols=table, unk=unk),
        NGramModel.of(COUNTED, 3, "abc"),
        model(tmp_path, "\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n"),
    ):
        expected.save(saved)
        found = NGramModel.load(saved)
        assert alike(found, expected)
        assert found.score([1, 2]) == expected.score([1, 2])


def test_other_files_are_no_models(tmp_path):
    saved = tmp_path / "model.safetensors"
    model(tmp_path).save(saved)
    whole = saved.read_bytes()
    for end in range(0, len(whole), 7):
        assert read_or_refuse(saved, whole[:end], NGramModel.load) is None
    middle = len(whole) - 40
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for data, why in (
        (changed, "its checksum is wrong"),
        (whole.replace(b'"version":"1"', b'"version":"2"'), "version 2, this gtnet reads 1"),
    ):
        saved.write_bytes(data)
        with pytest.raises(ValueError, match=f"NGramModel.load: cannot read .*{why}"):
            NGramModel.load(saved)
    gtnet.save(linear([1, 2]), saved)
    with pytest.raises(ValueError, match=r"not written by NGramModel\.save"):
        NGramModel.load(saved)
    for function in (NGramModel.load, model(tmp_path).save):
        with pytest.raises(ValueError, match=r"the file must end in .safetensors, got"):
            function(tmp_path / "model.npz")


def test_blocks_and_lines_are_read_alike(tmp_path, monkeypatch):
    """Whole blocks at once, one line at a time, with odd blanks, and with lines in any order."""
    expected = model(tmp_path)
    for block in (1, 30, 1 << 20):
        monkeypatch.setattr("gtnet._arpa._BLOCK", block)
        for text in (
            ARPA,
            ARPA.replace("\t", "  "),
            ARPA.replace("\n", "\r\n"),
            ARPA.replace("-0.3\tb </s>", " -0.3 b \t</s> "),
            ARPA.replace("-0.6\tb b\n-0.9\tb c\t0.1\n", "-0.9\tb c\t0.1\n\n-0.6\tb b\n"),
        ):
            assert alike(model(tmp_path, text), expected)
        with pytest.raises(ValueError, match=r":26: this n-gram is listed twice: '-0.3.*s> a b'"):
            model(tmp_path, ARPA.replace("-0.05\ta b </s>", "-0.3\t<s> a b"))


def test_an_old_word_separator_is_no_blank(tmp_path):
    """Words are what stands between blanks and tabs, whatever else Unicode calls a blank."""
    for inside in ("\x0b", "\x0c", "\xa0", "\u2003", "\x1c"):
        odd = model(tmp_path, ARPA.replace("b", f"x{inside}y"))
        assert odd.symbols.label(f"x{inside}y") == 2 and len(odd) == 14


LETTERS = (
    "\\data\\\nngram 1=3\nngram 2=0\nngram 3=0\nngram 4=1\n\\1-grams:\n-1 a -0.5\n-1 b\n-1 </s>"
)


def test_several_lengths_may_be_left_out(tmp_path):
    sizes = "".join(f"ngram {order}={size}\n" for order, size in enumerate([3, 0, 0, 1], 1))
    letters = "\\1-grams:\n-1 a -0.5\n-1 b\n-1 </s>\n"
    longer = "\\2-grams:\n\\3-grams:\n\\4-grams:\n-0.1 a b a b\n"
    text = f"\\data\\\n{sizes}{letters}{longer}\\end\\\n"
    found = model(tmp_path, text)
    assert (found.order, len(found)) == (4, 6)
    exact = found.graph(backoff="exact", dtype=torch.float64)
    for said in ([0, 1, 0, 1], [0, 1, 1], [1, 0, 1, 0, 1]):
        score = float(forward_score(linear(said, dtype=torch.float64) @ exact))
        assert score == pytest.approx(found.score(said))
    assert found.score([0, 1, 0, 1]) == pytest.approx(-math.log(10) * (1 + 1.5 + 1 + 0.1 + 1))
