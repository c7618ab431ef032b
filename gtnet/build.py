"""Graphs made from scratch: arc by arc, label sequences and tries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._checks import EPSILON, NEG_INF
from gtnet.graph import Graph
from gtnet.topology import Topology

Labels = Sequence[int] | Sequence[Sequence[int]] | Tensor


class GraphBuilder:
    """Builds one graph state by state and arc by arc; for many arcs, `Graph(...)` takes arrays."""

    def __init__(self) -> None:
        self._start: list[float] = []
        self._accept: list[float] = []
        self._arcs: list[tuple[int, int, int, int]] = []
        self._weights: list[float] = []

    @property
    def num_states(self) -> int:
        """States added so far."""
        return len(self._start)

    @property
    def num_arcs(self) -> int:
        """Arcs added so far."""
        return len(self._arcs)

    def add_state(self, start: bool | float = False, accept: bool | float = False) -> int:
        """Add a state and return its number; True means a score of 0, a float is the score."""
        self._start.append(_score(start))
        self._accept.append(_score(accept))
        return len(self._start) - 1

    def add_arc(
        self,
        source: int,
        target: int,
        ilabel: int,
        olabel: int | None = None,
        weight: float = 0.0,
    ) -> int:
        """Add an arc and return its number; without `olabel` it writes what it reads."""
        for name, state in (("source", source), ("target", target)):
            if not 0 <= state < len(self._start):
                raise ValueError(
                    f"add_arc: {name} must be one of the {len(self._start)} states, got {state}"
                )
        self._arcs.append((source, target, ilabel, ilabel if olabel is None else olabel))
        self._weights.append(weight)
        return len(self._arcs) - 1

    def build(self, dtype: torch.dtype = torch.float32) -> Graph:
        """The graph of everything added so far; the builder can still be used."""
        source, target, ilabels, olabels = zip(*self._arcs) if self._arcs else ((), (), (), ())
        return Graph(
            source,
            target,
            ilabels,
            None if ilabels == olabels else olabels,
            torch.tensor(self._weights, dtype=dtype),
            start=torch.tensor(self._start, dtype=dtype),
            accept=torch.tensor(self._accept, dtype=dtype),
            num_states=self.num_states,
        )


def _score(given: bool | float) -> float:
    if isinstance(given, bool):
        return 0.0 if given else NEG_INF
    return float(given)


def linear(
    labels: Labels,
    weights: Tensor | None = None,
    *,
    dtype: torch.dtype = torch.float32,
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
    if isinstance(labels, Tensor):
        several = labels.ndim != 1
    else:
        several = len(labels) > 0 and hasattr(labels[0], "__len__")
    rows = {f"{name}[{i}]": row for i, row in enumerate(labels)} if several else {name: labels}
    return _checks.label_arrays(function, rows)


def flat_labels(function: str, targets: Labels, name: str = "targets") -> tuple[Tensor, Tensor]:
    """All targets one after another, int32, and their lengths, int64; on their device."""
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
    dtype: torch.dtype,
) -> Graph:
    num_arcs, num_states = len(labels), len(labels) + len(lengths)
    if weights is None:
        weights = torch.zeros(num_arcs, dtype=dtype, device=labels.device)
    weights = _checks.scores("linear", "weights", weights, num_arcs)
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


def trie(words: Sequence[Sequence[int]], *, dtype: torch.dtype = torch.float32) -> Graph:
    """The transducer from token sequences to word numbers, with shared prefixes.

    The last arc of the path of word i writes label i; every other arc writes EPSILON. Every word
    ends in a state of its own, so homophones stay apart.

    Raises ValueError for a word without tokens or a token below 0. Complexity: O(tokens).
    """
    builder = GraphBuilder()
    root = builder.add_state(start=True)
    prefixes: dict[tuple[int, int], int] = {}
    for word, tokens in enumerate(words):
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
