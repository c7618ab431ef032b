"""Alignments of any label sequence, without a target: CTC topologies, bigrams, stars."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from gtnet import _checks, _numbers
from gtnet._checks import EPSILON, NEG_INF
from gtnet._ordinary import ordinary
from gtnet.alignments import bigram_scores
from gtnet.graph import Graph
from gtnet.topology import Topology

_FAN = 8  # children of a group: labels, or smaller groups


def ctc_topology(
    num_labels: int,
    blank: int | None = 0,
    *,
    optional_blank: bool = False,
    repeats: bool = True,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The transducer from all frame labellings to the label sequences they collapse to.

    `ctc_topology(...) @ linear(target)` has the paths of `ctc_graph(target)` under the same
    options, and `emissions @ (ctc_topology(...) @ grammar)` those of a recognizer.

    Compact: a state per label would need an arc to every other label. Here the labels are the
    leaves of a tree; "any label but this one" is its siblings, the siblings of its group, and
    so on, reached by epsilons along exactly one path. So the arcs number about 13 per label.

    Arguments: `num_labels`, the labels that a frame has scores for, blank included; the others as
    in `ctc_graph`. Complexity: O(num_labels). Source: Graves et al. 2006; the compact
    topologies of k2 and of Laptev et al. 2022 differ: they allow a label to follow itself.
    """
    dtype = _numbers.float_dtype(dtype)
    num_labels = _checks.count("ctc_topology", "num_labels", num_labels)
    labels = torch.arange(num_labels)
    if blank is not None:
        blank = _checks.one_of("ctc_topology", "blank", blank, num_labels)
        labels = labels[labels != blank]
    if not repeats:
        silent = [] if blank is None else [blank]
        reads = torch.cat([labels, torch.tensor(silent, dtype=labels.dtype)])
        writes = torch.cat([labels, torch.full((len(silent),), EPSILON)])
        here = torch.zeros(len(reads), dtype=torch.int32)
        return Graph(here, here, reads, writes, start=0, accept=0, num_states=1).to(dtype)
    arcs = _Arcs()
    # In state 0 nothing was read yet, or a blank; in state i + 1 label i of those above.
    state = torch.arange(len(labels)) + 1
    arcs.add(0, state, labels, labels)
    arcs.add(state, state, labels, EPSILON)
    size = len(labels) + 1
    if blank is not None:
        arcs.add(torch.zeros(1, dtype=torch.int64), 0, blank, EPSILON)
    if optional_blank:
        arcs.add(state, 0, EPSILON, EPSILON)
        return arcs.graph(0, size, dtype)
    if blank is not None:
        arcs.add(state, 0, blank, EPSILON)
    size = _others(arcs, labels, size)
    return arcs.graph(list(range(len(labels) + 1)), size, dtype)


class _Arcs:
    """Arcs collected in columns; a number is repeated to the length of the longest column."""

    def __init__(self) -> None:
        self._columns: list[list[Tensor]] = [[], [], [], []]

    def add(self, *columns: Tensor | int) -> None:
        """source, target, input label, output label."""
        widened = torch.broadcast_tensors(*(torch.as_tensor(column) for column in columns))
        for column, values in zip(self._columns, widened, strict=True):
            column.append(values.to(torch.int32))

    def graph(self, accept: int | list[int], num_states: int, dtype: torch.dtype) -> Graph:
        """The graph of all arcs, from state 0."""
        columns = [torch.cat(column) for column in self._columns]
        return Graph(*columns, start=0, accept=accept, num_states=num_states).to(dtype)


def _others(arcs: _Arcs, labels: Tensor, size: int) -> int:
    """Arcs from each label's state to those of all other labels; the number of states after it.

    `inside[g]` leads to all labels of group g, `outside[g]` to all others.
    """
    index = torch.arange(len(labels))
    state, group = index + 1, index // _FAN
    here, there = _siblings(group, index)
    arcs.add(state[here], state[there], labels[there], labels[there])
    below, count = None, int(group[-1]) + 1 if len(labels) else 0
    outside_of = state  # the state from which the group above is left
    while count > 1:
        inside = size + torch.arange(count)
        outside = inside + count
        size += 2 * count
        arcs.add(outside_of, outside[group], EPSILON, EPSILON)
        if below is None:
            arcs.add(inside[group], state, labels, labels)
        else:
            arcs.add(inside[group], below, EPSILON, EPSILON)
        index, group = torch.arange(count), torch.arange(count) // _FAN
        here, there = _siblings(group, index)
        arcs.add(outside[here], inside[there], EPSILON, EPSILON)
        below, outside_of, count = inside, outside, int(group[-1]) + 1
    return size


def _siblings(group: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of two members of a group, group by group; groups are full but for the last one."""
    here = index.repeat_interleave(_FAN)
    there = group.repeat_interleave(_FAN) * _FAN + torch.arange(_FAN).repeat(len(index))
    pair = (there != here) & (there < len(index))
    return here[pair], there[pair]


def bigram_graph(
    num_labels: int | None = None,
    transitions: Tensor | None = None,
    start: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The acceptor of all label sequences under bigram scores: a state per label, and a first one.

    State 0 is before the first label, state c + 1 after label c. With emissions it is the
    denominator of ASG, and a linear-chain conditional random field.

    Arguments: `transitions` [labels, labels] the score of label j after label i at [i, j], `start`
    [labels] of the first label; they may be learnt, 0 by default; `num_labels` where neither is
    given. Arcs 0 ... labels - 1 carry `start`, the others `transitions` row by row.
    Raises TypeError or ValueError for other shapes and dtypes. Complexity: O(labels^2).
    Gradient: that of a copy. Source: Collobert et al. 2016; Lafferty et al. 2001.
    """
    dtype = _numbers.float_dtype(dtype)
    if transitions is None and start is None:
        if num_labels is None:
            raise ValueError("bigram_graph: num_labels, transitions or start must be given")
        start = torch.zeros(_checks.count("bigram_graph", "num_labels", num_labels), dtype=dtype)
    transitions, start = bigram_scores("bigram_graph", transitions, start)
    size = len(start)
    if num_labels not in (None, size):
        raise ValueError(f"bigram_graph: num_labels is {num_labels}, the scores have {size} labels")
    _checks.countable("bigram_graph", "arcs", (size + 1) * size)
    ends = start.new_zeros(size + 1)
    begins = torch.full_like(ends, NEG_INF)
    begins[0] = 0
    weights = torch.cat([start, transitions.flatten()])
    return Graph.from_topology(
        bigram_topology(size, start.device), weights, begins.detach(), ends.detach()
    )


@lru_cache(maxsize=8)
@ordinary
def bigram_topology(size: int, device: torch.device) -> Topology:
    """The topology of bigrams, cached with what is derived from it: losses need it at each step."""
    if device.type != "cpu":  # prepared on the CPU, then moved
        return bigram_topology(size, torch.device("cpu")).to(device)
    label = torch.arange(size, dtype=torch.int32, device=device)
    ilabels = label.repeat(size + 1)
    none_and_all = torch.arange(2, device=device)
    return Topology(
        none_and_all * (size + 1),
        none_and_all * ((size + 1) * size),
        torch.arange(size + 1, dtype=torch.int32, device=device).repeat_interleave(size),
        ilabels + 1,
        ilabels,
        ilabels,
        size + 1,
    )


def with_star(scores: Tensor, blank: int | None = 0, *, exclusive: bool = False) -> Tensor:
    """Label scores with one more column: the log of the sum over all labels but the blank.

    The new column is the score of the star of `star_graph`, which stands for any label. With
    `exclusive` a column for each label follows, in which that label does not count.

    Arguments: `scores` float [..., labels], as `Emissions` takes them. Result: [..., labels + 1],
    or [..., 2 labels + 1].
    Raises TypeError or ValueError for other dtypes and blanks. Complexity: O(scores).
    Gradient: that of a softmax; 0 where nothing counts. Source: Pratap et al. 2022, section 3.
    """
    scores = _checks.emissions("with_star", "scores", scores)
    if scores.ndim == 0:
        raise ValueError("with_star: scores must have a dimension of labels, got []")
    size = scores.shape[-1]
    counted = scores
    if blank is not None:
        blank = _checks.one_of("with_star", "blank", blank, size)
        counted = scores.masked_fill(torch.arange(size, device=scores.device) == blank, NEG_INF)
    if size == 0:
        raise ValueError("with_star: at least one label is needed, got 0")
    best = counted.detach().amax(-1, keepdim=True)
    best = best.masked_fill(best == NEG_INF, 0)
    mass = (counted - best).double().exp()
    columns = [mass.sum(-1, keepdim=True)]
    if exclusive:
        # Sums of the labels before and after: total minus one would cancel near certainty.
        before = pad(mass[..., :-1].cumsum(-1), (1, 0))
        after = pad(mass[..., 1:].flip(-1).cumsum(-1).flip(-1), (0, 1))
        columns.append(before + after)
    stars = _log_or_zero(torch.cat(columns, -1)) + best
    return torch.cat([scores, stars.to(scores.dtype)], -1)


def _log_or_zero(mass: Tensor) -> Tensor:
    """The logarithm, -inf without a gradient where there is nothing."""
    nothing = mass <= 0
    return mass.masked_fill(nothing, 1).log().masked_fill(nothing, NEG_INF)
