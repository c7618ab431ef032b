"""`python -m benchmarks.fusion`: a network as language model, within the beam search and behind it.

300 frames of noise over the letters, a recurrent model with random weights, of the letters or of
random words. Within, the search asks the network after each frame (`ctc_decoder(lm=)`); behind, the
lattice that a search without it keeps is composed with it (`decode.fuse`) under the same beam and
number of survivors. A score below the other's is a path that was lost.
"""

from __future__ import annotations

import math
import string
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import gtnet
from gtnet.decode import CTCDecoder, ctc_decoder, fuse

FRAMES, BEAM = 300, 25.0
TOKENS = ["-", *string.ascii_lowercase, "'", "|"]


class Recurrent(nn.Module):
    """A GRU over labels; counts the histories that it is asked for."""

    def __init__(self, labels: int, size: int = 64) -> None:
        super().__init__()
        self.inputs, self.cell = nn.Embedding(labels, size), nn.GRUCell(size, size)
        self.outputs = nn.Linear(size, labels + 1)
        self.asked = self.calls = 0

    def start(self) -> Tensor:
        return self.inputs.weight.new_zeros(1, self.cell.hidden_size)

    def step(self, state: Tensor, labels: Tensor) -> Tensor:
        return self.cell(self.inputs(labels), state)

    def scores(self, state: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        self.asked += len(state)
        every = (3 * self.outputs(state)).log_softmax(-1)
        return every[:, :-1], every[:, -1]


def vocabulary(count: int, generator: torch.Generator) -> list[str]:
    """Random words of 2 to 7 letters."""
    found: set[str] = set()
    while len(found) < count:
        length = int(torch.randint(2, 8, (), generator=generator))
        chosen = torch.randint(26, (length,), generator=generator).tolist()
        found.add("".join(string.ascii_lowercase[i] for i in chosen))
    return sorted(found)


def timed(work: Callable[[], float]) -> tuple[float, float]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def main() -> None:
    """Decode at each size and print a table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(1, FRAMES, len(TOKENS), generator=generator)
    scores[:, :, 0] += 2
    scores = scores.log_softmax(-1)
    print("| words | survivors | where | score | CPU s | calls | histories asked for |")
    print("|--:|--:|---|--:|--:|--:|--:|")
    for words, most in ((0, 100), (0, 500), (1000, 100), (10_000, 100), (10_000, 500)):
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(1)
        lexicon = vocabulary(words, generator) if words else None
        lm = Recurrent(words or len(TOKENS))
        decoder = ctc_decoder(lexicon, TOKENS, lm, separators="|", beam=BEAM, max_active=most)

        def within(decoder: CTCDecoder = decoder) -> float:
            return decoder(scores)[0][0].score

        def behind(decoder: CTCDecoder = decoder, lm: Recurrent = lm, most: int = most) -> float:
            plain = decoder.graphs[:-1]
            found = gtnet.beam_search(
                gtnet.Emissions(scores), plain, beam=BEAM, max_active=most, lattice_beam=10.0
            )
            fused = fuse(found, lm, beam=BEAM, max_active=most)
            return float(gtnet.viterbi_score(fused))

        for name, work in (("within", within), ("behind", behind)):
            lm.calls = lm.asked = 0
            with torch.no_grad():
                seconds, score = timed(work)
            row = f"| {words or 'letters'} | {most} | {name} | {score:.2f} | {seconds:.2f} |"
            assert math.isfinite(score)
            print(f"{row} {lm.calls} | {lm.asked} |", flush=True)


if __name__ == "__main__":
    main()
