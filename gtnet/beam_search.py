"""Beam search: the best paths of emissions composed with a graph, frame by frame."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import LARGEST, NEG_INF
from gtnet._memory import unmapped
from gtnet._searched import BuiltGraph, Limits, Searched, Survivors
from gtnet._searched_product import Product
from gtnet.emissions import Emissions
from gtnet.failure_graph import FailureGraph
from gtnet.graph import Graph, built
from gtnet.history_graph import HistoryGraph
from gtnet.topology import Topology, runs

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Partial = bool | Literal["fallback"]


def beam_search(
    emissions: Emissions,
    graph: Graph | Lattice | Sequence[Graph | Lattice | FailureGraph | HistoryGraph],
    *,
    beam: float,
    max_active: int | None = None,
    lattice_beam: float | None = None,
    partial: Partial = False,
    look_ahead: bool = True,
) -> Graph:
    """The lattice of the paths that a frame-synchronous search through `emissions @ graph` keeps.

    `graph` is built, or a sequence such as [tokens, lexicon, grammar], which is composed while
    searching: a state of the product is made when the search reaches it, so memory follows what is
    active, however large the product would be. Give a lexicon with its words on the last arcs
    (`Lexicon.graph().star`), and the exact back-off of an n-gram model by
    `NGramModel.graph(backoff="failure")`. A language model that is a network is the last of them,
    as a `HistoryGraph`: it is asked after each frame, for the new histories of all items at once.

    After each frame a state survives if an arc that reads the frame leads to it, with a score at
    most `beam` below the best of all and among the `max_active` best. So do, however many they
    are, the states within `beam` to which epsilons lead from these. The lattice holds the paths
    through survivors whose score is at most `lattice_beam` below the best one.

    Apply `viterbi_path`, `k_best(..., unique="olabels")`, `forward_score` and `posteriors` to the
    result for best paths, distinct answers with scores, and confidences.

    Arguments:
        emissions: chains of frames.
        graph: any Graph (one for all items or one each), such as tokens @ lexicon @ grammar, with
            any weights, epsilons, cycles and outputs; or 2 to 8 of them, of which each reads what
            the one before writes, also a `FailureGraph` behind the first and a `HistoryGraph` as
            the last.
        beam: >= 0 or infinite. Infinite without `max_active` prunes nothing: the best path is
            exact.
        max_active: states that survive a frame because an arc that reads it leads to them (before
            the first frame: states to start in), at least 1; by default all within the beam. States
            to which only epsilons lead are not counted.
        lattice_beam: >= 0 or infinite, by default `beam`. 0 keeps the best path and its ties.
        partial: where paths may end among the last survivors. False: where `graph` accepts. True:
            in all of them, with score 0. "fallback": as True for the items in which no survivor
            accepts, as False for the others.
        look_ahead: of a sequence. A path is ranked with the best that the next graph gives to
            any label that can still be written (in the middle of a word, to the best word that
            begins so). Nothing else changes: scores are those of the paths, and an infinite beam
            gives the same either way.
    Result: a batch of acyclic graphs. Its `arc_maps` and `state_maps` name the arcs and states of
    `emissions.graph()` and of `graph`, or each of the sequence; an epsilon has -1 as the arc of the
    emissions, and a graph of the sequence that stays has -1. Failures stand in no map: the arc
    that is taken after them carries their score. The product is that of `compose`, but not trimmed,
    so paths may survive that cannot accept, and `partial` paths end there too. If paths can
    end in none of the last survivors of an item, its graph has no states, and a UserWarning names
    the item.
    Raises: TypeError or ValueError for wrong types, dtypes and sizes, for emissions over a
    segmentation graph (use `prune(emissions @ graph, beam=...)` there), for an epsilon cycle that
    an accepting path takes (others are left out, also where paths are `partial`) and for labels
    that the emissions have no scores of, as `compose` does; for a sequence on a GPU.
    Complexity: O(frames · arcs that leave survivors), memory O(survivors and arcs between
    them); items run on threads. A sequence costs O(log arcs) more for each arc followed. On a GPU a
    block searches an item, which takes O(items · states) more memory, and the host waits a few
    times per chunk for sizes. Results, ties and the numbering of states and arcs are those of the
    CPU, but scores are not checked for NaN and +inf, which count as -inf.
    With a `HistoryGraph` memory is O(histories of a frame's survivors · labels) more, and with
    gradients the histories of the lattice are scored a second time, those of a length in one batch.
    Gradient: that of a gather, to emissions, arc weights, start and accept, and to the parameters
    of a network; the choice has none.
    Source: Lowerre 1976; Povey et al. 2012 for the lattice; Allauzen, Riley & Schalkwyk 2009 for
    composition on demand with look-ahead.
    """
    if not isinstance(emissions, Emissions):
        raise TypeError(f"beam_search: emissions must be Emissions, got {type(emissions).__name__}")
    if emissions.lengths is None:
        raise ValueError(
            "beam_search: emissions must be a chain of frames, got a segmentation graph: "
            "use prune(emissions @ graph, beam=...)"
        )
    search = BeamSearch(
        graph,
        beam=beam,
        max_active=max_active,
        lattice_beam=lattice_beam,
        look_ahead=look_ahead,
    )
    size = len(search._searched)
    _checks.batches("beam_search", emissions, search._searched)
    if len(emissions) == 1 != size:
        whole = emissions.repeated(size)
        assert whole.lengths is not None
        search._feed(whole.scores, whole.lengths, shared=True)
    else:
        search._feed(emissions.scores, emissions.lengths)
    return search._lattice(partial)


class _Chunk(NamedTuple):
    """Frames that were fed together, and what the search kept of them."""

    scores: Tensor
    lengths: Tensor
    cuts: Tensor
    arc_cuts: Tensor
    states: Tensor
    last_scores: Tensor
    start_slack: Tensor
    sources: Tensor
    targets: Tensor
    arcs: Tensor
    slacks: Tensor


_TRACE = ("lengths", "cuts", "arc_cuts", "states", "sources", "targets", "arcs", "slacks")


class BeamSearch:
    """A beam search that takes frames chunk by chunk, with the same result as `beam_search`.

    `feed` any number of chunks, get the `lattice` so far, and continue. Arguments: as
    `beam_search`. Memory: the scores fed and the survivors, with the arcs between them.
    """

    def __init__(
        self,
        graph: Graph | Lattice | Sequence[Graph | Lattice | FailureGraph | HistoryGraph],
        *,
        beam: float,
        max_active: int | None = None,
        lattice_beam: float | None = None,
        look_ahead: bool = True,
    ) -> None:
        self._beam = _width("beam", beam)
        self._lattice_beam = (
            self._beam if lattice_beam is None else _width("lattice_beam", lattice_beam)
        )
        self._max_active = LARGEST
        if max_active is not None:
            self._max_active = _checks.count("beam_search", "max_active", max_active)
            if self._max_active == 0:
                raise ValueError("beam_search: max_active must be at least 1, got 0")
        self._chunks: list[_Chunk] = []
        self._shared = False
        several = graph if isinstance(graph, list | tuple) else (graph,)
        self._searched: Searched
        if len(several) == 1:
            self._searched = BuiltGraph(built("beam_search", "graph", several[0]))
        else:
            self._searched = Product("beam_search", several, look_ahead)
        self._first = self._searched.graphs[0]

    def _again(self) -> BeamSearch:
        """Another search of the graphs as they were, which are not laid out anew."""
        other = copy.copy(self)
        other._chunks, other._searched = [], self._searched.again()
        return other

    def feed(self, scores: Tensor, lengths: Tensor | list[int] | None = None) -> None:
        """Search the next frames: scores [batch, frames, labels], as `Emissions` takes them.

        `lengths` counts the frames of this chunk; an item that has ended gets 0. Raises TypeError
        or ValueError for wrong shapes and dtypes, and where a chunk does not match the first one.
        """
        emissions = Emissions(scores, lengths)
        assert emissions.lengths is not None
        size = len(self._searched)
        if size not in (1, len(emissions)):
            raise ValueError(
                f"beam_search: graph has {size} graphs, scores {len(emissions)} items "
                f"(one graph, or one each, is needed)"
            )
        self._feed(emissions.scores, emissions.lengths)

    def _feed(self, scores: Tensor, lengths: Tensor, *, shared: bool = False) -> None:
        graph = self._first
        unmapped("beam_search", scores, *self._searched.graphs)
        _checks.same_device("beam_search", scores=scores, graph=graph.weights)
        if scores.dtype not in _checks.SHORT or graph.dtype != torch.float32:
            _checks.same_dtype("beam_search", scores=scores, graph=graph.weights)
        if scores.is_cuda:
            lengths = lengths.clamp(0, scores.shape[1])  # they are not checked there
        largest = graph.topology.largest("ilabels")
        _checks.known_labels("beam_search", "graph", largest, scores.shape[2])
        if self._chunks:
            first = self._chunks[0].scores
            if (first.shape[0], first.shape[2]) != (scores.shape[0], scores.shape[2]):
                raise ValueError(
                    f"beam_search: chunks must be [{first.shape[0]}, frames, {first.shape[2]}] as "
                    f"the first one, got {list(scores.shape)}"
                )
        limits = Limits(self._beam, self._max_active, self._lattice_beam)
        self._shared = shared
        for part, ends in self._searched.steps(scores, lengths):
            rows = _ops.rows_of_labels(part.detach())
            kept = self._searched.search(rows, ends, self._survivors(), limits)
            self._chunks.append(_Chunk(part, ends, *kept))

    def _survivors(self) -> Survivors:
        """States and scores at the last cut."""
        if not self._chunks:
            return Survivors(None, None, None)
        chunk = self._chunks[-1]
        cuts = chunk.cuts.view(len(chunk.lengths), chunk.scores.shape[1] + 2)
        begin = cuts.gather(1, chunk.lengths.unsqueeze(1)).squeeze(1)
        counts = cuts[:, -1] - begin
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Survivors(chunk.states[runs(begin, counts)], chunk.last_scores, offsets)

    def lattice(self, *, partial: Partial = False) -> Graph:
        """The lattice of the frames fed so far, as `beam_search` returns it.

        Arguments: `partial` as in `beam_search`; True is for results in the middle of an utterance.
        Raises ValueError before the first chunk, and for another `partial`. Complexity: O(survivors
        and arcs kept).
        """
        return self._lattice(partial)

    def _lattice(self, partial: Partial) -> Graph:
        if partial != "fallback" and not isinstance(partial, bool):
            raise ValueError(
                f'beam_search: partial must be False, True or "fallback", got {partial!r}'
            )
        if not self._chunks:
            raise ValueError(
                "beam_search: there is no lattice before the first frames: call feed() first"
            )
        last_states, last_scores, offsets = self._survivors()
        assert last_states is not None and last_scores is not None and offsets is not None
        item = _ops.spread(offsets, len(last_states))
        scores = self._searched.accept(last_states)
        accepting = torch.zeros_like(offsets[1:]).index_add(0, item, (scores > NEG_INF).long())
        anywhere = torch.full_like(accepting, partial is True, dtype=torch.bool)
        if partial == "fallback":
            anywhere = accepting == 0
        ends = last_scores + scores.masked_fill(anywhere[item], 0)
        ended = (accepting > 0) | anywhere
        _warn_of_empty(ended.logical_not(), offsets.diff() == 0)
        columns = {name: [getattr(chunk, name) for chunk in self._chunks] for name in _TRACE}
        kept = list(zip(columns["states"], columns["arcs"], strict=True))
        for name in ("states", "arcs"):
            columns[name] = self._searched.places(columns[name])
        found = _ops.beam_lattice(
            *columns.values(), self._chunks[0].start_slack, ends, self._lattice_beam
        )
        state_offsets, arc_offsets, source, target, arcs, frames, *by_state = found
        states, cuts, starts, accepts = by_state
        unlabelled = Topology(
            state_offsets, arc_offsets, source, target, arcs, arcs, states.shape[0]
        )
        read = self._searched.read(unlabelled, arcs, states, kept)
        topology = unlabelled.with_labels(read.ilabels, read.olabels)
        rows, lengths = self._rows()
        _checks.countable("beam_search", "emissions", rows.numel())
        origin = lengths.cumsum(0) - lengths
        first = origin + torch.arange(len(origin), device=rows.device)
        if self._shared:
            origin, first = (
                begin.expand(len(topology.arc_offsets) - 1) for begin in (origin, first)
            )
        # Arcs may be millions, so in place and in 32 bits, which the check above has seen to.
        row = (origin * rows.shape[1]).to(torch.int32)[topology.graph_of_arc]
        row = row.add_(frames, alpha=rows.shape[1])
        row = row.add_(read.ilabels).masked_fill_(frames < 0, -1)
        accept = read.accept.masked_fill(anywhere[topology.graph_of_state], 0)
        return Graph.from_topology(
            topology,
            read.weights + _ops.take(rows.reshape(-1).to(read.weights.dtype), row),
            torch.where(starts, read.start, NEG_INF),
            torch.where(accepts, accept, NEG_INF),
            arc_maps=(row, *read.arc_maps),
            state_maps=((first[topology.graph_of_state] + cuts).to(torch.int32), *read.state_maps),
        )

    def _rows(self) -> tuple[Tensor, Tensor]:
        """The frames fed, item after item [frames, labels], and how many each item has."""
        batch = 1 if self._shared else None
        lengths = [chunk.lengths[:batch] for chunk in self._chunks]
        scores = [chunk.scores[:batch] for chunk in self._chunks]
        inside = [
            torch.arange(part.shape[1], device=part.device) < ends.unsqueeze(1)
            for part, ends in zip(scores, lengths)
        ]
        whole = scores[0] if len(scores) == 1 else torch.cat(scores, 1)
        total = torch.stack(lengths).sum(0)
        if all(bool(frames.all()) for frames in inside):
            return whole.reshape(-1, whole.shape[2]), total
        return whole[torch.cat(inside, 1)], total


def _warn_of_empty(without_end: Tensor, without_survivor: Tensor) -> None:
    """Say which items have a lattice without paths, and why."""
    if not bool((without_end | without_survivor).any()):
        return
    widen = "widen beam and max_active, or"
    kinds = (
        (without_survivor, "no state survives", f"{widen} see whether graph reads so many frames"),
        (
            without_end & ~without_survivor,
            "no survivor accepts",
            f'{widen} take partial="fallback" for the best paths to any of them',
        ),
    )
    for lost, why, advice in kinds:
        if items := lost.nonzero().flatten().tolist():
            named = ", ".join(map(str, items[:10])) + (", ..." if len(items) > 10 else "")
            warnings.warn(
                f"beam_search: after the last frame {why} in {len(items)} items ({named}), so "
                f"their lattices are empty: {advice}",
                stacklevel=4,
            )


def _width(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"beam_search: {name} must be a number, got {value!r}")
    if not value >= 0:
        raise ValueError(f"beam_search: {name} must be at least 0, got {value}")
    return float(value)
