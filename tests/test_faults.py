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

unsanitized = pytest.mark.skipif(
    "san" in os.environ.get("LD_PRELOAD", ""), reason="sanitizers reserve memory"
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


def limited(body: str, prepare: str = "", megabytes: int = 32) -> str:
    """What a process prints that may have a little more memory than it has when it is prepared."""
    program = textwrap.dedent(
        """
        import resource, torch, gtnet
        torch.set_num_threads(1)
        small = gtnet.linear([0, 1, 2])
        gtnet.forward_score(small @ small)  # everything is loaded
        big = gtnet.linear([0] * 20_000)
        dense = gtnet.random_graph(2_000, 6_000, 1, generator=2)
        """
    )
    program += (
        textwrap.dedent(prepare)
        + textwrap.dedent(
            f"""
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ({megabytes} << 20), resource.RLIM_INFINITY))

        def refused(run):
            try:
                run()
            except (MemoryError, ValueError, RuntimeError) as error:
                print(type(error).__name__, str(error)[:200].replace(chr(10), " "))
            else:
                print("done")
            assert abs(float(gtnet.forward_score(small @ small)[0])) < 1e-6  # still usable
        """
        )
        + textwrap.dedent(body)
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    return found.stdout


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@unsanitized
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


EXPONENTIAL = """
from gtnet import *

def exponential(k):
    "Whose k-th letter from the end is a 1: 2^k sets of states."
    again = [j for j in range(1, k) for _ in (0, 1)]
    target = [0, 0, 1, *[j + 1 for j in again]]
    return Graph([0, 0, 0, *again], target, [0, 1, 1, *[0, 1] * (k - 1)], accept=k)

def net(states, arcs, **options):
    return random_graph(states, arcs, 3, generator=1, **options)

loop = Graph([0, 0], [0, 0], [0, 1], accept=0)
many = 2**31 - 1

def silent(n):
    "Every state leads on by an epsilon: n * n / 2 arcs without them."
    states = list(range(n))
    return Graph(states * 2, [s + 1 for s in states] * 2, [-1] * n + [0] * n, accept=n)
"""

HUNGRY = {
    "compose": "net(2_000, 6_000) @ net(2_000, 6_000)",
    "intersect": "intersect(forty, forty)",
    "determinize": 'determinize(exponential(24), semiring="tropical", max_states=many)',
    "optimize": 'optimize(exponential(24), semiring="tropical", max_states=many)',
    "difference": "difference(loop, exponential(24), max_states=many, max_arcs=many)",
    "remove_epsilon": "remove_epsilon(silent(3_000))",
    "push": 'push(fan, what="labels", max_arcs=many)',
    "k_best": 'k_best(loop, 2**22, unique="ilabels", max_prefixes=many)',
    "enumerate_paths": "enumerate_paths(exponential(60), many, max_length=60)",
    "best_answers": "best_answers(net(300, 3_000), 2**22, max_prefixes=many)",
    "sample": "sample(big, 2_000)",
    "beam_search": "beam_search(frames, net(1_000, 10_000, acyclic=False), beam=1e9)",
    "forward_score": "forward_score(cyclic)",
    "union": "union(*[big] * 400)",
    "concat": "concat(*[big] * 400)",
    "replace": "replace(linear([7] * 100), {7: big})",
    "minimize": "minimize(forty)",
    "equivalent": "equivalent(forty, forty)",
    "prune": "prune(forty, beam=1.0)",
    "connect": "connect(forty)",
    "closure": "closure(forty)",
}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@unsanitized
def test_operations_name_themselves_where_memory_runs_out():
    prepare = EXPONENTIAL + textwrap.dedent(
        """
        n = 3_000
        fan = Graph([*range(n), *[0] * n], [*range(1, n + 1)] * 2, [*[0] * n, *range(1, n + 1)],
                    [*range(n), *[-1] * n], accept=n)
        frames = Emissions(torch.zeros(1, 3_000, 3))
        forty = stack([big] * 40)
        cyclic = net(3_000, 60_000, acyclic=False)  # else its making may be what finds no memory
        """
    )
    body = "\n".join(f"refused(lambda: {work})" for work in HUNGRY.values())
    lines = limited(body, prepare, 24).splitlines()
    for name, line in zip(HUNGRY, lines, strict=True):
        assert line.startswith(f"MemoryError {name}: there is not enough memory"), lines


# Bounds


def test_what_long_strings_take_grows_with_their_length():
    """Chains of 20,000 states: strings for each of them would take 3 and 6 GB."""
    prepare = """
        from gtnet import *
        n = 20_000
        def chain(outputs, last):
            return Graph(list(range(n + 1)), list(range(1, n + 2)), [0] * n + [last], outputs,
                         accept=n + 1)
        both = chain([5] * n + [7], 1) | chain([6] * n + [8], 2)
        names = chain(list(range(n + 1)), 0)
        """
    body = """
        print(determinize(both).num_arcs)
        for to in ("start", "accept"):
            print(push(names, what="labels", to=to).num_arcs)
        """
    printed = limited(body, prepare, 300)
    assert printed.split() == ["60002", "40002", "40002"]


def test_bounds_have_errors_that_say_what_to_raise():
    n = 400
    steps = list(range(n))
    ends = Graph(steps, [s + 1 for s in steps], [0] * n, [5] * n, accept=[s + 1 for s in steps])
    other = Graph([*steps, n], [*[s + 1 for s in steps], n + 1], [0] * n + [2], [6] * n + [8],
                  accept=n + 1)  # fmt: skip
    with pytest.raises(ValueError, match=r"determinize: graph 0 needs more than max_states=5000"):
        determinize(ends | other, max_states=5_000)  # every end writes a string of its own
    assert determinize(ends | other).num_states > 80_000
    states = [*steps, *steps]
    silent = Graph(states, [s + 1 for s in states], [-1] * n + [0] * n, accept=n)
    with pytest.raises(ValueError, match=r"remove_epsilon: .* max_arcs=50000"):
        remove_epsilon(silent, max_arcs=50_000)
    with pytest.raises(ValueError, match=r"remove_epsilon: .* max_arcs=1000 pairs of states"):
        remove_epsilon(silent, max_arcs=1_000)
    assert remove_epsilon(silent, max_arcs=200_000).num_arcs == n * (n + 1) // 2
    fan = Graph(
        [*steps, *[0] * n], [*[s + 1 for s in steps]] * 2, [*[0] * n, *[s + 1 for s in steps]],
        [*steps, *[-1] * n], accept=n,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"push: .* more than max_arcs=1000: .* raise max_arcs"):
        gtnet.push(fan, what="labels", max_arcs=1_000)
    assert gtnet.push(fan, what="labels").num_arcs > 50_000
    again = [j for j in range(1, 12) for _ in (0, 1)]
    exponential = Graph(
        [0, 0, 0, *again], [0, 0, 1, *[j + 1 for j in again]], [0, 1, 1, *[0, 1] * 11], accept=12
    )
    loop = Graph([0, 0], [0, 0], [0, 1], accept=0)
    with pytest.raises(ValueError, match=r"difference: more than max_states=5000 states"):
        gtnet.difference(loop, exponential, max_states=5_000)
    assert gtnet.difference(loop, exponential).num_states == 2**12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_that_take_a_count_keep_a_bound_of_memory(dtype):
    generator = torch.Generator().manual_seed(0)
    graph = gtnet.random_graph(20, 200, 3, size=2, epsilons=0.2, generator=generator, dtype=dtype)
    cyclic = Graph([0, 0], [0, 1], [0, 1], weights=torch.tensor([-1e-4, -9.0], dtype=dtype),
                   accept=1)  # fmt: skip
    scores = torch.zeros(12, 30, 3, dtype=dtype, requires_grad=True)
    lattice = gtnet.Emissions(scores) @ gtnet.bigram_graph(3, dtype=dtype)
    most = 10**7
    for given in (graph, lattice):
        with pytest.raises(
            ValueError, match=r"^k_best: the 10000000 best paths .*max_prefixes=999"
        ):
            k_best(given, most, max_prefixes=999)
        with pytest.raises(
            ValueError, match=r"^sample: 10000000 paths .*max_arcs=100000000 states"
        ):
            sample(stack([graph] * 9) if given is graph else given, most)
        with pytest.raises(ValueError, match=r"^sample: 500 paths of each graph .*max_arcs=1001"):
            sample(given, 500, max_arcs=1_001)  # longer than one arc
        found = k_best(given, 5, max_prefixes=999), sample(given, 5, max_arcs=1_999)
        assert all(len(paths) == 5 for one in found for paths in one)
    with pytest.raises(ValueError, match=r"^sample: 1 paths of each graph .*max_arcs=50"):
        sample(cyclic, 1, max_arcs=50)  # one that goes round for long
    with pytest.raises(ValueError, match=r"^enumerate_paths: the paths of .*max_arcs=20 states"):
        gtnet.enumerate_paths(graph, most, max_arcs=20)
    with pytest.raises(ValueError, match=r"^variational_bound: 100000000 paths .*max_arcs"):
        gtnet.variational_bound(graph, graph, samples=10**8)
    with pytest.raises(ValueError, match=r"^best_answers: .* max_prefixes=9 prefixes"):
        gtnet.best_answers(graph, most, max_prefixes=9)
    assert k_best(graph[:0], most) == sample(graph[:0], most) == []


def test_a_deterministic_chain_of_a_million_arcs_is_not_refused():
    steps = torch.arange(1_000_000, dtype=torch.int32)
    chain = Graph(steps, steps + 1, steps % 7, accept=1_000_000)
    for made in (determinize(chain), gtnet.minimize(chain), gtnet.optimize(chain)):
        assert made.num_arcs == 1_000_000


# Signals

LONG = {
    "determinize": 'determinize(sets, semiring="tropical", max_states=many)',
    "optimize": 'optimize(sets, semiring="tropical", max_states=many)',
    "difference": "difference(loop, sets, max_states=many, max_arcs=many)",
    "compose": "compose(dense, dense, max_arcs=many)",
    "remove_epsilon": "remove_epsilon(mute, max_arcs=many)",
    "enumerate_paths": "enumerate_paths(deep, many, max_length=60, max_arcs=many)",
    "k_best": 'k_best(loop, 2**30, unique="ilabels", max_prefixes=many)',
    "k_best, acyclic": "k_best(small, 2**30, max_prefixes=many)",
    "best_answers": "best_answers(small, 2**30, max_prefixes=many)",
    "beam_search": "beam_search(frames, cyclic, beam=1e9)",
    "sample": "sample(long, 10_000, max_arcs=many)",
    "k_best of a lattice": "(few @ letters).k_best(10**6, max_prefixes=many)",
    "sample of a lattice": "(many_frames @ letters).sample(10_000, max_arcs=many)",
    "forward_score of a lattice": "(many_frames @ letters).forward_score()",
    "label_posteriors": "(many_frames @ letters).label_posteriors()",
    "viterbi_path of a lattice": "(many_frames @ letters).viterbi_path()",
    "ctc_loss": "losses.ctc_loss(logits, targets, [12_000] * 16, [3_000] * 16)",
    "gradient of ctc_loss": "again(logits.requires_grad_())",
    "gradient of forward_score": "again_of(forward_score(wide.requires_grad_()).sum())",
}


@unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
def test_a_signal_ends_what_would_run_for_minutes():
    """Each of these runs for minutes or out of memory; the process gets 40 seconds of its own."""
    program = EXPONENTIAL + textwrap.dedent(
        """
        import itertools, resource, signal, threading, torch
        torch.set_num_threads(1)
        resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))
        frames = Emissions(torch.zeros(1, 20_000, 3))
        main = threading.main_thread().ident

        sets, deep, mute = exponential(26), exponential(60), silent(200_000)
        dense, small = net(3_000, 60_000), net(300, 3_000)
        cyclic = net(2_000, 20_000, acyclic=False)
        long = linear([0, 1] * 200_000)
        letters = bigram_graph(100)
        few = Emissions(torch.zeros(1, 300, 100))
        many_frames = Emissions(torch.zeros(1, 1, 1).expand(1, 400_000, 100))
        logits = torch.zeros(12_000, 16, 8)
        targets = 1 + torch.arange(3_000).repeat(16, 1) % 7

        def again(x):
            loss = losses.ctc_loss(x, targets, [12_000] * 16, [3_000] * 16)
            for _ in range(1_000):
                loss.backward(retain_graph=True)

        wide = net(100_000, 1_000_000)

        def again_of(score):
            for _ in range(1_000):
                score.backward(retain_graph=True)

        class Stop(Exception):
            pass

        pauses = itertools.cycle([0.001, 0.05, 0.2])

        def stop(*_):
            raise Stop

        def interrupted(run, number, expected):
            # Once, and not always before the operator has looked at signals for the first time.
            pause = next(pauses)
            sender = threading.Timer(pause, signal.pthread_kill, (main, number))
            try:
                sender.start()  # which may hear it already
                while True:
                    run()
            except expected:
                print("stopped")
            sender.join()

        signal.signal(signal.SIGALRM, stop)
        # Python leaves SIGINT ignored where it was, as in what a shell starts in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        """
    )
    for work in LONG.values():
        program += f"interrupted(lambda: {work}, signal.SIGINT, KeyboardInterrupt)\n"
    program += f"interrupted(lambda: {LONG['determinize']}, signal.SIGALRM, Stop)\n"
    program += textwrap.dedent(
        """
        heard = []
        signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
        big = exponential(16)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        print(determinize(big, semiring="tropical").num_states)  # went on, and ended
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("heard" if heard else "not heard")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        print(forward_score(linear([1]) @ linear([1])).item())
        """
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    expected = ["stopped"] * (len(LONG) + 1) + [str(2**16), "heard", "0.0"]
    assert found.stdout.split() == expected, found.stdout


NAMED = {
    "ctc_loss": lambda bad: gtnet.losses.ctc_loss(bad, [[1, 2], [1, 2]], [5, 5], [2, 2]),
    "asg_loss": lambda bad: gtnet.losses.asg_loss(
        bad, [[1, 2], [1, 2]], [5, 5], [2, 2], torch.zeros(3, 3)
    ),
    "lf_mmi_loss": lambda bad: gtnet.losses.lf_mmi_loss(
        gtnet.Emissions(bad.nan_to_num().transpose(0, 1)), ENDLESS, gtnet.ctc_topology(3)
    ),
    "label_posteriors": lambda bad: endless(bad).label_posteriors(),
    "free_energy": lambda bad: gtnet.free_energy(endless(bad)),
    "entropy": lambda bad: endless(bad).entropy(),
    "free_energy, of a graph": lambda _: gtnet.free_energy(ENDLESS),
    "edit_distance": lambda _: gtnet.edit_distance(ENDLESS, gtnet.linear([0])),
    "best_answers": lambda _: gtnet.best_answers(ENDLESS),
    "determinize": lambda _: determinize(ENDLESS),
    "optimize": lambda _: gtnet.optimize(ENDLESS),
    "draw_animation": lambda _: gtnet.draw_animation([ENDLESS]),
    "to_dot": lambda _: gtnet.to_dot(3),
    "load": lambda _: gtnet.load(3),
    "with_star": lambda _: gtnet.with_star(torch.zeros(())),
}
ENDLESS = Graph([0, 0, 1], [0, 1, 1], [-1, 1, 0], weights=[0.5, 0.0, 1.0], accept=1)


def endless(scores: torch.Tensor) -> gtnet.Lattice:
    return gtnet.Emissions(scores.nan_to_num().transpose(0, 1)) @ ENDLESS


@pytest.mark.parametrize("name", NAMED)
def test_errors_name_the_function_that_was_called(name):
    """Not one that this calls in turn: with and without a gradient, in any item."""
    for learnt in (False, True):
        scores = torch.zeros(5, 2, 3)
        scores[3, 1] = torch.nan
        with pytest.raises((ValueError, TypeError)) as found:
            NAMED[name](scores.requires_grad_(learnt))
        assert str(found.value).startswith(name.split(",")[0] + ": "), found.value


def test_scores_whose_sums_leave_float64_stay_within_memory():
    """A path of -2e308: impossible, and nothing is written behind what is kept of two frames."""
    scores = torch.full((2, 40, 3), -1e308, dtype=torch.float64)
    for given in (scores, scores.clone().requires_grad_()):
        lattice = gtnet.Emissions(given) @ gtnet.bigram_graph(3, dtype=torch.float64)
        assert lattice.forward_score().tolist() == [-torch.inf] * 2


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
