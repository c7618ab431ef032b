"""`python -m benchmarks.flashlight FOLDER [WORDS N-GRAMS]`: ctc_decoder beside flashlight-text.

Needs flashlight-text, kenlm and wordninja: `make flashlight` puts them into a folder of their own
and starts this. Both decoders get the same words, spelled by letters with a separator behind
each, the same ARPA model (as benchmarks.large_model writes it) and the same utterances: sentences
of the model, with noise. A table of scores and CPU seconds at several widths; where both
find the best score that any found, they do the same work.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import gtnet
from benchmarks.large_model import vocabulary, write
from benchmarks.lexicons import spoken
from gtnet.decode import ctc_decoder

FRAMES, UTTERANCES, NOISE = 500, 4, 2.5
OURS = ((10.0, 20), (12.0, 50), (15.0, 100), (15.0, 200), (20.0, 500), (25.0, 2000))
THEIRS = (20, 50, 100, 200, 500, 1500, 5000)
BEAM = 50.0
"""Of flashlight-text: how much worse than the best a survivor may be."""


def ours(words: list[str], tokens: list[str], model: Path) -> tuple[Callable, Tensor]:
    """What decodes at a width, and the utterances."""
    decoder = ctc_decoder(words, tokens, model, separators="|", lattice_beam=0.0)
    entries = [(i, [*decoder.tokens.labels(name), 1], 0.0) for i, name in enumerate(words)]
    lexicon = gtnet.Lexicon(entries, gtnet.SymbolTable(words), decoder.tokens)
    grammar = decoder.graphs[-1]
    assert isinstance(grammar, gtnet.FailureGraph)
    log_probs = spoken(lexicon, grammar.graph, FRAMES, UTTERANCES, noise=NOISE)

    def run(width: tuple[float, int], utterance: Tensor) -> tuple[float, str]:
        beam, most = width
        decoder._limits = decoder._limits._replace(beam=beam, max_active=most)
        found = decoder(utterance[None])[0]
        return (found[0].score, found[0].text) if found else (-math.inf, "")

    return run, log_probs


def theirs(words: list[str], tokens: list[str], model: Path) -> Callable:
    """The same of flashlight-text; KenLM's scores are to base 10."""
    from flashlight.lib.text.decoder import (
        CriterionType,
        KenLM,
        LexiconDecoder,
        LexiconDecoderOptions,
        SmearingMode,
        Trie,
    )
    from flashlight.lib.text.dictionary import Dictionary

    names = Dictionary()
    for name in [*words, "<unk>"]:
        names.add_entry(name)
    lm = KenLM(str(model), names)
    trie, start = Trie(len(tokens), 1), lm.start(False)
    place = {token: i for i, token in enumerate(tokens)}
    for name in words:
        number = names.get_index(name)
        _, score = lm.score(start, number)
        trie.insert([*(place[letter] for letter in name), 1], number, score)
    trie.smear(SmearingMode.MAX)

    def run(width: int, utterance: Tensor) -> tuple[float, str]:
        options = LexiconDecoderOptions(
            beam_size=width,
            beam_size_token=len(tokens),
            beam_threshold=BEAM,
            lm_weight=math.log(10),
            word_score=0.0,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=CriterionType.CTC,
        )
        unknown = names.get_index("<unk>")
        decoder = LexiconDecoder(options, trie, lm, 1, 0, unknown, [], False)
        best = decoder.decode(utterance.data_ptr(), *utterance.shape)[0]
        return best.score, " ".join(names.get_entry(i) for i in best.words if i >= 0)

    return run


def main() -> None:
    """Decode at every width and print the table."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    words, grams = (int(a) for a in sys.argv[2:4]) if len(sys.argv) > 3 else (10_000, 100_000)
    model = folder / f"model-{words}-{grams}.arpa"
    if not model.exists():
        write(model, grams, words)
    listed = vocabulary(words)
    tokens = ["-", "|", *sorted({letter for name in listed for letter in name})]
    begin = time.process_time()
    gtnet_run, log_probs = ours(listed, tokens, model)
    made = time.process_time()
    flashlight_run = theirs(listed, tokens, model)
    print(
        f"{words} words, {grams} n-grams; decoders made in {made - begin:.1f} (gtnet) and "
        f"{time.process_time() - made:.1f} CPU s (flashlight-text)\n"
    )
    rows = []
    for name, run, widths in (
        ("gtnet", gtnet_run, OURS),
        ("flashlight-text", flashlight_run, THEIRS),
    ):
        for width in widths:
            begin = time.process_time()
            found = [run(width, utterance) for utterance in log_probs]
            rows.append((name, width, (time.process_time() - begin) / len(found), found))
    best = [max(row[3][i][0] for row in rows) for i in range(UTTERANCES)]
    print("| decoder | width | mean score | utterances at the best score | CPU s an utterance |")
    print("|---|--:|--:|--:|--:|")
    for name, width, seconds, found in rows:
        at_best = sum(score > b - 0.01 for (score, _), b in zip(found, best, strict=True))
        mean = sum(score for score, _ in found) / UTTERANCES
        print(f"| {name} | {width} | {mean:.2f} | {at_best} of {UTTERANCES} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
