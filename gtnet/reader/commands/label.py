"""gtnet label."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gtnet.reader.commands.common import check_output, plain
from gtnet.reader.folder import LABELS
from gtnet.reader.labelling import label_folder


def run(options: argparse.Namespace) -> int:
    """Write the page to label on; returns the exit code."""
    root = Path(options.root)
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    path = Path(options.out or root / "label.html")
    check_output(path, (".html",))
    count, errors = label_folder(root, path)
    for error in errors:
        print(f"gtnet label: {plain(ValueError(error))}", file=sys.stderr)
    print(
        f"{count} images to label in {path}: open it in a browser, then save {LABELS[0]} in {root}"
    )
    return 2 if errors else 0
