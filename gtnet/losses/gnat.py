"""Globally normalized transducers: all label sequences compete, over a finite set of contexts."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gtnet import _checks, _numbers
from gtnet._memory import named
from gtnet.losses.batches import Lengths, Reduction, known_reduction, reduced
from gtnet.losses.elementwise import gap
from gtnet.losses.transducers import grid_score
from gtnet.transducer_grid import Target, TransducerGrid, checked

_MOST = 10_000_000


def ngram_contexts(num_labels: int, order: int, blank: int = 0) -> Tensor:
    """The contexts of `gnat_loss` that are the last labels written, at most `order` of them.

    State 0 is the beginning; then come the sequences of one label in order, of two, and so on, each
    length in lexical order. A blank stays.

    Result: int64 [states, num_labels], the state that follows each state and label. Raises
    ValueError for a blank that is no label and for more than ten million entries. Complexity: that
    of the result, num_labels ** (order + 1).
    Source: Variani et al. 2022, section 3.
    """
    size = _checks.count("ngram_contexts", "num_labels", num_labels)
    order = _checks.count("ngram_contexts", "order", order)
    blank = _checks.one_of("ngram_contexts", "blank", blank, size)
    others = [label for label in range(size) if label != blank]
    if sum(len(others) ** n for n in range(order + 1)) * size > _MOST:
        raise ValueError(
            f"ngram_contexts: order {order} over {len(others)} labels has too many contexts, "
            f"take a smaller order"
        )
    contexts = [c for n in range(order + 1) for c in itertools.product(others, repeat=n)]
    number = {context: state for state, context in enumerate(contexts)}
    rows = [
        [
            state if label == blank else number[(*context, label)[-order:] if order else ()]
            for label in range(size)
        ]
        for state, context in enumerate(contexts)
    ]
    return torch.tensor(rows)


@named
def gnat_loss(
    score: Callable[[Tensor], Tensor],
    encoded: Tensor,
    targets: Tensor,
    contexts: Tensor,
    input_lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of the target among all label sequences, globally normalized.

    Each frame writes a label or, with the blank, nothing. The path of a sequence adds up the scores
    of (frame, context, label), where the context is what `contexts` makes of the labels before; the
    loss is the log of the sum over all paths less that over the paths of the target.

    The table [batch, frames, states, labels] of scores never stands in memory: it is computed
    frame by frame, and again in the backward pass.

    Arguments:
        score: the network: frames [batch, dims] to scores [batch, states, labels], any real
            numbers, -inf for what never follows. Random parts draw the same in both passes.
        encoded: float [batch, frames, dims], what `score` reads. Beyond an item's length it is 0.
        targets: integers [batch, longest target], padded.
        contexts: integers [states, labels], the state that follows each state and label, as
            `ngram_contexts` makes them; -1 where the label is not possible, and the state itself
            for the blank. State 0 begins.
        input_lengths, target_lengths, blank, reduction, zero_infinity: as in `transducer_loss`.
    Result: [] or, for "none", [batch]; +inf for a target that no path writes.
    Raises: ValueError or TypeError for wrong shapes, dtypes, lengths, labels, contexts, for a blank
    in a target, and for NaN or +inf among the scores of its paths.
    Complexity: O(frames · states · labels), twice with a gradient; memory O(frames · states), and
    the scores of one frame with what `score` keeps for its gradient.
    Gradient: to `encoded` and whatever `score` learns: posteriors of all paths less those of the
    target's.
    Source: Variani et al. 2022, "Global normalization for streaming speech recognition in a modular
    framework" (GNAT; the library `last`).
    """
    function = "gnat_loss"
    known_reduction(function, reduction)
    _checks.tensor(function, "encoded", encoded)
    if encoded.ndim != 3:
        raise ValueError(
            f"gnat_loss: encoded must be [batch, frames, dims], got {list(encoded.shape)}"
        )
    batch, most, _ = encoded.shape
    contexts, targets = (
        _numbers.tensor_of(function, name, given).to(encoded.device)
        for name, given in (("contexts", contexts), ("targets", targets))
    )
    states, labels = _checked_contexts(contexts, blank)
    lengths = (input_lengths, target_lengths)
    target = checked(function, targets, (batch, most, labels), *lengths, blank, "contexts")
    within = torch.arange(most, device=encoded.device) < target.frames.unsqueeze(1)
    encoded = encoded.masked_fill(~within.unsqueeze(2), 0)
    follows = contexts.long()
    leads = (follows.flatten() >= 0).nonzero().squeeze(1)
    paths, possible = _paths(target, follows)

    def step(alpha: Tensor, frame: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        table = score(frame)
        if tuple(table.shape) != (batch, states, labels):
            raise ValueError(
                f"gnat_loss: score must give [batch, states, labels] = "
                f"{[batch, states, labels]}, got {list(table.shape)}"
            )
        come = (alpha.unsqueeze(2) + table.double()).flatten(1)
        after = _sums_by(come[:, leads], follows.flatten()[leads], states)
        return torch.where(inside.unsqueeze(1), after, alpha), table.flatten(1).gather(1, paths)

    alpha = encoded.new_full((batch, states), _checks.NEG_INF, dtype=torch.float64)
    alpha[:, 0] = 0
    steps = []
    for t in range(most):
        given = (alpha, encoded[:, t], within[:, t])
        if torch.is_grad_enabled():
            alpha, own = checkpoint(step, *given, use_reentrant=False)
        else:
            alpha, own = step(*given)
        steps.append(own)
    total = _sums_by(alpha, follows.new_zeros(states), 1).squeeze(1)
    width = targets.shape[1] + 1
    read = torch.stack(steps, 1) if steps else encoded.new_zeros(batch, 0, 2 * width)
    read = read.float() if read.dtype in _checks.SHORT else read
    never = ~possible.unsqueeze(1) | (target.following().unsqueeze(1) < 0)
    label = read[:, :, width:].masked_fill(never, _checks.NEG_INF)
    grid = TransducerGrid(read[:, :, :width], label, target, True)
    right = grid_score(function, grid, 1.0, "score")
    return reduced(gap(-right, -total.to(right.dtype)), reduction, zero_infinity, None)


def _checked_contexts(contexts: Tensor, blank: int) -> tuple[int, int]:
    """The numbers of states and labels."""
    if contexts.ndim != 2 or 0 in contexts.shape:
        raise ValueError(
            f"gnat_loss: contexts must be [states, labels], got {list(contexts.shape)}"
        )
    states, labels = contexts.shape
    blank = _checks.one_of("gnat_loss", "blank", blank, labels)
    flat = _checks.integral("gnat_loss", "contexts", contexts.reshape(-1))
    least, most = _checks.extremes({"contexts": flat})["contexts"]
    if least < -1 or most >= states:
        wrong = int(least if least < -1 else most)
        raise ValueError(
            f"gnat_loss: contexts must lie in [0, {states}), the states, or be -1, got {wrong}"
        )
    if not torch.equal(contexts[:, blank].long().cpu(), torch.arange(states)):
        raise ValueError(f"gnat_loss: contexts must stay with the blank {blank}")
    return states, labels


def _paths(target: Target, follows: Tensor) -> tuple[Tensor, Tensor]:
    """Where the scores of a target stand among [states * labels]: blanks, then the next labels,
    int64 [batch, 2 * width]; and whether its context allows each label, [batch, width].
    """
    labels = follows.shape[1]
    following = target.following().long().clamp(min=0)
    state = following.new_zeros(len(following))
    visited, possible = [], []
    for u in range(following.shape[1]):
        visited.append(state)
        after = follows[state, following[:, u]]
        possible.append(after >= 0)
        state = after.clamp(min=0)
    states = torch.stack(visited, 1) * labels
    return torch.cat([states + target.blank, states + following], 1), torch.stack(possible, 1)


def _sums_by(scores: Tensor, places: Tensor, size: int) -> Tensor:
    """log Σ exp of the scores [batch, n] that have the same place [n]: [batch, size]."""
    index = places.expand_as(scores)
    top = scores.new_full((len(scores), size), _checks.NEG_INF)
    top = top.scatter_reduce(1, index, scores.detach(), "amax")
    top = top.masked_fill(top == _checks.NEG_INF, 0)
    parts = (scores - top[:, places]).exp()
    sums = scores.new_zeros(len(scores), size).index_add(1, places, parts)
    none = sums.detach() == 0
    return (sums.masked_fill(none, 1).log() + top).masked_fill(none, _checks.NEG_INF)
