"""Operations that make graphs of graphs, each with the language that the result must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from oracle import Automaton, automata, matching
from oracle import paths as all_paths

import gtnet
from gtnet import Graph
from soak import language as of
from soak.language import EPSILON, Language, language
from soak.trial import (
    MANY,
    SHORT,
    FailureError,
    Trial,
    at,
    converges,
    eps,
    no_silent_divergence,
    size_of,
)

DELTA = 1e-5  # what determinize and minimize may add to the score of a string, and some


@dataclass(frozen=True)
class Operation:
    run: Callable[..., Graph | None]
    operands: int


OPERATIONS: dict[str, Operation] = {}


def operation(operands: int = 1) -> Callable:
    """Registers `run(trial, *graphs)`, which returns a graph to go on with, or None."""

    def register(run: Callable) -> Callable:
        OPERATIONS[run.__name__] = Operation(run, operands)
        return run

    return register


def unchanged(
    t: Trial, graph: Graph, change: Callable[[Automaton], Automaton] = lambda a: a
) -> Callable:
    """What is expected of a rewrite that each automaton `change`d states."""
    each = automata(graph)
    return lambda item: language(change(each[item]), t.semiring, SHORT)


def few_paths(automaton: Automaton) -> list | None:
    """All paths, where they are few."""
    automaton = of.useful(automaton)
    if of.is_cyclic(automaton):
        return None
    counts = [0.0] * automaton.num_states
    order, left = [], set(range(automaton.num_states))
    while left:
        ends = [
            s for s in left if not any(a.source == s and a.target in left for a in automaton.arcs)
        ]
        order += ends
        left -= set(ends)
    for state in order:
        counts[state] = float(automaton.accept[state] > -of.math.inf) + sum(
            counts[arc.target] for arc in automaton.arcs if arc.source == state
        )
    if sum(counts[s] for s, x in enumerate(automaton.start) if x > -of.math.inf) > MANY:
        return None
    return all_paths(automaton)


# One to one


@operation()
def connect(t: Trial, graph: Graph) -> Graph:
    result = t.call("connect", graph)
    t.same_language("connect", result, unchanged(t, graph), eps(graph))
    t.mapped_back("connect", result, [graph], sums=True)
    return result


@operation()
def reverse(t: Trial, graph: Graph) -> Graph:
    result = t.call("reverse", graph)
    t.same_language("reverse", result, unchanged(t, graph, of.turned), eps(graph))
    t.mapped_back("reverse", result, [graph], sums=True)
    return result


@operation()
def scale(t: Trial, graph: Graph) -> Graph:
    factor = t.draw.choice([0.5, 0.25, 1.0])
    result = t.call("scale", graph, factor)
    t.same_language(
        "scale", result, unchanged(t, graph, lambda a: of.scaled(a, factor)), eps(graph)
    )
    return result


@operation()
def invert(t: Trial, graph: Graph) -> Graph:
    result = t.call("invert", graph)
    swapped = unchanged(t, graph, lambda a: of.mapped(a, lambda i, o: (o, i)))
    t.same_language("invert", result, swapped, eps(graph))
    return result


@operation()
def project(t: Trial, graph: Graph) -> Graph:
    side = t.draw.choice(["input", "output"])
    result = t.call("project", graph, side)
    change = (lambda i, o: (i, i)) if side == "input" else (lambda i, o: (o, o))
    t.same_language(
        "project", result, unchanged(t, graph, lambda a: of.mapped(a, change)), eps(graph)
    )
    return result


@operation()
def relabel(t: Trial, graph: Graph) -> Graph:
    maps = []
    for _ in range(2):
        labels = t.draw.choices([EPSILON, 0, 1, 2, 3], k=4)
        table = torch.tensor(labels) if t.draw.random() < 0.3 else labels
        as_dict = dict(zip([EPSILON, 0, 1, 2], labels))
        maps.append(t.draw.choice([None, as_dict, table, list(labels)]))
    result = t.call(
        "relabel", graph, maps[0], maps[1], refusals="has 4 labels, the graph has label"
    )

    def one(table: object, label: int) -> int:
        if table is None:
            return label
        if isinstance(table, dict):
            return table.get(label, label)
        return EPSILON if label == EPSILON else int(table[label])

    change = lambda i, o: (one(maps[0], i), one(maps[1], o))  # noqa: E731
    t.same_language(
        "relabel", result, unchanged(t, graph, lambda a: of.mapped(a, change)), eps(graph)
    )
    return result


@operation()
def arc_sort(t: Trial, graph: Graph) -> Graph:
    by = t.draw.choice(["ilabels", "olabels"])
    result = t.call("arc_sort", graph, by)
    t.same_language("arc_sort", result, unchanged(t, graph), eps(graph))
    t.mapped_back("arc_sort", result, [graph], sums=True)
    for item in range(len(result)):
        keys = list(zip(result[item].source.tolist(), getattr(result[item], by).tolist()))
        if keys != sorted(keys):
            raise FailureError("arc_sort: order", str(keys))
    return result


@operation()
def top_sort(t: Trial, graph: Graph) -> Graph:
    cyclic = any(of.is_cyclic(a) for a in automata(graph))
    result = t.call("top_sort", graph, refusals="cycle" if cyclic else "")
    t.same_language("top_sort", result, unchanged(t, graph), eps(graph))
    t.mapped_back("top_sort", result, [graph], sums=True)
    if bool((result.source >= result.target).any()):
        raise FailureError("top_sort: order", str(result))
    return result


@operation()
def remove_epsilon(t: Trial, graph: Graph) -> Graph:
    t.need(no_silent_divergence(graph))
    result = t.call("remove_epsilon", graph, semiring=t.semiring)
    if bool(((result.ilabels == EPSILON) & (result.olabels == EPSILON)).any()):
        raise FailureError("remove_epsilon: epsilons left", str(result))
    t.same_language("remove_epsilon", result, unchanged(t, graph), 4 * eps(graph))
    return result


@operation()
def push(t: Trial, graph: Graph) -> Graph:
    what, to = t.draw.choice(["weights", "labels"]), t.draw.choice(["start", "accept"])
    t.need(converges(graph))
    t.need(what == "weights" or not any(of.is_cyclic(a) for a in automata(graph)))
    result = t.call("push", graph, what=what, to=to, semiring=t.semiring)
    slack = 8 * eps(graph) * (1 + graph.num_states)
    t.same_language(f"push {what}", result, unchanged(t, graph), slack)
    if what == "weights" and graph.dtype == torch.float64:
        turned = of.turned if to == "accept" else lambda a: a
        for item, automaton in enumerate(map(turned, automata(result))):
            good = of.useful(automaton)
            for state in range(good.num_states):
                sums = [a.weight for a in good.arcs if a.source == state] + [good.accept[state]]
                rest = of.total(sums, t.semiring)
                if rest > -of.math.inf and abs(rest) > 1e-6 * (1 + slack * 1e6):
                    raise FailureError("push: sums to 0", f"item {item}, state {state}: {rest}")
    return result


@operation()
def determinize(t: Trial, graph: Graph) -> Graph:
    t.need(no_silent_divergence(graph))
    on = t.draw.choice(["ilabels", "pairs"])
    if on == "ilabels" and not graph.is_acceptor:
        graph = t.call("project", graph, t.draw.choice(["input", "output"]))
        t.need(no_silent_divergence(graph))
    cyclic = any(of.is_cyclic(a) for a in automata(graph))
    options = {"max_states": 200} if cyclic else {}
    refusals = "max_states" if cyclic else ""
    result = t.call("determinize", graph, semiring=t.semiring, on=on, refusals=refusals, **options)
    # Pairs must keep their alignment, so strings are those of pairs: equal ones are of equal pairs.
    slack = DELTA * (graph.num_states + 2) + 8 * eps(graph)
    t.same_language("determinize", result, unchanged(t, graph), slack)
    keys = (result.topology.global_source, result.ilabels, result.olabels)
    seen = torch.stack([k.long() for k in keys], 1)
    if len(seen.unique(dim=0)) < len(seen):
        raise FailureError("determinize: two arcs of one label", str(result))
    return result


@operation()
def minimize(t: Trial, graph: Graph) -> Graph | None:
    t.need(converges(graph))
    options = {"max_states": 200}
    if not graph.is_acceptor:
        options["on"] = "pairs"
    exact = graph.to(torch.float64)
    first = t.call("determinize", exact, semiring=t.semiring, refusals="max_states", **options)
    t.need(converges(first))
    result = t.call("minimize", first, semiring=t.semiring)
    slack = 4 * DELTA * (graph.num_states + 2) + 64 * eps(exact)
    t.same_language("minimize", result, unchanged(t, graph), slack)
    if result.num_states > first.num_states:
        raise FailureError("minimize: states", f"{result.num_states} of {first.num_states}")
    t.all_near("minimize: states of the batch", [len(result)], [len(graph)], 0)
    return result if graph.dtype == torch.float64 else None


@operation()
def optimize(t: Trial, graph: Graph) -> Graph | None:
    t.need(converges(graph))
    exact = graph.to(torch.float64)
    result = t.call("optimize", exact, semiring=t.semiring, max_states=500, refusals="max_states")
    t.valid("optimize", result)
    slack = 4 * DELTA * (graph.num_states + 2) + 64 * eps(exact)
    t.same_language("optimize", result, unchanged(t, graph), slack)
    return result if graph.dtype == torch.float64 else None


@operation()
def prune(t: Trial, graph: Graph) -> Graph:
    t.need(converges(graph))
    beam = t.draw.choice([0.0, 0.6, 2.0, 30.0, float("inf")])
    result = t.call("prune", graph, beam=beam)
    t.valid("prune", result)
    t.mapped_back("prune", result, [graph], sums=True)
    for item, automaton in enumerate(automata(graph)):
        found = few_paths(automaton)
        if found is None:
            continue
        slack = 4 * eps(graph)
        best = max((path.score for path in found), default=0.0)
        kept = {
            tuple(int(result.arc_maps[0][a]) for a in p.arcs)
            for p in all_paths(automata(result)[item])
        }
        for path in found:
            inside = path.score >= best - beam + slack
            if inside and path.arcs not in kept:
                raise FailureError("prune: a path within the beam is gone", str(path))
        on_good = {a for p in found if p.score >= best - beam - slack for a in p.arcs}
        if any(a not in on_good for arcs in kept for a in arcs):
            raise FailureError("prune: an arc outside of the beam is left", str(kept))
    posterior = t.draw.choice([0.0, 0.1, 0.5])
    t.valid("prune", t.call("prune", graph, posterior=posterior))
    return result


@operation()
def closure(t: Trial, graph: Graph) -> Graph:
    kind = t.draw.choice(["star", "plus", "optional"])
    if t.draw.random() < 0.5:
        result = t.call("closure", graph, kind)
    else:
        t.called.add(f"Graph.{kind}")
        result = getattr(graph, kind)
        t.names[id(result)] = f"{t.names.get(id(graph), 'g')}.{kind}"
    each = automata(graph)

    def expected(item: int) -> Language | None:
        one = language(each[item], t.semiring, SHORT)
        if one is None:
            return None
        if kind == "optional":
            return of.united(one, {((), ()): 0.0}, t.semiring)
        return of.repeated(one, t.semiring, SHORT, star=kind == "star")

    t.same_language(f"closure {kind}", result, expected, 4 * eps(graph))
    t.mapped_back("closure", result, [graph], sums=False)
    return result


# Several


def _pointwise(t: Trial, graphs: list[Graph], combine: Callable) -> Callable:
    each = [automata(graph) for graph in graphs]

    def expected(item: int) -> Language | None:
        found = [language(at(part, item), t.semiring, SHORT) for part in each]
        return None if None in found else combine(found)

    return expected


@operation(3)
def union(t: Trial, *graphs: Graph) -> Graph:
    graphs = graphs[: t.draw.choice([1, 2, 3])]
    size_of(*graphs)
    two = len(graphs) == 2 and t.draw.random() < 0.5
    result = t.method(graphs[0], "Graph", "__or__", graphs[1]) if two else t.call("union", *graphs)

    def combine(found: list[Language]) -> Language:
        every: Language = {}
        for one in found:
            every = of.united(every, one, t.semiring)
        return every

    t.same_language("union", result, _pointwise(t, list(graphs), combine), eps(*graphs))
    t.mapped_back("union", result, list(graphs), sums=True)
    return result


@operation(3)
def concat(t: Trial, *graphs: Graph) -> Graph:
    graphs = graphs[: t.draw.choice([1, 2, 3])]
    size_of(*graphs)
    result = t.call("concat", *graphs)

    def combine(found: list[Language]) -> Language:
        joined = found[0]
        for one in found[1:]:
            joined = of.joined(joined, one, t.semiring, SHORT)
        return joined

    t.same_language("concat", result, _pointwise(t, list(graphs), combine), 3 * eps(*graphs))
    t.mapped_back("concat", result, list(graphs), sums=False)
    return result


@operation(2)
def intersect(t: Trial, a: Graph, b: Graph) -> Graph:
    size_of(a, b)
    a, b = (g if g.is_acceptor else t.call("project", g, "input") for g in (a, b))
    result = t.call("intersect", a, b)

    def combine(found: list[Language]) -> Language:
        return {s: x + found[1][s] for s, x in found[0].items() if s in found[1]}

    t.same_language("intersect", result, _pointwise(t, [a, b], combine), 3 * eps(a, b))
    t.mapped_back("intersect", result, [a, b], sums=True)
    return result


@operation(2)
def compose(t: Trial, a: Graph, b: Graph) -> Graph:
    size = size_of(a, b)
    result = t.call("compose", a, b)
    ours, theirs = automata(a), automata(b)

    def expected(item: int) -> Language | None:
        found = few_paths(at(ours, item)), few_paths(at(theirs, item))
        if None in found:
            return _openfst_composition(t, a, b, item)
        strings: dict = {}
        for p, q in matching(*found):
            if len(p.inputs) + len(q.outputs) <= SHORT:
                strings.setdefault((p.inputs, q.outputs), []).append(p.score + q.score)
        return {string: of.total(scores, t.semiring) for string, scores in strings.items()}

    # Scores of OpenFst's 64-bit arcs pass through text of nine digits on their way here.
    by_openfst = None in [few_paths(one) for one in (*ours, *theirs)]
    slack = max(3 * eps(a, b), 1e-7 if by_openfst else 0.0)
    t.same_language("compose", result, expected, slack)
    t.mapped_back("compose", result, [a, b], sums=True)
    t.all_near("compose: items", [len(result)], [size], 0)
    return result


def _openfst_composition(t: Trial, a: Graph, b: Graph, item: int) -> Language | None:
    """The language of OpenFst's composition, where OpenFst is installed."""
    try:
        import pynini
    except ImportError:
        return None
    from test_openfst import from_openfst, to_openfst

    one, other = (g[0] if len(g) == 1 else g[item] for g in (a, b))
    arc_type = "standard" if t.tropical else "log64"
    product = pynini.compose(
        to_openfst(one.detach(), arc_type).arcsort("olabel"),
        to_openfst(other.detach(), arc_type).arcsort("ilabel"),
    )
    if a.dtype == torch.float64 and t.tropical:
        return None  # its standard arcs are float32
    return language(from_openfst(product), t.semiring, SHORT)


@operation(2)
def difference(t: Trial, a: Graph, b: Graph) -> Graph:
    size_of(a, b)
    b = b if b.is_acceptor else t.call("project", b, "output")
    result = t.call("difference", a, b)
    ours, theirs = automata(a), automata(b)

    def expected(item: int) -> Language | None:
        kept = language(at(ours, item), t.semiring, SHORT)
        # What b accepts matters, not its scores, whose sums may diverge.
        free = at(theirs, item)
        free = of.replace(
            free, arcs=tuple(of.replace(x, weight=min(x.weight, -9.0)) for x in free.arcs)
        )
        taken = language(free, "tropical", 2 * SHORT)
        if kept is None or taken is None:
            return None
        return {s: x for s, x in kept.items() if (s[1], s[1]) not in taken}

    t.same_language("difference", result, expected, eps(a))
    t.mapped_back("difference", result, [a], sums=True)
    return result


@operation(2)
def replace(t: Trial, root: Graph, rule: Graph) -> Graph:
    size_of(root, rule)
    nonterminal = 7
    mark = {1: nonterminal}
    root = t.call("relabel", root, None if not root.is_acceptor else mark, mark)
    result = t.call("replace", root, {nonterminal: rule})
    ours, theirs = automata(root), automata(rule)

    def expected(item: int) -> Language | None:
        found = few_paths(at(ours, item)), few_paths(at(theirs, item))
        if None in found:
            return None
        arcs = {arc.index: arc for arc in at(ours, item).arcs}
        inner: Language = {}
        for path in found[1]:
            inner = of.united(inner, {(path.inputs, path.outputs): path.score}, t.semiring)
        whole: Language = {}
        for path in found[0]:
            one: Language = {((), ()): path.score}
            for arc in (arcs[a] for a in path.arcs):
                reads = () if arc.ilabel in (EPSILON, nonterminal) else (arc.ilabel,)
                if arc.olabel == nonterminal:
                    one = of.joined(one, {(reads, ()): 0.0}, t.semiring, SHORT)
                    one = of.joined(one, inner, t.semiring, SHORT)
                else:
                    reads = () if arc.ilabel == EPSILON else (arc.ilabel,)
                    writes = () if arc.olabel == EPSILON else (arc.olabel,)
                    one = of.joined(one, {(reads, writes): 0.0}, t.semiring, SHORT)
            whole = of.united(whole, one, t.semiring)
        return whole

    t.same_language("replace", result, expected, 4 * eps(root, rule))
    return result


# Batches


@operation(2)
def stack(t: Trial, a: Graph, b: Graph) -> Graph:
    t.need(a.is_acceptor == b.is_acceptor or t.draw.random() < 0.5)
    items = [(a, i) for i in range(len(a))] + [(b, i) for i in range(len(b))]
    t.need(bool(items))
    chosen = t.draw.choices(items, k=min(3, len(items)))
    result = t.call("stack", [graph[i] for graph, i in chosen])
    each = [automata(graph[i])[0] for graph, i in chosen]
    t.same_language("stack", result, lambda i: language(each[i], t.semiring, SHORT), eps(a, b))
    return result


@operation()
def pick(t: Trial, graph: Graph) -> Graph:
    size = len(graph)
    t.need(size > 0)
    chosen = [t.draw.randrange(-size, size) for _ in range(t.draw.choice([1, 2, 3]))]
    index = t.draw.choice([chosen, torch.tensor(chosen), slice(None, None, -1), chosen[0]])
    result = t.method(graph, "Graph", "__getitem__", index)
    order = list(range(size))
    picked = order[index] if isinstance(index, slice | int) else chosen
    picked = [picked] if isinstance(picked, int) else picked
    each = automata(graph)
    t.same_language(
        "pick", result, lambda i: language(each[picked[i]], t.semiring, SHORT), eps(graph)
    )
    t.all_near("pick: items", [len(result)], [len(picked)], 0)
    return result


@operation()
def moved(t: Trial, graph: Graph) -> Graph:
    """Round trips through every form that holds one graph or a batch."""
    same = t.method(graph, "Graph", "to", graph.dtype)
    same = t.method(same, "Graph", "with_weights", graph.weights)
    if not t.method(same, "Graph", "equal", graph):
        raise FailureError("Graph.equal", "not itself")
    again = t.call("interop.from_numpy", t.call("interop.to_numpy", graph))
    if not again.equal(graph.detach()):
        raise FailureError("to_numpy", str(again))
    t.need(len(graph) > 0)
    one = t.method(graph, "Graph", "__getitem__", t.draw.randrange(len(graph)))
    expected = unchanged(t, one)
    from_nx = t.call("interop.from_networkx", t.call("interop.to_networkx", one), dtype=one.dtype)
    if not from_nx.equal(one.detach()):
        raise FailureError("to_networkx", str(from_nx))
    text = t.call("interop.openfst.to_text", one)
    read = t.call("interop.openfst.from_text", text, dtype=one.dtype)
    t.same_language("openfst text", read, expected, 3 * eps(one))
    read = t.call("interop.k2.from_text", t.call("interop.k2.to_text", one), dtype=one.dtype)
    t.same_language("k2 text", read, expected, 3 * eps(one))
    read = t.call("interop.gtn.from_text", t.call("interop.gtn.to_text", one))
    if one.dtype == torch.float32:
        t.same_language("gtn text", read, expected, 3 * eps(one))
        if t.draw.random() < 0.3:
            fst = t.call("interop.openfst.to_pynini", one)
            t.same_language(
                "pynini", t.call("interop.openfst.from_fst", fst), expected, 3 * eps(one)
            )
    if not t.method(one, "Graph", "isomorphic", one):
        raise FailureError("Graph.isomorphic", "not with itself")
    detached = t.method(graph, "Graph", "detach")
    if detached.requires_grad:
        raise FailureError("Graph.detach", "requires grad")
    assert gtnet.EPSILON == EPSILON
    return detached if t.draw.random() < 0.1 else same
