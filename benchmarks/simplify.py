"""Determinization and minimization of a lexicon, beside OpenFst."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator

import torch

import gtnet
from benchmarks.openfst import to_openfst
from benchmarks.timing import Case, Work

WORDS = 10_000


def lexicon_simplification() -> Iterator[Case]:
    """10,000 random words of 3 to 10 letters: a union of chains, then deterministic, then small."""
    for name, scores in (("unweighted", 0.0), ("weighted", 1.0)):
        union, silent = chains(scores, silent=False), chains(scores, silent=True)
        made = {s: gtnet.determinize(union, semiring=s) for s in ("tropical", "log")}
        peers = openfst(union, silent)
        for semiring in ("tropical", "log"):
            what = f"{WORDS:,} words, {name}, {semiring}"
            theirs = peers[semiring]
            yield Case(
                f"determinize {what}",
                lambda g=union, s=semiring: gtnet.determinize(fresh(g), semiring=s),
                {"OpenFst": theirs["determinize"]} if theirs else {},
            )
            yield Case(
                f"minimize {what}",
                lambda g=made[semiring], s=semiring: gtnet.minimize(fresh(g), semiring=s),
                {"OpenFst": theirs["minimize"]} if theirs else {},
            )
            yield Case(
                f"remove_epsilon, determinize, minimize {what}",
                lambda g=silent, s=semiring: small(fresh(g), s),
                {"OpenFst": theirs["all"]} if theirs else {},
            )
    learning = chains(1.0, silent=False)
    learning = learning.with_weights(learning.weights.requires_grad_())
    yield Case(
        f"determinize {WORDS:,} words, weighted, log, and its gradient",
        lambda: gtnet.determinize(fresh(learning)).weights.sum().backward(),
    )


def small(graph: gtnet.Graph, semiring: str) -> gtnet.Graph:
    """The smallest deterministic graph without epsilons."""
    plain = gtnet.remove_epsilon(graph, semiring=semiring)
    return gtnet.minimize(gtnet.determinize(plain, semiring=semiring), semiring=semiring)


def chains(scale: float, *, silent: bool) -> gtnet.Graph:
    """One chain of arcs per word from a common start, behind an epsilon arc if `silent`."""
    rng = random.Random(0)
    source, target, labels, ends = [], [], [], []
    states = 1
    for _ in range(WORDS):
        at = 0
        word = rng.choices(range(26), k=rng.randint(3, 10))
        for label in [gtnet.EPSILON, *word] if silent else word:
            source.append(at)
            target.append(states)
            labels.append(label)
            at, states = states, states + 1
        ends.append(at)
    weights = scale * torch.randn(len(source), generator=torch.Generator().manual_seed(0))
    return gtnet.Graph(source, target, labels, weights=weights, accept=ends, num_states=states)


def fresh(graph: gtnet.Graph) -> gtnet.Graph:
    """The same graph with nothing prepared, as OpenFst's graphs are."""
    return gtnet.Graph(
        graph.source,
        graph.target,
        graph.ilabels,
        weights=graph.weights,
        start=graph.start,
        accept=graph.accept,
        num_states=graph.num_states,
    )


def openfst(union: gtnet.Graph, silent: gtnet.Graph) -> dict[str, dict[str, Work]]:
    """The same work by OpenFst."""
    if importlib.util.find_spec("pynini") is None:
        return {"tropical": {}, "log": {}}
    import pynini

    works = {}
    for semiring, arc_type in (("tropical", "standard"), ("log", "log")):
        plain, with_epsilons = (to_openfst(graph, arc_type) for graph in (union, silent))
        made = pynini.determinize(plain)

        def everything(fst: pynini.Fst = with_epsilons) -> object:
            return pynini.determinize(fst.copy().rmepsilon()).minimize()

        works[semiring] = {
            "determinize": lambda fst=plain: pynini.determinize(fst),
            "minimize": lambda fst=made: fst.copy().minimize(),
            "all": everything,
        }
    return works
