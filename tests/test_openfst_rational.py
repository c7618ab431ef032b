"""OpenFst's rational operations, replacement and difference beside ours, on many graphs each."""

from __future__ import annotations

import math
import random

import pytest
import torch
from oracle import automata, paths, relation
from test_openfst import TRANSDUCERS, from_openfst, random_graph, to_openfst, total

import gtnet
from gtnet import EPSILON, Graph, forward_score, linear, relabel, stack, viterbi_score

pynini = pytest.importorskip("pynini")
pywrapfst = pytest.importorskip("pywrapfst")
NEG_INF = float("-inf")
ARC_TYPES = ("log64", "standard")


def drawn(seed: int, **kind: bool) -> list[Graph]:
    source = random.Random(seed)
    return [random_graph(source, **kind) for _ in range(TRANSDUCERS)]


def assert_same(ours: Graph, theirs: list, arc_type: str) -> None:
    """Equal totals in both semirings and, once, equal paths where they are few."""
    score = forward_score if arc_type == "log64" else viterbi_score
    assert score(ours).tolist() == pytest.approx([total(f) for f in theirs], rel=1e-6, abs=1e-6)
    if arc_type == "standard":
        return
    free = ours.with_weights(torch.zeros_like(ours.weights))
    few = forward_score(free) < math.log(200)
    assert few.float().mean() > 0.5
    for one, fst, written in zip(automata(ours), theirs, few, strict=True):
        if written:
            assert relation(paths(one)) == relation(paths(from_openfst(fst)))


@pytest.mark.parametrize("arc_type", ARC_TYPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (gtnet.union, lambda a, b: a.union(b)),
        (gtnet.concat, lambda a, b: a.concat(b)),
    ],
    ids=["union", "concat"],
)
def test_two_graphs(ours, theirs, arc_type):
    a, b = drawn(1), drawn(2)
    fsts = [theirs(to_openfst(x, arc_type), to_openfst(y, arc_type)) for x, y in zip(a, b)]
    made = ours(stack(a), stack(b))
    assert_same(made, fsts, arc_type)


@pytest.mark.parametrize("arc_type", ARC_TYPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (gtnet.reverse, lambda a: pynini.reverse(a)),
        (gtnet.invert, lambda a: a.invert()),
        (lambda g: gtnet.project(g, "input"), lambda a: a.project("input")),
        (lambda g: gtnet.project(g, "output"), lambda a: a.project("output")),
        (
            lambda g: relabel(g, {0: 7, 1: EPSILON}, {2: 0, 0: 9}),
            lambda a: a.relabel_pairs(ipairs=[(1, 8), (2, 0)], opairs=[(3, 1), (1, 10)]),
        ),
        (lambda g: g.optional, lambda a: a.ques),
    ],
    ids=["reverse", "invert", "input", "output", "relabel", "optional"],
)
def test_one_graph(ours, theirs, arc_type):
    graphs = drawn(3)
    fsts = [theirs(to_openfst(graph, arc_type)) for graph in graphs]
    made = ours(stack(graphs))
    assert_same(made, fsts, arc_type)


@pytest.mark.parametrize("arc_type", ARC_TYPES)
@pytest.mark.parametrize(("kind", "least"), [("star", 0), ("plus", 1)])
def test_closure_scores_strings_alike(kind, least, arc_type):
    """Products with a string are acyclic once no path reads nothing."""
    source = random.Random(5)
    graphs = [relabel(g, {EPSILON: 0}, {EPSILON: 0}) for g in drawn(4, acceptor=True)]
    graphs = [gtnet.difference(g, linear([], dtype=torch.float64)) for g in graphs]
    strings = [[source.choice([0, 1, 2]) for _ in range(source.randint(0, 4))] for _ in graphs]
    closed = gtnet.closure(stack(graphs), kind)
    made = gtnet.compose(linear(strings, dtype=torch.float64), closed)
    fsts = [
        pynini.compose(
            to_openfst(linear(string, dtype=torch.float64), arc_type),
            to_openfst(graph, arc_type).closure(least).arcsort("ilabel"),
        )
        for string, graph in zip(strings, graphs)
    ]
    assert_same(made, fsts, arc_type)
    assert float((forward_score(made) > NEG_INF).float().mean()) > 0.1


@pytest.mark.parametrize("arc_type", ARC_TYPES)
@pytest.mark.parametrize("labeling", ["neither", "input"])
def test_replace(labeling, arc_type):
    """OpenFst keeps what the calling arc reads or drops it; ours drops a nonterminal alone."""
    acceptor = labeling == "neither"
    roots, ones, twos = (drawn(seed, acceptor=acceptor) for seed in (6, 7, 8))
    call = {1: 11, 2: 12}
    read = call if acceptor else {}
    roots = [relabel(g, read, call) for g in roots]
    ones = [relabel(g, {2: 12} if acceptor else {}, {2: 12}) for g in ones]
    fsts = [
        pynini.Fst.from_pywrapfst(
            pywrapfst.replace(
                [(label, to_openfst(g, arc_type)) for label, g in ((99, a), (12, b), (13, c))],
                call_arc_labeling=labeling,
                return_arc_labeling="neither",
            )
        ).connect()
        for a, b, c in zip(roots, ones, twos)
    ]
    made = gtnet.replace(stack(roots), {11: stack(ones), 12: stack(twos)})
    assert_same(made, fsts, arc_type)


@pytest.mark.parametrize("arc_type", ARC_TYPES)
def test_difference(arc_type):
    a, b = drawn(9, acceptor=True), drawn(10, acceptor=True, acyclic=False)
    fsts = []
    for graph, taken in zip(a, b):
        free = taken.with_weights(
            torch.zeros_like(taken.weights),
            start=taken.start.masked_fill(taken.start > NEG_INF, 0),
            accept=taken.accept.masked_fill(taken.accept > NEG_INF, 0),
        )
        right = pynini.determinize(to_openfst(free, "standard").rmepsilon())
        if arc_type == "log64":
            right = pynini.arcmap(right, map_type="to_log64")
        left = to_openfst(graph, arc_type).arcsort("olabel")
        fsts.append(pynini.difference(left, right.arcsort("ilabel")))
    made = gtnet.difference(stack(a), stack(b))
    assert_same(made, fsts, arc_type)
