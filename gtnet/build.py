"""Graphs made from scratch: arc by arc, label sequences and tries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Topology

Labels = Sequence[int] | Sequence[Sequence[int]] | Tensor


class GraphBuilder:
    """Builds one graph state by state and arc by arc; for many arcs, `Graph(...)` takes arrays."""

    def __init__(self) -> None:
        self._start: list[float | Tensor] = []
        self._accept: list[float | Tensor] = []
        self._arcs: list[tuple[int, int, int, int]] = []
        self._weights: list[float | Tensor] = []

    @property
    def num_states(self) -> int:
        """States added so far."""
        return len(self._start)

    @property
    def num_arcs(self) -> int:
        """Arcs added so far."""
        return len(self._arcs)

    def add_state(
        self, start: bool | float | Tensor = False, accept: bool | float | Tensor = False
    ) -> int:
        """Add a state and return its number; True means a score of 0, a float is the score.

        A tensor [] is a score that stays in autograd. Raises TypeError for anything else, integers
        among them: 0 might be a score or mean no.
        """
        scores = (_score("start", start), _score("accept", accept))
        self._start.append(scores[0])
        self._accept.append(scores[1])
        return len(self._start) - 1

    def add_arc(
        self,
        source: int,
        target: int,
        ilabel: int,
        olabel: int | None = None,
        weight: float | Tensor = 0.0,
    ) -> int:
        """Add an arc and return its number; without `olabel` it writes what it reads.

        A tensor [] as `weight` stays in autograd.
        """
        ends = {"source": source, "target": target}
        ends = {name: _checks.integer("add_arc", name, state) for name, state in ends.items()}
        for name, state in ends.items():
            if not 0 <= state < len(self._start):
                raise ValueError(
                    f"add_arc: {name} must be one of the {len(self._start)} states, got {state}"
                )
        reads = _checks.label("add_arc", "ilabel", ilabel)
        writes = reads if olabel is None else _checks.label("add_arc", "olabel", olabel)
        score = _numbers.number("add_arc", "weight", weight)
        self._arcs.append((ends["source"], ends["target"], reads, writes))
        self._weights.append(score)
        return len(self._arcs) - 1

    def build(self, dtype: torch.dtype | None = None) -> Graph:
        """The graph of what was added, of torch's default dtype unless one is given.

        The builder may go on being used. Gradients flow to the scores that were given as tensors.
        """
        dtype = _numbers.float_dtype(dtype)
        scores = (self._weights, self._start, self._accept)
        weights, start, accept = (
            _numbers.tensor_of("build", "scores", list(column), dtype).to(dtype)
            for column in scores
        )
        device = next((t.device for t in (weights, start, accept) if t.device.type != "cpu"), None)
        if device is not None:
            weights, start, accept = (t.to(device) for t in (weights, start, accept))
        columns = torch.tensor(self._arcs, dtype=torch.int64, device=device).reshape(-1, 4)
        source, target, ilabels, olabels = columns.unbind(1)
        return Graph(
            source,
            target,
            ilabels,
            None if torch.equal(ilabels, olabels) else olabels,
            weights,
            start=start,
            accept=accept,
            num_states=self.num_states,
        )


def _score(name: str, given: object) -> float | Tensor:
    flag = _numbers.flag(given)
    if flag is not None:
        return 0.0 if flag else NEG_INF
    whole = isinstance(given, int | np.integer)
    if whole or (isinstance(given, Tensor) and not given.is_floating_point()):
        raise TypeError(
            f"add_state: {name} must be a boolean or a float score, got {given!r}: say True, False "
            f"or a float such as 0.0"
        )
    return _numbers.number("add_state", name, given)


def linear(
    labels: Labels,
    weights: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The acceptor of one label sequence, or a batch of acceptors for a list of sequences.

    Arguments: `labels` integers [length], or a list of such sequences; `weights` float [labels of
    all sequences together], by default 0. A two-dimensional integer tensor is a batch as well.
    Raises TypeError or ValueError as `Graph` does. Complexity: O(labels). Labels on a GPU make a
    graph on that GPU, after waiting for them once.
    """
    flat, lengths = flat_labels("linear", labels, "labels")
    before = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths, output_size=len(flat))
    source = (torch.arange(len(flat), device=flat.device) - before).to(torch.int32)
    return _chains(flat, source, lengths, weights, dtype)


def label_rows(function: str, name: str, labels: Labels) -> list[Tensor]:
    """The label sequences of a batch, from one sequence or several; EPSILON and up."""
    if isinstance(labels, str | bytes) or not hasattr(labels, "__len__"):
        raise TypeError(
            f"{function}: {name} must be a sequence of integers, or several of them, got {labels!r}"
        )
    rows = _numbers.tensor_of(function, name, labels) if isinstance(labels, np.ndarray) else labels
    if isinstance(rows, Tensor) and rows.ndim == 0:
        raise TypeError(f"{function}: {name} must be integers [length], got {labels!r}")
    several = rows.ndim != 1 if isinstance(rows, Tensor) else any(map(_is_row, rows))
    arrays = {f"{name}[{i}]": row for i, row in enumerate(rows)} if several else {name: rows}
    return _checks.label_arrays(function, arrays)


def _is_row(row: object) -> bool:
    return row.ndim > 0 if isinstance(row, Tensor) else hasattr(row, "__len__")


def flat_labels(function: str, targets: Labels, name: str = "targets") -> tuple[Tensor, Tensor]:
    """All targets one after another, int32, and their lengths, int64; on their device."""
    if isinstance(targets, np.ndarray):
        targets = _numbers.tensor_of(function, name, targets)
    if isinstance(targets, Tensor) and targets.ndim == 2:
        (flat,) = _checks.label_arrays(function, {name: targets.reshape(-1)})
        return flat, torch.full((len(targets),), targets.shape[1], device=targets.device)
    rows = label_rows(function, name, targets)
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    if not rows:
        return torch.empty(0, dtype=torch.int32), lengths
    return torch.cat(rows), lengths.to(rows[0].device)


def _chains(
    labels: Tensor,
    source: Tensor,
    lengths: Tensor,
    weights: Tensor | None,
    dtype: torch.dtype | None,
) -> Graph:
    num_arcs, num_states = len(labels), len(labels) + len(lengths)
    if weights is None:
        kind = _numbers.float_dtype(dtype)
        weights = torch.zeros(num_arcs, dtype=kind, device=labels.device)
    weights = _checks.scores("linear", "weights", weights, num_arcs, dtype)
    _checks.same_device("linear", labels=labels, weights=weights)
    zero = lengths.new_zeros(1)
    state_offsets = torch.cat([zero, (lengths + 1).cumsum(0)])
    start = weights.new_full((num_states,), NEG_INF)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    topology = Topology(
        state_offsets,
        torch.cat([zero, lengths.cumsum(0)]),
        source,
        source + 1,
        labels,
        labels,
        num_states,
    )
    return Graph.from_topology(topology, weights, start, accept)


def trie(words: Sequence[Sequence[int]], *, dtype: torch.dtype | None = None) -> Graph:
    """The transducer from token sequences to word numbers, with shared prefixes.

    The last arc of the path of word i writes label i; every other arc writes EPSILON. Every word
    ends in a state of its own, so homophones stay apart.

    Raises ValueError for a word without tokens or a token below 0. Complexity: O(tokens).
    """
    builder = GraphBuilder()
    root = builder.add_state(start=True)
    prefixes: dict[tuple[int, int], int] = {}
    for word, tokens in enumerate(_each("words", words)):
        tokens = _each(f"words[{word}]", tokens)
        tokens = [_checks.count("trie", f"words[{word}]", token) for token in tokens]
        if not tokens:
            raise ValueError(f"trie: word {word} has no tokens, at least one is needed")
        state = root
        for token in tokens[:-1]:
            known = prefixes.get((state, token))
            if known is None:
                known = prefixes[state, token] = builder.add_state()
                builder.add_arc(state, known, token, EPSILON)
            state = known
        last = builder.add_state(accept=True)
        builder.add_arc(state, last, tokens[-1], word)
    return builder.build(dtype)


def _each(name: str, values: Any) -> Any:
    """What can be gone through; strings are words, not tokens."""
    if not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise TypeError(
            f"trie: words must be sequences of integers, one for each word, got {name} = {values!r}"
        )
    return values
