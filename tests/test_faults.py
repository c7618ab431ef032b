"""Memory that runs out, processes that are killed, threads that share a graph: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import kill
import pytest
import torch

import gtnet
from gtnet import (
    Graph,
    compose,
    connect,
    determinize,
    entropy,
    forward_score,
    k_best,
    posteriors,
    remove_epsilon,
    sample,
    stack,
    viterbi_path,
    viterbi_score,
)


def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one():
    written, _ = kill.files(times=12, seed=1)
    assert written > 0


def test_the_harness_notices_half_a_file(monkeypatch):
    def in_place(graph, path):
        path.write_bytes(b"")
        gtnet.save(graph, path.with_suffix(".2.npz"))
        path.write_bytes(path.with_suffix(".2.npz").read_bytes())

    monkeypatch.setattr(kill, "FILES", {"graph.npz": (in_place, gtnet.load)})
    with pytest.raises((AssertionError, ValueError), match=r"graph.npz|half|lost"):
        kill.files(times=60, seed=2)


# Memory


def limited(body: str) -> str:
    """What a process prints that may have a little more memory than it has after its imports."""
    program = textwrap.dedent(
        """
        import resource, torch, gtnet
        torch.set_num_threads(1)
        small = gtnet.linear([0, 1, 2])
        gtnet.forward_score(small @ small)  # everything is loaded
        big = gtnet.linear([0] * 20_000)
        dense = gtnet.random_graph(2_000, 6_000, 1, generator=2)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))

        def refused(run):
            try:
                run()
            except (MemoryError, ValueError, RuntimeError) as error:
                print(type(error).__name__, str(error)[:200].replace(chr(10), " "))
            else:
                print("done")
            assert abs(float(gtnet.forward_score(small @ small)[0])) < 1e-6  # still usable
        """
    ) + textwrap.dedent(body)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    return found.stdout


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.skipif("san" in os.environ.get("LD_PRELOAD", ""), reason="sanitizers reserve memory")
def test_memory_that_runs_out_is_an_error_and_the_process_goes_on(tmp_path):
    printed = limited(
        f"""
        refused(lambda: gtnet.stack([big] * 400))
        refused(lambda: gtnet.Emissions(torch.zeros(1, 3_000, 9_000)) @ big)
        refused(lambda: gtnet.interop.openfst.to_text(gtnet.union(*[big] * 40)))
        refused(lambda: gtnet.save(gtnet.union(*[big] * 60), {str(tmp_path / "big.npz")!r}))
        refused(lambda: gtnet.concat(*[big] * 400))
        refused(lambda: dense @ dense)
        """
    )
    lines = printed.splitlines()
    assert len(lines) == 6 and all(line != "done" and len(line) > 12 for line in lines), printed
    assert list(tmp_path.iterdir()) == []  # no half of a file


# Threads


def test_eight_threads_share_a_graph():
    generator = torch.Generator().manual_seed(0)
    acyclic = gtnet.random_graph(60, 200, 3, size=4, epsilons=0.2, generator=generator)
    cyclic = gtnet.random_graph(
        12, 30, 3, size=3, acyclic=False, epsilons=0.2, generator=generator, dtype=torch.float64
    )
    cyclic = cyclic.with_weights(cyclic.weights - 6)

    def fresh(graph: Graph) -> Graph:
        """The same graph with nothing derived from its topology yet."""
        return gtnet.interop.from_numpy(gtnet.interop.to_numpy(graph))

    def work(graph: Graph) -> list[torch.Tensor]:
        found = [forward_score(graph), viterbi_score(graph), entropy(graph), posteriors(graph)]
        found.append(viterbi_path(graph).weights)
        found += [paths.weights for paths in k_best(graph, 3)]
        found += [
            paths.weights for paths in sample(graph, 3, generator=torch.Generator().manual_seed(1))
        ]
        found.append(forward_score(remove_epsilon(graph)))
        found.append(connect(graph).weights)
        found.append(forward_score(compose(graph, gtnet.linear([0, 1], dtype=graph.dtype))))
        found.append(forward_score(determinize(gtnet.linear([[0, 1], [1]]))))
        leaf = graph.detach().requires_grad_()
        forward_score(leaf).sum().backward()
        found.append(leaf.weights.grad)
        return [x.detach() for x in found]

    for graph in (acyclic, cyclic):
        expected = work(fresh(graph))
        for _ in range(3):
            shared, barrier = fresh(graph), threading.Barrier(8)
            results: list[list[torch.Tensor]] = []
            errors: list[BaseException] = []

            def run(shared=shared, barrier=barrier, results=results, errors=errors) -> None:
                barrier.wait()
                try:
                    results.append(work(shared))
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=run) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not errors, errors[0]
            assert len(results) == 8
            for result in results:
                for ours, theirs in zip(result, expected, strict=True):
                    assert torch.equal(ours, theirs)


def test_threads_share_emissions_and_lattices():
    scores = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(3))
    operand = gtnet.ctc_graph([[1, 2], [3], [1, 1, 4]])
    lattice = gtnet.Emissions(scores) @ operand
    expected = forward_score(gtnet.Emissions(scores) @ operand)
    results: list[torch.Tensor] = []

    def run() -> None:
        for _ in range(5):
            results.append(lattice.forward_score())
            results.append(forward_score(lattice.graph()).detach())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-4)
    assert len(stack([operand, operand])) == 6
