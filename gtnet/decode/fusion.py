"""Language models that are networks, composed on demand with the lattice that a search has kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gtnet import _checks
from gtnet._checks import NEG_INF
from gtnet._maps import traced
from gtnet.connect import connect
from gtnet.decode.histories import Histories, survivors
from gtnet.distance import best_to_accept
from gtnet.graph import Graph, built
from gtnet.language_model import LanguageModel, scored_again
from gtnet.topology import Topology


def fuse(
    lattice: Graph,
    lm: LanguageModel,
    *,
    weight: float = 1.0,
    beam: float = math.inf,
    max_active: int | None = None,
    end: bool = True,
) -> Graph:
    """The composition of a lattice with a language model, made while it is searched.

    A state of the result is one of the lattice and the history of the labels that were written on
    the way; on an arc that writes a label stands its score in the lattice plus `weight` times its
    log-probability after that history. So path sums, best paths and posteriors of the result are
    those of both models together.

    The lattice is gone through in layers, all its items at once, and the model is asked for the
    histories of a layer in one batch. Without `beam` and `max_active` the result is exact, and
    as large as there are histories.

    Arguments: `lattice` any acyclic batch on the CPU, such as `beam_search` makes it, whose
    olabels are those of `lm`. `lm` is a `LanguageModel`, on any device. `beam` >= 0: how much
    worse than the best of a layer what goes on may be, with the best that the lattice can still
    add. `max_active`: how many go on in a layer at most, of each item. `end`: whether the end of a
    sentence has its score.
    Result: a batch of acyclic graphs; `arc_maps` and `state_maps` are those of the lattice, or name
    its arcs and states where it has none.
    Raises TypeError or ValueError for a cyclic lattice, for labels that `lm` gives no scores to,
    and for scores that are NaN.
    Complexity: O(states and arcs made), and a call of the model for each layer in which new
    histories go on. With gradients the histories that were kept are scored a second time, those
    of a length in one batch.
    Gradient: to the scores of the lattice and to the parameters of `lm`; the choice has none.
    Source: Chorowski & Jaitly 2017 for shallow fusion; Mohri, Pereira & Riley 2002 for composition
    on demand.
    """
    lattice = built("fuse", "lattice", lattice)
    lattice.topology.walk("fuse")  # refuses cycles
    _checks.on_cpu("fuse", "lattice", lattice.weights, "move it with .cpu()")
    if not beam >= 0:
        raise ValueError(f"fuse: beam must be at least 0, got {beam}")
    most = math.inf
    if max_active is not None:
        most = _checks.count("fuse", "max_active", max_active)
        if most == 0:
            raise ValueError("fuse: max_active must be at least 1, got 0")
    asked = Histories(lm)
    with torch.no_grad():
        found = _search(lattice.detach(), asked, weight, beam, most)
        follows, ends = torch.from_numpy(found.follows), torch.zeros(len(found.states))
        if end:
            ends = torch.from_numpy(asked.ends(found.history))
    if torch.is_grad_enabled():
        writes = np.flatnonzero(found.labels >= 0)
        before = found.history[found.source[writes]]
        said, ends = scored_again(lm, asked.tree, before, found.labels[writes], found.history)
        follows = torch.zeros(len(found.labels), dtype=torch.float64)
        follows = follows.index_put((torch.from_numpy(writes),), said)
    dtype, topology = lattice.dtype, lattice.topology
    arcs, states, source, target = (
        torch.from_numpy(column)
        for column in (found.arcs, found.states, found.source, found.target)
    )
    accept = lattice.accept[states]
    if end:
        never = ends == NEG_INF
        accept = accept + (weight * ends.masked_fill(never, 0)).to(dtype)
        accept = accept.masked_fill(never, NEG_INF)
    offsets = torch.searchsorted(
        topology.graph_of_state[states].contiguous(), torch.arange(len(lattice) + 1)
    )
    first = offsets[topology.graph_of_arc[arcs]]
    ilabels = topology.ilabels[arcs]
    made = Topology(
        offsets,
        torch.searchsorted(source, offsets),
        (source - first).to(torch.int32),
        (target - first).to(torch.int32),
        ilabels,
        ilabels if topology.is_acceptor else topology.olabels[arcs],
        len(states),
    )
    fused = Graph.from_topology(
        made,
        lattice.weights[arcs] + (weight * follows).to(dtype),
        lattice.start[states].masked_fill(~torch.from_numpy(found.starts), NEG_INF),
        accept,
        arc_maps=(arcs.to(torch.int32),),
        state_maps=(states.to(torch.int32),),
    )
    return traced(traced(connect(fused), fused), lattice)


class _Found(NamedTuple):
    """States and histories of the result, sorted by item; its arcs, sorted by source."""

    states: np.ndarray  # of the lattice
    history: np.ndarray
    starts: np.ndarray
    source: np.ndarray
    target: np.ndarray
    arcs: np.ndarray  # of the lattice
    labels: np.ndarray  # what each writes
    follows: np.ndarray  # the log-probability of that


def _search(lattice: Graph, asked: Histories, weight: float, beam: float, most: float) -> _Found:
    """What goes on, layer by layer."""
    depth, item = lattice.topology._depth.numpy(), lattice.topology.graph_of_state.numpy()
    start = lattice.start.double().numpy()
    ahead = best_to_accept("fuse", lattice)[0].numpy()
    begins = np.flatnonzero((start > NEG_INF) & (ahead > NEG_INF))
    none = np.full(len(begins), -1)
    waiting: dict[int, list[_Arrivals]] = {}
    _wait(
        waiting, depth, _Arrivals(begins, none + 1, start[begins], none, none, np.zeros(len(none)))
    )
    kept: list[tuple[np.ndarray, ...]] = []
    arcs: list[tuple[np.ndarray, ...]] = []
    size = 0
    while waiting:
        now = _Arrivals(*map(np.concatenate, zip(*waiting.pop(min(waiting)), strict=True)))
        keys, place = np.unique(now.state * len(asked.tree) + now.history, return_inverse=True)
        state, history = np.divmod(keys, len(asked.tree))
        score = np.full(len(keys), NEG_INF)
        np.maximum.at(score, place, now.score)
        good = survivors(score + ahead[state], item[state], beam, most)
        number = np.where(good, size + np.cumsum(good) - 1, -1)
        started = np.zeros(len(keys), bool)
        started[place[now.source < 0]] = True
        kept.append((state[good], history[good], started[good]))
        real = good[place] & (now.source >= 0)
        arcs.append((now.source[real], number[place][real], now.arc[real], now.follow[real]))
        onward = _onward(lattice, ahead, state[good], history[good], score[good], size)
        _wait(waiting, depth, _said(onward, lattice.topology.olabels.numpy(), asked, weight))
        size += int(good.sum())
    states, histories, starts = _columns(kept, (np.int64, np.int64, bool))
    source, target, arc, follow = _columns(arcs, (np.int64, np.int64, np.int64, np.float64))
    order = np.argsort(item[states], kind="stable")
    place = np.argsort(order)
    source, target = place[source], place[target]
    by_source = np.argsort(source, kind="stable")
    arc = arc[by_source]
    return _Found(
        states[order],
        histories[order],
        starts[order],
        source[by_source],
        target[by_source],
        arc,
        lattice.topology.olabels.long().numpy()[arc],
        follow[by_source],
    )


def _onward(
    lattice: Graph,
    ahead: np.ndarray,
    state: np.ndarray,
    history: np.ndarray,
    score: np.ndarray,
    first: int,
) -> _Arrivals:
    """Where arcs of the lattice lead from here, before anything is said."""
    offsets, by_state, targets = (t.numpy() for t in lattice.topology.leaving.by_state())
    counts = np.diff(offsets)[state].astype(np.int64)
    before = np.cumsum(counts) - counts
    at = np.repeat(offsets[state] - before, counts) + np.arange(counts.sum())
    arc, to = by_state[at].astype(np.int64), targets[at].astype(np.int64)
    reached = np.repeat(score, counts) + lattice.weights.numpy()[arc].astype(np.float64)
    source = np.repeat(np.arange(first, first + len(state)), counts)
    found = _Arrivals(to, np.repeat(history, counts), reached, source, arc, np.zeros(len(arc)))
    possible = (ahead[to] > NEG_INF) & (reached > NEG_INF)
    return _Arrivals(*(column[possible] for column in found))


def _said(found: _Arrivals, olabels: np.ndarray, asked: Histories, weight: float) -> _Arrivals:
    """The same with the scores of what is written, and the longer histories."""
    labels = olabels[found.arc].astype(np.int64)
    writes = labels >= 0
    if not writes.any():
        return found
    follow, history = found.follow.copy(), found.history.copy()
    follow[writes] = asked.follows(history[writes], labels[writes])
    history[writes] = asked.tree.longer(history[writes], labels[writes])
    possible = follow > NEG_INF
    score = found.score + weight * np.where(possible, follow, 0)
    longer = found._replace(history=history, score=score, follow=follow)
    return _Arrivals(*(column[possible] for column in longer))


class _Arrivals(NamedTuple):
    """Ways into states of the result: the state and history, the score, whence and by which arc."""

    state: np.ndarray
    history: np.ndarray
    score: np.ndarray
    source: np.ndarray
    arc: np.ndarray
    follow: np.ndarray


def _wait(waiting: dict[int, list[_Arrivals]], depth: np.ndarray, found: _Arrivals) -> None:
    """Put what was found to the layers of its states."""
    layer = depth[found.state]
    for one in np.unique(layer).tolist():
        own = layer == one
        waiting.setdefault(one, []).append(_Arrivals(*(column[own] for column in found)))


def _columns(rows: list[tuple[np.ndarray, ...]], dtypes: Sequence[Any]) -> list[np.ndarray]:
    parts = zip(*rows, strict=True) if rows else ((),) * len(dtypes)
    return [
        np.concatenate([np.empty(0, dtype), *part])
        for part, dtype in zip(parts, dtypes, strict=True)
    ]
