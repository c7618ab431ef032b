"""The losses of sequence recognizers as modules, with the parameters they learn."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gtnet import _checks, _numbers, losses
from gtnet.emissions import Emissions
from gtnet.free_alignments import bigram_graph
from gtnet.graph import Graph, built
from gtnet.losses.batches import Lengths, Reduction
from gtnet.nn.reduced import ReducedLoss
from gtnet.transducer_grid import Alignments

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class CTCLoss(ReducedLoss):
    """`gtnet.losses.ctc_loss` as a module: torch.nn.CTCLoss with beta and further derivatives.

    `forward(log_probs, targets, input_lengths, target_lengths)`. A tensor `beta` becomes a buffer,
    an `nn.Parameter` is learnt.
    """

    def __init__(
        self,
        blank: int = 0,
        reduction: Reduction = "mean",
        zero_infinity: bool = False,
        *,
        beta: float | Tensor = 1.0,
    ) -> None:
        super().__init__(reduction, zero_infinity, beta)
        self.blank = _checks.count("CTCLoss", "blank", blank)

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:
        return losses.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            beta=self.beta,
        )


class ASGLoss(ReducedLoss):
    """`gtnet.losses.asg_loss` with its bigram scores: `transitions` [labels, labels], `start`.

    Both are parameters, initially 0. `forward(scores, targets, input_lengths, target_lengths)`;
    `graph()` is the bigram to decode with.
    """

    def __init__(
        self,
        num_labels: int,
        reduction: Reduction = "mean",
        zero_infinity: bool = False,
        *,
        beta: float | Tensor = 1.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(reduction, zero_infinity, beta)
        dtype = _numbers.float_dtype(dtype)
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels, dtype=dtype))
        self.start = nn.Parameter(torch.zeros(num_labels, dtype=dtype))

    def forward(
        self, scores: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:
        return losses.asg_loss(
            scores,
            targets,
            input_lengths,
            target_lengths,
            self.transitions,
            self.start,
            self.reduction,
            self.zero_infinity,
            beta=self.beta,
        )

    def graph(self) -> Graph:
        """The acceptor of all label sequences under the bigram scores as they are now."""
        return bigram_graph(None, self.transitions, self.start)


class LFMMILoss(ReducedLoss):
    """`gtnet.losses.lf_mmi_loss` with its denominator, whose scores are buffers or parameters.

    Arguments: `denominator` a Graph; `learn_denominator` makes its weights a parameter.
    `forward(emissions, numerator)`; `graph()` is the denominator. A state dict holds a fingerprint
    of its topology, and is loaded into one of the same arcs only (RuntimeError).
    """

    topology: Tensor

    def __init__(
        self,
        denominator: Graph | Lattice,
        reduction: Reduction = "mean",
        zero_infinity: bool = False,
        *,
        learn_denominator: bool = False,
        beta: float | Tensor = 1.0,
    ) -> None:
        super().__init__(reduction, zero_infinity, beta)
        denominator = built("LFMMILoss", "denominator", denominator).detach()
        self._denominator = denominator
        if learn_denominator:
            self.weights = nn.Parameter(denominator.weights.clone())
        else:
            self.register_buffer("weights", denominator.weights)
        self.register_buffer("start", denominator.start)
        self.register_buffer("accept", denominator.accept)
        self.register_buffer("topology", _fingerprint(denominator))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, *rest: Any
    ) -> None:
        """Scores of another topology mean other arcs: nothing of them is taken."""
        given, own = state_dict.get(prefix + "topology"), self.topology
        if given is not None and not torch.equal(given.cpu(), own.cpu()):
            *_, errors = rest
            sizes = "{} graphs, {} states and {} arcs"
            theirs, ours = (sizes.format(*t.tolist()[:3]) for t in (given, own))
            errors.append(
                f"LFMMILoss: the state is that of a denominator of {theirs}, this one has {ours}"
                + ("" if theirs != ours else ", but other arcs")
                + ": build it from the graph that was trained"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)

    def forward(self, emissions: Emissions, numerator: Graph | Lattice) -> Tensor:
        return losses.lf_mmi_loss(
            emissions, numerator, self.graph(), self.reduction, self.zero_infinity, beta=self.beta
        )

    def graph(self) -> Graph:
        """The denominator with its scores as they are now."""
        return self._denominator.with_weights(self.weights, start=self.start, accept=self.accept)


def _fingerprint(graph: Graph) -> Tensor:
    """Graphs, states and arcs of a batch, and a digest of its topology, int64 [7]."""
    topology = graph.topology
    digest = hashlib.sha256()
    for name in ("state_offsets", "arc_offsets", "source", "target", "ilabels", "olabels"):
        digest.update(getattr(topology, name).cpu().numpy().astype("<i8").tobytes())
    words = [int.from_bytes(digest.digest()[i : i + 8], "big", signed=True) for i in (0, 8, 16, 24)]
    return torch.tensor([len(graph), graph.num_states, graph.num_arcs, *words], device=graph.device)


class TransducerLoss(ReducedLoss):
    """`gtnet.losses.transducer_loss` as a module.

    `forward(log_probs, targets, input_lengths, target_lengths, ranges)`.
    """

    def __init__(
        self,
        blank: int = 0,
        reduction: Reduction = "mean",
        zero_infinity: bool = False,
        *,
        beta: float | Tensor = 1.0,
        from_logits: bool = False,
        topology: Alignments = "regular",
        delay_penalty: float = 0.0,
        fastemit_lambda: float = 0.0,
    ) -> None:
        super().__init__(reduction, zero_infinity, beta)
        self.blank = _checks.count("TransducerLoss", "blank", blank)
        self.from_logits = from_logits
        self.topology: Alignments = topology
        self.delay_penalty, self.fastemit_lambda = delay_penalty, fastemit_lambda

    def forward(
        self,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Lengths | None = None,
        target_lengths: Lengths | None = None,
        ranges: Tensor | None = None,
    ) -> Tensor:
        return losses.transducer_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            beta=self.beta,
            from_logits=self.from_logits,
            ranges=ranges,
            topology=self.topology,
            delay_penalty=self.delay_penalty,
            fastemit_lambda=self.fastemit_lambda,
        )
