"""Programs written for gtn: they run, and say what gtn says or what is right."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch

import gtnet
import gtnet.compat.gtn as gtn
from gtnet.compat.gtn import general


def graph(nodes, *arcs, calc_grad=True):
    """A graph from "s" (start), "a" (accept), "sa" or "" for each node, and arcs."""
    g = gtn.Graph(calc_grad)
    for node in nodes:
        g.add_node("s" in node, "a" in node)
    for arc in arcs:
        g.add_arc(*arc)
    return g


def chain(labels, calc_grad=False):
    ends = ["s", *[""] * (len(labels) - 1), "a"]
    return graph(ends, *((i, i + 1, label) for i, label in enumerate(labels)), calc_grad=calc_grad)


def emissions(scores, calc_grad=True):
    g = gtn.linear_graph(*scores.shape, calc_grad)
    g.set_weights(np.asarray(scores))
    return g


def lattice():
    return graph(
        ["s", "s", "", "a", "a"],
        (0, 1, 0, 0, 2),
        (0, 2, 1, 1, 1),
        (1, 2, 0, 0, 2),
        (2, 3, 0, 0, 1),
        (2, 3, 1, 1, 1),
        (1, 4, 0, 0, 2),
        (2, 4, 1, 1, 3),
        (3, 4, 0, 0, 2),
    )


def numerical_gradient(function, g, step=0.125):
    """From differences of fourth order: gtn's numbers are float32, so steps must not be small."""
    weights = g.weights_to_numpy().astype(np.float64)

    def at(arc, distance):
        moved = weights.copy()
        moved[arc] += distance
        g.set_weights(moved)
        return function(g).item()

    def difference(arc, distance):
        return (at(arc, distance) - at(arc, -distance)) / (2 * distance)

    found = [
        (4 * difference(arc, step) - difference(arc, 2 * step)) / 3 for arc in range(len(weights))
    ]
    g.set_weights(weights)
    return found


def check_gradient(function, *inputs):
    gtn.backward(function(*inputs))
    for i, g in enumerate(inputs):
        others = list(inputs)

        def of_one(changed, i=i, others=others):
            others[i] = changed
            return function(*others)

        assert g.grad().weights_to_list() == pytest.approx(numerical_gradient(of_one, g), abs=5e-5)


# Graphs


def test_every_name_of_gtn_is_there():
    names = """CPU CUDA Device DeviceType Graph add backward clone closure compose concat criterion
    cuda draw epsilon equal forward_score intersect isomorphic linear_graph load loadtxt negate
    parallel_for project_input project_output rand_equivalent remove sample save savetxt
    scalar_graph subtract union viterbi_path viterbi_score write_dot __version__"""
    assert not [name for name in names.split() if not hasattr(gtn, name)]
    assert gtn.epsilon == -1


def test_a_graph_counts_and_lists_what_was_added():
    g = gtn.Graph(False)
    assert [g.add_node(True), g.add_node(), g.add_node(accept=True)] == [0, 1, 2]
    assert g.add_arc(0, 1, 0) == 0
    assert g.add_arc(src_node=1, dst_node=2, label=3) == 1
    assert g.add_arc(1, 1, ilabel=1, olabel=2, weight=2.5) == 2
    assert g.add_arc(torch.tensor(0), np.int64(2), torch.tensor(4)) == 3
    assert (g.num_nodes(), g.num_arcs(), g.num_start(), g.num_accept()) == (3, 4, 1, 1)
    assert g.labels_to_list() == [0, 3, 1, 4]
    assert g.labels_to_list(False) == g.labels_to_numpy(ilabel=False).tolist() == [0, 3, 2, 4]
    assert g.weights_to_list() == [0, 0, 2.5, 0]
    assert not g.calc_grad and gtn.Graph().calc_grad
    g.arc_sort(True)
    g.mark_arc_sorted(olabel=True)
    assert g.labels_to_list() == [0, 3, 1, 4]


def test_a_graph_grows_after_it_was_used():
    g = chain([0])
    assert gtn.forward_score(g).item() == 0
    g.add_arc(0, 1, 5, 6, -1.5)
    assert g.add_node(True, True) == 2
    assert (g.num_nodes(), g.num_start(), g.labels_to_list(False)) == (3, 2, [0, 6])
    assert gtn.forward_score(g).item() == pytest.approx(math.log(2 + math.exp(-1.5)))


@pytest.mark.parametrize(
    ("arguments", "named", "error"),
    [
        ((0, 2, 0), {}, ValueError),  # no node 2
        ((-1, 1, 0), {}, ValueError),
        ((0, 1, -2), {}, ValueError),
        ((0, 1, 2**31), {}, ValueError),
        ((0, 1, 0, 2.0), {}, TypeError),
        ((0, 1, 0.5), {}, TypeError),
        ((0, 1), {}, TypeError),
        ((0, 1, 0), {"weight": 1.0}, TypeError),
        ((0, 1, 0), {"label": 1}, TypeError),
    ],
)
def test_arcs_that_cannot_be(arguments, named, error):
    with pytest.raises(error, match=r"add_arc|integer|index"):
        graph(["s", "a"]).add_arc(*arguments, **named)


def test_weights_come_in_every_form():
    g = gtn.linear_graph(2, 3)
    address = g.weights()
    wanted = [1.5, -2.0, 0.25, -math.inf, 4.0, 5.0]
    block = np.array(wanted * 2).reshape(2, 6).T.copy()
    forms = [
        wanted,
        tuple(wanted),
        np.array(wanted),
        np.array(wanted, np.float32).reshape(2, 3),
        block[:, 0],  # strided
        torch.tensor(wanted, dtype=torch.float64).reshape(2, 3).requires_grad_(),
        torch.tensor(wanted).reshape(3, 2).t().contiguous().t(),
    ]
    for form in forms:
        g.set_weights([0.0] * 6)
        g.set_weights(form)
        assert g.weights_to_list() == g.weights_to_numpy().tolist() == wanted
    source = torch.tensor(wanted)
    g.set_weights([0.0] * 6)
    g.set_weights(source.data_ptr())
    assert g.weights_to_list() == wanted
    assert g.weights() == address  # set in place
    other = gtn.linear_graph(2, 3)
    other.set_weights(address)
    assert gtn.equal(other, g)
    g.weights_to_numpy()[:] = 7  # a copy
    assert g.weights_to_list() == wanted


def test_wrong_weights_are_refused():
    g = gtn.linear_graph(2, 3)
    with pytest.raises(ValueError, match="6 arcs, got 5 weights"):
        g.set_weights([0.0] * 5)
    with pytest.raises(ValueError, match="one arc, got 6"):
        g.item()


def test_weights_that_are_no_scores_pass_through():
    """As in gtn: star temporal classification makes NaN of log(0 - 0), beside the paths."""
    g = graph(["s", "", "a"], (0, 1, 0, 0, math.nan), (0, 2, 1, 1, 0.5), (1, 2, 2, 2, 1.0))
    assert math.isnan(g.weights_to_list()[0])
    assert gtn.forward_score(g).item() == gtn.viterbi_score(g).item() == 0.5
    assert gtn.viterbi_path(g).labels_to_list() == [1]
    gtn.backward(gtn.forward_score(g))
    assert g.grad().weights_to_list() == [0, 1, 0]
    composed = gtn.compose(g, chain([1]))
    assert gtn.forward_score(composed).item() == 0.5
    everywhere = graph(["s", "a"], (0, 1, 0, 0, math.nan))
    assert gtn.forward_score(everywhere).item() == -math.inf
    g.set_weights([0.0, math.inf, 0.0])
    assert gtn.forward_score(g).item() == gtn.viterbi_score(g).item() == math.inf
    assert gtn.viterbi_path(g).labels_to_list() == [1]
    g.set_weights([-math.inf, -math.inf, math.inf])
    assert gtn.forward_score(g).item() == -math.inf


def test_creations():
    g = gtn.scalar_graph(0.5)
    assert g.labels_to_list() == g.labels_to_list(False) == [gtn.epsilon]
    assert (g.item(), g.num_nodes(), g.num_start(), g.num_accept()) == (0.5, 2, 1, 1)
    cpu = gtn.Device(gtn.CPU)
    for create in (lambda *a: gtn.scalar_graph(1, *a), lambda *a: gtn.linear_graph(3, 2, *a)):
        flags = [create(*a).calc_grad for a in ((), (False,), (True,), (cpu,), (cpu, False))]
        assert flags == [True, False, True, True, False]
    assert not gtn.linear_graph(M=1, N=1, calc_grad=False).calc_grad
    g = gtn.linear_graph(3, 2)
    assert (g.num_nodes(), g.labels_to_list()) == (4, [0, 1] * 3)
    assert gtn.equal(gtn.linear_graph(2, 1), chain([0, 0]))
    assert gtn.equal(gtn.linear_graph(0, 3), graph(["s"]))


def test_devices():
    assert gtn.Device(gtn.CPU) == gtn.Device(gtn.DeviceType.CPU, 0)
    assert gtn.Device(gtn.CUDA, 1) != gtn.Device(gtn.CUDA, 0)
    g = lattice()
    assert not g.is_cuda() and g.cpu() is g
    if not gtn.cuda.is_available():
        for call in (gtn.cuda.device_count, gtn.cuda.get_device, gtn.cuda.synchronize):
            with pytest.raises(ValueError, match="no GPU"):
                call()
        with pytest.raises(ValueError, match="CUDA"):
            g.cuda()


def test_a_program_can_move_to_gtnet_piece_by_piece():
    g = lattice()
    assert isinstance(g.core, gtnet.Graph)
    assert gtn.equal(gtn.Graph.of(g.core), g)
    assert gtnet.forward_score(g.core).item() == gtn.forward_score(g).item()
    with pytest.raises(ValueError, match="batch of 2"):
        gtn.Graph.of(gtnet.linear([[0], [1]]))


# Functions


def test_scalars():
    three, four = gtn.scalar_graph(3.0), gtn.scalar_graph(4.0)
    assert gtn.negate(three).item() == -3
    assert gtn.add(three, four).item() == 7
    assert gtn.subtract(g1=four, g2=three).item() == 1
    for call in (gtn.negate, lambda g: gtn.add(three, g), lambda g: gtn.subtract(g, three)):
        with pytest.raises(RuntimeError, match="one arc is needed, got 8"):
            call(lattice())
    with pytest.raises(TypeError, match="Graph"):
        gtn.forward_score(3.0)


def test_path_sums():
    g = lattice()
    paths = [2 + 2 + 1, 2 + 2 + 1, 1 + 1, 1 + 1, 2 + 1, 2 + 1, 2 + 2, 2]
    paths += [2 + 2 + 3, 1 + 3, 2 + 3, *(score + 2 for score in paths[:6])]
    assert gtn.forward_score(g).item() == pytest.approx(np.log(np.exp(paths).sum()), rel=1e-6)
    assert gtn.viterbi_score(g).item() == 7
    path = gtn.viterbi_path(g)
    assert sum(path.weights_to_list()) == 7 and path.num_nodes() == path.num_arcs() + 1
    assert gtn.forward_score(gtn.Graph()).item() == -math.inf
    assert gtn.viterbi_score(gtn.Graph()).item() == -math.inf
    assert gtn.equal(gtn.viterbi_path(gtn.Graph()), gtn.Graph())
    point = graph(["sa"])
    assert gtn.forward_score(point).item() == 0
    assert gtn.equal(gtn.viterbi_path(point), point)
    hopeless = graph(["s", "a"], (0, 1, 0, 0, -math.inf), (0, 1, 1, 1, -math.inf))
    assert gtn.forward_score(hopeless).item() == -math.inf


def test_path_sums_of_cyclic_graphs_are_exact_or_refused():
    loop = graph(["sa"], (0, 0, 0, 0, math.log(0.5)))
    assert gtn.forward_score(loop).item() == pytest.approx(math.log(2))
    gtn.backward(gtn.forward_score(loop))
    assert loop.grad().item() == pytest.approx(1)  # expected length
    assert gtn.viterbi_score(loop).item() == 0
    for nodes, arcs in (
        (["sa"], [(0, 0, 1)]),
        (["s", "", "a"], [(0, 1, 0), (1, 1, 0), (1, 2, 0)]),
        (["s", "", "a"], [(0, 1, 0), (1, 2, 0), (2, 0, 0)]),
    ):
        with pytest.raises(ValueError, match="cycle"):
            gtn.forward_score(graph(nodes, *arcs))
    nothing_leads_to_1 = graph(["s", "", "a"], (0, 2, 0), (1, 2, 0))
    score = gtn.forward_score(nothing_leads_to_1)
    gtn.backward(score)
    assert score.item() == 0 and nothing_leads_to_1.grad().weights_to_list() == [1, 0]
    twice_nothing = gtn.closure(graph(["sa", "a"], (0, 1, 0)))
    with pytest.raises(ValueError, match="cycle"):
        gtn.forward_score(gtn.compose(chain([0]), twice_nothing))


def test_projection_and_clone():
    g = graph(["s", "a"], (0, 1, 0, 3, 1.5), (1, 1, 2, gtn.epsilon))
    assert gtn.equal(gtn.clone(g), g)
    read, written = gtn.project_input(g), gtn.project_output(g)
    assert read.labels_to_list() == read.labels_to_list(False) == [0, 2]
    assert written.labels_to_list() == written.labels_to_list(False) == [3, -1]
    gtn.clone(g).set_weights([8.0, 9.0])
    assert g.weights_to_list() == [1.5, 0]


def test_composition():
    first = graph(
        ["s", "", "", "", "a"], *((i, i + 1, j, j, j) for i in range(4) for j in range(3))
    )
    second = graph(
        ["s", "", "a"], (0, 1, 0, 0, 3.5), (1, 1, 0, 0, 2.5), (1, 2, 1, 1, 1.5), (2, 2, 1, 1, 4.5)
    )
    wanted = graph(
        ["s", "", "", "", "", "", "a"],
        (0, 1, 0, 0, 3.5),
        (1, 2, 0, 0, 2.5),
        (1, 4, 1, 1, 2.5),
        (2, 3, 0, 0, 2.5),
        (2, 5, 1, 1, 2.5),
        (4, 5, 1, 1, 5.5),
        (3, 6, 1, 1, 2.5),
        (5, 6, 1, 1, 5.5),
    )
    assert gtn.isomorphic(gtn.compose(first, second), wanted)
    assert gtn.isomorphic(gtn.intersect(first, second), wanted)
    gtn.backward(gtn.compose(first, second))
    assert first.grad().weights_to_list() == [1, 0, 0, 1, 1, 0, 1, 2, 0, 0, 2, 0]
    assert second.grad().weights_to_list() == [1, 2, 3, 2]
    assert gtn.equal(gtn.compose(gtn.Graph(), second), gtn.Graph())
    with pytest.raises(ValueError, match="acceptor"):
        gtn.intersect(first, graph(["s", "a"], (0, 1, 0, 1)))


def test_composition_takes_each_pair_of_epsilon_paths_once():
    """Figure 7 of Mohri 2009."""
    a, b, c, d, e = range(5)
    first = graph(["s", "", "", "", "a"], (0, 1, a, a), (1, 2, b, -1), (2, 3, c, -1), (3, 4, d, d))
    second = graph(["s", "", "", "a"], (0, 1, a, d), (1, 2, -1, e), (2, 3, d, a))
    wanted = graph(["s", "", "", "", "a"], (0, 1, a, d), (1, 2, b, e), (2, 3, c, -1), (3, 4, d, a))
    composed = gtn.compose(first, second)
    assert gtn.rand_equivalent(composed, wanted, num_samples=20)
    assert gtn.forward_score(composed).item() == pytest.approx(0)  # one path


def test_rational_operations():
    zero, one = chain([0]), chain([1])
    point = graph(["sa"])
    assert gtn.equal(gtn.concat([]), point)
    assert gtn.equal(gtn.union([]), gtn.Graph())
    assert gtn.equal(gtn.concat([zero]), zero)
    assert gtn.equal(gtn.union([zero]), zero)
    assert gtn.equal(gtn.closure(gtn.Graph()), point)
    wanted = graph(["s", "s", "a", "a"], (0, 2, 0), (1, 3, 1))
    assert gtn.isomorphic(gtn.union([zero, one]), wanted)
    assert gtn.rand_equivalent(gtn.concat([zero, one]), chain([0, 1]))
    assert gtn.rand_equivalent(gtn.concat(zero, one), chain([0, 1]))
    assert gtn.rand_equivalent(gtn.concat([point, zero, point]), zero)
    assert gtn.rand_equivalent(gtn.concat([gtn.Graph(), zero]), gtn.Graph())
    star = graph(["sa", "a"], (0, 1, 0), (1, 1, 0))
    assert gtn.rand_equivalent(gtn.closure(zero), star, num_samples=60)
    assert not gtn.rand_equivalent(gtn.closure(zero), zero, num_samples=60)
    assert not gtn.rand_equivalent(zero, one)
    both = graph(["sa"], (0, 0, 0, 0, -2.0), (0, 0, 1, 1, -1.5))
    letters = gtn.union([graph(["s", "a"], (0, 1, i, i, w)) for i, w in ((0, -2.0), (1, -1.5))])
    assert gtn.rand_equivalent(gtn.closure(letters), both, num_samples=60)


@pytest.mark.parametrize(
    ("g", "labels", "wanted"),
    [
        (graph(["s", "", "a"], (0, 1, -1), (1, 2, 0)), (), chain([0])),
        (
            graph(["s", "", "a"], (0, 1, 2, 1), (1, 2, 0, 1)),
            (2, 1),
            graph(["s", "a"], (0, 1, 0, 1)),
        ),
        (graph(["s", "", "a"], (0, 1, 2), (1, 2, 0)), (2,), chain([0])),
        (graph(["s", "", "a"], (0, 1, 2), (1, 2, -1)), (2,), chain([-1])),
        (graph(["s", "a"], (0, 1, 0, 1), (0, 1, 1, 1)), (), None),
        (graph(["s", "a"], (0, 1, -1, 1), (0, 1, 1, -1)), (), None),
        (
            graph(["s", "", "", "a"], (0, 1, 0), (0, 2, 1), (1, 3, -1), (2, 3, -1)),
            (),
            graph(["s", "a", "a"], (0, 1, 0), (0, 2, 1)),
        ),
        (
            graph(
                ["s", "", "", "", "a"],
                *((0, 1, 0), (1, 2, -1), (2, 3, -1), (2, 4, 1), (3, 4, 2), (1, 4, 0)),
            ),
            (),
            graph(["s", "", "a"], (0, 1, 0), (1, 2, 0), (1, 2, 1), (1, 2, 2)),
        ),
    ],
)
def test_removal(g, labels, wanted):
    assert gtn.isomorphic(gtn.remove(g, *labels), g if wanted is None else wanted)


def test_removal_asks_only_what_is_reached():
    g = graph(
        ["s", "a", "a", ""],
        (0, 1, 0, 0, 0.5),
        (1, 2, -1, -1, 1.5),
        (1, 2, -1, -1, 1.5),
        (2, 0, 1, 1, -1.0),
        (2, 2, -1, -1, 2.0),  # a cycle of epsilons
        (3, 3, -1, -1, 0.0),  # nothing leads there
    )
    removed = gtn.remove(g)
    assert gtn.equal(removed, graph(["s", "a"], (0, 1, 0), (1, 0, 1)))
    assert gtn.equal(gtn.remove(g, ilabel=1, olabel=1), gtn.remove(g, 1))
    both = graph(["s", "a", "a"], (0, 1, 0, 0, 7.0), (1, 2, -1))
    assert gtn.forward_score(gtn.remove(both)).item() == 0  # one string, counted once
    assert gtn.equal(gtn.remove(gtn.Graph()), gtn.Graph())
    pair = graph(["s", "", "a"], (0, 1, 1, 2), (1, 2, 2, 1))
    assert gtn.remove(pair, 1, 2).labels_to_list() == [2]


def test_removal_has_no_gradient_and_says_so():
    g = graph(["s", "", "a"], (0, 1, 0, 0, 0.5), (1, 2, -1, -1, 1.5))
    with pytest.raises(RuntimeError, match=r"remove.*remove_epsilon"):
        gtn.backward(gtn.forward_score(gtn.remove(g)))
    assert not gtn.remove(chain([gtn.epsilon, 0])).calc_grad


def test_alignments_of_a_closure_with_blanks_count_once():
    """A blank of weight 0 in a union, closed, its epsilons removed: as gtn's programs build CTC."""
    pieces = [graph(["s", "a"], (0, 1, i, i), (1, 1, i, -1)) for i in range(2)]
    blank = graph(["sa"], (0, 0, 2, -1))
    tokens = gtn.remove(gtn.closure(gtn.union([*pieces, blank])))
    target = gtn.project_input(gtn.remove(gtn.compose(tokens, chain([0, 1]))))
    found = gtn.intersect(gtn.linear_graph(3, 3), target)
    alignments = {tuple(row) for row in gtnet.label_sequences(gtnet.enumerate_paths(found.core)[0])}
    wanted = {(0, 0, 1), (0, 1, 1), (2, 0, 1), (0, 2, 1), (0, 1, 2)}
    assert alignments == wanted


def test_rational_operations_have_gtns_nodes_and_arcs():
    two = graph(["s", "s", "a", "a"], (0, 2, 0, 0, 0.5), (1, 3, 1, 1, 1.5))
    joined = gtn.concat([two, two])
    epsilons = [(a, b, -1) for a in (2, 3) for b in (4, 5)]
    arcs = [(0, 2, 0, 0, 0.5), (1, 3, 1, 1, 1.5), (4, 6, 0, 0, 0.5), (5, 7, 1, 1, 1.5), *epsilons]
    assert gtn.equal(joined, graph(["s", "s", "", "", "", "", "a", "a"], *arcs))
    arcs = [(1, 3, 0, 0, 0.5), (2, 4, 1, 1, 1.5), (0, 1, -1), (0, 2, -1), (3, 0, -1), (4, 0, -1)]
    assert gtn.equal(gtn.closure(two), graph(["sa", "", "", "", ""], *arcs))
    assert gtn.equal(gtn.union([two, gtn.Graph()]), two)
    assert gtn.equal(gtn.concat([gtn.Graph(), two]), graph(["", "", "a", "a"], *two_arcs(two)))
    assert gtn.equal(gtn.concat([]), graph(["sa"])) and gtn.equal(gtn.union([]), gtn.Graph())
    check_gradient(lambda g: gtn.forward_score(gtn.concat([g, g])), two)


def two_arcs(g):
    core = g.core
    columns = (core.source, core.target, core.ilabels, core.olabels, core.weights)
    return list(zip(*(column.tolist() for column in columns)))


def test_samples_are_paths_of_the_graph():
    g = graph(["s", "", "a"], (0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 2, 3))
    for _ in range(5):
        g.zero_grad()
        path = gtn.sample(g)
        gtn.backward(path)
        taken = np.bincount(path.labels_to_list(), minlength=4)
        assert g.grad().weights_to_list() == taken.tolist() and taken[3] == 1
    assert gtn.equal(gtn.sample(g, max_length=1), gtn.Graph())
    assert gtn.equal(gtn.sample(gtn.Graph()), gtn.Graph())
    always = graph(["sa"], *[(0, 0, label) for label in range(200)])
    long = [gtn.sample(always, max_length=5).num_arcs() for _ in range(20)]
    assert max(long) == 5 and min(long) >= 0
    torch.manual_seed(0)
    early = graph(["s", "a", ""], (0, 1, 0), *[(1, 2, label) for label in range(200)], (2, 1, 0))
    assert gtn.sample(early, max_length=4).num_arcs() == 3  # cut back to where it may end
    assert gtn.equal(gtn.sample(graph(["sa"])), graph(["sa"]))
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append([tuple(gtn.sample(lattice()).labels_to_list()) for _ in range(8)])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 1


def test_comparisons():
    g = graph(["s", "", "a"], (0, 1, 0, 0, 2.5), (0, 1, 1, 1, 3.5), (1, 2, 2, 3, 5.5))
    other_order = graph(["s", "", "a"], (1, 2, 2, 3, 5.5), (0, 1, 1, 1, 3.5), (0, 1, 0, 0, 2.5))
    assert not gtn.equal(g, other_order) and gtn.isomorphic(g, other_order)
    renumbered = graph(["a", "", "s"], (2, 1, 0, 0, 2.5), (2, 1, 1, 1, 3.5), (1, 0, 2, 3, 5.5))
    assert not gtn.equal(g, renumbered) and gtn.isomorphic(g, renumbered)
    different = [
        graph(["s", "", ""], (0, 1, 0, 0, 2.5), (0, 1, 1, 1, 3.5), (1, 2, 2, 3, 5.5)),
        graph(["s", "", "a"], (0, 1, 0, 0, 2.0), (0, 1, 1, 1, 3.5), (1, 2, 2, 3, 5.5)),
        graph(["s", "", "a"], (0, 1, 0, 0, 2.5), (0, 1, 1, 1, 3.5), (1, 2, 2, 4, 5.5)),
        graph(["s", "", "a"], (0, 1, 0, 0, 2.5), (0, 1, 0, 0, 2.5), (1, 2, 2, 3, 5.5)),
        graph(["s", "", "a"], (0, 1, 0, 0, 2.5), (0, 1, 1, 1, 3.5)),
    ]
    for other in different:
        assert not gtn.equal(g, other) and not gtn.isomorphic(g, other)


# Gradients


def test_gradients_add_up_until_they_are_zeroed():
    g = gtn.scalar_graph(3.0)
    assert not g.is_grad_available()
    for times in (1, 2, 3):
        gtn.backward(gtn.add(g, g))
        assert g.grad().item() == 2 * times
    seen = g.grad()
    gtn.backward(gtn.negate(g))
    assert seen.item() == 5  # the gradient itself, not a copy
    g.zero_grad()
    assert not g.is_grad_available()


def test_the_tape_is_kept_on_demand():
    a, b = gtn.scalar_graph(3.0), gtn.scalar_graph(4.0)
    result = gtn.subtract(a, b)
    gtn.backward(result)
    with pytest.raises(ValueError, match="retain_graph"):
        gtn.backward(result)
    assert (a.grad().item(), b.grad().item()) == (1, -1)
    result = gtn.forward_score(gtn.union([a, b]))
    gtn.backward(result, True)
    gtn.backward(result, retain_graph=True)
    shared = gtn.add(a, b)
    one, two = gtn.negate(shared), gtn.add(shared, a)
    gtn.backward(one)
    with pytest.raises(ValueError, match="retain_graph"):
        gtn.backward(two)


def test_given_gradients():
    a, b = gtn.scalar_graph(3.0), gtn.scalar_graph(3.0)
    gtn.backward(gtn.add(a, b), gtn.scalar_graph(7.0))
    assert (a.grad().item(), b.grad().item()) == (7, 7)
    gtn.backward(gtn.add(a, b), grad=gtn.scalar_graph(1.0), retain_graph=True)
    assert a.grad().item() == 8
    with pytest.raises(RuntimeError, match="1 arcs, its gradient 8"):
        gtn.backward(gtn.add(a, b), lattice())


def test_calc_grad_decides_who_gets_a_gradient():
    a, b = gtn.scalar_graph(1.0, False), gtn.scalar_graph(2.0)
    a.calc_grad, b.calc_grad = True, False
    result = gtn.add(a, b)
    assert result.calc_grad and not gtn.negate(b).calc_grad
    gtn.backward(result)
    assert a.grad().item() == 1
    with pytest.raises(RuntimeError, match="calc_grad"):
        b.grad()
    unused = gtn.clone(a)
    with pytest.raises(RuntimeError, match="not computed"):
        unused.grad()
    cut = gtn.negate(a)
    cut.calc_grad = False
    a.zero_grad()
    gtn.backward(gtn.add(cut, a))
    assert a.grad().item() == 1
    gtn.backward(gtn.negate(b))  # nothing to do
    gtn.backward(a)  # a leaf: the seed
    assert a.grad().item() == 2


def test_results_in_between_have_gradients():
    g = lattice()
    composed = gtn.compose(g, gtn.closure(gtn.union([chain([0]), chain([1])])))
    score = gtn.forward_score(composed)
    gtn.backward(score)
    assert composed.grad().num_arcs() == composed.num_arcs()
    assert score.grad().item() == 1
    posteriors = gtnet.posteriors(composed.core)
    assert composed.grad().weights_to_list() == pytest.approx(posteriors.tolist(), abs=1e-6)


def test_the_gradient_belongs_to_the_weights_of_the_operation():
    g = lattice()
    score = gtn.forward_score(g)
    wanted = gtnet.posteriors(g.core).tolist()
    g.set_weights([0.0] * 8)
    gtn.backward(score)
    assert g.grad().weights_to_list() == pytest.approx(wanted)


def test_a_recorded_result_does_not_grow():
    result = gtn.negate(gtn.scalar_graph(1.0))
    with pytest.raises(ValueError, match="calc_grad"):
        result.add_arc(0, 1, 0)
    result.calc_grad = False
    assert result.add_arc(0, 1, 0) == 1


def test_impossible_paths_have_gradient_zero():
    hopeless = graph(["s", "a"], (0, 1, 0, 0, -math.inf), (0, 1, 1, 1, -math.inf))
    loss = gtn.negate(gtn.forward_score(hopeless))
    assert loss.item() == math.inf
    gtn.backward(loss)
    assert hopeless.grad().weights_to_list() == [0, 0]
    for function in (gtn.forward_score, gtn.viterbi_score, gtn.viterbi_path):
        for g in (gtn.Graph(), graph(["s", "", "a"], (0, 1, 0))):
            gtn.backward(function(g))
            assert not any(g.grad().weights_to_list())
    for function in (gtn.compose, gtn.intersect):
        one, other = chain([0], calc_grad=True), chain([1], calc_grad=True)
        gtn.backward(gtn.forward_score(function(one, other)))
        gtn.backward(gtn.sample(function(one, other)))
        assert one.grad().weights_to_list() == other.grad().weights_to_list() == [0]


def lattices():
    """An acyclic acceptor, a transducer with epsilons and a dead end, and no path at all."""
    yield lattice()
    yield graph(
        ["s", "", "a", "", "sa"],
        (0, 1, 0, 1, 0.5),
        (0, 2, gtn.epsilon, 1, -1.0),
        (1, 2, 1, gtn.epsilon, 0.25),
        (0, 2, 1, 2, -math.inf),
        (1, 3, 2, 2, 3.0),
        (4, 2, 0, 1, 0.125),
    )
    yield graph(["s", "a"])


def test_one_call_gives_what_the_general_functions_give():
    """Both ways to a result: see general.py."""
    names = ("forward_score", "viterbi_score")
    for g in lattices():
        for name in names:
            core = getattr(general, name)(g.core)
            score = getattr(gtn, name)(g)
            assert score.item() == core.core.weights.item()
            g.zero_grad()
            gtn.backward(score)
            wanted = core.adjoint(torch.ones(1), 0)
            torch.testing.assert_close(g.grad().values, wanted, rtol=1e-6, atol=1e-7)
        assert gtn.viterbi_path(g).core.equal(gtnet.viterbi_path(g.core))
        for other in lattices():
            made = gtn.compose(g, other).core
            wanted = gtnet.compose(g.core, other.core)
            assert made.equal(wanted)
            assert all(map(torch.equal, made.arc_maps, wanted.arc_maps))


def test_scores_that_one_call_cannot_sum_go_the_general_way():
    huge = graph(["s", "a"], (0, 1, 0, 0, 2e25), (0, 1, 1, 1, -3.0))
    assert gtn.forward_score(huge).item() == gtn.viterbi_score(huge).item() == np.float32(2e25)
    far = graph(["s", "", "a"], (0, 1, 0, 0, 2e9), (1, 2, 1, 1, 0.0), (1, 2, 2, 2, 0.0))
    gtn.backward(gtn.forward_score(far))
    assert far.grad().weights_to_list() == pytest.approx([1, 0.5, 0.5])
    loop = graph(["s", "a"], (0, 1, 0, 0, 0.0), (1, 1, 1, 1, math.log(0.5)))
    loss = gtn.negate(gtn.forward_score(gtn.compose(loop, loop)))  # one tape, both ways
    gtn.backward(loss)
    assert loss.item() == pytest.approx(-math.log(4 / 3))
    assert loop.grad().weights_to_list() == pytest.approx([-2, -2 / 3])


def test_a_tape_that_was_gone_back_along_adds_up():
    g = lattice()
    score = gtn.forward_score(g)
    loss = gtn.negate(score)
    gtn.backward(loss, True)
    once = g.grad().weights_to_numpy()
    gtn.backward(loss, True)  # as in gtn: what stands in between counts again
    assert score.grad().item() == -3
    assert g.grad().weights_to_numpy() == pytest.approx(4 * once)


def test_gradients_of_graphs_put_together():
    check_gradient(
        lambda a, b: gtn.forward_score(gtn.union([a, b, a])), lattice(), chain([0, 1], True)
    )
    check_gradient(lambda a, b: gtn.forward_score(gtn.concat([a, b])), lattice(), lattice())
    repeated = chain([0, 1, 0, 1])
    check_gradient(
        lambda c: gtn.forward_score(gtn.intersect(gtn.closure(c), repeated)), chain([0, 1], True)
    )


def test_gradients_against_differences():
    ab = gtn.union([chain([0], True), chain([1], True)])
    loops = graph(["s", "a"], (0, 1, 0, 0, 1.25), (1, 1, 1, 1, -2.0), (0, 1, -1, 1, -0.5))
    steps = emissions(np.random.default_rng(0).normal(size=(4, 2)))
    check_gradient(gtn.forward_score, lattice())
    check_gradient(gtn.viterbi_score, graph(["s", "a"], (0, 1, 0, 0, 2), (0, 1, 0, 0, 1)))
    check_gradient(lambda g: gtn.forward_score(gtn.project_output(gtn.clone(g))), lattice())
    check_gradient(lambda g, h: gtn.forward_score(gtn.union([g, h, g])), lattice(), lattice())
    check_gradient(lambda g, h: gtn.forward_score(gtn.concat([g, h, g])), lattice(), lattice())
    check_gradient(lambda g, h: gtn.forward_score(gtn.compose(gtn.closure(g), h)), loops, steps)
    check_gradient(
        lambda g: gtn.forward_score(gtn.union([gtn.viterbi_path(g), gtn.viterbi_path(g)])),
        graph(["s", "a"], (0, 1, 0, 0, 2), (0, 1, 0, 0, 1)),
    )
    gtn.backward(gtn.forward_score(ab))
    assert ab.is_grad_available()


def test_a_long_tape():
    g = gtn.scalar_graph(0.5)
    total = g
    for _ in range(3000):
        total = gtn.add(total, g)
    gtn.backward(total)
    assert (total.item(), g.grad().item()) == (1500.5, 3001)


# Lists


@pytest.fixture(params=[1, 2])
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


def test_every_function_takes_lists(threads):
    many = [lattice() for _ in range(3)]
    loops = [graph(["sa"], (0, 0, 0, 0, -i), (0, 0, 1)) for i in range(3)]
    for one in (
        *(gtn.clone, gtn.closure, gtn.forward_score, gtn.project_input, gtn.project_output),
        *(gtn.remove, gtn.viterbi_path, gtn.viterbi_score),
    ):
        assert all(map(gtn.equal, one(many), [one(g) for g in many]))
        assert one([]) == [] if one is not gtn.remove else True
    for two in (gtn.compose, gtn.intersect, gtn.concat):
        wanted = [two(g, h) for g, h in zip(many, loops)]
        assert all(map(gtn.equal, two(many, loops), wanted))
        assert all(map(gtn.equal, two(many[:1], loops), wanted))  # broadcast
        assert all(map(gtn.equal, two(many, loops[1:2]), [two(g, loops[1]) for g in many]))
    assert [g.item() for g in gtn.add(graphs1=scalars(1, 2), graphs2=scalars(3))] == [4, 5]
    assert [g.item() for g in gtn.subtract(scalars(1, 2), scalars(3, 5))] == [-2, -3]
    assert [g.item() for g in gtn.negate(graphs=scalars(1, 2))] == [-1, -2]
    for fold in (gtn.union, gtn.concat):
        assert all(map(gtn.equal, fold([many, loops]), [fold(many), fold(loops)]))
    removed = gtn.remove(graphs=[chain([0, 1]), chain([1, 2])], labels=[1, 2])
    assert [g.labels_to_list() for g in removed] == [[0], [1]]


def scalars(*values):
    return [gtn.scalar_graph(value) for value in values]


def test_lists_that_do_not_match():
    with pytest.raises(RuntimeError, match="2, 3"):
        gtn.add(scalars(1, 2), scalars(1, 2, 3))
    with pytest.raises(TypeError, match="concat"):
        gtn.concat(chain([0]))


def test_backward_of_lists(threads):
    a, b = scalars(1, 2, 3), scalars(1, 2, 3)
    gtn.backward(gtn.add(a, b))
    assert [g.grad().item() for g in (*a, *b)] == [1] * 6
    gtn.backward(gtn.subtract(a, b), scalars(5), [False])
    assert [g.grad().item() for g in (*a, *b)] == [6] * 3 + [-4] * 3
    kept = gtn.negate(a)
    gtn.backward(kept, [True])
    gtn.backward(graphs=kept, retain_graphs=[False])
    with pytest.raises(ValueError, match="retain_graph"):
        gtn.backward(kept)


def test_parallel_for(threads):
    shared = lattice()
    results = [None] * 20

    def work(i):
        results[i] = gtn.forward_score(shared)
        gtn.backward(results[i])

    assert gtn.parallel_for(work, range(20)) is None
    assert len({result.item() for result in results}) == 1
    wanted = 20 * gtnet.posteriors(shared.core)
    assert shared.grad().weights_to_list() == pytest.approx(wanted.tolist(), rel=1e-5)

    def fail(i):
        raise KeyError(i)

    with pytest.raises(KeyError, match="1"):
        gtn.parallel_for(fail, [1, 2, 3])


# Files


def test_text_comes_back(tmp_path):
    g = graph(
        ["sa", "s", "", "a"], (0, 1, 0, 1, 1.1), (1, 2, 2, -1, -2e-8), (2, 3, 3, 3, 16777216.0)
    )
    g.add_arc(0, 3, 5, 5, 1 / 3)
    g.add_arc(0, 3, 6, 6, -math.inf)
    file = str(tmp_path / "graph.txt")
    gtn.savetxt(file, g)
    assert gtn.equal(gtn.loadtxt(file), g)
    lines = (tmp_path / "graph.txt").read_text().splitlines()
    assert lines[:3] == ["0 1", "0 3", "0 1 0 1 1.1"]
    assert str(g) == (tmp_path / "graph.txt").read_text()
    gtn.savetxt(file, gtn.Graph())
    assert gtn.equal(gtn.loadtxt(file), gtn.Graph())


def test_text_has_defaults_and_errors(tmp_path):
    def read(*lines):
        (tmp_path / "g").write_text("".join(line + "\n" for line in lines))
        return gtn.loadtxt(str(tmp_path / "g"))

    g = read("0", "0 1", "0 0 1", "0 2 1 2", "2 1 2 3 2.5")
    assert gtn.equal(g, graph(["sa", "a", ""], (0, 0, 1), (0, 2, 1, 2), (2, 1, 2, 3, 2.5)))
    assert gtn.equal(read("0", "1"), graph(["s", "a"]))
    wrong = [[""], ["1"], ["1 0 0", "0 1"], ["0", "1 1"], ["0", "1", "0 2"], ["x", "1"]]
    for lines in [*wrong, ["0", "1", "0 1 2 3 4 5"], ["0", "1", "0 -1 2"], ["0", "1", "0 1 a"]]:
        with pytest.raises(ValueError, match=r"gtn\.read: "):
            read(*lines)
    with pytest.raises(ValueError, match="no file"):
        gtn.loadtxt(str(tmp_path / "none"))


def test_binary_comes_back(tmp_path):
    file = str(tmp_path / "graph.bin")
    for g in (gtn.Graph(), lattice(), graph(["", "s", ""], (1, 1, -1, 4, 0.1))):
        gtn.save(file, g)
        assert gtn.equal(gtn.load(file), g)
    # Two nodes, an arc, a start node (0), an accept node (1); the arc 0 -> 1 of 2:3, weight 0.5.
    numbers = np.array([2, 1, 1, 1, 0, 1, 0, 1, 2, 3], np.int32)
    gtn.save(file, graph(["s", "a"], (0, 1, 2, 3, 0.5)))
    assert (tmp_path / "graph.bin").read_bytes() == numbers.tobytes() + np.float32(0.5).tobytes()
    for data in (b"", b"text", numbers.tobytes(), bytes(17)):
        (tmp_path / "graph.bin").write_bytes(data)
        with pytest.raises(ValueError, match="bytes and is not a graph"):
            gtn.load(file)
    with pytest.raises(ValueError, match="no file"):
        gtn.load(str(tmp_path / "none"))


def test_scores_of_accept_nodes_survive_files(tmp_path):
    core = gtnet.remove_epsilon(graph(["s", "", "a"], (0, 1, 0, 0, 1.0), (1, 2, -1, -1, 0.5)).core)
    g = gtn.Graph.of(core)
    for save, load in ((gtn.save, gtn.load), (gtn.savetxt, gtn.loadtxt)):
        save(str(tmp_path / "g"), g)
        assert gtn.forward_score(load(str(tmp_path / "g"))).item() == 1.5
    assert "-1 -1 0.5" in str(g)


def test_large_graphs_print_shortened():
    lines = str(gtn.linear_graph(30, 2)).splitlines()
    assert lines[:3] == ["0", "30", "0 1 0 0 0"] and lines[-1] == "..." and len(lines) == 13


def test_pictures(tmp_path):
    g = graph(["s", "a"], (0, 1, 0, 1, 0.5), (0, 1, gtn.epsilon, 2))
    dot = tmp_path / "picture"
    gtn.write_dot(g, str(dot), {0: "zero"}, {1: "one", 2: "two"})
    assert all(word in dot.read_text() for word in ("zero:one", "ε:two", "0.5"))
    gtn.draw(g, str(tmp_path / "g.dot"))
    assert "0:1" in (tmp_path / "g.dot").read_text()
    wide = gtn.linear_graph(300, 2)
    gtn.write_dot(wide, str(dot))
    assert "300" in dot.read_text() and "shown" not in dot.read_text()


# Programs


def ctc_graph(target, blank):
    g = gtn.Graph(False)
    length = 2 * len(target) + 1
    for state in range(length):
        before = (state - 1) // 2
        g.add_node(state == 0, state >= length - 2)
        label = target[before] if state % 2 else blank
        g.add_arc(state, state, label)
        if state > 0:
            g.add_arc(state - 1, state, label)
        if state % 2 and state > 1 and label != target[before - 1]:
            g.add_arc(state - 2, state, label)
    return g


def test_ctc_is_the_loss_of_torch():
    logits = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    target = [1, 1, 3, 4]
    log_probs = logits.log_softmax(1)
    wanted = torch.nn.functional.ctc_loss(
        log_probs[:, None], torch.tensor([target]), [12], [4], reduction="sum"
    )
    (wanted_grad,) = torch.autograd.grad(wanted, logits)
    probs = emissions(log_probs.detach().float())
    ready = gtn.criterion.ctc_loss(probs, target, 0)
    made = gtn.negate(gtn.forward_score(gtn.compose(ctc_graph(target, 0), probs)))
    scores = emissions(logits.detach().float())
    locally = gtn.subtract(
        gtn.forward_score(scores),
        gtn.forward_score(gtn.intersect(ctc_graph(target, 0), scores)),
    )
    for loss in (ready, made, locally):
        assert loss.item() == pytest.approx(wanted.item(), abs=1e-4)
    gtn.backward(locally)
    grad = scores.grad().weights_to_numpy().reshape(12, 5)
    np.testing.assert_allclose(grad, wanted_grad.numpy(), atol=1e-5)
    impossible = gtn.criterion.ctc_loss(
        log_probs=emissions(np.zeros((2, 5))), target=[1, 2, 3], blank_idx=0
    )
    assert impossible.item() == math.inf


def transition_graph(num_labels, calc_grad=True):
    g = gtn.Graph(calc_grad)
    g.add_node(True)
    for i in range(num_labels):
        g.add_node(False, True)
        g.add_arc(0, i + 1, i)
    for i, j in product(range(num_labels), repeat=2):
        g.add_arc(j + 1, i + 1, i)
    return g


def force_alignment(target):
    g = graph(["s", *[""] * (len(target) - 1), "a"], calc_grad=False)
    for i, label in enumerate(target):
        g.add_arc(i, i + 1, label)
        g.add_arc(i + 1, i + 1, label)
    return g


def asg_loss(scores, transitions, target):
    reached = gtn.compose(gtn.compose(force_alignment(target), transitions), scores)
    return gtn.subtract(
        gtn.forward_score(gtn.compose(scores, transitions)), gtn.forward_score(reached)
    )


def test_asg_against_enumeration():
    frames, labels, target = 4, 3, [1, 0, 0]
    scores = torch.randn(frames, labels)
    start, moves = torch.randn(labels), torch.randn(labels, labels)  # moves[to, from]
    transitions = transition_graph(labels)
    transitions.set_weights(torch.cat([start, moves.flatten()]))
    parameters = [t.double().requires_grad_() for t in (scores, start, moves)]
    s, first, then = parameters
    everything, correct = [], []
    for path in product(range(labels), repeat=frames):
        score = first[path[0]] + sum(s[t, i] for t, i in enumerate(path))
        score = score + sum(then[b, a] for a, b in pairwise(path))
        everything.append(score)
        for cuts in product((0, 1), repeat=frames - 1):  # where the next target begins
            spelled = [path[0]] + [path[t + 1] for t, cut in enumerate(cuts) if cut]
            held = all(cut or path[t] == path[t + 1] for t, cut in enumerate(cuts))
            if held and spelled == target:
                correct.append(score)
    wanted = torch.stack(everything).logsumexp(0) - torch.stack(correct).logsumexp(0)
    wanted.backward()
    graph_of_scores = emissions(scores)
    loss = asg_loss(graph_of_scores, transitions, target)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    gtn.backward(loss)
    grads = torch.cat([s.grad.flatten(), first.grad, then.grad.flatten()])
    found = graph_of_scores.grad().weights_to_list() + transitions.grad().weights_to_list()
    assert found == pytest.approx(grads.tolist(), abs=1e-5)


def test_viterbi_path_of_emissions_and_transitions():
    transitions = transition_graph(3)
    transitions.set_weights([0, 0, 0, 0, 2, 0, 0, 0, 2, 2, 0, 0])
    scores = emissions(np.array([[0, 0, 7], [5, 4, 3], [5, 8, 5], [5, 4, 3]]))
    path = gtn.viterbi_path(gtn.compose(scores, transitions))
    assert path.labels_to_list() == [2, 1, 1, 0]


def test_word_pieces():
    """Which word pieces spell "abc", and which frames they align with."""
    pieces = ["a", "b", "c", "ab", "bc", "ac", "abc"]
    spellings = []
    for i, piece in enumerate(pieces):
        g = graph(["s", *[""] * (len(piece) - 1), "a"])
        for e, letter in enumerate(piece):
            last = e == len(piece) - 1
            g.add_arc(e, e + 1, "abc".index(letter), i if last else gtn.epsilon)
        spellings.append(g)
    lexicon = gtn.closure(gtn.union(spellings))
    found = gtn.remove(gtn.project_output(gtn.compose(chain([0, 1, 2]), lexicon)))
    words = gtnet.label_sequences(gtnet.enumerate_paths(found.core)[0])
    assert sorted(words) == [[0, 1, 2], [0, 4], [3, 2], [6]]
    tokens = gtn.closure(
        gtn.union([graph(["s", "a"], (0, 1, i, i), (1, 1, i, -1)) for i in range(len(pieces))])
    )
    alignments = gtn.project_input(gtn.remove(gtn.compose(tokens, found)))
    alignments.calc_grad = False  # remove has no gradient
    frames = gtn.linear_graph(3, len(pieces), True)
    score = gtn.forward_score(gtn.intersect(frames, alignments))
    # abc; a abc's pieces split into 2 words: 2 ways to hold one twice, each; 3 words; 1 word
    assert score.item() == pytest.approx(math.log(1 + 2 * 2 + 1))
    gtn.backward(score)
    assert sum(frames.grad().weights_to_list()) == pytest.approx(3)


def test_a_loss_inside_a_torch_function(threads):
    """The pattern of gtn's documentation: graphs within torch.autograd.Function."""

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, inputs, targets):
            B, T, C = inputs.shape
            losses, graphs = [None] * B, [None] * B

            def one(b):
                scores = gtn.linear_graph(T, C, gtn.Device(gtn.CPU), inputs.requires_grad)
                data = inputs[b].contiguous()
                scores.set_weights(data.data_ptr())
                reached = gtn.intersect(force_alignment(targets[b]), scores)
                losses[b] = gtn.subtract(gtn.forward_score(scores), gtn.forward_score(reached))
                graphs[b] = scores

            gtn.parallel_for(one, range(B))
            ctx.kept = losses, graphs, inputs.shape
            return torch.tensor([loss.item() for loss in losses])

        @staticmethod
        def backward(ctx, grad_output):
            losses, graphs, (B, T, C) = ctx.kept
            grads = torch.empty(B, T, C)

            def one(b):
                gtn.backward(losses[b])
                grad = graphs[b].grad().weights_to_numpy()
                grads[b] = grad_output[b] * torch.from_numpy(grad).view(T, C)

            gtn.parallel_for(one, range(B))
            return grads, None

    inputs = torch.randn(3, 6, 5, requires_grad=True)
    targets = torch.randint(5, (3, 3))
    loss = Loss.apply(inputs, targets)
    loss.mean().backward()
    emitted = gtnet.Emissions(inputs).graph()
    aligned = gtnet.stack([force_alignment(target).core for target in targets])
    wanted = gtnet.losses.discriminative_forward(emitted, gtnet.intersect(aligned, emitted))
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    (grad,) = torch.autograd.grad(wanted.mean(), inputs)
    torch.testing.assert_close(inputs.grad, grad, rtol=1e-5, atol=1e-6)


def test_training_with_wildcard_targets():
    """A loop in gtn's style: some labels of the targets are missing, a star reads anything."""
    rng = np.random.default_rng(1)
    num_labels, star_score = 4, -1.0
    templates = 2 * np.eye(num_labels)
    weights = gtn.linear_graph(num_labels, num_labels)  # arc of row x and label y

    def with_star(target):
        g = chain(target)
        for node, label in product(range(g.num_nodes()), range(num_labels)):
            g.add_arc(node, node, label, label, star_score)
        return g

    losses = []
    for _ in range(60):
        labels = rng.integers(num_labels, size=5)
        features = templates[labels] + 0.1 * rng.normal(size=(5, num_labels))
        matrix = weights.weights_to_numpy().reshape(num_labels, num_labels)
        scores = emissions(features @ matrix)
        partial = [int(label) for label in labels if rng.random() < 0.7] or [int(labels[0])]
        loss = gtn.subtract(
            gtn.forward_score(scores), gtn.forward_score(gtn.intersect(with_star(partial), scores))
        )
        gtn.backward(loss)
        outer = features.T @ scores.grad().weights_to_numpy().reshape(5, num_labels)
        weights.set_weights(matrix - 0.1 * outer)
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    read = gtn.viterbi_path(emissions(templates @ weights.weights_to_numpy().reshape(4, 4)))
    assert read.labels_to_list() == [0, 1, 2, 3]
