"""Cases: some batches and a chain of operations; run, made smaller, written as a program."""

from __future__ import annotations

import argparse
import collections
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import torch

from gtnet import Graph
from soak import measures, names, recognizers, simplifications
from soak.leaves import Leaf, leaf, style
from soak.rewrites import OPERATIONS
from soak.trial import FailureError, Refused, Skipped, Trial

_REGISTERED = measures, recognizers, simplifications  # their operations, on import
LARGE = (9, 24)  # states and arcs of a graph beyond which it is no operand any more


@dataclass(frozen=True)
class Step:
    """An operation, the seed of its choices, and which graphs made so far it takes."""

    name: str
    seed: int
    picks: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    leaves: tuple[Leaf, ...]
    steps: tuple[Step, ...]

    def smaller(self) -> Iterator[Case]:
        """Cases with one thing less: steps from the end first, then what they begin with."""
        for k in range(len(self.steps) - 1):
            yield replace(self, steps=self.steps[k + 1 :])
            yield replace(self, steps=self.steps[:k] + self.steps[k + 1 :])
        for k in range(len(self.leaves)):
            if len(self.leaves) > 1:
                yield replace(self, leaves=self.leaves[:k] + self.leaves[k + 1 :])
        for k, one in enumerate(self.leaves):
            for simpler in one.smaller():
                yield replace(self, leaves=(*self.leaves[:k], simpler, *self.leaves[k + 1 :]))


def drawn(seed: int) -> Case:
    """The case of a seed."""
    draw = Random(seed)
    like, double = style(draw), draw.random() < 0.5
    size = draw.choice([1, 1, 2, 3])
    leaves = tuple(
        leaf(draw, like, size if draw.random() < 0.7 else 1, double)
        for _ in range(draw.choice([1, 2]))
    )
    steps = []
    for _ in range(draw.choice([2, 4, 6])):
        name = draw.choice(sorted(OPERATIONS))
        picks = tuple(draw.randrange(100) for _ in range(3))
        steps.append(Step(name, draw.randrange(2**31), picks))
    return Case(leaves, tuple(steps))


@dataclass
class Figures:
    """What a run did."""

    cases: int = 0
    graphs: int = 0
    steps: collections.Counter = None  # type: ignore[assignment]
    skipped: int = 0
    refused: int = 0
    called: set = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.steps, self.called = collections.Counter(), set()


@dataclass(frozen=True)
class Failure:
    kind: str
    what: str
    program: str


def run(case: Case, figures: Figures) -> Failure | None:
    """All steps of a case, up to the first failure."""
    lines = ["from math import inf", "import torch", "import gtnet"]
    figures.called.add("Graph")
    named: dict[int, str] = {}
    stack: list[Graph] = []
    for k, one in enumerate(case.leaves):
        graph = one.graph()
        stack.append(graph)
        named[id(graph)] = f"leaf{k}"
        lines.append(f"leaf{k} = {one.program()}")
        figures.graphs += len(one.items)
    figures.cases += 1
    for step in case.steps:
        operation = OPERATIONS[step.name]
        operands = [stack[pick % len(stack)] for pick in step.picks[: operation.operands]]
        trial = Trial(step.seed, named, lines, figures.called)
        before = len(lines)
        try:
            result = operation.run(trial, *operands)
        except Skipped:
            del lines[before:]
            figures.skipped += 1
            continue
        except Refused:
            figures.refused += 1
            continue
        except FailureError as error:
            return Failure(f"{step.name}/{error.kind}", str(error), "\n".join(lines))
        except Exception:
            return Failure(f"{step.name}/harness", traceback.format_exc(), "\n".join(lines))
        figures.steps[step.name] += 1
        figures.graphs += sum(len(o) for o in operands)
        kept = [graph for graph in [result] if graph is not None and _small(graph)]
        if kept and kept[0].dtype == stack[0].dtype:
            stack += kept
            named.setdefault(id(kept[0]), f"g{len(stack)}")
    return None


def _small(graph: Graph) -> bool:
    if len(graph) > 4 or (len(graph) and (graph.num_states / len(graph) > LARGE[0])):
        return False
    scores = torch.cat([graph.weights.detach(), graph.start.detach(), graph.accept.detach()])
    return graph.num_arcs <= LARGE[1] * max(1, len(graph)) and bool((scores < 1e5).all())


def shrunk(case: Case, failure: Failure, seconds: float = 20.0) -> tuple[Case, Failure]:
    """The smallest case found that fails in the same way."""
    end = time.monotonic() + seconds
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for smaller in case.smaller():
            found = run(smaller, Figures())
            if found is not None and found.kind == failure.kind:
                case, failure, changed = smaller, found, True
                break
            if time.monotonic() > end:
                break
    return case, failure


def soak(
    seconds: float, seed: int, *, most_cases: int | None = None, most_failures: int = 5
) -> tuple[Figures, list[tuple[int, Failure]]]:
    """Cases of the seeds seed, seed + 1, ... and the failures, one of each kind, made small."""
    torch.set_num_threads(1)
    figures = Figures()
    failures: list[tuple[int, Failure]] = []
    kinds: set[str] = set()
    end, number = time.monotonic() + seconds, seed
    while time.monotonic() < end and (most_cases is None or figures.cases < most_cases):
        case = drawn(number)
        failure = run(case, figures)
        if failure is not None and failure.kind not in kinds:
            kinds.add(failure.kind)
            failure = shrunk(case, failure)[1]
            failures.append((number, failure))
            print(
                f"\nFAILED (--seed {number}) {failure.kind}\n{failure.what}\n\n{failure.program}\n",
                flush=True,
            )
            if len(failures) >= most_failures:
                break
        number += 1
    return figures, failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=int, default=5, help="stop after so many kinds")
    given = parser.parse_args(arguments)
    print(f"soak: seed {given.seed}, {given.seconds:g} s", flush=True)
    figures, failures = soak(given.seconds, given.seed, most_failures=given.failures)
    missing = names.not_covered(figures.called)
    done = sum(figures.steps.values())
    print(
        f"soak: {figures.cases} cases, {figures.graphs} graphs, {done} operations, "
        f"{figures.skipped} passed over, {figures.refused} refused, {len(failures)} failures"
    )
    print("operations: " + ", ".join(f"{n} {c}" for n, c in sorted(figures.steps.items())))
    if missing:
        print(f"not called: {', '.join(missing)}")
    in_vain = names.excluded_in_vain(figures.called)
    if in_vain:
        print(f"excluded in vain: {', '.join(in_vain)}")
    too_short = given.seconds < 30  # then some operations may not have had their turn
    return int(bool(failures) or bool(in_vain) or (bool(missing) and not too_short))
