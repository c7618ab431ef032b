"""gtnet draw."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import gtnet
from gtnet.reader.commands.common import PICTURES, check_output, model_of
from gtnet.reader.commands.drawing import draw_input
from gtnet.reader.inputs import read_input, wrong_kind


def run(options: argparse.Namespace) -> int:
    """Draw one graph; returns the exit code."""
    path = Path(options.out or Path(options.file).with_suffix(".svg").name)
    check_output(path, (".html", *PICTURES))
    graph = _text_graph(Path(options.file))
    if graph is not None:
        gtnet.draw(graph, path)
    else:
        reader = model_of(options)
        wrong = wrong_kind(options.file, reader.front_end.name)
        if wrong:
            raise ValueError(f"{options.file} is {wrong}")
        draw_input(reader, read_input(options.file), path, options.graph, options.file)
    print(f"drawn in {path}")
    return 0


def _text_graph(path: Path) -> gtnet.Graph | None:
    """The graph of a text file in OpenFst's form; None if the file is not text.

    Raises ValueError naming the line that is neither an arc nor a final state.
    """
    if path.suffix.lower() not in (".txt", ".fst", ".att"):
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a graph in text form: {error}") from error
    arcs: list[tuple[int, int, int, int, float]] = []
    accept: dict[int, float] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        try:
            if len(fields) in (1, 2):
                accept[int(fields[0])] = -float(fields[1]) if len(fields) == 2 else 0.0
            elif fields:
                source, target, ilabel = (int(field) for field in fields[:3])
                olabel = int(fields[3]) if len(fields) > 3 else ilabel
                cost = float(fields[4]) if len(fields) > 4 else 0.0
                arcs.append((source, target, ilabel or -1, olabel or -1, -cost))
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: {line!r} is neither an arc (source target ilabel"
                " [olabel [cost]], all numbers) nor a final state (state [cost])"
            ) from None
    if not arcs or not accept:
        raise ValueError(f"{path} holds {len(arcs)} arcs and {len(accept)} final states")
    sources, targets, ilabels, olabels, scores = zip(*arcs, strict=True)
    weights = torch.tensor(scores)
    return gtnet.Graph(sources, targets, ilabels, olabels, weights, start=sources[0], accept=accept)
