"""gtnet serve."""

from __future__ import annotations

import argparse

from gtnet.reader.commands.common import model_path, set_threads


def run(options: argparse.Namespace) -> int:
    """Serve until it is interrupted; returns the exit code."""
    set_threads(options)
    if not 0 <= options.port < 65536:
        raise ValueError(f"--port must be in 0 .. 65535, got {options.port}")
    if options.best < 1:
        raise ValueError(f"--best must be at least 1, got {options.best}")
    if not 0 <= options.min_confidence <= 1:
        raise ValueError(f"--min-confidence must be in [0, 1], got {options.min_confidence}")
    try:
        from gtnet.reader import serve
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'gtnet-wfst[serve]'") from error
    from gtnet.reader.checkpoint import load_reader

    given = {
        "bytes": options.max_bytes,
        "pixels": options.max_pixels,
        "seconds": options.timeout,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"the limit of {name} must be above 0, got {value}")
    limits = serve.Limits(**given)
    path = model_path(options)
    reader = load_reader(path)
    if reader.front_end.name in ("strokes", "sound"):
        raise ValueError(f"gtnet serve reads images, {path} reads {reader.front_end.name}")
    app = serve.application(
        reader,
        model=str(path),
        best=options.best,
        least=options.min_confidence,
        limits=limits,
    )
    serve.serve(app, limits, host=options.host, port=options.port)
    return 0
