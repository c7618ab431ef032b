"""gtnet explore."""

from __future__ import annotations

import argparse
from pathlib import Path

from gtnet.reader.commands.common import set_threads
from gtnet_command.names import MODELS


def run(options: argparse.Namespace) -> int:
    """Serve the page until it is interrupted; returns the exit code."""
    set_threads(options)
    if not 0 <= options.port < 65536:
        raise ValueError(f"--port must be in 0 .. 65535, got {options.port}")
    try:
        from gtnet.explore import models, serve
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'gtnet-wfst[explore]'") from error
    found = options.model or [name for name in MODELS if Path(name).is_dir()][:1]
    known = [models.Model.load(folder) for folder in found] or [models.Model.demo()]
    data = models.samples(options.data, options.root)
    serve(known, data, port=options.port, browser=not options.no_browser)
    return 0
