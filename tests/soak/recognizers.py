"""Recognizers: topologies, emissions, lattices and the losses on top, by all labellings."""

from __future__ import annotations

import itertools
import math

import torch
from oracle import automata, log_sum

from gtnet import Emissions, Graph
from soak import language as of
from soak.language import language
from soak.rewrites import few_paths, operation
from soak.trial import FailureError, Trial, eps

NEG_INF = -math.inf


def _scores(t: Trial, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    source = t.generator()
    kind = t.draw.choice(["normal", "zeros", "wide", "impossible"])
    scores = torch.randn(shape, generator=source, dtype=torch.float64)
    if kind == "zeros":
        scores = torch.zeros(shape, dtype=torch.float64)
    elif kind == "wide":
        scores = scores * 100
    elif kind == "impossible":
        scores = scores.masked_fill(torch.rand(shape, generator=source) < 0.2, NEG_INF)
    return ((scores * 1e4).round() / 1e4).to(dtype)


def _emissions(t: Trial, scores: torch.Tensor, lengths: list[int]) -> Emissions:
    return t.call("Emissions", scores, lengths)


def _dtype(t: Trial) -> torch.dtype:
    return t.draw.choice([torch.float32, torch.float64])


def _slack(dtype: torch.dtype, *scores: torch.Tensor) -> float:
    largest = max(
        [1.0] + [float(s[s > NEG_INF].abs().max()) for s in scores if bool((s > NEG_INF).any())]
    )
    return 1e-9 + 64 * torch.finfo(dtype).eps * largest


@operation(0)
def ctc(t: Trial) -> Graph | None:
    labels, frames, size = t.draw.choice([2, 3]), t.draw.randint(0, 4), t.draw.choice([1, 2])
    dtype, blank = _dtype(t), t.draw.choice([0, labels - 1])
    others = [c for c in range(labels) if c != blank]
    targets = [t.draw.choices(others, k=t.draw.randint(0, 3)) for _ in range(size)]
    lengths = [t.draw.randint(0, frames) for _ in range(size)]
    scores = (
        _scores(t, size, frames, labels, dtype=dtype).log_softmax(-1)
        if frames
        else torch.zeros(size, 0, labels, dtype=dtype)
    )
    scores = scores.nan_to_num(nan=-1.0, neginf=NEG_INF)
    slack = _slack(dtype, scores)
    expected: list[float] = []
    best: list[float] = []
    for item in range(size):
        found = []
        for frame_labels in itertools.product(range(labels), repeat=lengths[item]):
            collapsed = [c for c, _ in itertools.groupby(frame_labels) if c != blank]
            if collapsed == targets[item]:
                found.append(
                    math.fsum(scores[item, f, c].item() for f, c in enumerate(frame_labels))
                )
        expected.append(log_sum(found))
        best.append(max(found, default=NEG_INF))
    aligned = t.call("forced_align", scores, targets, lengths, blank=blank)
    t.all_near("forced_align", aligned.total, best, slack)
    graph = t.call("ctc_graph", targets, blank, dtype=dtype)
    emissions = _emissions(t, scores, lengths)
    lattice = t.call("compose", emissions, graph)
    t.all_near("ctc_graph", t.method(lattice, "Lattice", "forward_score"), expected, slack)
    topology = t.call("ctc_topology", labels, blank, dtype=dtype)
    whole = t.call("compose", topology, t.call("linear", targets, dtype=dtype))
    t.all_near(
        "ctc_topology",
        t.call("forward_score", t.call("compose", emissions, whole)),
        expected,
        slack,
    )
    longest = max(map(len, targets))
    padded = torch.tensor(
        [target + [others[0]] * (longest - len(target)) for target in targets], dtype=torch.int64
    ).reshape(size, longest)
    sizes = [len(target) for target in targets]
    arguments = (scores.transpose(0, 1), padded, lengths, sizes)
    loss = t.call("losses.ctc_loss", *arguments, blank, "none")
    t.all_near("ctc_loss", loss, [-x for x in expected], slack)
    module = t.call("nn.CTCLoss", blank, "none")
    t.all_near("CTCLoss", module(*arguments), [-x for x in expected], slack)
    searched = t.call("beam_search", emissions, whole, beam=math.inf)
    t.all_near("beam_search", t.call("forward_score", searched), expected, slack)
    stream = t.call("BeamSearch", whole, beam=math.inf)
    if len(set(lengths)) == 1 and lengths[0] == frames and frames:
        for frame in range(frames):
            stream.feed(scores[:, frame : frame + 1])
        t.all_near("BeamSearch", t.call("forward_score", stream.lattice()), expected, slack)
    return graph


@operation(0)
def asg(t: Trial) -> Graph | None:
    labels, frames, size = t.draw.choice([2, 3]), t.draw.randint(1, 4), t.draw.choice([1, 2])
    dtype = _dtype(t)
    scores = _scores(t, size, frames, labels, dtype=dtype)
    transitions = _scores(t, labels, labels, dtype=dtype).clamp(min=-5, max=5)
    targets = []
    for _ in range(size):
        target = t.draw.choices(range(labels), k=t.draw.randint(1, 3))
        targets.append([c for c, _ in itertools.groupby(target)])
    slack = _slack(dtype, scores, transitions)
    right, everything = [], []
    for item in range(size):
        of_target, of_all = [], []
        for path in itertools.product(range(labels), repeat=frames):
            score = math.fsum(scores[item, f, c].item() for f, c in enumerate(path))
            score += sum(transitions[a, b].item() for a, b in itertools.pairwise(path))
            of_all.append(score)
            if [c for c, _ in itertools.groupby(path)] == targets[item]:
                of_target.append(score)
        right.append(log_sum(of_target))
        everything.append(log_sum(of_all))
    emissions = _emissions(t, scores, [frames] * size)
    graph = t.call("asg_graph", targets, transitions)
    bigram = t.call("bigram_graph", None, transitions)
    t.all_near(
        "asg_graph", t.call("forward_score", t.call("compose", emissions, graph)), right, slack
    )
    t.all_near(
        "bigram_graph",
        t.call("forward_score", t.call("compose", emissions, bigram)),
        everything,
        slack,
    )
    wanted = [math.inf if r == NEG_INF else a - r for a, r in zip(everything, right)]
    longest = max(map(len, targets))
    padded = torch.tensor([x + [0] * (longest - len(x)) for x in targets])
    arguments = (scores.transpose(0, 1), padded, [frames] * size, [len(x) for x in targets])
    if all(a > NEG_INF for a in everything):
        loss = t.call("losses.asg_loss", *arguments, transitions, None, "none")
        t.all_near("asg_loss", loss, wanted, 4 * slack)
        module = t.call("nn.ASGLoss", labels, "none", dtype=dtype)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(
                    transitions if name == "transitions" else torch.zeros_like(parameter)
                )
        t.all_near("ASGLoss", module(*arguments).detach(), wanted, 4 * slack)
        loss = t.call("losses.lf_mmi_loss", emissions, graph, bigram, "none")
        t.all_near("lf_mmi_loss", loss, wanted, 4 * slack)
        module = t.call("nn.LFMMILoss", bigram, "none")
        t.all_near("LFMMILoss", module(emissions, graph), wanted, 4 * slack)
        _random_fields(t, scores, transitions, everything, slack)
    packed = t.call("pack_repetitions", [[0, 0, 1, 1, 1]], [8, 9])
    if packed[0].tolist() != [0, 8, 1, 9] or t.call("unpack_repetitions", packed, [8, 9])[
        0
    ].tolist() != [0, 0, 1, 1, 1]:
        raise FailureError("pack_repetitions", str(packed))
    return graph


def _random_fields(
    t: Trial, scores: torch.Tensor, transitions: torch.Tensor, everything: list[float], slack: float
) -> None:
    """A linear chain, and as segments of one frame each, has the sums of the bigram."""
    size, frames, labels = scores.shape
    tags = torch.tensor([t.draw.choices(range(labels), k=frames) for _ in range(size)])
    segments = [[(tag, 1) for tag in row] for row in tags.tolist()]
    wanted = []
    for item, row in enumerate(tags.tolist()):
        seen = math.fsum(scores[item, f, c].item() for f, c in enumerate(row))
        seen += sum(transitions[a, b].item() for a, b in itertools.pairwise(row))
        wanted.append(seen - everything[item])
    for name, given in (
        ("nn.CRF", (scores, tags, None, "none")),
        ("nn.SemiMarkovCRF", (scores[:, :, None], segments, None, "none")),
    ):
        module = t.call(name, labels, dtype=scores.dtype)
        module.batch_first = True
        with torch.no_grad():
            for which, parameter in module.named_parameters():
                parameter.copy_(
                    transitions if which == "transitions" else torch.zeros_like(parameter)
                )
            t.all_near(name, module(*given), wanted, 4 * slack)


@operation(0)
def transducer(t: Trial) -> Graph | None:
    labels, size, dtype = 3, t.draw.choice([1, 2]), _dtype(t)
    frames, longest = t.draw.randint(1, 3), t.draw.randint(0, 3)
    log_probs = (
        _scores(t, size, frames, longest + 1, labels, dtype=dtype)
        .log_softmax(-1)
        .nan_to_num(nan=-math.log(labels), neginf=NEG_INF)
    )
    targets = torch.tensor(
        [t.draw.choices([1, 2], k=longest) for _ in range(size)], dtype=torch.int64
    ).reshape(size, longest)
    lengths = [t.draw.randint(1, frames) for _ in range(size)]
    sizes = [t.draw.randint(0, longest) for _ in range(size)]
    expected = []
    for item in range(size):
        alpha = {(0, 0): 0.0}
        for f in range(lengths[item]):
            for u in range(sizes[item] + 1):
                ways = [alpha[f, u]] if (f, u) == (0, 0) else []
                if f:
                    ways.append(alpha[f - 1, u] + log_probs[item, f - 1, u, 0].item())
                if u:
                    ways.append(
                        alpha[f, u - 1]
                        + log_probs[item, f, u - 1, int(targets[item, u - 1])].item()
                    )
                alpha[f, u] = log_sum(ways)
        last = lengths[item] - 1, sizes[item]
        expected.append(alpha[last] + log_probs[item, last[0], last[1], 0].item())
    slack = _slack(dtype, log_probs)
    graph = t.call("transducer_graph", log_probs, targets, lengths, sizes)
    t.all_near("transducer_graph", t.call("forward_score", graph), expected, slack)
    loss = t.call("losses.transducer_loss", log_probs, targets, lengths, sizes, 0, "none")
    t.all_near("transducer_loss", loss, [-x for x in expected], slack)
    module = t.call("nn.TransducerLoss", 0, "none")
    t.all_near(
        "TransducerLoss", module(log_probs, targets, lengths, sizes), [-x for x in expected], slack
    )
    return None


@operation(0)
def segments(t: Trial) -> None:
    frames, durations, labels, dtype = t.draw.randint(1, 4), t.draw.choice([1, 2, 3]), 2, _dtype(t)
    scores = _scores(t, 1, frames, durations, labels, dtype=dtype)
    cuts = t.call("segment_graph", [frames], durations, dtype=dtype)
    ways = [
        c
        for n in range(1, frames + 1)
        for c in itertools.product(range(1, durations + 1), repeat=n)
        if sum(c) == frames
    ]
    t.all_near("segment_graph", [len(t.call("enumerate_paths", cuts)[0])], [len(ways)], 0)
    emissions = t.call("segment_emissions", scores, [frames])
    operand = t.call("bigram_graph", labels, dtype=dtype)
    found = []
    for way in ways:
        for path in itertools.product(range(labels), repeat=len(way)):
            at = list(itertools.accumulate(way, initial=0))
            found.append(math.fsum(scores[0, a, d - 1, c].item() for a, d, c in zip(at, way, path)))
    lattice = t.call("compose", emissions, operand)
    t.all_near(
        "segment_emissions",
        t.call("forward_score", lattice),
        [log_sum(found)],
        _slack(dtype, scores),
    )
    _lattice_as_its_product(t, lattice, _slack(dtype, scores))


@operation(1)
def lattice(t: Trial, graph: Graph) -> Graph | None:
    t.need(len(graph) > 0)
    each = automata(graph)
    t.need(all(of.closure(a, s) is not None for a in each for s in ("log", "tropical")))
    t.need(all(a.num_states <= 6 for a in each) and graph.num_arcs <= 30)
    frames = t.draw.randint(0, 3)
    scores = _scores(t, len(graph), frames, 4, dtype=graph.dtype)
    t.need(not graph.num_arcs or int(graph.ilabels.max()) < 4)
    lengths = [t.draw.randint(0, frames) for _ in range(len(graph))]
    emissions = _emissions(t, scores, lengths)
    found = t.method(emissions, "Emissions", "__matmul__", graph)
    slack = 4 * eps(graph) + _slack(graph.dtype, scores)
    for item, automaton in enumerate(each):
        for score_of, semiring in (("forward_score", "log"), ("viterbi_score", "tropical")):
            # Every string read of that length, with what it writes; outputs may be long.
            reading = of.mapped(automaton, lambda i, o: (i, -1))
            strings = language(reading, semiring, lengths[item])
            if strings is None:
                continue
            wanted = of.total(
                [
                    x + math.fsum(scores[item, f, c].item() for f, c in enumerate(s[0]))
                    for s, x in strings.items()
                    if len(s[0]) == lengths[item]
                ],
                semiring,
            )
            ours = t.method(found, "Lattice", score_of)
            t.near(f"Lattice.{score_of}", ours[item].item(), wanted, slack)
    _lattice_as_its_product(t, found, slack)
    return found.graph() if found.graph().num_arcs < 40 else None


def _lattice_as_its_product(t: Trial, found: Graph, slack: float) -> None:
    """Everything a lattice answers without being built, by the product."""
    product = t.method(found, "Lattice", "graph")
    t.valid("Lattice.graph", product)
    for name in ("equal", "isomorphic"):
        if not t.method(found, "Lattice", name, product):
            raise FailureError(f"Lattice.{name}", "not its own product")
    paths = [few_paths(a) for a in automata(product)]
    beta = t.draw.choice([0.5, 1.0])
    t.all_near(
        "Lattice: forward_score",
        t.method(found, "Lattice", "forward_score", beta),
        t.call("forward_score", product, beta),
        slack * 4,
    )
    best = t.method(found, "Lattice", "viterbi_path")
    t.all_near(
        "Lattice.viterbi_path",
        t.call("viterbi_score", best),
        t.call("viterbi_score", product),
        slack * 4,
    )
    if None in paths or any(of.is_cyclic(a) for a in automata(product)):
        return
    k = t.draw.choice([1, 3])
    for ours, theirs in zip(t.method(found, "Lattice", "k_best", k), paths):
        wanted = sorted((p.score for p in theirs), reverse=True)[:k]
        t.all_near("Lattice.k_best", t.call("viterbi_score", ours), wanted, slack * 4)
    wide = 1e-4 if product.dtype == torch.float32 else 1e-9
    wide = 8 * (wide + slack)
    t.all_near(
        "Lattice.entropy",
        t.method(found, "Lattice", "entropy", beta),
        t.call("entropy", product, beta),
        wide,
    )
    chances = t.call("posteriors", product, beta)
    by_arc = t.method(found, "Lattice", "arc_posteriors", beta)
    if len(found.operand) == len(found):
        wanted = torch.zeros(found.operand.num_arcs, dtype=product.dtype)
        of_operand = product.arc_maps[1].long()
        wanted = wanted.index_add(0, of_operand[of_operand >= 0], chances.detach()[of_operand >= 0])
        t.all_near("Lattice.arc_posteriors", torch.cat(by_arc), wanted, wide)
    by_label = t.method(found, "Lattice", "label_posteriors", beta)
    read = product.ilabels >= 0
    wanted_total = float(chances.detach()[read].sum())
    t.near("Lattice.label_posteriors", float(by_label.sum()), wanted_total, wide * 8)
    for ours, theirs in zip(
        t.method(found, "Lattice", "sample", 2, generator=t.generator()), paths
    ):
        t.all_near("Lattice.sample", [len(ours)], [2 if theirs else 0], 0)
        for score in t.call("viterbi_score", ours).tolist():
            if min((abs(score - p.score) for p in theirs), default=1.0) > slack * 4:
                raise FailureError("Lattice.sample", f"{score} is no path's")
    pruned = t.method(found, "Lattice", "prune", 1.0)
    t.valid("Lattice.prune", pruned)
    for ours, theirs in zip(automata(pruned), paths):
        left = few_paths(ours)
        if left is None:
            continue
        top = max((p.score for p in theirs), default=0.0)
        wanted_count = sum(p.score > top - 1.0 + slack * 4 for p in theirs)
        if len(left) < wanted_count:
            raise FailureError(
                "Lattice.prune", f"{len(left)} paths, {wanted_count} within the beam"
            )


@operation(0)
def made_by_hand(t: Trial) -> Graph | None:
    dtype = _dtype(t)
    words = [t.draw.choices([0, 1], k=t.draw.randint(0, 3)) for _ in range(t.draw.randint(0, 3))]
    kind = t.draw.choice(["linear", "trie", "random_graph", "builder", "edits", "hmm", "star"])
    if kind == "linear":
        graph = t.call("linear", words or [[]], dtype=dtype)
        for item, word in enumerate(words or [[]]):
            string = (tuple(word), tuple(word))
            if language(automata(graph)[item], "log", 6) != {string: 0.0}:
                raise FailureError("linear", str(word))
        return graph
    if kind == "trie":
        unique = [list(w) for w in dict.fromkeys(map(tuple, words)) if w]
        graph = t.call("trie", unique, dtype=dtype)
        wanted = {(tuple(w), (i,)): 0.0 for i, w in enumerate(unique)}
        if language(automata(graph)[0], "log", 6) != wanted:
            raise FailureError("trie", f"{unique}: {graph}")
        return graph
    if kind == "random_graph":
        options = {
            "size": t.draw.choice([1, 2]),
            "acyclic": t.draw.random() < 0.7,
            "transducer": t.draw.random() < 0.5,
            "epsilons": t.draw.choice([0.0, 0.3]),
        }
        graph = t.call("random_graph", 4, 6, 3, generator=t.seed % 1000, dtype=dtype, **options)
        t.valid("random_graph", graph)
        lower = graph.with_weights(-graph.weights.abs() - 2)
        t.names[id(lower)] = (
            f"{t.names[id(graph)]}.with_weights(-{t.names[id(graph)]}.weights.abs() - 2)"
        )
        return lower
    if kind == "builder":
        builder = t.call("GraphBuilder")
        states = [builder.add_state(start=s == 0, accept=s == 2) for s in range(3)]
        arcs = [
            (t.draw.choice(states), t.draw.choice(states), t.draw.choice([-1, 0, 1]))
            for _ in range(4)
        ]
        for arc in arcs:
            builder.add_arc(*arc, weight=-2.0)
        graph = builder.build()
        t.names[id(graph)] = "builder.build()"
        t.all_near("GraphBuilder", graph.source, [a[0] for a in arcs], 0)
        return None
    if kind == "hmm":
        target = t.draw.choices([0, 1], k=t.draw.randint(1, 2))
        graph = t.call("hmm_graph", [target], 2, loop=-1.0, step=-0.5, dtype=dtype)
        shortest = tuple(2 * c + k for c in target for k in range(2))
        score = language(automata(graph)[0], "log", 6).get((shortest, tuple(target)))
        if score is None or abs(score - -0.5 * len(shortest)) > 1e-5:
            raise FailureError("hmm_graph", f"{target}: {score}")
        return None
    if kind == "star":
        target = t.draw.choices([0, 1], k=2)
        graph = t.call("star_graph", [target], 3, insertion=-1.0, dtype=dtype)
        spelled = language(automata(graph)[0], "log", 6)
        for inserted in range(3):
            string = (*target[:inserted], 3, *target[inserted:])
            t.near("star_graph", spelled.get((string, string), NEG_INF), -1.0, 1e-5)
        scores = _scores(t, 2, 3, dtype=dtype)
        column = t.call("with_star", scores)[:, 3]
        t.all_near("with_star", column, scores[:, 1:].logsumexp(-1), _slack(dtype, scores))
        return None
    answer = t.draw.choices([0, 1], k=t.draw.randint(0, 2))
    for name in ("edit_costs", "hamming_costs", "mismatch_costs"):
        graph = t.call(name, [answer], 2, dtype=dtype)
        found = language(automata(graph)[0], "tropical", 6)
        for n in range(4):
            for other in itertools.product(range(2), repeat=n):
                if name == "mismatch_costs":
                    cost = float(list(other) != answer)
                elif name == "hamming_costs":
                    cost = float(sum(a != b for a, b in itertools.zip_longest(other, answer)))
                else:
                    from soak.measures import _levenshtein

                    cost = float(_levenshtein(tuple(answer), other))
                t.near(name, abs(found.get((other, other), NEG_INF)), cost, 1e-5)
    edits = t.call("edit_transducer", 2, dtype=dtype)
    t.all_near("edit_transducer", [edits.num_arcs], [8], 0)
    return None


# Losses on graphs


@operation(1)
def energies(t: Trial, graph: Graph) -> None:
    t.need(len(graph) > 0)
    graph = graph[0].detach() if len(graph) > 1 else graph.detach()
    t.names[id(graph)] = "graph"
    (found,) = [few_paths(a) for a in automata(graph)]
    t.need(found is not None and 0 < len(found) < 60)
    answers: dict = {}
    for p in found:
        answers.setdefault(p.outputs, []).append(p.score)
    latent = t.draw.choice(["viterbi", "forward"])
    reduce = max if latent == "viterbi" else log_sum
    table = {answer: -reduce(scores) for answer, scores in answers.items()}
    listed = sorted(table)
    right = t.draw.randrange(len(listed))
    correct = t.call("linear", [list(listed[right])], dtype=graph.dtype)
    plain = torch.tensor([[table[a] for a in listed]], dtype=graph.dtype)
    index = torch.tensor([right])
    slack = 32 * eps(graph) + 1e-5 * (graph.dtype == torch.float32)
    t.need(slack < 1e-2 and float(plain.abs().max()) < 30)
    e = t.call("losses.energies", graph, correct, latent=latent)
    rest = [table[a] for a in listed if a != listed[right]]
    t.all_near("energies: correct", e.correct, [table[listed[right]]], slack)
    t.all_near("energies: offending", e.offending, [min(rest, default=math.inf)], slack)
    t.all_near("energies: least", e.least, [min(table.values())], slack)
    t.all_near("energies: free", e.free, [-log_sum([-x for x in table.values()])], slack)
    worst = t.call("losses.most_offending", graph, correct, latent=latent)
    t.all_near("most_offending", worst.energy, [min(rest, default=math.inf)], slack)
    for name in (
        "energy perceptron hinge log lvq2 mce square_square square_exp nll mee".split()  # noqa: SIM905
    ):
        ours = t.call(f"losses.{name}", graph, correct, latent=latent)
        theirs = t.call(f"losses.{name}", plain, index)
        size = abs(theirs.item()) if math.isfinite(theirs.item()) else 0.0
        t.all_near(f"losses.{name}", ours, theirs, slack * 64 * (1 + size))
    module = t.call("nn.EnergyLoss", name, reduction="none", latent=latent)
    t.all_near("EnergyLoss", module(graph, correct), ours, 0)
    t.all_near("by_name", t.call("losses.by_name", name, latent=latent)(graph, correct), ours, 0)
    for name, kind in (
        ("viterbi", "viterbi"),
        ("discriminative_viterbi", "viterbi"),
        ("forward", "forward"),
        ("discriminative_forward", "forward"),
    ):
        ours = t.call(f"losses.{name}", graph, correct)
        if kind == latent:
            t.all_near(f"losses.{name}", ours, t.call(f"losses.{name}", plain, index), slack * 64)
    for name in ("structured_hinge", "soft_margin", "generalized_margin"):
        ours = t.call(f"losses.{name}", graph, correct, cost="mismatch", latent=latent)
        theirs = t.call(f"losses.{name}", plain, index, cost="mismatch")
        t.all_near(f"losses.{name}", ours, theirs, slack * 64)
    ours = t.call(
        "losses.generalized_margin_k_best", graph, correct, k=100, cost="mismatch", latent=latent
    )
    t.all_near(
        "generalized_margin_k_best",
        ours,
        t.call("losses.generalized_margin", plain, index, cost="mismatch"),
        slack * 64,
    )
    if latent == "forward":
        ours = t.call("losses.minimum_risk", graph, correct, cost="mismatch")
        t.all_near(
            "minimum_risk",
            ours,
            t.call("losses.minimum_risk", plain, index, cost="mismatch"),
            slack * 64,
        )
        ours = t.call(
            "losses.minimum_risk_k_best", graph, correct, k=100, cost="mismatch", latent=latent
        )
        t.all_near(
            "minimum_risk_k_best",
            ours,
            t.call("losses.minimum_risk", plain, index, cost="mismatch"),
            slack * 64,
        )
