"""Which states epsilons alone lead to, from which: on the CPU one source after another, on a GPU
all sources at once, frontier by frontier."""

from __future__ import annotations

import torch
from torch import Tensor

from gtnet._ops import library
from gtnet._ops.library import interruptible, operators
from gtnet._ops.walks import spread

_on_cpu = interruptible(operators.epsilon_pairs.default)


def epsilon_pairs(
    state_offsets: Tensor,
    offsets: Tensor,
    arcs: Tensor,
    states: Tensor,
    wanted: Tensor,
    most: int,
) -> tuple[Tensor, ...] | None:
    """For every wanted state a copy of the epsilon graph that it reaches: itself, then breadth
    first.

    Arguments: the leaving arcs of each state; `wanted` bool [states].
    Result: the wanted states; where the states and the arcs of each copy begin [sources + 1]; the
    states of the copies; for each copy of an arc both ends, within the copy, and the arc. The same
    on both devices, None where there are more than `most` states and arcs in all copies. On a GPU
    the host waits once or twice per frontier.
    """
    if not library.on_gpu(wanted):
        too_large, *found = _on_cpu(state_offsets, offsets, arcs, states, wanted, most)
        return None if too_large else tuple(found)
    num_states = len(wanted)
    sources = wanted.nonzero().flatten()
    source, state = torch.arange(len(sources), device=wanted.device), sources
    known = source * num_states + state  # ascending; a pair is source * num_states + state
    levels, copied = [known], len(known)
    while len(state):
        parent, position = _leaving(offsets, state)
        found = source[parent] * num_states + states[position]
        levels.append(found[_first_of_each(found, known)])
        copied += len(found) + len(levels[-1])
        if copied > most:
            return None
        known = torch.cat([known, levels[-1]]).sort().values
        source, state = levels[-1] // num_states, levels[-1] % num_states
    every = torch.cat(levels)
    order = torch.sort(every // num_states, stable=True).indices
    place = torch.empty_like(order)  # of each pair, among those by source and number of state
    place[torch.searchsorted(known, every[order])] = torch.arange(len(order), device=order.device)
    source, state = every[order] // num_states, every[order] % num_states
    begin = torch.searchsorted(source, torch.arange(len(sources) + 1, device=order.device))
    pair, position = _leaving(offsets, state)
    of_arc = source[pair]
    target = place[torch.searchsorted(known, of_arc * num_states + states[position])]
    return (
        sources.to(torch.int32),
        begin,
        torch.searchsorted(of_arc, torch.arange(len(sources) + 1, device=order.device)),
        state.to(torch.int32),
        (pair - begin[of_arc]).to(torch.int32),
        (target - begin[of_arc]).to(torch.int32),
        arcs[position],
    )


def _leaving(offsets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The positions of the arcs that leave some states, state by state, and the states."""
    counts = offsets.diff().long()[state]
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    owner = spread(torch.cat([ends.new_zeros(1), ends]), total)
    ahead = torch.arange(total, device=state.device) - (ends - counts)[owner]
    return owner, offsets[state][owner] + ahead


def _first_of_each(found: Tensor, known: Tensor) -> Tensor:
    """Where each number that is not among `known` (ascending) occurs first."""
    ordered, places = torch.sort(found, stable=True)
    again = torch.cat([ordered.new_zeros(1, dtype=torch.bool), ordered[1:] == ordered[:-1]])
    at = torch.searchsorted(known, ordered).clamp(max=len(known) - 1)
    fresh = torch.zeros_like(found, dtype=torch.bool)
    fresh[places] = ~again[: len(ordered)] & (known[at] != ordered)
    return fresh.nonzero().flatten()
