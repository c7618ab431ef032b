"""The soak: a moment of it is clean and calls everything public, and it finds a planted fault."""

from __future__ import annotations

import re

import pytest
import torch
from soak import names
from soak.run import Failure, main, soak

import gtnet

CASES = 160  # enough that every operation has its turn


def test_a_moment_of_it_is_clean_and_calls_every_public_name():
    figures, failures = soak(120, seed=7, most_cases=CASES)
    assert not failures, failures[0][1].kind + failures[0][1].what + failures[0][1].program
    assert names.not_covered(figures.called) == []
    assert names.excluded_in_vain(figures.called) == []


def planted(monkeypatch: pytest.MonkeyPatch, name: str, wrong) -> Failure:
    """The only kind of failure of a run in which a function of gtnet is another."""
    monkeypatch.setattr(gtnet, name, wrong(getattr(gtnet, name)))
    _, failures = soak(60, seed=11, most_failures=1)
    return failures[0][1]


def test_a_wrong_weight_is_found_and_made_small(monkeypatch):
    def wrong(reverse):
        def reversed_(graph):
            result = reverse(graph)
            return result if not graph.num_arcs else result.with_weights(result.weights + 0.25)

        return reversed_

    failure = planted(monkeypatch, "reverse", wrong)
    assert "reverse" in failure.kind and "expected" in failure.what
    (sources,) = re.findall(r"gtnet\.Graph\(\[(.*?)\]", failure.program)
    assert sources in ("0", "1")  # one graph of one arc is left
    scope: dict = {}
    exec(failure.program, scope)  # and the program runs
    assert any(isinstance(value, gtnet.Graph) for value in scope.values())


def test_a_wrong_gradient_and_a_crash_are_found(monkeypatch):
    def cut_off(score):
        return lambda graph, *rest, **options: score(graph, *rest, **options).detach()

    failure = planted(monkeypatch, "forward_score", cut_off)
    assert "does not require grad" in failure.what
    monkeypatch.undo()

    def crashing(connect):
        def connected(graph):
            if len(graph) > 1:
                raise RuntimeError("out of range")
            return connect(graph)

        return connected

    failure = planted(monkeypatch, "connect", crashing)
    assert failure.kind.endswith("connect raises RuntimeError")
    assert failure.program.count("gtnet.Graph(") == 2


def test_the_command_says_what_failed(monkeypatch, capsys):
    monkeypatch.setattr(gtnet, "invert", lambda graph: graph)
    assert main(["--seconds", "20", "--seed", "3", "--failures", "1"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED (--seed" in printed and "gtnet.invert(" in printed
    monkeypatch.undo()
    assert main(["--seconds", "1", "--seed", "3"]) == 0
    assert torch.get_num_threads() == 1
