"""OpenFst's forms: what is written comes back, pynini agrees, and damage is noticed."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
import torch
from damage import damaged, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from oracle import only, paths, relation
from strategies import DTYPES, graphs

from gtnet import EPSILON, Graph, SymbolTable, connect, forward_score, linear, stack
from gtnet.interop import _bulk, openfst

NEG_INF = float("-inf")
RULES = ["shifted", "kept", "raw"]


def language(graph: Graph):
    return relation(paths(only(graph)))


def usual(graph: Graph) -> Graph:
    """One start state of score 0 and arcs sorted by source: the shape that files hold."""
    return openfst.from_text(openfst.to_text(graph), dtype=graph.dtype)


# Text


def test_the_text_is_that_of_the_manual():
    graph = Graph(
        [0, 0, 1], [1, 1, 2], [0, 1, EPSILON], [0, EPSILON, 2],
        torch.tensor([-0.5, 0.0, 1.5]), accept={2: -3.5},
    )  # fmt: skip
    text = "0\t1\t1\t1\t0.5\n0\t1\t2\t0\n1\t2\t0\t3\t-1.5\n2\t3.5\n"
    assert openfst.to_text(graph) == text
    assert openfst.from_text(text).equal(graph)
    assert openfst.from_text(text.replace("\t", "  ").replace("\n", "\r\n")).equal(graph)
    assert not openfst.from_text(text).requires_grad


def test_acceptors_and_impossible_ends():
    graph = Graph([1, 1], [0, 2], [4, 5], start=1, accept=0, num_states=4)
    text = openfst.to_text(graph, acceptor=True)
    assert text == "1\t0\t5\n1\t2\t6\n0\n2\tInfinity\n3\tInfinity\n"
    assert openfst.from_text(text, acceptor=True).equal(graph)
    with pytest.raises(ValueError, match=r"to_text: the graph is a transducer"):
        openfst.to_text(Graph([0], [1], [0], [1], accept=1), acceptor=True)


def test_rules_of_labels():
    text = "0 1 0 2\n1\n"
    expected = {"shifted": (EPSILON, 1), "kept": (EPSILON, 2), "raw": (0, 2)}
    for rule, labels in expected.items():
        graph = openfst.from_text(text, labels=rule)
        assert (graph.ilabels.item(), graph.olabels.item()) == labels
        assert openfst.to_text(graph, labels=rule).split() == text.split()
    graph = openfst.from_text(text, labels=("raw", "kept"))
    assert (graph.ilabels.item(), graph.olabels.item()) == (0, 2)
    with pytest.raises(ValueError, match=r'ilabels hold label 0, .*labels="shifted"'):
        openfst.to_text(graph, labels="kept")
    with pytest.raises(ValueError, match=r'ilabels hold EPSILON, .*labels="shifted"'):
        openfst.to_text(Graph([0], [1], [EPSILON], accept=1), labels="raw")
    for wrong in ("shift", ("raw",)):
        with pytest.raises(ValueError, match='labels must be "shifted", "kept" or "raw"'):
            openfst.from_text(text, labels=wrong)


def test_symbols_stand_for_labels(tmp_path):
    letters, words = SymbolTable("abc"), SymbolTable(["cab", "bac"], epsilon="<none>")
    graph = Graph([0, 1, 1], [1, 2, 2], [2, 0, EPSILON], [1, EPSILON, 0], accept=2)
    text = openfst.to_text(graph, isymbols=letters, osymbols=words)
    assert text == "0\t1\tc\tbac\n1\t2\ta\t<none>\n1\t2\t<eps>\tcab\n2\n"
    assert openfst.from_text(text, isymbols=letters, osymbols=words).equal(graph)
    openfst.write(graph, tmp_path / "g.txt", isymbols=["a", "b", "c"], osymbols=words)
    again = openfst.read(tmp_path / "g.txt", isymbols={0: "a", 1: "b", 2: "c"}, osymbols=words)
    assert again.equal(graph)
    chain = linear([0, 1])
    assert openfst.to_text(chain, acceptor=True, isymbols="ab") == "0\t1\ta\n1\t2\tb\n2\n"
    with pytest.raises(ValueError, match=r"text:2: SymbolTable: no label is named 'x': '1 2 x 1'"):
        openfst.from_text("0 1 a 1\n1 2 x 1\n2", isymbols=letters)
    with pytest.raises(ValueError, match="label 2 has no name"):
        openfst.to_text(graph, isymbols="ab", osymbols=words)
    with pytest.raises(ValueError, match="symbol 'New York' has a blank"):
        openfst.to_text(chain, acceptor=True, isymbols=["a", "New York"])


def test_gaps_between_states_close_and_the_first_line_starts():
    graph = openfst.from_text("70 2000000000 1 1\n2000000000 9 1 1\n9\n")
    assert (graph.num_states, graph.source.tolist(), graph.target.tolist()) == (3, [1, 2], [2, 0])
    assert graph.start.tolist() == [NEG_INF, 0, NEG_INF]
    assert openfst.from_text("").num_states == 0
    assert openfst.to_text(Graph([0], [1], [0], start=[], accept=1)) == ""


def test_several_starts_become_one():
    graph = Graph([0, 1], [2, 2], [3, 4], start={0: 0.5, 1: -1.0}, accept={2: 1.0})
    again = openfst.from_text(openfst.to_text(graph))
    assert again.num_states == 4 and again.start.tolist() == [NEG_INF] * 3 + [0]
    assert language(again) == language(graph)
    assert forward_score(again).item() == pytest.approx(forward_score(graph).item())


@given(graphs(size=1, acyclic=True))
def test_graphs_come_back_from_text(graph):
    again = usual(graph)
    assert language(again) == language(graph)
    assert again.equal(usual(again))
    if graph.is_acceptor:
        text = openfst.to_text(graph, acceptor=True)
        assert openfst.from_text(text, acceptor=True, dtype=graph.dtype).equal(again)


@given(st.lists(st.floats(width=32, allow_nan=False, max_value=2.0**127), max_size=4), DTYPES)
def test_every_digit_comes_back(weights, dtype):
    graph = linear([0] * len(weights), torch.tensor(weights, dtype=dtype))
    again = openfst.from_text(openfst.to_text(graph), dtype=dtype)
    assert torch.equal(again.weights, graph.weights + 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 1\n", r"text:1: a transducer's line has 1, 2, 4 or 5 columns, got 3; .*: '0 1 1'"),
        ("0 1 1 1 1 1\n", "columns, got 6"),
        ("\n0 1 x 1\n1\n", "text:2: a label must be an integer of 32 bits, got 'x'"),
        ("0 1 1 -1\n1\n", "a label must be 0 or more, got -1"),
        ("0 1 1 4294967296\n1\n", "a label must be an integer of 32 bits"),
        ("-1 1 1 1\n1\n", "a state must be 0 or more"),
        ("0 1 1 1 nan\n1\n", "a cost must be a number, got 'nan'"),
        ("0 1 1 1 -Infinity\n1\n", "a cost must be a number, got '-Infinity'"),
        ("0 1 1 1 1e39\n1\n", "a cost '1e39' does not fit into float32"),
        ("0 1 1 1 1_0\n1\n", "a cost must be a number, got '1_0'"),
        ("0 1 1 1\n1\n1 2\n", "text:3: state 1 has a second final line"),
        ("0 1 1 1\n0 2 1 1\n1\n", "text:2: an arc leads to state 2, which has no line of its own"),
    ],
)
def test_malformed_lines_are_named(text, message):
    with pytest.raises(ValueError, match=f"openfst.from_text: .*{message}"):
        openfst.from_text(text)


def test_files_are_named(tmp_path):
    file = tmp_path / "graph.txt"
    file.write_bytes(b"0 1 \xff 1\n")
    with pytest.raises(ValueError, match=r"graph.txt is not UTF-8 text"):
        openfst.read(file)
    with pytest.raises(FileNotFoundError, match="none"):
        openfst.read(tmp_path / "none")
    batch = stack([linear([0]), linear([1])])
    with pytest.raises(ValueError, match="one graph is needed, got 2: pass graph"):
        openfst.write(batch, file)
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        openfst.from_text("", dtype=torch.float16)
    assert file.read_bytes() == b"0 1 \xff 1\n" and len(list(tmp_path.iterdir())) == 1


@given(graphs(size=1, dtype=torch.float32), st.data())
def test_damaged_text_is_refused_or_another_text(tmp_path_factory, graph, data):
    text = openfst.to_text(graph).encode()
    file = tmp_path_factory.getbasetemp() / "damaged.txt"
    broken = data.draw(damaged(text))
    found = read_or_refuse(file, broken, openfst.read)
    if found is not None:
        assert found.equal(usual(found)) or not found.equal(usual(graph))
        assert found.num_arcs == sum(len(line.split()) > 2 for line in broken.decode().split("\n"))


def test_a_text_cut_anywhere_is_not_half_a_graph(tmp_path):
    graph = connect(Graph([0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 2, 3], accept=3))
    text, file = openfst.to_text(graph).encode(), tmp_path / "cut.txt"
    for end in range(5, len(text) - 1):  # "0" and "0 1" are graphs of one state
        assert read_or_refuse(file, text[:end], openfst.read) is None
    assert read_or_refuse(file, text[:-1], openfst.read).equal(graph)


# Binary


@pytest.mark.parametrize("arc_type", ["standard", "log", "log64"])
def test_graphs_come_back_from_binary(tmp_path, arc_type):
    @given(graphs(size=1, dtype=torch.float64 if arc_type == "log64" else torch.float32))
    def check(graph):
        openfst.write_binary(graph, tmp_path / "g.fst", arc_type=arc_type)
        assert openfst.read_binary(tmp_path / "g.fst").equal(usual(graph))

    check()


def test_binaries_of_other_kinds_are_refused(tmp_path):
    file = tmp_path / "g.fst"
    with pytest.raises(ValueError, match="arc_type must be one of standard, log, log64"):
        openfst.write_binary(linear([0]), file, arc_type="tropical")
    openfst.write_binary(linear([0]), file)
    data = file.read_bytes()
    for old, new, message in (
        (b"vector", b"edit64", "FSTs of type 'edit64'.*vector and const are.*fstconvert"),
        (b"standard", b"lattice4", "arcs must be of type standard, log, log64, got 'lattice4'"),
        (data[:4], b"text", "not an OpenFst binary file; openfst.read reads the text form"),
    ):
        file.write_bytes(data.replace(old, new))
        with pytest.raises(ValueError, match=message):
            openfst.read_binary(file)
    for end in range(len(data)):
        assert read_or_refuse(file, data[:end], openfst.read_binary) is None


@given(graphs(size=1, dtype=torch.float32), st.data())
def test_damaged_binaries_are_refused_or_other_graphs(tmp_path_factory, graph, data):
    folder = tmp_path_factory.getbasetemp()
    openfst.write_binary(graph, folder / "whole.fst")
    broken = data.draw(damaged((folder / "whole.fst").read_bytes()))
    found = read_or_refuse(folder / "damaged.fst", broken, openfst.read_binary)
    assert found is None or found.num_states <= 100


def const_binary(graph: Graph, *, places: int = 4, arc_type="standard", align=False) -> bytes:
    """A const FST as OpenFst's const-fst.h writes it; arrays at multiples of 16 if aligned."""
    cost, size = ("d", 8) if arc_type == "log64" else ("f", 4)
    kind, pad = f"const{'' if places == 4 else 8 * places}".encode(), b"\0" * 16
    out = struct.pack("<ii", 2125659606, len(kind)) + kind
    out += struct.pack("<i", len(arc_type)) + arc_type.encode()
    head = (1 if align else 2, 0, 3, 0, graph.num_states, graph.num_arcs)
    out += struct.pack("<iiQqqq", *head)
    order = graph.source.argsort(stable=True)
    degrees = torch.bincount(graph.source, minlength=graph.num_states).tolist()
    out += pad[: -len(out) % 16] if align else b""
    place = {1: "B", 2: "H", 4: "I", 8: "Q"}[places]
    for state, degree in enumerate(degrees):  # "0d" pads the end as a compiler does
        form = f"<{cost}{'4x' if places == 8 and size == 4 else ''}4{place}"
        record = struct.pack(form, -graph.accept[state], sum(degrees[:state]), degree, 0, 0)
        out += record + pad[: -len(record) % max(size, places)]
    out += pad[: -len(out) % 16] if align else b""
    for arc in order.tolist():
        labels = int(graph.ilabels[arc]) + 1, int(graph.olabels[arc]) + 1
        record = struct.pack(f"<ii{cost}i", *labels, -graph.weights[arc], int(graph.target[arc]))
        out += record + pad[: -len(record) % size]
    return out


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("arc_type", ["standard", "log", "log64"])
@pytest.mark.parametrize("places", [1, 2, 4, 8])
def test_const_binaries_are_read(tmp_path, places, arc_type, align):
    dtype = torch.float64 if arc_type == "log64" else torch.float32
    weights = torch.tensor([0.5, -1.0, 2.0], dtype=dtype)
    graph = Graph([0, 0, 2], [1, 2, 1], [0, 1, EPSILON], [3, EPSILON, 4], weights, accept={1: 0.25})
    data = const_binary(graph, places=places, arc_type=arc_type, align=align)
    file = tmp_path / "const.fst"
    assert read_or_refuse(file, data, openfst.read_binary).equal(graph)
    for end in range(len(data)):
        assert read_or_refuse(file, data[:end], openfst.read_binary) is None
    assert read_or_refuse(file, data + b"\0", openfst.read_binary) is None
    wrong = data[:-12] + b"\xff\xff\xff\x7f" * 3
    assert read_or_refuse(file, wrong, openfst.read_binary) is None


def test_const_binaries_of_pynini_are_read(samples, tmp_path):
    pytest.importorskip("pynini")
    import pywrapfst

    for graph in samples[:50]:
        for arc_type in ("standard", "log", "log64"):
            fst = pywrapfst.convert(openfst.to_pynini(graph, arc_type=arc_type), "const")
            fst.write(str(tmp_path / "const.fst"))
            again = openfst.read_binary(tmp_path / "const.fst").to(torch.float32)
            assert again.equal(usual(graph))
            assert openfst.from_fst(fst).to(torch.float32).equal(usual(graph))
            if arc_type == "standard":
                assert (
                    const_binary(usual(graph))[-16:] == (tmp_path / "const.fst").read_bytes()[-16:]
                )
    compact = pywrapfst.convert(openfst.to_pynini(linear([1, 2])), "compact_string")
    compact.write(str(tmp_path / "compact.fst"))
    with pytest.raises(ValueError, match=r"compact.fst: FSTs of type 'compact_string'.*fstconvert"):
        openfst.read_binary(tmp_path / "compact.fst")
    assert openfst.from_fst(compact).equal(usual(linear([1, 2])))


# Objects


def random_graph(source: random.Random, *, acceptor: bool = False) -> Graph:
    size = source.randint(1, 6)
    rows = [
        (source.randrange(size), source.randrange(size), *source.choices([EPSILON, 0, 1, 5], k=2))
        for _ in range(source.randint(0, 12))
    ]
    columns = list(zip(*rows)) or [()] * 4
    weights = torch.tensor([source.randint(-8, 8) / 4 for _ in rows])
    accept = {source.randrange(size): source.randint(-8, 8) / 4 for _ in range(2)}
    return Graph(
        *columns[:3], None if acceptor else columns[3], weights,
        start=source.randrange(size), accept=accept, num_states=size,
    )  # fmt: skip


@pytest.fixture(scope="module")
def samples() -> list[Graph]:
    source = random.Random(23)
    return [random_graph(source, acceptor=i % 2 == 0) for i in range(200)]


def compiled(text: str, *, acceptor: bool):
    """What OpenFst's own compiler makes of a text, states numbered as in the text."""
    pywrapfst = pytest.importorskip("pywrapfst")
    compiler = pywrapfst.Compiler(acceptor=acceptor, keep_state_numbering=True)
    compiler.write(text)
    return compiler.compile()


def test_pynini_reads_our_text_as_we_do(samples):
    for graph in samples:
        for acceptor in {False, graph.is_acceptor}:
            text = openfst.to_text(graph, acceptor=acceptor)
            ours = openfst.from_text(text, acceptor=acceptor)
            assert openfst.from_fst(compiled(text, acceptor=acceptor)).equal(ours)


def test_we_read_the_text_of_pynini_as_it_does(samples):
    pytest.importorskip("pynini")
    for graph in samples:
        fst = openfst.to_pynini(graph)
        for acceptor in {False, graph.is_acceptor}:
            theirs = fst.print(acceptor=acceptor)
            assert openfst.from_text(theirs, acceptor=acceptor).equal(usual(graph))
            assert openfst.to_text(graph, acceptor=acceptor) == theirs


def test_pynini_reads_and_writes_symbols_as_we_do(samples):
    pynini = pytest.importorskip("pynini")
    ours = SymbolTable(["a", "b", "ç", "d", "#0", "ε"])
    theirs = pynini.SymbolTable()
    for number, name in enumerate([ours.epsilon, *ours.values()]):
        assert theirs.add_symbol(name) == number
    for graph in samples[:50]:
        fst = openfst.to_pynini(graph)
        text = fst.print(isymbols=theirs, osymbols=theirs)
        assert openfst.to_text(graph, isymbols=ours, osymbols=ours) == text
        assert openfst.from_text(text, isymbols=ours, osymbols=ours).equal(usual(graph))


def test_pynini_reads_and_writes_binaries_as_we_do(samples, tmp_path):
    pynini = pytest.importorskip("pynini")
    for graph in samples[:50]:
        openfst.write_binary(graph, tmp_path / "ours.fst")
        fst = pynini.Fst.read(str(tmp_path / "ours.fst"))
        assert fst.verify()
        fst.write(str(tmp_path / "theirs.fst"))
        assert openfst.read_binary(tmp_path / "theirs.fst").equal(usual(graph))
    table = pynini.SymbolTable()
    table.add_symbol("<eps>")
    fst.set_input_symbols(table)
    fst.set_output_symbols(table)
    fst.write(str(tmp_path / "symbols.fst"))
    assert openfst.read_binary(tmp_path / "symbols.fst").equal(usual(graph))


def test_pynini_objects_come_back(samples):
    pynini = pytest.importorskip("pynini")
    for graph in samples[:50]:
        for arc_type, dtype in (("standard", 32), ("log", 32), ("log64", 64)):
            fst = openfst.to_pynini(graph, arc_type=arc_type)
            assert fst.arc_type() == arc_type
            again = openfst.from_fst(fst)
            assert again.dtype == getattr(torch, f"float{dtype}")
            assert again.to(torch.float32).equal(usual(graph))
    empty = openfst.from_fst(pynini.Fst())
    assert (len(empty), empty.num_states) == (1, 0)
    assert openfst.from_fst(pynini.accep("ab")).ilabels.tolist() == [96, 97]
    with pytest.raises(TypeError, match="from_fst: an FST is needed, got str"):
        openfst.from_fst("0 1 1 1")


def test_weights_are_leaves_and_objects_are_detached():
    pytest.importorskip("pynini")
    graph = linear([0, 1], torch.tensor([0.5, 1.0], requires_grad=True))
    again = openfst.from_fst(openfst.to_pynini(graph))
    assert again.weights.is_leaf and not again.requires_grad
    again.requires_grad_()
    forward_score(again).sum().backward()
    np.testing.assert_array_equal(again.weights.grad.numpy(), [1.0, 1.0])


def test_kaldifst_objects_come_back(samples):
    pytest.importorskip("kaldifst")
    for graph in samples[:20]:
        fst = openfst.to_kaldifst(graph)
        assert fst.num_states == usual(graph).num_states
        assert openfst.from_fst(fst).equal(usual(graph))


@pytest.mark.parametrize("acceptor", [False, True])
def test_numbers_read_at_once_are_those_read_one_by_one(acceptor, monkeypatch):
    """Any mixture of fields: the same graph, or the same error."""
    rng = random.Random(5)
    fields = [
        "0",
        "1",
        "2",
        "7",
        "12",
        "0.5",
        "-1.25",
        "1e-3",
        "Infinity",
        "inf",
        "3.0",
        "+1",
        "007",
    ]
    odd = [
        "nan",
        "-inf",
        "1_0",
        "0x1",
        "x",
        "-1",
        "99999999999",
        "1e400",
        "1e39",
        "\u0661",
        "1\v2",
        "",
    ]
    read = []
    for _ in range(400):
        lines = []
        for _ in range(rng.randrange(6)):
            arc = [rng.choice(fields[:5]) for _ in range(rng.choice([1, 3 if acceptor else 4]))]
            arc += [rng.choice(fields)] * rng.randrange(2)
            if rng.random() < 0.04:
                arc[rng.randrange(len(arc))] = rng.choice(odd + fields)
            blanks = [" ", "\t", "  "] if rng.random() < 0.8 else [" \t"]
            lines.append(rng.choice(blanks).join(arc) + rng.choice(["", "", " "]))
        text = "\n".join(lines) + rng.choice(["", "\n", "\n\n"])
        outcomes = []
        for at_once in (True, False):
            with monkeypatch.context() as patched:
                if not at_once:
                    patched.setattr(_bulk, "numbers", lambda text: None)
                try:
                    outcomes.append(openfst.from_text(text, acceptor=acceptor))
                except ValueError as error:
                    outcomes.append(str(error))
        first, second = outcomes
        assert first == second if isinstance(second, str) else first.equal(second), text
        read.append(not isinstance(first, str))
    assert 100 < sum(read) < 390


def test_large_numbers_and_scores_read_at_once_keep_every_bit():
    weights = ["0.1", "1e-30", "123456789.123456789", "3.4028234e38", "-0"]
    text = "".join(f"{i} {i + 1} 2147483646 0 {w}\n" for i, w in enumerate(weights)) + "5\n"
    assert _bulk.numbers(text) is not None
    graph = openfst.from_text(text, dtype=torch.float64)
    assert (-graph.weights).tolist() == [float(w) for w in weights]
    assert graph.ilabels.tolist() == [2147483645] * 5 and graph.olabels.tolist() == [-1] * 5
