"""Every public function on a CUDA device, pretended or real: the CPU's results, and how often it
waits for the device; or one error that names the CPU."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import test_cuda_device
import torch
from pretended import CUDA, Pretended, Real
from pretended import cuda as cuda
from torch import Tensor

import gtnet
from gtnet import EPSILON, Emissions, Graph, linear, losses, stack

NEG_INF = float("-inf")


@pytest.fixture(autouse=True)
def _there(cuda: Pretended | Real) -> None:
    pass


def operands() -> dict[str, Any]:
    """Graphs and tensors that cases name by their arguments."""
    torch.manual_seed(0)
    diamond = Graph(
        [0, 0, 1, 2, 0, 3], [1, 2, 3, 3, 3, 4], [1, EPSILON, 2, 1, 2, EPSILON],
        [1, 2, EPSILON, 1, 2, EPSILON], torch.randn(6).double(), start=0, accept={3: 0.5, 4: 0.0},
    )  # fmt: skip
    nothing = Graph([], [], [], start=[], accept=[]).to(torch.float64)
    t = stack([diamond, nothing, linear([1, 2], dtype=torch.float64)])
    a = gtnet.project(t, "input")
    loop = Graph([0, 0, 1], [0, 1, 1], [1, 2, 1], accept=[0, 1]).to(torch.float64)
    epsilon_loop = Graph([0, 1, 1], [1, 0, 2], [EPSILON, EPSILON, 1], accept=2).to(torch.float64)
    return {
        "t": t,
        "a": a,
        "one": loop,
        "loops": epsilon_loop.with_weights(epsilon_loop.weights - 1),
        "chain": linear([[1, 2], [], [2]], dtype=torch.float64),
        "scores": torch.randn(3, 4, 3).double().log_softmax(-1),
        "targets": torch.tensor([[1, 2], [2, 2], [0, 0]]),
        "labels": torch.tensor([1, 2, 2]),
        "arcs": torch.tensor([[0, 0, 1], [1, 2, 2]]),
        "numbers": torch.randn(3, dtype=torch.float64),
        "matrix": torch.randn(3, 3, dtype=torch.float64),
    }


def over_segments(scores: Tensor, segments: Graph, graph: Graph) -> gtnet.Lattice:
    """A lattice of rows of scores along the arcs of segments."""
    return Emissions(scores.reshape(-1, 3)[: segments.num_arcs], graph=segments) @ graph


def in_order(graph: Graph) -> list[Tensor]:
    """The arcs of a graph, wherever they stand, by where they come from."""
    read, arc = graph.arc_maps
    order = (read * 1000 + arc).argsort()
    return [graph.weights[order], read[order], arc[order]]


class Case(NamedTuple):
    """`work` on operands named by its arguments, how often it waits at most, and whether it names
    the CPU instead: for every graph there ("always"), or for those that were made there ("made").
    """

    work: Callable[..., Any]
    waits: int = 0
    refuses: str = "never"
    rounded: bool = False  # sums are taken in another order


def case(work: Callable[..., Any], waits: int = 0, *, refuses: str = "never", **how: bool) -> Case:
    return Case(work, waits, refuses, **how)


CASES: dict[str, list[Case]] = {
    "Graph": [
        case(lambda arcs, labels: Graph(*arcs, labels, accept=2), 1),
        case(lambda arcs, labels, numbers: Graph(*arcs, labels, labels, numbers, accept=[1, 2]), 1),
        case(
            lambda arcs, labels, numbers: Graph(
                *arcs, labels, weights=numbers, start={0: 1.0}, accept=numbers
            ),
            1,
        ),
        case(lambda t: t.with_weights(t.weights * 2)),
        case(lambda t: [t[1], t[:2], t[[2, 0]], list(t)], 1),
        case(lambda t: (t.equal(t), t.equal(t.with_weights(t.weights + 1))), 20),
        case(lambda t: t.to(torch.float32).detach()),
        case(lambda t: repr(t), 99),
        case(lambda t: t.isomorphic(t), 999),
        case(lambda a: (a + a, a | a, ~a, a.star, a.plus, a.optional), 5),
    ],
    "stack": [case(lambda t, a, one: stack([t, a, one]))],
    "GraphBuilder": [],
    "linear": [
        case(lambda labels: linear(labels), 1),
        case(lambda targets: linear(targets), 1),
        case(lambda labels: linear([labels, labels[:1]]), 1),
    ],
    "trie": [],
    "ctc_graph": [
        case(lambda targets: gtnet.ctc_graph(targets[:2]), 3),
        case(lambda labels: gtnet.ctc_graph(labels, None), 3),
        case(lambda labels: gtnet.ctc_graph(labels, 0, optional_blank=True), 3),
    ],
    "asg_graph": [
        case(lambda labels: gtnet.asg_graph(labels), 3),
        case(lambda labels, matrix, numbers: gtnet.asg_graph(labels, matrix, numbers), 4),
    ],
    "hmm_graph": [case(lambda labels: gtnet.hmm_graph(labels, 2), 3)],
    "star_graph": [case(lambda labels: gtnet.star_graph(labels, 5), 5)],
    "bigram_graph": [case(lambda matrix, numbers: gtnet.bigram_graph(None, matrix, numbers), 1)],
    "ctc_topology": [],
    "with_star": [case(lambda scores: gtnet.with_star(scores))],
    "segment_graph": [case(lambda labels: gtnet.segment_graph(labels, 2), 3)],
    "segment_emissions": [
        case(lambda scores: gtnet.segment_emissions(scores.unsqueeze(0)).graph(), 5)
    ],
    "trellis_graph": [
        case(lambda scores: gtnet.trellis_graph(scores[:, :2, None, :2].expand(-1, 2, 2, 2)), 3)
    ],
    "alignment_graph": [
        case(lambda scores: gtnet.alignment_graph(scores[:, :2, None, :3].expand(-1, 2, 2, 3)), 5)
    ],
    "transducer_graph": [
        case(
            lambda scores, targets: gtnet.transducer_graph(
                scores[:, None, :3].expand(3, 2, 3, 3), targets, None, [2, 2, 0]
            ),
            4,
        ),
    ],
    "union": [case(lambda t, a, one: gtnet.union(t, a, one), 1)],
    "concat": [case(lambda t, a, one: gtnet.concat(t, a, one), 1)],
    "closure": [
        case(
            lambda t: [gtnet.closure(t, k) for k in ("star", "plus", "optional")],
            3,
        )
    ],
    "reverse": [case(lambda t: gtnet.reverse(t))],
    "scale": [case(lambda t: gtnet.scale(t, 0.5))],
    "invert": [case(lambda t: gtnet.invert(t))],
    "project": [case(lambda t: (gtnet.project(t, "input"), gtnet.project(t, "output")))],
    "relabel": [
        case(lambda t: gtnet.relabel(t, {1: 5, EPSILON: 0}), 6),
        case(lambda t, labels: gtnet.relabel(t, labels, labels), 6),
    ],
    "replace": [
        case(lambda one, a: gtnet.replace(gtnet.relabel(a, {2: 7}), {7: one}), 24),
        case(lambda chain: gtnet.replace(chain, {}), 12),
    ],
    "connect": [case(lambda t: gtnet.connect(t), 4)],
    "compose": [case(lambda t, one: gtnet.compose(t, one), 4)],
    "intersect": [case(lambda a, one: gtnet.intersect(a, one), 4)],
    "difference": [case(lambda a, chain: gtnet.difference(a, chain), 4, refuses="always")],
    "arc_sort": [case(lambda t: (gtnet.arc_sort(t), gtnet.arc_sort(t, "olabels")))],
    "top_sort": [
        case(lambda t: gtnet.top_sort(t), 1),
        case(lambda t: gtnet.top_sort(gtnet.reverse(t)), 2),
    ],
    "prune": [
        case(lambda t: gtnet.prune(t, beam=0.5), 8, rounded=True),
        case(lambda t: gtnet.prune(t, posterior=0.2), 8, rounded=True),
    ],
    "push": [
        case(
            lambda t: (gtnet.push(t), gtnet.push(t, to="accept", semiring="tropical")),
            2,
            rounded=True,
        ),
        case(lambda t: gtnet.push(t, what="labels"), 9, refuses="always"),
    ],
    "remove_epsilon": [
        case(lambda t: gtnet.remove_epsilon(t), 30, rounded=True),
        case(lambda t: gtnet.remove_epsilon(t, semiring="tropical"), 30, rounded=True),
        case(lambda loops: gtnet.remove_epsilon(loops), 12, refuses="always"),
    ],
    "determinize": [case(lambda a: gtnet.determinize(a), refuses="always")],
    "merge_arcs": [
        case(lambda t: [gtnet.merge_arcs(t, how) for how in ("sum", "max", "unique")], 40)
    ],
    "condense": [case(lambda t: gtnet.condense(t), refuses="always")],
    "disambiguate": [case(lambda a: gtnet.disambiguate(a), refuses="always")],
    "normalize_epsilon": [case(lambda t: gtnet.normalize_epsilon(t), refuses="always")],
    "encode": [case(lambda t: gtnet.encode(t), refuses="always")],
    "properties": [case(lambda t: gtnet.properties(t), refuses="always")],
    "slack": [
        case(lambda t: (gtnet.slack(t), gtnet.slack(t, of="states")), 6, rounded=True),
    ],
    "carry": [case(lambda t, one: gtnet.carry(gtnet.compose(t, one), t.weights), 9)],
    "minimize": [case(lambda chain: gtnet.minimize(chain), refuses="always")],
    "optimize": [case(lambda t: gtnet.optimize(t), refuses="always")],
    "forward_score": [case(lambda t: gtnet.forward_score(t), 1, rounded=True)],
    "viterbi_score": [case(lambda t: gtnet.viterbi_score(t), 3, rounded=True)],
    "shortest_distance": [
        case(lambda t: gtnet.shortest_distance(t), 1, rounded=True),
        case(lambda t: gtnet.shortest_distance(t, float("inf")), 2, rounded=True),
    ],
    "posteriors": [case(lambda t: gtnet.posteriors(t), 1, rounded=True)],
    "free_energy": [case(lambda t: gtnet.free_energy(t), 1, rounded=True)],
    "variational_bound": [
        case(lambda chain: gtnet.variational_bound(chain, chain), 9, rounded=True)
    ],
    "entropy": [case(lambda t: gtnet.entropy(t), 4, rounded=True)],
    "expectation": [case(lambda t: gtnet.expectation(t, t.weights), 4, rounded=True)],
    "cross_entropy": [case(lambda t: gtnet.cross_entropy(t, t), 9, rounded=True)],
    "kl_divergence": [case(lambda t: gtnet.kl_divergence(t, t), 9, rounded=True)],
    "viterbi_path": [case(lambda t: gtnet.viterbi_path(t), 7)],
    "k_best": [case(lambda t: gtnet.k_best(t, 2), 20)],
    "sample": [case(lambda t: gtnet.sample(t, 2, generator=torch.Generator().manual_seed(0)), 20)],
    "sample_distinct": [
        case(
            lambda t: gtnet.sample_distinct(t, 2, generator=torch.Generator().manual_seed(0)),
            99,
            rounded=True,
        )
    ],
    "sample_stratified": [
        case(
            lambda t: gtnet.sample_stratified(t, 2, generator=torch.Generator().manual_seed(0)), 99
        )
    ],
    "perturb_and_map": [
        case(lambda t: gtnet.perturb_and_map(t, 2, generator=torch.Generator().manual_seed(0)), 40)
    ],
    "relaxed_sample": [
        case(
            lambda t: gtnet.relaxed_sample(t, 2, generator=torch.Generator().manual_seed(0)),
            20,
            rounded=True,
        )
    ],
    "sparse_map": [case(lambda t: gtnet.sparse_map(t), refuses="always")],
    "enumerate_paths": [case(lambda t: gtnet.enumerate_paths(t), refuses="always")],
    "best_answers": [case(lambda t: gtnet.best_answers(t, 2), refuses="always")],
    "label_sequences": [case(lambda chain: gtnet.label_sequences(chain), 4)],
    "equivalent": [case(lambda chain: gtnet.equivalent(chain, chain), refuses="always")],
    "randomly_equivalent": [
        case(lambda chain: gtnet.randomly_equivalent(chain, chain), refuses="always")
    ],
    "edit_transducer": [],
    "edit_distance": [case(lambda chain: gtnet.edit_distance(chain, chain), 30)],
    "forced_align": [
        case(
            lambda scores: operator.attrgetter("total", "labels", "scores", "tokens")(
                gtnet.forced_align(scores, [[1, 2], [1], []], [4, 3, 2])
            ),
            20,
        )
    ],
    "edit_costs": [],
    "hamming_costs": [],
    "mismatch_costs": [],
    "Emissions": [case(lambda scores: Emissions(scores).graph(), 1)],
    "Lattice": [
        case(lambda scores, a: gtnet.forward_score(Emissions(scores) @ a), 5, rounded=True),
        case(lambda scores, a, one: over_segments(scores, a, one).k_best(3), 20),
        case(lambda scores, a, one: [in_order(over_segments(scores, a, one).prune(1.0))], 20),
        case(
            lambda scores, a, one: [
                len(paths) for paths in over_segments(scores, a, one).sample(2)
            ],
            20,
        ),
        case(lambda scores, a, loops: over_segments(scores, a, loops).prune(1.0), refuses="always"),
        case(
            lambda scores, a, one: over_segments(scores, a, one).k_best(2, unique="ilabels"),
            refuses="always",
        ),
    ],
    "beam_search": [case(lambda scores, a: gtnet.beam_search(Emissions(scores), a, beam=3.0), 20)],
    "BeamSearch": [],
    "pack_repetitions": [case(lambda labels: gtnet.pack_repetitions(labels, [7]), 9)],
    "unpack_repetitions": [case(lambda labels: gtnet.unpack_repetitions(labels, [2]), 9)],
    "random_graph": [],
    "losses.ctc_loss": [
        case(
            lambda scores, targets: losses.ctc_loss(
                scores.transpose(0, 1), targets, [4, 4, 3], [2, 2, 0]
            ),
            9,
            rounded=True,
        ),
        case(
            lambda scores, targets: losses.ctc_loss(
                scores.transpose(0, 1),
                targets,
                torch.tensor([4, 4, 3], device=scores.device),
                torch.tensor([2, 2, 0], device=scores.device),
            ),
            9,
            rounded=True,
        ),
    ],
    "losses.asg_loss": [
        case(
            lambda scores, targets, matrix: losses.asg_loss(
                scores.transpose(0, 1), targets, [4, 4, 3], [2, 1, 0], matrix
            ),
            0,
            rounded=True,
        )
    ],
    "losses.transducer_loss": [
        case(
            lambda scores, targets: losses.transducer_loss(
                scores[:, None, :3].expand(3, 2, 3, 3), targets, None, [2, 2, 0]
            ),
            1,
            rounded=True,
        )
    ],
    "losses.prune_transducer": [
        case(
            lambda scores, targets: losses.prune_transducer(
                scores, scores[:, :3], targets, None, [2, 2, 0], width=2, topology="modified"
            ),
            2,
            rounded=True,
        )
    ],
    "losses.lf_mmi_loss": [
        case(
            lambda scores, chain, one: losses.lf_mmi_loss(Emissions(scores), chain, one),
            10,
            rounded=True,
        )
    ],
}

# They take no tensors or graphs, or are no functions.
WITHOUT = {"Animation", "GraphvizMissingError", "Lexicon", "NGramModel", "Picture", "SymbolTable"}
WITHOUT |= {"load", "save", "to_dot", "ForcedAlignment", "Span", "GraphView"}
WITHOUT |= {"Code", "Condensed", "DistinctPaths", "Properties", "Ragged", "SparsePaths"}  # results
WITHOUT |= {
    "FailureGraph",
    "HistoryGraph",
    "LazyComposition",
}  # no graphs, and on the CPU only, which they say


def cases() -> list[Any]:
    found = [(f"{name}-{i}", c) for name, all_ in CASES.items() for i, c in enumerate(all_)]
    return [pytest.param(c, id=name) for name, c in found]


def test_the_table_is_complete():
    public = {n for n in gtnet.__all__ if callable(getattr(gtnet, n)) and not n.startswith("draw")}
    assert public - set(CASES) <= WITHOUT, "add these to the table"


def numbers(result: Any) -> list[Any]:
    """All that a result holds, in a list."""
    if isinstance(result, Graph):
        topology = [getattr(result, name) for name in ("state_offsets", "arc_offsets", "source")]
        topology += [result.target, result.ilabels, result.olabels]
        scores = [result.weights, result.start, result.accept]
        return [*topology, *scores, *(result.arc_maps or ()), *(result.state_maps or ())]
    if isinstance(result, (list, tuple)):
        return [number for part in result for number in numbers(part)]
    return [result]


def scores_of(given: dict[str, Any]) -> list[Tensor]:
    """The scores among operands, which require grad from here on."""
    found: list[Tensor] = []
    for operand in given.values():
        own = operand if isinstance(operand, Graph) else [operand]
        tensors = [own.weights, own.start, own.accept] if isinstance(own, Graph) else own
        found += [t for t in tensors if t.is_floating_point()]
    return [t.requires_grad_() for t in found]


def outcome(work: Callable[..., Any], given: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """What a function returns, and the gradients of the sum of it."""
    scores = scores_of(given)
    found = numbers(work(**given))
    sums = [t for t in found if isinstance(t, Tensor) and t.requires_grad]
    total = sum((t.masked_fill(t.detach() == NEG_INF, 0).double().sum() for t in sums), 0.0)
    if not isinstance(total, Tensor):
        return found, []
    return found, list(torch.autograd.grad(total, scores, allow_unused=True))


def assert_same(ours: list[Any], expected: list[Any], rounded: bool) -> None:
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected):
        if isinstance(a, Tensor) and a.is_floating_point() and rounded:
            torch.testing.assert_close(a.cpu(), b, rtol=1e-12, atol=1e-12)
        elif isinstance(a, Tensor):
            assert a.dtype == b.dtype
            assert torch.equal(a.cpu(), b)
        elif isinstance(a, str):
            assert a == b.replace("cpu", "cuda:0")
        else:
            assert a == b


@pytest.mark.parametrize("made", [False, True], ids=["moved", "made"])
@pytest.mark.parametrize("case", cases())
def test_results_are_those_of_the_cpu(case: Case, made: bool, cuda: Pretended | Real):
    """`made`: graphs of which the CPU has no copy, as operations on a GPU make them."""
    given = {name: operands()[name] for name in inspect.signature(case.work).parameters}
    there = {}
    for name, operand in given.items():
        there[name] = cuda.move(operand)
        if isinstance(operand, Graph):
            there[name] = operand.to("cuda")
            if made:
                there[name].topology._origin = None
    if case.refuses == "always" or (made and case.refuses == "made"):
        with pytest.raises(ValueError, match=r"cpu"):
            case.work(**there)
        return
    expected = outcome(case.work, given)
    cuda.waits.clear()
    scores_of(there)
    case.work(**there)
    assert len(cuda.waits) <= case.waits, cuda.waits
    ours = outcome(case.work, there)
    assert all(t.device == CUDA for t in numbers(ours[0]) if isinstance(t, Tensor))
    rounded = case.rounded or isinstance(cuda, Real)  # where exp and log are others
    for mine, right in zip(ours, expected, strict=True):
        assert_same(mine, right, rounded)


# Tests that wait for a real GPU, on the pretended one: those of results.
for _name, _test in vars(test_cuda_device).items():
    if _name.startswith("test_") and not re.search("waits|captured", _name):
        globals()[f"{_name}__pretended"] = _test
