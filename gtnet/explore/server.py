"""Running the server: on this machine only, until it is interrupted."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvicorn

from gtnet.explore.app import application
from gtnet.explore.models import Model

HOST = "127.0.0.1"


def serve(
    models: Model | Sequence[Model], data: Any = None, *, port: int = 0, browser: bool = True
) -> None:
    """Show a page about a reader, or several side by side, until Ctrl-C; open it in a browser.

    `port`: 0 for any that is free. Raises OSError where the port is taken, ValueError for readers
    of different characters.
    """
    token = secrets.token_urlsafe(24)
    app = application(models, data, token=token)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
        address = f"http://{HOST}:{listening.getsockname()[1]}/{token}/"
        print(f"the page is at {address}\nCtrl-C ends it", flush=True)
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        with suppress(KeyboardInterrupt):  # which ends it, and is no fault
            quiet(app).run(sockets=[listening])


def quiet(app: Any) -> uvicorn.Server:
    """A server of an application, silent but for errors."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
