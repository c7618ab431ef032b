"""Symbol tables and lexicons: files that come back, errors with their line, tries."""

from __future__ import annotations

import math

import pytest
import torch
from damage import damaged, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from oracle import only, paths, relation

from gtnet import (
    EPSILON,
    Graph,
    Lexicon,
    SymbolTable,
    compose,
    draw,
    label_sequences,
    linear,
    viterbi_path,
)
from gtnet.lexicon import Pronunciation

NAMES = st.lists(
    st.text(st.characters(exclude_characters=" \t\r\n", exclude_categories=["Cs"]), min_size=1),
    unique=True,
    max_size=5,
).filter(lambda names: "<eps>" not in names)


def written(tmp_path, *lines: str):
    file = tmp_path / "file.txt"
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return file


# SymbolTable


def test_a_table_leads_both_ways():
    table = SymbolTable("abc", epsilon="-")
    assert (len(table), table[1], table.label("c"), table.epsilon) == (3, "b", 2, "-")
    assert table.labels("cab") == [2, 0, 1] and table.names([EPSILON, 1]) == ["-", "b"]
    assert dict(table) == {0: "a", 1: "b", 2: "c"} and SymbolTable(table) == table
    assert repr(SymbolTable(["a"])) == "SymbolTable(1 symbols: 0: 'a')"
    assert draw(linear([0, 2]), isymbols=table).dot.count("c") >= 1
    with pytest.raises(ValueError, match="no label is named 'd'"):
        table.label("d")
    with pytest.raises(ValueError, match="label 3 has no name"):
        table.name(3)


def test_tables_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="'a' cannot be the name of label 0 and label 2"):
        SymbolTable("aba")
    with pytest.raises(ValueError, match="'<eps>' cannot be the name of label -1 and label 0"):
        SymbolTable(["<eps>"])
    with pytest.raises(ValueError, match="'' cannot be the name of label 0"):
        SymbolTable([""])
    with pytest.raises(ValueError, match="a label must lie in"):
        SymbolTable({-1: "a"})
    with pytest.raises(TypeError, match="names must be str, got 3"):
        SymbolTable([3])


def test_rules_of_numbers(tmp_path):
    file = written(tmp_path, "<none> 0", "a 1", "b 3")
    table = SymbolTable.read(file)
    assert (dict(table), table.epsilon) == ({0: "a", 2: "b"}, "<none>")
    kept = SymbolTable.read(file, labels="kept")
    assert (dict(kept), kept.epsilon) == ({1: "a", 3: "b"}, "<none>")
    raw = SymbolTable.read(file, labels="raw")
    assert (dict(raw), raw.epsilon) == ({0: "<none>", 1: "a", 3: "b"}, "<eps>")
    plain = SymbolTable.read(written(tmp_path, "a", "<eps>", "", ""))
    assert (dict(plain), plain.epsilon) == ({0: "a", 1: "<eps>"}, "<eps>'")
    with pytest.raises(ValueError, match='labels must be "shifted", "kept" or "raw"'):
        SymbolTable.read(file, labels="shift")


@given(NAMES, st.sampled_from(["shifted", "kept", "raw"]), st.data())
def test_tables_come_back(tmp_path_factory, names, rule, data):
    file = tmp_path_factory.getbasetemp() / "symbols.txt"
    table = SymbolTable({i + (rule == "kept"): name for i, name in enumerate(names)})
    table.write(file, labels=rule)
    again = SymbolTable.read(file, labels=rule)
    assert again == table and list(again) == list(table) and again.epsilon == table.epsilon
    broken = data.draw(damaged(file.read_bytes()))
    read_or_refuse(file, broken, lambda path: SymbolTable.read(path, labels=rule))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a 1", "b"], "file.txt:2: 2 columns are expected, as in the first line: 'b'"),
        (["a", "b 1"], "file.txt:2: 1 columns are expected"),
        (["a 1 2"], "file.txt:1: 2 columns are expected"),
        (["a 1", "b c 2"], "file.txt:2: 2 columns are expected"),
        (["a 1", "\t2"], "file.txt:2: 2 columns are expected"),
        (["a", "", "b"], "file.txt:2: an empty line is no name, and would shift the labels"),
        (["", "a"], "file.txt:1: an empty line is no name"),
        (["a", "b\rc"], r"file.txt:2: a line ends in .* stands within this one"),
        (["a x"], "file.txt:1: a number must be an integer"),
        (["a -1"], "file.txt:1: a number must be 0 or more, got -1"),
        (["a 1", "b 1"], "file.txt:2: the number 1 is given twice"),
        (["a 1", "a 2"], "file.txt:2: the name 'a' is given twice"),
        (["<eps> 1"], "'<eps>' names an ordinary label; number 0 must name epsilon"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=f"SymbolTable.read: .*{message}"):
        SymbolTable.read(written(tmp_path, *lines))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_vocabulary_of_characters_holds_blanks(tmp_path, mark, end):
    file = tmp_path / "tokens.txt"
    names = ["!", " ", "a", "\t", "\u3000", "\xa0", "\x85", "\u2028", "\v", "  ", "z"]
    for listed in (names, [" ", *names[:1], *names[2:]], names[2:]):
        for text in (end.join([*listed, ""]), end.join(listed), end.join([*listed, "", ""])):
            file.write_bytes((mark + text).encode())
            assert list(SymbolTable.read(file).values()) == listed
        numbered = [f"{name} {number}" for number, name in enumerate(listed)]
        for separator in ("\n", "\n\n", "\n \t\n"):
            text = separator.join([*numbered, ""]).replace("\n", end)
            file.write_bytes((mark + text).encode())
            table = SymbolTable.read(file, labels="raw")
            assert dict(table) == dict(enumerate(listed))
        table = SymbolTable(listed)
        table.write(file)
        again = SymbolTable.read(file)
        assert again == table and again.epsilon == "<eps>"


def test_a_byte_order_mark_can_be_a_name(tmp_path):
    table = SymbolTable(["\ufeff", "a"])
    for rule in ("raw", "shifted"):
        table.write(tmp_path / "names", labels=rule)
        assert SymbolTable.read(tmp_path / "names", labels=rule) == table


def test_words_of_a_lexicon_may_be_blanks_and_tokens_not(tmp_path):
    lexicon = Lexicon.read(written(tmp_path, " \tsil", "a\tx y"))
    assert list(lexicon.words.values()) == [" ", "a"]
    assert list(lexicon.tokens.values()) == ["sil", "x", "y"]
    for lines, message in (
        (["a x", "  b y"], "file.txt:2: a line begins with its word, this one with a blank"),
        (["a x", "\tb y"], "file.txt:2: a line begins with its word"),
        (["a\tx\t \ty"], "file.txt:1: word 'a' has a token that is a blank"),
    ):
        with pytest.raises(ValueError, match=message):
            Lexicon.read(written(tmp_path, *lines))


def test_names_with_blanks_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="'a b' has a blank"):
        SymbolTable(["a b"]).write(tmp_path / "none")
    with pytest.raises(ValueError, match="hold label 0"):
        SymbolTable(["a"]).write(tmp_path / "none", labels="kept")


# Lexicon


def test_a_lexicon_is_a_trie_of_its_words(tmp_path):
    file = written(tmp_path, "read r e d", "red\tr e d", "read  r i d", "a a")
    lexicon = Lexicon.read(file)
    assert list(lexicon.words.values()) == ["read", "red", "a"]
    assert list(lexicon.tokens.values()) == ["r", "e", "d", "i", "a"]
    assert len(lexicon) == 4 and lexicon.pronunciations[2] == Pronunciation(0, (0, 3, 2), 0.0)
    graph = lexicon.graph()
    spelled = {(*lexicon.tokens.names(p.inputs), *p.outputs) for p in paths(only(graph))}
    assert spelled == {("r", "e", "d", 0), ("r", "e", "d", 1), ("r", "i", "d", 0), ("a", 2)}
    lexicon.write(tmp_path / "again.txt")
    assert Lexicon.read(tmp_path / "again.txt").pronunciations == lexicon.pronunciations


def test_probabilities_are_scores_of_the_words(tmp_path):
    file = written(tmp_path, "the 1.0 dh ah", "the 0.25 dh iy")
    lexicon = Lexicon.read(file, probabilities=True)
    graph = lexicon.graph(dtype=torch.float64)
    heard = linear(lexicon.tokens.labels(["dh", "iy"]), dtype=torch.float64)
    best = viterbi_path(heard @ graph)
    assert lexicon.words.names(label_sequences(best)[0]) == ["the"]
    assert best.weights.sum().item() == math.log(0.25)
    loop = graph.star
    assert relation(paths(only(linear([0, 1, 0, 2], dtype=torch.float64) @ loop)))
    lexicon.write(tmp_path / "again.txt", probabilities=True)
    again = Lexicon.read(tmp_path / "again.txt", probabilities=True)
    assert again.pronunciations == lexicon.pronunciations
    with pytest.raises(ValueError, match="'the' has a probability: pass probabilities=True"):
        lexicon.write(tmp_path / "again.txt")


def test_names_come_from_the_tables_given(tmp_path):
    letters, words = SymbolTable("abt"), SymbolTable(["bat", "tab"])
    lexicon = Lexicon.read(written(tmp_path, "tab t a b"), words=words, tokens=letters)
    assert lexicon.pronunciations == [(1, (2, 0, 1), 0.0)] and lexicon.tokens is letters
    for line, message in (
        ("tab t a p", "file.txt:1: SymbolTable: no label is named 'p': 'tab t a p'"),
        ("cab t a b", "no label is named 'cab'"),
        ("tab <eps>", "'<eps>' is the name of EPSILON"),
    ):
        with pytest.raises(ValueError, match=f"Lexicon.read: .*{message}"):
            Lexicon.read(written(tmp_path, line), words=words, tokens=letters)


@pytest.mark.parametrize(
    ("lines", "probabilities", "message"),
    [
        (["a"], False, "file.txt:1: word 'a' has no tokens"),
        (["a 0.5"], True, "file.txt:1: word 'a' has no tokens"),
        (["a"], True, "file.txt:1: a probability is missing"),
        (["a a", "a a"], False, "file.txt:2: this pronunciation is given twice"),
        (["a x a"], True, "file.txt:1: a probability must be a number, got 'x'"),
        (["a 0 a"], True, "a probability must lie in"),
        (["a 1.5 a"], True, "a probability must lie in"),
    ],
)
def test_malformed_lexicons_are_refused(tmp_path, lines, probabilities, message):
    with pytest.raises(ValueError, match=f"Lexicon.read: .*{message}"):
        Lexicon.read(written(tmp_path, *lines), probabilities=probabilities)


def test_pronunciations_need_names():
    letters, words = SymbolTable("ab"), SymbolTable(["word"])
    for entry, message in (
        ((1, [0], 0.0), "label 1 is not a word"),
        ((0, [2], 0.0), "'word' has token 2, which has no name"),
        ((0, [], 0.0), "'word' has no tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            Lexicon([entry], words, letters)
    with pytest.raises(ValueError, match="the same tokens twice"):
        Lexicon([(0, [0], 0.0)] * 2, words, letters)
    for write in ("last", "first"):
        assert Lexicon([], words, letters).graph(write=write).num_states == 1
    with pytest.raises(ValueError, match='write must be "last" or "first", got \'late\''):
        Lexicon([], words, letters).graph(write="late")


@given(st.data())
def test_words_written_first_are_those_written_last(data):
    words, letters = SymbolTable(["u", "v", "w"]), SymbolTable("ab")
    tokens = st.lists(st.integers(0, 1), min_size=1, max_size=3).map(tuple)
    keys = data.draw(st.lists(st.tuples(st.integers(0, 2), tokens), unique=True, max_size=5))
    lexicon = Lexicon([(*key, -0.5 * i) for i, key in enumerate(keys)], words, letters)
    last, first = (lexicon.graph(write=w, dtype=torch.float64) for w in ("last", "first"))
    assert relation(paths(only(first))) == relation(paths(only(last)))
    for path in paths(only(first)):
        assert int(first.olabels[path.arcs[0]]) == path.outputs[0]


def test_a_product_that_explodes_says_what_to_do():
    words, letters = SymbolTable([f"w{i}" for i in range(40)]), SymbolTable("ab")
    spelled = [[int(bit) for bit in f"{i:06b}"] for i in range(40)]
    lexicon = Lexicon([(i, t, 0.0) for i, t in enumerate(spelled)], words, letters)
    chain = Graph(list(range(40)), list(range(1, 41)), list(range(40)), accept=list(range(41)))
    with pytest.raises(ValueError, match=r'write early \(Lexicon.graph\(write="first"\)'):
        compose(lexicon.graph().star, chain, max_arcs=400)
    assert compose(lexicon.graph(write="first").star, chain, max_arcs=400).num_arcs < 400
    with pytest.raises(ValueError, match=r"max_arcs=30 arcs; prune"):
        compose(chain, chain, max_arcs=30)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1), max_size=4), st.booleans(), st.data())
def test_damaged_lexicons_are_refused_or_others(tmp_path_factory, entries, probabilities, data):
    file = tmp_path_factory.getbasetemp() / "lexicon.txt"
    lines = [f"w{i} {'0.5 ' * probabilities}{' '.join(t)}\n" for i, t in enumerate(entries)]
    broken = data.draw(damaged("".join(lines).encode()))

    def read(path):
        return Lexicon.read(path, probabilities=probabilities)

    found = read_or_refuse(file, broken, read)
    if found is not None:
        assert len(found) == sum(bool(line.split()) for line in broken.decode().split("\n"))
