"""Bad input: every error names the function and what it was given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gtnet
from gtnet import Emissions, Graph, compose, connect, intersect, linear, stack

NAN, INF = float("nan"), float("inf")
ONE_ARC = {"source": [0], "target": [1], "ilabels": [2], "olabels": [3], "accept": 1}


def graph_with(**changes) -> Graph:
    return Graph(**ONE_ARC | changes)


# Scores


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_and_infinite_scores(bad, dtype):
    scores = torch.tensor([0.0, 1.0, bad], dtype=dtype)
    three = {"source": [0] * 3, "target": [1] * 3, "ilabels": [0] * 3, "olabels": None}
    with pytest.raises(
        ValueError, match=rf"Graph: weights .*NaN or \+inf, got {bad} at position 2"
    ):
        graph_with(**three, weights=scores)
    for end in ("start", "accept"):
        with pytest.raises(ValueError, match=f"Graph: {end} .*got {bad} at position 2"):
            graph_with(**{end: scores}, weights=torch.zeros(1, dtype=dtype))
        with pytest.raises(ValueError, match=f"Graph: {end} .*got {bad}"):
            graph_with(**{end: {0: bad}})
    graph = linear([1, 2], dtype=dtype)
    for name, size in (("weights", 2), ("start", 3), ("accept", 3)):
        with pytest.raises(ValueError, match=f"with_weights: {name} .*got {bad}"):
            graph.with_weights(**{name: torch.full((size,), bad, dtype=dtype)})


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
def test_scores_of_another_dtype(dtype):
    with pytest.raises(TypeError, match=f"Graph: weights must be float32 or float64, got {dtype}"):
        graph_with(weights=torch.zeros(1, dtype=dtype))
    with pytest.raises(TypeError, match=f"with_weights: weights .*got {dtype}"):
        linear([1]).with_weights(torch.zeros(1, dtype=dtype))


def test_scores_of_another_shape():
    for shape in ([2], [0], [1, 1], []):
        said = str(shape).replace("[", r"\[").replace("]", r"\]")
        with pytest.raises(ValueError, match=rf"Graph: weights must have shape \[1\], got {said}"):
            graph_with(weights=torch.zeros(shape))
        with pytest.raises(ValueError, match=rf"with_weights: weights .*\[1\], got {said}"):
            linear([1]).with_weights(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"Graph: start must have shape \[5\], got \[3\]"):
        graph_with(start=torch.zeros(3), num_states=5)


def test_mixed_dtypes():
    double = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"Graph: .*weights torch.float64, start torch.float32"):
        graph_with(weights=double, start=torch.zeros(2))
    with pytest.raises(TypeError, match=r"with_weights: .*weights torch.float64.*torch.float32"):
        linear([1]).with_weights(double)
    a, b = linear([1]), linear([1], dtype=torch.float64)
    for function in (compose, intersect):
        name = function.__name__
        with pytest.raises(TypeError, match=f"{name}: .*a torch.float32, b torch.float64"):
            function(a, b)
    with pytest.raises(TypeError, match=r"compose: .*float32.*float64"):
        Emissions(torch.zeros(1, 1, 2)) @ b


# Arrays of arcs


@pytest.mark.parametrize("name", ["source", "target", "ilabels", "olabels"])
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.0], "float"),
        (torch.ones(1), "torch.float32"),
        (np.ones(1), "torch.float64"),
        ([True], "torch.bool"),
        (torch.ones(1, dtype=torch.complex64), "torch.complex64"),
    ],
)
def test_arrays_that_are_not_integers(name, values, dtype):
    with pytest.raises(TypeError, match=f"Graph: {name} must be integers, got .*{dtype}"):
        graph_with(**{name: values})


@pytest.mark.parametrize("name", ["source", "target", "ilabels", "olabels"])
def test_arrays_of_another_shape(name):
    with pytest.raises(ValueError, match=rf"Graph: {name} must have one dimension, got \[1, 1\]"):
        graph_with(**{name: [[0]]})
    with pytest.raises(ValueError, match=f"Graph: {name} must have one dimension"):
        graph_with(**{name: 0})
    with pytest.raises((TypeError, ValueError), match="str"):
        graph_with(**{name: ["a"]})


@pytest.mark.parametrize("name", ["target", "ilabels", "olabels"])
def test_arrays_of_different_length(name):
    with pytest.raises(ValueError, match=f"Graph: source has 1 arcs, {name} has 2"):
        graph_with(**{name: [0, 1]})


@pytest.mark.parametrize("name", ["source", "target"])
@pytest.mark.parametrize("state", [-1, -7, 5])
def test_states_out_of_range(name, state):
    with pytest.raises(ValueError, match=rf"Graph: {name} must lie in \[0, 3\).*got {state}"):
        graph_with(**{name: [state]}, num_states=3)


@pytest.mark.parametrize("name", ["start", "accept"])
@pytest.mark.parametrize("state", [-1, 5])
def test_ends_out_of_range(name, state):
    for ends in (state, [0, state], {state: 0.0}, torch.tensor([state])):
        with pytest.raises(ValueError, match=rf"Graph: {name} must lie in .*got {state}"):
            graph_with(**{name: ends}, num_states=3)


def test_negative_states_without_a_size():
    for name in ("source", "target", "start", "accept"):
        value = -2 if name in ("start", "accept") else [-2]
        with pytest.raises(ValueError, match=rf"Graph: {name} must lie in .*got -2"):
            graph_with(**{name: value})


@pytest.mark.parametrize("name", ["ilabels", "olabels"])
def test_labels_below_epsilon(name):
    with pytest.raises(ValueError, match=rf"Graph: {name} must be labels .*EPSILON \(-1\), got -2"):
        graph_with(**{name: [-2]})


@pytest.mark.parametrize("name", ["source", "target", "ilabels", "olabels"])
@pytest.mark.parametrize("value", [2**31, 2**40, -(2**31) - 1, -(2**63), 2**63 - 1])
def test_integers_beyond_32_bits(name, value):
    with pytest.raises(ValueError, match=f"Graph: {name} .*{value}"):
        graph_with(**{name: [value]})


@pytest.mark.parametrize("size", [-1, 1])
def test_bad_numbers_of_states(size):
    with pytest.raises(ValueError, match=rf"Graph: .*{size}"):
        graph_with(num_states=size)


def test_numbers_of_states_that_are_none():
    with pytest.raises(TypeError, match=r"Graph: num_states .*1.5"):
        graph_with(num_states=1.5)


@pytest.mark.parametrize("name", ["start", "accept"])
@pytest.mark.parametrize("ends", [True, 0.5, "0", None, [True, False], {0: "x"}])
def test_ends_of_another_type(name, ends):
    with pytest.raises((TypeError, ValueError), match=f"Graph: .*{name}"):
        graph_with(**{name: ends})


# Devices


def test_mixed_devices():
    far = torch.zeros(1, device="meta")
    with pytest.raises(ValueError, match=r"Graph: .*source on cpu.*weights on meta.*\.to\(\)"):
        graph_with(weights=far)
    with pytest.raises(ValueError, match=r"Graph: .*source on cpu.*target on meta"):
        graph_with(target=torch.zeros(1, dtype=torch.int32, device="meta"))
    with pytest.raises(ValueError, match=r"Graph: .*weights on cpu.*start on meta"):
        graph_with(start=torch.zeros(2, device="meta"))
    with pytest.raises(ValueError, match=r"with_weights: .*graph on cpu.*weights on meta"):
        linear([1]).with_weights(far)
    a, b = linear([1]), linear([1]).to("meta")
    for function in (compose, intersect):
        name = function.__name__
        with pytest.raises(ValueError, match=f"{name}: .*a on cpu, b on meta"):
            function(a, b)


# Batches and types


def test_batches_that_do_not_match():
    two, three = linear([[1], [2]]), linear([[1], [2], [3]])
    for function in (compose, intersect):
        name = function.__name__
        with pytest.raises(ValueError, match=f"{name}: a has 2 graphs, b has 3"):
            function(two, three)
        with pytest.raises(ValueError, match=f"{name}: a has 0 graphs, b has 2"):
            function(two[:0], two)
    with pytest.raises(ValueError, match="compose: a has 2 graphs, b has 3"):
        Emissions(torch.zeros(2, 1, 4)) @ three


def test_intersect_refuses_transducers():
    acceptor, transducer = linear([1]), graph_with()
    with pytest.raises(ValueError, match="intersect: b must be an acceptor, got a transducer"):
        intersect(acceptor, transducer)
    with pytest.raises(ValueError, match="intersect: a must be an acceptor, got a transducer"):
        intersect(transducer, acceptor)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("connect", connect),
        ("forward_score", gtnet.forward_score),
        ("viterbi_score", gtnet.viterbi_score),
        ("posteriors", gtnet.posteriors),
        ("shortest_distance", gtnet.shortest_distance),
        ("viterbi_path", gtnet.viterbi_path),
        ("k_best", lambda g: gtnet.k_best(g, 1)),
        ("label_sequences", gtnet.label_sequences),
        ("compose", lambda g: compose(linear([1]), g)),
        ("compose", lambda g: compose(g, linear([1]))),
        ("compose", lambda g: linear([1]) @ g),
        ("intersect", lambda g: intersect(linear([1]), g)),
        ("stack", lambda g: stack([g])),
    ],
)
def test_things_that_are_no_graphs(name, function):
    for thing in (3, None, torch.zeros(3), [linear([1])]):
        with pytest.raises(TypeError, match=f"{name}: .*Graph.*got {type(thing).__name__}"):
            function(thing)


@pytest.mark.parametrize("limit", [-1, 2**31])
def test_max_arcs_out_of_range(limit):
    with pytest.raises(ValueError, match=f"compose: max_arcs .*{limit}"):
        compose(linear([1]), linear([1]), max_arcs=limit)


def test_max_arcs_that_is_no_number():
    with pytest.raises(TypeError, match=r"compose: max_arcs .*1.5"):
        compose(linear([1]), linear([1]), max_arcs=1.5)
