"""Label pairs and scores as single labels, so that operations on plain acceptors take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtnet import _checks, _ops
from gtnet._checks import EPSILON
from gtnet._memory import choosing
from gtnet._rewrite import epsilon_arcs, label_keys, prepared
from gtnet.graph import Graph, learnt

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Code(NamedTuple):
    """What the labels of encoded graphs stand for: of label k what is read, written and scored.

    `ilabels` and `olabels` int32 [codes]; `scores` [codes], 0 where scores were not encoded.
    """

    ilabels: Tensor
    olabels: Tensor
    scores: Tensor

    @choosing
    def decode(self, graph: Graph | Lattice) -> Graph:
        """An acceptor of encoded labels as an automaton that reads, writes and scores again.

        Arguments: `graph`, made by any operations from what `encode` returned with this code.
        Result: the same states and arcs, with maps; scores of the code are added to those of arcs.
        Raises ValueError for a label that the code has not, for a transducer, and on a GPU;
        TypeError for scores of another dtype. Complexity: O(arcs). Gradient: to the scores of
        `graph` and of the code; any number of derivatives. Source: OpenFst's Decode.
        """
        graph = prepared("decode", graph, "log")
        if not graph.is_acceptor:
            raise ValueError("decode: graph must be an acceptor, got a transducer: project it")
        largest = graph.topology.largest("ilabels")
        if largest is not None and largest >= len(self.ilabels):
            raise ValueError(
                f"decode: graph has label {largest}, the code has {len(self.ilabels)}, counted "
                f"from 0"
            )
        _checks.same_dtype("decode", graph=graph.weights, code=self.scores)
        return decoded(graph, self)


@choosing
def encode(graph: Graph | Lattice, *, scores: bool = False) -> tuple[Graph, Code]:
    """An acceptor whose labels stand for (input, output) pairs, and what they stand for.

    So a transducer is determinized, minimized or subtracted as an acceptor of pairs; with `scores`,
    which makes the score of an arc a part of its label, also where cycles score strings
    differently. `Code.decode` turns the labels of any result back.

    Arguments: `scores`: all arcs of the acceptor score 0, and what they scored is in the code.
    Start and accept scores stay. Arcs that neither read nor write stay EPSILON, with `scores` if
    they score 0.
    Result: the acceptor, with maps, and the `Code`, of labels numbered over the whole batch. With
    `scores`, arcs of a graph that requires grad have each a label of their own: arcs that happen to
    score the same are not the same.
    Raises ValueError on a GPU. Complexity: O(arcs log arcs). Gradient: of the scores, or through
    those in the code; any number of derivatives.
    Source: OpenFst's Encode (Allauzen et al. 2007).
    """
    return encoded(prepared("encode", graph, "log"), scores=scores)


def encoded(graph: Graph, *, scores: bool) -> tuple[Graph, Code]:
    """`encode` of what is checked."""
    silent = epsilon_arcs(graph)
    weights = graph.weights.detach()
    if scores and learnt(graph):
        label = arcs = torch.arange(graph.num_arcs)
    else:
        key = label_keys(graph).long()
        if scores:
            distinct, of_score = weights.unique(return_inverse=True)
            key = key * max(len(distinct), 1) + of_score
        codes, label = key.unique(return_inverse=True)
        arcs = torch.full_like(codes, graph.num_arcs)
        arcs = arcs.scatter_reduce(0, label, torch.arange(graph.num_arcs), "amin")
    if scores:
        silent = silent & (weights == 0)
    label = label.to(torch.int32).masked_fill(silent, EPSILON)
    in_code, left = torch.zeros_like(weights[arcs]), graph.weights
    if scores:
        in_code, left = _ops.take(graph.weights, arcs.to(torch.int32)), torch.zeros_like(weights)
    acceptor = _in_place(graph, label, label, left)
    return acceptor, Code(graph.ilabels[arcs], graph.olabels[arcs], in_code)


def decoded(graph: Graph, code: Code) -> Graph:
    """`Code.decode` of what is checked."""
    label = graph.ilabels.long()  # EPSILON is the last one
    ilabels, olabels = (
        torch.cat([labels, labels.new_full((1,), EPSILON)])[label]
        for labels in (code.ilabels, code.olabels)
    )
    weights = graph.weights + _ops.take(code.scores, graph.ilabels)
    return _in_place(graph, ilabels, olabels, weights)


def _in_place(graph: Graph, ilabels: Tensor, olabels: Tensor, weights: Tensor) -> Graph:
    """The same states and arcs with other labels and scores."""
    arcs, states = (
        torch.arange(size, dtype=torch.int32) for size in (graph.num_arcs, graph.num_states)
    )
    topology = graph.topology.with_labels(ilabels, olabels)
    return Graph.from_topology(
        topology, weights, graph.start, graph.accept, arc_maps=(arcs,), state_maps=(states,)
    )
