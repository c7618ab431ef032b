"""Operations that make numbers or paths of graphs, held against all paths written out."""

from __future__ import annotations

import math
from collections import Counter

import torch
from oracle import automata, log_sum
from oracle import shortest_distance as distances_of

from gtnet import Graph
from soak import language as of
from soak.language import language
from soak.rewrites import few_paths, operation
from soak.trial import (
    SHORT,
    FailureError,
    Trial,
    at,
    converges,
    eps,
    no_silent_divergence,
    size_of,
)

BETAS = [0.5, 1.0, 1.0, 2.0]
DIVERGES = "diverge|spectral|cycle|positive|sum|finite"


def _sums(t: Trial, graph: Graph, beta: float) -> list[float | None]:
    return [of.sum_of_paths(a, beta) for a in automata(graph)]


@operation()
def forward_score(t: Trial, graph: Graph) -> None:
    beta = t.draw.choice([*BETAS, math.inf])
    expected = _sums(t, graph, beta)
    refusals = DIVERGES if None in expected else ""
    result = t.call("forward_score", graph, beta, refusals=refusals)
    slack = 4 * eps(graph) / min(beta, 1)
    t.all_near(
        "forward_score",
        result,
        [x if x is not None else result[i].item() for i, x in enumerate(expected)],
        slack,
    )
    if None in expected:
        return
    t.all_near("free_energy", t.call("free_energy", graph, beta), [-x for x in expected], slack)
    if beta < math.inf and converges(graph):
        each = automata(graph)
        for to_accept in (False, True):
            wanted = []
            for one in each:
                if of.is_cyclic(one):
                    return
                wanted += distances_of(one, beta, to_accept=to_accept)
            found = t.call("shortest_distance", graph, beta, to_accept=to_accept)
            t.all_near("shortest_distance", found, wanted, slack)


@operation()
def viterbi_score(t: Trial, graph: Graph) -> None:
    expected = _sums(t, graph, math.inf)
    refusals = DIVERGES if None in expected or not converges(graph) else ""
    result = t.call("viterbi_score", graph, refusals=refusals)
    t.all_near("viterbi_score", result, expected, 2 * eps(graph))
    best = t.call("viterbi_path", graph)
    t.mapped_back("viterbi_path", best, [graph], sums=True)
    t.all_near("viterbi_path: score", t.call("viterbi_score", best), expected, 4 * eps(graph))
    sequences = t.call("label_sequences", best)
    t.all_near("label_sequences", [len(sequences)], [len(graph)], 0)
    for item, automaton in enumerate(automata(graph)):
        written = language(automaton, "tropical", 2 * SHORT)
        if written is not None and best[item].num_states and best[item].num_arcs <= SHORT:
            here = max(
                (x for s, x in written.items() if list(s[1]) == sequences[item]), default=None
            )
            if here is None or abs(here - expected[item]) > 4 * eps(graph):
                raise FailureError("viterbi_path: labels", f"{sequences[item]}: {here}")


@operation()
def posteriors(t: Trial, graph: Graph) -> None:
    beta = t.draw.choice(BETAS)
    found = [few_paths(a) for a in automata(graph)]
    t.need(None not in found and converges(graph))
    arcs, start, accept, visits = [], [], [], []
    for paths, automaton in zip(found, automata(graph)):
        total = log_sum([p.score for p in paths], beta)
        of_arc, first, last, passed = (
            [0.0] * n for n in (len(automaton.arcs), *[automaton.num_states] * 3)
        )
        for p in paths:
            share = math.exp(beta * (p.score - total))
            first[p.first] += share
            last[p.last] += share
            for arc in p.arcs:
                of_arc[arc - automaton.first_arc] += share
                passed[automaton.arcs[arc - automaton.first_arc].source] += share
        arcs, start, accept = arcs + of_arc, start + first, accept + last
        visits += [x + y for x, y in zip(passed, last)]
    slack = 8 * eps(graph) * beta + 1e-5 * (graph.dtype == torch.float32)
    t.all_near("posteriors", t.call("posteriors", graph, beta), arcs, slack)
    of_states = t.call("posteriors", graph, beta, of="states")
    t.all_near("posteriors of states", of_states, visits, slack)
    leaf = graph.detach().requires_grad_()
    t.names[id(leaf)] = f"{t.names.get(id(graph), 'g')}.detach().requires_grad_()"
    score = t.call("forward_score", leaf, beta)
    score.sum().backward()
    for name, wanted in (
        ("weights", arcs),
        ("start", start),
        ("accept", accept),
    ):
        t.all_near(f"gradient of forward_score to {name}", getattr(leaf, name).grad, wanted, slack)


@operation()
def entropy(t: Trial, graph: Graph) -> None:
    beta = t.draw.choice(BETAS)
    found = [few_paths(a) for a in automata(graph)]
    t.need(None not in found and converges(graph))
    slack = 64 * eps(graph) * beta + 1e-4 * (graph.dtype == torch.float32)
    entropies, bounds, lengths, others = [], [], [], []
    other = graph.detach().with_weights(graph.weights.detach() * 0.5)
    t.names[id(other)] = "{0}.detach().with_weights({0}.weights.detach() * 0.5)".format(
        t.names.get(id(graph), "g")
    )
    for paths, seconds in zip(found, (few_paths(a) for a in automata(other))):
        total = log_sum([p.score for p in paths], beta)
        total_q = log_sum([p.score for p in seconds], beta)
        logs = [beta * (p.score - total) for p in paths]
        logs_q = {(*p.arcs, p.first): beta * (p.score - total_q) for p in seconds}
        entropies.append(-math.fsum(math.exp(x) * x for x in logs))
        lengths.append(math.fsum(math.exp(x) * len(p.arcs) for x, p in zip(logs, paths)))
        others.append(
            -math.fsum(math.exp(x) * logs_q[(*p.arcs, p.first)] for x, p in zip(logs, paths))
        )
        bounds.append(others[-1] - entropies[-1])
    t.all_near("entropy", t.call("entropy", graph, beta), entropies, slack)
    ones = torch.ones(graph.num_arcs, dtype=graph.dtype)
    t.all_near("expectation", t.call("expectation", graph, ones, beta), lengths, slack)
    crossed = t.call("cross_entropy", graph, other, beta)
    t.all_near("cross_entropy", crossed, others, 4 * slack)
    t.all_near("kl_divergence", t.call("kl_divergence", graph, other, beta), bounds, 4 * slack)
    # The bound of q = p at beta is the free energy.
    own = graph.detach().to(torch.float64)
    t.names[id(own)] = f"{t.names.get(id(graph), 'g')}.detach().to(torch.float64)"
    bound = t.call("variational_bound", own, own)
    t.all_near("variational_bound", bound, t.call("free_energy", own).tolist(), slack * 4)


@operation()
def k_best(t: Trial, graph: Graph) -> None:
    found = [few_paths(a) for a in automata(graph)]
    t.need(None not in found and converges(graph))
    k, unique = t.draw.choice([0, 1, 2, 5, 30]), t.draw.choice([None, "ilabels", "olabels"])
    result = t.call("k_best", graph, k, unique=unique)
    for item, paths in enumerate(found):
        scores = [p.score for p in paths]
        if unique is not None:
            by_labels: dict = {}
            for p in paths:
                labels = p.inputs if unique == "ilabels" else p.outputs
                by_labels[labels] = max(by_labels.get(labels, -math.inf), p.score)
            scores = list(by_labels.values())
        wanted = sorted(scores, reverse=True)[:k]
        ours = result[item]
        t.mapped_back("k_best", ours, [graph], sums=True)
        t.all_near("k_best", t.call("viterbi_score", ours), wanted, 4 * eps(graph))
        if unique is not None:
            sequences = t.call("label_sequences", ours, unique)
            if len({tuple(s) for s in sequences}) < len(sequences):
                raise FailureError("k_best: unique", str(sequences))
        else:
            ways = Counter(p.arcs for p in paths)
            drawn = Counter(tuple(o.arc_maps[0].tolist()) for o in ours)
            if drawn - ways:
                raise FailureError("k_best: no path, or one twice", str(drawn - ways))


@operation()
def enumerate_paths(t: Trial, graph: Graph) -> None:
    found = [few_paths(a) for a in automata(graph)]
    t.need(None not in found)
    result = t.call("enumerate_paths", graph)
    for paths, ours in zip(found, result):
        t.mapped_back("enumerate_paths", ours, [graph], sums=True)
        listed = sorted(tuple(p.arc_maps[0].tolist()) for p in ours)
        if listed != sorted(p.arcs for p in paths):
            raise FailureError("enumerate_paths", f"{listed}, expected {[p.arcs for p in paths]}")
    n = t.draw.choice([1, 4])
    drawn = t.call("sample", graph, n, generator=t.generator())
    for paths, ours in zip(found, drawn):
        t.mapped_back("sample", ours, [graph], sums=True)
        t.all_near("sample: how many", [len(ours)], [n if paths else 0], 0)
        for path in ours:
            if tuple(path.arc_maps[0].tolist()) not in {p.arcs for p in paths}:
                raise FailureError("sample", f"no path: {path}")


@operation()
def best_answers(t: Trial, graph: Graph) -> None:
    found = [few_paths(a) for a in automata(graph)]
    t.need(None not in found and converges(graph))
    beta, k = t.draw.choice(BETAS), t.draw.choice([1, 3, 50])
    result = t.call("best_answers", graph, k, beta=beta)
    for ours, paths in zip(result, found):
        answers: dict = {}
        for p in paths:
            answers.setdefault(p.outputs, []).append(p.score)
        sums = {answer: log_sum(scores, beta) for answer, scores in answers.items()}
        wanted = sorted(sums.values(), reverse=True)[:k]
        slack = 16 * eps(graph) / beta
        t.all_near("best_answers", t.call("viterbi_score", ours), wanted, slack)
        for labels, score in zip(t.call("label_sequences", ours), t.call("viterbi_score", ours)):
            t.near("best_answers: labels", score.item(), sums.get(tuple(labels), 1.0), slack)


@operation(2)
def equivalence(t: Trial, a: Graph, b: Graph) -> None:
    size = size_of(a, b)
    t.need(converges(a) and converges(b) and a.is_acceptor and b.is_acceptor)
    acyclic = not any(of.is_cyclic(x) for g in (a, b) for x in automata(g))
    t.need(acyclic)
    other = t.draw.choice([b, t.call("reverse", t.call("reverse", a))])
    size = size_of(a, other)
    ours, theirs = automata(a), automata(other)
    same, clear = [], []
    for item in range(size):
        x, y = (language(at(g, item), "log", 40) for g in (ours, theirs))
        gaps = [
            abs(x.get(s, -math.inf) - y.get(s, -math.inf))
            for s in {**x, **y}
            if x.get(s) != y.get(s)
        ]
        scale = max([1.0, *map(abs, x.values()), *map(abs, y.values())])
        same.append(all(g <= 1e-6 * scale for g in gaps))
        clear.append(same[-1] or max(gaps) > 1e-2 * scale)
    first, second = (
        t.call("determinize", g.detach().to(torch.float64), max_states=500, refusals="max_states")
        for g in (a, other)
    )
    answers = t.call("equivalent", first, second)
    chance = t.call("randomly_equivalent", a, other, num_paths=20, generator=t.generator())
    for item in range(size):
        if clear[item] and bool(answers[item]) != same[item]:
            raise FailureError("equivalent", f"item {item}: {bool(answers[item])}, is {same[item]}")
        if same[item] and not bool(chance[item]):
            raise FailureError("randomly_equivalent", f"item {item} is called different")


@operation(2)
def edit_distance(t: Trial, a: Graph, b: Graph) -> None:
    size = size_of(a, b)
    found = [[few_paths(x) for x in automata(g)] for g in (a, b)]
    t.need(None not in found[0] + found[1])
    result = t.call("edit_distance", a, b)
    for item in range(size):
        ours, theirs = (x[0] if len(x) == 1 else x[item] for x in found)
        pairs = [(p, q) for p in ours for q in theirs]
        t.need(len(pairs) < 400)
        wanted = min(
            (_levenshtein(p.outputs, q.inputs) - p.score - q.score for p, q in pairs),
            default=math.inf,
        )
        t.near("edit_distance", result[item].item(), wanted, 6 * eps(a, b))


def _levenshtein(x: tuple, y: tuple) -> int:
    row = list(range(len(y) + 1))
    for i, one in enumerate(x, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(y, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


@operation(2)
def gradients(t: Trial, a: Graph, b: Graph) -> None:
    """Path sums of rewrites: the gradient along a direction is that of a difference."""
    size_of(a, b)
    how = t.draw.choice(
        ["connect", "reverse", "invert", "remove_epsilon", "determinize", "minimize", "push",
         "union", "concat", "compose", "plus", "arc_sort", "entropy", "viterbi_path"]
    )  # fmt: skip
    a, b = a.detach().to(torch.float64), b.detach().to(torch.float64)
    t.names |= {id(a): "a", id(b): "b"}
    t.need(converges(a) and converges(b) and no_silent_divergence(a))
    scale = max(
        [0.0]
        + [
            float(x[x > -math.inf].abs().max())
            for g in (a, b)
            for x in (g.weights, g.start, g.accept)
            if bool((x > -math.inf).any())
        ]
    )
    t.need(scale < 50)
    if how == "determinize":
        t.need(not any(of.is_cyclic(x) for x in automata(a)))
        a = t.call("project", a, "output").detach()
    if how == "viterbi_path":
        for paths in map(few_paths, automata(a)):
            t.need(paths is not None)
            best = sorted((p.score for p in paths), reverse=True)[:2]
            t.need(len(best) < 2 or best[0] - best[1] > 1e-3)
    source = torch.Generator().manual_seed(t.seed % 2**31)
    directions = [
        torch.randn(len(x), generator=source, dtype=torch.float64)
        for x in (a.weights, a.start, a.accept)
    ]

    def at_step(step: float, grad: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        parts = [
            (x + step * d).requires_grad_(grad)
            for x, d in zip((a.weights, a.start, a.accept), directions)
        ]
        moved = a.with_weights(parts[0], start=parts[1], accept=parts[2])
        return total(moved), parts

    def total(g: Graph) -> torch.Tensor:
        import gtnet

        t.called.add("Graph.requires_grad_")
        if how in ("union", "concat", "compose"):
            made = getattr(gtnet, how)(g, b)
        elif how == "minimize":
            made = gtnet.minimize(gtnet.determinize(g, max_states=300, on="pairs"))
        elif how == "determinize":
            made = gtnet.determinize(g, max_states=300)
        elif how == "plus":
            made = g.plus
        elif how == "entropy":
            return gtnet.entropy(g).sum()
        else:
            made = getattr(gtnet, how)(g)
        for automaton in automata(made.detach()):
            t.need(of.sum_of_paths(automaton) is not None)
        score = gtnet.forward_score(made)
        return score[score > -math.inf].sum()

    try:
        value, parts = at_step(0.0, True)
        if not value.requires_grad:
            return
        found = torch.autograd.grad(value, parts, allow_unused=True)
        step = 1e-5
        ahead, behind = (at_step(s, False)[0].item() for s in (step, -step))
    except ValueError as error:
        if "max_states" in str(error) or "deterministic" in str(error) or "close" in str(error):
            return
        raise FailureError(f"gradient of {how} raises", str(error)) from error
    ours = 0.0
    for grad, direction in zip(found, directions):
        if grad is not None:
            if not bool(torch.isfinite(grad).all()):
                raise FailureError(f"gradient of {how} is not finite", str(grad))
            ours += float((grad * direction).sum())
    theirs = (ahead - behind) / (2 * step)
    t.near(f"gradient of {how}", ours, theirs, 1e-4 * (1 + abs(theirs)) + 1e-9 * scale / step)
