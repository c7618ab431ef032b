"""Runs the notebooks from top to bottom and saves what they show: python notebooks/execute.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel.

    Raises nbclient.exceptions.CellExecutionError when a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    roots = [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=600, kernel_name="python3", resources=resources
    )
    client.execute(env=dict(os.environ, PYTHONPATH=os.pathsep.join(roots)))
    return notebook


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook without what changes from run to run or from machine to machine."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell{number}", {}
        for output in cell.get("outputs", ()):  # a widget ends with its kernel; its picture stays
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(path.name for path in FOLDER.glob("*.ipynb"))
    for name in names:
        save(execute(FOLDER / name), FOLDER / name)
        print(f"{name}: {(FOLDER / name).stat().st_size // 1000} kB")
