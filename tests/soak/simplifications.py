"""Operations that keep the language and bring its paths into another form."""

from __future__ import annotations

import math

import torch
from oracle import automata

from gtnet import Graph
from soak import language as of
from soak.language import EPSILON
from soak.rewrites import DELTA, few_paths, operation, unchanged
from soak.trial import FailureError, Trial, converges, eps, no_silent_divergence


@operation()
def merge_arcs(t: Trial, graph: Graph) -> Graph:
    t.need(no_silent_divergence(graph))
    how = {"log": "sum", "tropical": "max"}[t.semiring]
    result = t.call("merge_arcs", graph, how)
    t.same_language("merge_arcs", result, unchanged(t, graph), 2 * eps(graph))
    t.mapped_back("merge_arcs", result, [graph], sums=how == "max")
    columns = (result.topology.global_source, result.topology.global_target)
    keys = torch.stack([k.long() for k in (*columns, result.ilabels, result.olabels)], 1)
    if len(keys.unique(dim=0)) < len(keys):
        raise FailureError("merge_arcs: two arcs alike", str(result))
    unique = t.call("merge_arcs", graph, "unique")
    t.mapped_back("merge_arcs unique", unique, [graph], sums=True)
    return result


@operation()
def encode(t: Trial, graph: Graph) -> Graph:
    scores = t.draw.random() < 0.5
    both = t.call("encode", graph, scores=scores)
    acceptor, code = both
    t.names |= {id(part): f"{t.names[id(both)]}[{at}]" for at, part in enumerate(both)}
    if not acceptor.is_acceptor:
        raise FailureError("encode: no acceptor", str(acceptor))
    if scores and bool((acceptor.weights != 0).any()):
        raise FailureError("encode: scores are left", str(acceptor))
    result = t.method(code, "Code", "decode", acceptor)
    for name in ("source", "target", "ilabels", "olabels", "weights", "start", "accept"):
        if not torch.equal(getattr(result, name), getattr(graph, name)):
            raise FailureError("decode: another graph", f"{name} of {result}")
    return result


@operation()
def normalize_epsilon(t: Trial, graph: Graph) -> Graph:
    t.need(no_silent_divergence(graph))
    side = t.draw.choice(["input", "output"])
    refusals = "write|max_states|read"
    result = t.call(
        "normalize_epsilon", graph, side, semiring=t.semiring, max_states=200, refusals=refusals
    )
    t.same_language("normalize_epsilon", result, unchanged(t, graph), 8 * eps(graph))
    labels = result.ilabels if side == "input" else result.olabels
    silent = labels == EPSILON
    after = torch.zeros(result.num_states, dtype=torch.bool)
    after[result.topology.global_target[silent].long()] = True
    if bool((after[result.topology.global_source.long()] & ~silent).any()):
        raise FailureError("normalize_epsilon: an arc reads after one that does not", str(result))
    return result


@operation()
def disambiguate(t: Trial, graph: Graph) -> Graph:
    if not graph.is_acceptor:
        graph = t.call("project", graph, t.draw.choice(["input", "output"]))
    t.need(no_silent_divergence(graph))
    cyclic = any(of.is_cyclic(a) for a in automata(graph))
    result = t.call(
        "disambiguate",
        graph,
        semiring=t.semiring,
        max_states=200,
        refusals="max_states" if cyclic else "",
    )
    slack = DELTA * (graph.num_states + 2) + 8 * eps(graph)
    t.same_language("disambiguate", result, unchanged(t, graph), slack)
    known = t.call("properties", result)
    if not bool(known.is_unambiguous.all()):
        raise FailureError("disambiguate: ambiguous", str(result))
    for automaton in automata(result):
        found = few_paths(automaton)
        strings = [
            tuple(automaton.arcs[a - automaton.first_arc].ilabel for a in p.arcs)
            for p in found or ()
        ]
        if len(set(strings)) < len(strings):
            raise FailureError("disambiguate: a string on two paths", str(result))
    return result


@operation()
def slack(t: Trial, graph: Graph) -> None:
    found = [few_paths(a) for a in automata(graph)]
    t.need(None not in found and converges(graph))
    arcs, states = [], []
    for paths, automaton in zip(found, automata(graph)):
        best = max((p.score for p in paths), default=0.0)
        of_arc = [-math.inf] * len(automaton.arcs)
        of_state = [-math.inf] * automaton.num_states
        for p in paths:
            behind = p.score - best
            of_state[p.first] = max(of_state[p.first], behind)
            for number in (a - automaton.first_arc for a in p.arcs):
                of_arc[number] = max(of_arc[number], behind)
                target = automaton.arcs[number].target
                of_state[target] = max(of_state[target], behind)
        arcs, states = arcs + of_arc, states + of_state
    tolerance = 4 * eps(graph)
    t.all_near("slack", t.call("slack", graph), arcs, tolerance)
    t.all_near("slack of states", t.call("slack", graph, of="states"), states, tolerance)


@operation()
def condense(t: Trial, graph: Graph) -> Graph:
    found = t.call("condense", graph, semiring=t.semiring)
    t.valid("condense", found.graph)
    t.mapped_back("condense", found.graph, [graph], sums=True)
    if any(of.is_cyclic(a) for a in automata(found.graph)):
        raise FailureError("condense: a cycle is left", str(found.graph))
    component = found.state_of_state
    apart = (
        component[graph.topology.global_source.long()]
        != component[graph.topology.global_target.long()]
    )
    t.all_near("condense: arcs", [found.graph.num_arcs], [int(apart.sum())], 0)
    return found.graph
