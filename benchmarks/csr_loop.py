"""The straightforward loop of csr_loop.cpp, compiled on the spot, as a peer of the path sums."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import gtnet
from benchmarks.timing import Work


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled loop, None where there is no g++."""
    if shutil.which("g++") is None:
        return None
    built = Path(tempfile.mkdtemp()) / "csr_loop.so"
    source = Path(__file__).with_suffix(".cpp")
    command = ["g++", "-O3", "-shared", "-fPIC", "-std=c++20", str(source), "-o", str(built)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(built))


def csr_loop(graph: gtnet.Graph) -> dict[str, Work]:
    """The loop's forward, forward + backward and Viterbi on one graph that starts in state 0."""
    library = _library()
    if library is None:
        return {}
    target, order = graph.target.sort(stable=True)
    offsets = torch.searchsorted(target, torch.arange(graph.num_states + 1, dtype=torch.int32))
    topology = [offsets.int(), order.int(), graph.source[order].contiguous()]
    states, weights = graph.num_states, graph.weights.detach().contiguous()
    alpha, flow = torch.empty(states), torch.empty(states)
    came_by = torch.empty(states, dtype=torch.int32)

    def call(function: str, *out: Tensor) -> None:
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (*topology, weights, *out)]
        getattr(library, function)(ctypes.c_int32(states), *pointers)

    def both() -> None:
        call("forward", alpha)
        call("backward", alpha, flow, torch.empty(graph.num_arcs))

    works = {
        "forward": lambda: call("forward", alpha),
        "forward + backward": both,
        "Viterbi score": lambda: call("viterbi", alpha, came_by),
    }
    score, theirs = float(gtnet.forward_score(graph.detach())), (works["forward"](), alpha[-1])[1]
    if abs(score - float(theirs)) > 1e-3 * abs(score):
        raise AssertionError(f"csr_loop: gives {float(theirs)}, gtnet {score}")
    return works
