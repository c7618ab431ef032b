"""Distances between label sequences: the edit transducer, and acceptors that score by distance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON, NEG_INF
from gtnet._memory import named
from gtnet._ordinary import ordinary
from gtnet.build import GraphBuilder, Labels, label_rows
from gtnet.compose import compose
from gtnet.determinize import MAX_STATES, determinize
from gtnet.distance import viterbi_score
from gtnet.graph import Graph, built, stack
from gtnet.minimize import minimize
from gtnet.paths import arcs_follow_each_other, label_sequences
from gtnet.topology import Topology, runs

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Alphabet = Sequence[int] | Tensor | int


@named
def edit_transducer(
    labels: Alphabet,
    *,
    insertion: float = 1.0,
    deletion: float = 1.0,
    substitution: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The transducer from every label sequence to every other, scored by minus the cost of edits.

    One state; arcs that copy a label (score 0), write another (-substitution), write one out of
    nothing (-insertion), or read one and write nothing (-deletion). The Viterbi score of
    `a @ edit_transducer(...) @ b` is minus the edit distance; its best path is the alignment.

    Arguments: `labels`, those that sequences may hold, integers; a number n means 0 .. n - 1.
    The costs are >= 0. Complexity: (labels + 1)² arcs. Source: Mohri 2003, "Edit-distance of
    weighted automata"; Levenshtein 1966.
    """
    dtype = _numbers.float_dtype(dtype)
    alphabet = _alphabet("edit_transducer", labels)
    costs = {"insertion": insertion, "deletion": deletion, "substitution": substitution}
    for name, cost in costs.items():
        if not 0 <= cost < float("inf"):
            raise ValueError(f"edit_transducer: {name} must lie in [0, inf), got {cost}")
    symbols = torch.cat([alphabet.new_tensor([EPSILON]), alphabet])
    reads = symbols.repeat_interleave(len(symbols))[1:]  # all pairs but epsilon with epsilon
    writes = symbols.repeat(len(symbols))[1:]
    weights = torch.full((len(reads),), -float(substitution), dtype=dtype, device=reads.device)
    weights = weights.masked_fill(reads == EPSILON, -float(insertion))
    weights = weights.masked_fill(writes == EPSILON, -float(deletion))
    weights = weights.masked_fill(reads == writes, 0)
    nowhere = torch.zeros_like(reads)
    return Graph(nowhere, nowhere, reads, writes, weights, accept=0, num_states=1)


@named
def edit_distance(a: Graph | Lattice, b: Graph | Lattice) -> Tensor:
    """The least number of insertions, deletions and substitutions that turn a path of `a` into one
    of `b`, minus the scores of both paths; of two label sequences their edit distance.

    Arguments: acceptors (of transducers, what `a` writes and `b` reads), batches of equal size or
    of size 1. Result: [batch] of their dtype; +inf where `a` or `b` has no path.
    Raises: as `compose`. Complexity: for two sequences O(length of a · length of b), in memory
    O(length of b); in general that of a composition, with O(labels²) arcs of edits between.
    Gradient: to the scores of both, along the best alignment.
    Source: Mohri 2003, "Edit-distance of weighted automata"; of sequences Levenshtein 1966.
    """
    a = built("edit_distance", "a", a)
    b = built("edit_distance", "b", b)
    _checks.same_dtype("edit_distance", a=a.weights, b=b.weights)
    matching = len(a) == len(b) or 1 in (len(a), len(b))  # else compose says what is wrong
    if matching and _are_chains(a) and _are_chains(b):
        return _between_sequences(a, b)
    labels = torch.cat([a.olabels, b.ilabels]).unique()
    edits = edit_transducer(labels[labels >= 0], dtype=a.dtype)
    return -viterbi_score(compose(compose(a, edits), b))


def _are_chains(graph: Graph) -> bool:
    """Whether each graph of a batch is one sequence of arcs from its first to its last state."""
    topology = graph.topology
    if graph.device.type != "cpu" or graph.num_arcs + len(graph) != graph.num_states:
        return False
    if not torch.equal(topology.state_offsets.diff(), topology.arc_offsets.diff() + 1):
        return False  # one with no states among them
    first = torch.zeros(graph.num_states, dtype=torch.bool)
    last = first.clone()
    first[topology.state_offsets[:-1]] = True
    last[topology.state_offsets[1:] - 1] = True
    return (
        arcs_follow_each_other(topology)
        and torch.equal(_checks.possible(graph.start), first)
        and torch.equal(_checks.possible(graph.accept), last)
    )


def _between_sequences(a: Graph, b: Graph) -> Tensor:
    """The edit distances of label sequences, given as chains, minus the scores of both."""
    written, read = label_sequences(a, "olabels"), label_sequences(b, "ilabels")
    size = max(len(written), len(read)) if written and read else 0
    pairs = zip(written * (size // max(1, len(written))), read * (size // max(1, len(read))))
    edits = [_levenshtein(np.array(x, np.int64), np.array(y, np.int64)) for x, y in pairs]
    return torch.tensor(edits, dtype=a.dtype) - viterbi_score(a) - viterbi_score(b)


def _levenshtein(a: np.ndarray, b: np.ndarray) -> int:
    """The edit distance, by Levenshtein's recursion a row at a time.

    What is inserted on the way along a row costs 1 a label, so that the least cost up to a place
    is a running minimum of costs minus places.
    """
    if len(a) > len(b):
        a, b = b, a
    places = np.arange(len(b) + 1)
    row = places.copy()
    for label in a:
        changed = np.minimum(row[:-1] + (b != label), row[1:] + 1)
        row = np.concatenate([[row[0] + 1], changed])
        row = np.minimum.accumulate(row - places) + places
    return int(row[-1])


@named
def mismatch_costs(answers: Labels, labels: Alphabet, *, dtype: torch.dtype | None = None) -> Graph:
    """Acceptors of all label sequences, scored 0 for the answer and 1 for every other.

    Arguments: `answers`, one label sequence or a batch of them; `labels` as in `edit_transducer`.
    Result: a batch, deterministic. Complexity: O(labels · length of the answer) arcs.
    """
    dtype = _numbers.float_dtype(dtype)
    return _along("mismatch_costs", answers, labels, dtype, hamming=False)


@named
def hamming_costs(answers: Labels, labels: Alphabet, *, dtype: torch.dtype | None = None) -> Graph:
    """Acceptors of all label sequences, scored by how many places differ from the answer.

    Each label by which one sequence is longer than the other counts 1. Arguments, result and
    complexity: as `mismatch_costs`. Source: Hamming 1950; Taskar, Guestrin & Koller 2003.
    """
    dtype = _numbers.float_dtype(dtype)
    return _along("hamming_costs", answers, labels, dtype, hamming=True)


@named
def edit_costs(
    answers: Labels,
    labels: Alphabet,
    *,
    max_states: int = MAX_STATES,
    dtype: torch.dtype | None = None,
) -> Graph:
    """Acceptors of all label sequences, scored by their edit distance from the answer.

    The answer composed with the edit transducer, determinized. Each sequence then has one path,
    whose score is the least cost over all alignments, as a maximum or sum over sequences needs.

    Arguments and result: as `mismatch_costs`; `max_states` of one acceptor. Raises ValueError
    where it has more. Its states are the possible rows of the table of Levenshtein's recursion,
    whose number grows exponentially with the answer: 5,768 for 9 different labels and 2.6 times as
    many for each further one, fewer where labels repeat. Answers of one pattern (abca, xyzx) share
    the work, which is cached.
    Source: Mohri 2003; Schulz & Mihov 2002, "Fast string correction with Levenshtein automata".
    """
    dtype = _numbers.float_dtype(dtype)
    alphabet = _alphabet("edit_costs", labels)
    rows = label_rows("edit_costs", "answers", answers)
    return stack([_edit_costs(row, alphabet, max_states, dtype) for row in rows])


def _alphabet(function: str, labels: Alphabet) -> Tensor:
    """The distinct labels, int32."""
    if isinstance(labels, int):
        return torch.arange(_checks.count(function, "labels", labels), dtype=torch.int32)
    alphabet = _checks.integers(function, "labels", labels).unique()
    if len(alphabet) and int(alphabet[0]) < 0:
        raise ValueError(f"{function}: labels must be >= 0, got {int(alphabet[0])}")
    return alphabet


def _along(
    function: str, answers: Labels, labels: Alphabet, dtype: torch.dtype, *, hamming: bool
) -> Graph:
    """A chain of states for the places of each answer, and then a state for all that differs."""
    alphabet = _alphabet(function, labels)
    rows = label_rows(function, "answers", answers)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    sizes = lengths + (1 if hamming else 2)
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    nothing = torch.full((2,), -2, dtype=torch.int32)  # matches no label
    expected = torch.cat([torch.cat([row, nothing])[:n] for row, n in zip(rows, sizes.tolist())])
    owner = torch.repeat_interleave(torch.arange(len(rows)), sizes)
    place = (torch.arange(int(offsets[-1])) - offsets[owner]).to(torch.int32)
    last = (sizes[owner] - 1).to(torch.int32)
    match = expected[:, None] == alphabet
    onward = (place + 1).minimum(last)[:, None].expand_as(match)
    missing = lengths[owner] - place
    if hamming:
        target, costs, accept = onward, (~match).to(dtype), missing.to(dtype)
    else:
        target = torch.where(match, onward, last[:, None])
        costs, accept = torch.zeros(match.shape, dtype=dtype), (missing != 0).to(dtype)
    start = torch.full_like(accept, NEG_INF).masked_fill(place == 0, 0)
    each = len(alphabet)
    ilabels = alphabet.repeat(len(place))
    topology = Topology(
        offsets,
        offsets * each,
        place.repeat_interleave(each),
        target.flatten().contiguous(),
        ilabels,
        ilabels,
        len(place),
    )
    return Graph.from_topology(topology, costs.flatten(), start, accept)


class _Pattern(NamedTuple):
    """The edit costs of an answer up to the names of its labels, as arrays of arcs and states.

    Label c stands for the c-th distinct label of the answer, the last for every other label.
    """

    source: Tensor
    target: Tensor
    classes: Tensor
    weights: Tensor
    start: Tensor
    accept: Tensor


def _edit_costs(row: Tensor, alphabet: Tensor, max_states: int, dtype: torch.dtype) -> Graph:
    """The pattern of one answer with its labels put in."""
    number: dict[int, int] = {}
    p = _pattern(tuple(number.setdefault(label, len(number)) for label in row.tolist()), max_states)
    own = torch.tensor(list(number), dtype=torch.int32)
    other = alphabet[~torch.isin(alphabet, own)]
    named = torch.cat([own, other])
    copies = torch.where(p.classes == len(own), len(other), 1)
    arc = torch.repeat_interleave(torch.arange(len(copies)), copies)
    label = named[runs(p.classes.long(), copies)]
    return Graph(
        p.source[arc],
        p.target[arc],
        label,
        weights=p.weights[arc].to(dtype),
        start=p.start.to(dtype),
        accept=p.accept.to(dtype),
        num_states=len(p.start),
    )


@lru_cache(maxsize=256)
@ordinary
def _pattern(classes: tuple[int, ...], max_states: int) -> _Pattern:
    """Levenshtein's recursion as an automaton: place i comes after i labels of the answer."""
    places, other = len(classes), max(classes, default=-1) + 1
    builder = GraphBuilder()
    for place in range(places + 1):
        builder.add_state(start=place == 0, accept=place == places)
    for place in range(places + 1):
        for label in range(other + 1):
            builder.add_arc(place, place, label, weight=-1.0)
            if place < places:
                right = label == classes[place]
                builder.add_arc(place, place + 1, label, weight=0.0 if right else -1.0)
        if place < places:
            builder.add_arc(place, place + 1, EPSILON, weight=-1.0)
    rows = determinize(builder.build(torch.float64), semiring="tropical", max_states=max_states)
    small = minimize(rows, semiring="tropical")
    weights, start, accept = (
        torch.where(scores > NEG_INF, -scores, scores)
        for scores in (small.weights, small.start, small.accept)
    )
    return _Pattern(small.source, small.target, small.ilabels, weights, start, accept)
