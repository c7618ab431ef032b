"""Running the service until it is told to end."""

from __future__ import annotations

import socket
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette

from gtnet.reader.serve.app import Limits


def server(app: Starlette, limits: Limits) -> uvicorn.Server:
    """A server of the service: silent but for errors, what is asked for is answered at the end."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            limit_concurrency=2 * limits.waiting + 16,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(limits.seconds) + 1,
        )
    )


def serve(app: Starlette, limits: Limits, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that have begun are answered first.

    `port`: 0 for any that is free. Raises OSError where it is taken.
    """
    with socket.create_server((host, port)) as listening:
        print(f"reading at http://{host}:{listening.getsockname()[1]}/read", flush=True)
        with suppress(KeyboardInterrupt):  # which ends it, and is no fault
            server(app, limits).run(sockets=[listening])
