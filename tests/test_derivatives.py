"""Derivatives of every kind of every operation: right, or one error that names what is missing."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad, gradgradcheck
from torch.autograd.functional import hessian, jacobian
from torch.func import grad, jacfwd, jacrev, vmap

import gtnet
from gtnet import Emissions, Graph, losses
from gtnet._checks import NEG_INF

DRAW = torch.Generator().manual_seed(3)
SCORES = torch.randn(4, 2, 3, dtype=torch.float64, generator=DRAW)
TARGETS = torch.tensor([[1, 2], [2, 1]])


def parts(*graphs: Graph) -> torch.Tensor:
    """All scores of graphs, 0 for those that are impossible."""
    scores = [t for g in graphs for t in (g.weights, g.start, g.accept)]
    return torch.cat([t.masked_fill(t == NEG_INF, 0) for t in scores])


def random(acyclic: bool, states: int = 4, arcs: int = 7) -> Graph:
    options = {"acyclic": acyclic, "dtype": torch.float64, "generator": DRAW}
    graph = gtnet.random_graph(states, arcs, 2, epsilons=0.2 if arcs < 8 else 0.0, **options)
    return graph if acyclic else graph.with_weights(graph.weights - 4)


GRAPHS = {"acyclic": random(True), "cyclic": random(False)}
OTHER = random(True, 4, 8)
LETTERS = gtnet.linear([0, 1], dtype=torch.float64)

OF_GRAPHS = {
    "forward_score": gtnet.forward_score,
    "forward_score, cold": lambda g: gtnet.forward_score(g, 2.0),
    "viterbi_score": gtnet.viterbi_score,
    "posteriors": gtnet.posteriors,
    "entropy": gtnet.entropy,
    "cross_entropy": lambda g: gtnet.cross_entropy(g, g.with_weights(g.weights * 0.9)),
    "expectation": lambda g: gtnet.expectation(g, torch.arange(g.num_arcs, dtype=g.dtype).sin()),
    "shortest_distance": lambda g: (d := gtnet.shortest_distance(g)).masked_fill(d == NEG_INF, 0),
    "edit_distance": lambda g: gtnet.edit_distance(g, LETTERS),
    "viterbi_path": lambda g: parts(gtnet.viterbi_path(g)),
    "k_best": lambda g: parts(*gtnet.k_best(g, 2)),
    "best_answers": lambda g: parts(*gtnet.best_answers(g, 2)),
    "sample": lambda g: parts(*gtnet.sample(g, 2, generator=torch.Generator().manual_seed(0))),
    "remove_epsilon": lambda g: parts(gtnet.remove_epsilon(g)),
    "remove_epsilon, tropical": lambda g: parts(gtnet.remove_epsilon(g, semiring="tropical")),
    "push": lambda g: parts(gtnet.push(g)),
    "push, tropical": lambda g: parts(gtnet.push(g, semiring="tropical")),
    "push, total removed": lambda g: parts(gtnet.push(g, remove=True)),
    "slack": lambda g: (d := gtnet.slack(g)).masked_fill(d == NEG_INF, 0),
    "merge_arcs": lambda g: parts(gtnet.merge_arcs(g)),
    "condense": lambda g: parts(gtnet.condense(g).graph),
    "relaxed_sample": lambda g: gtnet.relaxed_sample(
        g.with_weights(g.weights - 9), 2, generator=torch.Generator().manual_seed(0)
    ),
    "sample_distinct": lambda g: torch.cat(
        [
            d.log_probability
            for d in gtnet.sample_distinct(g, 2, generator=torch.Generator().manual_seed(0))
        ]
    ),
    "compose": lambda g: parts(gtnet.compose(g, OTHER)),
    "union": lambda g: parts(gtnet.union(g, OTHER)),
    "closure": lambda g: parts(gtnet.closure(g)),
    "connect": lambda g: parts(gtnet.connect(g)),
    "prune": lambda g: parts(gtnet.prune(g, beam=2.0)),
}


def recognized(x: torch.Tensor) -> gtnet.Lattice:
    return Emissions(x.transpose(0, 1)) @ gtnet.ctc_topology(3, dtype=x.dtype)


def learnt(x: torch.Tensor) -> gtnet.Lattice:
    return Emissions(x.transpose(0, 1)) @ gtnet.bigram_graph(3, x.reshape(-1)[:9].view(3, 3))


def segments(x: torch.Tensor) -> gtnet.Lattice:
    rows = x.transpose(0, 1).unsqueeze(2).expand(-1, -1, 2, -1)
    return gtnet.segment_emissions(rows) @ gtnet.bigram_graph(3, x.reshape(-1)[:9].view(3, 3))


def transducer(x: torch.Tensor) -> torch.Tensor:
    joint = x.transpose(0, 1).unsqueeze(2).expand(-1, -1, 3, -1)
    return losses.transducer_loss(joint.log_softmax(3), TARGETS, reduction="none")


OF_SCORES = {
    "ctc_loss": lambda x: losses.ctc_loss(x.log_softmax(2), TARGETS, [4, 3], [2, 1]),
    "ctc_loss, each": lambda x: losses.ctc_loss(x, TARGETS, [4, 3], [2, 1], reduction="none"),
    "ctc_loss, cold": lambda x: losses.ctc_loss(x, TARGETS, [4, 3], [2, 1], beta=0.5),
    "asg_loss": lambda x: losses.asg_loss(x, TARGETS, [4, 3], [2, 1], x[:3, 0]),
    "transducer_loss": transducer,
    "lf_mmi_loss": lambda x: losses.lf_mmi_loss(
        Emissions(x.transpose(0, 1)),
        gtnet.ctc_graph([[1, 2], [1]], dtype=x.dtype),
        gtnet.ctc_topology(3, dtype=x.dtype),
    ),
    "forward_score": lambda x: recognized(x).forward_score(),
    "forward_score, learnt": lambda x: learnt(x).forward_score(),
    "forward_score, segments": lambda x: segments(x).forward_score(),
    "forward_score, built": lambda x: gtnet.forward_score(learnt(x).graph()),
    "label_posteriors": lambda x: recognized(x).label_posteriors(),
    "entropy": lambda x: learnt(x).entropy(),
    "viterbi_score": lambda x: learnt(x).viterbi_score(),
    "viterbi_path": lambda x: parts(learnt(x).viterbi_path()),
    "k_best": lambda x: parts(*learnt(x).k_best(2)),
    "prune": lambda x: parts(learnt(x).prune(beam=3.0)),
    "beam_search": lambda x: parts(
        gtnet.beam_search(
            Emissions(x.transpose(0, 1)), gtnet.ctc_topology(3, dtype=x.dtype), beam=9.0
        )
    ),
}


def cases() -> dict[str, tuple]:
    found = {}
    for kind, graph in GRAPHS.items():
        for name, function in OF_GRAPHS.items():
            found[f"{name}, {kind}"] = (
                lambda w, f=function, g=graph: f(g.with_weights(w)),
                graph.weights,
            )
    return found | {f"{name} of scores": (f, SCORES) for name, f in OF_SCORES.items()}


CASES = cases()


def tangent(function, x, along):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(x, along))).tangent


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_forward_and_reverse_mode_agree_at_first_and_second_order(name):
    function, x = CASES[name]

    def once(x):
        return function(x).sin().sum()

    close = torch.testing.assert_close
    slopes = jacobian(function, x)
    close(jacfwd(function)(x), slopes)
    along = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    dims = tuple(range(slopes.ndim - x.ndim, slopes.ndim))
    expected = (slopes * along).sum(dims)
    close(tangent(function, x, along), expected)
    close(tangent(function, x.clone().requires_grad_(), along).detach(), expected)
    curvature = hessian(once, x)
    close(torch.func.hessian(once)(x), curvature)
    close(jacrev(jacfwd(once))(x), curvature)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("name", ["forward_score", "posteriors", "remove_epsilon", "push"])
def test_second_derivatives_are_those_of_differences(name, kind):
    graph = GRAPHS[kind]
    function = OF_GRAPHS[name]
    weights = graph.weights.detach().clone().requires_grad_()
    assert gradgradcheck(lambda w: function(graph.with_weights(w)), weights, atol=1e-4, eps=1e-5)


def test_forward_mode_reaches_start_and_accept_scores():
    for graph in GRAPHS.values():
        ends = [t.masked_fill(t == NEG_INF, -3.0) for t in (graph.start, graph.accept)]

        def score(start, accept, graph=graph):
            return gtnet.forward_score(graph.with_weights(start=start, accept=accept))

        for place in (0, 1):
            found = jacfwd(score, argnums=place)(*ends)
            torch.testing.assert_close(found, jacrev(score, argnums=place)(*ends))


def test_determinize_says_which_derivatives_it_lacks():
    graph = GRAPHS["acyclic"]

    def score(weights):
        return parts(gtnet.determinize(graph.with_weights(weights))).sin().sum()

    weights = graph.weights.detach()
    torch.testing.assert_close(grad(score)(weights), jacobian(score, weights))
    leaf = weights.clone().requires_grad_()
    (first,) = torch.autograd.grad(score(leaf), leaf, create_graph=True)
    with pytest.raises(ValueError, match="determinize: only first derivatives exist"):
        first.sum().backward()
    with pytest.raises(ValueError, match="determinize: only first derivatives exist"):
        jacrev(jacrev(score))(weights)
    for transform in (jacfwd, torch.func.hessian):
        with pytest.raises(ValueError, match="determinize: derivatives exist in reverse mode only"):
            transform(score)(weights)
    with pytest.raises(ValueError, match="determinize: derivatives exist in reverse mode only"):
        tangent(score, weights, weights)


def test_forward_mode_does_not_nest():
    """torch drops the tangents of functions like these; no derivative is better than a wrong."""
    with pytest.raises(ValueError, match="take the inner ones by"):
        jacfwd(jacfwd(CASES["forward_score, acyclic"][0]))(GRAPHS["acyclic"].weights)


CHOOSING = {
    "k_best": lambda g: gtnet.k_best(g, 2, unique="ilabels"),
    "enumerate_paths": lambda g: gtnet.enumerate_paths(g, 9, max_length=2),
    "determinize": gtnet.determinize,
    "minimize": gtnet.minimize,
    "optimize": gtnet.optimize,
    "push": lambda g: gtnet.push(g, what="labels"),
    "equivalent": lambda g: gtnet.equivalent(g, g),
    "randomly_equivalent": lambda g: gtnet.randomly_equivalent(OTHER, g),
    "equal": lambda g: g.equal(g),
    "isomorphic": lambda g: OTHER.isomorphic(g),
    **{
        name: OF_GRAPHS[name]
        for name in ("viterbi_path", "sample", "best_answers", "remove_epsilon", "prune")
    },
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("name", CHOOSING)
def test_vmap_is_refused_where_scores_decide_the_size(name, kind, capfd):
    graph = GRAPHS[kind]

    def call(weights):
        CHOOSING[name](graph.with_weights(weights))
        return weights

    batch = torch.stack([graph.weights, graph.weights / 2])
    wrong = rf"^{name}: torch.vmap cannot map it.*gtnet.stack"
    with pytest.raises(ValueError, match=wrong):
        vmap(call)(batch)
    with pytest.raises(ValueError, match=wrong):
        vmap(grad(lambda w: call(w).sum()))(batch)
    assert capfd.readouterr().err == ""  # torch warns there of operators it does not know


def test_vmap_is_refused_by_what_a_lattice_chooses():
    methods = {
        "viterbi_path": lambda x: learnt(x).viterbi_path(),
        "viterbi_score": lambda x: learnt(x).viterbi_score(),
        "k_best": lambda x: learnt(x).k_best(2),
        "sample": lambda x: learnt(x).sample(2),
        "prune": lambda x: learnt(x).prune(beam=1.0),
        "arc_posteriors": lambda x: learnt(x).arc_posteriors(),
        "beam_search": OF_SCORES["beam_search"],
    }
    for name, method in methods.items():
        with pytest.raises(ValueError, match=f"^{name}: torch.vmap cannot map it"):
            vmap(method)(torch.stack([SCORES, SCORES]))
    slope = grad(lambda w: gtnet.viterbi_score(GRAPHS["acyclic"].with_weights(w)).sum())
    with pytest.raises(ValueError, match=r"^viterbi_score: .* cannot map it"):
        vmap(slope)(GRAPHS["acyclic"].weights.expand(2, -1))


@pytest.mark.parametrize("name", ["label_posteriors", "entropy"])
def test_vmap_of_what_a_lattice_sums(name):
    function, batch = OF_SCORES[name], torch.stack([SCORES, SCORES / 2])
    torch.testing.assert_close(vmap(function)(batch), torch.stack([function(x) for x in batch]))
    slope = grad(lambda x: function(x).sin().sum())
    torch.testing.assert_close(vmap(slope)(batch), torch.stack([slope(x) for x in batch]))


def test_a_mapped_graph_is_shown_without_its_scores():
    shown = []
    graph = GRAPHS["acyclic"]
    vmap(lambda w: (shown.append(repr(graph.with_weights(w))), w)[1])(graph.weights.expand(2, -1))
    assert shown == [repr(graph).splitlines()[0]]


def test_vmap_of_ends_that_are_possible_in_some_places_only():
    graph = GRAPHS["cyclic"]
    accept = torch.stack([graph.accept, graph.accept.roll(1), torch.full_like(graph.accept, -1.0)])
    for function in (
        lambda g: gtnet.forward_score(gtnet.connect(g)),
        lambda g: gtnet.forward_score(gtnet.compose(g, OTHER)),
        lambda g: gtnet.forward_score(gtnet.concat(g, OTHER)),
        lambda g: gtnet.forward_score(gtnet.union(g, OTHER)),
    ):
        expected = torch.stack([function(graph.with_weights(accept=a)) for a in accept])
        found = vmap(lambda a, f=function: f(graph.with_weights(accept=a)))(accept)
        torch.testing.assert_close(found, expected)
