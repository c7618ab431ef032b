"""Context graphs: phrases that are expected, as rewards along their labels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import torch

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON
from gtnet.failure_graph import FailureGraph
from gtnet.graph import Graph


def context_graph(
    phrases: Iterable[Sequence[int]],
    num_labels: int,
    *,
    weight: float,
    dtype: torch.dtype | None = None,
) -> FailureGraph:
    """The acceptor of all sequences of labels, which rewards each phrase by `weight` a label.

    The reward comes label by label, so that a phrase is not pruned before it ends, and is taken
    back where the phrase breaks off. Phrases may overlap: each that occurs has its reward, less
    what a phrase that it begins with has had already.

    Arguments: `phrases` label sequences, none empty; `num_labels` that there are; `weight` finite.
    Raises ValueError for others. Complexity: O(labels of all phrases + num_labels).
    Source: Aho & Corasick 1975.
    """
    dtype = _numbers.float_dtype(dtype)
    size = _checks.count("context_graph", "num_labels", num_labels)
    weight = float(weight)
    if not abs(weight) < float("inf"):
        raise ValueError(f"context_graph: weight must be finite, got {weight}")
    children: list[dict[int, int]] = [{}]
    is_end = [False]
    for number, phrase in enumerate(phrases):
        labels = [_checks.one_of("context_graph", "a label", label, size) for label in phrase]
        if not labels:
            raise ValueError(f"context_graph: phrase {number} has no labels")
        node = 0
        for label in labels:
            if label not in children[node]:
                children[node][label] = len(children)
                children.append({})
                is_end.append(False)
            node = children[node][label]
        is_end[node] = True
    fails, owed, found = _walk(children, is_end, weight)
    arcs: list[tuple[int, int, int, float]] = []
    for node, own in enumerate(children):
        arcs += [(node, child, label, weight + found[child]) for label, child in own.items()]
        if node:
            arcs.append((node, fails[node], EPSILON, owed[fails[node]] - owed[node]))
    arcs += [(0, 0, label, 0.0) for label in range(size) if label not in children[0]]
    source, target, ilabels = ([arc[column] for arc in arcs] for column in range(3))
    scores = torch.tensor([arc[3] for arc in arcs], dtype=dtype)
    accept = [-reward for reward in owed]
    return FailureGraph(Graph(source, target, ilabels, None, scores, start=0, accept=accept))


def _walk(
    children: list[dict[int, int]], is_end: list[bool], weight: float
) -> tuple[list[int], list[float], list[float]]:
    """Of each node of the trie: where it fails to, the reward to take back there, and that of the
    phrases that end there as parts of others.
    """
    fails, owed, found = ([0] * len(children), [0.0] * len(children), [0.0] * len(children))
    own = [0.0] * len(children)  # the reward of a phrase, less that of one it begins with
    queue = deque([0])
    while queue:
        node = queue.popleft()
        for label, child in children[node].items():
            own[child] = owed[node] + weight
            owed[child] = 0.0 if is_end[child] else own[child]
            if node:
                at = fails[node]
                while at and label not in children[at]:
                    at = fails[at]
                fails[child] = children[at].get(label, 0)
            shorter = fails[child]
            found[child] = found[shorter] + (own[shorter] if is_end[shorter] else 0.0)
            queue.append(child)
    return fails, owed, found
