"""The integers of a batch of automata: which arcs there are, and how to walk along them."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._ops import library
from gtnet._ordinary import (
    in_inference_mode,
    ordinary,
    ordinary_tensors,
    transformed,
    without_wrappers,
)

_WORTH_SLICING = 4096  # arcs; fewer take a few microseconds however they are walked


class Incidence(NamedTuple):
    """The arcs of every state, contiguous: state s owns positions [offsets[s], offsets[s + 1]).

    All int32 and numbered through the whole batch: `arcs[k]` is the arc at position k, `states[k]`
    the state at its other end, `labels[k]` its label where the arcs of a state are sorted by it.
    """

    offsets: Tensor
    arcs: Tensor
    states: Tensor
    labels: Tensor | None = None

    def by_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Without the labels."""
        return self.offsets, self.arcs, self.states

    def to(self, device: torch.device) -> Incidence:
        """A copy on another device, without the labels."""
        return Incidence(*(t.to(device) for t in self.by_state()))


class Topology:
    """States, arcs and labels of a batch of automata; never changes after construction.

    Arguments: `state_offsets`, `arc_offsets` int64 [graphs + 1]; `source`, `target` int32 [arcs],
    numbered within each graph; `ilabels`, `olabels` int32 [arcs]. Nothing is checked here:
    `Graph` does that at the public boundary. Views derived from the arcs are made on first use
    and kept.
    """

    _origin: Topology | None = None  # on a GPU: the copy on the CPU, which prepares its walks

    def __init__(
        self,
        state_offsets: Tensor,
        arc_offsets: Tensor,
        source: Tensor,
        target: Tensor,
        ilabels: Tensor,
        olabels: Tensor,
        num_states: int,
    ) -> None:
        arrays: tuple[Tensor, ...] = (state_offsets, arc_offsets, source, target, ilabels, olabels)
        if in_inference_mode() or transformed():
            arrays = without_wrappers(*ordinary_tensors(*arrays))
        self.state_offsets, self.arc_offsets, self.source, self.target = arrays[:4]
        self.ilabels, self.olabels = arrays[4:]
        self.num_graphs = arc_offsets.shape[0] - 1
        self.num_states = num_states
        self._walks = 0
        self._known_walks: dict[tuple[bool, bool], _ops.Walk] = {}
        self._largest: dict[str, int] = {}

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """All that defines it, as the constructor takes it."""
        return (
            self.state_offsets,
            self.arc_offsets,
            self.source,
            self.target,
            self.ilabels,
            self.olabels,
        )

    @property
    def num_arcs(self) -> int:
        """Arcs of the whole batch."""
        return self.source.shape[0]

    @property
    def device(self) -> torch.device:
        """The device of the integers."""
        return self.source.device

    @cached_property
    @ordinary
    def is_acceptor(self) -> bool:
        """Whether every arc reads what it writes."""
        return self.ilabels is self.olabels or bool(torch.equal(self.ilabels, self.olabels))

    def largest(self, side: Literal["ilabels", "olabels"]) -> int | None:
        """The largest label that an arc reads or writes, EPSILON without arcs; kept.

        None on a GPU where the graph was made there: to know it would wait.
        """
        if self._origin is not None:
            return self._origin.largest(side)
        if side == "olabels" and self.olabels is self.ilabels:
            side = "ilabels"
        found = self._largest.get(side)
        if found is None and self.device.type == "cpu" and not torch.compiler.is_compiling():
            labels = getattr(self, side)
            found = int(_checks.plain(labels).max()) if len(labels) else _checks.EPSILON
            self._largest[side] = found
        return found

    @cached_property
    @ordinary
    def entering(self) -> Incidence:
        """The arcs that enter each state; the other end is the source. O(states + arcs)."""
        if self._origin is not None:
            return self._origin.entering.to(self.device)
        return self._grouped(self.target, self.source)

    @cached_property
    @ordinary
    def leaving(self) -> Incidence:
        """The arcs that leave each state; the other end is the target. O(states + arcs)."""
        if self._origin is not None:
            return self._origin.leaving.to(self.device)
        return self._grouped(self.source, self.target)

    @cached_property
    @ordinary
    def leaving_by_ilabel(self) -> Incidence:
        """`leaving` with the arcs of each state sorted by input label. O(arcs log degree)."""
        return self._sorted(self.ilabels)

    @cached_property
    @ordinary
    def leaving_by_olabel(self) -> Incidence:
        """`leaving` with the arcs of each state sorted by output label. O(arcs log degree)."""
        if self.is_acceptor:
            return self.leaving_by_ilabel
        return self._sorted(self.olabels)

    @cached_property
    @ordinary
    def pair_labels(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The (input, output) pair of each arc as a number, int32 [arcs], and of each number the
        labels, int32 each. O(arcs log arcs).
        """
        pairs = (self.ilabels.long() << 32) | (self.olabels.long() & 0xFFFFFFFF)
        distinct, number = torch.unique(pairs, return_inverse=True)
        ilabels = (distinct >> 32).to(torch.int32)
        olabels = (distinct - (ilabels.long() << 32)).to(torch.int32)
        return number.to(torch.int32), (ilabels, olabels)

    def leaving_by(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`leaving` with the arcs of each state sorted by `labels` [arcs], and these labels."""
        by = self.leaving_by_ilabel if labels is self.ilabels else self._sorted(labels)
        assert by.labels is not None
        return by.offsets, by.arcs, by.states, by.labels

    @cached_property
    @ordinary
    def order_and_cycles(self) -> tuple[Tensor, Tensor]:
        """The states of each graph in topological order, int32 [states], and for every graph a
        state on a cycle, int64 [graphs], -1 if there is none. O(states + arcs).
        """
        if self._origin is not None:
            order, on_cycle = self._origin.order_and_cycles
            return order.to(self.device), on_cycle.to(self.device)
        if library.on_gpu(self.source) and not isinstance(self._order_and_bounds, str):
            return self._order_and_bounds[0], torch.full_like(self.state_offsets[1:], -1)
        return self._ordered_on_cpu()

    def _ordered_on_cpu(self) -> tuple[Tensor, Tensor]:
        ends = (self.state_offsets, self.entering.offsets, self.entering.states)
        if self.device.type == "cpu":
            return _ops.topological_order(*ends)
        order, on_cycle = _ops.topological_order(*(t.cpu() for t in ends))
        return order.to(self.device), on_cycle.to(self.device)

    @cached_property
    @ordinary
    def _order_and_bounds(self) -> tuple[Tensor, Tensor | None] | str:
        """The order of an acyclic walk, on a GPU with its layers; or where there is a cycle, in
        words.

        For a graph that was made on a GPU, the host waits to learn whether there is a cycle.
        """
        if self._origin is not None:
            return self._origin._layers_for(self.device)
        if library.on_gpu(self.source):
            depth = self._depth
            if not bool((depth < 0).any()):
                return _ops.in_layers(self.state_offsets, depth)
            order, on_cycle = self._ordered_on_cpu()
        else:
            order, on_cycle = self.order_and_cycles
        if len(on_cycle) and int(on_cycle.max()) >= 0:
            graph = int((on_cycle >= 0).nonzero()[0])
            state = int(on_cycle[graph] - self.state_offsets[graph])
            return f"graph {graph} has a cycle through state {state}"
        return order, None

    @property
    def _depth(self) -> Tensor:
        """The number of arcs on the longest path to each state, -1 on cycles and after them."""
        offsets, _, targets = self.leaving.by_state()
        return _ops.depths(self.state_offsets, self.entering.offsets, offsets, targets)

    def _layers_for(self, device: torch.device) -> tuple[Tensor, Tensor] | str:
        """The states ordered by layer, and the bounds of the layers, on a GPU."""
        plain = self._order_and_bounds
        if isinstance(plain, str):
            return plain
        order, bounds = _ops.in_layers(self.state_offsets, self._depth)
        return order.to(device), bounds.to(device)

    def walk(self, function: str, *, reverse: bool = False, both_ways: bool = False) -> _ops.Walk:
        """How to walk through all states, from the start or in reverse, and back for a gradient.

        Raises ValueError where a graph has a cycle, naming it and a state on the cycle.
        """
        self._check_device(function)
        prepared = self._order_and_bounds
        if isinstance(prepared, str):
            raise ValueError(f"{function}: {prepared}; only acyclic graphs are supported here")
        return self._walk(*prepared, None, reverse, both_ways)

    def _check_device(self, function: str) -> None:
        if self.device.type != "cuda":
            _checks.on_cpu(function, "graph", self.source, "or on a GPU: move it with .to()")

    def _walk(
        self,
        order: Tensor,
        layers: Tensor | None,
        cycles: _ops.Cycles | None,
        reverse: bool,
        both_ways: bool,
    ) -> _ops.Walk:
        forth, back = self.entering, self.leaving if both_ways else None
        if reverse:
            forth, back = self.leaving, self.entering if both_ways else None
        plan, back_plan = layers, layers
        if cycles is None and layers is None and self.num_arcs >= _WORTH_SLICING:
            self._walks += 1
            if self._walks > 1:
                plan = self._leaving_slices if reverse else self._entering_slices
                if both_ways:
                    back_plan = self._entering_runs if reverse else self._leaving_runs
        return _ops.Walk(
            self.state_offsets,
            order,
            plan,
            forth.by_state(),
            back.by_state() if back else None,
            reverse,
            cycles,
            back_plan,
        )

    @cached_property
    @ordinary
    def _entering_slices(self) -> Tensor | None:
        return self._slices(self.entering, reverse=False)

    @cached_property
    @ordinary
    def _leaving_slices(self) -> Tensor | None:
        return self._slices(self.leaving, reverse=True)

    @cached_property
    @ordinary
    def _entering_runs(self) -> Tensor | None:
        return self._slices(self.entering, reverse=False, runs_only=True)

    @cached_property
    @ordinary
    def _leaving_runs(self) -> Tensor | None:
        return self._slices(self.leaving, reverse=True, runs_only=True)

    def _slices(
        self, incidence: Incidence, *, reverse: bool, runs_only: bool = False
    ) -> Tensor | None:
        """Which states an acyclic walk takes side by side on the CPU, None if that is never faster.

        Results are the same bit for bit. O(states + arcs), as long as two walks, so it is done
        only for the second walk; about 7 bytes per arc are kept. Gradients need the runs only.
        """
        order, _ = self.order_and_cycles
        ends = (self.state_offsets, order, *incidence.by_state())
        plan = _ops.slices(*ends, reverse, runs_only)
        return plan if plan.numel() else None

    @cached_property
    @ordinary
    def steps(self) -> _ops.Steps | None:
        """One step through each graph that reads a label, laid out for vectors or, on a GPU, for
        blocks of threads. O(states + arcs).

        None where a graph has an epsilon cycle, for then a step has no end. The CPU lays out the
        steps of a GPU too: a topology that was made there is copied, and the host waits.
        """
        offsets = (self.state_offsets, self.arc_offsets)
        self.largest("ilabels")  # so that what is prepared can be composed without a look at data
        if self.device.type == "cuda":
            here = (self._origin or self.to(torch.device("cpu"))).steps
            if here is None:
                return None
            words, sizes = _ops.block_steps(here.words, here.word_offsets)
            return _ops.Steps(words.to(self.device), sizes, *offsets)
        words, begin, on_cycle = _ops.steps(*offsets, self.source, self.target, self.ilabels)
        return None if bool((on_cycle >= 0).any()) else _ops.Steps(words, begin, *offsets)

    @property
    def is_cyclic(self) -> bool:
        """Whether any graph of the batch has a cycle."""
        return isinstance(self._order_and_bounds, str)

    @cached_property
    @ordinary
    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """The states of each graph in an order in which arcs lead forward, except within
        components, int32 [states]; the components that have cycles: offsets int64 [graphs + 1],
        positions int32 [n, 2].
        """
        return _ops.components(self.state_offsets, self.leaving.offsets, self.leaving.states)

    @cached_property
    @ordinary
    def _pattern(self) -> tuple[Tensor, ...]:
        """How to eliminate the states of the components, where that is faster than iteration."""
        return _ops.elimination(self.state_offsets, *self.components, *self.leaving.by_state())

    def cyclic_walk(
        self, function: str, *, reverse: bool = False, both_ways: bool = False, sums: bool = True
    ) -> _ops.Walk:
        """As `walk`, for graphs that may have cycles; `sums` prepares to eliminate states.

        Raises ValueError for cycles on a GPU. Complexity: O(states + arcs), and at most 2^22 + 8
        arcs steps of elimination.
        """
        known = self._known_walks.get((reverse, both_ways))
        if known is not None:
            return known
        self._check_device(function)
        prepared = self._order_and_bounds
        if not isinstance(prepared, str):
            walk = self._walk(*prepared, None, reverse, both_ways)
            if self.num_arcs < _WORTH_SLICING:
                self._known_walks[reverse, both_ways] = walk
            return walk
        if self.device.type != "cpu":
            raise ValueError(
                f"{function}: {prepared}; cyclic graphs are supported on the cpu only: "
                f"move it with .to('cpu')"
            )
        pattern = self._pattern if sums else ()
        order, offsets, bounds = self.components
        cycles = _ops.Cycles(function, offsets, bounds, pattern)
        return self._walk(order, None, cycles, reverse, both_ways)

    def _grouped(self, by: Tensor, other: Tensor) -> Incidence:
        offsets = (self.state_offsets, self.arc_offsets)
        return Incidence(*_ops.incidence(*offsets, by, other, self.num_states))

    def _sorted(self, labels: Tensor) -> Incidence:
        offsets, arcs, states, _ = self.leaving
        by_label = _ops.sort_by_label(self.state_offsets, offsets, arcs, states, labels)
        return Incidence(offsets, *by_label)

    @cached_property
    @ordinary
    def graph_of_arc(self) -> Tensor:
        """The graph each arc belongs to, int64 [arcs]."""
        return _ops.spread(self.arc_offsets, self.num_arcs)

    @cached_property
    @ordinary
    def graph_of_state(self) -> Tensor:
        """The graph each state belongs to, int64 [states]."""
        return _ops.spread(self.state_offsets, self.num_states)

    @cached_property
    @ordinary
    def global_source(self) -> Tensor:
        """The source of each arc, numbered through the batch, int64 [arcs]."""
        return self.source + self.state_offsets.index_select(0, self.graph_of_arc)

    @cached_property
    @ordinary
    def global_target(self) -> Tensor:
        """The target of each arc, numbered through the batch, int64 [arcs]."""
        return self.target + self.state_offsets.index_select(0, self.graph_of_arc)

    @cached_property
    @ordinary
    def _ends(self) -> tuple[Tensor, Tensor]:
        """The offsets on the CPU, of states and of arcs."""
        if self.device.type == "cpu":
            return self.state_offsets, self.arc_offsets
        states, arcs = torch.stack([self.state_offsets, self.arc_offsets]).cpu()
        return states, arcs

    def span(self, first: int, last: int) -> tuple[Topology, slice, slice]:
        """The graphs [first, last) and the ranges of states and arcs they own.

        On a GPU it waits the first time only.
        """
        s0, s1, a0, a1 = (int(ends[i]) for ends in self._ends for i in (first, last))
        ilabels = self.ilabels[a0:a1]
        part = Topology(
            self.state_offsets[first : last + 1] - s0,
            self.arc_offsets[first : last + 1] - a0,
            self.source[a0:a1],
            self.target[a0:a1],
            ilabels,
            ilabels if self.ilabels is self.olabels else self.olabels[a0:a1],
            s1 - s0,
        )
        return part, slice(s0, s1), slice(a0, a1)

    def with_labels(self, ilabels: Tensor, olabels: Tensor) -> Topology:
        """The same arcs with other labels; what was derived from states and arcs is kept."""
        changed = Topology(
            self.state_offsets,
            self.arc_offsets,
            self.source,
            self.target,
            ilabels,
            olabels,
            self.num_states,
        )
        names = (
            "entering",
            "leaving",
            "order_and_cycles",
            "_order_and_bounds",
            "_entering_slices",
            "_leaving_slices",
            "_entering_runs",
            "_leaving_runs",
            "components",
            "_pattern",
        )
        changed.__dict__.update((k, self.__dict__[k]) for k in names if k in self.__dict__)
        return changed

    def reversed(self) -> Topology:
        """The same arcs in their places, each leading from its target to its source."""
        changed = Topology(
            self.state_offsets,
            self.arc_offsets,
            self.target,
            self.source,
            self.ilabels,
            self.olabels,
            self.num_states,
        )
        swapped = {"entering": "leaving", "leaving": "entering"}
        known = ((swapped[k], self.__dict__[k]) for k in swapped if k in self.__dict__)
        changed.__dict__.update(known)
        return changed

    def to(self, device: torch.device) -> Topology:
        """A copy on another device.

        A copy on a GPU remembers the one on the CPU, where everything that walks need is prepared
        on first use, and is then moved.
        """
        if device == self.device:
            return self
        tied = self.is_acceptor
        arrays = [self.state_offsets, self.arc_offsets, self.source, self.target, self.ilabels]
        states, arcs, source, target, ilabels, *others = _moved(
            arrays if tied else [*arrays, self.olabels], device
        )
        olabels = ilabels if tied else others[0]
        moved = Topology(states, arcs, source, target, ilabels, olabels, self.num_states)
        moved.__dict__["is_acceptor"] = self.is_acceptor
        if device.type == "cuda" and self.device.type == "cpu":
            moved._origin = self
        return moved


def _moved(arrays: list[Tensor], device: torch.device) -> list[Tensor]:
    """int64 and int32 arrays on another device, moved by a single copy."""
    words = torch.cat([array.contiguous().view(torch.int32) for array in arrays]).to(device)
    sizes = [array.numel() * array.element_size() // 4 for array in arrays]
    return [
        part.clone().view(array.dtype)
        for part, array in zip(words.split(sizes), arrays, strict=True)
    ]


def stack_topologies(parts: list[Topology]) -> Topology:
    """The graphs of all parts as one batch. O(states + arcs)."""
    num_states = sum(part.num_states for part in parts)
    _checks.countable("stack", "states", num_states)
    _checks.countable("stack", "arcs", sum(part.num_arcs for part in parts))
    ilabels = torch.cat([part.ilabels for part in parts])
    tied = all(part.ilabels is part.olabels for part in parts)
    return Topology(
        _concatenated_offsets([part.state_offsets for part in parts]),
        _concatenated_offsets([part.arc_offsets for part in parts]),
        torch.cat([part.source for part in parts]),
        torch.cat([part.target for part in parts]),
        ilabels,
        ilabels if tied else torch.cat([part.olabels for part in parts]),
        num_states,
    )


def _concatenated_offsets(offsets: list[Tensor]) -> Tensor:
    sizes = torch.cat([offset.diff() for offset in offsets])
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def runs(first: Tensor, counts: Tensor, total: int | None = None) -> Tensor:
    """first[0], first[0] + 1, ... (counts[0] of them), then first[1], ...; int64. O(result).

    Without the total of the counts, it waits for a GPU.
    """
    begin = counts.cumsum(0) - counts
    total = int(counts.sum()) if total is None else total
    steps = torch.arange(total, device=counts.device)
    return steps + torch.repeat_interleave(first - begin, counts, output_size=total)
