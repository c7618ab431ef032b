"""What a loss says of one image, where its gradient pushes, and steps along it."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import gtnet
from gtnet.explore.looking import Looked, see, view_of
from gtnet.explore.questions import Question
from gtnet.reader import Recognizer

USUAL = "discriminative_forward"
_LEARNERS = 8  # readers that learnt something, one for each page
_BEAM = 30.0  # what is further behind the best path has no part in any loss
_MOST_STEPS = 50


def learn(reader: Recognizer, question: Question, truth: str, names: list[str]) -> dict[str, Any]:
    """Losses of one image by their names, their parts, and the graph coloured by each gradient.

    Raises ValueError for a truth outside the language, a loss that is not there.
    """
    with torch.no_grad():
        looked = see(reader, question)
    if looked is None:
        raise ValueError("nothing is drawn: there is nothing to learn from")
    correct = _acceptor(looked.reader, truth)
    graph = _with_truth(looked, correct)
    if graph is None:
        raise ValueError(f"no path through the cuts of this image writes {truth}: its loss is +inf")
    return {
        "parts": _parts(looked.lattice, correct, looked.reader),
        "losses": [_loss(looked, graph, correct, name) for name in names],
    }


def losses() -> list[str]:
    """The names that a person chooses from, the usual one first."""
    return [USUAL, *sorted(set(gtnet.losses.LOSSES) - {USUAL})]


def _acceptor(reader: Recognizer, truth: str) -> gtnet.Graph:
    try:
        return reader.acceptor(truth)
    except ValueError as error:
        raise ValueError(str(error).partition(": ")[2] or str(error)) from None


def _with_truth(looked: Looked, correct: gtnet.Graph) -> gtnet.Graph | None:
    """The interpretation graph as far as the true answer needs; None if no path writes it."""
    own = gtnet.compose(looked.lattice.operand, correct)
    behind = gtnet.viterbi_score(looked.lattice) - gtnet.viterbi_score(
        gtnet.compose(looked.emissions, own)
    )
    if not math.isfinite(float(behind)):
        return None
    return gtnet.prune(looked.lattice, beam=max(_BEAM, float(behind) + 1.0))


def _parts(
    lattice: gtnet.Lattice, correct: gtnet.Graph, reader: Recognizer
) -> list[dict[str, str | float]]:
    """The energies that losses are made of."""
    own = gtnet.compose(lattice.emissions, gtnet.compose(lattice.operand, correct))
    worst = gtnet.losses.most_offending(lattice, correct)
    answer = worst.answers[0]
    free, mine = (-float(gtnet.forward_score(graph)) for graph in (lattice, own))
    return [
        _part("E", "energy of the true answer: its best path", -float(gtnet.viterbi_score(own))),
        _part(
            "Ē",
            "energy of the most offending answer"
            + ("" if answer is None else f", {reader.alphabet.text_of(answer)}"),
            float(worst.energy),
        ),
        _part("F true", "free energy of the true answer: all its paths", mine),
        _part("F", "free energy of all answers", free),
        _part("P", "probability of the true answer, exp(F − F true)", math.exp(free - mine)),
    ]


def _part(name: str, meaning: str, value: float) -> dict[str, str | float]:
    text = "+∞" if value == math.inf else f"{value:.3f}".replace("-", "−")
    return {"name": name, "meaning": meaning, "value": text}


def _loss(looked: Looked, graph: gtnet.Graph, correct: gtnet.Graph, name: str) -> dict[str, Any]:
    """One loss and where it pushes."""
    criterion = _criterion(name)
    weights = graph.weights.detach().requires_grad_()
    with torch.enable_grad():
        here = gtnet.Graph.from_topology(
            graph.topology, weights, graph.start.detach(), graph.accept.detach()
        )
        try:
            value = criterion(here, correct).sum()
        except TypeError as error:  # a loss that needs more than a graph and the truth
            raise ValueError(f"the loss {name} cannot be shown: {error}") from None
        gradient: Tensor = torch.zeros_like(weights)
        told = float(value.detach())
        if value.requires_grad and math.isfinite(told):
            (gradient,) = torch.autograd.grad(value, weights)
    view = view_of(looked, graph, 1.0, f"gradient of {name}", gradient=gradient)
    return {
        "name": name,
        "value": round(told, 4) if math.isfinite(told) else None,
        "about": _about(criterion),
        "view": view,
    }


def _criterion(name: str) -> Any:
    if name not in gtnet.losses.LOSSES:
        raise ValueError(f"there is no loss {name!r}")
    return gtnet.losses.LOSSES[name]


def _about(criterion: Any) -> str:
    return str(criterion.__doc__ or "").strip().partition("\n")[0]


class Learners:
    """A reader for every page that takes steps: a copy of its own, the last few are kept."""

    def __init__(self, reader: Recognizer) -> None:
        self.first = reader
        self._own: OrderedDict[str, tuple[Recognizer, torch.optim.Optimizer]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, page: str) -> Recognizer:
        """The reader that a page sees."""
        with self._lock:
            own = self._own.get(page)
            return self.first if own is None else own[0]

    def forget(self, page: str) -> None:
        """Back to the reader as it was loaded."""
        with self._lock:
            self._own.pop(page, None)

    def step(self, page: str, question: Question, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Steps of Adam on one image; returns the loss before each, and after the last.

        The statistics of batch normalization stay as they are: one image says little about them.
        Raises ValueError as `learn`, and for a number of steps or a rate that is out of bounds.
        """
        steps, rate = asked.get("steps", 1), asked.get("rate", 1e-3)
        if not isinstance(steps, int) or not 1 <= steps <= _MOST_STEPS:
            raise ValueError(f"steps is {steps!r}, expected 1 to {_MOST_STEPS}")
        if not isinstance(rate, int | float) or not 0 < rate <= 0.1:
            raise ValueError(f"rate is {rate!r}, expected more than 0 and at most 0.1")
        criterion = _criterion(str(asked.get("loss", USUAL)))
        reader, optimizer = self._learner(page)
        values = []
        for _ in range(steps + 1):
            with torch.enable_grad():
                looked = see(reader, question)
                if looked is None:
                    raise ValueError("nothing is drawn: there is nothing to learn from")
                correct = _acceptor(looked.reader, str(asked.get("truth", "")))
                value = criterion(looked.lattice, correct).sum()
                told = float(value.detach())
                if not math.isfinite(told):
                    raise ValueError("the true answer has no path: there is no gradient to follow")
                values.append(round(told, 4))
                if len(values) > steps:
                    break
                optimizer.zero_grad()
                if value.requires_grad:
                    value.backward()
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            optimizer.step()
        return {"values": values}

    def _learner(self, page: str) -> tuple[Recognizer, torch.optim.Optimizer]:
        with self._lock:
            if page not in self._own:
                twin = self.first.twin().eval()
                self._own[page] = (twin, torch.optim.Adam(twin.parameters(), lr=1e-3))
                while len(self._own) > _LEARNERS:
                    self._own.popitem(last=False)
            self._own.move_to_end(page)
            return self._own[page]
