"""Alignment graphs: all ways to distribute the labels of a target over frames."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _numbers, _ops
from gtnet._checks import EPSILON, NEG_INF
from gtnet.build import Labels, flat_labels
from gtnet.graph import Graph
from gtnet.topology import Topology


def ctc_graph(
    targets: Labels,
    blank: int | None = 0,
    *,
    optional_blank: bool = False,
    repeats: bool = True,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The CTC topologies of label sequences: all frame labellings that collapse to the target.

    Reads frame labels and writes the target: blanks and repetitions write EPSILON. State 2i is
    the blank before target i, state 2i + 1 the target i; a blank may be skipped except between
    equal labels (Graves et al. 2006, section 4.1). Without a blank, state i + 1 is target i.

    Arguments:
        targets: integers [length] or a list of such sequences (a batch).
        blank: a label that no target holds; None for frames without blanks.
        optional_blank: equal labels need no blank between them, so a run of frames may also be
            read as several equal labels. Without it and without a blank, such targets have no path.
        repeats: whether a label may last longer than one frame; if not (the "modified" topology of
            one frame per label), equal labels need no blank between them.
    Raises ValueError if a target holds the blank. Complexity: O(labels).
    """
    dtype = _numbers.float_dtype(dtype)
    if blank is not None:
        blank = _checks.count("ctc_graph", "blank", blank)
    flat, lengths = flat_labels("ctc_graph", targets)
    if blank is not None and repeats and not optional_blank:
        return ctc_batch("ctc_graph", flat, lengths, blank, dtype)
    without_blank("ctc_graph", flat, lengths, blank)
    if blank is None:
        states = _states(lengths + 1, len(flat) + len(lengths))
        label = _placed(states.place > 0, flat)
        before = torch.cat([label.new_full((1,), EPSILON), label])[: len(label)]
        step = (label != before) | (not repeats or optional_blank)
        loop = _log(states.place > 0) if repeats else None
        band = _Band(label, loop, _log(step).to(dtype), None)
        return _left_to_right(states, band, _last(states, 1))
    return _with_blanks(flat, lengths, blank, dtype, optional_blank, repeats)


def _with_blanks(
    flat: Tensor,
    lengths: Tensor,
    blank: int,
    dtype: torch.dtype,
    optional_blank: bool = False,
    repeats: bool = True,
) -> Graph:
    states = _states(2 * lengths + 1, 2 * len(flat) + len(lengths))
    on_label = states.place % 2 == 1
    label = _placed(on_label, flat)
    before = torch.cat([label.new_full((2,), EPSILON), label])[: len(label)]
    skip = on_label & (states.place >= 3)
    if repeats and not optional_blank:
        skip &= label != before
    loop = ~on_label | repeats
    step = torch.zeros((), dtype=dtype, device=label.device)
    band = _Band(label.masked_fill(~on_label, blank), _log(loop), step, _log(skip))
    return _left_to_right(states, band, _last(states, 2), writes=label)


def ctc_batch(
    function: str, targets: Tensor, lengths: Tensor, blank: int, dtype: torch.dtype
) -> Graph:
    """CTC topologies of concatenated targets: labels int32 [labels], lengths int64 [batch]."""
    without_blank(function, targets, lengths, blank)
    if targets.device.type != "cpu":
        return _with_blanks(targets, lengths, blank, dtype)
    state_offsets, arc_offsets, *columns = _ops.ctc_arcs(targets, lengths, blank)
    source, target, ilabels, olabels = columns
    num_states = len(targets) * 2 + len(lengths)
    start = torch.full((num_states,), NEG_INF, dtype=dtype)
    accept = start.clone()
    start[state_offsets[:-1]] = 0
    accept[state_offsets[1:] - 1] = 0
    accept[(state_offsets[1:] - 2)[lengths > 0]] = 0
    topology = Topology(state_offsets, arc_offsets, source, target, ilabels, olabels, num_states)
    weights = torch.zeros(len(source), dtype=dtype)
    return Graph.from_topology(topology, weights, start, accept)


def asg_graph(
    targets: Labels,
    transitions: Tensor | None = None,
    start: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Graph:
    """The alignments of the automatic segmentation criterion: every label lasts at least one frame.

    There is no blank; a label that follows itself is best written with a repetition label
    (`pack_repetitions`). Reads a label per frame, writes it where it begins.

    Arguments: `targets` as in `ctc_graph`; `transitions` [labels, labels] the scores of going from
    one label to the next (and of staying, on the diagonal), `start` [labels] those of the first
    label; `bigram_graph` takes the same. By default 0; their dtype takes precedence over `dtype`.
    Raises ValueError for labels outside of `transitions`. Complexity: O(labels).
    Gradient: that of a gather. Source: Collobert, Puhrsch & Synnaeve 2016.
    """
    dtype = _numbers.float_dtype(dtype)
    flat, lengths = flat_labels("asg_graph", targets)
    return asg_batch("asg_graph", flat, lengths, transitions, start, dtype)


def asg_batch(
    function: str,
    targets: Tensor,
    lengths: Tensor,
    transitions: Tensor | None,
    start: Tensor | None,
    dtype: torch.dtype,
) -> Graph:
    """ASG alignments of concatenated targets: labels int32 [labels], lengths int64 [batch]."""
    without_blank(function, targets, lengths, None)
    states = _states(lengths + 1, len(targets) + len(lengths))
    inner = states.place > 0
    label = _placed(inner, targets)
    if transitions is None and start is None:
        band = _Band(label, _log(inner), torch.zeros((), dtype=dtype, device=label.device), None)
        return _left_to_right(states, band, _last(states, 1))
    transitions, start = bigram_scores(function, transitions, start)
    _checks.same_device(function, targets=targets, transitions=transitions)
    size = len(start)
    _checks.inside(function, "targets", targets, size, "the labels of transitions")
    here = label.long().clamp(min=0)
    before = torch.cat([here.new_zeros(1), here])[: len(here)]
    scores = torch.cat([transitions.flatten(), start])
    stay = scores[here * (size + 1)].masked_fill(~inner, NEG_INF)
    come = scores[torch.where(states.place == 1, size * size + here, before * size + here)]
    return _left_to_right(states, _Band(label, stay, come, None), _last(states, 1))


def bigram_scores(
    function: str, transitions: Tensor | None, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Transition scores [labels, labels] and start scores [labels], 0 where one is missing."""
    if transitions is None:
        assert start is not None
        transitions = start.new_zeros(len(start), len(start))
    transitions = _checks.scores(function, "transitions", _checks.widened(transitions))
    if transitions.ndim != 2 or transitions.shape[0] != transitions.shape[1]:
        raise ValueError(
            f"{function}: transitions must be [labels, labels], got {list(transitions.shape)}"
        )
    if start is None:
        start = transitions.new_zeros(len(transitions))
    start = _checks.scores(function, "start", _checks.widened(start), len(transitions))
    _checks.same_device(function, transitions=transitions, start=start)
    _checks.same_dtype(function, transitions=transitions, start=start)
    return transitions, start


def hmm_graph(
    targets: Labels,
    num_states: int = 3,
    *,
    loop: float | Tensor = 0.0,
    step: float | Tensor = 0.0,
    skip: float | Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Graph:
    """Left-to-right hidden Markov models of label sequences, `num_states` emissions per label.

    State k of label c reads emission c * num_states + k; the arc into the first state of a label
    writes it. A state may be repeated (`loop`), left for the next one (`step`) or, if `skip` is
    given, left for the one after that, which skips a state of the label but never a whole label.
    The last label ends in its last state (or with `skip` its last but one); these scores are the
    accept scores.

    Arguments: `targets` as in `ctc_graph`; `num_states` at least 1; `loop`, `step` and `skip`
    scores: a number, or a tensor [emissions] by the emission that is left (or stays). It may be
    learnt, and its dtype takes precedence over `dtype`.
    Raises ValueError for emissions outside of the tensors. Complexity: O(labels · num_states).
    Gradient: that of a gather. Source: Bakis 1976; Rabiner 1989, section IV.
    """
    dtype = _numbers.float_dtype(dtype)
    flat, lengths = flat_labels("hmm_graph", targets)
    without_blank("hmm_graph", flat, lengths, None)
    num_states = _checks.count("hmm_graph", "num_states", num_states)
    if num_states == 0:
        raise ValueError("hmm_graph: num_states must be at least 1, got 0")
    tensors = {"loop": loop, "step": step, "skip": skip}
    learnt = {name: score for name, score in tensors.items() if isinstance(score, Tensor)}
    _checks.same_dtype("hmm_graph", **learnt)
    _checks.same_device("hmm_graph", targets=flat, **learnt)
    dtype = next(iter(learnt.values())).dtype if learnt else dtype
    states = _states(lengths * num_states + 1, len(flat) * num_states + len(lengths))
    inner = states.place > 0
    part = (states.place - 1) % num_states
    spelled = flat.repeat_interleave(num_states)
    label = _placed(inner, spelled)
    emission = (label * num_states + part).masked_fill(~inner, EPSILON).to(torch.int32)
    left = emission.long()

    def scored(name: str, score: float | Tensor) -> Tensor:
        if not isinstance(score, Tensor):
            return torch.full((len(left),), float(score), dtype=dtype, device=left.device)
        score = _checks.scores("hmm_graph", name, score)
        if len(flat):
            named = emission.clamp(min=0)
            _checks.inside("hmm_graph", "emissions", named, len(score), f"those of {name}")
        return score[left.clamp(min=0)]

    leave = scored("step", step)
    stay = scored("loop", loop).masked_fill(~inner, NEG_INF)
    come = torch.cat([leave.new_zeros(1), leave])[:-1]  # of the state before, 0 for the first
    come = come.masked_fill(states.place <= 1, 0)
    over = None
    accept = leave.masked_fill(~_ends(states, 1), NEG_INF).masked_fill(
        _ends(states, 1) & (states.place == 0), 0
    )
    if skip is not None and num_states > 1:
        jump = scored("skip", skip)
        jump = jump.masked_fill(~inner | (part == num_states - 1), NEG_INF)
        over = torch.cat([jump.new_full((2,), NEG_INF), jump])[:-2]
        over = over.masked_fill(states.place < 3, NEG_INF)
        early = _ends(states, 2) & ~_ends(states, 1) & inner
        accept = torch.where(early, jump, accept)
    written = label.masked_fill(part != 0, EPSILON)
    return _left_to_right(states, _Band(emission, stay, come, over), accept, writes=written)


def star_graph(
    targets: Labels,
    star: int,
    *,
    insertion: float | Tensor | None = 0.0,
    substitution: float | Tensor | None = None,
    exclusive: bool = False,
    dtype: torch.dtype | None = None,
) -> Graph:
    """Label sequences with stars: words may be missing from the transcript, or be wrong.

    A star stands for any label. In this acceptor of the target, it may be read any number of times
    between labels (score `insertion` each; None forbids it) and in place of a label
    (`substitution`; None forbids it). `ctc_topology(...) @ star_graph(...)` aligns it to emissions
    for which `with_star` computed the score of the star.

    Arguments: `targets` as in `ctc_graph`, without `star`; `star` the label of the star;
    `exclusive`: the star before label c is `star + 1 + c`, any label but c, as in `with_star`.
    Raises ValueError if a target holds a star. Complexity: O(labels). Gradient: to the scores.
    Source: Pratap et al. 2022 (star temporal classification, insertions; exclusive); Gao et al.
    2023 (omni-temporal classification, both).
    """
    dtype = _numbers.float_dtype(dtype)
    star = _checks.count("star_graph", "star", star)
    flat, lengths = flat_labels("star_graph", targets)
    if len(flat) and int(flat.max()) >= star:
        raise ValueError(f"star_graph: labels must be below the star {star}, got {int(flat.max())}")
    without_blank("star_graph", flat, lengths, None)
    states = _states(lengths + 1, len(flat) + len(lengths))
    label = _placed(states.place > 0, flat)
    next_label = torch.cat([label, label.new_full((1,), EPSILON)])[1:].masked_fill(
        _ends(states, 1), EPSILON
    )
    stars = torch.full_like(label, star)
    if exclusive:
        stars = torch.where(next_label >= 0, star + 1 + next_label, stars)
    kinds = ((stars, 0, insertion), (label, 1, 0.0), (stars, 1, substitution))
    columns: list[tuple[Tensor, ...]] = []
    weights: list[Tensor] = []
    everyone = torch.arange(len(label), device=label.device)
    for reads, back, score in kinds:
        if score is None:
            continue
        to = everyone[states.place >= back]
        if not isinstance(score, Tensor):
            score = torch.full((), score, dtype=dtype, device=label.device)
        weights.append(score.expand(len(to)))
        read = reads[to - back] if reads is stars else reads[to]
        columns.append((to - back, to, read))
    source, target, ilabels = (torch.cat(column) for column in zip(*columns, strict=True))
    order = torch.argsort(target, stable=True)
    graph = states.graph[target[order]]
    origin = states.offsets[graph]
    ilabels = ilabels[order].to(torch.int32)
    topology = Topology(
        states.offsets,
        torch.searchsorted(graph, torch.arange(len(lengths) + 1, device=graph.device)),
        (source[order] - origin).to(torch.int32),
        (target[order] - origin).to(torch.int32),
        ilabels,
        ilabels,
        len(label),
    )
    scores = torch.cat(weights)[order]
    return _ended(topology, scores, states, _last(states, 1).to(scores.dtype))


# States side by side, arcs from each to itself, the next, and the one after that


class _States(NamedTuple):
    """The states of a batch: where those of each graph begin [batch + 1], and for each state its
    graph and its position there [states].
    """

    offsets: Tensor
    graph: Tensor
    place: Tensor


class _Band(NamedTuple):
    """What each state reads, and the scores of its arcs from itself, from the state before, and
    from the one before that; -inf or None for no arc. One score may be given for all.
    """

    reads: Tensor
    loop: Tensor | None
    step: Tensor
    skip: Tensor | None


def _states(counts: Tensor, total: int) -> _States:
    """The states of graphs with `counts` states each, `total` in all."""
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    graph = torch.repeat_interleave(counts, output_size=total)
    return _States(offsets, graph, torch.arange(total, device=counts.device) - offsets[graph])


def _left_to_right(
    states: _States, band: _Band, accept: Tensor, *, writes: Tensor | None = None
) -> Graph:
    """Arcs into each state in the order loop, step, skip; a loop writes nothing."""
    size = len(states.place)
    impossible = band.step.new_full((size,), NEG_INF)
    loop, skip = (
        impossible if s is None else s.to(band.step.dtype) for s in (band.loop, band.skip)
    )
    scores = torch.stack([loop, band.step.expand(size), skip], 1)
    here = torch.stack([states.place >= back for back in range(3)], 1)
    if _ops.transformed():  # which arcs there are must not depend on what is mapped
        here[:, 0] &= (band.reads != EPSILON) & (band.loop is not None)
        here[:, 2] &= band.skip is not None
    else:
        here &= scores.detach() > NEG_INF
    state, back = here.nonzero(as_tuple=True)
    counts = torch.zeros_like(states.offsets).index_add(0, states.graph + 1, here.sum(1))
    writes = band.reads if writes is None else writes
    place = states.place[state]
    topology = Topology(
        states.offsets,
        counts.cumsum(0),
        (place - back).to(torch.int32),
        place.to(torch.int32),
        band.reads[state].to(torch.int32),
        writes[state].masked_fill(back == 0, EPSILON).to(torch.int32),
        size,
    )
    weights = scores[state, back]
    return _ended(topology, weights, states, accept.to(weights.dtype))


def _ended(topology: Topology, weights: Tensor, states: _States, accept: Tensor) -> Graph:
    """The graphs, each of which starts in its first state."""
    start = weights.new_full((len(states.place),), NEG_INF).masked_fill(states.place == 0, 0)
    return Graph.from_topology(topology, weights, start, accept)


def without_blank(function: str, targets: Tensor, lengths: Tensor, blank: int | None) -> None:
    """Refuse targets that hold EPSILON or the blank."""
    wrong = targets < 0 if blank is None else (targets == blank) | (targets < 0)
    if bool(wrong.any()):
        ends = lengths.cumsum(0)
        item = int((ends > int(wrong.nonzero()[0])).nonzero()[0])
        held = targets[int(ends[item] - lengths[item]) : int(ends[item])].tolist()
        what = "EPSILON" if blank is None else f"the blank {blank} or EPSILON"
        raise ValueError(f"{function}: a target must not hold {what}, got {held}")


def without_repeats(function: str, targets: Tensor, lengths: Tensor) -> None:
    """Refuse targets in which a label follows itself: two alignments would read the same."""
    item = torch.repeat_interleave(lengths, output_size=len(targets))
    again = (targets[1:] == targets[:-1]) & (item[1:] == item[:-1])
    if bool(again.any()):
        place = int(again.nonzero()[0])
        raise ValueError(
            f"{function}: target {int(item[place])} holds label {int(targets[place])} twice in a "
            f"row, which no alignment tells from once: pack_repetitions writes it otherwise"
        )


def _placed(where: Tensor, values: Tensor) -> Tensor:
    """The values, one after another, where `where` is true; EPSILON elsewhere."""
    return values.new_full(where.shape, EPSILON).masked_scatter(where, values)


def _log(allowed: Tensor) -> Tensor:
    """0 where it is true, -inf elsewhere."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, NEG_INF)


def _ends(states: _States, count: int) -> Tensor:
    """Whether each state is among the last `count` of its graph."""
    return states.place >= states.offsets.diff()[states.graph] - count


def _last(states: _States, count: int) -> Tensor:
    """Accept scores: 0 for the last `count` states of each graph."""
    return _log(_ends(states, count))
