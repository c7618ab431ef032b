"""The recognizer: images of lines to answers in any language, through graphs all the way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.answers import Answer, answers_of, averaged, log_shares
from gtnet.reader.explained import explained
from gtnet.reader.front_end import FrontEnd, SegmentsFrontEnd
from gtnet.reader.languages import language_of
from gtnet.reader.prior import Prior
from gtnet.reader.sliding import SlidingFrontEnd


class Recognizer(nn.Module):
    """A front end, a network and a language as one differentiable graph transformer network.

    Arguments:
        alphabet: the characters that are written: an `Alphabet`, or a string of them.
        grammar: the language: an acceptor or transducer that reads labels of the alphabet and
            writes those of the answer; or the words of a lexicon; None allows every string.
        front_end: from images to recognition graphs; by default `SlidingFrontEnd()`.
        network: what scores the labels; by default `front_end.network(alphabet)`.
        candidates: answers that are compared by their total score.
        temperature: flattens the confidences (above 1) or sharpens them; see `fitted_temperature`.
        unsure: what is read less surely is looked at again, as the front end's `looks` change it,
            and the confidences are averaged; 0 for one look only.

    `grammar` holds the language behind the front end's model of characters, which is composed with
    the recognition graphs; `expect` adds a prior of texts to it. Raises ValueError for an empty
    language or labels the alphabet lacks.
    Source: LeCun, Bottou, Bengio & Haffner 1998, sections V to X.
    """

    def __init__(
        self,
        alphabet: Alphabet | Iterable[str],
        grammar: gtnet.Graph | Iterable[str] | None = None,
        front_end: FrontEnd | None = None,
        network: nn.Module | None = None,
        *,
        candidates: int = 5,
        temperature: float = 1.0,
        unsure: float = 0.9,
    ) -> None:
        super().__init__()
        self.alphabet = alphabet if isinstance(alphabet, Alphabet) else Alphabet(alphabet)
        self.language = language_of(grammar, self.alphabet)
        self.front_end: FrontEnd = front_end or SlidingFrontEnd()
        self.expect(None)
        if self.grammar.num_states == 0:
            raise ValueError("Recognizer: the grammar allows no string of the alphabet")
        self.network = network or self.front_end.network(self.alphabet)
        self.candidates, self.temperature, self.unsure = candidates, temperature, unsure
        self._acceptors: dict[str, gtnet.Graph] = {}

    def twin(self) -> Recognizer:
        """The same recognizer with weights of its own."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.network = copy.deepcopy(self.network)
        other.front_end = copy.copy(self.front_end)
        return other

    def calibrate(self, temperature: float) -> None:
        """Set the temperature of confidences, see `fitted_temperature`."""
        self.temperature = temperature

    def expect(self, prior: Prior | None) -> None:
        """Score answers by a prior of their texts too, beside what is seen; None for no prior.

        A prior is for a trained network: give one to training, and the network makes up for it.
        """
        self.prior = prior
        language = self.language
        if prior is not None:
            if len(prior.first) != len(self.alphabet):
                raise ValueError(
                    f"expect: a prior of {len(prior.first)} characters for an alphabet of"
                    f" {len(self.alphabet)}"
                )
            language = gtnet.compose(language, prior.graph().to(language.dtype))
        self.grammar = gtnet.compose(self.front_end.characters(self.alphabet), language)

    def see_context(self, context: bool) -> None:
        """Let a network over segments see the ink around them, or not; others see it anyway."""
        if isinstance(self.front_end, SegmentsFrontEnd):
            self.front_end.context = context

    def observe(self, inputs: Sequence[Any]) -> list[Any]:
        """What the front end sees of each input, of the kind that it takes.

        Images are uint8 [height, width], dark ink on light paper; strokes of a pen float
        [points, 2] each, a list of them for an input; sound a `Recording`.
        """
        return [self.front_end.observe(one) for one in inputs]

    def recognition(self, observations: Sequence[Any], change: Any = None) -> gtnet.Emissions:
        """The batch of recognition graphs; `change` distorts what the network sees."""
        return self.front_end.recognition(self.network, observations, change)

    def interpretation(self, recognition: gtnet.Emissions) -> gtnet.Lattice:
        """The batch of interpretation graphs, not yet built: all legal ways to read each image."""
        scores = recognition.scores
        return gtnet.compose(recognition, self.grammar.to(scores.dtype).to(scores.device))

    def acceptor(self, text: str) -> gtnet.Graph:
        """The acceptor of one answer, remembered; raises ValueError outside the language."""
        if text not in self._acceptors:
            if len(self._acceptors) >= 16384:
                self._acceptors.clear()
            self._acceptors[text] = self._checked(text)
        return self._acceptors[text]

    def _checked(self, text: str) -> gtnet.Graph:
        acceptor = gtnet.linear(self.alphabet.labels_of(text))
        if gtnet.compose(self.language, acceptor).num_states == 0:
            raise ValueError(f"acceptor: {text!r} is outside the grammar of this recognizer")
        return acceptor

    def loss(
        self,
        observations: Sequence[Any],
        truth: Sequence[str],
        change: Any = None,
        *,
        criterion: Callable[..., Tensor] = gtnet.losses.discriminative_forward,
    ) -> Tensor:
        """A loss of all legal interpretations and the true answers, [batch].

        By default the difference of two forward scores: that of all interpretations minus that
        of those that write the true answer, however it was drawn and cut: -log of the
        probability of the truth. +inf where the truth has no path, unless the loss is bounded.

        `criterion`: a loss of gtnet.losses, see `gtnet.losses.LOSSES`; `change` as in
        `recognition`. An item on which nothing is drawn has no path: +inf under any loss, without
        a gradient. Raises ValueError for different lengths, or a truth outside the grammar.
        """
        if len(observations) != len(truth):
            raise ValueError(f"loss: {len(observations)} observations, {len(truth)} truths")
        correct = [self.acceptor(text) for text in truth]
        drawn = [i for i, observation in enumerate(observations) if len(observation)]
        if not drawn:
            return torch.full((len(truth),), torch.inf)
        recognition = self.recognition([observations[i] for i in drawn], change)
        interpretation = self.interpretation(recognition)
        loss = criterion(interpretation, gtnet.stack([correct[i] for i in drawn]))
        if len(drawn) == len(truth):
            return loss
        return loss.new_full((len(truth),), torch.inf).index_put((torch.tensor(drawn),), loss)

    @torch.no_grad()
    def read(
        self, inputs: Sequence[Any], *, batch_size: int = 32, best: int | None = None
    ) -> list[Answer]:
        """The answers for a sequence of inputs, as `observe` takes them; see `Answer`.

        `best`: answers wanted of each, with its alternatives; fewer where there are no more.
        """
        return self.read_observations(self.observe(inputs), batch_size=batch_size, best=best)

    @torch.no_grad()
    def read_observations(
        self, observations: Sequence[Any], *, batch_size: int = 32, best: int | None = None
    ) -> list[Answer]:
        """`read` for what is observed already. The network is used in evaluation mode.

        An observation may have an attribute `clear`, the share of what is there that an answer can
        explain: confidences are lowered by it, and by what the best answer skips (`explained`).
        """
        answers = [Answer(None, reason="no reading: nothing drawn") for _ in observations]
        # Batches of like lengths leave little room empty.
        drawn = [i for i, observation in enumerate(observations) if len(observation)]
        drawn.sort(key=lambda i: len(observations[i]))
        was_training = self.training
        self.eval()
        clear: list[float] = []
        for i, answer in zip(drawn, self._seen(observations, drawn, None, batch_size, clear=clear)):
            answers[i] = answer
        unsure = [i for i in drawn if answers[i].confidence < self.unsure]
        looks = [
            self._seen(observations, unsure, look, batch_size) for look in self.front_end.looks
        ]
        for i, again in zip(unsure, zip(*looks)):
            answers[i] = averaged([answers[i], *again], self.candidates)
        short = [i for i in drawn if 1 + len(answers[i].alternatives) < (best or 0)]
        for i, more in zip(short, self._seen(observations, short, None, batch_size, best)):
            answers[i] = answers[i].extended(more, best or 0)
        self.train(was_training)
        for i, share in zip(drawn, clear):
            answers[i] = answers[i].lowered(share * getattr(observations[i], "clear", 1.0))
        return answers

    def _seen(
        self,
        observations: Sequence[Any],
        chosen: list[int],
        look: Any,
        batch_size: int,
        best: int | None = None,
        *,
        clear: list[float] | None = None,
    ) -> list[Answer]:
        """The answers to some observations, each looked at once; in `clear` what they explain."""
        answers: list[Answer] = []
        for first in range(0, len(chosen), batch_size):
            batch = [observations[i] for i in chosen[first : first + batch_size]]
            recognition = self.recognition(batch, look)
            interpretation = self.interpretation(recognition)
            answers += self.answers(interpretation, best)
            if clear is not None:
                clear += explained(recognition, interpretation, batch)
        return answers

    @torch.no_grad()
    def log_shares(
        self,
        observations: Sequence[Any],
        texts: Sequence[Sequence[str]],
        *,
        looks: bool = False,
    ) -> list[list[float]]:
        """The log of the share in all interpretations that given answers have, for each item.

        -inf where an answer has no path, or nothing is drawn. `looks`: where no answer has a share
        of `unsure`, take the means over further looks, as `read` does. Raises ValueError for
        characters outside the alphabet.
        """
        found = self._log_shares(observations, texts, None)
        unsure = [i for i, own in enumerate(found) if own and math.exp(max(own)) < self.unsure]
        if looks and unsure:
            seen, asked = ([given[i] for i in unsure] for given in (observations, texts))
            tables = [self._log_shares(seen, asked, look) for look in self.front_end.looks]
            for i, *own in zip(unsure, *tables):
                shares = torch.tensor([found[i], *own], dtype=torch.float64)
                found[i] = (shares.logsumexp(0) - math.log(len(shares))).tolist()
        return found

    def _log_shares(
        self, observations: Sequence[Any], texts: Sequence[Sequence[str]], look: Any
    ) -> list[list[float]]:
        found = [[-torch.inf] * len(rows) for rows in texts]
        drawn = [i for i, observation in enumerate(observations) if len(observation)]
        if drawn:
            graphs = self.interpretation(self.recognition([observations[i] for i in drawn], look))
            labels = [[self.alphabet.labels_of(text) for text in texts[i]] for i in drawn]
            for i, shares in zip(drawn, log_shares(graphs, labels), strict=True):
                found[i] = shares
        return found

    def answers(
        self, interpretations: gtnet.Graph | gtnet.Lattice, best: int | None = None
    ) -> list[Answer]:
        """The answer of each interpretation graph, with its confidence and the next best ones."""
        text_of = self.alphabet.text_of
        return answers_of(
            interpretations, self.candidates, text_of, self.temperature, wanted=best or 0
        )
