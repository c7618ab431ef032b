"""The same work done by gtn and torch-struct, where they are importable; neither has a wheel."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

import gtnet
from benchmarks.timing import Work


def gtn_ctc(scores: Tensor, targets: Tensor) -> dict[str, Work]:
    """gtn's CTC loss and its gradient, item by item: its lists of graphs only add threads."""
    if importlib.util.find_spec("gtn") is None:
        return {}
    import gtn
    import gtn.criterion

    _, frames, classes = scores.shape

    def run() -> None:
        for item, target in zip(scores.detach(), targets.tolist(), strict=True):
            emissions = gtn.linear_graph(frames, classes, gtn.Device(gtn.CPU), True)
            emissions.set_weights(item.contiguous().data_ptr())
            gtn.backward(gtn.criterion.ctc_loss(emissions, target, 0))
            emissions.grad().weights_to_numpy()

    return {"gtn": run}


def gtn_product(scores: Tensor, graph: gtnet.Graph, *, learning: bool) -> dict[str, Work]:
    """gtn's forward score of frames [1, frames, labels] intersected with a graph."""
    if importlib.util.find_spec("gtn") is None:
        return {}
    import gtn

    _, frames, classes = scores.shape
    right = to_gtn(graph)
    row = scores.detach()[0].contiguous()

    def run() -> None:
        emissions = gtn.linear_graph(frames, classes, gtn.Device(gtn.CPU), learning)
        emissions.set_weights(row.data_ptr())
        score = gtn.forward_score(gtn.compose(emissions, right))
        if learning:
            gtn.backward(score)

    return {"gtn": run}


def gtn_compose(a: gtnet.Graph, b: gtnet.Graph) -> dict[str, Work]:
    """gtn's composition of the same two graphs, sorted beforehand."""
    if importlib.util.find_spec("gtn") is None:
        return {}
    import gtn

    left, right = to_gtn(a), to_gtn(b)
    left.arc_sort(True)
    right.arc_sort()
    return {"gtn": lambda: gtn.compose(left, right)}


def gtn_sums(graph: gtnet.Graph) -> dict[str, dict[str, Work]]:
    """gtn's path sums of an acyclic graph, by the names that this benchmark gives them."""
    if importlib.util.find_spec("gtn") is None:
        return {}
    import gtn

    plain, learning = to_gtn(graph), to_gtn(graph, learning=True)

    def both() -> None:
        learning.zero_grad()
        gtn.backward(gtn.forward_score(learning))

    works = {
        "forward": lambda: gtn.forward_score(plain),
        "forward + backward": both,
        "Viterbi score": lambda: gtn.viterbi_score(plain),
        "Viterbi path": lambda: gtn.viterbi_path(plain),
    }
    return {what: {"gtn": work} for what, work in works.items()}


def to_gtn(graph: gtnet.Graph, *, learning: bool = False) -> object:
    """A graph whose start and accept scores are 0 as one of gtn's."""
    import gtn

    theirs = gtn.Graph(learning)
    ends = (graph.start == 0).tolist(), (graph.accept == 0).tolist()
    for start, accept in zip(*ends, strict=True):
        theirs.add_node(start, accept)
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights.detach())
    for arc in zip(*(column.tolist() for column in columns), strict=True):
        theirs.add_arc(*arc)
    return theirs


def torch_struct_crf(scores: Tensor, weights: Tensor) -> dict[str, Work]:
    """torch-struct's partition function of a linear-chain CRF and its gradients."""
    if importlib.util.find_spec("torch_struct") is None:
        return {}
    import torch_struct

    def run() -> None:
        edges = scores[:, 1:, :, None] + weights.T
        first = torch.nn.functional.pad(scores[:, :1, None, :], (0, 0, 0, 0, 0, 198))
        torch_struct.LinearChainCRF(edges + first).partition.sum().backward()

    return {"torch-struct": run}
