"""Every reader of text takes what editors and archives make of a file; damage is never silent."""

from __future__ import annotations

import gzip
import os
import threading
import warnings
from pathlib import Path

import pytest
import torch
from damage import read_or_refuse

import gtnet.compat.gtn as compat
from gtnet import EPSILON, Graph, Lexicon, NGramModel, SymbolTable, linear
from gtnet._files import replace_file
from gtnet.interop import gtn, k2, openfst

ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-0.5\ta\n-0.25\t</s>\n\n\\end\\\n"
GRAPH = Graph([0, 0], [1, 1], [0, 1], weights=torch.tensor([0.5, -1.25]), accept={1: 0.5})
LEXICON = "the 0.5 dh ah\ncat 1.0 k ae t\n"


def same(found: object, expected: object) -> bool:
    if isinstance(expected, Graph):
        return found.equal(expected)
    if isinstance(expected, Lexicon):
        return found.pronunciations == expected.pronunciations and found.words == expected.words
    if isinstance(expected, NGramModel):
        same_graph = found.graph(backoff="exact").equal(expected.graph(backoff="exact"))
        return same_graph and found.symbols == expected.symbols
    return found == expected


def lexicon(path: Path) -> Lexicon:
    return Lexicon.read(path, probabilities=True)


TEXTS = {
    "symbols": (SymbolTable.read, "<eps> 0\na 1\nb 2\n"),
    "names": (SymbolTable.read, "a\n \nb\n"),
    "lexicon": (lexicon, LEXICON),
    "arpa": (NGramModel.read, ARPA),
    "openfst": (openfst.read, openfst.to_text(GRAPH)),
    "k2": (k2.read, k2.to_text(GRAPH)),
    "gtn": (gtn.read, gtn.to_text(GRAPH)),
    "compat": (lambda path: compat.loadtxt(str(path)).core, gtn.to_text(GRAPH)),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_readers_take_what_editors_and_archives_make(tmp_path, kind):
    read, text = TEXTS[kind]
    plain, packed = tmp_path / "file.txt", tmp_path / "file.txt.gz"
    plain.write_bytes(text.encode())
    expected = read(plain)
    for changed in (
        "\ufeff" + text,
        text.replace("\n", "\r\n"),
        "\ufeff" + text.replace("\n", "\r\n"),
        text.replace("\n", "\r\n").removesuffix("\r\n") + "\r\n",
    ):
        plain.write_bytes(changed.encode())
        assert same(read(plain), expected), repr(changed)
        packed.write_bytes(gzip.compress(changed.encode()))
        assert same(read(packed), expected), repr(changed)
    half = len(text) // 2
    members = gzip.compress(text[:half].encode()) + gzip.compress(text[half:].encode())
    packed.write_bytes(members)
    assert same(read(packed), expected)
    plain.write_bytes(members)  # what a file holds decides, not its name
    assert same(read(plain), expected)


def test_a_text_of_very_many_members_of_gzip_is_read(tmp_path):
    """As block compression writes them; a way that copies the rest for each would take minutes."""
    file = tmp_path / "symbols.gz"
    file.write_bytes(b"".join(gzip.compress(f"s{n} {n}\n".encode(), 1) for n in range(1, 100_001)))
    assert len(SymbolTable.read(file)) == 100_000


@pytest.mark.parametrize("kind", TEXTS)
def test_a_last_line_without_its_end_is_read_with_a_warning(tmp_path, kind, recwarn):
    read, text = TEXTS[kind]
    file = tmp_path / "file.txt"
    file.write_text(text)
    expected = read(file)
    assert not recwarn.list
    file.write_text(text.removesuffix("\n"))
    assert same(read(file), expected)
    if kind != "arpa":
        (warning,) = recwarn.list
        assert f"file.txt:{text.count(chr(10))}: the last line does not end" in str(warning.message)


@pytest.mark.parametrize("kind", TEXTS)
def test_damaged_archives_are_one_error_that_names_them(tmp_path, kind):
    read, text = TEXTS[kind]
    file = tmp_path / "file.gz"
    whole = gzip.compress(text.encode())
    wrong = [whole[:end] for end in range(len(whole))] + [text.encode(), whole + b"more"]
    wrong += [whole[:12] + bytes([whole[12] ^ 255]) + whole[13:]]
    for data in wrong:
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"file.gz(:| is (damaged|not compressed))"):
            read(file)


@pytest.mark.parametrize("kind", TEXTS)
def test_other_encodings_and_line_ends_are_refused(tmp_path, kind):
    read, text = TEXTS[kind]
    file = tmp_path / "file.txt"
    file.write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match=r"file.txt is not UTF-8 text"):
        read(file)
    file.write_bytes(text.replace("\n", "\r").encode())
    with pytest.raises(ValueError, match=r"file.txt:1: a line ends in"):
        read(file)


WRITERS = {
    "symbols": lambda path: SymbolTable("ab").write(path),
    "lexicon": lambda path: Lexicon([(0, [0], 0.0)], SymbolTable("a"), SymbolTable("b")).write(
        path
    ),
    "openfst": lambda path: openfst.write(GRAPH, path),
    "openfst binary": lambda path: openfst.write_binary(GRAPH, path),
    "k2": lambda path: k2.write(GRAPH, path),
    "gtn": lambda path: gtn.write(GRAPH, path),
    "gtn binary": lambda path: gtn.write_binary(GRAPH, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_name_in_gz_is_written_compressed(tmp_path, kind):
    for name in ("file", "file.gz"):
        WRITERS[kind](tmp_path / name)
    packed = (tmp_path / "file.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "file").read_bytes()
    WRITERS[kind](tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == packed  # no date in it
    assert sorted(os.listdir(tmp_path)) == ["file", "file.gz"]


def test_binaries_are_read_from_archives(tmp_path):
    for module in (openfst, gtn):
        module.write_binary(GRAPH, tmp_path / "g.gz")
        found = module.read_binary(tmp_path / "g.gz")
        assert found.num_arcs >= 2 and found.weights[0] == 0.5


def test_blanks_as_names_shift_no_column(tmp_path):
    file = tmp_path / "file.txt"
    bigrams = ARPA.replace("1=3\n", "1=3\nngram 2=0\n").replace("\\end", "\\2-grams:\n\\end")
    file.write_text(bigrams.replace("-0.5\ta", "-0.5\t \t-0.25"))
    model = NGramModel.read(file)
    assert list(model.symbols.values()) == [" "]
    assert model._trie.backoff([0]) != 0
    table = SymbolTable([" ", "b", "0.5"])
    file.write_text("0\t1\t \tb\t0.5\n1\t2\tb\t \n2\n")
    graph = openfst.read(file, isymbols=table, osymbols=table)
    assert (graph.ilabels.tolist(), graph.olabels.tolist()) == ([0, 1], [1, 0])
    file.write_text("0\t1\t \n1\n")
    assert openfst.read(file, isymbols=table, acceptor=True).ilabels.tolist() == [0]
    file.write_text("0\t1\t<eps>\t \n1\n")
    assert openfst.read(file, isymbols=table, osymbols=table).ilabels.tolist() == [EPSILON]


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (k2.read, "0 1 1 0\n0 2 1 0\n2\n", ":2: label -1 must stand on the arcs to the final"),
        (k2.read, "0 1 1 0\n1 2 -1 0\n1 2 -5 0\n2\n", ":3: label -1 must stand"),
        (k2.read, "0 1 1 0\n\n1 1 -4 0\n1 2 -1 0\n2\n", ":3: a label is below 0"),
        (k2.read, "0 1 1 0\n0 1 2 0\n", ":2: the line of the final state is missing"),
        (k2.read, "0\n", ":1: the start state 0 must not be the final one"),
        (gtn.read, "0\n1\n0 1 1\n\n0 2000000000 1\n", ":5: 2000000001 states for 2 arcs are out"),
        (gtn.read, "0\n2000000000\n0 1 1\n", ":2: 2000000001 states for 1 arcs are out"),
        (SymbolTable.read, "a 1\n<eps> 2\n", ":2: '<eps>' names an ordinary label"),
    ],
)
def test_errors_name_the_line(tmp_path, read, text, message):
    file = tmp_path / "file.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match="file.txt" + message):
        read(file)


def test_a_cut_text_is_an_error_or_at_least_a_warning(tmp_path, recwarn):
    warnings.simplefilter("always")
    loop = Graph([0, 1, 1], [1, 1, 12], [0, 1, 2], weights=[0.5, 0.25, 0.125], accept={12: 0.75})
    file = tmp_path / "cut.txt"
    for read, text in (
        (openfst.read, openfst.to_text(loop)),
        (k2.read, k2.to_text(loop)),
        (gtn.read, gtn.to_text(loop)),
        (SymbolTable.read, "<eps> 0\na 1\nab 12\n"),
        (lexicon, LEXICON),
        (NGramModel.read, ARPA),
    ):
        file.write_text(text)
        whole = read(file)
        for end in range(1, len(text) - 1):
            recwarn.clear()
            found = read_or_refuse(file, text[:end].encode(), read)
            if found is not None:
                assert read not in (k2.read, NGramModel.read)
                warned = any("cut.txt" in str(warning.message) for warning in recwarn.list)
                assert text[end - 1] == "\n" or warned or same(found, whole)


# Writing


def test_links_are_followed_and_pipes_written_to(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    replace_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    replace_file(tmp_path / "pipe", "through")
    reader.join(10)
    assert got == ["through"] and not (tmp_path / "pipe").is_file()


def test_threads_may_write_one_file(tmp_path):
    file, errors = tmp_path / ("n" * 250), []

    def write(text: str) -> None:
        try:
            for _ in range(20):
                replace_file(file, text * 1000)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(set(file.read_text())) == 1 and len(file.read_text()) == 1000
    assert len(os.listdir(tmp_path)) == 1


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    with pytest.raises(OSError, match="none"):
        openfst.write(linear([0]), tmp_path / "none" / "g.txt")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        openfst.write(linear([0]), folder)
    assert os.listdir(folder) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        openfst.write(linear([0]), "/dev/full")
