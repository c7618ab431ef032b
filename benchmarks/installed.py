"""The same work done by peers, where they are installed: `make bench` installs those that have a
wheel for current versions of Python and torch. gtn, k2 and torch-struct have none: somebody must
have built them. torchaudio's wheel wants the libraries of CUDA.
"""

from __future__ import annotations

import importlib.util
from typing import Any

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


def optax_ctc(scores: Tensor, targets: Tensor) -> dict[str, Work]:
    """optax's CTC loss and its gradient, compiled by JAX for the CPU."""
    if importlib.util.find_spec("optax") is None or importlib.util.find_spec("jax") is None:
        return {}
    import jax
    import optax

    logits, labels = (jax.numpy.asarray(given.detach().numpy()) for given in (scores, targets))
    none = [jax.numpy.zeros(given.shape[:2]) for given in (logits, labels)]

    def total(logits: Any) -> Any:
        return optax.ctc_loss(logits, none[0], labels, none[1]).sum()

    gradient = jax.jit(jax.grad(total))
    return {"optax": lambda: gradient(logits).block_until_ready()}


def torchaudio_align(scores: Tensor, targets: Tensor) -> dict[str, Work]:
    """torchaudio's best alignment of one item."""
    if importlib.util.find_spec("torchaudio") is None:
        return {}
    from torchaudio.functional import forced_align

    labels = targets.int()
    return {"torchaudio": lambda: forced_align(scores, labels)}


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


def to_gtn(graph: gtnet.Graph, *, learning: bool = False) -> Any:
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


def pytorch_crf(
    crf: gtnet.nn.CRF, scores: Tensor, tags: Tensor, mask: Tensor
) -> tuple[dict[str, Work], dict[str, Work]]:
    """pytorch-crf's loss with its gradients, and its best tags, under the same parameters."""
    if importlib.util.find_spec("torchcrf") is None:
        return {}, {}
    import torchcrf

    theirs = torchcrf.CRF(crf.num_tags, batch_first=True)
    theirs.load_state_dict(crf.state_dict())

    def loss() -> None:
        theirs(scores, tags, mask).backward()

    return {"pytorch-crf": loss}, {"pytorch-crf": lambda: theirs.decode(scores, mask)}


def k2_pruned(
    scores: Tensor, graph: gtnet.Graph, *, beam: float, max_active: int, output_beam: float
) -> dict[str, Work]:
    """k2's pruned intersection of frames [batch, frames, labels] with a graph: a lattice."""
    if importlib.util.find_spec("k2") is None:
        return {}
    import k2

    graphs, dense = k2.create_fsa_vec([to_k2(graph)]), to_k2_dense(scores)
    return {
        "k2": lambda: k2.intersect_dense_pruned(
            graphs, dense, beam, output_beam, min_active_states=30, max_active_states=max_active
        )
    }


def k2_best_path(
    scores: Tensor, graph: gtnet.Graph, *, beam: float, max_active: int
) -> dict[str, Work]:
    """The same and the best path of the lattice, which is kept as small as it can be."""
    found = k2_pruned(scores, graph, beam=beam, max_active=max_active, output_beam=0.1)
    if not found:
        return {}
    import k2

    return {"k2": lambda: k2.shortest_path(found["k2"](), use_double_scores=False)}


def k2_exact(scores: Tensor, graph: gtnet.Graph, *, best_path: bool) -> dict[str, Work]:
    """k2's unpruned intersection, and its log-sum or its best path."""
    if importlib.util.find_spec("k2") is None:
        return {}
    import k2

    graphs, dense = k2.create_fsa_vec([to_k2(graph)]), to_k2_dense(scores)

    def run() -> None:
        lattice = k2.intersect_dense(graphs, dense, output_beam=1e9)
        if best_path:
            k2.shortest_path(lattice, use_double_scores=False)
        else:
            lattice.get_tot_scores(use_double_scores=False, log_semiring=True)

    return {"k2": run}


def k2_ctc(scores: Tensor, targets: Tensor) -> dict[str, Work]:
    """k2's CTC loss and its gradient; without a beam, for its default is not the CTC loss."""
    if importlib.util.find_spec("k2") is None:
        return {}
    import k2

    leaf = scores.clone().requires_grad_()
    segments = k2_segments(scores)

    def run() -> None:
        leaf.grad = None
        graphs = k2.ctc_graph(targets.tolist(), modified=False)
        dense = k2.DenseFsaVec(leaf, segments)
        k2.ctc_loss(graphs, dense, output_beam=1e9, reduction="sum").backward()

    return {"k2": run}


def to_k2(graph: gtnet.Graph) -> Any:
    """A graph that starts in state 0 with score 0 as one of k2's: labels + 1, a final state."""
    import k2

    columns = (graph.source, graph.target, graph.ilabels + 1, graph.weights.detach())
    rows = zip(*(column.tolist() for column in columns), strict=True)
    final = graph.num_states
    ends = (graph.accept > float("-inf")).nonzero().flatten().tolist()
    text = [(source, f"{source} {target} {label} {w}") for source, target, label, w in rows]
    text += [(state, f"{state} {final} -1 0") for state in ends]
    lines = [line for _, line in sorted(text, key=lambda pair: pair[0])]
    return k2.arc_sort(k2.Fsa.from_str("\n".join([*lines, str(final)])))


def to_k2_dense(scores: Tensor) -> Any:
    """Frames for a graph whose labels were shifted: label 0 is k2's epsilon."""
    import k2

    blank = torch.full((*scores.shape[:2], 1), -1e9)
    return k2.DenseFsaVec(torch.cat([blank, scores.detach()], -1), k2_segments(scores))


def k2_segments(scores: Tensor) -> Tensor:
    """Every item from its first frame to its last."""
    return torch.tensor([[i, 0, scores.shape[1]] for i in range(len(scores))]).int()
