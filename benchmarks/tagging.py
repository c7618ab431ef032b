"""`python -m benchmarks.tagging [--quick]`: linear-chain CRFs beside pytorch-crf.

Needs pytorch-crf for its peer: `make crf` puts it into a folder of its own and starts this.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import gtnet
from benchmarks.installed import pytorch_crf
from benchmarks.timing import Case, print_cases

# (batch, frames, tags)
SIZES = ((8, 50, 10), (32, 50, 10), (8, 200, 32), (32, 100, 30), (64, 200, 10), (16, 200, 100))


def tagging_cases() -> Iterator[Case]:
    """With masks, half of the frames of an item at least: the loss with all gradients, and the
    best tags.
    """
    for batch, frames, tags in SIZES:
        crf = gtnet.nn.CRF(tags, batch_first=True)
        scores = torch.randn(batch, frames, tags, requires_grad=True)
        truth = torch.randint(tags, (batch, frames))
        mask = torch.arange(frames) < torch.randint(frames // 2, frames + 1, (batch, 1))

        def loss(
            crf: gtnet.nn.CRF = crf,
            given: tuple[Tensor, Tensor, Tensor] = (scores, truth, mask),
        ) -> None:
            crf(*given).backward()

        def best(crf: gtnet.nn.CRF = crf, given: tuple[Tensor, Tensor] = (scores, mask)) -> None:
            crf.decode(*given)

        theirs = pytorch_crf(crf, scores, truth, mask)
        per, name = int(mask.sum()) * tags**2, f"B{batch} T{frames} C{tags}"
        yield Case(f"CRF loss and gradient, {name}", loss, theirs[0], per, "frame and arc")
        yield Case(f"CRF decode, {name}", best, theirs[1], per, "frame and arc")


def main() -> None:
    """Print these cases."""
    print_cases("benchmarks.tagging", __doc__, tagging_cases)


if __name__ == "__main__":
    main()
