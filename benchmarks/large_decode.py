"""`python -m benchmarks.large_decode FOLDER`: decoding with 200,000 words and 5 million n-grams.

Takes the model that `benchmarks.large_model` saved in the folder, spells its words by letters, and
decodes 500 frames of a sentence of the model, with noise, at several widths of the search: scores,
CPU seconds, and the most memory that the process has had, loading included.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import torch

import gtnet
from benchmarks.large_model import vocabulary
from benchmarks.lexicons import spoken
from benchmarks.on_demand import megabytes
from gtnet.decode import ctc_decoder

_WIDTHS = ((12.0, 200), (15.0, 500), (20.0, 2000), (25.0, 8000))


def main() -> None:
    """Decode at every width and print a table."""
    torch.set_num_threads(1)
    saved = Path(sys.argv[1]) / "model.safetensors"
    words = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    names = vocabulary(words)
    letters = ["-", "|", *sorted({letter for name in names for letter in name})]
    begin = time.process_time()
    decoder = ctc_decoder(names, letters, saved, separators="|", lattice_beam=0.0)
    made = time.process_time() - begin
    print(f"{len(names)} words: a decoder in {made:.1f} CPU s, {megabytes():.0f} MB\n")
    spelled = gtnet.Lexicon(
        [(i, [*decoder.tokens.labels(name), 1], 0.0) for i, name in enumerate(names)],
        gtnet.SymbolTable(names),
        decoder.tokens,
    )
    grammar = decoder.graphs[-1]
    assert isinstance(grammar, gtnet.FailureGraph)
    log_probs = spoken(spelled, grammar.graph, 500, 1, noise=2.0)
    print("| beam | survivors | score | words | CPU s | memory of the process, MB |")
    print("|--:|--:|--:|--:|--:|--:|")
    for beam, most in _WIDTHS:
        begin = time.process_time()
        decoder._limits = decoder._limits._replace(beam=beam, max_active=most)
        [[best]] = decoder(log_probs)
        seconds = time.process_time() - begin
        score = best.score if best else -math.inf
        row = f"| {beam:g} | {most} | {score:.2f} | {len(best.words)} | {seconds:.2f} |"
        print(f"{row} {megabytes():.0f} |", flush=True)


if __name__ == "__main__":
    main()
