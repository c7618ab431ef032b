"""k2, gtn, numpy, networkx and graphs on disk: what leaves comes back, damage is noticed."""

from __future__ import annotations

import os
import sys
import types

import networkx as nx
import numpy as np
import pytest
import torch
from damage import damaged, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from oracle import only, paths, relation
from strategies import graphs

import gtnet
from gtnet import EPSILON, Graph, forward_score, linear, load, save, stack
from gtnet.interop import (
    from_networkx,
    from_numpy,
    gtn,
    k2,
    to_networkx,
    to_numpy,
)

NEG_INF = float("-inf")


def language(graph: Graph):
    return relation(paths(only(graph)))


def float32_graphs(**kwargs) -> st.SearchStrategy[Graph]:
    return graphs(size=1, dtype=torch.float32, **kwargs)


# k2's text


def test_the_text_is_that_of_k2():
    graph = Graph([0, 0, 1], [1, 1, 2], [0, 1, 2], accept={1: 0.5, 2: -1.25})
    text = "0 1 1 0\n0 1 2 0\n1 2 3 0\n1 3 -1 0.5\n2 3 -1 -1.25\n3\n"
    assert k2.to_text(graph) == text
    assert k2.from_text(text).equal(graph)
    framed = "k2.Fsa: " + text + 'properties_str = "Valid|TopSorted".\nfoo: tensor([1])'
    assert k2.from_text(framed).equal(graph)
    both = Graph([0], [1], [0], [EPSILON], torch.tensor([0.5]), accept=1)
    assert k2.to_text(both) == "0 1 1 0 0.5\n1 2 -1 -1 0\n2\n"
    assert k2.from_text("0 1 1 0 0.5\n1 2 -1 -1 0\n2\n").equal(both)
    blank = k2.from_text("0 1 0 1 0\n1 2 -1 -1 0\n2", labels=("raw", "shifted"))
    assert (blank.ilabels.item(), blank.olabels.item()) == (0, 0)


def test_several_ways_into_the_final_state_of_k2_stay():
    graph = k2.from_text("0 1 2 5 0\n1 2 -1 -1 0.5\n1 2 -1 -1 1.5\n2\n")
    assert graph.num_states == 3 and graph.ilabels.tolist() == [1, EPSILON, EPSILON]
    writing = k2.from_text("0 1 2 5 0\n1 2 -1 7 0.5\n2\n")
    assert writing.olabels.tolist() == [4, 6] and writing.accept.tolist()[-1] == 0
    silent = k2.from_text("0 1 2 5 0\n1 2 -1 0 0.5\n2\n")
    assert silent.num_arcs == 1 and silent.accept[1] == 0.5


def test_an_empty_language_is_an_empty_text():
    for ends in ({"start": [], "accept": 1}, {"start": 0, "accept": []}):
        assert k2.to_text(Graph([0], [1], [0], num_states=2, **ends)) == ""
    assert k2.from_text("").num_states == 0


@given(float32_graphs(acyclic=True))
def test_graphs_come_back_from_k2(graph):
    again = k2.from_text(k2.to_text(graph))
    assert language(again) == language(graph)
    assert language(k2.from_text(k2.to_text(again))) == language(graph)


@given(float32_graphs(), st.data())
def test_damaged_k2_text_is_refused_or_another_text(tmp_path_factory, graph, data):
    file = tmp_path_factory.getbasetemp() / "k2.txt"
    k2.write(graph, file)
    text = file.read_bytes()
    read_or_refuse(file, data.draw(damaged(text)), k2.read)
    if len(text) > 1:
        end = data.draw(st.integers(1, len(text) - 1))
        assert read_or_refuse(file, text[:end], k2.read) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 1 0\n", "the line of the final state is missing"),
        ("0 1 1 0\n1\n", "label -1 must stand on the arcs to the final state 1"),
        ("0 2 -1 0\n1\n", "text:2: the final state must be the last"),
        ("0 1 -1 0\n1\n1\n", "text:3: a line follows that of the final state 1"),
        ("1 2 -1 0\n0 2 -1 0\n2\n", "text:2: arcs must be sorted by source, 1 came before"),
        ("0 1 1 0\n0 2 -1 -1 0\n2\n", "text:2: 4 columns are expected"),
        ("0 1 -2 0\n0 2 -1 0\n2\n", "a label is below 0"),
        ("0 1\n1\n", "an arc has 3 to 5 columns, got 2"),
        ("0 1 1 2 3 4\n1\n", "an arc has 3 to 5 columns, got 6"),
        ("0\n", "the start state 0 must not be the final one"),
        ("0 1 -1 x\n1\n", "text:1: a score must be a number, got 'x'"),
    ],
)
def test_malformed_k2_text_is_refused(text, message):
    with pytest.raises(ValueError, match=rf"k2.from_text: .*{message}"):
        k2.from_text(text)


# k2's objects, by stand-ins


class Ragged:
    """As much of k2.RaggedArc as is used."""

    def __init__(self, values: torch.Tensor, *splits: list[int]) -> None:
        self._values, self._splits = values, splits

    def values(self):
        return self._values

    def row_splits(self, axis: int):
        return torch.tensor(self._splits[axis - 1], dtype=torch.int32)

    def num_axes(self):
        return len(self._splits) + 1


class Fsa:
    """As much of k2.Fsa as is used: [arcs, 4], the scores as bits of floats."""

    def __init__(self, arcs, aux_labels=None, splits=None):
        if splits is None:
            states = int(arcs[:, :2].max()) + 1 if len(arcs) else 0
            counts = torch.bincount(arcs[:, 0].long(), minlength=states).cumsum(0)
            splits = [[0, *counts.tolist()]]
        self.arcs = Ragged(arcs, *splits)
        self.scores = arcs[:, 3].contiguous().view(torch.float32).clone()
        self.labels = arcs[:, 2]
        if aux_labels is not None:
            self.aux_labels = aux_labels


def create_fsa_vec(fsas):
    columns = [fsa.arcs.values() for fsa in fsas]
    states, arcs = [0], [0]
    for fsa in fsas:
        splits = fsa.arcs.row_splits(1)
        states.append(states[-1] + len(splits) - 1)
        arcs += (arcs[-1] + splits[1:]).tolist()
    aux = [fsa.aux_labels for fsa in fsas if hasattr(fsa, "aux_labels")]
    return Fsa(torch.cat(columns), torch.cat(aux) if aux else None, [states, arcs])


@pytest.fixture
def _stand_in(monkeypatch):
    module = types.ModuleType("k2")
    module.Fsa, module.create_fsa_vec = Fsa, create_fsa_vec
    monkeypatch.setitem(sys.modules, "k2", module)


@pytest.mark.usefixtures("_stand_in")
def test_fsas_come_back():
    a = Graph([0, 0, 1], [1, 1, 2], [0, 1, 2], accept={1: 0.5, 2: -1.25})
    b = linear([3, 4], torch.tensor([0.25, 1.5]))
    assert k2.from_fsa(k2.to_fsa(a)).equal(a)
    assert k2.from_fsa(k2.to_fsa(stack([a, b]))).equal(stack([a, b]))
    both = Graph([0, 1], [1, 2], [0, EPSILON], [EPSILON, 3], accept=2)
    assert k2.from_fsa(k2.to_fsa(both)).equal(both)
    assert k2.to_fsa(both).aux_labels.tolist() == [0, 4, -1]


@pytest.mark.usefixtures("_stand_in")
def test_scores_of_fsas_stay_in_autograd():
    fsa = k2.to_fsa(linear([0, 1]))
    fsa.scores.requires_grad_()
    forward_score(k2.from_fsa(fsa)).sum().backward()
    assert fsa.scores.grad.tolist() == [1, 1, 1]


@pytest.mark.usefixtures("_stand_in")
def test_wrong_fsas_are_refused():
    with pytest.raises(TypeError, match=r"k2.from_fsa: a k2.Fsa is needed, got str"):
        k2.from_fsa("0")
    fsa = k2.to_fsa(linear([0]))
    fsa.aux_labels = "ragged"
    with pytest.raises(TypeError, match="aux_labels must be a tensor, got str"):
        k2.from_fsa(fsa)
    fsa = k2.to_fsa(linear([0]))
    fsa.arcs.values()[0, 2] = -1
    with pytest.raises(ValueError, match=r"k2.from_fsa: Fsa 0: label -1 must stand"):
        k2.from_fsa(fsa)


# gtn


@given(float32_graphs(acyclic=True), st.data())
def test_graphs_come_back_from_gtn(tmp_path_factory, graph, data):
    file = tmp_path_factory.getbasetemp() / "gtn"
    assert language(gtn.from_text(gtn.to_text(graph))) == language(graph)
    for write, read in ((gtn.write, gtn.read), (gtn.write_binary, gtn.read_binary)):
        write(graph, file)
        whole = file.read_bytes()
        assert language(read(file)) == language(graph)
        read_or_refuse(file, data.draw(damaged(whole)), read)
    end = data.draw(st.integers(0, len(whole) - 1))
    assert read_or_refuse(file, whole[:end], gtn.read_binary) is None


def test_gtn_holds_one_graph():
    for function in (
        gtn.to_text,
        lambda g: gtn.write(g, "no"),
        lambda g: gtn.write_binary(g, "no"),
    ):
        with pytest.raises(ValueError, match="one graph is needed, got 2"):
            function(stack([linear([0])] * 2))
    with pytest.raises(ValueError, match=r"gtn.from_text: text:3: an arc has 3 to 5 columns"):
        gtn.from_text("0\n1\n0 1\n")
    with pytest.raises(ValueError, match="2000000001 states for 1 arcs are out of proportion"):
        gtn.from_text("0\n1\n0 2000000000 1\n")


# numpy


@given(graphs())
def test_graphs_come_back_from_numpy(graph):
    arrays = to_numpy(graph)
    assert from_numpy(arrays).equal(graph)
    again = from_numpy(arrays)
    for array in arrays.values():
        array[:] = 0
    assert again.equal(graph)


def test_arrays_that_do_not_fit_are_refused():
    arrays = to_numpy(stack([linear([0]), linear([1, 2])]))
    one = {name: arrays[name] for name in ("source", "target", "ilabels", "weights")}
    ends = {"start": np.array([0.0, 0, -np.inf]), "accept": np.array([-np.inf, 0, 0])}
    ends = {name: scores.astype(np.float32) for name, scores in ends.items()}
    assert len(from_numpy(one | ends)) == 1
    wrong = [
        ({"weights": None}, "from_numpy: weights: missing"),
        ({"colour": 1}, "colour: unknown"),
        ({"arc_offsets": [0, 1]}, "arc_offsets must grow from 0 to 3"),
        ({"arc_offsets": [0, 2, 1, 3]}, "arc_offsets must grow"),
        ({"state_offsets": [0, 5]}, "offsets of states and arcs differ in length: 2 and 3"),
        ({"source": [0, 2, 1]}, "source of arc 1 is 2, of a graph of 3 states|arc 1"),
        ({"target": [1, -1, 2]}, "target of arc 1 is -1"),
        ({"ilabels": [0, -2, 1]}, "ilabels must be labels >= 0"),
        ({"olabels": [0, 1]}, "source has 3 arcs, olabels has 2"),
        ({"start": np.full(5, np.nan, np.float32)}, "start must not hold NaN"),
    ]
    for change, message in wrong:
        changed = {k: v for k, v in (arrays | change).items() if v is not None}
        if "source" in change:
            changed["source"] = np.array([2, 0, 1])
            message = "source of arc 0 is 2, of a graph of 2 states"
        with pytest.raises(ValueError, match=message):
            from_numpy(changed)
    with pytest.raises(TypeError, match="weights must be float32 or float64"):
        from_numpy(arrays | {"weights": np.zeros(3, np.float16)})


# networkx


@given(graphs(size=1))
def test_graphs_come_back_from_networkx(graph):
    assert from_networkx(to_networkx(graph), dtype=graph.dtype).equal(graph)


def test_graphs_of_networkx_have_any_nodes():
    given_graph = nx.DiGraph()
    given_graph.add_node("s", start=True)
    given_graph.add_edge("s", "t", ilabel=3, score=0.5)
    given_graph.add_edge("t", "t")
    given_graph.nodes["t"]["accept"] = -1
    expected = Graph([0, 1], [1, 1], [3, EPSILON], weights=[0.5, 0.0], accept={1: -1.0})
    assert from_networkx(given_graph).equal(expected)
    twice = nx.MultiDiGraph(given_graph)
    twice.add_edge("s", "t", ilabel=3, olabel=4)
    assert from_networkx(twice).olabels.tolist() == [3, 4, EPSILON]
    for wrong in (nx.Graph(), 3):
        with pytest.raises(TypeError, match="from_networkx: a directed networkx graph is needed"):
            from_networkx(wrong)
    given_graph.edges["s", "t"]["score"] = "high"
    with pytest.raises(TypeError, match="score must be a number, got 'high'"):
        from_networkx(given_graph)
    given_graph.edges["s", "t"]["ilabel"] = "a"
    with pytest.raises(TypeError, match="ilabel must be an integer, got 'a'"):
        from_networkx(given_graph)


# On disk


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_batches_come_back_from_disk(tmp_path, suffix):
    @given(graphs(), st.data())
    def check(graph, data):
        file = tmp_path / f"graph{suffix}"
        save(graph, file)
        whole = file.read_bytes()
        again = load(file)
        assert again.equal(graph) and again.weights.is_leaf
        found = read_or_refuse(file, data.draw(damaged(whole)), load)
        assert found is None or found.equal(graph)
        end = data.draw(st.integers(0, len(whole) - 1))
        assert read_or_refuse(file, whole[:end], load) is None
        at = data.draw(st.integers(0, len(whole) - 1))
        flipped = (
            whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
        )
        found = read_or_refuse(file, flipped, load)
        assert found is None or found.equal(graph)

    check()


def test_files_hold_no_pickles_and_say_their_version(tmp_path):
    graph = stack([linear([0, 1]), linear([2])])
    save(graph.requires_grad_(), tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz", allow_pickle=False) as file:
        assert {"header", "source", "weights", "state_offsets"} <= set(file)
        arrays = dict(file)
    header = arrays["header"].tobytes().decode()
    assert '"gtnet graph"' in header
    assert not load(tmp_path / "g.npz").requires_grad
    arrays["header"] = np.frombuffer(header.replace('"1"', '"2"').encode(), np.uint8)
    np.savez(tmp_path / "later.npz", **arrays)
    with pytest.raises(ValueError, match=r"later.npz: it has version 2, this gtnet reads 1"):
        load(tmp_path / "later.npz")
    np.savez(tmp_path / "other.npz", array=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz: it was not written by gtnet.save"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", header=np.array([{}], object))
    with pytest.raises(ValueError, match=r"cannot read .*pickle.npz: .*allow_pickle=False"):
        load(tmp_path / "pickle.npz")
    for function in (lambda path: save(graph, path), load):
        with pytest.raises(ValueError, match=r"must end in .npz or .safetensors, got 'g.pt'"):
            function("g.pt")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "g.npz"
    save(linear([0]), file)
    before = file.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        save(linear([1]), file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_safetensors_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match="safetensors"):
        save(linear([0]), tmp_path / "g.safetensors")
    gtnet.save(linear([0]), tmp_path / "g.npz")
    assert gtnet.load(tmp_path / "g.npz").equal(linear([0]))
