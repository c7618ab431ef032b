"""torch.library.opcheck for every operator the library registers, and the gradient of take."""

from __future__ import annotations

import pytest
import torch

import gtnet
from gtnet import EPSILON, Graph, _checks, _ops, linear, stack
from gtnet._ops import Walk, packed
from gtnet._searched_product import Product
from gtnet.distance import best_to_accept


def registered() -> set[str]:
    """The names of all operators in torch.ops.gtnet."""
    names = torch._C._dispatch_get_all_op_names()
    return {name.removeprefix("gtnet::") for name in names if name.startswith("gtnet::")}


def batch(dtype: torch.dtype) -> Graph:
    """Two graphs and an empty one: states out of order, unreachable, with epsilons and scores."""
    weights = torch.tensor([0.5, -1.0, 2.0, 0.25, float("-inf")], dtype=dtype)
    first = Graph(
        [2, 2, 1, 0, 4], [1, 0, 3, 3, 3], [1, EPSILON, 3, 1, 2], [1, 2, 3, EPSILON, 0], weights,
        start=2, accept=3,
    )  # fmt: skip
    nothing = Graph([], [], [], start=[], accept=[]).to(dtype)
    return stack([first, nothing, linear([1, 1], dtype=dtype)])


def walks(graph: Graph) -> list[Walk]:
    return [
        graph.topology.walk("test", reverse=reverse, both_ways=True) for reverse in (False, True)
    ]


def planned(dtype: torch.dtype) -> tuple[Graph, list[Walk]]:
    """Twenty states side by side, a run of thirty arcs, and walks that take them together."""
    source = [0] * 20 + list(range(1, 21)) * 2 + [21] * 30
    target = list(range(1, 21)) + [21] * 40 + [22] * 30
    graph = Graph(source, target, [0] * len(source), accept=22).to(dtype)
    found = []
    for walk in walks(graph):
        if walk.plan is not None:  # layers, as for a GPU
            found.append(walk)
            continue
        plan, back = (
            _ops.slices(graph.state_offsets, walk.order, *by, reverse, False)
            for by, reverse in ((walk.forth, walk.reverse), (walk.back, not walk.reverse))
        )
        assert plan.numel() and back.numel()
        found.append(walk._replace(plan=plan, back_plan=back))
    return graph, found


def slices_cases(graph: Graph) -> list[tuple]:
    several = [(g, w) for g in (graph, planned(graph.dtype)[0]) for w in walks(g)]
    return [
        (g.state_offsets, w.order, *w.forth, w.reverse, only)
        for g, w in several
        for only in (False, True)
    ]


def distance_cases(graph: Graph, ways: list[Walk]) -> list[tuple]:
    scores = (graph.weights, graph.start, graph.accept)
    return [(*scores, *walk.arguments()) for walk in ways]


def backward_cases(graph: Graph, ways: list[Walk]) -> list[tuple]:
    scores = (graph.weights, graph.start, graph.accept)
    cases = []
    for walk in ways:
        alpha, score = torch.ops.gtnet.log_distance(*scores, *walk.arguments())
        for grad_alpha in (None, torch.ones_like(alpha)):
            grad_score = torch.ones_like(score)
            back = walk.reversed().arguments()
            cases.append((grad_score, grad_alpha, alpha, score, *scores, *back))
    return cases


def recursion_cases(graph: Graph, walk: Walk) -> tuple:
    p = torch.rand(graph.num_arcs, dtype=torch.float64) / 9
    return (p, torch.randn(graph.num_states, dtype=torch.float64), *walk.arguments())


def cyclic_cases(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """Two graphs with cycles, one of them with a loop, then acyclic ones and an empty one."""
    two = Graph([0, 1, 1, 2], [1, 0, 2, 1], [0, 0, 1, 1], accept=2).to(dtype)
    loop = Graph([0, 0], [0, 1], [0, 1], accept=1).to(dtype)
    graph = stack([two, loop, batch(dtype)])
    graph = graph.with_weights(graph.weights - 4)
    topology = graph.topology
    leaving = topology.leaving.by_state()
    scores = (graph.weights, graph.start, graph.accept)
    sums, best = (
        [
            topology.cyclic_walk("test", reverse=reverse, both_ways=True, sums=sums)
            for reverse in (False, True)
        ]
        for sums in (True, False)
    )
    return {
        "components": [(graph.state_offsets, leaving[0], leaving[2])],
        "elimination": [(graph.state_offsets, *topology.components, *leaving)],
        "closed_log_distance": [(*scores, *walk.arguments()) for walk in sums],
        "closed_recursion": [recursion_cases(graph, walk) for walk in sums],
        "closed_best_distance": [(*scores[:2], *walk.arguments()) for walk in best],
    }


def best(graph: Graph) -> tuple[torch.Tensor, ...]:
    walk = walks(graph)[0]
    alpha, came_by = _ops.best_distance(graph.weights, graph.start, walk)
    entering = graph.topology.entering[:3]
    ends = _ops.best_end(alpha, came_by, graph.accept, graph.state_offsets, *entering, True)
    return alpha, came_by, *ends


def trace_case(graph: Graph) -> tuple:
    _, came_by, _, last, lengths = best(graph)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return came_by, last, offsets, *graph.topology.entering[:3], int(offsets[-1])


def k_best_cases(graph: Graph) -> list[tuple]:
    walk = walks(graph)[1]
    best = _ops.best_distance(graph.weights, graph.accept, walk)
    scores = (graph.weights, graph.start, graph.accept)
    leaving = graph.topology.leaving[:3]
    return [
        (*best, *scores, labels, graph.state_offsets, *leaving, 3, most)
        for labels, most in ((None, 1000), (graph.ilabels, 1000), (graph.ilabels, 1))
    ]


def acyclic_k_best_cases(graph: Graph) -> list[tuple]:
    walk = walks(graph)[0]
    scores = (graph.weights, graph.start, graph.accept)
    return [(*scores, *walk.arguments(), k, 10_000) for k in (0, 3)]


def best_answers_cases(graph: Graph) -> list[tuple]:
    """With the bound that the operator finds itself, with one given, and with too few prefixes."""
    scores = (graph.weights, graph.start, graph.accept)
    topology = graph.topology
    order = topology.order_and_cycles[0]
    leaving = (graph.state_offsets, *topology.leaving_by(topology.olabels))
    rest, _ = _ops.log_distance(*scores[:1], graph.accept, graph.start, walks(graph)[1])
    return [(*scores, order, bound, *leaving, 2, most) for bound, most in ((None, 9), (rest, 0))]


def compose_cases(graph: Graph) -> list[tuple]:
    ends = (graph.start > float("-inf"), graph.accept > float("-inf"))
    topology = graph.topology
    a = (graph.state_offsets, *topology.leaving_by_olabel, *ends, graph.ilabels)
    b = (graph.state_offsets, *topology.leaving_by_ilabel, *ends, graph.olabels)
    c = (graph.state_offsets, *topology.leaving_by_ilabel, *ends, graph.ilabels)
    size = len(graph)
    starts = (graph.start, graph.accept)
    d = (graph.state_offsets, *topology.leaving_by_olabel, *starts, graph.ilabels)
    e = (graph.state_offsets, *topology.leaving_by_ilabel, *starts, graph.olabels)
    return [
        (*a, *b, None, None, False, size, 100),
        (*c, *c, None, None, True, size, 100),
        (*d, *e, graph.weights, graph.weights, False, size, 100),
    ]


def best_first_cases(graph: Graph) -> list[tuple]:
    topology = graph.topology
    ahead, _ = best_to_accept("best_first", graph)
    scores = [*(s.double() for s in graph.scores), ahead]
    a = (graph.state_offsets, *topology.leaving_by_olabel, scores, graph.ilabels)
    b = (graph.state_offsets, *topology.leaving_by_ilabel, scores, graph.olabels)
    c = (graph.state_offsets, *topology.leaving_by_ilabel, scores, graph.ilabels)
    size = len(graph)
    return [(*a, *b, False, size, 1, 0.5, 100), (*c, *c, True, size, 3, 0.0, 100)]


def explore_cases(graph: Graph) -> list[tuple]:
    start, topology = graph.start > float("-inf"), graph.topology
    a = (graph.state_offsets, *topology.leaving_by_olabel, start)
    b = (graph.state_offsets, *topology.leaving_by_ilabel, start)
    size = len(graph)
    return [(*a, *b, size, 100), (*b, *b, size, 100)]


def lattice_cases(graph: Graph) -> dict[str, list[tuple]]:
    """Chains and segmentations: three items, one graph each or one for all."""
    segments = batch(graph.dtype)
    topology = segments.topology
    cuts = [topology.state_offsets, topology.arc_offsets, topology.order_and_cycles[0]]
    cuts += [topology.source, topology.target, segments.start, segments.accept]
    frames = torch.randn(3, 4, 4, dtype=graph.dtype), [torch.tensor([4, 0, 2])]
    rows = torch.randn(segments.num_arcs, 4, dtype=graph.dtype), cuts
    forth, back, plain, paths = [], [], [], []
    for scores, ends in (frames, rows):
        for operand in (graph, graph[:1]):
            arguments = (
                scores,
                ends,
                *operand.topology.steps,
                *(t.contiguous() for t in (operand.weights, operand.start, operand.accept)),
            )
            plain.append(arguments)
            counts, _, *found = torch.ops.gtnet.lattice_best(*arguments)
            offsets, arcs, rows, first, _, last, _ = found
            found = (counts, offsets, arcs, rows, first, last, scores)
            labels = (operand.ilabels, operand.olabels)
            paths += [
                (*found, begin, *arguments[-3:], labels[0], written, learning)
                for begin, written, learning in (
                    (torch.tensor([0, 4, 4]), None, False),
                    (None, labels[1], True),
                )
            ]
            forth += [(*arguments, keep) for keep in (False, True)]
            score, *alpha, _ = torch.ops.gtnet.lattice_score(*arguments, True)
            back += [(torch.ones_like(score), *alpha, *arguments, arcs) for arcs in (False, True)]
    totals = [arguments[:-1] for arguments in forth[::2]]
    return {
        "lattice_score": forth,
        "lattice_total": totals,
        "lattice_total_backward": [
            (torch.ones_like(torch.ops.gtnet.lattice_total(*total)), *total, counting)
            for total in totals
            for counting in (False, True)
        ],
        "lattice_score_backward": back,
        "lattice_posteriors": forth,
        "lattice_best": plain,
        "lattice_path_graphs": paths,
        "lattice_k_best": [(*arguments, 3, 10_000) for arguments in plain],
        "lattice_prune": [(*arguments, 1.5) for arguments in plain],
        "lattice_sample": [
            (*arguments, torch.arange(6), 2, 10_000)
            for arguments in plain
            if graph.dtype == torch.float64
        ],
    }


def beam_cases(graph: Graph) -> dict[str, list[tuple]]:
    """Two items, one chunk after another, and the lattice of both chunks."""
    graph = graph[:1]
    by_label = graph.topology.leaving_by_ilabel
    scores, lengths = torch.randn(2, 3, 4, dtype=graph.dtype), torch.tensor([3, 1])
    order = torch.arange(graph.num_states).int()
    layout = (by_label.offsets, by_label.arcs, by_label.states, by_label.labels)
    arguments = (scores, lengths, graph.state_offsets, *layout)
    arguments = (*arguments, graph.weights[by_label.arcs], graph.start, order)
    first = (*arguments, None, None, None, 3.0, 2, 3.0, False)
    found = torch.ops.gtnet.beam_search(*first)
    tokens = torch.tensor([0, 1]).int(), torch.zeros(2, dtype=torch.float64), torch.arange(3)
    second = (*arguments, *tokens, 3.0, 2, 3.0, True)
    cuts, arc_cuts, states, _, start_slack, *arcs = found
    kept = ([part] for part in (lengths, cuts, arc_cuts, states, *arcs))
    ends = torch.zeros_like(found[3])
    return {"beam_search": [first, second], "beam_lattice": [(*kept, start_slack, ends, 3.0)]}


def product_cases(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """Two graphs composed while searching, with look-ahead, one chunk after another."""
    tokens = Graph([0, 1, 1], [1, 1, 2], [0, 1, 2], [gtnet.EPSILON, 1, 0], accept=2).to(dtype)
    words = Graph([0, 1, 0], [1, 0, 1], [0, gtnet.EPSILON, 1], accept=[0, 1]).to(dtype)
    product = Product("beam_search", [tokens, words], look_ahead=True)
    scores, lengths = torch.randn(2, 3, 4, dtype=dtype), torch.tensor([3, 1])
    first = (scores, lengths, *product._arguments, None, None, None, 3.0, 2, 3.0, False)
    begun = (
        torch.zeros(6).int(), torch.zeros(2, dtype=torch.float64), torch.arange(3)
    )  # fmt: skip
    second = (scores, lengths, *product._arguments, *begun, 3.0, 2, 3.0, True)
    ends = (_checks.possible(tokens.start), _checks.possible(tokens.accept))
    reach = (*tokens.topology.leaving.by_state(), tokens.olabels, *ends, 2)
    return {"beam_search_product": [first, second], "label_reach": [reach]}


def sample_cases(graph: Graph) -> list[tuple]:
    walk = walks(graph)[1]
    scores = (graph.weights, graph.start, graph.accept)
    _, score = torch.ops.gtnet.log_distance(*scores, *walks(graph)[0].arguments())
    to_accept, _ = torch.ops.gtnet.log_distance(
        graph.weights, graph.accept, graph.start, *walk.arguments()
    )
    seeds = torch.arange(2 * len(score))
    leaving = graph.topology.leaving[:3]
    rest = (graph.state_offsets, *leaving, seeds, 2)
    return [(to_accept, *scores, *rest, most, 10_000) for most in (1, 10)]


def rational_cases(graph: Graph) -> dict[str, list[tuple]]:
    """Every kind, of one operand and of two, acceptors and transducers."""
    other = gtnet.invert(graph)
    sections, results = [], []
    for operands, kind in ((2, 0), (2, 1), (1, 2), (1, 3), (1, 4)):
        pool = stack([graph, other]) if operands == 2 else graph
        ends = [s > float("-inf") for s in (pool.accept, pool.start)]
        offsets = (pool.state_offsets, pool.arc_offsets)
        graph_of = torch.arange(operands * len(graph)).view(operands, -1).T.flatten()
        marks = (end.cumsum(0) for end in ends)
        sections.append((graph_of, *offsets, *marks, operands, kind))
        begins = torch.ops.gtnet.rational_sections(*sections[-1])
        sizes = (pool.num_states, *(int(begin[-1]) for begin in begins))
        arrays = (pool.source, pool.target, pool.ilabels)
        for olabels in (pool.olabels, None):
            results.append((*sections[-1], *begins, *arrays, olabels, *sizes))
    names = ("state_offsets", "arc_offsets", "source", "target", "ilabels", "olabels")
    names = (*names, "weights", "start", "accept")
    arranged = []
    for parts, kind in (((graph, other), 0), ((graph, other[:1]), 1), ((graph,), 3), ((other,), 4)):
        columns = [getattr(part, name) for part in parts for name in names]
        for acceptors in (False, True):
            for learning in (False, True):
                arranged.append((columns, len(graph), kind, acceptors, learning))
    return {"rational_sections": sections, "rational": results, "arrange": arranged}


def gathered_cases(graph: Graph) -> list[tuple]:
    """Of one operand, of two, and with states in which no path starts."""
    arcs, states = (torch.tensor([1, -1, 0]).int(), torch.tensor([0, 1]).int())
    filters = torch.tensor([0, 2]).to(torch.int8)
    scores = [graph.weights, graph.start, graph.accept]
    two = ([*scores, *scores], [arcs, states, arcs.flip(0), states.flip(0)])
    return [(scores, [arcs, states], None), (*two, None), (*two, filters)]


def language_cases(graph: Graph) -> dict[str, list[tuple]]:
    topology = graph.topology
    ends = (graph.start > float("-inf"), graph.accept > float("-inf"))
    leaving, by_label = topology.leaving[:3], topology.leaving_by_ilabel
    a = (graph.state_offsets, *leaving, graph.olabels[leaving[1]], ends[0])
    b = (graph.state_offsets, *by_label, *ends, graph.weights[by_label.arcs] > float("-inf"))
    scores = [t.double() for t in (graph.weights, graph.start, graph.accept)]
    scored = (graph.state_offsets, *by_label, *scores)
    return {
        "difference": [(*a, *b, len(graph), *most) for most in ((1, 100), (100, 1), (100, 100))],
        "equivalent": [(*scored, *scored, len(graph), 1e-4)],
    }


def simplify_cases(graph: Graph) -> dict[str, list[tuple]]:
    """The operators whose scores are float64: log and tropical."""
    ops, topology = torch.ops.gtnet, graph.topology
    scores = (graph.weights, graph.start, graph.accept)
    records, records_back = [], []
    for tropical in (False, True):
        arcs, states = torch.arange(graph.num_arcs + 1), torch.zeros(graph.num_states + 1).long()
        written = (arcs if tropical else None, graph.olabels, states, graph.olabels[:0])
        record = (*scores, graph.state_offsets, *topology.leaving_by(graph.ilabels), *written)
        records.append((*record, tropical, False, 1e-6, 100))
        made = ops.determinize(*records[-1])
        grads = tuple(torch.ones_like(t) for t in made[1:4])
        kept = (*made[2:5], made[6], made[7], *made[9:16])
        records_back.append((*grads, graph.weights, graph.accept, *kept, tropical))
    wanted = graph.start > float("-inf")
    rows = [torch.stack([t, t]) for t in (graph.weights, graph.accept)]
    offsets, source = (graph.state_offsets, graph.arc_offsets), graph.source
    incidences = (*topology.leaving[:3], *topology.entering[:3])
    ends = graph.accept > float("-inf")
    return {
        "push_labels": [
            (graph.state_offsets, *incidences, graph.olabels, wanted, ends, most)
            for most in (0, 100)
        ],
        "epsilon_pairs": [
            (graph.state_offsets, *topology.leaving[:3], wanted, most) for most in (1, 100)
        ],
        "determinize": records,
        "determinize_backward": records_back,
        "minimize": [(*offsets, source, graph.ilabels, *topology.entering[:3], *rows, 1e-6)],
    }


def ctc_cases(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """Targets padded and one after another."""
    scores, frames = torch.randn(3, 4, 3, dtype=dtype), torch.tensor([3, 2, 0])
    lengths = torch.tensor([2, 1, 0])
    targets = (torch.tensor([1, 1, 2]), torch.tensor([[1, 1], [2, 9], [9, 9]]))
    forth = [(scores, frames, t, lengths, 0, keep) for t in targets for keep in (False, True)]
    loss, shares, *columns = torch.ops.gtnet.ctc_loss(*forth[-1])
    back = [(torch.ones_like(loss), shares, scores, frames, *columns)]
    align = [given[:-1] for given in forth]
    return {
        "ctc_loss": forth, "ctc_loss_backward": back, "ctc_total": forth, "ctc_align": align
    }  # fmt: skip


def transducer_cases(dtype: torch.dtype) -> dict[str, list[tuple]]:
    """A grid of all places, which no label, or nothing, may follow; logits and normalized."""
    outputs, frames = torch.randn(2, 3, 2, 4, dtype=dtype), torch.tensor([3, 1])
    labels = torch.tensor([[[2, -1]], [[-1, -2]]], dtype=torch.int32)
    steps = [(outputs, labels, frames, 0, normalize) for normalize in (False, True)]
    made = [torch.ops.gtnet.transducer_steps(*given) for given in steps]
    back = [
        (blank, label, outputs, norms, labels, frames, 0, given[-1])
        for given, (blank, label, norms) in zip(steps, made, strict=True)
    ]
    grid = [part.view(2, 3, 2) for part in made[1][:2]]
    lengths = torch.tensor([1, 0])
    return {
        "transducer_steps": steps,
        "transducer_steps_backward": back,
        "transducer_score": [
            (*grid, frames, lengths, skew, keep) for skew in (0, 1) for keep in (False, True)
        ],
    }


def packed_tape(product: torch.Tensor, weights: torch.Tensor, arcs: int) -> tuple:
    """Minus the score of a product, whose first operand has no gradient and whose second has."""
    steps = [
        [packed.SIGNED, 0, 0, 1, 1, 1, -1],
        [packed.SCALED, 1, 1, 1, 2, len(weights), 1],
        [packed.MAPS, 2, 2, 2, -1, 2, 1, 3, arcs, 1],
    ]
    tensors = [torch.empty(0), torch.rand(len(weights)), product]
    return tensors, torch.ones(1), [number for step in steps for number in step], 4


def packed_cases() -> dict[str, list[tuple]]:
    transducer = batch(torch.float32)[0]
    packs = []
    for graph in (transducer, linear([1, 1], dtype=torch.float32)):
        olabels = None if graph.is_acceptor else graph.olabels
        columns = (graph.start, graph.accept, graph.source, graph.target, graph.ilabels)
        packs.append((packed.words_of(*columns, olabels), graph.weights))
    product, weights = packed.compose(*packs[1], *packs[0], False, 100)
    return {
        "packed_compose": [
            (*packs[0], *packs[1], False, 100),
            (*packs[1], *packs[1], True, 100),
        ],
        "packed_forward": [(*pack, learning) for pack in packs for learning in (False, True)],
        "packed_best": [(*pack, learning) for pack in packs for learning in (False, True)],
        "packed_best_path": packs,
        "packed_remove": [(*pack, EPSILON, 2) for pack in packs],
        "packed_project": [(words, output) for words, _ in packs for output in (False, True)],
        "packed_linear": [(weights, 2, 3)],
        "packed_join": [
            (list(words), list(scores), kind)
            for words, scores in (zip(*packs), zip(packs[1]))
            for kind in range(3)
        ],
        "packed_backward": [packed_tape(product, weights, transducer.num_arcs)],
    }


def cases() -> dict[str, list[tuple]]:
    """Arguments for every operator, in both dtypes where scores are among them."""
    found: dict[str, list[tuple]] = {}
    for dtype in (torch.float32, torch.float64):
        graph = batch(dtype)
        topology = graph.topology
        offsets = (graph.state_offsets, graph.arc_offsets)
        entering, leaving = topology.entering[:3], topology.leaving[:3]
        index = torch.tensor([2, -1, 0, 2, 2], dtype=torch.int32)
        values = graph.weights[:3].clone()
        alpha, came_by, *_ = best(graph)
        everywhere = [(graph, walks(graph)), planned(dtype)]
        here: dict[str, list[tuple]] = {
            "steps": [(*offsets, graph.source, graph.target, graph.ilabels)],
            "block_steps": [tuple(topology.steps[:2])],
            "ctc_arcs": [(torch.tensor([1, 1, 2]).int(), torch.tensor([3, 0]), 0)],
            **ctc_cases(dtype),
            **transducer_cases(dtype),
            **beam_cases(graph),
            **product_cases(dtype),
            **lattice_cases(graph),
            "incidence": [(*offsets, graph.source, graph.target, graph.num_states)],
            "sort_by_label": [(graph.state_offsets, *leaving, graph.olabels)],
            "topological_order": [(graph.state_offsets, entering[0], entering[2])],
            "depths": [(graph.state_offsets, entering[0], leaving[0], leaving[2])],
            "slices": slices_cases(graph),
            "beyond": [([graph.weights, graph.start], 9.0)],  # traced, it answers no
            "forward_score": [
                (*case, keep)
                for g, w in everywhere
                for case in distance_cases(g, w)
                for keep in (False, True)
            ],
            "log_distance": [case for g, w in everywhere for case in distance_cases(g, w)],
            "log_distance_backward": [case for g, w in everywhere for case in backward_cases(g, w)],
            "best_distance": [
                (g.weights, g.start, *walk.arguments()) for g, ways in everywhere for walk in ways
            ],
            "best_end": [
                (alpha, came_by, graph.accept, graph.state_offsets, *entering, with_lengths)
                for with_lengths in (False, True)
            ],
            "trace": [trace_case(graph)],
            "best_paths": [
                (
                    *(*graph.scores, graph.ilabels, olabels, *known),
                    *(*walks(graph)[0].arguments(), learning),
                )
                for olabels, known, learning in (
                    (None, (None, None), False),
                    (graph.olabels, (alpha, came_by), True),
                )
            ],
            "gathered": gathered_cases(graph),
            "k_best": k_best_cases(graph),
            "acyclic_k_best": [
                case for g in (graph, planned(dtype)[0]) for case in acyclic_k_best_cases(g)
            ],
            "compose": compose_cases(graph),
            "best_first": best_first_cases(graph),
            **rational_cases(graph),
            "explore": explore_cases(graph),
            "sample": sample_cases(graph),
            "enumerate_paths": [
                (
                    *(graph.weights, graph.start, graph.accept, graph.state_offsets),
                    *(*leaving, *entering, limit, most, 10_000),
                )
                for limit, most in ((10, -1), (1, 2))
            ],
            **language_cases(graph),
            "recursion": [recursion_cases(graph, walk) for walk in walks(graph)],
            "reach": [
                (graph.state_offsets, *leaving, graph.start > float("-inf"), *open_arcs)
                for open_arcs in ((), (graph.weights > float("-inf"),))
            ],
            **cyclic_cases(dtype),
            "take": [(values, index)],
            "drivers": [(values,)],
            "take_backward": [(torch.ones(5, dtype=dtype), index, None, 3)],
            **(simplify_cases(graph) if dtype == torch.float64 else {}),
            **(packed_cases() if dtype == torch.float32 else {}),
            **({"best_answers": best_answers_cases(graph)} if dtype == torch.float64 else {}),
        }
        for name, arguments in here.items():
            found.setdefault(name, []).extend(arguments)
    return found


def test_every_operator_has_a_case():
    assert registered() == set(cases())


@pytest.mark.parametrize("name", sorted(registered()))
def test_opcheck(name):
    """Tracing, which is slow, once for each kind of arguments: it sees shapes, never numbers."""
    operator = getattr(torch.ops.gtnet, name).default
    traced = set()
    for arguments in cases()[name]:
        kind = kind_of(arguments)
        checks = QUICK if kind in traced else (*QUICK, "test_aot_dispatch_dynamic")
        torch.library.opcheck(operator, arguments, test_utils=checks)
        traced.add(kind)


QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")


def kind_of(argument):
    if isinstance(argument, torch.Tensor):
        return argument.is_floating_point(), argument.dim(), argument.requires_grad
    if isinstance(argument, (list, tuple)):
        return tuple(map(kind_of, argument))
    return argument if isinstance(argument, bool) else type(argument)


def test_take_and_its_gradient():
    values = torch.randn(4, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([3, -1, 0, 3], dtype=torch.int32)
    taken = _ops.take(values, index)
    assert torch.equal(taken[[0, 2, 3]], values[[3, 0, 3]])
    assert taken[1] == 0
    assert torch.autograd.gradcheck(lambda v: _ops.take(v, index), (values,))
    assert torch.autograd.gradgradcheck(lambda v: _ops.take(v, index) ** 3, (values,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_operators_refuse_other_dtypes(dtype):
    with pytest.raises(RuntimeError, match="float32 or float64"):
        torch.ops.gtnet.take(torch.zeros(3, dtype=dtype), torch.zeros(1, dtype=torch.int32))
    with pytest.raises(RuntimeError, match="dtype"):
        torch.ops.gtnet.take(torch.zeros(3), torch.zeros(1, dtype=torch.int64))
