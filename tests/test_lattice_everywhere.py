"""Every public function that takes a graph takes a Lattice, with the result of its `graph()`."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import networkx
import numpy as np
import pytest
import torch
from torch import Tensor

import gtnet
from gtnet import EPSILON, Emissions, Graph, Lattice, interop, linear, losses, nn, stack
from gtnet.compat import gtn as compat
from gtnet.draw import GraphPicture

# What composition promises, and what it is asked


def transducer(dtype: torch.dtype) -> Graph:
    """Epsilons on both sides, loops, an impossible arc; its products with frames are acyclic."""
    weights = torch.linspace(-1, 1, 8, dtype=dtype)
    weights[3] = -math.inf
    return Graph(
        [0, 0, 1, 0, 1, 1, 2, 0], [1, 2, 2, 0, 0, 1, 2, 1], [0, 1, EPSILON, 2, 2, 1, 0, 1],
        [1, 0, 2, 1, EPSILON, 2, EPSILON, 0], weights,
        start=torch.tensor([0.5, -math.inf, -1], dtype=dtype),
        accept=torch.tensor([-math.inf, 0.25, 1], dtype=dtype),
    )  # fmt: skip


def recognizer(dtype: torch.dtype) -> Graph:
    """A deterministic acceptor."""
    weights = torch.linspace(-1, 1, 5, dtype=dtype)
    return Graph([0, 0, 1, 1, 2], [1, 2, 2, 1, 2], [0, 1, 1, 0, 2], None, weights, accept=[1, 2])


def segments(dtype: torch.dtype) -> Graph:
    weights = torch.linspace(-0.5, 0.5, 4, dtype=dtype)
    one = Graph([0, 1, 0, 1], [1, 2, 2, 2], [0, 0, 0, 0], None, weights, accept={2: 0.5})
    return stack([one, linear([0], dtype=dtype)])


OPERANDS: dict[str, Callable[[torch.dtype], Graph]] = {
    "transducer": transducer,
    "segments": transducer,
    "several": lambda dtype: stack([transducer(dtype), recognizer(dtype)]),
    "acceptor": recognizer,
    "one": recognizer,
    "word": lambda dtype: linear([[0, 1], [1, 2]], dtype=dtype),
    "single word": lambda dtype: linear([0, 1], dtype=dtype),
    "nothing": lambda dtype: linear([0, 1, 2, 0], dtype=dtype),
    "no items": lambda dtype: transducer(dtype)[:0],
}


def promised(kind: str, dtype: torch.dtype) -> tuple[Lattice, list[Tensor]]:
    """A lattice, always the same one, and the scores that it is made of, which require grad."""
    generator = torch.Generator().manual_seed(7)
    batch = 1 if kind in ("one", "single word", "no items") else 2
    frames = 2 if "word" in kind else 3
    operand = OPERANDS[kind](dtype)
    weights = operand.weights.clone().requires_grad_()
    if kind == "segments":
        scores = torch.randn(5, 3, dtype=dtype, generator=generator).requires_grad_()
        cuts = segments(dtype)
        own = cuts.weights.clone().requires_grad_()
        emissions, leaves = Emissions(scores, graph=cuts.with_weights(own)), [scores, own, weights]
    else:
        scores = torch.randn(batch, frames, 3, dtype=dtype, generator=generator).requires_grad_()
        lengths = [3, 2] if kind in ("transducer", "several") else None
        emissions, leaves = Emissions(scores, lengths), [scores, weights]
    return emissions @ operand.with_weights(weights), leaves


EVERY = ("transducer", "segments", "several", "one", "no items")
ITEMS = EVERY[:-1]
SOME = ("transducer", "segments", "nothing")
FEW = ("several", "nothing")
Work = Callable[[Any], Any]
CASES: dict[str, list[tuple[tuple[str, ...], Work]]] = {}


def case(name: str, work: Work, *kinds: str) -> None:
    CASES.setdefault(name, []).append((kinds or EVERY, work))


def other(g: Any, labels: Any = (0, 1)) -> Graph:
    return linear(list(labels), dtype=g.dtype)


def written(work: Callable[[Any, Path], None]) -> Work:
    """What a function that writes a file has written."""

    def read(g: Any) -> bytes:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "graph.npz"
            work(g, path)
            return path.read_bytes()

    return read


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def built(g: Graph | Lattice) -> Graph:
    return g.graph() if isinstance(g, Lattice) else g


def fed(search: gtnet.BeamSearch, dtype: torch.dtype) -> Graph:
    search.feed(torch.ones(2, 4, 3).to(dtype))
    return search.lattice()


def reweighted(g: Graph | Lattice) -> Graph:
    return built(g).with_weights(torch.sin(built(g).weights.masked_fill(built(g).weights < -9, 0)))


case(
    "Graph", lambda g: (g @ other(g), other(g) @ g, g @ Emissions(torch.zeros(1, 2, 3).to(g.dtype)))
)
case("Graph", lambda g: (g + other(g), other(g) + g, g | other(g), other(g) | g, ~g))
case("Graph", lambda g: (g.star, g.plus, g.optional, g + g, g | g, list(g), g[::2], len(g)))
case("Graph", lambda g: (g[-1], g[torch.tensor([0, 0])], g[0]), *ITEMS)
case("Graph", lambda g: (g.dtype, g.device, g.requires_grad))
case("Graph.equal", lambda g: (g.equal(g), built(g).equal(g), g.equal(built(g)), g.equal(other(g))))
case("Graph.isomorphic", lambda g: (g.isomorphic(g), built(g).isomorphic(g)))
case("Lattice.equal", lambda g: [g.equal(g), g.equal(built(g)), g.equal(other(g))])
case("Lattice.isomorphic", lambda g: [g.isomorphic(g), g.isomorphic(built(g))])
case("stack", lambda g: (stack([g, other(g), g]), stack([g]), stack([g, g])))
case(
    "Emissions", lambda g: Emissions(torch.ones(built(g).num_arcs, 2).to(g.dtype), graph=g).graph()
)
case("compose", lambda g: (gtnet.compose(g, other(g)), gtnet.compose(other(g), g)))
case("compose", lambda g: gtnet.compose(Emissions(torch.zeros(1, 3, 3).to(g.dtype)), g))
case(
    "intersect", lambda g: (gtnet.intersect(g, other(g)), gtnet.intersect(other(g), g)), "acceptor"
)
case("intersect", lambda g: gtnet.intersect(Emissions(torch.zeros(1, 3, 3)), g), "one")
case("connect", lambda g: gtnet.connect(g))
case("difference", lambda g: gtnet.difference(g, other(g, [0, 1, 2])))
case("difference", lambda g: gtnet.difference(other(g), g), "acceptor", "one")
case("replace", lambda g: gtnet.replace(g, {1: other(g, [5])}))
case("replace", lambda g: gtnet.replace(other(g, [7, 8]), {7: g, 8: other(g)}))
case("union", lambda g: gtnet.union(other(g), g, g))
case("concat", lambda g: gtnet.concat(other(g), g, other(g)))
case("closure", lambda g: [gtnet.closure(g, kind) for kind in ("star", "plus", "optional")])
case("reverse", lambda g: gtnet.reverse(g))
case("LazyComposition", lambda g: gtnet.LazyComposition(g, other(g)).graph())
case("scale", lambda g: gtnet.connect(gtnet.scale(g, -0.5)))  # else a lattice
case("invert", lambda g: gtnet.invert(g))
case("project", lambda g: [gtnet.project(g, "input"), gtnet.project(g, "output")])
case("relabel", lambda g: gtnet.relabel(g, {0: 4}, [3, 2, 1]))
case("arc_sort", lambda g: gtnet.arc_sort(g, "olabels"))
case("top_sort", lambda g: gtnet.top_sort(g))
case("determinize", lambda g: gtnet.determinize(gtnet.project(g, "output")))
case("determinize", lambda g: gtnet.determinize(g), "acceptor", "one")
case("determinize", lambda g: gtnet.determinize(g, outputs="all"), "segments", "word", "nothing")
case("minimize", lambda g: gtnet.minimize(g), "acceptor", "one", "nothing")
case("merge_arcs", lambda g: [gtnet.merge_arcs(g, how) for how in ("sum", "max", "unique")], *FEW)
case("condense", lambda g: gtnet.condense(g), *FEW)
case(
    "properties",
    lambda g: [gtnet.properties(g).is_acyclic, gtnet.properties(g).is_functional],
    *FEW,
)
case("disambiguate", lambda g: gtnet.disambiguate(g), "acceptor", "one", "no items")
case("normalize_epsilon", lambda g: gtnet.normalize_epsilon(g), "word", "nothing", "one")
case("encode", lambda g: [gtnet.encode(g)[0], list(gtnet.encode(g, scores=True)[1])], *FEW)
case("Code.decode", lambda g: gtnet.encode(built(g).detach())[1].decode(g), "one")
case("carry", lambda g: gtnet.carry(g, built(g).weights.new_ones(99), operand=1), "several")
case("slack", lambda g: [gtnet.slack(g), gtnet.slack(g, of="states")], *FEW)
case("shortest_distance", lambda g: gtnet.shortest_distance(g, math.inf), *FEW)
case("optimize", lambda g: [gtnet.optimize(g, semiring=s) for s in ("log", "tropical")])
case("push", lambda g: [gtnet.push(g), gtnet.push(g, to="accept")])
case("remove_epsilon", lambda g: [gtnet.remove_epsilon(g, semiring=s) for s in ("log", "tropical")])
case("prune", lambda g: gtnet.k_best(gtnet.prune(g, beam=1.5), 50))  # states come in another order
case("prune", lambda g: gtnet.prune(g, posterior=0.2))
case("forward_score", lambda g: [gtnet.forward_score(g, b) for b in (1.0, 0.5, math.inf)])
case("forward_score", lambda g: gtnet.forward_score(g, torch.linspace(0.5, 1, len(g)).to(g.dtype)))
case("free_energy", lambda g: [gtnet.free_energy(g, b) for b in (1.0, 2.0, math.inf)])
case("viterbi_score", lambda g: gtnet.viterbi_score(g))
case("shortest_distance", lambda g: [gtnet.shortest_distance(g, 0.5, to_accept=t) for t in (0, 1)])
case("posteriors", lambda g: [gtnet.posteriors(g), gtnet.posteriors(g, 2.0, of="states")])
case("entropy", lambda g: [gtnet.entropy(g), gtnet.entropy(g, 0.5)])
case("entropy", torch.no_grad()(lambda g: gtnet.entropy(g, 0.5)))
case(
    "expectation", lambda g: gtnet.expectation(g, torch.arange(built(g).num_arcs).to(g.dtype), 0.5)
)
case(
    "cross_entropy",
    lambda g: (gtnet.cross_entropy(g, reweighted(g)), gtnet.cross_entropy(reweighted(g), g)),
)
case("kl_divergence", lambda g: (gtnet.kl_divergence(g, reweighted(g)), gtnet.kl_divergence(g, g)))
case(
    "variational_bound",
    lambda g: (
        gtnet.variational_bound(g, reweighted(g)),
        gtnet.variational_bound(reweighted(g), g, 0.5),
    ),
)
case(
    "variational_bound",
    lambda g: gtnet.variational_bound(g, reweighted(g), samples=4, generator=seeded()),
    *ITEMS,
)
case("viterbi_path", lambda g: gtnet.viterbi_path(g))
case("k_best", lambda g: [gtnet.k_best(g, 4), gtnet.k_best(g, 3, unique="olabels")])
case("sample", lambda g: gtnet.sample(g, 3, generator=seeded()), "word", "single word", "nothing")
case("sample_distinct", lambda g: gtnet.sample_distinct(g, 3, generator=seeded()), *FEW)
case("sample_stratified", lambda g: gtnet.sample_stratified(g, 3, generator=seeded()), *FEW)
case("perturb_and_map", lambda g: gtnet.perturb_and_map(g, 2, generator=seeded()), *FEW)
case("relaxed_sample", lambda g: gtnet.relaxed_sample(g, 2, generator=seeded()), *FEW)
case("sparse_map", lambda g: list(gtnet.sparse_map(g))[::2], *FEW)
case("enumerate_paths", lambda g: gtnet.enumerate_paths(g))
case("best_answers", lambda g: [gtnet.best_answers(g), gtnet.best_answers(g, 3, beta=2.0)])
case("label_sequences", lambda g: gtnet.label_sequences(g), "word", "single word", "nothing")
case(
    "equivalent",
    lambda g: (
        gtnet.equivalent(g, other(g)),
        gtnet.equivalent(other(g), g),
        gtnet.equivalent(g, g),
    ),
    "word",
    "nothing",
)
case(
    "randomly_equivalent",
    lambda g: (
        gtnet.randomly_equivalent(g, g, num_paths=5),
        gtnet.randomly_equivalent(other(g), g, num_paths=5),
    ),
    *SOME,
)
case(
    "edit_distance", lambda g: (gtnet.edit_distance(g, other(g)), gtnet.edit_distance(other(g), g))
)
case(
    "beam_search",
    lambda g: gtnet.beam_search(Emissions(torch.ones(2, 4, 3).to(g.dtype)), g, beam=9.0),
    *ITEMS,
)
case("BeamSearch", lambda g: fed(gtnet.BeamSearch(g, beam=9.0), g.dtype), *ITEMS)
case("save", written(gtnet.save))
for options in ({}, {"highlight": "best", "posteriors": True}, {"k_best": 2}, {"max_arcs": 2}):
    case("draw", lambda g, o=options: gtnet.draw(g, index=0, **o), *SOME)
case("draw", lambda g: gtnet.draw(g), "one", "single word")
case("draw_view", lambda g: gtnet.draw_view(g, index=0).data, *SOME)
case("draw_widget", lambda g: gtnet.draw_widget(g, index=0).view, *SOME)
case("to_dot", lambda g: gtnet.to_dot(g, index=-1), *SOME)
case(
    "draw_composition",
    lambda g: (
        gtnet.draw_composition(g, other(g), index=0),
        gtnet.draw_composition(other(g), g, index=0),
    ),
    *SOME,
)
case("draw_gradient", lambda g: gtnet.draw_gradient(g, gtnet.forward_score, index=0), *SOME)
case("draw_animation", lambda g: gtnet.draw_animation([g, reweighted(g)], index=0).frames, *SOME)
case("interop.save", written(interop.save))
case("interop.to_numpy", lambda g: interop.to_numpy(g))
case("interop.to_networkx", lambda g: interop.to_networkx(g), "one", "single word")
for style in ("gtn", "openfst", "k2"):
    module, kinds = getattr(interop, style), ("one", "single word")
    case(f"interop.{style}.to_text", module.to_text, *kinds)
    case(f"interop.{style}.write", written(module.write), *kinds)
    if style != "k2":
        case(f"interop.{style}.write_binary", written(module.write_binary), *kinds)
case(
    "interop.openfst.to_pynini",
    lambda g: interop.openfst.from_fst(interop.openfst.to_pynini(g)),
    "one",
)
case(
    "interop.openfst.to_kaldifst",
    lambda g: interop.openfst.from_fst(interop.openfst.to_kaldifst(g)),
    "one",
)
if importlib.util.find_spec("k2"):
    case("interop.k2.to_fsa", lambda g: interop.k2.from_fsa(interop.k2.to_fsa(g)), "one")
case("compat.Graph.of", lambda g: compat.Graph.of(g).core, "one", "single word")

ANSWERS = ("transducer", "segments", "word")
for name in (
    "energy",
    "perceptron",
    "hinge",
    "log",
    "lvq2",
    "mce",
    "square_square",
    "square_exp",
    "nll",
    "mee",
):
    for latent in ("viterbi", "forward"):
        case(
            f"losses.{name}",
            lambda g, n=name, k=latent: getattr(losses, n)(g, other(g), latent=k),
            *ANSWERS,
        )
for name in ("structured_hinge", "soft_margin", "generalized_margin", "generalized_margin_k_best"):
    for latent in ("viterbi", "forward"):
        case(
            f"losses.{name}",
            lambda g, n=name, k=latent: getattr(losses, n)(g, other(g), latent=k),
            *ANSWERS,
        )
for name in ("viterbi", "discriminative_viterbi", "forward", "discriminative_forward"):
    case(
        f"losses.{name}",
        lambda g, n=name: getattr(losses, n)(g, other(g)),
        *ANSWERS,
        "nothing",
        "no items",
    )
case("losses.nll", lambda g: losses.nll(other(g, [0, 1]) | g, g), "word", "acceptor")
case("losses.structured_hinge", lambda g: losses.structured_hinge(g, other(g), cost=g), "acceptor")
case(
    "losses.minimum_risk",
    lambda g: [losses.minimum_risk(g, other(g), cost=c) for c in ("mismatch", "hamming", "edit")],
    *ANSWERS,
)
case(
    "losses.minimum_risk_k_best",
    lambda g: [losses.minimum_risk_k_best(g, other(g), latent=k) for k in ("viterbi", "forward")],
    *ANSWERS,
)
case(
    "losses.mwer_loss",
    lambda g: [
        losses.mwer_loss(g, other(g), latent=k, draw="k_best") for k in ("viterbi", "forward")
    ],
    "word",
)
case(
    "losses.most_offending",
    lambda g: [losses.most_offending(g, other(g), latent=k) for k in ("viterbi", "forward")],
    *ANSWERS,
)
case(
    "losses.energies",
    lambda g: [
        getattr(losses.energies(g, other(g), latent=k), e)
        for k in ("viterbi", "forward")
        for e in ("correct", "offending", "least", "free")
    ],
    *ANSWERS,
)
case(
    "losses.lf_mmi_loss",
    lambda g: losses.lf_mmi_loss(
        Emissions(torch.ones(2, 3, 3).to(g.dtype)), g, g | other(g, [2]), "none"
    ),
    *ITEMS,
)
case(
    "losses.lf_mmi_loss",
    lambda g: losses.lf_mmi_loss(
        Emissions(torch.ones(2, 3, 3).to(g.dtype)), other(g, [0, 1, 1]), g, "none"
    ),
    *ITEMS,
)
case("nn.EnergyLoss", lambda g: nn.EnergyLoss("hinge", reduction="none")(g, other(g)), *ANSWERS)
case(
    "nn.LFMMILoss",
    lambda g: nn.LFMMILoss(g, "none")(Emissions(torch.ones(2, 3, 3).to(g.dtype)), g),
    *ITEMS,
)

# What is compared


def same(ours: Any, expected: Any, exact: bool) -> None:
    """Equal results, whatever they are made of."""
    assert type(ours) is type(expected)
    if isinstance(ours, Graph):
        assert ours.equal(expected) or not exact
        for name in ("state_offsets", "arc_offsets", "source", "target", "ilabels", "olabels"):
            assert torch.equal(getattr(ours, name), getattr(expected, name)), name
        for name in ("weights", "start", "accept"):
            torch.testing.assert_close(getattr(ours, name), getattr(expected, name))
    elif isinstance(ours, Lattice):
        same(ours.graph(), expected.graph(), exact)
    elif isinstance(ours, Tensor):
        torch.testing.assert_close(ours, expected, equal_nan=True)
        assert torch.equal(ours, expected) or not exact
    elif isinstance(ours, GraphPicture):
        assert ours.dot == expected.dot
    elif isinstance(ours, networkx.Graph):
        assert networkx.utils.graphs_equal(ours, expected)
    elif isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, expected)
    elif isinstance(ours, Mapping):
        assert ours.keys() == expected.keys()
        same(list(ours.values()), list(expected.values()), exact)
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(expected)
        for one, another in zip(ours, expected, strict=True):
            same(one, another, exact)
    else:
        assert ours == expected


def scores_in(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Graph):
        yield from (result.weights, result.start, result.accept)
    elif isinstance(result, Tensor) and result.is_floating_point():
        yield result
    elif isinstance(result, list | tuple):
        for part in result:
            yield from scores_in(part)


def gradients(result: Any, leaves: list[Tensor]) -> list[Tensor]:
    """Those of a sum of all finite scores in which no two count alike."""
    total = torch.zeros((), dtype=torch.float64)
    for tensor in scores_in(result):
        finite = tensor[tensor.isfinite()].double()
        total = total + (finite * torch.linspace(1, 2, len(finite), dtype=torch.float64)).sum()
    if not total.requires_grad:
        return []
    return list(torch.autograd.grad(total, leaves, materialize_grads=True))


ALL = [
    pytest.param(kind, work, id=f"{name}-{k}-{kind}")
    for name, cases in CASES.items()
    for k, (kinds, work) in enumerate(cases)
    for kind in kinds
]


def asked(kind: str, work: Work, dtype: torch.dtype, how: str) -> tuple[Any, list[Tensor]]:
    lattice, leaves = promised(kind, dtype)
    if how == "looked at before":
        lattice.graph()
        with torch.no_grad():
            lattice.graph()
    result = work(lattice.graph() if how == "built" else lattice)
    return result, gradients(result, leaves)


@pytest.mark.parametrize(("kind", "work"), ALL)
def test_the_result_is_that_of_the_product_whether_it_was_built_or_not(kind, work) -> None:
    """In float64 too, but for files and objects of other libraries, which are float32."""
    dtypes = (
        [torch.float32, torch.float64] if kind in ("transducer", "segments") else [torch.float32]
    )
    for dtype in dtypes:
        (ours, mine), (again, still_mine), (expected, theirs) = (
            asked(kind, work, dtype, how) for how in ("a promise", "looked at before", "built")
        )
        same(ours, expected, exact=False)
        same(mine, theirs, exact=False)
        same(ours, again, exact=True)
        same(mine, still_mine, exact=True)
        same([maps(graph) for graph in graphs_in(ours)], [maps(g) for g in graphs_in(again)], True)


def graphs_in(result: Any) -> Iterator[Graph]:
    if isinstance(result, Graph):
        yield result
    elif isinstance(result, list | tuple):
        for part in result:
            yield from graphs_in(part)


def maps(graph: Graph) -> list[Tensor]:
    return [*(graph.arc_maps or ()), *(graph.state_maps or ())]


TWO_MAPS = {
    "viterbi_path": lambda g: [gtnet.viterbi_path(g)],
    "k_best": lambda g: gtnet.k_best(g, 3),
    "k_best, unique": lambda g: gtnet.k_best(g, 3, unique="ilabels"),
    "enumerate_paths": lambda g: gtnet.enumerate_paths(g),
    "prune, beam": lambda g: [gtnet.prune(g, beam=1.0)],
    "prune, posterior": lambda g: [gtnet.prune(g, posterior=0.1)],
}


@pytest.mark.parametrize("name", TWO_MAPS)
@pytest.mark.parametrize("kind", ["transducer", "segments", "several", "one", "nothing"])
@pytest.mark.parametrize("looked", [False, True])
def test_what_is_taken_out_of_a_lattice_names_the_arcs_of_both_operands(name, kind, looked):
    lattice, _ = promised(kind, torch.float64)
    product = promised(kind, torch.float64)[0].graph()
    if looked:
        lattice.graph()
    for ours, theirs in zip(TWO_MAPS[name](lattice), TWO_MAPS[name](product), strict=True):
        for which in ("arc_maps", "state_maps") if theirs.state_maps else ("arc_maps",):
            (onto_product,) = getattr(theirs, which)
            own = torch.stack(list(getattr(ours, which)))
            expected = torch.stack(list(getattr(product, which)))[:, onto_product.long()]
            if name == "prune, beam":  # in another order
                own, expected = own.unique(dim=1), expected.unique(dim=1)
            assert torch.equal(own, expected)
        read = lattice.emissions.graph()
        known = ours.arc_maps[0] >= 0
        assert torch.equal(known, ours.ilabels != EPSILON)
        assert torch.equal(read.olabels[ours.arc_maps[0][known].long()], ours.ilabels[known])
        assert torch.equal(lattice.operand.olabels[ours.arc_maps[1].long()], ours.olabels)


# Nothing is left out


def takes_graphs(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    words = ("Graph", "Lattice", "Operand")
    return any(word in str(p.annotation) for p in parameters for word in words)


def public(place: Any, prefix: str) -> Iterator[str]:
    """Functions, and classes with a method, of which a parameter is a graph."""
    for name, value in vars(place).items():
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("gtnet"):
            continue
        if not inspect.isclass(value):
            if callable(value) and takes_graphs(value):
                yield prefix + name
        elif takes_graphs(value.__init__) or takes_graphs(getattr(value, "forward", None)):
            yield prefix + name
        else:
            methods = (n for n in vars(value) if not n.startswith("_"))
            yield from (f"{prefix}{name}.{n}" for n in methods if takes_graphs(vars(value)[n]))


def test_every_public_function_that_takes_a_graph_is_asked() -> None:
    found = {*public(gtnet, ""), *public(losses, "losses."), *public(nn, "nn.")}
    for module in (interop, interop.gtn, interop.openfst, interop.k2):
        own = module.__name__.removeprefix("gtnet.") + "."
        found |= {
            name for name in public(module, own)
            if getattr(gtnet, name.removeprefix(own).split(".")[0], None) is None
        }  # fmt: skip
    elsewhere = {
        "Animation",  # of pictures
        "FailureGraph",  # of a graph alone, whose epsilons mean something else
        "HistoryGraph",  # of a network
        "Lattice",  # made by `compose`, of a graph
        "draw_alignment",  # of a lattice alone, see test_draw_kinds.py
        "losses.Energies",  # the result of `losses.energies`
        *([] if importlib.util.find_spec("k2") else ["interop.k2.to_fsa"]),
    }
    assert found - elsewhere <= CASES.keys(), sorted(found - elsewhere - CASES.keys())


@pytest.mark.parametrize("function", [gtnet.connect, gtnet.forward_score, gtnet.viterbi_path,
                                      gtnet.entropy, gtnet.prune, stack])  # fmt: skip
def test_what_is_neither_is_named(function) -> None:
    wrong = [[3]] if function is stack else [3]
    name = r"graphs\[0\]" if function is stack else "graph"
    with pytest.raises(TypeError, match=f"{function.__name__}: {name} must be a Graph, got int"):
        function(*wrong)
