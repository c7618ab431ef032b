"""What tests/test_notebooks.py does with a notebook in a process of its own.

The process is forked from a server that has imported what all notebooks import and done nothing
else, so that each begins as in a fresh kernel and torch is imported once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import nbformat

IMPORTED = ["torch._dynamo", "matplotlib.pyplot", "sklearn.datasets", "IPython", "gtnet.reader"]


def started(path: Path, log: Path) -> BaseProcess:
    """The process that runs a notebook; it exits with 0 at the end and tells the rest in `log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=run, args=(path, log))
    process.start()
    return process


def run(path: Path, log: Path) -> None:
    """Run all cells from top to bottom, and make the pictures of what they show."""
    import matplotlib
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib_inline import backend_inline

    sys.stdout = sys.stderr = log.open("w", buffering=1)  # open until the process ends
    os.chdir(path.parent)
    shell = InteractiveShell.instance()
    matplotlib.use("module://matplotlib_inline.backend_inline")
    backend_inline.configure_inline_support(shell, "inline")
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source, store_history=True).raise_error()
