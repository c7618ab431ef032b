"""Graphs in the shape that other formats hold: one start state of score 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gtnet._checks import EPSILON, NEG_INF
from gtnet._files import PathLike, replace_file
from gtnet.graph import Graph, built

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


class Arrays(NamedTuple):
    """One graph as numpy arrays, with the number of its start state, -1 where there is none."""

    source: np.ndarray
    target: np.ndarray
    ilabels: np.ndarray
    olabels: np.ndarray
    weights: np.ndarray
    accept: np.ndarray
    start: int


def one(function: str, graph: Graph | Lattice) -> Graph:
    """The only graph, built; refuses batches of any other size, for formats that hold one."""
    graph = built(function, "graph", graph)
    if len(graph) != 1:
        raise ValueError(f"{function}: one graph is needed, got {len(graph)}: pass graph[i]")
    return graph


def single_start(function: str, graph: Graph | Lattice) -> Arrays:
    """The arrays of one graph, detached, with at most one start state.

    Several start states, or one with a score, are reached by epsilons from a new last state.
    """
    graph = one(function, graph)
    columns = (graph.source, graph.target, graph.ilabels, graph.olabels, graph.weights)
    source, target, ilabels, olabels, weights = (c.detach().cpu().numpy() for c in columns)
    accept, start = graph.accept.detach().cpu().numpy(), graph.start.detach().cpu().numpy()
    starts = np.flatnonzero(start > NEG_INF)
    if len(starts) == 0:
        return Arrays(source, target, ilabels, olabels, weights, accept, -1)
    if len(starts) == 1 and start[starts[0]] == 0:
        return Arrays(source, target, ilabels, olabels, weights, accept, int(starts[0]))
    epsilons = np.full(len(starts), EPSILON, ilabels.dtype)
    return Arrays(
        np.concatenate([source, np.full(len(starts), len(start), source.dtype)]),
        np.concatenate([target, starts.astype(target.dtype)]),
        np.concatenate([ilabels, epsilons]),
        np.concatenate([olabels, epsilons]),
        np.concatenate([weights, start[starts]]),
        np.append(accept, np.array(NEG_INF, accept.dtype)),
        len(start),
    )


def out_of_proportion(num_states: int, num_arcs: int) -> str | None:
    """The complaint about a file with few states and numbers beyond any memory, if it is one."""
    if num_states > 2 * num_arcs + 2**20:
        return f"{num_states} states for {num_arcs} arcs are out of proportion"
    return None


def scores(values: np.ndarray | list[float], dtype: torch.dtype) -> torch.Tensor:
    """A leaf tensor of scores that were parsed as float64."""
    return torch.from_numpy(np.array(values, np.float64)).to(dtype)


def numpy_type(function: str, dtype: torch.dtype) -> type:
    """The numpy type of scores. Raises TypeError for all but float32 and float64."""
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{function}: dtype must be float32 or float64, got {dtype}")
    return np.float32 if dtype == torch.float32 else np.float64


def number(value: np.floating) -> str:
    """The shortest text that reads back as the same value; no trailing ".0"."""
    return str(value).removesuffix(".0")


def write(path: PathLike, data: bytes | str) -> None:
    """Write a file, all or nothing."""
    replace_file(path, data)
