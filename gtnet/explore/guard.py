"""Who may ask: only pages of this server, in a browser on this machine, that know the token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    # Only what this server serves: no inline script, nothing from elsewhere, in nobody's frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Lets through what begins with the token, and comes from no other host, origin or port.

    The token stands first in the path of every address, so that relative addresses carry it. The
    Host header is checked against names that lead here from elsewhere, Origin against other pages.
    Bodies above `limit` bytes are refused before they are read.
    """

    def __init__(self, app: App, token: str, limit: int) -> None:
        self.app, self.token, self.limit = app, token, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"Guard: no {scope['type']} here")
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        path = scope["path"][len(self.token) + 1 :]
        if not path:  # relative addresses need the stroke at the end
            await _answer(send, 307, "", ("location", f"/{self.token}/"))
            return
        scope = {**scope, "path": path}
        await self.app(scope, self._limited(receive), _with_headers(send))

    def _refused(self, scope: Scope, headers: dict[str, bytes]) -> tuple[int, str] | None:
        host = headers.get("host", b"").decode("latin-1")
        name, _, port = host.rpartition(":") if ":" in host else (host, "", "80")
        own = scope.get("server")
        if name not in HOSTS or (own and own[1] is not None and port != str(own[1])):
            return 403, "This server answers to 127.0.0.1 and localhost only."
        origin = headers.get("origin")
        if origin is not None and origin.decode("latin-1") != f"http://{host}":
            return 403, "This server answers its own pages only."
        token = scope["path"].removeprefix("/").partition("/")[0]
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return 403, "This address lacks the token: open the one that gtnet explore printed."
        length = headers.get("content-length", b"0")
        if not length.isdigit() or int(length) > self.limit:
            return 413, f"This is more than {self.limit // 2**20} MB."
        return None

    def _limited(self, receive: Receive) -> Receive:
        """A body that ends with an error where it is longer than it may be."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limit:
                raise TooLongError(self.limit)
            return message

        return limited


class TooLongError(Exception):
    """A body longer than the limit, of which nothing was said before."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this is more than {limit // 2**20} MB")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, *more: tuple[str, str]) -> None:
    told = (("content-type", "text/plain; charset=utf-8"), *more)
    headers = [(name.encode(), value.encode()) for name, value in told]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
