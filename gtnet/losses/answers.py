"""Which answers are correct, and the most offending one that is not."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from gtnet._checks import NEG_INF
from gtnet._memory import named
from gtnet.best_answers import MAX_PREFIXES, best_labels, restricted
from gtnet.build import linear
from gtnet.compose import compose
from gtnet.determinize import determinize
from gtnet.difference import difference
from gtnet.distance import _is_infinite, forward_score, viterbi_score
from gtnet.graph import Graph, built, lazy, stack
from gtnet.losses.classes import Classes
from gtnet.paths import k_best, label_sequences, viterbi_path
from gtnet.rational import project

if TYPE_CHECKING:
    from gtnet.lattice import Lattice

Latent = Literal["viterbi", "forward"]


class Offending(NamedTuple):
    """The incorrect answer of the least energy, for each item of a batch.

    `energy` [batch], +inf where no incorrect answer is possible; `answers`, for each item its
    labels (for plain energies its index), None where there is none.
    """

    energy: Tensor
    answers: list[Any]


class Language:
    """The correct answers as acceptors without scores in which every answer has one path.

    `acceptor`: a batch; `single`: the labels of each, if each is a chain of one answer, else None.
    """

    def __init__(
        self, function: str, interpretations: Graph | Lattice, correct: Graph | Lattice
    ) -> None:
        correct = built(function, "correct", correct)
        sizes = len(interpretations), len(correct)
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise ValueError(
                f"{function}: interpretations has {sizes[0]} graphs, correct {sizes[1]} "
                f"(equal or 1 is needed)"
            )
        written = correct if correct.is_acceptor else project(correct, "output")
        plain = _unweighted(written, interpretations.dtype)
        self.single = label_sequences(plain) if _is_linear(plain) else None
        if self.single is None and not _is_deterministic(plain):
            plain = determinize(plain, semiring="tropical")
        self.acceptor = plain


@named
def most_offending(
    interpretations: Graph | Lattice | Tensor,
    correct: Any,
    *,
    latent: Latent = "viterbi",
    beta: float | Tensor = 1.0,
    max_prefixes: int = MAX_PREFIXES,
) -> Offending:
    """The incorrect answer of the least energy, exactly: alignments of a correct one do not count.

    Arguments: as `energies`; `max_prefixes` as in `best_answers` (for latent="forward").
    Result: `Offending`; where no incorrect answer is possible (a single legal answer, or none)
    its energy is +inf and its answer None. The choice among ties is reproducible.
    Raises ValueError as `energies` and, with latent="forward", as `best_answers`.
    Complexity: if every correct answer is one chain, that of the two best distinct answers of each
    graph ("viterbi": `k_best`, "forward": `best_answers`). Otherwise, and for the best path of a
    `Lattice`, which is not built, that of the difference of `interpretations` and the correct
    answers. With latent="forward" a `Lattice` is built.
    Gradient: to the scores of `interpretations`, not through the choice.
    Source: LeCun et al. 2006, definitions 1 and 2.
    """
    if isinstance(interpretations, Tensor):
        classes = Classes("most_offending", interpretations, correct)
        return Offending(classes.offending, classes.offending_answers)
    if not isinstance(interpretations, Graph):
        interpretations = lazy("most_offending", "interpretations", interpretations)
    check_latent("most_offending", latent)
    language = Language("most_offending", interpretations, correct)
    return offending(interpretations, language, latent, beta, max_prefixes)


@named
def offending(
    graph: Graph | Lattice,
    language: Language,
    latent: Latent,
    beta: float | Tensor,
    max_prefixes: int,
) -> Offending:
    """`most_offending` for checked arguments."""
    if latent == "forward" and not _is_infinite("most_offending", beta):
        return _by_sum(graph, language, beta, max_prefixes)
    if language.single is None or not isinstance(graph, Graph):
        best = viterbi_path(_without(graph, language.acceptor))
    else:
        best = _second_best(graph, language.single)
    exists = best.state_offsets.diff().tolist()
    answers = [labels if n else None for labels, n in zip(label_sequences(best), exists)]
    return Offending(-viterbi_score(best), answers)


def check_latent(function: str, latent: str) -> None:
    """Refuse unknown ways to reduce latent paths."""
    if latent not in ("viterbi", "forward"):
        raise ValueError(f'{function}: latent must be "viterbi" or "forward", got {latent!r}')


def _by_sum(
    graph: Graph | Lattice, language: Language, beta: float | Tensor, max_prefixes: int
) -> Offending:
    if language.single is None:
        wrong = _without(graph, language.acceptor)
        found = [
            ranked[:1] for ranked in best_labels("most_offending", wrong, 1, beta, max_prefixes)
        ]
    else:
        two = best_labels("most_offending", graph, 2, beta, max_prefixes)
        found = [
            [answer for answer in ranked if answer != right][:1]
            for ranked, right in _paired(two, language.single)
        ]
    none = torch.tensor([not ranked for ranked in found], dtype=torch.bool, device=graph.device)
    chains = linear([ranked[0] if ranked else [] for ranked in found], dtype=graph.dtype)
    score = forward_score(restricted(graph, chains), beta)
    return Offending(-score.masked_fill(none, NEG_INF), [r[0] if r else None for r in found])


def _second_best(graph: Graph, single: list[list[int]]) -> Graph:
    """The best path of each graph that writes anything else, as a batch of linear graphs."""
    chosen = []
    for paths, right in _paired(k_best(graph, 2, unique="olabels"), single):
        others = [i for i, labels in enumerate(label_sequences(paths)) if labels != right]
        chosen.append(paths[others[0]] if others else _nothing(graph))
    return stack(chosen) if chosen else _nothing(graph)[:0]


def _paired(ranked: list[Any], single: list[list[int]]) -> list[tuple[Any, list[int]]]:
    """What belongs to each graph together with its correct answer; one of the two broadcasts."""
    if not ranked or not single:
        return []
    size = max(len(ranked), len(single))
    return list(zip(islice(cycle(ranked), size), islice(cycle(single), size)))


def _nothing(like: Graph) -> Graph:
    """A graph without states."""
    return Graph([], [], [], weights=like.weights.new_zeros(0), start=[], accept=[])


def _without(graph: Graph | Lattice, acceptor: Graph) -> Graph | Lattice:
    """The paths that write what the acceptor does not accept; of a `Lattice` a `Lattice`."""
    if isinstance(graph, Graph):
        return difference(graph, acceptor)
    operand = difference(graph.operand, acceptor)
    return compose(graph.emissions, operand, max_arcs=graph.max_arcs)


def _unweighted(graph: Graph, dtype: torch.dtype) -> Graph:
    """The same language: scores are 0 where they are possible."""

    def plain(scores: Tensor) -> Tensor:
        return torch.zeros_like(scores, dtype=dtype).masked_fill(scores == NEG_INF, NEG_INF)

    graph = graph.detach()
    return Graph.from_topology(
        graph.topology, plain(graph.weights), plain(graph.start), plain(graph.accept)
    )


def _is_linear(graph: Graph) -> bool:
    """Whether each graph is a chain from its first state to its last, without scores of -inf."""
    topology = graph.topology
    first, last = topology.state_offsets[:-1], topology.state_offsets[1:] - 1
    position = torch.arange(topology.num_arcs, device=graph.device)
    position = (position - topology.arc_offsets[topology.graph_of_arc]).to(torch.int32)
    ends = torch.zeros(graph.num_states, dtype=torch.bool, device=graph.device)
    return (
        torch.equal(topology.state_offsets.diff(), topology.arc_offsets.diff() + 1)
        and torch.equal(topology.source, position)
        and torch.equal(topology.target, position + 1)
        and torch.equal(graph.start > NEG_INF, ends.index_fill(0, first, True))
        and torch.equal(graph.accept > NEG_INF, ends.index_fill(0, last, True))
        and bool((graph.weights > NEG_INF).all())
    )


def _is_deterministic(graph: Graph) -> bool:
    """Whether every sequence has one path at most: no epsilons, no choice at a start or a state."""
    topology = graph.topology
    offsets, _, _, labels = topology.leaving_by_ilabel
    assert labels is not None
    state = torch.repeat_interleave(
        torch.arange(graph.num_states), offsets.diff(), output_size=len(labels)
    )
    starts = torch.bincount(
        topology.graph_of_state[graph.start > NEG_INF], minlength=topology.num_graphs
    )
    again = (labels[1:] == labels[:-1]) & (state[1:] == state[:-1])
    return bool((labels >= 0).all()) and not bool(again.any()) and bool((starts <= 1).all())
