"""Paths of graphs whose scores are perturbed at random: the best ones, and relaxed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtnet import _checks
from gtnet._memory import choosing
from gtnet._path_chain import gumbel
from gtnet.distance import best_paths, posteriors
from gtnet.graph import Graph, built
from gtnet.paths import by_graph

if TYPE_CHECKING:
    from gtnet.lattice import Lattice


@choosing
def perturb_and_map(
    graph: Graph | Lattice,
    n: int,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[Graph]:
    """The best accepting path of each graph under Gumbel noise on its scores, n times.

    The noise is independent for each arc, start and end, times `temperature`. Where paths share no
    arcs, and each has one, they are drawn as `sample` draws them (at beta = 1 / temperature);
    elsewhere this is another distribution, cheap to draw from, whose mean is a smooth best path.

    Arguments: `graph` acyclic, since noise can make a cycle better each time around; `n` >= 0;
    `temperature` > 0; `generator` as in `sample`.
    Result: as `sample`: for every graph a batch of n linear graphs under its own scores, with
    `arc_maps[0]`; none for an empty language. Raises ValueError for cycles and other temperatures.
    Complexity: n times that of `viterbi_path`. A `Lattice` is built.
    Gradient: to the scores along the paths, not through the choice (see `relaxed_sample`).
    Source: Papandreou & Yuille 2011, "Perturb-and-MAP random fields"; Hazan & Jaakkola 2012.
    """
    graph = built("perturb_and_map", "graph", graph)
    n = _checks.count("perturb_and_map", "n", n)
    temperature = _checks.tolerance("perturb_and_map", "temperature", temperature)
    graph.topology.walk("perturb_and_map")  # refuses cycles
    found = []
    for _ in range(n):
        noisy = _perturbed(graph.detach(), temperature, generator)
        found.append(best_paths("perturb_and_map", noisy)[1])
    if not found:
        none = graph.topology.source[:0]
        return by_graph(graph, graph.arc_offsets.diff() * 0, none.long(), none, none, none)
    there = found[0].first >= 0
    items = torch.arange(len(graph), device=graph.device)
    lengths = torch.stack([one.offsets.diff() for one in found], 1)
    arcs = torch.cat([one.arcs for one in found])
    owner = torch.cat([items.repeat_interleave(one.offsets.diff()) for one in found])
    ends = (torch.stack([getattr(one, end) for one in found], 1) for end in ("first", "last"))
    return by_graph(
        graph,
        there.long() * n,
        lengths[there].flatten(),
        arcs[owner.argsort(stable=True)],  # by graph, then by draw
        *(end[there].flatten() for end in ends),
    )


@choosing
def relaxed_sample(
    graph: Graph | Lattice,
    n: int,
    *,
    temperature: float = 1.0,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The arcs of n random paths, relaxed to numbers between 0 and 1 through which gradients flow.

    Posteriors of the arcs under Gumbel noise on the scores, at beta = 1 / temperature. At low
    temperature they approach the arcs of the path that is best under the noise (`perturb_and_map`).

    Arguments: any graph whose sums converge under the noise, acyclic with `hard`; `n` >= 0;
    `temperature` > 0; `hard` gives the arcs of the best path under the noise, 0 or 1, with the
    gradient of the relaxed ones ("straight through"); `generator` as in `sample`.
    Result: [n, arcs] of the dtype of the weights; 0 in an empty language. Raises ValueError as
    `posteriors` and for other temperatures. Complexity: n times that of `posteriors`.
    Gradient: to all scores; any number of derivatives (biased, for the expectation of a draw).
    Source: Paulus, Choi, Tarlow, Krause & Maddison 2020, "Gradient estimation with stochastic
    softmax tricks"; Corro & Titov 2019; Bengio et al. 2013 for `hard`.
    """
    graph = built("relaxed_sample", "graph", graph)
    n = _checks.count("relaxed_sample", "n", n)
    temperature = _checks.tolerance("relaxed_sample", "temperature", temperature)
    rows = []
    for _ in range(n):
        noisy = _perturbed(graph, 1.0, generator)
        row = posteriors(noisy, 1 / temperature)
        if hard:
            best = best_paths("relaxed_sample", noisy.detach())[1].arcs.long()
            row = row + (torch.zeros_like(row).index_fill(0, best, 1) - row).detach()
        rows.append(row)
    return torch.stack(rows) if rows else graph.weights.new_zeros(0, graph.num_arcs)


def _perturbed(graph: Graph, size: float, generator: torch.Generator | None) -> Graph:
    """The graph with noise on all its scores."""
    arcs, start, accept = (
        scores + size * gumbel(len(scores), generator, graph.device).to(graph.dtype)
        for scores in graph.scores
    )
    return Graph.from_topology(graph.topology, arcs, start, accept)
