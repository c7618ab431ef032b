"""Beam search: the best paths of emissions composed with a graph, frame by frame."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON, LARGEST, NEG_INF
from gtnet._memory import named, unmapped
from gtnet._rewrite import arcs_on_cycles, with_arcs
from gtnet.distance import useful_part
from gtnet.emissions import Emissions
from gtnet.graph import Graph, built
from gtnet.topology import Topology, runs

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Partial = bool | Literal["fallback"]


@named
def beam_search(
    emissions: Emissions,
    graph: Graph | Lattice,
    *,
    beam: float,
    max_active: int | None = None,
    lattice_beam: float | None = None,
    partial: Partial = False,
) -> Graph:
    """The lattice of the paths that a frame-synchronous search through `emissions @ graph` keeps.

    After each frame a state survives if an arc that reads the frame leads to it, with a score at
    most `beam` below the best of all and among the `max_active` best. So do, however many they
    are, the states within `beam` to which epsilons lead from these. The lattice holds the paths
    through survivors whose score is at most `lattice_beam` below the best one.

    Apply `viterbi_path`, `k_best(..., unique="olabels")`, `forward_score` and `posteriors` to the
    result for best paths, distinct answers with scores, and confidences.

    Arguments:
        emissions: chains of frames.
        graph: any Graph (one for all items or one each), such as tokens @ lexicon @ grammar, with
            any weights, epsilons, cycles and outputs.
        beam: >= 0 or infinite. Infinite without `max_active` prunes nothing: the best path is
            exact.
        max_active: states that survive a frame because an arc that reads it leads to them (before
            the first frame: states to start in), at least 1; by default all within the beam. States
            to which only epsilons lead are not counted.
        lattice_beam: >= 0 or infinite, by default `beam`. 0 keeps the best path and its ties.
        partial: where paths may end among the last survivors. False: where `graph` accepts. True:
            in all of them, with score 0. "fallback": as True for the items in which no survivor
            accepts, as False for the others.
    Result: a batch of acyclic graphs. Its `arc_maps` and `state_maps` name the arcs and states of
    `emissions.graph()` and of `graph`; an epsilon has -1 as the arc of the emissions. If paths can
    end in none of the last survivors of an item, its graph has no states, and a UserWarning names
    the item.
    Raises: TypeError or ValueError for wrong types, dtypes and sizes, for emissions over a
    segmentation graph (use `prune(emissions @ graph, beam=...)` there), for an epsilon cycle that
    an accepting path takes (others are left out, also where paths are `partial`) and for labels
    that the emissions have no scores of, as `compose` does.
    Complexity: O(frames · arcs that leave survivors), memory O(survivors and arcs between
    them); items run on threads. On a GPU a block searches an item, which takes O(items · states)
    more memory, and the host waits a few times per chunk for sizes. Results, ties and the numbering
    of states and arcs are those of the CPU, but scores are not checked for NaN and +inf, which
    count as -inf.
    Gradient: that of a gather, to emissions, arc weights, start and accept; the choice has none.
    Source: Lowerre 1976; Povey et al. 2012 for the lattice.
    """
    if not isinstance(emissions, Emissions):
        raise TypeError(f"beam_search: emissions must be Emissions, got {type(emissions).__name__}")
    if emissions.lengths is None:
        raise ValueError(
            "beam_search: emissions must be a chain of frames, got a segmentation graph: "
            "use prune(emissions @ graph, beam=...)"
        )
    search = BeamSearch(graph, beam=beam, max_active=max_active, lattice_beam=lattice_beam)
    _checks.batches("beam_search", emissions, graph)
    if len(emissions) == 1 != len(graph):
        whole = emissions.repeated(len(graph))
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
        graph: Graph | Lattice,
        *,
        beam: float,
        max_active: int | None = None,
        lattice_beam: float | None = None,
    ) -> None:
        graph = built("beam_search", "graph", graph)
        self._graph = graph
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
        by_label = graph.topology.leaving_by_ilabel
        assert by_label.labels is not None
        weights = graph.weights.detach()
        epsilons = by_label.labels == EPSILON
        self._epsilon_order: Tensor | None = None
        if bool(epsilons.any()):
            order, useless = _epsilon_order(graph.detach().to("cpu"))
            self._epsilon_order = order.to(graph.device)
            if useless is not None:
                weights = weights.masked_fill(useless.to(graph.device), NEG_INF)
        weights = weights[by_label.arcs]
        self._foresee = not bool((weights[epsilons] > 0).any())
        self._positions = (by_label.offsets, by_label.arcs, by_label.states, by_label.labels)
        self._scores = (weights, graph.start.detach().contiguous())

    def feed(self, scores: Tensor, lengths: Tensor | list[int] | None = None) -> None:
        """Search the next frames: scores [batch, frames, labels], as `Emissions` takes them.

        `lengths` counts the frames of this chunk; an item that has ended gets 0. Raises TypeError
        or ValueError for wrong shapes and dtypes, and where a chunk does not match the first one.
        """
        emissions = Emissions(scores, lengths)
        assert emissions.lengths is not None
        if len(self._graph) not in (1, len(emissions)):
            raise ValueError(
                f"beam_search: graph has {len(self._graph)} graphs, scores {len(emissions)} items "
                f"(one graph, or one each, is needed)"
            )
        self._feed(emissions.scores, emissions.lengths)

    def _feed(self, scores: Tensor, lengths: Tensor, *, shared: bool = False) -> None:
        graph = self._graph
        unmapped("beam_search", scores, graph)
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
        kept = _ops.beam_search(
            _ops.rows_of_labels(scores.detach()),
            lengths,
            graph.state_offsets,
            *self._positions,
            *self._scores,
            self._epsilon_order,
            *self._survivors(),
            self._beam,
            self._max_active,
            self._lattice_beam,
            self._foresee,
        )
        self._shared = shared
        self._chunks.append(_Chunk(scores, lengths, *kept))

    def _survivors(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """States and scores at the last cut, and the offsets of each item's."""
        if not self._chunks:
            return None, None, None
        chunk = self._chunks[-1]
        cuts = chunk.cuts.view(len(chunk.lengths), chunk.scores.shape[1] + 2)
        begin = cuts.gather(1, chunk.lengths.unsqueeze(1)).squeeze(1)
        counts = cuts[:, -1] - begin
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return chunk.states[runs(begin, counts)], chunk.last_scores, offsets

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
        graph = self._graph
        last_states, last_scores, offsets = self._survivors()
        assert last_states is not None and last_scores is not None and offsets is not None
        item = _ops.spread(offsets, len(last_states))
        scores = graph.accept.detach()[last_states]
        accepting = torch.zeros_like(offsets[1:]).index_add(0, item, (scores > NEG_INF).long())
        anywhere = torch.full_like(accepting, partial is True, dtype=torch.bool)
        if partial == "fallback":
            anywhere = accepting == 0
        ends = last_scores + scores.masked_fill(anywhere[item], 0)
        ended = (accepting > 0) | anywhere
        _warn_of_empty(ended.logical_not(), offsets.diff() == 0)
        found = _ops.beam_lattice(
            *([getattr(chunk, name) for chunk in self._chunks] for name in _TRACE),
            self._chunks[0].start_slack,
            ends,
            self._lattice_beam,
        )
        state_offsets, arc_offsets, source, target, arcs, frames, *by_state = found
        states, cuts, starts, accepts = by_state
        ilabels = graph.ilabels[arcs]
        topology = Topology(
            state_offsets,
            arc_offsets,
            source,
            target,
            ilabels,
            ilabels if graph.is_acceptor else graph.olabels[arcs],
            states.shape[0],
        )
        rows, lengths = self._rows()
        _checks.countable("beam_search", "emissions", rows.numel())
        origin = lengths.cumsum(0) - lengths
        first = origin + torch.arange(len(origin), device=graph.device)
        if self._shared:
            origin, first = (
                begin.expand(len(topology.arc_offsets) - 1) for begin in (origin, first)
            )
        # Arcs may be millions, so in place and in 32 bits, which the check above has seen to.
        row = (origin * rows.shape[1]).to(torch.int32)[topology.graph_of_arc]
        row = row.add_(frames, alpha=rows.shape[1]).add_(ilabels).masked_fill_(frames < 0, -1)
        weights = _ops.take(graph.weights.contiguous(), arcs)
        accept = _ops.take(graph.accept.contiguous(), states)
        accept = accept.masked_fill(anywhere[topology.graph_of_state], 0)
        return Graph.from_topology(
            topology,
            weights + _ops.take(rows.reshape(-1).to(weights.dtype), row),
            torch.where(starts, _ops.take(graph.start.contiguous(), states), NEG_INF),
            torch.where(accepts, accept, NEG_INF),
            arc_maps=(row, arcs),
            state_maps=((first[topology.graph_of_state] + cuts).to(torch.int32), states),
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


def _epsilon_order(graph: Graph) -> tuple[Tensor, Tensor | None]:
    """The position of each state in a topological order of the epsilon arcs, int32 [states].

    And the arcs that have no part in it, bool [arcs], if there are any: those on cycles of epsilons
    that no accepting path takes.
    """
    silent = (graph.ilabels == EPSILON) & (graph.weights > NEG_INF)
    some = with_arcs(graph, silent)
    useless = None
    if some.topology.is_cyclic:
        assert some.arc_maps is not None
        around = some.arc_maps[0][arcs_on_cycles(some)].long()
        useless = torch.zeros_like(silent).index_fill(0, around, True)
        useless &= useful_part(graph).weights == NEG_INF
        some = with_arcs(graph, silent & ~useless)
    order, on_cycle = some.topology.order_and_cycles
    if (cyclic := on_cycle >= 0).any():
        number = int(cyclic.nonzero()[0])
        state = int(on_cycle[number] - graph.state_offsets[number])
        raise ValueError(
            f"beam_search: graph {number} has a cycle of epsilons through state {state}, on which "
            f"no order of its states is right: use remove_epsilon first"
        )
    place = torch.empty_like(order)
    place[order.long()] = torch.arange(len(order), dtype=order.dtype)
    return place, useless
