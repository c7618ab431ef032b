"""Operators of the beam search: the search through a chunk of frames, and the lattice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtnet._ops.library import fake, interruptible, operators, unknown_size, vector

beam_search = interruptible(operators.beam_search.default)
beam_search_product = interruptible(operators.beam_search_product.default)
beam_lattice = operators.beam_lattice.default
label_reach = interruptible(operators.label_reach.default)


@fake("beam_search")
def _(scores: Tensor, lengths: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    cuts = scores.shape[0] * (scores.shape[1] + 2)
    tokens, first, last, arcs = (unknown_size() for _ in range(4))
    return (
        vector(lengths, cuts, torch.int64),
        vector(lengths, cuts, torch.int64),
        vector(lengths, tokens, torch.int32),
        vector(lengths, last, torch.float64),
        vector(lengths, first, torch.float64),
        *(vector(lengths, arcs, torch.int32) for _ in range(3)),
        vector(lengths, arcs, torch.float32),
    )


@fake("beam_search_product")
def _(scores: Tensor, lengths: Tensor, state_offsets: list[Tensor], *rest: Any) -> Any:
    cuts, size = scores.shape[0] * (scores.shape[1] + 2), len(state_offsets)
    tokens, first, last, arcs = (unknown_size() for _ in range(4))
    return (
        vector(lengths, cuts, torch.int64),
        vector(lengths, cuts, torch.int64),
        vector(lengths, tokens * (size + 1), torch.int32),
        vector(lengths, last, torch.float64),
        vector(lengths, first, torch.float64),
        *(vector(lengths, arcs, torch.int32) for _ in range(2)),
        vector(lengths, arcs * size, torch.int32),
        vector(lengths, arcs, torch.float32),
    )


@fake("label_reach")
def _(
    offsets: Tensor, arcs: Tensor, targets: Tensor, olabels: Tensor, starts: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    sizes = (rest[-1], starts.shape[0], starts.shape[0])
    return tuple(vector(offsets, size, torch.int32) for size in sizes)


@fake("beam_lattice")
def _(lengths: list[Tensor], *rest: Any) -> list[Tensor]:
    like, states, arcs = lengths[0], unknown_size(), unknown_size()
    return [
        *(vector(like, like.shape[0] + 1, torch.int64) for _ in range(2)),
        *(vector(like, arcs, torch.int32) for _ in range(4)),
        *(vector(like, states, torch.int32) for _ in range(2)),
        *(vector(like, states, torch.bool) for _ in range(2)),
    ]
