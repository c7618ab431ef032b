"""Graphs handed to OpenFst, the peer of most rewrites, where pynini is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gtnet

if TYPE_CHECKING:
    import pynini


def to_openfst(graph: gtnet.Graph, arc_type: str = "standard") -> pynini.Fst:
    """A graph that starts in state 0 alone as an OpenFst transducer; costs are minus scores."""
    import pynini
    import pywrapfst

    compiler = pywrapfst.Compiler(arc_type=arc_type)
    columns = (graph.source, graph.target, graph.ilabels + 1, graph.olabels + 1, -graph.weights)
    for row in zip(*(column.tolist() for column in columns), strict=True):
        compiler.write(" ".join(map(str, row)) + "\n")
    for state in (graph.accept > float("-inf")).nonzero().flatten().tolist():
        compiler.write(f"{state}\n")
    return pynini.Fst.from_pywrapfst(compiler.compile())
