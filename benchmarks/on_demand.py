"""`python -m benchmarks.on_demand [WORDS BIGRAMS]`: decoding without a built product.

Random words of 3 to 10 letters and a back-off bigram model (benchmarks/lexicons.py), a sentence
with noise over 500 frames; time and memory of the search through [tokens, lexicon, grammar], with
and without look-ahead, at several widths. The product of 20,000 words and 170,000 bigrams exceeds
100 million arcs where words are written last.
"""

from __future__ import annotations

import math
import resource
import sys
import time

import torch

import gtnet
from benchmarks.lexicons import bigram_model, spelled_lexicon, spoken


def megabytes() -> float:
    """The most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Time every setting and print the table."""
    words, bigrams = (int(a) for a in sys.argv[1:3]) if len(sys.argv) > 2 else (20_000, 170_000)
    torch.set_num_threads(1)
    lexicon, grammar = spelled_lexicon(words, 30), bigram_model(words, bigrams)
    log_probs = spoken(lexicon, grammar.graph, 500, 1, noise=2.0)
    begin = time.process_time()
    tokens = gtnet.remove_epsilon(gtnet.ctc_topology(30))
    graphs = [tokens, lexicon.graph().star, grammar]
    gtnet.BeamSearch(graphs, beam=1.0)
    print(f"{words} words, {bigrams} bigrams: graphs and labels in {_since(begin):.2f} s CPU\n")
    before = megabytes()
    print("| beam | survivors | look-ahead | score of the best path | CPU s | more memory, MB |")
    print("|--:|--:|---|--:|--:|--:|")
    for beam, most in ((15.0, 100), (15.0, 1000), (25.0, 5000)):
        for look_ahead in (True, False):
            begin = time.process_time()
            lattice = gtnet.beam_search(
                gtnet.Emissions(log_probs),
                graphs,
                beam=beam,
                max_active=most,
                lattice_beam=0.0,
                look_ahead=look_ahead,
            )
            score, seconds = float(gtnet.viterbi_score(lattice)), _since(begin)
            more = megabytes() - before
            shown = f"{score:.2f}" if score > -math.inf else "none"
            kind = "yes" if look_ahead else "no"
            print(
                f"| {beam:g} | {most} | {kind} | {shown} | {seconds:.2f} | {more:.0f} |", flush=True
            )


def _since(begin: float) -> float:
    return time.process_time() - begin


if __name__ == "__main__":
    main()
