"""The notebooks run from top to bottom, use public names, and are committed with small outputs."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fresh_process
import nbformat
import pytest

import gtnet

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 300_000
execute = runpy.run_path(str(FOLDER / "execute.py"))["execute"]
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@each
def test_it_runs(path: Path, tmp_path: Path) -> None:
    assert ended(path, tmp_path / "log") == 0, (tmp_path / "log").read_text()[-3000:]


def ended(path: Path, log: Path) -> int | None:
    """The exit code of a process that runs the notebook."""
    process = fresh_process.started(path, log)
    process.join()
    return process.exitcode


@each
def test_its_outputs_are_committed_and_small(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert len(outputs) >= 5 and all(output.output_type != "error" for output in outputs)
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < LARGEST


@each
def test_it_uses_public_names(path: Path) -> None:
    tree = ast.parse("\n".join(cell.source for cell in code_cells(path)))
    assert not list(private_names(tree))


def private_names(tree: ast.AST) -> Iterator[str]:
    """What a notebook takes from gtnet that is not there for everybody."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            unknown = ast.unparse(node.value) == "gtnet" and not hasattr(gtnet, node.attr)
            if unknown or re.search(r"\._(?!_)", name):
                yield name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if re.match(r"gtnet\.(?!reader\b|losses\b|nn\b|latent\b)|(.*\.)?_", module):
                yield module


@each
def test_it_explains_before_it_computes(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    number = int(path.stem[:2])
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith(f"# {number}. ")
    assert "The one idea:" in cells[0].source


def test_links_between_notebooks_lead_somewhere() -> None:
    for path in NOTEBOOKS:
        text = "".join(c.source for c in nbformat.read(path, as_version=4).cells)
        for name in re.findall(r"\]\((\d\w+\.ipynb)\)", text):
            assert (FOLDER / name).is_file(), f"{path.name} links to {name}"


def test_a_cell_that_raises_fails(tmp_path: Path) -> None:
    """Here, and in the fresh kernel of `make notebooks`."""
    path, log = tmp_path / "wrong.ipynb", tmp_path / "log"
    cells = [nbformat.v4.new_code_cell("import gtnet\nlen(7)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert ended(path, log) == 1 and "object of type 'int' has no len" in log.read_text()
    with pytest.raises(Exception, match=r"object of type .int. has no len"):
        execute(path)
