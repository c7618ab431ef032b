"""What is timed: construction, composition, path sums, and CTC written as graph algebra."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import gtnet
from benchmarks.beam_search import beam_search_cases, exact_cases, recognizer_cases
from benchmarks.csr_loop import csr_loop
from benchmarks.emissions import emission_cases
from benchmarks.hidden_markov import hidden_markov_cases
from benchmarks.installed import gtn_compose, gtn_sums
from benchmarks.lexicons import looping_lexicon
from benchmarks.openfst import to_openfst
from benchmarks.rational import rational_cases
from benchmarks.simplify import lexicon_simplification
from benchmarks.timing import Case, Work


def all_cases() -> Iterator[Case]:
    """Every case, cheapest first."""
    yield from tiny_graphs()
    yield from construction()
    yield from path_sums()
    yield from best_paths()
    yield from ctc()
    yield from lexicon()
    yield from grammar()
    yield from rational_cases()
    yield from lexicon_simplification()
    words = looping_lexicon(10_000, 27)
    yield from emission_cases(words, looping_lexicon(2_600, 27))
    yield from hidden_markov_cases()
    yield from beam_search_cases(words)
    yield from exact_cases()
    yield from recognizer_cases()


def repeated(work: Work, times: int) -> Work:
    """The work done often enough to be timed."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


def backward(graph: gtnet.Graph) -> None:
    """Forward score and its gradient, the last one dropped as an optimizer's zero_grad does."""
    graph.weights.grad = None
    gtnet.forward_score(graph).sum().backward()


def tiny_graphs() -> Iterator[Case]:
    """What a call costs, and what each further graph of a batch costs."""
    one = gtnet.linear([0, 1, 2])
    many = gtnet.stack([gtnet.linear([0, 1, 2]) for _ in range(64)])
    for name, graph in (("1 graph", one), ("a batch of 64", many)):
        learning = graph.with_weights(graph.weights.clone().requires_grad_())
        calls = f"1,000 calls on 3-arc graphs, {name}"
        forward = repeated(lambda graph=graph: gtnet.forward_score(graph), 1000)
        both = repeated(lambda graph=learning: backward(graph), 1000)
        yield Case(f"{calls}: forward", forward, per=1000, unit="call")
        yield Case(f"{calls}: forward + backward", both, per=1000, unit="call")
        for what, call in {
            "compose": lambda graph=graph: gtnet.compose(graph, graph),
            "viterbi_path": lambda graph=graph: gtnet.viterbi_path(graph),
        }.items():
            yield Case(f"{calls}: {what}", repeated(call, 1000), per=1000, unit="call")


def construction() -> Iterator[Case]:
    """One call for a million arcs."""
    source, target, labels, weights = random_dag(100_000, 1_000_000)
    yield Case(
        "Graph from arrays of 1M arcs",
        lambda: gtnet.Graph(source, target, labels, None, weights, accept=99_999),
        per=1_000_000,
        unit="arc",
    )


def random_dag(states: int, arcs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arcs of a random acyclic graph that reach at most 1,000 states ahead, by source."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(0, states - 1, (arcs,), generator=generator).sort().values
    jump = torch.randint(1, 1000, (arcs,), generator=generator)
    target = torch.minimum(source + jump, torch.tensor(states - 1))
    labels = torch.randint(0, 100, (arcs,), generator=generator)
    weights = torch.randn(arcs, generator=generator)
    return source.int(), target.int(), labels.int(), weights


def path_sums() -> Iterator[Case]:
    """Forward and Viterbi on a large random graph and on a wide linear one; topology known."""
    source, target, labels, weights = random_dag(100_000, 1_000_000)
    dag = gtnet.Graph(source, target, labels, None, weights, accept=99_999)
    steps = torch.arange(1000).repeat_interleave(1000)
    wide = gtnet.Graph(steps, steps + 1, torch.arange(1000).repeat(1000), accept=1000)
    wide = wide.with_weights(torch.randn(1_000_000))
    for name, graph in (("DAG of 100k states, 1M arcs", dag), ("linear 1000 x 1000", wide)):
        learning = graph.with_weights(graph.weights.clone().requires_grad_())
        works = {
            "forward": lambda graph=graph: gtnet.forward_score(graph),
            "forward + backward": lambda graph=learning: backward(graph),
            "Viterbi score": lambda graph=graph: gtnet.viterbi_score(graph),
            "Viterbi path": lambda graph=graph: gtnet.viterbi_path(graph),
            "posteriors": lambda graph=graph: gtnet.posteriors(graph),
        }
        loop, gtn = csr_loop(graph), gtn_sums(graph)
        for what, work in works.items():
            peers = {"CSR loop": loop[what]} if what in loop else {}
            peers |= gtn.get(what, {})
            yield Case(f"{name}: {what}", work, peers, per=1_000_000, unit="arc")


def best_paths() -> Iterator[Case]:
    """The k best paths of deep lattices: arcs reach at most 20 states ahead."""
    for states in (10_000, 100_000):
        generator = torch.Generator().manual_seed(0)
        arcs = 10 * states
        source = torch.randint(0, states - 1, (arcs,), generator=generator).sort().values
        jump = torch.randint(1, 20, (arcs,), generator=generator)
        target = torch.minimum(source + jump, torch.tensor(states - 1))
        weights = torch.randn(arcs, generator=generator)
        labels = torch.randint(0, 100, (arcs,), generator=generator)
        graph = gtnet.Graph(source, target, labels, None, weights, accept=states - 1)
        theirs = openfst_best(graph)
        for k in (10, 100):
            yield Case(
                f"{k} best paths, {states:,} states, {arcs:,} arcs",
                lambda graph=graph, k=k: gtnet.k_best(graph, k),
                {"OpenFst": lambda k=k, theirs=theirs: theirs(k)} if theirs else {},
            )


def openfst_best(graph: gtnet.Graph) -> Callable[[int], object] | None:
    """OpenFst's k shortest paths of the same graph."""
    if importlib.util.find_spec("pynini") is None:
        return None
    import pynini

    fst = to_openfst(graph)
    return lambda k: pynini.shortestpath(fst, nshortest=k)


def ctc() -> Iterator[Case]:
    """The CTC loss as graph algebra (emissions composed with a topology, lattice built)."""
    for batch, frames, classes, length in ((8, 200, 32, 40), (32, 400, 100, 80)):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(batch, frames, classes, generator=generator)
        scores = logits.log_softmax(-1).requires_grad_()
        targets = torch.randint(1, classes, (batch, length), generator=generator)
        lengths = torch.full((batch,), frames), torch.full((batch,), length)

        def algebra(scores: Tensor = scores, targets: Tensor = targets) -> None:
            lattice = gtnet.compose(gtnet.Emissions(scores), gtnet.ctc_graph(targets))
            (-gtnet.forward_score(lattice.graph())).sum().backward()

        def torch_ctc(
            scores: Tensor = scores,
            targets: Tensor = targets,
            lengths: tuple[Tensor, Tensor] = lengths,
        ) -> None:
            frames_first = scores.transpose(0, 1)
            torch.nn.functional.ctc_loss(
                frames_first, targets, *lengths, reduction="sum"
            ).backward()

        size = f"B{batch} T{frames} C{classes} L{length}"
        yield Case(f"CTC forward + backward, lattice built, {size}", algebra, {"torch": torch_ctc})


def lexicon() -> Iterator[Case]:
    """A lattice of 100 frames and 27 letters composed with a looping lexicon of 10,000 words."""
    emissions = gtnet.Emissions(torch.randn(1, 100, 27)).graph()
    words = looping_lexicon(10_000, 27)
    lattice = gtnet.compose(emissions, words)
    yield Case(
        f"compose 100 x 27 lattice with 10k-word lexicon ({lattice.num_arcs / 1e6:.1f}M arcs)",
        lambda: gtnet.compose(emissions, words),
        pynini_compose(emissions, words) | gtn_compose(emissions, words),
        per=lattice.num_arcs,
        unit="arc",
    )


def grammar() -> Iterator[Case]:
    """A looping lexicon of 1,000 words composed with a bigram of 20 successors a word.

    Words leave the trie at their last letter; pushed to their first letter of their own, few
    prefixes are followed whose words cannot come next. That is what look-ahead would be for.
    """
    words, successors = 1000, 20
    spelling = looping_lexicon(words, 27)
    rng = random.Random(0)
    after = torch.tensor([rng.sample(range(words), successors) for _ in range(words)]).flatten()
    before = torch.arange(words).repeat_interleave(successors)
    every = torch.arange(words)
    bigram = gtnet.Graph(
        torch.cat([every.new_full((words,), words), before]),
        torch.cat([every, after]),
        torch.cat([every, after]),
        start=words,
        accept=every.tolist(),
    )
    unpushed = {"not pushed": lambda: gtnet.compose(spelling, bigram)}
    yield Case(
        f"push the words of a {words}-word lexicon, compose with a bigram",
        lambda: gtnet.compose(gtnet.push(spelling, what="labels"), bigram),
        unpushed
        | {f"{name}, not pushed": w for name, w in pynini_compose(spelling, bigram).items()},
    )


def pynini_compose(a: gtnet.Graph, b: gtnet.Graph) -> dict[str, Work]:
    """OpenFst's composition of the same two graphs, sorted beforehand, trimmed or not."""
    if importlib.util.find_spec("pynini") is None:
        return {}
    import pynini

    left, right = (to_openfst(graph) for graph in (a, b))
    left.arcsort("olabel")
    right.arcsort("ilabel")
    return {
        "OpenFst": lambda: pynini.compose(left, right, connect=False),
        "OpenFst connected": lambda: pynini.compose(left, right, connect=True),
    }
