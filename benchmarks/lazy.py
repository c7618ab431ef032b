"""`python -m benchmarks.lazy`: best paths of a composition on demand, beside the product built.

A confused sentence, a random lexicon and a bigram model (benchmarks/lexicons.py). CPU seconds of
the best path: of `LazyComposition`, with nothing known of the operands and with it known; of
`compose` and `viterbi_path`; of OpenFst's compose and shortestpath, which build the product too
(its delayed composition has no binding for Python), where pynini is installed.
"""

from __future__ import annotations

import importlib.util
import random
import time
from collections.abc import Callable

import torch

import gtnet
from benchmarks.lexicons import bigram_model, looping_lexicon, spelled_lexicon
from benchmarks.openfst import to_openfst


def sausage(length: int, labels: int, choices: int) -> gtnet.Graph:
    """A chain of places with several labels each, one of which is good."""
    rng = random.Random(1)
    rows = [
        (place, place + 1, label, -3.0 * (i > 0) * rng.random())
        for place in range(length)
        for i, label in enumerate(rng.sample(range(labels), choices))
    ]
    source, target, read, weights = zip(*rows, strict=True)
    return gtnet.Graph(source, target, read, None, weights, accept=length)


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def openfst(a: gtnet.Graph, b: gtnet.Graph) -> float | None:
    """CPU seconds of compose and shortestpath there."""
    if importlib.util.find_spec("pynini") is None:
        return None
    import pynini

    one, other = (to_openfst(graph).arcsort("ilabel") for graph in (a, b))
    one.arcsort("olabel")
    return seconds(lambda: pynini.shortestpath(pynini.compose(one, other)))


def cases() -> dict[str, tuple[gtnet.Graph, gtnet.Graph]]:
    """Pairs of operands."""
    spelled = spelled_lexicon(20_000, 30)
    grammar = bigram_model(20_000, 170_000).graph
    chain = sausage(60, 29, 9)
    labels = chain.ilabels + 1
    chain = gtnet.Graph(chain.source, chain.target, labels, None, chain.weights, accept=60)
    words = {write: spelled.graph(write=write).star for write in ("first", "last")}
    return {
        "100 places of 27 labels @ 10,000 words": (
            sausage(100, 27, 27),
            looping_lexicon(10_000, 27),
        ),
        "(60 places of 9 labels @ 20,000 words, written last) @ bigrams": (
            gtnet.compose(chain, words["last"]),
            grammar,
        ),
        "20,000 words, written first @ bigrams": (words["first"], grammar),
    }


def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    print("| composition | arcs of the product | lazy, at first | lazy, again | built | OpenFst |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (a, b) in cases().items():
        lazy = gtnet.LazyComposition(a, b)
        once = seconds(lambda lazy=lazy: gtnet.viterbi_score(lazy))  # type: ignore[misc]
        again = seconds(lambda lazy=lazy: gtnet.viterbi_path(lazy))  # type: ignore[misc]
        whole = gtnet.compose(a, b)
        built = seconds(lambda a=a, b=b: gtnet.viterbi_path(gtnet.compose(a, b)))  # type: ignore[misc]
        score = gtnet.viterbi_score(lazy)
        assert torch.allclose(score, gtnet.viterbi_score(whole)), name
        peer = openfst(a, b)
        shown = "" if peer is None else f"{peer:.3f}"
        print(f"| {name} | {whole.num_arcs} | {once:.3f} | {again:.3f} | {built:.3f} | {shown} |")


if __name__ == "__main__":
    main()
