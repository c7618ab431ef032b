"""Several recognizers as one: their scores are added, answer by answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gtnet.reader.answers import Answer
from gtnet.reader.recognizer import Recognizer

_LEAST = -30.0  # log-share of an answer that a reader has no path for: unlikely, not impossible


@dataclass(frozen=True)
class Combined:
    """Recognizers of one language whose recognition graphs have different time bases.

    The candidates are the union of their best answers. The score of an answer is the sum of the
    logs of its shares, each times the weight of its reader; all that is no candidate counts as one
    more. `weights`: one each, by default 1 / number of readers; `fitted` learns them.
    Source: Hinton 2002 (products of experts); LeCun et al. 1998, section VIII, for the combination
    of recognizers.
    """

    readers: Sequence[Recognizer]
    weights: Sequence[float] = field(default=())

    def __post_init__(self) -> None:
        if not self.readers:
            raise ValueError("Combined: give at least one reader")
        if not self.weights:
            object.__setattr__(self, "weights", (1 / len(self.readers),) * len(self.readers))
        if len(self.weights) != len(self.readers):
            raise ValueError(f"Combined: {len(self.readers)} readers, {len(self.weights)} weights")

    def read(self, inputs: Sequence[Any], *, batch_size: int = 32) -> list[Answer]:
        """The answers for a sequence of inputs, as `Recognizer.observe` takes them."""
        found = self._candidates(inputs, batch_size)
        return [self._answer(texts, table) for texts, table in found]

    def answer(self, texts: Sequence[str], shares: Sequence[Sequence[float]]) -> Answer:
        """The answer for one input of which the readers said what they think already.

        `texts`: the candidates; `shares`: the logs of their shares, a row for each reader. Raises
        ValueError for rows of other numbers.
        """
        if len(shares) != len(self.readers) or any(len(row) != len(texts) for row in shares):
            raise ValueError(
                f"Combined.answer: shares of {[len(row) for row in shares]} texts,"
                f" {len(self.readers)} readers, {len(texts)} texts"
            )
        return self._answer(list(texts), torch.stack([_row(row) for row in shares]))

    def _answer(self, texts: list[str], table: Tensor) -> Answer:
        scores = torch.tensor(self.weights, dtype=torch.float64) @ table
        return _answer(texts, scores.tolist())

    def fitted(
        self,
        inputs: Sequence[Any],
        truth: Sequence[str],
        *,
        batch_size: int = 32,
        steps: int = 200,
    ) -> Combined:
        """The same readers under the weights that make the true answers most probable.

        Choose them on a validation part: least -log of the share of the truth, or of what is no
        candidate where it is none, by gradients. Inputs without candidates are left out. Raises
        ValueError for different numbers of inputs and truths.
        """
        if len(inputs) != len(truth):
            raise ValueError(f"Combined.fitted: {len(inputs)} inputs, {len(truth)} truths")
        rows = []
        for (texts, table), text in zip(self._candidates(inputs, batch_size), truth, strict=True):
            if texts:
                rows.append((table, texts.index(text) if text in texts else len(texts)))
        # Weights are logs here, which keeps them above 0.
        logs = torch.tensor(self.weights, dtype=torch.float64).log().requires_grad_()
        optimizer = torch.optim.Adam([logs], 0.05)
        for _ in range(steps if rows else 0):
            optimizer.zero_grad()
            scores = [(logs.exp() @ table).log_softmax(0)[right] for table, right in rows]
            (-torch.stack(scores).mean()).backward()
            optimizer.step()
        return Combined(self.readers, tuple(logs.detach().exp().tolist()))

    def _candidates(self, inputs: Sequence[Any], batch_size: int) -> list[tuple[list[str], Tensor]]:
        """For each input the candidates, and log-shares [readers, candidates and the rest]."""
        observed = [reader.observe(inputs) for reader in self.readers]
        texts: list[list[str]] = [[] for _ in inputs]
        for reader, seen in zip(self.readers, observed, strict=True):
            for own, answer in zip(texts, reader.read_observations(seen, batch_size=batch_size)):
                if answer.amount is not None:
                    own += [answer.amount, *(text for text, _ in answer.alternatives)]
        texts = [list(dict.fromkeys(own)) for own in texts]
        tables = [torch.full((len(self.readers), len(own) + 1), _LEAST).double() for own in texts]
        for number, (reader, seen) in enumerate(zip(self.readers, observed, strict=True)):
            reader.eval()
            for first in range(0, len(inputs), batch_size):
                batch = slice(first, first + batch_size)
                shares = reader.log_shares(seen[batch], texts[batch], looks=True)
                for table, known in zip(tables[batch], shares, strict=True):
                    table[number] = _row(known)
        return list(zip(texts, tables, strict=True))


def _row(logs: Sequence[float]) -> Tensor:
    """Log-shares of the candidates and of the rest, none impossible."""
    known = torch.tensor(logs, dtype=torch.float64)
    rest = (1 - known.exp().sum()).clamp(min=0).log().reshape(1)
    return torch.cat([known, rest]).clamp(min=_LEAST)


def _answer(texts: list[str], scores: list[float]) -> Answer:
    if not texts:
        return Answer(None, reason="no reading: none of the readers finds one")
    shares = torch.tensor(scores, dtype=torch.float64).softmax(0).tolist()
    ranked = sorted(zip(texts, shares), key=lambda pair: -pair[1])
    return Answer(ranked[0][0], ranked[0][1], tuple(ranked[1:]))
